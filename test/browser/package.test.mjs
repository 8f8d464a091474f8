/*
 * scoreboard.js as a package: what npm would put into it, that a project which installs it gets a board that follows a real bridge, and
 * that its types say what it does.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE. Environment: as test/lib/cluster.mjs.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startBridge, startCluster, until } from '../lib/cluster.mjs';

const run = promisify(execFile);
const WWW = fileURLToPath(new URL('../../bridge/www', import.meta.url));
const TSC = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));
let project;

before(async () => {
  project = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'project-'));
  await writeFile(join(project, 'package.json'), '{"name": "game", "private": true, "type": "module"}');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', '--install-links', WWW], { cwd: project });
});

after(() => rm(project, { recursive: true, force: true }));

test('has the module and its types, and nothing of the page', async () => {
  const [{ files }] = JSON.parse((await run('npm', ['pack', '--dry-run', '--json'], { cwd: WWW })).stdout);
  assert.deepEqual(files.map(({ path }) => path).sort(), ['package.json', 'scoreboard.d.ts', 'scoreboard.js']);
});

test('follows a board from node as well', { skip: typeof CustomEvent === 'undefined' }, async () => {
  const cluster = await startCluster();
  const bridge = await startBridge(cluster);
  await writeFile(join(project, 'follow.mjs'), `import { Scoreboard } from 'scoreboard-js';
    const board = new Scoreboard({ url: process.argv[2] });
    board.addEventListener('update', ({ detail }) => console.log(detail.document.entries.map(({ userId, score }) => userId + ' ' + score).join()));
    board.open();`);
  const child = run(process.execPath, ['follow.mjs', bridge.url], { cwd: project });
  let heard = '';
  child.child.stdout.on('data', (text) => { heard += text; });
  try {
    await until('the empty list', () => heard.includes('\n'));
    await cluster.sql("SELECT score FROM scoreboard_increment_for('ann', 'AWARD', 'award', points => 5)");
    await until('the new one', () => heard.endsWith('ann 5\n'));
  } finally {
    child.child.kill();
    await child.catch(() => {});
    await bridge.stop();
    await cluster.stop();
  }
});

test('is typed: what it gives is known, and what it does not take is an error', async () => {
  const use = (name, text) => writeFile(join(project, name), text);
  const check = (name) => run(process.execPath, [TSC, '--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', '--lib', 'es2022,dom', name],
    { cwd: project }).then(() => '', ({ stdout }) => stdout);
  await use('good.ts', `import { Scoreboard, ScoreboardError, listBoards, type Entry } from 'scoreboard-js';
    const board = new Scoreboard({ url: new URL('https://game.example'), board: 'daily', token: async () => 'token', transports: ['sse', 'polling'] }).open();
    board.addEventListener('update', ({ detail }) => { const first: Entry | undefined = detail.document.entries[0]; console.log(first?.displayName.length, detail.waiting); });
    board.addEventListener('state', ({ detail }) => { if (detail.status === 'refused') console.log(detail.error?.code); });
    board.addEventListener('notice', ({ detail }) => console.log(detail.action.actionId, detail.retryAfter));
    board.addEventListener('counted', ({ detail }) => console.log(detail.answer.appliedPoints));
    try { const { rank }: { rank: number | null } = await board.increment({ actionType: 'A', actionId: '1', expectedPoints: 10, metadata: { level: 7 } }); console.log(rank); }
    catch (error) { if (error instanceof ScoreboardError) console.log(error.status); }
    const page = await board.list({ skip: 10, entries: 20 });
    for (const { title, order } of await listBoards()) console.log(title, order, page.version);
    board.retry();
    board.close();`);
  assert.equal(await check('good.ts'), '');
  await use('bad.ts', `import { Scoreboard } from 'scoreboard-js';
    const board = new Scoreboard({ transports: ['telegraph'] });
    board.addEventListener('update', ({ detail }) => detail.document.etnries);
    board.increment({ actionType: 'A' });`);
  assert.equal((await check('bad.ts')).match(/^bad\.ts\(\d+,\d+\): error/gm)?.length, 3);
});
