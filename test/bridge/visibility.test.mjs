/*
 * Boards that not everybody may see, and what becomes of a board's list and streams when an administrator changes that.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
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
