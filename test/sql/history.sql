-- A player's accepted actions, newest first, page by page; and which boards there are.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET timezone = 'UTC';
INSERT INTO scoreboard.board (name, title, visibility) VALUES ('hist', 'History "1"', 'public'), ('hist-other', '', 'token');
INSERT INTO scoreboard.player (player_id, user_id, hidden) VALUES (994001, 'h-ada', false), (994002, 'h-bob', true), (994003, 'h-many', false);
INSERT INTO scoreboard.action (player_id, action_id, board_id, season, action_type_id, applied_points, previous_score, score, version, created_at, subscore, detail, metadata)
    SELECT 994001, a.id, b.board_id, 1, coalesce(t.action_type_id, 0), a.points, 0, a.points, 1, a.at::timestamptz, a.subscore, a.detail, '{"internal": true}'
    FROM (VALUES ('hist', 'FIND_COIN', 'one', 10, '2026-01-01 10:00:00', NULL, NULL), ('hist', 'FIND_COIN', E'two \U0001F600 "', 11, '2026-01-01 10:00:00.000001', -3, 'build "7"'),
        -- The clock may step back, so that moments are the same: then the ids decide.
        ('hist', 'FIND_COIN', 'Three', 12, '2026-01-01 10:00:00.000001', NULL, NULL), ('hist', 'GONE', repeat('é', 255), 13, '1969-12-31 23:59:59.999999', NULL, NULL),
        ('hist-other', 'FIND_COIN', 'four', 14, '2026-01-01 11:00:00', NULL, NULL)) AS a (board, type, id, points, at, subscore, detail)
    JOIN scoreboard.board b ON b.name = a.board LEFT JOIN scoreboard.action_type t ON t.name = a.type;
SELECT left(action_id, 10) AS action_id, action_type, board, season, applied_points, previous_score, score, subscore, detail, counted_at FROM scoreboard_history('hist', token => sign.token('h-ada'));
SELECT action_id, board FROM scoreboard_history('hist-other', token => sign.token('h-ada'));
SELECT count(*) FROM scoreboard_history(token => sign.token('h-ada'));
-- What was counted the usual way
SELECT (sign.increment('h-bob', 'FIND_COIN', 'first', 'hist')).score;
SELECT (sign.increment('h-bob', 'SCORE_RUN', 'second', 'hist', 7)).score;
SELECT action_id, action_type, applied_points, previous_score, score, counted_at > now() - interval '1 minute' AS now FROM scoreboard_history('hist', token => sign.token('h-bob'));
SELECT * FROM scoreboard_history('hist', token => sign.token('h-never-seen'));
-- A server names the player, on any board.
SELECT action_id FROM scoreboard_history_for('h-bob', 'hist');
SELECT action_id FROM scoreboard_history_for('h-ada', 'hist-other', entries => 1);
SELECT sign.outcome($$SELECT count(*) FROM scoreboard_history_for('h-never-seen', 'hist')$$);

-- Page by page, whatever their size: each action once, in order.
CREATE FUNCTION pg_temp.paged(who text, board text, size int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    behind text;
    page public.scoreboard_action[];
BEGIN
    LOOP
        page := ARRAY(SELECT h FROM public.scoreboard_history_for(who, board, behind, size) h);
        RETURN QUERY SELECT p.action_id FROM unnest(page) p;
        EXIT WHEN coalesce(cardinality(page), 0) < size;
        behind := page[size].cursor;
    END LOOP;
END
$$;
SELECT size, string_agg(left(p, 5), ', ' ORDER BY n) FROM generate_series(1, 5) AS size, pg_temp.paged('h-ada', 'hist', size) WITH ORDINALITY AS t (p, n) GROUP BY size ORDER BY size;
-- What is counted meanwhile moves no page.
SELECT cursor FROM scoreboard_history_for('h-bob', 'hist', entries => 1) \gset
SELECT (sign.increment('h-bob', 'FIND_COIN', 'third', 'hist')).score;
SELECT action_id FROM scoreboard_history('hist', :'cursor', token => sign.token('h-bob'));
-- A cursor says where to begin in one's own list, and nothing else: another player's, another board's.
SELECT action_id FROM scoreboard_history('hist', :'cursor', 1, sign.token('h-ada'));
SELECT action_id FROM scoreboard_history('hist-other', :'cursor', token => sign.token('h-bob'));
SELECT cursor ~ '^[A-Za-z0-9_-]+$' AS fits_into_a_url, length(cursor) < 2048 AS short FROM scoreboard_history_for('h-ada', 'hist') ORDER BY counted_at LIMIT 1;

-- As JSON, for bridges
CREATE FUNCTION pg_temp.steady(page json) RETURNS text LANGUAGE sql AS $$ SELECT regexp_replace(page::text, 'é+', 'é', 'g') $$;
SELECT pg_temp.steady(scoreboard.history('hist', NULL, 50, sign.token('h-ada')));
SELECT pg_temp.steady(scoreboard.history('hist', NULL, 2, sign.token('h-ada'))) AS page, scoreboard.history('hist', NULL, 2, sign.token('h-ada')) ->> 'cursor' AS cursor \gset
SELECT regexp_replace(:'page', :'cursor', 'CURSOR');
SELECT pg_temp.steady(scoreboard.history('hist', :'cursor', 2, sign.token('h-ada')));
SELECT scoreboard.history('hist', NULL, 1000, sign.token('h-never-seen'));

-- Refused
SELECT sign.outcome(format('SELECT count(*) FROM scoreboard_history(%s)', a)) FROM unnest(ARRAY[$$'hist'$$, $$'hist', token => 'x'$$, $$NULL, token => 'x'$$, $$'hist', entries => 0$$, $$'hist', entries => 1001$$,
    $$'hist', entries => NULL$$, $$'hist', 'x'$$, $$'hist', ''$$, $$'hist', repeat('A', 5000)$$]) AS a;
-- Cursors that nobody was given: each refused, and none a reason to fail otherwise.
SELECT left(c, 24) AS cursor, sign.outcome(format('SELECT count(*) FROM scoreboard_history(%L, %L, token => %L)', 'hist', sign.base64url(convert_to(c, 'UTF8')), sign.token('h-ada'))) FROM unnest(ARRAY['', ':', '1', '1:', ':a', 'x:a', '1 :a', ' 1:a', '+1:a', '01:a', '-0:a',
    '9223372036854775808:a', '9223372036854775807:a', '-9223372036854775808:a', '-9223372036854775809:a', '9999999999999999999999:a', E'1:\u0001', '1:' || repeat('a', 256)]) AS c;
SELECT sign.outcome(format('SELECT count(*) FROM scoreboard_history(%L, %L, token => %L)', 'hist', sign.base64url(c), sign.token('h-ada'))) FROM unnest(ARRAY['\x313aff'::bytea, '\x313a6100', '\x00', '\x313a610062', '\x313aeda080', '\x313af8888080']) AS c;
SELECT sign.outcome(format('SELECT count(*) FROM scoreboard_history(%L, %L, token => %L)', 'hist', c, sign.token('h-ada'))) FROM unnest(ARRAY['MTph=', 'MTp h', 'MTphé', 'MTq', 'MT']) AS c;
-- Of a board that is not for everybody
SELECT sign.outcome($$SELECT count(*) FROM scoreboard_history('hist-other')$$);

-- The index serves, whatever a player has done.
INSERT INTO scoreboard.action (player_id, action_id, board_id, season, action_type_id, applied_points, previous_score, score, version, created_at)
    SELECT 994003, 'm' || n, b.board_id, 1, 1, 1, n, n + 1, 1, timestamptz '2026-01-01' + n * interval '1 second' FROM scoreboard.board b, generate_series(1, 20000) n WHERE b.name = 'hist';
ANALYZE scoreboard.action;
CREATE FUNCTION pg_temp.plan_uses(statement text, VARIADIC names text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    plan text;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || statement INTO plan;
    RETURN QUERY SELECT n FROM unnest(names) n WHERE strpos(plan, n) > 0;
END
$$;
SELECT pg_temp.plan_uses($$SELECT a.action_id, t.name FROM scoreboard.action a LEFT JOIN scoreboard.action_type t ON t.action_type_id = a.action_type_id WHERE a.player_id = 994003 AND a.board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'hist')
    AND (a.created_at, a.action_id) < ('2026-01-01 03:00', 'm') ORDER BY a.created_at DESC, a.action_id DESC LIMIT 50$$, 'action_history', 'action_pkey', 'Bitmap');
SELECT min(action_id), max(action_id), count(*) FROM scoreboard_history('hist', entries => 1000, token => sign.token('h-many'));
SELECT count(*), count(DISTINCT p) FROM pg_temp.paged('h-many', 'hist', 1000) AS p;

-- The boards, for nobody in particular and for a player
DO $$
BEGIN
    FOR round IN 1..3000 LOOP
        EXIT WHEN (SELECT count(*) FROM scoreboard.top t WHERE t.board LIKE 'hist%') = 2;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
SELECT board, title, score_order, period, visibility, players, season, version > 0 AS version FROM scoreboard_boards() WHERE board LIKE 'hist%';
SELECT board, title, visibility FROM scoreboard_boards(sign.token('h-ada')) WHERE board LIKE 'hist%';
SELECT sign.outcome($$SELECT count(*) FROM scoreboard_boards('x')$$);
SELECT b ->> 'board' AS board, regexp_replace(b::text, '"version":[0-9]+', '"version":N') AS json FROM json_array_elements(scoreboard.boards(sign.token('h-ada')) -> 'boards') AS b WHERE b ->> 'board' LIKE 'hist%';
SELECT count(*) = (SELECT count(*) FROM scoreboard_boards()) AS all FROM json_array_elements(scoreboard.boards(NULL) -> 'boards');
UPDATE scoreboard.board SET visibility = 'permission', permission = 'p' WHERE name LIKE 'hist%';
SELECT (SELECT count(*) FROM scoreboard_boards() WHERE board LIKE 'hist%') AS nobody, (SELECT count(*) FROM scoreboard_boards(sign.token('h-ada')) WHERE board LIKE 'hist%') AS player,
    (SELECT count(*) FROM scoreboard_boards(sign.token('h-ada', '{"permissions": ["p"]}')) WHERE board LIKE 'hist%') AS permitted;

DELETE FROM scoreboard.action WHERE player_id BETWEEN 994001 AND 994003;
DELETE FROM scoreboard.score WHERE player_id BETWEEN 994001 AND 994003;
DELETE FROM scoreboard.player WHERE player_id BETWEEN 994001 AND 994003;
DELETE FROM scoreboard.board WHERE name LIKE 'hist%';
