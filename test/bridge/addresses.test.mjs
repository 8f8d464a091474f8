/*
 * How many requests an address may make, and whose they are behind proxies: the limit, the block and what is not touched by them, hops
 * that are believed and that are not, IPv6 by /64, streams, and a flood of invented addresses.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Raw, RawSocket, STREAM, UNLIMITED, assertError, memory, openSocket, rawIncrement } from './clients.mjs';

const LIMIT = 5;
const PROXY = '127.0.0.9';
const OTHER_PROXY = '127.0.0.8';
const MIB = 1024 * 1024;

let cluster;
let bridge; /* LIMIT requests a minute; each test has addresses of its own */
let directory;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--requests-per-minute', `${LIMIT}`, '--trusted-proxy', `${PROXY},${OTHER_PROXY}`, '--allowed-origins', 'https://game.test']);
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'addresses-'));
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

const from = (localAddress) => ({ localAddress });

const get = (headers = {}, path = '/v1/leaderboard/top') =>
  `GET ${path} HTTP/1.1\r\nHost: board.test\r\n${Object.entries(headers).flatMap(([name, value]) => [value].flat().map((one) => `${name}: ${one}\r\n`)).join('')}\r\n`;

const forwarded = (...hops) => ({ 'X-Forwarded-For': hops.join(', ') });

const asked = async (raw, text) => (await raw.send(text).answer()) ?? assert.fail('no answer');

/* Statuses of one request after the other. */
async function statuses(raw, ...texts) {
  const found = [];
  for (const text of texts) found.push((await asked(raw, text)).status);
  return found;
}

const times = (count, make) => Array.from({ length: count }, (_, i) => make(i));

/* LIMIT pass, the next one doesn't. make(i): the text of the i-th. */
async function assertOne(raw, make, what) {
  assert.deepEqual(await statuses(raw, ...times(LIMIT + 1, make)), [...times(LIMIT, () => 200), 429], what);
}

/* Uses up what an address has. */
const block = (raw, make = () => get()) => statuses(raw, ...times(LIMIT + 1, make));

test('an address that asks too often is blocked for 60 s, which is said to the second', async () => {
  const raw = new Raw(bridge, from('127.0.0.2'));
  assert.deepEqual(await statuses(raw, ...times(LIMIT, () => get())), times(LIMIT, () => 200));
  const before = performance.now();
  const first = await asked(raw, get({ Origin: 'https://game.test' }));
  const begun = performance.now();
  assertError(first, 429, 'RATE_LIMITED');
  assert.equal(first.headers['retry-after'], '60');
  assert.equal(first.headers['access-control-allow-origin'], 'https://game.test', 'a page can read it');
  assert.equal(first.headers.connection, undefined, 'the connection stays');
  const later = await until('two seconds to pass', async () => {
    const sent = performance.now();
    const answer = await asked(raw, get());
    assertError(answer, 429, 'RATE_LIMITED');
    const wait = Number(answer.headers['retry-after']);
    /* The loop's clock may be behind by a turn. */
    const [least, most] = [60 - (performance.now() - before) / 1000 - 0.1, 61 - (sent - begun) / 1000 + 0.1];
    assert.ok(wait >= least && wait <= most, `${wait} is not between ${least} and ${most}`);
    return wait <= 58 && wait;
  });
  assert.equal(later, 58, 'further attempts do not prolong it');
  assertError(await asked(new Raw(bridge, from('127.0.0.2')), get()), 429, 'RATE_LIMITED');
  assert.equal((await asked(new Raw(bridge, from('127.0.0.3')), get())).status, 200, 'another address');
  assert.deepEqual(await statuses(raw, get({}, '/health'), get({}, '/ready')), [200, 200]);
  const lines = bridge.log.filter(({ msg, address }) => msg === 'address blocked' && address === '127.0.0.2');
  assert.deepEqual(lines.map(({ seconds }) => seconds), [60], 'one line');
});

test('/health and /ready do not count, whatever else does', async () => {
  const raw = new Raw(bridge, from('127.0.0.4'));
  await statuses(raw, ...times(3 * LIMIT, (i) => get({}, ['/health', '/ready'][i % 2])));
  const kinds = [get({}, '/nowhere'), get({}, '/v1/leaderboard/top?limit=x'), get({ Origin: 'https://evil.test' }), 'POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n',
    'OPTIONS /v1/leaderboard/top HTTP/1.1\r\nHost: x\r\nOrigin: https://game.test\r\n\r\n'];
  assert.equal(kinds.length, LIMIT);
  assert.deepEqual(await statuses(raw, ...kinds), [404, 400, 403, 405, 204]);
  assert.deepEqual(await statuses(raw, get(), ...kinds), times(6, () => 429));
});

test('a body that comes with a refused request is read, so that the connection can be used on', async () => {
  const raw = new Raw(bridge, from('127.0.0.5'));
  await block(raw);
  const post = rawIncrement(cluster, 'blocked', { headers: { 'Idempotency-Key': 'mine' } });
  raw.send(Buffer.concat([post, Buffer.from(get({ 'X-Request-Id': 'behind' })), post, Buffer.from(get({}, '/health'))]));
  const answers = [await raw.answer(), await raw.answer(), await raw.answer(), await raw.answer()];
  assert.deepEqual(answers.map(({ status }) => status), [429, 429, 429, 200]);
  assertError(answers[0], 429, 'RATE_LIMITED');
  assert.equal(answers[0].headers['idempotency-key'], 'mine');
  assert.equal(answers[1].headers['x-request-id'], 'behind');
  /* It comes in pieces. */
  raw.send(post.subarray(0, post.length - 10));
  assert.equal((await asked(new Raw(bridge, from('127.0.0.6')), get())).status, 200);
  assert.equal((await asked(raw, post.subarray(post.length - 10))).status, 429);
  /* One that waits for our word keeps its body. */
  const waiting = await asked(raw, 'POST /v1/scores/increment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n');
  assert.equal(waiting.status, 429);
  assert.equal(waiting.headers.connection, 'close');
  await raw.ends();
  /* What can't be read on stays what it is. */
  const large = await asked(new Raw(bridge, from('127.0.0.5')), 'POST /v1/scores/increment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n');
  assertError(large, 413, 'PAYLOAD_TOO_LARGE');
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.player WHERE user_id = 'blocked'"), '0');
});

test('the opening of a stream is a request', async () => {
  const address = from('127.0.0.7');
  const events = () => asked(new Raw(bridge, address), get({ Accept: 'text/event-stream' }, STREAM));
  for (let i = 0; i < 2; i++) {
    await openSocket(bridge, address);
    assert.equal((await events()).status, 200);
  }
  assert.equal((await asked(new Raw(bridge, address), get())).status, 200);
  assertError(await events(), 429, 'RATE_LIMITED');
  assertError(await asked(new RawSocket(bridge, address), RawSocket.handshake()), 429, 'RATE_LIMITED');
  await assert.rejects(openSocket(bridge, address), /429/);
});

/* ---- proxies ---- */

test('behind a trusted proxy the rightmost hop that is none counts, whatever stands before it', async () => {
  const raw = new Raw(bridge, from(PROXY));
  await assertOne(raw, (i) => get(forwarded(`192.0.2.${i}`, '203.0.113.1')), 'what its client has sent');
  assert.deepEqual(await statuses(raw, get(forwarded('203.0.113.2')), get(forwarded('203.0.113.1', '203.0.113.2')), get(forwarded('203.0.113.1'))), [200, 200, 429]);
  assert.deepEqual(await statuses(raw, get(forwarded('203.0.113.1:4711')), get(forwarded('garbage', '203.0.113.1', OTHER_PROXY)), get({ 'x-forwarded-for': ['203.0.113.1', PROXY] })), [429, 429, 429]);
  await assertOne(raw, (i) => get({ 'X-Forwarded-For': [`192.0.2.${i}`, '203.0.113.3', OTHER_PROXY] }), 'several headers are one list');
  await assertOne(new Raw(bridge, from(OTHER_PROXY)), () => get(forwarded('203.0.113.4', PROXY)), 'any of the proxies');
  assert.equal((await asked(raw, get(forwarded('203.0.113.4')))).status, 429, 'an address is the same behind all of them');
});

test('where a hop cannot be read, or there is none, the peer counts', async () => {
  const raw = new Raw(bridge, from(PROXY));
  const hops = [{}, forwarded('unknown'), forwarded('203.0.113.5', '_hidden'), forwarded('203.0.113.5', '::'), forwarded('')];
  await assertOne(raw, (i) => get(hops[i % hops.length]));
  assert.equal((await asked(raw, get(forwarded('203.0.113.5')))).status, 200);
});

test('from anybody else the header is ignored', async () => {
  const raw = new Raw(bridge, from('127.0.0.10'));
  await assertOne(raw, (i) => get(forwarded(`203.0.113.${50 + i}`)), 'addresses that it invents');
  assert.equal((await asked(raw, get(forwarded(PROXY)))).status, 429);
  const victim = new Raw(bridge, from('127.0.0.11'));
  await block(victim, () => get(forwarded('203.0.113.60')));
  assert.equal((await asked(new Raw(bridge, from(PROXY)), get(forwarded('203.0.113.60')))).status, 200, 'it blocks nobody else');
});

test('of IPv6 a /64 is one', async () => {
  const raw = new Raw(bridge, from(PROXY));
  await assertOne(raw, (i) => get(forwarded(`2001:db8:1:1:${i}::${i}`)));
  assert.deepEqual(await statuses(raw, get(forwarded('[2001:db8:1:1:ffff:ffff:ffff:ffff]:443')), get(forwarded('2001:db8:1:2::1')), get(forwarded('::ffff:203.0.113.70'))), [429, 200, 200]);
  await assertOne(raw, () => get(forwarded('::ffff:203.0.113.71')), 'one of IPv4 in the form of IPv6');
  assert.equal((await asked(raw, get(forwarded('203.0.113.71')))).status, 429);
});

const storedAddress = (user) => cluster.sql("SELECT client_address FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = :'user'", { user });

test('the client stands with the action and in the log', async () => {
  const cases = [['walter', PROXY, ['192.0.2.1', '203.0.113.80'], '203.0.113.80'], ['xenia', PROXY, ['2001:db8:5:5::1'], '2001:db8:5:5::1'], ['yves', PROXY, ['nonsense'], PROXY],
    ['zoe', '127.0.0.12', ['203.0.113.80'], '127.0.0.12']];
  const narrow = await startBridge(cluster, ['--trusted-proxy', `127.0.0.0/29,${PROXY}`]);
  for (const [user, peer, hops, address] of cases) {
    const answer = await asked(new Raw(narrow, from(peer)), rawIncrement(cluster, user, { headers: { ...forwarded(...hops), 'X-Request-Id': user } }));
    assert.equal(answer.status, 200);
    assert.equal(await storedAddress(user), address);
    assert.equal((await until('its line', () => narrow.log.find((line) => line.request_id === user))).address, address);
  }
  assert.equal(await narrow.stop(), 0);
});

test('on a unix socket the header is believed where it shall be, and nobody is limited as everybody', async () => {
  for (const trusted of [true, false]) {
    const path = join(directory, `${trusted}.sock`);
    const one = await startBridge(cluster, ['--listen', `unix:${path}`, '--requests-per-minute', `${LIMIT}`, ...(trusted ? ['--trusted-proxy', 'unix'] : [])], { ready: false });
    const raw = new Raw(one, { path, port: undefined, host: undefined });
    await until('it to be ready', async () => (await asked(raw, get({}, '/ready'))).status === 200);
    const user = `unix-${trusted}`;
    const found = await statuses(raw, ...times(LIMIT + 1, () => get(forwarded('203.0.113.90'))), ...times(2 * LIMIT, () => get()), get(forwarded('nonsense')),
      rawIncrement(cluster, user, { headers: forwarded('203.0.113.91') }));
    assert.equal(found[LIMIT], trusted ? 429 : 200);
    assert.deepEqual(found.toSpliced(LIMIT, 1), times(found.length - 1, () => 200));
    assert.equal(await storedAddress(user), trusted ? '203.0.113.91' : '');
    raw.close();
    assert.equal(await one.stop(), 0);
  }
});

test("a proxy's connections are nobody's, and its clients' streams are theirs", async () => {
  const most = 4;
  const narrow = await startBridge(cluster, ['--trusted-proxy', `${PROXY},${OTHER_PROXY}`, '--max-connections-per-address', `${most}`]);
  const open = async (address, text) => {
    const raw = new RawSocket(narrow, from(address)).send(text);
    const answer = await raw.answer().catch(() => null);
    return { raw, status: answer?.status ?? 'ended', answer };
  };
  const proxied = await Promise.all(times(5 * most, () => open(PROXY, get())));
  assert.deepEqual(proxied.map(({ status }) => status), times(5 * most, () => 200));
  const direct = [];
  for (let i = 0; i <= most; i++) direct.push((await open('127.0.0.13', get())).status);
  assert.deepEqual(direct, [...times(most, () => 200), 'ended']);

  const kinds = [(hop) => RawSocket.handshake({ headers: forwarded(hop) }), (hop) => get({ Accept: 'text/event-stream', ...forwarded(hop) }, STREAM)];
  const hop = '203.0.113.100';
  const streams = [];
  for (let i = 0; i < most; i++) streams.push(await open(PROXY, kinds[i % 2](hop)));
  assert.deepEqual(streams.map(({ status }) => status), times(most, (i) => [101, 200][i % 2]));
  for (const kind of kinds) {
    const refused = await open(PROXY, kind(hop));
    assertError(refused.answer, 429, 'RATE_LIMITED');
    assert.equal((await asked(refused.raw, get(forwarded(hop)))).status, 200, 'the connection is still of use');
    assert.ok((await open(PROXY, kind('203.0.113.101'))).status < 300, 'another client');
    assert.ok((await open('127.0.0.14', kind(hop))).status < 300, 'one whom nobody vouches for');
    assert.ok((await open(OTHER_PROXY, kind(PROXY))).status < 300, "a proxy's own stream, beside its connections");
  }
  for (const i of [0, 1]) {
    streams[i].raw.close();
    await until('room again', async () => (await open(PROXY, kinds[i](hop))).status < 300);
  }
  assert.equal(await narrow.stop(), 0);
});

/* ---- a flood ---- */

/* Sends requests in a row and waits for all answers; how many there were of each status. */
async function pour(socket, texts) {
  const counts = {};
  let rest = '';
  let missing = texts.length;
  const done = new Promise((resolve, reject) => {
    const take = (data) => {
      const lines = (rest + data.toString('latin1')).split('\r\n');
      rest = lines.pop();
      for (const line of lines) {
        const [, status] = /HTTP\/1\.1 (\d+) /.exec(line) ?? [];
        if (!status) continue;
        counts[status] = (counts[status] ?? 0) + 1;
        missing--;
      }
      if (missing > 0) return;
      socket.off('data', take);
      resolve();
    };
    socket.on('data', take).once('close', () => reject(new Error('it ended')));
  });
  socket.write(texts.join(''));
  await done;
  return counts;
}

test('100,000 invented addresses cost no more memory than the table has, and free nobody who goes on', async () => {
  const socket = net.connect({ port: bridge.port, host: '127.0.0.1', localAddress: PROXY });
  await once(socket, 'connect');
  const ask = (hop) => get(forwarded(hop), '/nowhere');
  const [stubborn, silent] = ['198.51.100.1', '198.51.100.2'];
  await pour(socket, times(LIMIT + 1, () => ask(stubborn)));
  assert.deepEqual(await pour(socket, times(LIMIT + 2, () => ask(silent))), { 404: LIMIT, 429: 2 });
  const start = await memory(bridge);
  let full;
  for (let i = 0; i < 100000; i += 500) {
    const invented = times(500, (n) => ask(`2001:db8:${(i + n) >> 16}:${((i + n) & 0xffff).toString(16)}::1`));
    assert.deepEqual(await pour(socket, [...invented, ask(stubborn)]), { 404: 500, 429: 1 });
    if (i === 70000) full = await memory(bridge);
  }
  const end = await memory(bridge);
  assert.ok(full - start < 8 * MIB, `${full - start} bytes for a full table`);
  assert.ok(end - full < MIB, `${end - full} bytes more for addresses that it has no room for`);
  assert.deepEqual(await pour(socket, [ask(silent)]), { 404: 1 }, 'the oldest goes');
  socket.destroy();
});

test('what is no list of proxies ends the bridge with a sentence', async () => {
  for (const list of ['proxy.example', '10.0.0.1/8', '10.0.0.1,,10.0.0.2', '10.0.0.0/33']) {
    await assert.rejects(startBridge(cluster, ['--trusted-proxy', list]), (error) => error.message.includes('--trusted-proxy') && error.message.includes('is wanted'));
  }
});

test('a token of a player is worth no more requests', async () => {
  const raw = new Raw(bridge, from('127.0.0.15'));
  await assertOne(raw, (i) => get({ Authorization: `Bearer ${tokenFor(cluster, `player-${i}`)}` }, '/v1/boards'));
});
