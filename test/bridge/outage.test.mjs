/*
 * The database goes away and comes back: streams stay open and end up with the truth, increments are told to come again, and their keys
 * count once.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, Versions, ask, assertError, award, increment, messageOf, openEvents, openSocket, published } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';

/* One Retry-After's worth of waiting would be too long for a test. */
const QUICK = ['--reconnect-max', '200ms', '--submit-timeout', '1s', '--max-connections-per-address', '1000'];

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, QUICK);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const ready = async (at) => (await ask(at, '/ready')).status === 200;

/* 200 WebSockets and 50 event streams; what each has seen is checked as it goes. */
async function crowd() {
  const streams = await Promise.all(Array.from({ length: 250 }, (_, i) => (i < 200 ? openSocket(bridge) : openEvents(bridge))));
  return {
    all: async (message) => {
      for (const stream of streams) await until('the final version', () => stream.last === message);
      const versions = new Versions();
      for (const stream of streams) {
        const newest = new Map();
        stream.messages.forEach((text) => versions.take(text, newest));
        assert.equal(stream.closed, null);
        assert.equal(stream.messages.length, new Set(stream.messages).size, 'nothing twice');
      }
    },
    close: () => streams.forEach((stream) => stream.close()),
  };
}

test('the connection that listens is killed under load: every client gets the final version, staying connected', async () => {
  const people = await crowd();
  let running = true;
  const killer = (async () => {
    while (running) {
      await cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'scoreboard.documents|LISTEN' AND pid <> pg_backend_pid() \\g /dev/null");
      await until('it to listen again', () => ready(bridge));
    }
  })();
  for (let i = 0; i < 30; i++) assert.equal((await increment(bridge, cluster, `runner-${i % 5}`)).status, 200);
  running = false;
  await killer;
  await award(cluster, 'last', 5000);
  await people.all(messageOf(await published(cluster, 'last', 5000)));
  people.close();
});

test('every database connection is killed under load: increments are counted once', async () => {
  let running = true;
  const killer = (async () => {
    while (running) await cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'test_bridge' \\g /dev/null");
  })();
  let answered = 0;
  for (let i = 0; i < 40; i++) {
    const action = actionFor(cluster, 'martyr');
    for (let key; ;) {
      const answer = await increment(bridge, cluster, 'martyr', { action, key });
      key = answer.headers.get('idempotency-key');
      if (answer.status === 200) break;
      assertError(answer, 503, 'UNAVAILABLE');
    }
    answered += 100;
  }
  running = false;
  await killer;
  assert.equal(await cluster.sql("SELECT score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = 'martyr'"), `${answered}`);
});

test('the server restarts: clients stay connected and get the final version', async () => {
  const people = await crowd();
  await cluster.control('restart', '-m', 'fast');
  await award(cluster, 'phoenix', 6000);
  await people.all(messageOf(await published(cluster, 'phoenix', 6000)));
  people.close();
});

test('during an outage lists are served, increments refused with their key, and readiness says so', async () => {
  await until('readiness', () => ready(bridge));
  await award(cluster, 'quin', 7000);
  const document = await published(cluster, 'quin', 7000);
  await until('the list', async () => (await ask(bridge, '/v1/leaderboard/top')).text === document);
  const stream = await openSocket(bridge);
  await cluster.shutdown();
  const actions = Array.from({ length: 5 }, (_, i) => ({ user: `patient-${i}`, action: actionFor(cluster, `patient-${i}`) }));
  await Promise.all(actions.map(async (one) => {
    const answer = await increment(bridge, cluster, one.user, one);
    assertError(answer, 503, 'UNAVAILABLE');
    one.key = answer.headers.get('idempotency-key');
    assert.ok(one.key);
  }));
  assertError(await ask(bridge, '/ready'), 503, 'UNAVAILABLE');
  assert.equal((await ask(bridge, '/health')).status, 200);
  assert.equal((await ask(bridge, '/v1/leaderboard/top')).text, document);
  const late = await openEvents(bridge);
  await late.receives(messageOf(document));
  /* After some failures in a row nobody waits for the time-out any more; the key is there all the same. */
  await until('refusals at once', () => bridge.log.some(({ msg }) => msg.includes('refused until')));
  const refused = await increment(bridge, cluster, 'patient-0', { ...actions[0] });
  assertError(refused, 503, 'UNAVAILABLE');
  assert.equal(refused.headers.get('idempotency-key'), actions[0].key);

  await cluster.start();
  await until('readiness', () => ready(bridge));
  for (const { user, action, key } of actions) {
    const first = await increment(bridge, cluster, user, { action, key });
    assert.equal(first.status, 200, first.text);
    const again = await increment(bridge, cluster, user, { action, key });
    assert.deepEqual(again.json, { ...first.json, replayed: true });
  }
  assert.equal(await cluster.sql("SELECT count(*), sum(score) FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id LIKE 'patient-%'"), '5|500');
  await award(cluster, 'quin', 1);
  const last = messageOf(await published(cluster, 'quin', 7001));
  await stream.receives(last);
  await late.receives(last);
  stream.close();
  late.close();
});

test('increments are refused at once after failures in a row only', async (t) => {
  const proxy = await DatabaseProxy.start(cluster);
  t.after(() => proxy.stop());
  const shaky = await startBridge(cluster, ['--database', proxy.conninfo(), '--pool-size', '1', '--reconnect-max', '100ms']);
  t.after(() => shaky.stop());
  /* Three would be too many for the one connection of the pool; the one that listens may have some of them. */
  for (let round = 0; round < 8; round++) {
    proxy.refusals = 2;
    proxy.cut();
    await until('it to be back', async () => proxy.refusals === 0 && (await increment(shaky, cluster, 'shaken')).status === 200 && ready(shaky));
  }
  assert.ok(!shaky.log.some(({ msg }) => msg.includes('refused until')), JSON.stringify(shaky.log));
});

test('a bridge may be started before its database', async () => {
  await cluster.shutdown();
  /* Whoever waits for this time-out waits in vain. */
  const early = await startBridge(cluster, [...QUICK, '--submit-timeout', '10m'], { ready: false });
  assert.equal((await ask(early, '/health')).status, 200);
  assertError(await ask(early, '/ready'), 503, 'UNAVAILABLE');
  assertError(await ask(early, '/v1/leaderboard/top'), 503, 'UNAVAILABLE');
  assertError(await ask(early, '/v1/leaderboard/stream', { headers: { accept: 'text/event-stream' } }), 503, 'UNAVAILABLE');
  await assert.rejects(openSocket(early), /503/);
  await until('refusals at once', () => early.log.some(({ msg }) => msg.includes('refused until')));
  const answer = await increment(early, cluster, 'early', { signal: AbortSignal.timeout(30000) });
  assertError(answer, 503, 'UNAVAILABLE');
  assert.ok(answer.headers.get('idempotency-key'));
  await cluster.start();
  await until('readiness', () => ready(early));
  assert.equal((await ask(early, '/v1/leaderboard/top')).status, 200);
  assert.equal((await increment(early, cluster, 'early')).status, 200);
  /* Those of the other bridge too: each has four, and one that listens. */
  await until('all connections to be there', async () => await cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'test_bridge'") >= 10);
  assert.equal(await early.stop(), 0);
});

/*
 * What keeps the bridge from its work until somebody does something: a few attempts, each later than the one before, one sentence that
 * says what to do, and no restart once it is done.
 */
const obstacles = {
  'a database without the extension': {
    database: 'bare', user: 'test_bridge', says: /CREATE EXTENSION/,
    mend: (sql) => sql("SET client_min_messages = error; CREATE EXTENSION scoreboard CASCADE; SELECT scoreboard_grant_access('test_bridge', 'gateway') \\g /dev/null"),
  },
  'a role without rights': {
    database: 'scoreboard', user: 'newcomer', says: /GRANT|scoreboard_grant_access/,
    mend: (sql) => sql("SELECT scoreboard_grant_access('newcomer', 'gateway') \\g /dev/null"),
  },
};

for (const [what, { database, user, says, mend }] of Object.entries(obstacles)) {
  test(`${what}: said once, asked seldom, gone when it is mended`, async (t) => {
    await cluster.sql(user === 'newcomer' ? 'CREATE ROLE newcomer LOGIN' : `CREATE DATABASE ${database}`);
    const proxy = await DatabaseProxy.start(cluster);
    t.after(() => proxy.stop());
    const lost = await startBridge(cluster, ['--database', proxy.conninfo(`dbname=${database} user=${user}`)], { ready: false });
    t.after(() => lost.stop());
    const from = performance.now();
    await until('some attempts', () => proxy.asked(/scoreboard\.documents/).length >= 7);
    /* With pauses of 100 ms and up, each twice the last and cut by half at most. */
    assert.ok(performance.now() - from > 1500, 'seven attempts came too fast');
    assertError(await ask(lost, '/ready'), 503, 'UNAVAILABLE');
    assert.equal(lost.log.filter((line) => says.test(JSON.stringify(line))).length, 1, JSON.stringify(lost.log));
    assert.ok(lost.log.filter(({ level }) => level === 'warn' || level === 'error').length <= 3, JSON.stringify(lost.log));
    await mend((text) => cluster.sql(`\\c ${database}\n${text}`));
    await until('readiness', () => ready(lost));
  });
}

for (const [state, what] of [['53100', 'a full disk'], ['53200', 'no memory'], ['58030', 'a broken disk'], ['55000', 'a state that something has to be done about']]) {
  test(`${what} is asked seldom while it lasts, for all together`, async (t) => {
    await cluster.sql(`
      CREATE SEQUENCE calls;
      CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
        BEGIN PERFORM nextval('calls'); RAISE 'it lasts' USING ERRCODE = '${state}'; END $$;
      CREATE TRIGGER fail AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION fail()`);
    let standing = true;
    const mend = async () => {
      if (standing) await cluster.sql('SET client_min_messages = error; DROP FUNCTION fail() CASCADE; DROP SEQUENCE calls');
      standing = false;
    };
    t.after(mend);
    const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => increment(bridge, cluster, `needy-${i}`)));
    for (const answer of answers) assertError(answer, 503, 'UNAVAILABLE');
    const calls = Number(await cluster.sql('SELECT last_value FROM calls'));
    assert.ok(calls <= 40, `${calls} calls`);
    assert.equal((await ask(bridge, '/v1/leaderboard/top')).status, 200);
    await mend();
    await until('increments to be taken again', async () => (await increment(bridge, cluster, `needy-${state}`)).status === 200);
  });
}

test('while an error lasts increments are refused at once', async (t) => {
  const patient = await startBridge(cluster, ['--submit-timeout', '10m', '--reconnect-max', '5s']);
  await cluster.sql(`
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it lasts' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER fail AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION fail()`);
  t.after(async () => {
    await cluster.sql('SET client_min_messages = error; DROP FUNCTION fail() CASCADE');
    await patient.stop();
  });
  const abort = new AbortController();
  const refused = [];
  /* Some that are waited for, until the error has come often enough in a row. */
  await until('a refusal', () => {
    if (refused.length === 0) {
      increment(patient, cluster, 'denied', { signal: abort.signal }).then((answer) => refused.push(answer), () => {});
    }
    return refused.length > 0;
  });
  assertError(refused[0], 503, 'UNAVAILABLE');
  abort.abort();
});
