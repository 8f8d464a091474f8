-- Session keys: made for one player, vouch for nobody else, and for action types of proof "session" only; they overlap, and end with
-- their time, a logout, a freeze, a ban, or too many newer ones. Who asks again gets its answer whatever has become of the key.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name) VALUES ('sk'), ('sk-other');
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('SK_STEP', 'session', 3), ('SK_JUMP', 'session', 5), ('SK_SERVICE', 'service', 7);
SELECT sign.wait_for_ranks();

-- Keys by a name of the test's own. sign.key has their secrets, as a player's device would.
CREATE TABLE sk_key (name text PRIMARY KEY, key_id text, expires_at timestamptz);
CREATE FUNCTION pg_temp.make(name text, user_id text, expires_in interval DEFAULT '1 hour') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    made record;
BEGIN
    SELECT * INTO made FROM scoreboard_create_session_key(user_id, expires_in);
    INSERT INTO sign.key VALUES (made.key_id, made.secret);
    INSERT INTO sk_key VALUES (name, made.key_id, made.expires_at);
    RETURN format('%s characters, %s', length(made.secret), CASE WHEN made.key_id ~ '^s-[0-9a-f]{32}$' THEN 'named' ELSE made.key_id END);
END $$;
-- How a player's action signed by a key goes; the receipt may be for another player, type, board or id than what is sent.
CREATE FUNCTION pg_temp.act(user_id text, name text, action_id text, action_type text DEFAULT 'SK_STEP', idempotency_key text DEFAULT 'k', signed_for text DEFAULT NULL,
    signed_type text DEFAULT NULL, signed_board text DEFAULT 'sk', signed_id text DEFAULT NULL) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT * FROM scoreboard_increment(%L, %L, %L, issued_at => %s, receipt => %L, token => %L, idempotency_key => %L)', action_type, action_id, 'sk', s,
        sign.receipt(coalesce(signed_for, act.user_id), coalesce(signed_type, action_type), coalesce(signed_id, action_id), signed_board, NULL, s,
            coalesce((SELECT k.key_id FROM sk_key k WHERE k.name = act.name), act.name)), sign.token(act.user_id), idempotency_key))
    FROM (SELECT sign.now()) AS t(s)
$$;
\set ECHO all

-- A player needs no action before; two keys side by side.
SELECT pg_temp.make('ada', 'sk-ada'), pg_temp.make('ada-too', 'sk-ada', '30 days'), pg_temp.make('bob', 'sk-bob', '1 second'), pg_temp.make('cyd', 'sk-cyd');
SELECT count(*) FROM scoreboard.player WHERE user_id LIKE 'sk-%';
SELECT name, k.user_id, k.expires_at = s.expires_at AS as_said, k.expires_at - k.created_at AS life, k.revoked_at, length(k.secret) FROM scoreboard.session_key k JOIN sk_key s USING (key_id) ORDER BY 1;
SELECT pg_temp.act('sk-ada', 'ada', 'one');
SELECT pg_temp.act('sk-ada', 'ada-too', 'two', 'SK_JUMP');
SELECT pg_temp.act('sk-cyd', 'cyd', 'one');
-- The log names signing keys only.
SELECT DISTINCT a.signing_key_id FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id LIKE 'sk-%';

-- Refused; nothing of it is written.
SELECT sign.written() AS before \gset
-- Another player's key, whoever it signed for; a service's key; a session key where a service must sign
SELECT pg_temp.act('sk-ada', 'cyd', 'new');
SELECT pg_temp.act('sk-ada', 'cyd', 'new', signed_for => 'sk-cyd');
SELECT pg_temp.act('sk-ada', 'game', 'new');
SELECT pg_temp.act('sk-ada', 'ada', 'new', 'SK_SERVICE');
-- Another field than was signed, a key that nobody made, no receipt
SELECT pg_temp.act('sk-ada', 'ada', 'new', signed_type => 'SK_JUMP');
SELECT pg_temp.act('sk-ada', 'ada', 'new', signed_board => 'sk-other');
SELECT pg_temp.act('sk-ada', 'ada', 'new', signed_id => 'other');
SELECT sign.outcome(format('SELECT * FROM scoreboard_increment(%L, %L, %L, issued_at => sign.now(), receipt => %L, token => %L)', 'SK_STEP', 'new', 'sk', 'v1:s-' || repeat('0', 32) || ':' || repeat('0', 64), sign.token('sk-ada')));
SELECT sign.outcome(format('SELECT * FROM scoreboard_increment(%L, %L, %L, token => %L)', 'SK_STEP', 'new', 'sk', sign.token('sk-ada')));
-- Whoever names the player, it is the player's key that signs.
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('sk-ada', 'SK_STEP', 'new', 'sk') $$);
SELECT sign.written() = :'before' AS nothing_written;
-- Beside a part that verifies
SELECT sign.outcome(format('SELECT * FROM scoreboard_increment(%L, %L, %L, issued_at => %s, receipt => %L, token => %L)', 'SK_STEP', 'parts', 'sk', s,
    sign.receipt('sk-ada', 'SK_STEP', 'parts', 'sk', NULL, s, 'game') || ' ' || sign.receipt('sk-ada', 'SK_STEP', 'parts', 'sk', NULL, s, (SELECT key_id FROM sk_key WHERE name = 'ada')), sign.token('sk-ada')))
    FROM (SELECT sign.now()) AS t(s);

-- Their time
SELECT pg_temp.act('sk-bob', 'bob', 'one') LIKE '%"score": 3%' OR clock_timestamp() > (SELECT expires_at FROM sk_key WHERE name = 'bob') AS counted;
DO $$ BEGIN WHILE clock_timestamp() <= (SELECT expires_at FROM sk_key WHERE name = 'bob') LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT sign.written() AS before \gset
SELECT pg_temp.act('sk-bob', 'bob', 'late');
SELECT pg_temp.act('sk-bob', 'bob', 'late', signed_id => 'other');
SELECT sign.written() = :'before' AS nothing_written;

-- Logout: both keys end at once, and for good. A retry is answered all the same; what the key never signed isn't. A new key is another.
SELECT scoreboard_revoke_session_keys('sk-ada');
SELECT scoreboard_revoke_session_keys('sk-ada');
SELECT scoreboard_revoke_session_keys('sk-nobody');
SELECT sign.written() AS before \gset
SELECT pg_temp.act('sk-ada', 'ada', 'out');
SELECT pg_temp.act('sk-ada', 'ada-too', 'out');
SELECT pg_temp.act('sk-ada', 'ada', 'out', signed_id => 'other');
SELECT pg_temp.act('sk-ada', 'ada', 'one');
SELECT pg_temp.act('sk-ada', 'ada', 'one', idempotency_key => 'another');
SELECT pg_temp.act('sk-ada', 'ada', 'one', signed_id => 'other');
SELECT pg_temp.act('sk-cyd', 'cyd', 'one');
SELECT sign.written() = :'before' AS nothing_written;
SELECT pg_temp.make('ada-new', 'sk-ada');
SELECT pg_temp.act('sk-ada', 'ada-new', 'in');

-- Freeze and ban, by function or by hand, end them for good too; hiding doesn't. Who is suspended gets none.
SELECT scoreboard_freeze('sk-ada');
SELECT pg_temp.act('sk-ada', 'ada-new', 'frozen');
SELECT pg_temp.make('ada-frozen', 'sk-ada');
SELECT scoreboard_restore('sk-ada');
SELECT pg_temp.act('sk-ada', 'ada-new', 'restored');
SELECT pg_temp.make('ada-again', 'sk-ada');
SELECT scoreboard_hide('sk-ada'), scoreboard_hide('sk-ada', false);
SELECT pg_temp.act('sk-ada', 'ada-again', 'hidden');
UPDATE scoreboard.player SET state = 'banned' WHERE user_id IN ('sk-ada', 'sk-cyd');
SELECT pg_temp.make('ada-banned', 'sk-ada');
UPDATE scoreboard.player SET state = 'active' WHERE user_id IN ('sk-ada', 'sk-cyd');
SELECT pg_temp.act('sk-ada', 'ada-again', 'banned');
SELECT pg_temp.act('sk-cyd', 'cyd', 'banned');
SELECT name, revoked_at IS NOT NULL AS revoked FROM scoreboard.session_key JOIN sk_key USING (key_id) ORDER BY 1;

-- Eight live ones at most: one more ends the oldest. Dead ones take no place, other players' neither.
SELECT DISTINCT pg_temp.make('dan-' || n, 'sk-dan') FROM generate_series(1, 8) AS n;
SELECT pg_temp.make('eve', 'sk-eve');
SELECT pg_temp.act('sk-dan', 'dan-1', 'one');
SELECT pg_temp.make('dan-9', 'sk-dan');
SELECT pg_temp.act('sk-dan', 'dan-1', 'two');
SELECT pg_temp.act('sk-dan', 'dan-2', 'two');
SELECT pg_temp.act('sk-dan', 'dan-9', 'three');
SELECT scoreboard_revoke_session_keys('sk-dan');
SELECT pg_temp.act('sk-eve', 'eve', 'one');

-- What can't be asked for
SELECT sign.outcome(format('SELECT scoreboard_create_session_key(%L, %L)', user_id, life)) FROM (VALUES (1, NULL, '1 hour'), (2, '', '1 hour'), (3, E'a\nb', '1 hour'), (4, repeat('u', 256), '1 hour'),
    (5, 'sk-eve', NULL), (6, 'sk-eve', '0'), (7, 'sk-eve', '-1 second'), (8, 'sk-eve', '30 days 1 microsecond'), (9, 'sk-eve', '100000 years')) AS t(n, user_id, life) ORDER BY n;
SELECT sign.outcome($$ SELECT scoreboard_revoke_session_keys(NULL) $$);
SELECT sign.outcome($$ SELECT scoreboard_revoke_session_keys('') $$);

-- Points that the player's own key would choose are refused where they are configured.
\set VERBOSITY terse
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('SK_OPEN', 'session', 1, 10);
INSERT INTO scoreboard.action_type (name, min_points, max_points) VALUES ('SK_OPEN', 1, 10);
UPDATE scoreboard.action_type SET proof = 'session' WHERE name = 'SK_OPEN';
INSERT INTO scoreboard.action_rule (board_id, action_type_id, min_points, max_points) SELECT b.board_id, t.action_type_id, 1, 10 FROM scoreboard.board b, scoreboard.action_type t WHERE b.name = 'sk' AND t.name = 'SK_STEP';
INSERT INTO scoreboard.action_rule (board_id, action_type_id, points) SELECT b.board_id, t.action_type_id, 4 FROM scoreboard.board b, scoreboard.action_type t WHERE b.name = 'sk' AND t.name = 'SK_STEP';
UPDATE scoreboard.action_rule SET points = NULL, min_points = 1, max_points = 10 WHERE action_type_id = (SELECT action_type_id FROM scoreboard.action_type WHERE name = 'SK_STEP');
INSERT INTO scoreboard.action_rule (board_id, action_type_id, min_points, max_points) SELECT b.board_id, t.action_type_id, 1, 10 FROM scoreboard.board b, scoreboard.action_type t WHERE b.name = 'sk' AND t.name = 'SK_SERVICE';
UPDATE scoreboard.action_type SET proof = 'session' WHERE name = 'SK_SERVICE';
\set VERBOSITY default
SELECT pg_temp.act('sk-eve', 'eve', 'ruled');
-- Past the triggers, as two changes at the same time would come: refused where it is used.
SET session_replication_role = replica;
UPDATE scoreboard.action_rule SET points = NULL, min_points = 1, max_points = 10 WHERE action_type_id = (SELECT action_type_id FROM scoreboard.action_type WHERE name = 'SK_STEP');
RESET session_replication_role;
SELECT pg_temp.act('sk-eve', 'eve', 'open');
DELETE FROM scoreboard.action_rule WHERE action_type_id IN (SELECT action_type_id FROM scoreboard.action_type WHERE name LIKE 'SK_%');

-- In a batch, in one transaction with the making and the end of a key; what a rollback takes back, lives.
CREATE FUNCTION pg_temp.element(user_id text, name text, action_id text) RETURNS json LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('actionType', 'SK_STEP', 'actionId', action_id, 'board', 'sk', 'issuedAt', s, 'token', sign.token(element.user_id),
        'receipt', sign.receipt(element.user_id, 'SK_STEP', action_id, 'sk', NULL, s, (SELECT k.key_id FROM sk_key k WHERE k.name = element.name))) FROM (SELECT sign.now()) AS t(s)
$$;
BEGIN;
SELECT pg_temp.make('fay', 'sk-fay');
SELECT ordinal, status, coalesce(body ->> 'score', body #>> '{error,code}') FROM scoreboard_submit(json_build_array(pg_temp.element('sk-fay', 'fay', 'a'), pg_temp.element('sk-fay', 'eve', 'b'), pg_temp.element('sk-eve', 'eve', 'b')));
SAVEPOINT before_logout;
SELECT scoreboard_revoke_session_keys('sk-fay');
SELECT ordinal, status, coalesce(body ->> 'score', body #>> '{error,code}') FROM scoreboard_submit(json_build_array(pg_temp.element('sk-fay', 'fay', 'c'), pg_temp.element('sk-eve', 'eve', 'c')));
ROLLBACK TO before_logout;
SELECT pg_temp.act('sk-fay', 'fay', 'c');
COMMIT;

DELETE FROM scoreboard.action_rule WHERE action_type_id IN (SELECT action_type_id FROM scoreboard.action_type WHERE name LIKE 'SK_%');
DELETE FROM scoreboard.action_type WHERE name LIKE 'SK_%';
DELETE FROM scoreboard.session_key;
DROP TABLE sk_key;
