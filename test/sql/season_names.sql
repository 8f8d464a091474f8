-- Whoever changes name, picture or its choice to be shown without them changes in the final documents of ended seasons too; a board's new name, ties and
-- size reach them as well. Documents that don't show the player stay what they are.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE VIEW pg_temp.ended AS SELECT b.name, e.season, e.final, e.version, e.document::json AS document FROM scoreboard.season e JOIN scoreboard.board b USING (board_id)
    WHERE b.name LIKE 'sn-%' AND e.ended_at IS NOT NULL;
CREATE FUNCTION pg_temp.final(board text, season integer) RETURNS text LANGUAGE sql AS $$
    SELECT sign.becomes(format('EXISTS (SELECT FROM pg_temp.ended e WHERE e.name = %L AND e.season = %s AND e.final)', board, season))
$$;
-- Nothing is on its way to any of them
CREATE FUNCTION pg_temp.settled() RETURNS text LANGUAGE sql AS $$
    SELECT sign.becomes('NOT EXISTS (SELECT FROM scoreboard.profile_change) AND NOT EXISTS (SELECT FROM scoreboard.season e WHERE e.stale OR e.ended_at IS NOT NULL AND NOT e.final AND e.purged_at IS NULL)')
$$;
CREATE FUNCTION pg_temp.entry(board text, season integer, n integer) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace((e.document -> 'entries' -> n)::text, 'Player \d+', 'Player n') FROM pg_temp.ended e WHERE e.name = entry.board AND e.season = entry.season
$$;
CREATE FUNCTION pg_temp.versions() RETURNS TABLE (board text, season integer, version bigint) LANGUAGE sql AS $$
    SELECT e.name, e.season, e.version FROM pg_temp.ended e
$$;
\set ECHO all

INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('sn-a', 'reset', 10), ('sn-b', 'reset', 10);
SELECT sign.wait_for_ranks();
SELECT r.season, r.score FROM (VALUES ('sn-a', 'nm:x', 5), ('sn-a', 'nm:y', 4), ('sn-a', 'nm:z', 4), ('sn-b', 'nm:y', 9)) v (board, id, points), LATERAL scoreboard_increment_for(v.id, 'AWARD', 'n-' || v.board, v.board, v.points,
    subscore => 7, detail => 'a "userId":" \ ,"score": trap') r;
SELECT scoreboard_set_profile('nm:x', 'Before', 'https://img.test/before.png');
SELECT r.season FROM unnest(ARRAY['sn-a', 'sn-b']) b, LATERAL scoreboard_reset_season(b) r;
SELECT pg_temp.final('sn-a', 1), pg_temp.final('sn-b', 1), pg_temp.settled();
SELECT pg_temp.entry('sn-a', 1, n) FROM generate_series(0, 3) n;
CREATE TEMP TABLE before AS TABLE pg_temp.ended;
CREATE FUNCTION pg_temp.newer() RETURNS TABLE (board text, newer boolean, same boolean) LANGUAGE sql AS $$
    SELECT e.name, e.version > b.version, e.document::text = b.document::text FROM pg_temp.ended e JOIN before b USING (name, season) ORDER BY 1
$$;

-- A new name and picture; one that needs to be escaped; none; without them by choice; and back
SELECT scoreboard_set_profile('nm:x', E'A "b" \\ ,"score":1', 'https://img.test/after.png');
SELECT sign.becomes($$pg_temp.entry('sn-a', 1, 0) LIKE '%after.png%'$$), pg_temp.settled();
SELECT pg_temp.entry('sn-a', 1, n) FROM generate_series(0, 3) n;
SELECT * FROM pg_temp.newer();
SELECT e.document ->> 'version' = e.version::text AS own_version, e.document ->> 'players' AS players FROM pg_temp.ended e WHERE e.name = 'sn-a';
SELECT scoreboard_set_profile('nm:x', 'After', NULL);
SELECT sign.becomes($$pg_temp.entry('sn-a', 1, 0) LIKE '%"displayName":"After","score"%'$$);
UPDATE scoreboard.player SET anonymous = true WHERE user_id = 'nm:x';
SELECT sign.becomes($$pg_temp.entry('sn-a', 1, 0) LIKE '%"displayName":"Player %'$$);
UPDATE scoreboard.player SET anonymous = false WHERE user_id = 'nm:x';
SELECT sign.becomes($$pg_temp.entry('sn-a', 1, 0) LIKE '%"displayName":"After"%'$$);
SELECT pg_temp.settled();
SELECT * FROM pg_temp.newer();
-- What is rolled back changes nothing, what changes nothing makes no version.
BEGIN;
SAVEPOINT s;
SELECT scoreboard_set_profile('nm:y', 'Rolled back', NULL);
ROLLBACK TO s;
COMMIT;
SELECT scoreboard_set_profile('nm:x', 'After', NULL);
CREATE TEMP TABLE at AS SELECT * FROM pg_temp.versions();
SELECT scoreboard_set_profile('nm:unknown', 'Nobody', NULL), scoreboard_set_profile('nm:unknown', 'Nobody else', NULL);
SELECT pg_temp.settled();
SELECT count(*) FROM (SELECT * FROM pg_temp.versions() EXCEPT TABLE at) AS changed;
-- Several seasons, several players, one statement
UPDATE scoreboard.player SET display_name = 'Player of ' || user_id WHERE user_id IN ('nm:x', 'nm:y', 'nm:z');
SELECT sign.becomes($$pg_temp.entry('sn-b', 1, 0) LIKE '%Player of nm:y%'$$), pg_temp.settled();
SELECT pg_temp.entry('sn-a', 1, n) FROM generate_series(0, 2) n;
SELECT * FROM scoreboard_verify('sn-a');
-- A document that somebody damaged is made anew from the scores.
UPDATE scoreboard.season e SET document = replace(document, '"score":5', '"points":5') FROM scoreboard.board b WHERE b.board_id = e.board_id AND b.name = 'sn-a' AND e.season = 1;
SELECT scoreboard_set_profile('nm:x', 'Mended', NULL);
SELECT sign.becomes($$pg_temp.entry('sn-a', 1, 0) LIKE '%Mended%"score":5%'$$);

-- The board's own
UPDATE scoreboard.board SET name = 'sn-c', ties = 'shared' WHERE name = 'sn-a';
SELECT sign.becomes($$(SELECT e.final AND e.document ->> 'board' = 'sn-c' AND e.document -> 'entries' -> 2 ->> 'rank' = '2' FROM pg_temp.ended e WHERE e.name = 'sn-c')$$);
UPDATE scoreboard.board SET top_size = 1 WHERE name = 'sn-c';
SELECT sign.becomes($$(SELECT e.final AND json_array_length(e.document -> 'entries') = 1 FROM pg_temp.ended e WHERE e.name = 'sn-c')$$);
SELECT * FROM scoreboard_verify('sn-c');
-- Who doesn't stand in it any more changes it no more.
SELECT pg_temp.settled();
TRUNCATE at;
INSERT INTO at SELECT * FROM pg_temp.versions();
SELECT scoreboard_set_profile('nm:z', 'Behind', NULL);
SELECT pg_temp.settled();
SELECT count(*) FROM (SELECT * FROM pg_temp.versions() EXCEPT TABLE at) AS changed;

-- Forgotten: no trace
SELECT scoreboard_set_profile('nm:x', 'Last', NULL);
SELECT f.mode FROM scoreboard_forget('nm:x') f;
SELECT sign.becomes($$(SELECT e.final AND e.document -> 'entries' -> 0 ->> 'userId' <> 'nm:x' FROM pg_temp.ended e WHERE e.name = 'sn-c')$$), pg_temp.settled();
SELECT f.mode FROM scoreboard_forget('nm:y', 'anonymise') f;
SELECT sign.becomes($$(SELECT count(*) = 0 FROM pg_temp.ended e WHERE e.document::text ~ 'nm:y|nm:x|Player of' OR NOT e.final)$$), pg_temp.settled();
SELECT * FROM scoreboard_verify('sn-b');
DELETE FROM scoreboard.board WHERE name LIKE 'sn-%';
