/*
 * What an identity provider and a game service do: sign tokens and receipts.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 * Shared by the demo's players and the tests. Both functions sign whatever they are given, well-formed or not, since the tests
 * have to make bad ones as well; only what is left out is filled in. signing.test.mjs holds vectors made with openssl.
 */
import { createHash, createHmac, createPrivateKey, constants, sign } from 'node:crypto';

/* Header algorithm → function (signed text, key) → signature bytes. 'none' is there for tests of its refusal. */
const ALGORITHMS = {
  HS256: (text, key) => createHmac('sha256', key).update(text).digest(),
  RS256: (text, key) => sign('sha256', Buffer.from(text), createPrivateKey(key)),
  PS256: (text, key) => sign('sha256', Buffer.from(text),
    { key: createPrivateKey(key), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
  ES256: (text, key) => sign('sha256', Buffer.from(text), { key: createPrivateKey(key), dsaEncoding: 'ieee-p1363' }),
  none: () => Buffer.alloc(0),
};

const base64url = (bytes) => Buffer.from(bytes).toString('base64url');

/** Whole seconds since 1970, as `iat`, `exp` and `issuedAt` count. */
export const now = () => Math.floor(Date.now() / 1000);

/**
 * A compact JWS.
 *
 * @param {object} claims `iss` and `sub` at least; `iat` defaults to now and `exp` to ten minutes after it (seconds since 1970).
 *   A claim given as undefined is left out, so that a test can sign a token without `exp`.
 * @param {Buffer|string|object} key HS256: the key's bytes, or their base64url as in a JWK's `k`.
 *   The others: a PEM text or anything that node's createPrivateKey takes.
 * @param {object} [header] members beside (or instead of) `{"alg":"HS256","typ":"JWT"}`, `kid` for instance.
 * @returns {string} header.payload.signature
 */
export function signToken(claims, key, header = {}) {
  const iat = claims.iat ?? now();
  const head = { alg: 'HS256', typ: 'JWT', ...header };
  const payload = { iat, exp: iat + 600, ...claims };
  const bytes = head.alg === 'HS256' && typeof key === 'string' ? Buffer.from(key, 'base64url') : key;
  const text = `${base64url(JSON.stringify(head))}.${base64url(JSON.stringify(payload))}`;
  return `${text}.${base64url(ALGORITHMS[head.alg](text, bytes))}`;
}

/**
 * The bytes (as text; UTF-8 once signed) that a receipt vouches for.
 *
 * @param {object} action `audience` (setting scoreboard.audience, or the database's name), `board` ('global'), `userId`, `actionType`,
 *   `actionId`, `points` (left out where the action type fixes them), `subscore` and `detail` (left out where there are none),
 *   `issuedAt` (whole seconds since 1970)
 * @returns {string}
 */
export function receiptText({ audience, board = 'global', userId, actionType, actionId, points, subscore, detail, issuedAt }) {
  const digest = detail === undefined ? '' : createHash('sha256').update(detail, 'utf8').digest('hex');
  return ['scoreboard-receipt-v1', audience, board, userId, actionType, actionId, points ?? '', subscore ?? '', digest, issuedAt].join('\n');
}

/**
 * A receipt: `v1:<key id>:<64 lower-case hex>`.
 *
 * @param {object} action as for receiptText, and `keyId`, `keySecret`: the 64 hex characters that scoreboard_create_key returned.
 *   These characters themselves are the HMAC key; they are not decoded.
 * @returns {string}
 */
export function signReceipt({ keyId, keySecret, ...action }) {
  return `v1:${keyId}:${createHmac('sha256', keySecret).update(receiptText(action), 'utf8').digest('hex')}`;
}
