/*
 * Reading a bridge's /metrics.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { until } from '../lib/cluster.mjs';

/** Where a bridge that was given --metrics-listen has them: http://address:port */
export async function scraped(bridge) {
  const { port } = await until('the listener for scrapers', () => bridge.log.find(({ msg }) => msg === 'listening for scrapers'));
  return `http://127.0.0.1:${port}`;
}

/** One scrape: {text, samples: Map of "name{labels}" to numbers, types: Map of names}. */
export async function scrape(bridge) {
  const answer = await fetch(`${await scraped(bridge)}/metrics`);
  assert.equal(answer.status, 200);
  const text = await answer.text();
  const samples = new Map();
  const types = new Map();
  for (const line of text.split('\n').slice(0, -1)) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    const sample = /^([a-z_]+(?:\{(?:[^"}]|"[^"]*")*\})?) (\S+)$/.exec(line);
    if (type) types.set(type[1], type[2]);
    else if (sample) samples.set(sample[1], Number(sample[2]));
    else assert.match(line, /^# HELP \S+ \S/, line);
  }
  return { text, samples, types };
}

/** "name{a="b",c="d"}", in the order in which the bridge writes them. */
export const labelled = (name, labels) => `${name}{${Object.entries(labels).map(([key, text]) => `${key}="${text}"`).join(',')}}`;

/** What is not there yet counts as 0. */
export const value = (scrape_, name) => scrape_.samples.get(name) ?? 0;
