/*
 * Bytes that nobody would send: each ends its own connection at most, while an ordinary client goes on as if nothing were.
 *
 * The bytes are drawn from a seed, which a failure names; GARBAGE_SEED=... draws the same again.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, RawSocket, UNLIMITED, assertAlive, frame, inParallel, increment, openEvents, openSocket, rawIncrement, stored } from './clients.mjs';

const SEED = Number(process.env.GARBAGE_SEED ?? 20260101);
const ROUNDS = 600;

/* Numbers below `below` from a seed: the same ones each time. */
function generator(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--max-connections-per-address', '2000', '--head-timeout', '1s', '--body-timeout', '200ms', '--idle-timeout', '1s']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

function mutate(bytes, draw) {
  const out = Buffer.from(bytes);
  for (let n = draw(8); n >= 0; n--) {
    const at = draw(out.length);
    switch (draw(5)) {
      case 0: out[at] = draw(256); break;
      case 1: out[at] ^= 1 << draw(8); break;
      case 2: out.copyWithin(at, draw(out.length)); break;
      case 3: return Buffer.concat([out.subarray(0, at), Buffer.from(Array.from({ length: draw(64) }, () => draw(256))), out.subarray(at)]);
      default: return out.subarray(0, at);
    }
  }
  return out;
}

const noise = (draw, length) => Buffer.from(Array.from({ length }, () => draw(256)));

/* Things to spoil: requests, handshakes, frames. */
const materials = [
  () => rawIncrement(cluster, 'mallory'),
  () => Buffer.from('GET /v1/leaderboard/top?board=global&limit=3 HTTP/1.1\r\nHost: x\r\nIf-None-Match: "x"\r\nX-Request-Id: y\r\n\r\n'.repeat(3)),
  () => Buffer.from('GET /v1/leaderboard/stream?board=global HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: global:1\r\n\r\n'),
  () => Buffer.from(RawSocket.handshake()),
  () => Buffer.concat([Buffer.from(RawSocket.handshake()), frame('{"type":"ping"}'), frame('x', { opcode: 9 }), frame('{"type":', { final: false }), frame('"ping"}', { opcode: 0 })]),
];

/* Behind a good handshake, so that frames are reached at all. */
async function spoilFrames(draw) {
  const raw = await RawSocket.open(bridge);
  for (let n = draw(4); n >= 0; n--) {
    raw.send(draw(2) ? noise(draw, draw(300)) : mutate(frame('{"type":"ping"}', { opcode: draw(16), reserved: draw(8) && 0, final: draw(2) > 0 }), draw));
  }
  return raw;
}

/* In several pieces, so that states between them are met. */
function spoilRequest(draw) {
  const bytes = draw(8) ? mutate(materials[draw(materials.length)](), draw) : noise(draw, draw(2000));
  const raw = new Raw(bridge);
  const cut = draw(bytes.length + 1);
  raw.send(bytes.subarray(0, cut));
  setImmediate(() => raw.send(bytes.subarray(cut)));
  return raw;
}

test(`garbage (seed ${SEED}) harms nobody but its sender`, async () => {
  const clients = [await openSocket(bridge), await openEvents(bridge)];
  let running = true;
  let counted = 0;
  const ordinary = (async () => {
    while (running) {
      const answer = await increment(bridge, cluster, 'ordinary', { action: actionFor(cluster, 'ordinary') });
      assert.equal(answer.status, 200, answer.text);
      counted++;
    }
  })();
  const draw = generator(SEED);
  await inParallel(Array.from({ length: ROUNDS }), 20, async (_, i) => {
    const raw = i % 3 ? spoilRequest(draw) : await spoilFrames(draw);
    await until('the bytes to be sent', () => raw.ended || (!raw.socket.connecting && raw.socket.writableLength === 0));
    await new Promise(setImmediate);
    if (draw(2)) raw.close();
    else if (draw(2)) raw.socket.end();
    else raw.socket.resetAndDestroy();
  });
  running = false;
  await ordinary;
  await assertAlive(bridge);
  assert.equal(await cluster.sql("SELECT score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = 'ordinary'"), `${100 * counted}`);
  const last = await until('the last version', async () => {
    const document = await stored(cluster);
    return JSON.parse(document).entries.some(({ userId, score }) => userId === 'ordinary' && score === 100 * counted) && document;
  });
  for (const stream of clients) {
    await until('the final list', () => JSON.parse(stream.last).version >= JSON.parse(last).version);
    assert.equal(stream.closed, null);
    stream.close();
  }
  assert.ok(!bridge.log.some(({ level }) => level === 'error'), JSON.stringify(bridge.log.find(({ level }) => level === 'error')));
});
