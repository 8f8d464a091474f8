-- Quotas of action types: so many of a player within a sliding hour and a calendar day of the board's time zone. The log is the
-- record, so the tests move what was counted into the past where others would wait.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name) VALUES ('quota'), ('quota-2');
INSERT INTO scoreboard.board (name, time_zone) VALUES ('quota-berlin', 'Europe/Berlin');
INSERT INTO scoreboard.action_type (name, proof, points, hourly_quota) VALUES ('HOURLY', 'trusted', 1, 3);
INSERT INTO scoreboard.action_type (name, proof, points, daily_quota) VALUES ('DAILY', 'trusted', 1, 2);
INSERT INTO scoreboard.action_type (name, points, daily_quota) VALUES ('SIGNED_DAILY', 5, 1);
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('FREE', 'trusted', 1);

-- How an action of the player ends: its points, or code and SQLSTATE; how long it says to wait stands in "waits", with the moments around the call.
CREATE TEMP TABLE waits (code text, retry_after int, before timestamptz, after timestamptz);
CREATE FUNCTION pg_temp.act(who text, action_type text, action_id text, board text DEFAULT 'quota', idempotency_key text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail json;
    before timestamptz := clock_timestamp();
    answer scoreboard_result;
BEGIN
    answer := scoreboard_increment_for(who, action_type, action_id, board, idempotency_key => idempotency_key);
    RETURN answer.applied_points || CASE WHEN answer.replayed THEN ' again' ELSE '' END;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    TRUNCATE waits;
    INSERT INTO waits VALUES (detail ->> 'code', (detail ->> 'retryAfter')::int, before, clock_timestamp());
    RETURN concat_ws(' ', SQLSTATE, detail ->> 'code');
END
$$;
-- Was retryAfter right to the second: does it end within the second after that moment?
CREATE FUNCTION pg_temp.waits_until(moment timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN retry_after BETWEEN greatest(ceil(extract(epoch FROM moment - after)), 1) AND ceil(extract(epoch FROM moment - before)) THEN 'to the second'
        ELSE format('%s s, asked between %s and %s', retry_after, before, after) END FROM waits
$$;
CREATE FUNCTION pg_temp.pass(who text, passes interval) RETURNS text LANGUAGE sql AS $$
    UPDATE scoreboard.action a SET created_at = a.created_at - passes FROM scoreboard.player p WHERE p.player_id = a.player_id AND p.user_id = who;
    SELECT 'has passed'
$$;
CREATE FUNCTION pg_temp.oldest(who text, type text, nth int DEFAULT 1) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT a.created_at FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) JOIN scoreboard.action_type t USING (action_type_id)
        WHERE p.user_id = who AND t.name = type ORDER BY a.created_at OFFSET nth - 1 LIMIT 1
$$;

-- A sliding hour
SELECT pg_temp.act('q-ada', 'HOURLY', 'h1'), pg_temp.act('q-ada', 'HOURLY', 'h2', idempotency_key => 'k'), pg_temp.act('q-ada', 'HOURLY', 'h3');
SELECT sign.written() AS before \gset
SELECT pg_temp.act('q-ada', 'HOURLY', 'h4');
SELECT pg_temp.waits_until(pg_temp.oldest('q-ada', 'HOURLY') + interval '1 hour');
SELECT sign.written() = :'before' AS nothing_written;
SELECT pg_temp.pass('q-ada', interval '59 minutes');
SELECT sign.outcome($$SELECT scoreboard_increment_for('q-ada', 'HOURLY', 'h4', 'quota')$$);
-- A retry is answered, a replay refused as ever; neither uses the quota.
SELECT pg_temp.act('q-ada', 'HOURLY', 'h2', idempotency_key => 'k'), pg_temp.act('q-ada', 'HOURLY', 'h1');
-- Others, other types and other boards have their own.
SELECT pg_temp.act('q-bob', 'HOURLY', 'h1'), pg_temp.act('q-ada', 'FREE', 'f1'), pg_temp.act('q-ada', 'HOURLY', 'h5', 'quota-2');
-- As many seconds later as it says there is room, for one: the oldest has left. A second before there is none.
SELECT pg_temp.act('q-ada', 'HOURLY', 'h4'), pg_temp.waits_until(pg_temp.oldest('q-ada', 'HOURLY') + interval '1 hour');
SELECT pg_temp.pass('q-ada', make_interval(secs => retry_after)) FROM waits;
SELECT pg_temp.act('q-ada', 'HOURLY', 'h4') AS the_oldest_left;
UPDATE scoreboard.action a SET created_at = clock_timestamp() - v.age FROM (VALUES ('h1', interval '61 minutes'), ('h2', interval '59 minutes'), ('h3', interval '30 minutes'), ('h4', interval '1 minute')) v (id, age)
    WHERE a.action_id = v.id AND a.player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'q-ada');
SELECT pg_temp.act('q-ada', 'HOURLY', 'h6'), pg_temp.waits_until(pg_temp.oldest('q-ada', 'HOURLY', 2) + interval '1 hour') AS the_second_leaves_next;
SELECT pg_temp.pass('q-ada', interval '70 seconds');
SELECT pg_temp.act('q-ada', 'HOURLY', 'h6'), pg_temp.act('q-ada', 'HOURLY', 'h7');

-- What is taken back or refused has used nothing.
BEGIN;
SELECT pg_temp.act('q-cyd', 'DAILY', 'd1'), pg_temp.act('q-cyd', 'DAILY', 'd2'), pg_temp.act('q-cyd', 'DAILY', 'd3');
ROLLBACK;
SELECT pg_temp.act('q-cyd', 'DAILY', 'd1'), pg_temp.act('q-cyd', 'DAILY', 'd2'), pg_temp.act('q-cyd', 'DAILY', 'd3');
SELECT pg_temp.waits_until((date_trunc('day', before AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC') AS until_midnight FROM waits;
-- An action that is refused for another reason has used nothing either.
SELECT pg_temp.act('q-cat', 'DAILY', 'd1');
SELECT sign.outcome($$SELECT scoreboard_increment_for('q-cat', 'DAILY', 'd2', 'quota', points => 1)$$), sign.outcome($$SELECT scoreboard_increment_for('q-cat', 'DAILY', 'd1', 'quota')$$);
SELECT pg_temp.act('q-cat', 'DAILY', 'd2'), pg_temp.act('q-cat', 'DAILY', 'd3');
-- What was counted yesterday doesn't count today, and what was counted before the quota was set does.
SELECT pg_temp.act('q-dan', 'FREE', 'f1'), pg_temp.act('q-dan', 'FREE', 'f2'), pg_temp.act('q-dan', 'FREE', 'f3');
INSERT INTO scoreboard.action_rule (board_id, action_type_id, daily_quota, hourly_quota) SELECT b.board_id, t.action_type_id, 3, 2 FROM scoreboard.board b, scoreboard.action_type t WHERE b.name = 'quota' AND t.name = 'FREE';
SELECT pg_temp.act('q-dan', 'FREE', 'f4') AS both_used_up;
-- The day ends later than the hour, or the hour later than the day, whatever the clock says now: the later of both.
SELECT pg_temp.waits_until(greatest((date_trunc('day', before AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC', pg_temp.oldest('q-dan', 'FREE', 2) + interval '1 hour')) AS until_both FROM waits;
SELECT pg_temp.pass('q-dan', interval '1 day');
SELECT pg_temp.act('q-dan', 'FREE', 'f4') AS both_have_room;
UPDATE scoreboard.action_rule SET hourly_quota = 1, daily_quota = 0;
SELECT pg_temp.act('q-dan', 'FREE', 'f5');
UPDATE scoreboard.action_rule SET hourly_quota = NULL, daily_quota = NULL;
SELECT pg_temp.act('q-dan', 'FREE', 'f5');

-- A board's rule stands in place of the type's quota, and 0 lifts it.
INSERT INTO scoreboard.action_rule (board_id, action_type_id, hourly_quota) SELECT b.board_id, t.action_type_id, CASE b.name WHEN 'quota' THEN 1 ELSE 0 END FROM scoreboard.board b, scoreboard.action_type t WHERE b.name LIKE 'quota%' AND t.name = 'HOURLY';
SELECT pg_temp.act('q-eve', 'HOURLY', 'h1'), pg_temp.act('q-eve', 'HOURLY', 'h2'), (SELECT count(*) FROM generate_series(1, 9) i WHERE pg_temp.act('q-eve', 'HOURLY', 'other' || i, 'quota-2') = '1') AS on_the_other;
DELETE FROM scoreboard.action_rule;

-- With a token, one by one and in a batch: the quota is judged for each action in its turn.
SELECT applied_points FROM sign.increment('q-fay', 'SIGNED_DAILY', 's1', 'quota');
SELECT sign.outcome($$SELECT sign.increment('q-fay', 'SIGNED_DAILY', 's2', 'quota')$$);
CREATE FUNCTION pg_temp.request(who text, action_id text, action_type text DEFAULT 'SIGNED_DAILY') RETURNS json LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('actionType', action_type, 'actionId', action_id, 'board', 'quota', 'issuedAt', t.s, 'receipt', sign.receipt(who, action_type, action_id, 'quota', issued_at => t.s), 'token', sign.token(who), 'requestId', action_id)
    FROM (SELECT sign.now()) t(s)
$$;
SELECT ordinal, status, body -> 'error' ->> 'code' AS code, body ->> 'appliedPoints' AS points, retry_after BETWEEN 1 AND 24 * 60 * 60 AS retry_after
    FROM scoreboard_submit(json_build_array(pg_temp.request('q-gil', 'g1'), pg_temp.request('q-gil', 'g2'), pg_temp.request('q-fay', 's3'), pg_temp.request('q-hal', 'h1'), pg_temp.request('q-gil', 'g3', 'FIND_COIN')));

-- The order of the checks: who is suspended isn't told of quotas, who has none left isn't told that its receipt is old.
UPDATE scoreboard.player SET state = 'frozen' WHERE user_id = 'q-gil';
SELECT ordinal, body -> 'error' ->> 'code' AS code FROM scoreboard_submit(json_build_array(pg_temp.request('q-gil', 'g4')));
UPDATE scoreboard.player SET state = 'active' WHERE user_id = 'q-gil';
SELECT rtrim(split_part(sign.outcome($$SELECT scoreboard_increment('SIGNED_DAILY', 'g5', 'quota', issued_at => 1000, receipt => sign.receipt('q-gil', 'SIGNED_DAILY', 'g5', 'quota', issued_at => 1000), token => sign.token('q-gil'))$$), ':', 1));

-- Days as the board's zone has them. A model looks at each minute: a day begins at the first whose local date is not before it.
CREATE TEMP TABLE zone AS SELECT * FROM (VALUES ('UTC', '2026-03-01'::timestamptz), ('Europe/Berlin', '2026-03-29'), ('Europe/Berlin', '2026-10-25'), ('America/New_York', '2025-11-02'), ('America/Sao_Paulo', '2018-11-04'),
    ('America/Sao_Paulo', '2018-02-18'), ('America/Havana', '2025-11-02'), ('Atlantic/Azores', '2025-10-26'), ('Asia/Beirut', '2022-03-27'), ('Pacific/Apia', '2011-12-30'), ('America/St_Johns', '2010-11-07'),
    ('Australia/Lord_Howe', '2025-04-06'), ('Asia/Kathmandu', '2026-01-01'), ('Pacific/Kiritimati', '2026-01-01'), ('Etc/GMT+12', '2026-01-01'), ('Europe/Berlin', '1980-04-06')) z (name, around);
CREATE TEMP TABLE minute AS SELECT z.name, z.around, m AS at, (m AT TIME ZONE z.name)::date AS local FROM zone z, generate_series(z.around - interval '5 days', z.around + interval '5 days', interval '1 minute') m;
CREATE TEMP TABLE day AS SELECT name, around, d.day, (SELECT min(at) FROM minute m WHERE m.name = z.name AND m.around = z.around AND m.local >= d.day) AS begins
    FROM zone z, generate_series(z.around::date - 4, z.around::date + 4, interval '1 day') AS t, CAST(t AS date) AS d (day);
SELECT count(*) AS moments, count(*) FILTER (WHERE c.day_begins <> d.begins) AS wrong_begins, count(*) FILTER (WHERE c.day_ends <> d.ends) AS wrong_ends,
    count(*) FILTER (WHERE d.at NOT BETWEEN c.day_begins AND c.day_ends - interval '1 microsecond') AS outside
FROM (SELECT m.name, m.at, (SELECT max(begins) FROM day d WHERE d.name = m.name AND d.around = m.around AND d.begins <= m.at) AS begins,
        (SELECT min(begins) FROM day d WHERE d.name = m.name AND d.around = m.around AND d.begins > m.at) AS ends
    FROM minute m WHERE m.at BETWEEN m.around - interval '3 days' AND m.around + interval '2 days' AND extract(epoch FROM m.at)::bigint / 60 % 7 = 0
    UNION ALL SELECT d.name, d.begins + s, CASE WHEN s < interval '0' THEN (SELECT max(begins) FROM day b WHERE b.name = d.name AND b.around = d.around AND b.begins < d.begins) ELSE d.begins END,
        CASE WHEN s < interval '0' THEN d.begins ELSE (SELECT min(begins) FROM day e WHERE e.name = d.name AND e.around = d.around AND e.begins > d.begins) END
    FROM day d, unnest(ARRAY[interval '-1 microsecond', '0', '1 microsecond']) s WHERE d.begins BETWEEN d.around - interval '3 days' AND d.around + interval '2 days') d,
    scoreboard.calendar_day(d.name, d.at) c;
SELECT z.name, day_ends - day_begins AS length FROM zone z, scoreboard.calendar_day(z.name, z.around + interval '12 hours') WHERE day_ends - day_begins <> interval '24 hours' ORDER BY z.around, 1;
SELECT scoreboard.calendar_day('Mars/Olympus', now());
SELECT scoreboard.calendar_day('UTC', 'infinity');

-- A board of another zone waits for another midnight, also on days that are an hour longer or shorter.
SELECT pg_temp.act('q-ida', 'DAILY', 'd1', 'quota-berlin'), pg_temp.act('q-ida', 'DAILY', 'd2', 'quota-berlin'), pg_temp.act('q-ida', 'DAILY', 'd3', 'quota-berlin');
SELECT pg_temp.waits_until((date_trunc('day', before AT TIME ZONE 'Europe/Berlin') + interval '1 day') AT TIME ZONE 'Europe/Berlin') AS until_midnight FROM waits;
-- The moment before midnight was yesterday, midnight is today.
UPDATE scoreboard.action SET created_at = CASE action_id WHEN 'd1' THEN day_begins - interval '1 microsecond' ELSE day_begins END
    FROM scoreboard.calendar_day('Europe/Berlin', now()) WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'q-ida');
SELECT pg_temp.act('q-ida', 'DAILY', 'd3', 'quota-berlin'), pg_temp.act('q-ida', 'DAILY', 'd4', 'quota-berlin');

-- Mistakes are refused where they are made.
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, time_zone) VALUES ('x', 'Mars/Olympus')$$);
SELECT sign.outcome($$UPDATE scoreboard.board SET time_zone = 'Asia/Tokyo' WHERE name = 'quota-berlin'$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_type (name, points, hourly_quota) VALUES ('X', 1, 0)$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_type (name, points, daily_quota) VALUES ('X', 1, 10001)$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_rule (board_id, action_type_id, daily_quota) VALUES (1, 1, -1)$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_rule (board_id, action_type_id, hourly_quota) VALUES (1, 1, 10001)$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_type (name, points, permission) VALUES ('X', 1, '')$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_type (name, points, permission, proof) VALUES ('X', 1, 'vip', 'trusted')$$);

-- Both quotas of a type: the day's counts what the hour has let go. The board's day has been going on for half a day, whenever this runs.
INSERT INTO scoreboard.board (name, time_zone) SELECT 'quota-noon', 'Etc/GMT' || CASE WHEN h = 12 THEN '' WHEN h > 12 THEN '+' || h - 12 ELSE '-' || 12 - h END
    FROM (SELECT extract(hour FROM now() AT TIME ZONE 'UTC')::int) AS t (h);
INSERT INTO scoreboard.action_type (name, proof, points, hourly_quota, daily_quota) VALUES ('BOTH', 'trusted', 1, 2, 3);
SELECT pg_temp.act('q-both', 'BOTH', id, 'quota-noon') FROM unnest('{b1,b2,b3}'::text[]) AS id;
SELECT pg_temp.pass('q-both', '61 minutes');
SELECT pg_temp.act('q-both', 'BOTH', id, 'quota-noon') FROM unnest('{b3,b4}'::text[]) AS id;

-- Permissions: of the token, whoever submits it; a server that names the player has none and isn't asked.
INSERT INTO scoreboard.action_type (name, points, permission) VALUES ('VIP', 50, 'vip');
CREATE FUNCTION pg_temp.vip(claims jsonb, action_id text) RETURNS text LANGUAGE sql AS $$
    SELECT sign.outcome(format('SELECT applied_points FROM scoreboard_increment(''VIP'', %1$L, ''quota'', issued_at => %2$s, receipt => sign.receipt(''q-joe'', ''VIP'', %1$L, ''quota'', issued_at => %2$s), token => sign.token(''q-joe'', %3$L))', action_id, sign.now(), claims))
$$;
SELECT sign.written() AS before \gset
SELECT c, pg_temp.vip(c::jsonb, 'v1') FROM (VALUES ('{}'), ('{"permissions": []}'), ('{"permissions": ["VIP", "vip ", ""]}'), ('{"permissions": {"vip": true}}'), ('{"permissions": ["vi", "p"]}'), ('{"scope": "vip"}')) t (c);
SELECT sign.written() = :'before' AS nothing_written;
SELECT c, pg_temp.vip(c::jsonb, 'v' || n) FROM (VALUES (1, '{"permissions": ["vip"]}'), (2, '{"permissions": "vip other"}'), (3, '{"permissions": ["a", "vip"]}')) t (n, c);
SELECT r.applied_points FROM (SELECT sign.now()) t(s), scoreboard_increment_for('q-joe', 'VIP', 'v4', 'quota', issued_at => t.s, receipt => sign.receipt('q-joe', 'VIP', 'v4', 'quota', issued_at => t.s)) r;

DELETE FROM scoreboard.score s USING scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id LIKE 'q-%';
DELETE FROM scoreboard.action a USING scoreboard.player p WHERE p.player_id = a.player_id AND p.user_id LIKE 'q-%';
DELETE FROM scoreboard.player WHERE user_id LIKE 'q-%';
DELETE FROM scoreboard.board WHERE name LIKE 'quota%';
DELETE FROM scoreboard.action_type WHERE name IN ('HOURLY', 'DAILY', 'SIGNED_DAILY', 'FREE', 'VIP', 'BOTH');
RESET scoreboard.rate_limit;
RESET scoreboard.burst_limit;
