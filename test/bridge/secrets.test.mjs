/*
 * No secret in any log: not the bridge's, however much it says, nor the server's, wherever a client put its token and whatever went wrong.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Raw, RawSocket, STREAM, UNLIMITED, ask, increment, openSocket, rawAnswer, rawIncrement } from './clients.mjs';

const PASSWORD = 'correct-horse-battery';

let cluster;
let bridge;
let asked = 0;
const secrets = new Map([['the password', PASSWORD]]);

before(async () => {
  cluster = await startCluster(UNLIMITED);
  const conninfo = cluster.conninfo();
  cluster.conninfo = () => `${conninfo} password=${PASSWORD}`;
  bridge = await startBridge(cluster, ['--log-level', 'debug', '--submit-timeout', '1s', '--reconnect-max', '200ms', '--head-timeout', '1s', '--body-timeout', '500ms']);
  secrets.set('the issuer\'s key', cluster.identity.issuerKey).set('the service\'s key', cluster.identity.keySecret);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

/* A token, a receipt and an id of one's own for a request; what of them is secret is remembered. */
function draw(what) {
  const user = `secretive-${++asked}`;
  const token = tokenFor(cluster, user);
  const action = actionFor(cluster, user);
  const [, payload, signature] = token.split('.');
  secrets.set(`${what}: the token's payload`, payload).set(`${what}: the token's signature`, signature);
  secrets.set(`${what}: the receipt's signature`, action.receipt.slice(-40));
  return { user, token, action, id: `asked-${asked}`, headers: { 'x-request-id': `asked-${asked}` } };
}

/* So short that it can stand where only a few characters may. */
function shortToken(what) {
  const signature = Buffer.from(`sig-${++asked}-${what}`).toString('base64url').slice(0, 40);
  secrets.set(`${what}: a short token`, signature);
  return `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.${signature}`;
}

/* The log speaks of this request: else it would be no wonder that nothing stands there. */
const logged = (id) => until(`a line about ${id}`, () => bridge.log.some((line) => line.request_id === id));

async function assertNothing() {
  for (const [where, log] of [['the bridge', JSON.stringify(bridge.log)], ['the server', await readFile(cluster.log, 'utf8')]]) {
    for (const [what, secret] of secrets) assert.ok(!log.includes(secret), `${what} stands in the log of ${where}`);
  }
}

test('requests that go well', async () => {
  const { user, token, action, id, headers } = draw('an increment');
  assert.equal((await increment(bridge, cluster, user, { token, action, headers })).status, 200);
  await logged(id);
  const stream = draw('a stream');
  (await openSocket(bridge, { headers: { ...stream.headers, authorization: `Bearer ${stream.token}` } })).close();
  const read = draw('a read');
  assert.equal((await ask(bridge, '/v1/leaderboard/top', { headers: { ...read.headers, authorization: `Bearer ${read.token}` } })).status, 200);
  await logged(read.id);
  await assertNothing();
});

test('requests that are refused', async () => {
  const attempts = [
    ['a wrong signature', ({ token }) => ({ token: `${token}x` }), 401],
    ['another scheme', ({ token }) => ({ token: null, authorization: `Basic ${token}` }), 401],
    ['a token cut short', ({ token }) => ({ token: token.slice(0, -3) }), 401],
    ['two tokens', ({ token }) => ({ token: `${token}, Bearer ${token}` }), [400, 401]],
    ['a receipt for something else', ({ action }) => ({ action: { ...action, actionId: 'another' } }), 403],
    ['a body that is none', ({ action }) => ({ body: `{"receipt":"${action.receipt}"` }), 400],
    ['a token in the body', ({ token }) => ({ body: `{"actionType":"${token}","actionId":"x"}` }), 400],
    ['a reserved member', ({ token }) => ({ body: `{"token":"${token}"}` }), 400],
    ['a token as action type and id', ({ token, action }) => ({ body: JSON.stringify({ ...action, actionType: token, actionId: token }) }), 400],
    ['another content type', () => ({ contentType: 'text/plain' }), 415],
  ];
  for (const [what, change, status] of attempts) {
    const one = draw(what);
    const { authorization, contentType, ...options } = change(one);
    const headers = { ...one.headers, ...(authorization && { authorization }), ...(contentType && { 'content-type': contentType }) };
    const answer = await increment(bridge, cluster, one.user, { token: one.token, action: one.action, ...options, headers });
    assert.ok([status].flat().includes(answer.status), `${what}: ${answer.text}`);
    await logged(one.id);
  }
  await assertNothing();
});

test('tokens where none belongs', async () => {
  const { user, token } = draw('where none belongs');
  for (const path of [`/${token}`, `/v1/leaderboard/top?board=${token}`, `/v1/leaderboard/top?${token}`, `${STREAM}?token=${token}`, `/v1/leaderboard/top?a=${token.replaceAll('.', '%2e')}`,
    `/${token.replaceAll('.', '%2E')}`, `/v1/${token.replace('eyJ', '%65yJ')}`]) {
    const id = `asked-${++asked}`;
    assert.equal((await ask(bridge, path, { headers: { 'x-request-id': id } })).status, 400);
    await logged(id);
  }
  await ask(bridge, '/health', { headers: { 'x-request-id': shortToken('as the request\'s id') } });
  await increment(bridge, cluster, user, { headers: { 'idempotency-key': shortToken('as the key') } });
  await ask(bridge, '/health', { headers: { cookie: `session=${token}`, referer: `http://x/?t=${token}`, 'user-agent': token, 'x-forwarded-for': token } });
  await ask(bridge, '/v1/leaderboard/top', { headers: { origin: `https://${shortToken('as the origin')}` } });
  await ask(bridge, '/v1/leaderboard/top', { headers: { 'if-none-match': `"${token}"` } });
  await rawAnswer(bridge, RawSocket.handshake({ headers: { 'Sec-WebSocket-Protocol': `scoreboard.v1, ticket.${shortToken('as a ticket')}` } }));
  await rawAnswer(bridge, RawSocket.handshake({ headers: { 'Sec-WebSocket-Protocol': token } }));
  await ask(bridge, `${STREAM}?ticket=${shortToken('as a ticket in the query')}`, { headers: { accept: 'text/event-stream' } });
  await assertNothing();
});

test('heads and bodies that are none, too large or too slow', async () => {
  const { token, user, action } = draw('no request');
  const bearer = `Authorization: Bearer ${token}\r\n`;
  for (const text of [`GET / HTTP/1.1\r\nHost: x\r\n${bearer}: y\r\n\r\n`, `GET / HTTP/9.9\r\nHost: x\r\n${bearer}\r\n`, `${token}\r\n\r\n`, `GET /${token}\0 HTTP/1.1\r\n`, `${bearer}\r\n`,
    `GET / HTTP/1.1\r\nHost: x\r\n${bearer}${`X: ${token}\r\n`.repeat(100)}\r\n`, `POST /v1/scores/increment HTTP/1.1\r\nHost: x\r\n${bearer}Transfer-Encoding: chunked\r\n\r\n`,
    `GET http://x/${token} HTTP/1.1\r\nHost: x\r\n\r\n`, `GET /health HTTP/1.1\r\nHost: x\r\n${bearer}`, rawIncrement(cluster, user, { token, body: JSON.stringify(action) }).subarray(0, -1)]) {
    const raw = new Raw(bridge).send(text);
    await raw.ends();
    assert.ok(raw.received.length > 0, JSON.stringify(text.toString().slice(0, 60)));
    assert.ok(!raw.received.includes(token.split('.')[1]));
  }
  await assertNothing();
});

test('a defect in the database', async () => {
  await cluster.sql(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a defect'; END $$;
    CREATE TRIGGER fail AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION fail();`);
  const { user, token, action, id, headers } = draw('a defect');
  try {
    assert.equal((await increment(bridge, cluster, user, { token, action, headers })).status, 500);
  } finally {
    await cluster.sql('DROP TRIGGER fail ON scoreboard.action; DROP FUNCTION fail()');
  }
  await logged(id);
  assert.ok(JSON.stringify(bridge.log).includes('a defect'), 'the log says what went wrong');
  await assertNothing();
});

test('sessions that are ended, and a server that goes away', async () => {
  const first = draw('a session that is ended');
  await cluster.sql(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
    CREATE TRIGGER wait AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION wait();`);
  const answer = increment(bridge, cluster, first.user, { token: first.token, action: first.action, headers: first.headers });
  await until('the session to wait', async () => await cluster.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") !== '0');
  await cluster.sql('DROP TRIGGER wait ON scoreboard.action; DROP FUNCTION wait()');
  assert.ok([200, 503].includes((await answer).status));
  await logged(first.id);
  await cluster.shutdown('immediate');
  const second = draw('no server');
  assert.equal((await increment(bridge, cluster, second.user, { token: second.token, action: second.action, headers: second.headers })).status, 503);
  await logged(second.id);
  await cluster.start();
  await assertNothing();
});
