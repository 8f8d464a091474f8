/*
 * Which server the bridge talks to: hosts in their turn, names looked up while everybody else is served, the one that can be written to.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, assertAlive, assertError, award, increment, messageOf, openSocket, published } from './clients.mjs';
import { DatabaseProxy, deafPort } from './proxy.mjs';

const run = promisify(execFile);
const QUICK = ['--reconnect-max', '200ms', '--submit-timeout', '2s', '--database-timeout', '2s', '--look-interval', '200ms'];

/* What listens at an address of our own can't meet another test's. */
const ADDRESS = `127.${randomBytes(3).map((byte) => 1 + byte % 250).join('.')}`;

let cluster;
let names;
let preload;

before(async () => {
  cluster = await startCluster({ ...UNLIMITED, listen_addresses: ADDRESS });
  names = join(cluster.directory, 'names');
  preload = join(cluster.directory, 'resolver.so');
  await run('gcc', ['-shared', '-fPIC', '-o', preload, new URL('resolver.c', import.meta.url).pathname, '-ldl']);
});

after(() => cluster?.stop());

/* Starts whatever a test needs and ends it with the test. */
async function keep(t, starting) {
  const thing = await starting;
  t.after(() => thing.stop());
  return thing;
}

const bridgeTo = (t, database, { args = QUICK, ...how } = {}) => keep(t, startBridge(cluster, ['--database', database, ...args], { ready: false, ...how }));

const isReady = async (bridge) => (await ask(bridge, '/ready')).status === 200;

/* Waits until increments are counted; the answer. */
const works = (bridge, user) => until(`${user}'s increment`, async () => {
  const answer = await increment(bridge, cluster, user);
  return answer.status === 200 && answer.json;
});

/* Hosts and their ports as libpq takes lists. */
const list = (...ends) => `host=${ends.map(({ address }) => address ?? '127.0.0.1')} port=${ends.map(({ port }) => port)} user=test_bridge dbname=scoreboard`;

/* The file is replaced as a whole, since the bridge may be reading it. */
async function nameServer(line) {
  await writeFile(`${names}.new`, `${line}\n`);
  await rename(`${names}.new`, names);
}

const withNames = () => ({ environment: { LD_PRELOAD: preload, NAMES: names, ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:verify_asan_link_order=0` } });

test('a host that drops every packet stands before the one that lives', async (t) => {
  const deaf = await keep(t, deafPort());
  const proxy = await keep(t, DatabaseProxy.start(cluster));
  const bridge = await bridgeTo(t, list(deaf, proxy));
  await until('readiness', () => isReady(bridge));
  await works(bridge, 'ann');
});

test('a host that takes connections and says nothing stands before the one that lives', async (t) => {
  const mute = await keep(t, DatabaseProxy.start(cluster));
  mute.mute = true;
  const proxy = await keep(t, DatabaseProxy.start(cluster));
  const bridge = await bridgeTo(t, list(mute, proxy));
  await until('readiness', () => isReady(bridge));
  await works(bridge, 'bea');
});

test('each time a host falls silent the other is found, and clients stay connected', async (t) => {
  const ends = [await keep(t, DatabaseProxy.start(cluster)), await keep(t, DatabaseProxy.start(cluster))];
  const bridge = await bridgeTo(t, list(...ends));
  await until('readiness', () => isReady(bridge));
  const stream = await openSocket(bridge);
  let score = 1000;
  for (const [silent, other] of [ends, [...ends].reverse(), ends]) {
    other.mute = false;
    silent.mute = true;
    silent.freeze();
    const before = other.opened;
    await until('a connection to the other', () => other.opened > before);
    await until('readiness', () => isReady(bridge));
    await works(bridge, 'cid');
    await award(cluster, 'cora', ++score);
    score = Number(await cluster.sql("SELECT score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = 'cora'"));
    await stream.receives(messageOf(await published(cluster, 'cora', score)));
    silent.cut();
  }
  assert.equal(stream.closed, null);
  stream.close();
});

test('a server whose list is late, and which answers others, is not left', async (t) => {
  const ends = [await keep(t, DatabaseProxy.start(cluster)), await keep(t, DatabaseProxy.start(cluster))];
  const bridge = await bridgeTo(t, list(...ends), { args: ['--look-interval', '200ms'] });
  await until('readiness', () => isReady(bridge));
  const stream = await openSocket(bridge);
  const late = ends[0].hold(/documents/);
  await late.catches();
  const seen = stream.statuses.length;
  await until('old lists', async () => {
    await works(bridge, 'cleo');
    return stream.statuses.slice(seen).some(({ live }) => !live);
  });
  assert.equal(ends[1].opened, 0);
  late.release();
  await until('new lists', () => stream.statuses.at(-1).live);
  assert.equal(ends[1].opened, 0);
  stream.close();
});

test('every address of a name has its turn', async (t) => {
  const proxy = await keep(t, DatabaseProxy.start(cluster));
  const deaf = await keep(t, deafPort({ address: '127.0.0.2', port: proxy.port }));
  await nameServer('db.test 127.0.0.2 127.0.0.1');
  const bridge = await bridgeTo(t, list({ address: 'db.test', port: deaf.port }), withNames());
  await until('readiness', () => isReady(bridge));
  await works(bridge, 'dan');
});

test('while a name is being looked up everybody else is served', async (t) => {
  const proxy = await keep(t, DatabaseProxy.start(cluster));
  await nameServer('db.test wait');
  t.after(() => nameServer('db.test')); /* before the bridge's end, which waits for it */
  const bridge = await bridgeTo(t, list({ address: 'db.test', port: proxy.port }), withNames());
  await assertAlive(bridge);
  assertError(await ask(bridge, '/ready'), 503, 'UNAVAILABLE');
  await nameServer('db.test 127.0.0.1');
  await until('readiness', () => isReady(bridge));
  const { score } = await works(bridge, 'eli');
  const known = await published(cluster, 'eli', score);
  await until('the list', async () => (await ask(bridge, '/v1/leaderboard/top')).text === known);
  await nameServer('db.test wait');
  proxy.cut();
  await until('the loss', async () => !await isReady(bridge));
  assert.equal((await ask(bridge, '/v1/leaderboard/top')).text, known);
  const moved = await keep(t, DatabaseProxy.start(cluster, { address: '127.0.0.3', port: proxy.port }));
  await proxy.shut();
  await nameServer('db.test 127.0.0.3');
  await until('readiness', () => isReady(bridge));
  assert.ok(moved.opened > 0);
});

test('a bridge ends while a name is being looked up', async (t) => {
  await nameServer('db.test wait');
  t.after(() => nameServer('db.test')); /* before the bridge's end, which waits for it */
  const bridge = await bridgeTo(t, list({ address: 'db.test', port: 5432 }), withNames());
  bridge.child.kill('SIGTERM');
  await until('its end to begin', async () => bridge.log.some(({ msg }) => /end|signal|stop|drain/.test(msg)));
  await nameServer('db.test');
  assert.equal(await bridge.ended, 0);
});

test('a name without an address leads to the next', async (t) => {
  const proxy = await keep(t, DatabaseProxy.start(cluster));
  await nameServer('db.test');
  const bridge = await bridgeTo(t, list({ address: 'db.test', port: proxy.port }, proxy), withNames());
  await until('readiness', () => isReady(bridge));
});

test('the certificate is held against the name, not the address', async (t) => {
  const [key, certificate] = ['server.key', 'server.crt'].map((file) => join(cluster.data, file));
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', certificate,
    '-subj', '/CN=db.test', '-addext', 'subjectAltName=DNS:db.test']);
  await cluster.sql('ALTER SYSTEM SET ssl = on');
  await cluster.sql('SELECT pg_reload_conf() \\g /dev/null');
  await until('TLS', async () => await cluster.sql('SHOW ssl') === 'on');
  await nameServer(`db.test ${ADDRESS}`);
  const tls = `user=test_bridge dbname=scoreboard sslmode=verify-full sslrootcert=${certificate}`;
  const bridge = await bridgeTo(t, `host=db.test ${tls}`, withNames());
  await until('readiness', () => isReady(bridge));
  const backends = await cluster.sql("SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'test_bridge' AND ssl");
  assert.ok(Number(backends) > 0);
  await nameServer(`other.test ${ADDRESS}`);
  const lost = await bridgeTo(t, `host=other.test ${tls}`, withNames());
  await until('a complaint', () => lost.log.some(({ reason }) => /certificate/.test(reason ?? '')));
  assertError(await ask(lost, '/ready'), 503, 'UNAVAILABLE');
});

test('without --database what libpq reads from its environment and its service file decides', async (t) => {
  const deaf = await keep(t, deafPort());
  const byVariables = await bridgeTo(t, '', {
    environment: { PGHOST: `127.0.0.1,${cluster.directory}`, PGPORT: `${deaf.port},5432`, PGUSER: 'test_bridge', PGDATABASE: 'scoreboard' } });
  await until('readiness', () => isReady(byVariables));
  const file = join(cluster.directory, 'services');
  await writeFile(file, `[board]\nhost=127.0.0.1,${cluster.directory}\nport=${deaf.port},5432\nuser=test_bridge\ndbname=scoreboard\n`);
  const byService = await bridgeTo(t, '', { environment: { PGSERVICE: 'board', PGSERVICEFILE: file } });
  await until('readiness', () => isReady(byService));
  const byUri = await bridgeTo(t, `postgresql://test_bridge@127.0.0.1:1,${ADDRESS}:5432/scoreboard?connect_timeout=2`);
  await until('readiness', () => isReady(byUri));
});

test("the server's list of connections tells who each bridge is", async (t) => {
  const proxy = await keep(t, DatabaseProxy.start(cluster));
  const bridge = await bridgeTo(t, proxy.conninfo());
  await until('readiness', () => isReady(bridge));
  await works(bridge, 'fay');
  for (const { startup } of proxy.carried) assert.match(startup.application_name, /^scoreboard-bridge \S+ \S+:\d+$/);
  const named = await keep(t, DatabaseProxy.start(cluster));
  const another = await bridgeTo(t, named.conninfo('application_name=mine'));
  await until('readiness', () => isReady(another));
  for (const { startup } of named.carried) assert.equal(startup.application_name, 'mine');
});

/* Where the names stand decides which one is asked first; where the bridge ends up must not depend on it. */
test('a standby, a primary, a promotion: what can be written to is found', async (t) => {
  const standby = await keep(t, cluster.standby());
  const [toStandby, toPrimary] = [await keep(t, DatabaseProxy.start(standby)), await keep(t, DatabaseProxy.start(cluster))];
  const bridges = [];
  for (const attributes of ['read-write', 'primary', 'any', 'prefer-standby']) {
    const bridge = await bridgeTo(t, `${list(toStandby, toPrimary)} target_session_attrs=${attributes}`);
    await until(`readiness with ${attributes}`, () => isReady(bridge));
    await works(bridge, `gil-${attributes}`);
    bridges.push(bridge);
  }
  const streams = await Promise.all(bridges.map((bridge) => openSocket(bridge)));
  await award(cluster, 'gus', 50000);
  await published(standby, 'gus', 50000);
  await cluster.shutdown();
  await standby.control('promote');
  for (const bridge of bridges) await works(bridge, 'hob');
  await award(standby, 'ida', 60000);
  const message = messageOf(await published(standby, 'ida', 60000));
  for (const stream of streams) await stream.receives(message);
  streams.forEach((stream) => stream.close());
});
