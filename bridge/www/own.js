/*
 * The own place: rank, the distance to the next one, the neighbours.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * All of it comes from one view() of one moment. It is asked for again when the list or the own values have changed, and now and then
 * where nothing tells of them, yet seldom: a bridge counts the requests of an address, and many may look from behind one.
 */
import { byId, make, nameOf, number, ordinal } from './words.js';

const OWN_MS = 3000; /* least time between two questions, where the own values have changed, ... */
const LIST_MS = 10000; /* where others' have, ... */
const QUIET_MS = 30000; /* and where nothing is known to have changed */
const RADIUS = 2;

export class OwnPlace {
  #board = null; #expired; #found; #timer = 0; #due = 0; #asked = -Infinity; #drawn = null;

  /** @param {object} told expired(error): the token is refused; found(own): the row, or null */
  constructor({ expired, found }) {
    this.#expired = expired;
    this.#found = found;
    document.addEventListener('visibilitychange', () => this.ask(OWN_MS));
  }

  /** board: null where nobody is signed in. */
  follow(board) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#asked = -Infinity;
    this.#board = board;
    this.#draw(null);
    this.ask(OWN_MS);
  }

  ask(pause = LIST_MS) {
    if (!this.#board || document.visibilityState === 'hidden') return;
    const due = Math.max(performance.now(), this.#asked + pause);
    if (this.#timer && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.#read(this.#board), due - performance.now());
  }

  /** An own increment was counted. */
  counted() { this.ask(OWN_MS); }

  /** me.update is ahead of the next view(): rank and score are shown at once, who stands around them a moment later. One that says the same takes nothing away. */
  hear({ rank, score, players }) {
    if (this.#drawn) {
      const { own, next } = this.#drawn;
      const unmoved = own.rank === rank && own.score === score;
      const unknown = rank === 1 ? null : undefined;
      this.#draw({ ...this.#drawn, players, next: unmoved ? next : unknown, own: { ...own, rank, score } });
    }
    this.ask(OWN_MS);
  }

  /** So is a list that has the own row, where it is newer. */
  see({ entries, players, updatedAt }) {
    const own = this.#drawn?.own;
    const row = entries.find(({ userId }) => userId === own?.userId);
    if (row && Date.parse(updatedAt) > Date.parse(this.#drawn.asOf) && (row.rank !== own.rank || row.score !== own.score)) {
      this.hear({ ...row, players });
    } else this.ask();
  }

  wait(points) {
    byId('own-waiting').textContent = points ? `${number.format(points)} points are on their way to the server.` : '';
  }

  async #read(board) {
    this.#asked = performance.now();
    this.#timer = 0;
    try {
      const view = await board.view({ entries: 1, radius: RADIUS });
      if (board === this.#board) this.#draw(view);
    } catch (error) {
      if (board !== this.#board) return;
      if (error.status === 401) return this.#expired(error);
      if (error.status >= 400 && error.status < 500) this.#draw(null);
      this.#asked += (error.retryAfter ?? 0) * 1000;
    }
    if (board === this.#board) this.ask(QUIET_MS);
  }

  #draw(view) {
    this.#drawn = view?.own ? view : null;
    this.#found(this.#drawn?.own ?? null);
    byId('own').hidden = !this.#drawn;
    byId('own-rank-fact').hidden = !this.#drawn?.own.rank;
    if (!this.#drawn) {
      byId('neighbours').replaceChildren();
      return;
    }
    const { own, next, neighbours, players } = this.#drawn;
    byId('own-rank').textContent = own.rank ? ordinal(own.rank) : '–';
    byId('own-rank-short').textContent = own.rank ? ordinal(own.rank) : '';
    byId('own-of').textContent = own.rank ? `of ${number.format(players)}` : '';
    byId('own-score').textContent = `Score ${number.format(own.score)}`;
    byId('own-next').replaceChildren(...distance(own, next));
    byId('neighbours').replaceChildren(...neighbours.map((entry) => neighbour(entry, own)));
  }
}

function distance(own, next) {
  if (!own.rank) return ['No place yet: the first points bring one.'];
  if (next === undefined) return []; /* to come */
  if (!next) return ['Nobody stands ahead of you.'];
  const who = [nameOf(next), ` (${ordinal(next.rank)})`];
  return next.missing === 0 ? ['The same score as ', ...who, ', who was first.'] : [`${number.format(next.missing)} behind `, ...who];
}

function neighbour(entry, own) {
  const item = make('li', 'neighbour');
  item.toggleAttribute('data-own', entry.userId === own.userId);
  const name = nameOf(entry, 'span');
  name.className = 'neighbour-name';
  name.title = entry.displayName;
  item.append(make('span', 'neighbour-rank', number.format(entry.rank)), name);
  if (entry.userId === own.userId) item.append(make('span', 'unseen', '(you)'));
  item.append(make('span', 'neighbour-score', number.format(entry.score)));
  return item;
}
