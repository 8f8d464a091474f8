/*
 * Behind proxies that share their connections to the bridge among all their clients: nobody ever gets an answer to somebody else's
 * request, whatever a third client tries; and streams pass.
 *
 * HAProxy with http-reuse always and nginx with a keep-alive upstream, as private processes. Both are told to let through what they would
 * usually refuse or drop, as far as they can be, since it is the bridge that is tested.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, assertAlive, award, inParallel, openEvents, openSocket, published, rawIncrement } from './clients.mjs';

const SHARED = 4; /* connections to the bridge */

const haproxy = (port, behind) => `
global
  maxconn 2000
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout queue 60s
  timeout tunnel 1h
  option http-keep-alive
  option forwardfor
  option accept-invalid-http-request
  http-reuse always
frontend players
  bind 127.0.0.1:${port}
  acl stream path /v1/leaderboard/stream
  use_backend streams if stream
  default_backend requests
backend requests
  server bridge 127.0.0.1:${behind} maxconn ${SHARED}
backend streams
  server bridge 127.0.0.1:${behind}
`;

const nginx = (port, behind, directory) => `
daemon off;
worker_processes 1;
pid ${directory}/pid;
error_log stderr crit;
events { worker_connections 2000; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  ignore_invalid_headers off;
  underscores_in_headers on;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream bridge { server 127.0.0.1:${behind}; keepalive ${SHARED}; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://bridge;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_next_upstream off;
    }
  }
}
`;

const programs = {
  HAProxy: { settings: haproxy, command: 'haproxy', options: (file) => ['-db', '-f', file] },
  nginx: { settings: nginx, command: 'nginx', options: (file, directory) => ['-p', directory, '-e', 'stderr', '-c', file] },
};

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function startProxy(name, bridge, directory) {
  const { settings, command, options } = programs[name];
  const port = await freePort();
  const file = join(directory, 'settings');
  await writeFile(file, settings(port, bridge.port, directory));
  /* Where packages of Debian put servers, which an account's path may leave out. */
  const child = spawn(command, options(file, directory), { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }, stdio: ['ignore', 'ignore', 'pipe'] });
  const proxy = { name, port, url: `http://127.0.0.1:${port}`, child, said: '' };
  child.stderr.on('data', (data) => { proxy.said += data; });
  child.on('error', (error) => { proxy.said += error.message; });
  const ended = once(child, 'close').then(() => true, () => true);
  proxy.stop = async () => { child.kill('SIGTERM'); await ended; };
  let over = false;
  ended.then(() => { over = true; });
  await until(`${name} to listen`, async () => over || (await fetch(`${proxy.url}/health`).catch(() => ({ ok: false }))).ok);
  assert.ok(!over, `${name} ended: ${proxy.said}`);
  return proxy;
}

let cluster;
let bridge;
let directory;
const proxies = {};

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--trusted-proxy', '127.0.0.1', '--max-connections-per-address', '2000', '--head-timeout', '20s', '--body-timeout', '20s']);
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'proxies-'));
  for (const name of Object.keys(programs)) proxies[name] = await startProxy(name, bridge, await mkdtemp(join(directory, 'one-')));
  await Promise.all(Array.from({ length: 10 }, (_, i) => award(cluster, `listed-${i}`, 1000000 + i)));
  await published(cluster, 'listed-9', 1000009);
});

after(async () => {
  await Promise.all(Object.values(proxies).map((proxy) => proxy.stop()));
  if (directory) await rm(directory, { recursive: true, force: true });
  await bridge?.stop();
  await cluster?.stop();
});

test('whose a request is the bridge knows from either proxy, whatever its client says of it', async () => {
  for (const [i, proxy] of Object.values(proxies).entries()) {
    const address = `127.0.0.${20 + i}`;
    const raw = new Raw(proxy, { localAddress: address });
    for (const said of [{}, { 'X-Forwarded-For': '203.0.113.1' }, { 'X-Forwarded-For': ['203.0.113.1, 127.0.0.1', 'garbage'] }]) {
      const own = randomBytes(6).toString('hex');
      assert.equal((await raw.send(rawIncrement(cluster, proxy.name, { headers: { ...said, 'X-Request-Id': own } })).answer()).status, 200);
      assert.equal(await cluster.sql("SELECT client_address FROM scoreboard.action WHERE request_id = :'own'", { own }), address, `${proxy.name} ${JSON.stringify(said)}`);
    }
    raw.close();
  }
});

/* How many connections the bridge has from a proxy (its clients' sides are the others'). */
async function shared() {
  const port = bridge.port.toString(16).toUpperCase().padStart(4, '0');
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  return lines.filter(([, local, , state]) => local?.endsWith(`:${port}`) && state === '01').length;
}

const id = (what) => `${what}-${randomBytes(6).toString('hex')}`;

/* One client's own requests, each with an answer that nobody else's request has. */
const questions = [
  (user, own) => ({ bytes: `GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${own}\r\n\r\n`, check: ({ json }) => json.status === 'ok' }),
  (user, own, n) => ({
    bytes: `GET /v1/leaderboard/top?limit=${1 + (n % 10)} HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${own}\r\n\r\n`,
    check: ({ status, json }) => status === 200 && json.entries.length === 1 + (n % 10),
  }),
  (user, own, n) => ({
    bytes: `GET /v1/nowhere/${own} HTTP/1.1\r\nX-Request-Id: ${own}\r\nHost: x\r\nCookie: ${'c'.repeat(n * 30)}\r\n\r\n`,
    check: ({ status, json }) => status === 404 && json.error.requestId === own,
  }),
  (user, own) => ({
    bytes: rawIncrement(cluster, user, { headers: { 'X-Request-Id': own, 'Idempotency-Key': `key-${own}` } }),
    check: ({ status, json, headers }) => status === 200 && json.userId === user && headers['idempotency-key'] === `key-${own}`,
  }),
  (user, own) => ({
    bytes: rawIncrement(cluster, user, { body: '{', headers: { 'X-Request-Id': own, 'Idempotency-Key': `key-${own}` } }),
    check: ({ status, json, headers }) => status === 400 && json.error.requestId === own && headers['idempotency-key'] === `key-${own}`,
  }),
];

/* A proxy may end a connection between two requests; it may not answer with what isn't ours. */
async function play(proxy, user, goOn) {
  let raw = new Raw(proxy);
  let actions = 0;
  for (let n = 0; goOn(n); n++) {
    const own = id(user);
    const { bytes, check } = questions[n % questions.length](user, own, n);
    if (raw.ended) raw = new Raw(proxy);
    const answer = await raw.send(bytes).answer();
    assert.equal(answer?.headers['x-request-id'], own, `${user} asked ${JSON.stringify(bytes.toString('latin1').slice(0, 80))}, and got ${answer?.status} ${answer?.text}`);
    assert.ok(check(answer), `${user}: ${answer.status} ${answer.text}`);
    if (answer.json.userId) actions++;
  }
  raw.close();
  return actions;
}

/* What is hidden: one that is answered at once, or one whose answer comes when the connection has been given to the next client already (see hold). */
const hiddenRead = () => `GET /v1/leaderboard/top?limit=1 HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${id('smuggled')}\r\n\r\n`;
const hiddenAction = () => rawIncrement(cluster, 'smuggler', { headers: { 'X-Request-Id': id('smuggled') } }).toString('latin1');

/* Requests that hide another one. Whoever reads the hidden one as a request of its own has its answer left over, for the next client. */
function attacks(inner) {
  const length = `Content-Length: ${inner.length}`;
  const chunked = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`;
  const post = (lines, body, path = '/v1/scores/increment') => [`POST ${path} HTTP/1.1`, 'Host: x', ...lines, '', body].join('\r\n');
  const get = (lines, body) => ['GET /health HTTP/1.1', 'Host: x', ...lines, '', body].join('\r\n');
  const before = ['A: b', 'X: b', 'Ho: b', 'Content: b', 'T: b', 'Sec: b', 'X-Auth: b', 'Con: b', 'Content-L: b', 'A:', 'a: b', 'C: b', 'Transfer: b', 'Proxy: b', 'If: b'];
  return [
    ...before.map((line) => get([line, length], inner)), ...before.map((line) => post([line, length], inner)),
    ...before.map((line) => post([line, 'Transfer-Encoding: chunked'], chunked)),
    post([length, 'Transfer-Encoding: chunked'], chunked), post(['Transfer-Encoding: chunked', length], chunked), post(['Transfer-Encoding:', length], inner),
    post(['Transfer-Encoding: identity', length], inner), post(['Transfer-Encoding : chunked'], chunked), post(['Transfer-Encoding: xchunked', length], inner),
    post(['Transfer-Encoding:\x0bchunked', length], inner), post(['Transfer_Encoding: chunked', length], inner), post(['Transfer-Encoding: chunked', 'Transfer-Encoding: x'], chunked),
    get(['Content-Length : 5', length], inner), get([`Content-Length : ${inner.length}`], inner), get([`Content_Length: ${inner.length}`], inner), get([`Content-Length: +${inner.length}`], inner),
    get([`Content-Length: 0${inner.length}`], inner), get([`X: y\n${length}`], inner), get([`X: y\r${length}`], inner), get([`X: y\r\n ${length}`], inner), get([`X\0: y\r\n${length}`], inner),
    get([length, length], inner), get(['Content-Length: 0', length], inner), get([`Content-Length: ${inner.length}, 0`], inner), get([`${length}\r\nConnection: Content-Length`], inner),
    get(['Connection: close, Content-Length', length], inner), post(['Expect: 100-continue', length], inner), post([length], inner, '/nowhere'), post([length], inner, '/health'),
    ['HEAD /health HTTP/1.1', 'Host: x', length, '', inner].join('\r\n'), ['DELETE /v1/leaderboard/top HTTP/1.1', 'Host: x', length, '', inner].join('\r\n'),
    ['OPTIONS /health HTTP/1.1', 'Host: x', length, '', inner].join('\r\n'), ['GET /health HTTP/1.0', 'Connection: keep-alive', length, '', inner].join('\r\n'),
    get(['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 13', length], inner),
    get(['Upgrade: h2c', 'Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA', length], inner),
    get([`X-Request-Id: a\0b`, length], inner), `GET /health HTTP/1.1\r\nHost: x\r\n${length}\r\n\r\n${inner.slice(0, 20)}`, post([`Content-Length: ${inner.length + 500}`], inner),
  ];
}

/* While it lasts the smuggler's actions wait, a fifth of a second at most. */
async function hold(lasts) {
  await award(cluster, 'smuggler', 1);
  while (lasts()) await cluster.sql("BEGIN; SELECT FROM scoreboard.player WHERE user_id = 'smuggler' FOR UPDATE; SELECT pg_sleep(0.2) \\g /dev/null\nCOMMIT");
}

/* All of them, each on a connection of its own with another request behind it; some leave before their answer. */
async function attack(proxy, width) {
  const all = [hiddenRead, hiddenAction, hiddenRead, hiddenRead].flatMap((hidden) => attacks(hidden()));
  await inParallel(all, width, async (bytes, n) => {
    const raw = new Raw(proxy).send(Buffer.from(bytes, 'latin1')).send('GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    /* Not every one is answered: a proxy, or the bridge, waits for the rest of some. */
    for (let i = 0; i < 20 && !raw.ended && raw.received.length === 0; i++) await pause(5);
    if (n % 3) await new Promise(setImmediate);
    raw.close();
  });
}

for (const name of Object.keys(programs)) {
  test(`${name} in front: nobody gets an answer of somebody else, whatever others try`, async () => {
    const proxy = proxies[name];
    let attacked = false;
    let most = 0;
    const attackers = attack(proxy, 16).finally(() => { attacked = true; });
    const holding = hold(() => !attacked);
    const players = inParallel(Array.from({ length: 40 }), 40, async (_, i) => {
      const user = `${name.toLowerCase()}-${i}`;
      const actions = await play(proxy, user, (n) => n < 20 || !attacked);
      assert.equal(await cluster.sql("SELECT score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = :'user'", { user }), `${100 * actions}`);
      most = Math.max(most, await shared());
    });
    await Promise.all([attackers, players, holding]);
    assert.ok(most > 0 && (name !== 'HAProxy' || most <= 2 * SHARED), `${most} connections`);
    await assertAlive(bridge);
    assert.equal(proxy.child.exitCode, null);
    assert.ok(!bridge.log.some(({ level }) => level === 'error'), JSON.stringify(bridge.log.find(({ level }) => level === 'error')));
  });

  test(`${name} in front: its connections are used again`, async () => {
    const proxy = proxies[name];
    for (let i = 0; i < 20; i++) await play(proxy, `again-${i}`, (n) => n < 2);
    const left = await shared();
    assert.ok(left >= 1 && left <= 3 * SHARED, `${left} connections are kept`);
  });

  test(`${name} in front: WebSockets and event streams pass, and pass on each list`, async () => {
    const proxy = proxies[name];
    const streams = [await openSocket(proxy), await openEvents(proxy), await openSocket(proxy, { query: '?board=global' }), await openEvents(proxy, { query: '?board=global' })];
    for (let i = 1; i <= 5; i++) {
      await award(cluster, `streamed-${name}`, 2000000);
      const isNew = ({ type, entries }) => type === 'leaderboard.update' && entries.some(({ userId, score }) => userId === `streamed-${name}` && score === 2000000 * i);
      for (const stream of streams) await stream.later(0, isNew, `list ${i}`);
    }
    for (const stream of streams) {
      assert.equal(stream.closed, null);
      stream.close();
    }
  });

  test(`${name} in front: clients that leave in the middle leave nothing behind for others`, async () => {
    const proxy = proxies[name];
    let playing = true;
    const leaving = (async () => {
      for (let n = 0; playing; n++) {
        const bytes = rawIncrement(cluster, 'leaving', { headers: { 'X-Request-Id': id('left') } });
        const raw = new Raw(proxy).send(n % 2 ? bytes : bytes.subarray(0, -5));
        await until('the connection', () => !raw.socket.connecting);
        await new Promise(setImmediate);
        if (n % 3) raw.close();
        else raw.socket.resetAndDestroy();
      }
    })();
    try {
      await inParallel(Array.from({ length: 20 }), 20, (_, i) => play(proxy, `staying-${i}`, (n) => n < 25));
    } finally {
      playing = false;
      await leaving;
    }
    await assertAlive(bridge);
  });
}
