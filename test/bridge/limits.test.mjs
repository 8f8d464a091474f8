/*
 * Whom the bridge lets in: so many connections per address and in all, and pages of its own origin or of the listed ones.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, STREAM, UNLIMITED, ask, assertError, increment, openEvents, openSocket, rawAnswer } from './clients.mjs';

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--allowed-origins', 'https://game.test,https://other.test:8443']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const HEALTH = 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n';

/* A connection that is used, so that it is known to be in. */
async function enter(at, options) {
  const raw = new Raw(at, options).send(HEALTH);
  await until('an answer or the end', () => raw.ended || raw.received.length > 0);
  return raw;
}

test('an address has so many connections, the next is refused, another address is not', async () => {
  const narrow = await startBridge(cluster, ['--max-connections-per-address', '5'], { ready: false });
  const inside = [];
  for (let i = 0; i < 5; i++) inside.push(await enter(narrow));
  assert.ok(inside.every(({ ended }) => !ended));
  const sixth = await enter(narrow);
  await sixth.ends();
  assert.equal(sixth.received.length, 0);
  const elsewhere = await enter(narrow, { localAddress: '127.0.0.2' });
  assert.ok(!elsewhere.ended);
  inside[0].close();
  const next = await until('room for another', async () => {
    const raw = await enter(narrow);
    return raw.received.length > 0 && raw;
  });
  for (const raw of [...inside, elsewhere, next]) raw.close();
  assert.equal(await narrow.stop(), 0);
});

test('there is room for so many connections in all', async () => {
  const narrow = await startBridge(cluster, ['--max-connections', '6'], { ready: false });
  const inside = [];
  for (let i = 0; i < 6; i++) inside.push(await enter(narrow, { localAddress: `127.0.0.${1 + (i % 3)}` }));
  assert.ok(inside.every(({ ended }) => !ended));
  await (await enter(narrow, { localAddress: '127.0.0.9' })).ends();
  inside.forEach((raw) => raw.close());
  await until('room again', async () => !(await enter(narrow)).ended);
  assert.equal(await narrow.stop(), 0);
});

test('the limit of open files is raised before anything is sized by it', async (t) => {
  const bridge = await startBridge(cluster, ['--max-connections-per-address', '4000'], { under: ['prlimit', '--nofile=1024:8192'] });
  t.after(() => bridge.stop());
  const inside = [];
  for (let i = 0; i < 3000; i += 100) inside.push(...await Promise.all(Array.from({ length: 100 }, () => enter(bridge))));
  assert.ok(inside.every(({ ended }) => !ended));
  inside.forEach((raw) => raw.send(HEALTH));
  await until('second answers', () => inside.every(({ ended, received }) => ended || received.toString().split('HTTP/1.1 200').length === 3));
  assert.ok(inside.every(({ ended }) => !ended));
  inside.forEach((raw) => raw.close());
  assert.equal(await bridge.stop(), 0);
});

test('few open files mean fewer connections, which is said', async (t) => {
  const bridge = await startBridge(cluster, ['--max-connections-per-address', '1000'], { under: ['prlimit', '--nofile=256:256'] });
  t.after(() => bridge.stop());
  const { level, connections } = bridge.log.find(({ msg }) => msg === 'fewer connections than wanted');
  assert.equal(level, 'warn');
  assert.ok(connections >= 100 && connections < 256);
  const all = Array.from({ length: 300 }, () => new Raw(bridge).send(HEALTH));
  await until('answers', () => all.every(({ ended, received }) => ended || received.length));
  const inside = all.filter(({ ended }) => !ended);
  all.forEach((raw) => raw.close());
  assert.ok(inside.length <= connections && inside.length > connections - 5, `${inside.length} of ${connections}`);
  await until('room again', async () => !(await enter(bridge)).ended);
  assert.equal((await increment(bridge, cluster, 'few')).status, 200);
  assert.equal(await bridge.stop(), 0);
});

test('too few open files for anybody end the bridge with a sentence', async () => {
  for (const files of [4, 8, 16, 64, 128]) {
    const bridge = promisify(execFile)('prlimit', [`--nofile=${files}:${files}`, process.env.BRIDGE, '--database', cluster.conninfo(), '--listen', '127.0.0.1:0'],
      { env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=0' } }); /* that looks for leaks by opening files */
    const { code, stderr } = await bridge.then(() => assert.fail('it goes on'), (error) => error);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^scoreboard-bridge: [^\n]*open files[^\n]*129[^\n]*LimitNOFILE\n$/);
  }
});

test('a bridge whose standard files are closed writes its log to nobody', async (t) => {
  const place = createServer().listen(0, '127.0.0.1');
  await once(place, 'listening');
  const { port } = place.address();
  place.close();
  await once(place, 'close');
  const child = spawn('sh', ['-c', 'exec "$@" <&- >&- 2>&-', 'sh', process.env.BRIDGE, '--database', cluster.conninfo(), '--listen', `127.0.0.1:${port}`,
    '--log-level', 'debug'], { stdio: 'ignore' });
  const ended = once(child, 'close');
  t.after(() => child.kill('SIGKILL'));
  await until('it to be ready', () => ask({ url: `http://127.0.0.1:${port}` }, '/ready').then(({ status }) => status === 200, () => false));
  const files = await Promise.all([0, 1, 2].map((file) => readlink(`/proc/${child.pid}/fd/${file}`)));
  assert.deepEqual(files, ['/dev/null', '/dev/null', '/dev/null']);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});

test('where files run out whoever comes waits, at no cost, and is served when there are some again', async (t) => {
  const bridge = await startBridge(cluster);
  t.after(() => bridge.stop());
  const limit = (files) => promisify(execFile)('prlimit', ['--pid', `${bridge.child.pid}`, `--nofile=${files}:`]);
  const { stdout } = await promisify(execFile)('prlimit', ['--pid', `${bridge.child.pid}`, '--nofile', '--output', 'SOFT', '--noheadings']);
  const inside = await enter(bridge);
  /* The lowest that is free: whoever started us may have handed down some high ones. */
  const files = new Set((await readdir(`/proc/${bridge.child.pid}/fd`)).map(Number));
  let free = 0;
  while (files.has(free)) free++;
  await limit(free);
  const waiting = Array.from({ length: 20 }, () => new Raw(bridge).send(HEALTH));
  const pauses = await until('some pauses', () => {
    const lines = bridge.log.filter(({ msg }) => msg === 'accept paused');
    return lines.length >= 5 && lines.map(({ time }) => Date.parse(time));
  });
  pauses.reduce((one, next) => { assert.ok(next - one >= 50, `${next - one} ms between two attempts`); return next; });
  assert.equal(waiting.filter(({ ended }) => ended).length, 0);
  inside.received = Buffer.alloc(0);
  assert.equal((await inside.send(HEALTH).answer()).status, 200);
  await limit(stdout.trim());
  for (const raw of waiting) assert.equal((await raw.answer())?.status, 200);
  assert.equal(await bridge.stop(), 0);
});

test('a connection of every kind gives its place back', async () => {
  const narrow = await startBridge(cluster, ['--max-connections-per-address', '3']);
  const kinds = [
    async () => (await openSocket(narrow)).close(),
    async () => (await openEvents(narrow)).close(),
    async () => { const raw = new Raw(narrow).send('rubbish\r\n\r\n'); await raw.ends(); },
    async () => { const raw = new Raw(narrow).send('POST /v1/scores/increment HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{'); await until('it', () => !raw.socket.connecting); raw.close(); },
    async () => { const raw = new Raw(narrow).send('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'); await raw.ends(); },
  ];
  for (let i = 0; i < 40; i++) {
    await until('a place', async () => {
      try { await kinds[i % kinds.length](); return true; } catch { return false; }
    });
  }
  const inside = [];
  await until('three places', async () => {
    const raw = await enter(narrow);
    if (!raw.ended) inside.push(raw);
    return inside.length === 3;
  });
  inside.forEach((raw) => raw.close());
  await narrow.stop();
});

const own = () => `http://127.0.0.1:${bridge.port}`;

test('a page of the same origin may do everything', async () => {
  const headers = { origin: own() };
  assert.equal((await ask(bridge, '/v1/leaderboard/top', { headers })).status, 200);
  assert.equal((await increment(bridge, cluster, 'ann', { headers })).status, 200);
  (await openSocket(bridge, { headers })).close();
  (await openEvents(bridge, { headers })).close();
});

test('no origin is fine', async () => {
  assert.equal((await increment(bridge, cluster, 'ann')).status, 200);
});

test('a page of a foreign origin may do nothing', async () => {
  for (const origin of ['https://evil.test', 'null', 'http://127.0.0.1', 'https://game.test.evil.test', 'https://evil.test/https://game.test', 'http://game.test',
    'https://other.test', 'game.test']) {
    const headers = { origin };
    assertError(await ask(bridge, '/v1/leaderboard/top', { headers }), 403, 'ORIGIN_NOT_ALLOWED');
    assertError(await increment(bridge, cluster, 'ann', { headers }), 403, 'ORIGIN_NOT_ALLOWED');
    assertError(await ask(bridge, STREAM, { headers: { ...headers, accept: 'text/event-stream' } }), 403, 'ORIGIN_NOT_ALLOWED');
    await assert.rejects(openSocket(bridge, { headers }), /403/, origin);
  }
});

test('an origin that is listed is let in, and its browser told so', async () => {
  for (const origin of ['https://game.test', 'https://other.test:8443']) {
    const answer = await increment(bridge, cluster, 'ann', { headers: { origin } });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('access-control-allow-origin'), origin);
    assert.match(answer.headers.get('access-control-expose-headers'), /Idempotency-Key/i);
    assert.match(answer.headers.get('vary'), /Origin/i);
    const refusal = await increment(bridge, cluster, 'ann', { headers: { origin }, token: null });
    assert.equal(refusal.headers.get('access-control-allow-origin'), origin, 'a page may read a refusal too');
    const stream = await openEvents(bridge, { headers: { origin } });
    assert.equal(stream.head.headers['access-control-allow-origin'], origin);
    stream.close();
    (await openSocket(bridge, { headers: { origin } })).close();
  }
  assert.equal((await ask(bridge, '/v1/leaderboard/top')).headers.get('access-control-allow-origin'), null);
  assert.match((await ask(bridge, '/v1/leaderboard/top')).headers.get('vary'), /Origin/i, 'a cache must not mix them up');
});

test('a browser may ask beforehand', async () => {
  const preflight = (origin, path) => rawAnswer(bridge, `OPTIONS ${path} HTTP/1.1\r\nHost: x\r\nOrigin: ${origin}\r\nAccess-Control-Request-Method: POST\r\n`
    + 'Access-Control-Request-Headers: authorization,content-type,idempotency-key\r\n\r\n');
  const answer = await preflight('https://game.test', '/v1/scores/increment');
  assert.equal(answer.status, 204);
  assert.equal(answer.headers['access-control-allow-origin'], 'https://game.test');
  assert.match(answer.headers['access-control-allow-methods'], /POST/);
  for (const header of ['authorization', 'content-type', 'idempotency-key']) {
    assert.match(answer.headers['access-control-allow-headers'], new RegExp(header, 'i'));
  }
  const foreign = await preflight('https://evil.test', '/v1/scores/increment');
  assertError(foreign, 403, 'ORIGIN_NOT_ALLOWED');
  assert.ok(!('access-control-allow-origin' in foreign.headers));
});
