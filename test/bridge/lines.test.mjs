/*
 * The line that the log has for a request: whose it was, how it ended, where its time went, and whose trace it belongs to.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, ask, increment, openEvents, openSocket, rawIncrement } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';
import { scrape, value } from './scraping.mjs';

const SUBMIT = /scoreboard\.submit/;
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

let cluster;
let proxy;
let bridge;
let asked = 0;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  proxy = await DatabaseProxy.start(cluster);
  bridge = await startBridge(cluster, ['--database', proxy.conninfo(), '--pool-size', '1', '--metrics-listen', '127.0.0.1:0']);
});

after(async () => {
  await bridge?.stop();
  proxy?.stop();
  await cluster?.stop();
});

/* An id for a request, and the line about it. */
const name = () => `line-${++asked}`;
const line = (id, of = bridge) => until(`the line of ${id}`, () => of.log.find(({ msg, request_id: known }) => msg === 'request' && known === id));

async function lineOf(user, { headers = {}, ...options } = {}) {
  const id = name();
  const answer = await increment(bridge, cluster, user, { ...options, headers: { ...headers, 'x-request-id': id } });
  return { answer, ...await line(id) };
}

test('a counted increment names its player and the time of each stage', async () => {
  for (const user of ['ann', '"quoted" \\ 😀 \u00e9', 'eyJ.not.a.token']) {
    const { answer, ...said } = await lineOf(user);
    assert.equal(answer.status, 200);
    assert.equal(said.level, 'info');
    assert.equal(said.path, '/v1/scores/increment');
    assert.equal(said.status, 200);
    assert.equal(said.outcome, 'OK');
    /* What looks like a token is no name, to be on the safe side. */
    assert.equal(said.player, user.startsWith('eyJ') ? '[token]' : user);
    for (const stage of ['body_ms', 'queue_ms', 'database_ms', 'send_ms']) assert.ok(said[stage] >= 0, stage);
    const stages = said.body_ms + said.queue_ms + said.database_ms + said.send_ms;
    assert.ok(Math.abs(said.ms - stages) < 0.005, `${said.ms} is not ${stages}`);
    assert.ok(!('trace_id' in said) && !('client' in said));
  }
});

/* Waits so long; how long it was. */
async function pass(ms) {
  const since = performance.now();
  await until('time to pass', () => performance.now() - since > ms);
  return performance.now() - since;
}

test('each stage has the time that was spent there', async () => {
  const trap = proxy.hold(SUBMIT);
  const first = lineOf('slow');
  await trap.catches();
  const second = lineOf('waiting');
  await until('the second to wait', async () => value(await scrape(bridge), 'scoreboard_bridge_queued_increments') === 1);
  const held = await pass(100);
  trap.release();
  assert.ok((await first).database_ms >= held - 1);
  assert.ok((await second).queue_ms >= held - 1);
  const id = name();
  const request = rawIncrement(cluster, 'typing', { headers: { 'X-Request-Id': id, Expect: '100-continue' } });
  const end = request.indexOf('\r\n\r\n') + 4;
  const raw = new Raw(bridge).send(request.subarray(0, end));
  assert.equal((await raw.answer()).status, 100, 'its head has been read');
  const typed = await pass(100);
  raw.send(request.subarray(end));
  assert.equal((await raw.answer()).status, 200);
  assert.ok((await line(id)).body_ms >= typed - 1);
  raw.close();
});

test('a stream whose player is known names it, in both forms', async () => {
  for (const [form, open] of [['socket', openSocket], ['events', openEvents]]) {
    const id = name();
    const stream = await open(bridge, { headers: { authorization: `Bearer ${tokenFor(cluster, 'watcher')}`, 'x-request-id': id, traceparent: `00-${TRACE}-${SPAN}-01` } });
    const said = await line(id);
    assert.equal(said.player, 'watcher');
    assert.equal(said.status, form === 'socket' ? 101 : 200);
    assert.equal(said.outcome, 'OK');
    assert.equal(said.trace_id, TRACE);
    assert.ok(said.database_ms > 0);
    stream.close();
  }
});

test('a refusal says which, and names nobody', async () => {
  for (const [options, status, outcome] of [[{ token: 'nonsense' }, 401, 'UNAUTHORIZED'], [{ body: '{' }, 400, 'INVALID_REQUEST'],
    [{ action: { ...actionFor(cluster, 'ann'), receipt: `v1:test-key:${'0'.repeat(64)}` } }, 403, 'INVALID_SIGNATURE']]) {
    const said = await lineOf('ann', options);
    assert.equal(said.status, status);
    assert.equal(said.outcome, outcome);
    assert.ok(!('player' in said));
    assert.equal('database_ms' in said, status !== 400, outcome);
  }
});

test('it belongs to the trace that the caller is in', async () => {
  for (const traceparent of [`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-00`, `42-${TRACE}-${SPAN}-01`, `42-${TRACE}-${SPAN}-01-more`]) {
    const said = await lineOf('ann', { headers: { traceparent } });
    assert.equal(said.trace_id, TRACE, traceparent);
    assert.equal(said.parent_span_id, SPAN);
    assert.match(said.span_id, /^[0-9a-f]{16}$/);
    assert.notEqual(said.span_id, SPAN);
  }
  for (const traceparent of ['', '00', `00-${TRACE}-${SPAN}`, `00-${TRACE}-${SPAN}-1`, `00-${TRACE}-${SPAN}-011`, `00-${TRACE}-${SPAN}-01-more`, `ff-${TRACE}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`, `00-${TRACE}-${'0'.repeat(16)}-01`, `00-${TRACE.toUpperCase()}-${SPAN}-01`, `00-${TRACE}x-${SPAN}-01`, `00-${TRACE}-${SPAN}-0x`,
    `00_${TRACE}-${SPAN}-01`, `00-${TRACE}_${SPAN}-01`, `42-${TRACE}-${SPAN}-01${'-more'.repeat(100)}`]) {
    const { answer, ...said } = await lineOf('ann', { headers: { traceparent } });
    assert.equal(answer.status, 200);
    assert.ok(!('trace_id' in said) && !('span_id' in said), traceparent);
  }
  const id = name();
  const twice = new Raw(bridge).send(rawIncrement(cluster, 'ann', { headers: { 'X-Request-Id': id, traceparent: [`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01`] } }));
  assert.equal((await twice.answer()).status, 200);
  assert.ok(!('trace_id' in await line(id)));
  twice.close();
});

test('an increment whose client has left has its line all the same', async () => {
  const trap = proxy.hold(SUBMIT);
  const id = name();
  const raw = new Raw(bridge).send(rawIncrement(cluster, 'leaver', { headers: { 'X-Request-Id': id } }));
  await trap.catches();
  /* A mere end of its side it might mean to say no more, but still to hear the answer. */
  raw.socket.resetAndDestroy();
  await raw.ends();
  await ask(bridge, '/health');
  trap.release();
  const said = await line(id);
  assert.equal(said.outcome, 'OK');
  assert.equal(said.player, 'leaver');
  assert.equal(said.client, 'gone');
});

test('reads from memory have lines at level debug only', async () => {
  const loud = await startBridge(cluster, ['--log-level', 'debug']);
  for (const [which, path] of [['memory', '/v1/leaderboard/top'], ['nothing', '/nowhere']]) {
    const headers = { 'x-request-id': which, traceparent: `00-${TRACE}-${SPAN}-01` };
    await ask(loud, path, { headers });
    await ask(bridge, path, { headers });
    const said = await line(which, loud);
    assert.equal(said.level, 'debug');
    assert.equal(said.outcome, which === 'memory' ? 'OK' : 'NOT_FOUND');
    assert.equal(said.trace_id, TRACE);
    assert.ok(!('database_ms' in said));
  }
  await lineOf('ann'); /* so that theirs would be there */
  assert.ok(!bridge.log.some(({ request_id: id }) => id === 'memory' || id === 'nothing'));
  assert.equal(await loud.stop(), 0);
});
