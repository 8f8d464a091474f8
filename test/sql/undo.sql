-- Taking back an action: what becomes of scores, subscores and details by each operator, on all boards that it counted towards, what stays, and what is refused.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
\pset format unaligned
SELECT coalesce(max(adjustment_id), 0) AS before_us FROM scoreboard.adjustment \gset
INSERT INTO scoreboard.board (name, operator, score_order, ties) VALUES ('un.sum', 'sum', 'high', 'first'), ('un.best', 'best', 'high', 'subscore high'), ('un.race', 'best', 'low', 'first'), ('un.latest', 'latest', 'high', 'first');
CREATE FUNCTION pg_temp.act(who text, board text, action text, points bigint, subscore bigint DEFAULT NULL, detail text DEFAULT NULL, key text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT sign.outcome(format('SELECT previous_score, score, applied_points, replayed FROM scoreboard_increment_for(%L, %L, %L, %L, %L, subscore => %L, detail => %L, idempotency_key => %L)', who, 'AWARD', action, board, points, subscore, detail, key))
$$;
CREATE FUNCTION pg_temp.undo(who text, action text, reference text DEFAULT NULL, reason text DEFAULT 'a cheat') RETURNS text LANGUAGE sql AS $$
    SELECT sign.outcome(format('SELECT json_agg(json_build_array(board, season, previous_score, score, applied_points, replayed)) FROM scoreboard_undo(%L, %L, %L, %L)', who, action, reason, reference))
$$;
CREATE VIEW pg_temp.scores AS SELECT p.user_id, b.name AS board, s.score, s.subscore, s.detail FROM scoreboard.score s JOIN scoreboard.player p USING (player_id) JOIN scoreboard.board b USING (board_id) WHERE p.user_id LIKE 'un:%' ORDER BY 1, b.board_id;
CREATE VIEW pg_temp.findings AS SELECT * FROM scoreboard_verify() WHERE user_id LIKE 'un:%' OR user_id IS NULL;

-- The points go, and what stood beside the score is the action's before it again; ranks follow with the commit.
SELECT pg_temp.act('un:ann', 'un.sum', 's1', 30, 1, 'one'), pg_temp.act('un:ann', 'un.sum', 's2', 50, 2, 'two', 'key'), pg_temp.act('un:ann', 'un.sum', 's3', 5), pg_temp.act('un:bob', 'un.sum', 's1', 40);
SELECT rank, user_id, score FROM scoreboard_top('un.sum');
SELECT (scoreboard_undo('un:ann', 's2', 'a cheat', 'un-1')).* \gset
SELECT :'user_id', :'action_id', :'board', :season, :previous_score, :score, :applied_points, :'replayed', :'undone_at'::timestamptz = undone_at AS marked FROM scoreboard.action a JOIN scoreboard.player USING (player_id) WHERE user_id = 'un:ann' AND a.action_id = 's2';
SELECT rank, user_id, score, reached_at = :'undone_at' AS reached_anew FROM scoreboard_top('un.sum');
SELECT pg_temp.undo('un:ann', 's3');
SELECT * FROM pg_temp.scores;
-- The same again is answered; without the reference, or under another, it is said that it was undone; the reference is for this action alone.
SELECT pg_temp.undo('un:ann', 's2', 'un-1');
SELECT pg_temp.undo('un:ann', 's2'), pg_temp.undo('un:ann', 's2', 'un-2');
SELECT pg_temp.undo('un:ann', 's1', 'un-1'), pg_temp.undo('un:bob', 's1', 'un-1');
SELECT sign.outcome($$SELECT scoreboard_freeze('un:bob', 'why', 'un-1')$$), sign.outcome($$SELECT score FROM scoreboard_adjust('un:ann', 'un.sum', 1, 'why', 'un-1')$$);
-- The action stays in the log: a retry has its answer, the id is used, history says since when it doesn't count.
SELECT pg_temp.act('un:ann', 'un.sum', 's2', 50, 2, 'two', 'key'), pg_temp.act('un:ann', 'un.sum', 's2', 50, 2, 'two');
SELECT action_id, applied_points, previous_score, score, subscore, undone_at IS NOT NULL AS undone FROM scoreboard_history_for('un:ann', 'un.sum');
SELECT h ->> 'actionId' AS action_id, h ? 'undoneAt' AS undone FROM jsonb_array_elements(scoreboard.history('un.sum', NULL, 10, sign.token('un:ann'))::jsonb -> 'actions') AS h;
-- Nothing else there: it leaves the board.
SELECT pg_temp.undo('un:ann', 's1');
SELECT rank, user_id, score FROM scoreboard_top('un.sum');
SELECT scoreboard_rank('un:bob', 'un.sum') ->> 'players' AS players, sign.outcome($$SELECT scoreboard_rank('un:ann', 'un.sum')$$), scoreboard_me('un.sum', token => sign.token('un:ann')) ->> 'score' AS own;
SELECT * FROM pg_temp.findings;
SELECT pg_temp.act('un:ann', 'un.sum', 's4', 7);
SELECT * FROM pg_temp.scores;

-- Down to the lowest score and no further; what could not be taken goes on counting. A penalty's points come back. Corrections stay.
SELECT pg_temp.act('un:cy', 'un.sum', 'c1', 10), (SELECT score FROM scoreboard_adjust('un:cy', 'un.sum', -6, 'why', 'un-3')), pg_temp.act('un:cy', 'un.sum', 'c2', 3);
SELECT pg_temp.undo('un:cy', 'c1');
SELECT pg_temp.act('un:cy', 'un.sum', 'c3', 20), pg_temp.undo('un:cy', 'c2'), pg_temp.undo('un:cy', 'c3');
SELECT * FROM pg_temp.findings;
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('UN_PENALTY', 'trusted', -15), ('UN_TIME', 'trusted', 60);
SELECT pg_temp.act('un:cy', 'un.sum', 'c4', 12), (SELECT score FROM scoreboard_increment_for('un:cy', 'UN_PENALTY', 'c5', 'un.sum')), pg_temp.undo('un:cy', 'c5');
SELECT * FROM pg_temp.scores WHERE user_id = 'un:cy';
SELECT * FROM pg_temp.findings;

-- best: what the others make of it, those too that came after a better one, with what they were worth then; subscores decide where the board's ties say so.
SELECT pg_temp.act('un:ann', 'un.best', 'b1', 10, 1, 'one'), pg_temp.act('un:ann', 'un.best', 'b2', 90, 2, 'cheat'), pg_temp.act('un:ann', 'un.best', 'b3', 40, 3, 'three'), pg_temp.act('un:ann', 'un.best', 'b4', 40, 4, 'four'), pg_temp.act('un:ann', 'un.best', 'b5', 20, 5, 'five');
SELECT (SELECT score FROM scoreboard_increment_for('un:ann', 'UN_TIME', 'b6', 'un.best', subscore => 6)), pg_temp.undo('un:ann', 'b2');
UPDATE scoreboard.action_type SET points = 1 WHERE name = 'UN_TIME';
SELECT * FROM pg_temp.scores WHERE board = 'un.best';
SELECT pg_temp.undo('un:ann', 'b5'), pg_temp.undo('un:ann', 'b6');
SELECT * FROM pg_temp.scores WHERE board = 'un.best';
SELECT pg_temp.undo('un:ann', 'b4'), pg_temp.undo('un:ann', 'b3');
SELECT * FROM pg_temp.scores WHERE board = 'un.best';
-- Neither here nor there: nothing is changed, and reached when it was.
SELECT pg_temp.act('un:bob', 'un.race', 'r1', 60), pg_temp.act('un:bob', 'un.race', 'r2', 50), pg_temp.act('un:bob', 'un.race', 'r3', 55) \g /dev/null
SELECT reached_at AS reached FROM scoreboard_top('un.race') \gset
SELECT pg_temp.undo('un:bob', 'r3');
SELECT score, reached_at = :'reached' AS same FROM scoreboard_top('un.race');
SELECT pg_temp.undo('un:bob', 'r2');
SELECT score, reached_at > :'reached' AS anew FROM scoreboard_top('un.race');
-- Who has nothing there must not stand at 0, the best of times.
SELECT pg_temp.undo('un:bob', 'r1');
SELECT count(*) FROM scoreboard_top('un.race');
SELECT pg_temp.act('un:bob', 'un.race', 'r4', 70);
-- A correction after an action that is undone: of what stands there then.
SELECT (SELECT score FROM scoreboard_adjust('un:bob', 'un.race', -25, 'why', 'un-4')), pg_temp.act('un:bob', 'un.race', 'r5', 44), pg_temp.act('un:bob', 'un.race', 'r6', 60), pg_temp.undo('un:bob', 'r5');
-- Where nothing stood then, it corrects nothing.
SELECT pg_temp.undo('un:bob', 'r4'), pg_temp.undo('un:bob', 'r6');
SELECT pg_temp.act('un:bob', 'un.race', 'r7', 65), pg_temp.act('un:bob', 'un.race', 'r8', 62);
SELECT (SELECT score FROM scoreboard_adjust('un:ann', 'un.best', 3, 'why', 'un-5')), pg_temp.act('un:ann', 'un.best', 'b7', 50, 7), (SELECT score FROM scoreboard_adjust('un:ann', 'un.best', -45, 'why', 'un-6')), pg_temp.undo('un:ann', 'b7');
SELECT * FROM pg_temp.scores WHERE board IN ('un.best', 'un.race');
SELECT * FROM pg_temp.findings;

-- latest: the one before it, if it was the last; else nothing but what the next one added.
SELECT pg_temp.act('un:cy', 'un.latest', 'l1', 10, 1), pg_temp.act('un:cy', 'un.latest', 'l2', 30, 2, 'two'), pg_temp.act('un:cy', 'un.latest', 'l3', 20, 3, 'three'), pg_temp.act('un:cy', 'un.latest', 'l4', 25);
SELECT pg_temp.undo('un:cy', 'l2'), pg_temp.undo('un:cy', 'l4');
SELECT * FROM pg_temp.scores WHERE board = 'un.latest';
SELECT pg_temp.undo('un:cy', 'l3'), (SELECT score FROM scoreboard_adjust('un:cy', 'un.latest', 5, 'why', 'un-7'));
SELECT * FROM pg_temp.scores WHERE board = 'un.latest';
-- Only a correction is left, of nothing.
SELECT pg_temp.undo('un:cy', 'l1');
SELECT * FROM pg_temp.scores WHERE board = 'un.latest';
SELECT * FROM pg_temp.findings;

-- What the lowest score took of a correction comes back with what stood there before.
SELECT pg_temp.act('un:cy', 'un.latest', 'l5', 50), pg_temp.act('un:cy', 'un.latest', 'l6', 0), pg_temp.act('un:cy', 'un.latest', 'l7', 20), (SELECT score FROM scoreboard_adjust('un:cy', 'un.latest', -10, 'why', 'un-15'));
SELECT pg_temp.undo('un:cy', 'l7'), pg_temp.undo('un:cy', 'l6'), pg_temp.undo('un:cy', 'l5');
SELECT * FROM pg_temp.scores WHERE board = 'un.latest';
-- A clock that was set back between two actions: which of them came last isn't known, and where it doesn't matter, neither does the clock.
SELECT pg_temp.act('un:cy', 'un.latest', 'l8', 10), pg_temp.act('un:cy', 'un.best', 'l8b', 10), pg_temp.act('un:cy', 'un.best', 'l8c', 5) \g /dev/null
UPDATE scoreboard.action SET created_at = created_at + interval '1 hour' WHERE action_id IN ('l8', 'l8b', 'l8c');
SELECT pg_temp.act('un:cy', 'un.latest', 'l9', 20), pg_temp.act('un:cy', 'un.best', 'l9b', 20);
SELECT pg_temp.undo('un:cy', 'l8'), pg_temp.undo('un:cy', 'l9'), pg_temp.undo('un:cy', 'l8b'), pg_temp.undo('un:cy', 'l8c');
SELECT * FROM pg_temp.scores WHERE board IN ('un.latest', 'un.best') AND user_id = 'un:cy';
SELECT * FROM pg_temp.findings;
DELETE FROM scoreboard.action WHERE action_id IN ('l8', 'l9', 'l8b', 'l8c', 'l9b');
DELETE FROM scoreboard.score WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'un:cy') AND board_id IN (SELECT board_id FROM scoreboard.board WHERE name IN ('un.latest', 'un.best'));

-- What was lost is found again.
CREATE TEMP TABLE kept AS SELECT s.* FROM scoreboard.score s JOIN scoreboard.player USING (player_id) WHERE user_id LIKE 'un:%';
UPDATE scoreboard.score s SET score = s.score + 1, subscore = 99, detail = 'wrong' FROM kept k WHERE k.player_id = s.player_id AND k.board_id = s.board_id AND k.season = s.season;
SELECT finding, count(*) FROM scoreboard_repair() WHERE user_id LIKE 'un:%' GROUP BY 1 ORDER BY 1;
SELECT * FROM (SELECT * FROM kept EXCEPT SELECT * FROM scoreboard.score) AS lost;
DELETE FROM scoreboard.score s USING kept k WHERE k.player_id = s.player_id;
SELECT finding, count(*) FROM scoreboard_repair() WHERE user_id LIKE 'un:%' GROUP BY 1 ORDER BY 1;
SELECT * FROM (SELECT * FROM kept EXCEPT SELECT * FROM scoreboard.score) AS lost;
-- Removed by hand before an undo: what the log says is what is mended.
DELETE FROM scoreboard.score s USING kept k WHERE k.player_id = s.player_id;
SELECT pg_temp.undo('un:ann', 's4'), pg_temp.undo('un:bob', 'r8'), pg_temp.undo('un:ann', 'b1');
SELECT count(*) > 0 AS any FROM scoreboard_repair() WHERE user_id LIKE 'un:%';
SELECT * FROM pg_temp.scores;
SELECT * FROM pg_temp.findings;

-- On all boards that it counted towards, whatever leads there now: each by its own operator.
INSERT INTO scoreboard.board (name, operator, period) VALUES ('un.world', 'sum', 'forever'), ('un.week', 'best', 'reset');
INSERT INTO scoreboard.board (name, operator, counts_towards) SELECT 'un.eu', 'sum', array_agg(board_id ORDER BY board_id) FROM scoreboard.board WHERE name IN ('un.world', 'un.week');
SELECT count(*) FROM scoreboard_set_label_boards('un.world', 'country', '{de,fr}');
SELECT scoreboard_set_labels('un:dan', '{"country": "de"}');
SELECT pg_temp.act('un:dan', 'un.eu', 'd1', 10, 1), pg_temp.act('un:dan', 'un.eu', 'd2', 90, 2, 'cheat'), pg_temp.act('un:dan', 'un.eu', 'd3', 40, 3);
UPDATE scoreboard.board SET counts_towards = '{}' WHERE name = 'un.eu';
SELECT scoreboard_set_labels('un:dan', '{"country": "fr"}');
SELECT pg_temp.act('un:dan', 'un.eu', 'd4', 5, 4);
SELECT * FROM pg_temp.scores WHERE user_id = 'un:dan';
SELECT pg_temp.undo('un:dan', 'd2', 'un-8');
SELECT * FROM pg_temp.scores WHERE user_id = 'un:dan';
SELECT pg_temp.undo('un:dan', 'd2', 'un-8');
SELECT * FROM pg_temp.findings;
-- A season that has ended gets its document anew; the running one has nothing to do with it.
SELECT season FROM scoreboard_reset_season('un.week');
SELECT pg_temp.act('un:dan', 'un.week', 'd5', 33);
-- (A statement of psql's own is a transaction: the publisher must see the commit.)
SELECT sign.becomes($$(SELECT final AND document::json -> 'entries' -> 0 ->> 'score' = '40' FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'un.week' AND season = 1)$$);
SELECT pg_temp.undo('un:dan', 'd3', 'un-9');
SELECT sign.becomes($$(SELECT final AND document::json -> 'entries' -> 0 ->> 'score' = '10' FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'un.week' AND season = 1)$$);
SELECT pg_temp.undo('un:dan', 'd1');
SELECT sign.becomes($$(SELECT final AND players = 0 AND json_array_length(document::json -> 'entries') = 0 FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'un.week' AND season = 1)$$);
SELECT user_id, score FROM scoreboard_top('un.week');
SELECT * FROM pg_temp.scores WHERE user_id = 'un:dan';
-- A board that is gone has nothing to take back; the others have.
UPDATE scoreboard.board SET counts_towards = ARRAY(SELECT board_id FROM scoreboard.board WHERE name IN ('un.world', 'un.week')) WHERE name = 'un.eu';
SELECT pg_temp.act('un:dan', 'un.eu', 'd6', 11);
UPDATE scoreboard.board SET counts_towards = '{}' WHERE name = 'un.eu';
DELETE FROM scoreboard.board WHERE name = 'un.eu';
SELECT pg_temp.undo('un:dan', 'd6', 'un-10'), pg_temp.undo('un:dan', 'd4', 'un-11');
SELECT pg_temp.undo('un:dan', 'd6', 'un-10'), pg_temp.undo('un:dan', 'd4', 'un-11');
SELECT * FROM pg_temp.scores WHERE user_id = 'un:dan';
SELECT * FROM pg_temp.findings;

-- An opening balance: what remains.
SELECT players FROM scoreboard_import('un.best', '{un:eve,un:fay}', '{50,60}', 'un-12');
SELECT players FROM scoreboard_import('un.sum', '{un:eve}', '{50}', 'un-13');
SELECT pg_temp.act('un:eve', 'un.best', 'e1', 80, 1), pg_temp.act('un:eve', 'un.sum', 'e2', 80), pg_temp.undo('un:eve', 'e1'), pg_temp.undo('un:eve', 'e2');
SELECT * FROM pg_temp.scores WHERE user_id = 'un:eve';
-- Frozen, banned and hidden players too.
SELECT pg_temp.act('un:fay', 'un.best', 'f1', 70, 1, 'cheat'), scoreboard_ban('un:fay'), pg_temp.undo('un:fay', 'f1'), scoreboard_restore('un:fay');
SELECT rank, user_id, score FROM scoreboard_top('un.best') WHERE user_id LIKE 'un:%';
-- In a savepoint that is rolled back, and with an action of the same transaction.
BEGIN;
SAVEPOINT a;
SELECT pg_temp.act('un:fay', 'un.best', 'f2', 75), pg_temp.undo('un:fay', 'f2');
SELECT pg_temp.act('un:fay', 'un.best', 'f3', 77), pg_temp.undo('un:fay', 'f2');
ROLLBACK TO a;
SELECT pg_temp.act('un:fay', 'un.best', 'f2', 71), pg_temp.act('un:fay', 'un.best', 'f3', 72);
SAVEPOINT b;
SELECT pg_temp.undo('un:fay', 'f3'), pg_temp.undo('un:fay', 'f2');
ROLLBACK TO b;
SELECT pg_temp.undo('un:fay', 'f3');
COMMIT;
SELECT rank, user_id, score FROM scoreboard_top('un.best') WHERE user_id LIKE 'un:%';
SELECT * FROM pg_temp.findings;
-- An undone action keeps its use of a quota.
INSERT INTO scoreboard.action_type (name, proof, points, hourly_quota) VALUES ('UN_ONCE', 'trusted', 1, 1);
SELECT score FROM scoreboard_increment_for('un:fay', 'UN_ONCE', 'f4', 'un.latest');
SELECT pg_temp.undo('un:fay', 'f4'), sign.outcome($$SELECT score FROM scoreboard_increment_for('un:fay', 'UN_ONCE', 'f5', 'un.latest')$$) ~ 'QUOTA' AS used;

-- Refused, with nothing written.
SELECT count(*) AS before, md5(string_agg(s::text, ' ' ORDER BY s)) AS scores FROM scoreboard.adjustment, (SELECT string_agg(s::text, ' ' ORDER BY player_id, board_id) FROM scoreboard.score s) AS t (s) \gset
SELECT pg_temp.undo('un:nobody', 'x'), pg_temp.undo('un:ann', 'x'), pg_temp.undo('un:ann', 'd1');
SELECT pg_temp.undo('', 'x'), pg_temp.undo('un:ann', ''), pg_temp.undo('un:ann', E'a\nb'), pg_temp.undo('un:ann', repeat('x', 256));
SELECT pg_temp.undo(NULL, 'x'), pg_temp.undo('un:ann', NULL), pg_temp.undo('un:ann', 'b1', 'x', NULL), pg_temp.undo('un:ann', 'b1', 'x', ''), pg_temp.undo('un:ann', 'b1', 'x', repeat('ü', 1001)), pg_temp.undo('un:ann', 'b1', ''), pg_temp.undo('un:ann', 'b1', E'a\nb');
SELECT pg_temp.act('un:gil', 'un.latest', 'g1', 9007199254740990), pg_temp.act('un:gil', 'un.latest', 'g2', 5), (SELECT score FROM scoreboard_adjust('un:gil', 'un.latest', 7, 'why', 'un-14')), pg_temp.undo('un:gil', 'g2');
SELECT pg_temp.undo('un:gil', 'g1');
SELECT count(*) - 2 = :before AS none_recorded FROM scoreboard.adjustment;

-- The record: who, why, and what became of each score. Forgotten players leave nothing of it.
SELECT a.reference, p.user_id, a.action_id, b.name AS board, a.points, a.applied_points, a.previous_score, a.score, a.reason, a.made_by = session_user AS by_me
    FROM scoreboard.adjustment a JOIN scoreboard.player p USING (player_id) LEFT JOIN scoreboard.board b USING (board_id) WHERE a.kind = 'undo' AND p.user_id IN ('un:cy', 'un:dan') ORDER BY adjustment_id;
SELECT player_id AS fay FROM scoreboard.player WHERE user_id = 'un:fay' \gset
CREATE TEMP TABLE ours AS SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'un:%';
SELECT mode FROM scoreboard_forget('un:dan'), scoreboard_forget('un:fay', 'anonymise') AS f (second);
SELECT count(*) FROM scoreboard.adjustment WHERE action_id ~ '^[df]\d$' OR reference IN ('un-8', 'un-9');
SELECT user_id AS anonymous, action_id AS remaining FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE player_id = :fay AND undone_at IS NULL ORDER BY action_id DESC LIMIT 1 \gset
SELECT undone_at IS NOT NULL AS undone, count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE player_id = :fay GROUP BY 1 ORDER BY 1;
SELECT board, previous_score, score, applied_points FROM scoreboard_undo(:'anonymous', :'remaining', 'still a cheat');
SELECT * FROM scoreboard_verify();

DELETE FROM scoreboard.adjustment WHERE adjustment_id > :before_us;
DELETE FROM scoreboard.action WHERE player_id IN (SELECT player_id FROM ours);
DELETE FROM scoreboard.credit WHERE player_id IN (SELECT player_id FROM ours);
DELETE FROM scoreboard.balance WHERE player_id IN (SELECT player_id FROM ours);
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM ours);
DELETE FROM scoreboard.player WHERE player_id IN (SELECT player_id FROM ours);
SELECT count(*) FROM scoreboard_set_label_boards('un.world', 'country', '{}');
DELETE FROM scoreboard.board WHERE name LIKE 'un.%';
DELETE FROM scoreboard.action_type WHERE name LIKE 'UN_%';
