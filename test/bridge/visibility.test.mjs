/*
 * Boards that not everybody may see, and what becomes of a board's list and streams when an administrator changes that.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { STREAM, UNLIMITED, ask, assertError, award, openEvents, openSocket, published } from './clients.mjs';

const TOP = '/v1/leaderboard/top';
const EVENTS = { headers: { accept: 'text/event-stream' } };

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql(`INSERT INTO scoreboard.board (name, visibility, permission)
    VALUES ('open', 'public', NULL), ('turning', 'public', NULL), ('players', 'token', NULL), ('club', 'permission', 'club')`);
  for (const board of ['open', 'turning', 'players', 'club']) {
    await award(cluster, 'ann', 10, board);
    await published(cluster, 'ann', 10, board);
  }
  bridge = await startBridge(cluster, ['--look-interval', '100ms']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const setVisibility = (board, visibility, permission = null) => cluster.sql(
  "UPDATE scoreboard.board SET visibility = :'visibility', permission = nullif(:'permission', '') WHERE name = :'board'",
  { board, visibility, permission: permission ?? '' });

test('a stream shows no board that not everybody may see, not beside others either', async () => {
  for (const boards of ['players', 'club', 'open,players', 'players,open']) {
    assertError(await ask(bridge, `${STREAM}?board=${boards}`, EVENTS), 401, 'UNAUTHORIZED');
    await assert.rejects(openSocket(bridge, { query: `?board=${boards}` }), /401/);
  }
});

test('a list that not everybody may see is refused without a token, and a tag does not open it', async () => {
  for (const board of ['players', 'club']) {
    for (const headers of [{}, { 'if-none-match': '*' }]) {
      assertError(await ask(bridge, `${TOP}?board=${board}`, { headers }), 401, 'UNAUTHORIZED');
    }
  }
});

test('a list that not everybody may see is shown to who may see it, and is not kept by anybody on the way', async () => {
  const bearer = (claims) => ({ headers: { authorization: `Bearer ${tokenFor(cluster, 'ann', claims)}` } });
  for (const [board, token] of [['players', bearer()], ['club', bearer({ permissions: ['other', 'club'] })]]) {
    const answer = await ask(bridge, `${TOP}?board=${board}&limit=1`, token);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.entries[0].userId, 'ann');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
    assert.equal(answer.headers.get('etag'), null);
    assert.deepEqual((await ask(bridge, `${TOP}?board=${board}&skip=1`, token)).json.entries, []);
  }
  assertError(await ask(bridge, `${TOP}?board=club`, bearer()), 403, 'ACTION_NOT_ALLOWED');
  assertError(await ask(bridge, `${TOP}?board=club`, bearer({ permissions: ['clu', 'club '] })), 403, 'ACTION_NOT_ALLOWED');
  assertError(await ask(bridge, `${TOP}?board=players`, { headers: { authorization: 'Bearer x.y.z' } }), 401, 'UNAUTHORIZED');
});

test('what the database answers of a board is shown to nobody else either', async () => {
  const permitted = { headers: { authorization: `Bearer ${tokenFor(cluster, 'ann', { permissions: ['club'] })}` } };
  const player = { headers: { authorization: `Bearer ${tokenFor(cluster, 'ann')}` } };
  for (const path of ['/v1/leaderboard/around?user=ann&', '/v1/leaderboard/ranks?users=ann&', '/v1/leaderboard/view?', '/v1/users/ann/score?', '/v1/users/me/score?', '/v1/users/me/actions?']) {
    assertError(await ask(bridge, `${path}board=club`), 401, 'UNAUTHORIZED');
    assertError(await ask(bridge, `${path}board=club`, player), 403, 'ACTION_NOT_ALLOWED');
    assert.equal((await ask(bridge, `${path}board=club`, permitted)).status, 200, path);
    assert.equal((await ask(bridge, `${path}board=players`, player)).status, 200, path);
  }
  const boards = async (options) => (await ask(bridge, '/v1/boards', options)).json.boards.map(({ board }) => board).sort();
  assert.deepEqual(await boards(), ['global', 'open', 'turning']);
  assert.deepEqual(await boards(player), ['global', 'open', 'players', 'turning']);
  assert.deepEqual(await boards(permitted), ['club', 'global', 'open', 'players', 'turning']);
});

test('a board that is not public any more is shown to nobody from then on; its streams end, others go on', async () => {
  const sockets = [await openSocket(bridge, { query: '?board=turning' }), await openSocket(bridge, { query: '?board=open,turning' })];
  const events = await openEvents(bridge, { query: '?board=turning' });
  const other = await openSocket(bridge, { query: '?board=open' });
  assert.equal((await ask(bridge, `${TOP}?board=turning`)).status, 200);
  await setVisibility('turning', 'token');
  await until('the streams to end', () => sockets.every(({ closed }) => closed) && events.closed);
  for (const { closed } of sockets) assert.equal(closed.code, 1001);
  assertError(await ask(bridge, `${TOP}?board=turning`), 401, 'UNAUTHORIZED');
  assertError(await ask(bridge, `${STREAM}?board=turning`, EVENTS), 401, 'UNAUTHORIZED');
  await award(cluster, 'ann', 1, 'open');
  await published(cluster, 'ann', 11, 'open');
  await other.later(0, ({ entries }) => entries[0].score === 11);
  assert.equal(other.closed, null);
  other.close();
  await setVisibility('turning', 'public');
  await until('it to be public again', async () => (await ask(bridge, `${TOP}?board=turning`)).status === 200);
});
