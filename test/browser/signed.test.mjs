/*
 * scoreboard.js with a player's token, against a real bridge: boards that aren't public, by every transport, and a player with more
 * streams than a bridge gives.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as test/lib/cluster.mjs and chromium.mjs.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBridge, startCluster, tokenFor } from '../lib/cluster.mjs';
import { launch } from './chromium.mjs';

const WWW = fileURLToPath(new URL('../../bridge/www', import.meta.url));

let cluster;
let bridge;
let browser;
let page;
let addresses;

before(async () => {
  cluster = await startCluster({ 'scoreboard.rate_limit': 0, 'scoreboard.burst_limit': 0 });
  bridge = await startBridge(cluster, ['--www', WWW]);
  browser = await launch();
  await cluster.sql("INSERT INTO scoreboard.board (name, title, visibility) VALUES ('club', 'For members', 'token')");
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
  await cluster?.stop();
});

beforeEach(async () => {
  page = await (await browser.newContext()).newPage();
  addresses = [];
  page.on('request', (request) => addresses.push(request.url()));
  page.on('websocket', (socket) => addresses.push(socket.url()));
  await page.goto(bridge.url);
});

afterEach(() => page.context().close());

const follow = (options) => page.evaluate(async (given) => {
  const { Scoreboard } = await import('/scoreboard.js');
  (await import('/page.js')).board.close();
  window.boards ??= [];
  window.boards.push(new Scoreboard(given).open());
}, options);

const is = (status, index = 0) => page.waitForFunction(([one, at]) => window.boards[at].state.status === one, [status, index]);

let awards = 0;
const award = (board) => cluster.sql(`SELECT score FROM scoreboard_increment_for('ann', 'AWARD', 'award-${awards += 1}', board => '${board}', points => 1)`);

for (const transport of ['websocket', 'sse', 'polling']) {
  test(`a board that is not public is followed by ${transport} with a token, and refused without`, async () => {
    const token = tokenFor(cluster, 'ann');
    await follow({ board: 'club', token, transports: [transport], pollMs: 1000 });
    await is(transport === 'polling' ? 'polling' : 'live');
    const score = Number(await award('club'));
    await page.waitForFunction((wanted) => window.boards[0].document.entries[0]?.score === wanted, score);
    assert.ok(addresses.every((one) => !one.includes(token)));
    if (transport === 'websocket') return; /* it can't tell why it fails */
    await follow({ board: 'club', transports: [transport] });
    await is('refused', 1);
    assert.equal(await page.evaluate(() => window.boards[1].state.error.code), 'UNAUTHORIZED');
  });
}

test('without a token all transports are tried, and the refusal is told', async () => {
  await follow({ board: 'club' });
  await is('refused');
});

for (const transport of ['websocket', 'sse']) {
  test(`who has more streams by ${transport} than a bridge gives polls with the oldest, and all of them show what happens`, async () => {
    const token = tokenFor(cluster, `bob-${transport}`);
    const transports = [transport, 'polling'];
    for (let index = 0; index < 3; index += 1) {
      await follow({ token, transports });
      await is('live', index);
    }
    await follow({ token, transports });
    await is('live', 3);
    await is('polling', 0);
    const score = Number(await award('global'));
    await page.waitForFunction((wanted) => window.boards.every(({ document }) => document.entries[0]?.score === wanted), score);
    assert.deepEqual(await page.evaluate(() => window.boards.map(({ state }) => state.status)), ['polling', 'live', 'live', 'live']);
  });
}
