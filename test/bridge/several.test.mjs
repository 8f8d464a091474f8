/*
 * Several bridges on one database: any of them will do, and the loss of one costs nothing but a new connection.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, Versions, ask, award, increment, messageOf, openEvents, openSocket, published } from './clients.mjs';

let cluster;
let bridges;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridges = await Promise.all(Array.from({ length: 3 }, () => startBridge(cluster, ['--share-port'])));
});

after(async () => {
  await Promise.all((bridges ?? []).map((bridge) => bridge.stop()));
  await cluster?.stop();
});

test('all of them push the same versions, however a change came', async () => {
  const streams = await Promise.all(bridges.flatMap((bridge) => [openSocket(bridge), openEvents(bridge)]));
  let score = 0;
  for (const bridge of bridges) {
    await increment(bridge, cluster, 'ann');
    score += 100;
    const message = messageOf(await published(cluster, 'ann', score));
    for (const stream of streams) await stream.receives(message);
  }
  const versions = new Versions();
  for (const stream of streams) {
    const newest = new Map();
    stream.messages.forEach((text) => versions.take(text, newest));
    stream.close();
  }
});

test('a retry at another bridge is a retry', async () => {
  const action = actionFor(cluster, 'ben');
  const [first, ...others] = await Promise.all(bridges.map((bridge) => increment(bridge, cluster, 'ben', { action, key: 'k' })));
  const answers = [first, ...others].map(({ json }) => json);
  assert.equal(answers.filter(({ replayed }) => !replayed).length, 1);
  assert.equal(new Set(answers.map((answer) => JSON.stringify({ ...answer, replayed: 0 }))).size, 1);
});

test('a Last-Event-ID of one is understood by the other', async () => {
  const document = await published(cluster, 'ben', 100);
  for (const bridge of bridges) await until('the list', async () => (await ask(bridge, '/v1/leaderboard/top')).text === document);
  const first = await openEvents(bridges[0]);
  await first.receives(messageOf(document));
  const second = await openEvents(bridges[1], { headers: { 'last-event-id': first.events.at(-1).id } });
  await award(cluster, 'cid', 1);
  await second.receives(messageOf(await published(cluster, 'cid', 1)));
  assert.equal(second.messages.length, 1);
  first.close();
  second.close();
});

test('a bridge that is killed takes nothing with it', async () => {
  const victim = bridges.pop();
  const stream = await openSocket(victim);
  const actions = Array.from({ length: 20 }, (_, i) => ({ user: `orphan-${i}`, action: actionFor(cluster, `orphan-${i}`), key: `key-${i}` }));
  const requests = actions.map(({ user, ...rest }) => increment(victim, cluster, user, rest).catch(() => null));
  await Promise.any(requests);
  await victim.stop('SIGKILL');
  await Promise.all(requests);
  await stream.ends();
  for (const { user, ...rest } of actions) assert.equal((await increment(bridges[0], cluster, user, rest)).status, 200);
  assert.equal(await cluster.sql("SELECT count(*), sum(score) FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id LIKE 'orphan-%'"),
    '20|2000');
});

test('a new one may take over a port before the old one has ended', async () => {
  const [old] = bridges;
  const successor = await startBridge(cluster, ['--share-port', '--listen', `127.0.0.1:${old.port}`]);
  assert.equal(successor.port, old.port);
  assert.equal(await old.stop(), 0);
  bridges[0] = successor;
  assert.equal((await ask(successor, '/health')).status, 200);
  (await openSocket(successor)).close();
});
