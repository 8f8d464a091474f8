/*
 * WebSockets over TLS: the same rules as without it, and those that libwebsockets would let pass.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Authority } from './certificates.mjs';
import { RawSocket, STREAM, UNLIMITED, Versions, ask, assertAlive, award, frame, memory, messageOf, openSocket, published, stored } from './clients.mjs';
import { PING, close, misbehaviours } from './misbehaviours.mjs';
import { scrape } from './scraping.mjs';

const LARGE = 500_000;

let cluster;
let directory;
let tls;
let bridge;
let bystander; /* nobody's misbehaviour may show here */

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('large')");
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'wss-'));
  tls = await (await new Authority(directory).start()).server('server');
  bridge = await startBridge(cluster, [], { tls });
  bystander = await openSocket(bridge);
});

after(async () => {
  bystander?.close();
  await bridge?.stop();
  await cluster?.stop();
  await rm(directory, { recursive: true, force: true });
});

const descriptors = async ({ child }) => (await readdir(`/proc/${child.pid}/fd`)).length;

/* So that a list doesn't come in between. */
async function opened() {
  const raw = await RawSocket.open(bridge);
  await until('the snapshot', () => raw.frames().length >= 2);
  return raw;
}

test('a ticket opens a stream, and what stands behind the handshake meanwhile is not lost', async () => {
  const { json } = await ask(bridge, '/v1/stream-tickets', { method: 'POST', headers: { authorization: `Bearer ${tokenFor(cluster, 'ann')}`,
    'content-type': 'application/json', 'content-length': 0 } });
  const path = `${STREAM}?ticket=${json.ticket}`;
  const raw = new RawSocket(bridge).send(Buffer.concat([Buffer.from(RawSocket.handshake({ path })), frame(PING), frame('early', { opcode: 9 })]));
  assert.equal((await raw.answer()).status, 101);
  await until('both answers', () => raw.frames().some(({ payload }) => `${payload}` === '{"type":"pong"}')
    && raw.frames().some(({ opcode, payload }) => opcode === 10 && `${payload}` === 'early'));
  raw.close();
  const used = new RawSocket(bridge).send(RawSocket.handshake({ path }));
  assert.equal((await used.answer()).status, 401);
  used.close();
});

for (const [what, [code, bytes]] of Object.entries(misbehaviours)) {
  test(`${what} ends the stream with ${code}`, async () => {
    const raw = await RawSocket.open(bridge);
    raw.send(bytes);
    assert.equal(await raw.closeCode(), code);
  });
}

test('an unmasked frame ends the stream with 1002', async () => {
  for (const bytes of [frame(PING, { masked: false }), frame('x', { opcode: 9, masked: false }), frame([3, 0xe8], { opcode: 8, masked: false }),
    frame('x', { opcode: 10, masked: false }), frame(' '.repeat(4000), { masked: false }), frame('', { masked: false }),
    Buffer.concat([frame('{', { final: false }), frame('}', { opcode: 0, masked: false })]), Buffer.from([0x81, 0x01]),
    Buffer.concat([frame('x', { opcode: 9 }), frame(PING, { masked: false }), frame('hello')])]) {
    const raw = await RawSocket.open(bridge);
    raw.send(bytes);
    assert.equal(await raw.closeCode(), 1002);
    assert.equal(raw.frames().at(-1).opcode, 8, 'the close is the last word');
  }
});

test('an unmasked frame behind the handshake, or byte by byte, is seen too', async () => {
  const raw = new RawSocket(bridge).send(Buffer.concat([Buffer.from(RawSocket.handshake()), frame(PING, { masked: false })]));
  assert.equal((await raw.answer()).status, 101);
  assert.equal(await raw.closeCode(), 1002);
  const slow = await RawSocket.open(bridge);
  const bytewise = async (bytes) => {
    for (const byte of bytes) {
      slow.send(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
  };
  await bytewise(frame(PING));
  await until('the pong', () => slow.frames().some(({ payload }) => `${payload}` === '{"type":"pong"}'));
  await bytewise(frame(PING, { masked: false }));
  assert.equal(await slow.closeCode(), 1002);
});

test('of several pings at once the last is answered, and the next one too', async () => {
  const raw = await RawSocket.open(bridge);
  const pongs = () => raw.frames().filter(({ opcode }) => opcode === 10).map(({ payload }) => `${payload}`);
  for (let turn = 0; turn < 3; turn++) {
    raw.send(Buffer.concat(Array.from({ length: 10 }, (_, i) => frame(`ping ${turn} ${i}`, { opcode: 9 }))));
    await until('the pong to the last', () => pongs().at(-1) === `ping ${turn} 9`);
  }
  for (const payload of ['', 'y'.repeat(125)]) {
    raw.send(frame(payload, { opcode: 9 }));
    await until('the pong', () => pongs().at(-1) === payload);
  }
  /* One that comes in pieces, and one between the pieces of a message. */
  for (const byte of frame('in pieces', { opcode: 9 })) {
    raw.send(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  await until('the pong', () => pongs().at(-1) === 'in pieces');
  raw.send(Buffer.concat([frame(PING.slice(0, 5), { final: false }), frame('between', { opcode: 9 }), frame(PING.slice(5), { opcode: 0 })]));
  await until('both answers', () => pongs().at(-1) === 'between' && raw.frames().some(({ payload }) => `${payload}` === '{"type":"pong"}'));
  raw.close();
});

test('every close code that may be sent is answered with itself', async () => {
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]) {
    for (const reason of ['', 'r'.repeat(123)]) {
      const raw = await RawSocket.open(bridge);
      raw.send(close(code, reason));
      assert.equal(await raw.closeCode(), code);
    }
  }
});

test('a close with 1013 is judged like the others', async () => {
  const raw = await RawSocket.open(bridge);
  raw.send(close(1013, [0xff, 0xfe]));
  assert.equal(await raw.closeCode(), 1007);
  const bare = await RawSocket.open(bridge);
  bare.send(frame('', { opcode: 8 }));
  await until('the close', () => bare.frames().some(({ opcode }) => opcode === 8));
  await bare.ends();
});

test('after its close a client is not listened to any more', async () => {
  for (const code of [1000, 1013]) {
    const raw = await opened();
    const before = raw.frames().length;
    raw.send(Buffer.concat([close(code), frame(PING), frame('late', { opcode: 9 }), frame('x', { masked: false })]));
    await raw.ends();
    assert.deepEqual(raw.frames().slice(before).map(({ opcode }) => opcode), [8]);
  }
});

test('messages of all sizes go up, in few records and in many', async () => {
  const raw = await RawSocket.open(bridge);
  const pongs = () => raw.frames().filter(({ payload }) => `${payload}` === '{"type":"pong"}').length;
  const sizes = [15, 125, 126, 127, 200, 4095, 4096];
  let sent = 0;
  for (const size of sizes) {
    raw.send(frame(PING + ' '.repeat(size - PING.length)));
    sent++;
    await until('the pong', () => pongs() === sent);
  }
  raw.send(Buffer.concat(Array.from({ length: 500 }, () => frame(PING + ' '.repeat(1000)))));
  await until('all pongs', () => pongs() === sent + 500);
  raw.close();
});

/* Stores the next version of "large", by hand: the kernel's buffers swallow megabytes before anybody looks slow. */
let version;
async function publishLarge() {
  version = 1 + (version ?? JSON.parse(await until('the board', () => stored(cluster, 'large'))).version);
  await cluster.sql(`UPDATE scoreboard.top SET version = :version, document = format('{"board":"large","season":1,"version":%s,"players":1,"entries":[{"rank":1,'
    '"userId":"x","displayName":"%s","score":1}]}', :version, repeat('x', ${LARGE})) WHERE board = 'large';
    SELECT pg_notify('scoreboard', '{"board":"large","version":' || :version || '}') \\g /dev/null`, { version });
}

/* One that takes nothing any more after its first message. */
async function stalled(at) {
  const raw = await RawSocket.open(at, { path: `${STREAM}?board=large` });
  await until('the snapshot', () => raw.received.includes('"entries":['));
  raw.socket.pause();
  return raw;
}

test('a client that takes nothing holds one list, and gets the newest when it reads again; its neighbours see nothing of it', async () => {
  const patient = await startBridge(cluster, ['--slow-timeout', '10m'], { tls });
  const neighbour = await openSocket(patient, { query: '?board=large' });
  const slow = await stalled(patient);
  const before = await memory(patient);
  const count = 30;
  for (let i = 0; i < count; i++) {
    await publishLarge();
    await until('the version at a client that reads', () => neighbour.messages.some((text) => text.includes(`"version":${version},`)));
    neighbour.messages.splice(0, neighbour.messages.length - 1);
  }
  assert.ok(await memory(patient) - before < 24 * LARGE, 'old lists were kept');
  slow.socket.resume();
  await until('the newest version', () => slow.received.includes(`"version":${version},`));
  const seen = [...slow.received.toString('latin1').matchAll(/"version":(\d+),/g)].map((match) => Number(match[1]));
  assert.deepEqual(seen, [...new Set(seen)].sort((a, b) => a - b));
  assert.ok(seen.length < count - 5, `${seen.length} of ${count} versions were kept for it`);
  slow.send(frame(PING));
  await until('the pong', () => slow.received.subarray(-40).includes('"pong"'));
  assert.equal(neighbour.closed, null);
  neighbour.close();
  slow.close();
  assert.equal(await patient.stop(), 0);
});

test('a client that takes nothing is dropped in the end', async () => {
  const hasty = await startBridge(cluster, ['--slow-timeout', '500ms', '--metrics-listen', '127.0.0.1:0'], { tls });
  const lost = await stalled(hasty);
  await until('it to be dropped', async () => {
    await publishLarge();
    return hasty.log.some(({ msg }) => msg === 'stream dropped');
  });
  await until('it to be gone', async () => (await scrape(hasty)).samples.get('scoreboard_bridge_connections') === 0);
  lost.socket.resume();
  await lost.ends();
  assert.equal(await hasty.stop(), 0);
});

test('a client that answers no ping is dropped, one that does stays', async () => {
  const impatient = await startBridge(cluster, ['--ping-interval', '1s'], { tls });
  const [alive, mute] = [await openSocket(impatient), await RawSocket.open(impatient)];
  await mute.ends();
  assert.ok(mute.frames().some(({ opcode }) => opcode === 9));
  await until('some pings', () => alive.pings > 2);
  assert.equal(alive.closed, null);
  alive.close();
  assert.equal(await impatient.stop(), 0);
});

test('clients that leave at whatever point leave nothing', async () => {
  const before = await descriptors(bridge);
  const steps = [(raw) => raw.close(), (raw) => raw.socket.end(), (raw) => { raw.send(frame(PING)); raw.close(); },
    (raw) => { raw.send(frame(PING).subarray(0, 3)); raw.close(); }, (raw) => { raw.send(frame(' '.repeat(4096)).subarray(0, 2000)); raw.socket.end(); },
    (raw) => { raw.send(close(1000)); raw.close(); }, (raw) => { raw.send(close(1013)); raw.socket.end(); },
    (raw) => { raw.send(frame('x', { masked: false })); raw.close(); }];
  for (let turn = 0; turn < 5; turn++) {
    for (const step of steps) step(await RawSocket.open(bridge));
    const early = new RawSocket(bridge).send(RawSocket.handshake());
    await until('its connection', () => !early.socket.connecting);
    early.close();
  }
  await until('their descriptors to be gone', async () => (await descriptors(bridge)) <= before);
});

test('many streams come and go while lists are sent', async () => {
  const versions = new Versions();
  for (let turn = 0; turn < 5; turn++) {
    const streams = await Promise.all(Array.from({ length: 30 }, () => openSocket(bridge)));
    await award(cluster, 'crowd', 5000);
    streams.slice(0, 10).forEach((stream) => stream.close());
    const message = messageOf(await published(cluster, 'crowd', 5000 * (turn + 1)));
    for (const stream of streams.slice(10)) await stream.receives(message);
    for (const stream of streams) for (const text of stream.messages) versions.take(text, new Map());
    streams.forEach((stream) => stream.socket.close(1000));
    for (const stream of streams.slice(10)) await stream.ends();
    assert.ok(streams.slice(10).every(({ closed }) => closed.code === 1000));
  }
});

test('nothing of all this reached another client', async () => {
  await award(cluster, 'last', 100000);
  await bystander.receives(messageOf(await published(cluster, 'last', 100000)));
  assert.equal(bystander.closed, null);
  await assertAlive(bridge);
});
