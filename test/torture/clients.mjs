/*
 * Those whom the torture is about: players, who ask for each action under its own key until they have a definite answer, and watchers, who
 * note every version of every list with its content.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import WebSocket from 'ws';
import { actionFor, tokenFor } from '../lib/cluster.mjs';
import { STREAM } from '../bridge/clients.mjs';
import { generator } from '../bridge/spoiling.mjs';

const PATIENCE_MS = 12000; /* more than a bridge's own */

/** What went wrong, and what was seen. */
export class Ledger {
  violations = [];

  answers = {}; /* outcome → how often */

  actions = new Map(); /* id → {user, board, points, previousScore, score}: acknowledged */

  contents = new Map(); /* board:version → hash */

  lists = 0; /* that came to watchers */

  acknowledgedAt = 0; /* ms: the start of the request that was answered last */

  longest = 0; /* ms without an acknowledgement */

  lastAnswer = Date.now();

  constructor(log) { this.log = log; }

  wrong(text) {
    if (this.violations.length < 50) this.violations.push(text);
    this.log(`VIOLATION: ${text}`);
  }

  count(outcome) { this.answers[outcome] = (this.answers[outcome] ?? 0) + 1; }

  acknowledge(begun) {
    const now = Date.now();
    this.acknowledgedAt = Math.max(this.acknowledgedAt, begun);
    this.longest = Math.max(this.longest, now - this.lastAnswer);
    this.lastAnswer = now;
  }

  list(text, who, newest) {
    const { type, ...document } = JSON.parse(text);
    const name = `${document.board}:${document.version}`;
    const hash = createHash('sha1').update(JSON.stringify(document)).digest('base64');
    const known = this.contents.get(name);
    if (known && known !== hash) this.wrong(`two contents of ${name}, the second for ${who}: ${text}`);
    this.contents.set(name, hash);
    if (document.version < (newest.get(document.board) ?? 0)) this.wrong(`${who}: ${name} after ${newest.get(document.board)}`);
    newest.set(document.board, document.version);
    this.lists++;
    return document;
  }
}

/* ---- players ---- */

export class Player {
  constructor(world, number, seed) {
    Object.assign(this, { world, ledger: world.ledger, draw: generator(seed), name: `player ${number}`, attempts: 0 });
  }

  async play() {
    while (this.world.playing) {
      await this.act();
      await pause(this.draw(30));
    }
  }

  async act() {
    const { cluster, boards } = this.world;
    const user = `user-${this.draw(24)}`;
    const board = boards[this.draw(boards.length)];
    const points = 1 + this.draw(1000);
    const request = { user, action: actionFor(cluster, user, { actionType: 'BONUS', board, points }), key: randomBytes(12).toString('hex') };
    const answer = await this.insist(request, [200]);
    if (!answer) return;
    const { previousScore, score } = answer;
    if (answer.userId !== user || answer.board !== board || answer.appliedPoints !== points || previousScore + points !== score) {
      this.ledger.wrong(`${this.name}: ${points} points on ${board} answered ${JSON.stringify(answer)}`);
    }
    this.ledger.actions.set(request.action.actionId, { user, board, points, previousScore, score });
    if (this.draw(10) === 0) await this.repeat(request, answer);
  }

  /* A retry after the answer gets the same answer; the same action under another key none. */
  async repeat(request, { replayed, ...first }) {
    const { replayed: again, ...second } = await this.insist(request, [200]) ?? first;
    if (JSON.stringify(first) !== JSON.stringify(second) || again === false) this.ledger.wrong(`${this.name}: a retry of ${JSON.stringify(first)} got ${JSON.stringify(second)}`);
    await this.insist({ ...request, key: randomBytes(12).toString('hex') }, [409]);
  }

  /** Asks until the answer is definite; returns it. */
  async insist(request, expected) {
    for (;;) {
      const begun = Date.now();
      const { status, json, failure } = await this.ask(request);
      this.ledger.count(failure ?? status);
      if (expected.includes(status)) {
        if (status === 200) this.ledger.acknowledge(begun);
        return json;
      }
      if (status && ![503, 408].includes(status)) {
        this.ledger.wrong(`${this.name}: ${status} ${JSON.stringify(json)} to ${JSON.stringify(request)}`);
        return null;
      }
      await pause(30 + this.draw(300));
    }
  }

  async ask({ user, action, key }) {
    const { bridges, cluster } = this.world;
    const { url } = bridges[this.draw(bridges.length)];
    this.attempts++;
    try {
      const answer = await fetch(`${url}/v1/scores/increment`, { method: 'POST', body: JSON.stringify(action), signal: AbortSignal.timeout(PATIENCE_MS),
        headers: { 'content-type': 'application/json', authorization: `Bearer ${tokenFor(cluster, user)}`, 'idempotency-key': key } });
      return { status: answer.status, json: await answer.json() };
    } catch (error) {
      return { failure: error.cause?.code ?? error.name };
    }
  }
}

/* ---- watchers ---- */

class Watcher {
  newest = new Map();

  madeAt = 0; /* ms: the newest list of the first board that it has */

  broken = 0; /* connections that ended */

  constructor(world, bridge, number) {
    Object.assign(this, { world, ledger: world.ledger, bridge, name: `${this.constructor.name} ${number}`, draw: generator(number) });
    this.boards = world.boards.join();
  }

  hear(text) {
    if (text.includes('"leaderboard.update"')) this.take(text);
  }

  take(text) {
    const { board, updatedAt } = this.ledger.list(text, this.name, this.newest);
    if (board === this.world.boards[0]) this.madeAt = Date.parse(updatedAt);
  }

  async watch() {
    while (this.world.watching) {
      await this.connect().catch(() => {});
      this.broken++;
      await pause(50 + this.draw(500));
    }
  }

  close() { this.stop?.(); }
}

class Socket extends Watcher {
  async connect() {
    const socket = new WebSocket(`${this.bridge.url.replace('http', 'ws')}${STREAM}?board=${this.boards}`, { perMessageDeflate: false, handshakeTimeout: 5000 });
    this.stop = () => socket.terminate();
    socket.on('message', (data) => this.hear(data.toString()));
    await new Promise((resolve) => { socket.on('close', resolve).on('error', resolve); });
  }
}

class Events extends Watcher {
  async connect() {
    const controller = new AbortController();
    this.stop = () => controller.abort();
    const answer = await fetch(`${this.bridge.url}${STREAM}?board=${this.boards}`, { headers: { accept: 'text/event-stream' }, signal: controller.signal });
    let text = '';
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      const blocks = (text + piece).split('\n\n');
      text = blocks.pop();
      for (const block of blocks) this.hear(/^data: ?(.*)$/m.exec(block)?.[1] ?? '');
    }
  }
}

/* Asks for one list again and again, with its ETag. */
class Poller extends Watcher {
  async connect() {
    const board = this.world.boards[0];
    let etag = '';
    while (this.world.watching) {
      const answer = await fetch(`${this.bridge.url}/v1/leaderboard/top?board=${board}`, { headers: { 'if-none-match': etag }, signal: AbortSignal.timeout(PATIENCE_MS) });
      const text = await answer.text();
      if (answer.status === 200) {
        etag = answer.headers.get('etag');
        this.take(text);
      } else if (![304, 503].includes(answer.status)) this.ledger.wrong(`${this.name}: ${answer.status} ${text}`);
      await pause(100 + this.draw(100));
    }
  }
}

/** Of each bridge so many of each kind. */
export const watchersOf = (world) => world.bridges.flatMap((bridge, n) =>
  [Socket, Socket, Socket, Events, Events, Poller].map((Kind, i) => new Kind(world, bridge, n * 10 + i)));
