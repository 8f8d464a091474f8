/*
 * Bytes that nobody would send: requests, handshakes and frames that are spoiled in ways drawn from a seed.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { actionFor } from '../lib/cluster.mjs';
import { Raw, RawSocket, frame, rawIncrement } from './clients.mjs';

/* Numbers below `below` from a seed: the same ones each time. */
export function generator(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export function mutate(bytes, draw) {
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
const materials = (cluster) => [
  () => rawIncrement(cluster, 'mallory'),
  () => Buffer.from('GET /v1/leaderboard/top?board=global&limit=3 HTTP/1.1\r\nHost: x\r\nIf-None-Match: "x"\r\nX-Request-Id: y\r\n\r\n'.repeat(3)),
  () => Buffer.from('GET /v1/leaderboard/stream?board=global HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: global:1\r\n\r\n'),
  () => Buffer.from(RawSocket.handshake()),
  () => Buffer.concat([Buffer.from(RawSocket.handshake()), frame('{"type":"ping"}'), frame('x', { opcode: 9 }), frame('{"type":', { final: false }), frame('"ping"}', { opcode: 0 })]),
];

const drawn = (list, draw) => list[draw(list.length)];

/* Behind a good handshake, so that frames are reached at all. */
export async function spoilFrames(bridge, draw) {
  const raw = await RawSocket.open(bridge);
  for (let n = draw(4); n >= 0; n--) {
    raw.send(draw(2) ? noise(draw, draw(300)) : mutate(frame('{"type":"ping"}', { opcode: draw(16), reserved: draw(8) && 0, final: draw(2) > 0 }), draw));
  }
  return raw;
}

/* In several pieces, so that states between them are met. */
export function spoilRequest(bridge, cluster, draw) {
  const bytes = draw(8) ? mutate(drawn(materials(cluster), draw)(), draw) : noise(draw, draw(2000));
  const raw = new Raw(bridge);
  const cut = draw(bytes.length + 1);
  raw.send(bytes.subarray(0, cut));
  setImmediate(() => raw.send(bytes.subarray(cut)));
  return raw;
}

const JSON_PIECES = ['{', '}', '[', ']', ',', ':', '"', '\\', '\\u0000', '\\ud800', '\\udc00', 'null', 'true', '-', '1e999', '1e-5', '0', '9'.repeat(400), '[['.repeat(300), '{"a":'.repeat(300),
  '\x00', '\xff', '\xc0\x80', '\xed\xa0\x80', '\xf4\x90\x80\x80', '\ufeff', '/*', '"actionType":"X",', '"token":"x",', ' ', '\n', '\t'];

/* A body that may be anything, behind a head that is good: so that it is what gets read. */
export function spoilBody(bridge, cluster, draw) {
  let body = Buffer.from(JSON.stringify(actionFor(cluster, 'mallory')));
  for (let n = draw(4); n >= 0; n--) {
    const at = draw(body.length + 1);
    const piece = Buffer.from(drawn(JSON_PIECES, draw), draw(2) ? 'utf8' : 'latin1');
    body = draw(3) ? Buffer.concat([body.subarray(0, at), piece, body.subarray(draw(2) ? at : at + draw(20))]) : mutate(body, draw);
    if (body.length === 0) break;
  }
  return new Raw(bridge).send(rawIncrement(cluster, 'mallory', { body }));
}
