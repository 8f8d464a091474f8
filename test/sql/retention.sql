-- Retention: how long actions are kept, what is refused on both sides, and that scores, ranks, answers and repair are the same once what was older is gone.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
-- What other tests have left
DELETE FROM scoreboard.session_key;
DELETE FROM scoreboard.grant_token;
UPDATE scoreboard.action_type SET receipt_max_age = NULL WHERE receipt_max_age IS NOT NULL;
UPDATE scoreboard.jwt_issuer SET max_lifetime = '1 hour' WHERE max_lifetime > '1 hour';
INSERT INTO scoreboard.board (name, operator, score_order, ties) VALUES ('rt-sum', 'sum', 'high', 'first'), ('rt-low', 'best', 'low', 'shared'), ('rt-best', 'best', 'high', 'subscore high'),
    ('rt-latest', 'latest', 'high', 'subscore low'), ('rt-all', 'sum', 'high', 'shared');
INSERT INTO scoreboard.board (name, operator, ties, lowest_score) VALUES ('rt-peak', 'best', 'subscore low', -100);
UPDATE scoreboard.board SET counts_towards = ARRAY(SELECT board_id FROM scoreboard.board WHERE name = 'rt-peak') WHERE name = 'rt-all';
UPDATE scoreboard.board SET counts_towards = ARRAY(SELECT board_id FROM scoreboard.board WHERE name = 'rt-all') WHERE name IN ('rt-sum', 'rt-latest');
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('RT_OLD', 'service', 5), ('RT_GRANTED', 'grant', 7), ('RT_SIGNED', 'session', 2);
INSERT INTO scoreboard.action_type (name, proof, points, hourly_quota) VALUES ('RT_QUOTA', 'trusted', 1, 2);
-- Waits until the log has been gone over since the settings were changed last.
CREATE FUNCTION pg_temp.purged() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR round IN 1..6000 LOOP
        IF NOT scoreboard.purge_due() THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'the log was not gone over: %', (SELECT p FROM scoreboard.purge p);
END
$$;
CREATE VIEW pg_temp.ours AS SELECT b.name, p.user_id, s.score, s.subscore, s.detail, s.reached_at, s.listed FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id) WHERE b.name LIKE 'rt-%';
CREATE FUNCTION pg_temp.ranks() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT string_agg(concat_ws(' ', b.name, t.rank, t.user_id, t.score), ',' ORDER BY b.name, t.n)
    FROM scoreboard.board b, scoreboard_top(b.name, 100) WITH ORDINALITY AS t (rank, user_id, display_name, avatar_url, score, reached_at, n) WHERE b.name LIKE 'rt-%'
$$;
CREATE TABLE expected AS TABLE pg_temp.ours;
-- Everything derived is damaged, to be recomputed from what is recorded.
CREATE FUNCTION pg_temp.damage() RETURNS void LANGUAGE sql VOLATILE AS $$
    DELETE FROM scoreboard.score s USING scoreboard.board b WHERE b.board_id = s.board_id AND b.name LIKE 'rt-%' AND s.player_id % 3 = 0;
    UPDATE scoreboard.score s SET score = s.score + 1, reached_at = clock_timestamp(), subscore = 999, detail = 'wrong' FROM scoreboard.board b WHERE b.board_id = s.board_id AND b.name LIKE 'rt-%' AND s.player_id % 3 = 1;
    UPDATE scoreboard.score s SET subscore = -999, detail = NULL FROM scoreboard.board b WHERE b.board_id = s.board_id AND b.name LIKE 'rt-%' AND s.player_id % 3 = 2
        AND EXISTS (SELECT FROM expected e JOIN scoreboard.player p USING (user_id) WHERE e.name = b.name AND p.player_id = s.player_id AND (e.subscore IS NOT NULL OR e.detail IS NOT NULL));
$$;
CREATE FUNCTION pg_temp.repair() RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT bool_and(r.repaired) FROM scoreboard.board b, LATERAL scoreboard_repair(b.name) r WHERE b.name LIKE 'rt-%' AND r.user_id IS NOT NULL $$;
CREATE FUNCTION pg_temp.differences() RETURNS TABLE (board text, finding text, user_id text) LANGUAGE sql VOLATILE AS $$ SELECT r.board_name, r.finding, r.user_id FROM scoreboard.board b, LATERAL scoreboard_verify(b.name) r WHERE b.name LIKE 'rt-%' $$;
CREATE FUNCTION pg_temp.differs() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT count(*) FROM ((TABLE expected EXCEPT TABLE pg_temp.ours) UNION ALL (TABLE pg_temp.ours EXCEPT TABLE expected)) AS d
$$;
\set ECHO all

-- For ever, where nobody says otherwise
SELECT actions, addresses, oldest_action, actions_purged, addresses_removed, began_at, progress FROM scoreboard_retention();

-- Refused, with nothing written
SELECT sign.outcome($$SELECT scoreboard_set_retention('6 days 23 hours')$$);
SELECT sign.outcome($$SELECT scoreboard_set_retention('200 years')$$);
SELECT sign.outcome($$SELECT scoreboard_set_retention('8 days', '59 minutes')$$);
SELECT sign.outcome($$SELECT scoreboard_set_retention('8 days', '-1 day')$$);
SELECT sign.outcome($$UPDATE scoreboard.retention SET actions = '1 day'$$);
SELECT sign.outcome($$INSERT INTO scoreboard.retention (one) VALUES (false)$$);
SELECT actions, addresses FROM scoreboard.retention;
SELECT count(*) FROM scoreboard.adjustment WHERE kind = 'retention';

-- Shorter than a proof may live: a receipt, a token, a grant, a session key. A row that is edited obeys the same rule.
UPDATE scoreboard.action_type SET receipt_max_age = '6 days 12 hours' WHERE name = 'RT_OLD';
SELECT sign.outcome($$SELECT scoreboard_set_retention('7 days')$$);
SELECT sign.outcome($$UPDATE scoreboard.retention SET actions = '7 days 11 hours'$$);
SELECT sign.outcome($$UPDATE scoreboard.retention SET actions = '7 days 12 hours' RETURNING actions$$);
UPDATE scoreboard.retention SET actions = NULL;
UPDATE scoreboard.action_type SET receipt_max_age = NULL WHERE name = 'RT_OLD';
UPDATE scoreboard.jwt_issuer SET max_lifetime = '10 days' WHERE issuer = 'https://id.test';
SELECT sign.outcome($$SELECT scoreboard_set_retention('9 days')$$);
UPDATE scoreboard.jwt_issuer SET max_lifetime = '1 hour' WHERE issuer = 'https://id.test';
SELECT expires_at IS NOT NULL AS made FROM scoreboard_create_session_key('rt-device', '20 days');
SELECT sign.outcome($$SELECT scoreboard_set_retention('19 days')$$);
SELECT scoreboard_revoke_session_keys('rt-device');
INSERT INTO scoreboard.grant_token (grant_id, user_id, action_type_id, board_id, created_at, expires_at) SELECT 'rt-long', 'rt-a', action_type_id, 1, now(), now() + interval '15 days' FROM scoreboard.action_type WHERE name = 'RT_GRANTED';
SELECT sign.outcome($$SELECT scoreboard_set_retention('14 days')$$);
DELETE FROM scoreboard.grant_token WHERE grant_id = 'rt-long';

-- Set, and recorded: who, what and why; once for a reference
SELECT scoreboard_set_retention('7 days', '1 day', 'less is more', 'rt-1'), scoreboard_set_retention('7 days', '1 day', reference => 'rt-1');
SELECT sign.outcome($$SELECT scoreboard_set_retention('8 days', reference => 'rt-1')$$);
SELECT reason, made_by = session_user AS by_us FROM scoreboard.adjustment WHERE kind = 'retention' ORDER BY adjustment_id;
SELECT actions, addresses FROM scoreboard_retention();
-- And the other way round
SELECT sign.outcome($$UPDATE scoreboard.action_type SET receipt_max_age = '6 days 1 hour' WHERE name = 'RT_OLD'$$);
SELECT sign.outcome($$UPDATE scoreboard.action_type SET receipt_max_age = '6 days' WHERE name = 'RT_OLD' RETURNING receipt_max_age$$);
SELECT sign.outcome($$INSERT INTO scoreboard.action_type (name, points, receipt_max_age) VALUES ('RT_NEW', 1, '7 days')$$);
SELECT sign.outcome($$UPDATE scoreboard.jwt_issuer SET max_lifetime = '8 days' WHERE issuer = 'https://id.test'$$);
SELECT sign.outcome($$SELECT scoreboard_set_issuer('https://id.test', json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'k', sign.base64url(sign.jwt_secret()))))::text, max_lifetime => '8 days')$$);
SELECT sign.outcome($$SELECT key_id FROM scoreboard_create_session_key('rt-device', '8 days')$$);
SELECT sign.outcome($$SELECT length(key_id) AS made FROM scoreboard_create_session_key('rt-device', '7 days')$$);
SELECT sign.outcome($$SELECT length(scoreboard_create_grant('rt-a', 'RT_GRANTED', expires_in => '7 days')) AS made$$);
SELECT sign.outcome($$INSERT INTO scoreboard.grant_token (grant_id, user_id, action_type_id, board_id, created_at, expires_at) VALUES ('rt-long', 'rt-a', 1, 1, now(), now() + interval '8 days')$$);
SELECT scoreboard_set_retention();
UPDATE scoreboard.action_type SET receipt_max_age = NULL WHERE name = 'RT_OLD';
SELECT pg_temp.purged();

-- A log over boards of all operators and ties: actions that change a score, that don't, with and without subscores, corrections between
-- them, imported balances below them, credits on a further board.
\set ECHO none
SELECT setseed(0.11) \g /dev/null
SELECT scoreboard_import('rt-sum', array_agg('rt-' || n ORDER BY n), array_agg(n % 4 ORDER BY n), 'rt-sum') FROM generate_series(1, 10) AS n \g /dev/null
SELECT scoreboard_import('rt-latest', array_agg('rt-' || n ORDER BY n), array_agg(n ORDER BY n), 'rt-latest') FROM generate_series(5, 14) AS n \g /dev/null
-- Whose score moves later than it appears
SELECT scoreboard_increment_for('rt-turn', 'AWARD', 'none', 'rt-sum', points => 0) \g /dev/null
DO $$
DECLARE
    who text;
    board text;
BEGIN
    FOR n IN 1..900 LOOP
        who := 'rt-' || 1 + n * 7 % 20;
        board := (ARRAY['rt-sum', 'rt-low', 'rt-best', 'rt-latest'])[1 + floor(random() * 4)];
        PERFORM scoreboard_increment_for(who, 'AWARD', 'a' || n, board, points => floor(random() * CASE board WHEN 'rt-sum' THEN 3 ELSE 8 END)::int - CASE board WHEN 'rt-sum' THEN 1 ELSE 0 END,
            subscore => CASE WHEN random() < 0.6 THEN floor(random() * 5)::int END, detail => CASE WHEN random() < 0.3 THEN 'd' || n END);
        IF n % 50 = 0 THEN
            PERFORM scoreboard_adjust(who, 'rt-sum', (ARRAY[-2, 3])[1 + n / 50 % 2], 'why', 'rt-adjust-' || n);
        END IF;
    END LOOP;
END
$$;
SELECT scoreboard_increment_for('rt-turn', 'AWARD', 'turn', 'rt-sum', points => 3) \g /dev/null
-- Who has nothing but a correction and an action that changed nothing; who has nothing but that
SELECT scoreboard_increment_for('rt-late', 'AWARD', 'elsewhere', 'rt-low', points => 1), scoreboard_adjust('rt-late', 'rt-sum', 4, 'why', 'rt-late'), scoreboard_increment_for('rt-late', 'AWARD', 'none', 'rt-sum', points => 0, detail => 'none') \g /dev/null
SELECT scoreboard_increment_for('rt-zero', 'AWARD', 'none', 'rt-sum', points => 0), scoreboard_increment_for('rt-zero', 'AWARD', 'none again', 'rt-sum', points => 0) \g /dev/null
SELECT scoreboard_increment_for('rt-addressed', 'AWARD', 'r' || n, 'rt-sum', points => 1) FROM generate_series(1, 300) AS n \g /dev/null
UPDATE scoreboard.action SET client_address = '192.0.2.7', request_id = 'request-' || action_id WHERE board_id IN (SELECT board_id FROM scoreboard.board WHERE name LIKE 'rt-%');
-- The moments of all that are spread over the last 60 days, in their order.
CREATE TABLE rt_moment AS SELECT at, now() - interval '60 days' + (row_number() OVER (ORDER BY at) - 1) * interval '60 days' / count(*) OVER () AS moved FROM (
    SELECT a.created_at AS at FROM scoreboard.action a JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'rt-%'
    UNION SELECT a.made_at FROM scoreboard.adjustment a JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'rt-%'
    UNION SELECT a.reached_at FROM scoreboard.balance a JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'rt-%') AS m;
UPDATE scoreboard.action a SET created_at = m.moved FROM rt_moment m, scoreboard.board b WHERE m.at = a.created_at AND b.board_id = a.board_id AND b.name LIKE 'rt-%';
UPDATE scoreboard.adjustment a SET made_at = m.moved FROM rt_moment m, scoreboard.board b WHERE m.at = a.made_at AND b.board_id = a.board_id AND b.name LIKE 'rt-%';
UPDATE scoreboard.balance a SET reached_at = m.moved FROM rt_moment m, scoreboard.board b WHERE m.at = a.reached_at AND b.board_id = a.board_id AND b.name LIKE 'rt-%';
UPDATE scoreboard.score a SET reached_at = m.moved FROM rt_moment m, scoreboard.board b WHERE m.at = a.reached_at AND b.board_id = a.board_id AND b.name LIKE 'rt-%';
INSERT INTO expected TABLE pg_temp.ours;
SELECT pg_temp.damage() \g /dev/null
SELECT pg_temp.repair() \g /dev/null
TRUNCATE expected;
INSERT INTO expected TABLE pg_temp.ours;
\set ECHO all
SELECT count(*) AS players, count(DISTINCT name) AS boards, count(subscore) > 20 AS subscores, count(detail) > 5 AS details FROM expected;
-- Recomputing from the whole log changes nothing.
SELECT pg_temp.damage();
SELECT pg_temp.repair();
SELECT pg_temp.differs();
SELECT sign.wait_for_ranks();
SELECT pg_temp.ranks() AS ranks \gset

-- What is older goes, and addresses that are younger than that; scores, ranks and lists stay.
SELECT scoreboard_set_retention('40 days', '25 days');
SELECT pg_temp.purged();
SELECT bool_or(created_at < now() - interval '41 days') AS old, count(*) FILTER (WHERE created_at < now() - interval '26 days' AND client_address IS NOT NULL) AS addresses,
    count(*) FILTER (WHERE created_at < now() - interval '26 days' AND request_id IS NOT NULL) AS requests, bool_and(client_address IS NOT NULL) FILTER (WHERE created_at > now() - interval '24 days') AS kept
    FROM scoreboard.action WHERE board_id IN (SELECT board_id FROM scoreboard.board WHERE name LIKE 'rt-%');
SELECT count(*) AS orphans FROM scoreboard.credit c WHERE NOT EXISTS (SELECT FROM scoreboard.action a WHERE (a.player_id, a.action_id) = (c.player_id, c.action_id));
SELECT actions_purged > 300 AS purged, addresses_removed > 200 AS removed, oldest_action = (SELECT min(created_at) FROM scoreboard.action) AS oldest, ended_at > began_at AS ended, progress FROM scoreboard_retention();
SELECT pg_temp.differs();
SELECT * FROM pg_temp.differences();
SELECT pg_temp.damage();
SELECT pg_temp.repair();
SELECT pg_temp.differs();
SELECT sign.wait_for_ranks();
SELECT pg_temp.ranks() = :'ranks' AS same_ranks;

-- More of it; an older action, that came back by a way of its own, is folded in after newer ones.
UPDATE scoreboard.action SET created_at = created_at - interval '50 days' WHERE action_id IN (SELECT 'a' || n FROM generate_series(700, 900, 3) AS n) AND NOT sets_score AND applied_points = 0;
SELECT scoreboard_set_retention('10 days');
SELECT pg_temp.purged();
SELECT pg_temp.damage();
SELECT pg_temp.repair();
SELECT pg_temp.differs();
-- All of it
UPDATE scoreboard.action SET created_at = created_at - interval '20 days' WHERE board_id IN (SELECT board_id FROM scoreboard.board WHERE name LIKE 'rt-%');
SELECT scoreboard_set_retention('8 days', '8 days');
SELECT pg_temp.purged();
SELECT count(*) AS left FROM scoreboard.action WHERE board_id IN (SELECT board_id FROM scoreboard.board WHERE name LIKE 'rt-%');
SELECT count(*) AS credits FROM scoreboard.credit;
SELECT * FROM pg_temp.differences();
SELECT count(*) AS scores FROM (SELECT name, user_id, score, subscore, detail FROM expected EXCEPT SELECT name, user_id, score, subscore, detail FROM pg_temp.ours) AS d;
SELECT sign.wait_for_ranks();
SELECT pg_temp.ranks() = :'ranks' AS same_ranks;
-- Who has no action any more goes on from its score, keeps its place among equals, and is no newcomer who could be imported.
SELECT e.score AS before, r.previous_score = e.score AS goes_on FROM expected e, scoreboard_increment_for('rt-3', 'AWARD', 'goes-on', 'rt-sum', points => 1) AS r WHERE (e.name, e.user_id) = ('rt-sum', 'rt-3');
SELECT sign.outcome($$SELECT players FROM scoreboard_import('rt-sum', '{rt-4}', '{1}', 'rt-again')$$);
SELECT action_id FROM scoreboard_history_for('rt-3', 'rt-sum');
SELECT * FROM scoreboard_verify('rt-sum');

-- Quotas are counted from the log, of which a day is always there.
SELECT score FROM scoreboard_increment_for('rt-quota', 'RT_QUOTA', 'q1', 'rt-sum');
SELECT score FROM scoreboard_increment_for('rt-quota', 'RT_QUOTA', 'q2', 'rt-sum');
SELECT scoreboard_set_retention('8 days', '1 hour');
SELECT pg_temp.purged();
SELECT sign.outcome($$SELECT score FROM scoreboard_increment_for('rt-quota', 'RT_QUOTA', 'q3', 'rt-sum')$$);

-- Nothing comes back: once an action is gone, what vouched for it is no proof any more. Until then the log has it, whatever the settings say.
UPDATE scoreboard.action_type SET receipt_max_age = '7 days' WHERE name = 'RT_OLD';
CREATE TABLE rt_sent AS SELECT extract(epoch FROM now() - interval '6 days 23 hours')::bigint AS issued_at, scoreboard_create_grant('rt-replay', 'RT_GRANTED') AS grant_id, k.key_id, k.secret FROM scoreboard_create_session_key('rt-replay', '7 days') AS k;
INSERT INTO sign.key SELECT key_id, secret FROM rt_sent;
CREATE FUNCTION pg_temp.send(what text) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(CASE what
        WHEN 'receipt' THEN format('SELECT score, replayed FROM scoreboard_increment(%L, %L, %L, issued_at => %s, receipt => %L, idempotency_key => %L, token => %L)', 'RT_OLD', 'rt-1', 'rt-sum', s.issued_at,
            sign.receipt('rt-replay', 'RT_OLD', 'rt-1', 'rt-sum', issued_at => s.issued_at), 'k', sign.token('rt-replay'))
        WHEN 'session' THEN format('SELECT score, replayed FROM scoreboard_increment(%L, %L, %L, issued_at => %s, receipt => %L, idempotency_key => %L, token => %L)', 'RT_SIGNED', 'rt-3', 'rt-sum', s.issued_at + 7 * 86400 - 3600,
            sign.receipt('rt-replay', 'RT_SIGNED', 'rt-3', 'rt-sum', issued_at => s.issued_at + 7 * 86400 - 3600, key_id => s.key_id), 'k', sign.token('rt-replay'))
        ELSE format('SELECT score, replayed FROM scoreboard_increment(%L, %L, %L, idempotency_key => %L, token => %L)', 'RT_GRANTED', s.grant_id, 'rt-sum', 'k', sign.token('rt-replay')) END)
    FROM rt_sent s
$$;
UPDATE scoreboard.action_type SET receipt_max_age = '1 day' WHERE name = 'RT_SIGNED';
UPDATE rt_sent SET grant_id = scoreboard_create_grant('rt-replay', 'RT_GRANTED', 'rt-sum');
SELECT what, pg_temp.send(what) FROM unnest(ARRAY['receipt', 'session', 'grant']) AS what;
SELECT what, pg_temp.send(what) FROM unnest(ARRAY['receipt', 'session', 'grant']) AS what;
-- As if it had been counted as early as a clock that is a day ahead allows, and the rule been switched off
ALTER TABLE scoreboard.retention DISABLE TRIGGER check_proofs;
UPDATE scoreboard.retention SET actions = '7 days', addresses = NULL, set_at = clock_timestamp();
ALTER TABLE scoreboard.retention ENABLE TRIGGER check_proofs;
UPDATE scoreboard.action SET created_at = now() - interval '7 days 23 hours' WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'rt-replay');
SELECT pg_temp.purged();
SELECT what, pg_temp.send(what) FROM unnest(ARRAY['receipt', 'session', 'grant']) AS what;
UPDATE scoreboard.action SET created_at = now() - interval '8 days 1 minute' WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'rt-replay');
UPDATE rt_sent SET issued_at = issued_at - 2 * 86400;
SELECT scoreboard_set_retention('8 days');
SELECT pg_temp.purged();
SELECT count(*) FROM scoreboard_history_for('rt-replay', 'rt-sum');
SELECT what, pg_temp.send(what) FROM unnest(ARRAY['receipt', 'session', 'grant']) AS what;

-- A player who is forgotten leaves nothing in the balances that would say who it is, or nothing at all.
SELECT count(*) > 0 AS any FROM scoreboard.balance b JOIN scoreboard.player p USING (player_id) WHERE p.user_id IN ('rt-2', 'rt-late') AND b.detail IS NOT NULL;
SELECT player_id AS erased FROM scoreboard.player WHERE user_id = 'rt-1' \gset
SELECT mode FROM scoreboard_forget('rt-1');
SELECT mode FROM unnest(ARRAY['rt-2', 'rt-late']) AS who, scoreboard_forget(who, 'anonymise');
SELECT count(*) FROM scoreboard.balance WHERE player_id = :erased;
SELECT count(*) FROM scoreboard.balance b JOIN scoreboard.player p USING (player_id) WHERE p.user_id LIKE 'forgotten-%' AND b.detail IS NOT NULL;
SELECT * FROM pg_temp.differences();

-- The rule holds for whoever sets it, and it is an administrator's.
SELECT scoreboard_set_retention(reason => 'for ever again');
SELECT pg_temp.purged();
CREATE ROLE regress_sb_retention;
SELECT scoreboard_grant_access('regress_sb_retention', 'server');
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.proname LIKE '%retention%' AND has_function_privilege('regress_sb_retention', p.oid, 'EXECUTE');
SELECT scoreboard_revoke_access('regress_sb_retention');
DROP ROLE regress_sb_retention;
DROP TABLE expected CASCADE;
DROP TABLE rt_moment, rt_sent;
DELETE FROM scoreboard.grant_token;
DELETE FROM scoreboard.session_key;
DELETE FROM sign.key WHERE key_id LIKE 's-%';
DELETE FROM scoreboard.credit WHERE board_id IN (SELECT board_id FROM scoreboard.board WHERE name LIKE 'rt-%');
DELETE FROM scoreboard.action WHERE board_id IN (SELECT board_id FROM scoreboard.board WHERE name LIKE 'rt-%');
DELETE FROM scoreboard.balance WHERE board_id IN (SELECT board_id FROM scoreboard.board WHERE name LIKE 'rt-%');
DELETE FROM scoreboard.board WHERE name LIKE 'rt-%';
DELETE FROM scoreboard.action_type WHERE name LIKE 'RT_%';
