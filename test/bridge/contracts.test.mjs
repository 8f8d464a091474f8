/*
 * The contracts, openapi.json and asyncapi.json: sound by the official schemas, served as they are, and true: whatever the bridge answers and
 * sends is what they say, and what they say is what it does.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Validator } from '@seriousme/openapi-schema-validator';
import asyncapiSpecs from '@asyncapi/specs';
import Ajv from 'ajv';
import addFormats from 'ajv-formats';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { now } from '../lib/signing.mjs';
import { Raw, RawSocket, award, frame, openEvents, openSocket, published } from './clients.mjs';
import { scraped } from './scraping.mjs';
import { HttpContract, StreamContract } from './contract.mjs';

/*
 * What the contracts promise and the bridge doesn't do yet. The list can only shrink: a test fails where something on it has come.
 */
/* "operation status CODE": a defect, which can't be provoked. */
const ANSWERS_TO_COME = [/ 500 /];

/* Paths that are answered without the table of routes: the page's files, and what has a listener of its own. */
const BESIDE_THE_TABLE = ['/', '/metrics'];

const TREE = new URL('../../', import.meta.url);
const source = (name) => readFile(new URL(name, TREE), 'utf8');
const ORIGIN = 'https://game.test';
const HANDSHAKE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };
const EVENTS = { accept: 'text/event-stream' };

let cluster;
let bridge;
let http;
let streams;

before(async () => {
  cluster = await startCluster();
  await cluster.sql(`INSERT INTO scoreboard.board (name, period) VALUES ('short', 'reset');
    INSERT INTO scoreboard.board (name, visibility) VALUES ('second', 'public'), ('private', 'token');
    INSERT INTO scoreboard.board (name, visibility, permission) VALUES ('club', 'permission', 'club');
    INSERT INTO scoreboard.board (name) SELECT 'b' || i FROM generate_series(0, 16) i`);
  await cluster.sql("SELECT scoreboard_set_profile('first', 'First', 'https://img.test/first.png') \\g /dev/null");
  await award(cluster, 'first', 10);
  await published(cluster, 'first', 10);
  bridge = await startBridge(cluster, ['--allowed-origins', ORIGIN, '--head-timeout', '1s', '--body-timeout', '500ms', '--reconnect-max', '200ms',
    '--www', fileURLToPath(new URL('bridge/www', TREE))]);
  http = new HttpContract(JSON.parse(await source('bridge/openapi.json')));
  streams = new StreamContract(JSON.parse(await source('bridge/asyncapi.json')));
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

/* ---- by themselves ---- */

test('openapi.json is one, by the official schema, and its references lead somewhere', async () => {
  const outcome = await new Validator().validate(structuredClone(http.document));
  assert.ok(outcome.valid, JSON.stringify(outcome.errors, null, 1));
  assert.match(http.document.openapi, /^3\.1\./);
});

test('asyncapi.json is one, by the official schema', () => {
  const ajv = new Ajv({ strict: false, allErrors: true, meta: false, validateSchema: false });
  (addFormats.default ?? addFormats)(ajv);
  const validate = ajv.compile(asyncapiSpecs.schemas[streams.document.asyncapi]);
  assert.ok(validate(streams.document), JSON.stringify(validate.errors, null, 1));
  assert.match(streams.document.asyncapi, /^3\./);
});

test('references within asyncapi.json lead somewhere, and its operations name messages of their channels', () => {
  const walk = (value) => {
    if (value === null || typeof value !== 'object') return;
    if (value.$ref) assert.ok(value.$ref.slice(2).split('/').reduce((object, name) => object?.[name], streams.document), value.$ref);
    Object.values(value).forEach(walk);
  };
  walk(streams.document);
  for (const { channel, messages } of Object.values(streams.document.operations)) {
    for (const { $ref } of messages) assert.ok($ref.startsWith(`${channel.$ref}/messages/`), $ref);
  }
});

test('every schema is sound, and takes its own examples', () => {
  http.checkSchemas();
  streams.checkSchemas();
});

test('what both contracts describe they describe alike', () => {
  const [ours, theirs] = [http, streams].map(({ document }) => document.components.schemas);
  const shared = Object.keys(ours).filter((name) => name in theirs);
  assert.ok(shared.includes('Entry') && shared.includes('Version'));
  for (const name of shared) assert.deepEqual(theirs[name], ours[name], name);
  const { type, ...members } = theirs.LeaderboardUpdate.properties;
  assert.deepEqual(members, ours.Leaderboard.properties);
  assert.deepEqual(theirs.LeaderboardUpdate.required, ['type', ...ours.Leaderboard.required]);
});

/* ---- served ---- */

test('both are served as they stand in the tree, with or without a page, and have the version of the program', async (t) => {
  const plain = await startBridge(cluster, [], { ready: false });
  t.after(() => plain.stop());
  const { stdout } = await promisify(execFile)(process.env.BRIDGE ?? 'scoreboard-bridge', ['--version']);
  for (const name of ['openapi.json', 'asyncapi.json']) {
    for (const at of [bridge, plain]) {
      const answer = await fetch(`${at.url}/${name}`);
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('content-type'), 'application/json');
      const text = await answer.text();
      assert.equal(text, await source(`bridge/${name}`));
      assert.ok(stdout.trim().split(/\s+/).includes(JSON.parse(text).info.version), stdout);
      const again = await fetch(`${at.url}/${name}`, { headers: { 'if-none-match': answer.headers.get('etag') } });
      assert.equal(again.status, 304);
    }
  }
});

/* ---- the table of routes ---- */

/** [{path, method, body, parameters}] as bridge/routes.c has them. */
async function tableOfRoutes() {
  const text = await source('bridge/routes.c');
  const lists = Object.fromEntries([...text.matchAll(/static const char \*const (\w+)\[\] = \{([^}]*)\}/g)]
    .map(([, name, list]) => [name, [...list.matchAll(/"([^"]+)"/g)].map(([, one]) => one)]));
  const [, table] = /static const Route routes\[\] = \{\n(.*?)\n\};/s.exec(text);
  return table.split('\n').filter((line) => line.includes('{"')).map((line) => {
    const [, path, parameters, method, body] = /^\t\{"([^"]+)", \w+, (\w+), METHOD_(\w+), (true|false)/.exec(line) ?? assert.fail(line);
    return { path, method, body: body === 'true', parameters: lists[parameters] ?? assert.fail(parameters) };
  });
}

test('every route stands in the contract with its method, its parameters and its body', async () => {
  const routes = await tableOfRoutes();
  assert.ok(routes.length >= 7);
  for (const { path, method, body, parameters } of routes) {
    const operation = http.operations().find((one) => one.path === path && one.method === method) ?? assert.fail(`${method} ${path}`);
    assert.deepEqual([...parameters].sort(), http.queryNames(operation.id).sort(), path);
    assert.equal('requestBody' in http.document.paths[path][method.toLowerCase()], body, path);
  }
});

test('every path of the contract is a route', async () => {
  const routes = await tableOfRoutes();
  const missing = http.operations().filter(({ path, method }) => !BESIDE_THE_TABLE.includes(path) && !routes.some((one) => one.path === path && one.method === method));
  assert.deepEqual(missing.map(({ path }) => path), []);
});

test('the names in a path are its parameters', () => {
  for (const { path, id } of http.operations()) {
    assert.deepEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name), http.parameters(id).filter((one) => one.in === 'path').map(({ name }) => name));
  }
});

/* ---- errors ---- */

const pairs = (entries) => entries.map(([code, status]) => `${code} ${status}`).sort();

/** "CODE status" of all answers of the contract. */
function contractErrors() {
  const found = [];
  for (const { id, path, method } of http.operations()) {
    for (const status of http.statuses(id)) {
      const { value } = http.at('paths', path, method.toLowerCase(), 'responses', String(status));
      const code = value.content?.['application/json']?.schema.properties?.error?.properties.code;
      for (const one of code?.enum ?? (code ? [code.const] : [])) found.push([one, status]);
    }
  }
  return [...new Set(pairs(found))];
}

test("every error code of the contract stands in README's one table with its status, and the other way round", async () => {
  const readme = await source('README.md');
  const [, section] = /\n### Errors\n(.*?)\n### /s.exec(readme);
  const rows = section.split('\n').filter((line) => /^\| [A-Z_]+ /.test(line)).map((line) => line.split('|').map((cell) => cell.trim().split(' · ')));
  const table = rows.flatMap(([, codes, , statuses]) => codes.flatMap((code, i) => (statuses[i] ?? statuses[0]).split(' ').filter((word) => /^\d{3}$/.test(word))
    .map((status) => [code, status])));
  assert.deepEqual(pairs(table), contractErrors());
  assert.deepEqual([...new Set(table.map(([code]) => code))].sort(), [...http.document.components.schemas.Error.properties.error.properties.code.enum].sort());
});

test('the errors that the sources have are those of the contract', async () => {
  const codes = new Set();
  for (const [name, table] of [['bridge/exchange.c', /errors\[\] = \{(.*?)\n\};/s], ['src/base/refusal.c', /refusal_kinds\[REFUSAL_CODES\] = \{(.*?)\n\};/s]]) {
    const [, rows] = table.exec(await source(name));
    for (const [, code, status] of rows.matchAll(/\{"([A-Z_]+)", (\d+),/g)) if (code !== 'NONE') codes.add(`${code} ${status}`);
  }
  assert.deepEqual([...codes].sort(), contractErrors());
});

/* ---- requests ---- */

/* "operation status CODE" of all answers that were checked. */
const seen = new Set();

const lowerCase = (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

function requestText({ path, method }, { query, headers = {}, items = {}, body, verb = method, version = 'HTTP/1.1' }) {
  const target = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(items[name])) + (query ? `?${query}` : '');
  const all = { host: 'board.test', ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }), ...lowerCase(headers) };
  return `${verb} ${target} ${version}\r\n${Object.entries(all).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body ?? ''}`;
}

/**
 * Sends a request of an operation; the answer has to be as the contract says, and so has a request that is taken.
 * @returns the answer, {status, headers, text, complaints: what the contract has against the request}
 */
async function send(id, { ...request } = {}, { at = bridge } = {}) {
  const operation = http.operation(id);
  if (['POST', 'PUT'].includes(operation.method) && request.body === undefined) request.headers = { 'content-length': 0, ...request.headers };
  const raw = new Raw(at).send(requestText(operation, request));
  const answer = await raw.answer() ?? assert.fail(`${id} ${JSON.stringify(request)}: no answer`);
  raw.close();
  const told = `${operation.method} ${operation.path} ${JSON.stringify(request)} → ${answer.status} ${answer.text}`;
  assert.deepEqual(http.answerComplaints(id, answer), [], told);
  seen.add(`${id} ${answer.status} ${answer.headers['content-type'] === 'application/json' && answer.status >= 400 ? answer.json.error.code : ''}`.trim());
  const complaints = http.requestComplaints(id, { ...request, headers: lowerCase(request.headers ?? {}) });
  if (answer.status < 400) assert.deepEqual(complaints, [], told);
  return Object.assign(answer, { complaints });
}

/* One that the contract refuses and the bridge too. */
async function refused(id, request, status = 400) {
  const answer = await send(id, request);
  assert.equal(answer.status, status, `${JSON.stringify(request)} ${answer.text}`);
  assert.notEqual(answer.complaints.length, 0, `the contract takes ${JSON.stringify(request)}`);
}

const onTheMainListener = () => http.operations().filter(({ path }) => path !== '/metrics');

test('what any request can get is answered as the contract says, on every path', async () => {
  for (const { id, method } of onTheMainListener()) {
    await Promise.all([
      send(id, { headers: { origin: 'https://elsewhere.test' } }), // 403
      send(id, { verb: method === 'POST' ? 'PUT' : 'POST', body: '{}' }), // 405
      send(id, { headers: { 'transfer-encoding': 'chunked', 'content-length': undefined } }), // 411
      send(id, { headers: { 'content-length': 16385 } }), // 413
      send(id, { headers: { 'x-long': 'x'.repeat(17000) } }), // 431
      send(id, { version: 'HTTP/3.0' }), // 505
      send(id, { headers: { host: undefined } }), // 400
      send(id, { query: `a=${tokenFor(cluster, 'somebody')}` }), // 400
    ]);
  }
});

test('who is slow gets 408, on every path', async () => {
  await Promise.all(onTheMainListener().map(async ({ id, path, method }) => {
    const raw = new Raw(bridge).send(`${method} ${path} HTTP/1.1\r\nHost: `);
    const answer = await raw.answer();
    assert.equal(answer.status, 408);
    assert.deepEqual(http.answerComplaints(id, answer), []);
    seen.add(`${id} 408 REQUEST_TIMEOUT`);
    raw.close();
  }));
  const answer = await send('increment', { body: '{', headers: { 'content-length': 10 } });
  assert.equal(answer.status, 408);
  assert.ok(answer.headers['idempotency-key']);
});

test('an unknown, empty or doubled parameter is refused by both, on every path that looks at its query', async () => {
  for (const { id } of onTheMainListener().filter(({ path }) => path !== '/')) {
    const authorization = `Bearer ${tokenFor(cluster, 'somebody')}`;
    for (const query of ['colour=red', 'colour=', 'colour', 'colour=red&colour=red']) await refused(id, { query, headers: { authorization }, ...(['increment', 'setVisibility'].includes(id) && { body: '{"listed":true}' }) });
  }
});

test('the request id comes back', async () => {
  for (const { id } of onTheMainListener()) {
    assert.equal((await send(id, { headers: { 'x-request-id': 'mine' } })).headers['x-request-id'], 'mine');
  }
});

test('top', async () => {
  const { headers } = await send('top');
  for (const query of ['board=global', 'board=second', 'limit=1', 'limit=100', 'skip=0', 'skip=1000', 'skip=2147483647', 'season=1', 'board=global&limit=3&skip=1&season=1']) {
    assert.equal((await send('top', { query })).status, 200, query);
  }
  assert.equal((await send('top', { headers: { 'if-none-match': headers.etag } })).status, 304);
  for (const query of ['limit=0', 'limit=101', 'limit=x', 'limit=1.5', 'skip=-1', 'skip=2147483648', 'season=x', 'board=', 'board=A', `board=${'a'.repeat(64)}`, 'board=global,second',
    'limit=1&limit=1']) await refused('top', { query });
  for (const query of ['board=nowhere', 'season=2']) assert.equal((await send('top', { query })).status, 404);
  assert.equal((await send('top', { query: 'board=private' })).status, 401);
});

test('a stream of a board whose permission the token lacks', async () => {
  const authorization = `Bearer ${tokenFor(cluster, 'somebody')}`;
  await until('the board to be known', async () => (await send('stream', { query: 'board=club', headers: EVENTS })).status === 401);
  assert.equal((await send('stream', { query: 'board=club', headers: { ...EVENTS, authorization } })).status, 403);
});

const token = (user, claims) => ({ authorization: `Bearer ${tokenFor(cluster, user, claims)}` });

test('what the database answers', async () => {
  for (const [id, request] of [['around', { query: 'user=first&radius=1&season=1' }], ['ranks', { query: 'users=first,nobody,a%2Cb' }], ['view', {}], ['view', { query: 'limit=1&radius=0&users=first,nobody' }],
    ['view', { query: 'board=second', headers: token('first') }], ['view', { headers: token('first') }], ['boards', {}], ['boards', { headers: token('first') }], ['score', { items: { id: 'first' } }],
    ['ownScore', { headers: token('first') }], ['ownScore', { query: 'board=private&season=1', headers: token('nobody') }], ['ownActions', { headers: token('first') }],
    ['ownActions', { query: 'board=second&limit=1', headers: token('first') }], ['top', { query: 'board=private', headers: token('first') }], ['top', { query: 'board=private&skip=5', headers: token('first') }],
    ['setVisibility', { body: '{"listed":true,"anonymous":true}', headers: token('chooser') }], ['setVisibility', { body: '{"listed":false}', headers: token('chooser') }]]) {
    assert.equal((await send(id, request)).status, 200, id);
  }
  const asked = { around: { query: 'user=first&board=' }, ranks: { query: 'users=first&board=' }, view: { query: 'board=' }, top: { query: 'board=' }, score: { items: { id: 'first' }, query: 'board=' },
    ownScore: { query: 'board=' }, ownActions: { query: 'board=' } };
  for (const [id, { query, ...request }] of Object.entries(asked)) {
    assert.equal((await send(id, { ...request, query: `${query}club` })).status, 401, id);
    assert.equal((await send(id, { ...request, query: `${query}club`, headers: token('first') })).json.error.code, 'ACTION_NOT_ALLOWED', id);
    assert.equal((await send(id, { ...request, query: `${query}nowhere`, headers: token('first') })).status, 404, id);
  }
  for (const id of ['boards', 'setVisibility']) assert.equal((await send(id, { headers: { authorization: 'Bearer x' }, ...(id !== 'boards' && { body: '{"listed":true}' }) })).status, 401);
  for (const [id, queries] of Object.entries({ around: ['', 'user=', 'user=a&radius=51', 'user=a&board=A'], ranks: ['', 'users=', 'users=a,', 'users=a&board=A'], view: ['limit=0', 'limit=101', 'radius=51', 'users=a,,b'],
    ownActions: ['limit=0', 'limit=1001', 'board=A'], ownScore: ['season=x'], score: ['season=x', 'board=A'] })) {
    for (const query of queries) await refused(id, { query, items: { id: 'first' }, headers: token('first') });
  }
  for (const body of ['{}', '[]', '{"listed":1}', '{"listed":true,"anonymous":null}']) await refused('setVisibility', { body, headers: token('first') });
  assert.equal((await send('setVisibility', { body: '{"listed":true}', headers: { ...token('first'), 'content-type': 'text/plain' } })).status, 415);
  await until('choices to be limited', async () => (await send('setVisibility', { body: '{"listed":true}', headers: token('moody') })).status === 429);
});

test('operation, page and contracts', async () => {
  for (const id of ['health', 'ready', 'openapi', 'asyncapi', 'page']) {
    const { status, headers } = await send(id);
    assert.equal(status, 200, id);
    if (headers.etag) assert.equal((await send(id, { headers: { 'if-none-match': headers.etag } })).status, 304, id);
  }
  const plain = await startBridge(cluster);
  assert.equal((await send('page', {}, { at: plain })).status, 404);
  await plain.stop();
});

/* An increment's request: good, but for what is told. */
function act(user, { action = actionFor(cluster, user), change = {}, headers = {}, body = JSON.stringify({ ...action, ...change }) } = {}) {
  return { body, headers: { authorization: `Bearer ${tokenFor(cluster, user)}`, ...headers } };
}

test('increments that count, and their retries', async () => {
  const action = actionFor(cluster, 'ann', { subscore: 3, detail: 'level 3' });
  const key = { 'idempotency-key': '5f0c' };
  const first = await send('increment', act('ann', { action, headers: key }));
  assert.equal(first.status, 200, first.text);
  assert.equal(first.headers['idempotency-key'], '5f0c');
  const again = await send('increment', act('ann', { action, headers: key, change: { unknown: 1 } }));
  assert.deepEqual(again.json, { ...first.json, replayed: true });
  const bonus = actionFor(cluster, 'ann', { actionType: 'BONUS', points: 7 });
  assert.equal((await send('increment', act('ann', { action: bonus, change: { metadata: { x: [1.5] } } }))).status, 200);
  const bare = actionFor(cluster, 'bea');
  assert.equal((await send('increment', act('bea', { action: bare, change: { board: null, points: null, subscore: null, detail: null, metadata: null } }))).status, 200);
  assert.equal((await send('increment', act('ann', { action, headers: { 'idempotency-key': 'other' } }))).json.error.code, 'DUPLICATE_ACTION');
  assert.equal((await send('increment', act('ann', { action, headers: key, change: { metadata: { a: 1 } } }))).json.error.code, 'IDEMPOTENCY_MISMATCH');
});

test('increments that the contract refuses are refused', async () => {
  for (const change of [{ actionType: undefined }, { actionType: '' }, { actionType: 'a b' }, { actionType: 1 }, { actionType: null }, { actionType: 'a'.repeat(64) }, { actionId: undefined },
    { actionId: '' }, { actionId: 'a\u0085' }, { actionId: 'a'.repeat(256) }, { board: 'A' }, { points: '1' }, { points: 1.5 }, { points: 2 ** 53 }, { subscore: true },
    { subscore: -(2 ** 53) }, { detail: '' }, { detail: 'a\n' }, { detail: 1 }, { detail: 'd'.repeat(257) }, { issuedAt: -1 }, { issuedAt: undefined }, { issuedAt: '1' }, { receipt: 1 },
    { metadata: [] }, { metadata: 'x' }, { token: 'x' }, { idempotencyKey: 'x' }, { requestId: null }, { clientAddress: '::1' }]) {
    await refused('increment', act(`refused-${JSON.stringify(change).length}-${Object.keys(change)}`, { change }));
  }
  for (const body of ['', '{}', '[]', '{', 'null', '"x"']) await refused('increment', act('refused', { body }));
  await refused('increment', act('refused', { headers: { 'idempotency-key': 'a b' } }));
  await refused('increment', act('refused', { headers: { 'idempotency-key': 'x'.repeat(256) } }));
});

test("increments that aren't allowed", async () => {
  const code = async (request) => (await send('increment', request)).json.error?.code;
  assert.equal(await code(act('cat', { headers: { authorization: undefined } })), 'UNAUTHORIZED');
  assert.equal(await code(act('cat', { headers: { authorization: 'Bearer x' } })), 'UNAUTHORIZED');
  assert.equal(await code(act('cat', { change: { receipt: undefined } })), 'INVALID_SIGNATURE');
  assert.equal(await code(act('cat', { action: actionFor(cluster, 'cat', { issuedAt: now() - 3600 }) })), 'RECEIPT_EXPIRED');
  assert.equal(await code(act('cat', { change: { actionType: 'UNKNOWN' } })), 'ACTION_NOT_ALLOWED');
  assert.equal(await code(act('cat', { change: { board: 'nowhere' } })), 'NOT_FOUND');
  assert.equal(await code(act('cat', { headers: { 'content-type': 'text/plain' } })), 'UNSUPPORTED_MEDIA_TYPE');
  assert.equal((await send('increment', act('dan'))).status, 200);
  await cluster.sql("SELECT scoreboard_ban('dan') \\g /dev/null");
  assert.equal(await code(act('dan')), 'PLAYER_SUSPENDED');
  await until('the rate to be limited', async () => await code(act('eve')) === 'RATE_LIMITED');
  await cluster.sql("INSERT INTO scoreboard.action_type (name, points, daily_quota) VALUES ('ONCE_A_DAY', 1, 1)");
  const daily = () => code(act('fay', { action: actionFor(cluster, 'fay', { actionType: 'ONCE_A_DAY' }) }));
  await until('the quota to be used up', async () => await daily() === 'QUOTA_EXCEEDED');
});

test('a page of an allowed origin gets the same', async () => {
  for (const { id } of onTheMainListener()) {
    const { headers } = await send(id, { headers: { origin: ORIGIN } });
    assert.equal(headers['access-control-allow-origin'], ORIGIN, id);
  }
});

test('tickets', async () => {
  const ticket = (token) => send('createTicket', { headers: { authorization: token && `Bearer ${token}` } });
  const good = async () => (await ticket(tokenFor(cluster, 'ann'))).json.ticket;
  assert.equal((await send('stream', { query: `board=private&ticket=${await good()}`, headers: EVENTS })).status, 200);
  assert.equal((await send('stream', { query: `ticket=${await good()}&board=private,global`, headers: HANDSHAKE })).status, 101);
  assert.equal((await send('stream', { query: 'board=private', headers: { ...HANDSHAKE, 'sec-websocket-protocol': `scoreboard.v1, ticket.${await good()}` } })).status, 101);
  for (const token of [undefined, 'x']) assert.equal((await ticket(token)).status, 401);
});

test('streams open, or are refused', async () => {
  for (const headers of [HANDSHAKE, { ...HANDSHAKE, 'sec-websocket-protocol': 'scoreboard.v1' }]) assert.equal((await send('stream', { headers })).status, 101);
  for (const query of [undefined, 'board=global', 'board=global,second']) {
    assert.equal((await send('stream', { query, headers: EVENTS })).status, 200);
  }
  assert.equal((await send('stream', { headers: { ...EVENTS, 'last-event-id': 'global:1' } })).status, 200);
  for (const query of ['board=A', 'board=global,global', 'board=nowhere,A', 'board=nowhere,nowhere', 'board=,', 'board=', `board=${Array.from({ length: 17 }, (_, i) => `b${i}`)}`]) await refused('stream', { query, headers: EVENTS });
  await refused('stream', { headers: { ...HANDSHAKE, 'sec-websocket-key': 'short' } });
  await refused('stream', { headers: { ...HANDSHAKE, 'sec-websocket-version': '12' } }, 426);
  assert.equal((await send('stream')).status, 426);
  assert.equal((await send('stream', { query: 'board=nowhere', headers: EVENTS })).status, 404);
  assert.equal((await send('stream', { query: 'board=private', headers: EVENTS })).status, 401);
});

test('while the database is away', async () => {
  const lonely = await startBridge({ conninfo: () => 'host=/nowhere' }, ['--submit-timeout', '200ms', '--reconnect-max', '100ms'], { ready: false });
  assert.equal((await send('ready', {}, { at: lonely })).status, 503);
  assert.equal((await send('health', {}, { at: lonely })).status, 200);
  assert.equal((await send('top', {}, { at: lonely })).status, 503);
  assert.equal((await send('stream', { headers: EVENTS }, { at: lonely })).status, 503);
  assert.equal((await send('increment', act('fay'), { at: lonely })).status, 503);
  assert.equal((await send('createTicket', { headers: { authorization: `Bearer ${tokenFor(cluster, 'fay')}` } }, { at: lonely })).status, 503);
  for (const [id, request] of [['around', { query: 'user=a' }], ['ranks', { query: 'users=a' }], ['view', {}], ['boards', {}], ['score', { items: { id: 'a' } }], ['ownScore', {}], ['ownActions', {}],
    ['setVisibility', { body: '{"listed":true}' }]]) assert.equal((await send(id, { ...request, headers: token('fay') }, { at: lonely })).status, 503, id);
  await lonely.stop();
});

test('an address that asks too often gets 429, on every path but those of health', async () => {
  const narrow = await startBridge(cluster, ['--requests-per-minute', '1']);
  await send('top', {}, { at: narrow });
  for (const { id, path } of onTheMainListener()) {
    assert.equal((await send(id, {}, { at: narrow })).status, ['/health', '/ready'].includes(path) ? 200 : 429, id);
  }
  await narrow.stop();
});

test('metrics, on their own listener', async () => {
  const measured = await startBridge(cluster, ['--metrics-listen', '127.0.0.1:0']);
  const at = { port: Number(new URL(await scraped(measured)).port) };
  assert.equal((await send('metrics', {}, { at })).status, 200);
  assert.equal((await send('metrics', { verb: 'POST', body: 'x' }, { at })).status, 405);
  assert.equal((await send('metrics', { headers: { host: undefined } }, { at })).status, 400);
  await measured.stop();
});

test('HEAD has the headers that the contract names for GET', async () => {
  for (const { id, path } of onTheMainListener().filter(({ method }) => method === 'GET')) {
    const raw = new Raw(bridge).send(`HEAD ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${id === 'stream' ? 'Accept: text/event-stream\r\n' : ''}\r\n`);
    await raw.ends();
    const { status, headers } = raw.head();
    const { value, at } = http.at('paths', path, 'get', 'responses', String(status));
    assert.deepEqual(http.headerComplaints(at, value, headers), [], path);
  }
});

test('every answer that the contract names was seen, or is on the list of those to come', () => {
  const named = http.operations().flatMap(({ id, path, method }) => http.statuses(id).flatMap((status) => {
    const { value } = http.at('paths', path, method.toLowerCase(), 'responses', String(status));
    const code = value.content?.['application/json']?.schema.properties?.error?.properties.code;
    return (code?.enum ?? [code?.const]).map((one) => `${id} ${status} ${one ?? ''}`.trim());
  }));
  const toCome = (one) => ANSWERS_TO_COME.some((pattern) => pattern.test(one));
  assert.deepEqual([...seen].filter((one) => !named.includes(one)), []);
  assert.deepEqual(named.filter((one) => !seen.has(one) && !toCome(one)), [], 'not seen');
  assert.deepEqual([...seen].filter(toCome), [], 'have come');
});

/* ---- streams ---- */

test('what streams carry is what the contract says', async () => {
  const heard = new Set();
  const socket = await openSocket(bridge, { query: '?board=global,second,short', protocols: ['scoreboard.v1'] });
  const events = [await openEvents(bridge), await openEvents(bridge, { query: '?board=global,second,short' })];
  const raw = await RawSocket.open(bridge);
  const headers = { authorization: `Bearer ${tokenFor(cluster, 'gil')}` };
  const mine = [await openSocket(bridge, { headers }), await openEvents(bridge, { headers })];
  await award(cluster, 'gil', 50, 'second');
  await award(cluster, 'gil', 60);
  for (const one of [socket, events[1]]) for (const score of [50, 60]) await one.later(0, ({ entries }) => entries.some((entry) => entry.score === score));
  for (const one of [socket, events[1]]) await one.later(0, ({ board }) => board === 'short');
  await cluster.sql("SELECT scoreboard_reset_season('short') \\g /dev/null");
  for (const one of [socket, events[1]]) await until('the end of a season', () => one.seasons.length);
  for (const { after, ...message } of socket.seasons) heard.add(streams.recognise('websocket', 'send', JSON.stringify(message)));
  const ping = '{"type":"ping"}';
  assert.equal(streams.recognise('websocket', 'receive', ping), 'ping');
  raw.send(frame(ping));
  await until('a pong', () => raw.frames().some(({ payload }) => payload.toString().includes('pong')));
  for (const { opcode, payload } of raw.frames()) if (opcode === 1) heard.add(streams.recognise('websocket', 'send', payload.toString()));
  for (const text of [...socket.messages, ...socket.statuses.map((one) => JSON.stringify(one))]) heard.add(streams.recognise('websocket', 'send', text));
  for (const one of events) {
    assert.ok(one.retry > 0);
    for (const { data, ...fields } of one.events) heard.add(streams.recognise('events', 'send', data, fields));
    for (const status of one.statuses) streams.recognise('events', 'send', JSON.stringify(status), { event: 'status' });
  }
  for (const [i, one] of mine.entries()) {
    await until('the own place', () => one.own.length);
    for (const message of one.own) heard.add(streams.recognise(['websocket', 'events'][i], 'send', JSON.stringify(message), i ? { event: 'me.update' } : undefined));
  }
  const all = new Set(Object.keys(streams.document.channels).flatMap((channel) => streams.messages(channel, 'send')
    .map((name) => streams.at('channels', channel, 'messages', name).value.name)));
  assert.deepEqual([...all].filter((name) => !heard.has(name)), []);
  for (const one of [socket, ...events, raw, ...mine]) one.close();
});

const closeCodes = () => streams.document.channels.websocket['x-close-codes'].map(({ code }) => code);

test('what the contract lets no client send ends the stream with a code of the contract', async () => {
  for (const [text, code] of [['{"type":"pong"}', 1008], ['{"type":"ping","x":1}', 1008], ['[]', 1008], ['"ping"', 1008], ['{}', 1008]]) {
    assert.throws(() => streams.recognise('websocket', 'receive', text));
    const raw = (await RawSocket.open(bridge)).send(frame(text));
    assert.equal(await raw.closeCode(), code, text);
  }
  const told = new Set([1008]);
  for (const bytes of [frame('x'.repeat(5000)), frame(Buffer.from([0xff])), frame('x', { opcode: 3 })]) told.add(await (await RawSocket.open(bridge)).send(bytes).closeCode());
  const leaving = await startBridge(cluster);
  const last = await openSocket(leaving);
  await leaving.stop();
  await last.ends();
  told.add(last.closed.code);
  assert.deepEqual([...told].sort(), [1001, 1002, 1007, 1008, 1009]);
  assert.ok([...told].every((code) => closeCodes().includes(code)));
});

test('the close codes that the sources have are those of the contract', async () => {
  const codes = new Set();
  for (const name of await readdir(new URL('bridge/', TREE))) {
    if (name.endsWith('.c')) for (const [, code] of (await source(`bridge/${name}`)).matchAll(/#define CLOSE_\w+ (\d{4})\b/g)) codes.add(Number(code));
  }
  assert.deepEqual([...codes].sort(), closeCodes().sort());
});
