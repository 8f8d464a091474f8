/*
 * The demo: a server, the bridge, players who score, and the board in the terminal, until Ctrl-C (which reaches us as SIGTERM).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * Environment: as for test/lib/cluster.mjs; PORT (8080), the first port to try; DEMO_SECONDS to end by itself; RUN_STARTED. What the
 * players (players.mjs) and the board (board.mjs) are told in DEMO_* variables stands in their heads; the SQL side is setup.sql.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startBridge, startServer } from '../lib/cluster.mjs';
import { now, signToken } from '../lib/signing.mjs';
import { nameOf, userIdOf } from './names.mjs';

const { env } = process;
const started = Number(env.RUN_STARTED ?? Math.floor(Date.now() / 1000));
const say = (text) => console.log(`[${String(Math.floor(Date.now() / 1000) - started).padStart(3)} s] ${text}`);
const beside = (name) => new URL(name, import.meta.url);
const running = []; /* how to end what was started, in the order of the start */

const told = new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => resolve({ told: true }));
});

async function end() {
  for (const stop of running.reverse()) await stop();
}

/* A program of ours, whose output goes to the terminal or is kept for the case that it ends by itself. */
function play(name, visible) {
  const child = spawn(process.execPath, [beside(name).pathname], { env, stdio: ['ignore', visible ? 'inherit' : 'pipe', visible ? 'inherit' : 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => { output = (output + text).slice(-4000); });
  const ended = once(child, 'close').then(() => ({ what: name, output }));
  running.push(async () => { child.kill(); await ended; });
  return ended;
}

/* The bridge's role and the administrator's hold one level each and nothing else, as in an installation. */
async function setUp(server) {
  await server.sql(`CREATE ROLE demo_admin LOGIN;
    CREATE ROLE demo_bridge LOGIN;
    SELECT scoreboard_grant_access('demo_admin', 'admin');
    SELECT scoreboard_grant_access('demo_bridge', 'gateway')`);
  Object.assign(env, { DEMO_AUDIENCE: 'scoreboard', /* the database's name, since the setting is empty */
    DEMO_ISSUER: 'https://id.demo.example', DEMO_ISSUER_SECRET: randomBytes(32).toString('base64url'), DEMO_KEY_ID: 'demo' });
  Object.assign(server.environment, env, { PGHOST: server.directory, PGUSER: 'demo_admin', PGDATABASE: 'scoreboard' });
  env.DEMO_KEY_SECRET = await server.sql(await readFile(beside('setup.sql'), 'utf8'));
}

/* The live page, where one can also be one of the players: their tokens last for a day, which is what setup.sql allows the issuer. */
async function pages(server) {
  const directory = join(server.directory, 'www');
  const players = [0, 1, 2, 3, 4, 5, 20, 30].map((index) => ({ name: nameOf(index), token: signToken({ iss: env.DEMO_ISSUER,
    sub: userIdOf(index), aud: env.DEMO_AUDIENCE, name: nameOf(index), exp: now() + 86400 }, env.DEMO_ISSUER_SECRET, { kid: 'demo' }) }));
  await cp(beside('../../bridge/www').pathname, directory, { recursive: true });
  await writeFile(join(directory, 'demo-players.json'), JSON.stringify(players));
  const index = await readFile(join(directory, 'index.html'), 'utf8');
  await writeFile(join(directory, 'index.html'), index.replace('</head>', '  <link rel="demo-players" href="demo-players.json">\n</head>'));
  return directory;
}

async function bridgeOn(server, port) {
  const www = await pages(server);
  for (let tries = 0; tries < 50; tries += 1, port += 1) {
    try {
      return await startBridge(server, ['--listen', `127.0.0.1:${port}`, '--www', www], { user: 'demo_bridge' });
    } catch (error) {
      if (!/in use/i.test(error.message)) throw error; /* else the next one is tried */
    }
  }
  throw new Error('no port is free');
}

async function start() {
  say('starting a private server');
  const server = await startServer();
  running.push(() => server.stop('fast'));
  await setUp(server);
  const bridge = await bridgeOn(server, Number(env.PORT ?? 8080));
  running.push(() => bridge.stop());
  env.DEMO_URL = bridge.url;
  const players = play('players.mjs', false);
  console.log(`\n  The live page: ${bridge.url}/\n  End: Ctrl-C\n`);
  play('board.mjs', true);
  return [players, bridge.ended.then(() => ({ what: 'bridge', output: bridge.log.slice(-20).map((line) => JSON.stringify(line)).join('\n') }))];
}

const parts = await Promise.race([told, start()]).catch((error) => {
  console.error(`${error.message}\ntest/run: the demo could not be started`);
  return null;
});
if (parts === null || parts.told) { /* what is half started is ended by whoever runs us */
  process.exit(parts === null ? 1 : 130);
}
const reason = await Promise.race([told, ...parts, ...(env.DEMO_SECONDS ? [sleep(1000 * env.DEMO_SECONDS, { told: true })] : [])]);
await end();
say(reason.told ? 'ended; nothing is left behind' : `${reason.what} ended by itself:\n${reason.output}`);
process.exit(reason.told ? 0 : 1);
