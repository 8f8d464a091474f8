/*
 * Many clients, and clients that do nothing of what they should: each costs only itself.
 *
 * Who is not delayed is shown by the order of events, not by a clock: everybody else is served while the crowd is still there.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, ask, assertAlive, assertError, closeAll, inParallel, increment, memory, openSession, openSocket, processorTime, rawIncrement } from './clients.mjs';
import { scrape, value } from './scraping.mjs';

const MIB = 1024 * 1024;
const TOP = '/v1/leaderboard/top';
const HEALTH = 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n';

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  /* A list of about 15 KB, so that answers fill sockets soon. */
  await cluster.sql(`
    UPDATE scoreboard.board SET top_size = 100 WHERE name = 'global';
    SELECT scoreboard_set_profile('player-' || n, rpad('Player ' || n || ' ', 50, 'x'), NULL) FROM generate_series(1, 100) n \\g /dev/null
    SELECT scoreboard_increment_for('player-' || n, 'AWARD', 'first-' || n, points => n) FROM generate_series(1, 100) n \\g /dev/null`);
  bridge = await startBridge(cluster, ['--max-connections-per-address', '6000', '--head-timeout', '2m', '--body-timeout', '2m', '--idle-timeout', '2m', '--slow-timeout', '2m']);
  await until('the long list', async () => (await ask(bridge, TOP)).json.entries.length === 100);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

/* One crowd that its test has left shall not be in the way of the next. */
afterEach(closeAll);

const open = (raw) => until('the connection', () => !raw.socket.connecting);

/* Connections from several addresses, each with so much said. */
async function crowd(count, text, addresses = 1) {
  const raws = [];
  await inParallel(Array.from({ length: count }), 100, async (_, i) => {
    const raw = new Raw(bridge, { localAddress: `127.0.1.${1 + (i % addresses)}` });
    raws.push(raw);
    await open(raw);
    raw.send(typeof text === 'function' ? text(i) : text);
    await until('the bytes to be sent', () => raw.socket.writableLength === 0);
  });
  return raws;
}

/* Ordinary people: new connections and old ones, reading, acting and listening. */
async function serveNeighbours(rounds = 20) {
  const kept = new Raw(bridge);
  const stream = await openSocket(bridge);
  await until('the first list', () => stream.messages.length > 0);
  for (let i = 0; i < rounds; i++) {
    assert.equal((await ask(bridge, '/health')).status, 200);
    assert.equal((await ask(bridge, `${TOP}?limit=3`)).status, 200);
    assert.equal((await increment(bridge, cluster, 'neighbour')).status, 200);
    kept.send(HEALTH);
    assert.equal((await kept.answer()).status, 200);
  }
  assert.equal(stream.closed, null);
  stream.close();
  kept.close();
}

const quiet = () => until('the bridge to have nothing to do', async () => {
  const used = await processorTime(bridge);
  await pause(500);
  return (await processorTime(bridge)) - used <= 50;
});

test('2,048 unfinished heads from 8 addresses delay nobody', async () => {
  const heads = await crowd(2048, 'GET /v1/leaderboard/top HTTP/1.1\r\nHost: x\r\nX-Slow:', 8);
  await serveNeighbours();
  await quiet();
  assert.equal(heads.filter(({ ended, received }) => ended || received.length > 0).length, 0, 'they are still there');
  heads.forEach((raw) => raw.send(' at last\r\n\r\n'));
  for (const raw of heads) assert.equal((await raw.answer())?.status, 200);
});

test('2,048 unfinished bodies from 8 addresses delay nobody', async () => {
  const request = rawIncrement(cluster, 'unfinished');
  const bodies = await crowd(2048, request.subarray(0, -1), 8);
  await serveNeighbours();
  await quiet();
  assert.equal(bodies.filter(({ ended, received }) => ended || received.length > 0).length, 0, 'they are still there');
  bodies[0].send(request.subarray(-1));
  assert.equal((await bodies[0].answer()).json.userId, 'unfinished');
});

test('heads that come a byte at a time delay nobody', async () => {
  const beginning = 'GET /health HTTP/1.1\r\nHost: x\r\nX-Pad: ';
  const heads = await crowd(500, beginning[0], 8);
  let running = true;
  const drops = (async () => {
    for (let i = 1; running || i < beginning.length; i++) {
      heads.forEach((raw) => raw.send(beginning[i] ?? 'x'));
      await pause(20);
    }
  })();
  try {
    await serveNeighbours();
  } finally {
    running = false;
    await drops;
  }
  assert.equal(heads.filter(({ ended }) => ended).length, 0, 'they are still there');
  heads.forEach((raw) => raw.send('\r\n\r\n'));
  for (const raw of heads) assert.equal((await raw.answer())?.status, 200);
});

test('a thousand requests at once by somebody who reads nothing: no processor time, no memory, nobody delayed; and then all are answered', async () => {
  const before = await memory(bridge);
  const raw = new Raw(bridge);
  raw.socket.pause();
  for (let i = 0; i < 1000; i++) raw.send(`GET ${TOP} HTTP/1.1\r\nHost: x\r\nX-Request-Id: unread-${i}\r\n\r\n`);
  await serveNeighbours();
  await quiet();
  assert.ok(await memory(bridge) < before + 24 * MIB, `${before} -> ${await memory(bridge)}`);
  raw.socket.resume();
  for (let i = 0; i < 1000; i++) assert.equal((await raw.answer())?.headers['x-request-id'], `unread-${i}`);
});

test('a thousand increments at once by somebody who reads nothing are no load without end either', async () => {
  const raw = new Raw(bridge);
  raw.socket.pause();
  for (let i = 0; i < 1000; i++) raw.send(rawIncrement(cluster, 'unread', { headers: { 'X-Request-Id': `unread-${i}` } }));
  await serveNeighbours();
  raw.socket.resume();
  for (let i = 0; i < 1000; i++) {
    const answer = await raw.answer();
    assert.deepEqual([answer?.headers['x-request-id'], answer?.status], [`unread-${i}`, 200]);
  }
  raw.close();
  assert.equal(await cluster.sql("SELECT score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = 'unread'"), '100000');
});

test('whoever reads nothing is not read either: requests without end stay in the sender', async () => {
  const before = await memory(bridge);
  const raw = new Raw(bridge);
  raw.socket.pause();
  const request = `GET ${TOP} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(1000);
  let sent = 0;
  let last = -1;
  /* Until a second passes in which the system takes nothing more of it. */
  await until('the sockets to be full', async () => {
    while (raw.socket.writableLength < 4 * MIB) raw.send(request);
    sent = raw.socket.bytesWritten - raw.socket.writableLength;
    const full = sent === last;
    last = sent;
    await pause(1000);
    return full;
  });
  await serveNeighbours();
  await quiet();
  assert.ok(await memory(bridge) < before + 24 * MIB, `${before} -> ${await memory(bridge)}`);
  raw.close();
  await assertAlive(bridge);
});

test('whoever takes nothing of its answers is let go after a while', async () => {
  const strict = await startBridge(cluster, ['--slow-timeout', '500ms', '--idle-timeout', '60s', '--metrics-listen', '127.0.0.1:0'], { ready: false });
  const connections = async () => value(await scrape(strict), 'scoreboard_bridge_connections');
  try {
    const idle = new Raw(strict);
    await until('readiness', async () => (await idle.send('GET /ready HTTP/1.1\r\nHost: x\r\n\r\n').answer()).status === 200);
    const raw = new Raw(strict);
    raw.socket.pause();
    raw.send(`GET ${TOP} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(2000));
    await until('it to be there', async () => await connections() === 2);
    await until('it to be gone', async () => await connections() === 1);
    idle.send(HEALTH);
    assert.equal((await idle.answer())?.status, 200, 'whoever is idle stays');
  } finally {
    await strict.stop();
  }
});

test('5,000 requests one behind the other, of every length, are all answered', async () => {
  for (let extra = 0; extra < 16; extra++) {
    const raw = new Raw(bridge);
    let last = '';
    raw.socket.removeAllListeners('data');
    raw.socket.on('data', (data) => { last = (last + data.toString('latin1')).slice(-4000); });
    raw.send(`GET /health HTTP/1.1\r\nHost: ${'x'.repeat(1 + extra)}\r\n\r\n`.repeat(5000));
    raw.send('GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: the-last\r\n\r\n');
    await until('the last answer', () => last.includes('the-last') || raw.ended);
    assert.ok(last.includes('the-last'), last);
    raw.close();
  }
});

test('somebody with requests without end, who reads them all, leaves turns to others', async () => {
  const raw = new Raw(bridge);
  let running = true;
  raw.socket.removeAllListeners('data');
  raw.socket.on('data', () => {});
  const endless = (async () => {
    while (running) {
      if (raw.socket.writableLength < MIB) raw.send(HEALTH.repeat(1000));
      await pause(1);
    }
  })();
  try {
    await until('it to begin', () => raw.socket.bytesRead > 10000);
    const from = raw.socket.bytesRead;
    await serveNeighbours();
    assert.ok(raw.socket.bytesRead > from, 'it went on meanwhile');
  } finally {
    running = false;
    await endless;
  }
});

test('5,000 connections at once are all answered, and give everything back', async () => {
  const before = (await ask(bridge, '/health')).status;
  assert.equal(before, 200);
  const raws = await crowd(5000, (i) => `GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: crowd-${i}\r\n\r\n`);
  for (const raw of raws) assert.match((await raw.answer())?.headers['x-request-id'] ?? 'none', /^crowd-/);
  await serveNeighbours(5);
  raws.forEach((raw) => raw.send(HEALTH));
  for (const raw of raws) assert.equal((await raw.answer())?.status, 200);
  raws.forEach((raw) => raw.close());
  await quiet();
  await serveNeighbours(5);
});

test('a client that has said all and ended its side gets its answers', async () => {
  for (const text of [HEALTH, HEALTH.repeat(5), `GET ${TOP} HTTP/1.1\r\nHost: x\r\n\r\n`, rawIncrement(cluster, 'half'), Buffer.concat([rawIncrement(cluster, 'half'), rawIncrement(cluster, 'half'), Buffer.from(HEALTH)])]) {
    const raw = new Raw(bridge, { allowHalfOpen: true });
    raw.socket.end(text);
    const wanted = text.toString('latin1').split(' HTTP/1.1\r\n').length - 1;
    for (let i = 0; i < wanted; i++) assert.equal((await raw.answer())?.status, 200, `answer ${i + 1} of ${wanted}`);
    await raw.ends();
    raw.close();
  }
  assert.equal(await cluster.sql("SELECT score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = 'half'"), '300');
});

test('a client that ends its side within a request is let go', async () => {
  for (const text of ['', 'GET', HEALTH.slice(0, -2), rawIncrement(cluster, 'torn').subarray(0, -1)]) {
    const raw = new Raw(bridge, { allowHalfOpen: true });
    raw.socket.end(text);
    await raw.ends();
    assert.ok(raw.received.length === 0 || (await raw.answer()).status === 400);
    raw.close();
  }
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.player WHERE user_id = 'torn'"), '0');
});

/* A pause is what is tested here, so that it has to be waited for. */
test('a pause within a body: so long as the time for bodies lasts it is waited for, and then it is 408', async () => {
  const patient = await startBridge(cluster, ['--body-timeout', '7s', '--head-timeout', '7s', '--idle-timeout', '2s'], { ready: false });
  try {
    const request = rawIncrement(cluster, 'pausing');
    const pausing = new Raw(patient).send(request.subarray(0, -10));
    const silent = new Raw(patient).send(request.subarray(0, -10));
    const head = new Raw(patient).send(HEALTH.slice(0, -2));
    await pause(6000);
    pausing.send(request.subarray(-10));
    assert.equal((await pausing.answer())?.status, 200);
    assertError(await silent.answer(), 408, 'REQUEST_TIMEOUT');
    await silent.ends();
    assertError(await head.answer(), 408, 'REQUEST_TIMEOUT');
    await head.ends();
  } finally {
    await patient.stop();
  }
});

test('what stands behind an increment that waits costs nothing meanwhile', async () => {
  const release = await openSession(cluster, "LOCK scoreboard.action IN EXCLUSIVE MODE; SELECT 'held'");
  const raws = Array.from({ length: 10 }, () => new Raw(bridge));
  try {
    for (const raw of raws) {
      await open(raw);
      raw.send(rawIncrement(cluster, 'waiting'));
    }
    await until('it to wait', async () => await cluster.sql("SELECT count(*) FROM pg_locks WHERE relation = 'scoreboard.action'::regclass AND NOT granted") !== '0');
    raws.forEach((raw) => raw.send(HEALTH));
    await quiet();
    assert.ok(raws.every(({ received }) => received.length === 0), 'they wait still');
  } finally {
    await release();
  }
  for (const raw of raws) for (let i = 0; i < 2; i++) assert.equal((await raw.answer())?.status, 200);
});

test('of requests that came at once others have their turn after a few', async () => {
  const chatty = await startBridge(cluster, ['--log-level', 'debug'], { ready: false });
  const [many, one] = [new Raw(chatty), new Raw(chatty)];
  try {
    for (const raw of [many, one]) assert.equal((await raw.send(HEALTH).answer()).status, 200);
    /* Stopped, so that all of it is there when the next turn begins. */
    chatty.child.kill('SIGSTOP');
    many.send('GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: many\r\n\r\n'.repeat(1000));
    await until('the requests to be sent', () => many.socket.writableLength === 0);
    one.send('GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: one\r\n\r\n');
    await until('the request to be sent', () => one.socket.writableLength === 0);
    chatty.child.kill('SIGCONT');
    const ids = () => chatty.log.filter(({ msg }) => msg === 'request').map((line) => line.request_id);
    await until('all of them', () => ids().filter((id) => id === 'many').length === 1000 && ids().includes('one'));
    assert.ok(ids().filter((id) => id === 'many' || id === 'one').indexOf('one') <= 100, `after ${ids().indexOf('one')}`);
  } finally {
    chatty.child.kill('SIGCONT');
    await chatty.stop();
  }
});

const BAD = 'no request\r\n\r\n';

test('whoever goes on after its last answer is heard for a moment only, and not for more than some bytes', async () => {
  const raw = new Raw(bridge, { allowHalfOpen: true }).send(BAD);
  assert.equal((await raw.answer()).status, 400);
  const piece = Buffer.alloc(256 * 1024);
  while (!raw.ended) {
    if (raw.socket.writableLength < MIB) raw.send(piece);
    await new Promise(setImmediate);
  }
  const taken = raw.socket.bytesWritten - raw.socket.writableLength;
  assert.ok(taken < 24 * MIB, `${taken} bytes`);
});

test('whoever does not end its side after its last answer gives its place back all the same', async () => {
  const narrow = await startBridge(cluster, ['--max-connections', '1'], { ready: false });
  try {
    const raw = await until('a place', async () => {
      const next = new Raw(narrow, { allowHalfOpen: true }).send(BAD);
      return (await next.answer())?.status === 400 && next;
    });
    await until('the place to be free', async () => {
      const next = new Raw(narrow).send(HEALTH);
      const answer = await next.answer();
      next.close();
      return answer?.status === 200;
    });
    assert.equal(raw.ended, false);
    raw.close();
  } finally {
    await narrow.stop();
  }
});

test('whoever is refused before its body is still told why', async () => {
  /* The whole body is on its way while the answer is: closing at once would tear the answer away. */
  for (let i = 0; i < 20; i++) {
    const raw = new Raw(bridge).send(rawIncrement(cluster, 'large', { body: 'x'.repeat(MIB / 2) }));
    assertError(await raw.answer(), 413, 'PAYLOAD_TOO_LARGE');
    await raw.ends();
    assert.equal(raw.error, undefined, 'the connection ends without being torn');
  }
});
