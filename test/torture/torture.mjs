/*
 * Exactly once, shown: a server, its standby and two bridges are killed, stopped, cut off and filled up while players act and watchers
 * watch. `make torture` runs it; --help says how.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { torture } from './run.mjs';

const HELP = `make torture: players act through two bridges, each request under its own key until it has a definite answer, while the server, its
synchronous standby and the bridges are killed (-9), stopped, cut off and failed over, and the disks fill up. Then every number has to agree.
The report (Markdown) comes at the end; the exit status says whether all is as it must be.

  TORTURE_SECONDS=180   how long faults go on; hours as you like
  TORTURE_SEED=4711     the same faults in the same order again (otherwise one is drawn, and printed)
  TORTURE_REPORT=FILE   the report goes there as well
  TORTURE_ONLY=fail     only the faults whose names have this in them
  SANITIZED=1           the bridges are the sanitizers' build`;

if (process.argv.includes('--help')) {
  console.log(HELP);
} else {
  const seed = Number(process.env.TORTURE_SEED ?? randomInt(1e6));
  const seconds = Number(process.env.TORTURE_SECONDS ?? 180);
  console.log(`seed ${seed}, ${seconds} s of faults`);
  const begun = Date.now();
  const { ok, text } = await torture({ seed, seconds, only: process.env.TORTURE_ONLY, log: (line) => console.log(`[${String(Math.round((Date.now() - begun) / 1000)).padStart(5)} s] ${line}`) });
  console.log(`\n${text}`);
  // Opened by test/run
  if (process.env.TORTURE_REPORT_FD) writeFileSync(Number(process.env.TORTURE_REPORT_FD), `${text}\n`);
  process.exit(ok ? 0 : 1);
}
