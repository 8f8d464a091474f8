-- scoreboard_view: the top, oneself, who is next, neighbours and friends in one document, and what it says of whom.
-- Rows are written directly, with fixed ids and moments, so that the order is the test's own.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name, score_order, ties, top_size) VALUES ('view', 'high', 'first', 10), ('view-low', 'low', 'first', 10),
    ('view-shared', 'high', 'shared', 10), ('view-sub', 'high', 'subscore low', 10), ('view-empty', 'high', 'first', 10);
INSERT INTO scoreboard.player (player_id, user_id, display_name, avatar_url, state, hidden, unlisted, anonymous) VALUES
    (993001, 'v-ada', 'Ada "A" \', 'https://img.test/ada.png', 'active', false, false, false), (993002, 'v-bob', NULL, NULL, 'active', false, false, false),
    (993003, 'v-cyd', 'Cyd', NULL, 'active', false, false, false), (993004, 'v-dan', 'Dan', NULL, 'frozen', false, false, false),
    (993005, 'v-eve', 'Eve', NULL, 'active', true, false, false), (993006, 'v-mal', 'Mal', NULL, 'banned', false, false, false),
    (993007, 'v-out', 'Out', 'https://img.test/out.png', 'active', false, true, false), (993008, 'v-ano', 'Ano', 'https://img.test/ano.png', 'active', false, false, true),
    (993009, 'v-new', 'New', NULL, 'active', false, false, false);
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, subscore, detail, listed)
    SELECT b.board_id, 1, s.player_id, s.score, s.reached_at::timestamptz, s.subscore, 'detail', p.state <> 'banned' AND NOT p.hidden AND NOT p.unlisted
    FROM scoreboard.board b, (VALUES
        (993001, 300, '2026-01-01 10:00:00.000001', 7), (993002, 300, '2026-01-01 10:00:00.000001', 5), (993003, 300, '2026-01-01 10:00:00.000002', NULL),
        (993004, 100, '2026-01-01 09:00:00', 1), (993005, 999, '2026-01-01 08:00:00', 1), (993006, 5, '2026-01-01 08:00:00', 1),
        (993007, 250, '2026-01-01 08:00:00', 1), (993008, 40, '2026-01-01 08:00:00', -3)) AS s (player_id, score, reached_at, subscore)
    JOIN scoreboard.player p USING (player_id) WHERE b.name IN ('view', 'view-low', 'view-shared', 'view-sub');
SELECT sign.wait_for_ranks();
CREATE FUNCTION pg_temp.steady(view json) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(view::text, '"asOf":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"', '"asOf":T')
$$;
-- A part of it, in short.
CREATE FUNCTION pg_temp.row(entry json) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN entry IS NULL OR entry::text = 'null' THEN '-' ELSE
        concat_ws(' ', coalesce(entry ->> 'rank', 'null'), substr(entry ->> 'userId', 3), entry ->> 'score', '/' || (entry ->> 'subscore'), '+' || (entry ->> 'missing'), (entry ->> 'percentile') || '%') END
$$;
CREATE FUNCTION pg_temp.rows(entries json) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(pg_temp.row(e), ', ' ORDER BY n), '') FROM json_array_elements(entries) WITH ORDINALITY AS t (e, n)
$$;
CREATE FUNCTION pg_temp.short(view json) RETURNS TABLE (players text, entries text, own text, next text, neighbours text, friends text) LANGUAGE sql AS $$
    SELECT view ->> 'players', pg_temp.rows(view -> 'entries'), pg_temp.row(view -> 'own'), pg_temp.row(view -> 'next'), pg_temp.rows(view -> 'neighbours'), pg_temp.rows(view -> 'friends')
$$;

-- Word for word
SELECT pg_temp.steady(scoreboard_view('view', entries => 2, radius => 1, user_ids => '{v-ano,v-ada}', user_id => 'v-dan'));
SELECT pg_temp.steady(scoreboard_view('view-sub', entries => 1, radius => 0, user_id => 'v-bob'));
SELECT pg_temp.steady(scoreboard_view('view-empty'));
SELECT pg_temp.steady(scoreboard_view('view', entries => 1, token => sign.token('v-out')));
SELECT abs(extract(epoch FROM clock_timestamp() - (scoreboard_view('view') ->> 'asOf')::timestamptz)) < 60 AS now;

-- Each player's own, on boards of each order and ties
SELECT b.name, s.* FROM scoreboard.board b, unnest(ARRAY['v-ada', 'v-bob', 'v-cyd', 'v-dan', 'v-ano']) WITH ORDINALITY AS u (id, n),
    pg_temp.short(scoreboard_view(b.name, entries => 3, radius => 1, user_id => u.id)) s WHERE b.name LIKE 'view%' ORDER BY b.name COLLATE "C", u.n;
-- What it says is what the other reads say.
SELECT b.name, u.id FROM scoreboard.board b, unnest(ARRAY['v-ada', 'v-bob', 'v-cyd', 'v-dan', 'v-ano']) AS u (id),
    scoreboard_view(b.name, entries => 1000, radius => 2, user_id => u.id, user_ids => ARRAY[u.id]) v, scoreboard_rank(u.id, b.name) r
    WHERE b.name LIKE 'view%' AND b.name <> 'view-empty' AND ((v -> 'own' ->> 'rank', v -> 'own' ->> 'percentile', v ->> 'players', v -> 'own' ->> 'score', v -> 'friends' -> 0 ->> 'rank')
            IS DISTINCT FROM (r ->> 'rank', r ->> 'percentile', r ->> 'players', r ->> 'score', r ->> 'rank')
        OR (SELECT array_agg(e ->> 'rank' || (e ->> 'userId') || (e ->> 'displayName') || (e ->> 'score') ORDER BY n) FROM json_array_elements(v -> 'neighbours') WITH ORDINALITY AS t (e, n))
            IS DISTINCT FROM (SELECT array_agg(a.rank || a.user_id || a.display_name || a.score ORDER BY n) FROM scoreboard_around(u.id, b.name, 2) WITH ORDINALITY AS a (rank, user_id, display_name, avatar_url, score, reached_at, n))
        OR (SELECT array_agg(e ->> 'rank' || (e ->> 'userId') || (e ->> 'score') ORDER BY n) FROM json_array_elements(v -> 'entries') WITH ORDINALITY AS t (e, n))
            IS DISTINCT FROM (SELECT array_agg(a.rank || a.user_id || a.score ORDER BY n) FROM scoreboard_top(b.name, 1000) WITH ORDINALITY AS a (rank, user_id, display_name, avatar_url, score, reached_at, n)));

-- A token's player sees its score, listed or not, scored or not; the same named by others is not there.
SELECT u.id, s.* FROM unnest(ARRAY['v-cyd', 'v-eve', 'v-mal', 'v-out', 'v-new', 'v-never-seen']) WITH ORDINALITY AS u (id, n),
    pg_temp.short(scoreboard_view('view', entries => 1, token => sign.token(u.id))) s ORDER BY u.n;
SELECT u.id, s.* FROM unnest(ARRAY['v-cyd', 'v-eve', 'v-mal', 'v-out', 'v-new', 'v-never-seen']) WITH ORDINALITY AS u (id, n),
    pg_temp.short(scoreboard_view('view', entries => 1, user_id => u.id, user_ids => ARRAY[u.id])) s ORDER BY u.n;
-- Nor is it among one's own friends.
SELECT s.friends FROM pg_temp.short(scoreboard_view('view', user_ids => '{v-eve}', token => sign.token('v-eve'))) s;

-- Friends in the order in which they are named, as often as they are named, each in its place.
SELECT s.friends FROM pg_temp.short(scoreboard_view('view', user_ids => ARRAY['v-dan', 'v-eve', 'v-ada', 'v-dan', '', 'v-out', 'V-ADA', 'v-ano', E'\u0001', repeat('x', 300)])) s;
SELECT json_array_length(scoreboard_view('view', user_ids => array_fill('v-dan'::text, ARRAY[1000])) -> 'friends');

-- The claims of a trusted request name the own row too, and somebody who asks for another one is a stranger.
SELECT set_config('request.jwt.claims', '{"iss":"https://id.test","sub":"v-out","exp":' || extract(epoch FROM now())::bigint + 300 || '}', false) IS NOT NULL AS set;
SELECT s.own FROM pg_temp.short(scoreboard_view('view')) s;
SELECT format('SET scoreboard.trusted_request_roles = %I', session_user) AS trust \gset
:trust;
SELECT s.own FROM pg_temp.short(scoreboard_view('view')) s;
SELECT s.own FROM pg_temp.short(scoreboard_view('view', user_id => 'v-out')) s;
SET request.jwt.claims = '{"role":"anon"}';
SELECT s.own, s.entries FROM pg_temp.short(scoreboard_view('view', entries => 1)) s;
RESET request.jwt.claims;
RESET scoreboard.trusted_request_roles;

-- What is committed counts, not what this transaction has done; names too.
BEGIN;
UPDATE scoreboard.score SET score = 1000, reached_at = '2026-01-02' WHERE player_id = 993004;
UPDATE scoreboard.player SET display_name = 'Mine' WHERE player_id = 993004;
SELECT s.own, s.next, s.friends FROM pg_temp.short(scoreboard_view('view', user_id => 'v-dan', user_ids => '{v-dan}')) s;
SELECT scoreboard_view('view', user_id => 'v-dan') -> 'own' ->> 'displayName' AS name;
ROLLBACK;

-- Bounds and refusals: the form before the token, the token before the board.
SELECT sign.outcome(format('SELECT scoreboard_view(%s)', a)) FROM unnest(ARRAY['NULL', $$'view', 0$$, $$'view', 1001$$, $$'view', NULL$$, $$'view', radius => -1$$, $$'view', radius => 51$$, $$'view', radius => NULL$$,
    $$'view', user_ids => NULL$$, $$'view', user_ids => '{a,NULL}'$$, $$'view', user_ids => '{{a}}'$$, $$'view', user_ids => array_fill('x'::text, ARRAY[1001])$$,
    $$'view', user_id => ''$$, $$'view', user_id => repeat('x', 256)$$, $$'view', user_id => 'v-ada', token => 'x'$$, $$'view-none', token => 'x'$$, $$'view-none'$$, $$'view', season => 2$$]) AS a;
SELECT sign.outcome(format($$SELECT scoreboard_view('view', user_id => 'v-ada', token => %L)$$, sign.token('v-ada')));

DELETE FROM scoreboard.score WHERE player_id BETWEEN 993001 AND 993009;
DELETE FROM scoreboard.player WHERE player_id BETWEEN 993001 AND 993009;
DELETE FROM scoreboard.board WHERE name LIKE 'view%';
