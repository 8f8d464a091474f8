/*
 * Whatever is killed, and whenever: an increment that was answered as counted is there, once; one that was not can be sent again under its
 * key and is there once then; and clients end up with the list that the database has.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, Versions, award, increment, messageOf, openEvents, openSocket, published } from './clients.mjs';

const PLAYERS = 12;
const EACH = 40;
const SETTINGS = ['--reconnect-max', '200ms', '--submit-timeout', '2s'];

let cluster;
let bridges;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridges = await Promise.all([startBridge(cluster, SETTINGS), startBridge(cluster, SETTINGS)]);
});

after(async () => {
  await Promise.all((bridges ?? []).map((bridge) => bridge.stop()));
  await cluster?.stop();
});

/* Sends one action until it is answered as counted, to this bridge or that. */
async function insist(user, turn, answers) {
  const action = actionFor(cluster, user);
  const key = `key-of-${action.actionId}`;
  for (let i = turn; ; i++) {
    const answer = await increment(bridges[i % bridges.length], cluster, user, { action, key }).catch(() => null);
    if (answer?.status === 200) {
      answers.push(answer.json);
      return;
    }
    assert.ok(answer === null || answer.status === 503, answer?.text);
    if (answer) assert.equal(answer.headers.get('idempotency-key'), key);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

test('postmaster and a bridge are killed under load: every increment that was answered is there once', async () => {
  const streams = [await openSocket(bridges[1]), await openEvents(bridges[1])];
  const answers = Array.from({ length: PLAYERS }, () => []);
  const load = Promise.all(answers.map(async (mine, player) => {
    for (let i = 0; i < EACH; i++) await insist(`player-${player}`, player + i, mine);
  }));
  const done = () => answers.reduce((sum, mine) => sum + mine.length, 0);
  const total = PLAYERS * EACH;
  for (const part of [0.15, 0.35]) {
    await until('some of the load', () => done() >= part * total);
    await cluster.kill();
    await cluster.revive();
  }
  await until('more of the load', () => done() >= 0.6 * total);
  await bridges[0].stop('SIGKILL');
  bridges[0] = await startBridge(cluster, SETTINGS, { ready: false });
  await until('most of the load', () => done() >= 0.8 * total);
  await cluster.kill();
  await cluster.revive();
  await load;

  assert.equal(await cluster.sql('SELECT count(*), count(DISTINCT (player_id, action_id)), sum(applied_points) FROM scoreboard.action'),
    `${total}|${total}|${100 * total}`);
  assert.equal(await cluster.sql('SELECT count(*), min(score), max(score) FROM scoreboard.score'), `${PLAYERS}|${100 * EACH}|${100 * EACH}`);
  for (const mine of answers) {
    assert.deepEqual(mine.map(({ score }) => score), mine.map((_, i) => 100 * (i + 1)), 'each answer told the score that followed from the one before');
    assert.deepEqual(mine.map(({ previousScore }) => previousScore), mine.map((_, i) => 100 * i));
  }
  await award(cluster, 'last', 100000);
  const message = messageOf(await published(cluster, 'last', 100000));
  const versions = new Versions();
  for (const stream of streams) {
    await stream.receives(message, 'the final list');
    const newest = new Map();
    stream.messages.forEach((text) => versions.take(text, newest));
    assert.equal(stream.closed, null);
    stream.close();
  }
});
