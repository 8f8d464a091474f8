/*
 * season.end: who has had a list of the season that ends is told so, once and before the first list of the next one, and nobody else is.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, award, openEvents, openSocket, published } from './clients.mjs';

let cluster;
let bridge;
const open = [];

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql(`INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('weekly', 'reset', 10), ('other', 'forever', 10)`);
  for (const board of ['weekly', 'other']) {
    await award(cluster, 'ann', 30, board);
    await published(cluster, 'ann', 30, board);
  }
  bridge = await startBridge(cluster, ['--look-interval', '100ms']);
});

after(async () => {
  open.forEach((one) => one.close());
  await bridge?.stop();
  await cluster?.stop();
});

const reset = () => cluster.sql("SELECT scoreboard_reset_season('weekly') \\g /dev/null");
const lists = (one, season) => one.messages.map((text) => JSON.parse(text)).filter((list) => list.board === 'weekly' && list.season === season);
const first = (one, season) => until(`a list of season ${season}`, () => lists(one, season)[0]);

async function stream(kind) {
  open.push(await kind(bridge, { query: '?board=weekly,other' }));
  return open.at(-1);
}

test('is told over both kinds of streams, before the empty list of the next season', async () => {
  const streams = [await stream(openSocket), await stream(openEvents)];
  for (const one of streams) await until('the score', () => lists(one, 1).some(({ entries }) => entries.length));
  await reset();
  for (const one of streams) {
    const list = await first(one, 2);
    assert.deepEqual(list.entries, []);
    assert.equal(one.seasons.length, 1);
    const { after: before, ...message } = one.seasons[0];
    assert.deepEqual(message, { type: 'season.end', board: 'weekly', season: 1, nextSeason: 2, version: list.version });
    assert.deepEqual(one.messages.slice(before).map((text) => JSON.parse(text)).filter(({ board, season }) => board === 'weekly' && season === 1), []);
    assert.ok(one.messages.slice(0, before).map((text) => JSON.parse(text)).every(({ season }) => season === 1));
  }
});

test('is told once, and not to who comes when it is over', async () => {
  const late = await stream(openSocket);
  await first(late, 2);
  await award(cluster, 'ben', 20, 'weekly');
  for (const one of open) await until('the score', () => lists(one, 2).some(({ entries }) => entries.length));
  assert.deepEqual(open.map((one) => one.seasons.length), [1, 1, 0]);
  await reset();
  for (const one of open) await first(one, 3);
  assert.deepEqual(open.map((one) => one.seasons.map(({ season }) => season)), [[1, 2], [1, 2], [2]]);
});

test('of a board that nobody looks at, it is told to nobody', async () => {
  await award(cluster, 'ann', 40, 'other');
  for (const one of open) await until('the score', () => one.messages.some((text) => text.includes('"score":70')));
  assert.ok(open.every((one) => one.seasons.every(({ board }) => board === 'weekly')));
});
