/*
 * Streams that say nothing, and pages that were put aside: a quiet board is left alone, a bridge that hangs is noticed, a page out of
 * the back-forward cache is live again.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as test/lib/cluster.mjs and chromium.mjs.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';
import { launch } from './chromium.mjs';

const WWW = fileURLToPath(new URL('../../bridge/www', import.meta.url));

let cluster;
let bridge;
let browser;
let page;
let asked; /* paths */

before(async () => {
  cluster = await startCluster();
  bridge = await startBridge(cluster, ['--www', WWW, '--ping-interval', '400ms']);
  browser = await launch({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
  await cluster?.stop();
});

beforeEach(async () => {
  page = await (await browser.newContext()).newPage();
  asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
});

afterEach(() => page.context().close());

async function follow(transport) {
  await page.goto(bridge.url);
  await page.evaluate(async (one) => {
    const { Scoreboard } = await import('/scoreboard.js');
    (await import('/page.js')).board.close();
    window.states = [];
    window.mine = new Scoreboard({ transports: [one], silenceMs: 1000 });
    window.mine.addEventListener('state', ({ detail }) => window.states.push(detail.status));
    window.mine.open();
  }, transport);
  await is('live');
  asked = [];
}

const is = (status) => page.waitForFunction((one) => window.mine.state.status === one, status);

/* Reads an event stream beside until so many comments have come: a time that the bridge itself measures. */
async function comments(count) {
  const link = new AbortController();
  const response = await fetch(`${bridge.url}/v1/leaderboard/stream`, { headers: { Accept: 'text/event-stream' }, signal: link.signal });
  let heard = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    heard += part;
    if (heard.split('\n:\n').length > count) break;
  }
  link.abort();
}

for (const transport of ['websocket', 'sse']) {
  test(`a board on which nothing happens is followed by ${transport} without a single request`, async () => {
    await follow(transport);
    await comments(20); /* four times silenceMs */
    assert.deepEqual(asked, []);
    assert.deepEqual(await page.evaluate(() => window.states), ['connecting', 'live']);
  });

  test(`a bridge that hangs is noticed by ${transport}`, async () => {
    await follow(transport);
    bridge.child.kill('SIGSTOP');
    try {
      await is('reconnecting');
    } finally {
      bridge.child.kill('SIGCONT');
    }
    await is('live');
  });
}

test('a page out of the back-forward cache is live again', async () => {
  await page.goto(bridge.url);
  await page.waitForSelector('#state[data-status="live"]');
  await page.evaluate(() => {
    window.kept = true;
    window.addEventListener('pageshow', ({ persisted }) => { window.persisted = persisted; });
  });
  await page.goto(`${bridge.url}/health`);
  await page.goBack({ waitUntil: 'commit' });
  await until('the page as it was', () => page.evaluate(() => window.persisted === true && window.kept === true).catch(() => false));
  await page.waitForSelector('#state[data-status="live"]');
  await cluster.sql("SELECT score FROM scoreboard_increment_for('ann', 'AWARD', 'award', points => 5)");
  await page.waitForSelector('#list > li[data-user="ann"]');
});
