/*
 * What happened, in words: for the eye a feed, for screen readers the most telling change now and then.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { EASE, avatar, byId, calm, make, nameOf, number, ordinal, signed } from './words.js';

const FEED_SIZE = 8;
const ANNOUNCE_MS = 6000;

let told = new Map(); /* userId → entry of the last list without own unconfirmed points: those are not news yet */
let season = null;
let announced = -Infinity;

export function forget() {
  told = new Map();
  season = null;
  byId('feed').replaceChildren();
  byId('announcement').textContent = '';
  byId('quiet').hidden = false;
}

/** Tells what differs from the list before. */
export function tell(entries, newSeason) {
  const changes = compare(entries, newSeason);
  for (const change of changes.slice(0, 2).reverse()) add(change);
  while (byId('feed').children.length > FEED_SIZE) byId('feed').lastElementChild.remove();
  byId('quiet').hidden = byId('feed').children.length > 0;
  const news = changes.find(({ climbed }) => climbed > 0);
  if (news && performance.now() - announced > ANNOUNCE_MS) {
    announced = performance.now();
    byId('announcement').textContent = `${news.entry.displayName} ${phrase(news)} with ${number.format(news.entry.score)}`;
  }
}

function compare(entries, newSeason) {
  const last = told;
  const same = season === newSeason;
  told = new Map(entries.map((entry) => [entry.userId, entry]));
  season = newSeason;
  if (!same) return []; /* the first list, or another season: no news about players */
  const changes = [];
  for (const entry of entries) {
    const before = last.get(entry.userId);
    if (before && before.score === entry.score) continue;
    const climbed = before ? before.rank - entry.rank : entries.length + 1 - entry.rank;
    changes.push({ entry, gained: before ? entry.score - before.score : null, climbed });
  }
  return changes.sort((a, b) => b.climbed - a.climbed || a.entry.rank - b.entry.rank);
}

function phrase({ entry, gained, climbed }) {
  if (gained === null) return `enters at ${ordinal(entry.rank)}`;
  if (climbed > 0 && entry.rank === 1) return 'takes the lead';
  if (climbed > 0) return `climbs to ${ordinal(entry.rank)}`;
  if (climbed < 0) return `falls to ${ordinal(entry.rank)}`;
  return entry.rank === 1 ? 'extends the lead' : `holds ${ordinal(entry.rank)}`;
}

function add(change) {
  const item = make('li', 'event');
  const words = make('p');
  words.append(nameOf(change.entry), ' ', phrase(change));
  item.append(avatar(change.entry), words);
  if (change.gained) item.append(make('span', 'amount', signed(change.gained)));
  item.dataset.way = change.climbed > 0 ? 'up' : change.gained < 0 ? 'down' : 'none';
  byId('feed').prepend(item);
  if (!calm.matches) item.animate([{ opacity: 0, transform: 'translateY(-12px)' }, { opacity: 1, transform: 'none' }], { duration: 320, easing: EASE });
}
