-- Who acts: tokens, as every function with a token sees them (SPEC section 3, step 2).
-- Form and claims have their unit tests (test/unit/token_*.c); here stands what only a server shows:
-- issuers as rows, the choice of the key, the cache of verified tokens, the claims of trusted requests.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS scoreboard CASCADE;
DELETE FROM scoreboard.jwt_issuer;

CREATE SCHEMA token_test;
SET search_path = token_test, public;

CREATE FUNCTION base64url(bytes bytea) RETURNS text LANGUAGE sql AS
$$ SELECT rtrim(translate(encode(bytes, 'base64'), E'+/\n', '-_'), '=') $$;
CREATE FUNCTION secret(name text) RETURNS bytea LANGUAGE sql AS $$ SELECT sha256(name::bytea) $$;
CREATE FUNCTION jwk(kid text, name text) RETURNS json LANGUAGE sql AS
$$ SELECT json_strip_nulls(json_build_object('kty', 'oct', 'k', base64url(secret(name)), 'alg', 'HS256', 'kid', kid)) $$;
CREATE FUNCTION jwks(VARIADIC keys json[]) RETURNS text LANGUAGE sql AS $$ SELECT json_build_object('keys', array_to_json(keys))::text $$;
CREATE FUNCTION now_s() RETURNS bigint LANGUAGE sql AS $$ SELECT floor(extract(epoch FROM clock_timestamp()))::bigint $$;

-- Claims on top of iss a, sub p1 and an hour's tenth of life; a null takes one away.
CREATE FUNCTION jwt(claims jsonb DEFAULT '{}', header jsonb DEFAULT '{}', name text DEFAULT 'a1') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    head jsonb := jsonb_strip_nulls('{"alg": "HS256", "kid": "a1"}' || header);
    body jsonb := jsonb_strip_nulls(jsonb_build_object('iss', 'https://a.example', 'sub', 'p1', 'iat', now_s(), 'exp', now_s() + 360) || claims);
    text text := base64url(convert_to(head::text, 'UTF8')) || '.' || base64url(convert_to(body::text, 'UTF8'));
BEGIN
    RETURN text || '.' || base64url(hmac(convert_to(text, 'UTF8'), secret(name), 'sha256'));
END $$;
-- The user_id, or how it was refused.
CREATE FUNCTION who(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN public.scoreboard_me(token => token)->>'userId';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

SELECT scoreboard_set_issuer('https://a.example', jwks(jwk('a1', 'a1'), jwk('a2', 'a2')), 'a:');
SELECT scoreboard_set_issuer('https://b.example', jwks(jwk(NULL, 'b1')), 'b:', user_claim => 'uid', audience => 'game', max_lifetime => '1 day');

-- Good ones, the second time from the cache.
SELECT who(jwt());
SELECT who(token), who(token) FROM (SELECT jwt() AS token OFFSET 0) t;
SELECT who(jwt('{"sub": "José"}', '{"kid": "a2", "typ": "at+jwt"}', 'a2'));
SELECT who(jwt(jsonb_build_object('iss', 'https://b.example', 'uid', 'p1', 'aud', ARRAY['x', 'game'], 'exp', now_s() + 86000), '{"kid": null}', 'b1'));

-- A signature with one bit changed, whichever, is none.
CREATE FUNCTION flipped(token text, n int) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws('.', a[1], a[2], base64url(set_bit(s, n, 1 - get_bit(s, n))))
    FROM (SELECT a, decode(translate(a[3], '-_', '+/') || '=', 'base64') AS s FROM string_to_array(token, '.') AS a) AS t $$;
SELECT answer, count(*) FROM (SELECT jwt() AS token OFFSET 0) AS t, generate_series(0, 255) AS n, who(flipped(token, n)) AS answer GROUP BY 1;

-- No token; not one at all; too long.
SELECT who(NULL);
SELECT who('');
SELECT who('not a token');
SELECT who(repeat('a', 8193));

-- The key comes from the issuer's row, by kid.
SELECT who(jwt(name => 'a2'));
SELECT who(jwt(header => '{"kid": "a3"}'));
SELECT who(jwt(header => '{"kid": null}'));
SELECT who(jwt('{"iss": "https://b.example"}'));
SELECT who(jwt('{"iss": "https://A.example"}'));
SELECT who(jwt('{"iss": "https://a.example/"}'));
SELECT who(jwt('{"iss": null}'));
SELECT who(jwt(header => '{"alg": "none"}'));
SELECT who(jwt(header => '{"alg": "RS256"}'));
SELECT who(jwt(header => '{"alg": "HS512"}'));
SELECT who(jwt(header => '{"crit": ["exp"]}'));
SELECT who(jwt(header => jsonb_build_object('jwk', jwk('a1', 'mallory')), name => 'mallory'));

-- Times.
SELECT who(jwt('{"exp": null}'));
SELECT who(jwt(jsonb_build_object('exp', now_s() - 25)));
SELECT who(jwt(jsonb_build_object('exp', now_s() - 31)));
SELECT who(jwt(jsonb_build_object('nbf', now_s() + 40)));
SELECT who(jwt(jsonb_build_object('iat', now_s() + 40)));
SELECT who(jwt(jsonb_build_object('exp', now_s() + 3700)));
SELECT who(jwt(jsonb_build_object('exp', now_s() + 3700, 'iat', null)));
SELECT who(jwt('{"exp": 1e30}'));
-- One that was verified ends in the cache, too.
DO $$
DECLARE
    last bigint;
    token text;
    cached text;
BEGIN
    LOOP
        last := now_s() - 28;
        token := jwt(jsonb_build_object('exp', last));
        PERFORM who(token);
        cached := who(token);
        EXIT WHEN cached = 'a:p1';
    END LOOP;
    WHILE now_s() < last + 30 LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
    RAISE WARNING '%, then %', cached, who(token);
END $$;

-- Audience and player.
SELECT who(jwt('{"aud": "game"}'));
SELECT who(jwt('{"iss": "https://b.example", "uid": "p1"}', '{"kid": null}', 'b1'));
SELECT who(jwt('{"iss": "https://b.example", "uid": "p1", "aud": "other"}', '{"kid": null}', 'b1'));
SELECT who(jwt('{"iss": "https://b.example", "aud": "game"}', '{"kid": null}', 'b1'));
SELECT aud, who(jwt(jsonb_build_object('iss', 'https://b.example', 'uid', 'p1', 'aud', aud), '{"kid": null}', 'b1'))
    FROM (VALUES ('["other"]'::jsonb), ('["other", "Game", "game2", "gam", ""]'), ('[]'), ('[["game"]]'), ('[null]'), ('["other", "game"]')) AS t(aud);
SELECT who(jwt('{"sub": 7}'));
SELECT who(jwt('{"sub": ""}'));
SELECT who(jwt(jsonb_build_object('sub', repeat('x', 254))));

-- A verified token doesn't outlive its key, its issuer's settings, or its issuer.
CREATE TABLE kept AS SELECT jwt() AS token;
SELECT who(token) FROM kept;
SELECT scoreboard_set_issuer('https://a.example', jwks(jwk('a2', 'a2')), 'a:');
SELECT who(token) FROM kept;
SELECT scoreboard_set_issuer('https://a.example', jwks(jwk('a1', 'a1')), 'c:');
SELECT who(token) FROM kept;
SELECT scoreboard_set_issuer('https://a.example', jwks(jwk('a1', 'a1')), 'a:', max_lifetime => '1 minute');
SELECT who(token) FROM kept;
SELECT scoreboard_remove_issuer('https://a.example');
SELECT who(token) FROM kept;

-- request.jwt.claims are believed for listed session users only, whatever role is set.
SELECT scoreboard_set_issuer('https://a.example', '{"keys": []}', 'a:');
SELECT set_config('request.jwt.claims', jsonb_build_object('iss', 'https://a.example', 'sub', 'p2', 'exp', now_s() + 360)::text, false) <> '' AS set;
SELECT who(NULL);
SET scoreboard.trusted_request_roles = 'somebody, somebody_else';
SELECT who(NULL);
SELECT set_config('scoreboard.trusted_request_roles', 'somebody, ' || quote_ident(session_user), false) <> '' AS set;
SELECT who(NULL);
SELECT who('an explicit token wins');
SELECT set_config('request.jwt.claims', jsonb_build_object('iss', 'https://c.example', 'sub', 'p2', 'exp', now_s() + 360)::text, false) <> '' AS set;
SELECT who(NULL);
SELECT set_config('request.jwt.claims', jsonb_build_object('iss', 'https://a.example', 'sub', 'p2', 'exp', now_s() - 360)::text, false) <> '' AS set;
SELECT who(NULL);
SET request.jwt.claims = '{"role": "anon"}';
SELECT who(NULL);
SET request.jwt.claims = 'nonsense';
SELECT who(NULL);
RESET request.jwt.claims;
SET scoreboard.trusted_request_roles = 'not, a "list';
SELECT who(NULL);
RESET scoreboard.trusted_request_roles;

-- An issuer's keys are checked when they are stored.
\set VERBOSITY terse
SELECT kid, algorithm, jwk FROM scoreboard.parse_jwks('{"keys": [{"kty": "oct", "kid": "k", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "note": 1}]}');
SELECT scoreboard.parse_jwks('{"keys": [{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}');
SELECT scoreboard.parse_jwks('{"keys": [{"kty": "oct", "k": "AAAA", "k": "AAAA"}]}');
SELECT scoreboard.parse_jwks('{"keys": 1}');
SELECT scoreboard_set_issuer('https://a.example', jwks(jwk('k', 'x'), jwk('k', 'y')), 'a:');
SELECT scoreboard_set_issuer('https://a.example', '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RS256"}]}', 'a:');

SELECT scoreboard_remove_issuer('https://a.example');
SELECT scoreboard_remove_issuer('https://b.example');
RESET search_path;
DROP SCHEMA token_test CASCADE;
