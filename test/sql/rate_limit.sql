-- Rate windows: exact counts, retries that take no further slot, settings that change at run time.
-- The attempts name an action type that does not exist: the rate is checked before that, so a refused
-- attempt has used its slot. Only the minute's window is counted out; no answer depends on how long a statement takes.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
CREATE TEMP TABLE refused (retry_after int);

-- The code that an attempt is refused with.
CREATE FUNCTION pg_temp.attempt(user_id text, action_id text, idempotency_key text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    PERFORM scoreboard_increment_for(user_id, 'NO_SUCH_TYPE', action_id, idempotency_key => idempotency_key);
    RETURN 'counted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    INSERT INTO refused SELECT r FROM CAST(detail::json ->> 'retryAfter' AS int) r WHERE r IS NOT NULL;
    RETURN detail::json ->> 'code';
END
$$;

-- How many attempts pass the rate before it refuses one, at most "most".
CREATE FUNCTION pg_temp.passes(user_id text, most int, same text DEFAULT NULL) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..most LOOP
        IF pg_temp.attempt(user_id, coalesce(same, 'passes-' || i)) = 'RATE_LIMITED' THEN
            RETURN i - 1;
        END IF;
    END LOOP;
    RETURN most;
END
$$;

SHOW scoreboard.rate_limit;
SHOW scoreboard.burst_limit;
SET scoreboard.burst_limit = 0;

-- Ten a minute, each player by itself.
SELECT pg_temp.passes('rate-ten', 30);
SELECT pg_temp.attempt('rate-ten', 'one more');
SELECT pg_temp.passes('rate-other', 30);
SELECT bool_and(retry_after BETWEEN 1 AND 60) AS within_a_minute FROM refused;

-- The window is a minute, exactly: what is left of it is answered, rounded up.
CREATE FUNCTION pg_temp.window_seen() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before timestamptz := clock_timestamp();
    after timestamptz;
    retry int;
BEGIN
    TRUNCATE refused;
    PERFORM pg_temp.passes('rate-window', 30);
    after := clock_timestamp();
    SELECT r.retry_after INTO STRICT retry FROM refused r;
    IF retry BETWEEN ceil(60 - extract(epoch FROM after - before)) AND 60 THEN
        RETURN 'a minute';
    END IF;
    RETURN format('%s s after %s', retry, after - before);
END
$$;
SELECT pg_temp.window_seen();

-- A retry of what stands in the window takes no further slot, even where the window is full.
SELECT pg_temp.attempt('rate-ten', 'passes-10');
-- Another idempotency key, or none where there was one, is another attempt.
SELECT pg_temp.attempt('rate-ten', 'passes-10', 'key');
SET scoreboard.rate_limit = 3;
SELECT pg_temp.attempt('rate-keys', 'a', 'k1'), pg_temp.attempt('rate-keys', 'a', 'k2'), pg_temp.attempt('rate-keys', 'a'), pg_temp.attempt('rate-keys', 'a', 'k3');
SELECT pg_temp.attempt('rate-keys', 'a', 'k2'), pg_temp.attempt('rate-keys', 'a'), pg_temp.attempt('rate-keys', 'ak2');

-- Eight retries are free, the ninth takes a slot of its own, which has eight again.
SET scoreboard.rate_limit = 1;
SELECT pg_temp.passes('rate-retry', 30, 'same');
SET scoreboard.rate_limit = 3;
SELECT pg_temp.passes('rate-retry', 30, 'same');

-- Nothing is given back.
SET scoreboard.rate_limit = 2;
BEGIN;
SELECT pg_temp.attempt('rate-rollback', 'a'), pg_temp.attempt('rate-rollback', 'b');
ROLLBACK;
SELECT pg_temp.attempt('rate-rollback', 'c');

-- What was counted has used its slot as well, whoever submits: a server and the player share the window.
SELECT applied_points FROM scoreboard_increment_for('rate-shared', 'AWARD', 'award', points => 7);
SELECT applied_points FROM sign.increment('rate-shared', 'FIND_COIN', 'coin');
\set VERBOSITY terse
SELECT score FROM sign.increment('rate-shared', 'FIND_COIN', 'coin 2');
\set VERBOSITY default
SELECT pg_temp.attempt('rate-shared', 'another');
-- Form comes before the rate, and a bad token names no player.
SELECT scoreboard_increment_for('rate-shared', 'AWARD', '', points => 7);
SELECT scoreboard_increment('FIND_COIN', 'coin', token => 'x');

-- Limits move while attempts stand in the window.
SET scoreboard.rate_limit = 5;
SELECT pg_temp.passes('rate-move', 30);
SET scoreboard.rate_limit = 12;
SELECT pg_temp.attempt('rate-move', 'higher'), pg_temp.passes('rate-move', 30, 'higher');
SET scoreboard.rate_limit = 3;
SELECT pg_temp.attempt('rate-move', 'lower');
SET scoreboard.rate_limit = 0;
SELECT pg_temp.passes('rate-move', 100);
SET scoreboard.rate_limit = 1001;
SET scoreboard.rate_limit = 1000;
-- Of an attempt's hash 28 bits are kept: one in some hundred such runs takes one for another's retry.
SELECT pg_temp.passes('rate-thousand', 1100) BETWEEN 1000 AND 1001 AS thousand;
SELECT pg_temp.attempt('rate-thousand', 'passes-1000'), pg_temp.attempt('rate-thousand', 'passes-500'), pg_temp.attempt('rate-thousand', 'passes-1');
SET scoreboard.rate_limit = 10;
SELECT pg_temp.attempt('rate-thousand', 'again');

-- The burst window refuses for a second at most. However slow the machine, so many attempts come too fast at some moment.
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 2;
TRUNCATE refused;
SELECT pg_temp.passes('rate-burst', 100000) BETWEEN 2 AND 99999 AS refused;
SELECT DISTINCT retry_after FROM refused;

-- The refusal as SQL shows it.
SET scoreboard.burst_limit = 0;
SET scoreboard.rate_limit = 1;
SELECT pg_temp.attempt('rate-text', 'a');
\set VERBOSITY terse
SELECT scoreboard_increment_for('rate-text', 'AWARD', 'b', points => 1);
\set VERBOSITY default
RESET scoreboard.rate_limit;
RESET scoreboard.burst_limit;
DELETE FROM scoreboard.score s USING scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id = 'rate-shared';
DELETE FROM scoreboard.action a USING scoreboard.player p WHERE p.player_id = a.player_id AND p.user_id = 'rate-shared';
DELETE FROM scoreboard.player WHERE user_id = 'rate-shared';
