/*
 * Bodies of increments: what is JSON is decided on the text, in one way, and a body that is poison harms nobody but its sender.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionFor, startBridge, startCluster } from '../lib/cluster.mjs';
import { UNLIMITED, assertError, increment } from './clients.mjs';

let cluster;
let bridge;
let number = 0;

before(async () => {
  cluster = await startCluster(UNLIMITED);
  bridge = await startBridge(cluster, ['--pool-size', '1']);
});

after(async () => {
  await bridge?.stop();
  await cluster?.stop();
});

/* A good body's text with something written into it behind the opening brace. */
const bodyWith = (members, action) => `{${members},${JSON.stringify(action).slice(1)}`;

const deep = (levels) => `${'['.repeat(levels)}${']'.repeat(levels)}`;

/* what is written into a good body */
const poison = {
  'a reserved member: token': '"token":"x"',
  'a reserved member: idempotencyKey': '"idempotencyKey":"x"',
  'a reserved member: requestId': '"requestId":null',
  'a reserved member: clientAddress': '"clientAddress":"1.2.3.4"',
  'a reserved member in disguise': '"\\u0074oken":"x"',
  'a member given twice': '"actionType":"BONUS"',
  'a member given twice in disguise': '"action\\u0054ype":"BONUS"',
  'a member given twice within metadata': '"metadata":{"a":{"b":1,"b":1}}',
  '\\u0000 in metadata': '"metadata":{"a":"\\u0000"}',
  '\\u0000 in an unknown member': '"x":"a\\u0000b"',
  '\\u0000 in a name': '"a\\u0000b":1',
  'half of a surrogate pair': '"metadata":{"a":"\\ud800"}',
  '1e1 for points': '"points":1e1',
  '1.0 for points': '"points":1.0',
  'points as text': '"points":"1"',
  'points beyond any range': '"points":9223372036854775808',
  'points with 5000 digits': `"points":${'9'.repeat(5000)}`,
  'a subscore with a fraction': '"subscore":1.0',
  'a subscore as text': '"subscore":"1"',
  'a subscore out of its range': '"subscore":9007199254740992',
  'a subscore beyond any range': '"subscore":9223372036854775808',
  'a detail that is no text': '"detail":1',
  'an empty detail': '"detail":""',
  'a detail of 257 bytes': `"detail":"${'d'.repeat(257)}"`,
  'a detail that turns the text around it': '"detail":"\u202e"',
  'a leading zero': '"points":01',
  'a plus sign': '"points":+1',
  'a minus alone': '"points":-',
  'NaN': '"x":NaN',
  'a hexadecimal number': '"x":0x10',
  'an exponent beyond all data in metadata': '"metadata":{"a":1e400000}',
  'nesting over 32 levels': `"metadata":{"a":${deep(40)}}`,
  'nesting over thousands of levels': `"x":${deep(7000)}`,
  'a comment': '/**/"x":1',
  'a comma too many': '"x":[1,]',
  'a control character in a text': '"x":"a\tb"',
  'an escape that is none': '"x":"\\q"',
  'a quote that is not closed': '"x":"',
};

for (const [what, members] of Object.entries(poison)) {
  test(`${what} is refused`, async () => {
    const user = `poisoner-${number++}`;
    const answer = await increment(bridge, cluster, user, { body: bodyWith(members, actionFor(cluster, user)) });
    assertError(answer, 400, 'INVALID_REQUEST');
    assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.player WHERE user_id = :'user'", { user }), '0');
  });
}

const bodies = {
  'no body': '', 'spaces': '   ', 'a text': '"x"', 'a list': '[]', 'a list of requests': '[{}]', 'null': 'null', 'an empty object': '{}', 'two objects': '{}{}',
  'an object and a rest': '{} x', 'an open object': '{"a":', 'a byte order mark': '\ufeff{}', 'bytes that are not UTF-8': Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
  'a cut character': Buffer.from('{"a":"\u20ac"}').subarray(0, 8), 'a zero byte': Buffer.from('{}\0'), 'UTF-16': Buffer.from('{"actionType":"A"}', 'utf16le'),
  'an overlong slash': Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]), 'our own members closed': '}],"x":[{',
};

for (const [what, body] of Object.entries(bodies)) {
  test(`${what} is refused`, async () => {
    assertError(await increment(bridge, cluster, 'poisoner', { body }), 400, 'INVALID_REQUEST');
  });
}

test('nobody can write another token than the header into a body', async () => {
  for (const body of ['{"actionType":"COMPLETE_LEVEL"},{"token":"x"', '{"a":1}]--', '{"x":"\\"},{\\"token\\":\\"y"}']) {
    const answer = await increment(bridge, cluster, 'poisoner', { body });
    assertError(answer, 400, 'INVALID_REQUEST');
  }
});

test('unknown members are ignored', async () => {
  const answer = await increment(bridge, cluster, 'ann', { body: bodyWith('"colour":{"red":[1.5e300,null,true]}', actionFor(cluster, 'ann')) });
  assert.equal(answer.status, 200, answer.text);
});

test('metadata keeps its digits', async () => {
  const metadata = '{"n": 123456789012345678901234567890.12345678901234567890, "z": 1.10, "e": 1E2, "m": -0, "t": "\\u00e9\\ud83d\\ude00"}';
  const action = actionFor(cluster, 'bea');
  const answer = await increment(bridge, cluster, 'bea', { body: bodyWith(`"metadata":${metadata}`, action) });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(await cluster.sql("SELECT metadata->'n', metadata->'z', metadata->>'t' FROM scoreboard.action WHERE action_id = :'id'", { id: action.actionId }),
    '123456789012345678901234567890.12345678901234567890|1.10|é😀');
});

test('spaces, line ends and the order of members mean nothing', async () => {
  const action = actionFor(cluster, 'cid');
  const text = JSON.stringify(Object.fromEntries(Object.entries(action).reverse()), null, '\t');
  assert.equal((await increment(bridge, cluster, 'cid', { body: `\r\n \t${text}\n\n` })).status, 200);
});

test('ids in any script, quotes and backslashes in them, arrive as they are', async () => {
  for (const actionId of ['ß€😀', '"', '\\', '\\u0041', '/', "'; drop table x; --", '}],[{', '\u2028', '%s%n']) {
    const action = actionFor(cluster, 'dan', { actionId });
    const answer = await increment(bridge, cluster, 'dan', { action });
    assert.equal(answer.status, 200, `${actionId}: ${answer.text}`);
  }
  assert.equal(await cluster.sql("SELECT count(*) FROM scoreboard.action WHERE action_id IN ('ß€😀', '\"', '\\', '\\u0041', '}],[{', U&'\\2028')"), '6');
});

test('poison among good requests harms none of them', async () => {
  const bad = [...Object.values(poison), '"x":1'];
  const requests = [];
  for (let i = 0; i < 40; i++) {
    const user = `neighbour-${i}`;
    requests.push(increment(bridge, cluster, user).then(({ status }) => assert.equal(status, 200)));
    requests.push(increment(bridge, cluster, 'poisoner', { body: bodyWith(bad[i % (bad.length - 1)], actionFor(cluster, 'poisoner')) })
      .then(({ status }) => assert.equal(status, 400)));
  }
  await Promise.all(requests);
  assert.equal(await cluster.sql("SELECT count(*), sum(score) FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id LIKE 'neighbour-%'"),
    '40|4000');
});

test('subscore and detail are numbers and texts, signed, and arrive as they are', async () => {
  const action = actionFor(cluster, 'eva', { subscore: -83, detail: 'Höhle 7 🏆 "3:25" \\' });
  const answer = await increment(bridge, cluster, 'eva', { action });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(await cluster.sql("SELECT subscore, detail FROM scoreboard.action WHERE action_id = :'id'", { id: action.actionId }), `-83|${action.detail}`);
  assertError(await increment(bridge, cluster, 'eva', { action: { ...actionFor(cluster, 'eva', { subscore: 1 }), subscore: 2 } }), 403, 'INVALID_SIGNATURE');
  assertError(await increment(bridge, cluster, 'eva', { action: { ...actionFor(cluster, 'eva', { detail: 'a' }), detail: 'b' } }), 403, 'INVALID_SIGNATURE');
});
