/*
 * scoreboard.js by itself, where a real bridge can't be made to do what has to be shown: private boards, a stream that was replaced,
 * answers that say "later". The browser is real, every answer and socket is made here.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as chromium.mjs.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { launch } from './chromium.mjs';

const ORIGIN = 'http://board.test';
const LIST = { board: 'global', season: 1, version: 7, updatedAt: '2026-01-01T00:00:00.000Z', players: 1,
  entries: [{ rank: 1, userId: 'ann', displayName: 'Ann', score: 10 }] };

let browser;
let page;
let answers; /* path → function (request) → {status, json, headers} */
let requests;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

/* Sockets are objects in window.sockets; a test opens, feeds and closes them by itself. */
beforeEach(async () => {
  const script = await readFile(new URL('../../bridge/www/scoreboard.js', import.meta.url), 'utf8');
  requests = [];
  answers = {
    '/': () => ({ contentType: 'text/html', body: '<!DOCTYPE html><title>test</title>' }),
    '/scoreboard.js': () => ({ contentType: 'text/javascript', body: script }),
  };
  page = await browser.newPage();
  await page.route(`${ORIGIN}/**`, (route) => {
    const { pathname } = new URL(route.request().url());
    requests.push({ path: pathname, headers: route.request().headers(), body: route.request().postDataJSON() });
    return route.fulfill(answers[pathname]?.(requests.filter(({ path }) => path === pathname).length)
      ?? { status: 404, json: { error: { code: 'NOT_FOUND', message: 'no', requestId: 'r' } } });
  });
  await page.addInitScript(() => {
    window.sockets = [];
    window.WebSocket = class {
      constructor(url, protocols) { Object.assign(this, { url: String(url), protocols, at: Date.now(), readyState: 1, sent: [] }); window.sockets.push(this); }
      send(text) { this.sent.push(text); }
      close() { this.closed = true; }
    };
  });
  await page.goto(ORIGIN);
});

afterEach(() => page.close());

/* Opens window.board; its states are collected in window.states. */
const open = (options) => page.evaluate(async (given) => {
  const { Scoreboard } = await import('/scoreboard.js');
  window.states = [];
  window.notices = [];
  window.board = new Scoreboard(given);
  window.board.addEventListener('state', ({ detail }) => window.states.push(detail.status));
  window.board.addEventListener('notice', ({ detail }) => window.notices.push(detail));
  window.board.open();
}, options);

const sockets = (count) => page.waitForFunction((least) => window.sockets.length >= least, count);
const status = (wanted) => page.waitForFunction((one) => window.board.state.status === one, wanted);
const feed = (index, list) => page.evaluate(([at, data]) => window.sockets[at].onmessage({ data: JSON.stringify(data) }), [index, list]);
/* Ends a socket; somebody is there who doesn't sit out the pause. */
const end = (index, code) => page.evaluate(async ([at, why]) => {
  window.sockets[at].onclose({ code: why });
  await new Promise(setTimeout);
  window.board.retry();
}, [index, code]);
const update = (more = {}) => ({ type: 'leaderboard.update', ...LIST, ...more });

test('a private board takes a new ticket for each connection, and no token stands in a URL', async () => {
  answers['/v1/stream-tickets'] = (times) => ({ json: { ticket: `ticket-${times}`, expiresAt: LIST.updatedAt } });
  await open({ token: 'secret.token.text' });
  await sockets(1);
  await feed(0, update());
  await status('live');
  await end(0, 1001);
  await sockets(2);
  assert.deepEqual(await page.evaluate(() => window.sockets.map(({ protocols }) => protocols)),
    [['scoreboard.v1', 'ticket.ticket-1'], ['scoreboard.v1', 'ticket.ticket-2']]);
  assert.ok((await page.evaluate(() => window.sockets.map(({ url }) => url))).every((url) => url === 'ws://board.test/v1/leaderboard/stream?board=global'));
  const asked = requests.filter(({ path }) => path === '/v1/stream-tickets');
  assert.ok(asked.every(({ headers }) => headers.authorization === 'Bearer secret.token.text'));
});

test('a stream replaced by a newer one of the same player polls instead of taking the place back', async () => {
  answers['/v1/leaderboard/top'] = () => ({ json: { ...LIST, version: 8 }, headers: { ETag: '"e"' } });
  await open();
  await sockets(1);
  await feed(0, update());
  await end(0, 4002);
  await status('polling');
  assert.equal(await page.evaluate(() => window.sockets.length), 1);
  assert.equal(await page.evaluate(() => window.board.document.version), 8);
});

test('where there are no tickets, or only refusals, a signed-in player follows public boards all the same', async () => {
  await open({ token: 'secret.token.text' });
  await sockets(1);
  assert.deepEqual(await page.evaluate(() => window.sockets[0].protocols), ['scoreboard.v1']);
  await feed(0, update());
  await status('live');
  answers['/v1/stream-tickets'] = () => ({ status: 401, json: { error: { code: 'UNAUTHORIZED', message: 'expired', requestId: 'r' } } });
  await page.evaluate(() => window.board.addEventListener('unauthorized', ({ detail }) => window.notices.push(detail)));
  await end(0, 1006);
  await sockets(2);
  assert.deepEqual(await page.evaluate(() => [window.sockets[1].protocols, window.notices.map(({ code }) => code)]), [['scoreboard.v1'], ['UNAUTHORIZED']]);
});

test('a token that is refused is left out, and the list of a public board comes', async () => {
  const by = () => requests.filter(({ path }) => path === '/v1/leaderboard/top').map(({ headers }) => headers.authorization);
  answers['/v1/leaderboard/top'] = () => (by().at(-1) ? { status: 401, json: { error: { code: 'UNAUTHORIZED', message: 'no', requestId: 'r' } } } : { json: LIST });
  await open({ token: 'bad', transports: ['polling'] });
  await status('polling');
  assert.deepEqual(by().slice(0, 2), ['Bearer bad', undefined]);
});

test('a board that is refused says why', async () => {
  await open({ transports: ['polling'] });
  await status('refused');
  assert.equal(await page.evaluate(() => window.board.state.error.code), 'NOT_FOUND');
});

test('nothing is heard after close', async () => {
  await open();
  await sockets(1);
  await feed(0, update());
  await page.evaluate(() => window.board.close());
  await feed(0, update({ version: 9 }));
  assert.equal(await page.evaluate(() => window.board.document.version), 7);
  assert.deepEqual(await page.evaluate(() => [window.sockets[0].closed, window.states.at(-1)]), [true, 'closed']);
});

test('what is no list changes nothing', async () => {
  await open();
  await sockets(1);
  await feed(0, update());
  for (const bad of [null, 1, [], {}, update({ version: 'x' }), update({ version: 9.5 }), update({ version: 9, entries: null })]) await feed(0, bad);
  await page.evaluate(() => window.sockets[0].onmessage({ data: '{"type":' }));
  assert.equal(await page.evaluate(() => window.board.document.version), 7);
});

test('an older list, or another one of the same version, never replaces a newer one', async () => {
  answers['/v1/leaderboard/top'] = () => ({ json: { ...LIST, version: 6 } });
  await open({ transports: ['websocket', 'polling'] });
  await sockets(1);
  await page.evaluate(() => {
    window.versions = [];
    window.board.addEventListener('update', ({ detail }) => window.versions.push(detail.document.version));
  });
  for (const version of [7, 9, 8, 3, 9, 10]) await feed(0, update({ version, players: version + 100 }));
  await feed(0, update({ version: 10, players: 1 }));
  await end(0, 4002);
  await status('polling');
  assert.deepEqual(await page.evaluate(() => window.versions), [7, 9, 10]);
  assert.deepEqual(await page.evaluate(() => [window.board.document.version, window.board.document.players]), [10, 110]);
});

test('what the stream tells of the own player, and of a season that ends, is passed on; of another board it is not', async () => {
  await open();
  await sockets(1);
  await feed(0, update());
  await page.evaluate(() => {
    window.heard = [];
    for (const name of ['me', 'season']) window.board.addEventListener(name, ({ detail }) => window.heard.push([name, detail.board]));
  });
  for (const board of ['global', 'other']) {
    await feed(0, { type: 'me.update', board, season: 1, version: 8, userId: 'ann', score: 20, rank: 1, players: 1 });
    await feed(0, { type: 'season.end', board, season: 1, nextSeason: 2, version: 9 });
  }
  assert.deepEqual(await page.evaluate(() => window.heard), [['me', 'global'], ['season', 'global']]);
});

/* ---- is what is shown of now? ---- */

const SINCE = '2026-01-01T00:00:00.000Z';
const told = (live, since = SINCE) => ({ type: 'status', live, since });
const states = () => page.evaluate(() => window.states);

test('a server that says it has no news is not called live, whatever list it sends', async () => {
  await open();
  await sockets(1);
  await feed(0, told(false));
  await feed(0, update());
  await status('stale');
  await feed(0, update({ version: 8 }));
  assert.deepEqual(await page.evaluate(() => [window.board.state.since, window.board.state.transport, window.board.document.version]),
    [SINCE, 'websocket', 8]);
  assert.deepEqual(await states(), ['connecting', 'stale']);
  await feed(0, told(true, '2026-01-01T00:01:00.000Z'));
  await feed(0, told(false, '2026-01-01T00:02:00.000Z'));
  assert.deepEqual(await states(), ['connecting', 'stale', 'live', 'stale']);
});

test('a new connection is judged by what it says itself', async () => {
  await open();
  await sockets(1);
  await feed(0, told(false));
  await feed(0, update());
  await end(0, 1001);
  await sockets(2);
  await feed(1, told(true));
  assert.notEqual(await page.evaluate(() => window.board.state.status), 'live', 'no list has come yet');
  await feed(1, update());
  await status('live');
});

test('a status that is none changes nothing', async () => {
  await open();
  await sockets(1);
  await feed(0, update());
  for (const bad of [{ type: 'status' }, told('false'), told(0), told(null)]) await feed(0, bad);
  assert.deepEqual(await states(), ['connecting', 'live']);
  await feed(0, told(false, 'yesterday'));
  assert.deepEqual(await page.evaluate(() => [window.board.state.status, window.board.state.since]), ['stale', null]);
});

test('server-sent events tell it too', async () => {
  const event = (data) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
  answers['/v1/leaderboard/stream'] = () => ({ contentType: 'text/event-stream', body: event(told(false)) + event(update()) });
  await open({ transports: ['sse'] });
  await page.waitForFunction(() => window.states.includes('reconnecting'));
  assert.deepEqual((await states()).slice(0, 3), ['connecting', 'stale', 'reconnecting']);
});

test('who polls asks whether the server is ready, and takes only a clear no for one', async () => {
  let ready = 503;
  answers['/v1/leaderboard/top'] = () => ({ json: LIST });
  answers['/ready'] = () => ({ status: ready, json: {} });
  await open({ transports: ['polling'], pollMs: 1000 });
  await status('stale');
  ready = 404;
  await status('polling');
  ready = 503;
  await status('stale');
  ready = 200;
  await status('polling');
  assert.deepEqual(await states(), ['connecting', 'stale', 'polling', 'stale', 'polling']);
});

const increment = (action) => page.evaluate((given) => window.board.increment(given).catch(({ code, status, retryAfter }) => ({ code, status, retryAfter })), action);

test('503 is tried again under the same key, 429 is not', async () => {
  await open();
  answers['/v1/scores/increment'] = (times) => (times === 1
    ? { status: 503, headers: { 'Retry-After': '1' }, json: { error: { code: 'UNAVAILABLE', message: 'later', requestId: 'r' } } }
    : times === 2 ? { json: { userId: 'ann', score: 20, previousScore: 10, appliedPoints: 10, version: 7, replayed: false } }
      : { status: 429, headers: { 'Retry-After': '30' }, json: { error: { code: 'RATE_LIMITED', message: 'slow down', requestId: 'r' } } });
  assert.equal((await increment({ actionType: 'A', actionId: '1', token: 't' })).score, 20);
  assert.deepEqual(await increment({ actionType: 'A', actionId: '2', token: 't' }), { code: 'RATE_LIMITED', status: 429, retryAfter: 30 });
  const sent = requests.filter(({ path }) => path === '/v1/scores/increment');
  const keys = sent.map(({ headers }) => headers['idempotency-key']);
  assert.equal(sent.length, 3);
  assert.equal(keys[0], keys[1]);
  assert.notEqual(keys[1], keys[2]);
  assert.deepEqual(sent[2].body, { board: 'global', actionType: 'A', actionId: '2' });
  assert.deepEqual(await page.evaluate(() => window.notices.map(({ code }) => code)), ['RATE_LIMITED']);
});

test('who only waited for the server was not too fast: 429 is waited out then', async () => {
  const refusal = (status, code) => ({ status, headers: { 'Retry-After': '1' }, json: { error: { code, message: 'later', requestId: 'r' } } });
  const counted = { json: { userId: 'ann', board: 'global', score: 10, previousScore: 0, appliedPoints: 10, version: 7, replayed: false } };
  answers['/v1/scores/increment'] = (times) => [refusal(503, 'UNAVAILABLE'), refusal(429, 'RATE_LIMITED'), counted][times - 1];
  await open();
  assert.equal((await increment({ actionType: 'A', actionId: '1', token: 't' })).score, 10);
  assert.equal(new Set(requests.filter(({ path }) => path === '/v1/scores/increment').map(({ headers }) => headers['idempotency-key'])).size, 1);
});

test('a function is asked for a fresh token once, and then it is over', async () => {
  const unauthorized = { status: 401, json: { error: { code: 'UNAUTHORIZED', message: 'expired', requestId: 'r' } } };
  const by = () => requests.filter(({ path }) => path === '/v1/scores/increment').map(({ headers }) => headers.authorization);
  answers['/v1/scores/increment'] = (times) => (times === 2
    ? { json: { userId: 'ann', board: 'global', score: 10, previousScore: 0, appliedPoints: 10, version: 7, replayed: false } } : unauthorized);
  await open();
  const outcome = await page.evaluate(() => {
    let made = 0;
    return window.board.increment({ actionType: 'A', actionId: '1', token: () => `token-${made += 1}` });
  });
  assert.equal(outcome.score, 10);
  assert.equal((await increment({ actionType: 'A', actionId: '2', token: 'fixed' })).code, 'UNAUTHORIZED');
  const [first, second, third, ...more] = by();
  assert.deepEqual([second === first, third, more], [false, 'Bearer fixed', []]);
});

test("another board's increment doesn't show on this one", async () => {
  await open({ userId: 'ann' });
  await sockets(1);
  await feed(0, update());
  await page.evaluate(() => {
    window.shown = [];
    window.board.addEventListener('update', ({ detail }) => window.shown.push([detail.document.entries[0].score, detail.optimistic]));
  });
  answers['/v1/scores/increment'] = () => ({ json: { userId: 'ann', board: 'other', score: 5, previousScore: 0, appliedPoints: 5, version: 7, replayed: false } });
  await increment({ actionType: 'A', actionId: '1', board: 'other', expectedPoints: 5, token: 't' });
  await feed(0, update({ version: 8 }));
  assert.ok((await page.evaluate(() => window.shown)).every(([score, optimistic]) => score === 10 && !optimistic));
});

test('a server that never answers ends in NETWORK when the time is up', async () => {
  await page.unroute(`${ORIGIN}/**`);
  await page.evaluate(() => { window.fetch = () => Promise.reject(new TypeError('no network')); });
  await page.route(`${ORIGIN}/scoreboard.js`, async (route) => route.fulfill(answers['/scoreboard.js']()));
  await open({ transports: ['websocket'] });
  assert.equal((await increment({ actionType: 'A', actionId: '1', token: 't', timeoutMs: 300 })).code, 'NETWORK');
});
