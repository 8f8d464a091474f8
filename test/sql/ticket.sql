-- Who a token stands for (scoreboard_authenticate), and tickets: what opens a stream where no token can go (SPEC sections 2 and 6).
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set ECHO all
SET timezone = 'UTC';
SET scoreboard.rate_limit = 0;
CREATE SCHEMA ticket_test;
SET search_path = ticket_test, public;
CREATE FUNCTION live(who text) RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM scoreboard.stream_ticket WHERE user_id = who AND expires_at >= clock_timestamp() $$;

-- Who, until when, and what it may.
SELECT user_id, expires_at = to_timestamp(extract(epoch FROM now())::bigint + 600) AS as_signed, permissions FROM scoreboard_authenticate(sign.token('tick-ann', '{"permissions": ["vip", "beta"]}'));
SELECT user_id, permissions FROM scoreboard_authenticate(sign.token('tick-ann'));
SELECT sign.outcome('SELECT scoreboard_authenticate()');
SELECT sign.outcome('SELECT scoreboard_authenticate(''no token'')');
SELECT sign.outcome(format('SELECT scoreboard_authenticate(%L)', sign.token('tick-ann', jsonb_build_object('exp', sign.now() - 31))));

-- A ticket's form; what it says of its end; nobody can read it back.
CREATE TABLE kept AS SELECT 'ann' AS who, t.* FROM scoreboard_create_ticket(sign.token('tick-ann', '{"permissions": "vip"}')) t;
SELECT ticket ~ '^[A-Za-z0-9_-]{22}$' AS form, expires_at BETWEEN clock_timestamp() + '50 s' AND clock_timestamp() + '60 s' AS a_minute FROM kept;
SELECT count(*) FROM scoreboard.stream_ticket t, kept k WHERE position(k.ticket IN t::text) > 0;
SELECT sign.outcome('SELECT scoreboard_create_ticket()');
SELECT sign.outcome('SELECT scoreboard_create_ticket(''no token'')');
SELECT count(DISTINCT left(ticket, 4)) > 90 AS random FROM generate_series(1, 100) n, scoreboard_create_ticket(sign.token('tick-random-' || n));

-- It is good once, and stands for its token.
SELECT r.user_id, r.expires_at = to_timestamp(extract(epoch FROM now())::bigint + 600) AS as_signed, r.permissions
    FROM (SELECT ticket FROM kept) k, scoreboard.redeem_ticket(k.ticket) r \gset first_
SELECT :'first_user_id' AS user_id, :'first_permissions' AS permissions;
SELECT sign.outcome(format('SELECT scoreboard.redeem_ticket(%L)', ticket)) FROM kept;

-- Wrong ones: none, another's alphabet, one with a character changed, an expired one, a token.
SELECT sign.outcome(format('SELECT scoreboard.redeem_ticket(%L)', t)) FROM (VALUES (NULL), (''), ('x'), (repeat('x', 22)), (repeat('ä', 22)), (repeat('x', 100000)), (sign.token('tick-ann'))) AS v(t);
SELECT ticket AS changed FROM scoreboard_create_ticket(sign.token('tick-bob')) \gset
SELECT DISTINCT sign.outcome(format('SELECT scoreboard.redeem_ticket(%L)', overlay(:'changed' PLACING chr(ascii(substr(:'changed', n, 1)) # 1) FROM n))) FROM generate_series(1, 22) n;
SELECT ticket AS late FROM scoreboard_create_ticket(sign.token('tick-late')) \gset
UPDATE scoreboard.stream_ticket SET expires_at = clock_timestamp() - interval '1 ms' WHERE user_id = 'tick-late';
SELECT sign.outcome(format('SELECT scoreboard.redeem_ticket(%L)', :'late'));
SELECT user_id FROM scoreboard.redeem_ticket(:'changed');

-- It lives no longer than its token.
SELECT expires_at <= to_timestamp(sign.now() + 20) AS short FROM scoreboard_create_ticket(sign.token('tick-short', jsonb_build_object('exp', sign.now() + 20)));

-- Three at most; the fourth takes the place of the oldest, the others stay good.
TRUNCATE kept;
INSERT INTO kept SELECT n::text, t.* FROM generate_series(1, 3) n, scoreboard_create_ticket(sign.token('tick-many', jsonb_build_object('n', n))) t;
SELECT live('tick-many');
INSERT INTO kept SELECT n::text, t.* FROM generate_series(4, 5) n, scoreboard_create_ticket(sign.token('tick-many', jsonb_build_object('n', n))) t;
SELECT live('tick-many');
SELECT who, sign.outcome(format('SELECT user_id FROM scoreboard.redeem_ticket(%L)', ticket)) FROM kept ORDER BY who;
SELECT live('tick-many');
-- One that was redeemed or has expired makes room.
SELECT count(*) FROM generate_series(1, 3) n, scoreboard_create_ticket(sign.token('tick-room', jsonb_build_object('n', n)));
UPDATE scoreboard.stream_ticket SET expires_at = clock_timestamp() - interval '1 s' WHERE user_id = 'tick-room' AND slot = 2;
SELECT count(*) FROM scoreboard_create_ticket(sign.token('tick-room'));
SELECT slot, expires_at >= clock_timestamp() AS live FROM scoreboard.stream_ticket WHERE user_id = 'tick-room' ORDER BY slot;

-- Those that have expired are cleared away by whoever makes another, whosever they are.
SELECT count(*) FROM generate_series(1, 12) n, scoreboard_create_ticket(sign.token('tick-left-' || n));
UPDATE scoreboard.stream_ticket SET expires_at = clock_timestamp() - interval '1 s';
SELECT count(*) > 100 AS many FROM scoreboard.stream_ticket;
SELECT count(*) FROM generate_series(1, 40) n, scoreboard_create_ticket(sign.token('tick-clear', jsonb_build_object('n', n)));
SELECT count(*) FILTER (WHERE expires_at < clock_timestamp()) AS expired, count(*) AS all_in_all FROM scoreboard.stream_ticket;

-- Who may: a player makes them, a gateway redeems them, nobody reads them.
CREATE ROLE regress_sb_tick_player;
CREATE ROLE regress_sb_tick_gateway;
SET client_min_messages = error;
SELECT scoreboard_grant_access('regress_sb_tick_player', 'player'), scoreboard_grant_access('regress_sb_tick_gateway', 'gateway');
RESET client_min_messages;
GRANT USAGE ON SCHEMA sign, ticket_test TO PUBLIC;
SELECT sign.token('tick-eve') AS eve \gset
SET ROLE regress_sb_tick_player;
SELECT ticket AS eves FROM public.scoreboard_create_ticket(:'eve') \gset
SELECT user_id FROM public.scoreboard_authenticate(:'eve');
SELECT sign.outcome(format('SELECT scoreboard.redeem_ticket(%L)', :'eves'));
SELECT count(*) FROM scoreboard.stream_ticket;
SET ROLE regress_sb_tick_gateway;
SELECT user_id FROM public.scoreboard_authenticate(:'eve');
SELECT user_id FROM scoreboard.authenticate(:'eve');
SELECT length(ticket) FROM scoreboard.create_ticket(:'eve');
SELECT sign.outcome('SELECT scoreboard.create_ticket(NULL)');
SELECT user_id FROM scoreboard.redeem_ticket(:'eves');
SELECT count(*) FROM scoreboard.stream_ticket;
RESET ROLE;
SET client_min_messages = error;
SELECT scoreboard_revoke_access('regress_sb_tick_player'), scoreboard_revoke_access('regress_sb_tick_gateway');
DROP SCHEMA ticket_test CASCADE;
REVOKE USAGE ON SCHEMA sign FROM PUBLIC;
DROP ROLE regress_sb_tick_player, regress_sb_tick_gateway;
DELETE FROM scoreboard.stream_ticket;
