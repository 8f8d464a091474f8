/*
 * POST /v1/scores/increment: what is counted, what is replayed, and every refusal that the database or the bridge can give today,
 * each with its code, status, id and headers.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { now } from '../lib/signing.mjs';
import { UNLIMITED, ask, assertError, increment, published } from './clients.mjs';

let cluster;
let bridge;

const players = (user) => cluster.sql("SELECT count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = :'user'", { user });

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

test('an increment is counted and answered in full', async () => {
  const before = Date.now();
  const answer = await increment(bridge, cluster, 'ann');
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(Object.keys(answer.json),
    ['userId', 'board', 'season', 'previousScore', 'score', 'appliedPoints', 'rank', 'version', 'updatedAt', 'replayed']);
  const { version, updatedAt, ...rest } = answer.json;
  assert.deepEqual(rest, { userId: 'ann', board: 'global', season: 1, previousScore: 0, score: 100, appliedPoints: 100, rank: 1, replayed: false });
  assert.ok(version > 0 && Math.abs(Date.parse(updatedAt) - before) < 60000);
  assert.match(updatedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
});

test('board is global where none is given, points come with bounds and a signature', async () => {
  const { board, ...action } = actionFor(cluster, 'bea', { actionType: 'BONUS', points: 7 });
  assert.equal(board, 'global');
  const { json } = await increment(bridge, cluster, 'bea', { action });
  assert.equal(json.appliedPoints, 7);
  assert.equal(json.board, 'global');
});

/* Whoever may create in the API's schema: a second function makes a call by that name ambiguous, whatever its arguments' types. */
test('functions of others beside the API stop nothing', async () => {
  await cluster.sql(`CREATE FUNCTION scoreboard_submit(json, integer DEFAULT 0) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
    CREATE FUNCTION scoreboard_documents(json, integer DEFAULT 0) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'`);
  const another = await startBridge(cluster);
  assert.equal((await increment(another, cluster, 'eve')).status, 200);
  assert.equal((await increment(bridge, cluster, 'eve')).status, 200);
  await published(cluster, 'eve', 200);
  for (const of of [bridge, another]) await until('the bridge to show it', async () => (await ask(of, '/v1/leaderboard/top')).json.entries.some((entry) => entry.userId === 'eve' && entry.score === 200));
  await another.stop();
  await cluster.sql('DROP FUNCTION scoreboard_submit(json, integer); DROP FUNCTION scoreboard_documents(json, integer)');
});

test('the same request under the same key is answered word for word', async () => {
  const action = actionFor(cluster, 'cid');
  const first = await increment(bridge, cluster, 'cid', { action, key: 'key-1' });
  assert.equal(first.headers.get('idempotency-key'), 'key-1');
  await increment(bridge, cluster, 'cid');
  const again = await increment(bridge, cluster, 'cid', { action, key: 'key-1' });
  assert.deepEqual(again.json, { ...first.json, replayed: true });
  assert.equal(again.text, first.text.replace('"replayed":false', '"replayed":true'));
  assert.equal(await players('cid'), '2');
});

test('many at once under one key are one', async () => {
  const action = actionFor(cluster, 'dan');
  const answers = await Promise.all(Array.from({ length: 20 }, () => increment(bridge, cluster, 'dan', { action, key: 'k' })));
  assert.ok(answers.every(({ status }) => status === 200));
  assert.equal(answers.filter(({ json }) => !json.replayed).length, 1);
  assert.equal(new Set(answers.map(({ json }) => JSON.stringify({ ...json, replayed: 0 }))).size, 1);
  assert.equal(await players('dan'), '1');
});

test('a key is made where none is given, and works for a retry', async () => {
  const action = actionFor(cluster, 'eli');
  const first = await increment(bridge, cluster, 'eli', { action });
  const key = first.headers.get('idempotency-key');
  assert.match(key, /^[!-~]{16,255}$/);
  assert.equal((await increment(bridge, cluster, 'eli', { action, key })).json.replayed, true);
  assert.notEqual((await increment(bridge, cluster, 'eli')).headers.get('idempotency-key'), key);
});

test('every answer carries the key, a refusal too', async () => {
  for (const request of [{ token: 'bad' }, { body: '{' }, { token: null }, { headers: { 'content-type': 'text/plain' } }]) {
    const answer = await increment(bridge, cluster, 'fin', { ...request, key: 'mine' });
    assert.ok(answer.status >= 400);
    assert.equal(answer.headers.get('idempotency-key'), 'mine');
    assert.match((await increment(bridge, cluster, 'fin', request)).headers.get('idempotency-key'), /^[!-~]{16,}$/);
  }
});

test('the id of the request stands with the action and in the log, the address too', async () => {
  const action = actionFor(cluster, 'gil');
  const answer = await increment(bridge, cluster, 'gil', { action, headers: { 'x-request-id': 'trace-"\\1' } });
  assert.equal(answer.headers.get('x-request-id'), 'trace-"\\1');
  assert.equal(await cluster.sql("SELECT request_id, client_address FROM scoreboard.action WHERE action_id = :'id'", { id: action.actionId }),
    'trace-"\\1|127.0.0.1');
  await until('its line in the log', () => bridge.log.some((line) => line.request_id === 'trace-"\\1' && line.status === 200));
});

/* code → requests that must be refused with it. Each function makes the options of increment() for a player of its own. */
const refusals = {
  '400 INVALID_REQUEST': {
    'a member that is missing': () => ({ action: { actionType: 'COMPLETE_LEVEL' } }),
    'a type that is no text': (user) => ({ action: { ...actionFor(cluster, user), actionId: 5 } }),
    'points where the type fixes them': (user) => ({ action: actionFor(cluster, user, { points: 5 }) }),
    'no points where the type leaves them open': (user) => ({ action: actionFor(cluster, user, { actionType: 'BONUS' }) }),
    'points out of bounds': (user) => ({ action: actionFor(cluster, user, { actionType: 'BONUS', points: 1001 }) }),
    'a receipt without its time': (user) => ({ action: { ...actionFor(cluster, user), issuedAt: undefined } }),
    'an id that is too long': (user) => ({ action: actionFor(cluster, user, { actionId: 'x'.repeat(256) }) }),
    'an id with a control character': (user) => ({ action: actionFor(cluster, user, { actionId: 'a\u0085b' }) }),
    'metadata that is no object': (user) => ({ action: { ...actionFor(cluster, user), metadata: [1] } }),
    'metadata that is too large': (user) => ({ action: { ...actionFor(cluster, user), metadata: { x: 'y'.repeat(4096) } } }),
    'an idempotency key that is too long': () => ({ key: 'k'.repeat(256) }),
    'an idempotency key with a space': () => ({ key: 'a b' }),
    'an empty idempotency key': () => ({ headers: { 'idempotency-key': '' } }),
  },
  '401 UNAUTHORIZED': {
    'no token': () => ({ token: null }),
    'rubbish for a token': () => ({ token: 'rubbish' }),
    'a token of another kind': () => ({ headers: { authorization: 'Basic YTpi' }, token: null }),
    'an empty token': () => ({ headers: { authorization: 'Bearer ' }, token: null }),
    'an expired token': (user) => ({ token: tokenFor(cluster, user, { iat: now() - 900, exp: now() - 300 }) }),
    'a token of another issuer': (user) => ({ token: tokenFor(cluster, user, { iss: 'https://other.test' }) }),
    'a token whose signature is cut': (user) => ({ token: tokenFor(cluster, user).slice(0, -4) }),
    'a token that is too long': (user) => ({ token: tokenFor(cluster, user, { x: 'y'.repeat(9000) }) }),
    'a token with a quote': () => ({ token: 'a"b' }),
  },
  '403 INVALID_SIGNATURE': {
    'no receipt': (user) => ({ action: { ...actionFor(cluster, user), receipt: undefined, issuedAt: undefined } }),
    "another player's receipt": () => ({ action: actionFor(cluster, 'somebody') }),
    'an ill-formed receipt': (user) => ({ action: { ...actionFor(cluster, user), receipt: 'v1:x' } }),
    'points other than signed': (user) => ({ action: { ...actionFor(cluster, user, { actionType: 'BONUS', points: 5 }), points: 6 } }),
  },
  '403 RECEIPT_EXPIRED': {
    'an old receipt': (user) => ({ action: actionFor(cluster, user, { issuedAt: now() - 600 }) }),
    'a receipt from the future': (user) => ({ action: actionFor(cluster, user, { issuedAt: now() + 600 }) }),
  },
  '403 ACTION_NOT_ALLOWED': {
    'an unknown action': (user) => ({ action: actionFor(cluster, user, { actionType: 'FLY' }) }),
    "a trusted server's action": (user) => ({ action: actionFor(cluster, user, { actionType: 'AWARD', points: 5 }) }),
  },
  '404 NOT_FOUND': { 'an unknown board': (user) => ({ action: actionFor(cluster, user, { board: 'nowhere' }) }) },
};

for (const [expected, requests] of Object.entries(refusals)) {
  for (const [what, options] of Object.entries(requests)) {
    test(`${what}: ${expected}`, async () => {
      const user = `refused-${randomBytes(4).toString('hex')}`;
      const answer = await increment(bridge, cluster, user, options(user));
      assertError(answer, Number(expected.slice(0, 3)), expected.slice(4));
      assert.equal(answer.headers.get('cache-control'), 'no-store');
      assert.equal(await players(user), '0');
    });
  }
}

test('an action that was counted: 409 DUPLICATE_ACTION under another key', async () => {
  const action = actionFor(cluster, 'hob');
  await increment(bridge, cluster, 'hob', { action, key: 'one' });
  assertError(await increment(bridge, cluster, 'hob', { action, key: 'two' }), 409, 'DUPLICATE_ACTION');
  assertError(await increment(bridge, cluster, 'hob', { action }), 409, 'DUPLICATE_ACTION');
});

test("the database's hint comes with its refusal", async () => {
  const { text, json } = await increment(bridge, cluster, 'gus', { action: actionFor(cluster, 'gus', { board: 'nowhere' }) });
  assert.match(text, /^\{"error":\{"code":"[A-Z_]+","message":".+","hint":".+","requestId":"[^"]+"\}\}$/);
  await cluster.sql(`DO $$
    DECLARE hint text;
    BEGIN
      PERFORM scoreboard_increment_for('gus', 'AWARD', 'x', 'nowhere', 1);
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
      ASSERT hint = '${json.error.hint.replaceAll("'", "''")}', hint;
    END $$`);
});

test('another request under the same key: 422 IDEMPOTENCY_MISMATCH', async () => {
  const actionId = 'the-one';
  await increment(bridge, cluster, 'ida', { action: actionFor(cluster, 'ida', { actionType: 'BONUS', actionId, points: 5 }), key: 'one' });
  assertError(await increment(bridge, cluster, 'ida', { action: actionFor(cluster, 'ida', { actionType: 'BONUS', actionId, points: 6 }), key: 'one' }),
    422, 'IDEMPOTENCY_MISMATCH');
});

test('a suspended player: 403 PLAYER_SUSPENDED', async () => {
  await increment(bridge, cluster, 'jon');
  await cluster.sql("UPDATE scoreboard.player SET state = 'frozen' WHERE user_id = 'jon'");
  assertError(await increment(bridge, cluster, 'jon'), 403, 'PLAYER_SUSPENDED');
});

test('too many on a board: 429 RATE_LIMITED with the time to wait, to the second', async () => {
  await cluster.sql("INSERT INTO scoreboard.board (name, rate_limit) VALUES ('slow', 1)");
  const attempt = async () => {
    const began = performance.now();
    const answer = await increment(bridge, cluster, 'mia', { action: actionFor(cluster, 'mia', { board: 'slow' }) });
    return { answer, began, ended: performance.now() };
  };
  const first = await attempt();
  assert.equal(first.answer.status, 200);
  const second = await attempt();
  assertError(second.answer, 429, 'RATE_LIMITED');
  const wait = Number(second.answer.headers.get('retry-after'));
  assert.ok(wait >= Math.ceil(60 - (second.ended - first.began + 1) / 1000) && wait <= Math.ceil(60 - (second.began - first.ended - 1) / 1000), `${wait}`);
  assert.equal((await increment(bridge, cluster, 'mia')).status, 200, 'other boards are not concerned');
});

test('a quota that is used up: 429 QUOTA_EXCEEDED, and so many seconds later there is room', async () => {
  await cluster.sql("INSERT INTO scoreboard.action_type (name, points, hourly_quota) VALUES ('HOURLY', 1, 1)");
  const attempt = (actionId, key) => increment(bridge, cluster, 'nat', { action: actionFor(cluster, 'nat', { actionType: 'HOURLY', actionId }), key });
  const began = performance.now();
  assert.equal((await attempt('one', 'k')).status, 200);
  const refused = await attempt('two', 'k');
  const passed = (performance.now() - began) / 1000;
  assertError(refused, 429, 'QUOTA_EXCEEDED');
  const wait = Number(refused.headers.get('retry-after'));
  assert.ok(wait >= Math.ceil(3600 - passed) && wait <= 3600, `${wait}`);
  assert.equal((await attempt('one', 'k')).status, 200, 'a retry is answered');
  await cluster.sql(`UPDATE scoreboard.action SET created_at = created_at - interval '${wait} seconds' WHERE action_id = 'one'`);
  assert.equal((await attempt('two', 'k')).status, 200);
});

test('too many in a minute: 429 RATE_LIMITED with the time to wait', async () => {
  await cluster.sql('ALTER SYSTEM SET scoreboard.rate_limit = 3');
  await cluster.sql('SELECT pg_reload_conf() \\g /dev/null');
  try {
    const answers = [];
    for (let i = 0; i < 30 && answers.at(-1)?.status !== 429; i++) answers.push(await increment(bridge, cluster, 'kim'));
    assertError(answers.at(-1), 429, 'RATE_LIMITED');
    assert.ok(Number(answers.at(-1).headers.get('retry-after')) <= 60);
    assert.equal((await increment(bridge, cluster, 'lou')).status, 200, 'another player is not concerned');
  } finally {
    await cluster.sql('ALTER SYSTEM RESET scoreboard.rate_limit');
    await cluster.sql('SELECT pg_reload_conf() \\g /dev/null');
  }
});

test('a defect: 500 INTERNAL without a word about it, the log knows it by the id', async () => {
  await cluster.sql(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'secret detail'; END $$;
    CREATE TRIGGER fail AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION fail();`);
  try {
    const answer = await increment(bridge, cluster, 'moe', { headers: { 'x-request-id': 'defect-1' } });
    assertError(answer, 500, 'INTERNAL');
    assert.ok(!answer.text.includes('secret'));
    await until('its line in the log', () => bridge.log.some((line) => line.level === 'error' && line.request_id === 'defect-1'));
  } finally {
    await cluster.sql('DROP TRIGGER fail ON scoreboard.action; DROP FUNCTION fail()');
  }
  assert.equal((await increment(bridge, cluster, 'moe')).status, 200);
});
