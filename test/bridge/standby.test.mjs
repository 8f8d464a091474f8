/*
 * A bridge and servers of which one follows the other: how long it takes until clients have a list of a new primary, and what is answered
 * by a standby.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, assertError, award, increment, messageOf, openEvents, openSocket, published } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';

const PATIENCE_MS = 30000; /* for a failover in a test, on whatever machine; what it took is in the diagnostics */

let primary;
let standby;

before(async () => {
  primary = await startCluster({ ...UNLIMITED, wal_retrieve_retry_interval: '200ms' });
  await primary.sql("INSERT INTO scoreboard.board (name, visibility) VALUES ('members', 'token')");
  await award(primary, 'ann', 300);
  await award(primary, 'ben', 200);
  await award(primary, 'ann', 30, 'members');
  await award(primary, 'hid', 9);
  await primary.sql("SELECT scoreboard_hide('hid') \\g /dev/null");
  await published(primary, 'ben', 200);
  standby = await primary.standby();
});

after(async () => {
  await standby?.stop();
  await primary?.stop();
});

async function keep(t, starting) {
  const thing = await starting;
  t.after(() => thing.stop());
  return thing;
}

const list = (ends, attributes) => `host=${ends.map(() => '127.0.0.1')} port=${ends.map(({ port }) => port)} user=test_bridge dbname=scoreboard ${attributes}`;
const isReady = async (bridge) => (await ask(bridge, '/ready')).status === 200;
const bearer = (user) => ({ authorization: `Bearer ${tokenFor(primary, user)}` });

async function bridgeTo(t, database) {
  const bridge = await keep(t, startBridge(primary, ['--database', database, '--metrics-listen', '127.0.0.1:0'], { ready: false }));
  await until('readiness', () => isReady(bridge));
  return bridge;
}

const onStandby = (t) => bridgeTo(t, `host=${standby.directory} user=test_bridge dbname=scoreboard`);

test('a standby answers whatever is read, and says of the rest that it is not the primary', async (t) => {
  const bridge = await onStandby(t);
  const read = async (path, headers = {}) => {
    const answer = await ask(bridge, path, { headers });
    assert.equal(answer.status, 200, `${path}: ${answer.text}`);
    return answer.json;
  };
  assert.deepEqual((await read('/v1/leaderboard/top')).entries.map(({ userId, score }) => [userId, score]), [['ann', 300], ['ben', 200]]);
  assert.equal((await read('/v1/leaderboard/top?limit=1&skip=1')).entries[0].userId, 'ben');
  assert.equal((await read('/v1/leaderboard/view?users=ben', bearer('ann'))).own.rank, 1);
  assert.equal((await read('/v1/leaderboard/around?user=ben')).entries.length, 2);
  assert.equal((await read('/v1/leaderboard/ranks?users=ben,ann')).entries.length, 2);
  assert.equal((await read('/v1/users/ben/score')).rank, 2);
  assert.equal((await read('/v1/boards')).boards.length, 1);
  assert.equal((await read('/v1/boards', bearer('ann'))).boards.length, 2);
  assert.equal((await read('/v1/users/me/score', bearer('ann'))).score, 300);
  assert.equal((await read('/v1/users/me/actions', bearer('ann'))).actions.length, 1);
  assert.equal((await read('/v1/leaderboard/top?board=members', bearer('ann'))).entries[0].score, 30);
  assertError(await ask(bridge, '/v1/leaderboard/top?board=members'), 401, 'UNAUTHORIZED');
  assertError(await increment(bridge, primary, 'ann'), 503, 'UNAVAILABLE');
  assertError(await ask(bridge, '/v1/stream-tickets', { method: 'POST', headers: { ...bearer('ann'), 'content-length': '0' } }), 503, 'UNAVAILABLE');
  assertError(await ask(bridge, '/v1/users/me/visibility', { method: 'PUT', body: '{"listed":false}', headers: { ...bearer('ann'), 'content-type': 'application/json' } }), 503, 'UNAVAILABLE');
  assert.ok(await isReady(bridge));
  assert.deepEqual(bridge.log.filter(({ level }) => level === 'error'), []);
});

test('streams of a bridge at a standby have each list soon after it is replayed', async (t) => {
  const bridge = await onStandby(t);
  const streams = [await openSocket(bridge), await openEvents(bridge), await openSocket(bridge, { headers: bearer('ben') }), await openEvents(bridge, { headers: bearer('hid') })];
  await award(primary, 'ben', 1);
  const message = messageOf(await published(primary, 'ben', 201));
  for (const stream of streams) await stream.receives(message);
  await until("the player's own place", () => streams[2].own.some(({ score }) => score === 201));
  await until('the place of one who stands in no list', () => streams[3].own.some(({ score, rank }) => score > 0 && rank === null));
  for (const stream of streams) assert.ok(stream.statuses.every(({ live }) => live));
  streams.forEach((stream) => stream.close());
});

test('while there is no primary a bridge that may read anywhere reads from the standby, and leaves it', async (t) => {
  const [toStandby, toPrimary] = [await keep(t, DatabaseProxy.start(standby)), await keep(t, DatabaseProxy.start(primary))];
  const bridge = await bridgeTo(t, list([toStandby, toPrimary], 'target_session_attrs=any'));
  const stream = await openSocket(bridge);
  assert.equal((await increment(bridge, primary, 'cid')).status, 200);
  await toPrimary.shut();
  await until('a list by the standby', async () => (await ask(bridge, '/ready')).status === 200 && bridge.log.some(({ msg }) => msg === 'reading from a standby'));
  assert.equal((await ask(bridge, '/v1/users/ann/score')).json.score, 300);
  await award(primary, 'cora', 7000);
  await stream.receives(messageOf(await published(primary, 'cora', 7000)));
  await toPrimary.open();
  await until('an increment', async () => (await increment(bridge, primary, 'cid')).status === 200);
  await until('notifications', () => toPrimary.asked(/^LISTEN/).length > 1);
  assert.equal(stream.closed, null);
  stream.close();
});

test('after a long outage whoever reaches the server first brings the others', async (t) => {
  const proxy = await keep(t, DatabaseProxy.start(primary));
  const bridge = await keep(t, startBridge(primary, ['--database', proxy.conninfo(), '--reconnect-max', '10m'], { ready: false }));
  await until('readiness', () => isReady(bridge));
  proxy.refusals = Infinity;
  proxy.cut();
  const before = proxy.opened;
  await until('long pauses', () => proxy.opened >= before + 28);
  proxy.refusals = 0;
  const refused = proxy.opened;
  await until('one to come through', () => proxy.opened > refused);
  const begun = Date.now();
  await until('readiness', () => isReady(bridge));
  const took = Date.now() - begun;
  t.diagnostic(`${took} ms from the first connection to readiness`);
  assert.ok(took < 3000, `${took} ms`);
});

/* The standby in the primary's place, and a new standby. */
async function succeed() {
  await standby.control('promote');
  const old = primary;
  primary = standby;
  standby = null;
  return old;
}

for (const [how, vanish] of [
  ['packets dropped', (proxy) => { proxy.mute = true; proxy.freeze(); }],
  ['connections refused', (proxy) => proxy.shut()],
]) {
  test(`the primary is killed, ${how}: clients stay connected and have the new one's list`, async (t) => {
    const proxies = [await keep(t, DatabaseProxy.start(primary)), await keep(t, DatabaseProxy.start(standby))];
    const bridge = await bridgeTo(t, list(proxies, 'target_session_attrs=read-write'));
    const toStandby = await keep(t, DatabaseProxy.start(standby));
    const near = await bridgeTo(t, toStandby.conninfo());
    const streams = [await openSocket(bridge), await openEvents(bridge), await openSocket(near)];
    const hidden = [await openSocket(bridge, { headers: bearer('hid') }), await openEvents(near, { headers: bearer('hid') })];
    const isTold = (score) => () => hidden.every(({ own }) => own.at(-1)?.score === score);
    const before = Number(await primary.sql("SELECT scoreboard_me(token => :'token') ->> 'score'", { token: tokenFor(primary, 'hid') }));
    await until('what a hidden player is told', isTold(before));
    assert.equal(toStandby.asked(/^LISTEN/).length, 0);
    assert.equal((await increment(bridge, primary, 'dan')).status, 200);
    await until('the standby to have it', async () => await standby.sql("SELECT count(*) FROM scoreboard.player WHERE user_id = 'dan'") === '1');
    const begun = Date.now();
    const late = (what, condition) => until(what, async () => {
      assert.ok(Date.now() - begun < PATIENCE_MS, `${what} takes too long`);
      return condition();
    });
    const waiting = increment(bridge, primary, 'eve'); /* whatever becomes of it */
    await vanish(proxies[0]);
    await primary.kill();
    const old = await succeed();
    await late("a list of the new primary's", () => streams.every((stream) => JSON.parse(stream.last).version >= begun));
    t.diagnostic(`${how}: ${Date.now() - begun} ms from the kill to the first list`);
    await late('an increment', async () => (await increment(bridge, primary, 'dan')).status === 200);
    t.diagnostic(`${how}: ${Date.now() - begun} ms from the kill to the first increment`);
    await late('the other bridge to listen', () => toStandby.asked(/^LISTEN/).length === 1);
    await late('an increment through it', async () => (await increment(near, primary, 'dan')).status === 200);
    await award(primary, 'hid', 1);
    await award(primary, 'dan', 1);
    await late('what a hidden player is told, by a pass of before', isTold(before + 1));
    const { status } = await waiting;
    assert.ok([200, 503].includes(status), `${status}`);
    const { entries } = (await ask(bridge, '/v1/leaderboard/view?limit=10')).json;
    assert.equal(entries.map(({ userId, score }) => `${userId} ${score}`).join(), await primary.sql(`SELECT string_agg(user_id || ' ' || score, ',' ORDER BY score DESC, reached_at)
      FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE board_id = 1 AND listed`));
    assert.deepEqual(entries.map(({ rank }) => rank), entries.map((_, n) => n + 1));
    for (const stream of [...streams, ...hidden]) {
      assert.equal(stream.closed, null);
      stream.close();
    }
    await old.stop();
    standby = await primary.standby();
  });
}
