/*
 * Exits 0 if the URL answers 200, else 1.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
const answer = await fetch(process.argv[2], { signal: AbortSignal.timeout(2000) }).catch(() => ({ ok: false }));
process.exit(answer.ok ? 0 : 1);
