/*
 * The page for everybody: what axe-core finds wrong (contrast, names, roles, order), in both schemes and in the states that differ.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as test/lib/cluster.mjs and chromium.mjs.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBridge, startCluster, tokenFor } from '../lib/cluster.mjs';
import { launch } from './chromium.mjs';

const WWW = fileURLToPath(new URL('../../bridge/www', import.meta.url));
const AXE = new URL('../node_modules/axe-core/axe.min.js', import.meta.url);

let cluster;
let bridge;
let browser;
let axe;

before(async () => {
  cluster = await startCluster();
  bridge = await startBridge(cluster, ['--www', WWW]);
  browser = await launch();
  axe = await readFile(AXE, 'utf8');
  await cluster.sql("INSERT INTO scoreboard.board (name, title) VALUES ('another', 'Another one')");
  await cluster.sql(Array.from({ length: 30 }, (_, index) =>
    `SELECT score FROM scoreboard_increment_for('p${index}', 'AWARD', 'award', points => ${1000 - 20 * index})`).join(' UNION ALL '));
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
  await cluster?.stop();
});

const STATES = {
  'the list': (page) => page.waitForSelector('#list > li[data-rank="10"]'),
  'the own place and a page below the top': async (page) => {
    await page.goto(`${bridge.url}/#token=${tokenFor(cluster, 'p12')}`);
    await page.reload(); /* another hash alone is no navigation */
    await page.waitForSelector('#own-rank:text("13th")');
    await page.click('#more');
    await page.waitForSelector('#below > li[data-own]');
  },
  'a board that is not there': async (page) => {
    await page.goto(`${bridge.url}/?board=none`);
    await page.waitForSelector('#retry:not([hidden])');
  },
  'the dialog': async (page) => {
    await page.click('#sign-in');
    await page.waitForSelector('#sign-dialog[open]');
  },
  'points that were taken back': async (page) => {
    await page.waitForSelector('#list > li[data-rank="10"]');
    await page.evaluate(async (token) => {
      const { board } = await import('/page.js');
      await board.increment({ actionType: 'NONE', actionId: '1', token }).catch(() => {});
    }, tokenFor(cluster, 'p3'));
    await page.waitForSelector('.notice');
  },
};

for (const colorScheme of ['dark', 'light']) {
  for (const [what, reach] of Object.entries(STATES)) {
    test(`nothing is wrong with ${what} (${colorScheme})`, async () => {
      const page = await (await browser.newContext({ colorScheme, reducedMotion: 'reduce' })).newPage();
      await page.goto(bridge.url);
      await reach(page);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      assert.deepEqual(violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html, failureSummary }) => [html, failureSummary]) })), []);
      await page.context().close();
    });
  }
}
