/*
 * An answer tells the end of the transaction, not of the statement: what COMMIT itself refuses is an error, what passes by itself is tried
 * again under the same key, and nothing that was answered is lost.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, assertAlive, assertError, increment, openSession, sitOn } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';

let cluster;
let bridge;

const counted = (user) => cluster.sql("SELECT count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = :'user'", { user });

/* A trigger of somebody's on the log. A sequence counts its calls, since that survives a rollback. */
const trigger = (body, { deferred = false } = {}) => cluster.sql(`
  CREATE SEQUENCE calls;
  CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
    DECLARE call bigint := nextval('calls'); BEGIN ${body} RETURN NEW; END $$;
  CREATE ${deferred ? 'CONSTRAINT ' : ''}TRIGGER meddle AFTER INSERT ON scoreboard.action
    ${deferred ? 'DEFERRABLE INITIALLY DEFERRED' : ''} FOR EACH ROW EXECUTE FUNCTION meddle()`);

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--submit-timeout', '2s']);
});

afterEach(() => cluster.sql('SET client_min_messages = error; DROP FUNCTION IF EXISTS meddle() CASCADE; DROP SEQUENCE IF EXISTS calls'));

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

test('an increment that fails at COMMIT is not answered as counted', async () => {
  await trigger("RAISE 'too late';", { deferred: true });
  const answer = await increment(bridge, cluster, 'ann');
  assertError(answer, 500, 'INTERNAL');
  assert.equal(await counted('ann'), '0');
});

test('after that the same key counts it once', async () => {
  await trigger("IF call = 1 THEN RAISE 'too late'; END IF;", { deferred: true });
  const action = actionFor(cluster, 'bea');
  assertError(await increment(bridge, cluster, 'bea', { action, key: 'k' }), 500, 'INTERNAL');
  const second = await increment(bridge, cluster, 'bea', { action, key: 'k' });
  assert.equal(second.status, 200);
  assert.equal(second.json.replayed, false);
});

for (const [what, deferred] of [['in the statement', false], ['at COMMIT', true]]) {
  for (const state of ['40001', '40P01', '55P03', '57P03', '08006', '25P03']) {
    test(`${state} ${what} is tried again`, async () => {
      await trigger(`IF call < 4 THEN RAISE 'again' USING ERRCODE = '${state}'; END IF;`, { deferred });
      const user = `again-${state}-${deferred}`;
      const answer = await increment(bridge, cluster, user);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.json.replayed, false);
      assert.equal(await counted(user), '1');
      assert.equal(await cluster.sql('SELECT last_value FROM calls'), '4');
    });
  }
}

test('what never passes is given up with 503, and the key can be used later', async () => {
  await trigger("RAISE 'again' USING ERRCODE = '40001';");
  const action = actionFor(cluster, 'cid');
  const answer = await increment(bridge, cluster, 'cid', { action });
  assertError(answer, 503, 'UNAVAILABLE');
  const key = answer.headers.get('idempotency-key');
  await cluster.sql('DROP FUNCTION meddle() CASCADE');
  const second = await increment(bridge, cluster, 'cid', { action, key });
  assert.equal(second.json.replayed, false);
  assert.equal((await increment(bridge, cluster, 'cid', { action, key })).json.replayed, true);
  assert.equal(await counted('cid'), '1');
});

test("a backend that dies at COMMIT: the bridge's own retry counts once", async () => {
  await trigger('IF call = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;', { deferred: true });
  const answer = await increment(bridge, cluster, 'dan');
  assert.equal(answer.status, 200, answer.text);
  assert.equal(await counted('dan'), '1');
});

test("a session that sits on its own player's lock holds up nobody else", async () => {
  const release = await sitOn(cluster, 'eli');
  const waiting = Array.from({ length: 12 }, () => increment(bridge, cluster, 'eli'));
  for (let i = 0; i < 20; i++) assert.equal((await increment(bridge, cluster, `passer-${i}`)).status, 200);
  release('COMMIT');
  for (const answer of await Promise.all(waiting)) assert.ok([200, 503].includes(answer.status), answer.text);
  await assertAlive(bridge);
});

/* Those with its key that went to the database, however they were put together. */
const triesOf = (proxy, action) => proxy.asked(/submit/).flatMap(({ parameters }) => JSON.parse(parameters[0]))
  .filter(({ actionId }) => actionId === action.actionId);

test('an increment that waits for its player is tried again, always under one key, and answered when the lock is free', async (t) => {
  const proxy = await DatabaseProxy.start(cluster);
  t.after(() => proxy.stop());
  const patient = await startBridge(cluster, ['--database', proxy.conninfo(), '--submit-timeout', '30s']);
  t.after(() => patient.stop());
  const release = await sitOn(cluster, 'fay');
  const action = actionFor(cluster, 'fay');
  let answered = false;
  const answer = increment(patient, cluster, 'fay', { action }).finally(() => { answered = true; });
  await until('some tries', () => triesOf(proxy, action).length >= 3);
  assert.equal(answered, false);
  release('ROLLBACK');
  const { status, text, json, headers } = await answer;
  assert.equal(status, 200, text);
  assert.equal(json.score, 100);
  assert.equal(json.replayed, false);
  assert.deepEqual([...new Set(triesOf(proxy, action).map(({ idempotencyKey }) => idempotencyKey))], [headers.get('idempotency-key')]);
  assert.equal(await counted('fay'), '1');
});

test('a client that has gone takes nothing with it', async () => {
  const release = await sitOn(cluster, 'gil');
  const abort = new AbortController();
  const gone = increment(bridge, cluster, 'gil', { signal: abort.signal }).catch(({ name }) => name);
  await increment(bridge, cluster, 'passer');
  abort.abort();
  assert.equal(await gone, 'AbortError');
  release('COMMIT');
  await until('the increment nobody waits for', async () => await counted('gil') === '2');
  await assertAlive(bridge);
});

test('one database connection serves many players at once', async () => {
  const narrow = await startBridge(cluster, ['--pool-size', '1']);
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => increment(narrow, cluster, `crowd-${i}`)));
  assert.ok(answers.every(({ status }) => status === 200));
  await narrow.stop();
});

test('a queue that is full refuses with 503 and the key, at once', async () => {
  const narrow = await startBridge(cluster, ['--pool-size', '1', '--queue-size', '5', '--submit-timeout', '3s']);
  await cluster.sql('CREATE TABLE gate (); GRANT SELECT ON gate TO PUBLIC');
  await trigger('PERFORM FROM gate;');
  const unlock = await openSession(cluster, "LOCK gate; SELECT 'held'");
  const requests = Array.from({ length: 40 }, (_, i) => increment(narrow, cluster, `queue-${i}`));
  const first = await Promise.any(requests);
  assertError(first, 503, 'UNAVAILABLE');
  assert.ok(first.headers.get('idempotency-key'));
  await unlock();
  const answers = await Promise.all(requests);
  assert.ok(answers.some(({ status }) => status === 200));
  assert.ok(answers.every(({ status }) => status === 200 || status === 503));
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.player WHERE user_id LIKE 'queue-%'"), `${answers.filter(({ status }) => status === 200).length}`);
  await narrow.stop();
});
