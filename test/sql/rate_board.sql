-- Windows of boards, and of action types on them, beside those of the player over all boards. As in rate_limit.sql the attempts
-- name actions that are refused later, and have used their slot all the same; only minutes are counted out.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
INSERT INTO scoreboard.board (name, rate_limit) VALUES ('rated', 3), ('free', 0);
INSERT INTO scoreboard.board (name) VALUES ('plain'), ('plain-2');
INSERT INTO scoreboard.action_type (name, proof, points, enabled) VALUES ('OFF', 'trusted', 1, false), ('OFF_TOO', 'trusted', 1, false);
SET scoreboard.burst_limit = 0;
SET scoreboard.rate_limit = 0;

CREATE TEMP TABLE waits (retry_after int, before timestamptz, after timestamptz);
CREATE FUNCTION pg_temp.attempt(user_id text, action_id text, board text, action_type text DEFAULT 'OFF', idempotency_key text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail json;
    before timestamptz := clock_timestamp();
BEGIN
    PERFORM scoreboard_increment_for(user_id, action_type, action_id, board, idempotency_key => idempotency_key);
    RETURN 'counted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    INSERT INTO waits SELECT (detail ->> 'retryAfter')::int, before, clock_timestamp() WHERE detail ->> 'retryAfter' IS NOT NULL;
    RETURN concat_ws(' ', SQLSTATE, detail ->> 'code');
END
$$;
-- How many attempts pass before the rate refuses one, at most "most".
CREATE FUNCTION pg_temp.passes(user_id text, most int, board text, action_type text DEFAULT 'OFF') RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..most LOOP
        IF pg_temp.attempt(user_id, 'passes-' || i || action_type, board, action_type) LIKE '%RATE_LIMITED' THEN
            RETURN i - 1;
        END IF;
    END LOOP;
    RETURN most;
END
$$;

-- A board's own window: each player, each board by itself; what the windows refuse writes nothing.
SELECT sign.written() AS before \gset
SELECT pg_temp.passes('rb-ada', 9, 'rated'), pg_temp.passes('rb-bob', 9, 'rated'), pg_temp.passes('rb-ada', 20, 'free'), pg_temp.passes('rb-ada', 20, 'plain');
SELECT pg_temp.attempt('rb-ada', 'one more', 'rated'), sign.written() = :'before' AS nothing_written;
SELECT DISTINCT retry_after BETWEEN 1 AND 60 AS within_a_minute FROM waits;
-- Retries of what stands in it are free, eight times.
SELECT count(*) FILTER (WHERE pg_temp.attempt('rb-ada', 'passes-1OFF', 'rated') LIKE '%ACTION_NOT_ALLOWED') FROM generate_series(1, 12);
SELECT pg_temp.attempt('rb-ada', 'passes-2OFF', 'rated', idempotency_key => 'another');

-- It comes on top of the player's windows: the first that is full refuses, and takes no slot of the other.
SET scoreboard.rate_limit = 5;
SELECT pg_temp.passes('rb-cyd', 9, 'rated') AS on_the_board;
SELECT count(*) AS refused FROM generate_series(1, 20) i WHERE pg_temp.attempt('rb-cyd', 'more' || i, 'rated') LIKE '%RATE_LIMITED';
SELECT pg_temp.passes('rb-cyd', 9, 'plain') AS left_elsewhere, pg_temp.passes('rb-dan', 4, 'plain') AS elsewhere_first, pg_temp.passes('rb-dan', 9, 'rated') AS left_on_the_board;
-- How long to wait is what both ask for: the board's oldest leaves later than the player's.
TRUNCATE waits;
SELECT pg_temp.attempt('rb-eve', 'a', 'plain');
SELECT clock_timestamp() AS between \gset
SELECT pg_temp.passes('rb-eve', 3, 'rated');
SELECT clock_timestamp() AS latest \gset
SELECT pg_temp.attempt('rb-eve', 'b', 'plain');
SELECT pg_temp.attempt('rb-eve', 'c', 'rated');
SELECT retry_after BETWEEN ceil(extract(epoch FROM :'between'::timestamptz + interval '59.998 seconds' - after)) AND ceil(extract(epoch FROM :'latest'::timestamptz + interval '60.002 seconds' - before)) AS until_the_boards_oldest_leaves FROM waits;

-- What is unknown has used a slot: an action type that does not exist on the board, a board that does not exist over all.
SELECT pg_temp.passes('rb-fay', 9, 'rated', 'NO_SUCH_TYPE') AS unknown_type, pg_temp.passes('rb-gil', 9, 'no-such-board') AS unknown_board;
SELECT pg_temp.attempt('rb-gil', 'x', 'plain'), pg_temp.attempt('rb-gil', 'y', 'other-unknown-board');

-- Boards that say nothing have what the settings say; 0 of a board stays 0.
SET scoreboard.rate_limit = 0;
SET scoreboard.board_rate_limit = 2;
SELECT pg_temp.passes('rb-hal', 9, 'plain'), pg_temp.passes('rb-hal', 9, 'plain-2'), pg_temp.passes('rb-hal', 9, 'rated'), pg_temp.passes('rb-hal', 20, 'free');
SHOW scoreboard.board_burst_limit;
SET scoreboard.board_burst_limit = 1;
SET scoreboard.board_rate_limit = 0;
TRUNCATE waits;
SELECT pg_temp.passes('rb-hal', 100000, 'plain') < 100000 AS burst;
SELECT retry_after FROM waits;
SET scoreboard.board_rate_limit = 1001;
RESET scoreboard.board_burst_limit;
RESET scoreboard.board_rate_limit;

-- An action type may have windows of its own on a board, in place of the board's: higher ones too, counted apart.
INSERT INTO scoreboard.action_rule (board_id, action_type_id, rate_limit) SELECT b.board_id, t.action_type_id, CASE b.name WHEN 'rated' THEN 6 ELSE 1 END
    FROM scoreboard.board b, scoreboard.action_type t WHERE b.name IN ('rated', 'plain') AND t.name = 'OFF';
SELECT pg_temp.passes('rb-ida', 9, 'rated', 'OFF') AS own, pg_temp.passes('rb-ida', 9, 'rated', 'OFF_TOO') AS the_boards, pg_temp.passes('rb-ida', 9, 'plain', 'OFF') AS own_elsewhere, pg_temp.passes('rb-ida', 20, 'plain', 'OFF_TOO') AS none;
-- Where the rule leaves one window out, it is the board's number; 0 turns it off.
UPDATE scoreboard.action_rule SET rate_limit = NULL, burst_limit = 1000;
SELECT pg_temp.passes('rb-joe', 9, 'rated', 'OFF') AS the_boards_number, pg_temp.passes('rb-joe', 9, 'rated', 'OFF_TOO') AS apart;
UPDATE scoreboard.action_rule SET rate_limit = 0, burst_limit = 0;
SELECT pg_temp.passes('rb-joe', 20, 'rated', 'OFF') AS off;
UPDATE scoreboard.action_rule SET rate_limit = NULL, burst_limit = NULL;
SELECT pg_temp.passes('rb-joe', 20, 'rated', 'OFF') AS the_boards_again;
DELETE FROM scoreboard.action_rule;
-- The board's limit moves while attempts stand in its window.
UPDATE scoreboard.board SET rate_limit = 5 WHERE name = 'rated';
SELECT pg_temp.attempt('rb-ada', 'higher', 'rated'), pg_temp.attempt('rb-ada', 'higher still', 'rated');
UPDATE scoreboard.board SET rate_limit = 1 WHERE name = 'rated';
SELECT pg_temp.attempt('rb-ada', 'lower', 'rated');

-- A batch: each attempt in its turn; how long to wait stands in its row.
CREATE FUNCTION pg_temp.request(who text, action_id text, board text) RETURNS json LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('actionType', 'FIND_COIN', 'actionId', action_id, 'board', board, 'issuedAt', t.s, 'receipt', sign.receipt(who, 'FIND_COIN', action_id, board, issued_at => t.s), 'token', sign.token(who))
    FROM (SELECT sign.now()) t(s)
$$;
SELECT clock_timestamp() AS before \gset
SELECT ordinal, status, body -> 'error' ->> 'code' AS code, body ->> 'score' AS score, retry_after BETWEEN ceil(extract(epoch FROM :'before'::timestamptz + interval '1 minute' - clock_timestamp())) AND 60 AS to_the_second
    FROM scoreboard_submit(json_build_array(pg_temp.request('rb-kim', 'a', 'rated'), pg_temp.request('rb-kim', 'b', 'rated'), pg_temp.request('rb-kim', 'c', 'plain'), pg_temp.request('rb-lea', 'a', 'rated')));

-- Mistakes are refused where they are made.
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, rate_limit) VALUES ('x', 1001)$$);
SELECT sign.outcome($$UPDATE scoreboard.board SET burst_limit = -1 WHERE name = 'rated'$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_rule (board_id, action_type_id, rate_limit) VALUES (1, 1, 1001)$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_rule (board_id, action_type_id, burst_limit) VALUES (1, 1, -1)$$);

DELETE FROM scoreboard.score s USING scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id LIKE 'rb-%';
DELETE FROM scoreboard.action a USING scoreboard.player p WHERE p.player_id = a.player_id AND p.user_id LIKE 'rb-%';
DELETE FROM scoreboard.player WHERE user_id LIKE 'rb-%';
DELETE FROM scoreboard.board WHERE name IN ('rated', 'free', 'plain', 'plain-2');
DELETE FROM scoreboard.action_type WHERE name IN ('OFF', 'OFF_TOO');
RESET scoreboard.rate_limit;
RESET scoreboard.burst_limit;
