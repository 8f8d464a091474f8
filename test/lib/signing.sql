-- Signs tokens and receipts as an identity provider and a trusted service would. For pg_regress: \i it with ECHO none.
\set ECHO none
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS scoreboard CASCADE;
CREATE SCHEMA IF NOT EXISTS sign;

CREATE OR REPLACE FUNCTION sign.base64url(data bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT translate(encode(data, 'base64'), E'+/=\n', '-_')
$$;

-- A compact JWS over these very texts.
CREATE OR REPLACE FUNCTION sign.jws(header text, claims text, secret bytea) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT p || '.' || sign.base64url(public.hmac(convert_to(p, 'UTF8'), secret, 'sha256'))
    FROM (SELECT sign.base64url(convert_to(header, 'UTF8')) || '.' || sign.base64url(convert_to(claims, 'UTF8'))) AS t(p)
$$;

-- The issuer of the tests, its key, and a token of it.
CREATE OR REPLACE FUNCTION sign.jwt_secret() RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea
$$;
CREATE OR REPLACE FUNCTION sign.token(sub text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql STABLE AS $$
    SELECT sign.jws('{"alg":"HS256","typ":"JWT","kid":"k1"}',
        (jsonb_build_object('iss', 'https://id.test', 'sub', sub, 'iat', extract(epoch FROM now())::bigint,
                            'exp', extract(epoch FROM now())::bigint + 600) || more)::text,
        sign.jwt_secret())
$$;

CREATE TABLE IF NOT EXISTS sign.key (key_id text PRIMARY KEY, secret text NOT NULL);
-- Volatile: the planner computes a stable one anew at each use of a subquery's column, and a receipt would be for another second than its request.
CREATE OR REPLACE FUNCTION sign.now() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT extract(epoch FROM clock_timestamp())::bigint $$;
CREATE OR REPLACE FUNCTION sign.receipt(user_id text, action_type text, action_id text, board text DEFAULT 'global',
    points bigint DEFAULT NULL, issued_at bigint DEFAULT NULL, key_id text DEFAULT 'game', audience text DEFAULT NULL,
    subscore bigint DEFAULT NULL, detail text DEFAULT NULL)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('v1:%s:%s', key_id, encode(public.hmac(convert_to(concat_ws(E'\n', 'scoreboard-receipt-v1',
            coalesce(audience, nullif(current_setting('scoreboard.audience'), ''), current_database()), board, user_id, action_type, action_id,
            coalesce(points::text, ''), coalesce(subscore::text, ''), coalesce(encode(sha256(convert_to(detail, 'UTF8')), 'hex'), ''), issued_at), 'UTF8'), convert_to(k.secret, 'UTF8'), 'sha256'), 'hex'))
    FROM sign.key k WHERE k.key_id = receipt.key_id
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM scoreboard.jwt_issuer WHERE issuer = 'https://id.test') THEN
        PERFORM public.scoreboard_set_issuer('https://id.test',
            json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'kid', 'k1', 'k', sign.base64url(sign.jwt_secret()))))::text,
            name_claim => 'name', avatar_claim => 'picture', permissions_claim => 'permissions');
    END IF;
    IF NOT EXISTS (SELECT FROM scoreboard.signing_key WHERE key_id = 'game') THEN
        INSERT INTO sign.key VALUES ('game', public.scoreboard_create_key('game'));
    END IF;
    INSERT INTO scoreboard.action_type (name, points) VALUES ('COMPLETE_LEVEL', 100), ('FIND_COIN', 10) ON CONFLICT DO NOTHING;
    INSERT INTO scoreboard.action_type (name, min_points, max_points) VALUES ('SCORE_RUN', -500, 500) ON CONFLICT DO NOTHING;
    INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', -9007199254740991, 9007199254740991) ON CONFLICT DO NOTHING;
    INSERT INTO scoreboard.action_type (name, points, enabled) VALUES ('RETIRED', 5, false) ON CONFLICT DO NOTHING;
END
$$;

-- An increment as a player's client makes it: signs the receipt for what it sends.
CREATE OR REPLACE FUNCTION sign.increment(sub text, action_type text, action_id text, board text DEFAULT 'global', points bigint DEFAULT NULL,
    idempotency_key text DEFAULT NULL, metadata jsonb DEFAULT '{}', subscore bigint DEFAULT NULL, detail text DEFAULT NULL)
RETURNS public.scoreboard_result LANGUAGE sql VOLATILE AS $$
    SELECT public.scoreboard_increment(action_type, action_id, board, points, t.issued_at,
        sign.receipt(sub, action_type, action_id, board, points, t.issued_at, subscore => subscore, detail => detail),
        idempotency_key, metadata, sign.token(sub), subscore, detail)
    FROM (SELECT sign.now()) AS t(issued_at)
$$;
-- What a statement answers, in one line without times and versions; or how it is refused: SQLSTATE code: message. Hint.
CREATE OR REPLACE FUNCTION sign.outcome(statement text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    answer record;
    detail text;
    hint text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN (to_jsonb(answer) - 'version' - 'updated_at' - 'rank')::text;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    IF SQLSTATE LIKE 'PT%' THEN
        RETURN rtrim(format('%s %s: %s. %s', SQLSTATE, detail::json ->> 'code', SQLERRM, hint));
    END IF;
    RETURN format('%s: %s', SQLSTATE, SQLERRM);
END
$$;

-- Everything an increment writes, as a few sums: equal before and after something that must not write.
CREATE OR REPLACE FUNCTION sign.written() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT format('%s players, %s actions, %s scores, %s points',
        (SELECT count(*) FROM scoreboard.player), (SELECT count(*) FROM scoreboard.action), count(*), coalesce(sum(score), 0))
    FROM scoreboard.score
$$;

-- Waits until it is so: for two minutes, since what is waited for may be a midnight that passes.
CREATE OR REPLACE FUNCTION sign.becomes(condition text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    holds boolean;
BEGIN
    FOR round IN 1..12000 LOOP
        EXECUTE 'SELECT ' || condition INTO holds;
        IF holds THEN
            RETURN 'yes';
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 'waited in vain';
END
$$;

-- Waits until every board's ranks are answered from the index: a new board's are null for a moment.
CREATE OR REPLACE FUNCTION sign.wait_for_ranks() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    missing text;
BEGIN
    FOR round IN 1..3000 LOOP
        SELECT string_agg(s.board || ' ' || s.rank_state, ', ') INTO missing FROM public.scoreboard_stats() s WHERE s.rank_state <> 'ready';
        IF missing IS NULL THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'waited in vain for the ranks of %', missing;
END
$$;
RESET client_min_messages;
-- Until no event of the outbox waits for its position.
CREATE OR REPLACE FUNCTION sign.wait_for_events() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    FOR i IN 1..3000 LOOP
        IF NOT EXISTS (SELECT FROM scoreboard.pending_event) THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'waited in vain for % events', (SELECT count(*) FROM scoreboard.pending_event);
END
$$;
\set ECHO all
