-- Issuers: presets for known providers, allowed algorithms, keys that are replaced and added.
-- The tokens below have the form of each provider's own, and were signed once, with keys made for this, until the year 2100.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS scoreboard CASCADE;
DELETE FROM scoreboard.jwt_issuer;

CREATE SCHEMA issuer_test;
SET search_path = issuer_test, public;

CREATE FUNCTION base64url(bytes bytea) RETURNS text LANGUAGE sql AS
$$ SELECT rtrim(translate(encode(bytes, 'base64'), E'+/\n', '-_'), '=') $$;
CREATE FUNCTION secret(name text) RETURNS bytea LANGUAGE sql AS $$ SELECT sha256(name::bytea) $$;
CREATE FUNCTION jwks(VARIADIC kids text[]) RETURNS text LANGUAGE sql AS
$$ SELECT json_build_object('keys', json_agg(json_strip_nulls(json_build_object('kty', 'oct', 'k', base64url(secret(kid)), 'kid', kid)) ORDER BY kid))::text FROM unnest(kids) kid $$;
-- Signed with the secret that the kid names.
CREATE FUNCTION jwt(claims jsonb, kid text DEFAULT 'k1') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    now_s bigint := floor(extract(epoch FROM clock_timestamp()));
    text text := base64url(convert_to(json_build_object('alg', 'HS256', 'kid', kid)::text, 'UTF8')) || '.'
        || base64url(convert_to(jsonb_strip_nulls(jsonb_build_object('sub', 'p1', 'iat', now_s, 'exp', now_s + 300) || claims)::text, 'UTF8'));
BEGIN
    RETURN text || '.' || base64url(hmac(convert_to(text, 'UTF8'), secret(kid), 'sha256'));
END $$;
-- The player and its permissions, or how the token was refused.
CREATE FUNCTION who(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT concat_ws(' ', a.user_id, a.permissions) FROM public.scoreboard_authenticate(token) a);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- How a setting was refused.
CREATE FUNCTION try(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE 'SELECT scoreboard_set_issuer(' || call || ')';
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, detail, hint);
END $$;

\set rsa '{"keys": [{"kty": "RSA", "n": "tYQWB4epvqcJ-7DRb_qG7rCR9XeRJ45wnhD2wNaP97e7bQPvLM_iKvTWLFCOc_xo4zZ45l1PGRpkTrDC5DHly_Ck9MoK2rGozyNHT4VpAqHxUX4Tkb5Ho9-V9fhSU6zWM9I1oc8doxh4V1TTDbZsPb4OvkKkW4wsxDCaDhHD7FylMWXfYbKUiRnixjYAXusm6lpA6hoUimK8xormZIsHeskqQlbPLC0KOe68ISSSBgR3sdoZmbQZWLIcEc81WL38ay6UXfP8GWY-eTyHaC2bGD1IMvIPAPuOVi2gT5bu_HhJ_xc3oHuyko-PnVlu_4wGEyhcdRVBGWVOfgYV4txBCQ", "e": "AQAB", "kid": "r", "alg": "RS256", "use": "sig"}]}'
\set ec '{"keys": [{"kty": "EC", "x": "MkEDAjPWFjIuvtsRCzBKp1IPKc0vsQNrlcDNLiiLdD0", "y": "kklyd22uJAtLRRt6Mkj44JAFMbY-MoetVRYwNo24gP8", "crv": "P-256", "kid": "e", "alg": "ES256", "use": "sig"}]}'
\set all '{"keys": [{"kty": "RSA", "n": "tYQWB4epvqcJ-7DRb_qG7rCR9XeRJ45wnhD2wNaP97e7bQPvLM_iKvTWLFCOc_xo4zZ45l1PGRpkTrDC5DHly_Ck9MoK2rGozyNHT4VpAqHxUX4Tkb5Ho9-V9fhSU6zWM9I1oc8doxh4V1TTDbZsPb4OvkKkW4wsxDCaDhHD7FylMWXfYbKUiRnixjYAXusm6lpA6hoUimK8xormZIsHeskqQlbPLC0KOe68ISSSBgR3sdoZmbQZWLIcEc81WL38ay6UXfP8GWY-eTyHaC2bGD1IMvIPAPuOVi2gT5bu_HhJ_xc3oHuyko-PnVlu_4wGEyhcdRVBGWVOfgYV4txBCQ", "e": "AQAB", "kid": "r", "alg": "RS256", "use": "sig"}, {"kty": "RSA", "n": "tYQWB4epvqcJ-7DRb_qG7rCR9XeRJ45wnhD2wNaP97e7bQPvLM_iKvTWLFCOc_xo4zZ45l1PGRpkTrDC5DHly_Ck9MoK2rGozyNHT4VpAqHxUX4Tkb5Ho9-V9fhSU6zWM9I1oc8doxh4V1TTDbZsPb4OvkKkW4wsxDCaDhHD7FylMWXfYbKUiRnixjYAXusm6lpA6hoUimK8xormZIsHeskqQlbPLC0KOe68ISSSBgR3sdoZmbQZWLIcEc81WL38ay6UXfP8GWY-eTyHaC2bGD1IMvIPAPuOVi2gT5bu_HhJ_xc3oHuyko-PnVlu_4wGEyhcdRVBGWVOfgYV4txBCQ", "e": "AQAB", "kid": "p", "alg": "PS256", "use": "sig"}, {"kty": "EC", "x": "MkEDAjPWFjIuvtsRCzBKp1IPKc0vsQNrlcDNLiiLdD0", "y": "kklyd22uJAtLRRt6Mkj44JAFMbY-MoetVRYwNo24gP8", "crv": "P-256", "kid": "e", "alg": "ES256", "use": "sig"}]}'
\set auth0 'eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InIifQ.eyJpc3MiOiJodHRwczovL2dhbWUuZXUuYXV0aDAuY29tLyIsInN1YiI6ImF1dGgwfDVmN2M4ZWM3YzMzYzZjMDA0YmJhZmU4MiIsImF1ZCI6WyJodHRwczovL2FwaS5nYW1lLmV4YW1wbGUiLCJodHRwczovL2dhbWUuZXUuYXV0aDAuY29tL3VzZXJpbmZvIl0sImlhdCI6MTc5NTAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwLCJhenAiOiJteV9jbGllbnRfaWQiLCJzY29wZSI6Im9wZW5pZCBwcm9maWxlIGVtYWlsIiwicGVybWlzc2lvbnMiOlsiYm9udXMiLCJwbGF5Il19.eNhwfQf7aNDrUvRHb_s6AGcbpiRHLRzIpqIPYSo-2RRNXKsnXDXYF6KWJ0XglHJXKFwChjh4NuOvStJybXI-5mJJ1Xq8Ay60zlJrKewivgx-dtQkBfz3LJ25IeFuhEWEDLzRivWMArfCRsvt4bAE-Iogvgq8ylXf9d8HhQ6nRwGYV5Q3Y7eNHEg43QEsXQbNXZWxDohewFNBhacnSB86opoYx8A7TiabYwMqe1KffYuLdzEUkDmiTCujTNm9UOHDtdSI-xXA4AXlQqUQOFtiCP5ILV4evN5oOmxxxDhj4FXvXBC0CuA4A3K11cErdqm3rYrrpQO4dGsv26mKOye5rQ'
\set cognito 'eyJraWQiOiJyIiwiYWxnIjoiUlMyNTYifQ.eyJzdWIiOiJhYWFhYWFhYS1iYmJiLWNjY2MtZGRkZC1lZWVlZWVlZWVlZWUiLCJjb2duaXRvOmdyb3VwcyI6WyJib251cyJdLCJpc3MiOiJodHRwczovL2NvZ25pdG8taWRwLmV1LWNlbnRyYWwtMS5hbWF6b25hd3MuY29tL2V1LWNlbnRyYWwtMV9leGFtcGxlIiwidmVyc2lvbiI6MiwiY2xpZW50X2lkIjoiMWV4YW1wbGUyMzQ1Njc4OSIsIm9yaWdpbl9qdGkiOiJvcmlnaW4iLCJldmVudF9pZCI6ImV2ZW50IiwidG9rZW5fdXNlIjoiYWNjZXNzIiwic2NvcGUiOiJhd3MuY29nbml0by5zaWduaW4udXNlci5hZG1pbiIsImF1dGhfdGltZSI6MTc5NTAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwLCJpYXQiOjE3OTUwMDAwMDAsImp0aSI6Imp0aSIsInVzZXJuYW1lIjoiYWRhIn0.eEF9fpqPyHVOPNxpw6BZh5GTFaH56_YOScpL_nWk58JUdngUS8MKxQgL54LnOS-wFPwBdEFl-bXO6gn59VUCDdtl3Hx_i78uN0rVUeb1TfDfbs5dMvY4NeLbARVE8le5Yd75rIjMHKkaWW6vGdW-ahA0aE7sM3XmVqeStfPHFP9t_Sg9W612fT2hsBZJJs4WBUr4OEn_WrX48x2rY6R7DwmYQQLyZ7XZSXYdjpRx1D4wm92D7L3l3uRS2oEihtqvOt-64vFe0MgVgr6Wh3F8xGPONzpj5tQA5W9rIvOJ5l6EhA94hHGmteMQPRZeo9nXp-QQ3HTxduina-lsVhUPHA'
\set firebase 'eyJhbGciOiJSUzI1NiIsImtpZCI6InIiLCJ0eXAiOiJKV1QifQ.eyJuYW1lIjoiQWRhIiwicGljdHVyZSI6Imh0dHBzOi8vaW1nLmV4YW1wbGUvYS5wbmciLCJpc3MiOiJodHRwczovL3NlY3VyZXRva2VuLmdvb2dsZS5jb20vbXktZ2FtZSIsImF1ZCI6Im15LWdhbWUiLCJhdXRoX3RpbWUiOjE3OTUwMDAwMDAsInVzZXJfaWQiOiJmaXJlVWlkMSIsInN1YiI6ImZpcmVVaWQxIiwiaWF0IjoxNzk1MDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImVtYWlsIjoiYWRhQGV4YW1wbGUub3JnIiwiZW1haWxfdmVyaWZpZWQiOnRydWUsInBlcm1pc3Npb25zIjpbImJvbnVzIl0sImZpcmViYXNlIjp7ImlkZW50aXRpZXMiOnsiZW1haWwiOlsiYWRhQGV4YW1wbGUub3JnIl19LCJzaWduX2luX3Byb3ZpZGVyIjoicGFzc3dvcmQifX0.FnjbNISMoLq8UGcRBUwX-z5pllBqIsXvmLnnzt82H2TauTSQ3ZKqLZ2XesgCdknj_iPKF4vrafaAl1dREzP1cToib8QTt352y6ZsPJX-sHpeGK9vmH9VP2_-JRZjEEoGE6Q7s-ITp76v8lqdCuJSNjQymDvR0KjUeyV5-0HyJS3swbC1mng_bfttrrYj7DAjhGEk9_WjpBTgOBLkFGf87cc8m2v4ZB0hjm3JZNYzavnDLsyEj4gLiHXfax_IMuafBaqP1v-EjAUbFU9c7x3D7nohf1dpYp1OwQduYmTQCyOaMyWTXqy89-bg0IDGjQna-iM9gJHTQkIr_J5PqiC8Cg'
\set keycloak 'eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InIifQ.eyJleHAiOjQxMDI0NDQ4MDAsImlhdCI6MTc5NTAwMDAwMCwiYXV0aF90aW1lIjoxNzk1MDAwMDAwLCJqdGkiOiJvbnJ0YWM6MSIsImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS9yZWFsbXMvZ2FtZSIsImF1ZCI6WyJnYW1lLWFwaSIsImFjY291bnQiXSwic3ViIjoiZjoxOmFkYSIsInR5cCI6IkJlYXJlciIsImF6cCI6ImdhbWUtd2ViIiwic2lkIjoicyIsImFjciI6IjEiLCJhbGxvd2VkLW9yaWdpbnMiOlsiaHR0cHM6Ly9nYW1lLmV4YW1wbGUiXSwicmVhbG1fYWNjZXNzIjp7InJvbGVzIjpbIm9mZmxpbmVfYWNjZXNzIiwiYm9udXMiXX0sInJlc291cmNlX2FjY2VzcyI6eyJhY2NvdW50Ijp7InJvbGVzIjpbIm1hbmFnZS1hY2NvdW50Il19fSwic2NvcGUiOiJvcGVuaWQgZW1haWwgcHJvZmlsZSIsImVtYWlsX3ZlcmlmaWVkIjpmYWxzZSwicHJlZmVycmVkX3VzZXJuYW1lIjoiYWRhIn0.TZvBRqEp2b7bIa3EY_lt1W4CTQYY8R3yXjHXjqIaIp5mgqvSD7OpYXjhZsGD4qbg94rSk2lm4Ka-x8DAWVaCqawLR4YERcgNJWge9mHWiIS9fxN_PeByUWekIpkeA6GG3IgN7jCLLhPVmb-c20CT0e6JS8DPf5YRXVXAylVwm4DrrW9lVldg0yi_NmVLS8qO_5wb9alMM3Kc6Ktt7NNj4K2s8dzwx5Vy38cjm-M7WiNgkX2AYyZ8xLb0l7GW-O77Z6GFFvD4eaTgltK1huNZFI1QwxB18RdIgdMLIcKACNimGDRLh1o0-K_8-GXgb8VeI6us9BiGjxT6BY1fF71yhA'
\set supabase 'eyJhbGciOiJFUzI1NiIsImtpZCI6ImUiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2FiY2RlZmdoLnN1cGFiYXNlLmNvL2F1dGgvdjEiLCJzdWIiOiIwYjFmMmEzYy0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJhdWQiOiJhdXRoZW50aWNhdGVkIiwiZXhwIjo0MTAyNDQ0ODAwLCJpYXQiOjE3OTUwMDAwMDAsImVtYWlsIjoiYWRhQGV4YW1wbGUub3JnIiwicGhvbmUiOiIiLCJhcHBfbWV0YWRhdGEiOnsicHJvdmlkZXIiOiJnb29nbGUiLCJwcm92aWRlcnMiOlsiZ29vZ2xlIl0sInBlcm1pc3Npb25zIjpbImJvbnVzIl19LCJ1c2VyX21ldGFkYXRhIjp7ImF2YXRhcl91cmwiOiJodHRwczovL2ltZy5leGFtcGxlL2EucG5nIiwiZnVsbF9uYW1lIjoiQWRhIiwibmFtZSI6IkFkYSJ9LCJyb2xlIjoiYXV0aGVudGljYXRlZCIsImFhbCI6ImFhbDEiLCJhbXIiOlt7Im1ldGhvZCI6Im9hdXRoIiwidGltZXN0YW1wIjoxNzk1MDAwMDAwfV0sInNlc3Npb25faWQiOiJzIiwiaXNfYW5vbnltb3VzIjpmYWxzZX0.vAt0Ifvpjkicmee0BLja7XlrejoWwGGl6dxLHNsJdNRTy8SrlqjL-n9My1kF2ED4kSlvIWXe2TedGr0Gxbp9yw'
\set ps 'eyJhbGciOiJQUzI1NiIsImtpZCI6InAifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUvcmVhbG1zL2dhbWUiLCJzdWIiOiJwcyIsImF1ZCI6ImdhbWUtYXBpIiwidHlwIjoiQmVhcmVyIiwiaWF0IjoxNzk1MDAwMDAwLCJleHAiOjQxMDI0NDQ4MDB9.XzIpyJmZNkydSUD2ysCU8MFWZvOZalmhPXEOvColJoR-NRlNyBs_Q731v6BVVpn2FmCugcBYUO9HKKAGkcpl6STaPFzSFwy0QWs8gKIPeJy3nDdJ0_SVf0op7RcvtWJhPkTye5_bxJ01A0s1k-SxpMR24fYB736gxd0GIphVuZRluHi0_Q4VxA-Ha7_e6FeCtGop2Ma66bL9lbFjVlNPxGZcu5QRYvdWBJziq3FO51Yl4O97DbeEbMsDhqoxIoofRojXVF2aBDUOUfNrBEH7iXyV2rDGGM5LaTPwe0qjzzhVR4tXLvCN6RJK-Tyj4tuhr92nbklTNwUIarC_XWcfiQ'

-- ---------- presets ----------

SELECT scoreboard_set_issuer('https://game.eu.auth0.com/', :'rsa', 'auth0:', audience => 'https://api.game.example', max_lifetime => '100 years', preset => 'auth0');
SELECT scoreboard_set_issuer('https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example', :'rsa', 'cognito:', audience => '1example23456789', max_lifetime => '100 years', preset => 'cognito');
SELECT scoreboard_set_issuer('https://securetoken.google.com/my-game', :'rsa', 'firebase:', max_lifetime => '100 years', preset => 'firebase');
SELECT scoreboard_set_issuer('https://id.example/realms/game', :'all', 'keycloak:', audience => 'game-api', max_lifetime => '100 years', preset => 'keycloak');
SELECT scoreboard_set_issuer('https://abcdefgh.supabase.co/auth/v1', :'ec', 'supabase:', max_lifetime => '100 years', preset => 'supabase');
SELECT i.issuer, audience, audience_claim, algorithms, required_claims, name_claim, avatar_claim, permissions_claim FROM scoreboard.jwt_issuer i ORDER BY issuer;
SELECT name, who(token) FROM (VALUES ('auth0', :'auth0'), ('cognito', :'cognito'), ('firebase', :'firebase'), ('keycloak', :'keycloak'), ('supabase', :'supabase'), ('keycloak, PS256', :'ps')) AS t(name, token);
-- A character of any of these signatures is another one.
SELECT name, answer, count(*) FROM (VALUES ('RS256', :'auth0'), ('PS256', :'ps'), ('ES256', :'supabase')) AS t(name, token),
    LATERAL (SELECT length(token) - length(split_part(token, '.', 3)) AS head) AS h,
    generate_series(1, length(token) - head - 1) AS n,
    LATERAL who(overlay(token PLACING translate(substr(token, head + n, 1), 'ABCDEFGHabcdefgh', 'BCDEFGHAbcdefgha') FROM head + n FOR 1)) AS answer
    WHERE substr(token, head + n, 1) ~ '[A-Ha-h]' GROUP BY 1, 2 ORDER BY 1, 2;

-- The lifetimes of the presets themselves.
SELECT preset, max_lifetime FROM scoreboard.issuer_presets() ORDER BY 1;

-- The same providers' tokens that are meant for something else. The preset's algorithms can be overridden, so these are signed here.
CREATE PROCEDURE known(preset text, issuer text, audience text DEFAULT NULL, required_claims jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM scoreboard.jwt_issuer;
    PERFORM scoreboard_set_issuer(issuer, jwks('k1'), audience => audience, preset => preset, required_claims => required_claims, algorithms => '{HS256}');
END $$;
CREATE FUNCTION answers(base jsonb, VARIADIC changes jsonb[]) RETURNS TABLE (change jsonb, answer text) LANGUAGE sql AS
$$ SELECT c, who(jwt(base || c)) FROM unnest(changes) WITH ORDINALITY AS u(c, n) ORDER BY n $$;

CALL known('auth0', 'https://game.eu.auth0.com/', 'https://api.game.example');
SELECT * FROM answers('{"iss": "https://game.eu.auth0.com/", "aud": ["https://api.game.example", "https://game.eu.auth0.com/userinfo"], "permissions": ["bonus"]}',
    '{}', '{"aud": "https://api.game.example"}', '{"aud": "my_client_id"}', '{"aud": ["https://game.eu.auth0.com/userinfo"]}', '{"aud": null}', '{"iss": "https://game.eu.auth0.com"}');
CALL known('cognito', 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example', 'app1');
SELECT * FROM answers('{"iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example", "client_id": "app1", "token_use": "access", "cognito:groups": ["bonus"]}',
    '{}', '{"token_use": "id"}', '{"token_use": "id", "client_id": null, "aud": "app1"}', '{"client_id": "app2"}', '{"client_id": null}', '{"aud": "app1"}', '{"token_use": null}');
CALL known('firebase', 'https://securetoken.google.com/my-game');
SELECT * FROM answers('{"iss": "https://securetoken.google.com/my-game", "aud": "my-game"}',
    '{}', '{"aud": "other-game"}', '{"iss": "https://securetoken.google.com/other-game"}', '{"iss": "https://session.firebase.google.com/my-game"}', '{"sub": ""}');
CALL known('keycloak', 'https://id.example/realms/game', 'account', '{"azp": "game-web"}');
SELECT * FROM answers('{"iss": "https://id.example/realms/game", "aud": "account", "azp": "game-web", "typ": "Bearer", "realm_access": {"roles": ["bonus", "offline_access"]}}',
    '{}', '{"azp": "other"}', '{"azp": null}', '{"typ": "ID"}', '{"typ": "Refresh"}', '{"aud": "game-web", "typ": "ID"}', '{"realm_access": null}', '{"realm_access": "roles"}', '{"iss": "https://id.example/realms/other"}');
CALL known('supabase', 'https://abcdefgh.supabase.co/auth/v1');
SELECT * FROM answers('{"iss": "https://abcdefgh.supabase.co/auth/v1", "aud": "authenticated", "role": "authenticated", "app_metadata": {"permissions": ["bonus"]}}',
    '{}', '{"role": "anon"}', '{"role": "service_role"}', '{"aud": null}', '{"iss": "supabase"}', '{"user_metadata": {"permissions": ["admin"]}, "app_metadata": null}');

-- What a preset lacks is said when it is set.
DELETE FROM scoreboard.jwt_issuer;
SELECT try($$'https://x.example', jwks('k1'), preset => 'okta'$$);
SELECT try($$'https://game.eu.auth0.com', jwks('k1'), audience => 'a', preset => 'auth0'$$);
SELECT try($$'https://game.eu.auth0.com/', jwks('k1'), preset => 'auth0'$$);
SELECT try($$'https://game.eu.auth0.com/', jwks('k1'), audience => 'a', preset => 'auth0'$$);
SELECT try($$'https://cognito-idp.eu-central-1.amazonaws.com.evil.example/p', jwks('k1'), audience => 'a', preset => 'cognito'$$);
SELECT try($$'https://cognito-idp.eu-central-1.amazonaws.com/p', jwks('k1'), preset => 'cognito'$$);
SELECT try($$'https://securetoken.google.com/', jwks('k1'), preset => 'firebase'$$);
SELECT try($$'https://securetoken.google.com/my-game', jwks('k1'), audience => 'other', preset => 'firebase'$$);
SELECT try($$'https://id.example/realms/game/', jwks('k1'), audience => 'a', preset => 'keycloak'$$);
SELECT try($$'https://id.example/realms/game', jwks('k1'), preset => 'keycloak'$$);
SELECT try($$'https://id.example/realms/game', jwks('k1'), audience => 'account', preset => 'keycloak'$$);
SELECT try($$'https://abcdefgh.supabase.co', jwks('k1'), preset => 'supabase'$$);
SELECT try($$'https://abcdefgh.supabase.co/auth/v1', jwks('k1'), audience => 'anon', preset => 'supabase'$$);
SELECT count(*) FROM scoreboard.jwt_issuer;

-- ---------- algorithms and required claims ----------

SELECT try($$'https://a.example', jwks('k1'), algorithms => '{none}'$$);
SELECT try($$'https://a.example', jwks('k1'), algorithms => '{}'$$);
SELECT try($$'https://a.example', jwks('k1'), algorithms => '{NULL}'$$);
SELECT try($$'https://a.example', jwks('k1'), algorithms => '{ES256,PS256}'$$);
SELECT try($$'https://a.example', jwks('k1'), required_claims => '[]'$$);
SELECT try($$'https://a.example', jwks('k1'), required_claims => '{"a": 1}'$$);
SELECT try($$'https://a.example', jwks('k1'), required_claims => '{"tier": "gold", "a.b": "c"}'$$);
SELECT * FROM answers('{"iss": "https://a.example", "tier": "gold", "a": {"b": "c"}}', '{}', '{"tier": "silver"}', '{"tier": null}', '{"tier": ["gold"]}', '{"a": {"b": "d"}}', '{"a": {}}');
-- Taking an algorithm away by hand ends verified tokens, too.
CREATE TABLE kept AS SELECT jwt('{"iss": "https://a.example", "tier": "gold", "a": {"b": "c"}}') AS token;
SELECT who(token) FROM kept;
UPDATE scoreboard.jwt_issuer SET algorithms = '{RS256}';
SELECT who(token) FROM kept;
UPDATE scoreboard.jwt_issuer SET algorithms = '{RS256,HS256}';
SELECT who(token) FROM kept;
UPDATE scoreboard.jwt_issuer SET required_claims = '{"tier": "platinum"}';
SELECT who(token) FROM kept;
-- A table written by hand is held to the same.
\set VERBOSITY terse
UPDATE scoreboard.jwt_issuer SET algorithms = '{none}';
UPDATE scoreboard.jwt_issuer SET required_claims = '{"a": 1}';
\set VERBOSITY default

-- ---------- keys, replaced and added ----------

DELETE FROM scoreboard.jwt_issuer;
TRUNCATE kept;
SELECT try($$'https://a.example', jwks('k1'), keys => 'add'$$);
SELECT try($$'https://a.example', jwks('k1'), keys => 'merge'$$);
SELECT try($$'https://a.example', jwks('k1'), keys => NULL$$);
SELECT try($$'https://a.example', jwks('k1'), 'a:', algorithms => '{HS256}'$$);
INSERT INTO kept SELECT jwt('{"iss": "https://a.example"}', kid) FROM unnest('{k1,k2,k3}'::text[]) AS kid;
SELECT who(token) FROM kept;
-- Both keys' tokens are good from now on, and all else stays; the same key again is nothing new.
SELECT try($$'https://a.example', jwks('k2'), keys => 'add'$$);
SELECT try($$'https://a.example', jwks('k1', 'k2'), keys => 'add'$$);
SELECT number, kid, algorithm FROM scoreboard.jwt_key ORDER BY number;
SELECT user_id_prefix, algorithms FROM scoreboard.jwt_issuer;
SELECT who(token) FROM kept;
SELECT try($$'https://a.example', jwks('k2'), 'b:', keys => 'add'$$);
SELECT try($$'https://a.example', replace(jwks('k3'), '"k3"', '"k2"'), keys => 'add'$$);
SELECT try($$'https://b.example', jwks('k3'), keys => 'add'$$);
SELECT try(format('%L, %L, keys => %L', 'https://a.example', :'ec', 'add'));
UPDATE scoreboard.jwt_issuer SET algorithms = '{HS256,ES256}';
SELECT try(format('%L, %L, keys => %L', 'https://a.example', :'ec', 'add'));
SELECT try($$'https://a.example', (SELECT jwks(VARIADIC array_agg('n' || n)) FROM generate_series(1, 63) n), keys => 'add'$$);
SELECT number, kid, algorithm FROM scoreboard.jwt_key ORDER BY number;
-- The old key ends with the set that no longer has it; also for tokens that were verified before, and within one transaction.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT who(token) FROM kept;
SELECT try($$'https://a.example', jwks('k2'), 'a:'$$);
SELECT who(token) FROM kept;
COMMIT;
SELECT who(token) FROM kept;

DELETE FROM scoreboard.jwt_issuer;
RESET search_path;
DROP SCHEMA issuer_test CASCADE;
