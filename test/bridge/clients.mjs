/*
 * Clients of a bridge as the tests need them: ones that record everything, and ones that say what no library would let them.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import { after } from 'node:test';
import tls from 'node:tls';
import WebSocket from 'ws';
import { actionFor, tokenFor, until } from '../lib/cluster.mjs';

/** Settings of a cluster in which players may act as often as a test wants. */
export const UNLIMITED = { 'scoreboard.rate_limit': 0, 'scoreboard.burst_limit': 0 };

export const STREAM = '/v1/leaderboard/stream';

/* ---- whoever is connected ---- */

const connected = new Set();

/** Ends every connection that a test has left open, be it because it failed: one that stayed would keep node running. */
export function closeAll() {
  for (const client of connected) client.close();
  connected.clear();
}

/* soak.mjs is no test, and ends its clients by itself. */
if (process.env.NODE_TEST_CONTEXT) after(closeAll);

/* ---- what the database says ---- */

/** The stored document of a board, as text. */
export const stored = (cluster, board = 'global') =>
  cluster.sql("SELECT document FROM scoreboard.top WHERE board = :'board'", { board });

/** The message that a stream must carry for a stored document, byte by byte. */
export const messageOf = (document) => `{"type":"leaderboard.update",${document.slice(1)}`;

/** Points for a player, by a trusted server: a change that needs no bridge. */
export const award = (cluster, user, points, board = 'global') => cluster.sql(
  "SELECT FROM scoreboard_increment_for(:'user', 'AWARD', :'id', board => :'board', points => :points)",
  { user, id: randomBytes(9).toString('hex'), board, points });

/** Waits until the publisher has stored a list with this score of this player; its document. */
export const published = (cluster, user, score, board = 'global') => until(`${user}'s ${score} to be published`, async () => {
  const document = await stored(cluster, board);
  return document && JSON.parse(document).entries.some((entry) => entry.userId === user && entry.score === score) && document;
});

/**
 * A session that does not end before it is told to: SQL that begins a transaction and prints "held" when it is so far. Returns
 * (end) => …, which takes how it ends.
 */
export async function openSession(cluster, text) {
  const psql = spawn(join(process.env.PG_BINDIR, 'psql'), ['-XqAt'], { env: cluster.environment, stdio: ['pipe', 'pipe', 'ignore'] });
  /* A test that fails in between leaves it; it must not keep node from ending, whose end it then shares. */
  [psql, psql.stdin, psql.stdout].forEach((one) => one.unref());
  let said = '';
  psql.stdout.on('data', (data) => { said += data; });
  psql.stdin.write(`BEGIN; ${text};\n`);
  await until('the session to hold', () => said.includes('held'));
  const closed = once(psql, 'close');
  return (end = 'ROLLBACK') => {
    psql.ref();
    if (!psql.stdin.writableEnded) psql.stdin.end(`${end};\n`);
    return closed;
  };
}

/** One that holds a player's lock: it is counting an action of that player. */
export const sitOn = (cluster, user) => openSession(cluster,
  `SELECT 'held' FROM scoreboard_increment_for('${user}', 'AWARD', 'sitting', points => 5)`);

/* ---- streams ---- */

const module = (bridge) => (bridge.tls ? https : http);

/**
 * All that clients of one database have seen: a version has one content, for ever, whoever asks and however often; and what one
 * connection, or one after the other, is given never goes back.
 */
export class Versions {
  contents = new Map();

  newest = new Map();

  /** @param {object} from a place to remember the newest version in; a client's own by default */
  take(text, newest = this.newest) {
    const { type, ...document } = JSON.parse(text);
    const name = `${document.board}:${document.version}`;
    const content = JSON.stringify(document);
    assert.ok(type === undefined || type === 'leaderboard.update');
    assert.equal(this.contents.get(name) ?? content, content, `two contents of ${name}`);
    this.contents.set(name, content);
    assert.ok(document.version >= (newest.get(document.board) ?? 0), `${name} after ${newest.get(document.board)}`);
    newest.set(document.board, document.version);
  }
}

/** A stream's common part: `messages` are JSON texts in the order of their arrival, but for what tells of the stream itself, `statuses`, of its player, `own`, and of ended seasons. */
class Stream {
  messages = [];

  statuses = [];

  own = []; /* what the stream's player was told of itself */

  seasons = []; /* those that ended; after: how many messages were there */

  closed = null; /* {code, reason} */

  get last() { return this.messages.at(-1); }

  hear(text) {
    if (text.startsWith('{"type":"status"')) this.statuses.push(JSON.parse(text));
    else if (text.startsWith('{"type":"me.update"')) this.own.push(JSON.parse(text));
    else if (text.startsWith('{"type":"season.end"')) this.seasons.push({ ...JSON.parse(text), after: this.messages.length });
    else this.messages.push(text);
  }

  receives(message, what = 'a message') { return until(what, () => this.messages.includes(message)); }

  /** Waits for a message that is as it should be, after the first so many. */
  later(from, matches, what = 'a later message') {
    return until(what, () => this.messages.slice(from).find((text) => matches(JSON.parse(text))));
  }

  ends() { return until('the stream to end', () => this.closed); }
}

class SocketStream extends Stream {
  pings = 0;

  constructor(url, { protocols, ...options }) {
    super();
    this.socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
    this.socket.on('message', (data, binary) => { assert.ok(!binary); this.hear(data.toString()); });
    this.socket.on('ping', () => { this.pings++; });
    this.socket.on('error', (error) => { this.error = error; });
    this.socket.on('close', (code, reason) => { this.closed = { code, reason: reason.toString() }; connected.delete(this); });
    connected.add(this);
  }

  close() { this.socket.terminate(); }
}

/** A WebSocket. Options: query, protocols, and those of ws. Open when this returns. */
export async function openSocket(bridge, { query = '', ...options } = {}) {
  const stream = new SocketStream(`${bridge.url.replace('http', 'ws')}${STREAM}${query}`, { ca: bridge.tls?.ca, ...options });
  await until('the WebSocket to open', () => stream.socket.readyState === WebSocket.OPEN || stream.error || stream.closed);
  if (stream.error) throw stream.error;
  return stream;
}

/** Server-sent events, the text kept as it came: `events` are {event, id, data}, `head` the answer. */
class EventStream extends Stream {
  text = '';

  events = [];

  comments = 0;

  comment = null; /* the last one */

  take(text) {
    const blocks = (this.text + text).split('\n\n');
    this.text = blocks.pop();
    for (const block of blocks) this.takeBlock(block);
  }

  takeBlock(block) {
    const fields = {};
    for (const line of block.split('\n')) {
      const [, name, value] = /^([a-z]*): ?(.*)$/s.exec(line) ?? assert.fail(`no field: ${JSON.stringify(line)}`);
      assert.ok(!(name in fields), `${name} twice`);
      fields[name] = value;
    }
    if ('' in fields) {
      this.comments++;
      this.comment = fields[''];
    }
    if ('retry' in fields) this.retry = Number(fields.retry);
    if (!('data' in fields)) return;
    assert.equal(fields.event, JSON.parse(fields.data).type);
    if (fields.event !== 'leaderboard.update') assert.ok(!('id' in fields), 'an id is a list\'s');
    else this.events.push(fields);
    this.hear(fields.data);
  }

  close() { this.request.destroy(); }
}

export async function openEvents(bridge, { query = '', headers = {} } = {}) {
  const stream = new EventStream();
  stream.request = module(bridge).get(`${bridge.url}${STREAM}${query}`, { agent: false, ca: bridge.tls?.ca, headers: { accept: 'text/event-stream', ...headers } });
  stream.request.on('error', () => { stream.closed ??= { code: 0 }; });
  stream.request.on('close', () => { connected.delete(stream); });
  connected.add(stream);
  const [answer] = await once(stream.request, 'response');
  stream.head = answer;
  answer.setEncoding('utf8');
  answer.on('data', (text) => stream.take(text));
  answer.on('error', () => {});
  answer.on('close', () => { stream.closed ??= { code: 0 }; });
  return stream;
}

/* ---- requests ---- */

/* fetch can't be told whom to trust. */
async function askSecurely(bridge, path, { body, ...options }) {
  const request = https.request(bridge.url + path, { agent: false, ca: bridge.tls.ca, ...options });
  request.end(body);
  const [answer] = await once(request, 'response');
  const pieces = [];
  for await (const piece of answer) pieces.push(piece);
  const text = Buffer.concat(pieces).toString();
  return { status: answer.statusCode, headers: new Headers(answer.headers), text, get json() { return JSON.parse(text); } };
}

/** GET and the like: {status, headers, text, json}. */
export async function ask(bridge, path, options = {}) {
  if (bridge.tls) return askSecurely(bridge, path, options);
  const answer = await fetch(bridge.url + path, { redirect: 'error', ...options });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, get json() { return JSON.parse(text); } };
}

/** An increment of a player: a good one, unless told otherwise. body: what to send instead (text or bytes). */
export async function increment(bridge, cluster, user, { action = actionFor(cluster, user), body = JSON.stringify(action),
  headers = {}, token = tokenFor(cluster, user), key, ...options } = {}) {
  return ask(bridge, '/v1/scores/increment', {
    method: 'POST', body, ...options,
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }),
      ...(key && { 'idempotency-key': key }), ...headers },
  });
}

/** An error as SPEC section 4 wants it over HTTP. */
export function assertError(answer, status, code) {
  assert.equal(`${answer.status} ${answer.json.error?.code}`, `${status} ${code}`, answer.text);
  assert.deepEqual(Object.keys(answer.json), ['error']);
  const { hint, ...error } = answer.json.error;
  assert.deepEqual(Object.keys(error), ['code', 'message', 'requestId']);
  assert.ok(error.message.length > 5);
  assert.ok(hint === undefined || hint.length > 5);
  const header = (name) => (answer.headers.get ? answer.headers.get(name) : answer.headers[name]);
  assert.equal(answer.json.error.requestId, header('x-request-id'));
  assert.equal(header('content-type'), 'application/json');
  if (status === 401) assert.match(header('www-authenticate'), /^Bearer/);
  if (status === 429 || status === 503) assert.ok(Number(header('retry-after')) >= 1);
}

/* ---- raw sockets ---- */

/** A TCP or TLS connection, as the bridge has it, on which anything can be said. `received` is what has come, as bytes. */
export class Raw {
  received = Buffer.alloc(0);

  ended = false;

  constructor(bridge, options = {}) {
    const { tls: secure = bridge.tls, ...where } = { port: bridge.port, host: '127.0.0.1', ...options };
    this.socket = secure ? tls.connect({ ...where, ca: secure.ca }) : net.connect(where);
    this.socket.setNoDelay(true);
    this.socket.on('data', (data) => { this.received = Buffer.concat([this.received, data]); });
    this.socket.on('error', (error) => { this.error = error; });
    this.socket.on('close', () => { this.ended = true; connected.delete(this); });
    connected.add(this);
  }

  send(data) {
    this.socket.write(data);
    return this;
  }

  close() { this.socket.destroy(); }

  ends() { return until('the connection to end', () => this.ended); }

  /** The next HTTP answer, taken off what was received; null where the connection ended without one. */
  async answer() {
    const head = await until('an answer', () => (this.received.includes('\r\n\r\n') || this.ended) && this.head());
    if (!head.status) return null;
    const length = Number(head.headers['content-length'] ?? 0);
    await until('the whole answer', () => this.received.length >= head.size + length || this.ended);
    const text = this.received.subarray(head.size, head.size + length).toString();
    this.received = this.received.subarray(head.size + length);
    return { ...head, text, get json() { return JSON.parse(text); } };
  }

  head() {
    const size = this.received.indexOf('\r\n\r\n') + 4;
    if (size < 4) return {};
    const [first, ...lines] = this.received.subarray(0, size - 4).toString('latin1').split('\r\n');
    const headers = {};
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      assert.ok(!(name in headers), `header ${name} twice`);
      headers[name] = line.slice(colon + 1).trim();
    }
    return { size, status: Number(first.split(' ')[1]), headers };
  }
}

/** One answer to a request given as text. */
export async function rawAnswer(bridge, text) {
  const raw = new Raw(bridge).send(text);
  const answer = await raw.answer();
  raw.close();
  return answer;
}

/** The text of an increment's request, every header replaceable: undefined leaves it out, a list gives it as often. */
export function rawIncrement(cluster, user, { headers = {}, body = JSON.stringify(actionFor(cluster, user)), path = '/v1/scores/increment',
  method = 'POST', token = tokenFor(cluster, user) } = {}) {
  const all = { Host: 'board.test', 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body),
    Authorization: `Bearer ${token}`, ...headers };
  const lines = Object.entries(all).filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [value].flat().map((one) => `${name}: ${one}\r\n`));
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`), Buffer.from(body)]);
}

/** A frame as a client sends it; every part can be made wrong. */
export function frame(payload, { opcode = 1, final = true, reserved = 0, masked = true, length } = {}) {
  const bytes = Buffer.from(payload);
  const size = length ?? bytes.length;
  const head = [((final ? 0x80 : 0) | (reserved << 4) | opcode)];
  const mask = masked ? 0x80 : 0;
  if (size < 126) head.push(mask | size);
  else if (size < 65536) head.push(mask | 126, size >> 8, size & 255);
  else head.push(mask | 127, ...Array.from({ length: 8 }, (_, i) => Number((BigInt(size) >> BigInt(56 - 8 * i)) & 255n)));
  const key = masked ? randomBytes(4) : Buffer.alloc(0);
  return Buffer.concat([Buffer.from(head), key, masked ? bytes.map((byte, i) => byte ^ key[i % 4]) : bytes]);
}

/** A WebSocket on a raw connection: frames() are {opcode, payload} that came whole. */
export class RawSocket extends Raw {
  static handshake({ path = STREAM, headers = {} } = {}) {
    const all = { Host: 'board.test', Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Version': 13,
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'), ...headers };
    return `GET ${path} HTTP/1.1\r\n${Object.entries(all).filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  }

  static async open(bridge, options) {
    const raw = new RawSocket(bridge).send(RawSocket.handshake(options));
    assert.equal((await raw.answer()).status, 101);
    return raw;
  }

  frames() {
    const found = [];
    for (let at = 0; at + 10 <= this.received.length || at + 2 + (this.received[at + 1] & 127) <= this.received.length;) {
      let length = this.received[at + 1] & 127;
      let from = at + 2;
      if (length === 126) { length = this.received.readUInt16BE(from); from += 2; }
      else if (length === 127) { length = Number(this.received.readBigUInt64BE(from)); from += 8; }
      if (from + length > this.received.length) break;
      found.push({ opcode: this.received[at] & 15, payload: this.received.subarray(from, from + length) });
      at = from + length;
    }
    return found;
  }

  /** The code of the close frame that comes, 1006 where none does; it is answered, and then the connection must end. */
  async closeCode() {
    const close = await until('the end', () => this.frames().find(({ opcode }) => opcode === 8) ?? this.ended);
    if (close === true) return 1006;
    this.send(frame(close.payload, { opcode: 8 }));
    await this.ends();
    return close.payload.readUInt16BE(0);
  }
}

/* ---- the bridge's process ---- */

/** Milliseconds of processor time that it has used so far. */
export async function processorTime(bridge) {
  const fields = (await readFile(`/proc/${bridge.child.pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Bytes of memory that it occupies. */
export async function memory(bridge) {
  return Number((await readFile(`/proc/${bridge.child.pid}/statm`, 'utf8')).split(' ')[1]) * 4096;
}

/** Is the service still what it was for everybody else? */
export async function assertAlive(bridge) {
  assert.equal((await ask(bridge, '/health')).status, 200);
  assert.equal(bridge.child.exitCode, null);
}

/** Like Promise.all over a list, but at most so many at a time. */
export async function inParallel(items, width, work) {
  const rest = [...items.entries()];
  await Promise.all(Array.from({ length: width }, async () => {
    for (let item = rest.shift(); item; item = rest.shift()) await work(item[1], item[0]);
  }));
}
