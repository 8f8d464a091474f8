-- The outbox: what happened, in an order that holds, for consumers that come back; who is forgotten is forgotten there, too.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
CREATE FUNCTION sign.wait_for_top(wanted text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    FOR i IN 1..3000 LOOP
        IF wanted = (SELECT string_agg(e ->> 'userId', ' ' ORDER BY o) FROM scoreboard.top t, json_array_elements(t.document::json -> 'entries') WITH ORDINALITY AS x(e, o) WHERE t.board = 'ob') THEN
            PERFORM sign.wait_for_events();
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'waited in vain for the list %', wanted;
END
$$;
-- What a consumer is given, without what differs from run to run; acknowledged.
CREATE FUNCTION sign.events(consumer text, entries integer DEFAULT 100) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    e record;
    at bigint;
BEGIN
    FOR e IN SELECT * FROM scoreboard_events(consumer, entries) LOOP
        at := e.position;
        -- Lists of the tests before may still be published.
        CONTINUE WHEN e.board <> 'ob';
        RETURN NEXT concat_ws(' ', e.type, e.board, e.season, (e.payload::jsonb - 'version' - 'updatedAt' - 'changedAt' - 'rank') || CASE WHEN e.type = 'overtaken' THEN jsonb_build_object('rank', e.payload -> 'rank') ELSE '{}' END);
    END LOOP;
    IF at IS NOT NULL THEN
        PERFORM scoreboard_acknowledge(consumer, at);
    END IF;
END
$$;
\set ECHO all
SHOW scoreboard.outbox;
INSERT INTO scoreboard.board (name, top_size, publish_interval_ms) VALUES ('ob', 3, 10);
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('OB_AWARD', 'trusted', -1000, 1000);
SELECT sign.wait_for_ranks();
SELECT sign.wait_for_events();
SELECT scoreboard_create_consumer('ob') = coalesce(max(position), 0) AS from_now_on FROM scoreboard.event;
SELECT scoreboard_create_consumer('ob') IS NOT NULL AS there_already;
SELECT * FROM scoreboard_events('ob') WHERE board = 'ob';
-- An action, with all that its event says
SELECT score FROM scoreboard_increment_for('ob-a', 'OB_AWARD', 'a1', 'ob', points => 10, metadata => '{"level": 7}', subscore => 3, detail => 'build 1');
SELECT sign.wait_for_top('ob-a');
SELECT e.type, e.board, e.season, json_object_keys(e.payload) FROM scoreboard_events('ob') e WHERE e.board = 'ob';
SELECT e.position > 1700000000000000 AS leapt_to_the_clock, length(e.event_id::text) AS id, e.occurred_at = a.created_at AS moment, e.payload ->> 'updatedAt' = to_char(a.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS same
    FROM scoreboard_events('ob') e, scoreboard.action a WHERE a.action_id = 'a1' AND e.board = 'ob';
SELECT sign.events('ob');
SELECT sign.events('ob');
-- A retry is none; nor is what was rolled back; the events of a transaction keep its order
SELECT sign.outcome($$SELECT scoreboard_increment_for('ob-a', 'OB_AWARD', 'a1', 'ob', points => 10)$$);
BEGIN;
SELECT score FROM scoreboard_increment_for('ob-a', 'OB_AWARD', 'a2', 'ob', points => 10);
ROLLBACK;
BEGIN;
SELECT score FROM scoreboard_increment_for('ob-b', 'OB_AWARD', 'b1', 'ob', points => 5);
SAVEPOINT s;
SELECT score FROM scoreboard_increment_for('ob-b', 'OB_AWARD', 'b2', 'ob', points => 1);
ROLLBACK TO s;
SELECT score FROM scoreboard_increment_for('ob-b', 'OB_AWARD', 'b3', 'ob', points => 1);
SELECT score FROM scoreboard_increment_for('ob-c', 'OB_AWARD', 'c1', 'ob', points => 4);
COMMIT;
SELECT sign.wait_for_top('ob-a ob-b ob-c');
SELECT e ->> 'actionId' AS action_id FROM (SELECT (scoreboard_events('ob')).payload) AS t(e);
-- The same ones come again until they are acknowledged, also singly
SELECT count(*) FROM scoreboard_events('ob');
SELECT sign.events('ob', 1);
SELECT count(*) FROM scoreboard_events('ob');
SELECT sign.events('ob');
-- Overtaken: whom somebody passes, once for each change of the list; who falls out of it, too
SELECT score FROM scoreboard_increment_for('ob-d', 'OB_AWARD', 'd1', 'ob', points => 8);
SELECT sign.wait_for_top('ob-a ob-d ob-b');
SELECT sign.events('ob');
SELECT score FROM scoreboard_increment_for('ob-c', 'OB_AWARD', 'c2', 'ob', points => 8);
SELECT sign.wait_for_top('ob-c ob-a ob-d');
SELECT sign.events('ob');
-- Not who only falls, whoever stands ahead of it then; not who leaves the lists, nor those whom that lets rise
SELECT score FROM scoreboard_increment_for('ob-a', 'OB_AWARD', 'a3', 'ob', points => -9);
SELECT sign.wait_for_top('ob-c ob-d ob-b');
SELECT scoreboard_hide('ob-c');
SELECT sign.wait_for_top('ob-d ob-b ob-a');
SELECT sign.events('ob');
-- Suspensions
SELECT scoreboard_hide('ob-c', false), scoreboard_freeze('ob-d'), scoreboard_freeze('ob-d');
SELECT sign.wait_for_top('ob-c ob-d ob-b');
SELECT scoreboard_ban('ob-d');
SELECT sign.wait_for_top('ob-c ob-b ob-a');
SELECT scoreboard_restore('ob-d');
SELECT sign.wait_for_top('ob-c ob-d ob-b');
-- By its own choice: not said to others
SELECT scoreboard_set_listed(false, token => sign.token('ob-b')) ->> 'listed' AS listed;
SELECT sign.wait_for_top('ob-c ob-d ob-a');
SELECT sign.events('ob');
SELECT scoreboard_set_listed(true, token => sign.token('ob-b')) ->> 'listed' AS listed;
SELECT sign.wait_for_top('ob-c ob-d ob-b');
SELECT sign.events('ob');
-- What consumers may do
SELECT sign.outcome($$SELECT scoreboard_create_consumer('')$$);
SELECT sign.outcome($$SELECT scoreboard_create_consumer('a b')$$);
SELECT sign.outcome($$SELECT scoreboard_create_consumer(NULL)$$);
SELECT sign.outcome($$SELECT scoreboard_events('no-such')$$);
SELECT sign.outcome($$SELECT scoreboard_events('ob', 0)$$);
SELECT sign.outcome($$SELECT scoreboard_events('ob', 1001)$$);
SELECT sign.outcome($$SELECT scoreboard_acknowledge('no-such', 1)$$);
SELECT sign.outcome($$SELECT scoreboard_acknowledge('ob', NULL)$$);
SELECT sign.outcome($$SELECT scoreboard_acknowledge('ob', (SELECT max(position) + 1 FROM scoreboard.event))$$);
SELECT sign.outcome($$SELECT scoreboard_drop_consumer('no-such')$$);
SELECT scoreboard_acknowledge('ob', 1) = (SELECT max(position) FROM scoreboard.event) AS never_back;
SELECT name, behind, lost_through FROM scoreboard_consumers();
SELECT scoreboard_create_consumer('ob-all', from_beginning => true) < min(position) AS from_the_beginning FROM scoreboard.event;
SELECT count(*) > 0 AS has, min(position) = (SELECT min(position) FROM scoreboard.event) AS all FROM scoreboard_events('ob-all', 1);
SELECT name, behind > interval '0' AS is_behind FROM scoreboard_consumers();
-- Who is forgotten: erased events keep their place only, anonymous ones what counts
SELECT score FROM scoreboard_increment_for('ob-e', 'OB_AWARD', 'e1', 'ob', points => 2, metadata => '{"secret": "ob-e"}');
SELECT sign.wait_for_events();
SELECT scoreboard_acknowledge('ob', max(position) - 1) IS NOT NULL AS before_it FROM scoreboard.event;
SELECT mode FROM scoreboard_forget('ob-c');
SELECT mode FROM scoreboard_forget('ob-e', 'anonymise');
SELECT sign.wait_for_events();
SELECT count(*) AS traces FROM scoreboard.event e WHERE e::text ~ 'ob-[ce]';
SELECT DISTINCT type, payload::text, player_id FROM scoreboard.event WHERE type = 'forgotten';
SELECT e.type, regexp_replace(e.payload ->> 'userId', '[0-9a-f]{32}', '…') AS user_id, e.payload ->> 'score' AS score, e.payload ->> 'actionId' AS action_id, e.payload ->> 'metadata' AS metadata FROM scoreboard_events('ob') e;
SELECT count(*) > 0 AS by_nobody FROM scoreboard.event WHERE type = 'overtaken' AND payload ->> 'userId' = 'ob-a' AND payload ->> 'by' IS NULL;
-- While it waits for its position
BEGIN;
SELECT score FROM scoreboard_increment_for('ob-f', 'OB_AWARD', 'f1', 'ob', points => 1);
SELECT score FROM scoreboard_increment_for('ob-g', 'OB_AWARD', 'g1', 'ob', points => 1);
SELECT mode FROM scoreboard_forget('ob-f');
SELECT mode FROM scoreboard_forget('ob-g', 'anonymise');
COMMIT;
SELECT sign.wait_for_events();
SELECT count(*) AS traces FROM scoreboard.event e WHERE e::text ~ 'ob-[fg]';
SELECT e.payload ->> 'userId' ~ '^forgotten-' AS anonymous, e.payload ->> 'actionId' ~ '^forgotten-' AS action_too, e.payload ->> 'score' AS score FROM scoreboard.event e WHERE e.type = 'action' ORDER BY e.position DESC LIMIT 1;
-- Retention: the last one stays; who had not acknowledged is told where to go on
SELECT scoreboard.purge_events(1000, 3600);
SELECT scoreboard.purge_events(1000, 0);
SELECT count(*) FROM scoreboard.event;
SELECT name, lost_through IS NOT NULL AS lost FROM scoreboard_consumers();
SELECT regexp_replace(sign.outcome($$SELECT scoreboard_events('ob-all')$$), '[0-9]{16}', '…', 'g') AS outcome;
SELECT scoreboard_acknowledge('ob-all', lost_through) = lost_through AS on_it_goes FROM scoreboard_consumers() WHERE name = 'ob-all';
SELECT count(*), min(position) = (SELECT max(position) FROM scoreboard.event) AS the_last FROM scoreboard_events('ob-all');
SELECT scoreboard_acknowledge('ob', max(position)) IS NOT NULL AS acknowledged FROM scoreboard.event;
SELECT name, lost_through FROM scoreboard_consumers();
-- More than a slice at once, in order
INSERT INTO scoreboard.pending_event (writer, number, event_id, type, occurred_at, details) SELECT 1, n, gen_random_uuid(), 'season.end', now(), json_build_object('nextSeason', n) FROM generate_series(1, 2500) AS n;
SELECT sign.wait_for_events();
SELECT count(*), count(DISTINCT event_id) AS ids, max(position) - min(position) AS distance, bool_and((payload ->> 'nextSeason')::integer = 1 + position - (SELECT min(position) FROM scoreboard.event WHERE type = 'season.end')) AS in_order FROM scoreboard.event WHERE type = 'season.end';
SELECT count(*) FROM scoreboard_events('ob', 1000);
SELECT scoreboard_drop_consumer('ob'), scoreboard_drop_consumer('ob-all');
SELECT count(*) FROM scoreboard_consumers();
DELETE FROM scoreboard.board WHERE name = 'ob';
DELETE FROM scoreboard.action_type WHERE name = 'OB_AWARD';
DROP FUNCTION sign.wait_for_top(text), sign.events(text, integer);
