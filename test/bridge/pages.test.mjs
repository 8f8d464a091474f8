/*
 * The live page's files, served from memory with a policy that lets nothing else run, and nothing outside of their directory.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { startBridge, startCluster } from '../lib/cluster.mjs';
import { Raw, ask, assertError, rawAnswer } from './clients.mjs';

const OURS = fileURLToPath(new URL('../../bridge/www', import.meta.url));

let cluster;
let bridge;

before(async () => {
  cluster = await startCluster();
  bridge = await startBridge(cluster, ['--www', OURS]);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', json: 'application/json' };

test('every file is served as it is, with its type; one without a known type is not', async () => {
  for (const name of await readdir(OURS)) {
    const answer = await fetch(`${bridge.url}/${name}`);
    if (!(name.split('.').pop() in TYPES)) {
      assert.equal(answer.status, 404, name);
      continue;
    }
    assert.equal(answer.status, 200, name);
    assert.ok(answer.headers.get('content-type').startsWith(TYPES[name.split('.').pop()]), name);
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), await readFile(join(OURS, name)));
  }
});

test('/ is the page', async () => {
  assert.equal((await ask(bridge, '/')).text, await readFile(join(OURS, 'index.html'), 'utf8'));
});

test('nothing may run but what the bridge serves', async () => {
  const answer = await ask(bridge, '/');
  const policy = Object.fromEntries(answer.headers.get('content-security-policy').split(';').map((part) => {
    const [name, ...sources] = part.trim().split(' ');
    return [name, sources];
  }));
  assert.deepEqual(policy['default-src'], ["'none'"]);
  assert.deepEqual(policy['script-src'], ["'self'"]);
  assert.deepEqual(policy['frame-ancestors'], ["'none'"]);
  assert.ok(!JSON.stringify(policy).includes('unsafe'));
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
  assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
});

test('a file has a tag, and 304 where the browser has it', async () => {
  for (const path of ['/', '/scoreboard.js']) {
    const answer = await ask(bridge, path);
    const tag = answer.headers.get('etag');
    assert.match(tag, /^"[^"]+"$/);
    assert.ok(answer.headers.get('cache-control'));
    const again = await ask(bridge, path, { headers: { 'if-none-match': tag } });
    assert.equal(again.status, 304);
    assert.equal(again.headers.get('etag'), tag);
    assert.equal((await ask(bridge, path, { headers: { 'if-none-match': '"other"' } })).status, 200);
  }
});

test('HEAD has the length of the file and not the file', async () => {
  const raw = new Raw(bridge).send('HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  await raw.ends();
  const { size, headers } = raw.head();
  assert.equal(Number(headers['content-length']), (await readFile(join(OURS, 'index.html'))).length);
  assert.equal(raw.received.length, size);
});

test('a page takes no POST, and says what it takes', async () => {
  for (const path of ['/', '/page.js', '/style.css']) {
    const answer = await ask(bridge, path, { method: 'POST', body: '{}' });
    assertError(answer, 405, 'METHOD_NOT_ALLOWED');
    assert.equal(answer.headers.get('allow'), 'GET, HEAD');
  }
  assertError(await ask(bridge, '/no-page.js', { method: 'POST', body: '{}' }), 404, 'NOT_FOUND');
});

test('only files of the directory are served, by their names', async () => {
  const directory = await mkdtemp(join(process.env.TEST_TMP ?? tmpdir(), 'www-'));
  await writeFile(join(directory, 'index.html'), 'page');
  await writeFile(join(directory, 'secret'), 'secret');
  await writeFile(join(directory, '.html'), 'secret');
  await mkdir(join(directory, 'dir.html'));
  await writeFile(join(directory, 'dir.html', 'in.html'), 'secret');
  await symlink('/nowhere', join(directory, 'dead.html'));
  const other = await startBridge(cluster, ['--www', directory]);
  try {
    assert.equal((await ask(other, '/')).text, 'page');
    await writeFile(join(directory, 'index.html'), 'changed');
    assert.equal((await ask(other, '/')).text, 'page', 'read once');
    for (const path of ['/secret', '/.html', '/dir.html', '/dir.html/in.html', '/dead.html', '/../../etc/passwd', '/..%2f..%2fetc/passwd', '/%2e%2e/etc/passwd',
      '/./secret', '//etc/passwd', '/index.html/', '/index.html%00.js', '/INDEX.html', '\\index.html']) {
      const answer = await rawAnswer(other, `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      assert.notEqual(answer?.status, 200, path);
      assert.ok(!answer?.text.includes('secret') && !answer?.text.includes('root:'), path);
    }
  } finally {
    await other.stop();
    await rm(directory, { recursive: true });
  }
});

test('without --www there is no page', async () => {
  const plain = await startBridge(cluster);
  assertError(await ask(plain, '/'), 404, 'NOT_FOUND');
  await plain.stop();
});
