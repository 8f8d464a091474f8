-- A template that is reset takes its label boards along: all of them end their seasons at one moment and begin the one of the same number, which
-- a label board that is made later has, too.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('sl', 'reset', 10), ('sl-other', 'reset', 10);
SELECT * FROM scoreboard_set_label_boards('sl', 'country', '{de,fr}');
SELECT scoreboard_set_labels('sl:' || who, jsonb_build_object('country', country, 'team', 'red')) FROM (VALUES ('ada', 'de'), ('bob', 'fr'), ('cyd', 'it')) AS t (who, country);
UPDATE scoreboard.board SET lowest_score = -7 WHERE name = 'sl.country.fr';
SELECT sign.wait_for_ranks();
CREATE FUNCTION pg_temp.play(round text) RETURNS TABLE (who text, season integer, score bigint) LANGUAGE sql AS $$
    SELECT w, r.season, r.score FROM unnest(ARRAY['sl:ada', 'sl:bob', 'sl:cyd']) AS w, LATERAL scoreboard_increment_for(w, 'AWARD', round, 'sl', 5) r ORDER BY 1
$$;
CREATE VIEW pg_temp.running AS SELECT b.board, b.season FROM scoreboard_boards() b WHERE b.board LIKE 'sl%' ORDER BY 1;
CREATE FUNCTION pg_temp.final(season integer) RETURNS text LANGUAGE sql AS $$
    SELECT sign.becomes(format('NOT EXISTS (SELECT FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE ''sl%%'' AND e.season = %s AND e.ended_at IS NOT NULL AND NOT e.final)', season))
$$;
SELECT * FROM pg_temp.play('1');
SELECT r.board, r.season, r.next_season, r.replayed FROM scoreboard_reset_season('sl', 'summer is over', 'sl-1') r;
TABLE pg_temp.running;
-- At one moment, and who did it
SELECT count(DISTINCT s.ended_at) AS ends, count(DISTINCT s.began_at) FILTER (WHERE s.season = 2) AS begins, count(*) FROM scoreboard.season s JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'sl%' AND b.name <> 'sl-other';
SELECT b.name, a.reference, a.season, a.reason, a.made_at = e.ended_at AS at_its_end FROM scoreboard.adjustment a JOIN scoreboard.board b USING (board_id) JOIN scoreboard.season e USING (board_id, season)
    WHERE a.kind = 'reset' AND b.name LIKE 'sl%' ORDER BY 1;
SELECT a.ended_at = e.ended_at AS same_moment, a.replayed FROM scoreboard_reset_season('sl', reference => 'sl-1') a, scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name = 'sl' AND e.season = a.season;
-- Nothing else than the season: what a label board was given of its own stays.
SELECT name, lowest_score FROM scoreboard.board WHERE name LIKE 'sl.%' ORDER BY 1;
SELECT * FROM pg_temp.play('2');
SELECT b.board, b.season, string_agg(t.user_id || ' ' || t.score, ', ' ORDER BY t.rank, t.user_id) AS list FROM scoreboard_boards() b, LATERAL scoreboard_top(b.board) t WHERE b.board LIKE 'sl%' GROUP BY 1, 2 ORDER BY 1;
SELECT pg_temp.final(1);
SELECT b.name, e.players, e.document::json -> 'entries' -> 0 ->> 'userId' AS first FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'sl%' AND e.season = 1 AND e.ended_at IS NOT NULL ORDER BY 1;
-- A label board's season ends with its template's.
SELECT sign.outcome($$SELECT scoreboard_reset_season('sl.country.de')$$);
-- One that is made now begins where the others are.
SELECT * FROM scoreboard_set_label_boards('sl', 'country', '{de,fr,it}');
TABLE pg_temp.running;
SELECT * FROM pg_temp.play('3');
SELECT t.user_id, t.score FROM scoreboard_top('sl.country.it') t;
SELECT sign.becomes($$EXISTS (SELECT FROM scoreboard.top WHERE board = 'sl.country.it' AND season = 2 AND players = 1)$$);
-- Taken back
BEGIN;
SAVEPOINT s;
SELECT r.next_season FROM scoreboard_reset_season('sl') r;
ROLLBACK TO s;
SELECT season, score FROM scoreboard_increment_for('sl:ada', 'AWARD', '4', 'sl', 5);
COMMIT;
TABLE pg_temp.running;
-- One that has had more seasons, as a label board by itself could once: no number comes again.
INSERT INTO scoreboard.season (board_id, season, began_at) SELECT board_id, 6, now() FROM scoreboard.board WHERE name = 'sl.country.de';
UPDATE scoreboard.board SET title = 'de' WHERE name = 'sl.country.de';
SELECT r.season, r.next_season FROM scoreboard_reset_season('sl') r;
TABLE pg_temp.running;
SELECT * FROM pg_temp.play('5');
SELECT b.name, s.season, s.score FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'sl.%' ORDER BY 1, 2;
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'sl%';
-- Who is forgotten is in none of them.
SELECT f.mode FROM scoreboard_forget('sl:ada') f;
SELECT sign.becomes($$NOT EXISTS (SELECT FROM scoreboard.season e WHERE e.document LIKE '%"sl:ada"%')$$);
-- A time zone is asked for once, by its name.
SELECT sign.outcome(format('UPDATE scoreboard.board SET time_zone = %L WHERE name = ''sl-other'' RETURNING time_zone', zone)) FROM unnest(ARRAY['Mars/Olympus', 'Asia/Kathmandu', 'XYZ5', 'Asia/Kathmandu']) AS zone;
SELECT sign.outcome(format('INSERT INTO scoreboard.board (name, time_zone) VALUES (''sl-zone'' || length(%L), %1$L) RETURNING time_zone', zone)) FROM unnest(ARRAY['Mars/Olympus', 'Asia/Kathmandu', 'XYZ5']) AS zone;
DELETE FROM scoreboard.board WHERE name LIKE 'sl%';
DELETE FROM scoreboard.adjustment WHERE kind = 'reset';
