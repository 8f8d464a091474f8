/*
 * Simulated players of the demo, and the two services behind them: the identity provider that signs their tokens and the game service
 * that signs a receipt for what they did. Everything goes through the public API, POST /v1/scores/increment.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 *   node test/demo/players.mjs      node 18 or newer, no packages; ends on SIGINT or SIGTERM with a last status line
 *
 * Environment (setup.sql makes the SQL side of it and returns the key's secret):
 *   DEMO_URL            the bridge, http://127.0.0.1:8080
 *   DEMO_ISSUER         iss of the tokens
 *   DEMO_ISSUER_SECRET  HS256 key as base64url
 *   DEMO_KEY_ID         the receipts' key
 *   DEMO_KEY_SECRET     64 hex characters
 *   DEMO_AUDIENCE       scoreboard.audience (or the database's name) and the tokens' aud
 *   DEMO_BOARD          board, 'global'
 *   DEMO_PLAYERS        how many, 40
 *   DEMO_RATE           actions a second by all of them, 12; never more than the limit of 10 a minute allows so many players (40: 5.4)
 *   DEMO_STATUS         seconds between two status lines, 5
 *   DEMO_SEED           a number: the same players in the same mood again
 *
 * Each player has a skill and a mood. A streak makes a player fast and lucky for half a minute; the players behind the leaders get
 * streaks more often, so that ranks go on changing. One attempt in about 25 is foul on purpose, and has to be refused.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { now, signReceipt, signToken } from '../lib/signing.mjs';
import { nameOf, userIdOf } from './names.mjs';

const env = process.env;
const URL_INCREMENT = new URL('/v1/scores/increment', env.DEMO_URL ?? 'http://127.0.0.1:8080');
const BOARD = env.DEMO_BOARD ?? 'global';
const COUNT = positive('DEMO_PLAYERS', 40);
const PER_MINUTE = 9; /* one below the limit of 10: the last one is left for foul play */
const RATE = Math.min(positive('DEMO_RATE', 12), 0.9 * COUNT * PER_MINUTE / 60);
const GAP_MS = 7000; /* between two actions of a player: whoever used up the minute at once would then stand still */
const STREAK_GAP_MS = 4500;
const STATUS_SECONDS = positive('DEMO_STATUS', 5);
const TOKEN_SECONDS = 900;
const FOUL_SHARE = 0.04;
const LANES = 16; /* requests under way at once */

/* Points are the board's business; these are only for choosing what to do. */
const ACTIONS = { FIND_COIN: 10, DAILY_QUEST: 50, COMPLETE_LEVEL: 100, WIN_MATCH: 250 };

function positive(name, standard) {
  const value = Number(env[name] ?? standard);
  if (!(value > 0)) fail(`${name} must be a number above 0`);
  return value;
}

function fail(message) {
  console.error(`players: ${message}`);
  process.exit(2);
}

for (const name of ['DEMO_ISSUER', 'DEMO_ISSUER_SECRET', 'DEMO_KEY_ID', 'DEMO_KEY_SECRET', 'DEMO_AUDIENCE']) {
  if (!env[name]) fail(`${name} is not set; see the head of test/demo/setup.sql`);
}

/* mulberry32: small, and good enough for moods. Never used for ids or keys. */
function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = seeded(Number(env.DEMO_SEED ?? Date.now()));
const pick = (list) => list[Math.floor(random() * list.length)];

function weighted(list, weight) {
  let left = list.reduce((sum, one) => sum + weight(one), 0) * random();
  for (const one of list) if ((left -= weight(one)) <= 0) return one;
  return list.at(-1);
}

const players = Array.from({ length: COUNT }, (_, index) => ({
  userId: userIdOf(index),
  name: nameOf(index),
  skill: 0.35 + random() * 0.65,
  streakUntil: 0,
  score: 0,
  attempts: [], /* times of the last minute: the limit counts attempts, refused ones too */
  last: null,
  token: null,
  tokenUntil: 0,
}));

const status = { accepted: 0, replayed: 0, refused: new Map(), unexpected: 0, milliseconds: [] };

/* ---- the services ---- */

function tokenOf(player) {
  if (player.tokenUntil < now() + 60) {
    player.tokenUntil = now() + TOKEN_SECONDS;
    player.token = signToken({ iss: env.DEMO_ISSUER, sub: player.userId, aud: env.DEMO_AUDIENCE, name: player.name, exp: player.tokenUntil },
      env.DEMO_ISSUER_SECRET, { kid: 'demo' });
  }
  return player.token;
}

function actionOf(player, actionType, issuedAt = now()) {
  const actionId = `${actionType.toLowerCase()}-${randomBytes(9).toString('base64url')}`;
  const receipt = signReceipt({ keyId: env.DEMO_KEY_ID, keySecret: env.DEMO_KEY_SECRET, audience: env.DEMO_AUDIENCE, board: BOARD,
    userId: player.userId, actionType, actionId, issuedAt });
  return { actionType, actionId, board: BOARD, issuedAt, receipt, metadata: { client: 'demo' } };
}

/* ---- one request ---- */

/* Sends until there is an answer; the key stays the same, so that an attempt whose answer was lost is not counted twice. */
async function post(player, action, { token = tokenOf(player), key = randomBytes(16).toString('hex') } = {}) {
  player.attempts.push(Date.now());
  for (let attempt = 0; ; attempt += 1) {
    const started = performance.now();
    try {
      const response = await fetch(URL_INCREMENT, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}`, 'Idempotency-Key': key },
        body: JSON.stringify(action),
        signal: AbortSignal.timeout(15000),
      });
      const body = await response.json();
      status.milliseconds.push(performance.now() - started);
      if (response.status !== 503 || stopping.signal.aborted) return { status: response.status, body, code: body.error?.code };
    } catch (error) {
      if (stopping.signal.aborted) return { status: 0, body: null, code: 'NETWORK' };
    }
    count('waiting for the bridge');
    await pause(Math.min(200 * 2 ** attempt, 5000) * (0.5 + random() / 2));
  }
}

function count(code) { status.refused.set(code, (status.refused.get(code) ?? 0) + 1); }

/* Counts an answer; a deliberate foul must be refused with one of the codes that it expects. */
function book(player, answer, expected = []) {
  if (answer.status === 200) {
    status.accepted += 1;
    if (answer.body.replayed) status.replayed += 1;
    player.score = answer.body.score;
    if (expected.length) status.unexpected += 1;
    return;
  }
  if (answer.code === 'NETWORK') return;
  count(answer.code ?? `HTTP ${answer.status}`);
  if (answer.code === 'RATE_LIMITED') player.attempts.push(...Array(PER_MINUTE).fill(Date.now()));
  else if (!expected.includes(answer.code)) status.unexpected += 1;
}

/* ---- what players do ---- */

async function play(player) {
  const lucky = player.streakUntil > Date.now() ? 0.45 : 0;
  const luck = random() * player.skill + lucky;
  const actionType = luck > 0.62 ? 'WIN_MATCH' : luck > 0.38 ? 'COMPLETE_LEVEL' : luck > 0.2 ? 'DAILY_QUEST' : 'FIND_COIN';
  const action = actionOf(player, actionType);
  const answer = await post(player, action);
  if (answer.status === 200) player.last = action;
  book(player, answer);
}

const FOULS = {
  /* The same action again under another key: only the first time counts. */
  async duplicate(player) {
    if (!player.last) return play(player);
    return book(player, await post(player, player.last), ['DUPLICATE_ACTION', 'RATE_LIMITED']);
  },
  /* Somebody who guesses a receipt. */
  async forged(player) {
    const action = { ...actionOf(player, 'WIN_MATCH'), receipt: `v1:${env.DEMO_KEY_ID}:${randomBytes(32).toString('hex')}` };
    return book(player, await post(player, action), ['INVALID_SIGNATURE', 'RATE_LIMITED']);
  },
  /* A true receipt for a coin, sent as a match won. */
  async inflated(player) {
    const action = { ...actionOf(player, 'FIND_COIN'), actionType: 'WIN_MATCH' };
    return book(player, await post(player, action), ['INVALID_SIGNATURE', 'RATE_LIMITED']);
  },
  /* A true receipt, kept for too long. */
  async stale(player) {
    return book(player, await post(player, actionOf(player, 'COMPLETE_LEVEL', now() - 3600)), ['RECEIPT_EXPIRED', 'RATE_LIMITED']);
  },
  /* A token signed with a key that isn't the issuer's. */
  async stranger(player) {
    const token = signToken({ iss: env.DEMO_ISSUER, sub: player.userId, aud: env.DEMO_AUDIENCE }, randomBytes(32), { kid: 'demo' });
    return book(player, await post(player, actionOf(player, 'WIN_MATCH'), { token }), ['UNAUTHORIZED']);
  },
  /* A script that clicks as fast as it can. */
  async burst(player) {
    const answers = await Promise.all(Array.from({ length: 7 }, () => post(player, actionOf(player, 'FIND_COIN'))));
    for (const answer of answers) {
      if (answer.status === 200) book(player, answer);
      else book(player, answer, ['RATE_LIMITED']);
    }
  },
};

/* A streak for somebody just below the leaders, or out of the blue. */
function moods() {
  const ranked = [...players].sort((a, b) => b.score - a.score);
  const hunters = ranked.slice(2, 16);
  const player = random() < 0.75 ? pick(hunters.length ? hunters : ranked) : pick(ranked);
  player.streakUntil = Date.now() + 20000 + random() * 20000;
}

const idle = (player) => {
  const minuteAgo = Date.now() - 61000;
  while (player.attempts[0] < minuteAgo) player.attempts.shift();
  const gap = player.streakUntil > Date.now() ? STREAK_GAP_MS : GAP_MS;
  return player.attempts.length < PER_MINUTE && (player.attempts.at(-1) ?? 0) < Date.now() - gap;
};

/* ---- the loop ---- */

const stopping = new AbortController();
const pause = (milliseconds) => sleep(milliseconds, undefined, { signal: stopping.signal }).catch(() => {});
const under = new Set();

function step() {
  if (under.size >= LANES) return;
  const ready = players.filter(idle);
  if (!ready.length) return;
  const foul = random() < FOUL_SHARE;
  const player = weighted(ready, (one) => one.skill + (one.streakUntil > Date.now() ? 4 : 0));
  const work = (foul ? FOULS[pick(Object.keys(FOULS))] : play)(player).catch((error) => {
    console.error(`players: ${error.stack}`);
    process.exitCode = 1;
    stopping.abort();
  });
  under.add(work);
  work.finally(() => under.delete(work));
}

function report() {
  const sorted = status.milliseconds.splice(0).sort((a, b) => a - b);
  const p95 = sorted.length ? `${sorted[Math.floor(sorted.length * 0.95)].toFixed(1)} ms` : '-';
  const refused = [...status.refused].sort((a, b) => b[1] - a[1]).map(([code, times]) => `${code} ${times}`).join(', ') || 'nothing';
  const surprise = status.unexpected ? `; NOT AS EXPECTED ${status.unexpected}` : '';
  console.log(`players: accepted ${status.accepted} (p95 ${p95}); refused: ${refused}${surprise}`);
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => (stopping.signal.aborted ? process.exit(130) : stopping.abort()));
}

console.log(`players: ${COUNT} players at ${URL_INCREMENT.origin}, board ${BOARD}, ${RATE.toFixed(1)} actions a second`);
const timers = [setInterval(report, STATUS_SECONDS * 1000), setInterval(moods, 4000)];
moods();
while (!stopping.signal.aborted) {
  step();
  await pause((1000 / RATE) * (0.4 + random() * 1.2));
}
timers.forEach(clearInterval);
await Promise.all(under);
report();
