/*
 * The live page in a real browser, against a real bridge and a real server.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * What a reader of the page relies on: it shows what the database says, it never goes back, it says how it is connected, it falls back
 * and recovers by itself, it takes points back visibly, and it executes nothing that players wrote. Nothing here waits for a time to
 * pass, only for conditions. Environment: as test/lib/cluster.mjs and chromium.mjs.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { launch } from './chromium.mjs';

const WWW = fileURLToPath(new URL('../../bridge/www', import.meta.url));
const STREAM = /\/v1\/leaderboard\/stream/;
const INCREMENT = '**/v1/scores/increment';

let cluster;
let bridge;
let browser;
let page;
let complaints;
let boards = 0;
let board; /* a board of its own for each test */

/* Limits off: a browser's tests all come from one address and a few players. */
before(async () => {
  cluster = await startCluster({ 'scoreboard.rate_limit': 0, 'scoreboard.burst_limit': 0 });
  bridge = await startBridge(cluster, ['--www', WWW]);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
  await cluster?.stop();
});

beforeEach(async () => {
  board = `test-${boards += 1}`;
  await cluster.sql(`INSERT INTO scoreboard.board (name, title) VALUES (:'board', 'Board of tests')`, { board });
  await openPage();
});

afterEach(async () => {
  await page.context().close();
});

/* A page that remembers its animations and whatever the browser complains about. */
async function openPage(options = {}) {
  await page?.context().close().catch(() => {});
  const context = await browser.newContext(options);
  page = await context.newPage();
  complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => /Content Security Policy/i.test(message.text()) && complaints.push(message.text()));
  await page.addInitScript(() => {
    window.moves = [];
    const animate = Element.prototype.animate;
    Element.prototype.animate = function remember(frames, ...rest) {
      if (this.dataset.user) window.moves.push({ user: this.dataset.user, frames });
      return animate.call(this, frames, ...rest);
    };
  });
}

const visit = (query = `?board=${board}`) => page.goto(`${bridge.url}/${query}`);

let awards = 0;

/* One statement, one commit: the given players gain the given points. */
async function award(points) {
  const calls = Object.entries(points).map(([user, amount]) =>
    `SELECT score FROM scoreboard_increment_for('${user}', 'AWARD', 'award-${awards += 1}', board => '${board}', points => ${amount})`);
  return cluster.sql(`${calls.join(' UNION ALL ')};`);
}

const shown = () => page.$$eval('#list > li:not(.leaving):not(.waiting)', (rows) => rows.map((row) => ({
  user: row.dataset.user, rank: row.querySelector('.rank').textContent, name: row.querySelector('.name').textContent,
  score: row.querySelector('.score').textContent.replace(/\D/g, ''), trend: row.querySelector('.trend').textContent,
  pending: row.hasAttribute('data-pending') })));

const standing = async () => (await shown()).map(({ user, score }) => `${user} ${score}`).join(', ');

const shows = (expected) => until(`the page to show ${expected}`, async () => (await standing()) === expected)
  .catch(async (error) => assert.fail(`${error.message}; it shows ${await standing()}`));

const isState = (status, transport) => page.waitForSelector(
  `#state[data-status="${status}"]${transport ? `[data-transport="${transport}"]` : ''}`, { timeout: 60000 });

const shownVersion = () => page.$eval('#list', (list) => Number(list.dataset.version));

test('shows the list, live, and nothing breaks the content security policy', async () => {
  await award({ ann: 300, bob: 200 });
  const response = await visit();
  const policy = response.headers()['content-security-policy'] ?? '';
  assert.match(policy, /default-src '(self|none)'/);
  assert.doesNotMatch(policy, /unsafe/);
  await isState('live', 'websocket');
  await shows('ann 300, bob 200');
  assert.deepEqual((await shown()).map(({ rank }) => rank), ['1', '2']);
  await until('the number of players', async () => (await page.textContent('#players')) === '2');
  assert.deepEqual(complaints, []);
});

test('no screen reader is told a version', async () => {
  await award({ ann: 300 });
  await visit();
  await shows('ann 300');
  await page.evaluate(() => {
    window.spoken = [];
    const live = [...document.querySelectorAll('output, [aria-live], [role=status], [role=alert], [role=log]')];
    new MutationObserver((changes) => changes.forEach(({ target }) => {
      if (live.some((one) => one.contains(target))) window.spoken.push(target.textContent);
    })).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  const version = await shownVersion();
  await award({ ann: 5 });
  await until('the next version', async () => (await shownVersion()) > version);
  const versions = [version, await shownVersion()];
  assert.ok((await page.evaluate(() => window.spoken)).every((text) => versions.every((one) => !text.includes(one))));
});

test('an empty board says so and fills by itself', async () => {
  await visit();
  await isState('live');
  await page.waitForSelector('#empty:not([hidden])');
  await award({ ann: 5 });
  await shows('ann 5');
  assert.equal(await page.isHidden('#empty'), true);
});

test('an overtaking is shown as movement', async () => {
  await award({ ann: 300, bob: 200, cleo: 100 });
  await visit();
  await shows('ann 300, bob 200, cleo 100');
  await page.evaluate(() => { window.moves = []; });
  await award({ cleo: 900 });
  await shows('cleo 1000, ann 300, bob 200');
  const rows = await shown();
  assert.deepEqual(rows.map(({ trend }) => trend), ['▲2', '▼1', '▼1']);
  const moved = await page.evaluate(() => window.moves.filter(({ frames }) => /translateY\(-?\d/.test(frames[0].transform)).map(({ user }) => user));
  assert.deepEqual([...new Set(moved)].sort(), ['ann', 'bob', 'cleo']);
  assert.match(await page.textContent('#feed'), /takes the lead/);
  assert.match(await page.textContent('#announcement'), /takes the lead with 1,000/);
});

test('reduced motion gets the new order without movement', async () => {
  await openPage({ reducedMotion: 'reduce' });
  await award({ ann: 300, bob: 200 });
  await visit();
  await shows('ann 300, bob 200');
  await award({ bob: 200 });
  await shows('bob 400, ann 300');
  assert.deepEqual(await page.evaluate(() => window.moves), []);
});

test('shows the best ten only, and who leaves them is gone', async () => {
  await award(Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`p${index}`, 1000 - index])));
  await visit();
  await until('ten rows', async () => (await shown()).length === 10);
  await award({ late: 5000 });
  await until('the new leader', async () => (await shown())[0].user === 'late');
  const users = (await shown()).map(({ user }) => user);
  assert.equal(users.length, 10);
  assert.ok(!users.includes('p9'));
});

test('an older list over a newer one is ignored', async () => {
  let send;
  await page.routeWebSocket(STREAM, (socket) => {
    const server = socket.connectToServer();
    server.onMessage((message) => socket.send(message));
    send = (message) => socket.send(JSON.stringify(message));
  });
  await award({ ann: 300 });
  await visit();
  await shows('ann 300');
  const version = await shownVersion();
  const list = (more) => ({ type: 'leaderboard.update', board, season: 1, updatedAt: new Date().toISOString(), players: 1, ...more });
  send(list({ version: version - 1, entries: [{ rank: 1, userId: 'old', displayName: 'Old', score: 1 }] }));
  send(list({ version, entries: [{ rank: 1, userId: 'same', displayName: 'Same', score: 2 }] }));
  send(list({ version: version + 1, board: 'other', entries: [{ rank: 1, userId: 'other', displayName: 'Other', score: 3 }] }));
  send(list({ version: version + 2, entries: [{ rank: 1, userId: 'new', displayName: 'New', score: 4 }] }));
  await shows('new 4');
  assert.equal(await shownVersion(), version + 2);
  const seen = await page.evaluate(() => window.moves.map(({ user }) => user));
  for (const user of ['old', 'same', 'other']) assert.ok(!seen.includes(user), `${user} was drawn`);
});

test('without WebSocket it uses server-sent events', async () => {
  await page.routeWebSocket(STREAM, (socket) => socket.close({ code: 1011 }));
  await award({ ann: 300 });
  await visit();
  await isState('live', 'sse');
  await award({ bob: 400 });
  await shows('bob 400, ann 300');
});

test('without any stream it polls, with ETag', async () => {
  const statuses = [];
  await page.routeWebSocket(STREAM, (socket) => socket.close({ code: 1011 }));
  await page.route(STREAM, (route) => route.abort());
  page.on('response', (response) => response.url().includes('/leaderboard/top') && statuses.push(response.status()));
  await award({ ann: 300 });
  await visit();
  await isState('polling', 'polling');
  await shows('ann 300');
  await until('an answer 304', () => statuses.includes(304));
  await award({ bob: 400 });
  await shows('bob 400, ann 300');
});

/* Nothing that can be read on the page calls it live. */
async function claimsNothing() {
  const words = `${await page.title()}\n${await page.innerText('body')}\n${await page.getAttribute('#state', 'title')}`;
  assert.doesNotMatch(words, /(?<!not )\blive\b/i);
}

/* Only the database goes; the bridge stays, with the last list in its memory. */
async function withoutDatabase(work) {
  await cluster.shutdown('immediate');
  try {
    await work();
  } finally {
    await cluster.revive();
  }
}

for (const transport of ['websocket', 'sse', 'polling']) {
  test(`says by ${transport} that it is not live while the database is away, and recovers`, async () => {
    if (transport !== 'websocket') await page.addInitScript(() => { window.WebSocket = class { constructor() { setTimeout(() => this.onclose({ code: 1006 })); } close() {} }; });
    if (transport === 'polling') await page.route(STREAM, (route) => route.abort());
    const good = transport === 'polling' ? 'polling' : 'live';
    await award({ ann: 300 });
    await visit();
    await isState(good, transport);
    await shows('ann 300');
    await withoutDatabase(async () => {
      await isState('stale', transport);
      await claimsNothing();
      assert.equal(await standing(), 'ann 300', 'the last list stays meanwhile');
      if (transport !== 'polling') assert.match(await page.textContent('#state-text'), /^Not live since .*\d/);
      await page.reload();
      await isState('stale', transport);
      await claimsNothing();
      await shows('ann 300');
    });
    await isState(good, transport);
    await award({ bob: 400 });
    await shows('bob 400, ann 300');
  });
}

test('says that it reconnects, and does', async () => {
  await award({ ann: 300 });
  await visit();
  await shows('ann 300');
  const { port } = bridge;
  await bridge.stop('SIGKILL');
  await isState('reconnecting');
  assert.equal(await standing(), 'ann 300', 'the last list stays meanwhile');
  await claimsNothing();
  await award({ bob: 400 });
  bridge = await startBridge(cluster, ['--www', WWW, '--listen', `127.0.0.1:${port}`]);
  await isState('live');
  await shows('bob 400, ann 300');
});

test('an unknown board is named as such', async () => {
  await visit('?board=no-such-board');
  await isState('refused');
  await until('the explanation', async () => (await page.textContent('#empty-title')).includes('no-such-board'));
});

test('names are text, whatever is in them', async () => {
  const name = '<img src=x onerror="window.bad=1"><b>x</b>';
  await award({ ann: 300 });
  await cluster.sql(`SELECT scoreboard_set_profile('ann', :'name');`, { name });
  await visit();
  await until('the name as text', async () => (await shown())[0]?.name === name);
  await award({ ann: 1, bob: 1000 });
  await award({ ann: 5000 });
  await shows('ann 5301, bob 1000');
  assert.equal(await page.$$eval('#list img, #list b, #feed img', (found) => found.length), 0);
  assert.ok((await page.textContent('#feed')).includes(name));
  assert.equal(await page.evaluate(() => window.bad), undefined);
  assert.deepEqual(complaints, []);
});

test('a board name in the address is text too', async () => {
  await visit('?board=%3Cimg%20src%3Dx%20onerror%3Dwindow.bad%3D1%3E');
  await isState('refused');
  assert.equal(await page.$$eval('main img', (found) => found.length), 0);
  assert.equal(await page.evaluate(() => window.bad), undefined);
});

/* Calls increment() of the page's own board; the promise's outcome ends up in window.outcome. */
const increment = (action) => page.evaluate(async (given) => {
  const module = await import('/page.js');
  window.outcome = null;
  module.board.increment(given).then((answer) => { window.outcome = answer; }, ({ code }) => { window.outcome = { code }; });
}, action);

const outcome = () => until('the increment to end', () => page.evaluate(() => window.outcome));

/* Holds increments back until the returned function lets them go. */
async function holdIncrements() {
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  await page.route(INCREMENT, async (route) => { await released; await route.continue(); });
  return release;
}

/* The page learns who it is from its first answer. */
async function becomeAnn() {
  await award({ ann: 100, bob: 150 });
  await visit();
  await shows('bob 150, ann 100');
  await increment({ ...actionFor(cluster, 'ann', { board, actionType: 'BONUS', points: 1 }), token: tokenFor(cluster, 'ann') });
  assert.equal((await outcome()).score, 101);
  await shows('bob 150, ann 101');
}

test('an increment shows before it is confirmed, and stays when it is', async () => {
  await becomeAnn();
  const release = await holdIncrements();
  await increment({ ...actionFor(cluster, 'ann', { board }), expectedPoints: 100, token: tokenFor(cluster, 'ann') });
  await shows('ann 201, bob 150');
  assert.equal((await shown())[0].pending, true);
  release();
  assert.equal((await outcome()).appliedPoints, 100);
  await until('the list to confirm it', async () => !(await shown())[0].pending);
  await shows('ann 201, bob 150');
  assert.equal(await page.$$eval('.notice', (found) => found.length), 0);
});

test('a list that outruns the answer does not count the points twice', async () => {
  await becomeAnn();
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  await page.route(INCREMENT, async (route) => {
    const response = await route.fetch();
    await released;
    await route.fulfill({ response });
  });
  await page.evaluate(async () => {
    window.scores = [];
    (await import('/page.js')).board.addEventListener('update', ({ detail }) => {
      window.scores.push(detail.document.entries.find(({ userId }) => userId === 'ann').score);
    });
  });
  const version = await shownVersion();
  await increment({ ...actionFor(cluster, 'ann', { board }), expectedPoints: 100, token: tokenFor(cluster, 'ann') });
  await until('the list with the points', async () => (await shownVersion()) > version);
  release();
  await outcome();
  await shows('ann 201, bob 150');
  assert.deepEqual([...new Set(await page.evaluate(() => window.scores))], [201]);
});

test('a board that tells how far its players have moved today has it beside their ranks, with own points that are on their way', async () => {
  await becomeAnn();
  await cluster.sql(`UPDATE scoreboard.board SET movement = 'day' WHERE name = :'board'`, { board });
  await until('the day to be told', async () => page.evaluate(async () => (await import('/page.js')).board.document.entries.every(({ movement }) => movement === 0)));
  const trends = async () => (await shown()).map(({ user, trend }) => `${user} ${trend}`.trim()).join(', ');
  const tells = (expected) => until(`the page to tell ${expected}`, async () => (await trends()) === expected)
    .catch(async (error) => assert.fail(`${error.message}; it tells ${await trends()}`));
  const spoken = (user) => page.$eval(`#list > li[data-user="${user}"] .trend`, (trend) => `${trend.getAttribute('role')} ${trend.getAttribute('aria-label')}`);
  const release = await holdIncrements();
  await increment({ ...actionFor(cluster, 'ann', { board }), expectedPoints: 100, token: tokenFor(cluster, 'ann') });
  await tells('ann ▲1, bob ▼1');
  assert.equal(await spoken('ann'), 'img up 1 since the day or season began');
  await award({ cleo: 1000 });
  await tells('cleo new, ann, bob ▼2');
  assert.equal(await spoken('bob'), 'img down 2 since the day or season began');
  assert.equal(await spoken('ann'), 'null null');
  release();
  await outcome();
  await award({ bob: 10000 });
  await tells('bob, cleo, ann ▼1');
});

test('a refused increment is taken back with a notice', async () => {
  await becomeAnn();
  const release = await holdIncrements();
  const forged = { ...actionFor(cluster, 'ann', { board }), receipt: `v1:test-key:${'0'.repeat(64)}` };
  await increment({ ...forged, expectedPoints: 100, token: tokenFor(cluster, 'ann') });
  await shows('ann 201, bob 150');
  release();
  assert.deepEqual(await outcome(), { code: 'INVALID_SIGNATURE' });
  await shows('bob 150, ann 101');
  const notice = await page.waitForSelector('.notice[data-code="INVALID_SIGNATURE"]');
  assert.match(await notice.textContent(), /taken back/);
  await page.click('.notice button');
  assert.equal(await page.$$eval('.notice', (found) => found.length), 0);
});

test('an increment whose answer is lost is sent again under the same key, and counts once', async () => {
  await becomeAnn();
  const keys = [];
  await page.route(INCREMENT, async (route) => {
    keys.push(route.request().headers()['idempotency-key']);
    if (keys.length > 1) return route.continue();
    await route.fetch(); /* it reaches the server, its answer reaches nobody */
    return route.abort('connectionreset');
  });
  await increment({ ...actionFor(cluster, 'ann', { board }), expectedPoints: 100, token: tokenFor(cluster, 'ann') });
  const answer = await outcome();
  assert.equal(answer.replayed, true);
  assert.equal(answer.score, 201);
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  await shows('ann 201, bob 150');
});

for (const width of [320, 390, 768, 1280]) {
  test(`fits a width of ${width}`, async () => {
    await openPage({ viewport: { width, height: 800 } });
    await award({ ann: 9007199254740, bob: 1 });
    await cluster.sql(`SELECT scoreboard_set_profile('ann', '${'Wolfeschlegelsteinhausen '.repeat(2).trim()}');`);
    await visit();
    await shows('ann 9007199254740, bob 1');
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'nothing to scroll sideways');
    assert.ok(await page.$eval('#list .score', (score) => score.getBoundingClientRect().right <= window.innerWidth));
  });
}
