/*
 * Increments and what else is asked of the database: neither takes the other's connections, or its turn, or stops where the other can't go on.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, assertError, award, increment, openSession } from './clients.mjs';

let cluster;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await award(cluster, 'ann', 10);
});

after(() => cluster?.stop());

/** How many sessions of bridges wait for a lock. */
const waiting = () => cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'test_bridge' AND wait_event_type = 'Lock' AND query NOT LIKE '%documents%'").then(Number);

/* Reads of the boards wait for whoever holds the published lists; increments don't look at them. */
const holdLists = () => openSession(cluster, "LOCK TABLE scoreboard.top; SELECT 'held'");

/** So many of them under way: `answers` fills as they come. */
function askForBoards(bridge, number) {
  const answers = [];
  const all = Promise.all(Array.from({ length: number }, async () => { answers.push((await ask(bridge, '/v1/boards')).status); }));
  return { answers, all };
}

test('reads that hang behind a lock leave increments a connection', async (t) => {
  const bridge = await startBridge(cluster, ['--database-timeout', '60s']);
  t.after(() => bridge.stop());
  const release = await holdLists();
  t.after(() => release());
  const { answers, all } = askForBoards(bridge, 12);
  await until('the reads to hang', async () => await waiting() >= 3);
  for (let i = 0; i < 5; i++) assert.equal((await increment(bridge, cluster, `other-${i}`)).status, 200);
  assert.deepEqual(answers, []);
  await release();
  await all;
  assert.deepEqual(new Set(answers), new Set([200]));
});

test('increments that hang behind a lock leave reads a connection', async (t) => {
  const bridge = await startBridge(cluster, ['--submit-timeout', '60s']);
  t.after(() => bridge.stop());
  const release = await openSession(cluster, "LOCK TABLE scoreboard.action; SELECT 'held'");
  t.after(() => release());
  const counted = [];
  const all = Promise.all(Array.from({ length: 12 }, async (_, i) => { counted.push((await increment(bridge, cluster, `many-${i}`)).status); }));
  await until('an increment to hang', async () => await waiting() >= 1);
  for (let i = 0; i < 5; i++) assert.equal((await ask(bridge, '/v1/users/ann/score')).status, 200);
  assert.deepEqual(counted, []);
  await release();
  await all;
  assert.deepEqual(new Set(counted), new Set([200]));
});

test('with one connection they take turns, however many of one kind wait', async (t) => {
  const bridge = await startBridge(cluster, ['--database-timeout', '60s', '--submit-timeout', '60s', '--pool-size', '1']);
  t.after(() => bridge.stop());
  const release = await holdLists();
  t.after(() => release());
  const { answers, all } = askForBoards(bridge, 100);
  await until('a read to hang', async () => await waiting() >= 1);
  /* Taken: an answer to what came behind it on the same connection says so. */
  const action = actionFor(cluster, 'bob');
  let before = Infinity;
  const counted = increment(bridge, cluster, 'bob', { action }).then((answer) => { before = answers.length; return answer; });
  await ask(bridge, '/health');
  await release();
  assert.equal((await counted).status, 200);
  await all;
  assert.ok(before < 50, `${before} of 100 reads came first`);
});

test("whoever's row is held up is told to come again, and holds nobody up", { timeout: 50000 }, async (t) => {
  const bridge = await startBridge(cluster, ['--database-timeout', '10m']);
  t.after(() => bridge.stop());
  const release = await openSession(cluster, "UPDATE scoreboard.player SET avatar_url = NULL WHERE user_id = 'ann'; SELECT 'held'");
  t.after(() => release());
  const choose = () => ask(bridge, '/v1/users/me/visibility', { method: 'PUT', body: '{"listed":true}',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${tokenFor(cluster, 'ann')}` } });
  const choices = Promise.all(Array.from({ length: 6 }, choose));
  assert.equal((await ask(bridge, '/v1/users/ann/score')).status, 200);
  for (const answer of await choices) assertError(answer, 503, 'UNAVAILABLE');
  await release();
  assert.equal((await choose()).status, 200);
});

test('what a full disk keeps from being counted keeps nobody from reading', async (t) => {
  const bridge = await startBridge(cluster, ['--submit-timeout', '5s', '--reconnect-max', '5s']);
  t.after(() => bridge.stop());
  await cluster.sql(`
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it lasts' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER fail AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION fail()`);
  t.after(() => cluster.sql('SET client_min_messages = error; DROP FUNCTION fail() CASCADE'));
  let refused = false;
  const denied = Promise.all(Array.from({ length: 20 }, async (_, i) => { assertError(await increment(bridge, cluster, `denied-${i}`), 503, 'UNAVAILABLE'); refused = true; }));
  /* All the time until they are given up, pauses and all. */
  let reads = 0;
  for (; !refused; reads++) assert.equal((await ask(bridge, '/v1/users/ann/score')).status, 200);
  assert.ok(reads > 20, `${reads} reads`);
  await denied;
});

test('whoever asks for what an older extension lacks stops no increments', async (t) => {
  const bridge = await startBridge(cluster, ['--reconnect-max', '5s']);
  t.after(() => bridge.stop());
  await cluster.sql('ALTER FUNCTION scoreboard.view RENAME TO gone');
  t.after(() => cluster.sql('ALTER FUNCTION scoreboard.gone RENAME TO view'));
  await until('refusals without a question', async () => {
    const answer = await ask(bridge, '/v1/leaderboard/view');
    assertError(answer, 503, 'UNAVAILABLE');
    assert.equal((await increment(bridge, cluster, 'undisturbed')).status, 200);
    assert.equal((await ask(bridge, '/ready')).status, 200);
    return answer.text.includes("can't be asked");
  });
});
