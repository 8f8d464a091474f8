-- Where players and scores were found last is remembered in shared memory, and is never believed: rows that move, make room for others, or
-- are gone with their pages are found as they are.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
INSERT INTO scoreboard.board (name) VALUES ('hints');
CREATE FUNCTION pg_temp.all_again(action text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg((scoreboard_increment_for('hints:' || n, 'AWARD', action, 'hints', n)).score::text, ' ' ORDER BY n) FROM generate_series(1, 8) n
$$;
CREATE FUNCTION pg_temp.ranked() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s=%s', n, scoreboard_rank('hints:' || n, 'hints') ->> 'score'), ' ' ORDER BY n) FROM generate_series(1, 8) n
$$;
\set ECHO all
SELECT pg_temp.all_again('1');
SELECT pg_temp.all_again('2');
SELECT pg_temp.ranked();

-- What was found once is found without the index.
BEGIN;
SELECT pg_stat_get_xact_numscans('scoreboard.player_user_id_key'::regclass) + pg_stat_get_xact_numscans('scoreboard.score_pkey'::regclass) AS before \gset
SELECT (scoreboard_increment_for('hints:8', 'AWARD', 'counted', 'hints', 0)).score;
SELECT pg_stat_get_xact_numscans('scoreboard.player_user_id_key'::regclass) + pg_stat_get_xact_numscans('scoreboard.score_pkey'::regclass) - :before AS scans;
ROLLBACK;

-- Another row in each one's place: written again from the last to the first
CREATE TEMP TABLE kept AS SELECT s.*, s.ctid AS place FROM scoreboard.score s JOIN scoreboard.player p USING (player_id) WHERE p.user_id LIKE 'hints:%';
CREATE TEMP TABLE others AS SELECT s.* FROM scoreboard.score s WHERE s.player_id NOT IN (SELECT player_id FROM kept);
TRUNCATE scoreboard.score;
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, season, player_id, score, reached_at FROM kept ORDER BY player_id DESC;
SELECT pg_temp.ranked();
SELECT pg_temp.all_again('3');
TRUNCATE scoreboard.score;
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, season, player_id, score, reached_at FROM kept ORDER BY player_id;
SELECT pg_temp.all_again('4');
SELECT pg_temp.ranked();

-- Players in each other's place: nobody is taken for somebody else.
UPDATE scoreboard.player SET user_id = 'hints:moved:' || right(user_id, 1) WHERE user_id LIKE 'hints:%';
UPDATE scoreboard.player SET user_id = 'hints:' || 9 - right(user_id, 1)::int WHERE user_id LIKE 'hints:moved:%';
SELECT pg_temp.ranked();
SELECT pg_temp.all_again('5');
VACUUM FULL scoreboard.player;
SELECT pg_temp.ranked();

-- On pages that are gone
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT -1, 1, n, n, now() FROM generate_series(1, 20000) n;
DELETE FROM scoreboard.score WHERE board_id > 0;
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, season, player_id, score, reached_at FROM kept;
SELECT pg_temp.ranked();
TRUNCATE scoreboard.score;
SELECT pg_temp.all_again('6');
SELECT pg_temp.ranked();

-- As it was, for those who come after
TRUNCATE scoreboard.score;
INSERT INTO scoreboard.score SELECT * FROM others;
DELETE FROM scoreboard.action WHERE player_id IN (SELECT player_id FROM kept);
DELETE FROM scoreboard.player WHERE player_id IN (SELECT player_id FROM kept);
DELETE FROM scoreboard.board WHERE name = 'hints';
SELECT sign.wait_for_ranks();
