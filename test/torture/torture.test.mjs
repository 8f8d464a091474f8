/*
 * A minute of the torture under a seed that nobody has tried, and the seeds that failed once; and that the ledger notices what must not be.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Ledger } from './clients.mjs';
import { chains, torture } from './run.mjs';

const kept = (await readFile(new URL('seeds', import.meta.url), 'utf8')).split('\n').filter((line) => /^\d/.test(line)).map((line) => line.split(/\s+/, 2).map(Number));

for (const [seed, seconds] of [...kept, [randomInt(1e6), 60]]) {
  test(`seed ${seed}, ${seconds} s`, async (t) => {
    const { ok, text } = await torture({ seed, seconds, log: (line) => t.diagnostic(line) });
    for (const line of text.split('\n')) t.diagnostic(line);
    assert.ok(ok, text);
  });
}

const list = (version, score, board = 'global') => JSON.stringify({ type: 'leaderboard.update', board, version, entries: [{ rank: 1, score }] });

test('the ledger notices a version with two contents, whoever has it, and a list that goes back', () => {
  const ledger = new Ledger(() => {});
  const [ann, ben] = [new Map(), new Map()];
  ledger.list(list(1, 10), 'ann', ann);
  ledger.list(list(1, 10), 'ben', ben);
  ledger.list(list(1, 11, 'race'), 'ben', ben);
  ledger.list(list(2, 20), 'ann', ann);
  assert.deepEqual(ledger.violations, []);
  ledger.list(list(2, 21), 'ben', ben);
  assert.match(ledger.violations[0], /two contents of global:2/);
  ledger.list(list(1, 10), 'ann', ann);
  assert.match(ledger.violations[1], /ann: global:1 after 2/);
});

test('answers that do not follow from each other are noticed', () => {
  const answers = [{ user: 'ann', board: 'global', previousScore: 0, score: 5 }, { user: 'ann', board: 'global', previousScore: 5, score: 7 }];
  assert.deepEqual(chains(answers, { 'global/ann': 7 }), []);
  assert.equal(chains(answers, { 'global/ann': 8 }).length, 1);
  assert.equal(chains([...answers, { user: 'ann', board: 'global', previousScore: 5, score: 9 }], { 'global/ann': 9 }).length, 1);
  assert.equal(chains(answers.slice(1), { 'global/ann': 7 }).length, 1);
});
