/*
 * From a commit to the frame at a client, in milliseconds: prints "p50 p99" of COUNT times, and the same of a LISTEN beside it.
 *
 *	node latency.mjs BRIDGE_PORT COUNT          (libpq's variables say where the database is; role: one that may award)
 *
 * The clock starts when the client that committed has been told so, and stops when the frame with its version is here; both
 * are this process. One increment at a time, further apart than the board's interval, so each is published by itself.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import pg from 'pg';
import WebSocket from 'ws';

const [port, count] = process.argv.slice(2).map(Number);
const writer = new pg.Client();
const listener = new pg.Client();
await Promise.all([writer.connect(), listener.connect()]);

const heard = { frame: new Map(), notify: new Map() };
const waiting = { frame: null, notify: null };
function arrived(kind, version) {
  heard[kind].set(version, performance.now());
  waiting[kind]?.();
}
listener.on('notification', ({ payload }) => {
  try { arrived('notify', JSON.parse(payload).version); } catch { /* a forged one */ }
});
await listener.query('LISTEN scoreboard');
const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/leaderboard/stream`);
socket.on('message', (text) => {
  const message = JSON.parse(text);
  if (message.type === 'leaderboard.update') arrived('frame', message.version);
});
await once(socket, 'message');

async function newer(kind, version) {
  const found = () => [...heard[kind]].find(([one]) => one > version);
  while (!found()) await new Promise((resolve) => { waiting[kind] = resolve; });
  return found();
}

const times = { frame: [], notify: [] };
for (let i = 0; i < count; i++) {
  const last = Math.max(0, ...heard.frame.keys());
  await writer.query("SELECT scoreboard_increment_for(bench.user_id($1), 'LEAD', $2, points => 1)", [1 + (i % 10), randomBytes(9).toString('hex')]);
  const committed = performance.now();
  for (const kind of ['frame', 'notify']) times[kind].push(Math.max(0, (await newer(kind, last))[1] - committed));
  heard.frame = new Map([...heard.frame].slice(-1));
  heard.notify = new Map([...heard.notify].slice(-1));
  await new Promise((resolve) => { setTimeout(resolve, 20 + Math.random() * 20); });
}
const percentile = (list, share) => list.sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))].toFixed(3);
console.log(['frame', 'notify'].flatMap((kind) => [percentile(times[kind], 0.5), percentile(times[kind], 0.99)]).join(' '));
socket.close();
await Promise.all([writer.end(), listener.end()]);
