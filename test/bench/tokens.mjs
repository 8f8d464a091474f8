/*
 * The tokens of part `trust`: `tokens.mjs PLAYERS SECRETS KEYS` prints "player algorithm token" for each player and algorithm, separated by
 * tabs, and writes two JWK sets: that of the shared secret and that of the public keys.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import { constants, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const [players, secrets, keys] = process.argv.slice(2);
const secret = Buffer.from([...Array(32).keys()]);
const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
const pairs = { RS256: rsa(), PS256: rsa(), ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
const SIGN = {
  HS256: (text) => createHmac('sha256', secret).update(text).digest(),
  RS256: (text) => sign('sha256', text, pairs.RS256.privateKey),
  PS256: (text) => sign('sha256', text, { key: pairs.PS256.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
  ES256: (text) => sign('sha256', text, { key: pairs.ES256.privateKey, dsaEncoding: 'ieee-p1363' }),
};
const base64url = (data) => Buffer.from(data).toString('base64url');
const now = Math.floor(Date.now() / 1000);

writeFileSync(secrets, JSON.stringify({ keys: [{ kty: 'oct', alg: 'HS256', kid: 'bench', k: base64url(secret) }] }));
writeFileSync(keys, JSON.stringify({ keys: Object.entries(pairs).map(([alg, { publicKey }]) => ({ ...publicKey.export({ format: 'jwk' }), alg, kid: alg })) }));
for (const [alg, signature] of Object.entries(SIGN)) {
  const head = base64url(JSON.stringify({ alg, typ: 'JWT', kid: alg === 'HS256' ? 'bench' : alg }));
  const lines = [];
  for (let player = 1; player <= Number(players); player++) {
    const sub = `00000000-0000-4000-8000-${String(player).padStart(12, '0')}`;
    const text = `${head}.${base64url(JSON.stringify({ iss: 'https://id.bench.example', sub, iat: now, exp: now + 36000 }))}`;
    lines.push(`${player}\t${alg}\t${text}.${base64url(signature(Buffer.from(text)))}\n`);
  }
  process.stdout.write(lines.join(''));
}
