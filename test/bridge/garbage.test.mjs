/*
 * Bytes that nobody would send: each ends its own connection at most, while an ordinary client goes on as if nothing were.
 *
 * The bytes are drawn from a seed, which a failure names; GARBAGE_SEED=... draws the same again, GARBAGE_ROUNDS=... draws more.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, assertAlive, inParallel, increment, openEvents, openSocket, stored } from './clients.mjs';
import { generator, spoilBody, spoilFrames, spoilRequest } from './spoiling.mjs';

const SEED = Number(process.env.GARBAGE_SEED ?? 20260101);
const ROUNDS = Number(process.env.GARBAGE_ROUNDS ?? 900);

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--max-connections-per-address', '2000', '--head-timeout', '1s', '--body-timeout', '200ms', '--idle-timeout', '1s']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const kinds = [(draw) => spoilRequest(bridge, cluster, draw), (draw) => spoilBody(bridge, cluster, draw), (draw) => spoilFrames(bridge, draw)];

test(`garbage (seed ${SEED}) harms nobody but its sender`, async () => {
  const clients = [await openSocket(bridge), await openEvents(bridge)];
  let running = true;
  let counted = 0;
  const ordinary = (async () => {
    while (running) {
      const answer = await increment(bridge, cluster, 'ordinary', { action: actionFor(cluster, 'ordinary') });
      assert.equal(answer.status, 200, answer.text);
      counted++;
    }
  })();
  const draw = generator(SEED);
  await inParallel(Array.from({ length: ROUNDS }), 20, async (_, i) => {
    const raw = await kinds[i % kinds.length](draw);
    await until('the bytes to be sent', () => raw.ended || (!raw.socket.connecting && raw.socket.writableLength === 0));
    await new Promise(setImmediate);
    if (draw(2)) raw.close();
    else if (draw(2)) raw.socket.end();
    else raw.socket.resetAndDestroy();
  });
  running = false;
  await ordinary;
  await assertAlive(bridge);
  assert.equal(await cluster.sql("SELECT score FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id = 'ordinary'"), `${100 * counted}`);
  const last = await until('the last version', async () => {
    const document = await stored(cluster);
    return JSON.parse(document).entries.some(({ userId, score }) => userId === 'ordinary' && score === 100 * counted) && document;
  });
  for (const stream of clients) {
    await until('the final list', () => JSON.parse(stream.last).version >= JSON.parse(last).version);
    assert.equal(stream.closed, null);
    stream.close();
  }
  assert.ok(!bridge.log.some(({ level }) => level === 'error'), JSON.stringify(bridge.log.find(({ level }) => level === 'error')));
});
