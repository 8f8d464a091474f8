/*
 * Clients that don't read, and clients that went without a word: they cost one message each and nobody else's time.
 *
 * Documents here are written by hand and are large, since the kernel's buffers swallow megabytes before anybody looks slow.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, RawSocket, STREAM, UNLIMITED, ask, assertAlive, award, frame, inParallel, memory, messageOf, openEvents, openSocket, processorTime, published,
  stored } from './clients.mjs';
import { scrape, value } from './scraping.mjs';

const LARGE = 500_000;

let cluster;
let bridge;
let version;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('large'), ('quiet'); UPDATE scoreboard.board SET publish_interval_ms = 10 WHERE name = 'global'");
  bridge = await startBridge(cluster, ['--max-connections-per-address', '2000', '--slow-timeout', '10m']);
  await until('the other board', () => stored(cluster, 'quiet'));
  version = JSON.parse(await until('the board', () => stored(cluster, 'large'))).version;
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

/* Stores the next version of "large", and tells of it. */
async function publishLarge() {
  version++;
  await cluster.sql(`UPDATE scoreboard.top SET version = :version, document = format('{"board":"large","season":1,"version":%s,"players":1,"entries":[{"rank":1,'
    '"userId":"x","displayName":"%s","score":1}]}', :version, repeat('x', ${LARGE})) WHERE board = 'large';
    SELECT pg_notify('scoreboard', '{"board":"large","version":' || :version || '}') \\g /dev/null`, { version });
}

const query = '?board=large';
const has = (stream, wanted) => stream.messages.some((text) => JSON.parse(text).version === wanted);

/* Streams that take nothing any more after their first message. */
async function stalled(at, count, events) {
  const streams = [];
  for (let i = 0; i < count; i++) {
    const raw = events ? new Raw(at).send(`GET ${STREAM}${query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`)
      : await RawSocket.open(at, { path: STREAM + query });
    await until('the first message', () => raw.received.includes('"entries":['));
    raw.socket.pause();
    streams.push(raw);
  }
  return streams;
}

/* So many versions, each of which a client that reads gets at once. */
async function publishMany(reader, count) {
  for (let i = 0; i < count; i++) {
    await publishLarge();
    await until('the version at a client that reads', () => has(reader, version));
    reader.messages.splice(0, reader.messages.length - 1);
  }
}

test('a slow client holds one message, and gets the newest when it reads again', async () => {
  const reader = await openSocket(bridge, { query });
  const slow = [...await stalled(bridge, 10, false), ...await stalled(bridge, 10, true)];
  await publishMany(reader, 12);
  const early = await memory(bridge);
  await publishMany(reader, 24);
  const grown = await memory(bridge) - early;
  assert.ok(grown < slow.length * LARGE * 2, `${grown} bytes more after twice as many versions`);
  for (const raw of slow) {
    raw.socket.resume();
    await until('the newest version', () => raw.received.includes(`"version":${version},`));
    const seen = [...raw.received.toString('latin1').matchAll(/"version":(\d+),/g)].map((match) => Number(match[1]));
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
    assert.equal(new Set(seen).size, seen.length);
    assert.ok(seen.length < 30, `${seen.length} of 36 versions were kept for it`);
    assert.equal(raw.ended, false);
  }
  await publishLarge();
  for (const raw of slow) {
    await until('the next version', () => raw.received.includes(`"version":${version},`));
    raw.close();
  }
  reader.close();
});

test('a client that stays slow is dropped: 4003 if it ever listens, others go on', async () => {
  const strict = await startBridge(cluster, ['--slow-timeout', '300ms']);
  const reader = await openSocket(strict, { query });
  const [socket] = await stalled(strict, 1, false);
  const [events] = await stalled(strict, 1, true);
  await publishMany(reader, 16);
  await until('both to be dropped', () => strict.log.filter(({ msg }) => msg === 'stream dropped').length === 2);
  socket.socket.resume();
  events.socket.resume();
  assert.equal(await socket.closeCode(), 4003);
  const last = socket.frames().at(-1);
  assert.equal(last.payload.subarray(2).toString(), 'too slow');
  assert.ok(socket.received.subarray(-last.payload.length).equals(last.payload), 'the close is the last word');
  await events.ends();
  await publishMany(reader, 1);
  assert.equal(reader.closed, null);
  reader.close();
  assert.equal(await strict.stop(), 0);
});

test('a slow client gets no comments meanwhile, and of its other boards the newest list alone', async () => {
  const lively = await startBridge(cluster, ['--ping-interval', '200ms', '--slow-timeout', '10m']);
  const huge = 16_000_000;
  version++;
  await cluster.sql(`UPDATE scoreboard.top SET version = :version, document = format('{"board":"large","season":1,"version":%s,"players":1,"entries":[{"rank":1,'
    '"userId":"x","displayName":"%s","score":1}]}', :version, repeat('x', ${huge})) WHERE board = 'large';
    SELECT pg_notify('scoreboard', '{"board":"large","version":' || :version || '}') \\g /dev/null`, { version });
  const brisk = await openEvents(lively, { query: '?board=quiet' });
  await until('the huge list', async () => (await ask(lively, '/v1/leaderboard/top?board=large')).text.length > huge);
  const raw = new Raw(lively).send(`GET ${STREAM}?board=large,quiet HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
  await until('the beginning of the list', () => raw.received.includes('"entries":['));
  raw.socket.pause();
  const comments = brisk.comments;
  for (let score = 1; score <= 3; score++) {
    await award(cluster, 'ann', 1, 'quiet');
    await brisk.receives(messageOf(await published(cluster, 'ann', score, 'quiet')));
  }
  await until('many comments for who reads', () => brisk.comments > comments + 20);
  raw.socket.resume();
  await until('the other list', () => raw.received.includes('"board":"quiet"'));
  const text = raw.received.toString('latin1');
  assert.match(text.slice(text.indexOf('"board":"quiet"')), /^[^\n]*"score":3\b/, 'what was newest when it had taken the huge one');
  assert.ok([...text.matchAll(/^:$/gm)].length < 10, 'comments were kept for it');
  raw.close();
  brisk.close();
  assert.equal(await lively.stop(), 0);
});

test('whoever pings and never reads costs no memory', async () => {
  const raw = await RawSocket.open(bridge, { path: `${STREAM}?board=quiet` });
  await until('the list', () => raw.received.includes('"entries":['));
  raw.socket.pause();
  const pings = Buffer.concat(Array.from({ length: 5000 }, () => frame('{"type":"ping"}')));
  const early = await memory(bridge);
  for (let i = 0; i < 60; i++) {
    raw.send(pings);
    await ask(bridge, '/health');
  }
  /* Sanitizers keep 8 MB of what was freed, and no more. */
  const grown = await memory(bridge) - early;
  assert.ok(grown < 16_000_000, `${grown} bytes more after 300,000 pings`);
  raw.close();
});

const HUGE = 40_000_000; /* more than all buffers between two processes hold */

/* A bridge with a list so large, and one that has asked for it and takes as much as it is told to: takes(n) waits for so many bytes. */
async function hugeAnswer(t, headers = '') {
  await cluster.sql(`INSERT INTO scoreboard.board (name) VALUES ('huge') ON CONFLICT DO NOTHING`);
  await until('the board', () => stored(cluster, 'huge'));
  await cluster.sql(`UPDATE scoreboard.top SET document = left(document, 1) || '"x":"' || repeat('x', ${HUGE}) || '",' || substr(document, 2)
    WHERE board = 'huge' AND length(document) < ${HUGE}`);
  const strict = await startBridge(cluster, ['--slow-timeout', '2s', '--idle-timeout', '10m', '--metrics-listen', '127.0.0.1:0'], { ready: false });
  t.after(() => strict.stop());
  const idle = new Raw(strict);
  await until('readiness', async () => (await idle.send('GET /ready HTTP/1.1\r\nHost: x\r\n\r\n').answer()).status === 200);
  const raw = new Raw(strict).send(`GET /v1/leaderboard/top?board=huge HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
  raw.socket.removeAllListeners('data');
  let wanted = 0;
  raw.socket.on('data', () => { if (raw.socket.bytesRead >= wanted) raw.socket.pause(); });
  raw.socket.pause();
  const takes = (count) => {
    wanted = raw.socket.bytesRead + count;
    raw.socket.resume();
    return until('some bytes', () => raw.ended || raw.socket.bytesRead >= wanted);
  };
  return { strict, raw, takes };
}

test('an answer that is taken slowly is not torn', async (t) => {
  const { raw, takes } = await hugeAnswer(t);
  /* Longer than it may take nothing. */
  for (let part = 0; part < 17; part++) {
    await takes(2_000_000);
    await pause(200);
  }
  assert.equal(raw.ended, false);
  await takes(HUGE - raw.socket.bytesRead);
  assert.ok(raw.socket.bytesRead >= HUGE);
});

test('the last answer of a connection is not kept for ever either', async (t) => {
  const { strict, raw, takes } = await hugeAnswer(t, 'Connection: close\r\n');
  await takes(1);
  await until('only the idle one to be left', async () => value(await scrape(strict), 'scoreboard_bridge_connections') === 1);
  await takes(HUGE);
  assert.ok(raw.socket.bytesRead < HUGE);
});

test('a thousand clients get every version', async () => {
  const streams = [];
  await inParallel(Array.from({ length: 1000 }), 50, async (_, i) => streams.push(i % 3 ? await openSocket(bridge) : await openEvents(bridge)));
  for (let score = 1; score <= 5; score++) {
    await award(cluster, 'ann', 1);
    const message = messageOf(await published(cluster, 'ann', score));
    for (const stream of streams) await stream.receives(message);
  }
  for (const stream of streams) {
    assert.equal(stream.messages.length, 6);
    stream.close();
  }
  await assertAlive(bridge);
});

let pace = 0;

/* How much of a processor it uses while a dozen versions are published one after the other. */
async function busy() {
  const [began, used] = [Date.now(), await processorTime(bridge)];
  for (let i = 0; i < 12; i++) {
    pace += 1000;
    await award(cluster, 'pace', 1000);
    await published(cluster, 'pace', pace);
  }
  return (await processorTime(bridge) - used) / (Date.now() - began);
}

/* Of a board without news: sending to one that has gone would end it, and hide what it does until then. */
const QUIET = `${STREAM}?board=quiet`;
const EVENTS = `GET ${QUIET} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`;
const departures = {
  'event streams that are closed': [EVENTS, (raw) => raw.close()],
  'event streams that are half closed': [EVENTS, (raw) => raw.socket.end()],
  'event streams that are reset': [EVENTS, (raw) => raw.socket.resetAndDestroy()],
  'event streams on which something is said': [EVENTS, (raw) => raw.send('GET /health HTTP/1.1\r\n\r\n')],
  'WebSockets that are closed without a word': [RawSocket.handshake({ path: QUIET }), (raw) => raw.close()],
  'WebSockets that are half closed': [RawSocket.handshake({ path: QUIET }), (raw) => raw.socket.end()],
  'WebSockets that stop within a frame': [RawSocket.handshake({ path: QUIET }), (raw) => raw.send(frame('{"type":"ping"}').subarray(0, 7))],
  'requests that stop in the middle': ['GET /health HTT', (raw) => raw.socket.end()],
};

for (const [what, [request, leave]] of Object.entries(departures)) {
  test(`${what} leave no spinning behind`, async () => {
    const left = [];
    for (let i = 0; i < 20; i++) {
      const raw = new Raw(bridge).send(request);
      await until('the list, or the connection', () => raw.received.includes('"board":"quiet"') || (request.endsWith('HTT') && !raw.socket.connecting));
      leave(raw);
      left.push(raw);
    }
    const share = await busy();
    assert.ok(share < 0.5, `${Math.round(share * 100)} % of a processor`);
    left.forEach((raw) => raw.close());
  });
}
