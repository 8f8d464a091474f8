/*
 * Increments that outlive the page: kept in the browser until they are answered, sent again after a reload, counted once. Against a real
 * bridge and a real server, whose rows say how often something counted.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as test/lib/cluster.mjs and chromium.mjs.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { sitOn } from '../bridge/clients.mjs';
import { launch } from './chromium.mjs';

const WWW = fileURLToPath(new URL('../../bridge/www', import.meta.url));
const INCREMENT = '**/v1/scores/increment';

let cluster;
let bridge;
let browser;
let page;
let sent; /* idempotency keys, in the order of the tries */

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
  page = await (await browser.newContext()).newPage();
  sent = [];
  page.on('request', (request) => request.url().endsWith('/increment') && sent.push(request.headers()['idempotency-key']));
  await page.goto(bridge.url);
});

afterEach(() => page.context().close());

/* A Scoreboard of this player in the page; what it tells stands in window.told. */
const signIn = (user) => page.evaluate(async (token) => {
  const { Scoreboard } = await import('/scoreboard.js');
  window.told = [];
  window.mine = new Scoreboard({ token });
  window.mine.addEventListener('counted', ({ detail }) => window.told.push(`${detail.action.actionId} counted ${detail.answer.score}`));
  window.mine.addEventListener('notice', ({ detail }) => window.told.push(`${detail.action.actionId} ${detail.code}`));
  window.mine.open();
}, tokenFor(cluster, user));

const increment = (action) => page.evaluate((given) => { window.mine.increment(given).catch(() => {}); }, action);

const told = () => page.evaluate(() => window.told);
const tells = (expected) => until(`the page to tell ${expected}`, async () => (await told()).join(', ') === expected)
  .catch(async (error) => assert.fail(`${error.message}; it tells ${await told()}`));

/* What the browser keeps. */
const kept = () => page.evaluate(() => new Promise((resolve, reject) => {
  const request = indexedDB.open('scoreboard');
  request.onerror = () => reject(request.error);
  request.onsuccess = () => {
    const all = request.result.transaction('increments').objectStore('increments').getAll();
    all.onsuccess = () => { request.result.close(); resolve(all.result); };
  };
}));

const scoreOf = async (user) => Number(await cluster.sql(`SELECT coalesce(sum(score), 0) FROM scoreboard_ranks(ARRAY['${user}'])`));

test('what no answer came for is sent again after a reload, under its key, and counts once', async () => {
  await signIn('ann');
  await page.route(INCREMENT, (route) => route.abort());
  for (const actionId of ['a1', 'a2', 'a3']) await increment(actionFor(cluster, 'ann', { actionId }));
  await until('tries', () => new Set(sent).size >= 1 && sent.length >= 2);
  const before = (await kept()).map(({ key, action }) => `${key} ${action.actionId}`).sort();
  assert.equal(before.length, 3);
  assert.doesNotMatch(JSON.stringify(await kept()), /eyJ/, 'no token is kept');
  await page.reload();
  await page.unroute(INCREMENT);
  sent = [];
  await signIn('ann');
  await until('all to be counted', async () => (await told()).length === 3);
  assert.equal(await scoreOf('ann'), 300);
  assert.deepEqual([...sent].sort(), before.map((line) => line.split(' ')[0]).sort());
  await until('nothing to be kept', async () => (await kept()).length === 0);
});

test('what was counted, and whose answer a reload has lost, is answered then and not counted again', async () => {
  await signIn('bob');
  await page.route(INCREMENT, async (route) => { await route.fetch(); await route.abort(); });
  await increment(actionFor(cluster, 'bob', { actionId: 'b1' }));
  await until('it to be counted', async () => await scoreOf('bob') === 100);
  await page.reload();
  await page.unroute(INCREMENT);
  await signIn('bob');
  await tells('b1 counted 100');
  assert.equal(await scoreOf('bob'), 100);
});

test("a player's queue waits for that player", async () => {
  await signIn('cleo');
  await page.route(INCREMENT, (route) => route.abort());
  await increment(actionFor(cluster, 'cleo', { actionId: 'c1' }));
  await until('a try', () => sent.length > 0);
  await page.reload();
  await page.unroute(INCREMENT);
  await signIn('dora');
  await increment(actionFor(cluster, 'dora', { actionId: 'd1' }));
  await tells('d1 counted 100');
  assert.deepEqual((await kept()).map(({ action }) => action.actionId), ['c1']);
  await page.reload();
  await signIn('cleo');
  await tells('c1 counted 100');
});

test('what an earlier page left and the server refuses is told', async () => {
  await signIn('emil');
  await page.route(INCREMENT, (route) => route.abort());
  await increment({ ...actionFor(cluster, 'emil', { actionId: 'e1' }), receipt: `v1:test-key:${'0'.repeat(64)}` });
  await until('a try', () => sent.length > 0);
  await page.reload();
  await page.unroute(INCREMENT);
  await signIn('emil');
  await tells('e1 INVALID_SIGNATURE');
  await until('nothing to be kept', async () => (await kept()).length === 0);
});

test('what could not be sent for days is given up, and told', async () => {
  await signIn('ida');
  await page.route(INCREMENT, (route) => route.abort());
  await increment(actionFor(cluster, 'ida', { actionId: 'i1' }));
  await until('a try', () => sent.length > 0);
  await page.evaluate(() => new Promise((resolve, reject) => {
    const request = indexedDB.open('scoreboard');
    request.onsuccess = () => {
      const store = request.result.transaction('increments', 'readwrite').objectStore('increments');
      const all = store.getAll();
      all.onsuccess = () => all.result.forEach((one) => store.put({ ...one, created: one.created - 7 * 86400000 }));
      store.transaction.onabort = () => reject(store.transaction.error);
      store.transaction.oncomplete = () => { request.result.close(); resolve(); };
    };
  }));
  await page.reload();
  await page.unroute(INCREMENT);
  await signIn('ida');
  await tells('i1 EXPIRED');
  await until('nothing to be kept', async () => (await kept()).length === 0);
  assert.equal(await scoreOf('ida'), 0);
});

test('without a network actions wait in line; when it is back each counts once', async () => {
  await signIn('fay');
  await increment(actionFor(cluster, 'fay', { actionId: 'f0' }));
  await tells('f0 counted 100');
  await page.context().setOffline(true);
  for (let index = 1; index <= 20; index += 1) await increment(actionFor(cluster, 'fay', { actionId: `f${index}` }));
  await until('a try', () => sent.length > 1);
  await page.context().setOffline(false);
  await until('all to be counted', async () => (await told()).length === 21);
  assert.ok((await told()).every((line) => line.includes('counted')));
  assert.equal(await scoreOf('fay'), 2100);
});

test('two tabs of a player send what is left, and it counts once', async () => {
  await signIn('gus');
  await page.route(INCREMENT, (route) => route.abort());
  for (let index = 0; index < 5; index += 1) await increment(actionFor(cluster, 'gus', { actionId: `g${index}` }));
  await until('a try', () => sent.length > 0);
  const first = page;
  page = await first.context().newPage();
  await page.goto(bridge.url);
  await signIn('gus');
  await until('this one to be told', async () => (await told()).length === 5);
  await first.unroute(INCREMENT);
  await first.evaluate(() => window.mine.retry());
  await until('the other one to be told', () => first.evaluate(() => window.told.length === 5));
  for (const tab of [first, page]) assert.ok((await tab.evaluate(() => window.told)).every((line) => line.includes('counted')));
  assert.equal(await scoreOf('gus'), 500);
});

test('a reload in the middle of many, again and again, loses none and counts none twice', async () => {
  const release = (index) => actionFor(cluster, 'hal', { actionId: `h${index}` });
  for (let round = 0; round < 5; round += 1) {
    await signIn('hal');
    const begun = sent.length;
    await page.evaluate((actions) => { actions.forEach((action) => { window.mine.increment(action).catch(() => {}); }); },
      Array.from({ length: 8 }, (_, index) => release(8 * round + index)));
    await until('all to be kept or sent', () => sent.length > begun + round);
    await page.reload();
  }
  await signIn('hal');
  await until('nothing to be kept', async () => (await kept()).length === 0);
  const counted = Number(await cluster.sql("SELECT count(*) FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id = 'hal'"));
  assert.equal(await scoreOf('hal'), 100 * counted);
  assert.equal(counted, new Set(sent).size, 'each key that was sent counts, once');
});

test('a bridge that is killed while actions are on their way costs none, and none counts twice', async () => {
  await signIn('jon');
  const { port } = bridge;
  const free = await sitOn(cluster, 'jon'); /* so that the first round's are surely on their way */
  for (let round = 0; round < 4; round += 1) {
    await page.evaluate((actions) => { actions.forEach((action) => { window.mine.increment(action).catch(() => {}); }); },
      Array.from({ length: 10 }, (_, index) => actionFor(cluster, 'jon', { actionId: `j${10 * round + index}` })));
    if (round === 0) await until('one to be on its way', () => sent.length > 0);
    await bridge.stop('SIGKILL');
    bridge = await startBridge(cluster, ['--www', WWW, '--listen', `127.0.0.1:${port}`]);
    if (round === 0) await free();
  }
  await until('all to be counted', async () => { await page.evaluate(() => window.mine.retry()); return (await told()).length === 40; });
  assert.ok((await told()).every((line) => line.includes('counted')));
  assert.equal(await scoreOf('jon'), 4000);
  assert.ok(sent.length > 40, 'some had to be sent again');
});
