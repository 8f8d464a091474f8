/*
 * What somebody does on the live page: signs in and sees the own place, changes the board, turns pages, tries again. In a real browser,
 * against a real bridge and a real server.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as test/lib/cluster.mjs and chromium.mjs.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
import { launch } from './chromium.mjs';

const WWW = fileURLToPath(new URL('../../bridge/www', import.meta.url));

let cluster;
let bridge;
let browser;
let page;
let boards = 0;
let board; /* a board of its own for each test */
let awards = 0;
let addresses; /* of all requests */

before(async () => {
  cluster = await startCluster({ 'scoreboard.rate_limit': 0, 'scoreboard.burst_limit': 0 });
  bridge = await startBridge(cluster, ['--www', WWW]);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
  await cluster?.stop();
});

beforeEach(async () => {
  board = `test-${boards += 1}`;
  await cluster.sql(`INSERT INTO scoreboard.board (name, title) VALUES (:'board', 'Board of tests')`, { board });
  await openPage();
});

afterEach(() => page.context().close());

async function openPage(options = {}) {
  await page?.context().close().catch(() => {});
  page = await (await browser.newContext(options)).newPage();
  addresses = [];
  page.on('request', (request) => addresses.push(request.url()));
}

const visit = (query = `?board=${board}`) => page.goto(`${bridge.url}/${query}`);

/* One statement, one commit. */
async function award(points, on = board) {
  const calls = Object.entries(points).map(([user, amount]) =>
    `SELECT score FROM scoreboard_increment_for('${user}', 'AWARD', 'award-${awards += 1}', board => '${on}', points => ${amount})`);
  return cluster.sql(`${calls.join(' UNION ALL ')};`);
}

const shown = (list) => page.$$eval(`#${list} > li:not(.leaving):not(.waiting)`, (rows) => rows.map((row) =>
  `${row.dataset.user} ${row.querySelector('.score').textContent.replace(/\D/g, '')}`).join(', '));
const shows = (expected, list = 'list') => until(`the page to show ${expected}`, async () => (await shown(list)) === expected)
  .catch(async (error) => assert.fail(`${error.message}; it shows ${await shown(list)}`));
const text = (id) => page.innerText(`#${id}`);
const says = (id, expected) => until(`#${id} to say ${expected}`, async () => (await text(id)) === expected)
  .catch(async (error) => assert.fail(`${error.message}; it says ${await text(id)}`));

/* As people do it, by the keyboard. */
async function signIn(token) {
  await page.focus('#sign-in');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#sign-dialog[open]');
  await page.fill('#token', token);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#sign-dialog', { state: 'hidden' });
}

/* ---- signing in ---- */

test('a token in the address is taken out of it at once, is sent in no address, and stays in this tab', async () => {
  const token = tokenFor(cluster, 'ann');
  await award({ ann: 300 });
  await visit(`?board=${board}#token=${token}`);
  await page.waitForSelector('#sign-out:not([hidden])');
  assert.equal(await page.evaluate(() => location.href), `${bridge.url}/?board=${board}`);
  await page.reload();
  await page.waitForSelector('#sign-out:not([hidden])');
  await shows('ann 300');
  assert.ok(addresses.every((one) => !one.includes(token)));
  assert.doesNotMatch(await page.content(), new RegExp(token.slice(-40)));
  await page.click('#sign-out');
  await page.waitForSelector('#sign-in:not([hidden])');
  assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0);
});

test('an address that is changed to one with a token signs in too', async () => {
  await visit();
  await page.evaluate((token) => { location.hash = `token=${token}`; }, tokenFor(cluster, 'ann'));
  await page.waitForSelector('#sign-out:not([hidden])');
  assert.equal(await page.evaluate(() => location.hash), '');
});

test('a token that is refused signs out with the reason, and the list goes on', async () => {
  await award({ ann: 300 });
  await visit();
  await signIn(tokenFor(cluster, 'ann', { iat: 1000000000, exp: 1000000600 }));
  await until('the reason', async () => /^You were signed out\. /.test(await text('sign-why')));
  await page.waitForSelector('#sign-in:not([hidden])');
  await page.waitForSelector('#state[data-status="live"]');
  await award({ bob: 400 });
  await shows('bob 400, ann 300');
});

test('what is no token is said to be none', async () => {
  await visit();
  await signIn('<b>secret</b>');
  await says('sign-why', 'That is no token.');
  assert.equal(await page.isVisible('#sign-in'), true);
  await visit('#token=%3Cb%3E');
  assert.equal(await page.evaluate(() => location.hash), '');
  assert.equal(await page.isVisible('#sign-in'), true);
});

test('the dialog is left by Escape, and nobody is signed in', async () => {
  await visit();
  await page.click('#sign-in');
  await page.keyboard.press('Escape');
  await page.waitForSelector('#sign-dialog', { state: 'hidden' });
  assert.equal(await page.isVisible('#sign-in'), true);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'sign-in');
});

/* ---- the rest ---- */

test('of what changes by itself a screen reader is told the news alone', async () => {
  await award(Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`q${10 + index}`, 1000 - index])));
  await visit();
  await says('players', '12');
  await page.evaluate(() => {
    window.spoken = [];
    const live = [...document.querySelectorAll('output, [aria-live], [role=status], [role=alert], [role=log]')];
    new MutationObserver((changes) => changes.forEach(({ target }) => {
      const region = live.find((one) => one.contains(target));
      if (region) window.spoken.push(region.id);
    })).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await award({ last: 1, q10: 5 });
  await says('players', '13');
  assert.deepEqual(await page.evaluate(() => window.spoken), []);
  await award({ last: 5000 });
  await until('the new leader', async () => (await shown('list')).startsWith('last 5001'));
  assert.deepEqual(await page.evaluate(() => [...new Set(window.spoken)]), ['announcement']);
});

test('who does not want to wait for the next try need not', async () => {
  await award({ ann: 300 });
  await visit();
  await shows('ann 300');
  const { port } = bridge;
  await bridge.stop('SIGKILL');
  await page.waitForSelector('#retry:not([hidden])');
  bridge = await startBridge(cluster, ['--www', WWW, '--listen', `127.0.0.1:${port}`]);
  await page.click('#retry').catch(() => { /* it was quicker by itself */ });
  await page.waitForSelector('#state[data-status="live"]');
  assert.equal(await page.isVisible('#retry'), false);
});

test('how old the list is', async () => {
  await page.clock.install();
  await award({ ann: 300 });
  await visit();
  await shows('ann 300');
  await page.clock.runFor(90000);
  await says('updated', '1 min ago');
});

test('bars tell rows apart on every kind of board', async () => {
  await visit();
  const bars = (scores) => page.evaluate(async (given) => (await import('/rows.js')).bars(given), scores);
  const rounded = async (scores) => (await bars(scores)).map((one) => Math.round(100 * one));
  assert.deepEqual(await rounded([100, 50, 10]), [100, 50, 10], 'a share of the best');
  assert.deepEqual(await rounded([30, 40, 70]), [100, 80, 20], 'low board: the shortest time has the longest bar');
  assert.deepEqual(await rounded([9007199254740991, 9007199254740981, 9007199254740971]), [100, 60, 20], '16 digits');
  assert.deepEqual(await rounded([10, 0, -30]), [100, 80, 20], 'below 0');
  assert.deepEqual(await rounded([7]), [100]);
  assert.deepEqual(await rounded([0, 0]), [0, 0]);
  assert.deepEqual(await bars([]), []);
});

