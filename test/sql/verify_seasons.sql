-- scoreboard_verify() finds what differs in ended seasons, of every operator, and in their documents; scoreboard_repair() mends it, and the publisher makes the
-- documents anew. Purged seasons are none.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE VIEW pg_temp.ours AS SELECT b.name, s.season, p.user_id, s.score, s.subscore, s.detail, s.listed FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id) WHERE b.name LIKE 'vs-%';
CREATE VIEW pg_temp.documents AS SELECT b.name, e.season, e.players, e.document::json -> 'players' #>> '{}' AS shown_players, (e.document::json -> 'entries')::text AS entries
    FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'vs-%' AND e.ended_at IS NOT NULL AND e.final;
CREATE FUNCTION pg_temp.all_final(n integer) RETURNS text LANGUAGE sql AS $$ SELECT sign.becomes(format('(SELECT count(*) = %s FROM pg_temp.documents)', n)) $$;
CREATE FUNCTION pg_temp.verify() RETURNS TABLE (board text, season integer, finding text, user_id text, expected text, found text, repaired boolean) LANGUAGE sql VOLATILE AS $$
    SELECT v.* FROM scoreboard.board b, LATERAL scoreboard_verify(b.name) v WHERE b.name LIKE 'vs-%' ORDER BY 1, 2, 3, 4
$$;
CREATE FUNCTION pg_temp.repair() RETURNS TABLE (board text, season integer, finding text, user_id text, expected text, found text, repaired boolean) LANGUAGE sql VOLATILE AS $$
    SELECT v.* FROM scoreboard.board b, LATERAL scoreboard_repair(b.name) v WHERE b.name LIKE 'vs-%' ORDER BY 1, 2, 3, 4
$$;
\set ECHO all

INSERT INTO scoreboard.board (name, period, operator, score_order, ties, publish_interval_ms) VALUES ('vs-best', 'reset', 'best', 'high', 'subscore high', 10), ('vs-low', 'reset', 'best', 'low', 'first', 10),
    ('vs-latest', 'reset', 'latest', 'high', 'shared', 10), ('vs-sum', 'reset', 'sum', 'high', 'first', 10);
UPDATE scoreboard.board SET counts_towards = ARRAY(SELECT board_id FROM scoreboard.board WHERE name LIKE 'vs-%' AND name <> 'vs-sum') WHERE name = 'vs-sum';
SELECT sign.wait_for_ranks();
-- Two seasons each, and a third that runs
SELECT count((scoreboard_increment_for('vs:' || n, 'AWARD', 'one-' || n || m, 'vs-sum', n + m, subscore => n, detail => 'd' || m)).score) FROM generate_series(1, 3) n, generate_series(1, 2) m;
SELECT i.season, i.players FROM scoreboard_import('vs-latest', '{vs:imported}', '{50}', 'vs-import') i;
SELECT a.season, a.score FROM scoreboard_adjust('vs:imported', 'vs-latest', -3, 'test', 'vs-adjust') a;
SELECT r.board, r.season FROM scoreboard.board b, LATERAL scoreboard_reset_season(b.name) r WHERE b.name LIKE 'vs-%' ORDER BY 1;
SELECT count((scoreboard_increment_for('vs:' || n, 'AWARD', 'two-' || n, 'vs-sum', 10 - n)).score) FROM generate_series(1, 2) n;
SELECT r.board, r.season FROM scoreboard.board b, LATERAL scoreboard_reset_season(b.name) r WHERE b.name LIKE 'vs-%' ORDER BY 1;
SELECT count((scoreboard_increment_for('vs:' || n, 'AWARD', 'three-' || n, 'vs-sum', n)).score) FROM generate_series(1, 2) n;
SELECT pg_temp.all_final(8);
SELECT name, season, count(*), sum(score) FROM pg_temp.ours GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM pg_temp.verify();
CREATE TEMP TABLE expected AS TABLE pg_temp.ours;
CREATE TEMP TABLE documents_before AS TABLE pg_temp.documents;

-- Damaged in every way, in ended seasons and the running one
CREATE FUNCTION pg_temp.damage(board text, season integer, who text, change text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(CASE WHEN change = 'delete' THEN 'DELETE FROM scoreboard.score s USING scoreboard.board b, scoreboard.player p WHERE %2$s' ELSE 'UPDATE scoreboard.score s SET %1$s FROM scoreboard.board b, scoreboard.player p WHERE %2$s' END,
        change, format('b.board_id = s.board_id AND p.player_id = s.player_id AND b.name = %L AND s.season = %s AND p.user_id = %L', board, season, who));
END
$$;
SELECT pg_temp.damage('vs-sum', 1, 'vs:1', 'score = score + 1000'), pg_temp.damage('vs-sum', 2, 'vs:2', 'delete'), pg_temp.damage('vs-best', 1, 'vs:3', $$subscore = 99, detail = 'wrong'$$),
    pg_temp.damage('vs-low', 1, 'vs:2', 'listed = false'), pg_temp.damage('vs-latest', 1, 'vs:imported', 'score = 1'), pg_temp.damage('vs-sum', 3, 'vs:1', 'score = 4');
-- The document as somebody has written it, and its count
UPDATE scoreboard.season e SET document = replace(document, 'vs:1', 'vs:9') FROM scoreboard.board b WHERE b.board_id = e.board_id AND b.name = 'vs-best' AND e.season = 2;
UPDATE scoreboard.season e SET players = 77 FROM scoreboard.board b WHERE b.board_id = e.board_id AND b.name = 'vs-low' AND e.season = 2;
SELECT * FROM pg_temp.verify();
SELECT * FROM pg_temp.repair();
SELECT pg_temp.all_final(8);
SELECT * FROM pg_temp.verify();
SELECT * FROM ((TABLE expected EXCEPT TABLE pg_temp.ours) UNION ALL (TABLE pg_temp.ours EXCEPT TABLE expected)) AS d;
SELECT * FROM ((TABLE documents_before EXCEPT TABLE pg_temp.documents) UNION ALL (TABLE pg_temp.documents EXCEPT TABLE documents_before)) AS d;
-- Whose score isn't recorded in any season
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT b.board_id, 1, p.player_id, 5, now() FROM scoreboard.board b, scoreboard.player p WHERE b.name = 'vs-sum' AND p.user_id = 'vs:imported';
SELECT * FROM pg_temp.verify() WHERE user_id IS NOT NULL;
SELECT pg_temp.damage('vs-sum', 1, 'vs:imported', 'delete');
-- A season that was purged is none, whatever the log says.
UPDATE scoreboard.season e SET ended_at = ended_at - interval '2 hours' FROM scoreboard.board b WHERE b.board_id = e.board_id AND b.name LIKE 'vs-%' AND e.season = 1;
UPDATE scoreboard.board SET season_retention = '1 hour' WHERE name LIKE 'vs-%';
SELECT sign.becomes('NOT EXISTS (SELECT FROM scoreboard.seasons_to_purge())');
SELECT season, count(*) FROM pg_temp.ours GROUP BY 1 ORDER BY 1;
SELECT * FROM pg_temp.verify();
SELECT * FROM pg_temp.repair();
SELECT season, count(*) FROM pg_temp.ours GROUP BY 1 ORDER BY 1;
DELETE FROM scoreboard.board WHERE name LIKE 'vs-%';
