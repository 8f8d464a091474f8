/*
 * A bridge of several workers is one bridge: its limits, its lists, its numbers, its signals; and the loss of a worker costs its clients a
 * new connection and nothing else.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Raw, STREAM, UNLIMITED, Versions, assertError, award, openEvents, openSession, openSocket, published, stored } from './clients.mjs';
import { scrape, value } from './scraping.mjs';
import { atWorker, killWorker, once_, pids, startWorkers } from './working.mjs';

const TOP = '/v1/leaderboard/top';
const HEALTH = 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n';

let cluster;

before(async () => { cluster = await startCluster({ ...UNLIMITED, max_connections: 200 }); });
after(() => cluster?.stop());

const run = (...args) => new Promise((resolve) => {
  execFile(process.env.BRIDGE ?? 'scoreboard-bridge', args, { env: { PATH: process.env.PATH }, timeout: 20000 },
    (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stderr }));
});

const childrenOf = async (pid) => (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').filter(Boolean).map(Number);

const isThere = (pid) => { try { process.kill(pid, 0); return true; } catch { return false; } };

const score = (user) => cluster.sql("SELECT coalesce(sum(score), 0) FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = :'user'", { user });

/* On a connection of its own, to whichever worker takes it. */
const post = (bridge, user, action, key) => once_(bridge, '/v1/scores/increment', { method: 'POST', body: JSON.stringify(action),
  headers: { 'content-type': 'application/json', authorization: `Bearer ${tokenFor(cluster, user)}`, 'idempotency-key': key } });

/* ---- the setting, and the processes ---- */

for (const number of ['0', '-1', '65', '1000', 'x', '2.5', '']) {
  test(`--workers '${number}' is refused`, async () => {
    const { status, stderr } = await run('--listen', '127.0.0.1:0', '--workers', number);
    assert.equal(status, 2);
    assert.match(stderr, /^scoreboard-bridge: --workers[: ][^\n]+\n$/);
  });
}

test('one worker is one process, without anybody above it', async () => {
  for (const settings of [[], ['--workers', '1']]) {
    const bridge = await startBridge(cluster, settings);
    assert.deepEqual(await childrenOf(bridge.child.pid), []);
    assert.ok(!bridge.log.some((line) => 'worker' in line));
    assert.equal(await bridge.stop(), 0);
  }
});

test('several are below one process, say in the log which they are, and end with it', async () => {
  const bridge = await startWorkers(cluster, ['--workers', '3']);
  assert.deepEqual((await childrenOf(bridge.child.pid)).sort(), [...pids(bridge)].sort());
  assert.equal(bridge.log.filter(({ msg }) => msg === 'listening').length, 1);
  assert.equal(await bridge.stop(), 0);
  assert.ok(!pids(bridge).some(isThere));
});

test('a variable says it as well', async () => {
  const bridge = await startBridge(cluster, [], { environment: { SCOREBOARD_WORKERS: '2' } });
  assert.equal(pids(bridge).length, 2);
  assert.equal(await bridge.stop(), 0);
});

test('a port that is taken, and a certificate that is none, end it with one sentence and status 1', async (t) => {
  const first = await startWorkers(cluster, []);
  t.after(() => first.stop());
  for (const args of [['--listen', `127.0.0.1:${first.port}`], ['--listen', '127.0.0.1:0', '--tls-certificate', '/etc/passwd', '--tls-key', '/etc/passwd']]) {
    const { status, stderr } = await run('--workers', '4', ...args);
    assert.equal(status, 1);
    assert.match(stderr, /^scoreboard-bridge: [^\n]+\n$/);
  }
});

test('new connections are spread', async (t) => {
  const bridge = await startWorkers(cluster, ['--max-connections-per-address', '2000', '--metrics-listen', '127.0.0.1:0']);
  t.after(() => bridge.stop());
  const raws = [];
  for (let i = 0; i < 600; i += 50) {
    const some = Array.from({ length: 50 }, () => new Raw(bridge).send(HEALTH));
    await Promise.all(some.map((raw) => raw.answer()));
    raws.push(...some);
  }
  const files = await Promise.all(pids(bridge).map(async (pid) => (await promisify(execFile)('ls', [`/proc/${pid}/fd`])).stdout.trim().split('\n').length));
  const [few, many] = files.sort((a, b) => a - b);
  assert.ok(many - few <= 64 + 50, `${few} and ${many} descriptors`);
  raws.forEach((raw) => raw.close());
});

/* ---- limits ---- */

test('requests of an address are counted, and blocked, over all workers', async (t) => {
  const bridge = await startWorkers(cluster, ['--requests-per-minute', '10']);
  t.after(() => bridge.stop());
  const status = async (index, localAddress = '127.0.0.1') => (await atWorker(bridge, index, () => once_(bridge, TOP, { localAddress }))).status;
  for (let i = 0; i < 10; i++) assert.equal(await status(i % 2), 200, `request ${i}`);
  for (const index of [0, 1, 1, 0]) assert.equal(await status(index), 429);
  assert.equal(await status(0, '127.0.0.2'), 200);
  assert.equal(await status(1, '127.0.0.2'), 200);
  /* Nor does the loss of a worker end the block. */
  await killWorker(bridge, 0);
  for (const index of [0, 1]) assert.equal(await status(index), 429);
});

/* A connection that is used, so that it is known to be in, or out. */
async function enter(bridge, options) {
  const raw = new Raw(bridge, options).send(HEALTH);
  await until('an answer or the end', () => raw.ended || raw.received.length > 0);
  return raw;
}

test('connections of an address are counted over all workers, and a dead one\'s are given back', async (t) => {
  const bridge = await startWorkers(cluster, ['--max-connections-per-address', '4']);
  t.after(() => bridge.stop());
  const inside = [[], []];
  for (let i = 0; i < 4; i++) inside[i % 2].push(await atWorker(bridge, i % 2, () => enter(bridge)));
  assert.ok(inside.flat().every(({ ended }) => !ended));
  for (const index of [0, 1]) assert.ok((await atWorker(bridge, index, () => enter(bridge))).ended, `a fifth, at worker ${index}`);
  assert.ok(!(await atWorker(bridge, 1, () => enter(bridge, { localAddress: '127.0.0.2' }))).ended);
  inside[0][0].close();
  inside[0][0] = await until('room at the other', async () => {
    const raw = await atWorker(bridge, 1, () => enter(bridge));
    return !raw.ended && raw;
  });
  process.kill(pids(bridge)[1], 'SIGKILL');
  for (const raw of [inside[0][0], ...inside[1]]) await raw.ends();
  const more = await until('three places', async () => {
    const raws = [await enter(bridge), await enter(bridge), await enter(bridge)];
    if (raws.every(({ ended }) => !ended)) return raws;
    raws.forEach((raw) => raw.close());
    return null;
  });
  assert.ok((await enter(bridge)).ended, 'and no more than these');
  more.forEach((raw) => raw.close());
});

test('a player has three streams in all workers together: the oldest is closed, wherever it is', async (t) => {
  const bridge = await startWorkers(cluster, []);
  t.after(() => bridge.stop());
  const headers = { authorization: `Bearer ${tokenFor(cluster, 'pat')}` };
  const open = (index, opener = openSocket) => atWorker(bridge, index, async () => {
    const stream = await opener(bridge, { headers });
    await until('the snapshot', () => stream.messages.length);
    return stream;
  });
  const first = [await open(0), await open(0, openEvents), await open(1)];
  const fourth = await open(1);
  await first[0].ends();
  assert.equal(first[0].closed.code, 4002);
  const fifth = await open(1, openEvents);
  await first[1].ends();
  assert.equal(first[1].comment, 'close 4002');
  assert.ok(![first[2], fourth, fifth].some(({ closed }) => closed));
  /* One that has left of its own is not missed. */
  first[2].close();
  await until('it to be gone', async () => (await cluster.sql('SELECT 1')) && first[2].closed);
  const sixth = await open(0);
  const seventh = await open(0);
  await fourth.ends();
  assert.equal(fourth.closed.code, 4002);
  const [eighth, ninth] = [await open(1), await open(1)];
  for (const stream of [fifth, sixth]) await stream.ends();
  /* Those of a dead worker don't count, although they were newer than the one that is left. */
  await killWorker(bridge, 1);
  for (const stream of [eighth, ninth]) await stream.ends();
  const [tenth, eleventh] = [await open(1), await open(1)];
  assert.ok(![seventh, tenth, eleventh].some(({ closed }) => closed));
  const twelfth = await open(0);
  await seventh.ends();
  assert.equal(seventh.closed.code, 4002);
  [tenth, eleventh, twelfth].forEach((stream) => { assert.ok(!stream.closed); stream.close(); });
});

/* ---- one list ---- */

test('a list never goes back, whichever worker is asked', async (t) => {
  const bridge = await startWorkers(cluster, ['--look-interval', '1h']);
  t.after(() => bridge.stop());
  const versions = new Versions();
  const look = (index) => atWorker(bridge, index, () => once_(bridge, TOP));
  await award(cluster, 'lee', 1);
  await published(cluster, 'lee', 1);
  for (const index of [0, 1]) await until('the list', async () => (await look(index)).text === await stored(cluster));
  /* The server's side of one worker's feed stands still, so that this worker hears nothing of what follows. */
  const listeners = (await cluster.sql("SELECT pid FROM pg_stat_activity WHERE usename = 'test_bridge' AND query LIKE '%scoreboard.documents(%' ORDER BY pid")).split('\n').map(Number);
  assert.equal(listeners.length, 2);
  process.kill(listeners[0], 'SIGSTOP');
  t.after(() => { try { process.kill(listeners[0], 'SIGCONT'); } catch { /* the bridge has left it */ } });
  const streams = [];
  for (const index of [0, 1]) streams.push(await atWorker(bridge, index, () => openSocket(bridge)));
  for (const stream of streams) await until('the list', () => stream.messages.length);
  await award(cluster, 'lee', 1);
  const document = await published(cluster, 'lee', 2);
  const seen = await until('one worker to have it', () => streams.findIndex(({ messages }) => messages.some((text) => text.includes(document.slice(1)))) + 1);
  const behind = 2 - seen;
  assert.equal(streams[behind].messages.length, 1, 'the other one has not');
  versions.take(document);
  for (const index of [behind, 1 - behind, behind]) {
    const answer = await look(index);
    assert.equal(answer.text, document);
    versions.take(answer.text);
  }
  /* A new stream there is told nothing older either, and gets the new list as soon as the worker has it. */
  const late = await atWorker(bridge, behind, async () => {
    const stream = await openSocket(bridge);
    await until('the status', () => stream.statuses.length);
    return stream;
  });
  assert.deepEqual(late.messages, []);
  process.kill(listeners[0], 'SIGCONT');
  for (const stream of [late, streams[behind]]) {
    await until('the list', () => stream.messages.length > (stream === late ? 0 : 1));
    assert.ok(stream.last.includes(document.slice(1)));
  }
  [...streams, late].forEach((stream) => stream.close());
});

/* ---- numbers ---- */

test('/metrics answers for all workers, whoever is away', async (t) => {
  const bridge = await startWorkers(cluster, ['--metrics-listen', '127.0.0.1:0']);
  t.after(() => bridge.stop());
  const streams = [];
  for (const index of [0, 1, 1]) {
    await atWorker(bridge, index, async () => {
      for (let i = 0; i <= index; i++) assert.equal((await once_(bridge, TOP)).status, 200);
      streams.push(await openSocket(bridge), await openEvents(bridge));
    });
  }
  const check = async () => {
    const now = await scrape(bridge);
    const label = `method="GET",route="${TOP}"`;
    assert.equal(value(now, `scoreboard_bridge_requests_total{${label},code="OK"}`), 5);
    assert.equal(value(now, `scoreboard_bridge_request_seconds_count{${label}}`), 5);
    assert.equal(value(now, 'scoreboard_bridge_streams{kind="websocket"}'), 3);
    assert.equal(value(now, 'scoreboard_bridge_streams{kind="sse"}'), 3);
    assert.equal(value(now, 'scoreboard_bridge_board_subscribers{board="global"}'), 6);
    assert.equal(value(now, 'scoreboard_bridge_connections'), 6);
    assert.equal(value(now, 'scoreboard_bridge_connections_limit'), 2 * 16384);
    assert.equal(value(now, 'scoreboard_bridge_database_connections'), 10);
    assert.equal(value(now, 'scoreboard_bridge_workers_wanted'), 2);
    return now;
  };
  await until('the connections of requests to be gone', async () => value(await scrape(bridge), 'scoreboard_bridge_connections') === 6);
  const now = await check();
  assert.equal(value(now, 'scoreboard_bridge_workers'), 2);
  assert.equal(value(now, 'scoreboard_bridge_live'), 1);
  const before = value(now, 'scoreboard_bridge_publications_total{board="global"}');
  await award(cluster, 'met', 1);
  await until('the publication, counted once', async () => value(await scrape(bridge), 'scoreboard_bridge_publications_total{board="global"}') === before + 1);
  /* The one that answers scrapers stands still: another one does so after a moment, and says what is missing. */
  await atWorker(bridge, 1, async () => {
    const without = await check();
    assert.equal(value(without, 'scoreboard_bridge_workers'), 1);
    assert.equal(value(without, 'scoreboard_bridge_live'), 0);
  });
  streams.forEach((stream) => stream.close());
});

/* Every counter and every count of a histogram. */
const counters = ({ samples, types }) => new Map([...samples].filter(([name]) => {
  const bare = name.replace(/\{.*/, '');
  return types.get(bare) === 'counter' || types.get(bare.replace(/_(bucket|sum|count)$/, '')) === 'histogram';
}));

test('a worker that is killed under load: its clients come again, nothing acknowledged is lost, no counter falls', async (t) => {
  const bridge = await startWorkers(cluster, ['--metrics-listen', '127.0.0.1:0', '--max-connections-per-address', '4000', '--log-level', 'debug']);
  t.after(() => bridge.stop());
  const streams = await Promise.all(Array.from({ length: 60 }, (_, i) => (i % 2 ? openSocket : openEvents)(bridge)));
  let last = counters(await scrape(bridge));
  const falls = [];
  const look = async () => {
    const now = counters(await scrape(bridge).catch(() => ({ samples: last, types: new Map() })));
    for (const [name, number] of now) if (number < (last.get(name) ?? 0)) falls.push(`${name}: ${last.get(name)}, then ${number}`);
    if (now.size) last = now;
  };
  let acknowledged = 0;
  let over = false;
  const player = async (user) => {
    for (let i = 0; !over; i++) {
      const action = actionFor(cluster, user);
      await until('an answer', async () => (await post(bridge, user, action, `${user}-${i}`).catch(() => ({}))).status === 200);
      acknowledged++;
    }
  };
  const players = Array.from({ length: 8 }, (_, i) => player(`load-${i}`));
  for (const index of [0, 1, 0]) {
    const from = acknowledged;
    await until('some load', () => acknowledged > from + 50);
    await look();
    await killWorker(bridge, index);
    await look();
  }
  over = true;
  await Promise.all(players);
  await look();
  assert.deepEqual(falls, []);
  assert.equal(Number(await cluster.sql("SELECT sum(score) FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id LIKE 'load-%'")), 100 * acknowledged);
  const all = await scrape(bridge);
  assert.equal(value(all, 'scoreboard_bridge_worker_restarts_total'), 3);
  assert.ok(value(all, 'scoreboard_bridge_requests_total{method="POST",route="/v1/scores/increment",code="OK"}') > 100);
  for (const stream of streams) await stream.ends();
  await until('their places to be free', async () => value(await scrape(bridge), 'scoreboard_bridge_connections') === 0);
  assert.equal(value(await scrape(bridge), 'scoreboard_bridge_streams{kind="websocket"}'), 0);
  const again = await Promise.all(streams.map((_, i) => (i % 2 ? openSocket : openEvents)(bridge)));
  for (const stream of again) await until('the list', () => stream.messages.length);
  again.forEach((stream) => stream.close());
  const died = bridge.log.filter(({ msg }) => msg === 'worker died');
  assert.deepEqual(died.map(({ worker, signal }) => [worker, signal]), [[1, 9], [2, 9], [1, 9]]);
  assert.deepEqual(bridge.log.filter((line) => !line.time), [], 'every line is whole');
});

test('one that dies again and again is started after growing pauses, and the others go on', async (t) => {
  const bridge = await startWorkers(cluster, []);
  t.after(() => bridge.stop());
  const stream = await atWorker(bridge, 0, () => openSocket(bridge));
  const deaths = () => bridge.log.filter(({ msg }) => msg === 'worker died');
  for (let i = 1; i <= 4; i++) {
    const pid = pids(bridge)[1];
    process.kill(pid, 'SIGKILL');
    await until('the death to be said', () => deaths().length === i);
    assert.equal((await once_(bridge, TOP)).status, 200);
    await until('the successor', () => pids(bridge)[1] !== pid);
  }
  const pauses = deaths().map((line) => line.pause_ms);
  assert.ok(pauses[0] <= 100 && pauses[3] >= 350 && pauses[3] <= 800, `${pauses}`);
  assert.ok(!stream.closed);
  stream.close();
});

/* ---- signals ---- */

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} drains all of them: streams are told 1001, the status is 0`, async () => {
    const bridge = await startWorkers(cluster, []);
    const streams = [];
    for (const index of [0, 1]) await atWorker(bridge, index, async () => { for (let i = 0; i < 10; i++) streams.push(await openSocket(bridge)); });
    const kept = await atWorker(bridge, 1, () => enter(bridge));
    /* A terminal's Ctrl-C reaches the workers as well. */
    if (signal === 'SIGINT') pids(bridge).forEach((pid) => process.kill(pid, signal));
    assert.equal(await bridge.stop(signal), 0);
    for (const stream of streams) {
      await stream.ends();
      assert.equal(stream.closed.code, 1001);
    }
    await kept.ends();
    assert.ok(!pids(bridge).some(isThere));
    const refused = new Raw(bridge);
    await refused.ends();
    assert.equal(refused.error?.code, 'ECONNREFUSED');
  });
}

test('increments in flight at every worker are answered before the end; a second signal ends it at once', async (t) => {
  await cluster.sql(`CREATE TABLE gate (); GRANT SELECT ON gate TO PUBLIC;
    CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM public.gate; RETURN NEW; END $$;
    CREATE TRIGGER pass AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION pass()`);
  t.after(() => cluster.sql('DROP TABLE gate CASCADE; DROP FUNCTION pass() CASCADE'));
  for (const twice of [false, true]) {
    const bridge = await startWorkers(cluster, ['--drain-timeout', '60s', '--submit-timeout', '60s']);
    const open = await openSession(cluster, "LOCK gate; SELECT 'held'");
    const answers = [];
    const waiting = (count) => until('increments at the gate', async () => Number(await cluster.sql("SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted")) === count);
    for (const index of [0, 1]) {
      await atWorker(bridge, index, async () => {
        answers.push(post(bridge, `late-${twice}-${index}`, actionFor(cluster, `late-${twice}-${index}`), 'k').catch(() => null));
        await waiting(index + 1);
      });
    }
    bridge.child.kill('SIGTERM');
    await until('the end to begin everywhere', () => [1, 2].every((worker) => bridge.log.some((line) => line.msg === 'ending' && line.worker === worker)));
    if (twice) {
      assert.equal(await bridge.stop('SIGTERM'), 1);
      assert.deepEqual(await Promise.all(answers), [null, null]);
      assert.ok(!pids(bridge).some(isThere));
      await open('COMMIT');
    } else {
      await open('COMMIT');
      for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200);
      assert.equal(await bridge.ended, 0);
    }
  }
});

test('workers whose supervisor is killed end by themselves', async () => {
  const bridge = await startWorkers(cluster, []);
  const stream = await openSocket(bridge);
  bridge.child.kill('SIGKILL');
  await stream.ends();
  assert.equal(stream.closed.code, 1001);
  await until('them to be gone', () => !pids(bridge).some(isThere));
});

test('a worker that is told to end is replaced', async (t) => {
  const bridge = await startWorkers(cluster, []);
  t.after(() => bridge.stop());
  const pid = pids(bridge)[0];
  const stream = await atWorker(bridge, 0, () => openSocket(bridge));
  process.kill(pid, 'SIGTERM');
  await until('its successor', () => pids(bridge)[0] !== pid);
  await stream.ends();
  assert.equal(stream.closed.code, 1001);
  assert.deepEqual(bridge.log.filter(({ msg }) => msg === 'worker ended').map(({ worker, status }) => [worker, status]), [[1, 0]]);
});

test('SIGHUP without a certificate disturbs nobody', async (t) => {
  const bridge = await startWorkers(cluster, []);
  t.after(() => bridge.stop());
  bridge.child.kill('SIGHUP');
  await until('it to be said', () => bridge.log.some(({ msg }) => msg.startsWith('SIGHUP taken')));
  for (const index of [0, 1]) assert.equal((await atWorker(bridge, index, () => once_(bridge, TOP))).status, 200);
  assertError(await once_(bridge, STREAM), 426, 'UPGRADE_REQUIRED');
  assert.equal(await score('nobody'), '0');
});
