-- Counting one action: what it answers and writes; every refusal, that it wrote nothing, and in which order the checks come;
-- retries; operators, orders and bounds.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name) VALUES ('inc'), ('inc-other');
SELECT sign.wait_for_ranks();
-- One action, as a client makes it
SELECT user_id, board, season, previous_score, score, applied_points, rank, version >= 0 AS versioned, updated_at <= clock_timestamp() AS dated, replayed
    FROM sign.increment('inc-ada', 'COMPLETE_LEVEL', 'level-1', 'inc');
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-ada', 'COMPLETE_LEVEL', 'level-2', 'inc', metadata => '{"level": 2, "time": 1.50}') $$);
SELECT a.action_id, b.name AS board, a.season, t.name AS action_type, a.points, a.applied_points, a.previous_score, a.score, a.rank,
       a.idempotency_key, k.key_id, a.metadata, a.request_id, a.client_address
    FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) JOIN scoreboard.board b USING (board_id)
    JOIN scoreboard.action_type t USING (action_type_id) LEFT JOIN scoreboard.signing_key k USING (signing_key_id)
    WHERE p.user_id = 'inc-ada' ORDER BY a.action_id;
SELECT s.score, s.season, s.listed, s.reached_at = (SELECT max(created_at) FROM scoreboard.action a WHERE a.player_id = s.player_id) AS at_last_action
    FROM scoreboard.score s JOIN scoreboard.player p USING (player_id) WHERE p.user_id = 'inc-ada';
-- A trusted server names the player itself; an action type that demands a receipt demands it from a server too.
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-bob', 'AWARD', 'award-1', 'inc', 250) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-bob', 'COMPLETE_LEVEL', 'level-1', 'inc') $$);
SELECT sign.outcome(format($$ SELECT * FROM scoreboard_increment_for('inc-bob', 'COMPLETE_LEVEL', 'level-1', 'inc', issued_at => %s, receipt => %L) $$,
    t.s, sign.receipt('inc-bob', 'COMPLETE_LEVEL', 'level-1', 'inc', issued_at => t.s))) FROM (SELECT sign.now() AS s) AS t;

-- Refusals. Each of these statements is refused; none of them writes anything.
SELECT sign.written() AS before \gset
-- A call that is right but for these arguments, given as SQL.
CREATE FUNCTION pg_temp.with(arguments text, token text DEFAULT sign.token('inc-ada'), action_type text DEFAULT 'COMPLETE_LEVEL', action_id text DEFAULT 'new',
    board text DEFAULT 'inc', points bigint DEFAULT NULL, issued_at bigint DEFAULT sign.now(), key_id text DEFAULT 'game') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    given jsonb := jsonb_build_object('action_type', action_type, 'action_id', action_id, 'board', board, 'points', points, 'issued_at', issued_at,
        'receipt', sign.receipt('inc-ada', action_type, action_id, board, points, issued_at, key_id), 'token', token);
BEGIN
    RETURN sign.outcome(format('SELECT * FROM scoreboard_increment(%s)', (SELECT string_agg(format('%s => %s', coalesce(o.key, g.key), coalesce(o.value, quote_nullable(g.value))), ', ')
        FROM jsonb_each_text(given) AS g FULL JOIN json_each_text(arguments::json) AS o ON o.key = g.key)));
END
$$;
-- 1 input
SELECT a AS given, pg_temp.with(a) AS outcome FROM (VALUES (1, '{"action_type": "null"}'), (2, '{"action_type": "''''"}'), (3, '{"action_type": "''a b''"}'),
    (4, '{"action_type": "repeat(''A'', 64)"}'), (5, '{"action_id": "null"}'), (6, '{"action_id": "''''"}'), (7, '{"action_id": "repeat(''x'', 256)"}'),
    (8, '{"action_id": "e''a\\tb''"}'), (9, '{"action_id": "e''\\u0085''"}'), (10, '{"action_id": "e''\\x7f''"}'),
    (11, '{"board": "''''"}'), (12, '{"board": "''Global''"}'), (13, '{"board": "repeat(''b'', 64)"}'), (14, '{"board": "e''inc\\n''"}'),
    (15, '{"points": "9007199254740992"}'), (16, '{"points": "-9007199254740992"}'), (17, '{"points": "9223372036854775807"}'),
    (18, '{"issued_at": "-1"}'), (19, '{"issued_at": "9007199254740992"}'), (20, '{"issued_at": "null"}'),
    (21, '{"idempotency_key": "''''"}'), (22, '{"idempotency_key": "repeat(''k'', 256)"}'), (23, '{"idempotency_key": "''a b''"}'), (24, '{"idempotency_key": "''\u00e9''"}'),
    (25, '{"metadata": "''[]''"}'), (26, '{"metadata": "''1''"}'), (27, '{"metadata": "''null''"}'),
    (28, '{"metadata": "jsonb_build_object(''a'', repeat(''x'', 4096))"}')) AS t(n, a) ORDER BY n;
-- 2 who
SELECT pg_temp.with('{}', token => NULL);
SELECT pg_temp.with('{}', token => '');
SELECT pg_temp.with('{}', token => 'x');
SELECT pg_temp.with('{}', token => sign.token('inc-ada') || 'x');
SELECT pg_temp.with('{}', token => sign.token('inc-ada', '{"exp": 1}'));
SELECT pg_temp.with('{}', token => sign.token('inc-ada', '{"iss": "https://evil.test"}'));
SELECT pg_temp.with('{}', token => sign.jws('{"alg":"none"}', '{"iss":"https://id.test","sub":"inc-ada","exp":9999999999}', ''));
SET request.jwt.claims = '{"iss":"https://id.test","sub":"inc-ada","exp":9999999999}';
SELECT pg_temp.with('{}', token => NULL);
RESET request.jwt.claims;
-- 4 signature
SELECT pg_temp.with('{}', board => 'no-such-board');
SELECT pg_temp.with('{}', action_type => 'NO_SUCH_TYPE');
SELECT pg_temp.with('{}', action_type => 'AWARD', points => 1);
SELECT pg_temp.with('{}', points => 100);
SELECT pg_temp.with('{}', action_type => 'SCORE_RUN');
SELECT pg_temp.with('{"receipt": "null"}');
SELECT pg_temp.with('{"receipt": "''''"}');
SELECT pg_temp.with('{"receipt": "''v1:game:zz''"}');
SELECT pg_temp.with('{"receipt": "''v1:game:'' || repeat(''0'', 64)"}');
SELECT pg_temp.with('{"receipt": "''v1:nobody:'' || repeat(''0'', 64)"}');
SELECT pg_temp.with('{"action_id": "''another''"}');
SELECT pg_temp.with('{"action_type": "''FIND_COIN''"}');
SELECT pg_temp.with('{"board": "''inc-other''"}');
SELECT pg_temp.with('{"issued_at": "1"}');
SELECT pg_temp.with('{"points": "2"}', action_type => 'SCORE_RUN', points => 1);
SELECT pg_temp.with('{}', token => sign.token('inc-bob'));
-- 5 replay
SELECT pg_temp.with('{}', action_id => 'level-1');
SELECT pg_temp.with('{"idempotency_key": "''k''"}', action_id => 'level-1');
SELECT pg_temp.with('{}', action_id => 'level-1', board => 'inc-other');
-- 6 allowed now
SELECT pg_temp.with('{}', action_type => 'RETIRED');
SELECT pg_temp.with('{}', action_type => 'SCORE_RUN', points => 501);
SELECT pg_temp.with('{}', action_type => 'SCORE_RUN', points => -501);
SELECT pg_temp.with('{}', issued_at => sign.now() - 600);
SELECT pg_temp.with('{}', issued_at => sign.now() + 600);
-- The server's own function refuses the same.
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for(NULL, 'AWARD', 'a', 'inc', 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('', 'AWARD', 'a', 'inc', 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for(repeat('u', 256), 'AWARD', 'a', 'inc', 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-wide', 'AWARD', 'a', 'inc', 1, metadata => jsonb_build_object('a', repeat('x', 4088))) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for(e'a\u0001', 'AWARD', 'a', 'inc', 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-new', 'AWARD', 'a', 'inc') $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-new', 'NO_SUCH_TYPE', 'a', 'inc') $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-new', 'AWARD', 'a', 'no-such-board', 1) $$);
SELECT sign.written() = :'before' AS nothing_written;
-- Proofs of other kinds are missing, whoever asks.
INSERT INTO scoreboard.action_type (name, points, proof) VALUES ('BY_SESSION', 1, 'session'), ('BY_GRANT', 1, 'grant');
SELECT pg_temp.with('{}', action_type => 'BY_SESSION');
SELECT pg_temp.with('{}', action_type => 'BY_GRANT');
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-new', 'BY_GRANT', 'a', 'inc') $$);
-- The longest of everything is accepted.
SELECT length(user_id), score FROM scoreboard_increment_for(repeat(U&'\00e9', 255), 'AWARD', repeat(U&'\+01F600', 255), 'inc-other', 1, idempotency_key => repeat('k', 255),
    metadata => jsonb_build_object('a', repeat('x', 4087)));

-- The order of checks: each of these has several things wrong; the first in SPEC's order is answered.
SELECT n, outcome FROM (VALUES
    (1, sign.outcome($$ SELECT * FROM scoreboard_increment('', 'a', token => 'bad') $$)),
    (2, sign.outcome($$ SELECT * FROM scoreboard_increment('NO_SUCH_TYPE', 'a', 'no-such-board', token => 'bad') $$)),
    (3, pg_temp.with('{}', action_type => 'NO_SUCH_TYPE', board => 'no-such-board')),
    (4, pg_temp.with('{"receipt": "null"}', points => 100, action_id => 'level-1')),
    (5, pg_temp.with('{"receipt": "null"}', action_id => 'level-1')),
    (6, pg_temp.with('{}', action_id => 'level-1', action_type => 'RETIRED')),
    (7, pg_temp.with('{}', action_id => 'level-1', issued_at => 1)),
    (8, pg_temp.with('{}', action_type => 'RETIRED', issued_at => 1))) AS t(n, outcome) ORDER BY n;
UPDATE scoreboard.player SET state = 'frozen' WHERE user_id = 'inc-ada';
SELECT pg_temp.with('{}', action_type => 'RETIRED', issued_at => 1);
SELECT pg_temp.with('{}', action_id => 'level-1');
UPDATE scoreboard.player SET state = 'banned' WHERE user_id = 'inc-ada';
SELECT pg_temp.with('{}');
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-ada', 'AWARD', 'a', 'inc', 1) $$);
UPDATE scoreboard.player SET state = 'active' WHERE user_id = 'inc-ada';
SELECT pg_temp.with('{}', action_id => 'after');

-- Retries: the stored answer, word for word, as long as key and content are the same.
CREATE TEMP TABLE answer AS SELECT 1 AS n, * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc', 40, 'key-1', '{"a": [1, 2.0]}');
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'COMPLETE_LEVEL', 'level-1', 'inc') $$);
INSERT INTO answer SELECT 2, * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc', 40, 'key-1', '{"a": [1, 2]}');
SELECT count(DISTINCT (to_jsonb(answer) - 'n' - 'replayed')) AS answers, string_agg(replayed::text, ' ' ORDER BY n) AS replayed FROM answer;
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc', 40, 'key-2', '{"a": [1, 2]}') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc', 40, NULL, '{"a": [1, 2]}') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc', 41, 'key-1', '{"a": [1, 2]}') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc', 40, 'key-1', '{"a": [1, 3]}') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc', 40, 'key-1') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-1', 'inc-other', 40, 'key-1', '{"a": [1, 2]}') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'COMPLETE_LEVEL', 'run-1', 'inc', NULL, 'key-1', '{"a": [1, 2]}') $$);
-- The action type is content even where both leave the same points open.
INSERT INTO scoreboard.action_type (name, min_points, max_points) VALUES ('SCORE_RUN_TOO', -500, 500);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN_TOO', 'run-1', 'inc', 40, 'key-1', '{"a": [1, 2]}') $$);
-- An idempotency key counts within its action only, and an action_id within its player only.
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-cyd', 'SCORE_RUN', 'run-2', 'inc', 1, 'key-1') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-dan', 'SCORE_RUN', 'run-1', 'inc', 1, 'key-1') $$);
-- Bytewise: another case, another normal form, a trailing space are other ids.
SELECT id, sign.outcome(format($$ SELECT score FROM sign.increment(%L, 'FIND_COIN', %L, 'inc') $$, who, id)) FROM (VALUES (1, 'inc-dan', 'coin'), (2, 'inc-dan', 'Coin'),
    (3, 'inc-dan', 'coin '), (4, 'inc-dan', U&'co\00ef'), (5, 'inc-dan', U&'coi\0308'), (6, 'inc-Dan', 'coin'), (7, 'inc-dan ', 'coin'), (8, 'inc-dan', 'coin')) AS t(n, who, id) ORDER BY n;
-- A retry is answered whatever has happened to player, type and key since.
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-eve', 'FIND_COIN', 'coin', 'inc', NULL, 'key') $$);
UPDATE scoreboard.player SET state = 'frozen' WHERE user_id = 'inc-eve';
UPDATE scoreboard.action_type SET enabled = false WHERE name = 'FIND_COIN';
SELECT scoreboard_revoke_key('game');
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-eve', 'FIND_COIN', 'coin', 'inc', NULL, 'key') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-eve', 'FIND_COIN', 'coin-2', 'inc', NULL, 'key') $$);
UPDATE scoreboard.player SET state = 'active' WHERE user_id = 'inc-eve';
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-eve', 'FIND_COIN', 'coin-2', 'inc', NULL, 'key') $$);
UPDATE scoreboard.signing_key SET revoked_at = NULL WHERE key_id = 'game';
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-eve', 'FIND_COIN', 'coin-2', 'inc', NULL, 'key') $$);
UPDATE scoreboard.action_type SET enabled = true WHERE name = 'FIND_COIN';
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-eve', 'FIND_COIN', 'coin-2', 'inc', NULL, 'key') $$);

-- Keys: not yet valid, expired, limited to boards and action types; of several parts one valid one suffices.
INSERT INTO sign.key SELECT k, scoreboard_create_key(k, boards, types, from_at, until_at) FROM (VALUES
    ('inc-early', NULL::text[], NULL::text[], now() + interval '1 hour', NULL::timestamptz), ('inc-late', NULL, NULL, now() - interval '2 hours', now() - interval '1 hour'),
    ('inc-board', '{inc-other}', NULL, now(), NULL), ('inc-type', NULL, '{FIND_COIN}', now(), NULL), ('inc-revoked', NULL, NULL, now(), NULL)) AS t(k, boards, types, from_at, until_at);
SELECT scoreboard_revoke_key('inc-revoked');
SELECT k AS key, pg_temp.with('{}', key_id => k, action_id => k) AS outcome FROM (VALUES (1, 'inc-early'), (2, 'inc-late'), (3, 'inc-board'), (4, 'inc-type'), (5, 'inc-revoked')) AS t(n, k) ORDER BY n;
SELECT pg_temp.with('{}', key_id => 'inc-board', action_id => 'k1', board => 'inc-other');
SELECT pg_temp.with('{}', key_id => 'inc-type', action_id => 'k2', action_type => 'FIND_COIN');
SELECT first || ' ' || second AS keys, pg_temp.with(format('{"receipt": "%L"}', sign.receipt('inc-ada', 'FIND_COIN', first || second, 'inc', NULL, s, first) || ' ' || sign.receipt('inc-ada', 'FIND_COIN', first || second, 'inc', NULL, s, second)),
    action_type => 'FIND_COIN', action_id => first || second, issued_at => s) AS outcome
    FROM (VALUES (1, 'game', 'inc-revoked'), (2, 'inc-board', 'game'), (3, 'inc-revoked', 'game'), (4, 'inc-early', 'game'), (5, 'inc-late', 'game'), (6, 'inc-early', 'inc-late')) AS t(n, first, second), (SELECT sign.now() AS s) AS u ORDER BY n;

-- Rules of a board: other points, other bounds, disabled.
INSERT INTO scoreboard.board (name) VALUES ('inc-rules');
INSERT INTO scoreboard.action_rule (board_id, action_type_id, points, min_points, max_points, enabled)
    SELECT b.board_id, t.action_type_id, r.points, r.lo, r.hi, r.enabled FROM scoreboard.board b, scoreboard.action_type t,
        (VALUES ('COMPLETE_LEVEL', 7, NULL, NULL, true), ('SCORE_RUN', NULL, 1, 2, true), ('FIND_COIN', NULL, NULL, NULL, false)) AS r(name, points, lo, hi, enabled)
    WHERE b.name = 'inc-rules' AND t.name = r.name;
SELECT sign.wait_for_ranks();
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-ada', 'COMPLETE_LEVEL', 'rule-1', 'inc-rules') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-ada', 'SCORE_RUN', 'rule-2', 'inc-rules', 2) $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-ada', 'SCORE_RUN', 'rule-3', 'inc-rules', 3) $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-ada', 'FIND_COIN', 'rule-4', 'inc-rules') $$);
UPDATE scoreboard.action_rule SET points = 20, min_points = NULL, max_points = NULL WHERE points IS NULL AND min_points IS NOT NULL;
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-ada', 'SCORE_RUN', 'rule-5', 'inc-rules') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-ada', 'COMPLETE_LEVEL', 'rule-6', 'inc') $$);
-- A permission that the action type demands
INSERT INTO scoreboard.action_type (name, points, permission) VALUES ('BONUS', 1000, 'bonus');
SELECT pg_temp.with('{}', action_type => 'BONUS', action_id => 'bonus');
SELECT pg_temp.with('{}', action_type => 'BONUS', action_id => 'bonus', token => sign.token('inc-ada', '{"permissions": ["other"]}'));
SELECT pg_temp.with('{}', action_type => 'BONUS', action_id => 'bonus', token => sign.token('inc-ada', '{"permissions": ["other", "bonus"]}'));

-- Operators and bounds
INSERT INTO scoreboard.board (name, operator, score_order, lowest_score) VALUES ('inc-sum', 'sum', 'high', -10), ('inc-best', 'best', 'high', 0), ('inc-low', 'best', 'low', -5),
    ('inc-latest', 'latest', 'high', 0), ('inc-floor', 'sum', 'high', 50);
CREATE FUNCTION pg_temp.award(board text, VARIADIC points bigint[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s %s: %s', board, p, regexp_replace(sign.outcome(format('SELECT previous_score, score, applied_points FROM scoreboard_increment_for(%L, %L, %L, %L, %s)', 'inc-op', 'AWARD', board || n, board, p)), '[{}"]', '', 'g'))
    FROM unnest(points) WITH ORDINALITY AS t(p, n) ORDER BY n
$$;
SELECT sign.wait_for_ranks();
SELECT pg_temp.award('inc-sum', 5, -3, 0, -20, -1, 4);
SELECT pg_temp.award('inc-floor', 10, -20, 100, -200, -1);
SELECT pg_temp.award('inc-best', 0, 5, 3, 5, 9, -1);
SELECT pg_temp.award('inc-low', 100, 120, 80, -5, -6);
SELECT pg_temp.award('inc-latest', 7, 3, 3, 9, -1);
-- Scores stay where every JSON reader has them exact.
INSERT INTO scoreboard.board (name, lowest_score, operator) VALUES ('inc-wide', -9007199254740991, 'sum'), ('inc-wide-best', -9007199254740991, 'best'), ('inc-wide-latest', -9007199254740991, 'latest');
SELECT sign.wait_for_ranks();
SELECT pg_temp.award('inc-wide', 9007199254740991, 1, 9007199254740991, -9007199254740991, -9007199254740991, -1);
SELECT pg_temp.award('inc-wide-best', -9007199254740991, 9007199254740991);
SELECT pg_temp.award('inc-wide-latest', 9007199254740991, -9007199254740991);
-- A score that stays keeps the moment it was reached; one that changes gets a new one.
CREATE FUNCTION pg_temp.reached() RETURNS timestamptz LANGUAGE sql AS $$
    SELECT s.reached_at FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) WHERE b.name = 'inc-latest' $$;
SELECT pg_temp.reached() AS reached \gset
SELECT score, updated_at > :'reached' AS later FROM scoreboard_increment_for('inc-op', 'AWARD', 'moment-1', 'inc-latest', 9);
SELECT pg_temp.reached() = :'reached' AS kept;
SELECT score FROM scoreboard_increment_for('inc-op', 'AWARD', 'moment-2', 'inc-latest', 8);
SELECT pg_temp.reached() > :'reached' AS anew;
-- The log adds up to the scores, on every board.
SELECT b.name, s.score, sum(a.applied_points) AS applied FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.action a USING (board_id, season, player_id)
    WHERE b.name LIKE 'inc%' GROUP BY b.name, s.player_id, s.score HAVING s.score <> sum(a.applied_points);

-- Ranks: who was first, or shared; hidden players have none and stand in nobody's way.
INSERT INTO scoreboard.board (name, ties) VALUES ('inc-first', 'first'), ('inc-shared', 'shared');
SELECT sign.wait_for_ranks();
\pset tuples_only on
SELECT format('SELECT board, user_id, score, rank FROM scoreboard_increment_for(%L, %L, %L, %L, %s)', who, 'AWARD', b, b, points)
    FROM (VALUES (1, 'inc-r1', 30), (2, 'inc-r2', 20), (3, 'inc-r3', 20), (4, 'inc-r4', 20), (5, 'inc-r5', 10), (6, 'inc-r6', 40)) AS t(n, who, points),
         (VALUES ('inc-first'), ('inc-shared')) AS u(b) ORDER BY b, n \gexec
\pset tuples_only off
SELECT board, user_id, score, previous_score, rank FROM scoreboard_increment_for('inc-r5', 'AWARD', 'r-up', 'inc-first', 10);
SELECT board, user_id, score, previous_score, rank FROM scoreboard_increment_for('inc-r5', 'AWARD', 's-up', 'inc-shared', 10);
UPDATE scoreboard.player SET hidden = true WHERE user_id = 'inc-r6';
SELECT user_id, score, rank FROM scoreboard_increment_for('inc-r6', 'AWARD', 'r-hidden', 'inc-first', 10);
SELECT user_id, score, rank FROM scoreboard_increment_for('inc-r1', 'AWARD', 'r-first', 'inc-first', 1);
SELECT s.listed FROM scoreboard.score s JOIN scoreboard.player p USING (player_id) JOIN scoreboard.board b USING (board_id) WHERE p.user_id = 'inc-r6' AND b.name LIKE 'inc%' ORDER BY b.name;
UPDATE scoreboard.player SET hidden = false WHERE user_id = 'inc-r6';
SELECT user_id, score, rank FROM scoreboard_increment_for('inc-r6', 'AWARD', 'r-shown', 'inc-first', 1);
SELECT rank, user_id, score FROM scoreboard_top('inc-first');
SELECT rank, user_id, score FROM scoreboard_top('inc-shared');

-- The profile that the token names is taken over with a new action; what is not valid is ignored.
CREATE FUNCTION pg_temp.profile(more jsonb, action_id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM scoreboard_increment('FIND_COIN', profile.action_id, 'inc', issued_at => t.s, receipt => sign.receipt('inc-name', 'FIND_COIN', profile.action_id, 'inc', issued_at => t.s),
        idempotency_key => 'k', token => sign.token('inc-name', more)) FROM (SELECT sign.now() AS s) AS t;
    RETURN (SELECT format('%s, %s', coalesce(display_name, '-'), coalesce(avatar_url, '-')) FROM scoreboard.player WHERE user_id = 'inc-name');
END
$$;
SELECT pg_temp.profile('{}', 'p1');
SELECT pg_temp.profile('{"name": "Anna", "picture": "https://img.test/a.png"}', 'p2');
SELECT pg_temp.profile('{"name": "Later"}', 'p2');
SELECT pg_temp.profile('{"name": "", "picture": "http://img.test/a.png"}', 'p3');
SELECT pg_temp.profile('{"name": 5, "picture": ["https://img.test/b.png"]}', 'p4');
SELECT pg_temp.profile('{"name": "A\u202eB", "picture": "javascript:alert(1)"}', 'p5');
SELECT pg_temp.profile(jsonb_build_object('name', repeat('n', 51)), 'p6');
SELECT pg_temp.profile(jsonb_build_object('name', format('A%sB', chr(c))), 'bidi-' || c) FROM unnest(ARRAY[1564, 8206, 8207, 8234, 8238, 8294, 8297]) AS c;
SELECT pg_temp.profile(jsonb_build_object('picture', format('https://img.test/a%sb', chr(c))), 'blank-' || c) FROM unnest(ARRAY[32, 133, 160, 5760, 8195, 8232, 8239, 8287, 12288]) AS c;
SELECT pg_temp.profile('{"name": "Bea"}', 'p7');
-- No other way of writing brings in what a token can't, in any locale.
SELECT count(*) AS characters, count(*) FILTER (WHERE scoreboard.valid_avatar_url('https://x/' || chr(c))) AS valid FROM generate_series(1, 12300) AS c;

-- In a transaction: what is rolled back was never there, and can be counted again.
BEGIN;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-tx', 'AWARD', 'tx-1', 'inc', 1) $$);
SAVEPOINT s;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-tx', 'AWARD', 'tx-2', 'inc', 2) $$);
ROLLBACK TO s;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-tx', 'AWARD', 'tx-2', 'inc', 4) $$);
COMMIT;
SELECT a.action_id, a.applied_points, a.score FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id = 'inc-tx' ORDER BY 1;
SELECT rank IS NOT NULL AS ranked, score FROM scoreboard_ranks('{inc-tx}', 'inc');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-tx', 'AWARD', 'tx-3', 'inc', 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-tx', 'AWARD', 'tx-3', 'inc', 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-tx-new', 'AWARD', 'tx-3', 'inc', 1) $$);
COMMIT;
-- Configuration counts from its commit on, also within a transaction of one's own.
BEGIN;
UPDATE scoreboard.action_type SET points = 11 WHERE name = 'FIND_COIN';
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-tx', 'FIND_COIN', 'tx-4', 'inc') $$);
ROLLBACK;
SELECT sign.outcome($$ SELECT * FROM sign.increment('inc-tx', 'FIND_COIN', 'tx-4', 'inc') $$);
BEGIN READ ONLY;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('inc-tx', 'AWARD', 'tx-5', 'inc', 1) $$);
COMMIT;
-- Many in one statement: moments strictly grow.
SELECT count(*), count(DISTINCT (r).updated_at) AS moments, max((r).score) FROM (SELECT scoreboard_increment_for('inc-many', 'AWARD', 'm' || n, 'inc', 1) AS r FROM generate_series(1, 300) AS n) AS t;
