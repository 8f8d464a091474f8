-- scoreboard_ahead: how many stand ahead of a key, held against a count over the table (counted by SQL: t/061_rank_scan; over several servers: t/084_several_servers)
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name, score_order, ties, lowest_score) VALUES ('ahead', 'high', 'first', -1000), ('ahead-low', 'low', 'first', -1000), ('ahead-shared', 'high', 'shared', -1000), ('ahead-lowshared', 'low', 'shared', -1000),
    ('ahead-sub', 'high', 'subscore high', -1000), ('ahead-sublow', 'low', 'subscore low', -1000), ('ahead-empty', 'high', 'first', 0);
INSERT INTO scoreboard.board (name, period) VALUES ('ahead-reset', 'reset');
INSERT INTO scoreboard.player (player_id, user_id, hidden) SELECT 986000 + n, 'ahead-' || n, n % 10 = 7 FROM generate_series(1, 200) n;
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, subscore, listed)
    SELECT b.board_id, 1, 986000 + n, (n * 37) % 20 - 10, timestamptz '1969-12-31 23:59:59.999998+00' + (n % 7) * interval '1 us', CASE WHEN n % 5 > 0 THEN n % 4 - 2 END, n % 10 <> 7
    FROM scoreboard.board b, generate_series(1, 200) n WHERE b.name LIKE 'ahead%' AND b.name <> 'ahead-empty';
SELECT sign.wait_for_ranks();
-- What lists are ordered by, as far as other servers know it too.
CREATE VIEW pg_temp.placed AS
    SELECT b.name, s.score, CASE WHEN b.ties LIKE 'subscore%' THEN s.subscore ELSE (extract(epoch FROM s.reached_at) * 1000000)::bigint END AS second_key, o.place, o.second
    FROM scoreboard.board b JOIN scoreboard.score s USING (board_id), LATERAL (SELECT CASE b.score_order WHEN 'low' THEN s.score ELSE -s.score END,
        CASE b.ties WHEN 'subscore high' THEN coalesce(-s.subscore, 9223372036854775807) WHEN 'subscore low' THEN coalesce(s.subscore, 9223372036854775807) WHEN 'shared' THEN 0
            ELSE (extract(epoch FROM s.reached_at) * 1000000)::bigint END) AS o (place, second)
    WHERE b.name LIKE 'ahead%' AND s.listed;
SELECT DISTINCT rank_state FROM scoreboard_stats() WHERE board LIKE 'ahead%';
-- Each player's own key, and how many keys there are where two players share a place
SELECT name, count(*), count(*) FILTER (WHERE scoreboard_ahead(name, score, second_key) <> rank - 1) AS wrong, count(*) - count(DISTINCT rank) AS in_one_place
    FROM (SELECT *, rank() OVER (PARTITION BY name ORDER BY place, second) FROM pg_temp.placed) p GROUP BY name ORDER BY name COLLATE "C";
-- Keys that nobody has, a moment or a subscore beside others', and none
SELECT name, count(*), count(*) FILTER (WHERE scoreboard_ahead(name, score, key) <> (SELECT count(*) FROM pg_temp.placed p WHERE p.name = b.name AND (p.place, p.second) < (k.place, k.second))) AS wrong
    FROM scoreboard.board b, generate_series(-12, 12) score, unnest('{NULL,-9007199254740991,-100,-3,-2,-1,0,1,2,3,4,5,100,9007199254740991}'::bigint[]) key,
        LATERAL (SELECT CASE b.score_order WHEN 'low' THEN score ELSE -score END, CASE WHEN b.ties = 'shared' THEN 0 WHEN b.ties = 'subscore high' THEN coalesce(-key, 9223372036854775807) ELSE coalesce(key, 9223372036854775807) END) AS k (place, second)
    WHERE b.name LIKE 'ahead%' GROUP BY name ORDER BY name COLLATE "C";
SELECT scoreboard_ahead('ahead', -9007199254740991, NULL) AS all_listed, scoreboard_ahead('ahead', 9007199254740991, NULL) AS none, scoreboard_ahead('ahead-empty', 0, NULL) AS empty;
-- Seen as committed now, whatever the caller's snapshot: a hidden player goes, what isn't committed doesn't count.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT scoreboard_ahead('ahead', -1000, NULL);
UPDATE scoreboard.player SET hidden = true WHERE user_id = 'ahead-1';
SELECT scoreboard_ahead('ahead', -1000, NULL);
COMMIT;
SELECT scoreboard_ahead('ahead', -1000, NULL);
UPDATE scoreboard.player SET hidden = false WHERE user_id = 'ahead-1';
-- A season that ended has no tree.
SELECT season, next_season FROM scoreboard_reset_season('ahead-reset');
SELECT scoreboard_ahead('ahead-reset', -1000, NULL) AS running, scoreboard_ahead('ahead-reset', -1000, NULL, 1) AS ended;
SELECT count(*), count(*) FILTER (WHERE scoreboard_ahead(name, score, second_key, 1) <> rank - 1) AS wrong
    FROM (SELECT *, rank() OVER (ORDER BY place, second) FROM pg_temp.placed WHERE name = 'ahead-reset') p;
-- Whoever may see the board, a gateway is told the number.
UPDATE scoreboard.board SET visibility = 'token' WHERE name = 'ahead';
SELECT scoreboard_ahead('ahead', -1000, NULL);
SELECT a, sign.outcome(format('SELECT scoreboard_ahead(%s)', a)) FROM unnest(ARRAY['NULL, 0, 0', $$'ahead', NULL, 0$$, $$'ahead', 9007199254740992, 0$$, $$'ahead', -9007199254740992, 0$$, $$'ahead', 0, 9007199254740992$$,
    $$'ahead-sub', 0, -9007199254740992$$, $$'ahead-shared', 0, 9007199254740992$$, $$'ahead-none', 0, 0$$, $$'', 0, 0$$, $$'ahead', 0, 0, 2$$]) AS a;
DELETE FROM scoreboard.score WHERE player_id BETWEEN 986001 AND 986200;
DELETE FROM scoreboard.player WHERE player_id BETWEEN 986001 AND 986200;
DELETE FROM scoreboard.board WHERE name LIKE 'ahead%';
