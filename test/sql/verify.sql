-- scoreboard_verify() finds every difference between what is recorded and what is derived; scoreboard_repair() mends what is derived.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
INSERT INTO scoreboard.board (name) VALUES ('verify');
SELECT count((scoreboard_increment_for('v:' || n, 'AWARD', 'a', 'verify', n)).score) FROM generate_series(1, 100) n;
SELECT * FROM scoreboard_verify('verify');

-- Scores that somebody changed, removed or made up
UPDATE scoreboard.score SET score = 5000 WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'v:7');
DELETE FROM scoreboard.score WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'v:99');
UPDATE scoreboard.score SET listed = false WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'v:100');
INSERT INTO scoreboard.player (user_id) VALUES ('v:made-up');
INSERT INTO scoreboard.score SELECT board_id, 1, player_id, 77, now() FROM scoreboard.player, scoreboard.board WHERE user_id = 'v:made-up' AND name = 'verify';
SELECT * FROM scoreboard_verify('verify') ORDER BY finding, user_id;
-- The tree follows the table, whoever writes.
SELECT rank, user_id, score FROM scoreboard_top('verify', 3);

SELECT * FROM scoreboard_repair('verify') ORDER BY finding, user_id;
SELECT * FROM scoreboard_verify('verify');
SELECT rank, user_id, score FROM scoreboard_top('verify', 3);
DELETE FROM scoreboard.score USING scoreboard.player p WHERE p.player_id = score.player_id AND p.user_id = 'v:made-up';

-- An index that ends HOT updates
CREATE INDEX verify_slow ON scoreboard.score (score);
SELECT * FROM scoreboard_verify('verify');
DROP INDEX scoreboard.verify_slow;

-- Waits until nothing is on its way to the publisher: a change after the trees were ready has been published.
CREATE FUNCTION published(wanted text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR round IN 1..3000 LOOP
        IF EXISTS (SELECT FROM scoreboard.top WHERE board = 'verify' AND strpos(document, wanted) > 0) THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION '% was not published', wanted;
END
$$;
SELECT sign.wait_for_ranks();
SELECT score FROM scoreboard_increment_for('v:100', 'AWARD', 'settle-1', 'verify', 1);
SELECT published('"score":101}');
-- A document that somebody wrote himself: the publisher has nothing to do on a quiet board, so it would stay.
UPDATE scoreboard.top SET document = replace(document, 'v:100', 'v:666') WHERE board = 'verify';
SELECT * FROM scoreboard_verify('verify');
SELECT * FROM scoreboard_repair('verify');
SELECT * FROM scoreboard_verify('verify');

-- A document that is no document at all
SELECT sign.wait_for_ranks();
SELECT score FROM scoreboard_increment_for('v:100', 'AWARD', 'settle-2', 'verify', 1);
SELECT published('"score":102}');
UPDATE scoreboard.top SET document = '{"board":' WHERE board = 'verify';
SELECT * FROM scoreboard_repair('verify');
SELECT * FROM scoreboard_verify('verify');

-- A tree that missed a change: rows written while the trigger was off are a rebuild after it, not a difference.
ALTER TABLE scoreboard.score DISABLE TRIGGER changed;
UPDATE scoreboard.score SET reached_at = reached_at + interval '1 second';
ALTER TABLE scoreboard.score ENABLE ALWAYS TRIGGER changed;
SELECT * FROM scoreboard_verify('verify');

-- All boards; an unknown one
SELECT DISTINCT finding FROM scoreboard_verify() WHERE board_name = 'verify';
DROP FUNCTION published;
\set SHOW_CONTEXT never
SELECT * FROM scoreboard_verify('no-such-board');
