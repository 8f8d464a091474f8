/*
 * Increments travel together, and none of them pays for its company.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
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

/* So long that whatever the bridge had to do about what was sent before is done. */
const settle = (bridge) => Promise.all(Array.from({ length: 20 }, () => ask(bridge, '/health')));

/* Keeps the pool's connection busy with an increment of `first`, and sends these meanwhile. The answers, first's before them. */
async function together(bridge, requests) {
  const trap = proxy.hold(SUBMIT);
  const first = increment(bridge, cluster, 'first');
  await trap.catches();
  const answers = requests.map(({ user, ...options }) => increment(bridge, cluster, user, options));
  await settle(bridge);
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

test('what has to be verified goes alone, and its neighbours are not held up', async (t) => {
  const bridge = await narrow(t);
  await cluster.sql(`
    INSERT INTO scoreboard.action_type (name, points) VALUES ('VERIFIED', 1);
    CREATE FUNCTION honest(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT action ->> 'userId' <> 'vic-liar' $$;
    SELECT scoreboard_set_verifier('VERIFIED', 'honest(jsonb)')`);
  const verified = (user) => ({ user, action: actionFor(cluster, user, { actionType: 'VERIFIED' }) });
  const [good, liar] = [verified('vic-good'), verified('vic-liar')];
  const answers = (await together(bridge, [...crowd(5, 'vic'), good, liar, ...crowd(5, 'vic-x')])).slice(1);
  for (const [i, answer] of answers.entries()) {
    if (i === 6) assertError(answer, 403, 'ACTION_NOT_ALLOWED');
    else assert.equal(answer.status, 200, answer.text);
  }
  for (const { action } of [good, liar]) {
    const sizes = batches().map(elements).filter((batch) => batch.some(({ actionId }) => actionId === action.actionId)).map(({ length }) => length);
    assert.deepEqual(sizes.slice(1), [1], `${sizes}`);
  }
  assert.equal(await counted('vic-good'), 1);
  assert.equal(await counted('vic-liar'), 0);
  await until('the liar is flagged', async () => await cluster.sql("SELECT string_agg(user_id || ' ' || kind, ' ') FROM scoreboard_flags()") === 'vic-liar verifier');
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

/* As long as nothing is given up at the server the bridge has no connection more. */
test('those in a call that hangs are answered when their time is over, not when the call is given up', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '9s');
  const users = crowd(6, 'lee').map(({ user }) => user);
  const locks = await Promise.all(users.map((user) => sitOn(cluster, user)));
  const from = Date.now();
  const answers = users.map((user) => increment(bridge, cluster, user));
  await until('most of their time to be over', () => Date.now() - from > 7000);
  const { opened } = proxy;
  let trap;
  await until('a call with several of them', async () => {
    trap?.release();
    trap = proxy.hold(SUBMIT);
    await trap.catches();
    return elements(trap.caught[0]).length >= 2;
  });
  for (const answer of await Promise.all(answers)) assertError(answer, 503, 'UNAVAILABLE');
  await settle(bridge);
  assert.equal(proxy.opened, opened);
  trap.release();
  for (const release of locks) await release();
  await until('the connection to serve again', async () => (await increment(bridge, cluster, users[0])).status === 200);
});

test('an error that passes for all but one: they are tried again without it', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '4s');
  await cluster.sql(`
    CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison' USING ERRCODE = '40001'; END $$;
    CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON scoreboard.action DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
      WHEN (NEW.action_id = 'passing') EXECUTE FUNCTION poison()`);
  t.after(() => cluster.sql('SET client_min_messages = error; DROP FUNCTION poison() CASCADE'));
  const [, bad, ...others] = await together(bridge, [{ user: 'leo-bad', action: actionFor(cluster, 'leo-bad', { actionId: 'passing' }) }, ...crowd(5, 'leo')]);
  assertError(bad, 503, 'UNAVAILABLE');
  for (const answer of others) assert.equal(answer.status, 200, answer.text);
});

test('who was with one that failed goes alone from then on', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '30s');
  await cluster.sql(`
    CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison'; END $$;
    CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON scoreboard.action DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
      WHEN (NEW.action_id = 'poison') EXECUTE FUNCTION poison()`);
  const users = ['max-0', 'max-1', 'max-2'];
  const locks = await Promise.all(users.map((user) => sitOn(cluster, user)));
  const release = () => Promise.all(locks.map((end) => end()));
  t.after(async () => {
    await release();
    await cluster.sql('SET client_min_messages = error; DROP FUNCTION poison() CASCADE');
  });
  const actions = users.map((user) => actionFor(cluster, user));
  const answers = together(bridge, [...users.map((user, i) => ({ user, action: actions[i] })),
    { user: 'max-bad', action: actionFor(cluster, 'max-bad', { actionId: 'poison' }) }]);
  await until('many tries', () => actions.every((action) => triesOf(action).length >= 15));
  for (const { actionId } of actions) {
    const sizes = batches().map(elements).filter((batch) => batch.some((one) => one.actionId === actionId)).map((batch) => batch.length);
    assert.deepEqual(sizes, [4, ...sizes.slice(1).map(() => 1)]);
  }
  await release();
  const [, ...said] = await answers;
  assertError(said.pop(), 500, 'INTERNAL');
  for (const { status, text } of said) assert.equal(status, 200, text);
});

test('calls that take long leave the other connections to others', async (t) => {
  const bridge = await narrow(t, '--pool-size', '5', '--submit-timeout', '10m');
  await Promise.all(crowd(20, 'ned').map(({ user }) => increment(bridge, cluster, user)));
  const before = batches().length;
  const trap = proxy.hold(SUBMIT);
  const answers = [];
  for (let i = 0; i < 4; i++) {
    answers.push(increment(bridge, cluster, `ned-${i}`));
    await until(`call ${i + 1}`, () => batches().length > before + i);
  }
  trap.release();
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200, answer.text);
});

test('so many wait for a connection, the next is refused at once, and that is so however many came before', async (t) => {
  const bridge = await narrow(t, '--queue-size', '5', '--submit-timeout', '10m');
  for (let i = 0; i < 12; i++) assert.equal((await increment(bridge, cluster, 'ole', { signal: AbortSignal.timeout(30000) })).status, 200);
  const trap = proxy.hold(SUBMIT);
  const inside = [increment(bridge, cluster, 'ole-first')];
  await trap.catches();
  inside.push(...crowd(5, 'ole').map(({ user }) => increment(bridge, cluster, user)));
  let early = false;
  inside.forEach((answer) => answer.finally(() => { early = true; }));
  await settle(bridge);
  let refused;
  increment(bridge, cluster, 'ole-late').then((answer) => { refused = answer; });
  assertError(await until('the refusal', () => refused), 503, 'UNAVAILABLE');
  assert.equal(early, false);
  trap.release();
  for (const answer of await Promise.all(inside)) assert.equal(answer.status, 200, answer.text);
});

/* How often its main thread is woken in a second. */
async function wakeUps(bridge) {
  const count = async () => Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(await readFile(`/proc/${bridge.child.pid}/status`, 'utf8'))[1]);
  const before = await count();
  await pause(1000);
  return await count() - before;
}

test('a bridge with nothing to do sleeps, after its work as before', async (t) => {
  const bridge = await narrow(t, '--look-interval', '1h');
  const idle = await wakeUps(bridge);
  for (const answer of await Promise.all(crowd(20, 'pam').map(({ user }) => increment(bridge, cluster, user)))) assert.equal(answer.status, 200);
  await until('it to sleep as long as before', async () => await wakeUps(bridge) < idle + 15);
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

const CANCEL = /pg_cancel_backend/;

test('nothing is sent to a connection whose call is being cancelled', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '1s', '--database-timeout', '1m');
  const open = await shutGate(t, 'quy-bad');
  const trap = proxy.hold(CANCEL);
  assertError(await increment(bridge, cluster, 'quy-bad'), 503, 'UNAVAILABLE');
  await trap.catches();
  await until('the call to be cancelled', async () => (await backends("wait_event_type = 'Lock'")).length === 0);
  await settle(bridge);
  const action = actionFor(cluster, 'quy');
  assertError(await increment(bridge, cluster, 'quy', { action }), 503, 'UNAVAILABLE');
  assert.equal(triesOf(action).length, 0);
  trap.release();
  await until('it to go on', async () => (await increment(bridge, cluster, 'quy', { action })).status === 200);
  await open();
});

test('what has ended by itself is not cancelled any more', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '4s', '--database-timeout', '1500ms', '--reconnect-max', '100ms', '--look-interval', '1h');
  const first = proxy.hold(SUBMIT);
  proxy.mute = true;
  assertError(await increment(bridge, cluster, 'rob'), 503, 'UNAVAILABLE');
  first.release();
  await settle(bridge);
  proxy.mute = false;
  /* The next in the same connection has more time than it takes to connect. */
  const second = proxy.hold(SUBMIT);
  assertError(await increment(bridge, cluster, 'rob-next'), 503, 'UNAVAILABLE');
  assert.equal(proxy.asked(CANCEL).length, 0, 'for this one the bridge has yet to connect');
  assert.equal(second.caught.length, 1);
  second.release();
  await until('it to go on', async () => (await increment(bridge, cluster, 'rob')).status === 200);
});

test('the loss of the connection that cancels is the end of one cancelling only', async (t) => {
  const bridge = await narrow(t, '--submit-timeout', '1s', '--database-timeout', '1s', '--reconnect-max', '100ms');
  const open = await shutGate(t, 'sue-bad');
  const trap = proxy.hold(CANCEL);
  assertError(await increment(bridge, cluster, 'sue-bad'), 503, 'UNAVAILABLE');
  (await trap.catches()).connection.cut();
  trap.spring();
  await until('it to go on', async () => (await increment(bridge, cluster, 'sue')).status === 200);
  const before = proxy.asked(CANCEL).length;
  assertError(await increment(bridge, cluster, 'sue-bad'), 503, 'UNAVAILABLE');
  await until('the next to be cancelled', () => proxy.asked(CANCEL).length > before);
  await until('nothing to wait behind the lock', async () => (await backends("wait_event_type = 'Lock'")).length === 0);
  /* Without a call to cancel it doesn't come back. */
  await until('it to go on', async () => (await increment(bridge, cluster, 'sue')).status === 200);
  for (let round = 0; round < 5; round++) {
    proxy.cut();
    await until('the others to be back', async () => (await ask(bridge, '/ready')).status === 200 && (await increment(bridge, cluster, 'sue')).status === 200);
    /* Ready may still be what it was before the cut. */
    await until('both of them', () => proxy.carried.size >= 2);
    assert.equal(proxy.carried.size, 2);
  }
  await open();
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
