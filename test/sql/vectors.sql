-- The published vectors in the server: pgcrypto's hmac() is RFC 4231's, and every receipt of test/vectors/receipts.json verifies here.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set file :srcdir '/vectors/hmac.json'
\set hmac `cat :'file'`
\set file :srcdir '/vectors/receipts.json'
\set receipts `cat :'file'`
CREATE TEMP TABLE vector AS SELECT n, v, v ->> 'name' AS name FROM jsonb_array_elements(:'receipts'::jsonb -> 'receipts') WITH ORDINALITY AS t(v, n);
CREATE TEMP TABLE hmac_case AS SELECT n, v ->> 'name' AS name, decode(v ->> 'key', 'hex') AS key, decode(v ->> 'data', 'hex') AS data, v ->> 'mac' AS mac FROM jsonb_array_elements(:'hmac'::jsonb -> 'cases') WITH ORDINALITY AS t(v, n);
SELECT :'receipts'::jsonb ->> 'key' AS key \gset
\set ECHO all
SELECT name, starts_with(encode(hmac(data, key, 'sha256'), 'hex'), mac) AS right FROM hmac_case ORDER BY n;

-- As rows: boards, action types, keys of services and of a player's session.
INSERT INTO scoreboard.board (name) SELECT DISTINCT v ->> 'board' FROM vector ON CONFLICT DO NOTHING;
INSERT INTO scoreboard.action_type (name, proof, points, min_points, max_points)
    SELECT DISTINCT ON (v ->> 'action_type') v ->> 'action_type', CASE WHEN session THEN 'session' ELSE 'service' END, CASE WHEN session THEN 1 END, CASE WHEN NOT session THEN -9007199254740991 END, CASE WHEN NOT session THEN 9007199254740991 END
    FROM vector, LATERAL (SELECT v ->> 'key_id' LIKE 's-%') AS s(session) ON CONFLICT DO NOTHING;
INSERT INTO scoreboard.signing_key (key_id, secret) SELECT DISTINCT v ->> 'key_id', :'key' FROM vector WHERE v ->> 'key_id' NOT LIKE 's-%';
INSERT INTO scoreboard.session_key (key_id, user_id, secret, created_at, expires_at) SELECT v ->> 'key_id', v ->> 'user_id', :'key', now(), now() + interval '1 hour' FROM vector WHERE v ->> 'key_id' LIKE 's-%';
-- Of times before 1970 there is nothing to send.
CREATE FUNCTION pg_temp.verifies(v jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('scoreboard.audience', v ->> 'audience', true);
    RETURN (SELECT concat_ws(' ', a -> 'parts' -> 0 ->> 'key', a -> 'parts' -> 0 ->> 'signature', convert_to(a ->> 'signedBytes', 'UTF8') = decode(v ->> 'signed_hex', 'hex'))
        FROM scoreboard_explain_receipt(v ->> 'receipt', NULL, v ->> 'user_id', v ->> 'action_type', v ->> 'action_id', v ->> 'board', (v ->> 'points')::bigint, (v ->> 'issued_at')::bigint, (v ->> 'subscore')::bigint, v ->> 'detail') AS a);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT name, pg_temp.verifies(v) FROM vector ORDER BY n;
DELETE FROM scoreboard.signing_key WHERE secret = :'key';
DELETE FROM scoreboard.session_key WHERE secret = :'key';
DELETE FROM scoreboard.action_type WHERE name IN (SELECT v ->> 'action_type' FROM vector) AND name NOT IN ('COMPLETE_LEVEL', 'FIND_COIN');
