/*
 * What is tortured: a primary with a synchronous standby, and two bridges, one of two workers, each with lines of its own to both servers.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED } from '../bridge/clients.mjs';
import { Ledger } from './clients.mjs';
import { BOTH, Line } from './line.mjs';

const run = promisify(execFile);

const SETTINGS = { ...UNLIMITED, fsync: 'on', 'scoreboard.receipt_window': '1h', max_connections: 60, max_wal_size: '64MB', min_wal_size: '32MB', wal_keep_size: '512MB',
  wal_sender_timeout: '5s', wal_receiver_timeout: '5s', wal_retrieve_retry_interval: '200ms', synchronous_standby_names: '' };

/* Off in a server that has no standby, since it would wait for one. */
const names = (server, text) => server.sql(`ALTER SYSTEM SET synchronous_standby_names = '${text}';\nSELECT pg_reload_conf() \\g /dev/null`);

/** A process and those below it, itself first. */
export async function family(pid) {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const below = await Promise.all(text.split(' ').filter(Boolean).map((child) => family(Number(child))));
  return [pid, ...below.flat()];
}

/** A signal to each that is still there. */
export function signal(pids, what) {
  for (const pid of pids) {
    try { process.kill(pid, what); } catch (error) { if (error.code !== 'ESRCH') throw error; }
  }
}

export class World {
  playing = true;

  watching = true;

  boards = ['global', 'race', 'north'];

  bridges = []; /* {url, child, lines, …}: replaced when restarted, their url stays */

  /* Two places for servers; `primary` is the number of the one that can be written to. */
  servers = [];

  primary = 0;

  get cluster() { return this.servers[this.primary]; }

  get follower() { return this.servers[1 - this.primary]; }

  constructor(log) { this.ledger = new Ledger(log); }

  static async make(log) {
    const world = new World(log);
    try {
      await world.makeServers();
      for (const workers of [1, 2]) {
        const bridge = { lines: await Promise.all(world.servers.map((server) => Line.open(server))), workers, port: 0 };
        world.bridges.push(bridge);
        await world.startBridge(bridge);
      }
    } catch (error) {
      await world.end();
      throw error;
    }
    return world;
  }

  async makeServers() {
    this.directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'torture-'));
    const library = join(this.directory, 'full_disk.so');
    await run('gcc', ['-shared', '-fPIC', '-O1', '-o', library, new URL('full_disk.c', import.meta.url).pathname, '-ldl']);
    this.environment = (directory) => ({ LD_PRELOAD: library, FULL_DISK: join(directory, 'full') });
    const cluster = await startCluster(SETTINGS);
    this.servers[0] = cluster;
    await cluster.sql(`INSERT INTO scoreboard.board (name, score_order, publish_interval_ms, top_size) VALUES ('race', 'low', 10, 20);
      INSERT INTO scoreboard.board (name, counts_towards) SELECT 'north', array_agg(board_id ORDER BY name) FROM scoreboard.board WHERE name IN ('global', 'race')`);
    await cluster.shutdown();
    cluster.serverEnvironment = this.environment(cluster.directory);
    await cluster.start();
    this.replication = await Line.open(cluster);
    await this.makeStandby();
  }

  /** A new one in the place that is free. */
  async makeStandby() {
    const { cluster, replication } = this;
    replication.target = cluster;
    this.servers[1 - this.primary] = await cluster.standby({ host: '127.0.0.1', port: replication.port, environment: this.environment, settings: { cluster_name: 'standby' } });
    await names(this.follower, '');
    await names(cluster, '*');
    for (const { lines } of this.bridges) lines[1 - this.primary].target = this.follower;
    await this.inStep();
  }

  /** The standby has all, and commits wait for it. */
  inStep() {
    return until('the standby to be synchronous', () => this.cluster.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'").then((n) => n === '1', () => false));
  }

  /** Of the same port, whatever became of the one before. */
  async startBridge(bridge) {
    const list = `host=127.0.0.1,127.0.0.1 port=${bridge.lines.map(({ port }) => port)} user=test_bridge dbname=scoreboard target_session_attrs=read-write`;
    const { stop, ...started } = await startBridge(this.cluster, ['--database', list, '--listen', `127.0.0.1:${bridge.port}`, '--workers', `${bridge.workers}`, '--log-level', 'warn',
      '--max-connections-per-address', '1000'], { ready: false });
    Object.assign(bridge, started, { halt: stop });
  }

  /** A server that crashed, or may have, runs again. */
  async revive(server) {
    await until('the server to start', async () => {
      if (await server.control('status').then(() => true, () => false)) return server.sql('SELECT 1').then(() => true, () => false);
      return server.start().then(() => true, () => false);
    });
  }

  disk(server) {
    const file = server.serverEnvironment.FULL_DISK;
    return { fill: () => writeFile(file, ''), free: () => rm(file, { force: true }) };
  }

  /** The standby in the primary's place. Returns the milliseconds since 1970 that no version of the old one reaches. */
  async failOver(silently, meanwhile) {
    await this.inStep();
    const old = this.cluster;
    const processes = await family(await old.pid());
    const lines = this.bridges.map((bridge) => bridge.lines[this.primary]);
    const begun = Date.now();
    if (silently) lines.forEach((line) => line.lose(BOTH));
    await meanwhile?.();
    /* None of them may acknowledge anything any more. */
    signal(processes, 'SIGKILL');
    const killed = Date.now() + 20; /* what it had sent has come by then */
    if (!silently) await Promise.all(lines.map((line) => line.refuse()));
    this.primary = 1 - this.primary;
    await this.cluster.control('promote');
    return { begun, killed, old, lines, promoted: Date.now() - begun };
  }

  /** What the old primary was becomes a standby. */
  async rebuild({ old, lines }) {
    await until('the killed server to end', () => old.control('status').then(() => false, () => true));
    await old.stop();
    await this.makeStandby();
    for (const line of lines) {
      if (line.server.listening) line.heal(true);
      else await line.accept();
    }
  }

  async end() {
    this.playing = this.watching = false;
    for (const { halt, child } of this.bridges) {
      if (child) signal(await family(child.pid), 'SIGCONT');
      await halt?.('SIGKILL');
    }
    for (const { lines } of this.bridges) await Promise.all(lines.map((line) => line.stop()));
    await this.replication?.stop();
    for (const server of this.servers) {
      const pid = await server.pid().catch(() => 0);
      if (pid) signal(await family(pid), 'SIGCONT');
      await server.stop();
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}
