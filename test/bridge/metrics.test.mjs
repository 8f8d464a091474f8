/*
 * /metrics: a listener of its own, numbers that are right, names that alerts and dashboard can rely on.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster, until } from '../lib/cluster.mjs';
import { Raw, UNLIMITED, ask, award, increment, openEvents, openSocket, published } from './clients.mjs';
import { DatabaseProxy } from './proxy.mjs';
import { labelled, scrape, scraped, value } from './scraping.mjs';

const TOP = '/v1/leaderboard/top';
const METRICS = ['--metrics-listen', '127.0.0.1:0'];

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  await cluster.sql("INSERT INTO scoreboard.board (name) VALUES ('other'), ('slow')");
  await award(cluster, 'ada', 50);
  await published(cluster, 'ada', 50);
  bridge = await startBridge(cluster, METRICS);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

/* How much each of these has grown while something was done. */
async function growth(names, action) {
  const before_ = await scrape(bridge);
  await action();
  const after_ = await scrape(bridge);
  return names.map((name) => value(after_, name) - value(before_, name));
}

const requests = (route, code, method = 'GET') => labelled('scoreboard_bridge_requests_total', { method, route, code });
const reads = (source) => labelled('scoreboard_bridge_reads_total', { method: 'GET', route: TOP, source });

test('it is nowhere but on its own listener, which has nothing else', async () => {
  const metrics = await scraped(bridge);
  assert.equal((await ask(bridge, '/metrics')).status, 404);
  assert.equal((await fetch(`${metrics}/metrics`)).headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  for (const path of ['/', '/health', TOP, '/metrics/', '/metricsx']) assert.equal((await fetch(metrics + path)).status, 404, path);
  const post = await fetch(`${metrics}/metrics`, { method: 'POST', body: 'x' });
  assert.equal(post.status, 405);
  assert.equal(post.headers.get('allow'), 'GET, HEAD');
  const head = await fetch(`${metrics}/metrics`, { method: 'HEAD' });
  assert.ok(Number(head.headers.get('content-length')) > 1000);
  assert.equal(await head.text(), '');
  const plain = await startBridge(cluster);
  assert.ok(!plain.log.some(({ msg }) => msg === 'listening for scrapers'));
  await plain.stop();
});

test('what is no request is refused, what never ends is ended, and few are served at once', async () => {
  const short = await startBridge(cluster, [...METRICS, '--head-timeout', '1s']);
  const port = Number(new URL(await scraped(short)).port);
  const bad = await new Raw({ port }).send('NONSENSE\r\n\r\n').answer();
  assert.equal(bad.status, 400);
  const pieces = new Raw({ port });
  for (const byte of 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n') pieces.send(byte);
  assert.equal((await pieces.answer()).status, 200);
  const idle = Array.from({ length: 9 }, () => new Raw({ port }).send('GET /met'));
  /* The ninth at once, the others when their time is over. */
  await until('one to be refused', () => idle.some((raw) => raw.ended));
  for (const raw of idle) await raw.ends();
  await scrape(short);
  assert.equal(await short.stop(), 0);
});

test('a bridge that is full can be looked at', async () => {
  const full = await startBridge(cluster, [...METRICS, '--max-connections', '2'], { ready: false });
  const two = [new Raw(full), new Raw(full)];
  await until('both to be counted', async () => value(await scrape(full), 'scoreboard_bridge_connections') === 2);
  await new Raw(full).ends();
  const metrics = await scrape(full);
  assert.equal(value(metrics, 'scoreboard_bridge_connections'), 2);
  assert.equal(value(metrics, 'scoreboard_bridge_connections_limit'), 2);
  assert.ok(value(metrics, 'scoreboard_bridge_connections_refused_total') >= 1);
  two.forEach((raw) => raw.close());
  assert.equal(await full.stop(), 0);
});

test('promtool finds nothing to complain about', async (t) => {
  const { text } = await scrape(bridge);
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  if (checked.error) t.skip('there is no promtool');
  else assert.equal(`${checked.status}${checked.stdout}${checked.stderr}`, '0');
});

test('requests are counted by route and outcome, reads by where they came from', async () => {
  const tag = (await ask(bridge, TOP)).headers.get('etag');
  const names = [requests(TOP, 'OK'), requests(TOP, 'NOT_MODIFIED'), requests(TOP, 'NOT_FOUND'), requests(TOP, 'INVALID_REQUEST'), requests('none', 'NOT_FOUND', ''),
    reads('memory'), reads('not_modified'), reads('database'), labelled('scoreboard_bridge_request_seconds_count', { method: 'GET', route: TOP })];
  assert.deepEqual(await growth(names, async () => {
    for (let i = 0; i < 3; i++) await ask(bridge, TOP);
    for (let i = 0; i < 2; i++) await ask(bridge, TOP, { headers: { 'if-none-match': tag } });
    await ask(bridge, `${TOP}?board=nowhere`);
    await ask(bridge, `${TOP}?limit=0`);
    await ask(bridge, '/nowhere');
  }), [3, 2, 1, 1, 1, 3, 2, 0, 7]);
});

test('increments are counted by what the database says, suspicious ones apart', async () => {
  const route = '/v1/scores/increment';
  const suspicious = (code) => labelled('scoreboard_bridge_suspicious_requests_total', { code });
  const { samples } = await scrape(bridge);
  for (const code of ['INVALID_SIGNATURE', 'DUPLICATE_ACTION', 'IDEMPOTENCY_MISMATCH']) assert.equal(samples.get(suspicious(code)), 0, 'shown before the first');
  const names = [...['OK', 'DUPLICATE_ACTION', 'INVALID_SIGNATURE', 'UNAUTHORIZED', 'UNSUPPORTED_MEDIA_TYPE'].map((code) => requests(route, code, 'POST')),
    suspicious('DUPLICATE_ACTION'), suspicious('INVALID_SIGNATURE'), 'scoreboard_bridge_batched_increments_total', 'scoreboard_bridge_queue_seconds_count'];
  assert.deepEqual(await growth(names, async () => {
    const action = actionFor(cluster, 'bob');
    assert.equal((await increment(bridge, cluster, 'bob', { action })).status, 200);
    assert.equal((await increment(bridge, cluster, 'bob', { action })).status, 409);
    const forged = { ...actionFor(cluster, 'bob'), receipt: `v1:test-key:${'0'.repeat(64)}` };
    assert.equal((await increment(bridge, cluster, 'bob', { action: forged })).status, 403);
    assert.equal((await increment(bridge, cluster, 'bob', { token: 'nonsense' })).status, 401);
    assert.equal((await increment(bridge, cluster, 'bob', { headers: { 'content-type': 'text/plain' } })).status, 415);
  }), [1, 1, 1, 1, 1, 1, 1, 4, 4]);
});

test('streams and what they are sent are counted by kind', async () => {
  const streams = (kind) => labelled('scoreboard_bridge_streams', { kind });
  const before_ = await scrape(bridge);
  const all = [await openSocket(bridge), await openSocket(bridge, { query: '?board=global,other' }), await openEvents(bridge)];
  await until('their lists', () => all.every(({ messages }) => messages.length > 0));
  const open = await scrape(bridge);
  assert.equal(value(open, streams('websocket')), 2);
  assert.equal(value(open, streams('sse')), 1);
  assert.equal(value(open, labelled('scoreboard_bridge_board_subscribers', { board: 'global' })), 3);
  assert.equal(value(open, labelled('scoreboard_bridge_board_subscribers', { board: 'other' })), 1);
  /* A status each, and the lists: of what earlier tests counted another may come meanwhile. */
  for (const [kind, clients, least] of [['websocket', all.slice(0, 2), 5], ['sse', all.slice(2), 2]]) {
    const name = labelled('scoreboard_bridge_stream_messages_total', { kind });
    await until(`${kind}: as many as came`, async () => {
      const counted = value(await scrape(bridge), name) - value(before_, name);
      return counted >= least && counted === clients.reduce((sum, { messages, statuses }) => sum + messages.length + statuses.length, 0);
    });
  }
  const bytes = all.reduce((sum, { messages }) => sum + Buffer.byteLength(messages.join('')), 0);
  assert.ok(value(open, 'scoreboard_bridge_sent_bytes_total') - value(before_, 'scoreboard_bridge_sent_bytes_total') > bytes);
  all.forEach((stream) => stream.close());
  await until('them to be gone', async () => {
    const now = await scrape(bridge);
    return value(now, streams('websocket')) + value(now, streams('sse')) === 0;
  });
});

test('the way from a commit to the list that shows it is measured', async () => {
  const names = ['commit_to_frame', 'publish_to_frame', 'fan_out'].map((name) => `scoreboard_bridge_${name}_seconds_count`);
  const stream = await openSocket(bridge);
  /* The list is longer than one, so that the first in it can't be cut off at a tie. */
  await award(cluster, 'eve', 1);
  const score = 900 + (await increment(bridge, cluster, 'ada')).json.score;
  await award(cluster, 'ada', 900);
  await published(cluster, 'ada', score);
  await stream.later(0, ({ entries }) => entries[0].score === score);
  await until('what was awaited to have come', async () => value(await scrape(bridge), 'scoreboard_bridge_unpublished_seconds') === 0);
  const grown = await growth(names, async () => {
    const { score: mine } = (await increment(bridge, cluster, 'ada')).json;
    await stream.later(0, ({ entries }) => entries[0].score === mine);
    await until('nothing to be awaited', async () => value(await scrape(bridge), 'scoreboard_bridge_unpublished_seconds') === 0);
  });
  assert.equal(grown[0], 1);
  assert.ok(grown[1] >= 1 && grown[2] >= 1, grown.join());
  stream.close();
});

test('a list that is not published shows as waiting', async () => {
  await award(cluster, 'ada', 5, 'slow');
  await award(cluster, 'eve', 3, 'slow');
  await published(cluster, 'ada', 5, 'slow');
  await until('the bridge to have it', async () => (await ask(bridge, `${TOP}?board=slow`)).json.entries.length > 0);
  await cluster.sql("UPDATE scoreboard.board SET publish_interval_ms = 3600000 WHERE name = 'slow'");
  assert.equal(value(await scrape(bridge), 'scoreboard_bridge_unpublished_seconds'), 0);
  assert.equal((await increment(bridge, cluster, 'ada', { action: actionFor(cluster, 'ada', { board: 'slow' }) })).status, 200);
  await until('a wait to be shown', async () => value(await scrape(bridge), 'scoreboard_bridge_unpublished_seconds') > 0.05);
  await cluster.sql("UPDATE scoreboard.board SET publish_interval_ms = 10 WHERE name = 'slow'");
  await until('it to be over', async () => value(await scrape(bridge), 'scoreboard_bridge_unpublished_seconds') === 0);
});

test("the database's own counters are there, of published boards only", async () => {
  const metrics = await until('them to be read', async () => {
    const now = await scrape(bridge);
    return value(now, labelled('scoreboard_board_players', { board: 'global' })) >= 2 && now;
  });
  assert.match(metrics.text, /^scoreboard_info\{version="\d[^"]*"\} 1$/m);
  assert.equal(value(metrics, labelled('scoreboard_board_rank_ready', { board: 'global' })), 1);
  assert.ok(value(metrics, 'scoreboard_rank_memory_used_bytes') > 0);
  assert.ok(value(metrics, 'scoreboard_rank_memory_bytes') >= value(metrics, 'scoreboard_rank_memory_used_bytes'));
  assert.equal(value(metrics, 'scoreboard_rate_memory_bytes'), 48 * 1024 * 1024);
  assert.ok(value(metrics, 'scoreboard_rate_memory_used_bytes') < value(metrics, 'scoreboard_rate_memory_bytes'));
  assert.equal(value(metrics, 'scoreboard_rate_nearly_full'), 0);
  assert.ok(metrics.samples.has('scoreboard_stats_age_seconds'));
  assert.equal(value(metrics, 'scoreboard_refusals_lost_total'), 0);
  assert.equal(value(metrics, 'scoreboard_outbox_behind_seconds'), 0);
  await ask(bridge, `${TOP}?board=made.up`);
  const { text } = await scrape(bridge);
  assert.deepEqual(new Set([...text.matchAll(/board="([^"]*)"/g)].map((match) => match[1])), new Set(['global', 'other', 'slow']));
});

test('what a board has published and refused is counted', async () => {
  const stat = (name, labels = {}) => async () => value(await scrape(bridge), labelled(`scoreboard_board_${name}`, { board: 'other', ...labels }));
  const before = await until('them to be read', async () => {
    const now = await scrape(bridge);
    return now.types.has('scoreboard_board_publishes_total') && { commits: await stat('commits_total')(), publishes: await stat('publishes_total')() };
  });
  await award(cluster, 'ada', 5, 'other');
  await until('a commit and a version', async () => (await stat('commits_total')()) === before.commits + 1 && (await stat('publishes_total')()) === before.publishes + 1);
  assert.ok(Math.abs((await stat('published_timestamp_seconds')()) * 1000 - Date.now()) < 60_000);
  const refused = { action: actionFor(cluster, 'ada', { board: 'other', actionType: 'NO_SUCH_TYPE' }) };
  assert.equal((await increment(bridge, cluster, 'ada', refused)).status, 403);
  await until('it to be counted', async () => (await stat('refusals_total', { code: 'ACTION_NOT_ALLOWED' })()) === 1);
});

test('what was found wrong is shown until the board is found right', async () => {
  const findings = async () => { const { samples } = await scrape(bridge); return samples.get(labelled('scoreboard_board_findings', { board: 'slow' })); };
  await until('the numbers', async () => (await scrape(bridge)).types.has('scoreboard_board_findings'));
  assert.equal(await findings(), undefined);
  await cluster.sql("INSERT INTO scoreboard.verification SELECT board_id, now() - interval '1 minute', now(), 1, true, 3, '{}' FROM scoreboard.board WHERE name = 'slow'");
  await until('three differences', async () => await findings() === 3);
  assert.ok(Math.abs(value(await scrape(bridge), labelled('scoreboard_board_verified_timestamp_seconds', { board: 'slow' })) * 1000 - Date.now()) < 60_000);
  await cluster.sql("SELECT scoreboard_verify('slow')");
  await until('none any more', async () => await findings() === 0);
});

test('a consumer that does not acknowledge is seen to be behind', async () => {
  const behind = async () => value(await scrape(bridge), 'scoreboard_outbox_behind_seconds');
  await cluster.sql(`SELECT scoreboard_create_consumer('behind');
    INSERT INTO scoreboard.event (position, event_id, type, occurred_at, payload, numbered_at) VALUES (1, gen_random_uuid(), 'season.end', now(), '{}', now() - interval '2 hours')`);
  await until('the lag', async () => await behind() > 7000);
  await cluster.sql("SELECT scoreboard_acknowledge('behind', 1)");
  await until('it to be over', async () => await behind() === 0);
});

test('flags count on their board until they are cleared', async () => {
  const flags = (board) => async () => value(await scrape(bridge), labelled('scoreboard_board_flags', { board }));
  await until('them to be read', async () => (await scrape(bridge)).types.has('scoreboard_board_flags'));
  await cluster.sql(`INSERT INTO scoreboard.flag (user_id, board_id, kind) SELECT 'flagged-' || n, board_id, kind
    FROM scoreboard.board, (VALUES (1, 'rate'), (1, 'refusals'), (2, 'rate')) AS f (n, kind) WHERE name = 'other'`);
  await until('three', async () => (await flags('other')()) === 3);
  assert.equal(await flags('global')(), 0);
  await cluster.sql("SELECT scoreboard_clear_flag(flag_id) FROM scoreboard.flag WHERE kind = 'rate'");
  await until('one to be left', async () => (await flags('other')()) === 1);
  await cluster.sql('SELECT scoreboard_clear_flag(flag_id) FROM scoreboard.flag WHERE cleared_at IS NULL');
  await until('none', async () => (await flags('other')()) === 0);
});

test('what waits for the database is shown, and how it comes back', async () => {
  const proxy = await DatabaseProxy.start(cluster);
  const narrow = await startBridge(cluster, [...METRICS, '--database', proxy.conninfo(), '--pool-size', '1']);
  const trap = proxy.hold(/scoreboard\.submit/);
  const first = increment(narrow, cluster, 'cleo');
  await trap.catches();
  const later = [increment(narrow, cluster, 'dan'), increment(narrow, cluster, 'eve')];
  await until('both to wait', async () => value(await scrape(narrow), 'scoreboard_bridge_queued_increments') === 2);
  assert.equal(value(await scrape(narrow), 'scoreboard_bridge_pending_increments'), 3);
  trap.release();
  for (const answer of await Promise.all([first, ...later])) assert.equal(answer.status, 200);
  const quiet = await scrape(narrow);
  assert.equal(value(quiet, 'scoreboard_bridge_queued_increments'), 0);
  assert.equal(value(quiet, 'scoreboard_bridge_batches_total'), 2);
  assert.ok(value(quiet, 'scoreboard_bridge_database_seconds_count') >= 2);
  const up = value(quiet, 'scoreboard_bridge_database_connections');
  assert.ok(up >= 2);
  assert.equal(value(quiet, 'scoreboard_bridge_live'), 1);
  proxy.cut();
  await until('the loss to be counted', async () => value(await scrape(narrow), 'scoreboard_bridge_database_connections_lost_total') >= up);
  await until('the connections to be back', async () => {
    const now = await scrape(narrow);
    return value(now, 'scoreboard_bridge_database_reconnects_total') >= up && value(now, 'scoreboard_bridge_database_connections') === up &&
      value(now, 'scoreboard_bridge_live') === 1;
  });
  assert.equal(await narrow.stop(), 0);
  proxy.stop();
});

test('of very many boards the first thousand have series of their own', async () => {
  await cluster.sql("INSERT INTO scoreboard.board (name) SELECT 'many-' || n FROM generate_series(1, 1000) n");
  const metrics = await until('all to be there', async () => {
    const now = await scrape(bridge);
    return value(now, 'scoreboard_bridge_boards') === 1003 && value(now, labelled('scoreboard_board_rank_ready', { board: 'many-1' })) === 1 && now;
  });
  for (const name of ['scoreboard_bridge_board_version', 'scoreboard_board_players']) {
    const boards = [...metrics.samples.keys()].filter((key) => key.startsWith(`${name}{`));
    assert.equal(boards.length, 1000, name);
    for (const board of ['global', 'other', 'slow', 'many-997']) assert.ok(boards.includes(labelled(name, { board })), `${name} of ${board}`);
  }
  await cluster.sql("DELETE FROM scoreboard.board WHERE name LIKE 'many-%'");
  const few = await until('them to be gone', async () => {
    const now = await scrape(bridge);
    return value(now, 'scoreboard_bridge_boards') === 3 && now;
  });
  assert.equal([...few.samples.keys()].filter((key) => key.startsWith('scoreboard_bridge_board_version{')).length, 3);
});

test('while the database is away it is there all the same', async () => {
  await cluster.shutdown();
  await until('it to show', async () => value(await scrape(bridge), 'scoreboard_bridge_live') === 0);
  const age = value(await scrape(bridge), 'scoreboard_stats_age_seconds');
  await until('the age to grow', async () => value(await scrape(bridge), 'scoreboard_stats_age_seconds') > age);
  await cluster.start();
  await until('it to be back', async () => value(await scrape(bridge), 'scoreboard_bridge_live') === 1);
});

/* ---- what stands beside it ---- */

const ops = (name) => readFile(new URL(`../../bridge/ops/${name}`, import.meta.url), 'utf8');

/* Runs promtool on files of these contents; null where there is none. */
async function promtool(t, args, files) {
  const directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'rules-'));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
    const run = spawnSync('promtool', args, { cwd: directory, encoding: 'utf8' });
    if (!run.error) return { status: run.status, said: run.stdout + run.stderr };
    t.skip('there is no promtool');
    return null;
  } finally {
    await rm(directory, { recursive: true });
  }
}

/* But for functions: scoreboard_flags() */
const namesIn = (text) => new Set(text.match(/\b(scoreboard|process)_[a-z_]+\b(?!\()/g));

test('alerts and dashboard name only what is exposed', async () => {
  await until("the database's counters", async () => (await scrape(bridge)).types.has('scoreboard_board_players'));
  const { types } = await scrape(bridge);
  const dashboard = JSON.parse(await ops('dashboard.json'));
  const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  assert.ok(expressions.length > 20);
  for (const name of namesIn([await ops('alerts.yml'), ...expressions, JSON.stringify(dashboard.annotations)].join('\n').replaceAll('scoreboard-bridge', ''))) {
    const family = /^(.*)_(bucket|sum|count)$/.exec(name)?.[1];
    assert.ok(types.has(name) || types.get(family) === 'histogram' || name === 'scoreboard_submit', name);
  }
});

test('promtool takes the alerts, and what the dashboard asks', async (t) => {
  const dashboard = JSON.parse(await ops('dashboard.json'));
  const rules = dashboard.panels.flatMap(({ targets = [] }) => targets)
    .map(({ expr }, i) => ({ record: `panel:number${i}`, expr: expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*') }));
  const checked = await promtool(t, ['check', 'rules', 'alerts.yml', 'panels.json'],
    { 'alerts.yml': await ops('alerts.yml'), 'panels.json': JSON.stringify({ groups: [{ name: 'panels', rules }] }) });
  if (checked) assert.equal(checked.status, 0, checked.said);
});

/* Each alert with what must raise it, and what must not yet. */
const CASES = {
  ScoreboardSlow: [['scoreboard_bridge_request_seconds_bucket{route="/x",le="1"}', '0+0x20'], ['scoreboard_bridge_request_seconds_bucket{route="/x",le="2.5"}', '0+60x20'],
    ['scoreboard_bridge_request_seconds_bucket{route="/x",le="+Inf"}', '0+60x20']],
  ScoreboardErrors: [['scoreboard_bridge_requests_total{code="UNAVAILABLE"}', '0+2x20'], ['scoreboard_bridge_requests_total{code="OK"}', '0+98x20']],
  ScoreboardNotLive: [['scoreboard_bridge_live', '0x20']],
  ScoreboardNoPublication: [['scoreboard_bridge_unpublished_seconds', '1+60x20']],
  ScoreboardSuspicious: [['scoreboard_bridge_suspicious_requests_total{code="DUPLICATE_ACTION"}', '0+0.9x20'], ['scoreboard_bridge_suspicious_requests_total{code="INVALID_SIGNATURE"}', '0+0.9x20']],
  ScoreboardFindings: [['scoreboard_board_findings{board="global"}', '0x10 2x10'], ['scoreboard_board_findings{board="other"}', '0x20']],
  ScoreboardFlags: [['scoreboard_board_flags{board="global"}', '0x10 1x10'], ['scoreboard_board_flags{board="other"}', '0x20']],
  ScoreboardRefusalsDropped: [['scoreboard_refusals_lost_total', '0x10 1x10']],
  ScoreboardConsumerBehind: [['scoreboard_outbox_behind_seconds', '3000+60x20']],
  ScoreboardRestarted: [['process_start_time_seconds{job="x"}', '100x14 200x6'], ['scoreboard_bridge_info{job="x"}', '1x20']],
  ScoreboardWorkers: [['scoreboard_bridge_worker_restarts_total', '0x10 1x10'], ['scoreboard_bridge_workers', '2x20'], ['scoreboard_bridge_workers_wanted', '2x20']],
  ScoreboardDown: [['up{job="x"}', '1x5 0x15'], ['scoreboard_bridge_info{job="x"}', '1x5']],
  ScoreboardRateMemory: [['scoreboard_rate_nearly_full', '1x20']],
  ScoreboardCertificate: [['scoreboard_bridge_tls_certificate_expires_seconds', '1200000x20']],
  ScoreboardLogDropped: [['scoreboard_bridge_log_lines_dropped_total', '0+1x20']],
};
const QUIET = {
  ScoreboardSlow: [['scoreboard_bridge_request_seconds_bucket{route="/x",le="1"}', '0+60x20'], ['scoreboard_bridge_request_seconds_bucket{route="/x",le="+Inf"}', '0+60x20']],
  ScoreboardErrors: [['scoreboard_bridge_requests_total{code="UNAVAILABLE"}', '0+1x20'], ['scoreboard_bridge_requests_total{code="OK"}', '0+199x20']],
  ScoreboardNotLive: [['scoreboard_bridge_live', '1x20']],
  ScoreboardNoPublication: [['scoreboard_bridge_unpublished_seconds', '30x20']],
  ScoreboardSuspicious: [['scoreboard_bridge_suspicious_requests_total{code="DUPLICATE_ACTION"}', '0+0.4x20']],
  ScoreboardFindings: [['scoreboard_board_findings{board="global"}', '2x10 0x10']],
  ScoreboardFlags: [['scoreboard_board_flags{board="global"}', '0x14 1x3 0x3']],
  ScoreboardRefusalsDropped: [['scoreboard_refusals_lost_total', '7x20']],
  ScoreboardConsumerBehind: [['scoreboard_outbox_behind_seconds', '3600x20']],
  ScoreboardRestarted: [['process_start_time_seconds{job="x"}', '100x20'], ['scoreboard_bridge_info{job="x"}', '1x20'],
    ['process_start_time_seconds{job="other"}', '100x14 200x6']],
  ScoreboardWorkers: [['scoreboard_bridge_worker_restarts_total', '3x20'], ['scoreboard_bridge_workers', '2x20'], ['scoreboard_bridge_workers_wanted', '2x20']],
  ScoreboardDown: [['up{job="x"}', '1x20'], ['scoreboard_bridge_info{job="x"}', '1x20'], ['up{job="other"}', '0x20']],
  ScoreboardRateMemory: [['scoreboard_rate_nearly_full', '0x20']],
  ScoreboardCertificate: [['scoreboard_bridge_tls_certificate_expires_seconds', '1300000x20']],
  ScoreboardLogDropped: [['scoreboard_bridge_log_lines_dropped_total', '7x20']],
};

test('each alert is raised by what it is for, and by nothing less', async (t) => {
  const alerts = await ops('alerts.yml');
  const names = [...alerts.matchAll(/- alert: (\w+)/g)].map((match) => match[1]);
  assert.deepEqual([...names].sort(), Object.keys(CASES).sort());
  const one = (name, series, raised) => ({
    interval: '1m',
    input_series: series.map(([text, values]) => ({ series: text, values })),
    /* How many of this alert stand, since the annotations are not the point here. */
    promql_expr_test: [{ expr: `count(ALERTS{alertname="${name}",alertstate="firing"})`, eval_time: '18m', exp_samples: raised ? [{ labels: '{}', value: 1 }] : [] }],
  });
  const checked = await promtool(t, ['test', 'rules', 'test.json'], {
    'alerts.yml': alerts,
    'test.json': JSON.stringify({ rule_files: ['alerts.yml'], evaluation_interval: '1m',
      tests: names.flatMap((name) => [one(name, CASES[name], true), one(name, QUIET[name], false)]) }),
  });
  if (checked) assert.equal(checked.status, 0, checked.said);
});
