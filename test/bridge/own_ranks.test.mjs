/*
 * me.update: a stream's player is told where it stands itself, when that has changed, and nobody else is.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, award, openEvents, openSocket, published, stored } from './clients.mjs';

let cluster;
let bridge;
const open = [];

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql(`UPDATE scoreboard.board SET publish_interval_ms = 10;
    INSERT INTO scoreboard.board (name, publish_interval_ms, visibility) VALUES ('side', 10, 'public'), ('players', 10, 'token')`);
  bridge = await startBridge(cluster, ['--look-interval', '100ms']);
  for (const [user, points] of [['ann', 30], ['ben', 20], ['carl', 10]]) await award(cluster, user, points);
});

afterEach(() => open.splice(0).forEach((stream) => stream.close()));

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

async function stream(user, { kind = openSocket, query = '' } = {}) {
  open.push(await kind(bridge, { query, headers: user ? { authorization: `Bearer ${tokenFor(cluster, user)}` } : {} }));
  return open.at(-1);
}

const told = (one, wanted, board = 'global') => until(`${JSON.stringify(wanted)} of ${board}`, () => one.own.findLast((message) => message.board === board
  && Object.entries(wanted).every(([name, value]) => message[name] === value)));

test('at once, and with everything, over both kinds of streams', async () => {
  for (const kind of [openSocket, openEvents]) {
    const one = await stream('ben', { kind });
    const message = await told(one, { score: 20 });
    assert.deepEqual(Object.keys(message), ['type', 'board', 'season', 'version', 'userId', 'score', 'rank', 'players']);
    const { version } = JSON.parse(await stored(cluster));
    assert.deepEqual(message, { type: 'me.update', board: 'global', season: 1, version, userId: 'ben', score: 20, rank: 2, players: 3 });
  }
});

test('what it says is what scoreboard_me says, also of who has no score, or stands in no list', async () => {
  await award(cluster, 'hid', 99);
  await cluster.sql("SELECT scoreboard_hide('hid') \\g /dev/null");
  await until('the list without it', async () => !(await stored(cluster)).includes('hid'));
  assert.deepEqual(await told(await stream('hid'), { score: 99 }).then(({ rank, players }) => ({ rank, players })), { rank: null, players: 3 });
  assert.deepEqual(await told(await stream('nobody'), { score: 0 }).then(({ rank, players }) => ({ rank, players })), { rank: null, players: 3 });
  for (const user of ['ann', 'carl']) {
    const { score, rank, players } = JSON.parse(await cluster.sql("SELECT scoreboard_me(token => :'token')", { token: tokenFor(cluster, user) }));
    await told(await stream(user), { score, rank, players, userId: user });
  }
});

test('who is hidden in the midst of its streams goes on being told, by token or ticket, at any bridge, whatever becomes of the server', async (t) => {
  const other = await startBridge(cluster, ['--look-interval', '100ms']);
  t.after(() => other.stop());
  const { ticket } = (await ask(bridge, '/v1/stream-tickets', { method: 'POST', headers: { authorization: `Bearer ${tokenFor(cluster, 'sly')}`, 'content-length': '0' } })).json;
  await award(cluster, 'sly', 1);
  const streams = [await stream('sly'), await openSocket(bridge, { query: `?ticket=${ticket}` }), await openEvents(other, { headers: { authorization: `Bearer ${tokenFor(cluster, 'sly')}` } })];
  open.push(...streams.slice(1));
  for (const one of streams) await told(one, { score: 1, rank: 4 });
  await cluster.sql("SELECT scoreboard_hide('sly') \\g /dev/null");
  for (const one of streams) await told(one, { score: 1, rank: null, players: 3 });
  await award(cluster, 'sly', 1);
  await award(cluster, 'ann', 1); /* who isn't listed makes no new list */
  for (const one of streams) await told(one, { score: 2, rank: null });
  await cluster.shutdown('immediate');
  await until('the bridges to notice', () => streams.every((one) => one.statuses.at(-1).live === false));
  await cluster.revive();
  await award(cluster, 'sly', 1);
  await award(cluster, 'ann', -1);
  for (const one of streams) await told(one, { score: 3, rank: null });
  await cluster.sql("SELECT scoreboard_hide('sly', false) \\g /dev/null");
  for (const one of streams) await told(one, { score: 3, rank: 4, players: 4 });
  await cluster.sql("SELECT scoreboard_forget('sly') \\g /dev/null");
  for (const one of streams) await told(one, { score: 0, rank: null, players: 3 });
  assert.ok(streams.every(({ closed }) => closed === null));
});

test('who is hidden and whose pass is good no more is told nothing, and troubles nobody', async () => {
  const [one, listed] = [await stream('hid'), await stream('ann')];
  await told(one, { score: 99 });
  await cluster.sql('UPDATE scoreboard.pass_key SET secret = scoreboard.random_secret()');
  await award(cluster, 'hid', 1);
  await award(cluster, 'ann', 1);
  await told(listed, { score: 31 });
  assert.equal(one.own.at(-1).score, 99);
  await told(await stream('hid'), { score: 100, rank: null }); /* a pass of the new key is good */
  await award(cluster, 'ann', -1);
  await told(listed, { score: 30, rank: 1 });
  assert.equal(one.closed, null);
});

test('when it changes, by others too, to each of the player\'s streams', async () => {
  const streams = [await stream('ben'), await stream('ben', { kind: openEvents }), await stream('ben', { query: '?board=side,global' })];
  for (const one of streams) await told(one, { rank: 2 });
  await award(cluster, 'carl', 15);
  for (const one of streams) await told(one, { rank: 3, score: 20 });
  await award(cluster, 'ben', 40);
  for (const one of streams) await told(one, { rank: 1, score: 60 });
  await award(cluster, 'new', 1);
  for (const one of streams) await told(one, { players: 4, score: 60 });
});

test('of each board of the stream, private ones too', async () => {
  await award(cluster, 'ben', 5, 'players');
  await published(cluster, 'ben', 5, 'players');
  await until('the bridge to know', async () => (await stream('ben', { query: '?board=players' })).messages.length >= 0);
  const one = await stream('ben', { query: '?board=players,side' });
  await told(one, { score: 5, rank: 1, players: 1 }, 'players');
  await told(one, { score: 0, rank: null, players: 0 }, 'side');
  await award(cluster, 'ben', 2, 'side');
  await told(one, { score: 2, rank: 1, players: 1 }, 'side');
});

test('nothing where nothing has changed, and nothing to anybody else', async () => {
  const [one, anybody, other] = [await stream('ann'), await stream(null), await stream('carl')];
  await told(one, { score: 30 });
  await told(other, { score: 25 });
  const before = one.own.length;
  /* New lists without new places: names. A change afterwards shows that the rounds go on. */
  for (const name of ['A', 'B', 'C']) {
    await cluster.sql("SELECT scoreboard_set_profile('new', :'name') \\g /dev/null", { name });
    await one.later(0, ({ entries }) => entries.some(({ displayName }) => displayName === name));
  }
  await award(cluster, 'ann', 1);
  await told(one, { score: 31 });
  assert.equal(one.own.length, before + 1);
  assert.ok(one.own.every(({ userId }) => userId === 'ann'));
  assert.ok(other.own.every(({ userId }) => userId === 'carl'));
  assert.deepEqual(anybody.own, []);
});

test('at most once a second, however often it changes', async () => {
  const one = await stream('ann');
  await told(one, { score: 31 });
  const [from, began] = [one.own.length, Date.now()];
  for (let score = 32; score <= 61; score++) await award(cluster, 'ann', 1);
  await told(one, { score: 61 });
  const rounds = Math.floor((Date.now() - began) / 1000) + 2;
  assert.ok(one.own.length - from <= rounds, `${one.own.length - from} in ${rounds} rounds`);
});

test('it goes on after the database was away', async () => {
  const one = await stream('ann');
  await told(one, { score: 61 });
  await cluster.shutdown('immediate');
  await until('the bridge to notice', () => one.statuses.at(-1).live === false);
  await cluster.revive();
  await award(cluster, 'ann', 1);
  await told(one, { score: 62 });
  assert.equal(one.closed, null);
});

test('a board that goes is no trouble for the others', async () => {
  await cluster.sql("INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('fleeting', 10)");
  await award(cluster, 'ann', 7, 'fleeting');
  await published(cluster, 'ann', 7, 'fleeting');
  const one = await until('a stream of it', () => stream('ann', { query: '?board=fleeting,global' }).catch(() => null));
  await told(one, { score: 7 }, 'fleeting');
  await cluster.sql("DELETE FROM scoreboard.board WHERE name = 'fleeting'");
  await award(cluster, 'ann', 1);
  await told(one, { score: 63 });
});

test('many players are told, each its own', async () => {
  const count = 150;
  const users = Array.from({ length: count }, (_, i) => `many-${i}`);
  await cluster.sql(`SELECT count(*) FROM generate_series(0, ${count - 1}) i, scoreboard_increment_for('many-' || i, 'AWARD', 'm', 'side', points => 1000 + i) \\g /dev/null`);
  const streams = [];
  for (const [i, user] of users.entries()) streams.push(await stream(user, { kind: i % 2 ? openSocket : openEvents, query: '?board=side' }));
  for (const [i, one] of streams.entries()) await told(one, { score: 1000 + i, rank: count - i, userId: users[i] }, 'side');
});
