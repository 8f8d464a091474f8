/*
 * A fuzzer of WebSocket frames: hundreds of clients at once say what RFC 6455 allows and what it doesn't, drawn from a seed. A model of the
 * RFC beside it says how each of these conversations must end.
 *
 * FRAMES_SECONDS: how long each kind is played (8); FRAMES_SEED: another seed than the usual one.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Authority } from './certificates.mjs';
import { RawSocket, UNLIMITED, Versions, assertAlive, award, frame, inParallel, memory, messageOf, openSocket, published } from './clients.mjs';
import { generator, mutate } from './spoiling.mjs';

const SECONDS = Number(process.env.FRAMES_SECONDS ?? 8);
const SEED = Number(process.env.FRAMES_SEED ?? 20261127);
const CROWD = 200;
/* So many shake hands at once, perhaps on a machine that is busy with something else. */
const SETTINGS = ['--max-connections-per-address', '2000', '--log-level', 'warn', '--head-timeout', '1m'];
const MESSAGE_MAX = 4096;
const PING = '{"type":"ping"}';
const PONG = '{"type":"pong"}';
/* Behind a conversation that ended well. */
const FAREWELL = 'still there?';

let cluster;
let directory;
let bridge; /* that of the kind of connection which is played */
let bystander;
let score = 0;
const kinds = {}; /* plain and TLS: {bridge, bystander} */

before(async () => {
  cluster = await startCluster(UNLIMITED);
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'frames-'));
  const server = await (await new Authority(directory).start()).server('server');
  for (const [kind, tls] of [['plain', undefined], ['TLS', server]]) {
    kinds[kind] = { bridge: await startBridge(cluster, SETTINGS, { tls }) };
    kinds[kind].bystander = await openSocket(kinds[kind].bridge);
  }
});

after(async () => {
  for (const kind of Object.values(kinds)) await kind.bridge.stop();
  await cluster?.stop();
  await rm(directory, { recursive: true, force: true });
});

/* ---- the model ---- */

const echoed = (code) => (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);

function codesOfClose(payload) {
  if (payload.length === 0) return [1005];
  const code = payload.length > 1 ? payload.readUInt16BE(0) : 0;
  const readable = isUtf8(payload.subarray(2));
  if (!echoed(code)) return readable ? [1002] : [1002, 1007];
  if (!readable) return [1007];
  /* The library knows no newer ones; see README. */
  return code >= 1012 && code <= 1014 ? [code, 1002] : [code];
}

function isPing(bytes) {
  try {
    const { type, ...more } = JSON.parse(bytes);
    return type === 'ping' && Object.keys(more).length === 0;
  } catch {
    return false;
  }
}

const codeOfMessage = ({ binary, bytes }) => (binary || !isPing(bytes) ? (binary || isUtf8(bytes) ? 1008 : 1007) : 0);

/* The codes with which this may end: none where it has to go on, undefined within a message. */
function codesOf(frames) {
  let message;
  for (const { payload, opcode, final, reserved, length = payload.length } of frames) {
    const control = opcode >= 8;
    if (reserved || (opcode & 7) > 2 || (control && (!final || length > 125)) || length >= 2 ** 63) return [1002];
    if (opcode === 8) return codesOfClose(payload);
    if (control) continue;
    if ((opcode === 0) !== (message !== undefined)) return [1002];
    message ??= { binary: opcode === 2, bytes: Buffer.alloc(0) };
    if (message.bytes.length + length > MESSAGE_MAX) return [1009];
    message.bytes = Buffer.concat([message.bytes, payload]);
    if (!final) continue;
    const code = codeOfMessage(message);
    if (code) return [code];
    message = undefined;
  }
  return message ? undefined : [];
}

/* ---- what is said ---- */

const pick = (draw, list) => list[draw(list.length)];

const LENGTHS = [0, 1, 2, 124, 125, 126, 127, 511, 512, 513, 1023, 4095, 4096, 4097, 4610, 65535, 65536];
const HUGE = [2 ** 20, 2 ** 31, 2 ** 32, 2 ** 62, 2 ** 63, 2 ** 64 - 2048];
const CODES = [0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1012, 1014, 1015, 1016, 2999, 3000, 4999, 5000, 65535];
const NOT_UTF8 = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]];

const control = (draw) => ({ payload: Buffer.alloc(pick(draw, [0, 1, 60, 124, 125]), draw(256)), opcode: 9 + draw(2), final: true });

/* A good ping in pieces, of which some are empty, with control frames between them. */
function* pieces(draw) {
  const text = Buffer.from(PING);
  for (let at = 0, first = true; first || at < text.length; first = false) {
    const end = Math.min(at + draw(7), text.length);
    yield { payload: text.subarray(at, end), opcode: first ? 1 : 0, final: end === text.length };
    at = end;
    while (at < text.length && draw(3) === 0) yield control(draw);
  }
}

function closing(draw) {
  const code = pick(draw, CODES);
  const reason = draw(4) ? Buffer.alloc(pick(draw, [0, 1, 122, 123, 124]), 'r') : Buffer.from(pick(draw, NOT_UTF8));
  return { payload: draw(8) ? Buffer.concat([Buffer.from([code >> 8, code & 255]), reason]) : Buffer.alloc(draw(2)), opcode: 8, final: draw(10) > 0 };
}

const wrongs = [
  (draw) => ({ payload: Buffer.from(PING), opcode: draw(16), final: draw(2) > 0, reserved: 1 + draw(7) }),
  (draw) => ({ payload: Buffer.from(PING), opcode: pick(draw, [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), final: draw(2) > 0 }),
  (draw) => ({ payload: Buffer.alloc(pick(draw, LENGTHS), 'c'), opcode: 8 + draw(3), final: draw(2) > 0 }),
  (draw) => ({ payload: Buffer.alloc(pick(draw, LENGTHS), pick(draw, ['x', ' ', '[', '\0'])), opcode: draw(3), final: draw(2) > 0 }),
  (draw) => ({ payload: Buffer.alloc(600, 'h'), opcode: draw(3), final: draw(2) > 0, length: pick(draw, HUGE) }),
  (draw) => ({ payload: Buffer.from([...pick(draw, NOT_UTF8)]), opcode: draw(3), final: draw(2) > 0 }),
  (draw) => ({ payload: Buffer.from(pick(draw, ['{"type":"pong"}', '{"type":"ping","x":1}', '"ping"', '{"type":"ping"} x', '['.repeat(3000), '\ufeff{"type":"ping"}'])), opcode: 1 + draw(2), final: true }),
  closing,
];

/* Some good frames, and mostly one that is wrong or a close; what stands behind that must not matter. */
function conversation(draw) {
  const frames = [];
  for (let n = draw(6); n > 0; n--) {
    if (draw(3) === 0) frames.push(...pieces(draw));
    else frames.push(draw(2) ? control(draw) : { payload: Buffer.from(PING), opcode: 1, final: true });
  }
  if (draw(4)) frames.push(pick(draw, wrongs)(draw));
  if (draw(4) === 0) frames.push(control(draw), pick(draw, wrongs)(draw));
  if (!codesOf(frames)) frames.push({ payload: Buffer.alloc(0), opcode: 0, final: true });
  return frames;
}

const bytesOf = (frames) => Buffer.concat(frames.map(({ payload, ...options }) => frame(payload, options)));

/* In pieces of any length; a beginning may come with the handshake. */
async function say(bytes, draw) {
  const early = draw(4) ? 0 : draw(bytes.length + 1);
  const raw = new RawSocket(bridge).send(Buffer.concat([Buffer.from(RawSocket.handshake()), bytes.subarray(0, early)]));
  assert.equal((await raw.answer())?.status, 101);
  for (let at = early, end; at < bytes.length && !raw.ended; at = end) {
    end = Math.min(at + 1 + (draw(3) ? draw(bytes.length) : draw(8)), bytes.length);
    raw.send(bytes.subarray(at, end));
    await new Promise(setImmediate);
  }
  return raw;
}

/* ---- what is heard ---- */

/* All that comes is whole frames of a server's, lists that never go back, and nothing behind a close. */
function checkHeard(raw) {
  const frames = raw.frames();
  const versions = new Versions();
  let at = 0;
  for (const [i, { opcode, payload }] of frames.entries()) {
    assert.equal(raw.received[at], 0x80 | opcode, 'whole, and no reserved bit');
    assert.ok(raw.received[at + 1] < 0x80, 'not masked');
    at += 2 + (payload.length < 126 ? 0 : payload.length < 65536 ? 2 : 8) + payload.length;
    assert.ok([1, 8, 9, 10].includes(opcode));
    assert.ok(opcode === 1 || payload.length <= 125);
    if (opcode === 8) assert.equal(i, frames.length - 1, 'the close is the last word');
    if (opcode === 1 && payload.includes('leaderboard.update')) versions.take(`${payload}`);
  }
}

const closeOf = (raw) => raw.frames().find(({ opcode }) => opcode === 8);

const says = (raw, wanted, text) => raw.frames().some(({ opcode, payload }) => opcode === wanted && `${payload}` === text);

/* Asks until there is an answer: the library answers one of several pings. Whether there was one. */
async function goesOn(raw) {
  raw.send(frame(PING));
  await until('answers', () => raw.ended || closeOf(raw) || (says(raw, 1, PONG) && says(raw, 10, FAREWELL)) || !raw.send(frame(FAREWELL, { opcode: 9 })));
  return !raw.ended && !closeOf(raw);
}

/* The code of the close that comes: 1005 for one without, 1006 where there is none. */
async function codeOfEnd(raw) {
  const close = await until('the end', () => closeOf(raw) ?? raw.ended);
  if (close === true) return 1006;
  raw.send(frame(close.payload, { opcode: 8 }));
  await raw.ends();
  return close.payload.length ? close.payload.readUInt16BE(0) : 1005;
}

/* ---- playing ---- */

/* Plays so many at a time for so long; meanwhile the bystander gets each list, and in the end the bridge has what it had early on. */
async function play(one) {
  const deadline = Date.now() + SECONDS * 1000;
  const seen = bystander.messages.length;
  const lists = [];
  let number = 0;
  let early;
  const neighbour = (async () => {
    while (Date.now() < deadline) {
      await award(cluster, 'ann', 1);
      score++;
      lists.push(messageOf(await published(cluster, 'ann', score)));
      await bystander.receives(lists.at(-1));
      if (number > CROWD) early ??= await memory(bridge);
    }
  })();
  await Promise.all([neighbour, inParallel(Array.from({ length: CROWD }), CROWD, async () => {
    while (Date.now() < deadline) await one(number++);
  })]);
  assert.deepEqual(bystander.messages.slice(seen), lists);
  assert.equal(bystander.closed, null);
  const grown = early ? await memory(bridge) - early : 0;
  assert.ok(grown < 16 * 1024 * 1024, `${grown} bytes more than after the first ones, ${number} clients`);
  await assertAlive(bridge);
  return number;
}

async function converse(t) {
  const ends = {};
  const number = await play(async (i) => {
    const draw = generator(SEED + i);
    const frames = conversation(draw);
    const codes = codesOf(frames);
    const raw = await say(bytesOf(frames), draw);
    const end = codes.length === 0 && await goesOn(raw) ? 'goes on' : await codeOfEnd(raw);
    assert.ok((codes.length === 0 ? ['goes on'] : codes).includes(end),
      `seed ${SEED + i}: ${end} instead of ${codes}: ${JSON.stringify(frames.map(({ payload, ...more }) => ({ ...more, payload: payload.toString('latin1', 0, 50), bytes: payload.length })))}`);
    checkHeard(raw);
    raw.close();
    ends[end] = (ends[end] ?? 0) + 1;
  });
  t.diagnostic(`${number} conversations: ${JSON.stringify(ends)}`);
}

async function spoil(t) {
  const ends = {};
  const number = await play(async (i) => {
    const draw = generator(SEED ^ i);
    const frames = [...conversation(draw), ...conversation(draw)];
    const raw = await say(mutate(bytesOf(frames), draw), draw);
    /* It may wait for the rest of a frame. */
    raw.socket.end();
    const end = await codeOfEnd(raw);
    assert.ok([1002, 1007, 1008, 1009].includes(end) || end === 1005 || end === 1006 || echoed(end), `seed ${SEED ^ i}: ${end}`);
    checkHeard(raw);
    ends[end] = (ends[end] ?? 0) + 1;
  });
  t.diagnostic(`${number} clients: ${JSON.stringify(ends)}`);
}

for (const kind of ['plain', 'TLS']) {
  test(`${kind}: each conversation ends as RFC 6455 and the few words that a client has want it`, (t) => {
    ({ bridge, bystander } = kinds[kind]);
    return converse(t);
  });
  test(`${kind}: frames that were spoiled end nobody else`, (t) => {
    ({ bridge, bystander } = kinds[kind]);
    return spoil(t);
  });
}
