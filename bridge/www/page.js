/*
 * The live page: draws what scoreboard.js delivers and makes the changes visible as movement.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * Everything that came over the network is written as a text node. A row belongs to a userId for as long as it is listed: it is moved in
 * the document (so that the reading order is the ranking), measured before and after, and animated from the old place to the new
 * one (FLIP). Whoever asks for reduced motion gets the same states without the ways between them.
 *
 * `board` is exported, so that a script on the page (or the console: `(await import('/page.js')).board`) can call increment() on it.
 */
import { Scoreboard, listBoards } from './scoreboard.js';

const SIZE = 10;
const DRAW_MS = 150; /* least time between two drawings, so that a busy board is still readable */
const TREND_MS = 8000; /* how long an arrow tells the way that a row has gone */
const MOVE_MS = 620;
const FEED_SIZE = 8;
const ANNOUNCE_MS = 6000;
const EASE = 'cubic-bezier(.22, 1, .3, 1)';

const byId = (id) => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const number = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const plural = new Intl.PluralRules('en', { type: 'ordinal' });
const SUFFIX = { one: 'st', two: 'nd', few: 'rd', other: 'th' };
const ordinal = (n) => number.format(n) + SUFFIX[plural.select(n)];
const signed = (n) => (n < 0 ? '−' : '+') + number.format(Math.abs(n));

const name = new URLSearchParams(location.search).get('board') || 'global';

/** The board that this page follows. */
export const board = new Scoreboard({ board: name });

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/* ---- rows ---- */

const rows = new Map(); /* userId → row */
let first = true;

/* FNV-1a with a last mix, so that ids which differ in one digit get colours far apart. */
function hueOf(userId) {
  let hash = 0x811c9dc5;
  for (const letter of userId) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) % 360;
}

/* A colour and two letters that stay with the player; pictures from elsewhere would need more than 'self' in the CSP. */
function avatar(entry) {
  const element = make('span', 'avatar');
  element.style.setProperty('--hue', String(hueOf(entry.userId)));
  element.setAttribute('aria-hidden', 'true');
  const words = entry.displayName.match(/[\p{L}\p{N}]+/gu) ?? ['?'];
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...words[0]].slice(0, 2);
  element.textContent = letters.join('').toUpperCase();
  return element;
}

function makeRow(entry) {
  const part = {
    glow: make('span', 'glow'), share: make('span', 'share'), rank: make('span', 'rank'), trend: make('span', 'trend'),
    name: make('span', 'name'), gain: make('span', 'gain'), score: make('span', 'score'),
  };
  part.name.dir = 'auto';
  for (const one of [part.glow, part.share, part.gain]) one.setAttribute('aria-hidden', 'true');
  const element = make('li', 'row');
  element.append(part.share, part.glow, part.rank, part.trend, avatar(entry), part.name, part.gain, part.score);
  element.dataset.user = entry.userId;
  element.style.setProperty('--hue', String(hueOf(entry.userId)));
  return { element, part, entry: null, base: entry.rank, shown: entry.score, from: entry.score, started: 0, trendTimer: 0 };
}

/* The arrow compares with the rank before the latest run of moves, which ends when the row keeps its rank for a while. */
function showTrend(row, fresh) {
  const { trend } = row.part;
  const steps = row.base - row.entry.rank;
  trend.dataset.way = fresh ? 'new' : steps > 0 ? 'up' : steps < 0 ? 'down' : 'none';
  trend.textContent = fresh ? 'new' : steps > 0 ? `▲${steps}` : steps < 0 ? `▼${-steps}` : '';
  if (fresh) trend.setAttribute('aria-label', 'new in the list');
  else if (steps) trend.setAttribute('aria-label', `${steps > 0 ? 'up' : 'down'} ${Math.abs(steps)}`);
  else trend.removeAttribute('aria-label');
  if (trend.textContent) trend.setAttribute('role', 'img');
  else trend.removeAttribute('role');
  clearTimeout(row.trendTimer);
  if (fresh || steps) {
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

function fillRow(row, entry, best) {
  const before = row.entry;
  const fresh = !before && !first;
  row.entry = entry;
  row.element.dataset.rank = String(entry.rank);
  row.element.toggleAttribute('data-pending', entry.pending === true);
  row.part.rank.textContent = number.format(entry.rank);
  row.part.name.textContent = entry.displayName;
  row.part.name.title = entry.displayName;
  row.part.share.style.transform = `scaleX(${best > 0 ? Math.max(0, entry.score / best) : 0})`;
  if (fresh || !before || before.rank !== entry.rank) showTrend(row, fresh);
  if (before && before.score !== entry.score) {
    row.from = row.shown;
    row.started = performance.now();
    flash(row, entry.score - before.score);
    requestCount();
  } else if (!before) {
    row.part.score.textContent = number.format(entry.score);
  }
}

/* ---- counting up: one animation frame for all rows ---- */

let counting = 0;

function requestCount() { counting ||= requestAnimationFrame(count); }

function count(time) {
  counting = 0;
  for (const row of rows.values()) {
    if (row.shown === row.entry.score) continue;
    const done = calm.matches ? 1 : Math.min(1, Math.max(0, (time - row.started) / 800));
    row.shown = done === 1 ? row.entry.score : Math.round(row.from + (row.entry.score - row.from) * (1 - (1 - done) ** 3));
    row.part.score.textContent = number.format(row.shown);
    if (done < 1) requestCount();
  }
}

/* ---- drawing a list ---- */

const list = byId('list');

/* Puts the rows into the document in their order, touching only those that stand wrong. */
function arrange(entries) {
  let place = list.firstElementChild;
  for (const entry of entries) {
    const { element } = rows.get(entry.userId);
    while (place?.classList.contains('leaving')) place = place.nextElementSibling;
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
}

function leave(row) {
  const { element } = row;
  rows.delete(element.dataset.user);
  clearTimeout(row.trendTimer);
  if (calm.matches) { element.remove(); return; }
  element.style.top = `${element.offsetTop}px`;
  element.classList.add('leaving');
  element.setAttribute('aria-hidden', 'true');
  element.animate([{ opacity: 1 }, { opacity: 0, transform: 'translateY(40px) scale(.97)' }], { duration: 380, easing: 'ease-in' })
    .finished.catch(() => {}).then(() => element.remove());
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

function enter(row, index) {
  if (calm.matches) return;
  row.element.animate([{ opacity: 0, transform: 'translateY(28px)' }, { opacity: 1, transform: 'none' }],
    { duration: 480, easing: EASE, delay: first ? index * 35 : 0, fill: 'backwards' });
}

function draw({ document: found, optimistic }) {
  const entries = found.entries.slice(0, SIZE);
  const changes = optimistic ? [] : compare(entries, found.season);
  const places = new Map([...rows].map(([user, row]) => [user, row.element.getBoundingClientRect().top]));
  const best = Math.max(...entries.map(({ score }) => score), 0);
  const listed = new Set(entries.map(({ userId }) => userId));
  for (const waiting of list.querySelectorAll('.waiting')) waiting.remove();
  for (const [user, row] of rows) if (!listed.has(user)) leave(row);
  for (const entry of entries) {
    if (!rows.has(entry.userId)) rows.set(entry.userId, makeRow(entry));
    fillRow(rows.get(entry.userId), entry, best);
  }
  arrange(entries);
  for (const row of rows.values()) row.moving?.cancel();
  entries.forEach((entry, index) => {
    const row = rows.get(entry.userId);
    if (!places.has(entry.userId)) enter(row, index);
    else if (!calm.matches) move(row, places.get(entry.userId));
  });
  drawFacts(found, optimistic);
  tell(changes);
  first = false;
}

function drawFacts(found, optimistic) {
  byId('players').textContent = number.format(found.players);
  byId('version').textContent = String(found.version);
  byId('version').toggleAttribute('data-optimistic', optimistic);
  const moment = new Date(found.updatedAt);
  if (!Number.isNaN(moment.getTime())) {
    byId('updated').textContent = clock.format(moment);
    byId('updated').dateTime = found.updatedAt;
  }
  list.setAttribute('aria-busy', 'false');
  list.dataset.version = String(found.version);
  byId('empty').hidden = found.entries.length > 0;
}

/* ---- what happened, in words ---- */

let told = new Map(); /* userId → entry of the last list without own unconfirmed points: those are not news yet */
let season = null;

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
    const climbed = before ? before.rank - entry.rank : SIZE + 1 - entry.rank;
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

let announced = -Infinity;

function tell(changes) {
  const feed = byId('feed');
  for (const change of changes.slice(0, 2).reverse()) {
    const item = make('li', 'event');
    const words = make('p');
    const who = make('b', null, change.entry.displayName);
    who.dir = 'auto';
    words.append(who, ' ', phrase(change));
    item.append(avatar(change.entry), words);
    if (change.gained) item.append(make('span', 'amount', signed(change.gained)));
    item.dataset.way = change.climbed > 0 ? 'up' : change.gained < 0 ? 'down' : 'none';
    feed.prepend(item);
    if (!calm.matches) item.animate([{ opacity: 0, transform: 'translateY(-12px)' }, { opacity: 1, transform: 'none' }], { duration: 320, easing: EASE });
  }
  while (feed.children.length > FEED_SIZE) feed.lastElementChild.remove();
  byId('quiet').hidden = feed.children.length > 0;
  const news = changes.find(({ climbed }) => climbed > 0);
  if (news && performance.now() - announced > ANNOUNCE_MS) {
    announced = performance.now();
    byId('announcement').textContent = `${news.entry.displayName} ${phrase(news)} with ${number.format(news.entry.score)}`;
  }
}

/* ---- connection, notices, start ---- */

const TRANSPORT = { websocket: 'WebSocket', sse: 'server-sent events', polling: 'polling' };
const STATUS = { connecting: 'Connecting', live: 'Live', polling: 'Polling', stale: 'Not live', reconnecting: 'Reconnecting', refused: 'Not available', closed: 'Closed' };

function drawState({ status, transport, since, error }) {
  const chip = byId('state');
  chip.dataset.status = status;
  chip.dataset.transport = transport ?? '';
  chip.title = transport ? `by ${TRANSPORT[transport]}` : '';
  byId('state-text').textContent = status === 'stale' && since ? `${STATUS.stale} since ${clock.format(new Date(since))}` : STATUS[status];
  document.body.dataset.status = status;
  if (status === 'refused' && !board.document) {
    for (const waiting of list.querySelectorAll('.waiting')) waiting.remove();
    byId('empty-title').textContent = [400, 404].includes(error.status) ? `There is no board “${name}”` : 'This board is not public';
    byId('empty-text').textContent = error.message;
    byId('empty').hidden = false;
  } else if (status === 'live' || status === 'polling' || status === 'stale') {
    byId('empty-title').textContent = 'No scores yet';
    byId('empty-text').textContent = 'The first player to score appears here at once.';
  }
}

function notify({ code, message }) {
  const notice = make('div', 'notice');
  const words = make('p');
  words.append(make('b', null, 'Your points were taken back. '), message);
  const close = make('button', null, 'Dismiss');
  close.type = 'button';
  close.addEventListener('click', () => notice.remove());
  notice.dataset.code = code;
  notice.append(words, close);
  byId('notices').append(notice);
  while (byId('notices').children.length > 3) byId('notices').firstElementChild.remove();
}

function drawTitle(title) {
  byId('title').textContent = title;
  document.title = `${title} · leaderboard`;
}

let latest = null;
let lastDrawn = -Infinity;
let drawTimer = 0;

/* Draws at once when nothing was drawn lately, else the newest list when DRAW_MS are over. */
function request(detail) {
  latest = detail;
  if (drawTimer) return;
  drawTimer = setTimeout(() => {
    drawTimer = 0;
    lastDrawn = performance.now();
    draw(latest);
  }, Math.max(0, lastDrawn + DRAW_MS - performance.now()));
}

function start() {
  for (let index = 0; index < SIZE; index += 1) list.append(make('li', 'row waiting'));
  const words = name.replace(/[_.-]+/g, ' ').trim() || name;
  drawTitle(words[0].toUpperCase() + words.slice(1));
  board.addEventListener('update', ({ detail }) => request(detail));
  board.addEventListener('state', ({ detail }) => drawState(detail));
  board.addEventListener('notice', ({ detail }) => notify(detail));
  board.open();
  listBoards().then((boards) => {
    const title = boards.find((one) => (one.board ?? one.name) === name)?.title;
    if (title) drawTitle(title);
  }, () => { /* The name does. */ });
}

start();
