/*
 * TLS: what is spoken, whose certificate, and what becomes of clients that break it off or off the rules.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Authority, openssl } from './certificates.mjs';
import { Raw, STREAM, UNLIMITED, ask, assertAlive, assertError, award, increment, messageOf, openEvents, openSocket, processorTime, published, rawIncrement,
} from './clients.mjs';
import { scrape } from './scraping.mjs';

let cluster;
let directory;
let authority;
let server; /* its certificate */
let bridge;
let hasty; /* one that gives a handshake a second, for those that aren't finished */
let bystander; /* nobody's misbehaviour may show here */

before(async () => {
  cluster = await startCluster(UNLIMITED);
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'tls-'));
  authority = await new Authority(directory).start();
  server = await authority.server('server');
  bridge = await startBridge(cluster, ['--max-connections-per-address', '1000'], { tls: server });
  hasty = await startBridge(cluster, ['--head-timeout', '1s'], { tls: server });
  bystander = await openSocket(bridge);
});

after(async () => {
  bystander?.close();
  await bridge?.stop();
  await hasty?.stop();
  await cluster?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** A handshake: the socket, or why there is none. */
async function shake(options = {}, { port } = bridge) {
  const socket = tls.connect({ port, host: '127.0.0.1', ca: authority.root, ...options });
  try {
    await once(socket, 'secureConnect');
    return socket;
  } catch (error) {
    socket.destroy();
    return error;
  }
}

/** The bytes that node's client begins a handshake with. */
async function hello() {
  const trap = net.createServer().listen(0, '127.0.0.1');
  await once(trap, 'listening');
  const client = tls.connect({ port: trap.address().port, host: '127.0.0.1' }).on('error', () => {});
  const [socket] = await once(trap, 'connection');
  const [bytes] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  trap.close();
  return bytes;
}

const descriptors = async ({ child }) => (await readdir(`/proc/${child.pid}/fd`)).length;

/* ---- what is spoken ---- */

test('requests, event streams and WebSockets work with TLS 1.2 and 1.3', async () => {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const only = { minVersion: version, maxVersion: version };
    const socket = await shake(only);
    assert.equal(socket.getProtocol(), version);
    socket.destroy();
    const stream = await openSocket(bridge, only);
    const events = await openEvents(bridge);
    assert.equal((await increment(bridge, cluster, `of ${version}`)).json.score, 100);
    const message = messageOf(await published(cluster, `of ${version}`, 100));
    await stream.receives(message);
    await events.receives(message);
    stream.close();
    events.close();
  }
});

test('of the protocols on top only HTTP/1.1 is spoken', async () => {
  for (const [ALPNProtocols, chosen] of [[['http/1.1'], 'http/1.1'], [['h2', 'http/1.1'], 'http/1.1'], [undefined, false]]) {
    const socket = await shake({ ALPNProtocols });
    assert.equal(socket.alpnProtocol, chosen);
    socket.destroy();
  }
  for (const ALPNProtocols of [['h2'], ['http/1.0', 'spdy/1']]) {
    const error = await shake({ ALPNProtocols });
    assert.match(String(error.code), /NO_APPLICATION_PROTOCOL/);
  }
});

test('what is old or weak is not spoken', async () => {
  for (const options of [{ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' },
    ...['ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384', 'NULL', 'ECDHE-ECDSA-AES128-CCM8'].map((ciphers) => ({ maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` }))]) {
    const error = await shake(options);
    assert.ok(error instanceof Error, JSON.stringify(options));
  }
  for (const cipher of ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305']) {
    const socket = await shake({ maxVersion: 'TLSv1.2', ciphers: cipher });
    assert.equal(socket.getCipher().name, cipher);
    socket.destroy();
  }
});

test('a session is resumed', async () => {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const only = { minVersion: version, maxVersion: version };
    const first = tls.connect({ port: bridge.port, host: '127.0.0.1', ca: authority.root, ...only });
    first.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    first.resume();
    const [session] = await once(first, 'session');
    assert.ok(!first.isSessionReused());
    first.destroy();
    const second = await shake({ ...only, session });
    assert.ok(second.isSessionReused(), version);
    second.destroy();
  }
});

test('there is no renegotiation', async () => {
  const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${bridge.port}`, '-tls1_2'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  client.stdout.on('data', (data) => { said += data; });
  client.stderr.on('data', (data) => { said += data; });
  client.stdin.on('error', () => {});
  await until('the handshake', () => said.includes('Verify return code'));
  client.stdin.write('R\n');
  await until('the refusal', () => /no renegotiation/.test(said) || client.exitCode !== null);
  assert.match(said, /no renegotiation/);
  client.kill();
  await assertAlive(bridge);
});

test('new keys are agreed upon in the middle of a connection', async () => {
  const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${bridge.port}`, '-tls1_3'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  client.stdout.on('data', (data) => { said += data; });
  client.stderr.on('data', (data) => { said += data; });
  await until('the handshake', () => said.includes('Verify return code'));
  for (let i = 1; i <= 3; i++) {
    client.stdin.write('K\n');
    await until('them', () => said.split('KEYUPDATE').length > i);
    client.stdin.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('the answer', () => said.split('HTTP/1.1 200').length > i);
  }
  client.kill();
});

test('an end is told as TLS wants it', async () => {
  for (const path of ['/health', '/nowhere']) {
    const run = promisify(execFile)('openssl', ['s_client', '-connect', `127.0.0.1:${bridge.port}`, '-quiet', '-no_ign_eof', '-ign_eof'], { timeout: 20000 });
    run.child.stdin.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    const { stdout, stderr } = await run;
    assert.match(stdout, /^HTTP\/1.1 [24]/);
    assert.doesNotMatch(stderr, /unexpected eof|errno/, 'close_notify is missing');
  }
});

/* ---- the certificate ---- */

test('the whole chain is sent', async () => {
  const socket = await shake();
  assert.ok(socket.authorized);
  assert.equal(socket.getPeerCertificate(true).issuerCertificate.subject.CN, 'middle');
  socket.destroy();
  const rsa = await authority.server('rsa', { type: 'rsa' });
  const other = await startBridge(cluster, [], { tls: rsa });
  assert.equal((await ask(other, '/health')).status, 200);
  assert.equal(await other.stop(), 0);
});

test('a certificate that is no good ends the bridge with one sentence', async () => {
  const file = (name, text) => { writeFileSync(authority.file(name), text); return authority.file(name); };
  const other = await authority.server('other');
  const rsa = await authority.server('other-rsa', { type: 'rsa' });
  const weak = await authority.server('weak', { type: 'rsa', bits: 1024 });
  const expired = await authority.server('expired', { from: '20200101000000Z', to: '20210101000000Z' });
  const early = await authority.server('early', { from: '20440101000000Z' });
  const encrypted = authority.file('encrypted.key');
  await openssl(['pkey', '-in', server.key, '-aes256', '-passout', 'pass:sesame', '-out', encrypted]);
  const cases = [
    [server.certificate, '', /both/], ['', server.key, /both/],
    [authority.file('missing.crt'), server.key, /--tls-certificate.*missing\.crt.*No such file/],
    [server.certificate, authority.file('missing.key'), /--tls-key.*missing\.key.*No such file/],
    [directory, server.key, /--tls-certificate/], [server.certificate, directory, /--tls-key/],
    [file('empty', ''), server.key, /--tls-certificate.*empty/], [file('text', 'dear reader'), server.key, /--tls-certificate.*text/],
    [file('half', readFileSync(server.certificate, 'utf8').slice(0, 300)), server.key, /--tls-certificate.*half/],
    [server.key, server.key, /--tls-certificate/], [server.certificate, server.certificate, /--tls-key/],
    [server.certificate, other.key, /--tls-key.*does not belong/], [server.certificate, rsa.key, /--tls-key.*does not belong/],
    [file('turned', authority.middle + readFileSync(server.certificate, 'utf8')), server.key, /--tls-key.*does not belong/],
    [weak.certificate, weak.key, /--tls-certificate.*key too small/],
    [expired.certificate, expired.key, /--tls-certificate.*expired.*2021/], [early.certificate, early.key, /--tls-certificate.*not valid before.*2044/],
    [server.certificate, encrypted, /--tls-key.*encrypted/],
  ];
  for (const [certificate, key, said] of cases) {
    const run = promisify(execFile)(process.env.BRIDGE ?? 'scoreboard-bridge', ['--listen', '127.0.0.1:0', '--tls-certificate', certificate, '--tls-key', key],
      { timeout: 20000 });
    run.child.stdin.end();
    const failure = await run.then(() => assert.fail('it started'), (error) => error);
    assert.match(failure.stderr, /^scoreboard-bridge: [^\n]+\n$/, 'one sentence');
    assert.match(failure.stderr, said);
    assert.equal(failure.code, 1, failure.stderr);
  }
});

test('SIGHUP replaces the certificate, and a bad one changes nothing', async () => {
  const files = { certificate: authority.file('live.crt'), key: authority.file('live.key'), ca: authority.root };
  const put = ({ certificate, key }) => { copyFileSync(certificate, files.certificate); copyFileSync(key, files.key); };
  const [first, second] = [await authority.server('first'), await authority.server('second', { type: 'rsa' })];
  const expired = await authority.server('late', { to: '20210101000000Z' });
  put(first);
  const live = await startBridge(cluster, [], { tls: files });
  const shown = async () => {
    const socket = await shake({}, live);
    const { subject } = socket.getPeerCertificate();
    socket.destroy();
    return subject.CN;
  };
  const said = (message) => live.log.filter(({ msg }) => msg === message);
  const hup = async (message) => {
    const before = said(message).length;
    live.child.kill('SIGHUP');
    return until(message, () => said(message)[before]);
  };
  const [stream, events] = [await openSocket(live), await openEvents(live)];
  assert.equal(await shown(), 'first');
  writeFileSync(files.certificate, 'rubbish');
  assert.match((await hup('certificate not replaced')).reason, /live\.crt/);
  put(expired);
  const line = await hup('certificate not replaced');
  assert.match(line.reason, /expired/);
  assert.equal(line.level, 'error');
  put({ ...first, key: second.key });
  assert.match((await hup('certificate not replaced')).reason, /does not belong/);
  assert.equal(await shown(), 'first');
  put(second);
  await hup('certificate replaced');
  assert.equal(await shown(), 'second');
  /* Those that were there saw nothing of it. */
  await award(cluster, 'through', 900);
  const message = messageOf(await published(cluster, 'through', 900));
  await stream.receives(message);
  await events.receives(message);
  assert.equal(await shown(), 'second');
  stream.close();
  events.close();
  assert.equal(await live.stop(), 0);
});

test('SIGHUP without TLS changes nothing', async () => {
  const plain = await startBridge(cluster);
  plain.child.kill('SIGHUP');
  await until('a line about it', () => plain.log.some(({ msg }) => msg.includes('nothing to reload')));
  await assertAlive(plain);
  assert.equal(await plain.stop(), 0);
});

test('handshakes are counted by how they ended, and /metrics says when the certificate expires', async () => {
  const counting = await startBridge(cluster, ['--metrics-listen', '127.0.0.1:0', '--head-timeout', '3s'], { tls: server });
  const counts = async () => {
    const { samples } = await scrape(counting);
    assert.equal(samples.get('scoreboard_bridge_tls_certificate_expires_seconds'), Date.UTC(2045, 0, 1) / 1000);
    return Object.fromEntries(['full', 'resumed', 'broken'].map((kind) => [kind, samples.get(`scoreboard_bridge_tls_handshakes_total{kind="${kind}"}`)]));
  };
  const before = await counts();
  const first = tls.connect({ port: counting.port, host: '127.0.0.1', ca: authority.root });
  const [session] = await once(first.resume(), 'session');
  const second = await shake({ session }, counting);
  for (const bytes of ['rubbish\r\n', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', '']) await new Raw(counting, { tls: null }).send(bytes).ends();
  first.destroy();
  second.destroy();
  assert.deepEqual(await counts(), { full: before.full + 1, resumed: before.resumed + 1, broken: before.broken + 3 });
  assert.equal(await counting.stop(), 0);
});

/* ---- those who break it off, or off the rules ---- */

test('plain HTTP is told what is spoken here', async () => {
  for (const request of ['GET /health HTTP/1.1\r\nHost: x\r\n\r\n', rawIncrement(cluster, 'plain'), `GET ${STREAM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`]) {
    const raw = new Raw(bridge, { tls: null }).send(request);
    const answer = await raw.answer();
    assertError(answer, 400, 'INVALID_REQUEST');
    assert.match(answer.text, /https/);
    await raw.ends();
  }
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.player WHERE user_id = 'plain'"), '0');
});

test('garbage instead of a hello ends the connection', async () => {
  const start = await hello();
  const broken = Buffer.from(start);
  broken.fill(0xff, 5);
  for (const bytes of [Buffer.from('\0'), Buffer.alloc(100000), Buffer.alloc(70000, 0xff), Buffer.from('ssh-2.0-x\r\n'), Buffer.from('SSH-2.0-x\r\n\r\n'), broken,
    Buffer.concat([Buffer.from([0x16, 3, 1, 0xff, 0xff]), Buffer.alloc(65535)]), Buffer.concat([start, start]), Buffer.concat([start, Buffer.alloc(50000)]),
    Buffer.from([0x15, 3, 1, 0, 2, 2, 40]), Buffer.from([0x80, 0x2e, 1, 0, 2]), Buffer.concat([Buffer.from([0x80, 0x2e, 1, 0, 2]), Buffer.alloc(44)])]) {
    await new Raw(hasty, { tls: null }).send(bytes).ends();
  }
  await assertAlive(hasty);
});

test('a handshake that is not finished in time is given up', async () => {
  const start = await hello();
  const all = [0, 1, 5, 6, 100, start.length].map((length) => new Raw(hasty, { tls: null }).send(start.subarray(0, length)));
  await Promise.all(all.map((raw) => raw.ends()));
  /* Byte by byte it comes in time. */
  const raw = new Raw(bridge, { tls: null });
  for (const byte of start) raw.send(Buffer.from([byte]));
  await until('the answer', () => raw.received.length > 500);
  raw.close();
});

test('a client that leaves at whatever point leaves nothing', async () => {
  const start = await hello();
  const before = await descriptors(bridge);
  for (let length = 0; length <= start.length; length += 7) {
    const raw = new Raw(bridge, { tls: null });
    await once(raw.socket, 'connect');
    raw.send(start.subarray(0, length));
    if (length % 2) raw.socket.end();
    else raw.close();
  }
  const steps = [(socket) => socket.destroy(), (socket) => socket.end(), (socket) => { socket.write('GET / HTTP/1.1\r\nHo'); socket.destroy(); },
    (socket) => { socket.write('GET /v1/leaderboard/top HTTP/1.1\r\nHost: x\r\n\r\n'); socket.destroy(); },
    (socket) => { socket.write('GET /v1/leaderboard/top HTTP/1.1\r\nHost: x\r\n\r\n'); socket.end(); },
    (socket) => { socket.write(`GET ${STREAM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`); socket.once('data', () => socket.destroy()); },
    (socket) => { socket.write(rawIncrement(cluster, 'leaver')); socket.destroy(); }];
  for (const step of [...steps, ...steps]) {
    const socket = await shake();
    socket.on('error', () => {});
    step(socket);
  }
  /* Without a word of TLS: the connection below it is cut. */
  for (let i = 0; i < 5; i++) {
    const below = net.connect({ port: bridge.port, host: '127.0.0.1' });
    const socket = tls.connect({ socket: below, ca: authority.root });
    await once(socket, 'secureConnect');
    socket.on('error', () => {});
    if (i % 2) socket.write('GET /v1/leaderboard/top HTTP/1.1\r\nHost: x\r\n\r\n');
    if (i > 2) below.resetAndDestroy();
    else below.destroy();
  }
  await until('their descriptors to be gone', async () => (await descriptors(bridge)) <= before);
});

test('records of one byte, and of the greatest size, are read', async () => {
  const socket = await shake();
  const answers = [];
  socket.setNoDelay(true);
  socket.on('data', (data) => answers.push(data));
  const text = () => Buffer.concat(answers).toString();
  const request = rawIncrement(cluster, 'slowly');
  for (const byte of request) socket.write(Buffer.from([byte]));
  await until('the answer', () => text().includes('"userId":"slowly"'));
  /* Many requests in few records: they are answered in order. */
  const ids = Array.from({ length: 1000 }, (_, i) => `many-${i}`);
  socket.write(ids.map((id) => `GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${id}\r\n\r\n`).join(''));
  await until('all answers', () => text().includes('X-Request-Id: many-999\r\n'));
  assert.deepEqual([...text().matchAll(/X-Request-Id: (many-\d+)/g)].map((match) => match[1]), ids);
  socket.destroy();
});

test('one record cut into bytes is one record', async () => {
  /* A relay that hands everything on byte by byte. */
  const slow = net.createServer((near) => {
    const far = net.connect({ port: bridge.port, host: '127.0.0.1' });
    far.setNoDelay(true);
    near.on('data', async (data) => { for (const byte of data) { far.write(Buffer.from([byte])); await new Promise(setImmediate); } });
    far.pipe(near);
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy());
  }).listen(0, '127.0.0.1');
  await once(slow, 'listening');
  const raw = new Raw({ ...bridge, port: slow.address().port }).send(rawIncrement(cluster, 'bytes'));
  assert.equal((await raw.answer()).json.score, 100);
  raw.close();
  slow.close();
});

test('a client that takes nothing is waited for without work, and given up', async () => {
  /* A chain so long that no socket buffer holds it. */
  const certificate = authority.file('long.crt');
  writeFileSync(certificate, readFileSync(server.certificate, 'utf8') + (await authority.fat()).repeat(100));
  const long = await startBridge(cluster, ['--head-timeout', '8s', '--metrics-listen', '127.0.0.1:0'], { tls: { ...server, certificate }, ready: false });
  const start = await hello();
  const stuck = () => {
    const raw = new Raw(long, { tls: null });
    raw.socket.pause();
    return raw.send(start);
  };
  const connections = async () => (await scrape(long)).samples.get('scoreboard_bridge_connections');
  const [patient, away] = [stuck(), stuck()];
  await until('both to be there', async () => await connections() === 2);
  patient.socket.resume();
  await until('all of it', () => patient.received.length > 6000000);
  const used = await processorTime(long);
  await until('both to be given up', async () => await connections() === 0);
  assert.ok(await processorTime(long) - used < 1000, 'it was waited for in a loop');
  away.socket.resume();
  await away.ends();
  assert.ok(away.received.length < 6000000);
  await long.stop();
});

test('a WebSocket over TLS costs three descriptors, and no more clients are taken than there are for', async () => {
  const narrow = await startBridge(cluster, ['--max-connections-per-address', '1000'], { tls: server, under: ['prlimit', '--nofile=308:308'] });
  assert.equal(narrow.log.find(({ msg }) => msg === 'listening').connections_max, 60);
  const before = await descriptors(narrow);
  const streams = [];
  for (let i = 0; i < 10; i++) streams.push(await openSocket(narrow));
  const some = await descriptors(narrow);
  for (let i = 0; i < 50; i++) streams.push(await openSocket(narrow));
  assert.equal(await descriptors(narrow), some + 150);
  await assert.rejects(openSocket(narrow));
  await award(cluster, 'narrow', 1);
  const message = messageOf(await published(cluster, 'narrow', 1));
  for (const stream of streams) await stream.receives(message);
  streams.forEach((stream) => stream.close());
  await until('their descriptors to be gone', async () => (await descriptors(narrow)) <= before);
  assert.equal(await narrow.stop(), 0);
});

test('unix sockets stay plain beside it', async () => {
  const path = join(directory, 'plain.sock');
  const both = await startBridge(cluster, ['--listen', `127.0.0.1:0,unix:${path}`], { tls: server });
  const raw = new Raw(both, { path, port: undefined, host: undefined, tls: null }).send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await raw.answer()).status, 200);
  raw.close();
  assert.equal((await ask(both, '/health')).status, 200);
  assert.equal(await both.stop(), 0);
});

test('an ending bridge answers what is under way, and tells the streams', async () => {
  const ending = await startBridge(cluster, [], { tls: server });
  const [stream, events] = [await openSocket(ending), await openEvents(ending)];
  const all = Promise.all(Array.from({ length: 20 }, (_, i) => increment(ending, cluster, `ending ${i}`)));
  assert.ok((await all).every(({ status }) => status === 200));
  assert.equal(await ending.stop(), 0);
  await stream.ends();
  await events.ends();
  assert.equal(stream.closed.code, 1001);
});

test('nothing of all this reached another client', async () => {
  await award(cluster, 'last', 100000);
  await bystander.receives(messageOf(await published(cluster, 'last', 100000)));
  assert.equal(bystander.closed, null);
  await assertAlive(bridge);
});
