-- Corrections: what each does to a score, that lists and ranks follow, that each is recorded once with who and why, and what is refused.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, operator, score_order, lowest_score) VALUES
    ('adj', 'sum', 'high', 0), ('adj-below', 'sum', 'high', -50), ('adj-best', 'best', 'high', 0), ('adj-race', 'best', 'low', 0), ('adj-latest', 'latest', 'high', 0);
SELECT who, v.board, score FROM (VALUES ('aj:ann', 'adj', 30), ('aj:bob', 'adj', 20), ('aj:cy', 'adj', 10), ('aj:ann', 'adj-below', 30), ('aj:ann', 'adj-best', 30), ('aj:ann', 'adj-race', 30), ('aj:ann', 'adj-latest', 30)) AS v (who, board, points),
    LATERAL scoreboard_increment_for(who, 'AWARD', v.board, v.board, points, subscore => 7, detail => 'of the action') AS r;
CREATE FUNCTION pg_temp.adjust(who text, board text, points bigint, reference text, reason text DEFAULT 'a mistake') RETURNS text LANGUAGE sql AS $$
    SELECT sign.outcome(format('SELECT previous_score, score, applied_points, replayed FROM scoreboard_adjust(%L, %L, %L, %L, %L)', who, board, points, reason, reference))
$$;
CREATE VIEW pg_temp.list AS SELECT rank, user_id, score FROM scoreboard_top('adj') ORDER BY rank;

-- Up and down; ranks follow with the commit, subscore and detail stay.
SELECT pg_temp.adjust('aj:cy', 'adj', 15, 'adj-1');
SELECT * FROM pg_temp.list;
SELECT pg_temp.adjust('aj:ann', 'adj', -8, 'adj-2');
SELECT * FROM pg_temp.list;
SELECT s.score, s.subscore, s.detail, s.reached_at = a.made_at AS reached_anew FROM scoreboard.score s JOIN scoreboard.player USING (player_id) JOIN scoreboard.adjustment a ON a.reference = 'adj-2'
    WHERE user_id = 'aj:ann' AND s.board_id = a.board_id;
-- Who comes to a score by a correction stands behind who had it before.
SELECT pg_temp.adjust('aj:bob', 'adj', 2, 'adj-3');
SELECT * FROM pg_temp.list;

-- The same again is answered as the first time, whatever has happened since; anything else under the reference is refused.
SELECT score FROM scoreboard_increment_for('aj:ann', 'AWARD', 'later', 'adj', 100);
SELECT pg_temp.adjust('aj:ann', 'adj', -8, 'adj-2');
SELECT (scoreboard_adjust('aj:ann', 'adj', -8, 'a mistake', 'adj-2')).* \gset again_
SELECT :'again_adjusted_at'::timestamptz = made_at AS same_moment FROM scoreboard.adjustment WHERE reference = 'adj-2';
SELECT pg_temp.adjust('aj:ann', 'adj', -9, 'adj-2');
SELECT pg_temp.adjust('aj:bob', 'adj', -8, 'adj-2');
SELECT pg_temp.adjust('aj:ann', 'adj-below', -8, 'adj-2');
SELECT pg_temp.adjust('aj:ann', 'adj', -8, 'adj-2', 'another reason');
SELECT scoreboard_freeze('aj:cy', 'case', 'adj-case');
SELECT pg_temp.adjust('aj:cy', 'adj', 1, 'adj-case');
SELECT sign.outcome($$SELECT scoreboard_freeze('aj:ann', 'case', 'adj-2')$$);

-- The lowest score is where corrections stop; they never lift who is below it.
SELECT pg_temp.adjust('aj:bob', 'adj', -1000, 'adj-4');
SELECT pg_temp.adjust('aj:bob', 'adj', -1000, 'adj-5');
SELECT pg_temp.adjust('aj:ann', 'adj-below', -1000, 'adj-6');
UPDATE scoreboard.board SET lowest_score = 0 WHERE name = 'adj-below';
SELECT pg_temp.adjust('aj:ann', 'adj-below', -10, 'adj-7');
SELECT pg_temp.adjust('aj:ann', 'adj-below', 10, 'adj-8');

-- With best and latest: the score that stands is corrected, and later actions are compared with it, or take its place.
SELECT pg_temp.adjust('aj:ann', 'adj-best', -10, 'adj-9');
SELECT score, applied_points FROM scoreboard_increment_for('aj:ann', 'AWARD', 'worse', 'adj-best', 15);
SELECT score, applied_points FROM scoreboard_increment_for('aj:ann', 'AWARD', 'better', 'adj-best', 25);
SELECT pg_temp.adjust('aj:ann', 'adj-race', 5, 'adj-10');
SELECT score, applied_points FROM scoreboard_increment_for('aj:ann', 'AWARD', 'faster', 'adj-race', 33);
SELECT pg_temp.adjust('aj:ann', 'adj-latest', -5, 'adj-11');
SELECT score, applied_points FROM scoreboard_increment_for('aj:ann', 'AWARD', 'latest', 'adj-latest', 12);
-- No score: with sum a correction is the first credit.
SELECT pg_temp.adjust('aj:bob', 'adj-best', 5, 'adj-12'), pg_temp.adjust('aj:bob', 'adj-latest', 5, 'adj-13');
SELECT pg_temp.adjust('aj:bob', 'adj-below', 5, 'adj-14');
SELECT score, previous_score FROM scoreboard_increment_for('aj:bob', 'AWARD', 'then', 'adj-below', 1);

-- Frozen, banned and hidden players are corrected where they stand, and come back with it.
SELECT pg_temp.adjust('aj:cy', 'adj', 50, 'adj-15');
SELECT scoreboard_ban('aj:cy');
SELECT pg_temp.adjust('aj:cy', 'adj', 50, 'adj-16'), pg_temp.adjust('aj:cy', 'adj-below', 50, 'adj-17');
SELECT * FROM pg_temp.list;
SELECT user_id FROM scoreboard_top('adj-below');
SELECT scoreboard_restore('aj:cy');
SELECT * FROM pg_temp.list;
SELECT user_id FROM scoreboard_top('adj-below');

-- Refused, with nothing written.
SELECT count(*) AS before, md5(string_agg(s::text, ' ' ORDER BY s)) AS scores FROM scoreboard.adjustment, (SELECT string_agg(s::text, ' ' ORDER BY player_id, board_id) FROM scoreboard.score s) AS t (s) \gset
SELECT pg_temp.adjust('aj:nobody', 'adj', 1, 'adj-x'), pg_temp.adjust('aj:ann', 'none', 1, 'adj-x');
SELECT pg_temp.adjust('aj:ann', 'adj', 0, 'adj-x');
SELECT pg_temp.adjust('aj:ann', 'adj', 9007199254740992, 'adj-x'), pg_temp.adjust('aj:ann', 'adj', 9007199254740991, 'adj-x');
SELECT pg_temp.adjust('aj:ann', 'adj', 1, ''), pg_temp.adjust('aj:ann', 'adj', 1, repeat('x', 256)), pg_temp.adjust('aj:ann', 'adj', 1, E'a\nb');
SELECT pg_temp.adjust('aj:ann', 'adj', 1, 'adj-x', ''), pg_temp.adjust('aj:ann', 'adj', 1, 'adj-x', repeat('ü', 1001));
SELECT pg_temp.adjust('', 'adj', 1, 'adj-x'), pg_temp.adjust(NULL, 'adj', 1, 'adj-x'), pg_temp.adjust('aj:ann', 'adj', 1, NULL), pg_temp.adjust('aj:ann', 'adj', 1, 'adj-x', NULL);
SELECT count(*) = :before AS none_recorded, md5(string_agg(s::text, ' ' ORDER BY s)) = :'scores' AS none_changed FROM scoreboard.adjustment, (SELECT string_agg(s::text, ' ' ORDER BY player_id, board_id) FROM scoreboard.score s) AS t (s);
BEGIN;
SELECT pg_temp.adjust('aj:ann', 'adj', 1000, 'adj-rolled-back');
ROLLBACK;
SELECT * FROM pg_temp.list;

-- The record: who, why, what was asked for and what was applied. Scores are the sum of actions and corrections.
SELECT a.reference, p.user_id, b.name AS board, a.points, a.applied_points, a.previous_score, a.score, a.reason, a.made_by = session_user AS by_me
    FROM scoreboard.adjustment a JOIN scoreboard.player p USING (player_id) JOIN scoreboard.board b USING (board_id) WHERE a.kind = 'adjust' AND p.user_id LIKE 'aj:%' ORDER BY adjustment_id;
SET client_min_messages = warning;
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'adj%' AND user_id IS NOT NULL;
-- What was lost is found again in both.
CREATE TEMP TABLE kept AS SELECT * FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'aj:%');
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM kept);
SELECT finding, count(*) FROM scoreboard_repair() WHERE user_id LIKE 'aj:%' GROUP BY finding;
SELECT * FROM (SELECT * FROM kept EXCEPT SELECT * FROM scoreboard.score) AS lost;

DELETE FROM scoreboard.adjustment WHERE player_id IN (SELECT player_id FROM kept);
DELETE FROM scoreboard.action WHERE player_id IN (SELECT player_id FROM kept);
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM kept);
DELETE FROM scoreboard.player WHERE user_id LIKE 'aj:%';
DELETE FROM scoreboard.board WHERE name LIKE 'adj%';
