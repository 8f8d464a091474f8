/*
 * A live leaderboard in the browser, and increments that show at once.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 *   import { Scoreboard } from '/scoreboard.js';
 *   const board = new Scoreboard({ board: 'global' });
 *   board.addEventListener('update', ({ detail }) => draw(detail.document.entries));
 *   board.addEventListener('notice', ({ detail }) => alert(detail.message));
 *   board.open();
 *
 * Design. One Scoreboard follows one board. `#run` is its only loop: it tries the transports in the order WebSocket, server-sent
 * events, polling; the first one that delivers a list is kept until it ends, then the loop waits (jittered, capped) and starts over.
 * While polling works, a better transport is tried now and then. Every list passes `#accept`, which drops what is not newer than
 * the list it has: two bridges, a slow answer or an old cache can't turn the display back. What is displayed is the last list plus
 * the increments that it can't know yet (`#pending`); an error takes an increment out again and says so in a 'notice'. An open
 * connection is not yet news: a server that lost its database goes on sending what it had. It says so in a `status` message (or, to
 * whoever polls, by /ready), and only what it calls live is called so here.
 *
 * Events (CustomEvent, look at `detail`):
 *   update  {document, optimistic}  document: {board, season, version, updatedAt, players, entries: [{rank, userId, displayName,
 *           avatarUrl?, score, pending?}]}; optimistic: whether increments not yet confirmed by a list are in it (`pending` entries)
 *   state   {status, transport, since, error, retryInMs}  status: 'connecting', 'live', 'polling', 'stale' (connected, but the server
 *           itself has no news: the list may be old), 'reconnecting', 'refused' (the server says no: unknown or private board; asked
 *           again now and then) or 'closed'; transport: 'websocket', 'sse', 'polling' or null; since: RFC 3339 or null, when the
 *           server's news stopped or began to come
 *   notice  {code, message, requestId, retryAfter}  an increment failed and its points were taken back
 *   me      {score, rank, players, version, ...}  the token's own player, as me.update brings it
 *   season  {season, nextSeason, version}
 */

const CONNECT_MS = 6000; /* a stream that hasn't delivered a list by then is given up */
const BACKOFF_MS = 500; /* first wait; doubles up to ... */
const BACKOFF_CAP_MS = 20000;
const POLL_MS = 3000; /* a bridge allows 100 requests a minute and address */
const UPGRADE_MS = 60000; /* how long polling goes on before a stream is tried again; doubles up to ... */
const UPGRADE_CAP_MS = 600000;
const SILENCE_MS = 45000; /* a stream that is silent for so long is compared with a GET */
const REPLACED = 4002; /* the player opened newer streams: taking the place back would start a fight, so this one polls */
const RETRY_STATUS = new Set([408, 502, 503, 504]); /* the same increment may be sent again */

/** What a request was refused with. `code` as the API names it, or 'NETWORK' where there was no answer at all. */
export class ScoreboardError extends Error {
  /** @param {{code: string, message: string, status?: number, requestId?: string, retryAfter?: number}} parts retryAfter in seconds */
  constructor({ code, message, status = 0, requestId = null, retryAfter = null }) {
    super(message);
    Object.assign(this, { name: 'ScoreboardError', code, status, requestId, retryAfter });
  }
}

const sleep = (ms, signal) => new Promise((resolve) => {
  const done = () => { clearTimeout(timer); signal?.removeEventListener('abort', done); resolve(); };
  const timer = setTimeout(done, ms);
  signal?.addEventListener('abort', done);
  if (signal?.aborted) done();
});

/* Full jitter above half, so that a bridge's clients don't come back all at once. */
const jitter = (ms) => ms / 2 + Math.random() * (ms / 2);
const backoff = (attempt, cap = BACKOFF_CAP_MS) => jitter(Math.min(BACKOFF_MS * 2 ** attempt, cap));

/* 128 random bits as text. crypto.randomUUID exists in secure contexts only, getRandomValues everywhere. */
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

async function errorOf(response) {
  const body = await response.json().catch(() => null);
  const after = Number.parseInt(response.headers.get('Retry-After'), 10);
  return new ScoreboardError({
    code: body?.error?.code ?? `HTTP_${response.status}`,
    message: body?.error?.message ?? `The server answered with status ${response.status}.`,
    status: response.status,
    requestId: body?.error?.requestId ?? response.headers.get('X-Request-Id'),
    retryAfter: Number.isNaN(after) ? null : after,
  });
}

export class Scoreboard extends EventTarget {
  #options; #url; #document = null; #etag = null; #pending = new Map(); #state = { status: 'closed', transport: null, since: null };
  #life = null; #wake = null; #transport = null; #lastWord = 0; #upgradeMs = UPGRADE_MS; #replaced = false;
  #waker = () => this.#wakeUp();

  /**
   * @param {object} [options]
   * @param {string} [options.url] the bridge; default: where this page came from
   * @param {string} [options.board] [a-z0-9_.-]{1,63}, default 'global'
   * @param {string|function(): (string|Promise<string>)} [options.token] bearer token, or a function that returns a fresh one. Needed
   *   for boards that aren't public, for 'me' events and for increments (there it can be given with each one)
   * @param {string} [options.userId] the own player, so that an increment can show before the first answer names it
   * @param {'high'|'low'} [options.order] which score comes first; default 'high'. For the optimistic display only
   * @param {string[]} [options.transports] default ['websocket', 'sse', 'polling'], tried in this order
   * @param {number} [options.pollMs] milliseconds between two polls, at least 1000; default 3000
   */
  constructor({ url = globalThis.location?.href, board = 'global', token = null, userId = null, order = 'high',
    transports = ['websocket', 'sse', 'polling'], pollMs = POLL_MS } = {}) {
    super();
    this.#url = new URL('/', url);
    this.#options = { board, token, userId, order, transports, pollMs: Math.max(1000, pollMs) };
  }

  /** The board's name. */
  get board() { return this.#options.board; }

  /** The last list as the server sent it, without own unconfirmed points; null before the first one. */
  get document() { return this.#document; }

  /** The last state event's detail. */
  get state() { return this.#state; }

  /** Starts following the board; does nothing if it is open already. */
  open() {
    if (this.#life) return this;
    this.#life = new AbortController();
    this.#replaced = false;
    globalThis.addEventListener?.('online', this.#waker);
    globalThis.document?.addEventListener('visibilitychange', this.#waker);
    this.#setState({ status: 'connecting', transport: null });
    this.#run(this.#life.signal);
    return this;
  }

  /** Stops following; increments under way go on. open() starts again. */
  close() {
    if (!this.#life) return;
    this.#life.abort();
    this.#life = null;
    globalThis.removeEventListener?.('online', this.#waker);
    globalThis.document?.removeEventListener('visibilitychange', this.#waker);
    this.#setState({ status: 'closed', transport: null });
  }

  /**
   * Counts one action of the token's player. The points show at once where `expectedPoints` (or `points`) is given and the player stands
   * in the list; an error takes them back, dispatches 'notice' and rejects.
   *
   * The idempotency key is made here, once, and kept over all retries (no answer, 408, 502, 503, 504): however often it is sent, it counts once.
   *
   * @param {object} action
   * @param {string} action.actionType [A-Za-z0-9_.-]{1,63}
   * @param {string} action.actionId 1-255 characters, unique per player over all boards
   * @param {string} [action.receipt] a trusted service's signature over the action
   * @param {number} [action.issuedAt] whole seconds since 1970, as in the receipt
   * @param {number} [action.points] only where the action type leaves them open; a safe integer
   * @param {number} [action.expectedPoints] what the action type will give; for the display only, never sent
   * @param {object} [action.metadata] at most 4 KiB
   * @param {string} [action.token] default: the one of the constructor
   * @param {string} [action.idempotencyKey] 1-255 visible ASCII characters; default: a random one
   * @param {number} [action.timeoutMs] for all tries together, default 30000
   * @returns {Promise<object>} {userId, board, season, previousScore, score, appliedPoints, rank, version, updatedAt, replayed}
   * @throws {ScoreboardError} refused, or code 'NETWORK' when no try was answered (then it may or may not have counted: a further
   *   call with the same actionId and idempotencyKey tells)
   */
  async increment({ token, idempotencyKey = randomKey(), expectedPoints, timeoutMs = 30000, ...action }) {
    const { userId } = this.#options;
    const shown = { points: expectedPoints ?? action.points ?? 0, answer: null, userId, from: this.#shownScore(userId) };
    this.#pending.set(idempotencyKey, shown);
    if (shown.points) this.#show();
    try {
      const answer = await this.#send({ board: this.board, ...action }, token, idempotencyKey, Date.now() + timeoutMs);
      this.#options.userId ??= answer.userId;
      Object.assign(shown, { answer, userId: answer.userId, points: answer.replayed ? 0 : answer.appliedPoints });
      this.#settle();
      this.#show();
      return answer;
    } catch (error) {
      this.#pending.delete(idempotencyKey);
      this.#show();
      const { code, message, requestId, retryAfter } = error;
      this.#emit('notice', { code, message, requestId, retryAfter });
      throw error;
    }
  }

  /* One increment until it is answered for good, or the deadline passes. */
  async #send(action, token, idempotencyKey, deadline) {
    const body = JSON.stringify(action);
    for (let attempt = 0; ; attempt += 1) {
      let error;
      try {
        const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': idempotencyKey, ...await this.#authorization(token) };
        const response = await fetch(new URL('/v1/scores/increment', this.#url),
          { method: 'POST', headers, body, signal: AbortSignal.timeout(Math.max(1, deadline - Date.now())) });
        if (response.ok) return await response.json();
        error = await errorOf(response);
        if (!RETRY_STATUS.has(error.status)) throw error;
      } catch (caught) {
        if (caught instanceof ScoreboardError) throw caught;
        error = new ScoreboardError({ code: 'NETWORK', message: 'The server could not be reached.' });
      }
      const wait = Math.max(backoff(attempt, 5000), (error.retryAfter ?? 0) * 1000);
      if (Date.now() + wait >= deadline) throw error;
      await sleep(wait);
    }
  }

  /* ---- following the board ---- */

  async #run(life) {
    for (let attempt = 0; !life.aborted;) {
      let worked = false;
      let error = null;
      for (const transport of this.#replaced ? ['polling'] : this.#options.transports) {
        if (life.aborted) return;
        ({ worked, error } = await this.#try(transport, life));
        if (worked) break;
      }
      if (life.aborted) return;
      attempt = worked ? 0 : attempt + 1;
      /* Polling that ends well was only interrupted to try a stream again. */
      if (worked && !error && this.#state.transport === 'polling') continue;
      const wait = Math.max(backoff(attempt), (error?.retryAfter ?? 0) * 1000);
      const refused = [400, 401, 403, 404].includes(error?.status);
      this.#setState({ status: refused ? 'refused' : 'reconnecting', transport: null, error, retryInMs: wait });
      this.#wake = new AbortController();
      await sleep(refused ? Math.max(wait, POLL_MS) : wait, AbortSignal.any([life, this.#wake.signal]));
    }
  }

  /* Runs one transport to its end: {worked: whether a list came, error: why it ended}. Never throws. */
  async #try(transport, life) {
    const connection = new AbortController();
    const signal = AbortSignal.any([life, connection.signal]);
    const mine = { connection, delivered: false, version: 0, live: true, since: null };
    this.#transport = mine;
    let error = null;
    try {
      if (transport === 'polling') await this.#poll(signal, mine);
      else await this.#stream(transport, signal, mine);
    } catch (caught) {
      error = caught;
    }
    connection.abort();
    return { worked: mine.delivered, error };
  }

  /* WebSocket and EventSource look alike from here: open, messages, one end. Resolves never; rejects when the stream is over. */
  async #stream(transport, signal, mine) {
    const ticket = await this.#ticket(signal);
    const url = new URL('/v1/leaderboard/stream', this.#url);
    url.searchParams.set('board', this.board);
    const source = transport === 'websocket' ? openSocket(url, ticket) : openEvents(url, ticket);
    await new Promise((resolve, reject) => {
      const fail = (why) => reject(why instanceof Error ? why : new Error(why));
      const watch = setInterval(() => this.#checkSilence(signal, mine, fail), SILENCE_MS / 3);
      const slow = setTimeout(() => mine.delivered || fail('no list in time'), CONNECT_MS);
      const end = () => { clearInterval(watch); clearTimeout(slow); source.close(); fail('closed'); };
      source.onend = (why, code) => { this.#replaced = code === REPLACED; fail(why); };
      source.onmessage = (message) => signal.aborted || this.#hear(message, transport, mine);
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
    });
  }

  /*
   * A half-open connection looks like a quiet board. So a stream that said nothing for a while is compared with what a GET says: a
   * newer list there that the stream doesn't bring within moments ends the stream.
   */
  async #checkSilence(signal, mine, fail) {
    if (!mine.delivered || Date.now() - this.#lastWord < SILENCE_MS) return;
    const before = this.#document?.version ?? 0;
    this.#lastWord = Date.now();
    try {
      const found = await this.#get(signal);
      if (!found || found.version <= before) return;
      this.#accept(found);
      await sleep(2000, signal);
      if (mine.version < found.version) fail('stream is silent');
    } catch (error) {
      if (!(error instanceof ScoreboardError)) fail(error);
    }
  }

  async #poll(signal, mine) {
    const until = Date.now() + this.#upgradeMs;
    const streams = this.#options.transports.length > 1 && !this.#replaced;
    this.#upgradeMs = Math.min(2 * this.#upgradeMs, UPGRADE_CAP_MS);
    while (!signal.aborted && (!streams || Date.now() < until)) {
      const [found, live] = await Promise.all([this.#get(signal), this.#ready(signal)]);
      if (signal.aborted) return;
      mine.delivered = true;
      this.#lastWord = Date.now();
      this.#setState({ status: live ? 'polling' : 'stale', transport: 'polling' });
      if (found) this.#accept(found);
      await sleep(jitter(this.#options.pollMs * 4 / 3), signal);
    }
  }

  /* The list if there is another one than the last GET brought, else null. */
  async #get(signal) {
    const url = new URL('/v1/leaderboard/top', this.#url);
    url.searchParams.set('board', this.board);
    const headers = { ...await this.#authorization(), ...(this.#etag && { 'If-None-Match': this.#etag }) };
    /* 'no-store': the ETag is ours to compare, the browser's cache would hide the 304. */
    const response = await fetch(url, { headers, cache: 'no-store', signal: AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS)]) });
    if (response.status === 304) return null;
    if (!response.ok) throw await errorOf(response);
    const found = await response.json();
    this.#etag = response.headers.get('ETag');
    return found;
  }

  /* A list comes from the bridge's memory even when its database is away, so that is asked for by itself. Only a clear no counts. */
  async #ready(signal) {
    const options = { cache: 'no-store', signal: AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS)]) };
    const response = await fetch(new URL('/ready', this.#url), options).catch(() => null);
    return response?.status !== 503;
  }

  #hear(text, transport, mine) {
    let message;
    try { message = JSON.parse(text); } catch { return; }
    this.#lastWord = Date.now();
    if (message?.type === 'status') this.#hearStatus(message, transport, mine);
    if (message?.board !== this.board) return;
    if (message.type === 'leaderboard.update') {
      mine.delivered = true;
      mine.version = message.version;
      this.#upgradeMs = UPGRADE_MS;
      this.#setConnected(transport, mine);
      this.#accept(message);
    } else if (message.type === 'me.update') {
      this.#options.userId = message.userId;
      this.#emit('me', message);
    } else if (message.type === 'season.end') this.#emit('season', message);
  }

  #hearStatus({ live, since }, transport, mine) {
    if (typeof live !== 'boolean') return;
    Object.assign(mine, { live, since: Number.isNaN(Date.parse(since)) ? null : since });
    if (mine.delivered) this.#setConnected(transport, mine);
  }

  #setConnected(transport, { live, since }) { this.#setState({ status: live ? 'live' : 'stale', transport, since }); }

  /* The one door for lists: an older version, or the same again, never passes. */
  #accept({ type, ...list }) {
    if (!Array.isArray(list.entries) || !Number.isSafeInteger(list.version)) return;
    if (this.#document && list.version <= this.#document.version) return;
    this.#document = list;
    this.#settle();
    this.#show();
  }

  /* Back from sleep or from another network: don't sit out the wait, and don't trust a silent stream. */
  #wakeUp() {
    if (globalThis.document?.visibilityState === 'hidden') return;
    this.#wake?.abort();
    if (['live', 'stale'].includes(this.#state.status) && Date.now() - this.#lastWord > SILENCE_MS) this.#transport?.connection.abort();
  }

  /* ---- own points that no list shows yet ---- */

  /*
   * An answer names the last version before it, so its points are in a later list, and surely in the second one after it. The score
   * that left `previousScore` tells that already the first one has them.
   */
  #settle() {
    if (!this.#document) return;
    for (const [key, { answer, userId }] of this.#pending) {
      if (!answer || this.#document.version <= answer.version) continue;
      const entry = this.#document.entries.find((one) => one.userId === userId);
      if (!entry || entry.score !== answer.previousScore || this.#document.version >= answer.version + 2) this.#pending.delete(key);
    }
  }

  /* userId → points that the list doesn't have. A list can outrun the answer: then it stands at exactly what was to come of it. */
  #extra() {
    const extra = new Map();
    for (const { userId, points, answer, from } of this.#pending.values()) {
      const outrun = !answer && from !== null && this.#document.entries.some((one) => one.userId === userId && one.score === from + points);
      if (userId && points && !outrun) extra.set(userId, (extra.get(userId) ?? 0) + points);
    }
    return extra;
  }

  #shownScore(userId) {
    const entry = this.#document?.entries.find((one) => one.userId === userId);
    return entry ? entry.score + (this.#extra().get(userId) ?? 0) : null;
  }

  #show() {
    if (!this.#document) return;
    const extra = this.#extra();
    const optimistic = this.#document.entries.some(({ userId }) => extra.has(userId));
    this.#emit('update', { document: optimistic ? this.#withExtra(extra) : this.#document, optimistic });
  }

  /* The list with the extra points, in its new order; whoever just moved stands behind those who had that score before. */
  #withExtra(extra) {
    const sign = this.#options.order === 'low' ? 1 : -1;
    const entries = this.#document.entries
      .map((entry) => (extra.has(entry.userId) ? { ...entry, score: entry.score + extra.get(entry.userId), pending: true } : entry))
      .sort((a, b) => sign * (a.score - b.score) || Number(a.pending ?? false) - Number(b.pending ?? false) || a.rank - b.rank)
      .map((entry, index) => ({ ...entry, rank: index + 1 }));
    return { ...this.#document, entries };
  }

  /* ---- small things ---- */

  async #authorization(given = this.#options.token) {
    const token = typeof given === 'function' ? await given() : given;
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /* Streams can't carry an Authorization header in a browser, and a token has no place in a URL: a one-time ticket stands in for it. */
  async #ticket(signal) {
    if (!this.#options.token) return null;
    const response = await fetch(new URL('/v1/stream-tickets', this.#url),
      { method: 'POST', headers: { 'Content-Type': 'application/json', ...await this.#authorization() }, body: '{}', signal });
    if (!response.ok) throw await errorOf(response);
    return (await response.json()).ticket;
  }

  #setState({ status, transport, since = null, error = null, retryInMs = null }) {
    const { status: before, transport: by, since: from } = this.#state;
    const same = status === before && transport === by && since === from && status !== 'reconnecting';
    this.#state = { status, transport, since, error, retryInMs };
    if (!same) this.#emit('state', this.#state);
  }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}

function openSocket(url, ticket) {
  const address = new URL(url);
  address.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(address, ticket ? ['scoreboard.v1', `ticket.${ticket}`] : ['scoreboard.v1']);
  const source = { close: () => socket.close(1000) };
  socket.onmessage = ({ data }) => source.onmessage(data);
  socket.onclose = ({ code }) => source.onend(`closed with ${code}`, code);
  return source;
}

function openEvents(url, ticket) {
  const address = new URL(url);
  if (ticket) address.searchParams.set('ticket', ticket);
  const events = new EventSource(address);
  const source = { close: () => events.close() };
  for (const type of ['leaderboard.update', 'me.update', 'season.end', 'status']) {
    events.addEventListener(type, ({ data }) => source.onmessage(data));
  }
  /* Reconnecting is ours (a ticket works once, and the back-off is shared), so the first error ends it. */
  events.onerror = () => { events.close(); source.onend('event stream ended'); };
  return source;
}

/**
 * The boards that the caller may see.
 *
 * @param {{url?: string, token?: string}} [options] as for Scoreboard
 * @returns {Promise<object[]>} as GET /v1/boards lists them (`board`, `title`, ...)
 * @throws {ScoreboardError}
 */
export async function listBoards({ url = globalThis.location?.href, token } = {}) {
  const response = await fetch(new URL('/v1/boards', url), { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (!response.ok) throw await errorOf(response);
  const body = await response.json();
  return Array.isArray(body) ? body : body.boards ?? [];
}
