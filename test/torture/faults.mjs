/*
 * What happens to them, in an order that a seed decides: each kind once, then again.
 *
 * A fault is (world, draw) → promise; it is over when everything has been started again that it ended. Durations are drawn, mostly short.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../lib/cluster.mjs';
import { ANSWERS, BOTH, REQUESTS } from './line.mjs';
import { family, signal } from './world.mjs';

const moment = (draw) => pause(draw(4) ? 200 + draw(2500) : 3000 + draw(9000));

/* Stopped, and going on after a while. */
async function stopFor(pids, draw) {
  signal(pids, 'SIGSTOP');
  await moment(draw);
  signal(pids, 'SIGCONT');
}

/* One of the server's processes; nothing is done where there is none just now. */
async function processOf(server, condition) {
  return (await server.sql(`SELECT pid FROM pg_stat_activity WHERE ${condition} ORDER BY random() LIMIT 1`)).split('\n').filter(Boolean).map(Number);
}

const PUBLISHER = "backend_type = 'scoreboard publisher'";
const LAUNCHER = "backend_type = 'scoreboard launcher'";
const BRIDGES = "usename = 'test_bridge'";
const WAL_SENDER = "backend_type = 'walsender'";

const oneOf = (list, draw) => list[draw(list.length)];

async function crash(world, condition) {
  signal(await processOf(world.cluster, condition), 'SIGKILL');
  await world.revive(world.cluster);
}

async function killBridge(world, bridge) {
  const all = await family(bridge.child.pid);
  signal(all, 'SIGKILL');
  await bridge.ended;
  await world.startBridge(bridge);
}

/* One worker of the bridge that has two, or the process above them. */
async function worker(world, draw) {
  const [, ...workers] = await family(world.bridges.find(({ workers: many }) => many > 1).child.pid);
  return [oneOf(workers, draw)].filter(Boolean);
}

async function lose(lines, what, draw) {
  lines.forEach((line) => line.lose(what));
  await moment(draw);
  const reset = draw(2) === 0;
  lines.forEach((line) => line.heal(reset));
}

const linesOf = (world, draw) => oneOf(world.bridges, draw).lines;

async function failOver(world, silently, meanwhile) {
  const how = await world.failOver(silently, meanwhile);
  /* What the old one published has smaller versions than the milliseconds of its end. */
  const first = new Map();
  let acknowledged;
  const since = () => Date.now() - how.begun;
  await until('a list of the new primary at every watcher, and an acknowledgement', () => {
    if (world.ledger.lastAnswer > how.killed) acknowledged ??= since();
    world.watchers.forEach((watcher) => { if (!first.has(watcher) && (watcher.newest.get('global') ?? 0) >= how.begun) first.set(watcher, since()); });
    return acknowledged && first.size === world.watchers.length;
  });
  world.failovers.push({ how: silently ? 'packets dropped' : 'connections refused', promoted: how.promoted, first: Math.min(...first.values()), last: Math.max(...first.values()), acknowledged });
  await world.rebuild(how);
}

async function fillDisk(world, server, draw, also) {
  const disk = world.disk(server);
  await disk.fill();
  if (also) await server.sql('SELECT pg_switch_wal() FROM generate_series(1, 8)').catch(() => {});
  await moment(draw);
  await disk.free();
  await world.revive(server);
}

export const faults = {
  'kill the postmaster': async (world) => { await world.cluster.kill(); await world.revive(world.cluster); },
  'stop the server at once': async (world) => { await world.cluster.shutdown('immediate'); await world.revive(world.cluster); },
  'restart the server': async (world) => { await world.cluster.shutdown('fast'); await world.revive(world.cluster); },
  'kill a backend': (world) => crash(world, BRIDGES),
  'kill the publisher': (world) => crash(world, PUBLISHER),
  'kill the launcher': (world) => crash(world, LAUNCHER),
  'end the publisher': async (world) => signal(await processOf(world.cluster, PUBLISHER), 'SIGTERM'),
  'end the sessions': (world) => world.cluster.sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE ${BRIDGES}`),
  'stop a backend': async (world, draw) => stopFor(await processOf(world.cluster, BRIDGES), draw),
  'stop the publisher': async (world, draw) => stopFor(await processOf(world.cluster, PUBLISHER), draw),
  'stop the whole server': async (world, draw) => stopFor(await family(await world.cluster.pid()), draw),
  'kill a bridge': (world, draw) => killBridge(world, oneOf(world.bridges, draw)),
  'kill both bridges': (world) => Promise.all(world.bridges.map((bridge) => killBridge(world, bridge))),
  'kill a worker': async (world, draw) => signal(await worker(world, draw), 'SIGKILL'),
  'stop a bridge': async (world, draw) => stopFor(await family(oneOf(world.bridges, draw).child.pid), draw),
  'stop a worker': async (world, draw) => stopFor(await worker(world, draw), draw),
  'kill the standby': async (world) => { await world.follower.kill(); await world.revive(world.follower); await world.inStep(); },
  'stop the standby': async (world, draw) => { await stopFor(await family(await world.follower.pid()), draw); await world.inStep(); },
  'end the sender of the log': async (world) => { signal(await processOf(world.cluster, WAL_SENDER), 'SIGTERM'); await world.inStep(); },
  'cut the standby off': async (world, draw) => { await lose([world.replication], BOTH, draw); await world.inStep(); },
  'cut a bridge off': (world, draw) => lose(linesOf(world, draw), BOTH, draw),
  'cut both bridges off': (world, draw) => lose(world.bridges.flatMap(({ lines }) => lines), BOTH, draw),
  "lose a bridge's requests": (world, draw) => lose(linesOf(world, draw), REQUESTS, draw),
  "lose a bridge's answers": (world, draw) => lose(linesOf(world, draw), ANSWERS, draw),
  'fill the disk': (world, draw) => fillDisk(world, world.cluster, draw, false),
  'fill the disk and the log': (world, draw) => fillDisk(world, world.cluster, draw, true),
  "fill the standby's disk": async (world, draw) => { await fillDisk(world, world.follower, draw, false); await world.inStep(); },
  'fail over, connections refused': (world) => failOver(world, false),
  'fail over, packets dropped': (world) => failOver(world, true),
  'fail over, packets dropped while a bridge starts': (world, draw) => failOver(world, true, () => killBridge(world, oneOf(world.bridges, draw))),
  'kill all at once': async (world) => {
    await Promise.all([world.cluster.kill(), world.follower.kill()]);
    await Promise.all([world.revive(world.follower), world.revive(world.cluster), ...world.bridges.map((bridge) => killBridge(world, bridge))]);
    await world.inStep();
  },
};

/** The names of faults, each once in every round; only: a part of them. */
export function* schedule(draw, only = '') {
  for (;;) {
    const deck = Object.keys(faults).filter((name) => name.includes(only));
    while (deck.length) yield deck.splice(draw(deck.length), 1)[0];
  }
}
