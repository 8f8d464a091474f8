/*
 * What scoreboard.js gives and takes. Part of scoreboard; PostgreSQL licence, see LICENSE.
 */

/** A bearer token, or a function that returns a fresh one. */
export type Token = string | (() => string | Promise<string>);

export type Transport = 'websocket' | 'sse' | 'polling';

export interface Options {
  /** The bridge. Default: where this page came from. */
  url?: string | URL;
  /** `[a-z0-9_.-]{1,63}`. Default: 'global'. */
  board?: string;
  /**
   * Needed for boards that aren't public, for 'me' events, the own row of view(), and increments (which may bring one of their own).
   * It is kept in memory only. A refused one costs nothing but these: public boards are followed without it.
   */
  token?: Token | null;
  /** The own player, so that an increment can show before the first answer names it. */
  userId?: string | null;
  /** Which score comes first. Default: what the list shows. For the optimistic display only. */
  order?: 'high' | 'low' | null;
  /** Default: all three, tried in this order. */
  transports?: Transport[];
  /** Milliseconds between two polls, at least 1000. Default: 3000. */
  pollMs?: number;
  /** After so many milliseconds without a word a stream is doubted, at least 1000. Default: 45000; more than the bridge's --ping-interval. */
  silenceMs?: number;
}

export interface Entry {
  rank: number;
  userId: string;
  displayName: string;
  avatarUrl?: string;
  score: number;
  subscore?: number;
  detail?: string;
  /** Places up (positive) or down since the day or season began, where the board tells; null: not among the first then. */
  movement?: number | null;
  /** Own points that no list has yet are in this score. */
  pending?: true;
}

export interface Leaderboard {
  board: string;
  season: number;
  seasonStart?: string | null;
  seasonEnd?: string | null;
  /** Only grows. */
  version: number;
  updatedAt: string;
  players: number;
  entries: Entry[];
}

export interface View {
  board: string;
  season: number;
  asOf: string;
  players: number;
  entries: Entry[];
  /** The token's player; null without a token. A rank of null: it stands in no list. */
  own: (Omit<Entry, 'rank'> & { rank: number | null; percentile: number | null }) | null;
  /** Who stands directly ahead, and how many points are missing. */
  next: (Entry & { missing: number }) | null;
  /** In the order of their ranks, the own row among them. */
  neighbours: Entry[];
  /** In the order that was asked for; null: stands in no list. */
  friends: (Entry | null)[];
}

export interface Action {
  /** `[A-Za-z0-9_.-]{1,63}` */
  actionType: string;
  /** 1-255 characters, unique for the player over all boards. */
  actionId: string;
  /** Default: the board that is followed. Another one's points don't show here. */
  board?: string;
  /** A trusted service's signature over the action. */
  receipt?: string;
  /** Whole seconds since 1970, as in the receipt. */
  issuedAt?: number;
  /** Only where the action type leaves them open; a safe integer. */
  points?: number;
  subscore?: number;
  detail?: string;
  /** At most 4 KiB. */
  metadata?: Record<string, unknown>;
}

export interface Increment extends Action {
  /** What the action type will give; for the display only, never sent. */
  expectedPoints?: number;
  /** Default: the one of the constructor. */
  token?: Token;
  /** 1-255 visible ASCII characters. Default: a random one. */
  idempotencyKey?: string;
  /** For all tries together. Default: none; it waits for the server, over reloads too, for at most 6 days. */
  timeoutMs?: number;
}

export interface Answer {
  userId: string;
  board: string;
  season: number;
  previousScore: number;
  score: number;
  appliedPoints: number;
  rank: number | null;
  version: number;
  updatedAt: string;
  replayed: boolean;
}

export type Status =
  | 'connecting'
  | 'live'
  | 'polling'
  /** Connected, but the server itself has no news: the list may be old. */
  | 'stale'
  | 'reconnecting'
  /** The server says no: an unknown board, or one that isn't public. Asked again now and then. */
  | 'refused'
  | 'closed';

export interface State {
  status: Status;
  transport: Transport | null;
  /** RFC 3339: when the server's news stopped or began to come. */
  since: string | null;
  error: ScoreboardError | null;
  retryInMs: number | null;
}

export interface Update {
  /** The last list, with own unconfirmed points in it. */
  document: Leaderboard;
  /** Whether there are any in it. */
  optimistic: boolean;
  /** Own points of this board on their way to the server. */
  waiting: number;
}

export interface Notice {
  code: string;
  message: string;
  requestId: string | null;
  retryAfter: number | null;
  action: Action;
}

export interface Refusal {
  code: string;
  message: string;
  requestId: string | null;
}

export interface Me {
  type: 'me.update';
  board: string;
  season: number;
  version: number;
  userId: string;
  score: number;
  rank: number | null;
  players: number;
}

export interface SeasonEnd {
  type: 'season.end';
  board: string;
  season: number;
  nextSeason: number;
  version: number;
}

export interface EventMap {
  update: CustomEvent<Update>;
  state: CustomEvent<State>;
  /** An increment was refused and its points were taken back. */
  notice: CustomEvent<Notice>;
  /** An increment was counted, be it one that an earlier page left behind. */
  counted: CustomEvent<{ action: Action; answer: Answer }>;
  /** The token was refused; the board is followed without it. */
  unauthorized: CustomEvent<Refusal>;
  me: CustomEvent<Me>;
  season: CustomEvent<SeasonEnd>;
}

/** What a request was refused with. */
export class ScoreboardError extends Error {
  constructor(parts: { code: string; message: string; status?: number; requestId?: string | null; retryAfter?: number | null });
  name: 'ScoreboardError';
  /** As the API names it; or 'NETWORK' where there was no answer, 'QUEUE_FULL', 'EXPIRED'. */
  code: string;
  /** 0 where there was no answer. */
  status: number;
  requestId: string | null;
  /** Seconds. */
  retryAfter: number | null;
}

export class Scoreboard extends EventTarget {
  constructor(options?: Options);
  readonly board: string;
  /** The list as the server sent it, without own unconfirmed points; null before the first one. */
  readonly document: Leaderboard | null;
  /** The last state event's detail. */
  readonly state: State;
  /** Starts following the board, and sends what an earlier page left in the player's queue. */
  open(): this;
  /** Stops following; increments under way go on. open() starts again. */
  close(): void;
  /** Tries again now, whatever it was waiting for. */
  retry(): void;
  /**
   * Counts one action of the token's player. The points show at once where `expectedPoints` or `points` is given and the player stands
   * in the list; an error takes them back, dispatches 'notice' and rejects.
   *
   * The idempotency key is made here, once, and kept over all tries and reloads: however often it is sent, it counts once. Without
   * `timeoutMs` only an answer ends it; with it, code 'NETWORK' says that it may or may not have counted (a further call with the
   * same actionId and idempotencyKey tells).
   */
  increment(action: Increment): Promise<Answer>;
  /** The top, the own row (with a token), who stands ahead of it and around it, and named friends: all of one moment. GET /v1/leaderboard/view. */
  view(options?: { entries?: number; radius?: number; users?: string[]; season?: number }): Promise<View>;
  /** A player and the neighbours. GET /v1/leaderboard/around. */
  around(userId: string, options?: { radius?: number; season?: number }): Promise<{ entries: Entry[] }>;
  /** A page of the list. GET /v1/leaderboard/top. */
  list(options?: { skip?: number; entries?: number; season?: number }): Promise<Leaderboard>;
  addEventListener<K extends keyof EventMap>(type: K, listener: (event: EventMap[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof EventMap>(type: K, listener: (event: EventMap[K]) => void, options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}

export interface BoardInfo {
  board: string;
  title: string;
  order: 'high' | 'low';
  period: string;
  visibility: string;
  /** Of the last list; null before the first one. */
  players: number | null;
  season: number;
  version: number | null;
}

/** The boards that the caller may see. GET /v1/boards. */
export function listBoards(options?: { url?: string | URL; token?: Token | null }): Promise<BoardInfo[]>;
