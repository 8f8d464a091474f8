-- One action counts towards several boards: each by its own settings, all of them or none, decided once. What may lead where, what
-- becomes of it when a board goes, and what verify, repair, history, corrections and forget make of credits.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
-- A region, which counts towards a world, which counts towards others that make something else of the same points; two ways lead to rt.day.
INSERT INTO scoreboard.board (board_id, name, operator, score_order, ties, lowest_score) VALUES (910, 'rt.day', 'sum', 'high', 'shared', 0),
    (911, 'rt.best', 'best', 'high', 'subscore high', -1000), (912, 'rt.low', 'best', 'low', 'subscore low', -1000), (913, 'rt.latest', 'latest', 'high', 'first', -1000);
INSERT INTO scoreboard.board (board_id, name, lowest_score, counts_towards) VALUES (905, 'rt.world', -1000, '{913,910,912,911}');
INSERT INTO scoreboard.board (board_id, name, counts_towards) VALUES (907, 'rt.eu', '{905,910}'), (901, 'rt.us', '{905}');
SELECT sign.wait_for_ranks();
CREATE FUNCTION pg_temp.add(who text, id text, points bigint, board text DEFAULT 'rt.eu', key text DEFAULT NULL, subscore bigint DEFAULT NULL, detail text DEFAULT NULL) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT * FROM scoreboard_increment_for(%L, %L, %L, %L, %L, idempotency_key => %L, subscore => %L, detail => %L)', who, 'AWARD', id, board, points, key, subscore, detail))
$$;
CREATE VIEW pg_temp.scores AS SELECT b.name AS board, p.user_id, s.score, s.subscore, s.detail, s.listed FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id)
    WHERE b.name LIKE 'rt.%' ORDER BY p.user_id COLLATE "C", b.board_id;
CREATE VIEW pg_temp.credits AS SELECT p.user_id, c.action_id, coalesce(b.name, 'gone') AS board, c.previous_score, c.applied_points, c.score, c.sets_score
    FROM scoreboard.credit c JOIN scoreboard.player p USING (player_id) JOIN scoreboard.action a USING (player_id, action_id) LEFT JOIN scoreboard.board b ON b.board_id = c.board_id ORDER BY a.created_at, c.board_id;

-- The answer is the named board's; a credit for each of the others.
SELECT pg_temp.add('rt:ada', 'a1', 30, subscore => 5, detail => 'first');
SELECT pg_temp.add('rt:ada', 'a2', 20, subscore => 9, detail => 'second');
SELECT pg_temp.add('rt:ada', 'a3', 30, subscore => 4, detail => 'third');
SELECT pg_temp.add('rt:ada', 'a4', -100, 'rt.us');
TABLE pg_temp.credits;
TABLE pg_temp.scores;
-- One moment for all of them
SELECT count(DISTINCT reached_at) FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) WHERE b.name IN ('rt.world', 'rt.day', 'rt.low', 'rt.latest');

-- The board itself as named, and one that leads nowhere
SELECT pg_temp.add('rt:ada', 'a5', 7, 'rt.day');
SELECT pg_temp.add('rt:ada', 'a6', 7, 'rt.world');
SELECT action_id, count(*) FROM scoreboard.credit WHERE action_id IN ('a5', 'a6') GROUP BY 1;

-- Decided once: a retry has what was stored, a duplicate is one on every board; nothing is counted again.
SELECT pg_temp.add('rt:bob', 'b1', 40, key => 'k');
SELECT sign.written() || (SELECT count(*) FROM scoreboard.credit) AS before \gset
SELECT pg_temp.add('rt:bob', 'b1', 40, key => 'k');
SELECT pg_temp.add('rt:bob', 'b1', 40);
SELECT pg_temp.add('rt:bob', 'b1', 40, 'rt.world');
SELECT pg_temp.add('rt:bob', 'b1', 40, 'rt.world', key => 'k');
-- What one board refuses is refused on all: a value below its lowest score, a score out of range.
SELECT pg_temp.add('rt:bob', 'b2', -1001);
UPDATE scoreboard.board SET lowest_score = -9007199254740991 WHERE name IN ('rt.best', 'rt.low', 'rt.latest');
SELECT pg_temp.add('rt:bob', 'b2', 9007199254740991, 'rt.us');
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('rt:new', 'AWARD', 'n', 'rt.eu', 9007199254740992) $$);
SELECT sign.written() || (SELECT count(*) FROM scoreboard.credit) = :'before' AS unchanged;

-- With a receipt and a grant, in a batch too: they are for the named board.
SELECT sign.outcome($$ SELECT * FROM sign.increment('rt:cyd', 'SCORE_RUN', 'c1', 'rt.eu', 50) $$);
SELECT sign.outcome(format($$ SELECT * FROM scoreboard_increment('SCORE_RUN', 'c2', 'rt.world', 50, %s, %L, token => %L) $$, s, sign.receipt('rt:cyd', 'SCORE_RUN', 'c2', 'rt.eu', 50, s), sign.token('rt:cyd'))) FROM sign.now() AS s;
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('RT_GIFT', 'grant', 9);
SELECT scoreboard_create_grant('rt:cyd', 'RT_GIFT', 'rt.eu') AS gift \gset
SELECT sign.outcome(format($$ SELECT score FROM scoreboard_increment('RT_GIFT', %L, 'rt.eu', token => %L) $$, :'gift', sign.token('rt:cyd')));
CREATE FUNCTION pg_temp.element(who text, id text, points bigint, board text DEFAULT 'rt.eu') RETURNS json LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('actionType', 'SCORE_RUN', 'actionId', id, 'board', board, 'points', points, 'issuedAt', s, 'receipt', sign.receipt(who, 'SCORE_RUN', id, board, points, s), 'token', sign.token(who), 'idempotencyKey', 'k')
    FROM (SELECT sign.now() AS s) AS t
$$;
SELECT ordinal, status, body ->> 'board' AS board, body ->> 'previousScore' AS previous, body ->> 'score' AS score, body ->> 'replayed' AS replayed FROM scoreboard_submit(json_build_array(
    pg_temp.element('rt:cyd', 'c3', 1), pg_temp.element('rt:dan', 'd1', 60), pg_temp.element('rt:cyd', 'c4', 2, 'rt.us'), pg_temp.element('rt:cyd', 'c3', 1), pg_temp.element('rt:cyd', 'c5', -300), pg_temp.element('rt:dan', 'd2', 10, 'rt.day')));
SELECT user_id, board, score FROM pg_temp.scores WHERE user_id IN ('rt:cyd', 'rt:dan');

-- Ranks and published lists of all of them
SELECT b AS board, (SELECT string_agg(format('%s %s %s', t.rank, t.user_id, t.score), ', ' ORDER BY t.rank, t.user_id) FROM scoreboard_top(b) t) AS top FROM unnest(ARRAY['rt.eu', 'rt.us', 'rt.world', 'rt.day', 'rt.best', 'rt.low', 'rt.latest']) AS b;
CREATE FUNCTION pg_temp.published(board_name text, wanted text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    FOR round IN 1..3000 LOOP
        IF EXISTS (SELECT FROM scoreboard.top t, json_array_elements(t.document::json -> 'entries') e WHERE t.board = board_name HAVING string_agg(e ->> 'userId', ' ') = wanted) THEN
            RETURN true;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN false;
END
$$;
SELECT board, pg_temp.published(board, string_agg(user_id, ' ' ORDER BY n)) FROM unnest(ARRAY['rt.eu', 'rt.world', 'rt.day', 'rt.best', 'rt.latest']) AS board, LATERAL scoreboard_top(board) WITH ORDINALITY AS t (rank, user_id, display_name, avatar_url, score, reached_at, n) GROUP BY 1 ORDER BY 1;

-- Hidden: listed nowhere. Frozen: counts nowhere.
SELECT sign.outcome($$ SELECT scoreboard_set_profile('rt:eve', 'Eve') $$);
SELECT scoreboard_hide('rt:eve') IS NULL AS hidden;
SELECT pg_temp.add('rt:eve', 'e1', 5000);
SELECT board, score, listed FROM pg_temp.scores WHERE user_id = 'rt:eve';
SELECT scoreboard_freeze('rt:dan') IS NULL AS frozen;
SELECT pg_temp.add('rt:dan', 'd3', 1);
SELECT count(*) FROM scoreboard.credit WHERE action_id = 'd3';

-- The log agrees with every board. A correction touches no other board; history lists what named the board.
SELECT board, sign.outcome(format('SELECT score, applied_points FROM scoreboard_adjust(%L, %L, 3, %L, %L)', 'rt:ada', board, 'why', 'rt-' || board)) FROM unnest(ARRAY['rt.eu', 'rt.best']) AS board;
SELECT board, score FROM pg_temp.scores WHERE user_id = 'rt:ada';
SELECT action_id, applied_points, score FROM scoreboard_history_for('rt:ada', 'rt.world');
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'rt.%';
-- Scores that somebody changed or removed are made again from the credits, with what stands beside them.
UPDATE scoreboard.score SET score = 1 WHERE board_id = 905 AND player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'rt:ada');
UPDATE scoreboard.score SET subscore = 77, detail = NULL WHERE board_id = 912 AND player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'rt:ada');
DELETE FROM scoreboard.score WHERE board_id = 913 AND player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'rt:bob');
SELECT board_name, finding, user_id, expected, found, repaired FROM scoreboard_repair() WHERE board_name LIKE 'rt.%' ORDER BY 1, 3;
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'rt.%';
SELECT board, score, subscore, detail FROM pg_temp.scores WHERE user_id = 'rt:ada';

-- Forgotten: without a trace in credits, or under another id.
SELECT mode FROM unnest(ARRAY['rt:cyd,erase', 'rt:bob,anonymise']) AS t (what), LATERAL scoreboard_forget(split_part(what, ',', 1), split_part(what, ',', 2));
SELECT count(*) FROM pg_temp.credits WHERE user_id = 'rt:cyd' OR action_id LIKE 'b%';
SELECT count(*) AS credits, count(DISTINCT c.action_id) AS actions, bool_and(c.action_id ~ '^forgotten-') AS renamed FROM scoreboard.credit c LEFT JOIN scoreboard.player p USING (player_id) WHERE p.user_id ~ '^forgotten-' OR p.user_id IS NULL;
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'rt.%';

-- What may not lead where
CREATE FUNCTION pg_temp.route(which text, towards integer[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE scoreboard.board SET counts_towards = towards WHERE name = which;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(': ', SQLSTATE, SQLERRM);
END
$$;
SELECT pg_temp.route('rt.day', '{910}');
SELECT pg_temp.route('rt.day', '{905}');
SELECT pg_temp.route('rt.day', '{901,907}');
SELECT pg_temp.route('rt.day', '{4711}');
SELECT pg_temp.route('rt.day', '{NULL}');
SELECT pg_temp.route('rt.day', '{{911},{912}}');
SELECT pg_temp.route('rt.day', NULL);
SELECT pg_temp.route('rt.us', '{905,905}');
INSERT INTO scoreboard.board (board_id, name, counts_towards) VALUES (920, 'rt.x', '{920}');
INSERT INTO scoreboard.board (board_id, name, counts_towards) VALUES (920, 'rt.x', '{921}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.route('rt.us', '{907}');
ROLLBACK;
-- A circle that one statement closes; and ways that one statement turns round.
UPDATE scoreboard.board SET counts_towards = CASE name WHEN 'rt.best' THEN '{912}'::integer[] ELSE '{911}' END WHERE name IN ('rt.best', 'rt.low');
BEGIN;
UPDATE scoreboard.board SET counts_towards = CASE name WHEN 'rt.us' THEN '{}'::integer[] ELSE '{901}' END WHERE name IN ('rt.us', 'rt.world');
SELECT name, counts_towards FROM scoreboard.board WHERE name IN ('rt.us', 'rt.world') ORDER BY 1;
ROLLBACK;
-- 64 boards and no more, whichever way they are reached; those that lead here are asked too.
INSERT INTO scoreboard.board (board_id, name) SELECT n, 'rt.many.' || n FROM generate_series(1001, 1060) n;
SELECT pg_temp.route('rt.latest', ARRAY(SELECT generate_series(1001, 1059)));
SELECT pg_temp.route('rt.latest', ARRAY(SELECT generate_series(1001, 1058)));
SELECT count(*) FROM scoreboard.further_boards(907);
SELECT pg_temp.route('rt.day', '{1059}');
INSERT INTO scoreboard.board (board_id, name, counts_towards) VALUES (1061, 'rt.more', '{907}');
SELECT pg_temp.add('rt:fay', 'f1', 3);
SELECT count(*), sum(applied_points) FROM scoreboard.credit WHERE action_id = 'f1';

-- A board that is deleted is counted towards no more; what it had stays in the log.
DELETE FROM scoreboard.board WHERE name LIKE 'rt.many.%' OR name IN ('rt.best', 'rt.low');
SELECT name, counts_towards FROM scoreboard.board WHERE name LIKE 'rt.%' ORDER BY board_id;
SELECT pg_temp.add('rt:fay', 'f2', 3);
SELECT board, score FROM pg_temp.credits WHERE action_id = 'f2';
SELECT count(*) FROM pg_temp.credits WHERE board = 'gone' AND action_id = 'f1';
-- What led by way of it leads there no more.
DELETE FROM scoreboard.board WHERE name = 'rt.world';
SELECT pg_temp.add('rt:fay', 'f3', 3);
SELECT board, score FROM pg_temp.credits WHERE action_id = 'f3';
SELECT pg_temp.add('rt:fay', 'f4', 3, 'rt.us');
SELECT count(*) FROM pg_temp.credits WHERE action_id = 'f4';

-- A session that has counted already learns of a new way at once, at every isolation level.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.add('rt:fay', 'f5', 1);
COMMIT;
SELECT pg_temp.route('rt.us', '{910}');
SELECT pg_temp.add('rt:fay', 'f6', 1, 'rt.us');
SELECT action_id, board, previous_score, score FROM pg_temp.credits WHERE action_id IN ('f5', 'f6');
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'rt.%';

-- A table of credits that can't be written below SQL stops what counts towards others, with a sentence, and nothing else.
CREATE RULE rt_rule AS ON INSERT TO scoreboard.credit DO ALSO NOTHING;
SELECT pg_temp.add('rt:fay', 'f7', 1, 'rt.us');
SELECT pg_temp.add('rt:fay', 'f7', 1, 'rt.day');
DROP RULE rt_rule ON scoreboard.credit;
-- Columns that an administrator adds have their defaults in credits, and stay as they are in each score.
ALTER TABLE scoreboard.credit ADD COLUMN rt_note text DEFAULT 'noted';
SELECT pg_temp.add('rt:fay', 'f8', 1, 'rt.us');
SELECT rt_note FROM scoreboard.credit WHERE action_id = 'f8';
ALTER TABLE scoreboard.credit DROP COLUMN rt_note;
ALTER TABLE scoreboard.score ADD COLUMN rt_note text DEFAULT 'noted';
UPDATE scoreboard.score SET rt_note = board_id::text;
SELECT pg_temp.add('rt:fay', 'f9', 1, 'rt.us');
SELECT count(*) FROM scoreboard.score WHERE rt_note <> board_id::text;
ALTER TABLE scoreboard.score DROP COLUMN rt_note;
DELETE FROM scoreboard.board WHERE name LIKE 'rt.%';
