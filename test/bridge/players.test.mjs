/*
 * /v1/users: anybody's score, and what a token's own player may see and set.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { ask, assertError, award, increment } from './clients.mjs';

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster({ 'scoreboard.rate_limit': 30, 'scoreboard.burst_limit': 0 });
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('second')");
  for (const [user, points] of [['ann', 30], ['bob/ü "', 20], ['hidden', 10], ['me', 5]]) await award(cluster, user, points);
  await cluster.sql("SELECT scoreboard_hide('hidden') \\g /dev/null");
  bridge = await startBridge(cluster);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const bearer = (user, headers = {}) => ({ authorization: `Bearer ${tokenFor(cluster, user)}`, ...headers });
const as = (user, path) => ask(bridge, path, { headers: bearer(user) });
const choose = (user, body, headers = {}) => ask(bridge, '/v1/users/me/visibility', { method: 'PUT', body: typeof body === 'string' ? body : JSON.stringify(body),
  headers: { 'content-type': 'application/json', ...(user && bearer(user)), ...headers } });

test("anybody's score", async () => {
  const { json, headers } = await ask(bridge, '/v1/users/ann/score');
  assert.deepEqual(json, { userId: 'ann', displayName: json.displayName, board: 'global', season: 1, score: 30, rank: 1, players: 3, percentile: 100 * 2 / 3 });
  assert.equal(headers.get('cache-control'), 'public, no-cache');
  assert.equal((await ask(bridge, `/v1/users/${encodeURIComponent('bob/ü "')}/score?board=global&season=1`)).json.score, 20);
  assertError(await ask(bridge, '/v1/users/bob/ü/score'), 404, 'NOT_FOUND');
  for (const id of ['nobody', 'hidden']) assertError(await ask(bridge, `/v1/users/${id}/score`), 404, 'NOT_FOUND');
  for (const path of ['%ff', '%00', '%c2%85', 'x'.repeat(256)]) assertError(await ask(bridge, `/v1/users/${path}/score`), 400, 'INVALID_REQUEST');
  for (const query of ['colour=red', 'board=A', 'season=x']) assertError(await ask(bridge, `/v1/users/ann/score?${query}`), 400, 'INVALID_REQUEST');
  assertError(await ask(bridge, '/v1/users//score'), 404, 'NOT_FOUND');
});

test("a token's own score, hidden or not, played or not", async () => {
  const own = await as('ann', '/v1/users/me/score');
  assert.equal(own.json.score, 30);
  assert.equal(own.headers.get('cache-control'), 'no-store');
  assert.equal(own.headers.get('referrer-policy'), 'no-referrer');
  assert.equal((await as('me', '/v1/users/me/score')).json.userId, 'me');
  const hidden = (await as('hidden', '/v1/users/me/score?board=global')).json;
  assert.deepEqual([hidden.score, hidden.rank], [10, null]);
  assert.equal((await as('hidden', '/v1/users/hidden/score')).json.score, 10);
  const never = (await as('never', '/v1/users/me/score?board=second')).json;
  assert.deepEqual([never.score, never.rank, never.players, never.percentile], [0, null, 0, null]);
});

test('without a token nobody is meant by "me", and a bad one is nobody\'s', async () => {
  for (const [path, options] of [['/v1/users/me/score'], ['/v1/users/me/actions'], ['/v1/users/me/visibility', { method: 'PUT', body: '{"listed":false}' }]]) {
    for (const authorization of [undefined, 'Basic YTpi', 'Bearer', 'Bearer ', 'Bearer a.b.c', `Bearer ${tokenFor(cluster, 'ann').slice(0, -2)}xx`]) {
      const headers = { ...(authorization && { authorization }), ...(options && { 'content-type': 'application/json' }) };
      assertError(await ask(bridge, path, { ...options, headers }), 401, 'UNAUTHORIZED');
    }
    assertError(await ask(bridge, `${path}?user=ann`, { ...options, headers: bearer('ann', options && { 'content-type': 'application/json' }) }), 400, 'INVALID_REQUEST');
  }
});

test('own actions, page by page', async () => {
  const sent = [];
  for (let i = 0; i < 5; i++) {
    const action = actionFor(cluster, 'pia', { actionId: `act ${i} ","`, board: 'second' });
    assert.equal((await increment(bridge, cluster, 'pia', { action })).status, 200);
    sent.unshift(action.actionId);
  }
  const first = await as('pia', '/v1/users/me/actions?board=second&limit=2');
  assert.equal(first.headers.get('cache-control'), 'no-store');
  assert.deepEqual(Object.keys(first.json), ['board', 'actions', 'cursor']);
  assert.deepEqual({ ...first.json.actions[0], countedAt: 0 }, { actionId: sent[0], actionType: 'COMPLETE_LEVEL', season: 1, appliedPoints: 100, previousScore: 400, score: 500, countedAt: 0 });
  const seen = [];
  let page = first.json;
  for (;;) {
    seen.push(...page.actions.map(({ actionId }) => actionId));
    if (page.cursor === null) break;
    page = (await as('pia', `/v1/users/me/actions?board=second&limit=2&cursor=${encodeURIComponent(page.cursor)}`)).json;
  }
  assert.deepEqual(seen, sent);
  assert.equal((await as('pia', '/v1/users/me/actions?board=second')).json.cursor, null);
  /* One that an administrator takes back stands there, with since when. */
  const undone = await cluster.sql(`SELECT to_char(undone_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') FROM scoreboard_undo('pia', 'act 3 ","', 'why')`);
  assert.deepEqual((await as('pia', '/v1/users/me/actions?board=second')).json.actions.map(({ undoneAt }) => undoneAt), [undefined, undone, undefined, undefined, undefined]);
  assert.deepEqual((await as('pia', '/v1/users/me/actions')).json.actions, []);
  /* Another player's cursor shows nothing of that player's. */
  assert.deepEqual((await as('ann', `/v1/users/me/actions?board=second&cursor=${first.json.cursor}`)).json.actions, []);
  for (const query of ['limit=0', 'limit=1001', 'cursor=', 'cursor=x', 'cursor=%ff', 'cursor=AAAA', `cursor=${'A'.repeat(4000)}`, 'board=A', 'season=1', 'skip=1']) {
    assertError(await as('pia', `/v1/users/me/actions?${query}`), 400, 'INVALID_REQUEST');
  }
  assertError(await as('pia', '/v1/users/me/actions?board=nowhere'), 404, 'NOT_FOUND');
});

test('a player leaves the lists, and comes back', async () => {
  const listed = async (user) => (await ask(bridge, `/v1/users/${user}/score`)).status === 200;
  const out = await choose('ann', { listed: false, unknown: 1 });
  assert.deepEqual(out.json, { userId: 'ann', listed: false, anonymous: false });
  assert.equal(out.headers.get('cache-control'), 'no-store');
  assert.equal(out.headers.get('idempotency-key'), null);
  assert.equal(await listed('ann'), false);
  await until('the list without', async () => !(await ask(bridge, '/v1/leaderboard/top')).text.includes('"ann"'));
  assert.deepEqual((await choose('ann', { listed: true, anonymous: true })).json, { userId: 'ann', listed: true, anonymous: true });
  assert.equal(await listed('ann'), true);
  assert.deepEqual((await choose('ann', { listed: true, anonymous: false })).json, { userId: 'ann', listed: true, anonymous: false });
  await until('the list with', async () => (await ask(bridge, '/v1/leaderboard/top')).text.includes('"ann"'));
  await choose('hidden', { listed: true });
  assert.equal(await listed('hidden'), false);
});

test('a choice that is none is refused, and changes nothing', async () => {
  for (const body of ['', '{}', '[]', 'null', '{', '{"listed":null}', '{"listed":1}', '{"listed":"true"}', '{"listed":true,"listed":false}', '{"listed":true,"anonymous":null}',
    '{"anonymous":true}', '{"listed":true} x', '{"listed":true,"x":"\\ud800"}', '\ufeff{"listed":true}', `{"listed":true,"x":${'['.repeat(5000)}`]) {
    assertError(await choose('ann', body), 400, 'INVALID_REQUEST');
  }
  assertError(await choose('ann', '{"listed":false}', { 'content-type': 'text/plain' }), 415, 'UNSUPPORTED_MEDIA_TYPE');
  assertError(await choose(null, '{'), 400, 'INVALID_REQUEST');
  assert.equal(await cluster.sql("SELECT unlisted OR anonymous FROM scoreboard.player WHERE user_id = 'ann'"), 'f');
  for (const method of ['GET', 'POST', 'DELETE']) {
    const answer = await ask(bridge, '/v1/users/me/visibility', { method });
    assertError(answer, 405, 'METHOD_NOT_ALLOWED');
    assert.equal(answer.headers.get('allow'), 'PUT');
  }
});

test('choices count in the rate windows', async () => {
  const limited = await until('the limit', async () => {
    const answer = await choose('eve', { listed: true });
    return answer.status !== 200 && answer;
  });
  assertError(limited, 429, 'RATE_LIMITED');
  assert.ok(limited.json.error.hint);
});

test('a page of an allowed origin may choose', async () => {
  const foreign = await startBridge(cluster, ['--allowed-origins', 'https://game.test']);
  const preflight = await ask(foreign, '/v1/users/me/visibility', { method: 'OPTIONS', headers: { origin: 'https://game.test', 'access-control-request-method': 'PUT' } });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get('access-control-allow-methods'), 'PUT');
  await foreign.stop();
});
