-- What a row of settings can't be is said in a sentence.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
-- Every CHECK of a table that somebody edits has its sentence; a new one without is named here.
SELECT c.conrelid::regclass, c.conname AS without_a_sentence FROM pg_constraint c
    WHERE c.contype = 'c' AND obj_description(c.oid, 'pg_constraint') IS NULL AND c.conrelid IN (SELECT t.tgrelid FROM pg_trigger t WHERE t.tgname = 'check_form')
        AND c.conname NOT IN ('player_user_id_check', 'player_display_name_check', 'player_avatar_url_check')
    ORDER BY 1, 2;
SELECT c.oid::regclass AS not_checked FROM pg_class c
    WHERE c.oid = ANY (ARRAY['scoreboard.board', 'scoreboard.action_type', 'scoreboard.action_rule', 'scoreboard.signing_key', 'scoreboard.jwt_issuer', 'scoreboard.jwt_key', 'scoreboard.access_level', 'scoreboard.retention']::regclass[])
        AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'check_form');
-- SQLSTATE, sentence, DETAIL and CONSTRAINT of what a statement raises
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    name text;
    col text;
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, name = CONSTRAINT_NAME, col = COLUMN_NAME;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''), nullif(name, ''), nullif(col, ''));
END
$$;
INSERT INTO scoreboard.board (name) VALUES ('cons');
CREATE TEMP TABLE wrong (n integer GENERATED ALWAYS AS IDENTITY, statement text);
INSERT INTO wrong (statement) SELECT format('INSERT INTO scoreboard.board (name, %1$I) VALUES (''cons-x'', %2$L)', col, value)
    FROM (VALUES ('title', repeat('x', 201)), ('score_order', 'up'), ('operator', 'avg'), ('ties', 'random'), ('top_size', '101'), ('publish_interval_ms', '1'), ('lowest_score', '-9007199254740992'),
        ('visibility', 'secret'), ('visibility', 'permission'), ('permission', 'vip'), ('period', 'year'), ('rate_limit', '-1'), ('burst_limit', '1001'), ('title', NULL), ('created_at', NULL)) AS v(col, value);
INSERT INTO wrong (statement) VALUES ($$INSERT INTO scoreboard.board (name) VALUES ('Not A Name')$$), ($$INSERT INTO scoreboard.board (name) VALUES (NULL)$$), ($$UPDATE scoreboard.board SET top_size = 0 WHERE name = 'cons'$$),
    ($$INSERT INTO scoreboard.action_type (name, points) VALUES ('no name', 1)$$), ($$INSERT INTO scoreboard.action_type (name) VALUES ('CONS')$$), ($$INSERT INTO scoreboard.action_type (name, points, max_points) VALUES ('CONS', 1, 2)$$),
    ($$INSERT INTO scoreboard.action_type (name, min_points, max_points) VALUES ('CONS', 2, 1)$$), ($$INSERT INTO scoreboard.action_type (name, points, proof) VALUES ('CONS', 1, 'honour')$$),
    ($$INSERT INTO scoreboard.action_type (name, min_points, max_points, proof) VALUES ('CONS', 1, 2, 'session')$$), ($$INSERT INTO scoreboard.action_type (name, points) VALUES ('CONS', 9007199254740992)$$),
    ($$INSERT INTO scoreboard.action_type (name, points, receipt_max_age) VALUES ('CONS', 1, '8 days')$$),
    ($$INSERT INTO scoreboard.action_rule SELECT board_id, action_type_id, 1, 2, 3 FROM scoreboard.board, scoreboard.action_type WHERE (board.name, action_type.name) = ('cons', 'FIND_COIN')$$),
    ($$INSERT INTO scoreboard.action_rule (board_id, action_type_id, hourly_quota) SELECT board_id, action_type_id, -1 FROM scoreboard.board, scoreboard.action_type WHERE (board.name, action_type.name) = ('cons', 'FIND_COIN')$$),
    ($$INSERT INTO scoreboard.action_rule (board_id, action_type_id) SELECT 0, action_type_id FROM scoreboard.action_type WHERE name = 'FIND_COIN'$$),
    ($$INSERT INTO scoreboard.signing_key (key_id, secret) VALUES ('cons', 'canary-secret')$$), ($$INSERT INTO scoreboard.signing_key (key_id, secret) VALUES (NULL, repeat('c', 64))$$),
    ($$UPDATE scoreboard.signing_key SET valid_until = valid_from WHERE key_id = 'game'$$), ($$INSERT INTO scoreboard.jwt_key VALUES ('https://id.test', 9, NULL, 'none', '{"k": "canary-secret"}')$$),
    ($$INSERT INTO scoreboard.jwt_key VALUES ('https://id.test', 9, NULL, NULL, '{"k": "canary-secret"}')$$), ($$UPDATE scoreboard.jwt_issuer SET max_lifetime = '0'$$), ($$INSERT INTO scoreboard.access_level VALUES ('cons', 'owner')$$),
    ($$UPDATE scoreboard.player SET state = 'asleep'$$),
    -- Numbers that records refer to
    ($$UPDATE scoreboard.board SET board_id = 777 WHERE name = 'cons'$$), ($$UPDATE scoreboard.action_type SET action_type_id = 777 WHERE name = 'FIND_COIN'$$), ($$UPDATE scoreboard.signing_key SET signing_key_id = 777$$),
    -- Functions
    ($$SELECT scoreboard_create_key('game')$$), ($$SELECT scoreboard_create_key('no name')$$), ($$SELECT scoreboard_create_key('cons', valid_until => '-infinity')$$), ($$SELECT scoreboard_rotate_key('game', 'game')$$),
    ($$SELECT scoreboard_rotate_key('not-there', 'cons')$$), ($$SELECT scoreboard_set_issuer(NULL, '{"keys": []}', 'cons:')$$), ($$SELECT scoreboard_set_issuer('', '{"keys": []}', 'cons:')$$),
    ($$SELECT scoreboard_set_issuer('https://cons.test', '{"keys": []}', 'cons:', max_lifetime => '0')$$), ($$SELECT scoreboard_set_issuer('https://cons.test', '{"keys": []}', E'cons\t')$$),
    ($$SELECT scoreboard_set_issuer('https://cons.test', '{"keys": []}', '')$$);
SELECT scoreboard_set_profile('cons', 'C');
CREATE TEMP TABLE before AS SELECT (SELECT count(*) FROM scoreboard.board) AS boards, (SELECT count(*) FROM scoreboard.action_type) AS types, (SELECT count(*) FROM scoreboard.signing_key) AS keys,
    (SELECT count(*) FROM scoreboard.jwt_issuer) AS issuers, (SELECT count(*) FROM scoreboard.jwt_key) AS issuer_keys;
\pset format unaligned
SELECT pg_temp.refused(statement) FROM wrong ORDER BY n;
\pset format aligned
-- Nothing was written, and nothing of a secret said.
TABLE before EXCEPT SELECT (SELECT count(*) FROM scoreboard.board), (SELECT count(*) FROM scoreboard.action_type), (SELECT count(*) FROM scoreboard.signing_key),
    (SELECT count(*) FROM scoreboard.jwt_issuer), (SELECT count(*) FROM scoreboard.jwt_key);
SELECT n AS tells FROM wrong WHERE pg_temp.refused(statement) ~ 'canary|cccc';
-- ON CONFLICT goes on working; an administrator's own constraint keeps its error.
INSERT INTO scoreboard.board (name) VALUES ('cons') ON CONFLICT DO NOTHING;
ALTER TABLE scoreboard.board ADD CONSTRAINT own CHECK (name <> 'cons-own');
SELECT pg_temp.refused($$INSERT INTO scoreboard.board (name) VALUES ('cons-own')$$) ~ '^23514.*own$' AS own;
ALTER TABLE scoreboard.board DROP CONSTRAINT own;
-- So does a column of its own that is made of others: it has its value after the triggers.
ALTER TABLE scoreboard.board ADD COLUMN own text GENERATED ALWAYS AS (nullif(title, 'cons-own')) STORED NOT NULL;
SELECT pg_temp.refused($$INSERT INTO scoreboard.board (name, title) VALUES ('cons-own', 'cons-good')$$) AS own, pg_temp.refused($$UPDATE scoreboard.board SET title = 'cons-own' WHERE name = 'cons-own'$$) ~ '^23502' AS nothing;
ALTER TABLE scoreboard.board DROP COLUMN own;
DELETE FROM scoreboard.board WHERE name = 'cons-own';
-- A renamed type or board keeps its number, so that the past is found under its new name.
SELECT sign.wait_for_ranks();
SELECT score FROM scoreboard_increment_for('cons', 'AWARD', 'cons-1', 'cons', 5);
UPDATE scoreboard.board SET name = 'cons-renamed' WHERE name = 'cons';
SELECT score FROM scoreboard_top('cons-renamed');
-- A board that is deleted takes its scores with it; what was counted stays in the log.
DELETE FROM scoreboard.board WHERE name = 'cons-renamed';
SELECT count(*) AS orphans FROM scoreboard.score s WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.board_id = s.board_id);
SELECT count(*) AS logged FROM scoreboard.action WHERE action_id = 'cons-1';
DELETE FROM scoreboard.action WHERE action_id = 'cons-1';
DELETE FROM scoreboard.player WHERE user_id = 'cons';
