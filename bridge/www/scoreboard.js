/*
 * A live leaderboard in the browser, and increments that show at once.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 *   import { Scoreboard } from '/scoreboard.js';       (with npm: from 'scoreboard-js')
 *   const board = new Scoreboard({ board: 'global' });
 *   board.addEventListener('update', ({ detail }) => draw(detail.document.entries));
 *   board.addEventListener('notice', ({ detail }) => alert(detail.message));
 *   board.open();
 *
 * What everything takes and gives is typed and told in scoreboard.d.ts.
 *
 * Design. One Scoreboard follows one board. `#run` is its only loop: of the transports WebSocket, server-sent events and polling it
 * takes the first one whose pause is over, and keeps it until it ends. Each transport has a pause of its own, a random part of a
 * time that doubles; the end of one that worked lets all of them pause, so that the clients of a bridge that has gone come back
 * spread over seconds. While polling works, a better transport is tried when its pause is over. A stream that says nothing is asked
 * (WebSocket's ping message) or given up (event streams, whose comments are heard): nothing is polled for beside a stream.
 *
 * Every list passes `#accept`, which drops what is not newer than the list it has: two bridges, a slow answer or an old cache can't
 * turn the display back. An open connection is not yet news: a server that lost its database goes on sending what it had. It says so
 * in a `status` message (or, to whoever polls, by /ready), and only what it calls live is called so here.
 *
 * What is displayed is the last list plus the increments that it can't know yet (`#pending`); an error takes an increment out again
 * and says so in a 'notice'. Increments are sent by a Queue, one for each player, which keeps them in IndexedDB under their
 * idempotency keys until they are answered: after a reload they are sent again, and the server counts each key once.
 *
 * A token is never stored, and stands in no URL. Who has none, or one that is refused, follows public boards all the same.
 */

const CONNECT_MS = 6000; /* a stream that hasn't delivered a list by then is given up */
const TICKET_MS = 3000;
const PAUSE_MS = 1000; /* a transport that failed pauses for a random time up to this; doubles up to ... */
const PAUSE_CAP_MS = 30000;
const UPGRADE_CAP_MS = 600000; /* ... this, while polling works */
const SPREAD_MS = 4000; /* all clients of a bridge are cut at the same moment: they come back at random times up to this, ... */
const DRAIN_SPREAD_MS = 15000; /* ... or this, where the bridge said that it goes: others have to take in everybody */
const STEADY_MS = 20000; /* a connection that lasted so long is no failure, however it ended */
const WAKE_SPREAD_MS = 500;
const POLL_MS = 3000; /* a bridge allows 100 requests a minute and address */
const SILENCE_MS = 45000;
const PONG_MS = 8000;
const TICK_MS = 5000;
const SLEPT_MS = 20000; /* a tick that is so late has slept */
const DRAINING = 1001;
const REPLACED = 4002; /* the player opened newer streams: taking the place back would start a fight, so this one polls */
const LATER_MOST = 3600; /* seconds of Retry-After that are believed */
const REFUSED = new Set([400, 401, 403, 404]);

const SEND_MS = 15000; /* one try of an increment */
const SEND_CAP_MS = 30000;
const LANES = 4; /* increments under way at once; one while the server doesn't answer */
const RETRY_STATUS = new Set([0, 408, 502, 503, 504]); /* the same increment may be sent again */
const KEPT_MS = 6 * 86400000; /* the server remembers what it counted for 7 days at least */
const KEPT_MOST = 1000;
const STORE_MS = 1000; /* no increment waits longer for the browser's storage */

/** What a request was refused with. `code` as the API names it, or 'NETWORK' where there was no answer at all. */
export class ScoreboardError extends Error {
  constructor({ code, message, status = 0, requestId = null, retryAfter = null }) {
    super(message);
    Object.assign(this, { name: 'ScoreboardError', code, status, requestId, retryAfter });
  }
}

const unreachable = () => new ScoreboardError({ code: 'NETWORK', message: 'The server could not be reached.' });

/* Full jitter: anything from nothing to all of it. */
const within = (ms) => Math.random() * ms;
const doubled = (ms, times, cap) => within(Math.min(ms * 2 ** times, cap));

/* A signal that ends with another one, after a time, or by abort(). (AbortSignal.any and .timeout are missing in many browsers.) */
function linked(parent = null, ms = Infinity) {
  const controller = new AbortController();
  const abort = () => { clearTimeout(timer); parent?.removeEventListener('abort', abort); controller.abort(); };
  const timer = ms === Infinity ? 0 : setTimeout(abort, ms);
  parent?.addEventListener('abort', abort);
  if (parent?.aborted) abort();
  return { signal: controller.signal, abort };
}

const sleep = (ms, signal) => new Promise((resolve) => { linked(signal, ms).signal.addEventListener('abort', resolve); if (signal?.aborted) resolve(); });

/* 128 random bits as text. crypto.randomUUID exists in secure contexts only, getRandomValues everywhere. */
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const valueOf = async (token) => (typeof token === 'function' ? token() : token);
const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

async function errorOf(response) {
  const body = await response.json().catch(() => null);
  const after = Number.parseInt(response.headers.get('Retry-After'), 10);
  return new ScoreboardError({
    code: body?.error?.code ?? `HTTP_${response.status}`,
    message: body?.error?.message ?? `The server answered with status ${response.status}.`,
    status: response.status,
    requestId: body?.error?.requestId ?? response.headers.get('X-Request-Id'),
    retryAfter: Number.isNaN(after) ? null : Math.min(after, LATER_MOST),
  });
}

/* A request and its whole answer within a time. Throws ScoreboardError, and nothing else. */
async function ask(url, { signal, ms = SEND_MS, ...options } = {}) {
  const link = linked(signal, ms);
  try {
    const response = await fetch(url, { cache: 'no-store', ...options, signal: link.signal });
    if (response.status === 304) return { body: null, response };
    if (!response.ok) throw await errorOf(response);
    return { body: await response.json(), response };
  } catch (error) {
    throw error instanceof ScoreboardError ? error : unreachable();
  } finally {
    link.abort();
  }
}

export class Scoreboard extends EventTarget {
  #options; #url; #document = null; #etag = null; #pending = new Map(); #state = { status: 'closed', transport: null, since: null };
  #life = null; #rest = null; #connection = null; #pauses = new Map(); #refusal = null; #replaced = false; #anonymous = false;
  #ticker = 0; #ticked = 0; #player = null;
  #waker = () => this.#wakeUp();
  #hider = () => this.#halt();
  #shower = ({ persisted }) => persisted && this.#life?.signal.aborted && this.#begin();

  constructor({ url = globalThis.location?.href, board = 'global', token = null, userId = null, order = null,
    transports = ['websocket', 'sse', 'polling'], pollMs = POLL_MS, silenceMs = SILENCE_MS } = {}) {
    super();
    this.#url = new URL('/', url);
    this.#options = { board, token, userId, order, transports, pollMs: Math.max(1000, pollMs), silenceMs: Math.max(1000, silenceMs) };
  }

  get board() { return this.#options.board; }

  get document() { return this.#document; }

  get state() { return this.#state; }

  open() {
    if (this.#life) return this;
    this.#replaced = false;
    for (const name of ['online', 'resume', 'visibilitychange']) this.#listen('addEventListener', name, this.#waker);
    this.#listen('addEventListener', 'pagehide', this.#hider);
    this.#listen('addEventListener', 'pageshow', this.#shower);
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#ticked = Date.now();
    this.#begin();
    this.#queue();
    return this;
  }

  close() {
    if (!this.#life) return;
    for (const name of ['online', 'resume', 'visibilitychange']) this.#listen('removeEventListener', name, this.#waker);
    this.#listen('removeEventListener', 'pagehide', this.#hider);
    this.#listen('removeEventListener', 'pageshow', this.#shower);
    clearInterval(this.#ticker);
    this.#halt();
    this.#life = null;
    for (const queue of queues.values()) queue.leave(this.#member);
    this.#setState({ status: 'closed', transport: null });
  }

  retry() { this.#wakeUp(true); }

  async increment({ token = this.#options.token, idempotencyKey = randomKey(), expectedPoints, timeoutMs = Infinity, ...given }) {
    const action = { board: this.board, ...given };
    const { userId } = this.#options;
    const shown = { points: expectedPoints ?? action.points ?? 0, answer: null, userId, from: this.#shownScore(userId) };
    if (action.board === this.board) this.#pending.set(idempotencyKey, shown);
    if (shown.points) this.#show();
    try {
      const queue = await this.#queue(token);
      const answer = await queue.send({ key: idempotencyKey, action, timeoutMs, token });
      this.#options.userId ??= answer.userId;
      Object.assign(shown, { answer, userId: answer.userId, points: answer.replayed ? 0 : answer.appliedPoints });
      this.#settle();
      this.#show();
      this.#emit('counted', { action, answer });
      return answer;
    } catch (error) {
      this.#pending.delete(idempotencyKey);
      this.#show();
      this.#notify(action, error);
      throw error;
    }
  }

  async view({ entries, radius, users, season } = {}) {
    const found = await this.#read('/v1/leaderboard/view', { limit: entries, radius, season, users });
    if (this.#options.token) this.#options.userId ??= found.own?.userId ?? null;
    return found;
  }

  async around(userId, { radius, season } = {}) {
    return this.#read('/v1/leaderboard/around', { user: userId, radius, season });
  }

  async list({ skip, entries, season } = {}) {
    return this.#read('/v1/leaderboard/top', { limit: entries, skip, season });
  }

  /* ---- following the board ---- */

  #begin() {
    this.#life = new AbortController();
    this.#pauses.clear();
    this.#refusal = null;
    this.#anonymous = false;
    this.#setState({ status: 'connecting', transport: null });
    this.#run(this.#life.signal);
  }

  /* Ends what is open; a page that goes into the browser's back-forward cache must have no connection. */
  #halt() { this.#life?.abort(); }

  async #run(life) {
    while (!life.aborted) {
      const transport = this.#usable().find((one) => this.#pauseOf(one).due <= Date.now());
      if (!transport) await this.#wait(life);
      else this.#plan(transport, await this.#try(transport, life));
    }
  }

  #usable() { return this.#replaced ? ['polling'] : this.#options.transports; }

  #pauseOf(transport) {
    if (!this.#pauses.has(transport)) this.#pauses.set(transport, { failures: 0, due: 0 });
    return this.#pauses.get(transport);
  }

  /* Until the first transport's pause is over, or somebody is impatient. */
  async #wait(life) {
    const due = Math.min(...this.#usable().map((one) => this.#pauseOf(one).due));
    const retryInMs = Math.max(0, due - Date.now());
    this.#setState({ status: this.#refusal ? 'refused' : 'reconnecting', transport: null, error: this.#refusal, retryInMs });
    this.#rest = linked(life, retryInMs);
    await new Promise((resolve) => {
      this.#rest.signal.addEventListener('abort', resolve);
      if (this.#rest.signal.aborted) resolve();
    });
    this.#rest = null;
  }

  /* After a transport's end: who pauses for how long. */
  #plan(transport, { worked, lasted, error, code, anonymous, polling }) {
    const own = this.#pauseOf(transport);
    const later = (error?.retryAfter ?? 0) * 1000;
    if (!error) return; /* polling that was only interrupted to try a stream again, or all is over */
    if (worked) {
      this.#anonymous = false;
      own.failures = lasted >= STEADY_MS ? 0 : own.failures + 1;
      const spread = code === DRAINING ? within(DRAIN_SPREAD_MS) : doubled(SPREAD_MS, own.failures, PAUSE_CAP_MS);
      for (const one of this.#options.transports) this.#pauseOf(one).due = Math.max(this.#pauseOf(one).due, Date.now() + later + spread);
      return;
    }
    if (error.status === 401 && !anonymous) {
      this.#reject(error);
      return;
    }
    /* A WebSocket that fails says nothing about why. */
    if (error instanceof ScoreboardError) this.#refusal = REFUSED.has(error.status) ? error : null;
    own.due = Date.now() + later + doubled(PAUSE_MS, own.failures, polling ? UPGRADE_CAP_MS : PAUSE_CAP_MS);
    own.failures += 1;
  }

  /* A public board is followed without the token then. */
  #reject({ code, message, requestId }) {
    this.#anonymous = true;
    this.#emit('unauthorized', { code, message, requestId });
  }

  /* Runs one transport to its end. Never throws. */
  async #try(transport, life) {
    const link = linked(life);
    const mine = { transport, link, signal: link.signal, began: Date.now(), lastWord: Date.now(), delivered: false, live: true, since: null,
      anonymous: this.#anonymous || !this.#options.token };
    const polling = this.#state.transport === 'polling';
    this.#connection = mine;
    let error = null;
    try {
      if (transport === 'polling') await this.#poll(mine);
      else await this.#stream(mine);
    } catch (caught) {
      error = life.aborted ? null : caught;
    }
    link.abort();
    this.#connection = null;
    const { delivered: worked, anonymous } = mine;
    return { worked, lasted: Date.now() - mine.began, error, code: error?.closeCode, anonymous, polling };
  }

  /* Resolves never; rejects when the stream is over. */
  async #stream(mine) {
    const url = new URL('/v1/leaderboard/stream', this.#url);
    url.searchParams.set('board', this.board);
    const open = mine.transport === 'websocket' ? openSocket(url, await this.#ticket(mine)) : openEvents(url, await this.#authorization(mine));
    await new Promise((resolve, reject) => {
      const fail = (why) => reject(why instanceof Error ? why : new Error(why));
      if (mine.signal.aborted) return fail('closed');
      const source = open({
        heard: () => { mine.lastWord = Date.now(); },
        message: (text) => mine.signal.aborted || this.#hear(text, mine),
        end: (error, code) => {
          if (mine.signal.aborted) return;
          this.#replaced = code === REPLACED;
          fail(Object.assign(error, { closeCode: code }));
        },
      });
      const slow = setTimeout(() => mine.delivered || fail('no list in time'), CONNECT_MS);
      const quiet = this.#watch(mine, source, fail);
      mine.signal.addEventListener('abort', () => { clearInterval(quiet); clearTimeout(slow); source.close(); fail('closed'); });
    });
  }

  /*
   * A half-open connection looks like a quiet board. The bridge's pings keep the connection, yet a browser shows them to nobody: so a
   * silent WebSocket is pinged from here, each at its own time. Event streams have comments, which are heard.
   */
  #watch(mine, source, fail) {
    const patience = this.#options.silenceMs * (source.ping ? 1 - within(0.5) : 1);
    let pinged = 0;
    mine.check = (limit = patience) => {
      if (pinged && mine.lastWord >= pinged) pinged = 0;
      if (pinged ? Date.now() - pinged >= PONG_MS : !source.ping && Date.now() - mine.lastWord >= limit) fail('the stream is silent');
      else if (source.ping && !pinged && Date.now() - mine.lastWord >= limit) {
        pinged = Date.now();
        source.ping();
        setTimeout(mine.check, PONG_MS);
      }
    };
    return setInterval(() => mine.check(), Math.min(TICK_MS, patience / 2));
  }

  async #poll(mine) {
    const better = this.#usable().slice(0, this.#usable().indexOf('polling'));
    while (!mine.signal.aborted && !(mine.delivered && better.some((one) => this.#pauseOf(one).due <= Date.now()))) {
      const [found, live] = await Promise.all([this.#get(mine), this.#ready(mine.signal)]);
      if (mine.signal.aborted) return;
      mine.delivered = true;
      this.#connected({ ...mine, live });
      if (found) this.#accept(found);
      await sleep(this.#options.pollMs * 2 / 3 + within(this.#options.pollMs * 2 / 3), mine.signal);
    }
  }

  /* The list if there is another one than the last GET brought, else null. 'no-store': the browser's cache would hide the 304. */
  async #get(mine) {
    const url = new URL('/v1/leaderboard/top', this.#url);
    url.searchParams.set('board', this.board);
    const headers = { ...await this.#authorization(mine), ...(this.#etag && { 'If-None-Match': this.#etag }) };
    const { body, response } = await ask(url, { headers, signal: mine.signal, ms: CONNECT_MS });
    if (body) this.#etag = response.headers.get('ETag');
    return body;
  }

  /* A list comes from the bridge's memory even when its database is away, so that is asked for by itself. Only a clear no counts. */
  async #ready(signal) {
    return ask(new URL('/ready', this.#url), { signal, ms: CONNECT_MS }).then(() => true, ({ status }) => status !== 503);
  }

  #hear(text, mine) {
    let message;
    try { message = JSON.parse(text); } catch { return; }
    if (message?.type === 'status') this.#hearStatus(message, mine);
    if (message?.board !== this.board) return;
    if (message.type === 'leaderboard.update') {
      mine.delivered = true;
      this.#connected(mine);
      this.#accept(message);
    } else if (message.type === 'me.update') {
      this.#options.userId = message.userId;
      this.#emit('me', message);
    } else if (message.type === 'season.end') this.#emit('season', message);
  }

  #hearStatus({ live, since }, mine) {
    if (typeof live !== 'boolean') return;
    Object.assign(mine, { live, since: Number.isNaN(Date.parse(since)) ? null : since });
    if (mine.delivered) this.#connected(mine);
  }

  #connected({ transport, live, since }) {
    this.#refusal = null;
    const good = transport === 'polling' ? 'polling' : 'live';
    this.#setState({ status: live ? good : 'stale', transport, since });
  }

  /* The one door for lists: an older version, or the same again, never passes. */
  #accept({ type, ...list }) {
    if (!Array.isArray(list.entries) || !Number.isSafeInteger(list.version)) return;
    if (this.#document && list.version <= this.#document.version) return;
    this.#document = list;
    this.#settle();
    this.#show();
  }

  /* ---- sleep, other networks, the back-forward cache ---- */

  #listen(how, name, listener) { (name === 'visibilitychange' || name === 'resume' ? globalThis.document : globalThis)?.[how]?.(name, listener); }

  #tick() {
    const late = Date.now() - this.#ticked - TICK_MS;
    this.#ticked = Date.now();
    if (late > SLEPT_MS) this.#wakeUp();
  }

  /* Don't sit out the pauses, and don't trust a stream that has been silent for a while. */
  #wakeUp(asked = false) {
    if (!asked && globalThis.document?.visibilityState === 'hidden') return;
    const due = Date.now() + (asked ? 0 : within(WAKE_SPREAD_MS));
    for (const pause of this.#pauses.values()) Object.assign(pause, { failures: 0, due: Math.min(pause.due, due) });
    this.#rest?.abort();
    this.#connection?.check?.(this.#options.silenceMs / 2);
    for (const queue of queues.values()) queue.hurry();
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
    const waiting = [...this.#pending.values()].reduce((sum, { points, answer }) => sum + (answer ? 0 : points), 0);
    this.#emit('update', { document: optimistic ? this.#withExtra(extra) : this.#document, optimistic, waiting });
  }

  /* The list with the extra points, in its new order; whoever just moved stands behind those who had that score before. */
  #withExtra(extra) {
    const low = (this.#options.order ?? orderOf(this.#document.entries)) === 'low';
    const entries = this.#document.entries
      .map((entry) => (extra.has(entry.userId) ? { ...entry, score: entry.score + extra.get(entry.userId), pending: true } : entry))
      .sort((a, b) => (low ? a.score - b.score : b.score - a.score) || Number(a.pending ?? false) - Number(b.pending ?? false) || a.rank - b.rank)
      .map((entry, index) => (typeof entry.movement === 'number' ? { ...entry, movement: entry.movement + entry.rank - index - 1 } : entry))
      .map((entry, index) => ({ ...entry, rank: index + 1 }));
    return { ...this.#document, entries };
  }

  /* ---- the queue ---- */

  /* What the player's queue tells: only of increments that an earlier page left behind; the others have their promise. */
  #member = {
    token: () => this.#options.token,
    counted: (action, answer) => this.#emit('counted', { action, answer }),
    refused: (action, error) => this.#notify(action, error),
  };

  async #queue(token = this.#options.token) {
    const own = token === this.#options.token;
    /* A token that can't be had now is asked for again before each try. */
    const player = playerOf(await valueOf(token).catch(() => null)) ?? (own ? this.#player : null);
    if (own) this.#player = player;
    const queue = queueOf(this.#url, player);
    if (this.#life && own) queue.join(this.#member);
    return queue;
  }

  #notify(action, { code, message, requestId, retryAfter }) { this.#emit('notice', { action, code, message, requestId, retryAfter }); }

  /* ---- small things ---- */

  async #authorization({ anonymous }) { return anonymous ? {} : bearer(await valueOf(this.#options.token)); }

  async #read(path, { users, ...parameters }) {
    const url = new URL(path, this.#url);
    url.searchParams.set('board', this.board);
    for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
    if (users?.length) url.search += `&users=${users.map(encodeURIComponent).join()}`; /* split at commas before it is decoded */
    return (await ask(url, { headers: bearer(await valueOf(this.#options.token)) })).body;
  }

  /*
   * A WebSocket can't carry an Authorization header in a browser, and a token has no place in a URL: a one-time ticket stands in for
   * it. Without one the stream is a stranger's, which is enough for public boards.
   */
  async #ticket(mine) {
    if (mine.anonymous) return null;
    try {
      const headers = { 'Content-Type': 'application/json', ...await this.#authorization(mine) };
      const options = { method: 'POST', headers, body: '{}', signal: mine.signal, ms: TICKET_MS };
      return (await ask(new URL('/v1/stream-tickets', this.#url), options)).body.ticket ?? null;
    } catch (error) {
      if (error.status === 401) this.#reject(error);
      return null;
    }
  }

  #setState({ status, transport, since = null, error = null, retryInMs = null }) {
    const { status: before, transport: by, since: from } = this.#state;
    const same = status === before && transport === by && since === from && status !== 'reconnecting';
    this.#state = { status, transport, since, error, retryInMs };
    if (!same) this.#emit('state', this.#state);
  }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}

/* Which score comes first is seen in every list of two different ones. */
const orderOf = (entries) => (entries.length > 1 && entries[0].score < entries.at(-1).score ? 'low' : 'high');

/* ---- transports: told the URL, they return a function that opens {close(), ping?()} and reports to {heard, message, end} ---- */

const openSocket = (url, ticket) => ({ heard, message, end }) => {
  const address = new URL(url);
  address.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(address, ticket ? ['scoreboard.v1', `ticket.${ticket}`] : ['scoreboard.v1']);
  socket.onmessage = ({ data }) => { heard(); message(data); };
  socket.onclose = ({ code }) => end(new Error(`closed with ${code}`), code);
  return { close: () => socket.close(1000), ping: () => socket.readyState === 1 && socket.send('{"type":"ping"}') };
};

/* Read by fetch: an EventSource hides comments, statuses and Retry-After, can't send a token, and reconnects on its own account. */
const openEvents = (url, headers) => ({ heard, message, end }) => {
  const link = linked();
  readEvents(url, headers, link.signal, heard, message).then((code) => end(new Error(`the event stream ended with ${code}`), code), end);
  return { close: link.abort };
};

/* Resolves with the close code, which the bridge tells in a comment. */
async function readEvents(url, headers, signal, heard, message) {
  const response = await fetch(url, { headers: { Accept: 'text/event-stream', ...headers }, cache: 'no-store', signal });
  if (!response.ok) throw await errorOf(response);
  if (!/^text\/event-stream\b/.test(response.headers.get('Content-Type')) || !response.body) throw new Error('this is no event stream');
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let data = [];
  let code;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return code;
    heard();
    const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      if (line.startsWith(':close ')) code = Number(line.slice(7));
      if (line !== '') continue;
      if (data.length) message(data.join('\n'));
      data = [];
    }
  }
}

/* ---- increments on their way ---- */

/*
 * One player's increments at one bridge, whichever Scoreboards of this page they came from. Each is kept in IndexedDB, under its
 * idempotency key and without the token, from before it is sent until it is answered for good. Several tabs may send the same one:
 * the server counts the key once.
 */
class Queue {
  #url; #name; #entries = new Map(); #members = new Set(); #loaded = null; #under = 0; #failures = 0; #pause = 0;

  /* name: null where nobody can say whose increments these are; nothing is kept then. */
  constructor(url, name) {
    this.#url = url;
    this.#name = name;
  }

  join(member) {
    this.#members.add(member);
    this.#loaded ??= this.#load();
    this.#pump();
  }

  leave(member) { this.#members.delete(member); }

  hurry() {
    clearTimeout(this.#pause);
    this.#pause = 0;
    this.#pump();
  }

  /* Resolves with the answer, rejects with what it was refused with. */
  async send({ key, action, token, timeoutMs }) {
    const known = this.#entries.get(key);
    if (known) return known.promise;
    if (this.#entries.size >= KEPT_MOST) throw new ScoreboardError({ code: 'QUEUE_FULL', message: 'Too many actions wait for the server.' });
    const entry = this.#enter({ key, action, created: Date.now() }, token);
    if (timeoutMs !== Infinity) entry.timer = setTimeout(() => this.#end(entry, { error: unreachable() }), timeoutMs);
    Promise.race([this.#keep(entry), sleep(STORE_MS)]).then(() => { entry.ready = true; this.#pump(); });
    return entry.promise;
  }

  #enter(what, token) {
    const entry = { ...what, token, ready: false, sending: null, waited: false, timer: 0 };
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    this.#entries.set(entry.key, entry);
    return entry;
  }

  async #keep({ key, action, created }) {
    if (this.#name) await inStore('readwrite', (store) => store.put({ queue: this.#name, key, action, created })).catch(() => {});
  }

  /* What an earlier page left. Whoever waited for an answer is gone, so the members are told. */
  async #load() {
    if (!this.#name) return;
    const range = () => IDBKeyRange.bound([this.#name, ''], [this.#name, '\uffff']);
    const left = await inStore('readonly', (store) => store.getAll(range())).catch(() => []);
    for (const { key, action, created } of left) {
      if (this.#entries.has(key)) continue;
      const entry = this.#enter({ key, action, created }, null);
      const tell = (what) => (value) => this.#members.forEach((member) => member[what](action, value));
      entry.promise.then(tell('counted'), tell('refused'));
      Object.assign(entry, { ready: true, waited: true });
      if (Date.now() - created > KEPT_MS) this.#end(entry, { error: new ScoreboardError({ code: 'EXPIRED', message: 'The server was not reached for days.' }) });
    }
    this.#pump();
  }

  #pump() {
    for (const entry of this.#entries.values()) {
      if (this.#pause || this.#under >= (this.#failures ? 1 : LANES)) return;
      if (entry.ready && !entry.sending) this.#attempt(entry);
    }
  }

  async #attempt(entry) {
    entry.sending = linked();
    this.#under += 1;
    const result = await this.#post(entry).then((answer) => ({ answer }), (error) => ({ error }));
    this.#under -= 1;
    entry.sending = null;
    if (this.#entries.get(entry.key) !== entry) { /* its time was up meanwhile */
    } else if (result.answer || this.#isFinal(entry, result.error)) {
      this.#failures = 0;
      this.#end(entry, result);
    } else this.#hold(entry, result.error);
    this.#pump();
  }

  /* Who acted too fast is told so; who only waited for the server was not too fast. */
  #isFinal(entry, { status, code }) { return !RETRY_STATUS.has(status) && !(entry.waited && code === 'RATE_LIMITED'); }

  #hold(entry, { retryAfter }) {
    entry.waited = true;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.hurry(), (retryAfter ?? 0) * 1000 + doubled(PAUSE_MS, this.#failures, SEND_CAP_MS));
    this.#failures += 1;
  }

  #end(entry, { answer, error }) {
    clearTimeout(entry.timer);
    entry.sending?.abort();
    this.#entries.delete(entry.key);
    if (this.#name) inStore('readwrite', (store) => store.delete([this.#name, entry.key])).catch(() => {});
    if (answer) entry.resolve(answer);
    else entry.reject(error);
  }

  async #post({ key, action, token, sending }) {
    const source = token ?? [...this.#members].at(-1)?.token();
    const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
    const options = { method: 'POST', body: JSON.stringify(action), signal: sending.signal };
    const attempt = async () => {
      const fresh = await valueOf(source).catch(() => { throw unreachable(); });
      return (await ask(new URL('/v1/scores/increment', this.#url), { ...options, headers: { ...headers, ...bearer(fresh) } })).body;
    };
    /* A function is asked for a fresh token once. */
    return attempt().catch((error) => { if (error.status === 401 && typeof source === 'function') return attempt(); throw error; });
  }
}

const queues = new Map();

function queueOf(url, player) {
  const name = player && `${url.origin}\n${player}`;
  const known = queues.get(name ?? url.origin) ?? new Queue(url, name);
  queues.set(name ?? url.origin, known);
  return known;
}

/* Whose token is this? Only to keep players' queues apart: whether it is true is the server's to say. */
function playerOf(token) {
  try {
    const bytes = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
    const { iss, sub } = JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0))));
    return typeof sub === 'string' && sub ? `${iss}\n${sub}` : null;
  } catch {
    return null;
  }
}

let database = null;

function openStore() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open('scoreboard', 1);
    request.onupgradeneeded = () => request.result.createObjectStore('increments', { keyPath: ['queue', 'key'] });
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      request.result.onversionchange = () => { request.result.close(); database = null; };
      resolve(request.result);
    };
  });
}

/* One transaction; resolves with its request's result when it is done. */
async function inStore(mode, work) {
  database ??= openStore();
  const store = (await database.catch((error) => { database = null; throw error; })).transaction('increments', mode).objectStore('increments');
  return new Promise((resolve, reject) => {
    const request = work(store);
    store.transaction.oncomplete = () => resolve(request.result);
    store.transaction.onabort = () => reject(store.transaction.error);
  });
}

/* ---- boards ---- */

export async function listBoards({ url = globalThis.location?.href, token = null } = {}) {
  const { body } = await ask(new URL('/v1/boards', url), { headers: bearer(await valueOf(token)) });
  return body.boards;
}
