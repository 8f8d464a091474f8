-- The contract with PostgREST: the same role that logs in, the same variables, the same transactions, the same calls as it makes them.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set request :srcdir '/lib/postgrest.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
\set superuser :USER
CREATE ROLE regress_sb_authenticator LOGIN NOINHERIT;
CREATE ROLE regress_sb_anon;
CREATE ROLE regress_sb_user;
CREATE ROLE regress_sb_service;
INSERT INTO scoreboard.board (name, visibility) VALUES ('pgrst', 'public'), ('pgrst-token', 'token');

-- Setting up: what is refused, what is done, and what is left; a second time, nothing.
SELECT sign.outcome($$ SELECT scoreboard_setup('hasura') $$);
SELECT sign.outcome($$ SELECT scoreboard_setup(NULL) $$);
SELECT sign.outcome($$ SELECT scoreboard_setup('postgrest') $$);
SELECT sign.outcome($$ SELECT scoreboard_setup('postgrest', 'regress_sb_anon', authenticator => NULL) $$);
SELECT sign.outcome($$ SELECT scoreboard_setup('postgrest', 'regress_sb_anon', 'regress_sb_nobody', authenticator => 'regress_sb_authenticator') $$);
SELECT sign.outcome($$ SELECT scoreboard_setup('postgrest', 'regress_sb_anon') $$);
SELECT sign.outcome($$ SELECT scoreboard_setup('supabase') $$);
SELECT sign.outcome(format('SELECT scoreboard_setup(%s, authenticator => %L)', names, 'regress_sb_authenticator'))
    FROM unnest(ARRAY[$$'postgrest', 'regress_sb_anon', 'regress_sb_anon'$$, $$'postgrest', 'regress_sb_anon', NULL, 'regress_sb_anon'$$, $$'postgrest', NULL, 'regress_sb_user', 'regress_sb_user'$$]) AS t(names);
SELECT count(*) AS given FROM scoreboard.access_level WHERE role_name LIKE 'regress_sb%';
SELECT * FROM scoreboard_setup('postgrest', 'regress_sb_anon', 'regress_sb_user', 'regress_sb_service', 'regress_sb_authenticator');
SELECT statement FROM scoreboard_setup('postgrest', 'regress_sb_anon', 'regress_sb_user', 'regress_sb_service', 'regress_sb_authenticator') WHERE NOT done \gexec
SELECT done, what FROM scoreboard_setup('postgrest', 'regress_sb_anon', 'regress_sb_user', 'regress_sb_service', 'regress_sb_authenticator');
SELECT * FROM scoreboard.access_level WHERE role_name LIKE 'regress_sb%' ORDER BY 1;
-- Lists that a setting has already are gone on with, not replaced.
ALTER ROLE regress_sb_authenticator SET scoreboard.trusted_request_roles = 'somebody', 'Else, Somebody';
ALTER ROLE regress_sb_authenticator SET pgrst.db_schemas = 'api, other';
SELECT statement FROM scoreboard_setup('postgrest', 'regress_sb_anon', authenticator => 'regress_sb_authenticator') WHERE NOT done \gexec
SELECT done, what FROM scoreboard_setup('postgrest', 'regress_sb_anon', authenticator => 'regress_sb_authenticator') WHERE NOT done;
SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 'regress_sb_authenticator'::regrole ORDER BY 1;
-- A list is read as trust reads it, also where a name has a comma, and where it can't be read: then it trusts nobody.
SELECT list, scoreboard.names_in(list) FROM (VALUES ('a, "B,c" ,D'), ('"a""b"'), ('$libdir/x,scoreboard'), ('a b'), ('"a'), ('a,,b'), ('')) AS t(list);
ALTER ROLE regress_sb_authenticator SET scoreboard.trusted_request_roles = '"Else, Somebody"', 'regress_sb_authenticator';
SELECT count(*) AS left FROM scoreboard_setup('postgrest', 'regress_sb_anon', authenticator => 'regress_sb_authenticator') WHERE NOT done;
ALTER ROLE regress_sb_authenticator SET scoreboard.trusted_request_roles = 'regress_sb_authenticator';
-- Supabase has these roles; whatever its default privileges had given them is not theirs.
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role;
SELECT what FROM scoreboard_setup('supabase', authenticator => 'regress_sb_authenticator') WHERE done;
SELECT scoreboard_revoke_access(role) FROM unnest('{anon,authenticated,service_role}'::text[]) AS role;
DROP ROLE anon, authenticated, service_role;

-- Requests, each a transaction as PostgREST begins it.
GRANT USAGE ON SCHEMA sign TO PUBLIC;
GRANT SELECT ON sign.key TO PUBLIC;
CREATE FUNCTION sign.claims(sub text) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('iss', 'https://id.test', 'sub', sub, 'exp', sign.now() + 600, 'role', 'regress_sb_user', 'name', initcap(split_part(sub, '-', 2)))
$$;
CREATE FUNCTION sign.action(sub text, action_id text, board text DEFAULT 'pgrst') RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('action_type', 'COMPLETE_LEVEL', 'action_id', action_id, 'board', board, 'issued_at', s, 'receipt', sign.receipt(sub, 'COMPLETE_LEVEL', action_id, board, issued_at => s))
    FROM (SELECT sign.now() AS s) AS t
$$;
-- As its schema cache makes one of a function: arguments by name, of which those that the request has are passed on, cast from JSON; the
-- rows of a function that has several are an array.
CREATE FUNCTION sign.rpc(name text, body json) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('WITH pgrst_source AS (SELECT pgrst_call.* FROM (SELECT %1$L::json AS json_data) pgrst_payload, LATERAL (SELECT %2$s FROM json_to_record(pgrst_payload.json_data) AS _(%3$s)) pgrst_body, LATERAL public.%4$I(%5$s) pgrst_call)'
        ' SELECT %6$s AS body_answered FROM (SELECT %4$I.* FROM pgrst_source AS %4$I) _postgrest_t', body, coalesce(string_agg(format('%I', key), ', ') FILTER (WHERE key IS NOT NULL), '1'),
        coalesce(string_agg(format('%I %s', key, format_type(p.proargtypes[array_position(p.proargnames, key) - 1], NULL)), ', ') FILTER (WHERE key IS NOT NULL), 'x text'), p.proname,
        coalesce(string_agg(format('%I := pgrst_body.%1$I', key), ', ') FILTER (WHERE key IS NOT NULL), ''),
        CASE WHEN p.proretset THEN 'coalesce(json_agg(_postgrest_t), ''[]'')' WHEN t.typtype = 'c' THEN 'json_agg(_postgrest_t) -> 0' ELSE 'json_agg(_postgrest_t.pgrst_call) -> 0' END)
    FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype LEFT JOIN json_object_keys(body) AS key ON true
    WHERE p.proname = rpc.name AND p.pronamespace = 'public'::regnamespace GROUP BY p.oid, p.proname, p.proretset, t.typtype
$$;
-- What it answers, or the error.
CREATE FUNCTION sign.answer(call text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    answer text;
    detail text;
    hint text;
BEGIN
    EXECUTE call INTO answer;
    RETURN regexp_replace(answer, '"(updated_at|reached_at|counted_at|expires_at|cursor|ticket|asOf)":("[^"]*"|null)|"(version|rank|percentile)":\d+', '"\1\3":…', 'g');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(E'\n    ', format('%s: %s', SQLSTATE, SQLERRM), nullif(detail, ''), nullif(hint, '')), '(etryAfter\\?":|Retry-After":")\d+', '\1…', 'g');
END
$$;

-- Everybody from here on is who logs in for the layer.
SELECT sign.wait_for_ranks();
ALTER ROLE regress_sb_authenticator SET scoreboard.rate_limit = 0;
ALTER ROLE regress_sb_authenticator SET scoreboard.burst_limit = 0;
\connect - regress_sb_authenticator
\set claims '{"role": "regress_sb_anon"}'
\set headers '{}'
\set role regress_sb_anon
-- Anonymous: public reads, in a transaction that only reads; nothing else.
\set method GET
\set function scoreboard_top
\set body '{"board": "pgrst", "entries": "3"}'
\i :request
\set function scoreboard_ranks
\set body '{"board": "pgrst", "user_ids": "{pgrst-ann,pgrst-bob}"}'
\i :request
\set function scoreboard_view
\set body '{"board": "pgrst"}'
\i :request
\set function scoreboard_rank
\set body '{"board": "pgrst", "user_id": "pgrst-ann"}'
\i :request
\set body '{"board": "pgrst-token", "user_id": "pgrst-ann"}'
\i :request
\set function scoreboard_me
\set body '{"board": "pgrst"}'
\i :request
\set role regress_sb_user
\i :request
-- A player: the claims of the verified token name it.
SELECT sign.claims('pgrst-ann') AS claims \gset
\i :request
\set function scoreboard_increment
SELECT sign.action('pgrst-ann', 'one') AS body \gset
\i :request
\set method POST
\set headers '{"host": "game.example", "idempotency-key": "key-1", "x-request-id": "request-1", "x-forwarded-for": "203.0.113.9, 198.51.100.7"}'
\i :request
\i :request
-- The key of the header is the request's, unless it says one itself; a bad one is refused, not overlooked.
\set headers '{"idempotency-key": "key-2"}'
\i :request
SELECT (:'body'::jsonb || '{"idempotency_key": "key-1"}') AS body \gset
\i :request
SELECT sign.action('pgrst-ann', 'two') AS body, '{"idempotency-key": ""}' AS headers \gset
\i :request
SELECT json_build_object('idempotency-key', repeat('k', 256)) AS headers \gset
\i :request
-- Id and address are left out where they are none; headers that are no JSON object, or not one to be sure of, say nothing.
\set headers '{"x-request-id": "with a blank", "x-forwarded-for": "not-an-address"}'
\i :request
SELECT sign.action('pgrst-ann', 'three') AS body, json_build_object('x-request-id', repeat('r', 129), 'x-forwarded-for', '198.51.100.7, 2001:db8::1 ') AS headers \gset
\i :request
SELECT sign.action('pgrst-ann', 'four') AS body, '["x-request-id", "r"]' AS headers \gset
\i :request
SELECT sign.action('pgrst-ann', 'five') AS body, '{"x-request-id": "r", "x-request-id": "s"}' AS headers \gset
\i :request
-- Reads and the other functions of a player.
\set headers '{}'
\set method GET
\set function scoreboard_top
\set body '{"board": "pgrst", "entries": "3"}'
\i :request
\set function scoreboard_me
\set body '{"board": "pgrst"}'
\i :request
\set function scoreboard_history
\set body '{"board": "pgrst", "entries": "2"}'
\i :request
\set function scoreboard_set_listed
\set body '{"listed": "true"}'
\i :request
\set method POST
\i :request
\set function scoreboard_create_ticket
\set body '{}'
\i :request
\set method GET
\i :request
-- What isn't a player's.
\set method POST
\set function scoreboard_increment_for
\set body '{"user_id": "pgrst-bob", "action_type": "AWARD", "action_id": "one", "points": 250, "board": "pgrst"}'
\i :request
\set role regress_sb_service
\set claims '{"role": "regress_sb_service"}'
\set headers '{"idempotency-key": "bob-1"}'
\i :request
\i :request
\set role regress_sb_anon
\set claims '{"role": "regress_sb_anon", "iss": "supabase-demo", "exp": 1983812996}'
\set function scoreboard_increment
SELECT sign.action('pgrst-ann', 'six') AS body \gset
\i :request
\set role regress_sb_user
\i :request
SELECT json_build_object('iss', 'https://elsewhere.test', 'sub', 'pgrst-ann', 'exp', sign.now() + 600) AS claims \gset
\i :request
-- Too fast: the form that lets PostgREST send Retry-After, with JSON for message and detail.
\connect - :superuser
ALTER ROLE regress_sb_authenticator SET scoreboard.rate_limit = 1;
ALTER ROLE regress_sb_authenticator SET scoreboard.forwarded_hops = 2;
\connect - regress_sb_authenticator
SELECT sign.claims('pgrst-fast') AS claims, sign.action('pgrst-fast', 'one') AS body, '{"x-request-id": "fast-1", "x-forwarded-for": "192.0.2.1"}' AS headers \gset
\i :request
SELECT sign.action('pgrst-fast', 'two') AS body, '{"x-request-id": "fast-2", "x-forwarded-for": "203.0.113.9, 192.0.2.1,198.51.100.7"}' AS headers \gset
\i :request
-- Whoever is not on the list can set what he likes.
\connect - :superuser
ALTER ROLE regress_sb_authenticator RESET scoreboard.trusted_request_roles;
ALTER ROLE regress_sb_authenticator SET scoreboard.rate_limit = 0;
\connect - regress_sb_authenticator
SELECT sign.claims('pgrst-ann') AS claims, sign.action('pgrst-ann', 'seven') AS body, '{"idempotency-key": "key-7"}' AS headers \gset
\set method POST
\set role regress_sb_user
\i :request
SELECT (:'body'::jsonb || jsonb_build_object('token', sign.token('pgrst-ann'))) AS body \gset
\set claims ''
\i :request
\connect - :superuser
ALTER ROLE regress_sb_authenticator SET scoreboard.rate_limit = 1;
\connect - regress_sb_authenticator
\set function scoreboard_set_listed
SELECT json_build_object('listed', true, 'token', sign.token('pgrst-fast')) AS body \gset
\i :request
\i :request

-- What was stored with the actions, and with what was refused.
\connect - :superuser
SELECT p.user_id, a.action_id, a.idempotency_key, a.request_id, a.client_address FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id LIKE 'pgrst-%' ORDER BY a.created_at;
DO $$
BEGIN
    FOR n IN 1..3000 LOOP
        EXIT WHEN EXISTS (SELECT FROM scoreboard.refusal WHERE action_id = 'seven');
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
SELECT code, user_id, action_id, request_id, client_address FROM scoreboard.refusal WHERE user_id LIKE 'pgrst-%' OR (user_id IS NULL AND action_id IN ('six', 'seven')) ORDER BY refusal_id;
SELECT sign.wait_for_ranks();
SELECT scoreboard_revoke_access(role) FROM unnest('{regress_sb_anon,regress_sb_user,regress_sb_service}'::text[]) AS role;
DELETE FROM scoreboard.board WHERE name LIKE 'pgrst%';
DROP OWNED BY regress_sb_authenticator;
DROP ROLE regress_sb_authenticator, regress_sb_anon, regress_sb_user, regress_sb_service;
