/*
 * What a stream carries: the stored document at once, every version after it, the same bytes over WebSocket and server-sent events,
 * and never a step back.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { EventSource } from 'eventsource';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { UNLIMITED, Raw, STREAM, Versions, ask, award, increment, messageOf, openEvents, openSocket, published, stored } from './clients.mjs';

let cluster;
let bridge;
const open = [];

/* Streams that end with the test's file, whatever happens in between. */
const socket = async (options) => { open.push(await openSocket(bridge, options)); return open.at(-1); };
const events = async (options) => { open.push(await openEvents(bridge, options)); return open.at(-1); };

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('side', 10), ('third', 10), ('hand', 10)");
  bridge = await startBridge(cluster, ['--look-interval', '300ms']);
  for (const board of ['third', 'hand']) await until('the boards to be known', async () => (await ask(bridge, `/v1/leaderboard/top?board=${board}`)).status === 200);
});

after(async () => {
  open.forEach((stream) => stream.close());
  await bridge?.stop();
  await cluster?.stop();
});

test('a WebSocket gets the stored document at once, then every version', async () => {
  const stream = await socket();
  await stream.receives(messageOf(await stored(cluster)), 'the snapshot');
  assert.equal(stream.messages.length, 1);
  for (let score = 1; score <= 5; score++) {
    await award(cluster, 'ann', 1);
    await stream.receives(messageOf(await published(cluster, 'ann', score)), `version ${score}`);
  }
  const versions = stream.messages.map((text) => JSON.parse(text).version);
  assert.deepEqual(versions, versions.map((_, i) => versions[0] + i));
});

test('server-sent events carry the same bytes', async () => {
  const [one, other] = [await socket(), await events()];
  for (let score = 1; score <= 5; score++) {
    await award(cluster, 'ben "ß\u2028" </script>', 1);
    await one.receives(messageOf(await published(cluster, 'ben "ß\u2028" </script>', score)));
  }
  await other.receives(one.last);
  assert.deepEqual(other.messages, one.messages);
});

test('subscore and detail of a POST stand in the list, and go with the next action', async () => {
  await cluster.sql("INSERT INTO scoreboard.board (name, publish_interval_ms, ties) VALUES ('sub', 10, 'subscore high')");
  await until('the board to be known', async () => (await ask(bridge, '/v1/leaderboard/top?board=sub')).status === 200);
  const streams = [await socket({ query: '?board=sub' }), await events({ query: '?board=sub' })];
  const detail = 'Höhle 7 "3:25" </script> \u2028🏆';
  const post = async (user, more) => assert.equal((await increment(bridge, cluster, user, { action: actionFor(cluster, user, { board: 'sub', ...more }) })).status, 200);
  const shows = (entries) => Promise.all(streams.map((stream) => until(JSON.stringify(entries), () => stream.last
    && isDeepStrictEqual(JSON.parse(stream.last).entries.map(({ displayName, ...rest }) => rest), entries))));
  await post('sub-1', { subscore: 83, detail });
  await shows([{ rank: 1, userId: 'sub-1', score: 100, subscore: 83, detail }]);
  await post('sub-2', { subscore: 84 });
  await shows([{ rank: 1, userId: 'sub-2', score: 100, subscore: 84 }, { rank: 2, userId: 'sub-1', score: 100, subscore: 83, detail }]);
  await post('sub-1', {});
  await shows([{ rank: 1, userId: 'sub-1', score: 200 }, { rank: 2, userId: 'sub-2', score: 100, subscore: 84 }]);
});

test('a POST on a region moves the streams of every board that it counts towards; the answer is the region\'s', async () => {
  await cluster.sql("INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('whole', 10), ('every-day', 10)");
  await cluster.sql("UPDATE scoreboard.board SET counts_towards = (SELECT ARRAY[board_id] FROM scoreboard.board WHERE name = 'every-day') WHERE name = 'whole'");
  await cluster.sql("INSERT INTO scoreboard.board (name, publish_interval_ms, counts_towards) SELECT 'region', 10, ARRAY[board_id] FROM scoreboard.board WHERE name = 'whole'");
  const boards = ['region', 'whole', 'every-day'];
  for (const board of boards) await until('the board to be known', async () => (await ask(bridge, `/v1/leaderboard/top?board=${board}`)).status === 200);
  const streams = await Promise.all(boards.map((board) => socket({ query: `?board=${board}` })));
  const shows = (entries) => Promise.all(streams.map((stream, i) => until(`${boards[i]}: ${entries[i]}`, () => stream.last
    && JSON.parse(stream.last).entries.map((entry) => `${entry.userId} ${entry.score}`).join() === entries[i])));
  const post = async (board) => {
    const { status, json } = await increment(bridge, cluster, 'far-reaching', { action: actionFor(cluster, 'far-reaching', { board }) });
    assert.equal(status, 200);
    return [json.board, json.previousScore, json.score];
  };
  assert.deepEqual(await post('whole'), ['whole', 0, 100]);
  await shows(['', 'far-reaching 100', 'far-reaching 100']);
  assert.deepEqual(await post('region'), ['region', 0, 100]);
  await shows(['far-reaching 100', 'far-reaching 200', 'far-reaching 200']);
});

test('an event has a name, an id and data; the stream begins with a time to retry', async () => {
  const stream = await events();
  await stream.receives(messageOf(await stored(cluster)));
  const [event] = stream.events;
  const { version } = JSON.parse(event.data);
  assert.deepEqual(Object.keys(event).sort(), ['data', 'event', 'id']);
  assert.equal(event.event, 'leaderboard.update');
  assert.equal(event.id, `global:${version}`);
  assert.ok(stream.retry >= 500 && stream.retry <= 60000);
  assert.match(stream.head.headers['content-type'], /^text\/event-stream/);
  assert.equal(stream.head.headers['cache-control'], 'no-store');
  assert.ok(stream.head.headers['x-request-id']);
});

test('the time to retry differs, so that clients do not come back all at once', async () => {
  const times = new Set();
  for (let i = 0; i < 12; i++) {
    const stream = await events();
    await until('retry', () => stream.retry);
    times.add(stream.retry);
    stream.close();
  }
  assert.ok(times.size > 1);
});

test("the browser's client understands it", async () => {
  const source = new EventSource(bridge.url + STREAM);
  const seen = [];
  source.addEventListener('leaderboard.update', (event) => seen.push(event));
  await award(cluster, 'carl', 7);
  const document = await published(cluster, 'carl', 7);
  const event = await until('the event', () => seen.find(({ data }) => data === messageOf(document)));
  assert.equal(event.lastEventId, `global:${JSON.parse(document).version}`);
  source.close();
});

test('Last-Event-ID suppresses the snapshot that the client has, and no other', async () => {
  await award(cluster, 'dora', 1);
  const document = await published(cluster, 'dora', 1);
  const { version } = JSON.parse(document);
  const first = await events();
  await first.receives(messageOf(document));

  const known = await events({ headers: { 'last-event-id': `global:${version}` } });
  for (const id of [`global:${version - 1}`, `global:${version + 1}`, 'global:', 'rubbish', `lobal:${version}`, `global2:${version}`, `global2${version}`, ',,:,']) {
    const stream = await events({ headers: { 'last-event-id': id } });
    await stream.receives(messageOf(document), `a snapshot after ${id}`);
  }
  assert.deepEqual(known.messages, []);
  await award(cluster, 'dora', 1);
  await known.receives(messageOf(await published(cluster, 'dora', 2)), 'the next version');
  assert.equal(known.messages.length, 1);
});

test('several boards share one stream', async () => {
  const all = { query: '?board=global,side,third' };
  const [one, other] = [await socket(all), await events(all)];
  for (const stream of [one, other]) {
    await until('three snapshots', () => stream.messages.length === 3);
    assert.deepEqual(stream.messages.map((text) => JSON.parse(text).board), ['global', 'side', 'third']);
  }
  await award(cluster, 'eve', 3, 'side');
  const message = messageOf(await published(cluster, 'eve', 3, 'side'));
  await one.receives(message);
  await other.receives(message);
  assert.equal(one.messages.length, 4);
  const versions = Object.fromEntries(other.messages.map((text) => JSON.parse(text)).map(({ board, version }) => [board, version]));
  assert.equal(other.events.at(-1).id, `global:${versions.global},side:${versions.side},third:${versions.third}`);
});

test('an id of two boards names both', async () => {
  const stream = await events({ query: '?board=global,side' });
  await until('two snapshots', () => stream.messages.length === 2);
  const [global, side] = stream.messages.map((text) => JSON.parse(text).version);
  assert.deepEqual(stream.events.map(({ id }) => id), [`global:${global}`, `global:${global},side:${side}`]);
});

test("Last-Event-ID of several boards leaves out each that hasn't changed", async () => {
  const first = await events({ query: '?board=global,side,third' });
  await until('three snapshots', () => first.messages.length === 3);
  const { id } = first.events.at(-1);
  await award(cluster, 'eve', 1, 'side');
  const document = await published(cluster, 'eve', 4, 'side');
  await first.receives(messageOf(document));
  const second = await events({ query: '?board=third,side,global', headers: { 'last-event-id': id } });
  await second.receives(messageOf(document));
  await award(cluster, 'eve', 1, 'third');
  await second.receives(messageOf(await published(cluster, 'eve', 1, 'third')));
  assert.equal(second.messages.length, 2);
});

test('a board is named rightly or the stream is refused', async () => {
  const refusals = { '?board=': 400, '?board=nobody': 404, '?board=global,nobody': 404, '?board=global,global': 400, '?board=global,': 400,
    '?board=,global': 400, '?board=Global': 400, '?board=global&board=side': 400, '?board=../x': 400,
    [`?board=${'a'.repeat(64)}`]: 400, [`?board=${'a'.repeat(63)}`]: 404 };
  for (const [query, status] of Object.entries(refusals)) {
    const answer = await ask(bridge, STREAM + query, { headers: { accept: 'text/event-stream' } });
    assert.equal(answer.status, status, query);
    await assert.rejects(openSocket(bridge, { query }), new RegExp(`${status}`));
  }
});

test('a stream has 16 boards at most', async () => {
  const names = Array.from({ length: 17 }, (_, i) => `many-${i}`);
  await cluster.sql("INSERT INTO scoreboard.board (name) SELECT 'many-' || i FROM generate_series(0, 16) i");
  for (const name of names) await until(name, async () => (await ask(bridge, `/v1/leaderboard/top?board=${name}`)).status === 200);
  const all = `?board=${names.join()}`;
  assert.equal((await ask(bridge, STREAM + all, { headers: { accept: 'text/event-stream' } })).status, 400);
  await assert.rejects(openSocket(bridge, { query: all }), /400/);
  const query = `?board=${names.slice(1).join()}`;
  for (const stream of [await socket({ query }), await events({ query })]) {
    await until('16 snapshots', () => stream.messages.length === 16);
    assert.deepEqual(stream.messages.map((text) => JSON.parse(text).board), names.slice(1));
  }
});

test('an older version that the database shows is not taken', async () => {
  await award(cluster, 'olga', 1, 'third');
  const document = await published(cluster, 'olga', 1, 'third');
  const { version } = JSON.parse(document);
  const query = '?board=side,third';
  const streams = [await socket({ query }), await events({ query })];
  for (const stream of streams) await stream.receives(messageOf(document));
  /* Both in one commit: whoever has the new list of "side" was shown the old one of "third" with it. */
  const side = await cluster.sql(`UPDATE scoreboard.top SET version = version - 1,
      document = replace(document, '"version":' || version, '"version":' || version - 1) WHERE board = 'third' \\;
    UPDATE scoreboard.top SET version = version + 1,
      document = replace(document, '"version":' || version, '"version":' || version + 1) WHERE board = 'side' RETURNING document`);
  for (const stream of streams) {
    await stream.receives(messageOf(side));
    assert.deepEqual(stream.messages.map((text) => JSON.parse(text)).filter(({ board }) => board === 'third').map((list) => list.version), [version]);
  }
  assert.equal((await ask(bridge, '/v1/leaderboard/top?board=third')).text, document);
  const late = await socket({ query });
  await late.receives(messageOf(document));
  await cluster.sql(`UPDATE scoreboard.top SET version = :version, document = :'document' WHERE board = 'third'`, { version, document });
});

test('comments keep a quiet event stream open', async () => {
  const lively = await startBridge(cluster, ['--ping-interval', '200ms', '--look-interval', '50ms']);
  try {
    const stream = await openEvents(lively, { query: '?board=third' });
    await until('some comments', () => stream.comments > 8);
    assert.equal(stream.messages.length, 1);
    assert.equal(stream.statuses.length, 1, 'the status is told when it changes, not at every look');
    assert.equal(stream.closed, null);
  } finally {
    await lively.stop();
  }
});

test('whoever listens to events has nothing more to say: bytes or an end of its side end the stream', async () => {
  const leaving = { bytes: (raw) => raw.send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'), 'one byte': (raw) => raw.send('x'), 'an end': (raw) => raw.socket.end() };
  for (const [what, leave] of Object.entries(leaving)) {
    const raw = new Raw(bridge).send(`GET ${STREAM}?board=third HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
    await until('the list', () => raw.received.includes('"entries":['));
    leave(raw);
    await until(`the stream to end after ${what}`, () => raw.ended);
    assert.ok(!raw.received.includes('HTTP/1.1 200', 15), 'no second answer');
  }
});

test('a version has one content for ever, and nothing goes back, over all connections', async () => {
  const versions = new Versions();
  let writing = true;
  const writer = (async () => {
    for (let i = 0; i < 60; i++) await award(cluster, `writer-${i % 7}`, 1 + (i % 3), 'side');
    writing = false;
  })();
  const query = '?board=side';
  const readers = [
    async () => versions.take((await ask(bridge, `/v1/leaderboard/top${query}`)).text),
    async (round, newest) => {
      const stream = round % 2 ? await openSocket(bridge, { query }) : await openEvents(bridge, { query });
      await until('some messages', () => stream.messages.length >= 1 + (round % 4) || !writing);
      stream.close();
      stream.messages.forEach((text) => versions.take(text, newest));
    },
  ].map(async (read) => {
    const newest = new Map();
    for (let round = 0; writing; round++) await read(round, newest);
  });
  await Promise.all([writer, ...readers]);
  assert.ok(versions.contents.size > 5);
});

test('a board that is made, removed and made again needs no restart and gets newer versions', async () => {
  const path = '/v1/leaderboard/top?board=fleeting';
  assert.equal((await ask(bridge, path)).status, 404);
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('fleeting')");
  await until('the board', async () => (await ask(bridge, path)).status === 200);
  const stream = await socket({ query: '?board=fleeting,global' });
  await until('two snapshots', () => stream.messages.length === 2);
  const { version } = (await ask(bridge, path)).json;
  await cluster.sql("DELETE FROM scoreboard.board WHERE name = 'fleeting'");
  await until('its end', async () => (await ask(bridge, path)).status === 404);
  await award(cluster, 'fay', 1);
  await stream.receives(messageOf(await published(cluster, 'fay', 1)), "the other board's news");
  const from = stream.messages.length;
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('fleeting')");
  const again = JSON.parse(await stream.later(from, ({ board }) => board === 'fleeting'));
  assert.ok(again.version > version);
  assert.equal(stream.closed, null);
});

/* Documents written by hand, as no publisher of ours writes them. */
async function write(document) {
  const written = JSON.parse(await stored(cluster, 'hand')).version + 1;
  const text = document(written);
  await cluster.sql(`UPDATE scoreboard.top SET version = :version, document = :'text' WHERE board = 'hand';
    SELECT pg_notify('scoreboard', '{"board":"hand","version":' || :version || '}') \\g /dev/null`, { version: written, text });
  return text;
}

test('messages of every length of a WebSocket header come whole', async () => {
  const streams = [await socket({ query: '?board=hand' }), await events({ query: '?board=hand' })];
  for (const length of [125, 126, 127, 128, 65534, 65535, 65536, 65537]) {
    const start = (version) => `{"board":"hand","season":1,"version":${version},"players":0,"x":"`;
    const end = '","entries":[]}';
    const text = await write((version) => start(version) + 'x'.repeat(length - messageOf(start(version) + end).length) + end);
    assert.equal(messageOf(text).length, length);
    for (const stream of streams) await stream.receives(messageOf(text), `${length} bytes`);
  }
});

test('whatever stands between and within the members of a document, an event is one, and the list is cut in its own entries', async () => {
  const streams = [await socket({ query: '?board=hand' }), await events({ query: '?board=hand' })];
  const text = await write((version) => `{"board":"hand","season":1,\n "version":${version},\r\n"entrants":[1,2,[3]],"more":{"entries":[7,8]},"text":"\\"entries\\":[{}],\\\\",`
    + '"entries":[ {"rank":1,"userId":"a\\"]}"} ,{"rank":2,"list":[1,{"x":[2]}]},\n{"rank":3}],"after":1}');
  const message = messageOf(text).replace(/[\r\n]/g, ' ');
  for (const stream of streams) await stream.receives(message);
  const list = async (query) => (await ask(bridge, `/v1/leaderboard/top?board=hand${query}`)).json.entries.map(({ rank }) => rank);
  assert.deepEqual([await list(''), await list('&limit=1'), await list('&limit=2&skip=1'), await list('&skip=3'), await list('&skip=9')], [[1, 2, 3], [1], [2, 3], [], []]);
});

test('lies on the channel harm nobody', async () => {
  const stream = await socket();
  await until('the snapshot', () => stream.messages.length);
  const lies = ['', 'rubbish', '{', '[]', 'null', '{"board":1}', '{"board":"global"}', '{"board":"global","version":"x"}',
    '{"board":"global","version":9223372036854775807}', '{"board":"global","version":-1}', '{"board":"nobody","version":1}',
    JSON.stringify({ board: 'x'.repeat(7000), version: 1 }), '{"board":"global","version":1e300}'];
  for (const lie of lies) await cluster.sql("SELECT pg_notify('scoreboard', :'lie') \\g /dev/null", { lie });
  await cluster.sql("SELECT pg_notify('scoreboard', format('{\"board\":\"b%s\",\"version\":%s}', i, i)) FROM generate_series(1, 500) i \\g /dev/null");
  const before = stream.messages.length;
  await award(cluster, 'gus', 1);
  await stream.receives(messageOf(await published(cluster, 'gus', 1)));
  assert.equal(stream.messages.length, before + 1);
});

test('a version of which no notification came is found by looking', async () => {
  const stream = await socket({ query: '?board=third' });
  await until('the snapshot', () => stream.messages.length);
  await cluster.sql(`UPDATE scoreboard.top SET version = version + 1,
    document = replace(document, '"version":' || version, '"version":' || version + 1) WHERE board = 'third'`);
  await stream.receives(messageOf(await stored(cluster, 'third')));
});

test('a document that is none leaves the old one standing', async () => {
  const good = await stored(cluster, 'third');
  const { version } = JSON.parse(good);
  const stream = await socket({ query: '?board=third' });
  await stream.receives(messageOf(good));
  const bad = ['{"board":', '[]', '""', '{}', '{"entries":{}}', `${good}${good}`, good.replace('{', '{"type":"x",')];
  for (const [i, document] of bad.entries()) {
    const from = bridge.log.length;
    await cluster.sql("UPDATE scoreboard.top SET version = :version, document = :'document' WHERE board = 'third'",
      { version: version + 1 + i, document });
    await until(`a complaint about ${document}`, () => bridge.log.slice(from).some(({ level }) => level === 'error'));
  }
  assert.equal((await ask(bridge, '/v1/leaderboard/top?board=third')).text, good);
  assert.equal(stream.messages.length, 1);
  const next = good.replace(`"version":${version}`, `"version":${version + 100}`);
  await cluster.sql("UPDATE scoreboard.top SET version = version + 100, document = :'next' WHERE board = 'third'", { next });
  await stream.receives(messageOf(next), 'the next good one');
});

/* ---- is it of now? ---- */

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

function assertStatus(message, live) {
  assert.deepEqual(Object.keys(message), ['type', 'live', 'since']);
  assert.equal(message.live, live);
  assert.match(message.since, RFC_3339);
  assert.ok(Date.parse(message.since) <= Date.now() + 1000);
}

/* Last in this file: the server goes away. */
test('every stream is told whether its lists are of now, at once and when that changes', async () => {
  const told = (stream, count) => until(`status ${count}`, () => stream.statuses.length === count && stream.statuses.at(-1));
  const streams = [await socket(), await events()];
  for (const stream of streams) {
    assertStatus(await told(stream, 1), true);
    await until('the list', () => stream.messages.length === 1);
  }
  await cluster.shutdown('immediate');
  const late = [];
  try {
    for (const stream of streams) assertStatus(await told(stream, 2), false);
    late.push(await socket(), await events());
    for (const stream of late) {
      assert.deepEqual(await told(stream, 1), streams[0].statuses[1], 'whoever comes later is told the same');
      await until('the list that was known', () => stream.messages.length === 1);
    }
    assert.equal((await ask(bridge, '/ready')).status, 503);
  } finally {
    await cluster.revive();
  }
  for (const stream of streams) assertStatus(await told(stream, 3), true);
  for (const stream of late) assertStatus(await told(stream, 2), true);
  assert.ok(streams[0].statuses[2].since >= streams[0].statuses[1].since);
  await award(cluster, 'zoe', 1);
  const message = messageOf(await published(cluster, 'zoe', 1));
  for (const stream of [...streams, ...late]) {
    await stream.receives(message);
    assert.equal(stream.closed, null);
  }
});
