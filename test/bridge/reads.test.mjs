/*
 * What a GET answers from memory: the list, parts of it, its tag, and every refusal that has no body to read.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, STREAM, UNLIMITED, ask, assertError, award, published, rawAnswer, stored } from './clients.mjs';

const TOP = '/v1/leaderboard/top';
/* Names that would lead astray whoever looks for entries by searching. */
const NAMES = ['","entries":[{"', '\\', '}],"entries":[', 'ß 😀 \u2028', '[[{{', '"'];

let cluster;
let bridge;
let document;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('empty')");
  for (const [i, name] of NAMES.entries()) await award(cluster, name, 100 - i);
  document = await published(cluster, NAMES.at(-1), 100 - NAMES.length + 1);
  bridge = await startBridge(cluster);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

test('the list is the stored document, byte by byte', async () => {
  const answer = await ask(bridge, TOP);
  assert.equal(answer.status, 200);
  assert.equal(answer.text, document);
  assert.equal(answer.headers.get('content-type'), 'application/json');
  assert.equal((await ask(bridge, `${TOP}?board=empty`)).text, await stored(cluster, 'empty'));
});

test('a part of the list is cut out exactly', async () => {
  const { entries, ...rest } = JSON.parse(document);
  for (const [query, part] of [['limit=1', [0, 1]], ['limit=3', [0, 3]], ['limit=100', [0, 6]], ['skip=2', [2, 6]], ['skip=2&limit=2', [2, 4]],
    ['limit=1&skip=5', [5, 6]], ['skip=6', [6, 6]], ['skip=1000', [6, 6]]]) {
    const { json } = await ask(bridge, `${TOP}?${query}`);
    assert.deepEqual(json, { ...rest, entries: entries.slice(...part) }, query);
  }
  assert.deepEqual((await ask(bridge, `${TOP}?board=empty&skip=1&limit=1`)).json.entries, []);
});

test('a parameter out of bounds is refused, never clamped', async () => {
  for (const query of ['limit=0', 'limit=101', 'limit=-1', 'limit=1.0', 'limit=1e1', 'limit=', 'limit=%31%32x', 'limit=1&limit=1', 'skip=-1',
    'skip=2147483648', 'skip=99999999999999999999', 'season=x', 'season=-1', 'board=', 'board=global&board=global', 'board=global,empty', 'board=%20',
    'limit', '=1', `board=${'a'.repeat(300)}`, `x=${'y'.repeat(5000)}`]) {
    assertError(await ask(bridge, `${TOP}?${query}`), 400, 'INVALID_REQUEST');
  }
});

test('an unknown parameter is refused by its name', async () => {
  const answer = await ask(bridge, `${TOP}?colour=red`);
  assertError(answer, 400, 'INVALID_REQUEST');
  assert.match(answer.text ?? JSON.stringify(answer.json), /colour/);
});

test('season is this one or none', async () => {
  assert.equal((await ask(bridge, `${TOP}?season=1`)).text, document);
  assertError(await ask(bridge, `${TOP}?season=2`), 404, 'NOT_FOUND');
});

test('the tag names board, season, version, skip and limit; with it the answer is 304', async () => {
  const { version } = JSON.parse(document);
  const answer = await ask(bridge, `${TOP}?limit=3`);
  const tag = answer.headers.get('etag');
  assert.equal(tag, `"global.1.${version}.0.3"`);
  assert.ok(answer.headers.get('cache-control'));
  for (const matching of [tag, `W/${tag}`, `"x", ${tag}`, '*', `${tag},"y"`]) {
    const again = await ask(bridge, `${TOP}?limit=3`, { headers: { 'if-none-match': matching } });
    assert.equal(again.status, 304, matching);
    assert.equal(again.text, '');
    assert.equal(again.headers.get('etag'), tag);
    assert.equal(again.headers.get('cache-control'), answer.headers.get('cache-control'));
  }
  for (const other of ['"x"', `"global.1.${version}.0.30"`, `"global.1.${version}.3"`, `"global.1.${version}"`, '']) {
    assert.equal((await ask(bridge, `${TOP}?limit=3`, { headers: { 'if-none-match': other } })).status, 200, other);
  }
});

test('different parts have different tags', async () => {
  const tags = [];
  for (const query of ['', 'limit=1', 'limit=2', 'skip=1', 'limit=1&skip=1', 'board=empty']) {
    tags.push((await ask(bridge, `${TOP}?${query}`)).headers.get('etag'));
  }
  assert.equal(new Set(tags).size, tags.length);
});

test('a 304 has no length and no body, and the connection goes on', async () => {
  const raw = new Raw(bridge);
  const request = `GET ${TOP} HTTP/1.1\r\nHost: x\r\n`;
  raw.send(`${request}\r\n`);
  const { headers } = await raw.answer();
  raw.send(`${request}If-None-Match: ${headers.etag}\r\n\r\n`);
  const unchanged = await raw.answer();
  assert.equal(unchanged.status, 304);
  assert.ok(!('content-length' in unchanged.headers));
  raw.send(`${request}\r\n`);
  assert.equal((await raw.answer()).text, document);
  raw.close();
});

test('HEAD is GET without the body', async () => {
  const raw = new Raw(bridge);
  for (const path of [TOP, '/health', '/ready', '/nowhere', `${TOP}?limit=0`]) {
    const get = await ask(bridge, path);
    raw.send(`HEAD ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const head = await until('the head', () => raw.received.includes('\r\n\r\n') && raw.head());
    assert.equal(raw.received.length, head.size);
    raw.received = Buffer.alloc(0);
    assert.equal(head.status, get.status);
    assert.equal(head.headers.etag ?? null, get.headers.get('etag'));
    if (get.status === 200) assert.equal(head.headers['content-length'], get.headers.get('content-length'));
  }
  raw.close();
});

test('HEAD of a stream ends with its head', async () => {
  const raw = new Raw(bridge).send(`HEAD ${STREAM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
  await raw.ends();
  const { size, status, headers } = raw.head();
  assert.equal(status, 200);
  assert.match(headers['content-type'], /^text\/event-stream/);
  assert.equal(raw.received.length, size);
});

test('paths are compared literally', async () => {
  for (const path of ['/nowhere', '/', '/v1', '/v1/leaderboard/top/', '/v1/leaderboard/Top', '/V1/leaderboard/top', `/${'a'.repeat(3000)}`, '/index.html',
    '/v1/leaderboard/topx', '/health/']) assertError(await ask(bridge, path), 404, 'NOT_FOUND');
});

test('a method that a path does not have is refused with those that it has', async () => {
  for (const [path, allow] of [[TOP, 'GET, HEAD'], ['/health', 'GET, HEAD'], ['/ready', 'GET, HEAD'], [STREAM, 'GET, HEAD'],
    ['/v1/scores/increment', 'POST']]) {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'].filter((name) => !allow.includes(name))) {
      for (const body of method === 'GET' ? [undefined] : [undefined, '{}']) {
        const answer = await ask(bridge, path, { method, body });
        assertError(answer, 405, 'METHOD_NOT_ALLOWED');
        assert.equal(answer.headers.get('allow'), allow);
      }
    }
  }
});

test('a stream needs an upgrade or text/event-stream', async () => {
  for (const accept of [undefined, '*/*', 'text/html', 'application/json']) {
    const answer = await rawAnswer(bridge, `GET ${STREAM} HTTP/1.1\r\nHost: x\r\n${accept ? `Accept: ${accept}\r\n` : ''}\r\n`);
    assertError(answer, 426, 'UPGRADE_REQUIRED');
    assert.match(answer.headers.upgrade, /websocket/);
  }
});

test('health and readiness are told', async () => {
  for (const path of ['/health', '/ready']) {
    const answer = await ask(bridge, path);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
  }
});

test('a request id is taken over if it is one, else made', async () => {
  for (const id of ['a', 'x'.repeat(128), '!~"\\']) {
    assert.equal((await ask(bridge, TOP, { headers: { 'x-request-id': id } })).headers.get('x-request-id'), id);
    assert.equal((await ask(bridge, '/nowhere', { headers: { 'x-request-id': id } })).json.error.requestId, id);
  }
  const made = new Set();
  for (const id of ['', 'x'.repeat(129), 'a b', 'é', 'x'.repeat(4000), undefined]) {
    const answer = await ask(bridge, TOP, { headers: id === undefined ? {} : { 'x-request-id': id } });
    assert.match(answer.headers.get('x-request-id'), /^[0-9a-f-]{16,}$/);
    made.add(answer.headers.get('x-request-id'));
  }
  assert.equal(made.size, 6);
});

test('requests in a row on one connection are answered in their order', async () => {
  const raw = new Raw(bridge);
  const paths = ['/health', `${TOP}?limit=1`, '/nowhere', `${TOP}?limit=2`, '/ready'];
  raw.send(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  const statuses = [];
  for (let i = 0; i < paths.length; i++) statuses.push((await raw.answer()).status);
  assert.deepEqual(statuses, [200, 200, 404, 200, 200]);
  raw.close();
});

test('HTTP/1.0 and Connection: close end the connection behind the answer', async () => {
  for (const request of [`GET ${TOP} HTTP/1.0\r\n\r\n`, `GET ${TOP} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`]) {
    const raw = new Raw(bridge).send(request);
    assert.equal((await raw.answer()).text, document);
    await raw.ends();
  }
});
