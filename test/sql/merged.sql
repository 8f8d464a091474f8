-- Boards that are remote or merge others: which settings fit, what their lists answer, and that nothing is counted there (with subscriptions: t/087_merged_boards)
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE FUNCTION pg_temp.id(board text) RETURNS integer LANGUAGE sql AS 'SELECT board_id FROM scoreboard.board WHERE name = $1';
INSERT INTO scoreboard.board (name, title, remote) VALUES ('mg-far', 'Far', true);
INSERT INTO scoreboard.board (name, ties, score_order, period) VALUES ('mg-near', 'first', 'high', 'forever'), ('mg-low', 'first', 'low', 'forever'), ('mg-shared', 'shared', 'high', 'forever'), ('mg-day', 'first', 'high', 'day'), ('mg-other', 'first', 'high', 'forever');
INSERT INTO scoreboard.board (name, title, merges) VALUES ('mg-all', 'All', ARRAY[pg_temp.id('mg-near'), pg_temp.id('mg-far')]);

-- What fits
SELECT s, pg_temp.try(s) FROM unnest(ARRAY[
    $$INSERT INTO scoreboard.board (name, remote, merges) VALUES ('mg-x', true, ARRAY[pg_temp.id('mg-near')])$$,
    $$INSERT INTO scoreboard.board (name, remote, period) VALUES ('mg-x', true, 'day')$$,
    $$INSERT INTO scoreboard.board (name, remote, counts_towards) VALUES ('mg-x', true, ARRAY[pg_temp.id('mg-near')])$$,
    $$INSERT INTO scoreboard.board (name, remote, movement) VALUES ('mg-x', true, 'day')$$,
    $$UPDATE scoreboard.board SET movement = 'day' WHERE name = 'mg-all'$$,
    $$INSERT INTO scoreboard.board (name, merges) VALUES ('mg-x', ARRAY[NULL::integer])$$,
    $$INSERT INTO scoreboard.board (name, merges) VALUES ('mg-x', '{-1}')$$,
    $$INSERT INTO scoreboard.board (name, merges) VALUES ('mg-x', (SELECT array_agg(n) FROM generate_series(1, 65) n))$$,
    $$INSERT INTO scoreboard.board (name, merges) VALUES ('mg-x', ARRAY[pg_temp.id('mg-low')])$$,
    $$INSERT INTO scoreboard.board (name, merges) VALUES ('mg-x', ARRAY[pg_temp.id('mg-shared')])$$,
    $$INSERT INTO scoreboard.board (name, merges) VALUES ('mg-x', ARRAY[pg_temp.id('mg-day')])$$,
    $$INSERT INTO scoreboard.board (name, merges) VALUES ('mg-x', ARRAY[pg_temp.id('mg-all')])$$,
    $$UPDATE scoreboard.board SET merges = merges || board_id WHERE name = 'mg-all'$$,
    $$UPDATE scoreboard.board SET remote = true WHERE name = 'mg-near'$$,
    $$UPDATE scoreboard.board SET remote = false WHERE name = 'mg-far'$$,
    $$UPDATE scoreboard.board SET ties = 'shared' WHERE name = 'mg-far'$$,
    $$UPDATE scoreboard.board SET ties = 'shared' WHERE name IN ('mg-all', 'mg-far')$$,
    $$UPDATE scoreboard.board SET ties = 'shared' WHERE name IN ('mg-all', 'mg-far', 'mg-near')$$,
    $$UPDATE scoreboard.board SET ties = 'first' WHERE name IN ('mg-all', 'mg-far', 'mg-near')$$,
    $$UPDATE scoreboard.board SET period = 'day' WHERE name = 'mg-near'$$,
    $$UPDATE scoreboard.board SET counts_towards = ARRAY[pg_temp.id('mg-all')] WHERE name = 'mg-other'$$,
    $$UPDATE scoreboard.board SET counts_towards = ARRAY[pg_temp.id('mg-far')] WHERE name = 'mg-other'$$,
    $$UPDATE scoreboard.board SET counts_towards = ARRAY[pg_temp.id('mg-other')] WHERE name = 'mg-all'$$,
    $$SELECT scoreboard_set_label_boards('mg-all', 'country', '{de}')$$,
    $$SELECT scoreboard_set_label_boards('mg-far', 'country', '{de}')$$,
    $$DELETE FROM scoreboard.board WHERE name IN ('mg-near', 'mg-far')$$]) AS s;

-- Nothing is counted there.
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('MERGED', 'trusted', 1), ('MERGED_GRANT', 'grant', 1);
SELECT s, sign.outcome(s) FROM unnest(ARRAY[$$SELECT scoreboard_increment_for('mg-1', 'MERGED', 'a', 'mg-all')$$, $$SELECT scoreboard_increment_for('mg-1', 'MERGED', 'a', 'mg-far')$$,
    $$SELECT scoreboard_create_grant('mg-1', 'MERGED_GRANT', 'mg-all')$$, $$SELECT scoreboard_adjust('mg-1', 'mg-all', 1, 'why', 'mg-1')$$, $$SELECT scoreboard_import('mg-far', '{mg-1}', '{1}', 'mg-2')$$,
    $$SELECT scoreboard_reset_season('mg-all')$$]) AS s;

-- A row that a subscription would have brought, and players of our own
INSERT INTO scoreboard.top (board, season, version, updated_at, players, list_order, second_keys, document) VALUES ('mg-far', 1, 5, now(), 7, 'high first', '{1767225600000002,1767225600000002,1767225600000000}',
    '{"board":"mg-far","season":1,"seasonStart":null,"seasonEnd":null,"version":5,"updatedAt":"2026-01-01T00:00:00.000Z","players":7,"entries":['
    '{"rank":1,"userId":"mg-f1","displayName":"a \"quote\", and more,\"movement\":3}","score":90,"movement":4},{"rank":2,"userId":"mg-f2","displayName":"B","avatarUrl":"https://img.test/b","score":80,"detail":"d"},{"rank":3,"userId":"mg-f3","displayName":"C","score":50,"movement":null}]}');
INSERT INTO scoreboard.player (player_id, user_id) SELECT 976000 + n, 'mg-' || n FROM generate_series(1, 3) n;
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT pg_temp.id('mg-near'), 1, 976000 + n, 100 - 10 * n, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 us' FROM generate_series(1, 3) n;
CREATE FUNCTION pg_temp.wait_for(board text, players bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        IF EXISTS (SELECT FROM scoreboard.top t WHERE t.board = wait_for.board AND t.players = wait_for.players) THEN
            RETURN 'published';
        END IF;
        PERFORM pg_sleep(0.05);
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
    RETURN 'not published';
END
$$;
SELECT pg_temp.wait_for('mg-all', 10);
-- Behind the third of mg-far there may be four more: the list ends where that is known. Who is equal in both keys shares a place.
SELECT e ->> 'rank' AS rank, e FROM json_array_elements(scoreboard_leaderboard('mg-all') -> 'entries') AS e;
SELECT rank, user_id, display_name, avatar_url, score, reached_at AT TIME ZONE 'UTC' AS reached_at FROM scoreboard_top('mg-all', 3, 1);
SELECT user_id FROM scoreboard_top('mg-all', 1000, 5);
SELECT scoreboard.live_top('mg-all', 2, 1, NULL, NULL), json_array_length(scoreboard.live_top('mg-all', 1000, 2147483647, NULL, NULL) -> 'entries') AS behind;
SELECT board, title, players, season FROM scoreboard_boards() WHERE board IN ('mg-all', 'mg-far', 'mg-near') ORDER BY 1;
SELECT scoreboard_leaderboard('mg-far', 1) -> 'entries' AS remote;
-- Somebody bans a player there, who leaves the list; the second that was left out before comes.
UPDATE scoreboard.top SET version = 6, players = 2, second_keys = second_keys[2:3], document = replace(regexp_replace(document, '\{"rank":1,.*?\},', ''), '"players":7', '"players":2') WHERE board = 'mg-far';
SELECT pg_temp.wait_for('mg-all', 5);
SELECT string_agg(concat_ws(' ', rank, user_id, score), ', ' ORDER BY rank, user_id) FROM scoreboard_top('mg-all');

SELECT board, rank_state, players, version > 0 AS published FROM scoreboard_stats() WHERE board IN ('mg-all', 'mg-far') ORDER BY 1;
-- There is nothing but the list.
SELECT b, f, sign.outcome(format('SELECT %s', format(f, quote_literal(b)))) FROM unnest('{mg-all,mg-far}'::text[]) b, unnest(ARRAY[$$scoreboard_rank('mg-1', %s)$$, $$scoreboard_around('mg-1', %s)$$, $$scoreboard_ranks('{mg-1}', %s)$$,
    $$scoreboard_view(%s)$$, $$scoreboard_me(%s)$$, $$scoreboard_history_for('mg-1', %s)$$, $$scoreboard_distribution(%s)$$, $$scoreboard_export(%s)$$, $$scoreboard_ahead(%s, 1, NULL)$$, $$scoreboard.rank('mg-1', %s, NULL, NULL)$$]) f;
SELECT count(*) FROM scoreboard.standings('mg-all', '{mg-1}');
SELECT finding FROM scoreboard_verify('mg-all') UNION ALL SELECT finding FROM scoreboard_verify('mg-far');
UPDATE scoreboard.board SET visibility = 'token' WHERE name = 'mg-all';
SELECT sign.outcome($$SELECT scoreboard_leaderboard('mg-all')$$), sign.outcome($$SELECT scoreboard_top('mg-all')$$);
SELECT (SELECT count(*) FROM scoreboard_top('mg-all', 1, token => sign.token('mg-1'))) AS shown, scoreboard_leaderboard('mg-all', token => sign.token('mg-1')) ->> 'board' AS board;

-- A board that goes leaves those that merge it. A server that has its list from us sees nobody in it, as a new version.
SELECT version FROM scoreboard.top WHERE board = 'mg-near' \gset
DELETE FROM scoreboard.board WHERE name = 'mg-near';
SELECT pg_temp.wait_for('mg-all', 2);
SELECT string_agg(concat_ws(' ', rank, user_id, score), ', ' ORDER BY rank, user_id) FROM scoreboard_top('mg-all', token => sign.token('mg-1'));
SELECT pg_temp.wait_for('mg-near', 0);
SELECT version > :version AS newer, players, second_keys, document::json -> 'entries' AS entries, (document::json ->> 'version')::bigint = version AS same FROM scoreboard.top WHERE board = 'mg-near';
-- A remote one that is deleted here keeps the list for a board that is made again.
DELETE FROM scoreboard.board WHERE name IN ('mg-all', 'mg-far');
INSERT INTO scoreboard.board (name, remote) VALUES ('mg-far', true);
INSERT INTO scoreboard.board (name, merges) VALUES ('mg-all', ARRAY[pg_temp.id('mg-far')]);
SELECT pg_temp.wait_for('mg-all', 2);
SELECT string_agg(concat_ws(' ', rank, user_id, score), ', ' ORDER BY rank, user_id) FROM scoreboard_top('mg-all');
DELETE FROM scoreboard.action_type WHERE name LIKE 'MERGED%';
DELETE FROM scoreboard.board WHERE name LIKE 'mg-%';
DELETE FROM scoreboard.player WHERE player_id BETWEEN 976001 AND 976003;
DELETE FROM scoreboard.top WHERE board LIKE 'mg-%';
