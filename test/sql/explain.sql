-- scoreboard_explain_receipt: every usual mistake is named, from the signature alone; with the bytes that were signed, the line that differs.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name) VALUES ('ex'), ('ex-other');
INSERT INTO scoreboard.action_type (name, proof, points, min_points, max_points) VALUES ('EX_FIXED', 'service', 10, NULL, NULL), ('EX_OPEN', 'service', NULL, 1, 100), ('EX_STEP', 'session', 1, NULL, NULL), ('EX_GRANT', 'grant', 1, NULL, NULL), ('EX_OLD', 'service', 1, NULL, NULL);
UPDATE scoreboard.action_type SET receipt_max_age = '7 days' WHERE name = 'EX_OLD';
SELECT scoreboard_set_issuer('https://ex.test', json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'k', sign.base64url(sign.jwt_secret()))))::text, 'ex:')
    FROM (SELECT scoreboard_remove_issuer('https://id.test')) AS t;
INSERT INTO sign.key SELECT k, scoreboard_create_key(k) FROM unnest(ARRAY['ex-game', 'ex-next', 'ex-revoked', 'ex-over']) AS k;
INSERT INTO sign.key VALUES ('ex-elsewhere', scoreboard_create_key('ex-elsewhere', '{ex-other}')), ('ex-unknown', repeat('5', 64));
INSERT INTO sign.key SELECT 'session', k.secret FROM scoreboard_create_session_key('ex:ada') AS k;
SELECT scoreboard_revoke_key('ex-revoked');
UPDATE scoreboard.signing_key SET valid_from = '2000-01-01', valid_until = '2000-01-02' WHERE key_id = 'ex-over';
SELECT key_id AS session_key FROM scoreboard.session_key WHERE user_id = 'ex:ada' \gset

-- The receipt of these very bytes.
CREATE FUNCTION pg_temp.mac(bytes bytea, key text DEFAULT 'ex-game', secret bytea DEFAULT NULL) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT encode(hmac(bytes, coalesce(secret, (SELECT k.secret::bytea FROM sign.key k WHERE k.key_id = key)), 'sha256'), 'hex')
$$;
-- What should be signed for ex:ada's action "a" of EX_FIXED on board ex, with some lines replaced.
CREATE FUNCTION pg_temp.bytes(replaced jsonb DEFAULT '{}', joint text DEFAULT E'\n', behind text DEFAULT '', skipped int[] DEFAULT '{}') RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT convert_to(string_agg(coalesce(replaced ->> n::text, line), joint ORDER BY n) || behind, 'UTF8')
    FROM unnest(ARRAY['scoreboard-receipt-v1', 'test', 'ex', 'ex:ada', 'EX_FIXED', 'a', '', '', '', current_setting('ex.now')]) WITH ORDINALITY AS l(line, n) WHERE n <> ALL (skipped)
$$;
CREATE FUNCTION pg_temp.ask(receipt text, signed_bytes bytea DEFAULT NULL, action_type text DEFAULT 'EX_FIXED', points bigint DEFAULT NULL, issued_at bigint DEFAULT NULL, subscore bigint DEFAULT NULL, detail text DEFAULT NULL)
RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT scoreboard_explain_receipt(receipt, signed_bytes, 'ex:ada', action_type, 'a', 'ex', points, coalesce(issued_at, current_setting('ex.now')::bigint), subscore, detail)
$$;
-- The answer in a line, without what is the same each time.
CREATE FUNCTION pg_temp.why(receipt text, signed_bytes bytea DEFAULT NULL, action_type text DEFAULT 'EX_FIXED', points bigint DEFAULT NULL, issued_at bigint DEFAULT NULL, subscore bigint DEFAULT NULL, detail text DEFAULT NULL)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(E'\n', CASE WHEN (a ->> 'verifies')::boolean THEN 'verifies' END,
        (SELECT string_agg(concat_ws(', ', p ->> 'key', p ->> 'signature') || coalesce(': ' || (p ->> 'explanation'), ''), E'\n' ORDER BY n) FROM jsonb_array_elements(a -> 'parts') WITH ORDINALITY AS t(p, n)),
        (a -> 'difference')::text, (SELECT string_agg('- ' || f, E'\n' ORDER BY n) FROM jsonb_array_elements_text(a -> 'findings') WITH ORDINALITY AS t(f, n)))
    FROM pg_temp.ask(receipt, signed_bytes, action_type, points, issued_at, subscore, detail) AS a
$$;
SELECT set_config('ex.now', sign.now()::text, false) IS NOT NULL AS ready;
\pset format unaligned
\set ECHO all
\pset tuples_only on

-- Right: what should be signed is said, and nothing else.
SELECT replace(a::text, current_setting('ex.now'), '<now>') FROM pg_temp.ask('v1:ex-game:' || pg_temp.mac(pg_temp.bytes())) AS a;
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes()), pg_temp.bytes());
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"5": "EX_OPEN", "7": "25", "8": "-3"}')), NULL, 'EX_OPEN', 25, subscore => -3);

-- One mistake each, from the signature alone
SELECT n || ' ' || pg_temp.why('v1:ex-game:' || pg_temp.mac(bytes)) FROM (VALUES
    (1, pg_temp.bytes(jsonb_build_object('2', current_database()))), (2, pg_temp.bytes('{"2": ""}')), (3, pg_temp.bytes('{"2": "TEST"}')), (4, pg_temp.bytes('{"3": "ex-other"}')), (5, pg_temp.bytes('{"3": ""}')),
    (6, pg_temp.bytes('{"4": "ada"}')), (7, pg_temp.bytes('{"4": "EX:ADA"}')), (8, pg_temp.bytes('{"5": "ex_fixed"}')), (9, pg_temp.bytes('{"6": "\"a\""}')), (10, pg_temp.bytes('{"7": "10"}')), (11, pg_temp.bytes('{"7": "null"}')),
    (12, pg_temp.bytes('{"8": "undefined"}')), (13, pg_temp.bytes('{"7": "None", "8": "None", "9": "None"}')), (14, pg_temp.bytes(behind => E'\n')), (15, pg_temp.bytes(joint => E'\r\n')), (16, pg_temp.bytes(joint => E'\r\n', behind => E'\r\n')),
    (17, pg_temp.bytes(joint => '\n')), (18, pg_temp.bytes(joint => '')), (19, pg_temp.bytes(joint => '|')), (20, pg_temp.bytes(skipped => '{1}')), (21, pg_temp.bytes(skipped => '{2}')), (22, pg_temp.bytes(skipped => '{7}')),
    (23, pg_temp.bytes(skipped => '{8,9}')), (24, pg_temp.bytes(skipped => '{7,8,9}')), (25, pg_temp.bytes(jsonb_build_object('10', current_setting('ex.now') || '000'))), (26, pg_temp.bytes(jsonb_build_object('10', current_setting('ex.now') || '789'))),
    (27, pg_temp.bytes(jsonb_build_object('10', (current_setting('ex.now')::bigint - 1)::text))), (28, pg_temp.bytes(jsonb_build_object('10', (current_setting('ex.now')::bigint + 300)::text))), (29, pg_temp.bytes(jsonb_build_object('10', current_setting('ex.now') || '.0'))),
    (30, pg_temp.bytes('{"1": "v1"}'))) AS t(n, bytes) ORDER BY n;
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(bytes), NULL, 'EX_OPEN', 25, subscore => 0, detail => 'Höhle 7') FROM (VALUES
    (1, pg_temp.bytes('{"5": "EX_OPEN", "7": "25.0", "8": "0", "9": "da6f2ac26efb31ad3bd2b7ea1b0c2d0a"}')),
    (2, pg_temp.bytes(jsonb_build_object('5', 'EX_OPEN', '7', '25.0', '8', '0', '9', encode(sha256('Höhle 7'), 'hex')))), (3, pg_temp.bytes(jsonb_build_object('5', 'EX_OPEN', '7', '+25', '8', '0', '9', encode(sha256('Höhle 7'), 'hex')))),
    (4, pg_temp.bytes(jsonb_build_object('5', 'EX_OPEN', '7', '25', '8', '', '9', encode(sha256('Höhle 7'), 'hex')))), (5, pg_temp.bytes('{"5": "EX_OPEN", "7": "25", "8": "0", "9": "Höhle 7"}')),
    (6, pg_temp.bytes(jsonb_build_object('5', 'EX_OPEN', '7', '25', '8', '0', '9', upper(encode(sha256('Höhle 7'), 'hex'))))), (7, pg_temp.bytes('{"5": "EX_OPEN", "7": "25", "8": "0"}'))) AS t(n, bytes) ORDER BY n;
-- The key: decoded, alone and with another mistake; another one, one that is over, unknown or limited, one of the player's session
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes(), secret => (SELECT decode(secret, 'hex') FROM sign.key WHERE key_id = 'ex-game')));
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes(behind => E'\n'), secret => (SELECT decode(secret, 'hex') FROM sign.key WHERE key_id = 'ex-game')));
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes(), 'ex-next'));
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes(joint => E'\r\n'), 'ex-next'));
SELECT pg_temp.why('v1:ex-gone:' || pg_temp.mac(pg_temp.bytes()));
SELECT pg_temp.why('v1:' || k || ':' || pg_temp.mac(pg_temp.bytes(), k)) FROM unnest(ARRAY['ex-revoked', 'ex-over', 'ex-elsewhere', 'ex-unknown']) AS k;
SELECT pg_temp.why('v1:' || :'session_key' || ':' || pg_temp.mac(pg_temp.bytes(), 'session'));
SELECT pg_temp.why('v1:' || :'session_key' || ':' || pg_temp.mac(pg_temp.bytes('{"5": "EX_STEP"}'), 'session'), action_type => 'EX_STEP');
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"5": "EX_STEP"}')), action_type => 'EX_STEP');
SELECT replace(pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"5": "EX_STEP"}'), 'session'), action_type => 'EX_STEP'), :'session_key', '<session key>');
-- A rotation: one of several is enough; each is explained.
SELECT pg_temp.why('v1:ex-revoked:' || pg_temp.mac(pg_temp.bytes(), 'ex-revoked') || ' v1:ex-next:' || pg_temp.mac(pg_temp.bytes(), 'ex-next') || ' v1:ex-game:' || repeat('0', 64));

-- With the bytes
SELECT replace(pg_temp.why('v1:ex-game:' || pg_temp.mac(bytes), bytes), current_setting('ex.now'), '<now>') FROM (VALUES (1, pg_temp.bytes('{"3": "Ex"}')), (2, pg_temp.bytes('{"4": "someone else"}')), (3, pg_temp.bytes(skipped => '{9}')), (4, pg_temp.bytes(skipped => '{2}')),
    (5, pg_temp.bytes(behind => E'\n')), (6, pg_temp.bytes(joint => E'\r\n')), (7, '\xefbbbf'::bytea || pg_temp.bytes()), (8, '\x7300630000'::bytea), (9, ''::bytea), (10, pg_temp.bytes(behind => E'\nmore')), (11, '\xff'::bytea || pg_temp.bytes())) AS t(n, bytes) ORDER BY n;
-- They are right: the key isn't, or they are not what was signed.
SELECT pg_temp.why('v1:ex-game:' || repeat('0', 64), pg_temp.bytes());
SELECT replace(pg_temp.why('v1:ex-game:' || pg_temp.mac('anything'), 'anything else'::bytea), current_setting('ex.now'), '<now>');
SELECT pg_temp.why('v1:ex-game:' || repeat('0', 64));

-- The receipt's own form
SELECT n || ' ' || pg_temp.why(receipt) FROM (SELECT pg_temp.mac(pg_temp.bytes()) AS m) AS t CROSS JOIN LATERAL (VALUES (1, NULL), (2, ''), (3, 'v1:ex-game:' || upper(m)), (4, 'V1:ex-game:' || m), (5, 'ex-game:' || m), (6, m), (7, 'v1:ex-game:' || m || E'\n'),
    (8, 'v1:ex-game:' || m || ', v1:ex-game:' || m), (9, 'v1:ex-game:' || encode(decode(m, 'hex'), 'base64')), (10, 'v1:ex-game:' || rtrim(translate(encode(decode(m, 'hex'), 'base64'), '+/', '-_'), '=')), (11, 'v1:ex-game:' || left(m, 40)),
    (12, 'v1:ex-game:' || m || m), (13, 'v1:ex game:' || m), (14, repeat('v1:ex-game:' || m || ' ', 4) || 'v1:ex-game:' || m), (15, repeat('x', 2000))) AS v(n, receipt) ORDER BY v.n;

-- Beside the signature
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"7": "10"}')), points => 10);
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"5": "EX_OPEN"}')), action_type => 'EX_OPEN');
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"5": "EX_GRANT"}')), action_type => 'EX_GRANT');
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"10": "1700000000000"}')), issued_at => 1700000000000);
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"10": "1700000000"}')), issued_at => 1700000000000);
SELECT regexp_replace(pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"10": "1700000000"}')), issued_at => 1700000000), '\d{5,}', '<age>');
SELECT regexp_replace(pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes('{"10": "99000000000"}')), issued_at => 99000000000), '\d{5,}', '<age>');
SELECT pg_temp.why('v1:ex-game:' || pg_temp.mac(pg_temp.bytes(jsonb_build_object('5', 'EX_OLD', '10', current_setting('ex.now')::bigint - 100000))), action_type => 'EX_OLD', issued_at => current_setting('ex.now')::bigint - 100000);

-- Refused as an increment would be
\pset tuples_only off
\pset format aligned
SELECT n, sign.outcome(format('SELECT scoreboard_explain_receipt(%L, NULL, %L, %L, %L, %L, issued_at => %L)', 'v1:x:y', user_id, action_type, action_id, board, issued_at)) FROM (VALUES (1, NULL, 'EX_FIXED', 'a', 'ex', 1), (2, 'p', NULL, 'a', 'ex', 1),
    (3, 'p', 'EX_FIXED', NULL, 'ex', 1), (4, 'p', 'EX_FIXED', 'a', NULL, 1), (5, 'p', 'EX_FIXED', 'a', 'ex', NULL), (6, 'p', 'EX_FIXED', 'a', 'ex-none', 1), (7, 'p', 'EX_NONE', 'a', 'ex', 1), (8, 'p', 'EX_FIXED', 'a', 'ex', -1)) AS t(n, user_id, action_type, action_id, board, issued_at) ORDER BY n;
SELECT sign.outcome($$SELECT scoreboard_explain_receipt('v1:x:y', convert_to(repeat('x', 65537), 'UTF8'), 'p', 'EX_FIXED', 'a', 'ex', issued_at => 1)$$);
SELECT scoreboard_explain_receipt('v1:x:y', convert_to(repeat('x', 65536), 'UTF8'), 'p', 'EX_FIXED', 'a', 'ex', issued_at => 1) ->> 'verifies' AS verifies;
-- Whatever is asked, no secret and no signature of ours is in the answer.
SELECT count(*) AS told FROM sign.key k, (VALUES (pg_temp.ask('v1:ex-game:' || repeat('0', 64))), (pg_temp.ask('v1:ex-game:' || repeat('0', 64), pg_temp.bytes())), (pg_temp.ask('v1:ex-game:' || pg_temp.mac(pg_temp.bytes(), 'ex-next')))) AS t(a)
    WHERE strpos(a::text, k.secret) > 0 OR strpos(a::text, pg_temp.mac(pg_temp.bytes(), k.key_id)) > 0;
DELETE FROM scoreboard.signing_key WHERE key_id LIKE 'ex-%';
DELETE FROM scoreboard.session_key;
DELETE FROM scoreboard.action_type WHERE name LIKE 'EX_%';
SELECT scoreboard_remove_issuer('https://ex.test');
