/*
 * A day's peak as one: streams of which some are signed in, paced increments over HTTP, and a top list that changes.
 *
 *	node load.mjs PORT REQUESTS CROWD STREAMS SIGNED SECONDS          (libpq's variables: a role that may award)
 *
 * REQUESTS has a signed increment a line (token, tab, body); the tokens of SIGNED of them, all along the run, open the signed-in streams. CROWD is
 * crowd.c's program: it has nearly all streams, which it only counts. WATCHED signed-in ones are here, some before, between and behind
 * its processes, since a broadcast comes to them in their order. Increments go out at random moments, RATE a second whatever is still
 * under way, and each one's time counts from the moment that it was due. A list's time is from the moment that the client which committed
 * was told so (this process), to the frame that has it.
 *
 * Prints "write50 write95 write99 list50 list99 own refused": milliseconds, me.updates a second at the watched streams, and increments that
 * got no 200.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import readline from 'node:readline';
import pg from 'pg';
import WebSocket from 'ws';

const [port, requestsFile, crowdProgram, streams, signed, seconds] = process.argv.slice(2).map((word) => (/^\d+$/.test(word) ? Number(word) : word));
const RATE = 10000 / 60;
const LISTS = 100 / 60; /* the ten at the top, each as often as the default window lets it */
const WATCHED = 21;
const CROWDS = 2;
const WARM_UP_MS = 2000;
const requests = fs.readFileSync(requestsFile, 'utf8').trimEnd().split('\n').map((line) => line.split('\t'));
const every = Math.floor(requests.length / (signed + WATCHED));
const agent = new http.Agent({ keepAlive: true });
const times = { write: [], list: [] };
const awards = []; /* {user, score, at}: what was committed to the top, in order */
const sockets = [];
const crowds = [];
let counting = false;
let own = 0;
let refused = 0;

/* ---- streams ---- */

/* Notes for each award how long it took to come to this stream. */
function follow(stream, text) {
  const entries = new Map(JSON.parse(text).entries.map(({ userId, score }) => [userId, score]));
  for (; stream.seen < awards.length; stream.seen++) {
    const { user, score, at } = awards[stream.seen];
    if (!(entries.get(user) >= score)) return;
    if (counting) times.list.push(Math.max(0, performance.now() - at));
  }
}

const token = (number) => requests[number * every][0];

async function watch(number) {
  const stream = { seen: 0 };
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/leaderboard/stream`,
    { headers: { Authorization: `Bearer ${token(number)}` }, perMessageDeflate: false });
  socket.on('message', (data) => {
    const start = data.subarray(0, 30);
    if (start.includes('me.update') && counting) own++;
    if (start.includes('leaderboard.update')) follow(stream, data);
  });
  socket.on('close', (code) => { if (code !== 1005) throw new Error(`a watched stream was ended: ${code}`); });
  await once(socket, 'message');
  sockets.push(socket);
}

/* Each crowd has a process (files) and an address (ports) of its own. */
async function openCrowd(number) {
  const file = `${requestsFile}.tokens`;
  const share = signed / CROWDS;
  fs.writeFileSync(file, Array.from({ length: share }, (_, i) => `${token(number * share + i)}\n`).join(''));
  const crowd = spawn(crowdProgram, ['ws', port, '/v1/leaderboard/stream', streams / CROWDS, 1, `127.0.0.${number + 2}`, file], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = readline.createInterface({ input: crowd.stdout })[Symbol.asyncIterator]();
  if (!(await lines.next()).value?.startsWith('connected')) throw new Error('no crowd');
  crowd.on('exit', (status) => { if (status !== 0) throw new Error('the crowd broke up'); });
  crowds.push(crowd);
}

async function openAll() {
  for (let i = 0; i <= CROWDS; i++) {
    for (let w = 0; w < WATCHED / (CROWDS + 1); w++) await watch(signed + i * WATCHED / (CROWDS + 1) + w);
    if (i < CROWDS) await openCrowd(i);
  }
}

/* ---- traffic ---- */

function increment([token, body]) {
  const due = performance.now();
  const request = http.request({ port, host: '127.0.0.1', method: 'POST', path: '/v1/scores/increment', agent,
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) } });
  return new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      response.resume().on('end', () => {
        if (response.statusCode !== 200) refused++;
        else if (counting) times.write.push(performance.now() - due);
        resolve();
      });
    });
    request.end(body);
  });
}

const writer = new pg.Client();

async function award() {
  const { rows: [row] } = await writer.query("SELECT user_id, score FROM scoreboard_increment_for(bench.user_id($1), 'LEAD', $2, points => 1)",
    [1 + Math.floor(Math.random() * 10), randomBytes(9).toString('hex')]);
  awards.push({ user: row.user_id, score: Number(row.score), at: performance.now() });
}

/* Calls what so many times a second until the time is up, at moments that don't know of each other; resolves when all is answered. */
async function pace(perSecond, until, what) {
  const under = [];
  for (let at = performance.now(); at < until; at += -Math.log(1 - Math.random()) * 1000 / perSecond) {
    const wait = at - performance.now();
    if (wait > 0) await new Promise((resolve) => { setTimeout(resolve, wait); });
    under.push(what());
  }
  await Promise.all(under);
}

await writer.connect();
await openAll();
const until = performance.now() + WARM_UP_MS + seconds * 1000;
setTimeout(() => { counting = true; }, WARM_UP_MS);
let next = 0;
await Promise.all([pace(RATE, until, () => increment(requests[next++])), pace(LISTS, until, award)]);
counting = false;

for (const socket of sockets) socket.close();
await Promise.all(crowds.map((crowd) => {
  crowd.stdin.end();
  return once(crowd, 'exit');
}));
await writer.end();
agent.destroy();
const percentile = (list, share) => (list.sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))] ?? NaN).toFixed(2);
console.log([percentile(times.write, 0.5), percentile(times.write, 0.95), percentile(times.write, 0.99), percentile(times.list, 0.5),
  percentile(times.list, 0.99), (own / seconds).toFixed(1), refused].join(' '));
