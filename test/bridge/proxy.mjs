/*
 * What stands between a bridge and its database in a test: it passes everything on, knows which statement an answer belongs to, and can
 * hold, cut and stop what it carries. It speaks PostgreSQL's protocol, version 3, as far as it needs to.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { until } from '../lib/cluster.mjs';

const SSL_REQUEST = 80877103;
const GSS_REQUEST = 80877104;
const READY = Buffer.from([0x5a, 0, 0, 0, 5]); /* which no text has in it */

/** The text that ends at the next zero. */
const textAt = (bytes, from) => bytes.subarray(from, bytes.indexOf(0, from)).toString();

/** The parameters of a Bind message, as texts. */
function parametersOf(body) {
  let at = body.indexOf(0, body.indexOf(0) + 1) + 1;
  at += 2 + 2 * body.readInt16BE(at);
  const values = [];
  const count = body.readInt16BE(at);
  at += 2;
  for (let i = 0; i < count; i++) {
    const length = body.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? null : body.subarray(at, at + Math.max(length, 0)).toString());
    at += Math.max(length, 0);
  }
  return values;
}

/** One connection of a bridge. `statements` are {connection, sql, parameters, rest} in the order in which they were sent; rest: ms since an answer ended. */
class Carried {
  statements = [];

  held = null; /* what the server has said and waits */

  answered = 0; /* ms: when an answer's end was passed on */

  frozen = null; /* what the bridge has said and waits */

  closed = false;

  constructor(proxy, client) {
    Object.assign(this, { proxy, client, pending: Buffer.alloc(0), begun: false, prepared: new Map(), startup: {} });
    client.on('error', () => {});
    client.on('close', () => this.cut());
    if (proxy.mute) return; /* nothing is read and nothing ever said */
    this.server = net.connect(proxy.target);
    this.server.on('error', () => {});
    this.server.on('close', () => { this.answer(null); });
    this.server.on('data', (data) => this.answer(data));
    client.on('data', (data) => {
      if (this.frozen) this.frozen.push(data);
      else this.ask(data);
    });
  }

  ask(data) {
    this.read(data);
    this.server.write(data);
  }

  /* data: null is the end */
  answer(data) {
    if (this.held) this.held.push(data);
    else if (data) {
      if (data.includes(READY)) this.answered = performance.now();
      this.client.write(data);
    }
    else this.cut();
  }

  read(data) {
    this.pending = Buffer.concat([this.pending, data]);
    for (;;) {
      const from = this.begun ? 1 : 0;
      if (this.pending.length < from + 4) return;
      const end = from + this.pending.readInt32BE(from);
      if (this.pending.length < end) return;
      const body = this.pending.subarray(from + 4, end);
      if (this.begun) this.take(String.fromCharCode(this.pending[0]), body);
      else this.start(body);
      this.pending = this.pending.subarray(end);
    }
  }

  start(body) {
    const code = body.readInt32BE(0);
    if (code === SSL_REQUEST || code === GSS_REQUEST) return;
    this.begun = true;
    const words = body.subarray(4).toString().split('\0');
    for (let i = 0; i + 1 < words.length && words[i]; i += 2) this.startup[words[i]] = words[i + 1];
  }

  take(type, body) {
    if (type === 'Q') this.asked(textAt(body, 0), []);
    else if (type === 'P') this.prepared.set(textAt(body, 0), textAt(body, body.indexOf(0) + 1));
    else if (type === 'B') this.asked(this.prepared.get(textAt(body, body.indexOf(0) + 1)), parametersOf(body));
  }

  asked(sql, parameters) {
    const statement = { connection: this, sql, parameters, rest: performance.now() - this.answered };
    this.statements.push(statement);
    this.proxy.statements.push(statement);
    const trap = this.proxy.traps.find(({ pattern }) => pattern.test(sql));
    if (!trap) return;
    this.held ??= [];
    trap.caught.push(statement);
  }

  /** Passes on what was held, and all that follows. */
  release() {
    const held = this.held ?? [];
    this.held = null;
    /* In one piece, so that what came while an answer was held is there together with it. */
    const data = Buffer.concat(held.filter((piece) => piece));
    if (data.length) this.answer(data);
    if (held.includes(null)) this.answer(null);
  }

  cut() {
    this.closed = true;
    this.proxy.carried.delete(this);
    this.client.destroy();
    this.server?.destroy();
  }
}

export class DatabaseProxy {
  carried = new Set();

  opened = 0;

  statements = [];

  traps = [];

  refusals = 0; /* so many new connections are ended at once */

  mute = false; /* new connections are taken, and nothing is ever said on them */

  /** where: {address, port}, of loopback; by default 127.0.0.1 and a free one. */
  static async start(cluster, where = {}) {
    const proxy = Object.assign(new DatabaseProxy(), { address: '127.0.0.1', port: 0, ...where });
    proxy.target = `${cluster.directory}/.s.PGSQL.5432`;
    proxy.server = net.createServer({ noDelay: true }, (client) => {
      proxy.opened++;
      if (proxy.refusals > 0) {
        proxy.refusals--;
        client.destroy();
        return;
      }
      proxy.carried.add(new Carried(proxy, client));
    });
    await proxy.open();
    return proxy;
  }

  async open() {
    this.server.listen(this.port, this.address);
    await once(this.server, 'listening');
    this.port = this.server.address().port;
  }

  /** Connections are refused from now on; those that stand are cut. */
  async shut() {
    const closed = once(this.server, 'close');
    this.server.close();
    this.cut();
    await closed;
  }

  stop() { return this.server.listening ? this.shut() : this.cut(); }

  conninfo(more = '') { return `host=${this.address} port=${this.port} user=test_bridge dbname=scoreboard ${more}`; }

  asked(pattern) { return this.statements.filter(({ sql }) => pattern.test(sql)); }

  /** Holds back what the server says on every connection that sends such a statement from now on: {caught, release()}. */
  hold(pattern) {
    const trap = { pattern, caught: [] };
    trap.spring = () => { this.traps = this.traps.filter((other) => other !== trap); };
    trap.release = () => {
      trap.spring();
      trap.caught.forEach(({ connection }) => connection.release());
    };
    /* The first that was caught, once the server has said something to it. */
    trap.catches = () => until(`an answer to ${pattern}`, () => trap.caught.find(({ connection }) => connection.held?.length > 0));
    this.traps.push(trap);
    return trap;
  }

  /** Nothing more passes on the connections that stand, and they stay open. */
  freeze() {
    for (const one of this.carried) {
      one.held ??= [];
      one.frozen ??= [];
    }
  }

  thaw() {
    for (const one of this.carried) {
      const said = one.frozen ?? [];
      one.frozen = null;
      said.forEach((data) => one.ask(data));
      one.release();
    }
  }

  cut() { for (const one of this.carried) one.cut(); }
}

/**
 * A port of this machine where a SYN gets no answer: its queue of connections is full and nobody takes them out. What a host is like
 * behind a firewall that drops.
 */
export async function deafPort({ address = '127.0.0.1', port: wanted = 0 } = {}) {
  const child = spawn('perl', ['-MSocket', '-e', `
    $| = 1;
    my $l;
    socket($l, PF_INET, SOCK_STREAM, 0) and bind($l, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) and listen($l, 0) or die $!;
    my ($port) = sockaddr_in(getsockname($l));
    print "$port\\n";
    <STDIN>`, address, `${wanted}`], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  const port = Number(line);
  const fillers = [];
  /* As many as are taken; the first that hangs shows that the queue is full. */
  for (let full = false; !full;) {
    const socket = net.connect(port, address);
    socket.on('error', () => {});
    fillers.push(socket);
    full = await Promise.race([once(socket, 'connect').then(() => false), new Promise((resolve) => { setTimeout(resolve, 300, true); })]);
  }
  return { port, stop: () => { fillers.forEach((socket) => socket.destroy()); child.kill(); } };
}
