-- The published list follows every change that it shows, and only those. Each step waits for the list that it must lead to.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set VERBOSITY default
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, top_size, publish_interval_ms) VALUES ('follow', 2, 10);
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('FOLLOW', 'trusted', -100, 100);
CREATE FUNCTION pg_temp.act(who text, points bigint, board text DEFAULT 'follow') RETURNS void LANGUAGE sql AS $$
    SELECT public.scoreboard_increment_for(who, 'FOLLOW', gen_random_uuid()::text, act.board, act.points)
$$;
-- Waits until the stored list says so; what it says instead, if that is in vain.
CREATE FUNCTION pg_temp.shows(wanted text, board text DEFAULT 'follow') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    FOR round IN 1..1500 LOOP
        SELECT string_agg(concat_ws(' ', e ->> 'rank', e ->> 'userId', e ->> 'score', e ->> 'displayName', e ->> 'avatarUrl'), ', ' ORDER BY n) INTO found
            FROM scoreboard.top t, json_array_elements(t.document::json -> 'entries') WITH ORDINALITY AS x (e, n) WHERE t.board = shows.board;
        EXIT WHEN found IS NOT DISTINCT FROM wanted;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN found;
END
$$;
SELECT pg_temp.act(who, points) FROM (VALUES ('f-a', 50), ('f-b', 40), ('f-c', 30), ('f-d', 20)) AS v (who, points);
UPDATE scoreboard.player SET display_name = upper(right(user_id, 1)) WHERE user_id LIKE 'f-_';
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 B');
SELECT sign.wait_for_ranks();
-- The last place, taken over, and given back
SELECT pg_temp.act('f-c', 15);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-c 45 C');
SELECT pg_temp.act('f-c', -15);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 B');
-- The last one leaves: from now on the list ends further down, and what happens there is seen.
SELECT scoreboard_hide('f-b');
SELECT pg_temp.shows('1 f-a 50 A, 2 f-c 30 C');
SELECT pg_temp.act('f-d', 15);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-d 35 D');
SELECT scoreboard_ban('f-a');
SELECT pg_temp.shows('1 f-d 35 D, 2 f-c 30 C');
SELECT scoreboard_restore('f-a');
SELECT pg_temp.shows('1 f-a 50 A, 2 f-d 35 D');
SELECT scoreboard_hide('f-b', false);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 B');
-- A longer list: the places that are new in it count too.
UPDATE scoreboard.board SET top_size = 3 WHERE name = 'follow';
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 B, 3 f-d 35 D');
SELECT pg_temp.act('f-c', 7);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 B, 3 f-c 37 C');
SELECT pg_temp.act('f-d', 3);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 B, 3 f-d 38 D');
-- What stands beside a score
SELECT scoreboard_set_profile('f-b', 'B', 'https://img.test/b.png');
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 B https://img.test/b.png, 3 f-d 38 D');
SELECT scoreboard_set_profile('f-b', 'Bea', NULL);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 Bea, 3 f-d 38 D');
-- Another kind of ties: ranks are shared from now on.
SELECT pg_temp.act('f-d', 2);
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 Bea, 3 f-d 40 D');
UPDATE scoreboard.board SET ties = 'shared' WHERE name = 'follow';
SELECT pg_temp.shows('1 f-a 50 A, 2 f-b 40 Bea, 2 f-d 40 D');
UPDATE scoreboard.board SET ties = 'first' WHERE name = 'follow';
SELECT pg_temp.act('f-d', -2);
SELECT pg_temp.act('f-a', -20);
SELECT pg_temp.shows('1 f-b 40 Bea, 2 f-d 38 D, 3 f-c 37 C');
-- What the list doesn't show makes no version: a change further down and a name that is the same, then one that shows.
SELECT version AS before FROM scoreboard.top WHERE board = 'follow' \gset
SELECT pg_temp.act('f-a', 1);
UPDATE scoreboard.player SET display_name = display_name, flagged = NOT flagged WHERE user_id = 'f-b';
SELECT pg_temp.act('f-b', 1);
SELECT pg_temp.shows('1 f-b 41 Bea, 2 f-d 38 D, 3 f-c 37 C');
SELECT version - :before AS versions FROM scoreboard.top WHERE board = 'follow';
-- By another name it is another board: that name's versions begin, and an increment answers the new one's.
UPDATE scoreboard.board SET name = 'follow-on' WHERE name = 'follow';
SELECT pg_temp.shows('1 f-b 41 Bea, 2 f-d 38 D, 3 f-c 37 C', 'follow-on');
SELECT a.version = t.version AS of_that_name, t.version > 0 AS published FROM scoreboard_increment_for('f-a', 'FOLLOW', 'renamed', 'follow-on', 1) a JOIN scoreboard.top t ON t.board = a.board;
-- A rollback and a savepoint that is rolled back show nothing.
BEGIN;
SELECT pg_temp.act('f-a', 100, 'follow-on');
SAVEPOINT s;
SELECT pg_temp.act('f-c', 50, 'follow-on');
ROLLBACK TO s;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT pg_temp.act('f-c', 50, 'follow-on');
ROLLBACK TO s;
SELECT pg_temp.act('f-d', 1, 'follow-on');
COMMIT;
SELECT pg_temp.shows('1 f-b 41 Bea, 2 f-d 39 D, 3 f-c 37 C', 'follow-on');
SELECT * FROM scoreboard_verify('follow-on');
DELETE FROM scoreboard.board WHERE name LIKE 'follow%';
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'f-_');
DELETE FROM scoreboard.action_type WHERE name = 'FOLLOW';
RESET scoreboard.rate_limit;
RESET scoreboard.burst_limit;
