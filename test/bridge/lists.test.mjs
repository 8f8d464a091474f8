/*
 * Lists that memory does not hold: a player's neighbours, friends, a view, pages below the published list, and which boards there are.
 * The database answers them, within a deadline; what it refuses is told as it is.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, ask, assertError, award, openSession, published } from './clients.mjs';

const AROUND = '/v1/leaderboard/around';
const RANKS = '/v1/leaderboard/ranks';
const VIEW = '/v1/leaderboard/view';
const TOP = '/v1/leaderboard/top';
/* Ids that would lead astray whoever takes them for syntax. */
const ODD = ['a,b', 'c"d', 'e\\f', '{g}', 'NULL', 'ä&=+ %', "h'--", 'i/j', '\u{1f600}'];

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name, title, top_size) VALUES ('small', 'Small \"one\"', 3), ('odd', '', 10)");
  await cluster.sql("SELECT count(scoreboard_increment_for('p' || n, 'AWARD', 'first', 'small', points => n)) FROM generate_series(1, 9) n");
  for (const [i, user] of ODD.entries()) await award(cluster, user, i + 1, 'odd');
  await award(cluster, 'hidden', 100, 'small');
  await cluster.sql("SELECT scoreboard_hide('hidden') \\g /dev/null");
  await cluster.sql("SELECT scoreboard_set_profile('p5', 'Five \"5\"', 'https://img.test/5.png') \\g /dev/null");
  await published(cluster, 'p9', 9, 'small');
  await published(cluster, ODD.at(-1), ODD.length, 'odd');
  bridge = await startBridge(cluster, ['--look-interval', '100ms', '--database-timeout', '2s']);
  await until('the ranks', async () => (await cluster.sql("SELECT bool_and(rank_state = 'ready') FROM scoreboard_stats()")) === 't');
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const bearer = (user) => ({ headers: { authorization: `Bearer ${tokenFor(cluster, user)}` } });
const ids = ({ json }, member = 'entries') => json[member].map((entry) => entry && `${entry.rank} ${entry.userId}`);
const list = (users) => users.map(encodeURIComponent).join(',');

test('neighbours', async () => {
  const answer = await ask(bridge, `${AROUND}?board=small&user=p5&radius=1`);
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.json, { board: 'small', season: 1, players: 9, entries: [
    { rank: 4, userId: 'p6', displayName: answer.json.entries[0].displayName, score: 6 },
    { rank: 5, userId: 'p5', displayName: 'Five "5"', avatarUrl: 'https://img.test/5.png', score: 5 },
    { rank: 6, userId: 'p4', displayName: answer.json.entries[2].displayName, score: 4 }] });
  assert.equal(answer.headers.get('content-type'), 'application/json');
  assert.equal(answer.headers.get('cache-control'), 'public, no-cache');
  assert.deepEqual(ids(await ask(bridge, `${AROUND}?board=small&user=p9&radius=0&season=1`)), ['1 p9']);
  assert.equal((await ask(bridge, `${AROUND}?board=small&user=p5`)).json.entries.length, 9);
});

test('friends, best first; who stands in no list is left out', async () => {
  assert.deepEqual(ids(await ask(bridge, `${RANKS}?board=small&users=p1,p9,nobody,hidden,p5,p1`)), ['1 p9', '5 p5', '9 p1']);
  assert.deepEqual(ids(await ask(bridge, `${RANKS}?board=small&users=nobody`)), []);
});

test('users are split at commas before they are decoded', async () => {
  const expected = ODD.map((user, i) => `${ODD.length - i} ${user}`).reverse();
  assert.deepEqual(ids(await ask(bridge, `${RANKS}?board=odd&users=${list(ODD)}`)), expected);
  assert.deepEqual(ids(await ask(bridge, `${VIEW}?board=odd&users=${list([...ODD].reverse())}`), 'friends'), expected);
  assert.deepEqual(ids(await ask(bridge, `${RANKS}?board=odd&users=a,b`)), []);
  assert.deepEqual(ids(await ask(bridge, `${RANKS}?board=odd&user%73=a%2Cb`)), ['9 a,b']);
  for (const user of ODD) assert.deepEqual(ids(await ask(bridge, `${AROUND}?board=odd&radius=0&user=${encodeURIComponent(user)}`)).map((id) => id.slice(2)), [user]);
});

test('a view without a token has no own row; friends keep their places', async () => {
  const { json, headers } = await ask(bridge, `${VIEW}?board=small&limit=2&users=p3,hidden,p9`);
  assert.deepEqual(Object.keys(json), ['board', 'season', 'asOf', 'players', 'entries', 'own', 'next', 'neighbours', 'friends']);
  assert.deepEqual(ids({ json }), ['1 p9', '2 p8']);
  assert.deepEqual(ids({ json }, 'friends'), ['7 p3', null, '1 p9']);
  assert.deepEqual([json.own, json.next, json.neighbours], [null, null, []]);
  assert.equal(headers.get('cache-control'), 'public, no-cache');
  assert.equal((await ask(bridge, `${VIEW}?board=small`)).json.entries.length, 9);
});

test("a view with a token has its player's row, and is kept by nobody", async () => {
  const { json, headers } = await ask(bridge, `${VIEW}?board=small&radius=1&season=1`, bearer('p5'));
  assert.deepEqual({ ...json.own, ...json.next, percentile: json.own.percentile }, { rank: 4, userId: 'p6', displayName: json.next.displayName, score: 6, missing: 1,
    avatarUrl: 'https://img.test/5.png', percentile: 100 * 4 / 9 });
  assert.deepEqual(ids({ json }, 'neighbours'), ['4 p6', '5 p5', '6 p4']);
  assert.equal(headers.get('cache-control'), 'no-store');
  assert.equal(headers.get('referrer-policy'), 'no-referrer');
  const hidden = (await ask(bridge, `${VIEW}?board=small`, bearer('hidden'))).json.own;
  assert.deepEqual([hidden.rank, hidden.score], [null, 100]);
});

test('pages below the published list', async () => {
  assert.deepEqual(ids(await ask(bridge, `${TOP}?board=small`)), ['1 p9', '2 p8', '3 p7']);
  for (const [query, expected] of [['skip=3&limit=3', ['4 p6', '5 p5', '6 p4']], ['skip=2&limit=2', ['3 p7', '4 p6']], ['skip=8&limit=100', ['9 p1']],
    ['skip=9', []], ['skip=2147483647', []], ['skip=3&limit=1&season=1', ['4 p6']], ['skip=1&limit=2', ['2 p8', '3 p7']]]) {
    const answer = await ask(bridge, `${TOP}?board=small&${query}`);
    assert.deepEqual(ids(answer), expected, query);
    assert.equal(answer.json.players, 9);
    assert.equal('version' in answer.json, query === 'skip=1&limit=2', `${query} is from memory where that has it all`);
  }
  assertError(await ask(bridge, `${TOP}?board=small&season=2&skip=5`), 404, 'NOT_FOUND');
});

test('the boards', async () => {
  const { json, headers } = await ask(bridge, '/v1/boards');
  const small = json.boards.find(({ board }) => board === 'small');
  assert.deepEqual(json.boards.map(({ board }) => board), ['global', 'odd', 'small']);
  assert.deepEqual({ ...small, version: 0 }, { board: 'small', title: 'Small "one"', order: 'high', period: 'forever', visibility: 'public', players: 9, season: 1, version: 0 });
  assert.equal(headers.get('cache-control'), 'public, no-cache');
});

test('what is out of bounds, empty, doubled or unknown is refused before anybody is asked', async () => {
  const many = Array.from({ length: 101 }, (_, i) => `u${i}`).join(',');
  const refused = [
    ...['', 'user=', 'user=p5&user=p4', 'user=p5&radius=51', 'user=p5&radius=-1', 'user=p5&radius=1.5', 'user=p5&radius=', 'user=p5&season=x', 'user=p5&season=-1',
      'user=p5&board=A', 'user=p5&board=small,odd', 'user=p5&limit=1', 'user=%ff', 'user=%00', 'user=%c2%85', 'user=%ed%a0%80', `user=${'x'.repeat(256)}`].map((query) => `${AROUND}?${query}`),
    ...['', 'users=', 'users=,', 'users=a,,b', 'users=a,', `users=${many}`, 'users=a%00', 'users=%ff', 'users=a%0ab', 'users=a&users=b', 'users=a&radius=1', 'users=a&board='].map((query) => `${RANKS}?${query}`),
    ...['limit=0', 'limit=101', 'limit=x', 'radius=51', 'users=', 'users=a,,b', `users=${many}`, 'user=a', 'token=x', 'season=99999999999'].map((query) => `${VIEW}?${query}`),
    '/v1/boards?board=small', '/v1/boards?limit=1'];
  for (const path of refused) assertError(await ask(bridge, path), 400, 'INVALID_REQUEST');
  assert.equal((await ask(bridge, `${RANKS}?users=${many.slice(3)}`)).status, 200);
});

test('what the database refuses is told with its hint', async () => {
  for (const path of [`${AROUND}?board=nowhere&user=p5`, `${AROUND}?board=small&user=nobody`, `${AROUND}?board=small&user=hidden`, `${AROUND}?board=small&user=p5&season=2`,
    `${RANKS}?board=nowhere&users=a`, `${VIEW}?board=nowhere`, `${VIEW}?season=2`]) {
    const answer = await ask(bridge, path);
    assertError(answer, 404, 'NOT_FOUND');
    assert.ok(answer.json.error.hint, path);
  }
  for (const path of [`${AROUND}?board=small&user=p5`, `${RANKS}?users=a`, VIEW, '/v1/boards', `${TOP}?board=small&skip=3`]) {
    assertError(await ask(bridge, path, { headers: { authorization: 'Bearer a.b.c' } }), 401, 'UNAUTHORIZED');
  }
});

test('HEAD is GET without the body', async () => {
  for (const path of [`${AROUND}?board=small&user=p5`, `${RANKS}?board=small&users=p1`, '/v1/boards', `${AROUND}?user=nobody`]) {
    const get = await ask(bridge, path);
    const raw = new Raw(bridge).send(`HEAD ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await raw.ends();
    const { size, status, headers } = raw.head();
    assert.equal(raw.received.length, size);
    assert.equal(status, get.status);
    if (status === 200) assert.equal(headers['content-length'], get.headers.get('content-length'));
  }
});

test('an answer that the database does not give in time is 503, and is cancelled there', async () => {
  const end = await openSession(cluster, 'BEGIN; LOCK TABLE scoreboard.player IN ACCESS EXCLUSIVE MODE; SELECT \'held\';');
  for (const path of [`${AROUND}?board=small&user=p5`, `${VIEW}?board=small`]) assertError(await ask(bridge, path), 503, 'UNAVAILABLE');
  assert.equal((await ask(bridge, `${TOP}?board=small`)).status, 200);
  await until('what was given up to be cancelled', async () => (await cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'test_bridge' AND wait_event_type = 'Lock'")) === '0');
  await end('ROLLBACK');
  await until('answers again', async () => (await ask(bridge, `${AROUND}?board=small&user=p5`)).status === 200);
});

test('a client that leaves before its answer leaves nothing behind', async () => {
  for (let i = 0; i < 50; i++) new Raw(bridge).send(`GET ${VIEW}?board=small&users=p1,p2 HTTP/1.1\r\nHost: x\r\n\r\n`).close();
  assert.equal((await ask(bridge, `${VIEW}?board=small`)).status, 200);
});
