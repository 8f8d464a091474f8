/*
 * One torture: players and watchers at work while fault follows fault, then whether every number agrees, and the report.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../lib/cluster.mjs';
import { generator } from '../bridge/spoiling.mjs';
import { Player, watchersOf } from './clients.mjs';
import { faults, schedule } from './faults.mjs';
import { World } from './world.mjs';

const PLAYERS = 6;

const seconds = (ms) => (ms / 1000).toFixed(1);

/* ---- the faults ---- */

/* Everybody is served again: a request that was sent after the fault is acknowledged, and every watcher has a list made after it. */
async function served(world) {
  const healed = Date.now();
  await until('an acknowledgement', () => world.ledger.acknowledgedAt >= healed);
  const back = Date.now() - healed;
  await until('a new list at every watcher', () => world.watchers.every(({ madeAt }) => madeAt >= healed));
  return { back, lists: Date.now() - healed };
}

async function torment(world, { draw, only, deadline, log }) {
  const done = new Map();
  for (const name of schedule(draw, only)) {
    if (Date.now() >= deadline || world.ledger.violations.length) return done;
    await pause(300 + draw(1200));
    try {
      const { took, back, lists } = await suffer(world, name, draw);
      log(`${name}: ${seconds(took)} s, then ${seconds(back)} s to the next acknowledgement, ${seconds(lists)} s to new lists`);
      const one = done.get(name) ?? { times: 0, took: 0, back: 0, lists: 0 };
      done.set(name, { times: one.times + 1, took: Math.max(one.took, took), back: Math.max(one.back, back), lists: Math.max(one.lists, lists) });
    } catch (error) {
      world.ledger.wrong(`${name}: ${error.stack}`);
    }
  }
  return done;
}

async function suffer(world, name, draw) {
  const begun = Date.now();
  /* Of its own, so that what is drawn while it lasts doesn't change what follows. */
  await faults[name](world, generator(draw(2 ** 31)));
  const took = Date.now() - begun;
  return { took, ...await served(world) };
}

/* ---- what must be so in the end ---- */

const TOTALS = `SELECT json_build_object(
  'scores', (SELECT coalesce(sum(score), 0) FROM scoreboard.score),
  'points', (SELECT coalesce(sum(applied_points), 0) FROM scoreboard.action),
  'credits', (SELECT coalesce(sum(applied_points), 0) FROM scoreboard.credit),
  'actions', (SELECT count(*) FROM scoreboard.action),
  'twice', (SELECT count(*) FROM (SELECT action_id FROM scoreboard.action GROUP BY action_id HAVING count(*) > 1) AS x),
  'credited', (SELECT coalesce(json_agg(json_build_object('board', b.name, 'user', p.user_id, 'previousScore', c.previous_score, 'score', c.score)), '[]')
    FROM scoreboard.credit c JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id)),
  'standing', (SELECT json_object_agg(b.name || '/' || p.user_id, s.score) FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id)),
  'ids', (SELECT json_agg(action_id) FROM scoreboard.action))`;

const sum = (actions) => actions.reduce((total, { points }) => total + points, 0);

const equal = (checks, what, left, right) => checks.push({ what, ok: left === right, text: left === right ? `${left}` : `${left} and ${right}` });

/** What one player was answered on one board, and credited there, follows from each other without a gap, up to the score that stands. */
export function chains(actions, standing) {
  const broken = [];
  for (const [name, list] of group(actions)) {
    let last = 0;
    for (const { previousScore, score } of list.sort((a, b) => a.score - b.score)) {
      if (previousScore !== last) broken.push(`${name}: ${previousScore} follows ${last}`);
      last = score;
    }
    if (standing[name] !== last) broken.push(`${name}: ${standing[name]} stands, ${last} came last`);
  }
  return broken;
}

function group(actions) {
  const groups = new Map();
  for (const action of actions) {
    const name = `${action.board}/${action.user}`;
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(action);
  }
  return groups;
}

async function compare(world, server, where, checks) {
  const { ledger } = world;
  const actions = [...ledger.actions.values()];
  const found = JSON.parse(await server.sql(TOTALS));
  equal(checks, `${where}: points acknowledged and points of the log`, sum(actions), found.points);
  equal(checks, `${where}: points acknowledged on the board that counts towards two others, twice, and credits`, 2 * sum(actions.filter(({ board }) => board === 'north')), found.credits);
  equal(checks, `${where}: points of the log with its credits, and scores`, found.points + found.credits, found.scores);
  equal(checks, `${where}: actions acknowledged and actions of the log`, actions.length, found.actions);
  equal(checks, `${where}: actions that stand twice`, found.twice, 0);
  equal(checks, `${where}: actions of the log that nobody acknowledged`, (found.ids ?? []).filter((id) => !ledger.actions.has(id)).length, 0);
  const broken = chains([...actions, ...found.credited], found.standing ?? {});
  checks.push({ what: `${where}: each answer's and credit's previous score is the one's before`, ok: broken.length === 0, text: broken.slice(0, 3).join('; ') || `${actions.length} answers, ${found.credited.length} credits` });
}

async function judge(world) {
  const { cluster, follower, ledger, watchers } = world;
  const checks = [];
  const newest = async () => JSON.parse(await cluster.sql('SELECT json_object_agg(board, version) FROM scoreboard.top'));
  /* The publisher may be resting: what it has stored agrees with the scores in the end. */
  const verified = async () => (await Promise.all(world.boards.map((board) => cluster.sql(`SELECT * FROM scoreboard_verify('${board}')`)))).join('');
  await until('scoreboard_verify to find nothing', async () => await verified() === '').catch(() => {});
  const settled = await newest();
  const behind = () => watchers.filter(({ newest: seen, constructor }) => world.boards.some((board, n) => (n === 0 || constructor.name !== 'Poller') && seen.get(board) !== settled[board]));
  await until('the last lists at every watcher', () => behind().length === 0).catch(() => {});
  await compare(world, cluster, 'primary', checks);
  const end = await cluster.sql('SELECT pg_current_wal_flush_lsn()');
  await until('the standby to have all', async () => await follower.sql(`SELECT pg_last_wal_replay_lsn() >= '${end}'`) === 't');
  await compare(world, follower, 'standby', checks);
  const differences = await verified();
  checks.push({ what: 'scoreboard_verify', ok: differences === '', text: differences.slice(0, 300) || 'no difference' });
  checks.push({ what: 'watchers that have the last version of each board', ok: behind().length === 0, text: `${watchers.length - behind().length} of ${watchers.length}` });
  equal(checks, 'violations meanwhile: a version with two contents, a list that went back, an answer that was wrong', ledger.violations.length, 0);
  return checks;
}

/* ---- the report ---- */

const table = (head, rows) => [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

function report(world, { seed, long, lasted, done, checks, server }) {
  const { ledger } = world;
  const ok = checks.every((check) => check.ok);
  const outcomes = Object.entries(ledger.answers).sort(([, a], [, b]) => b - a).map(([what, times]) => `${what}: ${times}`).join(', ');
  return [
    `# Torture: ${ok ? 'all is as it must be' : 'FAILED'}`,
    `Seed ${seed}, ${Math.round(lasted / 1000)} s, ${server}, node ${process.version}, ${process.platform} ${process.arch}.`,
    `${ledger.actions.size} actions by ${PLAYERS} players over ${world.bridges.length} bridges; outcomes of requests: ${outcomes}. ${ledger.contents.size} versions of ${world.boards.length} boards, ${ledger.lists} lists to ${world.watchers.length} watchers, `
      + `whose connections ended ${world.watchers.reduce((sum, { broken }) => sum + broken, 0)} times. Longest time without an acknowledgement: ${seconds(ledger.longest)} s.`,
    '## What must be so', table(['', '', ''], checks.map(({ what, ok: good, text }) => [good ? 'ok' : 'FAILED', what, text.replaceAll('|', '/').replaceAll('\n', ' ')])),
    ...(ledger.violations.length ? ['## Violations', ...ledger.violations.map((text) => `- ${text}`)] : []),
    '## Faults', table(['fault', 'times', 'longest, with starting again (s)', 'then to the next acknowledgement (s)', 'to new lists at every watcher (s)'],
      [...done].sort().map(([name, { times, took, back, lists }]) => [name, times, seconds(took), seconds(back), seconds(lists)])),
    ...(world.failovers.length ? ['## Failovers, seconds since the kill', table(['', 'promoted', 'first watcher with a list of the new primary', 'last watcher', 'first acknowledgement'],
      world.failovers.map(({ how, promoted, first, last, acknowledged }) => [how, seconds(promoted), seconds(first), seconds(last), seconds(acknowledged)]))] : []),
    `## Again\n\n    TORTURE_SEED=${seed} TORTURE_SECONDS=${long} make torture`,
  ].join('\n\n');
}

/**
 * @param {object} how seed: of the faults' order and of what players do; seconds: how long faults go on; only: a part of the faults'
 *   names; log: takes a line as it happens
 * @returns {Promise<{ok: boolean, text: string}>}
 */
export async function torture({ seed, seconds: long, only, log = console.log }) {
  const begun = Date.now();
  const world = await World.make(log);
  const working = [];
  try {
    world.failovers = [];
    world.watchers = watchersOf(world);
    working.push(...world.watchers.map((watcher) => watcher.watch()));
    world.players = Array.from({ length: PLAYERS }, (_, n) => new Player(world, n, seed + n + 1));
    world.ledger.lastAnswer = Date.now();
    const over = Promise.all(world.players.map((player) => player.play()));
    over.catch((error) => world.ledger.wrong(error.stack));
    const done = await torment(world, { draw: generator(seed), only, deadline: Date.now() + long * 1000, log });
    world.playing = false;
    await over;
    const checks = await judge(world);
    const server = await world.cluster.sql("SELECT format('scoreboard %s, PostgreSQL %s', (SELECT extversion FROM pg_extension WHERE extname = 'scoreboard'), current_setting('server_version'))");
    return { ok: checks.every(({ ok }) => ok), text: report(world, { seed, long, lasted: Date.now() - begun, done, checks, server }) };
  } finally {
    await world.end();
    world.watchers?.forEach((watcher) => watcher.close());
    await Promise.race([Promise.allSettled(working), pause(5000, null, { ref: false })]);
  }
}
