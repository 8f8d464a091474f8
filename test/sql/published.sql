-- Every function works where all tables are published: each table of ours has a key to find its rows by. A function without a call here is named.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SELECT c.oid::regclass AS without_key FROM pg_class c
    WHERE c.relnamespace = 'scoreboard'::regnamespace AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary);
SHOW wal_level;
CREATE ROLE regress_sb_published;
CREATE FUNCTION sign.verify(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT true';
CREATE PUBLICATION sb_everything FOR ALL TABLES;
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, period) VALUES ('published-reset', 'reset');
-- In this order; what writes is called twice where the second time updates or deletes.
CREATE TEMP TABLE calls (n integer GENERATED ALWAYS AS IDENTITY, name text, call text);
INSERT INTO calls (name, call) VALUES
    ('scoreboard_set_issuer', $$SELECT $f('https://id.test', json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'k', sign.base64url(sign.jwt_secret()))))::text)$$),
    ('scoreboard_set_issuer', $$SELECT $f('https://id.test', json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'kid', 'k1', 'k', sign.base64url(sign.jwt_secret()))))::text)$$),
    ('scoreboard_create_key', $$SELECT length($f('published', '{global}', '{AWARD}'))$$),
    ('scoreboard_rotate_key', $$SELECT length($f('published', 'published-2'))$$),
    ('scoreboard_revoke_key', $$SELECT $f('published-2')$$),
    ('scoreboard_create_session_key', $$SELECT max(length(k.secret)) FROM generate_series(1, 9) AS n, $f('published-a', make_interval(hours => n)) AS k$$),
    ('scoreboard_revoke_session_keys', $$SELECT $f('published-a')$$),
    ('scoreboard_grant_access', $$SELECT $f('regress_sb_published', 'admin')$$),
    ('scoreboard_revoke_access', $$SELECT $f('regress_sb_published')$$),
    ('scoreboard_setup', $$SELECT count(*) FROM $f('postgrest', anonymous => 'regress_sb_published', authenticator => 'regress_sb_published')$$),
    ('scoreboard_revoke_access', $$SELECT $f('regress_sb_published')$$),
    ('scoreboard_set_profile', $$SELECT $f('published-a', 'A')$$),
    ('scoreboard_set_profile', $$SELECT $f('published-a', 'B', 'https://img.test/b')$$),
    ('scoreboard_set_labels', $$SELECT $f('published-a', '{"country": "de"}')$$), ('scoreboard_set_label_boards', $$SELECT count(*) FROM $f('global', 'published', '{a,b}')$$),
    ('scoreboard_set_label_boards', $$SELECT count(*) FROM $f('global', 'published', '{}')$$),
    ('scoreboard_increment_for', $$SELECT score FROM $f('published-a', 'AWARD', 'first', points => 3)$$),
    ('scoreboard_increment_for', $$SELECT score FROM $f('published-a', 'AWARD', 'second', points => 4)$$),
    ('scoreboard_increment', $$SELECT r.score FROM (SELECT sign.now() AS s) AS t, $f('COMPLETE_LEVEL', 'third', issued_at => s, receipt => sign.receipt('published-a', 'COMPLETE_LEVEL', 'third', issued_at => s), token => sign.token('published-a')) AS r$$),
    ('scoreboard_submit', $$SELECT r.status FROM (SELECT sign.now() AS s) AS t, $f(json_build_array(json_build_object('actionType', 'FIND_COIN', 'actionId', 'fourth', 'issuedAt', s, 'token', sign.token('published-a'), 'receipt', sign.receipt('published-a', 'FIND_COIN', 'fourth', issued_at => s)))) AS r$$),
    ('submit', $$SELECT r.status FROM (SELECT sign.now() AS s) AS t, $f(json_build_array(json_build_object('actionType', 'FIND_COIN', 'actionId', 'fifth', 'issuedAt', s, 'token', sign.token('published-a'), 'receipt', sign.receipt('published-a', 'FIND_COIN', 'fifth', issued_at => s)))) AS r$$),
    ('scoreboard_set_listed', $$SELECT $f(false, true, sign.token('published-a')) ->> 'listed' AS listed$$), ('scoreboard_set_listed', $$SELECT $f(true, token => sign.token('published-new')) ->> 'listed' AS listed$$),
    ('scoreboard_set_listed', $$SELECT $f(true, token => sign.token('published-a')) ->> 'listed' AS listed$$),
    ('scoreboard_top', $$SELECT count(*) > 0 AS any FROM $f()$$),
    ('scoreboard_around', $$SELECT score FROM $f('published-a', radius => 0)$$),
    ('scoreboard_ranks', $$SELECT score FROM $f('{published-a}')$$),
    ('scoreboard_rank', $$SELECT $f('published-a') ->> 'score' AS score$$),
    ('scoreboard_me', $$SELECT $f(token => sign.token('published-a')) ->> 'score' AS score$$),
    ('scoreboard_view', $$SELECT $f(user_ids => '{published-a}', token => sign.token('published-a')) -> 'friends' -> 0 ->> 'score' AS score$$),
    ('scoreboard_boards', $$SELECT count(*) > 0 AS any FROM $f()$$), ('boards', $$SELECT json_array_length($f(NULL) -> 'boards') > 0 AS any$$),
    ('scoreboard_distribution', $$SELECT json_array_length($f() -> 'percentiles') AS count$$), ('scoreboard_export', $$SELECT count(*) > 0 AS any FROM $f()$$),
    ('scoreboard_ahead', $$SELECT $f('global', 9007199254740991, NULL) AS ahead$$),
    ('scoreboard_history', $$SELECT count(*) FROM $f(token => sign.token('published-a'))$$), ('history', $$SELECT json_array_length($f('global', NULL, 50, sign.token('published-a')) -> 'actions') AS count$$),
    ('scoreboard_history_for', $$SELECT count(*) FROM $f('published-a')$$), ('set_listed', $$SELECT $f(true, false, sign.token('published-a')) ->> 'listed' AS listed$$),
    ('live_top', $$SELECT $f('global', 1, 0, NULL, NULL) ->> 'board' AS board$$), ('leaderboard', $$SELECT $f('global', 1, NULL, NULL) ->> 'board' AS board$$),
    ('rank', $$SELECT $f('published-a', 'global', NULL, NULL) ->> 'score' AS score$$), ('me', $$SELECT $f('global', NULL, sign.token('published-a')) ->> 'score' AS score$$),
    ('around', $$SELECT $f('published-a', 'global', 0, NULL, NULL) -> 'entries' -> 0 ->> 'score' AS score$$), ('ranks', $$SELECT $f('{published-a}', 'global', NULL, NULL) -> 'entries' -> 0 ->> 'score' AS score$$),
    ('view', $$SELECT $f('global', 1, 0, '{}', NULL, NULL, sign.token('published-a')) -> 'own' ->> 'score' AS score$$),
    ('scoreboard_leaderboard', $$SELECT $f() ->> 'board' AS board$$),
    (NULL, $$UPDATE scoreboard.board SET keep_versions = '1 day' WHERE name = 'global' RETURNING name$$),
    (NULL, $$INSERT INTO scoreboard.kept_version SELECT 1, clock_timestamp(), 1, 1, '-infinity', 'infinity', 0, '{}', '{}', '{}' RETURNING board_id$$),
    ('scoreboard_leaderboard_at', $$SELECT $f('global', clock_timestamp()) ->> 'board' AS board$$),
    (NULL, $$UPDATE scoreboard.board SET keep_versions = NULL WHERE name = 'global' RETURNING name$$),
    ('scoreboard_documents', $$SELECT count(*) > 0 AS any FROM $f()$$),
    ('documents', $$SELECT count(*) > 0 AS any FROM $f('{}')$$),
    ('scoreboard_authenticate', $$SELECT user_id FROM $f(sign.token('published-a'))$$), ('authenticate', $$SELECT user_id FROM $f(sign.token('published-a'))$$),
    ('scoreboard_create_ticket', $$SELECT length(ticket) FROM $f(sign.token('published-a'))$$),
    ('create_ticket', $$SELECT max(length(t.ticket)) FROM generate_series(1, 4) AS n, $f(sign.token('published-a', jsonb_build_object('n', n))) AS t$$),
    ('redeem_ticket', $$SELECT r.user_id FROM scoreboard.create_ticket(sign.token('published-a')) AS t, $f(t.ticket) AS r$$),
    ('standings', $$SELECT user_id, score FROM $f('global', '{published-a}')$$),
    ('scoreboard_create_consumer', $$SELECT $f('published') IS NOT NULL AS there$$), ('scoreboard_events', $$SELECT count(*) >= 0 AS any FROM $f('published')$$), ('scoreboard_acknowledge', $$SELECT $f('published', 0) IS NOT NULL AS there$$),
    ('scoreboard_consumers', $$SELECT count(*) FROM $f()$$), ('outbox_behind', $$SELECT $f() >= 0 AS known$$), ('scoreboard_drop_consumer', $$SELECT $f('published')$$),
    ('scoreboard_freeze', $$SELECT $f('published-a')$$), ('scoreboard_restore', $$SELECT $f('published-a')$$),
    ('scoreboard_ban', $$SELECT $f('published-a')$$), ('scoreboard_restore', $$SELECT $f('published-a', 'was a mistake')$$),
    ('scoreboard_hide', $$SELECT $f('published-a')$$), ('scoreboard_hide', $$SELECT $f('published-a', false)$$),
    ('scoreboard_reset_season', $$SELECT season FROM $f('published-reset')$$),
    ('scoreboard_reset_season', $$SELECT season FROM $f('published-reset')$$),
    ('scoreboard_import', $$SELECT players FROM $f('global', '{published-b}', '{7}', 'published-2')$$),
    ('scoreboard_adjust', $$SELECT score FROM $f('published-a', 'global', -1, 'why', 'published-1')$$), ('scoreboard_adjust', $$SELECT score, replayed FROM $f('published-a', 'global', -1, 'why', 'published-1')$$),
    ('scoreboard_undo', $$SELECT score FROM $f('published-a', 'first', 'why', 'published-5')$$), ('scoreboard_undo', $$SELECT score, replayed FROM $f('published-a', 'first', 'why', 'published-5')$$),
    ('scoreboard_set_retention', $$SELECT $f('30 days', reference => 'published-3')$$), ('scoreboard_set_retention', $$SELECT $f(reference => 'published-4')$$), ('scoreboard_retention', $$SELECT actions_purged >= 0 AS any FROM $f()$$),
    ('scoreboard_set_verifier', $$SELECT $f('AWARD', 'sign.verify(jsonb)', 0.5)$$), ('scoreboard_set_verifier', $$SELECT $f('AWARD', 'sign.verify(jsonb)', 0)$$),
    ('scoreboard_set_verifier', $$SELECT $f('AWARD', NULL)$$),
    (NULL, $$INSERT INTO scoreboard.flag (user_id, board_id, kind) VALUES ('published-a', 1, 'rate') RETURNING kind$$), ('scoreboard_flags', $$SELECT kind FROM $f()$$),
    ('scoreboard_watch', $$SELECT $f() >= 0 AS watched$$),
    ('scoreboard_clear_flag', $$SELECT $f((SELECT max(flag_id) FROM scoreboard.flag), 'seen')$$),
    ('scoreboard_forget', $$SELECT mode FROM $f('published-b')$$), ('scoreboard_forget', $$SELECT mode FROM $f('published-new', 'anonymise')$$),
    ('scoreboard_stats', $$SELECT count(*) > 0 AS any FROM $f()$$), ('scoreboard_server_stats', $$SELECT count(*) FROM $f()$$),
    ('stats', $$SELECT count(*) > 0 AS any FROM $f()$$), ('server_stats', $$SELECT count(*) FROM $f()$$),
    ('scoreboard_library_version', $$SELECT $f() IS NOT NULL AS any$$),
    ('scoreboard_verify', $$SELECT count(*) FROM $f('global') WHERE user_id LIKE 'published-%'$$),
    (NULL, $$UPDATE scoreboard.score s SET score = 5 FROM scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id = 'published-a' RETURNING s.score$$),
    ('scoreboard_repair', $$SELECT score_repaired.found, score_repaired.expected FROM $f('global') AS score_repaired WHERE user_id LIKE 'published-%' LIMIT 1$$),
    (NULL, $$INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('PUBLISHED', 'grant', 1) RETURNING name$$),
    ('scoreboard_create_grant', $$SELECT length($f('published-a', 'PUBLISHED'))$$),
    (NULL, $$SELECT r.score FROM scoreboard.grant_token g, scoreboard_increment_for('published-a', 'PUBLISHED', g.grant_id) AS r WHERE g.user_id = 'published-a'$$),
    ('scoreboard_explain_receipt', $$SELECT $f(sign.receipt('published-a', 'FIND_COIN', 'x', issued_at => s), NULL, 'published-a', 'FIND_COIN', 'x', issued_at => s) ->> 'verifies' AS verifies FROM (SELECT sign.now() AS s) AS t$$),
    ('scoreboard_remove_issuer', $$SELECT $f('https://id.test')$$);
CREATE TEMP VIEW functions AS
    SELECT DISTINCT p.proname::text AS name, format('%I.%I', p.pronamespace::regnamespace, p.proname) AS qualified FROM scoreboard.api_members() m JOIN pg_proc p ON p.oid = m.function;
SELECT name AS without_a_call FROM functions EXCEPT SELECT name FROM calls;
SELECT name AS no_such_function FROM calls WHERE name IS NOT NULL EXCEPT SELECT name FROM functions;
SET client_min_messages = warning;
\pset tuples_only on
\set ECHO none
SELECT format('SELECT rpad(%L, 26), sign.outcome(%L)', coalesce(f.name, 'damage'), replace(c.call, '$f', coalesce(f.qualified, ''))) FROM calls c LEFT JOIN functions f USING (name) ORDER BY c.n \gexec
\set ECHO all
\pset tuples_only off
RESET client_min_messages;
-- Gone rows are published too.
DELETE FROM scoreboard.adjustment WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'published-a');
DELETE FROM scoreboard.action WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'published-a');
DELETE FROM scoreboard.balance WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'published-b');
DELETE FROM scoreboard.adjustment WHERE reference IN ('published-2', 'published-3', 'published-4');
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'published-%');
DELETE FROM scoreboard.player WHERE user_id LIKE 'published-%';
DELETE FROM scoreboard.flag WHERE user_id LIKE 'published-%';
DROP FUNCTION sign.verify;
DELETE FROM scoreboard.signing_key WHERE key_id LIKE 'published%';
DELETE FROM scoreboard.session_key WHERE user_id = 'published-a';
DELETE FROM scoreboard.action_type WHERE name = 'PUBLISHED';
DROP PUBLICATION sb_everything;
DROP ROLE regress_sb_published;
