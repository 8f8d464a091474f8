-- Who may call what: the five levels, what each can't do, and that they can be taken back.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
CREATE ROLE regress_sb_reader;
CREATE ROLE regress_sb_player;
CREATE ROLE regress_sb_gateway;
CREATE ROLE regress_sb_server;
CREATE ROLE regress_sb_admin;
CREATE ROLE regress_sb_nobody;
SELECT scoreboard_grant_access('regress_sb_' || level, level) FROM unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin']) AS level;
\pset footer off
-- What may be called, by level; nobody may call anything.
SELECT a.name, string_agg(CASE WHEN has_function_privilege('regress_sb_' || l.level, p.oid, 'EXECUTE') THEN l.level ELSE '-' END, ' ' ORDER BY l.n) AS may
    FROM (SELECT DISTINCT name FROM scoreboard.api_function) AS a JOIN pg_proc p ON p.proname = a.name AND p.pronamespace = 'public'::regnamespace,
         unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin', 'nobody']) WITH ORDINALITY AS l(level, n) GROUP BY a.name ORDER BY a.name;
-- What may be read and written directly, by level: only administrators, and no secret.
SELECT c.relname, l.level, array_to_string(ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p WHERE has_table_privilege('regress_sb_' || l.level, c.oid, p)), ' ') AS may,
        (SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT has_table_privilege('regress_sb_' || l.level, c.oid, 'SELECT') AND has_column_privilege('regress_sb_' || l.level, c.oid, a.attnum, 'SELECT')) AS columns_read,
        (SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT has_table_privilege('regress_sb_' || l.level, c.oid, 'UPDATE') AND has_column_privilege('regress_sb_' || l.level, c.oid, a.attnum, 'UPDATE')) AS columns_written
    FROM pg_class c, unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin', 'nobody']) AS l(level)
    WHERE c.relnamespace = 'scoreboard'::regnamespace AND c.relkind IN ('r', 'v') AND (has_any_column_privilege('regress_sb_' || l.level, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege('regress_sb_' || l.level, c.oid, 'DELETE, TRUNCATE, TRIGGER'))
    ORDER BY c.relname, l.level;
\pset footer on
SELECT l.level FROM unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin', 'nobody']) AS l(level) WHERE has_schema_privilege('regress_sb_' || l.level, 'scoreboard', 'USAGE');
SELECT p.oid::regprocedure AS internal, l.level FROM pg_proc p, unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin', 'nobody']) AS l(level)
    WHERE p.pronamespace = 'scoreboard'::regnamespace AND p.proname NOT LIKE 'valid\_%' AND has_function_privilege('regress_sb_' || l.level, p.oid, 'EXECUTE') ORDER BY 1, 2;
-- Real calls
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('ACC_GRANT', 'grant', 1);
GRANT USAGE ON SCHEMA sign TO PUBLIC;
GRANT SELECT ON sign.key TO PUBLIC;
CREATE TEMP TABLE calls (n int, call text);
GRANT SELECT ON calls TO PUBLIC;
INSERT INTO calls SELECT n, replace(replace(call, '$token', quote_literal(sign.token('acc-ada'))), '$receipt', 'issued_at => ' || s || ', receipt => ' || quote_literal(sign.receipt('acc-ada', 'COMPLETE_LEVEL', 'acc-' || n, issued_at => s)))
    FROM (VALUES (1, 'SELECT count(*) >= 0 FROM scoreboard_top()'), (2, $$SELECT score FROM scoreboard_increment('COMPLETE_LEVEL', 'acc-2', $receipt, token => $token)$$),
        (3, $$SELECT score FROM scoreboard_increment('COMPLETE_LEVEL', 'acc-3', $receipt)$$), (4, $$SELECT scoreboard_me(token => $token) IS NOT NULL$$), (5, 'SELECT scoreboard_me()'),
        (6, $$SELECT status FROM scoreboard_submit('[{"actionType": "COMPLETE_LEVEL", "actionId": "acc-6"}]')$$), (7, 'SELECT count(*) >= 0 FROM scoreboard_documents()'),
        (8, $$SELECT scoreboard_increment_for('acc-ada', 'AWARD', 'acc-8', points => 1) IS NOT NULL$$), (9, $$SELECT scoreboard_set_profile('acc-bob', 'Bob') IS NULL$$),
        (10, $$SELECT length(scoreboard_create_key('acc-' || substr(session_user, 12)))$$), (11, $$SELECT scoreboard_grant_access(session_user, 'admin')$$), (12, $$SELECT scoreboard_revoke_access('regress_sb_reader')$$),
        (13, 'SELECT count(secret) FROM scoreboard.signing_key'), (14, 'SELECT count(jwk) FROM scoreboard.jwt_key'), (15, 'SELECT count(*) FROM scoreboard.signing_key'),
        (16, $$INSERT INTO scoreboard.board (name) VALUES ('acc-' || substr(session_user, 12)) RETURNING name$$), (17, $$UPDATE scoreboard.player SET state = 'active', hidden = false WHERE user_id = 'acc-ada' RETURNING state$$),
        (18, $$UPDATE scoreboard.player SET user_id = 'stolen' WHERE user_id = 'acc-ada'$$), (19, 'UPDATE scoreboard.score SET score = 0'), (20, 'DELETE FROM scoreboard.action'), (21, 'SELECT scoreboard.random_secret()'),
        (22, $$INSERT INTO scoreboard.signing_key (key_id, secret) VALUES ('own', repeat('0', 64))$$), (23, $$SET scoreboard.trusted_request_roles = 'regress_sb_player'$$), (24, 'SET scoreboard.rate_limit = 0'),
        (25, $$SELECT count(*) FROM pg_stats WHERE tablename IN ('signing_key', 'session_key', 'jwt_key') AND attname IN ('secret', 'jwk')$$), (26, $$SELECT count(*) > 0 FROM scoreboard.player$$),
        (27, 'SELECT count(*) FROM scoreboard_server_stats()'), (28, $$SELECT length(secret) FROM scoreboard_create_session_key('acc-ada')$$), (29, $$SELECT scoreboard_revoke_session_keys('acc-ada')$$),
        (30, 'SELECT count(secret) FROM scoreboard.session_key'), (31, 'SELECT count(key_id) FROM scoreboard.session_key'),
        (32, $$SELECT length(scoreboard_create_grant('acc-ada', 'ACC_GRANT'))$$), (33, 'SELECT count(grant_id) FROM scoreboard.grant_token'), (34, 'SELECT count(user_id) FROM scoreboard.grant_token'),
        (35, $$SELECT scoreboard_explain_receipt('v1:game:' || repeat('0', 64), NULL, 'acc-ada', 'COMPLETE_LEVEL', 'x', issued_at => 1) ->> 'verifies'$$),
        (36, $$SELECT scoreboard_create_consumer('acc') IS NOT NULL$$), (37, 'SELECT count(*) >= 0 FROM scoreboard.event')) AS t(n, call), (SELECT sign.now() AS s) AS u;
CREATE FUNCTION pg_temp.calls() RETURNS TABLE (n int, answer text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM calls ORDER BY n LOOP
        n := c.n;
        -- Taken back, so that each level finds the same.
        BEGIN
            EXECUTE c.call INTO answer;
            RAISE EXCEPTION USING ERRCODE = 'SB000';
        EXCEPTION
            WHEN SQLSTATE 'SB000' THEN answer := 'ok ' || coalesce(answer, '');
            WHEN OTHERS THEN answer := SQLSTATE || ' ' || SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
CREATE TABLE sign.called (level text, n int, answer text);
GRANT INSERT ON sign.called TO PUBLIC;
SET client_min_messages = warning;
ANALYZE scoreboard.signing_key, scoreboard.session_key, scoreboard.jwt_key;
RESET client_min_messages;
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SELECT score FROM scoreboard_increment_for('acc-ada', 'AWARD', 'acc-0', points => 1);
SET SESSION AUTHORIZATION regress_sb_reader;
INSERT INTO sign.called SELECT 'reader', * FROM pg_temp.calls();
SET SESSION AUTHORIZATION regress_sb_player;
INSERT INTO sign.called SELECT 'player', * FROM pg_temp.calls();
SET SESSION AUTHORIZATION regress_sb_gateway;
INSERT INTO sign.called SELECT 'gateway', * FROM pg_temp.calls();
SET SESSION AUTHORIZATION regress_sb_server;
INSERT INTO sign.called SELECT 'server', * FROM pg_temp.calls();
SET SESSION AUTHORIZATION regress_sb_admin;
INSERT INTO sign.called SELECT 'admin', * FROM pg_temp.calls();
SET SESSION AUTHORIZATION regress_sb_nobody;
INSERT INTO sign.called SELECT 'nobody', * FROM pg_temp.calls();
RESET SESSION AUTHORIZATION;
SELECT n, string_agg(level, ' ' ORDER BY array_position(ARRAY['reader', 'player', 'gateway', 'server', 'admin', 'nobody'], level)) AS levels, answer FROM sign.called GROUP BY n, answer ORDER BY n, 2;
DROP TABLE sign.called;
DELETE FROM scoreboard.action_type WHERE name = 'ACC_GRANT';
-- A temporary function or table can't stand in for ours.
SET SESSION AUTHORIZATION regress_sb_server;
CREATE TEMP TABLE score (board_id int);
CREATE TEMP TABLE player (user_id text);
CREATE FUNCTION pg_temp.json_array_elements(json) RETURNS SETOF json LANGUAGE sql AS $$ SELECT '{}'::json $$;
SELECT score FROM scoreboard_increment_for('acc-temp', 'AWARD', 'acc-temp', points => 3);
DROP TABLE score, player;
DROP FUNCTION pg_temp.json_array_elements;
RESET SESSION AUTHORIZATION;
-- Keys: what they are limited to has to exist, and is never nothing.
SELECT sign.outcome($$ SELECT scoreboard_create_key('acc-k', boards => '{no-such-board}') $$);
SELECT sign.outcome($$ SELECT scoreboard_create_key('acc-k', action_types => '{NO_SUCH_TYPE}') $$);
SELECT sign.outcome($$ SELECT scoreboard_create_key('acc-k', boards => '{}') $$);
SELECT sign.outcome($$ SELECT scoreboard_create_key('acc-k', action_types => '{}') $$);
-- Levels that don't exist; access that wasn't given
SELECT sign.outcome($$ SELECT scoreboard_grant_access('regress_sb_nobody', 'owner') $$);
SELECT sign.outcome($$ SELECT scoreboard_grant_access('regress_sb_nobody', NULL) $$);
SELECT sign.outcome($$ SELECT scoreboard_grant_access('regress_sb_not_there', 'reader') $$);
-- Everybody may read, or act by a token; no more.
SELECT l.level, sign.outcome(format('SELECT scoreboard_grant_access(%L, %L)', 'public', l.level)) FROM unnest('{gateway,server,admin}'::text[]) AS l(level);
SELECT sign.outcome(format('SELECT scoreboard_grant_access(%L, %L)', 'regress_sb_nobody', repeat('x', 1000)));
SELECT sign.outcome($$ SELECT scoreboard_revoke_access('regress_sb_nobody') $$);
SELECT * FROM scoreboard.access_level WHERE role_name LIKE 'regress_sb%' ORDER BY 1;
-- Taken back, everything is
SELECT scoreboard_revoke_access('regress_sb_' || level) FROM unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin']) AS level;
SELECT count(*) AS levels FROM scoreboard.access_level WHERE role_name LIKE 'regress_sb%';
SELECT l.level, p.proname FROM pg_proc p, unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin']) AS l(level)
    WHERE (p.proname LIKE 'scoreboard\_%' OR p.pronamespace = 'scoreboard'::regnamespace) AND p.proname NOT LIKE 'valid\_%' AND has_function_privilege('regress_sb_' || l.level, p.oid, 'EXECUTE');
SELECT l.level, c.relname FROM pg_class c, unnest(ARRAY['reader', 'player', 'gateway', 'server', 'admin']) AS l(level)
    WHERE c.relnamespace = 'scoreboard'::regnamespace AND c.relkind = 'r' AND has_any_column_privilege('regress_sb_' || l.level, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES');
-- Nothing holds the roles any more.
DROP ROLE regress_sb_reader, regress_sb_player, regress_sb_gateway, regress_sb_server, regress_sb_admin, regress_sb_nobody;
