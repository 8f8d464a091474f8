/*
 * --smoke URL: what works is found to work, through proxies too, and what doesn't is found not to.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { actionFor, startBridge, startCluster, tokenFor } from '../lib/cluster.mjs';
import { UNLIMITED, award, published } from './clients.mjs';

const READS = ['ready', 'contracts', 'top', 'events', 'websocket'];
const ALL = [...READS, 'increment', 'replay'];

let cluster;
let bridge;
let directory;
const servers = [];

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await award(cluster, 'ada', 5);
  await published(cluster, 'ada', 5);
  bridge = await startBridge(cluster);
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'smoke-'));
});

after(async () => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections?.();
  }
  await bridge?.stop();
  await cluster?.stop();
  if (directory) await rm(directory, { recursive: true });
});

const smoke = (url, { args = [], environment = {} } = {}) => new Promise((resolve) => {
  execFile(process.env.BRIDGE, ['--smoke', url, ...args], { env: { PATH: process.env.PATH, ...environment } },
    (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stdout, stderr }));
});

/* {check: [fine, what it says]}; every line is one. */
const checks = ({ stdout }) => Object.fromEntries(stdout.split('\n').slice(0, -1).map((line) => {
  const [, fine, name, said] = /^(ok|FAILED) +(\S+) +(.+) \(\d+ ms\)$/.exec(line) ?? assert.fail(line);
  return [name, [fine === 'ok', said]];
}));

function assertFine(result, names) {
  assert.equal(result.status, 0, result.stdout + result.stderr);
  assert.deepEqual(Object.keys(checks(result)), names);
  assert.ok(Object.values(checks(result)).every(([fine]) => fine), result.stdout);
}

async function listening(server) {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

let files = 0;
async function file(text) {
  const name = join(directory, `file-${++files}`);
  await writeFile(name, text);
  return name;
}

/* What an increment needs, in files. */
const increment = async (user) => ['--smoke-token-file', await file(`${tokenFor(cluster, user)}\n`), '--smoke-action-file', await file(JSON.stringify(actionFor(cluster, user)))];

test('a bridge that works passes every check', async () => {
  const result = await smoke(bridge.url);
  assertFine(result, READS);
  assert.match(result.stdout, /contracts +of version \d/);
  assert.match(result.stdout, /top +version \d+, 1 entries/);
  assertFine(await smoke(`${bridge.url}/`), READS);
});

test('with a token and an action it counts one, once', async () => {
  const args = await increment('bob');
  const first = await smoke(bridge.url, { args });
  assertFine(first, ALL);
  assert.match(first.stdout, /increment +100 points \(/);
  const second = await smoke(bridge.url, { args });
  assertFine(second, ALL);
  assert.match(second.stdout, /increment +100 points, counted earlier \(/);
  /* The token from the environment. */
  assertFine(await smoke(bridge.url, { args: args.slice(2), environment: { SCOREBOARD_SMOKE_TOKEN: (await readFile(args[1], 'utf8')).trim() } }), ALL);
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = 'bob'"), '1');
});

test('a refused increment fails, and shows no secret', async () => {
  const action = { ...actionFor(cluster, 'eve'), receipt: `v1:test-key:${'0'.repeat(64)}` };
  const token = tokenFor(cluster, 'eve');
  const result = await smoke(bridge.url, { args: ['--smoke-action-file', await file(JSON.stringify(action))], environment: { SCOREBOARD_SMOKE_TOKEN: token } });
  assert.equal(result.status, 1);
  const { increment: refused, replay, ...others } = checks(result);
  assert.match(refused[1], /^403 in place of 200 INVALID_SIGNATURE: /);
  assert.deepEqual([refused[0], replay[0]], [false, false]);
  assert.ok(Object.values(others).every(([fine]) => fine));
  assert.ok(!(result.stdout + result.stderr).includes(token.split('.')[2]));
});

/* Passes everything on; bodies of unknown length, so that they come in chunks, and a path of its own before ours. */
function proxy(path) {
  const server = http.createServer((request, answer) => {
    assert.ok(request.url.startsWith(path));
    const headers = { ...request.headers, connection: 'close' };
    request.pipe(http.request(bridge.url + request.url.slice(path.length), { method: request.method, headers, agent: false }, (theirs) => {
      const { 'content-length': length, connection, ...rest } = theirs.headers;
      void length; void connection;
      answer.writeHead(theirs.statusCode, rest);
      theirs.pipe(answer);
      answer.on('close', () => theirs.destroy());
    }));
  });
  server.on('upgrade', (request, socket) => {
    const ours = net.connect(bridge.port, '127.0.0.1');
    const lines = request.rawHeaders.reduce((text, word, i) => text + word + (i % 2 ? '\r\n' : ': '), '');
    ours.write(`GET ${request.url.slice(path.length)} HTTP/1.1\r\n${lines}\r\n`);
    ours.pipe(socket).pipe(ours);
    for (const one of [ours, socket]) one.on('error', () => {}).on('close', () => { ours.destroy(); socket.destroy(); });
  });
  return server;
}

test('it looks through a proxy, whose answers come in chunks below another path', async () => {
  const port = await listening(proxy('/game/live'));
  assertFine(await smoke(`http://127.0.0.1:${port}/game/live/`, { args: await increment('cleo') }), ALL);
  assertFine(await smoke(`http://localhost:${port}/game/live`), READS);
});

test('TLS is verified', async () => {
  const [key, certificate] = [join(directory, 'key.pem'), join(directory, 'certificate.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', certificate, '-days', '2',
    '-subj', '/CN=x', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:board.test'], { stdio: 'ignore' });
  const server = tls.createServer({ key: await readFile(key), cert: await readFile(certificate) }, (socket) => {
    const ours = net.connect(bridge.port, '127.0.0.1');
    ours.pipe(socket).pipe(ours);
    for (const one of [ours, socket]) one.on('error', () => {}).on('close', () => { ours.destroy(); socket.destroy(); });
  });
  server.on('tlsClientError', () => {});
  const port = await listening(server);
  const environment = { SSL_CERT_FILE: certificate };
  assertFine(await smoke(`https://127.0.0.1:${port}`, { environment, args: await increment('dan') }), ALL);
  const [unknown, otherName, plain] = await Promise.all([smoke(`https://127.0.0.1:${port}`), smoke(`https://localhost:${port}`, { environment }),
    smoke(`https://127.0.0.1:${bridge.port}`, { environment })]);
  for (const [result, said] of [[unknown, /TLS: .*self.signed/], [otherName, /TLS: .*hostname mismatch/i], [plain, /TLS: /]]) {
    assert.equal(result.status, 1);
    assert.deepEqual(Object.keys(checks(result)), ['ready']);
    assert.match(checks(result).ready[1], said);
  }
});

/* A server that answers as a bridge does, but for what `wrong` puts in place of it. */
async function pretender(wrong = {}) {
  const list = (version, more = {}) => JSON.stringify({ ...more, board: 'global', season: 1, version, updatedAt: 'x', players: 0, entries: [] });
  const right = {
    ready: () => [200, '{"status":"ready"}'],
    openapi: () => [200, '{"openapi":"3.1.1","info":{"version":"1.0"}}'],
    asyncapi: () => [200, '{"asyncapi":"3.0.0","info":{"version":"1.0"}}'],
    top: () => [200, list(5)],
    event: () => `data: {"type":"status"}\n\nevent: leaderboard.update\ndata: ${list(5, { type: 'leaderboard.update' })}\n\n`,
    accept: (key) => createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64'),
    message: () => list(6, { type: 'leaderboard.update' }),
    increment: (time) => [200, JSON.stringify({ userId: 'x', appliedPoints: 1, score: 1, replayed: time > 1 })],
  };
  const does = { ...right, ...wrong };
  let times = 0;
  const server = http.createServer((request, answer) => {
    if (request.headers.accept === 'text/event-stream') {
      answer.writeHead(200, { 'content-type': 'text/event-stream' });
      answer.write(does.event(list));
      return;
    }
    const [status, body] = /^\/(ready|openapi|asyncapi)/.test(request.url) ? does[/\w+/.exec(request.url)[0]]() : request.method === 'POST' ? does.increment(++times) : does.top(list);
    answer.writeHead(status, { connection: 'close' });
    answer.end(body);
  });
  server.on('upgrade', (request, socket) => {
    const text = Buffer.from(does.message(list));
    socket.on('error', () => {});
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${does.accept(request.headers['sec-websocket-key'])}\r\n\r\n`);
    socket.write(Buffer.concat([Buffer.from([0x81, 2]), Buffer.from('{}'), text.length < 126 ? Buffer.from([0x81, text.length]) : Buffer.from([0x81, 126, text.length >> 8, text.length & 255]), text]));
    socket.end();
  });
  return `http://127.0.0.1:${await listening(server)}`;
}

test('what a server does wrong is found', async () => {
  const token = tokenFor(cluster, 'x');
  const args = await increment('x');
  assertFine(await smoke(await pretender(), { args }), ALL);
  const update = { type: 'leaderboard.update' };
  const cases = [
    ['contracts', { openapi: () => [200, '{"swagger":"2.0"}'] }, /openapi.json is no contract/], ['contracts', { asyncapi: () => [404, ''] }, /404 in place of 200/],
    ['top', { top: () => [200, '<html>'] }, /no JSON/], ['top', { top: () => [200, '{}'] }, /no list/], ['top', { top: () => [404, '<html>'] }, /^404 in place of 200$/],
    ['top', { top: () => [401, `{"error":{"code":"UNAUTHORIZED","message":"not ${token}"}}`] }, /^\[token\]$/],
    ['top', { top: () => [400, '{"error":{"code":"INVALID_REQUEST","message":"two\\nlines\\u001b"}}'] }, /two\?lines\?$/],
    ['events', { event: (list) => `data: ${list(4, update)}\n\n` }, /version 4 is older than 5/], ['events', { event: () => 'data: {"type":"leaderboard.update"}\n\n' }, /no list/],
    ['websocket', { message: (list) => list(4, update) }, /version 4 is older than 5/], ['websocket', { accept: () => 'by rote' }, /Sec-WebSocket-Accept/],
    ['websocket', { message: () => '{"type":"status"}' }, /no list: the stream has ended/],
    ['replay', { increment: () => [200, '{"appliedPoints":1,"replayed":false}'] }, /counted a second time/],
    ['replay', { increment: (time) => [200, `{"appliedPoints":${time},"replayed":true}`] }, /another answer/],
    ['increment', { increment: () => [200, '{}'] }, /no answer to an increment/],
  ];
  for (const [name, wrong, said] of cases) {
    const result = await smoke(await pretender(wrong), { args });
    assert.equal(result.status, 1, result.stdout);
    assert.match(checks(result)[name][1], said);
    assert.equal(checks(result)[name][0], false);
  }
});

test('what is not there, or never answers, fails in time', async () => {
  const mute = net.createServer((socket) => { socket.on('error', () => {}); });
  const away = net.createServer();
  const gone = await listening(away);
  away.close();
  const [silent, nobody, unready, endless, quiet] = await Promise.all([smoke(`http://127.0.0.1:${await listening(mute)}`), smoke(`http://127.0.0.1:${gone}`),
    smoke(await pretender({ ready: () => [503, '{"error":{"code":"UNAVAILABLE","message":"The database is not reached."}}'] })),
    smoke(await pretender({ event: () => ': nothing\n\n' })), smoke('http://name.invalid')]);
  for (const [result, name, said] of [[silent, 'ready', /not in time/], [nobody, 'ready', /refused/], [unready, 'ready', /^503 in place of 200 UNAVAILABLE: The database/],
    [endless, 'events', /no list: reading: not in time/], [quiet, 'ready', /name\.invalid: /]]) {
    assert.equal(result.status, 1);
    assert.equal(checks(result)[name][0], false);
    assert.match(checks(result)[name][1], said);
  }
});

test('what it is told wrongly is refused with a sentence', async () => {
  const empty = await file('\n');
  for (const [url, args, said, environment] of [['board.test', [], /--smoke/], ['ftp://board.test', [], /--smoke/], ['http://', [], /--smoke/], ['http://x:0', [], /--smoke/],
    ['http://x:99999', [], /--smoke/], ['http://me@x', [], /--smoke/], ['http://x/?board=y', [], /--smoke/], ['http://x y', [], /--smoke/], ['http://[::1', [], /--smoke/],
    ['http://x', ['--smoke-token-file', '/nowhere'], /\/nowhere/], ['http://x', ['--smoke-token-file', empty], /nothing in it/],
    ['http://x', ['--smoke-action-file', await file('{}')], /wants a token/], ['http://x', [], /the token for --smoke is none/, { SCOREBOARD_SMOKE_TOKEN: 'a b' }],
    ['http://x', ['--smoke-token', 'x'], /"--smoke-token" is no flag/]]) {
    const result = await smoke(url, { args, environment });
    assert.equal(result.status, 2, `${url} ${args}`);
    assert.match(result.stderr, said);
    assert.match(result.stderr, /^scoreboard-bridge: [^\n]+\n$/);
    assert.equal(result.stdout, '');
  }
});
