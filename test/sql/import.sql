-- Opening balances: order and ties as the arrays have them, what is refused with nothing written, that actions go on from there, once by reference.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, operator, score_order, ties, lowest_score) VALUES
    ('im', 'sum', 'high', 'first', 0), ('im-race', 'best', 'low', 'first', 0), ('im-shared', 'latest', 'high', 'shared', -10), ('im-many', 'sum', 'high', 'first', 0);
CREATE FUNCTION pg_temp.import(board text, user_ids text[], scores bigint[], reference text) RETURNS text LANGUAGE sql AS $$
    SELECT sign.outcome(format('SELECT board, players, replayed FROM scoreboard_import(%L, %L, %L, %L)', board, user_ids, scores, reference))
$$;
CREATE FUNCTION pg_temp.list(board text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s %s', rank, user_id, score), ', ' ORDER BY n) FROM scoreboard_top(list.board) WITH ORDINALITY AS t (rank, user_id, display_name, avatar_url, score, reached_at, n)
$$;

-- Who is there already keeps its place in the order of first appearance, but reaches its score in the order of the array.
SELECT scoreboard_set_profile('im:old', 'Old'), scoreboard_hide('im:old', false);
SELECT scoreboard_set_profile('im:banned', 'Banned'), scoreboard_ban('im:banned');
SELECT pg_temp.import('im', '{im:cy,im:ann,im:old,im:bob,im:banned}', '{5,7,7,7,100}', 'im-1');
SELECT pg_temp.list('im');
SELECT user_id FROM scoreboard.player WHERE user_id LIKE 'im:%' ORDER BY player_id;
SELECT score FROM scoreboard_increment_for('im:late', 'AWARD', 'late', 'im', 7);
SELECT pg_temp.list('im');
-- Actions go on from there.
SELECT previous_score, score, applied_points FROM scoreboard_increment_for('im:cy', 'AWARD', 'first', 'im', 3);
SELECT pg_temp.import('im-race', '{im:cy,im:ann}', '{60,50}', 'im-2'), pg_temp.import('im-shared', '{im:cy,im:ann,im:new}', '{-10,5,5}', 'im-3');
SELECT previous_score, score, applied_points FROM scoreboard_increment_for('im:cy', 'AWARD', 'worse', 'im-race', 70);
SELECT previous_score, score, applied_points FROM scoreboard_increment_for('im:cy', 'AWARD', 'better', 'im-race', 40);
SELECT pg_temp.list('im-race'), pg_temp.list('im-shared');
SELECT scoreboard_restore('im:banned');
SELECT pg_temp.list('im');

-- The same again is answered; anything else under the reference is refused, so is a second balance of a player.
SELECT pg_temp.import('im', '{im:cy,im:ann,im:old,im:bob,im:banned}', '{5,7,7,7,100}', 'im-1');
SELECT pg_temp.import('im', '{im:cy,im:ann,im:old,im:bob,im:banned}', '{5,7,7,8,100}', 'im-1');
SELECT pg_temp.import('im', '{im:ann,im:cy,im:old,im:bob,im:banned}', '{7,5,7,7,100}', 'im-1');
SELECT pg_temp.import('im-race', '{im:cy,im:ann,im:old,im:bob,im:banned}', '{5,7,7,7,100}', 'im-1');
SELECT sign.outcome($$SELECT scoreboard_adjust('im:cy', 'im', 1, 'why', 'im-1')$$);
SELECT score FROM scoreboard_adjust('im:cy', 'im', 1, 'why', 'im-4');
SELECT pg_temp.import('im', '{im:dan}', '{1}', 'im-4');

-- Refused, with nothing written: no player, no score, no reference used.
CREATE VIEW pg_temp.rows AS SELECT (SELECT count(*) FROM scoreboard.player) AS players, (SELECT count(*) FROM scoreboard.score) AS scores, (SELECT count(*) FROM scoreboard.balance) AS balances, (SELECT count(*) FROM scoreboard.adjustment) AS adjustments;
SELECT md5(r::text) AS before FROM pg_temp.rows r \gset
SELECT pg_temp.import('im', '{im:dan,im:late,im:eve}', '{1,2,3}', 'im-x');
SELECT pg_temp.import('im', '{im:dan,im:eve,im:dan}', '{1,2,1}', 'im-x');
SELECT pg_temp.import('im', '{im:dan,im:eve}', '{1,-1}', 'im-x');
SELECT pg_temp.import('im', '{im:dan,im:eve}', '{1,9007199254740992}', 'im-x');
SELECT pg_temp.import('im', ARRAY['im:dan', E'im:\t'], '{1,2}', 'im-x'), pg_temp.import('im', '{im:dan,""}', '{1,2}', 'im-x'), pg_temp.import('im', ARRAY['im:dan', repeat('x', 256)], '{1,2}', 'im-x');
SELECT pg_temp.import('im', '{im:dan,im:eve}', '{1}', 'im-x');
SELECT count(DISTINCT a.answer) AS answers, min(a.answer) AS answer FROM (VALUES (pg_temp.import('im', '{im:dan,NULL}', '{1,2}', 'im-x')), (pg_temp.import('im', '{im:dan,im:eve}', '{1,NULL}', 'im-x')), (pg_temp.import('im', '{{im:dan},{im:eve}}', '{1,2}', 'im-x')),
    (pg_temp.import('im', '{}', '{}', 'im-x')), (sign.outcome($$SELECT scoreboard_import('im', array_agg('im:' || n), array_agg(n), 'im-x') FROM generate_series(1, 1000001) n$$))) AS a (answer);
SELECT pg_temp.import('none', '{im:dan}', '{1}', 'im-x');
SELECT pg_temp.import('im', '{im:dan}', '{1}', ''), pg_temp.import('im', '{im:dan}', '{1}', NULL);
BEGIN;
SELECT pg_temp.import('im', '{im:dan}', '{1}', 'im-x');
ROLLBACK;
SELECT md5(r::text) = :'before' AS nothing_written FROM pg_temp.rows r;
SELECT pg_temp.list('im');

-- Many, and more behind them
SELECT players, replayed FROM scoreboard_import('im-many', (SELECT array_agg('im:many' || n ORDER BY n) FROM generate_series(1, 3000) n), (SELECT array_agg((n / 10)::bigint ORDER BY n) FROM generate_series(1, 3000) n), 'im-many');
SELECT players, replayed FROM scoreboard_import('im-many', (SELECT array_agg('im:more' || n ORDER BY n) FROM generate_series(1, 3000) n), (SELECT array_agg((n / 10)::bigint ORDER BY n) FROM generate_series(1, 3000) n), 'im-more');
SELECT rank, user_id, score FROM scoreboard_top('im-many', 4);
SELECT scoreboard_rank('im:many1667', 'im-many') ->> 'rank' AS rank, 2 * (3000 - 1669) + 8 AS expected;

-- The record: scores are the sum of balances, actions and corrections.
SELECT reference, kind, b.name AS board, players, length(content) AS content, made_by = session_user AS by_me FROM scoreboard.adjustment JOIN scoreboard.board b USING (board_id) WHERE reference LIKE 'im-%' ORDER BY adjustment_id;
SET client_min_messages = warning;
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'im%' AND user_id IS NOT NULL;
CREATE TEMP TABLE kept AS SELECT * FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'im:%' AND user_id NOT LIKE 'im:m%');
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM kept);
SELECT finding, count(*) FROM scoreboard_repair() WHERE user_id LIKE 'im:%' GROUP BY finding;
SELECT * FROM (SELECT * FROM kept EXCEPT SELECT * FROM scoreboard.score) AS lost;

DELETE FROM scoreboard.adjustment WHERE reference LIKE 'im-%';
DELETE FROM scoreboard.balance;
DELETE FROM scoreboard.action WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'im:%');
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'im:%');
DELETE FROM scoreboard.adjustment WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'im:%');
DELETE FROM scoreboard.player WHERE user_id LIKE 'im:%';
DELETE FROM scoreboard.board WHERE name LIKE 'im%';
