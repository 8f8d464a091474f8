/*
 * Boards whose list comes from elsewhere, through the bridge: a remote one, whose row a subscription would write, and one that merges
 * it with a board of this server. They are lists and streams like others; there are no ranks, and nothing is counted.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, assertError, award, increment, openEvents, openSocket, published, stored } from './clients.mjs';

const TOP = '/v1/leaderboard/top';

let cluster;
let bridge;

/* What the subscription's worker would write. */
const arrive = (version, score) => cluster.sql(`
  INSERT INTO scoreboard.top (board, season, version, updated_at, players, list_order, second_keys, document)
    SELECT 'far', 1, v, now(), 1, 'high first', '{1}', concat('{"board":"far","season":1,"seasonStart":null,"seasonEnd":null,"version":', v,
      ',"updatedAt":"2026-01-01T00:00:00.000Z","players":1,"entries":[{"rank":1,"userId":"zoe","displayName":"Zoe","score":', s, '}]}') FROM (VALUES (:'version'::bigint, :'score'::bigint)) AS r (v, s)
    ON CONFLICT (board) DO UPDATE SET version = excluded.version, document = excluded.document`, { version, score });

const ids = (list) => list.entries.map((entry) => `${entry.rank} ${entry.userId} ${entry.score}`).join(', ');

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name, remote) VALUES ('near', false), ('far', true)");
  await cluster.sql("INSERT INTO scoreboard.board (name, merges) SELECT 'world', array_agg(board_id) FROM scoreboard.board WHERE name IN ('near', 'far')");
  await award(cluster, 'ann', 10, 'near');
  await published(cluster, 'ann', 10, 'near');
  await arrive(7, 20);
  await published(cluster, 'zoe', 20, 'world');
  /* Only what is notified is read. */
  bridge = await startBridge(cluster, ['--look-interval', '1h']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

test('their lists', async () => {
  assert.equal(ids((await ask(bridge, `${TOP}?board=world`)).json), '1 zoe 20, 2 ann 10');
  assert.equal(ids((await ask(bridge, `${TOP}?board=world&skip=1`)).json), '2 ann 10');
  assert.equal((await ask(bridge, `${TOP}?board=far`)).json.version, 7);
  const { boards } = (await ask(bridge, '/v1/boards')).json;
  assert.equal(boards.filter(({ board }) => ['far', 'world'].includes(board)).map(({ board, players }) => `${board} ${players}`).join(), 'far 1,world 2');
});

test('a list that arrives is pushed, and so is what merges it, also to who is signed in', async () => {
  const headers = { authorization: `Bearer ${tokenFor(cluster, 'ann')}` };
  const streams = [await openSocket(bridge, { query: '?board=far,world', headers }), await openEvents(bridge, { query: '?board=far,world', headers })];
  await arrive(8, 30);
  await published(cluster, 'zoe', 30, 'world');
  for (const stream of streams) {
    await until('both lists', () => ['far', 'world'].every((board) => stream.messages.map((text) => JSON.parse(text)).some((message) => message.board === board && message.entries?.[0].score === 30)));
    stream.close();
  }
  assert.equal((await ask(bridge, `${TOP}?board=world`)).text, await stored(cluster, 'world'));
});

test('no ranks, and nothing is counted', async () => {
  const player = { headers: { authorization: `Bearer ${tokenFor(cluster, 'ann')}` } };
  for (const board of ['far', 'world']) {
    for (const path of ['/v1/leaderboard/around?user=ann&', '/v1/leaderboard/ranks?users=ann&', '/v1/leaderboard/view?', '/v1/users/ann/score?', '/v1/users/me/score?']) {
      assertError(await ask(bridge, `${path}board=${board}`, player), 400, 'INVALID_REQUEST');
    }
    assertError(await increment(bridge, cluster, 'ann', { action: { ...actionFor(cluster, 'ann'), board } }), 403, 'ACTION_NOT_ALLOWED');
  }
});
