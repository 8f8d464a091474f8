/*
 * The signing helpers against vectors that openssl made, so that a mistake in them can't hide behind the same mistake in a test.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 *
 *   receipt:  printf '<text>' | openssl dgst -sha256 -hmac <secret>
 *   token:    printf '%s.%s' <header> <payload> | openssl dgst -sha256 -mac HMAC -macopt hexkey:<key> -binary | base64url
 */
import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, verify } from 'node:crypto';
import { test } from 'node:test';
import { receiptText, signReceipt, signToken } from './signing.mjs';

const secret = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f';
const tokenKey = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';

test('a receipt for fixed points has an empty points line, and two more without subscore and detail', () => {
  const action = { audience: 'shop', userId: 'player-1', actionType: 'COMPLETE_LEVEL', actionId: 'level-7', issuedAt: 1700000000 };
  assert.equal(receiptText(action), 'scoreboard-receipt-v1\nshop\nglobal\nplayer-1\nCOMPLETE_LEVEL\nlevel-7\n\n\n\n1700000000');
  assert.equal(signReceipt({ keyId: 'k1', keySecret: secret, ...action }),
    'v1:k1:a69e77e7afae40d6d3fdbf2cebf66b4e68a75ca39c2606f51f30df96fa6a54c0');
});

test('a receipt with points, another board and a name beyond ASCII; with subscore and detail', () => {
  const action = { keyId: 'k2', keySecret: secret, audience: 'shop', board: 'daily.eu', userId: 'spieler-ü',
    actionType: 'BOSS', actionId: 'run-9', points: -250, issuedAt: 1700000001 };
  assert.equal(signReceipt(action), 'v1:k2:9d070898cf523e673421490b5b932443df5bd366e32e9674e3f761400418a5bf');
  assert.equal(signReceipt({ ...action, subscore: 83, detail: 'Höhle 7' }), 'v1:k2:86a47eed067f42d84892717727d3d5765204247f98520d2e5371930d16342025');
});

test('zero points and a subscore of zero are given', () => {
  assert.match(receiptText({ audience: 'a', userId: 'u', actionType: 'T', actionId: 'i', points: 0, subscore: 0, issuedAt: 1 }), /\n0\n0\n\n1$/);
});

test('an HS256 token', () => {
  const claims = { iat: 1700000000, exp: 1700000600, iss: 'https://id.example', sub: 'player-1', name: 'Zoë' };
  const expected = 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0.eyJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMDYwMCwiaXNzIjoiaHR0cH'
    + 'M6Ly9pZC5leGFtcGxlIiwic3ViIjoicGxheWVyLTEiLCJuYW1lIjoiWm_DqyJ9.dTHMLheDBQEQPU6JMw1S65BQpd_B5q5g9CH3KxHzbWw';
  assert.equal(signToken(claims, tokenKey, { kid: 'k1' }), expected);
  assert.equal(signToken(claims, Buffer.from(tokenKey, 'base64url'), { kid: 'k1' }), expected);
});

test('a claim given as undefined is left out', () => {
  const [, payload] = signToken({ iss: 'i', sub: 's', exp: undefined }, tokenKey).split('.');
  assert.deepEqual(Object.keys(JSON.parse(Buffer.from(payload, 'base64url'))).sort(), ['iat', 'iss', 'sub']);
});

for (const [alg, kind, options, check] of [
  ['RS256', 'rsa', { modulusLength: 2048 }, {}],
  ['PS256', 'rsa', { modulusLength: 2048 }, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
  ['ES256', 'ec', { namedCurve: 'P-256' }, { dsaEncoding: 'ieee-p1363' }],
]) {
  test(`an ${alg} token verifies with the public key`, () => {
    const { privateKey, publicKey } = generateKeyPairSync(kind, options);
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const token = signToken({ iss: 'i', sub: 's' }, pem, { alg });
    const [head, payload, signature] = token.split('.');
    assert.ok(verify('sha256', Buffer.from(`${head}.${payload}`), { key: publicKey, ...check }, Buffer.from(signature, 'base64url')));
  });
}
