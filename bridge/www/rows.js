/*
 * A list whose rows move: the top list, and the player's neighbours.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * A row belongs to a userId for as long as it is listed: it is moved in the document (so that the reading order is the ranking),
 * measured before and after, and animated from the old place to the new one (FLIP). Whoever asks for reduced motion gets the same
 * states without the ways between them.
 */
import { EASE, avatar, calm, hueOf, make, number, signed } from './words.js';

const TREND_MS = 8000; /* how long an arrow tells the way that a row has gone */
const MOVE_MS = 620;
const COUNT_MS = 800;
const WIDE = 14; /* characters of a score for which a narrow row needs a second line */

/*
 * How long each score's bar is, from 0 to 1. A bar is the share of the best where that tells the rows apart. Where it doesn't (a low
 * board, 16 digits that differ in the last ones, scores below 0) it is the place between the best and a point a quarter beyond the
 * last row.
 */
export function bars(scores) {
  const best = scores[0];
  const last = scores.at(-1);
  const beyond = last - (best - last) / 4;
  const floor = best > last && last >= 0 ? Math.max(0, beyond) : beyond;
  return scores.map((score) => (best === last ? Number(best !== 0) : Math.min(1, Math.max(0, (score - floor) / (best - floor)))));
}

export class RowList {
  #element; #rows = new Map(); #first = true; #counting = 0; #own = null;

  /** @param {HTMLOListElement} element */
  constructor(element) { this.#element = element; }

  /** Rows without content, until there is some. */
  wait(count) {
    for (let index = 0; index < count; index += 1) this.#element.append(make('li', 'row waiting'));
    this.#element.setAttribute('aria-busy', 'true');
  }

  /** What was said to be coming isn't. */
  waitNoMore() {
    for (const waiting of this.#element.querySelectorAll('.waiting')) waiting.remove();
    this.#element.setAttribute('aria-busy', 'false');
  }

  clear() {
    for (const row of this.#rows.values()) clearTimeout(row.trendTimer);
    this.#rows.clear();
    this.#element.replaceChildren();
    this.#first = true;
  }

  /** The row of this player, or of none, stands out. */
  set own(userId) {
    this.#own = userId;
    for (const [user, { element }] of this.#rows) markOwn(element, user === userId);
  }

  draw(entries) {
    const places = new Map([...this.#rows].map(([user, row]) => [user, row.element.getBoundingClientRect().top]));
    const listed = new Set(entries.map(({ userId }) => userId));
    const lengths = bars(entries.map(({ score }) => score));
    this.waitNoMore();
    for (const [user, row] of this.#rows) if (!listed.has(user)) this.#leave(row);
    entries.forEach((entry, index) => {
      if (!this.#rows.has(entry.userId)) this.#rows.set(entry.userId, makeRow(entry));
      this.#fill(this.#rows.get(entry.userId), entry, lengths[index]);
    });
    this.#element.toggleAttribute('data-wide', entries.some(({ score }) => number.format(score).length > WIDE));
    this.#arrange(entries);
    for (const row of this.#rows.values()) row.moving?.cancel();
    entries.forEach((entry, index) => {
      const row = this.#rows.get(entry.userId);
      if (!places.has(entry.userId)) this.#enter(row, index);
      else if (!calm.matches) move(row, places.get(entry.userId));
    });
    this.#first = false;
  }

  #fill(row, entry, length) {
    const before = row.entry;
    const fresh = !before && !this.#first;
    row.entry = entry;
    row.element.dataset.rank = String(entry.rank);
    row.element.toggleAttribute('data-pending', entry.pending === true);
    markOwn(row.element, entry.userId === this.#own);
    row.part.rank.textContent = number.format(entry.rank);
    row.part.name.textContent = entry.displayName;
    row.part.name.title = entry.displayName;
    row.part.share.style.transform = `scaleX(${length})`;
    if (fresh || !before || before.rank !== entry.rank || before.movement !== entry.movement) showTrend(row, fresh);
    if (before && before.score !== entry.score) {
      row.from = row.shown;
      row.started = performance.now();
      flash(row, entry.score - before.score);
      this.#requestCount();
    } else if (!before) {
      row.part.score.textContent = number.format(entry.score);
    }
  }

  /* ---- counting up: one animation frame for all rows ---- */

  #requestCount() { this.#counting ||= requestAnimationFrame((time) => this.#count(time)); }

  #count(time) {
    this.#counting = 0;
    for (const row of this.#rows.values()) {
      if (row.shown === row.entry.score) continue;
      const done = calm.matches ? 1 : Math.min(1, Math.max(0, (time - row.started) / COUNT_MS));
      row.shown = done === 1 ? row.entry.score : Math.round(row.from + (row.entry.score - row.from) * (1 - (1 - done) ** 3));
      row.part.score.textContent = number.format(row.shown);
      if (done < 1) this.#requestCount();
    }
  }

  /* ---- places ---- */

  /* Puts the rows into the document in their order, touching only those that stand wrong. */
  #arrange(entries) {
    let place = this.#element.firstElementChild;
    for (const entry of entries) {
      const { element } = this.#rows.get(entry.userId);
      while (place?.classList.contains('leaving')) place = place.nextElementSibling;
      if (element === place) place = place.nextElementSibling;
      else this.#element.insertBefore(element, place);
    }
  }

  #leave(row) {
    const { element } = row;
    this.#rows.delete(element.dataset.user);
    clearTimeout(row.trendTimer);
    if (calm.matches) { element.remove(); return; }
    element.style.top = `${element.offsetTop}px`;
    element.classList.add('leaving');
    element.setAttribute('aria-hidden', 'true');
    element.animate([{ opacity: 1 }, { opacity: 0, transform: 'translateY(40px) scale(.97)' }], { duration: 380, easing: 'ease-in' })
      .finished.catch(() => {}).then(() => element.remove());
  }

  #enter(row, index) {
    if (calm.matches) return;
    row.element.animate([{ opacity: 0, transform: 'translateY(28px)' }, { opacity: 1, transform: 'none' }],
      { duration: 480, easing: EASE, delay: this.#first ? index * 35 : 0, fill: 'backwards' });
  }
}

function makeRow(entry) {
  const part = {
    glow: make('span', 'glow'), share: make('span', 'share'), rank: make('span', 'rank'), trend: make('span', 'trend'),
    name: make('span', 'name'), you: make('span', 'unseen'), gain: make('span', 'gain'), score: make('span', 'score'),
  };
  part.name.dir = 'auto';
  for (const one of [part.glow, part.share, part.gain]) one.setAttribute('aria-hidden', 'true');
  const element = make('li', 'row');
  element.append(part.share, part.glow, part.rank, part.trend, avatar(entry), part.name, part.you, part.gain, part.score);
  element.dataset.user = entry.userId;
  element.style.setProperty('--hue', String(hueOf(entry.userId)));
  return { element, part, entry: null, base: entry.rank, shown: entry.score, from: entry.score, started: 0, trendTimer: 0 };
}

function markOwn(element, own) {
  if (element.toggleAttribute('data-own', own) !== (element.querySelector('.unseen').textContent !== '')) {
    element.querySelector('.unseen').textContent = own ? '(you)' : '';
  }
}

/*
 * Where the board tells how far its players have moved since its day or season began, the arrow says that. Else it compares with the rank
 * before the latest run of moves, which ends when the row keeps its rank for a while.
 */
function showTrend(row, fresh) {
  const { trend } = row.part;
  const { movement } = row.entry;
  const told = movement !== undefined;
  const steps = told ? movement ?? 0 : row.base - row.entry.rank;
  trend.dataset.way = fresh ? 'new' : steps > 0 ? 'up' : steps < 0 ? 'down' : 'none';
  trend.textContent = fresh ? 'new' : steps > 0 ? `▲${steps}` : steps < 0 ? `▼${-steps}` : '';
  if (fresh) trend.setAttribute('aria-label', 'new in the list');
  else if (steps) trend.setAttribute('aria-label', `${steps > 0 ? 'up' : 'down'} ${Math.abs(steps)}${told ? ' since the day or season began' : ''}`);
  else trend.removeAttribute('aria-label');
  if (trend.textContent) trend.setAttribute('role', 'img');
  else trend.removeAttribute('role');
  trend.title = told ? trend.getAttribute('aria-label') ?? '' : '';
  clearTimeout(row.trendTimer);
  if (fresh || (steps && !told)) {
    row.trendTimer = setTimeout(() => { row.base = row.entry.rank; showTrend(row, false); }, TREND_MS);
  }
}

function flash(row, gained) {
  const { gain, glow } = row.part;
  gain.textContent = signed(gained);
  gain.dataset.way = glow.dataset.way = gained > 0 ? 'up' : 'down';
  const time = { duration: 1900, easing: 'ease-out' };
  gain.animate(calm.matches ? [{ opacity: 1 }, { opacity: 1 }] : [
    { opacity: 0, transform: 'translateY(10px) scale(.8)' }, { opacity: 1, transform: 'none', offset: .12 },
    { opacity: 1, transform: 'none', offset: .72 }, { opacity: 0, transform: 'translateY(-8px)' }], time);
  if (!calm.matches) glow.animate([{ opacity: 0 }, { opacity: 1, offset: .1 }, { opacity: 0 }], time);
}

function move(row, from) {
  const { element } = row;
  const way = from - element.getBoundingClientRect().top;
  if (Math.abs(way) < 1) return;
  element.classList.toggle('climbing', way > 0);
  const lift = way > 0 ? ' scale(1.02)' : ' scale(.985)';
  row.moving = element.animate(
    [{ transform: `translateY(${way}px)` }, { transform: `translateY(${way * .45}px)${lift}`, offset: .3 }, { transform: 'none' }],
    { duration: MOVE_MS, easing: EASE });
  row.moving.finished.then(() => element.classList.remove('climbing'), () => {});
}
