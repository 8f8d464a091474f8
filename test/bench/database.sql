-- One database of the benchmark: players with scores, what signs their requests, and the two peers that are SQL. Part of scoreboard;
-- PostgreSQL licence, see LICENSE.
--
-- psql variables: players; peers (1: with the floor and the textbook way, on as many players).
SET client_min_messages = warning;
CREATE EXTENSION scoreboard CASCADE;
CREATE SCHEMA bench;

CREATE FUNCTION bench.user_id(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '00000000-0000-4000-8000-' || lpad(n::text, 12, '0')
$$;

INSERT INTO scoreboard.action_type (name, points) VALUES ('HIT', 100);
INSERT INTO scoreboard.action_type (name, points, proof) VALUES ('AWARD', 100, 'trusted');
INSERT INTO scoreboard.player (user_id) SELECT bench.user_id(n) FROM generate_series(1, :players) AS n;
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at)
    SELECT 1, 1, p.player_id, p.player_id * 7919 % 1000003, clock_timestamp() FROM scoreboard.player p;

-- What the checks afterwards start from.
CREATE TABLE bench.start AS SELECT sum(score) AS score FROM scoreboard.score;

---------------------------------------------------------------------------
-- Requests, signed before the timed part. Every timed statement takes the next one by its number, the peers' too.
---------------------------------------------------------------------------

CREATE UNLOGGED TABLE bench.request (
    n         bigint PRIMARY KEY,
    player_id bigint NOT NULL,
    user_id   text NOT NULL,
    action_id text NOT NULL,
    issued_at bigint NOT NULL,
    receipt   text NOT NULL,
    token     text NOT NULL
);
CREATE UNLOGGED TABLE bench.batch (n bigint PRIMARY KEY, requests json NOT NULL);
ALTER TABLE bench.batch ALTER requests SET STORAGE EXTERNAL;    -- decompressing is nobody's cost in reality
CREATE UNLOGGED SEQUENCE bench.next_request;
CREATE UNLOGGED SEQUENCE bench.next_batch;

CREATE TABLE bench.secret AS
    SELECT scoreboard_create_key('bench') AS service, '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea AS issuer;

CREATE FUNCTION bench.base64url(data bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT translate(encode(data, 'base64'), E'+/=\n', '-_')
$$;

SELECT scoreboard_set_issuer('https://id.bench.example',
    json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'kid', 'bench', 'k', bench.base64url(issuer))))::text,
    max_lifetime => '1 day') FROM bench.secret;

-- Each request of another player: the factor has no divisor in common with a power of ten, so it takes all of them before the first again.
CREATE FUNCTION bench.sign(first bigint, last bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bench.request
    SELECT r.n, r.player_id, r.user_id, r.action_id, r.issued_at,
        'v1:bench:' || encode(hmac(convert_to(concat_ws(E'\n', 'scoreboard-receipt-v1', current_setting('scoreboard.audience'), 'global',
            r.user_id, 'HIT', r.action_id, '', '', '', r.issued_at), 'UTF8'), convert_to(r.service, 'UTF8'), 'sha256'), 'hex'),
        r.claims || '.' || bench.base64url(hmac(convert_to(r.claims, 'UTF8'), r.issuer, 'sha256'))
    FROM (
        SELECT m.n, m.player_id, m.user_id, md5(m.n::text)::uuid::text AS action_id, m.issued_at, k.service, k.issuer,
            bench.base64url('{"alg":"HS256","typ":"JWT","kid":"bench"}') || '.' ||
            bench.base64url(convert_to(format('{"iss":"https://id.bench.example","sub":"%s","iat":%s,"exp":%s}',
                m.user_id, m.issued_at, m.issued_at + 36000), 'UTF8')) AS claims
        FROM (
            SELECT g.n, p.player_id, bench.user_id(p.player_id) AS user_id, extract(epoch FROM clock_timestamp())::bigint AS issued_at
            FROM generate_series(first, last) AS g (n),
                LATERAL (SELECT 1 + g.n * 7368787 % (SELECT max(player_id) FROM scoreboard.player)) AS p (player_id)
            OFFSET 0
        ) AS m, bench.secret AS k
        OFFSET 0
    ) AS r
$$;

CREATE FUNCTION bench.make_batches(size integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bench.batch
    SELECT r.n / size, json_agg(json_build_object('actionType', 'HIT', 'actionId', r.action_id, 'issuedAt', r.issued_at,
        'receipt', r.receipt, 'token', r.token, 'idempotencyKey', r.action_id))
    FROM bench.request r GROUP BY 1
$$;

---------------------------------------------------------------------------
-- The floor: the least that counts an action once and keeps it. No checks, no ranks, no push.
---------------------------------------------------------------------------

\if :peers
CREATE TABLE bench.floor_score (player_id bigint PRIMARY KEY, score bigint NOT NULL, reached_at timestamptz NOT NULL) WITH (fillfactor = 70);
CREATE TABLE bench.floor_action (
    player_id bigint NOT NULL, action_id text COLLATE "C" NOT NULL, points bigint NOT NULL, created_at timestamptz NOT NULL,
    PRIMARY KEY (player_id, action_id));
INSERT INTO bench.floor_score SELECT player_id, score, reached_at FROM scoreboard.score;

CREATE FUNCTION bench.floor_increment(player bigint, action text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_score bigint;
BEGIN
    INSERT INTO bench.floor_action VALUES (player, action, 100, clock_timestamp());
    INSERT INTO bench.floor_score AS s VALUES (player, 100, clock_timestamp())
        ON CONFLICT (player_id) DO UPDATE SET score = s.score + excluded.score, reached_at = excluded.reached_at
        RETURNING s.score INTO new_score;
    RETURN new_score;
END
$$;

---------------------------------------------------------------------------
-- The textbook way: the same, with an index on the score, the top ten kept by every writer, and a NOTIFY.
---------------------------------------------------------------------------

CREATE TABLE bench.textbook_score (player_id bigint PRIMARY KEY, score bigint NOT NULL, reached_at timestamptz NOT NULL) WITH (fillfactor = 70);
CREATE TABLE bench.textbook_action (LIKE bench.floor_action INCLUDING ALL);
CREATE TABLE bench.textbook_top (board text PRIMARY KEY, document json);
INSERT INTO bench.textbook_score SELECT player_id, score, reached_at FROM scoreboard.score;
CREATE INDEX ON bench.textbook_score (score);
INSERT INTO bench.textbook_top VALUES ('global');

CREATE FUNCTION bench.textbook_increment(player bigint, action text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_score bigint;
    list json;
BEGIN
    INSERT INTO bench.textbook_action VALUES (player, action, 100, clock_timestamp());
    INSERT INTO bench.textbook_score AS s VALUES (player, 100, clock_timestamp())
        ON CONFLICT (player_id) DO UPDATE SET score = s.score + excluded.score, reached_at = excluded.reached_at
        RETURNING s.score INTO new_score;
    UPDATE bench.textbook_top t SET document = (SELECT json_agg(e) FROM
        (SELECT s.player_id, s.score FROM bench.textbook_score s ORDER BY s.score DESC LIMIT 10) AS e)
        WHERE t.board = 'global' RETURNING t.document INTO list;
    PERFORM pg_notify('textbook', list::text);
    RETURN new_score;
END
$$;
\endif

---------------------------------------------------------------------------
-- The checks afterwards: null if as many actions were counted as were expected, and their sum stands in the scores.
---------------------------------------------------------------------------

CREATE FUNCTION bench.difference(kind text, expected bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    scores text := CASE kind WHEN 'scoreboard' THEN 'scoreboard.score' ELSE 'bench.' || kind || '_score' END;
    actions text := CASE kind WHEN 'scoreboard' THEN 'scoreboard.action' ELSE 'bench.' || kind || '_action' END;
    points text := CASE kind WHEN 'scoreboard' THEN 'applied_points' ELSE 'points' END;
    gained numeric;
    logged numeric;
    counted bigint;
BEGIN
    EXECUTE format('SELECT sum(score) - (SELECT score FROM bench.start) FROM %s', scores) INTO gained;
    EXECUTE format('SELECT count(*), coalesce(sum(%s), 0) FROM %s', points, actions) INTO counted, logged;
    IF counted <> expected OR logged <> gained OR gained <> 100 * expected THEN
        RETURN format('%s acknowledged, %s in the log, their points %s, the scores grew by %s', expected, counted, logged, gained);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION bench.top_difference() RETURNS text LANGUAGE sql AS $$
    SELECT format('scoreboard_top() says %s, the scores say %s', a.scores, b.scores)
    FROM (SELECT array_agg(t.score ORDER BY t.rank) FROM scoreboard_top() AS t) AS a (scores),
        (SELECT array_agg(s.score ORDER BY s.score DESC) FROM
            (SELECT score FROM scoreboard.score WHERE board_id = 1 ORDER BY score DESC LIMIT 10) AS s) AS b (scores)
    WHERE a.scores IS DISTINCT FROM b.scores
$$;

SELECT scoreboard_grant_access('bench_gateway', 'gateway');
GRANT USAGE ON SCHEMA bench TO bench_gateway;
GRANT ALL ON ALL TABLES IN SCHEMA bench TO bench_gateway;
GRANT ALL ON ALL SEQUENCES IN SCHEMA bench TO bench_gateway;
REVOKE ALL ON bench.secret FROM bench_gateway;
VACUUM ANALYZE;
