/*
 * Increments travel together, and none of them pays for its company.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, assertError, increment, openSession, sitOn } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';

const SUBMIT = /scoreboard\.submit/;

let cluster;
let proxy;

before(async () => { cluster = await startCluster(UNLIMITED); });

after(() => cluster?.stop());

/* A bridge with few connections, and what it says to the database seen. */
async function narrow(t, ...settings) {
  proxy = await DatabaseProxy.start(cluster);
  const bridge = await startBridge(cluster, ['--database', proxy.conninfo(), '--pool-size', '1', '--max-connections-per-address', '2000', ...settings]);
  t.after(async () => {
    await bridge.stop('SIGKILL');
    proxy.stop();
  });
  return bridge;
}

const elements = (statement) => JSON.parse(statement.parameters[0]);

const batches = () => proxy.asked(SUBMIT);

const triesOf = (action) => batches().flatMap(elements).filter(({ actionId }) => actionId === action.actionId);

const counted = async (user) => Number(await cluster.sql(
  "SELECT count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = :'user'", { user }));

/* Keeps the pool's connection busy with an increment of `first`, and sends these meanwhile. The answers, first's before them. */
async function together(bridge, requests) {
  const trap = proxy.hold(SUBMIT);
  const first = increment(bridge, cluster, 'first');
  await trap.catches();
  const answers = requests.map(({ user, ...options }) => increment(bridge, cluster, user, options));
  await Promise.all(Array.from({ length: 20 }, () => ask(bridge, '/health')));
  trap.release();
  return Promise.all([first, ...answers]);
}

const crowd = (count, name) => Array.from({ length: count }, (_, i) => ({ user: `${name}-${i}` }));

test('what comes while the connection is busy goes in few calls, and each gets its own answer', async (t) => {
  const bridge = await narrow(t);
  const requests = crowd(300, 'ann');
  const [, ...answers] = await together(bridge, requests);
  answers.forEach((answer, i) => {
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.userId, requests[i].user);
  });
  const sizes = batches().map((batch) => elements(batch).length);
  assert.equal(sizes.reduce((a, b) => a + b), 301);
  assert.ok(sizes.length < 60, `${sizes}`);
  assert.ok(Math.max(...sizes) <= 200, `${sizes}`);
});

test('refusals stand beside what is counted, each with its own id', async (t) => {
  const bridge = await narrow(t);
  const action = actionFor(cluster, 'bea-0');
  const requests = [{ user: 'bea-0', action, key: 'a' }, { user: 'bea-1' }, { user: 'bea-0', action, key: 'b' },
    { user: 'bea-2', action: actionFor(cluster, 'bea-2', { board: 'nowhere' }) }, { user: 'bea-3', token: 'bad' }, { user: 'bea-4' }];
  const answers = (await together(bridge, requests)).slice(1);
  const [one, twin] = [answers[0], answers[2]].sort((a, b) => a.status - b.status);
  assert.equal(one.status, 200);
  assertError(twin, 409, 'DUPLICATE_ACTION');
  assertError(answers[3], 404, 'NOT_FOUND');
  assertError(answers[4], 401, 'UNAUTHORIZED');
  for (const i of [1, 5]) assert.equal(answers[i].status, 200);
});

for (const [what, kind, deferral] of [['in the statement', '', ''], ['at COMMIT', 'CONSTRAINT', 'DEFERRABLE INITIALLY DEFERRED']]) {
  test(`one that fails ${what} harms none of its neighbours`, async (t) => {
    const bridge = await narrow(t);
    const name = `cid${kind}`;
    await cluster.sql(`
      CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
          IF (SELECT user_id FROM scoreboard.player WHERE player_id = NEW.player_id) = '${name}-bad' THEN RAISE 'poison'; END IF;
          RETURN NEW;
        END $$;
      CREATE ${kind} TRIGGER poison AFTER INSERT ON scoreboard.action ${deferral} FOR EACH ROW EXECUTE FUNCTION poison()`);
    t.after(() => cluster.sql('SET client_min_messages = error; DROP FUNCTION poison() CASCADE'));
    const requests = [...crowd(10, name), { user: `${name}-bad`, key: 'mine' }, ...crowd(10, `${name}-x`)];
    const answers = (await together(bridge, requests)).slice(1);
    for (const [i, answer] of answers.entries()) {
      const bad = requests[i].user === `${name}-bad`;
      if (bad) assertError(answer, 500, 'INTERNAL');
      else assert.equal(answer.status, 200, `${requests[i].user}: ${answer.text}`);
      assert.equal(await counted(requests[i].user), bad ? 0 : 1);
    }
    assert.ok(batches().length < 60);
  });
}

test('one whose player is locked waits alone', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '30s');
  const release = await sitOn(cluster, 'dan-locked');
  const action = actionFor(cluster, 'dan-locked');
  let free = false;
  const locked = { user: 'dan-locked', action };
  const answers = together(bridge, [...crowd(5, 'dan'), locked, ...crowd(5, 'dan-x')]);
  answers.then(() => { assert.ok(free, 'answered while the lock was held'); });
  await until('everybody else to be counted', async () => await cluster.sql("SELECT count(*) FROM scoreboard.player WHERE user_id LIKE 'dan-%'") >= 10);
  await until('some more tries', () => triesOf(action).length >= 4);
  free = true;
  await release('COMMIT');
  for (const answer of await answers) assert.equal(answer.status, 200, answer.text);
  assert.equal(await counted('dan-locked'), 2);
});

test("each has its own deadline, whatever it travels with", async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '2s');
  const release = await sitOn(cluster, 'eli');
  const action = actionFor(cluster, 'eli');
  const old = increment(bridge, cluster, 'eli', { action });
  await until('some tries', () => triesOf(action).length >= 10);
  const trap = proxy.hold(SUBMIT);
  let late = false;
  const young = increment(bridge, cluster, 'eli-young').finally(() => { late = true; });
  assertError(await old, 503, 'UNAVAILABLE');
  assert.equal(late, false);
  assertError(await young, 503, 'UNAVAILABLE');
  trap.release();
  await release();
  await until('the connection to serve again', async () => (await increment(bridge, cluster, 'eli')).status === 200);
});

test('a connection cut between COMMIT and answer: tried again under the same key, counted once', async (t) => {
  const bridge = await narrow(t);
  const all = crowd(20, 'fay').map(({ user }) => ({ user, action: actionFor(cluster, user) }));
  const trap = proxy.hold(SUBMIT);
  const answers = [increment(bridge, cluster, 'fay-0', all[0])];
  const { connection } = await trap.catches();
  answers.push(...all.slice(1).map(({ user, action }) => increment(bridge, cluster, user, { action })));
  await until('the first to be committed', async () => await counted('fay-0') === 1);
  trap.spring();
  connection.cut();
  for (const [i, answer] of (await Promise.all(answers)).entries()) {
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.replayed, i === 0);
    assert.equal(await counted(all[i].user), 1);
    assert.equal(new Set(triesOf(all[i].action).map(({ idempotencyKey }) => idempotencyKey)).size, 1);
  }
  assert.ok(triesOf(all[0].action).length >= 2);
});

/* The server says so with a warning, and with PGRES_COMMAND_OK all the same. */
test('what a synchronous standby has not confirmed is not answered as counted', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '3s');
  const names = async (value) => {
    await cluster.sql(`SET synchronous_commit = local; ALTER SYSTEM SET synchronous_standby_names = '${value}'`);
    await cluster.sql('SELECT pg_reload_conf() \\g /dev/null');
    await until('the setting', async () => await cluster.sql('SHOW synchronous_standby_names') === value);
  };
  const action = actionFor(cluster, 'gil');
  await names('nobody');
  try {
    const answer = increment(bridge, cluster, 'gil', { action, key: 'k' });
    await until('it to wait for the standby', async () => await cluster.sql(
      "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'test_bridge'") !== '0');
    assertError(await answer, 503, 'UNAVAILABLE');
  } finally {
    await names('');
  }
  const again = await increment(bridge, cluster, 'gil', { action, key: 'k' });
  assert.equal(again.status, 200, again.text);
  assert.equal(again.json.replayed, true);
  assert.equal(await counted('gil'), 1);
});

/* ---- what is given up ---- */

const gate = (user) => `
  CREATE TABLE gate ();
  CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
    BEGIN
      IF (SELECT user_id FROM scoreboard.player WHERE player_id = NEW.player_id) LIKE '${user}' THEN PERFORM FROM gate; END IF;
      RETURN NEW;
    END $$;
  CREATE TRIGGER gate AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION pass()`;

/* Until the returned function is called every increment of such a player waits for a lock that its batch can't get around. */
async function shutGate(t, user = '%') {
  await cluster.sql(gate(user));
  const open = await openSession(cluster, "LOCK gate; SELECT 'held'");
  t.after(async () => {
    await open();
    await cluster.sql('SET client_min_messages = error; DROP TABLE gate; DROP FUNCTION pass() CASCADE');
  });
  return open;
}

const backends = async (condition = 'true') => (await cluster.sql(
  `SELECT pid FROM pg_stat_activity WHERE usename = 'test_bridge' AND ${condition} ORDER BY pid`)).split('\n').filter(Boolean);

test('one that hangs harms none of its neighbours: they go alone', async (t) => {
  const bridge = await narrow(t, '--pool-size', '2', '--submit-timeout', '6s');
  const open = await shutGate(t, 'kim-bad');
  const requests = [...crowd(10, 'kim'), { user: 'kim-bad' }, ...crowd(10, 'kim-x')];
  const answers = (await together(bridge, requests)).slice(1);
  for (const [i, answer] of answers.entries()) {
    if (requests[i].user === 'kim-bad') assertError(answer, 503, 'UNAVAILABLE');
    else assert.equal(answer.status, 200, `${requests[i].user}: ${answer.text}`);
  }
  await open();
});

test('what is given up behind a lock is cancelled at the server, and the connections stay what they were', async (t) => {
  const bridge = await narrow(t, '--pool-size', '4', '--submit-timeout', '500ms', '--reconnect-max', '100ms');
  await Promise.all(crowd(20, 'hob').map(({ user }) => increment(bridge, cluster, user)));
  const open = await shutGate(t);
  let most = 0;
  for (let round = 0; round < 8; round++) {
    const answers = crowd(8, `given-up-${round}`).map(({ user }) => increment(bridge, cluster, user));
    for (const answer of await Promise.all(answers)) assertError(answer, 503, 'UNAVAILABLE');
    most = Math.max(most, (await backends()).length);
  }
  assert.ok(most <= 6, `${most} backends`);
  await until('nothing to wait behind the lock', async () => (await backends("wait_event_type = 'Lock'")).length === 0);
  assert.ok(proxy.opened <= 8, `${proxy.opened} connections were made`);
  await open();
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id LIKE 'given-up-%'"), '0');
  await until('it to go on', async () => (await increment(bridge, cluster, 'hob')).status === 200);
});

test('a client that goes leaves nothing at the server that nobody waits for, beyond the deadline', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '1s');
  const open = await shutGate(t);
  const abort = new AbortController();
  const gone = increment(bridge, cluster, 'ida', { signal: abort.signal }).catch(({ name }) => name);
  await until('it to wait behind the lock', async () => (await backends("wait_event_type = 'Lock'")).length === 1);
  abort.abort();
  assert.equal(await gone, 'AbortError');
  await until('nothing to wait behind the lock', async () => (await backends("wait_event_type = 'Lock'")).length === 0);
  await open();
});

test("a bridge's sudden death leaves no backend behind a lock", async (t) => {
  const bridge = await startBridge(cluster);
  t.after(() => bridge.stop());
  const open = await shutGate(t);
  const lost = increment(bridge, cluster, 'jon').catch(() => 'lost');
  await until('it to wait behind the lock', async () => (await backends("wait_event_type = 'Lock'")).length === 1);
  await bridge.stop('SIGKILL');
  assert.equal(await lost, 'lost');
  await until('its backends to end', async () => (await backends()).length === 0);
  await open();
});
