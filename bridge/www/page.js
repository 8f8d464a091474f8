/*
 * The live page: draws what scoreboard.js delivers and makes the changes visible as movement.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * rows.js draws lists, feed.js tells what happened, own.js the own place, below.js what stands below the top, sign.js knows who looks;
 * this file follows a board and puts them together. Everything that came over the network is written as a text node.
 *
 * `board` is exported, so that a script on the page (or the console: `(await import('/page.js')).board`) can call increment() on it.
 */
import { Scoreboard, listBoards } from './scoreboard.js';
import { Below } from './below.js';
import { forget, tell } from './feed.js';
import { OwnPlace } from './own.js';
import { RowList } from './rows.js';
import { currentToken, signOut, startSigning } from './sign.js';
import { age, byId, clock, make, number, sentence } from './words.js';

const SIZE = 10;
const DRAW_MS = 150; /* least time between two drawings, so that a busy board is still readable */

const named = () => new URLSearchParams(location.search).get('board') || 'global';

/** The board that this page follows. */
export let board = null;

const expired = ({ message }) => signOut(`You were signed out. ${sentence(message)}`);

const top = new RowList(byId('list'));
const below = new Below();
const own = new OwnPlace({
  expired,
  found: (row) => { top.own = below.own = row?.userId ?? null; },
});

/* ---- drawing a list ---- */

let latest = null;
let lastDrawn = -Infinity;
let drawTimer = 0;
let updated = null;

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

function draw({ document: found, optimistic, waiting }) {
  const entries = found.entries.slice(0, SIZE);
  top.draw(entries);
  below.hear(entries, found.players);
  own.wait(waiting);
  byId('players').textContent = number.format(found.players);
  byId('version').textContent = String(found.version);
  byId('version').toggleAttribute('data-optimistic', optimistic);
  byId('list').dataset.version = String(found.version);
  byId('empty').hidden = found.entries.length > 0;
  updated = new Date(found.updatedAt);
  byId('updated').dateTime = found.updatedAt;
  drawAge();
  if (optimistic) return;
  tell(entries, found.season);
  own.see(found);
}

function drawAge() {
  const known = updated && !Number.isNaN(updated.getTime());
  const text = known ? age(updated) : '–';
  if (byId('updated').textContent !== text) byId('updated').textContent = text;
  byId('updated').title = known ? updated.toLocaleString() : '';
}

/* ---- connection and notices ---- */

const TRANSPORT = { websocket: 'WebSocket', sse: 'server-sent events', polling: 'polling' };
const STATUS = { connecting: 'Connecting', live: 'Live', polling: 'Polling', stale: 'Not live', reconnecting: 'Reconnecting', refused: 'Not available', closed: 'Closed' };

function drawState({ status, transport, since, error }) {
  const chip = byId('state');
  chip.dataset.status = status;
  chip.dataset.transport = transport ?? '';
  chip.title = transport ? `by ${TRANSPORT[transport]}` : '';
  const text = status === 'stale' && since ? `${STATUS.stale} since ${clock.format(new Date(since))}` : STATUS[status];
  if (byId('state-text').textContent !== text) byId('state-text').textContent = text;
  byId('retry').hidden = !['reconnecting', 'refused'].includes(status);
  document.body.dataset.status = status;
  if (status === 'refused' && !board.document) {
    top.waitNoMore();
    const unknown = [400, 404].includes(error.status);
    byId('empty-title').textContent = unknown ? `There is no board “${board.board}”` : 'This board is not public';
    byId('empty-text').textContent = unknown ? 'Is that how it is spelled?' : sentence(error.message);
    byId('empty').hidden = false;
  } else if (status === 'live' || status === 'polling' || status === 'stale') {
    byId('empty-title').textContent = 'No scores yet';
    byId('empty-text').textContent = 'The first player to score appears here at once.';
  }
}

function notify({ code, message }, title) {
  const notice = make('div', 'notice');
  const words = make('p');
  words.append(make('b', null, title), sentence(message));
  const close = make('button', null, 'Dismiss');
  close.type = 'button';
  close.addEventListener('click', () => notice.remove());
  notice.dataset.code = code;
  notice.append(words, close);
  byId('notices').append(notice);
  while (byId('notices').children.length > 3) byId('notices').firstElementChild.remove();
}

/* ---- which board, and for whom ---- */

let boards = [];

function drawTitle() {
  const name = board.board;
  const words = name.replace(/[_.-]+/g, ' ').trim() || name;
  const title = boards.find((one) => one.board === name)?.title || words[0].toUpperCase() + words.slice(1);
  byId('title').textContent = title;
  document.title = `${title} · leaderboard`;
}

function drawSwitch() {
  const choice = byId('switch');
  choice.replaceChildren(...boards.map((one) => {
    const option = make('option', null, one.title || one.board);
    option.value = one.board;
    return option;
  }));
  if (!boards.some((one) => one.board === board.board)) choice.prepend(make('option', null, board.board));
  choice.value = board.board;
  byId('switch-label').hidden = boards.length < 2;
  byId('eyebrow').hidden = boards.length >= 2;
}

async function readBoards() {
  boards = await listBoards({ token: currentToken() }).catch(() => boards);
  drawTitle();
  drawSwitch();
}

/* Another board begins with nothing; the same one, for somebody else, with what is shown. */
function follow(name) {
  const before = board;
  const same = before?.board === name;
  const mine = new Scoreboard({ board: name, token: currentToken() });
  board = mine;
  before?.close();
  clearTimeout(drawTimer);
  drawTimer = 0;
  if (!same) {
    top.clear();
    top.wait(SIZE);
    forget();
    updated = null;
    byId('empty').hidden = true;
    byId('players').textContent = byId('version').textContent = '–';
    drawAge();
    drawTitle();
  }
  for (const [event, react] of Object.entries({ update: request, state: drawState, me: (me) => own.hear(me), counted: () => own.counted(), unauthorized: expired,
    notice: (notice) => notify(notice, 'Your points were taken back. ') })) {
    mine.addEventListener(event, ({ detail }) => mine === board && react(detail));
  }
  below.follow(board);
  own.follow(currentToken() ? board : null);
  board.open();
}

function start() {
  startSigning(() => {
    follow(board.board);
    readBoards();
  });
  byId('retry').addEventListener('click', () => board.retry());
  byId('switch').addEventListener('change', ({ target }) => {
    history.pushState(null, '', `?board=${encodeURIComponent(target.value)}`);
    follow(target.value);
  });
  addEventListener('popstate', () => {
    if (named() === board.board) return;
    follow(named());
    drawSwitch();
  });
  setInterval(drawAge, 1000);
  follow(named());
  readBoards();
}

start();
