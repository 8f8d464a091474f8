/*
 * Servers and bridges for node's tests: private, on a Unix socket and a free port, gone at the end.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * Environment: PG_BINDIR (the private prefix's programs), BRIDGE (the bridge's program), TEST_TMP (where the data go; default: the
 * system's temporary directory). Runs as the current account, which must not be root, since PostgreSQL refuses that.
 */
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { promisify } from 'node:util';
import { signReceipt, signToken, now } from './signing.mjs';

const run = promisify(execFile);

/* Bridges at work. One that a failed test has left would keep node running; a file's own end has a minute before that. */
const bridges = new Set();
const endAll = () => bridges.forEach((child) => child.kill('SIGKILL'));
if (process.env.NODE_TEST_CONTEXT) after(() => { setTimeout(endAll, 60000).unref(); });

const program = (name) => (process.env.PG_BINDIR ? join(process.env.PG_BINDIR, name) : name);

/** An environment without variables that could lead a client to somebody else's server. */
export function cleanEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG') || name === 'PG_BINDIR'));
}

/** Waits for a condition (a function, may be async) to become true; its value is returned. Fails, saying what for, after a minute. */
export async function until(what, condition) {
  const deadline = Date.now() + 60000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

const linesOf = (settings) => Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`).join('');

class Cluster {
  constructor(directory) {
    this.directory = directory;
    this.data = join(directory, 'data');
    this.log = join(directory, 'server.log');
    this.environment = { ...cleanEnvironment(), PGHOST: directory, PGUSER: 'postgres', PGDATABASE: 'scoreboard' };
  }

  /** For libpq: as whom the bridge connects by default. */
  conninfo(user = 'test_bridge') { return `host=${this.directory} user=${user} dbname=scoreboard`; }

  /** Runs SQL as the superuser; returns what psql prints: columns with |, rows with line feeds. Throws on any error. */
  async sql(text, variables = {}) {
    const set = Object.entries(variables).flatMap(([name, value]) => ['-v', `${name}=${value}`]);
    const psql = run(program('psql'), ['-XqAt', '-v', 'ON_ERROR_STOP=1', ...set, '-f', '-'], { env: this.environment, maxBuffer: 1 << 26 });
    psql.child.stdin.on('error', () => {}); /* it has ended before it read this: its status says why */
    psql.child.stdin.end(text);
    return (await psql).stdout.replace(/\n$/, '');
  }

  async control(...args) {
    await run(program('pg_ctl'), ['-D', this.data, '-l', this.log, '-w', '-s', ...args], { env: { ...this.environment, ...this.serverEnvironment } });
  }

  start() { return this.control('start'); }

  /**
   * A second server that follows this one.
   *
   * @param {object} [how] host, port: where it reaches this one, by default its socket; settings: of its own; environment: variables for
   *   the server, from its directory
   */
  async standby({ host = this.directory, port = 5432, settings = {}, environment } = {}) {
    const other = new Cluster(await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'standby-')));
    other.identity = this.identity;
    other.serverEnvironment = environment?.(other.directory);
    try {
      await run(program('pg_basebackup'), ['-D', other.data, '-R', '-c', 'fast', '--no-sync', '-h', host, '-p', `${port}`], { env: this.environment });
      const lines = { unix_socket_directories: other.directory, listen_addresses: '', ...settings };
      await appendFile(join(other.data, 'postgresql.conf'), linesOf(lines));
      await other.start();
    } catch (error) {
      await other.stop();
      throw error;
    }
    return other;
  }

  /** The postmaster's process id. */
  async pid() { return Number((await readFile(join(this.data, 'postmaster.pid'), 'utf8')).split('\n')[0]); }

  /** kill -9 of the postmaster alone: its children find out by themselves. */
  async kill() { process.kill(await this.pid(), 'SIGKILL'); }

  /** Starts after kill(): not before the old children have let go of the shared memory. */
  revive() { return until('the server to start', () => this.start().then(() => true, () => false)); }

  /** mode: fast, or immediate for a crash. */
  shutdown(mode = 'fast') { return this.control('-m', mode, 'stop'); }

  async stop(mode = 'immediate') {
    await this.shutdown(mode).catch(() => {}); /* it may be down already */
    await rm(this.directory, { recursive: true, force: true });
  }
}

/**
 * A running server with the extension in a database "scoreboard", and nothing else.
 *
 * @param {object} [settings] server settings, e.g. {'scoreboard.rate_limit': 0}
 */
export async function startServer(settings = {}) {
  const cluster = new Cluster(await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'cluster-')));
  try {
    await run(program('initdb'), ['-D', cluster.data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'], { env: cleanEnvironment() });
    const lines = { shared_preload_libraries: 'scoreboard', 'scoreboard.verify_at': 'off', listen_addresses: '', unix_socket_directories: cluster.directory, ...settings };
    await appendFile(join(cluster.data, 'postgresql.conf'), linesOf(lines));
    await cluster.start();
    await run(program('createdb'), ['scoreboard'], { env: cluster.environment });
    await cluster.sql('SET client_min_messages = warning; CREATE EXTENSION scoreboard CASCADE');
  } catch (error) {
    const log = await readFile(cluster.log, 'utf8').catch(() => '');
    await cluster.stop();
    throw new Error(`${error.message}\n${log.split('\n').slice(-30).join('\n')}`);
  }
  return cluster;
}

/**
 * One for tests: also role test_bridge (level gateway), issuer `identity.issuer` and key `identity.keyId`, action types AWARD (trusted,
 * any points), COMPLETE_LEVEL (100) and BONUS (1-1000 points).
 */
export async function startCluster(settings = {}) {
  const cluster = await startServer({ fsync: 'off', 'scoreboard.audience': 'test', ...settings });
  await setUp(cluster).catch(async (error) => { await cluster.stop(); throw error; });
  return cluster;
}

async function setUp(cluster) {
  const issuerKey = randomBytes(32).toString('base64url');
  const secret = await cluster.sql(`
    CREATE ROLE test_bridge LOGIN;
    SELECT scoreboard_grant_access('test_bridge', 'gateway') \\g /dev/null
    SELECT scoreboard_set_issuer('https://id.test', json_build_object('keys', json_build_array(
      json_build_object('kty', 'oct', 'alg', 'HS256', 'kid', 'test', 'k', :'issuer_key')))::text, name_claim => 'name', permissions_claim => 'permissions') \\g /dev/null
    INSERT INTO scoreboard.action_type (name, points) VALUES ('COMPLETE_LEVEL', 100);
    INSERT INTO scoreboard.action_type (name, min_points, max_points) VALUES ('BONUS', 1, 1000);
    INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', -9007199254740991, 9007199254740991);
    SELECT scoreboard_create_key('test-key');`, { issuer_key: issuerKey });
  cluster.identity = { issuer: 'https://id.test', issuerKey, keyId: 'test-key', keySecret: secret, audience: 'test' };
}

/** A token of the cluster's issuer for a player; more claims may be given. */
export function tokenFor(cluster, userId, claims = {}) {
  return signToken({ iss: cluster.identity.issuer, sub: userId, ...claims }, cluster.identity.issuerKey, { kid: 'test' });
}

/** The body of an increment with a good receipt for it. */
export function actionFor(cluster, userId, { actionType = 'COMPLETE_LEVEL', actionId = randomBytes(9).toString('base64url'), board = 'global',
  points, subscore, detail, issuedAt = now() } = {}) {
  const { keyId, keySecret, audience } = cluster.identity;
  const receipt = signReceipt({ keyId, keySecret, audience, board, userId, actionType, actionId, points, subscore, detail, issuedAt });
  return { actionType, actionId, board, issuedAt, receipt, points, subscore, detail };
}

/* fetch can't be told whom to trust. */
const isReady = ({ url, tls }) => new Promise((resolve) => {
  (tls ? https : http).get(`${url}/ready`, { agent: false, ca: tls?.ca }, (answer) => resolve(answer.resume().statusCode === 200))
    .on('error', () => resolve(false));
});

/**
 * A bridge of that cluster. Its log (JSON lines) is in `log`; `url` is known when this returns.
 *
 * @param {Cluster} cluster
 * @param {string[]} [extraArgs] further settings, e.g. ['--www', directory]; --listen given here wins, and so does --requests-per-minute,
 *   without which any number is taken: all that tests do comes from one address
 * @param {object} [how] ready: false returns as soon as it listens; environment: variables for it; user: its role; under: a program
 *   and its arguments that starts the bridge; tls: {certificate, key, ca}, files and what to trust
 * @returns {Promise<{url: string, port: number, log: object[], child: object, stop: function(string=): Promise<number>}>}
 */
export async function startBridge(cluster, extraArgs = [], { ready = true, environment = {}, user, under = [], tls } = {}) {
  const listen = extraArgs.includes('--listen') ? [] : ['--listen', '127.0.0.1:0'];
  const unlimited = extraArgs.includes('--requests-per-minute') ? [] : ['--requests-per-minute', '0'];
  const secure = tls ? ['--tls-certificate', tls.certificate, '--tls-key', tls.key] : [];
  const [file, ...args] = [...under, process.env.BRIDGE ?? 'scoreboard-bridge', '--database', cluster.conninfo(user), ...listen, ...unlimited, ...secure, ...extraArgs];
  const child = spawn(file, args,
    { env: { ...cleanEnvironment(), ...environment }, stdio: ['ignore', 'ignore', 'pipe'] });
  const bridge = { child, log: [], port: 0, url: '', tls };
  bridges.add(child);
  const ended = once(child, 'close').then(([code]) => { bridges.delete(child); return code; });
  bridge.ended = ended;
  bridge.stop = async (signal = 'SIGTERM') => { child.kill(signal); return ended; };
  createInterface({ input: child.stderr }).on('line', (line) => {
    try { bridge.log.push(JSON.parse(line)); } catch { bridge.log.push({ msg: line }); }
  });
  let over = false;
  ended.then(() => { over = true; }, () => { over = true; });
  const heard = await until('the bridge to listen', () => over || bridge.log.find(({ msg, port, path }) => msg === 'listening' && (port || path)))
    .catch((error) => { child.kill('SIGKILL'); throw error; });
  if (heard === true) throw new Error(`the bridge ended: ${JSON.stringify(bridge.log.slice(-5))}`);
  bridge.port = heard.port;
  bridge.url = `http${tls ? 's' : ''}://127.0.0.1:${heard.port}`; /* of no use where it listens on a unix socket: ready: false */
  if (ready) await until('the bridge to be ready', async () => over || isReady(bridge));
  return bridge;
}
