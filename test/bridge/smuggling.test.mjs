/*
 * Requests in which a proxy and a server could see different things: none of them gets an answer that belongs to somebody else, and no
 * header is hidden behind another one.
 *
 * A hidden request would be answered under its own X-Request-Id: so each test knows by whose id it got an answer.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, assertAlive, assertError, inParallel, rawAnswer, rawIncrement } from './clients.mjs';

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--max-connections-per-address', '2000', '--head-timeout', '20s', '--body-timeout', '20s', '--idle-timeout', '20s']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

/* Names that servers know. What they take for one of them although it is only its beginning swallows the next line. */
const KNOWN = `Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Origin Access-Control-Request-Headers Age Allow
  Authorization Cache-Control Connection Content-Disposition Content-Encoding Content-Language Content-Length Content-Location Content-Range Content-Type
  Cookie Date ETag Expect Expires From Host HTTP2-Settings Idempotency-Key If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since
  Keep-Alive Last-Event-ID Last-Modified Link Location Max-Forwards Origin Pragma Proxy-Authenticate Proxy-Authorization Range Referer Refresh
  Replay-Nonce Retry-After Sec-WebSocket-Accept Sec-WebSocket-Draft Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Nonce
  Sec-WebSocket-Origin Sec-WebSocket-Protocol Sec-WebSocket-Version Server Set-Cookie Strict-Transport-Security TE Transfer-Encoding Upgrade
  Upgrade-Insecure-Requests User-Agent Vary Via WWW-Authenticate X-Auth-Token X-Amzn-DSS-Signature X-Forwarded-For X-Real-IP X-Request-Id
  get post put patch delete options connect head :authority :method :path`.split(/\s+/);

/* Every proper beginning of them that is a name, and none itself. */
const PREFIXES = [...new Set(KNOWN.flatMap((name) => Array.from(name, (_, i) => name.slice(0, i))))]
  .filter((prefix) => /^[\w-]+$/.test(prefix) && !KNOWN.some((name) => name.toLowerCase() === prefix.toLowerCase()));

const id = () => `id-${randomBytes(6).toString('hex')}`;

/* A request's text; its own id comes first, so that whatever follows can hide nothing of it. */
const request = (own, lines = [], { method = 'GET', path = '/health', host = 'Host: x' } = {}) =>
  [`${method} ${path} HTTP/1.1`, `X-Request-Id: ${own}`, ...(host ? [host] : []), ...lines, '', ''].join('\r\n');

/* All answers on a connection until it ends; a last request of ours asks for that. */
async function answersTo(bytes) {
  const last = id();
  const raw = new Raw(bridge).send(Buffer.from(bytes, 'latin1')).send(request(last, ['Connection: close']));
  await raw.ends();
  const answers = [];
  for (let answer = await raw.answer(); answer; answer = await raw.answer()) answers.push(answer);
  assert.equal(raw.received.length, 0, `${raw.received.length} bytes behind the last answer`);
  return { answers, last };
}

/* One answer, of this status and to this request; what is sent behind it is answered too, or the connection has ended. */
async function assertOne(bytes, own, status, ending) {
  const { answers, last } = await answersTo(bytes);
  const ids = answers.map(({ headers }) => headers['x-request-id']);
  const shown = `${JSON.stringify(bytes)}: ${answers.map((answer) => answer.status)}`;
  assert.ok([status].flat().includes(answers[0]?.status), shown);
  if (own) assert.equal(ids[0], own, shown);
  if (answers.length > 1) assert.deepEqual([ids.slice(1), ending === 'closed'], [[last], false], shown);
  else assert.notEqual(ending, 'open', shown);
}

const inner = (own) => request(own, [], { path: '/ready' });

test('nothing on a connection is answered but what was asked', async () => {
  const own = id();
  await assertOne(request(own), own, 200, 'open');
});

test(`a body is no request, whichever of ${PREFIXES.length} beginnings of names stands before its length`, async () => {
  await inParallel(['Header', ...PREFIXES], 20, async (prefix) => {
    const [own, hidden] = [id(), id()];
    const body = inner(hidden);
    await assertOne(request(own, [`${prefix}: b`, `Content-Length: ${body.length}`]) + body, own, [200, 400]);
    await assertOne(request(own, [`${prefix}: b`, `Content-Length: ${body.length}`], { method: 'POST', path: '/nowhere' }) + body, own, 404);
  });
});

/* [what is hidden, its line, the answer that shows that it was seen, what becomes of the connection] */
const hidden = [
  ['Transfer-Encoding', 'Transfer-Encoding: chunked', 411, 'closed'],
  ['a second Content-Length', 'Content-Length: 5', 400, 'closed', ['Content-Length: 5']],
  ['a second Host', 'Host: y', 400, 'closed'],
  ['Origin', 'Origin: https://evil.test', 403, 'open'],
];

/* A head that is refused as such is answered under an id of the bridge's: nothing in it is believed. */
for (const [what, line, status, ending, before = []] of hidden) {
  test(`${what} is seen, whatever beginning of a name stands before it`, async () => {
    await inParallel(['Header', ...PREFIXES], 20, async (prefix) => {
      const own = id();
      await assertOne(request(own, [...before, `${prefix}: b`, line], { path: '/v1/leaderboard/top' }), ending === 'open' ? own : undefined, status, ending);
    });
  });
}

test('the one Host is seen, whatever beginning of a name stands before it', async () => {
  await inParallel(PREFIXES, 20, async (prefix) => {
    const own = id();
    await assertOne(request(own, [`${prefix}: b`, 'Host: x'], { host: null }), own, 200, 'open');
  });
});

test('Idempotency-Key and Authorization are seen, whatever beginning of a name stands before them', async () => {
  await inParallel(PREFIXES, 20, async (prefix) => {
    const key = id();
    const one = await rawAnswer(bridge, rawIncrement(cluster, 'hid', { body: '{}', headers: { [prefix]: 'b', 'Idempotency-Key': key } }));
    assert.deepEqual([one.status, one.headers['idempotency-key']], [400, key], `${prefix}: ${one.text}`);
    const other = await rawAnswer(bridge, rawIncrement(cluster, 'hid', { headers: { [prefix]: 'b', 'idempotency-key': [key, 'other'] } }));
    assertError(other, 400, 'INVALID_REQUEST');
    const unknown = rawIncrement(cluster, 'hid', { token: undefined, headers: { Authorization: undefined, [prefix]: 'b', authorization: 'Bearer a.b.c' } });
    assertError(await rawAnswer(bridge, unknown), 401, 'UNAUTHORIZED');
  });
});

/* ---- what is read in two ways by somebody is refused, and the connection ends ---- */

const BODY = 'GET /ready HTTP/1.1\r\nHost: x\r\n\r\n';
const heads = {
  'a blank before a colon': ['Content-Length : 5', 'Transfer-Encoding : chunked', 'Host : y', 'X : y', 'X\t: y', `Content-Length\t:${BODY.length}`, 'Origin : https://evil.test'],
  'a folded line': ['X: a\r\n b', 'X: a\r\n\tb', 'X: a\r\n Content-Length: 5', 'Transfer-Encoding:\r\n chunked', 'X:\r\n  Host: y', 'X: a\r\n \r\n b'],
  'a line feed alone': ['X: a\nContent-Length: 5', 'X: a\nY: b', 'X: a\n\nGET /ready HTTP/1.1\r\nHost: x', `X: a\nContent-Length: ${BODY.length}`],
  'a carriage return alone': ['X: a\rContent-Length: 5', 'X: a\rY: b', 'X: a\r\rY: b', 'X\r: a', 'X: a\r', '\rContent-Length: 5'],
  'a control character': ['X: a\0b', 'X\0: a', 'Content-Length\0: 5', 'X: \x01', 'X: a\x0bb', 'X: \x7f', '\x0bContent-Length: 5', 'X: \x08', 'X: \x1b[31m', '\0: a', 'Content-Length: 5\x0c'],
  'NUL in a value that is used': ['Idempotency-Key: a\0b', 'Idempotency-Key: \0', 'Authorization: Bearer a\0b', 'Origin: https://good.test\0', 'If-None-Match: "a\0"', 'Accept: text/event-stream\0'],
  'a name that is none': [': a', 'a', 'a b: c', 'Content Length: 5', '"X": a', 'X(: a', 'X\xe4: a', 'X[]: a', '@: a', 'X,Y: a', 'X/: a', 'X=: a', 'X;: a', 'X\\: a', '{}: a'],
  'a length that is none': ['Content-Length: ', 'Content-Length: +0', 'Content-Length: -0', 'Content-Length: 0x0', 'Content-Length: 0, 0', 'Content-Length: 0 0', 'Content-Length: 0.0',
    'Content-Length: 1e0', 'Content-Length: \xb2', 'Content-Length: ०', 'Content-Length: 0\r\nContent-Length: 0', 'Content-Length: 0;', 'Content-Length: "0"', 'Content-Length: 0_0', 'Content-Length: \xa00'],
  'a host that is none': ['Host: x', 'host: x', 'HOST:'],
};

for (const [what, lines] of Object.entries(heads)) {
  test(`${what}: 400, and the connection ends`, async () => {
    await inParallel(lines, 20, async (line) => {
      /* In the middle, last and first; and before a body that would be a request. */
      const own = id();
      const text = Buffer.from(line, 'utf8').toString('latin1');
      await assertOne(request(own, [text]), undefined, 400, 'closed');
      await assertOne(request(own, [text, 'Accept: */*']) + BODY, undefined, 400, 'closed');
      await assertOne(`GET /health HTTP/1.1\r\n${text}\r\n${line.startsWith('H') || line.startsWith('h') ? 'Host: x\r\n' : ''}Host: x\r\n\r\n`, undefined, 400, 'closed');
      await assertOne(request(own, [text, `Content-Length: ${BODY.length}`], { method: 'POST', path: '/v1/scores/increment' }) + BODY, undefined, 400, 'closed');
    });
    await assertAlive(bridge);
  });
}

test('any Transfer-Encoding: 411, and the connection ends', async () => {
  const chunked = `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;
  const lines = ['chunked', '', 'identity', 'gzip', 'chunked, chunked', 'Chunked', 'xchunked', '\tchunked', 'chunked;q=1', ',', '"chunked"', 'chunked\r\nTransfer-Encoding: identity'];
  await inParallel(lines, 10, async (value) => {
    for (const name of ['Transfer-Encoding:', 'transfer-encoding:', 'TRANSFER-ENCODING: ', 'Transfer-Encoding:\t']) {
      await assertOne(request(id(), [name + value]) + chunked, undefined, 411, 'closed');
      await assertOne(request(id(), [`Content-Length: ${chunked.length}`, name + value], { method: 'POST', path: '/v1/scores/increment' }) + chunked, undefined, 411, 'closed');
    }
  });
});

test('a target that is no path: 400, and the connection ends', async () => {
  const targets = ['http://x/health', 'HTTP://x/health', 'https://evil.test/health', 'x:443', '*', 'health', '?a', '#', '/health#a', '/health?a#b', '/%', '/%4', '/%zz', '/health?%', '/health?a=%4',
    '/\xe4', '/"', '/<', '/>', '/\\', '/^', '/`', '/{', '/|', '/}', '/\x7f', '/a b', '/health\tHTTP/1.1', 'file:///etc/passwd', '\\\\x'];
  await inParallel(targets, 10, async (path) => {
    for (const method of ['GET', 'POST', 'CONNECT', 'OPTIONS']) await assertOne(request(id(), [], { method, path }), undefined, 400, 'closed');
  });
});

test('a first line that is none: 400, or 505 for another version, and the connection ends', async () => {
  const lines = { 400: ['GET /health', 'GET', 'GET /health HTP/1.1', 'GET /health HTTP/1.1 ', ' GET /health HTTP/1.1', 'GET  /health HTTP/1.1', 'GET /health  HTTP/1.1', 'GET\t/health\tHTTP/1.1',
    'GET /health http/1.1', 'GET /health HTTP/1.10', 'GET /health HTTP/1', 'GET /health HTTP/11', 'GET /health HTTP/1,1', 'GET /health HTTP/ 1.1', 'GET /health HXXX/1.1', 'GET /health HTTPS/1.1',
    'GET /health HTTP/1.1 HTTP/1.1', 'G(T /health HTTP/1.1', 'G\xc4T /health HTTP/1.1', ': /health HTTP/1.1', '\r\nGET /health HTTP/1.1', '\nGET /health HTTP/1.1', '\r\n\r\nGET /health HTTP/1.1',
    'HTTP/1.1 200 OK', '\0GET /health HTTP/1.1'],
  505: ['GET /health HTTP/2.0', 'GET /health HTTP/1.2', 'GET /health HTTP/0.9', 'GET /health HTTP/9.9', 'PRI * HTTP/2.0'] };
  for (const [status, firsts] of Object.entries(lines)) {
    await inParallel(firsts, 10, (first) => assertOne(`${first}\r\nHost: x\r\n\r\n`, undefined, Number(status), 'closed'));
  }
});

/* ---- what is well-formed is taken literally ---- */

test('a method has the letters that it has', async () => {
  for (const method of ['get', 'Get', 'GETT', 'G', 'TRACE', 'DELETE', 'PATCH', 'FOO', 'PROPFIND', 'POSTS']) {
    const own = id();
    await assertOne(request(own, [], { method, path: '/v1/leaderboard/top' }), own, 405);
  }
});

test('a path is compared as it stands, before anything of it is decoded', async () => {
  const paths = ['/v1/leaderboard%2Ftop', '/v1%2Fleaderboard/top', '/v1/leaderboard/%74op', '/%68ealth', '//health', '/./health', '/health/', '/health/.', '/x/../health', '/health;x', '/health;', '/health%20',
    '/Health', '/v1/leaderboard//top', '/v1//leaderboard/top', '/v1/leaderboard/top/', '/v1/leaderboard/top;x=y', '/v1/./leaderboard/top', '/v1/x/../leaderboard/top',
    '/v1/leaderboard/top%3Fboard=global', '/v1/leaderboard/top%23', '/v1/leaderboard/..%2Ftop', '/..', '/../health', '/%2e%2e/health', '/.', '/health//', '/v1/scores/increment/'];
  await inParallel(paths, 10, async (path) => {
    const own = id();
    await assertOne(request(own, [], { path }), own, 404, 'open');
  });
  for (const path of ['/health%00', '/health%0a', '/v1/leaderboard/top%00', '/v1/leaderboard%00/top']) {
    const own = id();
    await assertOne(request(own, [], { path }), own, [400, 404], 'open');
  }
  for (const path of ['/health?', '/v1/leaderboard/top?', '/v1/leaderboard/top?board=global', '/v1/leaderboard/top?board=%67lobal']) {
    const own = id();
    await assertOne(request(own, [], { path }), own, 200, 'open');
  }
});

test('what is decoded is checked as a whole', async () => {
  for (const query of ['board=global%0aX', 'board=global%0d%0aX', 'board=global%00', 'board=global%20', 'board=%00global', 'board=globa%6c%0a', 'limit=3%00', 'limit=3%0a', 'limit=%203', 'board=global%26limit=3']) {
    const answer = await rawAnswer(bridge, request(id(), [], { path: `/v1/leaderboard/top?${query}` }));
    assert.ok([400, 404].includes(answer.status), `${query}: ${answer.status}`);
  }
});

test('an X-Request-Id with NUL is in no answer and no log', async () => {
  const own = id();
  const answer = await rawAnswer(bridge, `GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${own}\0tail\r\n\r\n`);
  assert.equal(answer.status, 400);
  assert.ok(!JSON.stringify([answer.headers, answer.text, bridge.log]).includes(own));
});

test('a value with line ends is never written into an answer', async () => {
  for (const value of ['a%0d%0aSet-Cookie:x', 'a b', '\xe4', 'a\tb', 'x'.repeat(129), '']) {
    const answer = await rawAnswer(bridge, Buffer.from(request('', [], {}).replace('X-Request-Id: ', `X-Request-Id: ${value}`), 'latin1'));
    assert.equal(answer.status, 200);
    if (/^[!-~]{1,128}$/.test(value)) assert.equal(answer.headers['x-request-id'], value);
    else assert.match(answer.headers['x-request-id'], /^[!-~]{8,128}$/);
    assert.equal(answer.headers['set-cookie'], undefined);
  }
});

test('an upgrade that is not taken changes nothing of what follows', async () => {
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`];
  for (const [lines, path, statuses] of [
    [upgrade, '/health', [200]], [upgrade, '/v1/leaderboard/top', [200]], [upgrade, '/nowhere', [404]],
    [['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA'], '/health', [200]],
    [['Connection: Upgrade', 'Upgrade: TLS/1.0'], '/v1/leaderboard/stream', [400, 426]],
    [upgrade.slice(1), '/v1/leaderboard/stream', [400, 426]],
    [[...upgrade.slice(0, 3), 'Sec-WebSocket-Key: short'], '/v1/leaderboard/stream', [400]],
    [[...upgrade.slice(0, 3), `Sec-WebSocket-Key: ${randomBytes(17).toString('base64')}`], '/v1/leaderboard/stream', [400]],
    [[...upgrade.slice(0, 3), `Sec-WebSocket-Key: ${'*'.repeat(22)}==`], '/v1/leaderboard/stream', [400]],
    [upgrade.slice(0, 3), '/v1/leaderboard/stream', [400]],
    [[...upgrade.slice(0, 2), 'Sec-WebSocket-Version: 12', upgrade[3]], '/v1/leaderboard/stream', [400, 426]],
    [[...upgrade, upgrade[3]], '/v1/leaderboard/stream', [400]],
  ]) {
    const own = id();
    await assertOne(request(own, lines, { path }), own, statuses);
  }
});

test('a handshake with a body, or by another method, is none', async () => {
  const upgrade = { Host: 'x', Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': randomBytes(16).toString('base64') };
  const lines = Object.entries(upgrade).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const body = inner(id());
  const raw = new Raw(bridge).send(`GET /v1/leaderboard/stream HTTP/1.1\r\n${lines}Content-Length: ${body.length}\r\n\r\n${body}`);
  assert.notEqual((await raw.answer()).status, 101);
  raw.close();
  const post = await rawAnswer(bridge, `POST /v1/leaderboard/stream HTTP/1.1\r\n${lines}Content-Length: 0\r\n\r\n`);
  assert.ok([400, 405].includes(post.status), post.text);
});

/* ---- requests one behind the other ---- */

const USERS = Array.from({ length: 30 }, (_, i) => `piped-${i}`);

/* Increments and reads by turns: each to be answered under its own id, in this order. */
function pipeline(users) {
  const ids = [];
  const next = () => ids[ids.push(id()) - 1];
  const requests = users.flatMap((user, i) => [
    rawIncrement(cluster, user, { headers: { 'X-Request-Id': next() } }),
    Buffer.from(request(next(), [], { path: i % 2 ? '/health' : '/v1/leaderboard/top?limit=1' })),
    ...(i % 5 ? [] : [rawIncrement(cluster, user, { body: BODY, path: '/nowhere', headers: { 'X-Request-Id': next() } })]),
  ]);
  return { ids, bytes: Buffer.concat(requests) };
}

for (const [how, step] of [['at once', Infinity], ['byte by byte', 1], ['in pieces of 1,000', 1000], ['in pieces of 37', 37]]) {
  test(`requests with bodies, one behind the other, sent ${how}, are answered in their order`, async () => {
    const users = step === 1 ? USERS.slice(0, 4) : USERS;
    const { ids, bytes } = pipeline(users);
    const raw = new Raw(bridge);
    for (let at = 0; at < bytes.length; at += step) {
      raw.send(bytes.subarray(at, Math.min(at + step, bytes.length)));
      if (step < Infinity) await new Promise(setImmediate);
      else break;
    }
    for (const [i, own] of ids.entries()) {
      const answer = await raw.answer();
      assert.equal(answer?.headers['x-request-id'], own, `answer ${i}: ${answer?.text}`);
      if (answer.json.userId) assert.ok(users.includes(answer.json.userId));
    }
    const own = id();
    raw.send(request(own));
    assert.equal((await raw.answer()).headers['x-request-id'], own, 'the connection is of use');
    raw.close();
  });
}

test('each of those increments was counted, once', async () => {
  const counts = await cluster.sql("SELECT user_id || ' ' || score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id LIKE 'piped-%'");
  assert.deepEqual(counts.split('\n').sort(), USERS.map((user, i) => `${user} ${i < 4 ? 400 : 300}`).sort());
});

test('many connections with requests one behind the other: nobody gets an answer of somebody else', async () => {
  await inParallel(Array.from({ length: 60 }), 30, async (_, i) => {
    const ids = Array.from({ length: 20 }, id);
    const raw = new Raw(bridge);
    const bytes = Buffer.concat(ids.map((own, n) => (n % 4 ? Buffer.from(request(own, [], { path: n % 3 ? '/v1/leaderboard/top' : '/health' }))
      : rawIncrement(cluster, `crowd-${i}`, { headers: { 'X-Request-Id': own } }))));
    for (let at = 0; at < bytes.length; at += 701) {
      raw.send(bytes.subarray(at, at + 701));
      await new Promise(setImmediate);
    }
    for (const own of ids) {
      const answer = await raw.answer();
      assert.equal(answer?.headers['x-request-id'], own);
      if (answer.json.userId) assert.equal(answer.json.userId, `crowd-${i}`);
    }
    raw.close();
  });
});

test('what stands behind "Connection: close" is not answered', async () => {
  const [first, second] = [id(), id()];
  const raw = new Raw(bridge).send(request(first, ['Connection: close']) + request(second));
  await raw.ends();
  assert.equal((await raw.answer()).headers['x-request-id'], first);
  assert.equal(raw.received.length, 0);
});

test('HTTP/1.0 ends with its answer, unless it is asked not to', async () => {
  const raw = new Raw(bridge).send('GET /health HTTP/1.0\r\n\r\nGET /health HTTP/1.0\r\n\r\n');
  await raw.ends();
  assert.equal((await raw.answer()).status, 200);
  assert.equal(raw.received.length, 0);
  const kept = new Raw(bridge).send('GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
  assert.equal((await kept.answer()).status, 200);
  kept.send('GET /health HTTP/1.0\r\n\r\n');
  assert.equal((await kept.answer()).status, 200);
  await kept.ends();
});

test('Expect: 100-continue is told to go on, and answered once', async () => {
  const bytes = rawIncrement(cluster, 'expecting', { headers: { Expect: '100-continue', 'X-Request-Id': 'expecting-1' } });
  const end = bytes.indexOf('\r\n\r\n') + 4;
  const raw = new Raw(bridge).send(bytes.subarray(0, end));
  await until('100 Continue', () => raw.received.includes('\r\n\r\n'));
  assert.equal(raw.received.toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
  raw.received = Buffer.alloc(0);
  raw.send(bytes.subarray(end));
  assert.equal((await raw.answer()).headers['x-request-id'], 'expecting-1');
  raw.close();
});
