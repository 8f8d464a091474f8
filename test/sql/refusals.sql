-- Refusals are kept although their transaction rolled back: who, what, why, from where, and nothing that can't be stored.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set VERBOSITY default
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
CREATE FUNCTION pg_temp.stored(wanted int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    FOR round IN 1..1500 LOOP
        EXIT WHEN (SELECT count(*) FROM scoreboard.refusal WHERE user_id LIKE 'ref-%' OR request_id LIKE 'ref-%') >= wanted;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN (SELECT count(*) FROM scoreboard.refusal WHERE user_id LIKE 'ref-%' OR request_id LIKE 'ref-%');
END
$$;
-- An address that is none, one that is, an id that is cut between characters, a single call, and one that was rolled back by its caller.
SELECT status, body -> 'error' ->> 'code' AS code FROM scoreboard_submit((SELECT json_agg(json_build_object('token', sign.token('ref-ada'), 'actionType', 'NO_SUCH_TYPE', 'actionId', v.id, 'requestId', v.request, 'clientAddress', v.address))
    FROM (VALUES ('a1', 'ref-1', 'nowhere'), ('a2', 'ref-2', '192.0.2.7'), ('a3', 'ref-3', '2001:db8::7'), (repeat(U&'\+01F600', 255), 'ref-4', NULL)) AS v (id, request, address))) ORDER BY ordinal;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ref-bob', 'NO_SUCH_TYPE', 'b1') $$);
BEGIN;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ref-bob', 'NO_SUCH_TYPE', 'b2') $$);
ROLLBACK;
SELECT pg_temp.stored(6);
SELECT code, user_id, CASE WHEN length(action_id) > 10 THEN format('%s characters, %s bytes', length(action_id), octet_length(action_id)) ELSE action_id END AS action, request_id, client_address, message
    FROM scoreboard.refusal WHERE user_id LIKE 'ref-%' OR request_id LIKE 'ref-%' ORDER BY refusal_id;
RESET scoreboard.rate_limit;
RESET scoreboard.burst_limit;
