-- Nobody below the level server names a player: each function that readers, players and gateways may call is judged here, and called by a
-- gateway that lies: for a hidden player, without its token, with claims and headers of its own making. A function without a line is named.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE regress_sb_liar;
SELECT scoreboard_grant_access('regress_sb_liar', 'gateway');
GRANT USAGE ON SCHEMA sign TO PUBLIC;
GRANT SELECT ON sign.key TO PUBLIC;
INSERT INTO scoreboard.board (name, keep_versions) VALUES ('nam', '1 day');
SELECT sign.wait_for_ranks();
-- Hidden before it scores, so that it has never stood in a list.
SELECT scoreboard_set_profile('nam-victim', NULL);
SELECT scoreboard_hide('nam-victim');
SELECT score FROM sign.increment('nam-victim', 'COMPLETE_LEVEL', 'nam-0', 'nam');
-- As if it had stood there.
INSERT INTO scoreboard.kept_version SELECT board_id, clock_timestamp(), 1, 1, '-infinity', 'infinity', 1, '{1}', ARRAY[player_id], '{5}' FROM scoreboard.board, scoreboard.player WHERE name = 'nam' AND user_id = 'nam-victim';
-- own: only for the token's player. all: what everybody may see, so nothing of a hidden player. each: a token in each element. gateway: shown
-- to gateways, which check visibility by themselves. none: names nobody.
CREATE TABLE sign.judged (n integer GENERATED ALWAYS AS IDENTITY, name text, verdict text, call text);
GRANT SELECT ON sign.judged TO PUBLIC;
INSERT INTO sign.judged (name, verdict, call) VALUES
    ('public.scoreboard_increment', 'own', $$SELECT $f('COMPLETE_LEVEL', 'nam-1', 'nam', $receipt)$$),
    ('public.scoreboard_increment', 'own', $$SELECT $f('COMPLETE_LEVEL', 'nam-1', 'nam', $receipt, token => '')$$),
    ('public.scoreboard_submit', 'each', $$SELECT status, body -> 'error' ->> 'code' AS code FROM $f($requests)$$),
    ('scoreboard.submit', 'each', $$SELECT status, body -> 'error' ->> 'code' AS code FROM $f($requests)$$),
    ('public.scoreboard_me', 'own', $$SELECT $f('nam')$$), ('scoreboard.me', 'own', $$SELECT $f('nam', NULL, NULL)$$),
    ('public.scoreboard_history', 'own', $$SELECT * FROM $f('nam')$$), ('scoreboard.history', 'own', $$SELECT $f('nam', NULL, 10, NULL)$$),
    ('public.scoreboard_set_listed', 'own', $$SELECT $f(true)$$), ('scoreboard.set_listed', 'own', $$SELECT $f(true, false, NULL)$$),
    ('public.scoreboard_create_ticket', 'own', $$SELECT $f()$$), ('scoreboard.create_ticket', 'own', $$SELECT $f(NULL)$$),
    ('scoreboard.redeem_ticket', 'own', $$SELECT $f(NULL)$$), ('public.scoreboard_authenticate', 'own', $$SELECT $f()$$), ('scoreboard.authenticate', 'own', $$SELECT $f(NULL)$$),
    ('public.scoreboard_rank', 'all', $$SELECT $f('nam-victim', 'nam')$$), ('scoreboard.rank', 'all', $$SELECT $f('nam-victim', 'nam', NULL, NULL)$$),
    ('public.scoreboard_around', 'all', $$SELECT * FROM $f('nam-victim', 'nam')$$), ('scoreboard.around', 'all', $$SELECT $f('nam-victim', 'nam', 1, NULL, NULL)$$),
    ('public.scoreboard_ranks', 'all', $$SELECT count(*) FROM $f('{nam-victim}', 'nam')$$), ('scoreboard.ranks', 'all', $$SELECT $f('{nam-victim}', 'nam', NULL, NULL) -> 'entries' AS entries$$),
    ('public.scoreboard_view', 'all', $$SELECT v -> 'own' AS own, v -> 'friends' AS friends, v -> 'entries' AS entries FROM $f('nam', user_id => 'nam-victim', user_ids => '{nam-victim}') AS v$$),
    ('scoreboard.view', 'all', $$SELECT v -> 'own' AS own, v -> 'friends' AS friends, v -> 'entries' AS entries FROM $f('nam', 10, 2, '{nam-victim}', 'nam-victim', NULL, NULL) AS v$$),
    ('public.scoreboard_top', 'all', $$SELECT count(*) FROM $f('nam')$$), ('scoreboard.live_top', 'all', $$SELECT $f('nam', 10, 0, NULL, NULL) -> 'entries' AS entries$$),
    ('public.scoreboard_leaderboard', 'all', $$SELECT $f('global') ->> 'board' AS board$$), ('scoreboard.leaderboard', 'all', $$SELECT $f('global', 1, NULL, NULL) ->> 'board' AS board$$),
    ('public.scoreboard_leaderboard_at', 'all', $$SELECT $f('nam', clock_timestamp()) -> 'entries' AS entries$$),
    ('scoreboard.standings', 'all', $$SELECT score, rank, players FROM $f('nam', '{nam-victim}')$$), ('scoreboard.standings', 'all', $$SELECT score, rank, players FROM $f('nam', '{nam-victim}', $pass)$$),
    ('public.scoreboard_documents', 'gateway', $$SELECT count(*) FROM $f() WHERE document::text LIKE '%nam-victim%'$$), ('scoreboard.documents', 'gateway', $$SELECT count(*) FROM $f('{}') WHERE document::text LIKE '%nam-victim%'$$),
    ('public.scoreboard_distribution', 'all', $$SELECT $f('nam') ->> 'players' AS players$$),
    ('public.scoreboard_ahead', 'none', $$SELECT $f('nam', 0, NULL) AS ahead$$),
    ('public.scoreboard_boards', 'none', $$SELECT count(*) > 0 AS any FROM $f()$$), ('scoreboard.boards', 'none', $$SELECT json_typeof($f(NULL)) AS type$$),
    ('public.scoreboard_stats', 'none', NULL), ('scoreboard.stats', 'none', NULL), ('public.scoreboard_server_stats', 'none', NULL), ('scoreboard.server_stats', 'none', NULL), ('scoreboard.outbox_behind', 'none', NULL),
    ('public.scoreboard_library_version', 'none', NULL);
CREATE TEMP VIEW reachable AS
    SELECT format('%s.%s', p.pronamespace::regnamespace, p.proname) AS name, p.oid FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE e.extname = 'scoreboard' AND p.prorettype <> 'trigger'::regtype AND p.proname NOT LIKE 'valid\_%' AND has_function_privilege('regress_sb_liar', p.oid, 'EXECUTE');
SELECT name AS not_judged FROM reachable EXCEPT SELECT name FROM sign.judged;
SELECT name AS not_reachable FROM sign.judged EXCEPT SELECT name FROM reachable;
-- What takes a player's id is judged to show what everybody sees, or what gateways may.
SELECT r.name AS names_a_player FROM reachable r JOIN pg_proc p USING (oid) JOIN sign.judged j USING (name)
    WHERE p.proargnames[:p.pronargs] && '{user_id,user_ids,player,player_id}' AND j.verdict NOT IN ('all', 'gateway');
SELECT format('issued_at => %s, receipt => %L', s, sign.receipt('nam-victim', 'COMPLETE_LEVEL', 'nam-1', 'nam', issued_at => s)) AS receipt,
    quote_literal(json_build_array(json_build_object('actionType', 'COMPLETE_LEVEL', 'actionId', 'nam-1', 'board', 'nam', 'userId', 'nam-victim', 'user_id', 'nam-victim', 'issuedAt', s,
        'receipt', sign.receipt('nam-victim', 'COMPLETE_LEVEL', 'nam-1', 'nam', issued_at => s)))) AS requests,
    json_build_object('iss', 'https://id.test', 'sub', 'nam-victim', 'exp', s + 600) AS claims FROM sign.now() AS s \gset
-- A pass of the liar's own making
SELECT quote_literal(ARRAY[to_char(extract(epoch FROM now()) + 600, 'FM9999999999') || ':' || left(encode(sha256('nam-victim'), 'hex'), 32)]) AS pass \gset
SELECT sign.written() AS before \gset
SET SESSION AUTHORIZATION regress_sb_liar;
SELECT set_config('request.jwt.claims', :'claims', false) <> '' AS set, set_config('request.jwt.claim.sub', 'nam-victim', false) <> '' AS set,
    set_config('request.headers', '{"authorization": "Bearer nam-victim", "x-user-id": "nam-victim"}', false) <> '' AS set, set_config('request.method', 'POST', false) <> '' AS set;
\set ECHO none
\pset tuples_only on
SELECT format('SELECT rpad(%L, 33), %L, sign.outcome(%L)', name, verdict, replace(replace(replace(replace(call, '$f', name), '$receipt', :'receipt'), '$requests', :'requests'), '$pass', :'pass')) FROM sign.judged WHERE call IS NOT NULL ORDER BY n \gexec
\pset tuples_only off
\set ECHO all
-- Levels that may name players are others'.
SELECT sign.outcome($$SELECT scoreboard_increment_for('nam-victim', 'AWARD', 'nam-2', 'nam', 1)$$);
SELECT sign.outcome($$SELECT scoreboard_history_for('nam-victim', 'nam')$$);
RESET SESSION AUTHORIZATION;
SELECT sign.written() = :'before' AS nothing_written;
-- A player with a good token reads its own history, also with another's cursor; keys, refusals, tickets and others' rows are nobody's below admin.
SELECT score FROM sign.increment('nam-other', 'COMPLETE_LEVEL', 'nam-3', 'nam');
SELECT cursor AS another FROM scoreboard_history_for('nam-victim', 'nam') LIMIT 1 \gset
SELECT action_id FROM scoreboard_history('nam', :'another', token => sign.token('nam-other')) WHERE action_id <> 'nam-3';
SELECT r.relname, string_agg(p.privilege, ' ') AS given FROM (SELECT c.oid, c.relname, c.relkind FROM pg_class c WHERE c.relnamespace = 'scoreboard'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')) AS r,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p(privilege)
    WHERE CASE r.relkind WHEN 'S' THEN p.privilege IN ('SELECT', 'UPDATE') AND has_sequence_privilege('regress_sb_liar', r.oid, p.privilege)
        ELSE has_table_privilege('regress_sb_liar', r.oid, p.privilege) OR p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege('regress_sb_liar', r.oid, p.privilege) END
    GROUP BY r.relname;
SELECT scoreboard_revoke_access('regress_sb_liar');
DROP TABLE sign.judged CASCADE;
DELETE FROM scoreboard.board WHERE name = 'nam';
DELETE FROM scoreboard.action WHERE action_id LIKE 'nam-%';
DELETE FROM scoreboard.player WHERE user_id LIKE 'nam-%';
DROP ROLE regress_sb_liar;
