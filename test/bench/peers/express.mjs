/*
 * The service that a team writes who has PostgreSQL and Redis beside it: the same checks as scoreboard_increment(), by the packages
 * that everybody takes (express, pg, ioredis, jsonwebtoken).
 *
 *	node express.mjs PORT REDIS_SOCKET ISSUER_KEY SERVICE_KEY AUDIENCE     (keys in hexadecimal; libpq's variables say where the database is)
 *
 * A request: the token is verified, the two rate windows are counted in Redis, the receipt's HMAC is compared, the action is logged
 * and the score is added in one transaction (its primary key makes a repetition harmless), the rank is kept and asked for in a sorted set,
 * and the news are published. Tables: bench.express_action, bench.express_score (made here).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import express from 'express';
import { Redis } from 'ioredis';
import jwt from 'jsonwebtoken';
import pg from 'pg';

const [port, socket, issuerHex, serviceKey, audience] = process.argv.slice(2);
const issuerKey = Buffer.from(issuerHex, 'hex');
const pool = new pg.Pool({ max: 20 });
const redis = new Redis(socket);
const RATE = { window: 60, limit: 1000, burst: 1, burstLimit: 1000 };
const POINTS = { HIT: 100 };

await pool.query(`
  CREATE TABLE IF NOT EXISTS bench.express_action (user_id text, action_id text, points bigint NOT NULL, answer json,
    created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (user_id, action_id));
  CREATE TABLE IF NOT EXISTS bench.express_score (user_id text PRIMARY KEY, score bigint NOT NULL, reached_at timestamptz NOT NULL)
    WITH (fillfactor = 70)`);

/** Sliding windows, as exact as the extension's: a member an attempt. */
async function rate(user) {
  const now = Date.now();
  const key = `rate:${user}`;
  const [, , [, minute], [, second]] = await redis.multi().zremrangebyscore(key, 0, now - RATE.window * 1000)
    .zadd(key, now, `${now}:${Math.random()}`).zcard(key).zcount(key, now - RATE.burst * 1000, '+inf').expire(key, RATE.window).exec();
  return minute <= RATE.limit && second <= RATE.burstLimit;
}

function receiptHolds(user, { actionType, actionId, issuedAt, receipt }) {
  const [version, key, given] = String(receipt).split(':');
  if (version !== 'v1' || key !== 'bench' || Math.abs(Date.now() / 1000 - issuedAt) > 86400) return false;
  const text = ['scoreboard-receipt-v1', audience, 'global', user, actionType, actionId, '', '', '', issuedAt].join('\n');
  const wanted = createHmac('sha256', serviceKey).update(text).digest();
  const bytes = Buffer.from(given ?? '', 'hex');
  return bytes.length === wanted.length && timingSafeEqual(bytes, wanted);
}

/** Logs and adds; a repetition gets the answer of the first. */
async function write(user, actionId, points) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const logged = await client.query('INSERT INTO bench.express_action (user_id, action_id, points) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING', [user, actionId, points]);
    const { rows: [row] } = logged.rowCount === 0
      ? await client.query('SELECT score, reached_at FROM bench.express_score WHERE user_id = $1', [user])
      : await client.query(`INSERT INTO bench.express_score AS s VALUES ($1, $2, clock_timestamp())
          ON CONFLICT (user_id) DO UPDATE SET score = s.score + excluded.score, reached_at = excluded.reached_at RETURNING score, reached_at`, [user, points]);
    await client.query('COMMIT');
    return { ...row, replayed: logged.rowCount === 0 };
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

async function increment(request, response) {
  let user;
  try {
    user = jwt.verify((request.headers.authorization ?? '').replace(/^Bearer /, ''), issuerKey,
      { algorithms: ['HS256'], issuer: 'https://id.bench.example' }).sub;
  } catch {
    return response.status(401).json({ error: { code: 'UNAUTHORIZED' } });
  }
  if (!await rate(user)) return response.status(429).json({ error: { code: 'RATE_LIMITED' } });
  const points = POINTS[request.body.actionType];
  if (!points || !receiptHolds(user, request.body)) return response.status(403).json({ error: { code: 'RECEIPT_INVALID' } });
  const { score, reached_at: updatedAt, replayed } = await write(user, request.body.actionId, points);
  const [, [, rank]] = await redis.multi().zadd('express', score, user).zrevrank('express', user).publish('scores', user).exec();
  return response.json({ userId: user, board: 'global', previousScore: score - points, score: Number(score), appliedPoints: points, rank: rank + 1, updatedAt, replayed });
}

const app = express();
app.disable('x-powered-by');
app.post('/v1/scores/increment', express.json({ limit: '16kb' }), increment);
app.listen(Number(port), '127.0.0.1', 4096, () => console.log('listening'));
