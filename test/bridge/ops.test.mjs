/*
 * What comes with the bridge: its manual, the table in README, unit, sample settings, and their installation.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = new URL('../../', import.meta.url).pathname;
const read = (name) => readFile(join(ROOT, name), 'utf8');
const run = (program, args, options = {}) => spawnSync(program, args, { encoding: 'utf8', ...options });

/* flag -> {default, variable}, as the program says it */
function settings() {
  const { stdout } = run(process.env.BRIDGE, ['--help']);
  const found = new Map([...stdout.matchAll(/^ {2}--([a-z-]+) [A-Z[].*\n.*\n {6}Default: (.*)\. Variable: (\S+)$/gm)]
    .map(([, flag, preset, variable]) => [flag, { preset: preset === '(empty)' ? '' : preset, variable }]));
  assert.ok(found.size > 20);
  return found;
}

async function inDirectory(action) {
  const directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'ops-'));
  try {
    return await action(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('the manual has every option, with its default and variable, and no other', async () => {
  const text = (await read('bridge/scoreboard-bridge.1')).replaceAll('\\-', '-').replaceAll('\\e', '\\');
  const told = new Map([...text.matchAll(/^\.BI?R? --([a-z-]+) .*\n(?:(?!\.TP).*\n)*?(?:Default: (.*)\.|No default\.)\nVariable: (\S+)$/gm)]
    .map(([, flag, preset = '', variable]) => [flag, { preset, variable }]));
  assert.deepEqual(told, settings(), 'bridge/scoreboard-bridge.1 and --help');
});

test("README's table has every option with its default, and no other", async () => {
  const [, table] = (await read('README.md')).split('### Settings of the bridge\n');
  const told = new Map([...table.split('\n### ')[0].matchAll(/^\| `--([a-z-]+)` \| (?:`(.*?)`|none) \| \S.*\|$/gm)].map(([, flag, preset = '']) => [flag, preset]));
  assert.deepEqual(told, new Map([...settings()].map(([flag, { preset }]) => [flag, preset])), 'README.md and --help');
});

test('the manual is well-formed', (t) => {
  const { error, status, stdout, stderr } = run('groff', ['-man', '-ww', '-z', '-Tutf8', join(ROOT, 'bridge/scoreboard-bridge.1')]);
  if (error) t.skip('there is no groff');
  else assert.equal(`${status}${stdout}${stderr}`, '0');
});

test('the sample sets what there is, and is taken', async () => {
  const known = new Set([...settings().values()].map(({ variable }) => variable));
  const lines = (await read('bridge/ops/bridge.conf')).split('\n');
  const named = lines.map((line) => /^#?([A-Z][A-Z_]+)=(.*)$/.exec(line)).filter(Boolean);
  assert.ok(named.length > 8);
  for (const [, variable] of named) assert.ok(known.has(variable), variable);
  /* All of it at once, but for an address that nobody has, ends after the settings were read. */
  for (const commented of [false, true]) {
    const environment = Object.fromEntries(named.filter(([line]) => commented || !line.startsWith('#')).map(([, variable, value]) => [variable, value]));
    for (const name of ['WWW', 'TLS_CERTIFICATE', 'TLS_KEY']) delete environment[`SCOREBOARD_${name}`]; /* not installed here */
    const { status, stderr } = run(process.env.BRIDGE, ['--listen', '203.0.113.1:0', '--metrics-listen', '203.0.113.1:0'], { env: { PATH: process.env.PATH, ...environment } });
    assert.equal(status, 1, stderr);
    assert.match(stderr, /cannot listen/);
  }
});

/* Warnings alone don't make it fail. */
const silent = ({ status, stdout, stderr }) => `${status}${stdout}${stderr}`;

test('systemd understands the units', async (t) => {
  if (run('systemd-analyze', ['--version']).error) {
    t.skip('there is no systemd-analyze');
    return;
  }
  await inDirectory(async (directory) => {
    const unit = join(directory, 'scoreboard-bridge.service');
    const text = (await read('bridge/ops/scoreboard-bridge.service')).replace('/usr/local/bin/scoreboard-bridge', process.env.BRIDGE);
    await writeFile(unit, text);
    await writeFile(join(directory, 'scoreboard-bridge.socket'), await read('bridge/ops/scoreboard-bridge.socket'));
    const verify = () => run('systemd-analyze', ['verify', '--man=no', unit, join(directory, 'scoreboard-bridge.socket')], { cwd: directory });
    assert.equal(silent(verify()), '0');
    const exposed = run('systemd-analyze', ['security', '--offline=true', '--threshold=20', unit], { cwd: directory });
    assert.equal(exposed.status, 0, exposed.stdout.split('\n').slice(-3).join('\n'));
    /* It would have said so. */
    await writeFile(unit, text.replace('ProtectSystem=strict', 'ProtectSystem=very'));
    assert.match(silent(verify()), /protect/i);
  });
});

test('make install puts it all where it belongs, make uninstall takes it away', async () => {
  await inDirectory(async (directory) => {
    const make = (goal) => run('make', ['-s', goal, `DESTDIR=${directory}`, 'PREFIX=/opt/game'], { cwd: ROOT, env: { ...process.env, MAKEFLAGS: '' } });
    const installed = make('install-bridge');
    assert.equal(installed.status, 0, installed.stderr);
    const files = async () => (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const unit = await readFile(join(directory, 'opt/game/lib/systemd/system/scoreboard-bridge.service'), 'utf8');
    assert.match(unit, /^ExecStart=\/opt\/game\/bin\/scoreboard-bridge$/m);
    for (const file of ['bin/scoreboard-bridge', 'share/man/man1/scoreboard-bridge.1', 'share/scoreboard/bridge.conf', 'share/scoreboard/alerts.yml',
      'share/scoreboard/dashboard.json', 'share/scoreboard/www/index.html', 'lib/systemd/system/scoreboard-bridge.socket']) {
      assert.ok(await readFile(join(directory, 'opt/game', file)), file);
    }
    assert.equal(make('uninstall-bridge').status, 0);
    assert.deepEqual(await files(), []);
  });
});
