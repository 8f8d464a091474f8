/*
 * WebSocket as RFC 6455 has it, and the few things that a client may say. Most of it takes a raw connection: no library lets a client
 * misbehave like this.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { PING, close, misbehaviours } from './misbehaviours.mjs';
import { Raw, RawSocket, UNLIMITED, assertError, award, frame, messageOf, openSocket, published, rawAnswer, stored } from './clients.mjs';

let cluster;
let bridge;
let bystander; /* nobody's misbehaviour may show here */

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('aside')");
  await until('the other board', () => stored(cluster, 'aside'));
  bridge = await startBridge(cluster);
  bystander = await openSocket(bridge);
});

after(async () => {
  bystander?.close();
  await bridge?.stop();
  await cluster?.stop();
});

test('the subprotocol is ours or none', async () => {
  for (const [protocols, spoken] of [[undefined, ''], [['scoreboard.v1'], 'scoreboard.v1'], [['other', 'scoreboard.v1'], 'scoreboard.v1']]) {
    const stream = await openSocket(bridge, { protocols });
    assert.equal(stream.socket.protocol, spoken);
    await until('the snapshot', () => stream.messages.length);
    stream.close();
  }
  await assert.rejects(openSocket(bridge, { protocols: ['scoreboard.v2'] }), /400/);
});

test('a ping in JSON is answered', async () => {
  const stream = await openSocket(bridge);
  await until('the snapshot', () => stream.messages.length);
  for (const ping of [PING, ' {\n"type" :\t"ping" } ', `${PING}${' '.repeat(4096 - PING.length)}`]) {
    const from = stream.messages.length;
    stream.socket.send(ping);
    await until('the pong', () => stream.messages.slice(from).includes('{"type":"pong"}'));
  }
  assert.equal(stream.closed, null);
  stream.close();
});

test("RFC 6455's ping is answered with what it carried", async () => {
  const stream = await openSocket(bridge);
  const pongs = [];
  stream.socket.on('pong', (data) => pongs.push(data.toString()));
  for (const data of ['x', '', 'y'.repeat(125)]) {
    stream.socket.ping(data);
    await until('the pong', () => pongs.at(-1) === data);
  }
  stream.close();
});

test('a message in pieces is one message, a ping may stand between them', async () => {
  const raw = await RawSocket.open(bridge);
  for (const [i, byte] of [...PING].entries()) {
    raw.send(frame(byte, { opcode: i === 0 ? 1 : 0, final: i === PING.length - 1 }));
    if (i === 5) raw.send(frame('between', { opcode: 9 }));
  }
  await until('both answers', () => raw.frames().some(({ opcode, payload }) => opcode === 1 && `${payload}` === '{"type":"pong"}')
    && raw.frames().some(({ opcode, payload }) => opcode === 10 && `${payload}` === 'between'));
  raw.close();
});

test('several messages in pieces, one after the other', async () => {
  const raw = await RawSocket.open(bridge);
  for (let i = 1; i <= 3; i++) {
    for (const [n, part] of [PING.slice(0, 3), PING.slice(3, 9), PING.slice(9)].entries()) raw.send(frame(part, { opcode: n === 0 ? 1 : 0, final: n === 2 }));
    await until(`answer ${i}`, () => raw.frames().filter(({ payload }) => `${payload}` === '{"type":"pong"}').length === i);
  }
  raw.close();
});

test('the answer to the handshake has the id that the request had', async () => {
  const raw = new RawSocket(bridge).send(RawSocket.handshake({ headers: { 'X-Request-Id': 'mine-7' } }));
  assert.equal((await raw.answer()).headers['x-request-id'], 'mine-7');
  raw.close();
});

test('a frame that comes byte by byte is understood', async () => {
  const raw = await RawSocket.open(bridge);
  for (const byte of frame(PING)) {
    raw.send(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  await until('the pong', () => raw.frames().some(({ payload }) => `${payload}` === '{"type":"pong"}'));
  raw.close();
});

test('a frame right behind the handshake is not lost', async () => {
  const raw = new RawSocket(bridge).send(Buffer.concat([Buffer.from(RawSocket.handshake()), frame(PING)]));
  assert.equal((await raw.answer()).status, 101);
  await until('the pong', () => raw.frames().some(({ payload }) => `${payload}` === '{"type":"pong"}'));
  raw.close();
});

for (const [what, [code, bytes]] of Object.entries(misbehaviours)) {
  test(`${what} ends the stream with ${code}`, async () => {
    const raw = await RawSocket.open(bridge);
    raw.send(bytes);
    assert.equal(await raw.closeCode(), code);
  });
}

/* The ping would be the code, were it taken. */
const PING_BEHIND = frame([0x11, 0x11], { opcode: 9 });

test('all of that ends the stream with the same code right behind the handshake, and with a ping behind it', async () => {
  await Promise.all(Object.entries(misbehaviours).map(async ([what, [code, bytes]]) => {
    const early = new RawSocket(bridge).send(Buffer.concat([Buffer.from(RawSocket.handshake()), bytes, PING_BEHIND]));
    assert.equal((await early.answer()).status, 101);
    assert.equal(await early.closeCode(), code, what);
    const late = await RawSocket.open(bridge);
    late.send(Buffer.concat([bytes, PING_BEHIND, frame('[', { opcode: 3 })]));
    assert.equal(await late.closeCode(), code, what);
  }));
});

test('no list comes behind a close', async () => {
  const raws = await Promise.all([frame('x', { opcode: 3 }), frame('hello'), close(1000), frame('x', { opcode: 9, length: 126 })].map(async (bytes) => {
    const raw = await RawSocket.open(bridge, { path: '/v1/leaderboard/stream?board=aside' });
    await until('the list', () => raw.frames().length >= 2);
    return raw.send(bytes);
  }));
  for (const raw of raws) await until('the close', () => raw.frames().at(-1).opcode === 8);
  const aside = await openSocket(bridge, { query: '?board=aside' });
  await award(cluster, 'ann', 1, 'aside');
  await aside.receives(messageOf(await published(cluster, 'ann', 1, 'aside')));
  aside.close();
  for (const raw of raws) {
    await raw.ends();
    assert.equal(raw.frames().at(-1).opcode, 8);
  }
});

test('a close is answered with the same code', async () => {
  for (const code of [1000, 1001, 1003, 1011, 3000, 4999]) {
    const raw = await RawSocket.open(bridge);
    raw.send(close(code, code === 1000 ? 'r'.repeat(123) : ''));
    assert.equal(await raw.closeCode(), code);
  }
});

test('a close without a code is answered with a close', async () => {
  const raw = await RawSocket.open(bridge);
  raw.send(frame('', { opcode: 8 }));
  await until('the close', () => raw.frames().some(({ opcode }) => opcode === 8));
  await raw.ends();
});

test('after its close a client is not listened to any more', async () => {
  const raw = await RawSocket.open(bridge);
  raw.send(Buffer.concat([close(1000), frame(PING), frame('late', { opcode: 9 })]));
  await raw.ends();
  const said = raw.frames();
  assert.equal(said.at(-1).opcode, 8, 'the close is the last word');
  assert.ok(!said.some(({ opcode, payload }) => opcode === 10 || `${payload}` === '{"type":"pong"}'));
});

/* Which of them is libwebsockets' choice; see README. */
test('several pings at once get an answer, and the next one too', async () => {
  const raw = await RawSocket.open(bridge);
  const pongs = () => raw.frames().filter(({ opcode }) => opcode === 10).map(({ payload }) => `${payload}`);
  raw.send(Buffer.concat(Array.from({ length: 10 }, (_, i) => frame(`ping ${i}`, { opcode: 9 }))));
  await until('a pong', () => pongs().length > 0);
  raw.send(frame('next', { opcode: 9 }));
  await until('the next pong', () => pongs().at(-1) === 'next');
  raw.close();
});

test('frames behind the handshake are judged like all others, however many', async () => {
  const raw = new RawSocket(bridge).send(Buffer.concat([Buffer.from(RawSocket.handshake()), ...Array.from({ length: 200 }, () => frame(PING)), frame('hello')]));
  assert.equal((await raw.answer()).status, 101);
  assert.equal(await raw.closeCode(), 1008);
});

test('a handshake that is wrong is refused with what is wrong', async () => {
  const wrong = [
    [{ headers: { 'Sec-WebSocket-Version': 12 } }, 426, 'UPGRADE_REQUIRED'],
    [{ headers: { 'Sec-WebSocket-Version': undefined } }, 426, 'UPGRADE_REQUIRED'],
    [{ headers: { 'Sec-WebSocket-Key': undefined } }, 400, 'INVALID_REQUEST'],
    [{ headers: { 'Sec-WebSocket-Key': 'short' } }, 400, 'INVALID_REQUEST'],
    [{ headers: { 'Sec-WebSocket-Protocol': 'other' } }, 400, 'INVALID_REQUEST'],
    [{ path: '/nowhere' }, 404, 'NOT_FOUND'],
    [{ path: '/v1/leaderboard/stream?board=nobody' }, 404, 'NOT_FOUND'],
    [{ headers: { Host: undefined } }, 400, 'INVALID_REQUEST'],
    [{ headers: { Origin: 'https://evil.test' } }, 403, 'ORIGIN_NOT_ALLOWED'],
  ];
  for (const [handshake, status, code] of wrong) {
    const answer = await rawAnswer(bridge, RawSocket.handshake(handshake));
    assertError(answer, status, code);
    if (status === 426) assert.equal(answer.headers['sec-websocket-version'], '13');
  }
});

test('nothing but GET begins one', async () => {
  const raw = new Raw(bridge).send(RawSocket.handshake().replace('GET', 'HEAD'));
  const { status } = await until('an answer', () => raw.head().status && raw.head());
  assert.equal(status, 400);
  raw.close();
});

test('other paths answer as ever although an upgrade is asked for', async () => {
  const answer = await rawAnswer(bridge, RawSocket.handshake({ path: '/v1/leaderboard/top' }));
  assert.equal(answer.status, 200);
  assert.equal(answer.json.board, 'global');
});

test('a client that answers no ping is dropped, one that does stays', async () => {
  /* Long enough for a machine that is busy with something else. */
  const impatient = await startBridge(cluster, ['--ping-interval', '1s']);
  const [alive, mute] = [await openSocket(impatient), await RawSocket.open(impatient)];
  /* Whatever it says, it is there. */
  const talker = await RawSocket.open(impatient);
  const talk = setInterval(() => talker.send(frame(PING)), 200);
  await mute.ends();
  const later = await RawSocket.open(impatient);
  await later.ends();
  clearInterval(talk);
  assert.equal(talker.ended, false);
  talker.close();
  assert.ok(mute.frames().some(({ opcode }) => opcode === 9));
  await until('many pings', () => alive.pings > 3);
  assert.equal(alive.closed, null);
  alive.close();
  await impatient.stop();
});

test('nothing of all this reached another client', async () => {
  await award(cluster, 'ann', 1);
  const document = await published(cluster, 'ann', 1);
  await bystander.receives(messageOf(document));
  assert.equal(bystander.messages.length, 2);
  assert.equal(bystander.closed, null);
  const raw = new Raw(bridge).send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await raw.answer()).status, 200);
  raw.close();
});
