/*
 * How a bridge ends: clients are told, what is under way is answered, and the exit status says that all went well.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, ask, assertError, increment, openEvents, openSocket, sitOn } from './clients.mjs';
import { scrape, value } from './scraping.mjs';

let cluster;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql(`CREATE TABLE gate (); GRANT SELECT ON gate TO PUBLIC;
    CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM public.gate; RETURN NEW; END $$;
    CREATE TRIGGER pass AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION pass()`);
});

after(() => cluster?.stop());

/* No increment gets on in the database until the function that this returns is called, or the test is over. */
async function shutGate(t) {
  const psql = spawn(join(process.env.PG_BINDIR, 'psql'), ['-XqAt'], { env: cluster.environment, stdio: ['pipe', 'ignore', 'ignore'] });
  t.after(() => psql.kill());
  psql.stdin.write('BEGIN; LOCK gate;\n');
  await until('the gate to be shut', async () => await cluster.sql("SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND granted") === '1');
  return () => psql.stdin.end('COMMIT;\n');
}

/* An increment that stands before the gate: a function that waits for its answer. */
async function heldUp(bridge, user, options) {
  const answer = increment(bridge, cluster, user, options);
  answer.catch(() => {});
  await until('the increment to wait', async () => await cluster.sql("SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted") !== '0');
  return () => answer;
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal}: streams are told 1001 and the exit status is 0`, async () => {
    const bridge = await startBridge(cluster);
    const sockets = await Promise.all(Array.from({ length: 50 }, () => openSocket(bridge)));
    const events = await Promise.all(Array.from({ length: 20 }, () => openEvents(bridge)));
    for (const stream of [...sockets, ...events]) await until('the snapshot', () => stream.messages.length);
    assert.equal(await bridge.stop(signal), 0);
    for (const socket of sockets) {
      await socket.ends();
      assert.equal(socket.closed.code, 1001);
    }
    for (const stream of events) await stream.ends();
  });
}

test('streams that have come and gone do not hold up the end', async () => {
  const bridge = await startBridge(cluster, ['--drain-timeout', '10m']);
  const streams = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? openSocket : openEvents)(bridge)));
  for (const stream of streams) await until('the snapshot', () => stream.messages.length);
  streams.slice(10).forEach((stream) => stream.close());
  const ended = bridge.stop();
  assert.equal(await until('the end', () => Promise.race([ended.then(String), new Promise((resolve) => { setTimeout(resolve, 50); })])), '0');
});

test('an increment in flight is answered before the end; nothing new is taken', async (t) => {
  const bridge = await startBridge(cluster, ['--drain-timeout', '60s', '--submit-timeout', '60s']);
  for (let i = 0; i < 3; i++) assert.equal((await increment(bridge, cluster, 'ann')).status, 200);
  const open = await shutGate(t);
  const answered = await heldUp(bridge, 'ann');
  const kept = new Raw(bridge).send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await kept.answer()).status, 200);
  bridge.child.kill('SIGTERM');
  const ending = await until('the end to begin', () => bridge.log.find(({ msg }) => msg === 'ending'));
  assert.equal(ending.increments, 1);
  const late = new Raw(bridge);
  await late.ends();
  assert.equal(late.error?.code, 'ECONNREFUSED', 'no new connection');
  kept.send('GET /ready HTTP/1.1\r\nHost: x\r\n\r\n');
  const unready = await kept.answer();
  if (unready) assertError(unready, 503, 'UNAVAILABLE');
  assert.equal(bridge.child.exitCode, null);
  open();
  const answer = await answered();
  assert.equal(answer.status, 200, answer.text);
  assert.equal(await bridge.ended, 0);
});

test('an increment that does not get on is given up after the drain time', async (t) => {
  const bridge = await startBridge(cluster, ['--drain-timeout', '300ms', '--submit-timeout', '60s']);
  const open = await shutGate(t);
  await heldUp(bridge, 'ben');
  bridge.child.kill('SIGTERM');
  assert.equal(await bridge.ended, 0);
  open();
});

test('increments that wait for another try are told so at the end', async () => {
  const bridge = await startBridge(cluster, ['--drain-timeout', '500ms', '--submit-timeout', '60s']);
  const users = Array.from({ length: 10 }, (_, i) => `late-${i}`);
  const locks = await Promise.all(users.map((user) => sitOn(cluster, user)));
  const answers = users.map((user) => increment(bridge, cluster, user));
  for (let i = 0; i < 20; i++) await ask(bridge, '/health');
  bridge.child.kill('SIGTERM');
  for (const answer of await Promise.all(answers)) assertError(answer, 503, 'UNAVAILABLE');
  assert.equal(await bridge.ended, 0);
  for (const release of locks) await release();
});

test('a second signal ends at once', async (t) => {
  const bridge = await startBridge(cluster, ['--drain-timeout', '10m', '--submit-timeout', '10m']);
  const open = await shutGate(t);
  await heldUp(bridge, 'cid');
  bridge.child.kill('SIGTERM');
  await until('the end to begin', () => bridge.log.some(({ msg }) => msg === 'ending'));
  assert.equal(bridge.child.exitCode, null);
  bridge.child.kill('SIGTERM');
  assert.notEqual(await bridge.ended, 0);
  open();
});

test('idle connections, half requests and slow clients do not hold up the end', async () => {
  const bridge = await startBridge(cluster, ['--drain-timeout', '10m']);
  for (const text of ['', 'GET /health HT', 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n', 'POST /v1/scores/increment HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{']) {
    const raw = new Raw(bridge).send(text);
    await until('the connection', () => !raw.socket.connecting);
  }
  await ask(bridge, '/health');
  assert.equal(await bridge.stop(), 0);
});

test('it ends as well where the database is away', async () => {
  const bridge = await startBridge(cluster, ['--reconnect-max', '100ms']);
  await cluster.shutdown();
  await until('the loss to be noticed', async () => (await ask(bridge, '/ready')).status === 503);
  assert.equal(await bridge.stop(), 0);
  await cluster.start();
});

/* A bridge whose log goes into a pipe that is read only when a test says so: read() returns the lines that have come. */
async function unreadBridge(t, settings) {
  const path = join(cluster.directory, 'log');
  execFileSync('mkfifo', [path]);
  /* Both ends, so that opening waits for nobody. */
  const pipe = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const child = spawn(process.env.BRIDGE, ['--database', cluster.conninfo(), '--listen', '127.0.0.1:0', '--log-level', 'debug', ...settings],
    { stdio: ['ignore', 'ignore', openSync(path, constants.O_WRONLY)] });
  let text = '';
  t.after(() => { child.kill('SIGKILL'); closeSync(pipe); unlinkSync(path); });
  const read = () => {
    const piece = Buffer.alloc(65536);
    try { text += piece.toString('utf8', 0, readSync(pipe, piece)); } catch (error) { assert.equal(error.code, 'EAGAIN'); }
    return text.split('\n').slice(0, -1).map((line) => JSON.parse(line));
  };
  const { port } = await until('it to listen', () => read().find(({ msg }) => msg === 'listening'));
  return { child, port, url: `http://127.0.0.1:${port}`, read, ended: once(child, 'exit').then(([code]) => code) };
}

/* Makes the bridge log more than a pipe and its own room take: a line for every connection too many. */
async function fill(bridge) {
  const inside = new Raw(bridge).send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await inside.answer()).status, 200);
  for (let i = 0; i < 6000; i += 100) {
    await Promise.all(Array.from({ length: 100 }, () => new Raw(bridge).ends()));
  }
  return inside;
}

test('a log that nobody reads stops nothing, and later says what it lost', async (t) => {
  const bridge = await unreadBridge(t, ['--max-connections', '1', '--metrics-listen', '127.0.0.1:0']);
  const inside = await fill(bridge);
  inside.send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await inside.answer()).status, 200);
  const { count } = await until('a word about it', () => bridge.read().find(({ msg }) => msg === 'log lines dropped'));
  assert.ok(count > 0 && count < 6000);
  await until('nothing to be left out', async () => {
    await new Raw(bridge).ends();
    return bridge.read().at(-1).msg === 'connection refused';
  });
  const lines = bridge.read();
  const lost = lines.filter(({ msg }) => msg === 'log lines dropped').reduce((sum, line) => sum + line.count, 0);
  assert.ok(lines.filter(({ msg }) => msg === 'connection refused').length + lost >= 6000, 'each is there or counted');
  assert.equal(value(await scrape({ log: lines }), 'scoreboard_bridge_log_lines_dropped_total'), lost);
  inside.close();
  bridge.child.kill('SIGTERM');
  assert.equal(await bridge.ended, 0);
});

test('while nobody reads the log SIGTERM ends it', async (t) => {
  const bridge = await unreadBridge(t, ['--max-connections', '1']);
  (await fill(bridge)).close();
  bridge.child.kill('SIGTERM');
  assert.equal(await bridge.ended, 0);
});

test('SIGHUP ends nothing', async () => {
  const bridge = await startBridge(cluster);
  const stream = await openSocket(bridge);
  bridge.child.kill('SIGHUP');
  await until('a word about it', () => bridge.log.some(({ msg }) => msg.includes('SIGHUP')));
  assert.equal((await ask(bridge, '/health')).status, 200);
  assert.equal(stream.closed, null);
  stream.close();
  assert.equal(await bridge.stop(), 0);
});
