-- Seasons: their numbers against a model, what counts in which, and what is left of those that ended. A later season than the clock's is
-- begun by a row that says so, as a clock that was ahead would have left it.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;

-- The model: the latest local date that a clock has shown by then, by PostgreSQL's own AT TIME ZONE. Any quarter of an hour of eight years
-- would do; taken are some thousand of them, and all around days that are no 24 hours long or aren't at all.
CREATE TEMP TABLE moments AS
    SELECT zone, m, (SELECT max((m - s * interval '15 minutes') AT TIME ZONE zone)::date FROM generate_series(0, 8) s) AS day
    FROM unnest(ARRAY['UTC', 'Europe/Berlin', 'America/Sao_Paulo', 'Pacific/Apia', 'Australia/Lord_Howe', 'Asia/Kathmandu']) zone, LATERAL (
        SELECT generate_series(timestamptz '1969-12-30 00:00:01Z', timestamptz '1970-02-02Z', interval '5 hours')
        UNION ALL SELECT generate_series(timestamptz '2008-12-25 00:00:01Z', timestamptz '2016-02-03Z', interval '53 hours 15 minutes')
        UNION ALL SELECT generate_series(timestamptz '2011-12-29Z', timestamptz '2012-01-03Z', interval '15 minutes')
        UNION ALL SELECT generate_series(timestamptz '2011-02-19 20:00Z', timestamptz '2011-02-20 08:00Z', interval '15 minutes')
        UNION ALL SELECT generate_series(timestamptz '2011-10-15 20:00Z', timestamptz '2011-10-16 08:00Z', interval '15 minutes')
        UNION ALL SELECT generate_series(timestamptz '2026-03-28 20:00Z', timestamptz '2026-03-30 04:00Z', interval '15 minutes')
        UNION ALL SELECT generate_series(timestamptz '2026-10-24 20:00Z', timestamptz '2026-10-26 04:00Z', interval '15 minutes')) AS x (m);
CREATE FUNCTION pg_temp.model(period text, day date) RETURNS integer LANGUAGE sql AS $$
    SELECT CASE period WHEN 'day' THEN day - date '1970-01-01'
        WHEN 'week' THEN (date_trunc('week', day)::date - date '1969-12-29') / 7
        ELSE (12 * (extract(year FROM day) - 1970) + extract(month FROM day) - 1)::int END
$$;
SELECT period, count(*) > 8000 AS many, count(*) FILTER (WHERE c.season IS DISTINCT FROM pg_temp.model(period, day)) AS wrong,
    count(*) FILTER (WHERE NOT (season_begins <= m AND m < season_ends)) AS outside,
    count(*) FILTER (WHERE (scoreboard.calendar_season(period, zone, season_ends)).season <= c.season
        OR (scoreboard.calendar_season(period, zone, season_begins - interval '1 microsecond')).season >= c.season) AS bounds_wrong
FROM unnest(ARRAY['day', 'week', 'month']) period, moments, LATERAL scoreboard.calendar_season(period, zone, m) AS c GROUP BY period ORDER BY period;
-- Those days, for readers
SELECT zone, (c.season_begins AT TIME ZONE 'UTC') AS begins, (c.season_ends AT TIME ZONE 'UTC') AS ends, c.season
FROM (VALUES ('Pacific/Apia', timestamptz '2011-12-30 09:00Z'), ('Pacific/Apia', '2011-12-30 11:00Z'), ('America/Sao_Paulo', '2011-02-20 02:30Z'), ('America/Sao_Paulo', '2011-10-16 04:00Z'),
    ('Europe/Berlin', '2026-10-25 12:00Z')) v (zone, m), LATERAL scoreboard.calendar_season('day', zone, m) c;
SELECT c.season, c.season_begins = '2026-12-27 23:00Z' AS monday FROM scoreboard.calendar_season('week', 'Europe/Berlin', '2027-01-03 22:59:59.999999Z') c;
SELECT sign.outcome($$SELECT scoreboard.calendar_season('forever', 'UTC', now())$$);
SELECT sign.outcome($$SELECT scoreboard.calendar_season('day', 'UTC', 'infinity')$$);

CREATE FUNCTION pg_temp.of_now(board text) RETURNS integer LANGUAGE sql AS $$
    SELECT CASE WHEN period IN ('forever', 'reset') THEN 1 ELSE (scoreboard.calendar_season(period, time_zone, clock_timestamp())).season END FROM scoreboard.board b WHERE b.name = board
$$;
-- Boards of each period count in the season of now. Not over a midnight: that is waited for.
SELECT sign.becomes($$(SELECT min(c.season_ends) > clock_timestamp() + interval '60 seconds'
    FROM unnest(ARRAY['UTC', 'Europe/Berlin', 'America/Sao_Paulo', 'Pacific/Apia', 'Asia/Tokyo']) zone, LATERAL scoreboard.calendar_season('day', zone, clock_timestamp()) c)$$);
INSERT INTO scoreboard.board (name, period, time_zone, publish_interval_ms) VALUES ('s-day', 'day', 'UTC', 10), ('s-week', 'week', 'Europe/Berlin', 10),
    ('s-month', 'month', 'America/Sao_Paulo', 10), ('s-apia', 'day', 'Pacific/Apia', 10), ('s-reset', 'reset', 'UTC', 10), ('s-forever', 'forever', 'UTC', 10);
SELECT sign.wait_for_ranks();
SELECT b.name, r.season = pg_temp.of_now(b.name) AS of_now, r.score, r.rank
FROM scoreboard.board b, LATERAL scoreboard_increment_for('sn:a', 'AWARD', 'a1-' || b.name, b.name, 5) r WHERE b.name LIKE 's-%' ORDER BY 1;
SELECT sign.becomes($$(SELECT count(*) = 6 FROM scoreboard.top t JOIN scoreboard.board b ON b.name = t.board WHERE b.name LIKE 's-%' AND t.players = 1
    AND t.season = pg_temp.of_now(b.name) AND (t.document::json ->> 'season')::int = t.season)$$);
SELECT b.board, b.period, b.players, b.season = pg_temp.of_now(b.board) AS of_now FROM scoreboard_boards() b WHERE b.board LIKE 's-%' ORDER BY 1;
SELECT s.board, s.season = pg_temp.of_now(s.board) AS of_now, s.rank_state, s.players FROM scoreboard_stats() s WHERE s.board LIKE 's-%' ORDER BY 1;
-- Bounds of a season stand in its document, in UTC.
SELECT t.board, (t.document::json ->> 'seasonStart')::timestamptz = c.season_begins AS starts, (t.document::json ->> 'seasonEnd')::timestamptz = c.season_ends AS ends
FROM scoreboard.top t JOIN scoreboard.board b ON b.name = t.board, LATERAL scoreboard.calendar_season(b.period, b.time_zone, now()) c
WHERE b.name LIKE 's-%' AND b.period NOT IN ('forever', 'reset') ORDER BY 1;
SELECT t.board, (t.document::json ->> 'seasonStart')::timestamptz - b.created_at BETWEEN interval '-1 millisecond' AND interval '0' AS starts, t.document::json ->> 'seasonEnd' AS ends
FROM scoreboard.top t JOIN scoreboard.board b ON b.name = t.board WHERE b.name IN ('s-reset', 's-forever') ORDER BY 1;

-- A season begins: the list is empty, versions go on; the one that ended stays readable.
SELECT t.version AS v1, t.season AS s1 FROM scoreboard.top t WHERE t.board = 's-day' \gset
INSERT INTO scoreboard.season (board_id, season, began_at) SELECT board_id, :s1 + 1, now() FROM scoreboard.board WHERE name = 's-day';
UPDATE scoreboard.board SET title = 'Daily' WHERE name = 's-day';
SELECT sign.becomes(format($$(SELECT t.season = %s + 1 AND t.players = 0 AND t.version > %s AND t.document LIKE '%%"entries":[]}' FROM scoreboard.top t WHERE t.board = 's-day')$$, :s1, :v1));
-- Left neither by the clock nor by the calendar
SELECT r.season - :s1 AS season, r.previous_score, r.score, r.rank FROM scoreboard_increment_for('sn:a', 'AWARD', 'a2', 's-day', 7) r;
SELECT r.season - :s1 AS season, r.previous_score, r.score, r.rank FROM scoreboard_increment_for('sn:b', 'AWARD', 'a2', 's-day', 9) r;
SELECT sign.becomes($$(SELECT t.players = 2 FROM scoreboard.top t WHERE t.board = 's-day')$$);
SELECT sign.becomes(format($$(SELECT e.final AND e.players = 1 AND e.ended_at = c.season_ends AND e.began_at = c.season_begins FROM scoreboard.board b JOIN scoreboard.season e USING (board_id),
    LATERAL scoreboard.calendar_season('day', 'UTC', now()) c WHERE b.name = 's-day' AND e.season = %s)$$, :s1));
-- It costs no shared memory any more.
SELECT r.state FROM scoreboard.board b, LATERAL scoreboard.rank_state(b.board_id, :s1) r WHERE b.name = 's-day';
SELECT t.rank, t.user_id, t.score FROM scoreboard_top('s-day') t;
SELECT t.rank, t.user_id, t.score FROM scoreboard_top('s-day', season => :s1) t;
SELECT d ->> 'version' = :'v1' AS version_stays, d -> 'players' AS players, d -> 'entries' -> 0 ->> 'userId' AS first, (d ->> 'season')::int - :s1 AS season FROM scoreboard_leaderboard('s-day', season => :s1) d;
SELECT (d ->> 'season')::int - :s1 AS season, d ->> 'score' AS score, d ->> 'rank' AS rank, d ->> 'players' AS players FROM unnest(ARRAY[:s1, :s1 + 1]) s, LATERAL scoreboard_rank('sn:a', 's-day', s) d;
SELECT a.rank, a.user_id, a.score FROM scoreboard_around('sn:a', 's-day', season => :s1) a;
SELECT r.rank, r.user_id, r.score FROM scoreboard_ranks(ARRAY['sn:a', 'sn:b'], 's-day', :s1) r;
SELECT (v ->> 'season')::int - :s1 AS season, v -> 'players' AS players, v -> 'own' ->> 'rank' AS own, v -> 'friends' AS friends FROM scoreboard_view('s-day', user_id => 'sn:a', user_ids => ARRAY['sn:b'], season => :s1) v;
SELECT (d ->> 'season')::int - :s1 AS season, d -> 'players' AS players FROM scoreboard_distribution('s-day', season => :s1) d;
SELECT sign.outcome(format($$SELECT scoreboard_leaderboard('s-day', season => %s)$$, :s1 + 2));
SELECT sign.outcome(format($$SELECT scoreboard_leaderboard('s-day', season => %s)$$, :s1 - 1));
SELECT sign.outcome($$SELECT scoreboard_rank('sn:a', 's-forever', 0)$$);
SELECT * FROM scoreboard_verify('s-day');
-- The history tells them apart.
SELECT h.season - :s1 AS season, h.previous_score, h.score FROM scoreboard_history_for('sn:a', 's-day') h;
-- Corrections are of the running season.
SELECT a.season - :s1 AS season, a.previous_score, a.score FROM scoreboard_adjust('sn:a', 's-day', 3, 'test', 's-adjust') a;
SELECT i.season - :s1 AS season, i.players FROM scoreboard_import('s-day', ARRAY['sn:i'], ARRAY[4]::bigint[], 's-import') i;
SELECT * FROM scoreboard_verify('s-day');

-- A reset ends a season at once, once by reference; what was written before is in its document.
SELECT r.season, r.score FROM scoreboard_increment_for('sn:b', 'AWARD', 'r1', 's-reset', 2) r;
SELECT r.board, r.season, r.next_season, r.replayed FROM scoreboard_reset_season('s-reset', 'summer', 's-reset-1') r;
SELECT r.board, r.season, r.next_season, r.replayed FROM scoreboard_reset_season('s-reset', 'summer', 's-reset-1') r;
SELECT r.season, r.previous_score, r.score FROM scoreboard_increment_for('sn:b', 'AWARD', 'r2', 's-reset', 1) r;
SELECT sign.becomes($$(SELECT e.final AND e.players = 2 AND e.document::json -> 'entries' -> 1 ->> 'userId' = 'sn:b' AND e.version <> t.version AND t.players = 1 AND t.season = 2
        AND (e.document::json ->> 'seasonEnd') = (t.document::json ->> 'seasonStart')
    FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) JOIN scoreboard.top t ON t.board = b.name WHERE b.name = 's-reset' AND e.season = 1)$$);
SELECT sign.outcome($$SELECT scoreboard_reset_season('s-week')$$);
SELECT sign.outcome($$SELECT scoreboard_reset_season('s-nothing')$$);
SELECT sign.outcome($$SELECT scoreboard_reset_season('s-reset', reference => 's-adjust')$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT sign.outcome($$SELECT scoreboard_reset_season('s-reset')$$);
COMMIT;
BEGIN;
SELECT r.season, r.next_season FROM scoreboard_reset_season('s-reset') r;
SELECT r.season, r.score FROM scoreboard_increment_for('sn:b', 'AWARD', 'r3', 's-reset', 1) r;
ROLLBACK;
SELECT r.season, r.previous_score FROM scoreboard_increment_for('sn:b', 'AWARD', 'r4', 's-reset', 1) r;
SELECT a.kind, a.season, a.reason, a.made_by = session_user AS by_me FROM scoreboard.adjustment a WHERE a.reference = 's-reset-1';
SELECT * FROM scoreboard_verify('s-reset');
-- Who is hidden or forgotten leaves the seasons that ended, too; another content is another version.
CREATE FUNCTION pg_temp.final(players integer, first text) RETURNS text LANGUAGE sql AS $$
    SELECT sign.becomes(format('(SELECT e.final AND e.players = %s AND e.document::json -> ''entries'' -> 0 ->> ''userId'' = %L AND e.version = (e.document::json ->> ''version'')::bigint'
        ' FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name = ''s-reset'' AND e.season = 1)', players, first))
$$;
SELECT e.version AS v1 FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name = 's-reset' AND e.season = 1 \gset
SELECT scoreboard_hide('sn:a');
SELECT pg_temp.final(1, 'sn:b');
SELECT t.rank, t.user_id FROM scoreboard_top('s-reset', season => 1) t;
SELECT e.version > :v1 AS newer FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name = 's-reset' AND e.season = 1;
SELECT scoreboard_hide('sn:a', false);
SELECT pg_temp.final(2, 'sn:a');

-- Period and time zone are fixed once there is a score; before, another period begins anew.
SELECT sign.outcome($$UPDATE scoreboard.board SET period = 'week' WHERE name = 's-day'$$);
SELECT sign.outcome($$UPDATE scoreboard.board SET time_zone = 'Asia/Tokyo' WHERE name = 's-week'$$);
INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('s-moved', 'day', 10);
SELECT sign.becomes($$EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 's-moved')$$);
UPDATE scoreboard.board SET period = 'month', time_zone = 'Asia/Tokyo' WHERE name = 's-moved';
SELECT r.season = pg_temp.of_now('s-moved') AS of_now FROM scoreboard_increment_for('sn:b', 'AWARD', 'moved', 's-moved', 1) r;
SELECT f.mode FROM scoreboard_forget('sn:a') f;
SELECT pg_temp.final(1, 'sn:b');
-- A board that is removed and made again begins empty, with a greater version.
SELECT t.version AS moved FROM scoreboard.top t WHERE t.board = 's-day' \gset
DELETE FROM scoreboard.board WHERE name = 's-day';
SELECT count(*) FROM scoreboard.season e WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.board_id = e.board_id);
INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('s-day', 'day', 10);
SELECT sign.becomes(format($$(SELECT t.players = 0 AND t.version > %s AND t.season = pg_temp.of_now('s-day') FROM scoreboard.top t WHERE t.board = 's-day')$$, :moved));
SELECT sign.outcome(format($$SELECT scoreboard_top('s-day', season => %s)$$, :s1 + 1));
DELETE FROM scoreboard.board WHERE name LIKE 's-%';
