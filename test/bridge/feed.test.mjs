/*
 * News from the database: nothing published is missed, whatever comes in between, and what anybody may shout into the channel costs next
 * to nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, award, messageOf, openSocket, published, stored } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';

const DOCUMENTS = /scoreboard\.documents/;

let cluster;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql(`CREATE ROLE stranger LOGIN; INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('quick', 10), ('third', 10)`);
  await until('the new boards to be published', async () => await stored(cluster, 'quick') && stored(cluster, 'third'));
});

after(() => cluster?.stop());

/* A bridge that hears of news by notifications alone, unless it is told to look. */
async function listener(t, ...settings) {
  const proxy = await DatabaseProxy.start(cluster);
  t.after(() => proxy.stop());
  const bridge = await startBridge(cluster, ['--database', proxy.conninfo(), '--look-interval', '1h', '--reconnect-max', '200ms', ...settings]);
  t.after(() => bridge.stop('SIGKILL'));
  const stream = await openSocket(bridge, { query: '?board=global,quick' });
  t.after(() => stream.close());
  return { bridge, proxy, stream };
}

let points = 1000;

/* A new first on a board; the message that tells of it. */
async function news(board = 'global') {
  const user = `winner-${++points}`;
  await award(cluster, user, points, board);
  return messageOf(await published(cluster, user, points, board));
}

const shout = (...payloads) => cluster.sql(payloads.map((payload) => `NOTIFY scoreboard, '${payload}';`).join('\n'));

const hint = (board, version) => JSON.stringify({ board, version });

test('what is published while a new connection reads is not missed', async (t) => {
  const { proxy, stream } = await listener(t);
  const trap = proxy.hold(DOCUMENTS);
  proxy.cut();
  await trap.catches();
  const message = await news();
  trap.release();
  await stream.receives(message);
});

for (const board of ['global', 'quick']) {
  test(`what is published of ${board} while a read for global is under way is not missed`, async (t) => {
    const { proxy, stream } = await listener(t);
    const trap = proxy.hold(DOCUMENTS);
    const first = await news();
    await trap.catches();
    const second = await news(board);
    trap.release();
    await stream.receives(second);
    if (stream.messages.includes(first)) assert.ok(stream.messages.indexOf(first) < stream.messages.indexOf(second));
  });
}

test('however many false hints stand, a true one is followed', async (t) => {
  const { proxy, stream } = await listener(t);
  const trap = proxy.hold(DOCUMENTS);
  const first = await news();
  await trap.catches();
  await shout(...Array.from({ length: 200 }, (_, i) => hint(`x${i}`, 1e15)), ...Array.from({ length: 200 }, (_, i) => hint('third', 9e15 + i)));
  const second = await news('quick');
  trap.release();
  await stream.receives(second);
  await stream.receives(first);
});

test('what is no hint at all is nothing', async (t) => {
  const { bridge, proxy, stream } = await listener(t);
  const before = proxy.asked(DOCUMENTS).length;
  await shout('', '{', '[]', '{}', 'null', '"global"', '[[[[[[', '{"board":"global"}', '{"version":9e15}', hint('global', 'x'), hint('global', 1.5), hint('global', -1),
    hint('global', null), hint(['global'], 9e15), hint('', 9e15), hint('x'.repeat(64), 9e15), hint('x'.repeat(7000), 9e15), hint('nowhere', 9e15),
    '{"board":"global","version":99999999999999999999}', `{"board":"glo\\u0000bal","version":9000000000000000}`, hint('global', 1), '['.repeat(7000));
  await stream.receives(await news());
  assert.ok(proxy.asked(DOCUMENTS).length - before <= 4, 'news cost a read, and so may the number out of range');
  assert.equal((await ask(bridge, '/ready')).status, 200);
});

test('a hint that never comes true costs a few reads, not one after the other', async (t) => {
  const { proxy, stream } = await listener(t);
  await shout(hint('third', 9e15));
  await until('it to be followed', () => proxy.asked(DOCUMENTS).length >= 2);
  const before = proxy.asked(DOCUMENTS).length;
  for (let i = 0; i < 10; i++) await stream.receives(await news('quick'));
  assert.ok(proxy.asked(DOCUMENTS).length - before <= 30, `${proxy.asked(DOCUMENTS).length - before} reads`);
});

/* A role without any rights that shouts some thousand times a second until the test is over: boards that there are not, one that there
   is and that never has such a version, the one of which there is news, rubbish. */
function flood(t) {
  const psql = spawn(join(process.env.PG_BINDIR, 'psql'), ['-XqAt'], { env: { ...cluster.environment, PGUSER: 'stranger' }, stdio: ['pipe', 'ignore', 'ignore'] });
  psql.stdin.end(`DO $$
    DECLARE i bigint := 0;
    BEGIN
      LOOP
        FOR k IN 1..10 LOOP
          i := i + 1;
          PERFORM pg_notify('scoreboard', json_build_object('board', 'x' || i % 1000, 'version', 9000000000000000 + i % 7)::text);
          PERFORM pg_notify('scoreboard', json_build_object('board', 'third', 'version', 9000000000000000 + i)::text);
          PERFORM pg_notify('scoreboard', json_build_object('board', 'quick', 'version', 9000000000000000 + i)::text);
          PERFORM pg_notify('scoreboard', repeat('[', (i % 700)::int));
        END LOOP;
        COMMIT;
        PERFORM pg_sleep(0.002);
      END LOOP;
    END $$;\n`);
  const end = async () => {
    await cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'stranger' \\g /dev/null");
    if (psql.exitCode === null) await once(psql, 'exit');
  };
  t.after(end);
  return end;
}

const NEWS = 25;

/* Milliseconds from a list's making to its message, in the middle of several. */
async function delay(stream) {
  const delays = [];
  const take = (data) => { delays.push(Date.now() - Date.parse(JSON.parse(data).updatedAt)); };
  stream.socket.on('message', take);
  for (let i = 0; i < NEWS; i++) await stream.receives(await news('quick'));
  stream.socket.off('message', take);
  return delays.sort((a, b) => a - b)[delays.length >> 1];
}

test('a flood of forged hints costs few reads and holds up no news', async (t) => {
  const { bridge, proxy, stream } = await listener(t);
  const start = proxy.asked(DOCUMENTS).length;
  const quiet = await delay(stream);
  const quietReads = proxy.asked(DOCUMENTS).length - start;
  const end = flood(t);
  await until('the flood', async () => Number(await cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'stranger'")) > 0);
  const [before, from] = [proxy.asked(DOCUMENTS).length, performance.now()];
  const flooded = await delay(stream);
  const [reads, seconds] = [proxy.asked(DOCUMENTS).length - before, (performance.now() - from) / 1000];
  await end();
  t.diagnostic(`${quiet} ms, ${flooded} ms under the flood, ${reads} reads in ${seconds.toFixed(1)} s, ${quietReads} before`);
  assert.ok(reads <= NEWS + 10 + 3 * seconds, `${reads} reads in ${seconds} s`);
  assert.ok(flooded <= 10 * quiet + 50, `${flooded} ms instead of ${quiet}`);
  assert.equal((await ask(bridge, '/ready')).status, 200);
});

test('reads are so far apart, however many boards have news', async (t) => {
  const COUNT = 20;
  await cluster.sql(`INSERT INTO scoreboard.board (name, publish_interval_ms) SELECT 'many-' || i, 10 FROM generate_series(0, ${COUNT - 1}) i`);
  await until('the boards', async () => await cluster.sql("SELECT count(*) FROM scoreboard.top WHERE board LIKE 'many-%'") === `${COUNT}`);
  const { bridge, proxy, stream } = await listener(t);
  await stream.receives(await news());
  const before = proxy.asked(DOCUMENTS).length;
  await cluster.sql(`DO $$
    DECLARE
      name text;
      number bigint;
    BEGIN
      FOR i IN 1..20 * ${COUNT} LOOP
        name := 'many-' || i % ${COUNT};
        UPDATE scoreboard.top SET version = version + 1, document = replace(document, '"version":' || version, '"version":' || version + 1)
          WHERE board = name RETURNING version INTO number;
        PERFORM pg_notify('scoreboard', json_build_object('board', name, 'version', number)::text);
        COMMIT;
        PERFORM pg_sleep(0.001);
      END LOOP;
    END $$;`);
  const last = await stored(cluster, 'many-0');
  await until('the last of them', async () => (await ask(bridge, '/v1/leaderboard/top?board=many-0')).text === last);
  /* 10 ms are between an answer, which goes by way of us, and the next question. */
  const rests = proxy.asked(DOCUMENTS).slice(before + 1).map(({ rest }) => rest);
  assert.ok(rests.length >= 2 && rests.every((rest) => rest >= 8), rests.join());
});

test('a document with an older version than the one in memory is not taken', async (t) => {
  const { bridge, proxy } = await listener(t, '--look-interval', '50ms');
  await until('the newest list', async () => (await ask(bridge, '/v1/leaderboard/top?board=third')).text === await stored(cluster, 'third'));
  const { text } = await ask(bridge, '/v1/leaderboard/top?board=third');
  const older = JSON.parse(text).version - 1;
  await cluster.sql(`UPDATE scoreboard.top SET version = ${older}, document = replace(replace(document, '"players":', '"players":1'), '"version":${older + 1}', '"version":${older}') WHERE board = 'third'`);
  const before = proxy.asked(DOCUMENTS).length;
  await until('two more looks', () => proxy.asked(DOCUMENTS).length >= before + 3);
  assert.equal((await ask(bridge, '/v1/leaderboard/top?board=third')).text, text);
  await award(cluster, 'climber', 10, 'third');
  const document = await published(cluster, 'climber', 10, 'third');
  assert.ok(JSON.parse(document).version >= older);
});

test('readiness ends when a look is not answered, though the connections stand', async (t) => {
  const { bridge, proxy, stream } = await listener(t, '--look-interval', '200ms');
  const opened = proxy.opened;
  proxy.freeze();
  await until('readiness to end', async () => (await ask(bridge, '/ready')).status === 503);
  assert.equal(proxy.opened, opened, 'before it was connected anew');
  assert.equal(proxy.asked(DOCUMENTS).at(-1).connection.closed, false);
  proxy.thaw();
  await until('readiness', async () => (await ask(bridge, '/ready')).status === 200);
  await stream.receives(await news());
});
