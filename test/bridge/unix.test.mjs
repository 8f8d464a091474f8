/*
 * Listening on a unix socket: beside addresses or alone, who may connect, and whose file it is.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, RawSocket, STREAM, UNLIMITED, award, frame, messageOf, published, rawIncrement } from './clients.mjs';

let cluster;
let directory;
let path;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'unix-'));
  path = join(directory, 'bridge.sock');
});

after(async () => {
  await cluster?.stop();
  await rm(directory, { recursive: true, force: true });
});

/* What Raw connects to. */
const at = (file) => ({ path: file, port: undefined, host: undefined });

const start = (listen, args = []) => startBridge(cluster, ['--listen', listen, ...args], { ready: false });

async function ask(file, target, headers = {}) {
  const request = http.get({ socketPath: file, path: target, headers, agent: false });
  const [answer] = await once(request, 'response');
  let text = '';
  answer.setEncoding('utf8').on('data', (piece) => { text += piece; });
  await once(answer, 'end');
  return { status: answer.statusCode, text };
}

const ready = (file) => until('the bridge to be ready', async () => (await ask(file, '/ready')).status === 200);

/* Runs a bridge that must not start; its one sentence. */
async function refused(listen, args = []) {
  const run = promisify(execFile)(process.env.BRIDGE ?? 'scoreboard-bridge', ['--listen', listen, ...args],
    { env: { PATH: process.env.PATH, ASAN_OPTIONS: process.env.ASAN_OPTIONS ?? '' }, timeout: 20000 });
  const error = await run.then(() => assert.fail('it started'), (failure) => failure);
  assert.match(error.stderr, /^scoreboard-bridge: [^\n]+\n$/, 'one sentence');
  return { status: error.code, said: error.stderr };
}

test('requests, event streams and WebSockets come through a unix socket', async () => {
  const bridge = await start(`unix:${path}`);
  await ready(path);
  const raw = new Raw(bridge, at(path)).send(rawIncrement(cluster, 'ann'));
  const answer = await raw.answer();
  assert.equal(answer.status, 200);
  assert.equal(answer.json.score, 100);
  assert.equal(await cluster.sql('SELECT client_address IS NULL FROM scoreboard.action'), 't', 'nothing is known of it');
  raw.close();
  const events = new Raw(bridge, at(path)).send(`GET ${STREAM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
  const socket = new RawSocket(bridge, at(path)).send(RawSocket.handshake());
  assert.equal((await socket.answer()).status, 101);
  await award(cluster, 'bob', 700);
  const message = messageOf(await published(cluster, 'bob', 700));
  await until('both to have the list', () => `${events.received}`.includes(message) && `${socket.received}`.includes(message));
  socket.send(frame([3, 0xe8], { opcode: 8 }));
  assert.equal(await socket.closeCode(), 1000);
  events.close();
  assert.equal(await bridge.stop(), 0);
  assert.ok(!existsSync(path), 'an ended bridge leaves no file');
});

test('it goes together with addresses, in one list', async () => {
  const bridge = await start(`unix:${path},127.0.0.1:0`);
  const heard = await until('both', () => {
    const lines = bridge.log.filter(({ msg }) => msg === 'listening');
    return lines.length === 2 && lines;
  });
  assert.equal(heard[0].path, path);
  assert.equal((await ask(path, '/health')).status, 200);
  assert.equal((await fetch(`http://127.0.0.1:${heard[1].port}/health`)).status, 200);
  assert.equal(await bridge.stop(), 0);
});

test('the mode of the file is what the setting says', async () => {
  for (const [args, mode] of [[[], 0o660], [['--socket-mode', '0600'], 0o600], [['--socket-mode=666'], 0o666], [['--socket-mode=0777'], 0o777]]) {
    const bridge = await start(`unix:${path}`, args);
    assert.equal(statSync(path).mode & 0o777, mode);
    assert.equal(await bridge.stop(), 0);
  }
  for (const mode of ['', '7', '66', '0888', '01777', '-660', '0o660', 'rw', '660 ', '00660']) {
    const { status, said } = await refused(`unix:${path}`, ['--socket-mode', mode]);
    assert.equal(status, 2);
    assert.ok(said.includes('--socket-mode'), said);
  }
});

test('the file of a dead bridge is replaced, a living one keeps it', async () => {
  const dead = await start(`unix:${path}`);
  await dead.stop('SIGKILL');
  assert.ok(existsSync(path), 'it left its file');
  const living = await start(`unix:${path}`);
  await ready(path);
  for (const args of [[], ['--share-port']]) {
    const { status, said } = await refused(`unix:${path}`, args);
    assert.equal(status, 1);
    assert.ok(said.includes(path) && said.includes('another process listens there'), said);
  }
  /* One that can't have its second address leaves nothing, and takes nothing away. */
  const other = join(directory, 'other.sock');
  const { said } = await refused(`unix:${other},unix:${path}`);
  assert.ok(said.includes(path), said);
  assert.ok(!existsSync(other));
  assert.equal((await ask(path, '/health')).status, 200);
  assert.equal(await living.stop(), 0);
});

test('of several that begin at once where a dead one was, one gets it', async () => {
  const dead = await start(`unix:${path}`);
  await dead.stop('SIGKILL');
  const all = await Promise.allSettled(Array.from({ length: 4 }, () => start(`unix:${path}`)));
  const started = all.filter(({ status }) => status === 'fulfilled');
  assert.equal(started.length, 1, JSON.stringify(all.map(({ reason }) => reason?.message)));
  for (const { reason } of all.filter((one) => one.reason)) assert.match(reason.message, /another process listens there/);
  assert.equal((await ask(path, '/health')).status, 200);
  assert.equal(await started[0].value.stop(), 0);
  assert.ok(!existsSync(path));
});

test("what isn't ours is left alone", async () => {
  const file = join(directory, 'letter');
  writeFileSync(file, 'dear reader');
  for (const [listen, named] of [[`unix:${file}`, 'no socket'], [`unix:${directory}/missing/a.sock`, 'No such file'], ['unix:/proc/a.sock', '/proc/a.sock']]) {
    const { status, said } = await refused(listen);
    assert.equal(status, 1);
    assert.ok(said.includes(named), said);
  }
  assert.equal(statSync(file).size, 11);
  /* A bridge whose file was taken away by hand doesn't remove the one of its successor. */
  const first = await start(`unix:${path}`);
  await rm(path);
  const second = await start(`unix:${path}`);
  assert.equal(await first.stop(), 0);
  assert.equal((await ask(path, '/health')).status, 200);
  assert.equal(await second.stop(), 0);
});

test('a path that cannot be one is refused by name', async () => {
  for (const listen of ['unix:', 'unix:80', 'unix:a.sock', `unix:/${'x'.repeat(107)}`, 'unix:/tmp/', 'unix:/tmp/a.sock,', '127.0.0.1:0,unix:']) {
    const { status, said } = await refused(listen);
    assert.equal(status, 2, said);
    assert.ok(said.includes('--listen') && (said.includes('path') || said.includes('address')), said);
  }
});

test('connections of a unix socket count in total, not by address', async () => {
  const bridge = await start(`unix:${path}`, ['--max-connections-per-address', '2', '--max-connections', '6']);
  const all = Array.from({ length: 6 }, () => new Raw(bridge, at(path)).send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'));
  for (const raw of all) assert.equal((await raw.answer()).status, 200);
  const more = new Raw(bridge, at(path)).send('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
  await more.ends();
  assert.equal(more.received.length, 0);
  all.forEach((raw) => raw.close());
  await until('room again', async () => {
    const raw = new Raw(bridge, at(path)).send('GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    return (await raw.answer())?.status === 200;
  });
  assert.equal(await bridge.stop(), 0);
});
