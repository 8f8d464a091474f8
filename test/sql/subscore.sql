-- Subscore and detail: signed, vouched for, part of the content, recorded; what the operators make of them, ranks of boards whose ties
-- they decide, lists that show them, and the log beside them.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name) VALUES ('ss');
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('SS_SESSION', 'session', 1), ('SS_GRANT', 'grant', 1);
SELECT sign.wait_for_ranks();

-- As a client sends them, one or both
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'both', 'ss', subscore => 83, detail => 'Höhle 7 🏆 "3:25"') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'subscore', 'ss', subscore => 0) $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'detail', 'ss', detail => repeat('d', 256)) $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'none', 'ss') $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'AWARD', 'for', 'ss', 5, subscore => -9007199254740991, detail => 'by a server') $$);
SELECT p.user_id, a.action_id, a.subscore, left(a.detail, 20) AS detail, length(a.detail) FROM scoreboard.action a JOIN scoreboard.player p USING (player_id)
    WHERE p.user_id LIKE 'ss-%' ORDER BY 1, 2;

-- Refusals. Each of these is refused; none of them writes anything.
SELECT sign.written() AS before \gset
-- A call whose receipt signs these, sent with others.
CREATE FUNCTION pg_temp.sent(signed_subscore bigint, signed_detail text, subscore bigint, detail text, action_type text DEFAULT 'COMPLETE_LEVEL') RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT * FROM scoreboard_increment(%L, %L, %L, issued_at => %s, receipt => %L, token => %L, subscore => %L, detail => %L)', action_type, 'new', 'ss', s,
        sign.receipt('ss-ada', action_type, 'new', 'ss', NULL, s, subscore => signed_subscore, detail => signed_detail), sign.token('ss-ada'), sent.subscore, sent.detail))
    FROM (SELECT sign.now()) AS t(s)
$$;
-- Their form
SELECT encode(convert_to(left(detail, 12), 'UTF8'), 'escape') AS detail, pg_temp.sent(subscore, detail, subscore, detail) FROM (VALUES (1, 9007199254740992, NULL), (2, -9007199254740992, NULL), (3, 9223372036854775807, NULL),
    (4, NULL, ''), (5, NULL, ' '), (6, NULL, repeat('d', 257)), (7, NULL, repeat('ü', 129)), (8, NULL, E'a\tb'), (9, NULL, E'a\nb'), (10, NULL, U&'\0085'),
    (11, NULL, U&'a\202eb'), (12, NULL, U&'a\2066b')) AS t(n, subscore, detail) ORDER BY n;
-- What the receipt doesn't sign
SELECT n, pg_temp.sent(ss, sd, subscore, detail) FROM (VALUES (1, 1, NULL, 2, NULL), (2, NULL, NULL, 0, NULL), (3, 0, NULL, NULL, NULL), (4, NULL, 'a', NULL, 'b'), (5, NULL, NULL, NULL, 'a'),
    (6, NULL, 'a', NULL, NULL), (7, 1, 'a', NULL, 'a'), (8, 5, NULL, NULL, '5'), (9, NULL, 'a', NULL, 'a '), (10, NULL, 'a', NULL, 'A')) AS t(n, ss, sd, subscore, detail) ORDER BY n;
-- What nobody vouches for; a server that names the player does.
SELECT type, pg_temp.sent(NULL, NULL, subscore, detail, type) FROM (VALUES (1, 'SS_SESSION', 1, NULL), (2, 'SS_SESSION', NULL, 'a'), (3, 'SS_GRANT', 1, 'a'), (4, 'SS_GRANT', NULL, NULL), (5, 'SS_SESSION', NULL, NULL))
    AS t(n, type, subscore, detail) ORDER BY n;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'SS_SESSION', 'new', 'ss', subscore => 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'COMPLETE_LEVEL', 'new', 'ss', subscore => 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'AWARD', 'new', 'ss', 5, detail => E'\u202e') $$);
SELECT sign.written() = :'before' AS unchanged;

-- A retry has the same ones.
CREATE FUNCTION pg_temp.retry(action_id text, subscore bigint, detail text) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT * FROM sign.increment(%L, %L, %L, %L, NULL, %L, subscore => %L, detail => %L)', 'ss-cyd', 'COMPLETE_LEVEL', retry.action_id, 'ss', 'key', retry.subscore, retry.detail))
$$;
SELECT n, pg_temp.retry(id, subscore, detail) FROM (VALUES (1, 'both', 1, 'a'), (2, 'both', 1, 'a'), (3, 'both', 2, 'a'), (4, 'both', NULL, 'a'), (5, 'both', 1, 'b'), (6, 'both', 1, NULL), (7, 'both', NULL, NULL),
    (8, 'none', NULL, NULL), (9, 'none', NULL, NULL), (10, 'none', 0, NULL), (11, 'none', NULL, 'a')) AS t(n, id, subscore, detail) ORDER BY n;

-- In a batch: integers plainly written, texts; null is not given.
CREATE FUNCTION pg_temp.element(action_id text, members text, subscore bigint DEFAULT NULL, detail text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT format('{"actionType": "COMPLETE_LEVEL", "actionId": "%s", "board": "ss", "issuedAt": %s, "receipt": "%s", "token": "%s", %s}', action_id, s,
        sign.receipt('ss-dan', 'COMPLETE_LEVEL', action_id, 'ss', NULL, s, subscore => subscore, detail => detail), sign.token('ss-dan'), members) FROM (SELECT sign.now() AS s) AS t
$$;
SELECT r.ordinal, r.status, coalesce(r.body ->> 'score', r.body -> 'error' ->> 'message') AS answer FROM scoreboard_submit(format('[%s]', concat_ws(',',
    pg_temp.element('1', '"subscore": 7, "detail": "a\u00e9"', 7, 'aé'), pg_temp.element('2', '"subscore": null, "detail": null'), pg_temp.element('3', '"subscore": 7.0', 7), pg_temp.element('3', '"subscore": "7"', 7),
    pg_temp.element('3', '"subscore": 9007199254740992', 7), pg_temp.element('3', '"subscore": 9223372036854775808', 7), pg_temp.element('3', '"subscore": true', 7), pg_temp.element('3', '"detail": 7', NULL, '7'),
    pg_temp.element('3', '"detail": ""', NULL, ''), pg_temp.element('3', '"detail": {}', NULL, '{}'), pg_temp.element('3', '"detail": "a", "detail": "a"', NULL, 'a'), pg_temp.element('3', '"subscore": 7'),
    pg_temp.element('3', '"detail": "a\tb"', NULL, E'a\tb')))::json) AS r ORDER BY 1;
SELECT action_id, subscore, detail FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = 'ss-dan' ORDER BY 1;

-- They belong to the action that set the score: with sum and latest the last one, with best the better one.
INSERT INTO scoreboard.board (name, operator, score_order, ties) VALUES ('ss-sum', 'sum', 'high', 'first'), ('ss-latest', 'latest', 'high', 'subscore high'),
    ('ss-best', 'best', 'high', 'first'), ('ss-high', 'best', 'high', 'subscore high'), ('ss-low', 'best', 'high', 'subscore low'), ('ss-golf', 'best', 'low', 'subscore low');
SELECT sign.wait_for_ranks();
CREATE FUNCTION pg_temp.play(board text, VARIADIC actions text[]) RETURNS TABLE (action text, score text, answered bigint, kept_moment boolean) LANGUAGE plpgsql AS $$
DECLARE
    given text[];
    before timestamptz;
    now timestamptz;
BEGIN
    FOR i IN 1..cardinality(actions) LOOP
        action := actions[i];
        given := string_to_array(action, ' ', '-');
        answered := (scoreboard_increment_for('ss-op', 'AWARD', board || i, board, given[1]::bigint, subscore => given[2]::bigint, detail => given[3])).score;
        SELECT concat_ws(' ', s.score, coalesce(s.subscore::text, '-'), coalesce(s.detail, '-')), s.reached_at INTO score, now FROM scoreboard.score s
            JOIN scoreboard.player p USING (player_id) JOIN scoreboard.board b USING (board_id) WHERE p.user_id = 'ss-op' AND b.name = play.board;
        kept_moment := now = before;
        before := now;
        RETURN NEXT;
    END LOOP;
END
$$;
SELECT * FROM pg_temp.play('ss-sum', '5 1 a', '0 2 -', '0 - b', '0 - b', '5 - -', '0 -3 c', '-99 - -', '-1 4 d');
SELECT * FROM pg_temp.play('ss-latest', '5 1 a', '5 2 b', '5 2 b', '5 - -', '4 - c');
SELECT * FROM pg_temp.play('ss-best', '5 1 a', '5 2 b', '4 9 c', '6 - d', '6 5 e', '7 - -', '7 1 f');
SELECT * FROM pg_temp.play('ss-high', '5 1 a', '5 1 b', '5 0 c', '5 2 d', '5 - e', '4 9 f', '6 - g', '6 -9 h', '6 - i', '7 - -');
SELECT * FROM pg_temp.play('ss-low', '5 - a', '5 - b', '5 1 c', '5 2 d', '5 0 e', '5 - f', '6 9 g');
SELECT * FROM pg_temp.play('ss-golf', '5 1 a', '5 2 b', '5 0 c', '6 -1 d', '4 - e', '4 7 f');
SELECT string_agg(a.sets_score::text, ' ' ORDER BY a.created_at) AS sets_score FROM scoreboard.action a JOIN scoreboard.board b USING (board_id) WHERE b.name = 'ss-high';
-- As they were played: whatever the ties are by now.
UPDATE scoreboard.board SET ties = 'subscore low' WHERE name = 'ss-best';
SET client_min_messages = warning;
SELECT v.* FROM unnest(ARRAY['ss', 'ss-sum', 'ss-latest', 'ss-best', 'ss-high', 'ss-low', 'ss-golf']) AS b, scoreboard_verify(b) AS v;

-- Ranks: the subscore decides, then who appeared first; who has none comes last.
INSERT INTO scoreboard.board (name, ties, score_order) VALUES ('ss-ties-high', 'subscore high', 'high'), ('ss-ties-low', 'subscore low', 'high'), ('ss-ties-golf', 'subscore high', 'low'),
    ('ss-ties-first', 'first', 'high'), ('ss-ties-shared', 'shared', 'high');
SELECT sign.wait_for_ranks();
CREATE TEMP TABLE answers (n serial, board text, user_id text, rank bigint);
SELECT format('INSERT INTO answers (board, user_id, rank) SELECT i.board, i.user_id, i.rank FROM scoreboard_increment_for(%L, %L, %L, %L, %s, subscore => %L) i', 'ss-' || who, 'AWARD', b, b, points, subscore)
    FROM (VALUES (1, 'r1', 10, NULL), (2, 'r2', 10, 0), (3, 'r3', 10, 5), (4, 'r4', 10, -5), (5, 'r5', 10, 5), (6, 'r6', 10, NULL), (7, 'r7', 20, NULL), (8, 'r8', 0, 99),
        (9, 'r9', 10, 9007199254740991), (10, 'r0', 10, -9007199254740991)) AS t(n, who, points, subscore),
        (VALUES ('ss-ties-high'), ('ss-ties-low'), ('ss-ties-golf'), ('ss-ties-first'), ('ss-ties-shared')) AS u(b) ORDER BY n, b \gexec
SELECT b AS board, string_agg(format('%s %s', t.rank, t.user_id), ', ' ORDER BY t.rank, t.user_id) AS top FROM unnest(ARRAY['ss-ties-high', 'ss-ties-low', 'ss-ties-golf', 'ss-ties-first', 'ss-ties-shared'])
    WITH ORDINALITY AS u(b, n), scoreboard_top(b) t GROUP BY n, b ORDER BY n;
SELECT board, string_agg(format('%s %s', user_id, rank), ', ' ORDER BY n) AS answered FROM answers GROUP BY board ORDER BY board;
-- Strictly behind: by score, and where the subscore decides by subscore.
SELECT b AS board, string_agg(format('%s %s', u, r ->> 'percentile'), ', ' ORDER BY u) AS percentiles FROM unnest(ARRAY['ss-ties-high', 'ss-ties-low', 'ss-ties-golf', 'ss-ties-first']) WITH ORDINALITY AS x(b, n),
    unnest(ARRAY['ss-r1', 'ss-r3', 'ss-r5', 'ss-r6', 'ss-r7', 'ss-r9']) AS u, scoreboard_rank(u, b) AS r GROUP BY n, b ORDER BY n;
SELECT rank, user_id, score, reached_at = (SELECT max(a.created_at) FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id = r.user_id AND a.action_id = 'ss-ties-high') AS reached
    FROM scoreboard_around('ss-r5', 'ss-ties-high', 2) r;
SELECT rank, user_id, reached_at > '2020-01-01' AS reached FROM scoreboard_ranks('{ss-r0,ss-r1,ss-r6,ss-r4,ss-r8}', 'ss-ties-low') r;
-- An own new subscore moves, and what it was is left out.
SELECT user_id, score, rank FROM scoreboard_increment_for('ss-r1', 'AWARD', 'up', 'ss-ties-high', 0, subscore => 6);
SELECT user_id, score, rank FROM scoreboard_increment_for('ss-r9', 'AWARD', 'down', 'ss-ties-high', 0, subscore => -6);
SELECT user_id, score, rank FROM scoreboard_increment_for('ss-r9', 'AWARD', 'off', 'ss-ties-high', 0);
SELECT string_agg(t.user_id, ' ' ORDER BY t.rank) FROM scoreboard_top('ss-ties-high') t;

-- Lists: what stands beside a score is shown, published when it changes, and gone with the next action.
CREATE FUNCTION pg_temp.list(board text, wanted text) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
BEGIN
    FOR round IN 1..3000 LOOP
        IF EXISTS (SELECT FROM scoreboard.top t WHERE t.board = list.board AND strpos(t.document, wanted) > 0) THEN
            RETURN QUERY SELECT value - 'displayName' FROM scoreboard_leaderboard(list.board) l, jsonb_array_elements(l::jsonb -> 'entries') WITH ORDINALITY e(value, n) ORDER BY n;
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION '% was not published: %', wanted, (SELECT t.document FROM scoreboard.top t WHERE t.board = list.board);
END
$$;
INSERT INTO scoreboard.board (name, ties, top_size) VALUES ('ss-list', 'first', 2), ('ss-list-high', 'subscore high', 2);
SELECT sign.wait_for_ranks();
SELECT count(scoreboard_increment_for('ss-' || who, 'AWARD', b, b, points, subscore => subscore, detail => detail)) FROM (VALUES ('r1', 5, 83, 'level "7" \ 🏆'), ('r2', 4, 0, NULL), ('r3', 3, NULL, 'unseen')) AS t(who, points, subscore, detail),
    unnest(ARRAY['ss-list', 'ss-list-high']) AS b;
SELECT pg_temp.list('ss-list', '"ss-r2","displayName":"Player ' || (SELECT player_id FROM scoreboard.player WHERE user_id = 'ss-r2') || '","score":4,"subscore":0}');
SELECT pg_temp.list('ss-list-high', '"subscore":0}');
SELECT document ~ '"score":5,"subscore":83,"detail":"level \\"7\\" \\\\ 🏆"}' AS plain FROM scoreboard.top WHERE board = 'ss-list';
SELECT score FROM scoreboard_increment_for('ss-r1', 'AWARD', 'detail', 'ss-list', 0, subscore => 83, detail => 'another');
SELECT pg_temp.list('ss-list', '"another"');
SELECT score FROM scoreboard_increment_for('ss-r1', 'AWARD', 'subscore', 'ss-list', 0, subscore => 84, detail => 'another');
SELECT pg_temp.list('ss-list', '"subscore":84');
SELECT score FROM scoreboard_increment_for('ss-r1', 'AWARD', 'none', 'ss-list', 0);
SELECT pg_temp.list('ss-list', '"score":5}');
SELECT score FROM scoreboard_increment_for('ss-r1', 'AWARD', 'anew', 'ss-list-high', 0, subscore => 83, detail => 'anew');
SELECT pg_temp.list('ss-list-high', '"anew"');
UPDATE scoreboard.score s SET detail = 'by hand' FROM scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id = 'ss-r2' AND s.board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'ss-list-high');
SELECT pg_temp.list('ss-list-high', '"by hand"');

-- Other ties: another order, in ranks and list.
SELECT count(scoreboard_increment_for('ss-' || who, 'AWARD', 'ties' || who, 'ss-list', points, subscore => subscore)) FROM (VALUES ('r2', 1, 1), ('r3', 2, 2)) AS t(who, points, subscore);
SELECT pg_temp.list('ss-list', '"ss-r2","displayName":"Player ' || (SELECT player_id FROM scoreboard.player WHERE user_id = 'ss-r2') || '","score":5');
UPDATE scoreboard.board SET ties = 'subscore high' WHERE name = 'ss-list';
SELECT pg_temp.list('ss-list', '"rank":1,"userId":"ss-r3"');
SELECT sign.wait_for_ranks();
SELECT rank, user_id FROM scoreboard_top('ss-list');
-- By a tree of that order: an increment knows no other way.
SELECT user_id, rank FROM scoreboard_increment_for('ss-r1', 'AWARD', 'in order', 'ss-list', 0);
UPDATE scoreboard.board SET ties = 'subscore low' WHERE name = 'ss-list';
SELECT pg_temp.list('ss-list', '"rank":1,"userId":"ss-r2"');
UPDATE scoreboard.board SET ties = 'shared' WHERE name = 'ss-list';
SELECT pg_temp.list('ss-list', '"rank":1,"userId":"ss-r1"');
SELECT rank, user_id FROM scoreboard_top('ss-list');

-- The log beside them: differences are found and mended, rows that are gone with them.
UPDATE scoreboard.score s SET subscore = CASE p.user_id WHEN 'ss-r3' THEN 77 WHEN 'ss-r6' THEN 0 END, detail = CASE p.user_id WHEN 'ss-r5' THEN 'made up' END
    FROM scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id IN ('ss-r3', 'ss-r5', 'ss-r6') AND s.board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'ss-ties-high');
DELETE FROM scoreboard.score s USING scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id = 'ss-r4' AND s.board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'ss-ties-high');
SELECT finding, user_id, expected, found, repaired FROM scoreboard_verify('ss-ties-high') WHERE finding !~ 'document' ORDER BY 2;
SELECT finding, user_id, expected, found, repaired FROM scoreboard_repair('ss-ties-high') WHERE finding !~ 'document' ORDER BY 2;
SELECT * FROM scoreboard_verify('ss-ties-high');
SELECT string_agg(t.user_id, ' ' ORDER BY t.rank) FROM scoreboard_top('ss-ties-high') t;
-- Nobody writes what no list could show.
\set VERBOSITY terse
UPDATE scoreboard.score SET subscore = 9007199254740992;
UPDATE scoreboard.score SET subscore = 9223372036854775807;
UPDATE scoreboard.score SET detail = E'a\nb';
UPDATE scoreboard.score SET detail = '';
\set VERBOSITY default
