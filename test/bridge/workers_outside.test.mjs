/*
 * Several workers under a service manager, on unix sockets and behind TLS: whoever stands outside sees one bridge.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { startCluster, until } from '../lib/cluster.mjs';
import { Authority } from './certificates.mjs';
import { UNLIMITED, openSocket } from './clients.mjs';
import { scrape } from './scraping.mjs';
import { atWorker, killWorker, once_, pids, startWorkers } from './working.mjs';

const MANAGER = new URL('./manager.pl', import.meta.url).pathname;

let cluster;
let directory;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'workers-'));
});

after(async () => {
  await cluster?.stop();
  await rm(directory, { recursive: true, force: true });
});

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/* Two workers below a service manager; heard() is what it was told. */
async function managed(settings = [], { sockets = '', ...how } = {}) {
  const name = join(directory, randomBytes(6).toString('hex'));
  const bridge = await startWorkers(cluster, settings, { ...how, under: ['perl', MANAGER, `${name}.heard`, name, sockets] });
  bridge.heard = async () => (await readFile(`${name}.heard`, 'utf8').catch(() => '')).split('\n').slice(0, -1);
  bridge.hears = (what) => until(`${what} to be told`, async () => (await bridge.heard()).includes(what));
  return bridge;
}

/* Nothing new of this kind is told for so long. */
async function staysSilent(bridge, what, ms) {
  const count = async () => (await bridge.heard()).filter((line) => line === what).length;
  let last = await count();
  let since = performance.now();
  await until(`no more ${what}`, async () => {
    const now = await count();
    if (now !== last) [last, since] = [now, performance.now()];
    return performance.now() - since > ms;
  });
  return last;
}

/* ---- a service manager ---- */

test('the main process says once that all are ready, what they do, and that they end', async () => {
  const bridge = await managed();
  await bridge.hears('READY=1');
  await bridge.hears('STATUS=live');
  await killWorker(bridge, 1);
  await bridge.hears('STATUS=a worker has died and is being started again');
  await until('it to be live again', async () => (await bridge.heard()).at(-1) === 'STATUS=live');
  assert.equal(await bridge.stop(), 0);
  await bridge.hears('STOPPING=1');
  assert.equal((await bridge.heard()).filter((line) => line === 'READY=1').length, 1);
});

test('it is not ready before the last of them is', async (t) => {
  await cluster.shutdown();
  const bridge = await managed([], { ready: false });
  t.after(() => bridge.stop());
  const last = pids(bridge)[1];
  process.kill(last, 'SIGSTOP');
  await cluster.start();
  await until('the other one to be ready', () => bridge.log.some(({ worker, msg }) => worker === 1 && msg === 'listening to the database'));
  assert.equal(await staysSilent(bridge, 'READY=1', 500), 0);
  process.kill(last, 'SIGCONT');
  await bridge.hears('READY=1');
});

test('the watchdog is fed while all of them answer, or are being started again', async (t) => {
  const bridge = await managed([], { environment: { WATCHDOG_USEC: '400000' } });
  t.after(() => bridge.stop());
  const fed = async () => (await bridge.heard()).filter((line) => line === 'WATCHDOG=1').length;
  await until('it to be fed', async () => await fed() >= 3);
  for (const index of [0, 1]) {
    const pid = pids(bridge)[index];
    process.kill(pid, 'SIGSTOP');
    const last = await staysSilent(bridge, 'WATCHDOG=1', 1000);
    process.kill(pid, 'SIGCONT');
    await until('it to be fed again', async () => await fed() > last);
  }
  const before = await fed();
  await killWorker(bridge, 0);
  await until('it to be fed all the same', async () => await fed() > before + 2);
});

test('sockets of the manager are taken by all of them', async (t) => {
  const [port, metrics] = [await freePort(), await freePort()];
  const bridge = await managed(['--listen', '203.0.113.1:1'], { sockets: `http=${port},metrics=${metrics}` });
  t.after(() => bridge.stop());
  assert.equal(bridge.port, port);
  for (const index of [0, 1]) assert.equal((await atWorker(bridge, index, () => once_(bridge, '/v1/leaderboard/top'))).status, 200);
  assert.equal((await scrape(bridge)).samples.get('scoreboard_bridge_workers'), 2);
  await killWorker(bridge, 0);
  for (const index of [0, 1]) assert.equal((await atWorker(bridge, index, () => once_(bridge, '/v1/leaderboard/top'))).status, 200);
});

/* ---- a unix socket ---- */

test("a unix socket is all workers', and its file outlives any of them", async () => {
  const socketPath = join(directory, 'bridge.sock');
  const bridge = await startWorkers(cluster, ['--listen', `unix:${socketPath}`], { ready: false });
  const ask = () => once_(bridge, '/v1/leaderboard/top', { socketPath });
  await until('the lists', async () => (await ask()).status === 200);
  await killWorker(bridge, 0);
  assert.ok(existsSync(socketPath));
  for (const index of [0, 1]) assert.equal((await atWorker(bridge, index, ask)).status, 200);
  process.kill(pids(bridge)[0], 'SIGTERM');
  await until('its end', () => bridge.log.some(({ msg }) => msg === 'worker ended'));
  assert.equal((await ask()).status, 200);
  assert.equal(await bridge.stop(), 0);
  assert.ok(!existsSync(socketPath));
});

/* ---- TLS ---- */

/* A handshake at this worker; its session can be resumed. (One of TLS 1.2 that is resumed itself brings no new one.) */
async function session(bridge, index, options = {}) {
  return atWorker(bridge, index, async () => {
    const socket = tls.connect({ port: bridge.port, host: '127.0.0.1', ca: bridge.tls.ca, ...options });
    socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.resume();
    const [ticket] = await once(socket, options.session ? 'secureConnect' : 'session');
    const found = { ticket, resumed: socket.isSessionReused(), name: socket.getPeerCertificate().subject?.CN };
    socket.destroy();
    return found;
  });
}

test('sessions are resumed at any worker, also after SIGHUP has replaced the certificate at all of them', async (t) => {
  const authority = await new Authority(directory).start();
  const [first, second] = [await authority.server('first'), await authority.server('second')];
  const used = { certificate: authority.file('used.crt'), key: authority.file('used.key'), ca: authority.root };
  const use = (one) => { copyFileSync(one.certificate, used.certificate); copyFileSync(one.key, used.key); };
  use(first);
  const bridge = await startWorkers(cluster, [], { tls: used });
  t.after(() => bridge.stop());
  const replaced = () => bridge.log.filter(({ msg, worker }) => msg === 'certificate replaced' && worker).length;
  for (const [name, version] of [['first', 'TLSv1.3'], ['second', 'TLSv1.3'], ['second', 'TLSv1.2']]) {
    const only = { minVersion: version, maxVersion: version };
    if (name === 'second' && version === 'TLSv1.3') {
      use(second);
      bridge.child.kill('SIGHUP');
      await until('both to have it', () => replaced() === 2);
    }
    const at0 = await session(bridge, 0, only);
    assert.deepEqual([at0.resumed, at0.name], [false, name]);
    const at1 = await session(bridge, 1, { ...only, session: at0.ticket });
    assert.ok(at1.resumed, `${version}, ${name}, at the other one`);
    const back = await session(bridge, 1, only);
    assert.deepEqual([back.resumed, back.name], [false, name]);
    assert.ok((await session(bridge, 0, { ...only, session: back.ticket })).resumed, `${version}, ${name}, and back`);
  }
  /* One that is started later has the certificate and the keys of the others, whatever stands in the file by then. */
  const kept = await session(bridge, 1);
  copyFileSync('/dev/null', used.certificate);
  await killWorker(bridge, 0);
  assert.ok((await session(bridge, 0, { session: kept.ticket })).resumed);
  assert.equal((await session(bridge, 0)).name, 'second');
  /* A bad one changes nothing anywhere. */
  bridge.child.kill('SIGHUP');
  await until('it to be refused', () => bridge.log.filter(({ msg }) => msg === 'certificate not replaced').length === 3);
  for (const index of [0, 1]) assert.equal((await session(bridge, index)).name, 'second');
  (await openSocket(bridge)).close();
});
