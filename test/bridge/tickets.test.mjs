/*
 * Tickets and tokens of streams: who gets one, what it opens, and when that ends.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { UNLIMITED, ask, assertError, rawAnswer } from './clients.mjs';

const TICKETS = '/v1/stream-tickets';

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--look-interval', '100ms']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

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
  assertError(await rawAnswer(bridge, `POST ${TICKETS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n`), 411, 'LENGTH_REQUIRED');
});

test('while the database is away there are none: UNAVAILABLE, and then there are again', async () => {
  await cluster.shutdown('immediate');
  assertError(await askForTicket(tokenFor(cluster, 'ann')), 503, 'UNAVAILABLE');
  await cluster.start();
  await until('a ticket', async () => (await askForTicket(tokenFor(cluster, 'ann'))).status === 200);
});
