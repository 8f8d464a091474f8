-- Grants: a trusted server allows one action beforehand. The id is the action_id; it is used once, by its player, for what it was made
-- for, before it expires; a rollback gives it back.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name, lowest_score) VALUES ('gr', -100), ('gr-other', 0);
INSERT INTO scoreboard.action_type (name, proof, points, min_points, max_points) VALUES ('GR_PRIZE', 'grant', 20, NULL, NULL), ('GR_SECOND', 'grant', 1, NULL, NULL), ('GR_OPEN', 'grant', NULL, -9007199254740991, 9007199254740991),
    ('GR_SERVICE', 'service', 1, NULL, NULL);
INSERT INTO scoreboard.action_rule (board_id, action_type_id, min_points, max_points) SELECT b.board_id, t.action_type_id, -50, 50 FROM scoreboard.board b, scoreboard.action_type t WHERE b.name = 'gr-other' AND t.name = 'GR_OPEN';
SELECT sign.wait_for_ranks();
-- Grants by a name of the test's own
CREATE TABLE gr (name text PRIMARY KEY, id text);
CREATE FUNCTION pg_temp.make(name text, user_id text, action_type text DEFAULT 'GR_PRIZE', board text DEFAULT 'gr', points bigint DEFAULT NULL, expires_in interval DEFAULT '1 hour', subscore bigint DEFAULT NULL, detail text DEFAULT NULL)
RETURNS text LANGUAGE sql VOLATILE AS $$
    INSERT INTO gr VALUES (name, scoreboard_create_grant(user_id, action_type, board, points, expires_in, subscore, detail)) RETURNING CASE WHEN id ~ '^g-[0-9a-f]{32}$' THEN 'made' ELSE id END
$$;
CREATE FUNCTION pg_temp.use(user_id text, name text, action_type text DEFAULT 'GR_PRIZE', board text DEFAULT 'gr', points bigint DEFAULT NULL, idempotency_key text DEFAULT 'k', subscore bigint DEFAULT NULL, detail text DEFAULT NULL)
RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT * FROM scoreboard_increment(%L, %L, %L, %L, token => %L, idempotency_key => %L, subscore => %L, detail => %L)',
        action_type, coalesce((SELECT g.id FROM gr g WHERE g.name = use.name), use.name), board, points, sign.token(user_id), idempotency_key, subscore, detail))
$$;
CREATE FUNCTION pg_temp.left() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT coalesce(string_agg(gr.name, ' ' ORDER BY gr.name), 'none') FROM scoreboard.grant_token t JOIN gr ON gr.id = t.grant_id $$;
\set ECHO all

-- A player needs no action before. What is made is recorded.
SELECT pg_temp.make('a', 'gr-ada'), pg_temp.make('open', 'gr-ada', 'GR_OPEN', points => 7, subscore => -3, detail => 'Höhle 7', expires_in => '7 days'), pg_temp.make('bob', 'gr-bob');
SELECT gr.name, t.user_id, a.name, b.name, t.points, t.subscore, t.detail, t.expires_at - t.created_at AS life FROM scoreboard.grant_token t JOIN gr ON gr.id = t.grant_id
    JOIN scoreboard.action_type a USING (action_type_id) JOIN scoreboard.board b USING (board_id) ORDER BY 1;

-- Refused, and not used up; nothing is written.
SELECT sign.written() AS before \gset
-- Another player's, one that nobody made, one for another action type, board or amount
SELECT pg_temp.use('gr-ada', 'bob');
SELECT pg_temp.use('gr-new', 'bob');
SELECT pg_temp.use('gr-ada', 'g-' || repeat('0', 32));
SELECT pg_temp.use('gr-ada', 'a', 'GR_SECOND');
SELECT pg_temp.use('gr-ada', 'a', board => 'gr-other');
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', points => 8, subscore => -3, detail => 'Höhle 7');
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', points => 7, subscore => -2, detail => 'Höhle 7');
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', points => 7, subscore => -3, detail => 'Höhle 8');
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', points => 7, detail => 'Höhle 7');
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', points => 7, subscore => -3);
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', subscore => -3, detail => 'Höhle 7');
SELECT pg_temp.use('gr-ada', 'a', points => 20);
-- What it is silent about, nobody vouches for.
SELECT pg_temp.use('gr-ada', 'a', subscore => 1);
SELECT pg_temp.use('gr-ada', 'a', detail => 'mine');
-- A type that wants a receipt doesn't take it.
SELECT pg_temp.use('gr-ada', 'a', 'GR_SERVICE');
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('gr-ada', 'GR_PRIZE', 'no-grant', 'gr') $$);
SELECT sign.written() = :'before' AS nothing_written, pg_temp.left();

-- Used once; a retry gets its answer, whatever has become of the player since, anything else is a duplicate.
SELECT pg_temp.use('gr-ada', 'a');
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', points => 7, subscore => -3, detail => 'Höhle 7');
SELECT pg_temp.left();
SELECT sign.written() AS before \gset
SELECT pg_temp.use('gr-ada', 'a');
SELECT pg_temp.use('gr-ada', 'a', idempotency_key => 'another');
SELECT pg_temp.use('gr-ada', 'a', idempotency_key => NULL);
SELECT pg_temp.use('gr-ada', 'open', 'GR_OPEN', points => 8, subscore => -3, detail => 'Höhle 7');
SELECT pg_temp.use('gr-bob', 'a');
SELECT pg_temp.use('gr-ada', 'a', 'GR_SECOND');
SELECT pg_temp.use('gr-ada', 'a', board => 'gr-other');
SELECT scoreboard_freeze('gr-ada');
SELECT pg_temp.use('gr-ada', 'a');
SELECT pg_temp.use('gr-ada', 'a', idempotency_key => 'another');
SELECT scoreboard_restore('gr-ada');
SELECT sign.written() = :'before' AS nothing_written;

-- Expired; in the order of the checks a suspension comes first, and a disabled type.
SELECT pg_temp.make('short', 'gr-ada', expires_in => '1 microsecond');
SELECT pg_temp.use('gr-ada', 'short');
SELECT pg_temp.use('gr-bob', 'short');
SELECT pg_temp.use('gr-ada', 'short', 'GR_SECOND');
UPDATE scoreboard.action_type SET enabled = false WHERE name = 'GR_PRIZE';
SELECT pg_temp.use('gr-ada', 'short');
UPDATE scoreboard.player SET state = 'frozen' WHERE user_id = 'gr-ada';
SELECT pg_temp.use('gr-ada', 'short');
UPDATE scoreboard.player SET state = 'active' WHERE user_id = 'gr-ada';
UPDATE scoreboard.action_type SET enabled = true WHERE name = 'GR_PRIZE';
SELECT pg_temp.left();

-- Given back: by a rollback, and where the last of the checks refuses, in a batch too.
BEGIN;
SELECT pg_temp.use('gr-bob', 'bob');
SELECT pg_temp.left();
ROLLBACK;
SELECT pg_temp.left();
SELECT pg_temp.make('most', 'gr-bob', 'GR_OPEN', points => 9007199254740991), pg_temp.make('more', 'gr-bob', 'GR_OPEN', points => 9007199254740991);
SELECT pg_temp.use('gr-bob', 'most', 'GR_OPEN', points => 9007199254740991);
SELECT pg_temp.use('gr-bob', 'more', 'GR_OPEN', points => 9007199254740991);
CREATE FUNCTION pg_temp.element(user_id text, name text, action_type text DEFAULT 'GR_PRIZE', points bigint DEFAULT NULL) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('actionType', action_type, 'actionId', (SELECT g.id FROM gr g WHERE g.name = element.name), 'board', 'gr', 'points', points, 'token', sign.token(element.user_id), 'idempotencyKey', 'k'))
$$;
SELECT pg_temp.make('cyd', 'gr-cyd');
SELECT ordinal, status, coalesce(body ->> 'score', body #>> '{error,code}') AS answer, body ->> 'replayed' AS replayed FROM scoreboard_submit(jsonb_build_array(pg_temp.element('gr-bob', 'more', 'GR_OPEN', 9007199254740991), pg_temp.element('gr-cyd', 'cyd'),
    pg_temp.element('gr-cyd', 'cyd'), pg_temp.element('gr-bob', 'cyd'), pg_temp.element('gr-ada', 'short'))::json);
SELECT pg_temp.left();
-- Taken back by an administrator
DELETE FROM scoreboard.grant_token WHERE grant_id = (SELECT id FROM gr WHERE name = 'more');
SELECT pg_temp.use('gr-bob', 'more', 'GR_OPEN', points => 9007199254740991);

-- A server that names the player needs the grant too, and vouches for what the grant is silent about.
SELECT pg_temp.make('dan', 'gr-dan'), pg_temp.make('dan-too', 'gr-dan', subscore => 4);
SELECT sign.outcome(format('SELECT * FROM scoreboard_increment_for(%L, %L, %L, %L, subscore => 5)', 'gr-dan', 'GR_PRIZE', id, 'gr')) FROM gr WHERE name IN ('dan', 'dan-too') ORDER BY name;
SELECT sign.outcome(format('SELECT * FROM scoreboard_increment_for(%L, %L, %L, %L, subscore => 4, detail => %L)', 'gr-dan', 'GR_PRIZE', id, 'gr', 'by a server')) FROM gr WHERE name = 'dan-too';
SELECT a.subscore, a.detail FROM scoreboard.action a JOIN gr ON gr.id = a.action_id WHERE gr.name LIKE 'dan%' ORDER BY gr.name;

-- Made and used in one transaction, at each level
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.make('eve', 'gr-eve');
SELECT pg_temp.use('gr-eve', 'eve');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pg_temp.make('eve-too', 'gr-eve');
SELECT pg_temp.use('gr-eve', 'eve-too');
COMMIT;

-- What can't be made
SELECT n, sign.outcome(format('SELECT scoreboard_create_grant(%L, %L, %L, %L, %L, %L, %L)', user_id, action_type, board, points, life, subscore, detail)) FROM (VALUES
    (1, NULL, 'GR_PRIZE', 'gr', NULL::bigint, '1 hour', NULL::bigint, NULL), (2, '', 'GR_PRIZE', 'gr', NULL, '1 hour', NULL, NULL), (3, 'p', NULL, 'gr', NULL, '1 hour', NULL, NULL), (4, 'p', 'no type', 'gr', NULL, '1 hour', NULL, NULL),
    (5, 'p', 'GR_NONE', 'gr', NULL, '1 hour', NULL, NULL), (6, 'p', 'GR_SERVICE', 'gr', NULL, '1 hour', NULL, NULL), (7, 'p', 'AWARD', 'gr', 1, '1 hour', NULL, NULL), (8, 'p', 'GR_PRIZE', 'gr-none', NULL, '1 hour', NULL, NULL),
    (9, 'p', 'GR_PRIZE', NULL, NULL, '1 hour', NULL, NULL), (10, 'p', 'GR_PRIZE', 'gr', 20, '1 hour', NULL, NULL), (11, 'p', 'GR_OPEN', 'gr', NULL, '1 hour', NULL, NULL), (12, 'p', 'GR_OPEN', 'gr-other', 51, '1 hour', NULL, NULL),
    (13, 'p', 'GR_OPEN', 'gr', 9007199254740992, '1 hour', NULL, NULL), (14, 'p', 'GR_PRIZE', 'gr', NULL, NULL, NULL, NULL), (15, 'p', 'GR_PRIZE', 'gr', NULL, '0', NULL, NULL), (16, 'p', 'GR_PRIZE', 'gr', NULL, '7 days 1 microsecond', NULL, NULL),
    (17, 'p', 'GR_PRIZE', 'gr', NULL, '1 hour', 9007199254740992, NULL), (18, 'p', 'GR_PRIZE', 'gr', NULL, '1 hour', NULL, ''), (19, 'p', 'GR_PRIZE', 'gr', NULL, '1 hour', NULL, U&'\202e')) AS t(n, user_id, action_type, board, points, life, subscore, detail) ORDER BY n;
SELECT count(*) FROM scoreboard.grant_token WHERE user_id = 'p';

-- What was counted stands in the log under the grant's id, and sums up.
SELECT p.user_id, gr.name, a.points, a.applied_points FROM scoreboard.action a JOIN gr ON gr.id = a.action_id JOIN scoreboard.player p USING (player_id) ORDER BY 1, 2;
SELECT * FROM scoreboard_verify('gr');
DELETE FROM scoreboard.grant_token;
DELETE FROM scoreboard.action_type WHERE name LIKE 'GR_%';
DROP TABLE gr;
