/*
 * graphql.test.mjs - the README's GraphQL door: PostGraphile with the configuration that stands there, started as it says there. The top
 * is a query, an increment with a token and a receipt a mutation, a board's list a subscription, and refusals say which.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { actionFor, cleanEnvironment, startCluster, tokenFor, until } from '../lib/cluster.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const section = /^### GraphQL\n(.*?)^#{2,3} /ms.exec(await readFile(`${here}../../README.md`, 'utf8'))[1];
const block = (language) => [...section.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(([, text]) => text);
const [top, increment, subscription] = block('graphql');
let cluster, door, url;
let said = '';

before(async () => {
  cluster = await startCluster({ 'scoreboard.rate_limit': 0, 'scoreboard.burst_limit': 0 });
  await cluster.sql(`${block('sql')[0].replaceAll("'api'", "'public'")}`); /* tests have the functions in schema public */
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  await writeFile(`${here}graphile.config.mjs`, block('js')[0]);
  door = spawn(process.execPath, ['--import', './older-node.mjs', 'node_modules/postgraphile/dist/cli-run.js', '-n', '127.0.0.1', '-p', String(port), '--config', `${here}graphile.config.mjs`],
    { cwd: here, env: { ...cleanEnvironment(), GRAPHILE_ENV: 'production', DATABASE_URL: `postgres:///scoreboard?host=${encodeURIComponent(cluster.directory)}&user=door` } });
  for (const stream of [door.stdout, door.stderr]) stream.on('data', (text) => { said += text; });
  url = `http://127.0.0.1:${port}/graphql`;
  await until('PostGraphile to answer', async () => {
    assert.equal(door.exitCode, null, said);
    return ask('{ __typename }').then(() => true, () => false);
  });
});

after(async () => {
  if (door && door.exitCode === null) {
    door.kill('SIGKILL');
    await once(door, 'close');
  }
  await cluster?.stop();
  await rm(`${here}graphile.config.mjs`, { force: true });
});

async function ask(query, variables) {
  const answer = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ query, variables }) });
  return answer.json();
}

/* A mutation's input, of an action with a good receipt. */
const inputFor = (user, action, more = {}) => {
  const { issuedAt, ...rest } = actionFor(cluster, user, action);
  return { action: { ...rest, issuedAt: String(issuedAt), token: tokenFor(cluster, user, { name: user.toUpperCase() }), ...more } };
};

test('an increment with a token is a mutation; a retry replays it', async () => {
  const input = inputFor('ann', { actionId: 'one' }, { idempotencyKey: 'k1' });
  assert.deepEqual(await ask(increment, input), { data: { increment: { result: { userId: 'ann', score: '100', replayed: false } } } });
  assert.deepEqual(await ask(increment, input), { data: { increment: { result: { userId: 'ann', score: '100', replayed: true } } } });
});

test('the top is a query', async () => {
  assert.deepEqual((await ask(top)).data.top.nodes, [{ rank: '1', userId: 'ann', displayName: 'ANN', score: '100' }]);
});

test('refusals come with their code, and write nothing', async () => {
  const codes = [];
  for (const input of [inputFor('ann', { actionId: 'one' }), inputFor('ann', { actionId: 'two' }, { token: null }), inputFor('ann', { actionId: 'two' }, { receipt: 'v1:x:0' }),
    inputFor('ann', { actionId: 'two' }, { token: tokenFor(cluster, 'bob') }), inputFor('ann', { actionId: 'two', board: 'nowhere' }), inputFor('ann', { actionId: 'two', actionType: 'AWARD', points: '5' })]) {
    const { errors: [{ message, extensions }] } = await ask(increment, input);
    codes.push(extensions.code);
    assert.match(message, /^[a-z]/);
  }
  assert.deepEqual(codes, ['DUPLICATE_ACTION', 'UNAUTHORIZED', 'INVALID_SIGNATURE', 'INVALID_SIGNATURE', 'NOT_FOUND', 'ACTION_NOT_ALLOWED']);
  assert.equal(await cluster.sql('SELECT count(*) FROM scoreboard.action'), '1');
});

test('a wait comes with its seconds', async () => {
  await cluster.sql('ALTER ROLE door SET scoreboard.rate_limit = 1; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $$door$$');
  await until('a connection with the limit', async () => {
    const { errors } = await ask(increment, inputFor('eve', {}));
    return errors?.[0].extensions?.code === 'RATE_LIMITED' && errors[0].extensions.retryAfter >= 1;
  });
  await cluster.sql('ALTER ROLE door RESET scoreboard.rate_limit; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $$door$$');
  await until('a connection without it', async () => !(await ask(increment, inputFor('eve', {}))).errors);
});

test('only what a player may call is there, and of other errors nothing is told', async () => {
  const { data } = await ask('{ __schema { queryType { fields { name } } mutationType { fields { name } } } }');
  const names = [...data.__schema.queryType.fields, ...data.__schema.mutationType.fields].map(({ name }) => name);
  for (const name of ['top', 'me', 'history', 'view', 'increment', 'createTicket', 'setListed']) assert.ok(names.includes(name), name);
  for (const name of ['incrementFor', 'createKey', 'submit', 'historyFor', 'setup']) assert.ok(!names.includes(name), name);
  const { errors: [{ message, extensions }] } = await ask(increment, inputFor('ann', { actionId: 'two' }, { metadata: { text: '\u0000' } }));
  assert.deepEqual([message, extensions.code], ['something went wrong', 'INTERNAL']);
});

/* Of the protocol graphql-transport-ws: what it is told stands in `lists`, and what ends it in `ended`. */
async function subscribe(query) {
  const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws');
  const told = { socket, lists: [], ended: undefined };
  socket.on('message', (data) => {
    const { type, payload } = JSON.parse(data);
    if (type === 'connection_ack') socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
    if (type === 'next') told.lists.push(payload.data?.leaderboard ?? payload);
    if (type === 'complete' || type === 'error') told.ended = payload ?? type;
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init' }));
  return told;
}

test('a subscription gets the list at once, and each new one', { timeout: 60000 }, async () => {
  const told = await subscribe(subscription);
  const { socket, lists } = told;
  await until('the first list', () => lists.length > 0);
  await cluster.sql('NOTIFY scoreboard, $$no JSON, "global"$$; NOTIFY scoreboard');
  assert.equal(lists[0].board, 'global');
  assert.equal((await ask(increment, inputFor('zoe', {}))).data.increment.result.score, '100');
  await until('a list with the new player', () => lists.at(-1).entries.some(({ userId }) => userId === 'zoe'));
  lists.reduce((older, newer) => { assert.ok(newer.version >= older.version); return newer; });
  assert.equal(told.ended, undefined);
  socket.close();
  await once(socket, 'close');
});
