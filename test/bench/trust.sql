-- What part `trust` needs beside database.sql: an action type for each check, tokens, session keys, and requests that pass one check each.
-- Part of scoreboard; PostgreSQL licence, see LICENSE.
--
-- psql variables: pool, how many players act.
SET client_min_messages = warning;
INSERT INTO scoreboard.action_type (name, points, proof) VALUES ('GIFT', 100, 'grant'), ('STEP', 100, 'session');
INSERT INTO scoreboard.action_type (name, points, proof, hourly_quota) VALUES ('HOURLY', 100, 'trusted', 10000);
INSERT INTO scoreboard.action_type (name, points, proof, daily_quota) VALUES ('DAILY', 100, 'trusted', 10000);
CREATE TABLE bench.token (player_id bigint, algorithm text, token text, PRIMARY KEY (player_id, algorithm));
CREATE TABLE bench.device (player_id bigint PRIMARY KEY, key_id text, secret text);

CREATE FUNCTION bench.receipt(user_id text, action_type text, action_id text, issued_at bigint, key_id text, secret text) RETURNS text LANGUAGE sql AS $$
    SELECT 'v1:' || key_id || ':' || encode(hmac(convert_to(concat_ws(E'\n', 'scoreboard-receipt-v1', current_setting('scoreboard.audience'), 'global',
        user_id, action_type, action_id, '', '', '', issued_at), 'UTF8'), convert_to(secret, 'UTF8'), 'sha256'), 'hex')
$$;

-- In slices, since each takes its player's lock until the commit.
CREATE PROCEDURE bench.make_devices(players bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR begin_at IN 1..players BY 1000 LOOP
        INSERT INTO bench.device SELECT n, k.key_id, k.secret
            FROM generate_series(begin_at, least(begin_at + 999, players)) AS n, scoreboard_create_session_key(bench.user_id(n), '1 day') AS k;
        COMMIT;
    END LOOP;
END
$$;

-- Requests of one type, by players 1 to pool in turn; or, where so many clients have a few players each, by those of the client that takes every
-- clients-th request. A grant's id is the action's.
CREATE PROCEDURE bench.prepare(lowest bigint, highest bigint, type text, token_algorithm text, pool bigint, clients bigint, few bigint) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE bench.request, bench.batch;
    INSERT INTO bench.request
        SELECT r.n, r.player_id, r.user_id, r.action_id, r.issued_at,
            CASE type WHEN 'HIT' THEN bench.receipt(r.user_id, type, r.action_id, r.issued_at, 'bench', k.service)
                WHEN 'STEP' THEN bench.receipt(r.user_id, type, r.action_id, r.issued_at, d.key_id, d.secret) ELSE '' END,
            coalesce(t.token, '')
        FROM (
            SELECT g.n, p.player_id, bench.user_id(p.player_id) AS user_id, md5(g.n::text)::uuid::text AS action_id, extract(epoch FROM clock_timestamp())::bigint AS issued_at
            FROM generate_series(lowest, highest) AS g (n),
                LATERAL (SELECT 1 + CASE WHEN few > 0 THEN g.n % clients * few + g.n / clients % few ELSE g.n * 7919 % pool END) AS p (player_id)
            OFFSET 0
        ) AS r CROSS JOIN bench.secret k LEFT JOIN bench.device d ON d.player_id = r.player_id
            LEFT JOIN bench.token t ON t.player_id = r.player_id AND t.algorithm = token_algorithm;
    FOR begin_at IN lowest..highest BY 1000 LOOP
        EXIT WHEN type <> 'GIFT';
        UPDATE bench.request r SET action_id = scoreboard_create_grant(r.user_id, type, expires_in => '1 day') WHERE r.n BETWEEN begin_at AND begin_at + 999;
        COMMIT;
    END LOOP;
    PERFORM setval('bench.next_request', lowest, false);
    COMMIT;
END
$$;

CALL bench.make_devices(:pool);
SELECT scoreboard_grant_access('bench_gateway', 'server');
GRANT SELECT ON ALL TABLES IN SCHEMA bench TO bench_gateway;
REVOKE ALL ON bench.secret, bench.device FROM bench_gateway;
