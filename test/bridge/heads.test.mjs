/*
 * Heads of requests: what two servers could read in two ways is refused, what is too much or too slow is cut off, and the connection ends
 * where what follows can't be told from what was sent.
 *
 * Raw connections, since no client library sends such heads.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, assertAlive, assertError, rawAnswer, rawIncrement } from './clients.mjs';

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--body-timeout', '300ms', '--head-timeout', '1s', '--idle-timeout', '2s']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const refusals = [
  ['Transfer-Encoding', { 'Transfer-Encoding': 'chunked', 'Content-Length': undefined }, 411, 'LENGTH_REQUIRED', 'closed'],
  ['Transfer-Encoding beside a length', { 'Transfer-Encoding': 'chunked' }, 411, 'LENGTH_REQUIRED', 'closed'],
  ['Transfer-Encoding: identity', { 'Transfer-Encoding': 'identity' }, 411, 'LENGTH_REQUIRED', 'closed'],
  ['no length', { 'Content-Length': undefined }, 411, 'LENGTH_REQUIRED', 'closed'],
  ['two lengths', { 'Content-Length': ['5', '5'] }, 400, 'INVALID_REQUEST', 'closed'],
  ['two lengths in one', { 'Content-Length': '5, 5' }, 400, 'INVALID_REQUEST', 'closed'],
  ['a negative length', { 'Content-Length': '-5' }, 400, 'INVALID_REQUEST', 'closed'],
  ['a signed length', { 'Content-Length': '+5' }, 400, 'INVALID_REQUEST', 'closed'],
  ['a hexadecimal length', { 'Content-Length': '0x5' }, 400, 'INVALID_REQUEST', 'closed'],
  ['a body over 16 KiB', { 'Content-Length': '16385' }, 413, 'PAYLOAD_TOO_LARGE', 'closed'],
  ['a body of any size', { 'Content-Length': '99999999999999999999999' }, 413, 'PAYLOAD_TOO_LARGE', 'closed'],
  ['two hosts', { Host: ['a', 'b'] }, 400, 'INVALID_REQUEST', 'closed'],
  ['no host', { Host: undefined }, 400, 'INVALID_REQUEST', 'closed'],
  ['two tokens', { Authorization: ['Bearer a', 'Bearer b'] }, 400, 'INVALID_REQUEST'],
  ['two equal keys', { 'Idempotency-Key': ['a', 'a'] }, 400, 'INVALID_REQUEST'],
  ['two keys in different letters', { 'Idempotency-Key': 'a', 'IDEMPOTENCY-KEY': 'b' }, 400, 'INVALID_REQUEST'],
  ['an empty key', { 'Idempotency-Key': '' }, 400, 'INVALID_REQUEST'],
  ['no content type', { 'Content-Type': undefined }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
  ['text', { 'Content-Type': 'text/plain' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
  ['a form', { 'Content-Type': 'application/x-www-form-urlencoded' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
  ['another JSON', { 'Content-Type': 'application/json-seq' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
  ['a compressed body', { 'Content-Encoding': 'gzip' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
  ['an identity encoding', { 'Content-Encoding': 'identity' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
];

for (const [what, headers, status, code, ending] of refusals) {
  test(`${what}: ${status}`, async () => {
    const raw = new Raw(bridge).send(rawIncrement(cluster, 'ann', { headers }));
    assertError(await raw.answer(), status, code);
    if (ending) await raw.ends();
    else {
      raw.send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await raw.answer()).status, 200, 'the connection is of use');
    }
    raw.close();
  });
}

test('a content type may have a character set and any letters', async () => {
  for (const type of ['application/json; charset=utf-8', 'Application/JSON', 'application/json;charset=UTF-8']) {
    assert.equal((await rawAnswer(bridge, rawIncrement(cluster, 'ann', { headers: { 'Content-Type': type } }))).status, 200);
  }
});

test('names that only look like a second key are none', async () => {
  const headers = { 'X-Idempotency-Key': 'x', 'Idempotency-Key': 'idempotency-key:', 'X-Note': 'idempotency-key: b', 'Idempotency-Key-2': 'c' };
  const answer = await rawAnswer(bridge, rawIncrement(cluster, 'ann', { headers }));
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers['idempotency-key'], 'idempotency-key:');
});

test('a body of exactly 16 KiB is read', async () => {
  const text = JSON.stringify(actionFor(cluster, 'ann'));
  assert.equal((await rawAnswer(bridge, rawIncrement(cluster, 'ann', { body: text + ' '.repeat(16384 - text.length) }))).status, 200);
});

test('a token in a URL is refused, wherever it stands', async () => {
  const token = tokenFor(cluster, 'ann');
  for (const path of [`/v1/leaderboard/top?token=${token}`, `/v1/leaderboard/top?board=global&x=${token}`, `/v1/leaderboard/stream?ticket=${token}`,
    `/nowhere?${token}`, `/${token}`, `/health?access_token=Bearer%20${token}`, `/v1/leaderboard/top?${token}=1`,
    `/v1/leaderboard/top?t=${token.replaceAll('.', '%2E')}`]) {
    const answer = await rawAnswer(bridge, `GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
    assertError(answer, 400, 'INVALID_REQUEST');
    assert.ok(!answer.text.includes(token.slice(0, 20)));
  }
  assert.ok(!JSON.stringify(bridge.log).includes(token.split('.')[1]));
});

test('a head over 16 KiB: 431, whatever makes it large', async () => {
  const line = 'GET /v1/leaderboard/top HTTP/1.1\r\nHost: x\r\n';
  const large = [`${line}X-Pad: ${'x'.repeat(16500)}\r\n\r\n`, `${line}${`X-Pad: ${'x'.repeat(90)}\r\n`.repeat(180)}\r\n`,
    `GET /v1/leaderboard/top?x=${'y'.repeat(16500)} HTTP/1.1\r\nHost: x\r\n\r\n`, `${line}Cookie: ${'c'.repeat(16500)}\r\n\r\n`];
  for (const request of large) {
    const raw = new Raw(bridge).send(request);
    assertError(await raw.answer(), 431, 'HEADERS_TOO_LARGE');
    await raw.ends();
  }
});

test('a head without end is cut off', async () => {
  const raw = new Raw(bridge).send('GET / HTTP/1.1\r\nHost: x\r\n');
  for (let i = 0; i < 200 && !raw.ended; i++) {
    raw.send(`X-Pad-${i}: ${'x'.repeat(500)}\r\n`);
    await new Promise(setImmediate);
  }
  await raw.ends();
});

test('a head just below the limit is read', async () => {
  const answer = await rawAnswer(bridge, `GET /v1/leaderboard/top HTTP/1.1\r\nHost: x\r\nX-Pad: ${'x'.repeat(15900)}\r\n\r\n`);
  assert.equal(answer.status, 200);
});

test('a head that comes byte by byte is read', async () => {
  const raw = new Raw(bridge);
  for (const byte of 'GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: slowly\r\n\r\n') {
    raw.send(byte);
    await new Promise(setImmediate);
  }
  assert.equal((await raw.answer()).headers['x-request-id'], 'slowly');
  raw.close();
});

test('a head that never ends is not waited for', async () => {
  await new Raw(bridge).send('GET /health HTTP/1.1\r\nHost:').ends();
});

test('a connection that says nothing is not kept', async () => {
  await new Raw(bridge).ends();
});

test('a connection that says nothing any more is not kept, and told nothing, however its requests came', async () => {
  const raw = new Raw(bridge).send('GET /health HTTP/1.1\r\nHo');
  await until('the beginning to be sent', () => !raw.socket.connecting && raw.socket.writableLength === 0);
  await new Promise((resolve) => { setTimeout(resolve, 50); });
  raw.send('st: x\r\n\r\n');
  assert.equal((await raw.answer()).status, 200);
  await raw.ends();
  assert.equal(raw.received.length, 0);
});

test('a body that comes too slowly: 408', async () => {
  const request = rawIncrement(cluster, 'ann');
  const raw = new Raw(bridge).send(request.subarray(0, -10));
  assertError(await raw.answer(), 408, 'REQUEST_TIMEOUT');
  await raw.ends();
});

test('a body that comes drop by drop has no longer time', async () => {
  const request = rawIncrement(cluster, 'ann', { headers: { 'Content-Length': 16000 } });
  const raw = new Raw(bridge).send(request);
  const drops = setInterval(() => raw.send(' '), 20);
  try {
    assertError(await raw.answer(), 408, 'REQUEST_TIMEOUT');
  } finally {
    clearInterval(drops);
    raw.close();
  }
});

test('a body in pieces is one body', async () => {
  const request = rawIncrement(cluster, 'ann');
  const raw = new Raw(bridge);
  for (let at = 0; at < request.length; at += 37) {
    raw.send(request.subarray(at, at + 37));
    await new Promise(setImmediate);
  }
  assert.equal((await raw.answer()).status, 200);
  raw.close();
});

test('a client that goes away in the middle of its body costs nothing', async () => {
  for (let i = 0; i < 50; i++) {
    const raw = new Raw(bridge);
    await until('the connection', () => !raw.socket.connecting);
    raw.send(rawIncrement(cluster, 'ann').subarray(0, 300 + i));
    await new Promise(setImmediate);
    if (i % 2) raw.socket.resetAndDestroy();
    else raw.close();
  }
  await assertAlive(bridge);
});

test('increments in a row on one connection are answered in their order', async () => {
  const raw = new Raw(bridge);
  const users = ['pia', 'quin', 'rob', 'sue'];
  raw.send(Buffer.concat(users.map((user) => rawIncrement(cluster, user))));
  for (const user of users) assert.equal((await raw.answer()).json.userId, user);
  raw.close();
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.player WHERE user_id IN ('pia', 'quin', 'rob', 'sue')"), '4');
});

test('a request behind a waiting increment is answered after it', async () => {
  const raw = new Raw(bridge).send(Buffer.concat([rawIncrement(cluster, 'tom'), Buffer.from('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3))]));
  assert.equal((await raw.answer()).json.userId, 'tom');
  for (let i = 0; i < 3; i++) assert.equal((await raw.answer()).json.status, 'ok');
  raw.send(rawIncrement(cluster, 'una'));
  assert.equal((await raw.answer()).json.userId, 'una');
  raw.close();
});

test('a body is never taken for the next request', async () => {
  const inner = 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n';
  for (const request of [rawIncrement(cluster, 'ann', { body: inner }), rawIncrement(cluster, 'ann', { body: inner, path: '/nowhere' }),
    rawIncrement(cluster, 'ann', { body: inner, method: 'PUT' }), rawIncrement(cluster, 'ann', { body: inner, method: 'GET', path: '/v1/leaderboard/top' }),
    rawIncrement(cluster, 'ann', { body: inner, method: 'DELETE', path: '/v1/leaderboard/top' }),
    rawIncrement(cluster, 'ann', { body: inner, headers: { 'Content-Length': undefined, 'Transfer-Encoding': 'chunked' } })]) {
    const raw = new Raw(bridge).send(request);
    assert.notEqual((await raw.answer()).status, 200);
    raw.send('GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const next = await raw.answer();
    assert.ok(next === null || next.json.status === 'ready', next?.text);
    raw.close();
  }
});

/* [what is sent, the answer, whether the connection is of use then] */
const UPGRADE_TO_H2C = 'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n';
const strange = [
  ['\r\n\r\n', 400, 'ends'],
  ['x\r\n\r\n', 400, 'ends'],
  ['GET\r\n\r\n', 400, 'ends'],
  ['GET /\r\n\r\n', 400, 'ends'],
  ['GET / HTTP/9.9\r\n\r\n', 505, 'ends'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, 'ends'],
  ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'ends'],
  ['\0\0\0\0', 400, 'ends'],
  ['CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'ends'],
  ['GET http://x/health HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'ends'],
  ['GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'ends'],
  ['GET /health HTTP/1.1\nHost: x\n\n', 400, 'ends'],
  ['GET /health HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n', 400, 'ends'],
  ['GET /health HTTP/1.1\r\nHost : x\r\n\r\n', 400, 'ends'],
  ['GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n', 404, 'stays'],
  ['FOO / HTTP/1.1\r\nHost: x\r\n\r\n', 404, 'stays'],
  ['FOO /health HTTP/1.1\r\nHost: x\r\n\r\n', 405, 'stays'],
  [`GET /health HTTP/1.1\r\nHost: x\r\n${UPGRADE_TO_H2C}\r\n`, 200, 'stays'],
];

test('what is no request at all is answered as that, and ends its own connection only', async () => {
  const neighbour = new Raw(bridge);
  for (const [text, status, ending] of strange) {
    const raw = new Raw(bridge).send(Buffer.from(text, 'latin1'));
    assert.equal((await raw.answer())?.status, status, JSON.stringify(text));
    if (ending === 'ends') {
      await raw.ends();
      assert.equal(raw.received.length, 0, 'there is one answer');
    } else {
      raw.send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await raw.answer())?.status, 200, `after ${JSON.stringify(text)}`);
      raw.close();
    }
    neighbour.send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal((await neighbour.answer())?.status, 200);
  }
});
