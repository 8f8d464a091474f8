/*
 * Tickets and tokens of streams: who gets one, what it opens, and when that ends.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { after, afterEach, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Raw, RawSocket, STREAM, UNLIMITED, ask, assertAlive, assertError, award, inParallel, openEvents, openSession, openSocket, published,
  rawAnswer } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';

const TICKETS = '/v1/stream-tickets';

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql(`INSERT INTO scoreboard.board (name, visibility, permission, publish_interval_ms)
    VALUES ('players', 'token', NULL, 10), ('club', 'permission', 'club', 10)`);
  await cluster.sql("UPDATE scoreboard.jwt_issuer SET permissions_claim = 'may'");
  for (const board of ['players', 'club']) {
    await award(cluster, 'ann', 10, board);
    await published(cluster, 'ann', 10, board);
  }
  bridge = await startBridge(cluster, ['--look-interval', '100ms', '--cookie', 'session', '--allowed-origins', 'https://named.test,*']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const open = [];
const socket = async (options, at = bridge) => { open.push(await openSocket(at, options)); return open.at(-1); };
const events = async (options, at = bridge) => { open.push(await openEvents(at, options)); return open.at(-1); };
afterEach(() => open.splice(0).forEach((stream) => stream.close()));

const bearer = (token) => ({ authorization: `Bearer ${token}` });
const askForTicket = (token, headers = {}, at = bridge) => ask(at, TICKETS, { method: 'POST', headers: { ...(token && bearer(token)), ...headers } });

test('a player gets a ticket for a minute', async () => {
  const before = Date.now();
  const answer = await askForTicket(tokenFor(cluster, 'ann'));
  assert.equal(answer.status, 200);
  assert.deepEqual(Object.keys(answer.json), ['ticket', 'expiresAt']);
  assert.match(answer.json.ticket, /^[A-Za-z0-9_-]{22}$/);
  assert.match(answer.json.expiresAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const life = Date.parse(answer.json.expiresAt) - before;
  assert.ok(life > 50000 && life <= 75000, `${life} ms`);
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
});

test('nobody else gets one, and is told why', async () => {
  const bad = tokenFor(cluster, 'ann', { exp: Math.floor(Date.now() / 1000) - 60 });
  for (const token of [undefined, 'x', bad, `${tokenFor(cluster, 'ann')}x`]) {
    const answer = await askForTicket(token);
    assertError(answer, 401, 'UNAUTHORIZED');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
  }
  assert.equal((await askForTicket(bad)).json.error.hint, 'Pass a JWT of a configured issuer as token.');
  assertError(await ask(bridge, TICKETS), 405, 'METHOD_NOT_ALLOWED');
  assertError(await ask(bridge, `${TICKETS}?board=global`, { method: 'POST', headers: bearer(tokenFor(cluster, 'ann')) }), 400, 'INVALID_REQUEST');
  const bare = await rawAnswer(bridge, `POST ${TICKETS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n`); /* as curl -X POST sends it */
  assertError(bare, 411, 'LENGTH_REQUIRED');
  assert.match(bare.json.error.message, /Content-Length.* 0 /);
});

test('whoever leaves before it is refused is no error of ours', async (t) => {
  const proxy = await DatabaseProxy.start(cluster);
  t.after(() => proxy.stop());
  const at = await startBridge(cluster, ['--database', proxy.conninfo()]);
  t.after(() => at.stop());
  const descriptors = async () => (await readdir(`/proc/${at.child.pid}/fd`)).length;
  for (const [i, request] of [`POST ${TICKETS} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Bearer x\r\n\r\n`,
    RawSocket.handshake({ path: `${STREAM}?ticket=x` })].entries()) {
    const before = await descriptors();
    const trap = proxy.hold(/create_ticket|redeem_ticket/);
    const raw = new Raw(at).send(request);
    await trap.catches();
    raw.socket.resetAndDestroy();
    await until('it to be gone', async () => await descriptors() <= before);
    trap.release();
    await until('its line', () => at.log.filter(({ msg, client }) => msg === 'request' && client === 'gone').length > i);
  }
  assert.deepEqual(at.log.filter(({ client }) => client === 'gone').map(({ level, status }) => `${level} ${status}`), ['info 401', 'info 401']);
  assert.deepEqual(at.log.filter(({ level }) => level === 'error'), []);
});

test('while the database is away there are none: UNAVAILABLE, and then there are again', async () => {
  await cluster.shutdown('immediate');
  assertError(await askForTicket(tokenFor(cluster, 'ann')), 503, 'UNAVAILABLE');
  await cluster.start();
  await until('a ticket', async () => (await askForTicket(tokenFor(cluster, 'ann'))).status === 200);
});

const ticketFor = async (user, claims, at = bridge) => (await askForTicket(tokenFor(cluster, user, claims), {}, at)).json.ticket;
const listed = (stream, board) => until(`the list of ${board}`, () => stream.messages.find((text) => JSON.parse(text).board === board));

/* Refused over WebSocket and, where that knows of no subprotocol, as an event stream. */
async function assertRefused({ query = '', headers = {}, protocols }, status, code) {
  if (!protocols) assertError(await ask(bridge, STREAM + query, { headers: { accept: 'text/event-stream', ...headers } }), status, code);
  await assert.rejects(openSocket(bridge, { query, headers, protocols }), new RegExp(`${status}`));
}

test('a token opens the boards that it may see, and no others', async () => {
  const [player, member] = [bearer(tokenFor(cluster, 'ann')), bearer(tokenFor(cluster, 'ann', { may: ['x', 'club'] }))];
  for (const stream of [await socket({ query: '?board=players,global', headers: player }), await events({ query: '?board=players,global', headers: player })]) {
    await listed(stream, 'players');
    await listed(stream, 'global');
  }
  for (const stream of [await socket({ query: '?board=club', headers: member }), await events({ query: '?board=club,players', headers: member })]) await listed(stream, 'club');
  await assertRefused({ query: '?board=club', headers: player }, 403, 'ACTION_NOT_ALLOWED');
  await assertRefused({ query: '?board=global,club', headers: bearer(tokenFor(cluster, 'ann', { may: 'clu club2 CLUB' })) }, 403, 'ACTION_NOT_ALLOWED');
  await assertRefused({ query: '?board=players' }, 401, 'UNAUTHORIZED');
});

test('lists go on coming over it', async () => {
  const headers = bearer(tokenFor(cluster, 'ben'));
  const streams = [await socket({ query: '?board=players', headers }), await events({ query: '?board=players', headers })];
  await award(cluster, 'ann', 5, 'players');
  const message = `{"type":"leaderboard.update",${(await published(cluster, 'ann', 15, 'players')).slice(1)}`;
  for (const stream of streams) await stream.receives(message);
});

test('a bad token is refused on public boards too', async () => {
  for (const token of ['x', `${tokenFor(cluster, 'ann')}x`, tokenFor(cluster, 'ann', { exp: 1 })]) {
    await assertRefused({ headers: bearer(token) }, 401, 'UNAUTHORIZED');
  }
});

test('a ticket opens one stream, in the query or as a subprotocol of which ours alone is echoed', async () => {
  const one = await socket({ query: `?board=players&ticket=${await ticketFor('ann')}` });
  const other = await events({ query: `?board=players&ticket=${await ticketFor('ben')}` });
  const third = await socket({ query: '?board=players', protocols: ['scoreboard.v1', `ticket.${await ticketFor('carl')}`] });
  for (const stream of [one, other, third]) await listed(stream, 'players');
  assert.equal(one.socket.protocol, '');
  assert.equal(third.socket.protocol, 'scoreboard.v1');
  const member = await socket({ query: `?board=club&ticket=${await ticketFor('ann', { may: ['club'] })}` });
  await listed(member, 'club');
});

test('a ticket that was used, at whatever bridge, or is none, opens nothing', async () => {
  const second = await startBridge(cluster);
  try {
    const ticket = await ticketFor('ann');
    await listed(await socket({ query: `?board=players&ticket=${ticket}` }, second), 'players');
    await assertRefused({ query: `?board=players&ticket=${ticket}` }, 401, 'UNAUTHORIZED');
    await assertRefused({ query: `?ticket=${ticket}` }, 401, 'UNAUTHORIZED');
    await assertRefused({ protocols: ['scoreboard.v1', `ticket.${ticket}`] }, 401, 'UNAUTHORIZED');
    for (const none of ['x', ticket.slice(1), `${ticket}A`, 'A'.repeat(22), 'A'.repeat(4000), '%F0%9F%8F%86', "'--"]) {
      assertError(await ask(bridge, `${STREAM}?ticket=${none}`, { headers: { accept: 'text/event-stream' } }), 401, 'UNAUTHORIZED');
    }
    assertError(await ask(bridge, `${STREAM}?ticket=`, { headers: { accept: 'text/event-stream' } }), 400, 'INVALID_REQUEST');
  } finally {
    await second.stop();
  }
});

test('of many who redeem one ticket at once one has it', async () => {
  const ticket = await ticketFor('ann');
  const answers = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => (i % 2 ? socket : events)({ query: `?board=players&ticket=${ticket}` })));
  await until('each to be answered', () => answers.every(({ status, value }) => status === 'rejected' || !value.head || value.head.statusCode));
  assert.equal(answers.filter(({ status, value }) => status === 'fulfilled' && (value.socket || value.head.statusCode === 200)).length, 1);
});

test('a thousand that are wrong cost nobody else anything', async () => {
  await inParallel(Array.from({ length: 1000 }), 20, async (_, i) => {
    const headers = { accept: 'text/event-stream', ...(i % 2 && bearer(`${tokenFor(cluster, `p${i}`)}${i}`)) };
    assert.equal((await ask(bridge, i % 2 ? STREAM : `${STREAM}?ticket=${String(i).padStart(22, 'A')}`, { headers })).status, 401);
  });
  await listed(await socket({ query: `?board=players&ticket=${await ticketFor('ann')}` }), 'players');
});

test('a token in a URL, or two of what opens a stream, is 400', async () => {
  const [token, ticket] = [tokenFor(cluster, 'ann'), await ticketFor('ann')];
  await assertRefused({ query: `?ticket=${token}` }, 400, 'INVALID_REQUEST');
  await assertRefused({ query: `?ticket=${ticket}`, headers: bearer(token) }, 400, 'INVALID_REQUEST');
  await assertRefused({ query: `?ticket=${ticket}&ticket=${ticket}` }, 400, 'INVALID_REQUEST');
  await assertRefused({ query: `?ticket=${ticket}`, protocols: ['scoreboard.v1', `ticket.${ticket}`] }, 400, 'INVALID_REQUEST');
  await assert.rejects(openSocket(bridge, { protocols: ['scoreboard.v1', `ticket.${ticket}`, 'ticket.x'] }), /400/);
  await assert.rejects(openSocket(bridge, { protocols: [`ticket.${ticket}`] }), /400/);
  await listed(await socket({ query: `?board=players&ticket=${ticket}` }), 'players');
});

test('a cookie opens a stream beside an origin that is ours or named, and nowhere else', async () => {
  const headers = (origin, cookie) => ({ ...(origin && { origin }), cookie });
  const good = `other=1; session=${tokenFor(cluster, 'ann')}; last=2`;
  const query = '?board=players';
  for (const origin of ['https://named.test', bridge.url]) {
    await listed(await socket({ query, headers: headers(origin, good) }), 'players');
    const stream = await events({ query, headers: headers(origin, good) });
    await listed(stream, 'players');
    assert.equal(stream.head.headers['access-control-allow-credentials'], origin === bridge.url ? undefined : 'true');
  }
  /* By the star, or by nobody: as if it were not there. */
  for (const origin of ['https://any.test', undefined]) {
    await assertRefused({ query, headers: headers(origin, good) }, 401, 'UNAUTHORIZED');
    await listed(await events({ headers: headers(origin, good) }), 'global');
  }
  await assertRefused({ query, headers: headers('https://named.test', 'session=x') }, 401, 'UNAUTHORIZED');
  await assertRefused({ query, headers: headers('https://named.test', `${good}; session=x`) }, 400, 'INVALID_REQUEST');
  await assertRefused({ query, headers: headers('https://named.test', good.replace('session', 'sessions')) }, 401, 'UNAUTHORIZED');
  /* What is shown on purpose goes before it. */
  await listed(await events({ query: '?board=club', headers: { ...headers('https://named.test', good), ...bearer(tokenFor(cluster, 'ann', { may: ['club'] })) } }), 'club');
  /* And it counts nothing: every page of the world could make a browser send it. */
  const action = { method: 'POST', body: '{}', headers: { 'content-type': 'application/json', ...headers('https://named.test', good) } };
  assertError(await ask(bridge, '/v1/scores/increment', action), 401, 'UNAUTHORIZED');
  assertError(await ask(bridge, TICKETS, { method: 'POST', headers: headers('https://named.test', good) }), 401, 'UNAUTHORIZED');
});

test('a stream ends with its token, 4001, and no other does', async () => {
  const short = () => tokenFor(cluster, 'dora', { exp: Math.floor(Date.now() / 1000) + 3 });
  const streams = [await socket({ headers: bearer(short()) }), await events({ query: `?board=players&ticket=${await ticketFor('dora', { exp: Math.floor(Date.now() / 1000) + 3 })}` })];
  const others = [await socket({ headers: bearer(tokenFor(cluster, 'dora')) }), await socket(), await events()];
  for (const stream of [...streams, ...others]) await until('the list', () => stream.messages.length);
  for (const stream of streams) await stream.ends();
  assert.equal(streams[0].closed.code, 4001);
  assert.equal(streams[1].comment, 'close 4001');
  for (const stream of others) assert.equal(stream.closed, null);
});

test('a player has three streams, a fourth ends the oldest, 4002; others are not touched', async () => {
  const headers = bearer(tokenFor(cluster, 'eve'));
  const other = await socket({ headers: bearer(tokenFor(cluster, 'eve2')) });
  const mine = [await socket({ headers }), await events({ headers }), await socket({ query: `?ticket=${await ticketFor('eve')}` })];
  for (const stream of mine) await listed(stream, 'global');
  mine.push(await events({ headers }));
  await mine[0].ends();
  assert.equal(mine[0].closed.code, 4002);
  mine.push(await socket({ headers }));
  await mine[1].ends();
  assert.equal(mine[1].comment, 'close 4002');
  assert.deepEqual(mine.map(({ closed }) => Boolean(closed)), [true, true, false, false, false]);
  /* One that ends by itself makes room. */
  mine[2].close();
  await until('its end to be seen', async () => {
    mine.push(await socket({ headers }));
    await listed(mine.at(-1), 'global');
    return mine.slice(3, -1).every(({ closed }) => !closed) || mine.splice(3, 1)[0].ends().then(() => false);
  });
  assert.equal(other.closed, null);
  await listed(other, 'global');
});

test('many streams of many players come and go', async () => {
  const tokens = Array.from({ length: 40 }, (_, i) => tokenFor(cluster, `many-${i}`));
  await inParallel(Array.from({ length: 400 }), 20, async (_, i) => {
    const stream = await (i % 2 ? openSocket : openEvents)(bridge, { headers: bearer(tokens[(i * 7) % 40]) });
    if (i % 3) stream.close();
    else open.push(stream);
  });
  await assertAlive(bridge);
  const last = await socket({ headers: bearer(tokens[0]) });
  await listed(last, 'global');
});

test('whoever leaves while the database is asked leaves nothing behind', async () => {
  const release = await openSession(cluster, "LOCK TABLE scoreboard.stream_ticket; SELECT 'held'");
  const ticket = 'A'.repeat(22);
  for (let i = 0; i < 20; i++) {
    const raw = new Raw(bridge).send(i % 2 ? RawSocket.handshake({ path: `${STREAM}?ticket=${ticket}` })
      : `GET ${STREAM}?ticket=${ticket} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
    await until('it to be sent', () => !raw.socket.connecting);
    if (i % 4 < 2) raw.socket.resetAndDestroy();
    else raw.close();
  }
  await release();
  await until('tickets again', async () => (await askForTicket(tokenFor(cluster, 'ann'))).status === 200);
  await listed(await socket({ query: `?board=players&ticket=${await ticketFor('ann')}` }), 'players');
  await assertAlive(bridge);
});

test('a stream whose ticket is looked at when the bridge begins to end is refused', async () => {
  const ending = await startBridge(cluster, ['--drain-timeout', '1m', '--database-timeout', '1m']);
  const query = `?board=players&ticket=${await ticketFor('ann')}`;
  const release = await openSession(cluster, "LOCK TABLE scoreboard.stream_ticket; SELECT 'held'");
  const answer = ask(ending, STREAM + query, { headers: { accept: 'text/event-stream' } });
  await until('the ticket to be looked at', async () => await cluster.sql("SELECT count(*) FROM pg_locks WHERE relation = 'scoreboard.stream_ticket'::regclass AND NOT granted") !== '0');
  const ended = ending.stop();
  await until('the end to begin', () => ending.log.some(({ msg }) => msg === 'ending'));
  await release();
  assertError(await answer, 503, 'UNAVAILABLE');
  assert.equal(await ended, 0);
});

test('streams end when another permission is demanded', async () => {
  const headers = bearer(tokenFor(cluster, 'ann', { may: ['club', 'circle'] }));
  const streams = [await socket({ query: '?board=club', headers }), await events({ query: '?board=players,club', headers })];
  for (const stream of streams) await listed(stream, 'club');
  await cluster.sql("UPDATE scoreboard.board SET permission = 'circle' WHERE name = 'club'");
  for (const stream of streams) await stream.ends();
  assert.equal(streams[0].closed.code, 1001);
  await listed(await socket({ query: '?board=club', headers }), 'club');
  await assertRefused({ query: '?board=club', headers: bearer(tokenFor(cluster, 'ann', { may: ['club'] })) }, 403, 'ACTION_NOT_ALLOWED');
});

test('neither tokens nor tickets stand in the log', () => {
  const log = JSON.stringify(bridge.log);
  assert.ok(bridge.log.length > 3);
  assert.doesNotMatch(log, /eyJ|ticket=|ticket\./);
});
