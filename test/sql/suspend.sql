-- Freeze, ban, restore, hide: what each stops, that lists and ranks follow with the commit, that each is recorded once.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name) VALUES ('suspend');
CREATE FUNCTION award(who text, id text, points bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r public.scoreboard_result;
BEGIN
    r := scoreboard_increment_for(who, 'AWARD', id, 'suspend', points);
    RETURN format('score %s, rank %s', r.score, coalesce(r.rank::text, 'null'));
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE VIEW list AS SELECT rank, user_id, score FROM scoreboard_top('suspend') ORDER BY rank;

SELECT award('s:ann', '1', 30), award('s:bob', '1', 20), award('s:cy', '1', 10);
SELECT * FROM list;

-- A frozen player can't score and stays where it is.
SELECT scoreboard_freeze('s:ann', 'suspicious', 'case-1');
SELECT award('s:ann', '2', 1);
SELECT * FROM list;

-- A banned one is gone; who is behind moves up.
SELECT scoreboard_ban('s:ann', 'proven', 'case-2');
SELECT award('s:ann', '2', 1);
SELECT * FROM list;
SELECT scoreboard_rank('s:ann', 'suspend');
SELECT scoreboard_rank('s:bob', 'suspend')::jsonb - 'userId' - 'displayName';

-- Restored, it stands where its score puts it. The same reference again changes nothing.
SELECT scoreboard_restore('s:ann', 'mistaken', 'case-3');
SELECT scoreboard_ban('s:ann', 'proven', 'case-2');
SELECT * FROM list;
SELECT award('s:ann', '2', 1);

-- A hidden player goes on scoring, without a rank.
SELECT scoreboard_hide('s:bob');
SELECT award('s:bob', '2', 100);
SELECT * FROM list;
SELECT scoreboard_hide('s:bob', false);
SELECT * FROM list;

-- Rolled back, nothing has happened.
BEGIN;
SELECT scoreboard_ban('s:cy');
ROLLBACK;
SELECT * FROM list;

-- Refused: an unknown player, a reference used for something else.
\set SHOW_CONTEXT never
DO $$ BEGIN PERFORM scoreboard_freeze('s:nobody'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '% %', SQLSTATE, SQLERRM; END $$;
DO $$ BEGIN PERFORM scoreboard_freeze('s:cy', reference => 'case-1'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '% %', SQLSTATE, SQLERRM; END $$;

SELECT a.reference, a.kind, p.user_id, a.reason, a.made_by = session_user AS by_me
    FROM scoreboard.adjustment a JOIN scoreboard.player p USING (player_id) WHERE p.user_id LIKE 's:%' ORDER BY adjustment_id;
DROP VIEW list;
DROP FUNCTION award;
