/*
 * When and how scoreboard.js comes back: after a cut, a silence, a sleep. The clock is made here, and so are the sockets: how hundreds
 * of clients spread over seconds can't be seen with one real one.
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
let gets; /* paths of all requests but the page's own */

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

beforeEach(async () => {
  const script = await readFile(new URL('../../bridge/www/scoreboard.js', import.meta.url), 'utf8');
  gets = [];
  page = await browser.newPage();
  await page.clock.install({ time: 0 });
  await page.route(`${ORIGIN}/**`, (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === '/') return route.fulfill({ contentType: 'text/html', body: '<!DOCTYPE html><title>test</title>' });
    if (pathname === '/scoreboard.js') return route.fulfill({ contentType: 'text/javascript', body: script });
    gets.push(pathname);
    return route.fulfill({ status: 503, json: {} });
  });
  await page.addInitScript((list) => {
    window.sockets = [];
    window.WebSocket = class {
      constructor() {
        Object.assign(this, { at: Date.now(), readyState: 1, sent: [] });
        window.sockets.push(this);
        if (window.refusing) setTimeout(() => this.onclose({ code: 1006 }));
        else setTimeout(() => this.onmessage({ data: JSON.stringify({ type: 'leaderboard.update', ...list }) }));
      }
      send(text) { this.sent.push([text, Date.now()]); if (window.answering) setTimeout(() => this.onmessage({ data: '{"type":"pong"}' })); }
      close() { this.readyState = 3; }
    };
  }, LIST);
  await page.goto(ORIGIN);
});

afterEach(() => page.close());

/* Opens so many boards and lets them get their list. */
async function open(count = 1, options = {}) {
  await page.evaluate(async ([many, given]) => {
    const { Scoreboard } = await import('/scoreboard.js');
    window.boards = Array.from({ length: many }, () => new Scoreboard(given).open());
  }, [count, options]);
  await page.clock.runFor(100);
  assert.ok((await states()).every((state) => state === 'live'));
}

const states = () => page.evaluate(() => window.boards.map(({ state }) => state.status));

/* Cuts every socket at one moment; when their boards came back, in milliseconds after it. */
async function comeBack(code, within) {
  const count = await page.evaluate((why) => {
    const old = window.sockets.splice(0);
    window.cutAt = Date.now();
    old.forEach((socket) => socket.onclose({ code: why }));
    return old.length;
  }, code);
  await page.clock.runFor(within);
  const times = await page.evaluate(() => window.sockets.map(({ at }) => at - window.cutAt).sort((a, b) => a - b));
  assert.equal(times.length, count, 'each came back once');
  return times;
}

/* How much of the time every third client needs: of an even spread each gets about a third. */
function evenness(times, over) {
  const thirds = [0, 0, 0];
  for (const time of times) thirds[Math.min(2, Math.floor(time / over * 3))] += 1;
  return thirds;
}

test('the clients of a bridge that is cut come back spread over seconds, and over more of them when it said that it goes', async () => {
  await open(120);
  await page.clock.runFor(21000);
  const cut = await comeBack(1006, 4200);
  assert.ok(cut.at(-1) - cut[0] > 3000, `within ${cut.at(-1) - cut[0]} ms`);
  assert.ok(evenness(cut, 4000).every((third) => third >= 20), `thirds ${evenness(cut, 4000)}`);
  await page.clock.runFor(21000);
  const drained = await comeBack(1001, 15200);
  assert.ok(drained.at(-1) - drained[0] > 10000, `within ${drained.at(-1) - drained[0]} ms`);
  assert.ok(evenness(drained, 15000).every((third) => third >= 20), `thirds ${evenness(drained, 15000)}`);
});

test('each transport has a pause of its own, which grows', async () => {
  await page.evaluate(() => { window.refusing = true; });
  await page.evaluate(async () => {
    const { Scoreboard } = await import('/scoreboard.js');
    window.boards = Array.from({ length: 10 }, () => new Scoreboard().open());
    const original = window.fetch;
    window.asked = [];
    window.fetch = (url, options) => { window.asked.push([new URL(url).pathname, Date.now()]); return original(url, options); };
  });
  for (let second = 0; second < 300; second += 1) await page.clock.runFor(1000);
  const { sockets, asked } = await page.evaluate(() => ({ sockets: window.sockets.map(({ at }) => at), asked: window.asked }));
  const polls = asked.filter(([path]) => path === '/v1/leaderboard/top').map(([, at]) => at);
  const streams = asked.filter(([path]) => path === '/v1/leaderboard/stream').map(([, at]) => at);
  for (const times of [sockets, polls, streams]) {
    assert.ok(times.length > 100, `${times.length} tries`); /* ten clients, at most 30 s a pause */
    assert.ok(times.filter((at) => at > 200000).length < times.filter((at) => at < 100000).length, 'they become fewer');
  }
  const together = polls.filter((at) => sockets.some((one) => Math.abs(one - at) < 20)).length;
  assert.ok(together < polls.length * 0.7, `${together} of ${polls.length} polls at the moment of a socket`);
});

test('a silent stream is asked, not polled beside, and given up when it does not answer', async () => {
  await open();
  await page.evaluate(() => { window.answering = true; });
  for (let minute = 0; minute < 10; minute += 1) await page.clock.runFor(60000);
  const pings = await page.evaluate(() => window.sockets[0].sent);
  assert.ok(pings.length >= 10 && pings.length <= 30, `${pings.length} pings in ten minutes`);
  assert.ok(pings.every(([text]) => text === '{"type":"ping"}'));
  assert.deepEqual([gets, await states(), await page.evaluate(() => window.sockets.length)], [[], ['live'], 1]);
  await page.evaluate(() => { window.answering = false; });
  await page.clock.runFor(70000);
  assert.ok(await page.evaluate(() => window.sockets.length) > 1);
  assert.deepEqual(await page.evaluate(() => window.sockets[0].readyState), 3);
});

test('clients that got the same list at the same moment are not silent at the same moment', async () => {
  await open(60);
  await page.clock.runFor(60000);
  const times = await page.evaluate(() => window.sockets.slice(0, 60).map(({ sent }) => sent[0][1]).sort((a, b) => a - b));
  assert.ok(times.at(-1) - times[0] > 10000, `within ${times.at(-1) - times[0]} ms`);
});

for (const [what, wake] of [['another network', () => window.dispatchEvent(new Event('online'))], ['a page in front again', () => document.dispatchEvent(new Event('visibilitychange'))],
  ['somebody who asks for it', () => window.boards[0].retry()]]) {
  test(`${what} ends the pause`, async () => {
    await open();
    await page.evaluate(() => {
      Math.random = () => 0.999;
      window.sockets[0].onclose({ code: 1001 });
    });
    await page.clock.runFor(1000);
    assert.deepEqual(await states(), ['reconnecting']);
    await page.evaluate(wake);
    await page.clock.runFor(700);
    assert.deepEqual(await states(), ['live']);
  });
}

test('who has slept asks the stream at once', async () => {
  await open();
  await page.clock.fastForward(3600000);
  await page.clock.runFor(5000);
  assert.equal((await page.evaluate(() => window.sockets[0].sent)).length, 1);
  await page.clock.runFor(9000);
  assert.equal(await page.evaluate(() => window.sockets[0].readyState), 3, 'and gives it up when there is no answer');
  await page.clock.runFor(5000);
  assert.deepEqual(await states(), ['live']);
});

test('a page that goes into the back-forward cache lets go of its stream, and takes a new one when it is back', async () => {
  await open();
  await page.evaluate(() => window.dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })));
  assert.equal(await page.evaluate(() => window.sockets[0].readyState), 3);
  await page.evaluate(() => window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })));
  await page.clock.runFor(100);
  assert.deepEqual([await states(), await page.evaluate(() => window.sockets.length)], [['live'], 2]);
});

test('works where AbortSignal.any and AbortSignal.timeout are missing', async () => {
  await page.evaluate(() => { delete AbortSignal.any; delete AbortSignal.timeout; });
  await open();
  await page.clock.runFor(21000);
  assert.equal((await comeBack(1006, 4200)).length, 1);
  await page.clock.runFor(100);
  assert.deepEqual(await states(), ['live']);
});
