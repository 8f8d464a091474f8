-- scoreboard_distribution and scoreboard_export: how scores are spread, and a whole list page by page, held against a count over the table
-- (counted by SQL: t/061_rank_scan).
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name, score_order, ties, lowest_score) VALUES ('dist', 'high', 'first', -1000), ('dist-low', 'low', 'first', -1000), ('dist-shared', 'high', 'shared', -1000),
    ('dist-sub', 'high', 'subscore high', -1000), ('dist-sublow', 'low', 'subscore low', -1000), ('dist-empty', 'high', 'first', 0), ('dist-one', 'high', 'first', 0), ('dist-wide', 'high', 'first', -9007199254740991);
INSERT INTO scoreboard.player (player_id, user_id, display_name, avatar_url, hidden, anonymous)
    SELECT 996000 + n, 'd-' || n, CASE WHEN n % 3 = 0 THEN 'Name ' || n END, CASE WHEN n % 9 = 0 THEN 'https://img.test/' || n END, n = 7, n = 9 FROM generate_series(1, 200) n;
-- Scores, moments and subscores with many equals among them; nobody may be left out or told twice.
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, subscore, detail, listed)
    SELECT b.board_id, 1, 996000 + n, (n * 37) % 50 - 10, timestamptz '2026-01-01' + (n % 4) * interval '1 us', CASE WHEN n % 5 > 0 THEN n % 3 END, CASE WHEN n % 10 = 0 THEN 'detail ' || n END, n <> 7
    FROM scoreboard.board b, generate_series(1, 200) n WHERE b.name IN ('dist', 'dist-low', 'dist-shared', 'dist-sub', 'dist-sublow');
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, 1, 996001, 42, '2026-01-01' FROM scoreboard.board WHERE name = 'dist-one';
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at)
    SELECT board_id, 1, 996000 + n, CASE n WHEN 1 THEN -9007199254740991 WHEN 2 THEN 9007199254740991 ELSE 0 END, '2026-01-01' FROM scoreboard.board, generate_series(1, 3) n WHERE name = 'dist-wide';
SELECT sign.wait_for_ranks();
CREATE FUNCTION pg_temp.steady(answer json) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(answer::text, '"asOf":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"', '"asOf":T')
$$;
-- The whole list by pages of so many.
CREATE FUNCTION pg_temp.pages(board text, entries integer) RETURNS SETOF scoreboard_exported LANGUAGE plpgsql AS $$
DECLARE
    at text;
    page scoreboard_exported[];
BEGIN
    LOOP
        SELECT array_agg(e ORDER BY n) INTO page FROM scoreboard_export(board, at, entries) WITH ORDINALITY AS t (rank, user_id, display_name, avatar_url, score, subscore, detail, reached_at, cursor, n),
            LATERAL (SELECT (t.rank, t.user_id, t.display_name, t.avatar_url, t.score, t.subscore, t.detail, t.reached_at, t.cursor)::scoreboard_exported AS e) x;
        EXIT WHEN page IS NULL;
        RETURN QUERY SELECT * FROM unnest(page);
        at := page[cardinality(page)].cursor;
    END LOOP;
END
$$;
-- What a count over the table says.
CREATE VIEW pg_temp.counted AS
    SELECT b.name, CASE WHEN b.ties = 'shared' THEN rank() OVER (PARTITION BY b.name ORDER BY o.place) ELSE row_number() OVER w END AS rank, row_number() OVER w AS n, p.user_id, s.score, s.subscore, s.detail, s.reached_at
    FROM scoreboard.board b JOIN scoreboard.score s USING (board_id) JOIN scoreboard.player p USING (player_id), LATERAL (SELECT CASE b.score_order WHEN 'low' THEN s.score ELSE -s.score END,
        CASE b.ties WHEN 'subscore high' THEN coalesce(-s.subscore, 9223372036854775807) WHEN 'subscore low' THEN coalesce(s.subscore, 9223372036854775807) ELSE extract(epoch FROM s.reached_at) * 1000000 END) AS o (place, second)
    WHERE b.name LIKE 'dist%' AND s.listed WINDOW w AS (PARTITION BY b.name ORDER BY o.place, o.second, player_id);

CREATE PROCEDURE pg_temp.compare() LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    FOR wrong IN
        SELECT b.name, size.n AS entries FROM scoreboard.board b, unnest(ARRAY[1, 7, 199, 1000]) AS size (n)
        WHERE b.name LIKE 'dist%' AND (SELECT array_agg((c.rank, c.user_id, c.score, c.subscore, c.detail, c.reached_at)::text ORDER BY c.n) FROM pg_temp.counted c WHERE c.name = b.name)
            IS DISTINCT FROM (SELECT array_agg((e.rank, e.user_id, e.score, e.subscore, e.detail, e.reached_at)::text ORDER BY e.n)
                FROM pg_temp.pages(b.name, size.n) WITH ORDINALITY AS e (rank, user_id, display_name, avatar_url, score, subscore, detail, reached_at, cursor, n))
    LOOP
        RAISE NOTICE 'export of % by % is wrong', wrong.name, wrong.entries;
    END LOOP;
    FOR wrong IN
        SELECT b.name, size.n AS buckets, d FROM scoreboard.board b, unnest(ARRAY[1, 2, 3, 20, 100]) AS size (n), scoreboard_distribution(b.name, size.n) d WHERE b.name LIKE 'dist%' AND b.name <> 'dist-empty' AND (
            (SELECT count(*) || ' ' || min(score) || ' ' || max(score) FROM pg_temp.counted c WHERE c.name = b.name) IS DISTINCT FROM concat_ws(' ', d ->> 'players', d ->> 'lowest', d ->> 'highest')
            OR EXISTS (SELECT FROM json_to_recordset(d -> 'buckets') AS k ("from" bigint, "to" bigint, players bigint) WHERE players <> (SELECT count(*) FROM pg_temp.counted c WHERE c.name = b.name AND c.score BETWEEN "from" AND "to") OR "from" > "to")
            OR (SELECT sum(players) || ' ' || min("from") || ' ' || max("to") || ' ' || (count(*) <= size.n) FROM json_to_recordset(d -> 'buckets') AS k ("from" bigint, "to" bigint, players bigint))
                IS DISTINCT FROM concat_ws(' ', d ->> 'players', d ->> 'lowest', d ->> 'highest', 'true')
            OR EXISTS (SELECT FROM json_to_recordset(d -> 'percentiles') AS k (percentile numeric, score bigint) WHERE score <>
                (SELECT c.score FROM pg_temp.counted c WHERE c.name = b.name AND c.n = (d ->> 'players')::bigint + 1 - ceil(percentile * (d ->> 'players')::numeric / 100))))
    LOOP
        RAISE NOTICE 'distribution of % by % is wrong: %', wrong.name, wrong.buckets, wrong.d;
    END LOOP;
END
$$;

SELECT board, rank_state, players FROM scoreboard_stats() WHERE board LIKE 'dist%' ORDER BY board COLLATE "C";
CALL pg_temp.compare();
SELECT pg_temp.steady(scoreboard_distribution('dist', 5));
SELECT pg_temp.steady(scoreboard_distribution('dist-empty'));
SELECT pg_temp.steady(scoreboard_distribution('dist-one'));
SELECT pg_temp.steady(scoreboard_distribution('dist-wide', 3));
SELECT rank, user_id, display_name, avatar_url, score, subscore, detail, reached_at FROM scoreboard_export('dist', entries => 4);
SELECT display_name, avatar_url FROM scoreboard_export('dist') WHERE user_id IN ('d-9', 'd-7', 'd-18') ORDER BY user_id;
SELECT count(*) FROM scoreboard_export('dist-empty');
-- A cursor says where to go on, also when its row has gone: nobody who stays is told twice or left out.
SELECT cursor AS behind_third FROM scoreboard_export('dist', entries => 3) OFFSET 2 \gset
BEGIN;
UPDATE scoreboard.score SET score = 10000 WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = (SELECT user_id FROM scoreboard_export('dist', entries => 3) OFFSET 2)) AND board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'dist');
COMMIT;
SELECT rank, user_id FROM scoreboard_export('dist', :'behind_third', 2);
SELECT rank, user_id FROM scoreboard_export('dist', entries => 5);

-- Bounds and refusals: nothing of it names a player.
SELECT a, sign.outcome(format('SELECT count(*) FROM scoreboard_distribution(%s)', a)) FROM unnest(ARRAY['NULL', $$'dist', 0$$, $$'dist', 101$$, $$'dist', NULL$$, $$'dist-none'$$, $$'dist', season => 2$$, $$'dist', token => 'x'$$]) AS a;
SELECT a, sign.outcome(format('SELECT count(*) FROM scoreboard_export(%s)', a)) FROM unnest(ARRAY['NULL', $$'dist', entries => 0$$, $$'dist', entries => 1001$$, $$'dist', entries => NULL$$, $$'dist-none'$$, $$'dist', season => 2$$]) AS a;
SELECT c, sign.outcome(format('SELECT count(*) FROM scoreboard_export(%L, %L)', 'dist', sign.base64url(convert_to(c, 'UTF8')))) FROM unnest(ARRAY['', ':', '1', '1:2', '1:2:3', '1:2:3:', ' 1:2:3', '+1:2:3', '01:2:3', '-0:2:3', '1:2:x',
    '9007199254740992:0:1', '-9007199254740992:0:1', '1:9223372036854775807:1', '1:-9223372036854775808:1', '99999999999999999999:0:1', '1:0:99999999999999999999', E'1:2:3\n']) AS c;
SELECT c, sign.outcome(format('SELECT count(*) FROM scoreboard_export(%L, %L)', 'dist-sub', sign.base64url(convert_to(c, 'UTF8')))) FROM unnest(ARRAY['1:-9223372036854775808:1', '1:9223372036854775807:1', '1:9007199254740992:1', '1:-9007199254740991:1']) AS c;
SELECT sign.outcome(format('SELECT count(*) FROM scoreboard_export(%L, %L)', 'dist', c)) FROM unnest(ARRAY['MTox', 'MTo=', 'M', repeat('MTox', 100)]) AS c;
UPDATE scoreboard.board SET visibility = 'token' WHERE name = 'dist';
SELECT sign.outcome($$SELECT scoreboard_distribution('dist')$$);
SELECT scoreboard_distribution('dist', token => sign.token('d-7')) ->> 'players' AS players;
SELECT count(*) FROM scoreboard_export('dist');

DELETE FROM scoreboard.score WHERE player_id BETWEEN 996001 AND 996200;
DELETE FROM scoreboard.player WHERE player_id BETWEEN 996001 AND 996200;
DELETE FROM scoreboard.board WHERE name LIKE 'dist%';
