-- Did it really happen: receipts (SPEC section 3, step 4).
-- How receipts are written has its unit test (test/unit/receipt_form.c, test/vectors/receipts.json); here stands what only
-- a server shows: keys as rows, their limits, the audience, pgcrypto's hmac().
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS scoreboard CASCADE;
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
DELETE FROM scoreboard.jwt_issuer;

CREATE SCHEMA receipt_test;
SET search_path = receipt_test, public;

INSERT INTO scoreboard.board (name, title) VALUES ('receipt.main', 'Main'), ('receipt.other', 'Other');
INSERT INTO scoreboard.action_type (name, points, min_points, max_points, proof) VALUES
    ('RECEIPT_FIXED', 10, NULL, NULL, 'service'), ('RECEIPT_OPEN', NULL, 1, 100, 'service');

CREATE FUNCTION now_s() RETURNS bigint LANGUAGE sql AS $$ SELECT floor(extract(epoch FROM clock_timestamp()))::bigint $$;
CREATE FUNCTION base64url(bytes bytea) RETURNS text LANGUAGE sql AS
$$ SELECT rtrim(translate(encode(bytes, 'base64'), E'+/\n', '-_'), '=') $$;
SELECT scoreboard_set_issuer('https://receipt.example', json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'k', base64url(sha256('r')))))::text, 'r:');
CREATE FUNCTION token(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT t || '.' || base64url(hmac(convert_to(t, 'UTF8'), sha256('r'), 'sha256'))
    FROM (SELECT base64url('{"alg":"HS256"}') || '.' || base64url(convert_to(json_build_object('iss', 'https://receipt.example', 'sub', sub, 'exp', now_s() + 600)::text, 'UTF8')) AS t) x $$;

CREATE TABLE keys AS
    SELECT 'r1' AS key_id, scoreboard_create_key('r1') AS secret
    UNION ALL SELECT 'r2', scoreboard_create_key('r2', boards => '{receipt.other}')
    UNION ALL SELECT 'r3', scoreboard_create_key('r3', action_types => '{RECEIPT_OPEN}');

-- Made beforehand, so that a false hmac() below can't touch them.
CREATE TABLE bearer AS SELECT token('p1');

-- A receipt for player r:p1 on board receipt.main, RECEIPT_FIXED, unless told otherwise.
CREATE FUNCTION sign(action_id text, key text DEFAULT 'r1', board text DEFAULT 'receipt.main', action_type text DEFAULT 'RECEIPT_FIXED',
                     points text DEFAULT '', issued bigint DEFAULT now_s(), audience text DEFAULT current_setting('scoreboard.audience'), user_id text DEFAULT 'r:p1')
RETURNS text LANGUAGE sql AS $$
    SELECT 'v1:' || key || ':' || encode(hmac(
        convert_to(concat_ws(E'\n', 'scoreboard-receipt-v1', audience, board, user_id, action_type, action_id, points, '', '', issued), 'UTF8'),
        secret::bytea, 'sha256'), 'hex')
    FROM keys WHERE key_id = key $$;
-- The points applied, or how it was refused.
CREATE FUNCTION try(action_id text, receipt text, board text DEFAULT 'receipt.main', action_type text DEFAULT 'RECEIPT_FIXED', points bigint DEFAULT NULL,
                    issued bigint DEFAULT now_s())
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (public.scoreboard_increment(action_type, action_id, board => board, points => points, issued_at => issued, receipt => receipt, token => (SELECT b.token FROM bearer b))).applied_points;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

-- One clock for signing and sending.
SELECT now_s() AS now \gset

SELECT try('1', sign('1', issued => :now), issued => :now);
SELECT try('2', sign('2', action_type => 'RECEIPT_OPEN', points => '25', issued => :now), action_type => 'RECEIPT_OPEN', points => 25, issued => :now);
SELECT try('José 🏆', sign('José 🏆', issued => :now), issued => :now);

-- Missing and ill-formed.
SELECT try('3', NULL, issued => :now);
SELECT try('3', '', issued => :now);
SELECT try('3', upper(sign('3', issued => :now)), issued => :now);
SELECT try('3', sign('3', issued => :now) || ' v1:x', issued => :now);
SELECT try('3', sign('3', issued => :now) || repeat(' ', 1024), issued => :now);

-- Any other field, another key's name, an unknown key.
SELECT try('3', sign('4', issued => :now), issued => :now);
SELECT try('3', sign('3', board => 'receipt.other', issued => :now), issued => :now);
SELECT try('3', sign('3', user_id => 'r:p2', issued => :now), issued => :now);
SELECT try('3', sign('3', action_type => 'RECEIPT_OPEN', issued => :now), issued => :now);
SELECT try('3', sign('3', points => '10', issued => :now), issued => :now);
SELECT try('3', sign('3', issued => :now - 1), issued => :now);
SELECT try('3', sign('3', audience => 'elsewhere', issued => :now), issued => :now);
SELECT try('3', sign('3', action_type => 'RECEIPT_OPEN', points => '25', issued => :now), action_type => 'RECEIPT_OPEN', points => 26, issued => :now);
SELECT try('3', replace(sign('3', issued => :now), 'v1:r1:', 'v1:r2:'), issued => :now);
SELECT try('3', replace(sign('3', issued => :now), 'v1:r1:', 'v1:r9:'), issued => :now);

-- A MAC with one bit changed, whichever, is none.
SELECT answer, count(*) FROM (SELECT split_part(sign('3', issued => :now), ':', 3) AS mac OFFSET 0) AS t, generate_series(0, 255) AS n,
    try('3', 'v1:r1:' || encode(set_bit(decode(mac, 'hex'), n, 1 - get_bit(decode(mac, 'hex'), n)), 'hex'), issued => :now) AS answer GROUP BY 1;

-- One good part suffices, wherever it stands.
SELECT try('3', concat_ws(' ', sign('4', issued => :now), 'v1:r9:' || repeat('0', 64), sign('3', issued => :now)), issued => :now);

-- Keys limited to boards and action types.
SELECT try('5', sign('5', 'r2', issued => :now), issued => :now);
SELECT try('5', sign('5', 'r2', board => 'receipt.other', issued => :now), board => 'receipt.other', issued => :now);
SELECT try('6', sign('6', 'r3', issued => :now), issued => :now);
SELECT try('6', sign('6', 'r3', action_type => 'RECEIPT_OPEN', points => '1', issued => :now), action_type => 'RECEIPT_OPEN', points => 1, issued => :now);

-- How old a receipt may be, to the second: the setting, or what its action type allows for the past; the future stays at the setting.
INSERT INTO scoreboard.action_type (name, points, receipt_max_age) VALUES ('RECEIPT_OFFLINE', 1, '7 days'), ('RECEIPT_FRESH', 1, '0');
CREATE SEQUENCE aged_number;
-- Until a whole call lies within one second of the clock, which is then the server's too.
CREATE FUNCTION aged(age bigint, action_type text, key text DEFAULT 'r1') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    second bigint;
    id text;
    outcome text;
BEGIN
    LOOP
        second := now_s();
        id := 'aged-' || nextval('aged_number');
        outcome := try(id, sign(id, key, action_type => action_type, issued => second - age), action_type => action_type, issued => second - age);
        IF now_s() = second THEN
            RETURN outcome;
        END IF;
    END LOOP;
END $$;
SELECT type, age, aged(age, type) FROM (VALUES (1, 'RECEIPT_FIXED', 120), (2, 'RECEIPT_FIXED', 121), (3, 'RECEIPT_FIXED', -120), (4, 'RECEIPT_FIXED', -121),
    (5, 'RECEIPT_OFFLINE', 604800), (6, 'RECEIPT_OFFLINE', 604801), (7, 'RECEIPT_OFFLINE', -120), (8, 'RECEIPT_OFFLINE', -121),
    (9, 'RECEIPT_FRESH', 0), (10, 'RECEIPT_FRESH', 1), (11, 'RECEIPT_FRESH', -120)) AS t(n, type, age) ORDER BY n;
-- Keys go by the server's clock all the same: one that is over was not over when it signed, one that has just begun had not begun.
INSERT INTO keys SELECT 'r4', scoreboard_create_key('r4', valid_from => now() - interval '2 days', valid_until => now() - interval '1 day');
SELECT key, aged(129600, 'RECEIPT_OFFLINE', key) FROM (VALUES ('r1'), ('r4')) AS t(key);
\set VERBOSITY terse
UPDATE scoreboard.action_type SET receipt_max_age = '7 days 1 second' WHERE name = 'RECEIPT_OFFLINE';
UPDATE scoreboard.action_type SET receipt_max_age = '-1 second' WHERE name = 'RECEIPT_OFFLINE';
\set VERBOSITY default

-- A rotation: both keys sign while they overlap, and one of both is enough when the old one has gone.
INSERT INTO keys SELECT 'r5', scoreboard_create_key('r5', action_types => '{RECEIPT_FIXED}');
INSERT INTO keys SELECT 'r6', scoreboard_rotate_key('r5', 'r6');
SELECT try('rotation-1', sign('rotation-1', 'r5', issued => :now), issued => :now), try('rotation-2', sign('rotation-2', 'r6', issued => :now), issued => :now),
    try('rotation-3', concat_ws(' ', sign('rotation-3', 'r5', issued => :now), sign('rotation-3', 'r6', issued => :now)), issued => :now);
SELECT scoreboard_revoke_key('r5');
SELECT try('rotation-4', sign('rotation-4', 'r5', issued => :now), issued => :now);
SELECT try('rotation-4', concat_ws(' ', sign('rotation-4', 'r5', issued => :now), sign('rotation-4', 'r6', issued => :now)), issued => :now);
-- Whichever stands first, the log names the one that was valid.
SELECT a.action_id, k.key_id FROM scoreboard.action a JOIN scoreboard.signing_key k USING (signing_key_id) WHERE a.action_id LIKE 'rotation-%' ORDER BY 1;
-- The new one has the limits of the old one.
SELECT try('rotation-5', sign('rotation-5', 'r6', action_type => 'RECEIPT_OPEN', points => '1', issued => :now), action_type => 'RECEIPT_OPEN', points => 1, issued => :now);

-- The audience names the database; what can't be one is an error that says so.
SET scoreboard.audience = 'staging';
SELECT try('7', sign('7', audience => 'test', issued => :now), issued => :now);
SELECT try('7', sign('7', issued => :now), issued => :now);
SET scoreboard.audience = 'two words';
SELECT try('8', sign('8', issued => :now), issued => :now);
RESET scoreboard.audience;

-- hmac() is pgcrypto's, whatever else is called so.
CREATE FUNCTION hmac(bytea, bytea, text) RETURNS bytea LANGUAGE sql AS $$ SELECT '\x00'::bytea $$;
SELECT try('9', 'v1:r1:' || repeat('0', 64), issued => :now);
DROP FUNCTION receipt_test.hmac(bytea, bytea, text);
SELECT try('9', sign('9', issued => :now), issued => :now);

-- Nor in its own schema, beside it, nor in its place: neither one that is no member, even if it is in C and depends on the extension, nor one that isn't C.
SELECT 'v1:r1:' || encode(sha256('foreign'), 'hex') AS foreign_mac \gset
ALTER FUNCTION hmac(bytea, bytea, text) RENAME TO hmac_away;
CREATE FUNCTION public.hmac(bytea, bytea, text) RETURNS bytea LANGUAGE sql AS $$ SELECT sha256('foreign') $$;
SELECT try('9-foreign', :'foreign_mac', issued => :now);
ALTER EXTENSION pgcrypto ADD FUNCTION public.hmac(bytea, bytea, text);
SELECT try('9-foreign', :'foreign_mac', issued => :now);
ALTER EXTENSION pgcrypto DROP FUNCTION public.hmac(bytea, bytea, text);
DROP FUNCTION public.hmac(bytea, bytea, text);
CREATE FUNCTION public.hmac(bytea, bytea, text) RETURNS bytea LANGUAGE c AS '$libdir/pgcrypto', 'pg_hmac';
ALTER FUNCTION public.hmac(bytea, bytea, text) DEPENDS ON EXTENSION pgcrypto;
SELECT try('9-foreign', sign('9-foreign', issued => :now), issued => :now);
DROP FUNCTION public.hmac(bytea, bytea, text);
ALTER FUNCTION hmac_away(bytea, bytea, text) RENAME TO hmac;
SELECT try('9-own', sign('9-own', issued => :now), issued => :now);

-- It is found again after pgcrypto was moved, and so after any change of its row.
CREATE SCHEMA receipt_crypto;
ALTER EXTENSION pgcrypto SET SCHEMA receipt_crypto;
SET search_path = receipt_test, public, receipt_crypto;
SELECT try('10', sign('10', issued => :now), issued => :now);
ALTER EXTENSION pgcrypto SET SCHEMA public;

-- Clean up what other tests would see.
DELETE FROM scoreboard.jwt_issuer;
RESET search_path;
DROP SCHEMA receipt_crypto;
DROP SCHEMA receipt_test CASCADE;
