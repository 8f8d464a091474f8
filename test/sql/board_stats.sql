-- What scoreboard_stats() says of a board: publications, the commits that they covered, and refusals by reason.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SELECT * FROM scoreboard_stats() LIMIT 0;
CREATE FUNCTION pg_temp.wait_for(what text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    there boolean;
BEGIN
    FOR round IN 1..1500 LOOP
        EXECUTE format('SELECT coalesce((SELECT %s FROM scoreboard_stats() WHERE board = %L), false)', what, 'bs') INTO there;
        EXIT WHEN there;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN there;
END
$$;
INSERT INTO scoreboard.board (name, top_size, publish_interval_ms) VALUES ('bs', 1, 10);
SELECT sign.wait_for_ranks();
SELECT pg_temp.wait_for('publishes = 1') AS published;
SELECT commits, refusals FROM scoreboard_stats() WHERE board = 'bs';
-- Three that its list had to follow, one transaction of two among them, and two that it had not: too far back, or rolled back.
SELECT score FROM scoreboard_increment_for('bs-ada', 'AWARD', '1', 'bs', points => 10);
SELECT pg_temp.wait_for('publishes = 2 AND commits = 1') AS published;
BEGIN;
SELECT score FROM scoreboard_increment_for('bs-ada', 'AWARD', '2', 'bs', points => 10);
SELECT score FROM scoreboard_increment_for('bs-ada', 'AWARD', '3', 'bs', points => 10);
COMMIT;
SELECT pg_temp.wait_for('publishes = 3 AND commits = 2') AS published;
BEGIN;
SELECT score FROM scoreboard_increment_for('bs-ada', 'AWARD', '4', 'bs', points => 10);
ROLLBACK;
SELECT score FROM scoreboard_increment_for('bs-eve', 'AWARD', '1', 'bs', points => 1);
SELECT publishes, commits FROM scoreboard_stats() WHERE board = 'bs';
-- More commits than versions, while the interval lasts.
UPDATE scoreboard.board SET publish_interval_ms = 3600000 WHERE name = 'bs';
SELECT score FROM scoreboard_increment_for('bs-ada', 'AWARD', '5', 'bs', points => 10);
SELECT score FROM scoreboard_increment_for('bs-ada', 'AWARD', '6', 'bs', points => 10);
UPDATE scoreboard.board SET publish_interval_ms = 10 WHERE name = 'bs';
SELECT pg_temp.wait_for('(SELECT document::json -> ''entries'' -> 0 ->> ''score'' FROM scoreboard.top t WHERE t.board = ''bs'') = ''50'' AND publishes > 3') AS published;
SELECT publishes BETWEEN 4 AND 5 AS publishes, commits, published_at > now() - interval '1 hour' AS published_at, published_at = t.updated_at AND s.version = t.version AS as_published
    FROM scoreboard_stats() s JOIN scoreboard.top t USING (board) WHERE board = 'bs';
-- Refusals, by code; repeats count, and what names no board counts nowhere.
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('bs-ada', 'NO_SUCH_TYPE', 'r1', 'bs') $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('bs-ada', 'NO_SUCH_TYPE', 'r2', 'bs') $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('bs-ada', 'AWARD', 'r3', 'bs') $$) FROM generate_series(1, 3);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('bs-ada', 'AWARD', 'r4', 'bs-no-such-board', points => 1) $$);
SELECT pg_temp.wait_for($$ refusals = '{"ACTION_NOT_ALLOWED": 2, "INVALID_REQUEST": 3}' $$) AS counted;
SELECT refusals FROM scoreboard_stats() WHERE board = 'bs';
SELECT count(*) FROM scoreboard.refusal_count c WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.board_id = c.board_id);
-- Whoever forgets the refusals doesn't forget that there were some.
DELETE FROM scoreboard.refusal WHERE user_id LIKE 'bs-%';
SELECT refusals FROM scoreboard_stats() WHERE board = 'bs';
-- Made again, it begins anew.
DELETE FROM scoreboard.score s USING scoreboard.board b WHERE s.board_id = b.board_id AND b.name = 'bs';
DELETE FROM scoreboard.board WHERE name = 'bs';
INSERT INTO scoreboard.board (name) VALUES ('bs');
SELECT pg_temp.wait_for('publishes = 1') AS published;
SELECT commits, refusals FROM scoreboard_stats() WHERE board = 'bs';
DELETE FROM scoreboard.board WHERE name = 'bs';
DELETE FROM scoreboard.action a USING scoreboard.player p WHERE p.player_id = a.player_id AND p.user_id LIKE 'bs-%';
DELETE FROM scoreboard.player WHERE user_id LIKE 'bs-%';
