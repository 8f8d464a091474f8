/*
 * Under a service manager: readiness, watchdog, and sockets that were open before the bridge was there.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, ask } from './clients.mjs';
import { scrape } from './scraping.mjs';

const MANAGER = new URL('./manager.pl', import.meta.url).pathname;

let cluster;

before(async () => { cluster = await startCluster(); });
after(() => cluster?.stop());

/* A free port, which a manager may open. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.on('listening', resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

/* A bridge and what it has told: heard() are the datagrams. */
async function managed(settings = [], { sockets = '', notify, environment, ...how } = {}) {
  const name = randomBytes(6).toString('hex');
  const file = join(cluster.directory, `heard-${name}`);
  const under = ['perl', MANAGER, file, notify ?? join(cluster.directory, name), sockets];
  const bridge = await startBridge(cluster, settings, { ...how, under, environment });
  bridge.heard = async () => (await readFile(file, 'utf8').catch(() => '')).split('\n').slice(0, -1);
  bridge.hears = (what) => until(`${what} to be told`, async () => (await bridge.heard()).includes(what));
  return bridge;
}

test('it says once that it is ready, what it is doing, and that it ends', async () => {
  const bridge = await managed();
  await bridge.hears('READY=1');
  await bridge.hears('STATUS=live');
  assert.equal(await bridge.stop(), 0);
  await bridge.hears('STOPPING=1');
  const heard = await bridge.heard();
  assert.equal(heard.filter((line) => line === 'READY=1').length, 1);
  assert.ok(heard.indexOf('READY=1') < heard.indexOf('STOPPING=1'));
  assert.ok(!heard.includes('WATCHDOG=1'), 'which nobody has asked for');
});

test('a name without a file does as well', async () => {
  const bridge = await managed([], { notify: `@scoreboard-${randomBytes(6).toString('hex')}` });
  await bridge.hears('READY=1');
  assert.equal(await bridge.stop(), 0);
});

test('a manager that has gone, and a name that is none, disturb nobody', async () => {
  for (const NOTIFY_SOCKET of ['/nowhere/at/all', '@', 'x', '', `/${'x'.repeat(200)}`]) {
    const bridge = await startBridge(cluster, [], { environment: { NOTIFY_SOCKET, WATCHDOG_USEC: '20000' } });
    assert.equal((await ask(bridge, '/health')).status, 200);
    assert.equal(await bridge.stop(), 0);
  }
});

test('without its database it is ready all the same, and says what is missing', async () => {
  await cluster.shutdown();
  const bridge = await managed([], { ready: false });
  await bridge.hears('READY=1');
  assert.ok((await bridge.heard()).some((line) => line.startsWith('STATUS=without its database')));
  assert.equal((await ask(bridge, '/ready')).status, 503);
  await cluster.start();
  await bridge.hears('STATUS=live');
  assert.equal(await bridge.stop(), 0);
});

test('the watchdog is fed as long as the loop runs, and by nobody else', async () => {
  const bridge = await managed([], { environment: { WATCHDOG_USEC: '200000' } });
  const fed = async () => (await bridge.heard()).filter((line) => line === 'WATCHDOG=1').length;
  await until('it to be fed', async () => await fed() >= 3);
  bridge.child.kill('SIGSTOP');
  /* What is under way arrives; then nothing more does, for the time in which it would be missed. */
  let last = await fed();
  let since = performance.now();
  await until('it to stay hungry', async () => {
    const now = await fed();
    if (now !== last) [last, since] = [now, performance.now()];
    return performance.now() - since > 400;
  });
  bridge.child.kill('SIGCONT');
  await until('it to be fed again', async () => await fed() > last);
  assert.equal(await bridge.stop(), 0);
  const other = await managed([], { environment: { WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' } });
  await other.hears('READY=1');
  assert.equal(await other.stop(), 0);
  await other.hears('STOPPING=1');
  assert.ok(!(await other.heard()).includes('WATCHDOG=1'));
});

test('sockets of the manager are taken in place of its own', async () => {
  const [port, metrics] = [await freePort(), await freePort()];
  /* Its own would be refused: an address that nobody has. */
  const bridge = await managed(['--listen', '203.0.113.1:1'], { sockets: `http=${port},metrics=${metrics}`, ready: false });
  assert.equal(bridge.port, port);
  await until('it to be ready', async () => (await ask(bridge, '/ready')).status === 200);
  assert.equal(bridge.log.find(({ msg }) => msg === 'listening for scrapers').port, metrics);
  assert.ok((await scrape(bridge)).types.has('scoreboard_bridge_live'));
  assert.equal((await fetch(`http://127.0.0.1:${metrics}/health`)).status, 404);
  assert.equal((await ask(bridge, '/metrics')).status, 404);
  assert.equal(await bridge.stop(), 0);
});

test('sockets that are meant for another are left alone', async () => {
  const port = await freePort();
  const bridge = await managed([], { sockets: `http=${port}`, environment: { LISTEN_PID: '1' } });
  assert.notEqual(bridge.port, port);
  assert.equal((await ask(bridge, '/health')).status, 200);
  assert.equal(await bridge.stop(), 0);
});

test('a descriptor that is no listening socket is named', () => {
  for (const sockets of ['http=closed', 'metrics=closed', 'http=0,http=closed']) {
    const { status, stderr } = spawnSync('perl', [MANAGER, '/dev/null', `@scoreboard-${randomBytes(6).toString('hex')}`, sockets, process.env.BRIDGE],
      { encoding: 'utf8', env: { PATH: process.env.PATH } });
    assert.equal(status, 1, stderr);
    assert.match(stderr, new RegExp(`^scoreboard-bridge: LISTEN_FDS: descriptor ${sockets.includes(',') ? 4 : 3} is no listening stream socket$`, 'm'));
  }
});

test('who comes before the bridge is served by it', async () => {
  const port = await freePort();
  const under = managed([], { sockets: `http=${port}`, ready: false, environment: {} });
  /* The manager's socket is there before the bridge is: a connection to it waits. */
  const early = await until('the port to be open', () => new Promise((resolve) => {
    const raw = new Raw({ port });
    raw.socket.once('connect', () => resolve(raw)).once('error', () => resolve(null));
  }));
  early.send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await early.answer()).status, 200);
  early.close();
  const bridge = await under;
  assert.equal(bridge.port, port);
  assert.equal(await bridge.stop(), 0);
});
