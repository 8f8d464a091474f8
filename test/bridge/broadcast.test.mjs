/*
 * A broadcast gives way: it goes in slices with everybody else's turns in between, whoever wasn't reached when the next version comes
 * gets only that one, and whoever comes or goes meanwhile changes that for nobody.
 *
 * Sending is slowed down (slow_send.c), so that a broadcast lasts a second and its order can be seen from here.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { RawSocket, UNLIMITED, ask, award, frame, openEvents, openSocket, published } from './clients.mjs';

const run = promisify(execFile);
const CLIENTS = 400;

let cluster;
let bridge;
let slowly;
let streams = [];
const scores = { global: 0, side: 0 };

before(async () => {
  cluster = await startCluster(UNLIMITED);
  slowly = join(cluster.directory, 'slowly');
  const preload = join(cluster.directory, 'slow_send.so');
  await run('gcc', ['-shared', '-fPIC', '-o', preload, new URL('slow_send.c', import.meta.url).pathname, '-ldl']);
  await cluster.sql("UPDATE scoreboard.board SET publish_interval_ms = 10; INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('side', 10)");
  bridge = await startBridge(cluster, ['--max-connections-per-address', '2000'], { environment: { LD_PRELOAD: preload, SLOWLY: slowly,
    ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:verify_asan_link_order=0` } });
  await until('the other board', async () => (await ask(bridge, '/v1/leaderboard/top?board=side')).status === 200);
});

afterEach(async () => {
  await rm(slowly, { force: true });
  streams.forEach((stream) => stream.close());
  streams = [];
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const sends = (how) => writeFile(slowly, how);
const slow = () => sends('s');

/** Scores of ann's that the stream was given behind its first list. */
const seen = (stream) => stream.messages.slice(1).map((text) => JSON.parse(text).entries[0].score);
const have = (all, score) => all.filter((stream) => seen(stream).includes(score));

/** So many streams of both kinds in this order, each with its first list. */
async function gather(count, query = '') {
  const all = [];
  for (let i = 0; i < count; i++) {
    all.push(i % 2 ? await openSocket(bridge, { query }) : await openEvents(bridge, { query }));
    streams.push(all[i]);
  }
  for (const stream of all) await until('the first list', () => stream.messages.length > 0);
  return all;
}

/** Publishes ann's next score, which is returned. */
async function publish(board = 'global') {
  scores[board]++;
  await award(cluster, 'ann', 1, board);
  await published(cluster, 'ann', scores[board], board);
  return scores[board];
}

/** Publishes, and waits until some of them, but not all, have been reached. */
async function begin(all, board) {
  const score = await publish(board);
  await until('the first to be reached', () => have(all, score).length > 0);
  return score;
}

const everybodyHas = (all, score) => until('everybody to be reached', () => have(all, score).length === all.length);

test('requests have their turn within a broadcast', async () => {
  const all = await gather(CLIENTS);
  await slow();
  const score = await begin(all);
  for (let i = 0; i < 3; i++) assert.equal((await ask(bridge, '/health')).status, 200);
  const reached = have(all, score).length;
  assert.ok(reached < CLIENTS / 2, `three answers came when ${reached} of ${CLIENTS} had the list`);
  await everybodyHas(all, score);
  assert.ok(all.every((stream) => stream.messages.length === 2));
});

test('whoever was not reached when the next version comes gets only that one, and nobody is always the last', async () => {
  const all = await gather(CLIENTS);
  await slow();
  const older = await begin(all);
  const early = have(all, older);
  const newer = await publish();
  await everybodyHas(all, newer);
  const both = have(all, older);
  assert.ok(both.length >= early.length && both.length < CLIENTS, `${both.length} of ${CLIENTS} got both`);
  for (const stream of all) assert.deepEqual(seen(stream), both.includes(stream) ? [older, newer] : [newer]);
});

test('the walk goes on where it stands: those behind come before those that have had a list', async () => {
  const all = await gather(CLIENTS);
  const order = [];
  await slow();
  const older = await begin(all);
  const newer = await publish();
  await until('the last to be reached', () => {
    all.forEach((stream) => { if (!order.includes(stream) && seen(stream).includes(newer)) order.push(stream); });
    return order.length === CLIENTS;
  });
  const both = have(all, older);
  const half = order.slice(0, Math.floor((CLIENTS - both.length) / 2));
  assert.ok(half.length > 10);
  assert.ok(half.every((stream) => !both.includes(stream)), 'one was given its second list while others waited for their first');
});

test('two boards are walked side by side', async () => {
  const [one, other] = [await gather(CLIENTS), await gather(CLIENTS, '?board=side')];
  await slow();
  const first = await begin(one);
  const second = await begin(other, 'side');
  const reached = have(one, first).length;
  assert.ok(reached < CLIENTS, `the other board's news began behind ${reached}`);
  await until('more of both', () => have(one, first).length > reached + 40 && have(other, second).length > 40);
  assert.ok(have(other, second).length < CLIENTS, 'one board had to wait for the other');
  await everybodyHas(one, first);
  await everybodyHas(other, second);
  assert.ok([...one, ...other].every((stream) => stream.messages.length === 2));
});

test('whoever leaves within a broadcast takes nobody\'s list with it', async () => {
  const all = await gather(CLIENTS);
  await slow();
  const score = await begin(all);
  /* Of those before the walk and behind it, so that the last take the places of both. */
  const left = new Set(all.filter((_, i) => i % 3 === 0));
  left.forEach((stream) => stream.close());
  const stay = all.filter((stream) => !left.has(stream));
  await everybodyHas(stay, score);
  assert.ok(stay.every((stream) => stream.messages.length === 2), 'a list came twice');
});

test('whoever has its list and leaves takes nobody else\'s with it', async () => {
  const all = await gather(CLIENTS);
  const order = [];
  await slow();
  const score = await begin(all);
  await until('some of them to be reached', () => {
    all.forEach((stream) => { if (!order.includes(stream) && have([stream], score).length) order.push(stream); });
    return order.length >= 70;
  });
  /* The last of all take the places of those behind the walk, where it comes by at its very end only. */
  const left = new Set(order.slice(-40));
  left.forEach((stream) => stream.close());
  const stay = all.filter((stream) => !left.has(stream));
  await everybodyHas(stay, score);
  assert.ok(stay.every((stream) => stream.messages.length === 2), 'a list came twice');
});

test('whose socket takes nothing of a list at first gets the newest one whole', async () => {
  const all = await gather(20);
  await sends('f');
  const older = await publish();
  /* They have been walked by when the next version is known. */
  await until('the bridge to know the list', async () => JSON.stringify((await ask(bridge, '/v1/leaderboard/top?limit=1')).json).includes(`"score":${older}`));
  const newer = await publish();
  await sends(' ');
  await everybodyHas(all, newer);
  for (const stream of all) {
    assert.ok([newer, `${older},${newer}`].some((one) => String(one) === seen(stream).join()), seen(stream).join());
    assert.equal(stream.closed, null);
  }
});

test('a list does not come into the middle of a pong', async () => {
  const other = await openEvents(bridge);
  streams.push(other);
  const raw = await RawSocket.open(bridge);
  await until('the list', () => raw.frames().some(({ payload }) => payload.includes('"entries":[')));
  const from = raw.received.length;
  await sends('t');
  raw.send(frame('pong '.repeat(20), { opcode: 9 }));
  await until('the first byte of the pong', () => raw.received.length > from);
  assert.equal(raw.received.length, from + 1);
  const score = await publish();
  await until('a stream to have it', () => other.messages.some((text) => text.includes(`"score":${score}`)));
  await sends(' ');
  await until('the list', () => raw.frames().some(({ payload }) => payload.includes(`"score":${score}`)));
  assert.ok(raw.frames().some(({ opcode, payload }) => opcode === 10 && `${payload}` === 'pong '.repeat(20)));
  raw.close();
});

test('whoever comes within a broadcast gets the list once', async () => {
  const all = await gather(CLIENTS);
  await slow();
  /* A walk that began in the middle, and comes to the front of the array behind the new ones. */
  await begin(all);
  const score = await begin(all);
  const late = await Promise.all([openSocket(bridge), openEvents(bridge)]);
  streams.push(...late);
  for (const stream of late) await until('the list', () => stream.messages.length > 0);
  await everybodyHas(all, score);
  const last = await publish();
  await everybodyHas(all, last);
  for (const stream of late) {
    await until('the next list', () => seen(stream).includes(last));
    assert.deepEqual(stream.messages.map((text) => JSON.parse(text).entries[0].score), [score, last]);
  }
});

test('a stream that was half told of its boards when news came has each list once, the newest last', async () => {
  const all = await gather(CLIENTS / 2, '?board=side,global');
  await slow();
  const side = await begin(all, 'side');
  const global = await publish('global');
  await until('both lists everywhere', () => all.every((stream) => stream.messages.length >= 4));
  for (const stream of all) {
    const lists = stream.messages.map((text) => JSON.parse(text));
    assert.equal(lists.length, 4);
    for (const [board, score] of Object.entries({ side, global })) {
      const versions = lists.filter((list) => list.board === board);
      assert.equal(versions.length, 2);
      assert.ok(versions[0].version < versions[1].version);
      assert.equal(versions[1].entries[0].score, score);
    }
  }
});
