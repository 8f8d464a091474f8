/*
 * The command line and the environment: what is wrong is named, what is right is used.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { startBridge, startCluster } from '../lib/cluster.mjs';
import { ask } from './clients.mjs';

let cluster;

before(async () => { cluster = await startCluster(); });
after(() => cluster?.stop());

/* Runs the program to its end, which must come by itself. */
const run = (args, environment = {}) => new Promise((resolve) => {
  execFile(process.env.BRIDGE ?? 'scoreboard-bridge', args, { env: { PATH: process.env.PATH, ...environment }, timeout: 60000 },
    (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stdout, stderr }));
});

test('--help lists every setting with its variable and default', async () => {
  const { status, stdout } = await run(['--help']);
  assert.equal(status, 0);
  const flags = [...stdout.matchAll(/^ +--([a-z-]+) [A-Z]/gm)].map((match) => match[1]);
  for (const flag of ['listen', 'database', 'www', 'pool-size', 'max-connections-per-address', 'slow-timeout']) assert.ok(flags.includes(flag), flag);
  for (const flag of flags) assert.ok(stdout.includes(`SCOREBOARD_${flag.toUpperCase().replaceAll('-', '_')}`), flag);
  assert.equal(stdout.match(/Default: /g).length, flags.length);
});

test('--version tells one', async () => {
  const { status, stdout } = await run(['--version']);
  assert.equal(status, 0);
  assert.match(stdout, /^scoreboard-bridge \d+\.\d+/);
});

for (const [args, named] of [
  [['--colour', 'red'], '--colour'], [['listen'], 'listen'], [['--'], '--'], [['-v'], '-v'], [['--listen'], 'listen'],
  [['--pool-size', '0'], 'pool-size'], [['--pool-size', 'many'], 'pool-size'], [['--pool-size=65'], 'pool-size'], [['--pool-size', '4x'], 'pool-size'],
  [['--pool-size', ''], 'pool-size'], [['--pool-size', '99999999999999999999'], 'pool-size'],
  [['--slow-timeout', '5 s'], 'slow-timeout'], [['--slow-timeout', '-5s'], 'slow-timeout'], [['--slow-timeout', '10d'], 'slow-timeout'],
  [['--slow-timeout', '1ms'], 'slow-timeout'], [['--log-level', 'loud'], 'log-level'],
]) {
  test(`${args.join(' ') || 'nothing'} is refused by name`, async () => {
    const { status, stderr, stdout } = await run(args);
    assert.equal(status, 2);
    assert.ok(stderr.includes(named), stderr);
    assert.equal(stdout, '');
  });
}

test('a variable that is no good is refused by its name', async () => {
  const { status, stderr } = await run([], { SCOREBOARD_POOL_SIZE: 'many' });
  assert.equal(status, 2);
  assert.ok(stderr.includes('SCOREBOARD_POOL_SIZE'), stderr);
});

test('an address that cannot be used is named', async () => {
  for (const listen of ['127.0.0.1', '127.0.0.1:99999', '203.0.113.1:0', '[::1:80', '']) {
    const { status, stderr } = await run(['--listen', listen]);
    assert.equal(status, 1, listen);
    assert.ok(stderr.includes('cannot listen'), stderr);
  }
});

test('a directory of pages that is none is named', async () => {
  const { status, stderr } = await run(['--listen', '127.0.0.1:0', '--www', '/nowhere/at/all']);
  assert.equal(status, 1);
  assert.ok(stderr.includes('/nowhere/at/all'), stderr);
});

test('a variable is used, a flag wins over it', async () => {
  const environment = { SCOREBOARD_LISTEN: '127.0.0.1:1', SCOREBOARD_LOG_LEVEL: 'debug', SCOREBOARD_ALLOWED_ORIGINS: 'https://game.test' };
  const bridge = await startBridge(cluster, [], { environment });
  const answer = await ask(bridge, '/health', { headers: { origin: 'https://game.test' } });
  assert.equal(answer.headers.get('access-control-allow-origin'), 'https://game.test');
  assert.ok(bridge.log.some(({ level }) => level === 'debug'));
  assert.equal(await bridge.stop(), 0);
});

test("libpq's own variables name the database where no flag does", async () => {
  const { conninfo } = cluster;
  cluster.conninfo = () => '';
  try {
    const bridge = await startBridge(cluster, [], { environment: { PGHOST: cluster.directory, PGUSER: 'test_bridge', PGDATABASE: 'scoreboard' } });
    assert.equal((await ask(bridge, '/v1/leaderboard/top')).status, 200);
    await bridge.stop();
  } finally {
    cluster.conninfo = conninfo;
  }
});

test('it listens on several addresses, of IPv6 too', async (t) => {
  const bridge = await startBridge(cluster, ['--listen', '127.0.0.1:0,127.0.0.2:0,[::1]:0']).catch((error) => error);
  if (bridge instanceof Error) {
    t.skip('no IPv6 here');
    return;
  }
  const listening = bridge.log.filter(({ msg }) => msg === 'listening');
  assert.equal(listening.length, 3);
  for (const { address, port } of listening) {
    assert.equal((await fetch(`http://${address.includes(':') ? `[${address}]` : address}:${port}/health`)).status, 200);
  }
  await bridge.stop();
});
