/*
 * What somebody does on the live page: signs in and sees the own place, changes the board, turns pages, tries again. In a real browser,
 * against a real bridge and a real server.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as test/lib/cluster.mjs and chromium.mjs.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { actionFor, startBridge, startCluster, tokenFor, until } from '../lib/cluster.mjs';
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
const neighbours = () => page.$$eval('#neighbours > li', (rows) => rows.map((row) => `${row.hasAttribute('data-own') ? '*' : ''}${row.querySelector('.neighbour-rank').textContent} ${row.querySelector('.neighbour-score').textContent}`));

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

/* p01 has the most points. */
const crowd = (count) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${String(index + 1).padStart(2, '0')}`, 10 * (count - index)]));

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

test('the own place: rank, distance, neighbours; it moves with the own points', async () => {
  await award(crowd(30));
  await visit();
  await signIn(tokenFor(cluster, 'p20'));
  await says('own-rank', '20th');
  assert.equal(await text('own-of'), 'of 30');
  assert.match(await text('own-next'), /^10 behind .* \(19th\)$/);
  assert.deepEqual(await neighbours(), ['18 130', '19 120', '*20 110', '21 100', '22 90']);
  await award({ p20: 15 });
  await says('own-rank', '19th');
  await award({ p20: 1000 });
  await says('own-rank', '1st');
  await says('own-next', 'Nobody stands ahead of you.');
  await page.waitForSelector('#list > li[data-user="p20"][data-own]');
  await page.click('#sign-out');
  await page.waitForSelector('#own', { state: 'hidden' });
  assert.equal(await page.$$eval('[data-own]', (found) => found.length), 0);
});

test('an own place that is told again stays as it is', async () => {
  let told = 0;
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => { told += String(payload).includes('"me.update"') ? 1 : 0; }));
  await award(crowd(30));
  await visit();
  await signIn(tokenFor(cluster, 'p20'));
  await until('the distance to be there', async () => /^10 behind/.test(await text('own-next')));
  await page.evaluate(() => {
    window.blanks = 0;
    const next = document.getElementById('own-next');
    new MutationObserver(() => { window.blanks += next.textContent === '' ? 1 : 0; }).observe(next, { childList: true });
  });
  await until('the place to be told', () => told > 0);
  const { port } = new URL(bridge.url);
  const before = told;
  await bridge.stop();
  bridge = await startBridge(cluster, ['--www', WWW, '--listen', `127.0.0.1:${port}`]);
  await until('the place to be told again', () => told > before);
  assert.match(await text('own-next'), /^10 behind/);
  assert.equal(await page.evaluate(() => window.blanks), 0);
});

test('the own place is never behind the list', async () => {
  await award(crowd(5));
  await visit();
  await signIn(tokenFor(cluster, 'p03'));
  await says('own-rank', '3rd');
  await page.evaluate(() => {
    window.behind = 0;
    new MutationObserver(() => {
      const listed = document.querySelector('#list > li[data-user="p03"]').dataset.rank;
      setTimeout(() => { if (parseInt(document.getElementById('own-rank').textContent, 10) !== Number(listed)) window.behind += 1; });
    }).observe(document.getElementById('list'), { attributes: true, attributeFilter: ['data-version'] });
  });
  for (const [user, rank] of [['p03', '1st'], ['p04', '2nd'], ['p05', '3rd']]) {
    await award({ [user]: 100 * awards });
    await says('own-rank', rank);
  }
  await until('the distance', async () => (await text('own-next')) !== '');
  assert.equal(await page.evaluate(() => window.behind), 0);
});

test('who has no points yet has no place yet', async () => {
  await award({ ann: 5 });
  await visit();
  await signIn(tokenFor(cluster, 'newcomer'));
  await says('own-next', 'No place yet: the first points bring one.');
  assert.equal(await text('own-rank'), '–');
});

test('own points show as on their way, then in the own place', async () => {
  await award(crowd(15));
  await visit();
  await signIn(tokenFor(cluster, 'p14'));
  await says('own-rank', '14th');
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  await page.route('**/v1/scores/increment', async (route) => { await released; await route.continue(); });
  await page.evaluate(async (action) => { (await import('/page.js')).board.increment(action).catch(() => {}); },
    { ...actionFor(cluster, 'p14', { board }), expectedPoints: 100 });
  await says('own-waiting', '100 points are on their way to the server.');
  release();
  await says('own-rank', '5th'); /* p04 had 120 points first */
  await says('own-waiting', '');
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

/* ---- boards and pages ---- */

test('boards are changed by their titles, and by the browser’s back button', async () => {
  await cluster.sql(`INSERT INTO scoreboard.board (name, title) VALUES (:'board', :'title')`, { board: `${board}-b`, title: '<b>The other one</b>' });
  await award({ ann: 5 });
  await award({ bob: 7 }, `${board}-b`);
  await visit();
  await shows('ann 5');
  await says('title', 'Board of tests');
  await page.selectOption('#switch', `${board}-b`);
  await shows('bob 7');
  await says('title', '<b>The other one</b>');
  assert.equal(await page.evaluate(() => location.search), `?board=${board}-b`);
  assert.equal(await page.$$eval('main b:not(#own-rank)', (found) => found.length), 0);
  await award({ bob: 1 }, `${board}-b`);
  await shows('bob 8');
  await page.goBack();
  await shows('ann 5');
  assert.equal(await page.inputValue('#switch'), board);
});

test('places below the top are turned page by page, and back', async () => {
  await award(crowd(45));
  await visit();
  await until('the top', async () => (await shown('list')).startsWith('p01 450'));
  await says('below-what', '35 more');
  await page.click('#more');
  await says('below-what', 'Places 11 to 30 of 45');
  assert.match(await shown('below'), /^p11 350, .*p30 160$/);
  await page.click('#more');
  await says('below-what', 'Places 31 to 45 of 45');
  assert.match(await shown('below'), /^p31 150, .*p45 10$/);
  assert.equal(await page.isVisible('#more'), false);
  await page.click('#back');
  await says('below-what', 'Places 11 to 30 of 45');
});

/* ---- the rest ---- */

test('of what changes by itself a screen reader is told the news alone', async () => {
  await award(Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`q${10 + index}`, 1000 - index])));
  await visit();
  await says('players', '12');
  await page.waitForSelector('#state[data-status="live"]'); /* which is told, once */
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

for (const width of [320, 1280]) {
  test(`the own place and the places below fit a width of ${width}`, async () => {
    await openPage({ viewport: { width, height: 800 } });
    await award({ ...crowd(30), p01: 9007199254740991, p02: 9007199254740990 });
    await cluster.sql(`SELECT scoreboard_set_profile('p02', '${'Wolfeschlegelsteinhausen '.repeat(2).trim()}');`);
    await visit();
    await signIn(tokenFor(cluster, 'p02'));
    await says('own-rank', '2nd');
    await page.click('#more');
    await says('below-what', 'Places 11 to 30 of 30');
    await page.click('#sign-out');
    await page.click('#sign-in');
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'nothing to scroll sideways');
    assert.ok(await page.$$eval('.score', (found) => found.every((one) => one.getBoundingClientRect().right <= one.parentElement.getBoundingClientRect().right)), 'whole scores');
  });
}
