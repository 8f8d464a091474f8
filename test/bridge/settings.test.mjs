/*
 * The command line and the environment: what is wrong is named, what is right is used.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { ask, inParallel } from './clients.mjs';

let cluster;

before(async () => { cluster = await startCluster(); });
after(() => cluster?.stop());

const STARTED = /"msg":"listening"/;

/* Runs the program to its end, which must come by itself. */
const run = (args, environment = {}) => new Promise((resolve) => {
  execFile(process.env.BRIDGE ?? 'scoreboard-bridge', args, { env: { PATH: process.env.PATH, ...environment }, timeout: 20000 },
    (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stdout, stderr }));
});

test('--help lists every setting with its variable and default', async () => {
  const { status, stdout } = await run(['--help']);
  assert.equal(status, 0);
  const flags = [...stdout.matchAll(/^ +--([a-z-]+) [A-Z[]/gm)].map((match) => match[1]);
  for (const flag of ['listen', 'database', 'www', 'pool-size', 'max-connections-per-address', 'slow-timeout', 'share-port']) assert.ok(flags.includes(flag), flag);
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
  [['--listen='], '--listen'], [['--log-level', ''], '--log-level'], [['--share-port=yes'], '--share-port'], [['--share-port='], '--share-port'],
  [['--share-port', 'on'], '"on"'], [['--polsize', '3'], '--pool-size'], [['--pool_size=3'], '--pool-size'], [['-www', '/'], '--www'],
  ...['127.0.0.1', '127.0.0.1:', ':', '127.0.0.1:99999', '127.0.0.1:http', '127.0.0.1:+1', '[::1:80', '::1:80', '[::1]', '[::1]80', '127.0.0.1:0,', ',',
    '127.0.0.1:0, 127.0.0.2:0', '127.0.0.1:65536', '127.0.0.1:000080', `${'h'.repeat(256)}:80`].map((value) => [['--listen', value], '--listen']),
  ...['game.test', 'https://', 'https://game.test/', 'https://game.test:443', 'http://game.test:80', 'https://game.test:', 'https://game.test:123456',
    'ftp://game.test', 'https://a.test, https://b.test', 'https://a.test,', ',', '**', 'https://*.game.test', 'https://me@game.test', 'null',
    'https://[::1', 'https://game.test?x'].map((value) => [['--allowed-origins', value], '--allowed-origins']),
  ...['127.0.0.1', '9464', '127.0.0.1:99999'].map((value) => [['--metrics-listen', value], '--metrics-listen']),
  ...['passwrd=x', 'host', "host='x", 'host=x port', 'postgresql://h/d?colour=red', 'postgres://[::1/d'].filter((value) => /[=/]/.test(value))
    .map((value) => [['--database', value], '--database']),
  [['--www', '/nowhere/at/all'], '/nowhere/at/all'], [['--www', '/etc/passwd'], '/etc/passwd'],
]) {
  test(`${args.join(' ') || 'nothing'} is refused by name`, async () => {
    const { status, stderr, stdout } = await run(['--listen', '127.0.0.1:0', ...args]);
    assert.equal(status, 2, stderr);
    assert.ok(stderr.includes(named), stderr);
    assert.match(stderr, /^scoreboard-bridge: [^\n]+\n$/, 'one sentence');
    assert.equal(stdout, '');
  });
}

test('what is right is taken', async () => {
  /* An address that nobody has ends each of them after the settings were read. */
  for (const args of [['--allowed-origins', '*'], ['--allowed-origins', 'https://Game.test:8443,http://[::1]:3000,http://localhost'], ['--allowed-origins', ''],
    ['--www', ''], ['--share-port'], ['--share-port=off'], ['--database', 'scoreboard'], ['--database', 'postgresql://a@b,c/d?sslmode=prefer'],
    ['--database', "host=x password='a b'"], ['--listen', '203.0.113.1:65535'], ['--listen', `${'h'.repeat(255)}:80`]]) {
    const { status, stderr } = await run(['--listen', '203.0.113.1:0', ...args]);
    assert.equal(status, 1, stderr);
    assert.ok(stderr.includes('cannot listen'), stderr);
  }
});

/* An address that nobody has, as above. */
const isTaken = async (...args) => {
  const { status, stderr } = await run(['--listen', '203.0.113.1:0', ...args]);
  assert.equal(status, stderr.includes('cannot listen') ? 1 : 2, stderr);
  return status === 1;
};

test('every number and time has the bounds that it names, both of them included', async () => {
  const { stdout } = await run(['--help']);
  const flags = [...stdout.matchAll(/^ +--([a-z-]+) (?:N|TIME)$/gm)].map((match) => match[1]);
  assert.ok(flags.length > 10);
  await inParallel(flags, 4, async (flag) => {
    const { stderr } = await run([`--${flag}`, 'x']);
    const [low, high, unit] = /from (\d+) to (\d+)( ms)?/.exec(stderr).slice(1);
    const takes = (number) => isTaken(`--${flag}`, unit ? `${number}ms` : `${number}`);
    for (const [number, taken] of [[Number(low), true], [Number(high), true], [low - 1, false], [Number(high) + 1, false]]) {
      assert.equal(await takes(number), taken, `--${flag} ${number}`);
    }
  });
});

test('a time is what its unit says, seconds without one', async () => {
  for (const [value, taken] of [['100ms', true], ['99ms', false], ['600', true], ['601', false], ['600s', true], ['601s', false], ['10m', true], ['11m', false], ['1h', false]]) {
    assert.equal(await isTaken('--slow-timeout', value), taken, value);
  }
  assert.ok(await isTaken('--ping-interval', '1h'));
  assert.ok(!await isTaken('--ping-interval', '2h'));
});

test('no word of a password is said', async () => {
  for (const database of ['password=first sec=ret host', 'password=sesame sesame', 'postgresql://me:sesame@[h/d', 'postgresql://me:ses"ame@[h/d', 'password=\'sesame']) {
    const { status, stderr } = await run(['--database', database]);
    assert.equal(status, 2, database);
    assert.doesNotMatch(stderr, /first|sesame|ame/, database);
  }
});

test('a variable that is no good is refused by its name', async () => {
  const { status, stderr } = await run([], { SCOREBOARD_POOL_SIZE: 'many' });
  assert.equal(status, 2);
  assert.ok(stderr.includes('SCOREBOARD_POOL_SIZE'), stderr);
});

test('a variable that is no setting is refused, the one that was meant is named', async () => {
  for (const [name, said] of [['SCOREBOARD_POOLSIZE', 'SCOREBOARD_POOL_SIZE'], ['SCOREBOARD_LISTEM', 'SCOREBOARD_LISTEN'], ['SCOREBOARD_COLOUR', '--help'],
    ['SCOREBOARD_', '--help'], ['SCOREBOARD_LISTEN_', 'SCOREBOARD_LISTEN']]) {
    const { status, stderr } = await run(['--listen', '127.0.0.1:0'], { [name]: '4' });
    assert.equal(status, 2, name);
    assert.ok(stderr.includes(name) && stderr.includes(said), stderr);
  }
  const { status, stderr } = await run(['--listen', '127.0.0.1:0'], { SCOREBOARD_POOL_SIZE: '' });
  assert.equal(status, 2);
  assert.ok(stderr.includes('SCOREBOARD_POOL_SIZE'), stderr);
});

test('an address that cannot be had is named', async () => {
  for (const [listen, named] of [['203.0.113.1:0', '203.0.113.1'], ['127.0.0.1:0,203.0.113.1:0', '203.0.113.1'], ['name.invalid:80', 'name.invalid'],
    ['[2001:db8::1]:0', '2001:db8::1']]) {
    const { status, stderr } = await run(['--listen', listen]);
    assert.equal(status, 1, listen);
    assert.ok(stderr.includes('--listen') && stderr.includes(named), stderr);
    assert.match(stderr, /^scoreboard-bridge: [^\n]+\n$/);
    assert.doesNotMatch(stderr, STARTED, 'all or none');
  }
});

test('a port is shared only by bridges that were all told to', async () => {
  const bridge = await startBridge(cluster);
  const listen = ['--listen', `127.0.0.1:${bridge.port}`];
  for (const more of [[], ['--share-port']]) {
    const { status, stderr } = await run([...listen, ...more]);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /^scoreboard-bridge: [^\n]*--listen[^\n]*in use[^\n]*--share-port[^\n]*\n$/);
    assert.ok(stderr.includes(String(bridge.port)), stderr);
  }
  await ask(bridge, '/health');
  assert.equal(await bridge.stop(), 0);
  /* Its connections may linger; the port is free all the same. */
  const next = await startBridge(cluster, [...listen, '--share-port']);
  const beside = await startBridge(cluster, [...listen, '--share-port']);
  const { status } = await run(listen);
  assert.equal(status, 1, 'one that was not told to');
  assert.equal(await next.stop(), 0);
  assert.equal((await ask(beside, '/health')).status, 200);
  assert.equal(await beside.stop(), 0);
});

test('every address of a name is listened on', async (t) => {
  const addresses = new Set((await lookup('localhost', { all: true })).map(({ address }) => address));
  if (addresses.size < 2) {
    t.skip('localhost is one address here');
    return;
  }
  const bridge = await startBridge(cluster, ['--listen', 'localhost:0']);
  const heard = () => bridge.log.filter(({ msg }) => msg === 'listening');
  await until('a line for each address', () => heard().length >= addresses.size);
  const listening = heard();
  assert.deepEqual(new Set(listening.map(({ address }) => address)), addresses);
  for (const { address, port } of listening) {
    assert.equal((await fetch(`http://${address.includes(':') ? `[${address}]` : address}:${port}/health`)).status, 200);
  }
  assert.equal(await bridge.stop(), 0);
});

test('16 addresses are listened on, one more is refused', async () => {
  const addresses = (count) => Array.from({ length: count }, (_, i) => `127.0.0.${i + 1}:0`).join();
  const bridge = await startBridge(cluster, ['--listen', addresses(16)]);
  const listening = await until('a line for each address', () => {
    const lines = bridge.log.filter(({ msg }) => msg === 'listening');
    return lines.length === 16 && lines;
  });
  for (const { address, port } of listening) assert.equal((await fetch(`http://${address}:${port}/health`)).status, 200);
  assert.equal(await bridge.stop(), 0);
  const { status, stderr } = await run(['--listen', addresses(17)]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /^scoreboard-bridge: [^\n]*127\.0\.0\.17[^\n]*too many[^\n]*\n$/);
});

test('an address that a name has twice is listened on once', async () => {
  const preload = join(cluster.directory, 'resolver.so');
  const names = join(cluster.directory, 'names');
  await promisify(execFile)('gcc', ['-shared', '-fPIC', '-o', preload, new URL('resolver.c', import.meta.url).pathname, '-ldl']);
  await writeFile(names, 'twice.test 127.0.0.1 127.0.0.2 127.0.0.1\n');
  const bridge = await startBridge(cluster, ['--listen', 'twice.test:0'],
    { environment: { LD_PRELOAD: preload, NAMES: names, ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:verify_asan_link_order=0` } });
  assert.deepEqual(bridge.log.filter(({ msg }) => msg === 'listening').map(({ address }) => address), ['127.0.0.1', '127.0.0.2']);
  assert.equal(await bridge.stop(), 0);
});

test('all addresses of IPv6 and all of IPv4 are listened on side by side', async (t) => {
  const bridge = await startBridge(cluster, ['--listen', '[::1]:0'], { ready: false }).catch((error) => error);
  if (bridge instanceof Error) {
    t.skip('no IPv6 here');
    return;
  }
  const { port } = bridge;
  assert.equal(await bridge.stop(), 0);
  const both = await startBridge(cluster, ['--listen', `[::]:${port},0.0.0.0:${port}`]);
  for (const host of ['127.0.0.1', '[::1]']) assert.equal((await fetch(`http://${host}:${port}/health`)).status, 200);
  assert.equal(await both.stop(), 0);
});

test('a variable is used, a flag wins over it', async () => {
  const environment = { SCOREBOARD_LISTEN: '127.0.0.1:1', SCOREBOARD_LOG_LEVEL: 'debug', SCOREBOARD_ALLOWED_ORIGINS: 'https://game.test' };
  const bridge = await startBridge(cluster, [], { environment });
  const answer = await ask(bridge, '/health', { headers: { origin: 'https://game.test' } });
  assert.equal(answer.headers.get('access-control-allow-origin'), 'https://game.test');
  await until('a line of that level', () => bridge.log.some(({ level }) => level === 'debug'));
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
  const heard = () => bridge.log.filter(({ msg }) => msg === 'listening');
  await until('a line for each address', () => heard().length >= 3);
  const listening = heard();
  assert.equal(listening.length, 3);
  for (const { address, port } of listening) {
    assert.equal((await fetch(`http://${address.includes(':') ? `[${address}]` : address}:${port}/health`)).status, 200);
  }
  await bridge.stop();
});
