/*
 * A bridge under mixed traffic for a long time: memory and descriptors stay flat.
 *
 *     make soak                   10 minutes; SOAK_SECONDS=3600 make soak: an hour
 *     SANITIZED=1 make soak       with the build that has AddressSanitizer and UBSan
 *     SOAK_TLS=1 make soak        over TLS
 *
 * Traffic comes in rounds. In each there is everything at once: readers of all routes, players, streams that listen and streams that don't, signed-in ones by
 * each way there is, scrapers, requests one behind the other, spoiled ones, clients that leave, that are late, that end one side, bodies over the limit, lists that change, forged
 * notifications, database sessions that are ended, a server that crashes. Behind each round all clients leave, and what the bridge has then is compared with what it
 * had after the first ones. No test of `make check`, since it takes so long.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Authority } from './certificates.mjs';
import { Raw, RawSocket, STREAM, UNLIMITED, ask, award, closeAll, frame, increment, memory, openEvents, openSocket, processorTime, rawIncrement } from './clients.mjs';
import { scrape } from './scraping.mjs';
import { generator, spoilBody, spoilFrames, spoilRequest } from './spoiling.mjs';

const SECONDS = Number(process.env.SOAK_SECONDS ?? 600);
const ROUND = Math.min(30, SECONDS / 10) * 1000;
const SEED = Number(process.env.SOAK_SEED ?? 20260101);
/* What memory may differ by: the allocator's habits, and a sanitizer's quarantine. */
const SLACK = (process.env.ASAN_OPTIONS ? 24 : 3) * 1024 * 1024;
const TOP = '/v1/leaderboard/top';
const HEALTH = 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n';

const draw = generator(SEED);
const counts = {};
let cluster;
let bridge;
let directory; /* of certificates, over TLS */
let playing = false;

const count = (what) => { counts[what] = (counts[what] ?? 0) + 1; };

/* One kind of traffic: again and again while the round lasts. What fails because the connection was lost is part of it. */
async function again(what, work) {
  while (playing) {
    try {
      count((await work()) ?? what);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      count(`${what}: ${error.cause?.code ?? error.code ?? error.message}`);
      await pause(20);
    }
  }
}

/* node resets no connection over TLS */
const reset = ({ socket }) => (bridge.tls ? socket.destroy() : socket.resetAndDestroy());
const sent = (raw) => until('the bytes to be sent', () => raw.ended || (!raw.socket.connecting && raw.socket.writableLength === 0));

async function listen(options) {
  const stream = await (draw(2) ? openSocket(bridge, options) : openEvents(bridge, options));
  await until('a list', () => stream.messages.length > 0 || stream.closed || !playing);
  await pause(draw(3000));
  stream.close();
}

const bearer = () => ({ authorization: `Bearer ${tokenFor(cluster, `player-${draw(500)}`)}` });

/* A player's stream, by header, ticket or subprotocol; many players have more than three. */
async function follow() {
  const query = draw(2) ? '?board=members,global' : '';
  if (draw(3) === 0) return listen({ query, headers: bearer() });
  const { status, json } = await ask(bridge, '/v1/stream-tickets', { method: 'POST', headers: { ...bearer(), 'content-length': 0 } });
  if (status !== 200) return `follow ${status}`;
  if (draw(2)) return listen({ query: `${query || '?board=global'}&ticket=${json.ticket}` });
  const stream = await openSocket(bridge, { query, protocols: ['scoreboard.v1', `ticket.${json.ticket}`] });
  await pause(draw(2000));
  stream.close();
  return 'follow';
}

/* Opts out and in again, under a token that may be none. */
async function choose() {
  const { status } = await ask(bridge, '/v1/users/me/visibility', { method: 'PUT', body: JSON.stringify({ listed: draw(2) === 0, anonymous: draw(2) === 0 }),
    headers: { ...(draw(4) && bearer()), 'content-type': 'application/json' } });
  assert.ok([200, 401, 404, 503].includes(status), `${status}`);
  return `choose ${status}`;
}

/* Doesn't take what is sent. */
async function stall() {
  const raw = new Raw(bridge).send(`GET /v1/leaderboard/stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
  raw.socket.pause();
  await sent(raw);
  await pause(draw(4000));
  raw.close();
}

async function pipeline() {
  const raw = new Raw(bridge);
  const total = 1 + draw(40);
  for (let i = 0; i < total; i++) raw.send(draw(4) ? HEALTH : rawIncrement(cluster, `piped-${draw(20)}`));
  const wanted = draw(5) ? total : draw(total);
  for (let i = 0; i < wanted; i++) assert.ok([200, 503].includes((await raw.answer())?.status ?? 503));
  raw.close();
}

async function spoil() {
  const kind = draw(3);
  const raw = kind === 0 ? await spoilFrames(bridge, draw) : (kind === 1 ? spoilRequest : spoilBody)(bridge, cluster, draw);
  await sent(raw);
  if (draw(2)) raw.close();
  else if (draw(2)) raw.socket.end();
  else reset(raw);
}

/* Nothing, half a head, or half a body; and then gone, or waiting until the bridge has enough. */
async function dawdle() {
  const request = rawIncrement(cluster, 'dawdler');
  const raw = new Raw(bridge).send(request.subarray(0, draw(request.length)));
  if (draw(2)) await raw.ends();
  else await pause(draw(500));
  raw.close();
}

async function exceed() {
  const raw = new Raw(bridge);
  if (draw(2)) raw.send(rawIncrement(cluster, 'large', { body: 'x'.repeat(17000 + draw(200000)) }));
  else raw.send(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(17000)}\r\n\r\n`);
  const answer = await raw.answer();
  assert.ok([413, 431].includes(answer?.status ?? 413));
  raw.close();
}

async function end() {
  const raw = new Raw(bridge, { allowHalfOpen: true });
  raw.socket.end(draw(2) ? HEALTH : rawIncrement(cluster, 'half'));
  assert.ok([200, 503].includes((await raw.answer())?.status ?? 503));
  await raw.ends();
}

/* A stream or an upgrade that is torn away, whatever is on its way just then; or one whose client says no more, and has not gone. */
async function vanish() {
  const raw = new Raw(bridge, { allowHalfOpen: true });
  raw.send(draw(2) ? RawSocket.handshake() : `GET ${STREAM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
  if (draw(3)) await until('an answer', () => raw.received.length > draw(3000) || raw.ended || !playing);
  if (draw(2)) raw.send(frame('x'.repeat(draw(200)), { opcode: draw(16) }));
  if (draw(2)) raw.socket.end();
  await pause(draw(1000));
  reset(raw);
}

const kinds = {
  read: [4, async () => { assert.equal((await ask(bridge, `${TOP}?limit=${1 + draw(10)}`)).status, 200); }],
  revisit: [2, async () => {
    const etag = (await ask(bridge, TOP)).headers.get('etag');
    assert.ok([200, 304].includes((await ask(bridge, TOP, { headers: { 'if-none-match': etag } })).status));
  }],
  look: [4, async () => {
    const headers = draw(2) ? { authorization: `Bearer ${tokenFor(cluster, `player-${draw(500)}`)}` } : {};
    const paths = ['/v1/leaderboard/view?users=player-1,player-2', `/v1/leaderboard/around?user=player-${draw(600)}`, `/v1/users/player-${draw(600)}/score`, '/v1/boards', `${TOP}?skip=${10 + draw(50)}`,
      '/v1/users/me/actions', '/v1/users/me/score', `${TOP}?board=members`, '/v1/leaderboard/view?board=members&radius=5', `/v1/leaderboard/ranks?users=player-1,player-${draw(600)}`,
      '/openapi.json', '/asyncapi.json', '/', '/scoreboard.js'];
    const { status } = await ask(bridge, paths[draw(paths.length)], { headers });
    assert.ok([200, 401, 404, 503].includes(status), `${status}`);
    return `look ${status}`;
  }],
  play: [8, async () => {
    const { status } = await increment(bridge, cluster, `player-${draw(500)}`);
    assert.ok([200, 503].includes(status), `${status}`);
    return `play ${status}`;
  }],
  refused: [2, async () => { assert.ok([401, 503].includes((await increment(bridge, cluster, 'stranger', { token: 'a.b.c' })).status)); }],
  listen: [60, () => listen()],
  follow: [20, follow],
  choose: [2, choose],
  scrape: [1, async () => { assert.ok((await scrape(bridge)).samples.size > 20); await pause(200); }],
  reload: [1, async () => { bridge.child.kill('SIGHUP'); await pause(3000); }],
  stall: [10, stall],
  pipeline: [4, pipeline],
  spoil: [6, spoil],
  vanish: [10, vanish],
  dawdle: [6, dawdle],
  exceed: [2, exceed],
  end: [2, end],
  change: [1, async () => { await award(cluster, `winner-${draw(30)}`, 1 + draw(100)); await pause(50); }],
  forge: [1, async () => {
    await cluster.sql("SELECT pg_notify('scoreboard', json_build_object('board', 'no-' || n, 'version', n)::text) FROM generate_series(1, 20) n \\g /dev/null");
    await pause(500);
  }],
  interrupt: [1, async () => {
    await pause(5000 + draw(5000));
    await cluster.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'test_bridge'");
  }],
  crash: [1, async () => {
    await pause(8000 + draw(8000));
    await cluster.shutdown('immediate');
    await cluster.start();
  }],
};

async function round() {
  playing = true;
  const work = Object.entries(kinds).flatMap(([what, [width, one]]) => Array.from({ length: width }, () => again(what, one)));
  const failed = Promise.all(work);
  await Promise.race([pause(ROUND), failed]);
  playing = false;
  closeAll();
  await failed;
}

const descriptors = async () => (await readdir(`/proc/${bridge.child.pid}/fd`)).length;

/* What the bridge has when nobody is there. */
async function rest() {
  await until('the bridge to be ready', async () => (await ask(bridge, '/ready')).status === 200);
  let last = -1;
  await until('its descriptors to stay', async () => {
    const now = await descriptors();
    const same = now === last;
    last = now;
    await pause(500);
    return same;
  });
  return { memory: await memory(bridge), descriptors: last, processor: await processorTime(bridge) };
}

const least = (rounds) => Math.min(...rounds.map((one) => one.memory));

function judge(rounds) {
  /* The pool's size may differ by what is being connected, and keep-alive connections of our own fetch. */
  const third = Math.max(1, Math.floor((rounds.length - 1) / 3));
  const early = rounds.slice(1, 1 + third);
  const late = rounds.slice(-third);
  const most = Math.max(...rounds.slice(0, 2).map((one) => one.descriptors));
  assert.ok(late.every((one) => one.descriptors <= most + 4), `descriptors: ${rounds.map((one) => one.descriptors)}`);
  assert.ok(least(late) <= least(early) + SLACK, `memory: ${rounds.map((one) => Math.round(one.memory / 1024))} KB`);
}

async function main() {
  cluster = await startCluster({ ...UNLIMITED, max_connections: 60 });
  await cluster.sql("INSERT INTO scoreboard.board (name, visibility) VALUES ('members', 'token')");
  await award(cluster, 'player-1', 10, 'members');
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'soak-'));
  const tls = process.env.SOAK_TLS && await (await new Authority(directory).start()).server('server');
  bridge = await startBridge(cluster, ['--www', 'bridge/www', '--metrics-listen', '127.0.0.1:0', '--max-connections-per-address', '4000', '--head-timeout', '1s', '--body-timeout', '1s', '--idle-timeout', '2s', '--slow-timeout', '2s',
    '--submit-timeout', '3s', '--reconnect-max', '200ms', '--ping-interval', '1s', '--log-level', 'warn'], { tls });
  const rounds = [];
  const deadline = Date.now() + SECONDS * 1000;
  console.log(`seed ${SEED}, ${SECONDS} s in rounds of ${ROUND / 1000} s`);
  for (let n = 1; Date.now() < deadline || n <= 4; n++) {
    await round();
    const now = await rest();
    rounds.push(now);
    console.log(`round ${n}: ${(now.memory / 1024).toFixed(0)} KB, ${now.descriptors} descriptors, ${(now.processor / 1000).toFixed(1)} s of processor time`);
  }
  console.log(JSON.stringify(counts));
  const errors = bridge.log.filter(({ level, time }) => level === 'error' || !time);
  assert.deepEqual(errors.slice(0, 5), []);
  assert.equal(await bridge.stop(), 0);
  judge(rounds);
  console.log('memory and descriptors stayed flat');
}

try {
  await main();
} catch (error) {
  playing = false;
  console.error(error);
  console.error(JSON.stringify(counts));
  console.error(JSON.stringify(bridge?.log.slice(-10)));
  process.exitCode = 1;
} finally {
  closeAll();
  await bridge?.stop();
  await cluster?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
}
