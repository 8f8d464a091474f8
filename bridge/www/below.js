/*
 * The places below the top, a page at a time. They stand still: a page is of the moment it was asked for.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * A page begins behind the last row of the one before, whoever that is by now: so ranks that move meanwhile neither repeat nor hide a
 * player, and the thousandth page costs no more than the first.
 */
import { RowList } from './rows.js';
import { byId, number, sentence } from './words.js';

const PAGE = 20;

export class Below {
  #board = null; #rows = new RowList(byId('below')); #pages = []; #last = null; #players = 0; #top = 0;

  constructor() {
    byId('more').addEventListener('click', () => this.#go(1));
    byId('back').addEventListener('click', () => this.#go(-1));
  }

  follow(board) {
    this.#board = board;
    this.#pages = [];
    this.#last = null;
    this.#rows.clear();
    this.#draw();
  }

  set own(userId) { this.#rows.own = userId; }

  /** The top list: what its last row is, and how many players there are. */
  hear(entries, players) {
    this.#last = entries.at(-1) ?? null;
    this.#players = players;
    this.#top = entries.length;
    this.#draw();
  }

  async #go(way) {
    const board = this.#board;
    if (way < 0) this.#pages.pop();
    else {
      const behind = this.#pages.at(-1)?.at(-1) ?? this.#last;
      byId('more').disabled = true;
      try {
        const found = await board.around(behind.userId, { radius: PAGE });
        const at = found.entries.findIndex(({ userId }) => userId === behind.userId);
        if (board === this.#board) this.#pages.push(found.entries.slice(at + 1));
        byId('below-why').textContent = '';
      } catch (error) {
        byId('below-why').textContent = sentence(error.message);
      }
      byId('more').disabled = false;
    }
    if (board !== this.#board) return;
    this.#rows.clear();
    this.#rows.draw(this.#pages.at(-1) ?? []);
    this.#draw();
    byId('announcement').textContent = byId('below-what').textContent;
  }

  #draw() {
    const page = this.#pages.at(-1) ?? [];
    const reached = this.#top + this.#pages.reduce((sum, { length }) => sum + length, 0);
    byId('below-section').hidden = this.#top === 0 || this.#players <= this.#top;
    byId('more').hidden = reached >= this.#players || (this.#pages.length > 0 && page.length === 0);
    byId('back').hidden = this.#pages.length === 0;
    byId('below-what').textContent = page.length
      ? `Places ${number.format(page[0].rank)} to ${number.format(page.at(-1).rank)} of ${number.format(this.#players)}`
      : `${number.format(Math.max(0, this.#players - this.#top))} more`;
  }
}
