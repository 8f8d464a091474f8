/*
 * The moving board in a terminal: follows the stream by server-sent events and redraws the list in its place.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 *   node test/demo/board.mjs [http://127.0.0.1:8080]     or environment: DEMO_URL, DEMO_BOARD
 *
 * node 18 or newer, no packages. On a terminal: ten lines with arrows and gains, redrawn on each change, colours unless NO_COLOR is
 * set. Elsewhere (a pipe, a log): one line now and then. Reconnects for ever; ends on SIGINT or SIGTERM.
 */
import { setTimeout as sleep } from 'node:timers/promises';

const BOARD = process.env.DEMO_BOARD ?? 'global';
const STREAM = new URL(`/v1/leaderboard/stream?board=${encodeURIComponent(BOARD)}`, process.argv[2] ?? process.env.DEMO_URL ?? 'http://127.0.0.1:8080');
const SIZE = 10;
const LINE_MS = 5000;
const TREND_MS = 6000;
const GAIN_MS = 2000;
const tty = process.stdout.isTTY === true;
const paint = (code, text) => (tty && !process.env.NO_COLOR ? `\x1b[${code}m${text}\x1b[0m` : text);
const number = new Intl.NumberFormat('en');

const stopping = new AbortController();
const seen = new Map(); /* userId → {rank, score, base, movedAt, gain, gainedAt} */
let list = null;
let state = 'connecting';
let drawnLines = 0;
let lastLine = 0;

/* Display names are other people's text: nothing in them may move the cursor. */
const plain = (text) => String(text).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '');

/* Columns that a text takes: East Asian letters and most emoji are two wide, combining marks none. */
function columns(text) {
  let width = 0;
  for (const letter of text) {
    if (/\p{M}/u.test(letter)) continue;
    width += /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Extended_Pictographic}\uff01-\uff60]/u.test(letter) ? 2 : 1;
  }
  return width;
}

function fit(text, width) {
  let kept = '';
  for (const letter of text) {
    if (columns(kept + letter) > width) break;
    kept += letter;
  }
  return kept + ' '.repeat(width - columns(kept));
}

/* ---- the list ---- */

function accept(found) {
  if (list && found.version <= list.version) return;
  const time = Date.now();
  for (const { userId, rank, score } of found.entries) {
    const known = seen.get(userId) ?? { rank: list ? SIZE + 1 : rank, score, base: list ? SIZE + 1 : rank, movedAt: 0, gain: 0, gainedAt: 0 };
    if (time - known.movedAt > TREND_MS) known.base = known.rank;
    if (rank !== known.rank) known.movedAt = time;
    if (score !== known.score) Object.assign(known, { gain: score - known.score, gainedAt: time });
    seen.set(userId, { ...known, rank, score });
  }
  const listed = new Set(found.entries.map(({ userId }) => userId));
  for (const userId of seen.keys()) if (!listed.has(userId)) seen.delete(userId);
  list = found;
}

function trend(known, time) {
  const steps = known.base - known.rank;
  if (!steps || time - known.movedAt > TREND_MS) return '    ';
  return steps > 0 ? paint('32', `▲${steps}`.padEnd(4)) : paint('31', `▼${-steps}`.padEnd(4));
}

function row(entry, best, time) {
  const known = seen.get(entry.userId);
  const rank = paint(['', '1;33', '1;37', '1;38;5;173'][entry.rank] ?? '2', String(entry.rank).padStart(3));
  const filled = best > 0 ? Math.max(0, Math.round(entry.score / best * 16)) : 0;
  const bar = paint('38;5;105', '━'.repeat(filled)) + paint('2', '─'.repeat(16 - filled));
  const fresh = time - known.gainedAt < GAIN_MS && known.gain;
  const gain = fresh ? paint(known.gain > 0 ? '32' : '31', `${known.gain > 0 ? '+' : '−'}${number.format(Math.abs(known.gain))}`) : '';
  return ` ${rank}  ${trend(known, time)} ${paint(fresh ? '1' : '0', fit(plain(entry.displayName), 22))} ${bar} ${number.format(entry.score).padStart(9)}  ${gain}`;
}

function draw() {
  if (!tty) return;
  const time = Date.now();
  const light = { live: '32', connecting: '33', reconnecting: '33' }[state] ?? '31';
  const facts = list ? `${number.format(list.players)} players · version ${list.version}` : '';
  const lines = ['', ` ${paint('1', BOARD)}  ${paint(light, '●')} ${state}  ${paint('2', facts)}`, ''];
  const entries = list?.entries.slice(0, SIZE) ?? [];
  const best = Math.max(0, ...entries.map(({ score }) => score));
  for (let index = 0; index < SIZE; index += 1) lines.push(entries[index] ? row(entries[index], best, time) : paint('2', ` ${String(index + 1).padStart(3)}  ·`));
  lines.push('');
  const up = drawnLines ? `\x1b[${drawnLines}A` : '';
  process.stdout.write(`\x1b[?2026h\x1b[?7l${up}${lines.map((line) => `\r\x1b[2K${line}\n`).join('')}\x1b[?7h\x1b[?2026l`);
  drawnLines = lines.length;
}

function say(always) {
  if (tty || (!always && Date.now() - lastLine < LINE_MS)) return;
  lastLine = Date.now();
  const leaders = (list?.entries ?? []).slice(0, 3).map((entry) => `${entry.rank}. ${plain(entry.displayName)} ${number.format(entry.score)}`);
  console.log(`board: ${BOARD} ${state}${list ? `, version ${list.version}, ${number.format(list.players)} players: ${leaders.join(' · ') || 'nobody yet'}` : ''}`);
}

function become(next) {
  if (state === next) return;
  state = next;
  draw();
  say(true);
}

/* ---- server-sent events ---- */

/* Yields the events' data. Lines end with LF, CR or CRLF; a blank one ends an event; a line with a colon first is a comment. */
async function* events(body) {
  let rest = '';
  let data = [];
  for await (const part of body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      if (line !== '' || !data.length) continue;
      yield data.join('\n');
      data = [];
    }
  }
}

async function follow() {
  const response = await fetch(STREAM, { headers: { Accept: 'text/event-stream' }, signal: stopping.signal });
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({}));
    throw new Error(error?.message ?? `status ${response.status}`);
  }
  for await (const data of events(response.body)) {
    const message = JSON.parse(data);
    if (message.type !== 'leaderboard.update') continue;
    accept(message);
    become('live');
    draw();
    say(false);
  }
}

function finish() {
  if (tty) process.stdout.write('\x1b[?25h');
  process.exit(0);
}

process.on('SIGINT', finish);
process.on('SIGTERM', finish);
process.stdout.on('error', () => process.exit(0)); /* the pipe's reader has gone */
if (tty) process.stdout.write('\x1b[?25l');
setInterval(draw, 500); /* arrows and gains fade */
draw();
for (let attempt = 0; ; attempt += 1) {
  const before = list?.version;
  await follow().catch(() => {});
  if (list?.version !== before) attempt = 0;
  become('reconnecting');
  await sleep(Math.min(300 * 2 ** attempt, 10000) * (0.5 + Math.random() / 2));
}
