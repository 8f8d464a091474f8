-- A caller's search_path reaches nothing that runs as the extension's owner: not our own statements, prepared or planned anew, not hmac(), not the
-- code that an administrator has put on our tables. Functions without a SET clause pin it in C.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET client_min_messages = warning;
INSERT INTO scoreboard.board (name) VALUES ('path');
CREATE ROLE regress_path;
SELECT scoreboard_grant_access('regress_path', level) FROM unnest('{player,gateway,server}'::text[]) AS level;
GRANT USAGE ON SCHEMA sign TO regress_path;
GRANT SELECT ON sign.key TO regress_path;
CREATE SCHEMA hostile AUTHORIZATION regress_path;

-- What a hostile caller would like to be called in place of the server's own.
SET ROLE regress_path;
CREATE FUNCTION hostile.reached(name text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hostile % was reached as %', name, current_user; END $$;
CREATE FUNCTION hostile.equal(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT hostile.reached('= (text, text)') $$;
CREATE FUNCTION hostile.equal(int, int) RETURNS boolean LANGUAGE sql AS $$ SELECT hostile.reached('= (int, int)') $$;
CREATE FUNCTION hostile.equal(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT hostile.reached('= (bigint, bigint)') $$;
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.equal);
CREATE OPERATOR hostile.= (LEFTARG = int, RIGHTARG = int, FUNCTION = hostile.equal);
CREATE OPERATOR hostile.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = hostile.equal);
CREATE FUNCTION hostile.floor(numeric) RETURNS numeric LANGUAGE sql AS $$ SELECT hostile.reached('floor()')::int::numeric $$;
CREATE FUNCTION hostile.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT hostile.reached('lower()')::text $$;
CREATE FUNCTION hostile.hmac(bytea, bytea, text) RETURNS bytea LANGUAGE sql AS $$ SELECT hostile.reached('hmac()')::text::bytea $$;
CREATE TABLE hostile.board (LIKE pg_catalog.pg_class);
CREATE TABLE hostile.names (name text);
RESET ROLE;
-- The calls, made beforehand: of players that a server names, with a token (a new player with a name, another name in a batch), reads.
CREATE TABLE hostile.call (n int, phase text, statement text);
GRANT SELECT ON hostile.call TO regress_path;
CREATE FUNCTION pg_temp.prepare(phase text) RETURNS void LANGUAGE sql AS $f$
    INSERT INTO hostile.call SELECT v.n, phase || CASE WHEN v.n > 4 THEN ' reads' ELSE '' END, v.statement FROM (SELECT sign.now() AS s, 'path:' || phase AS player) AS t, LATERAL (VALUES
        (1, format($$ SELECT (public.scoreboard_increment_for(%L, 'AWARD', %L, 'path', 1)).score $$, player, 'one')),
        (2, format($$ SELECT (public.scoreboard_increment_for(%L, 'AWARD', %L, 'path', 1)).score $$, player, 'two')),
        (3, format($$ SELECT (public.scoreboard_increment('COMPLETE_LEVEL', 'three', 'path', issued_at => %s, receipt => %L, token => %L)).score $$,
            s, sign.receipt(player || ' t', 'COMPLETE_LEVEL', 'three', 'path', issued_at => s), sign.token(player || ' t', '{"name": "First", "picture": "https://path.test/p.png"}'))),
        (4, format($$ SELECT status FROM public.scoreboard_submit(%L) $$, json_build_array(json_build_object('actionType', 'COMPLETE_LEVEL', 'actionId', 'four', 'board', 'path',
            'issuedAt', s, 'receipt', sign.receipt(player || ' t', 'COMPLETE_LEVEL', 'four', 'path', issued_at => s), 'token', sign.token(player || ' t', '{"name": "Second"}'))))),
        (5, format($$ SELECT public.scoreboard_rank(%L, 'path') ->> 'displayName' AS name $$, player || ' t')),
        (6, format($$ SELECT public.scoreboard_me('path', token => %L) ->> 'score' AS score $$, sign.token(player || ' t'))),
        (7, format($$ SELECT public.scoreboard_view('path', user_ids => ARRAY[%L], token => %L) -> 'friends' -> 0 ->> 'score' $$, player || ' t', sign.token(player || ' t'))),
        (9, format($$ SELECT count(*) FROM public.scoreboard_history('path', token => %L) $$, sign.token(player || ' t'))),
        (10, format($$ SELECT count(*) FROM public.scoreboard_boards(%L) WHERE board OPERATOR(pg_catalog.=) 'path' $$, sign.token(player || ' t'))),
        (8, format($$ SELECT public.scoreboard_set_listed(true, token => %L) ->> 'listed' $$, sign.token(player || ' t')))) AS v (n, statement)
$f$;
-- What each answers, or how it failed.
CREATE FUNCTION hostile.run(wanted text) RETURNS SETOF text LANGUAGE plpgsql AS $f$
DECLARE
    made hostile.call;
    answer text;
BEGIN
    FOR made IN SELECT * FROM hostile.call c WHERE c.phase OPERATOR(pg_catalog.=) wanted ORDER BY c.n LOOP
        EXECUTE made.statement INTO answer;
        RETURN NEXT answer;
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    RETURN NEXT SQLERRM;
END
$f$;
SELECT pg_temp.prepare('shipped'), pg_temp.prepare('replanned'), pg_temp.prepare('scan');

-- A session of its own, whose first calls plan our statements under the hostile path
\connect -
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
CREATE TEMP TABLE player (LIKE hostile.names);
SELECT * FROM hostile.run('shipped');
SELECT * FROM hostile.run('shipped reads');
-- Statements that were planned under another path are planned again.
RESET SESSION AUTHORIZATION;
ANALYZE scoreboard.player;
UPDATE scoreboard.board SET title = 'replanned' WHERE name OPERATOR(pg_catalog.=) 'path';
SET SESSION AUTHORIZATION regress_path;
SELECT * FROM hostile.run('replanned');
SELECT * FROM hostile.run('replanned reads');
-- The caller's own path is what it was.
SHOW search_path;

-- Ranks that are counted by SQL
RESET SESSION AUTHORIZATION;
RESET search_path;
ALTER TABLE scoreboard.score DISABLE TRIGGER changed;
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('scan');
SELECT * FROM hostile.run('scan reads');
RESET SESSION AUTHORIZATION;
RESET search_path;
ALTER TABLE scoreboard.score ENABLE ALWAYS TRIGGER changed;

-- An administrator's code, which names nothing by its schema
CREATE SCHEMA careless;
GRANT USAGE ON SCHEMA careless TO PUBLIC;
CREATE FUNCTION careless.same(a text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower(a) = lower(a); END $$;
CREATE FUNCTION careless.lowered(a text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower(a); END $$;
CREATE FUNCTION careless.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM lower('X') WHERE 1 = 1; RETURN NULL; END $$;
CREATE FUNCTION pg_temp.prepare(phase text) RETURNS void LANGUAGE sql AS $f$
    INSERT INTO hostile.call SELECT v.n, phase, v.statement FROM (SELECT sign.now() AS s, 'path:' || phase AS player) AS t, LATERAL (VALUES
        (1, format($$ SELECT (public.scoreboard_increment_for(%L, 'AWARD', %L, 'path', 1)).score $$, player, 'one')),
        (2, format($$ SELECT (public.scoreboard_increment_for(%L, 'AWARD', %L, 'path', 1)).score $$, player, 'two'))) AS v (n, statement)
$f$;
SELECT pg_temp.prepare(phase) FROM unnest(ARRAY['trigger', 'when', 'check', 'default', 'generated', 'index', 'domain']) AS phase;
CREATE TRIGGER careless AFTER INSERT OR UPDATE ON scoreboard.score FOR EACH ROW EXECUTE FUNCTION careless.fired();
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('trigger');
RESET SESSION AUTHORIZATION;
RESET search_path;
DROP TRIGGER careless ON scoreboard.score;
CREATE TRIGGER careless AFTER INSERT ON scoreboard.action FOR EACH ROW WHEN (NOT careless.same(NEW.action_id)) EXECUTE FUNCTION careless.fired();
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('when');
RESET SESSION AUTHORIZATION;
RESET search_path;
DROP TRIGGER careless ON scoreboard.action;
ALTER TABLE scoreboard.score ADD CONSTRAINT careless CHECK (careless.same(score::text)) NOT VALID;
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('check');
RESET SESSION AUTHORIZATION;
RESET search_path;
ALTER TABLE scoreboard.score DROP CONSTRAINT careless;
ALTER TABLE scoreboard.action ADD careless text DEFAULT careless.lowered('X');
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('default');
RESET SESSION AUTHORIZATION;
RESET search_path;
ALTER TABLE scoreboard.action DROP careless;
ALTER TABLE scoreboard.score ADD careless text GENERATED ALWAYS AS (careless.lowered(score::text)) STORED;
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('generated');
RESET SESSION AUTHORIZATION;
RESET search_path;
ALTER TABLE scoreboard.score DROP careless;
CREATE INDEX careless ON scoreboard.action (careless.lowered(action_id));
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('index');
RESET SESSION AUTHORIZATION;
RESET search_path;
DROP INDEX scoreboard.careless;
CREATE DOMAIN careless.text AS text CHECK (careless.same(VALUE)) DEFAULT 'X';
ALTER TABLE scoreboard.action ADD careless careless.text;
SET SESSION AUTHORIZATION regress_path;
SET search_path = hostile, pg_temp, pg_catalog;
SELECT * FROM hostile.run('domain');
RESET SESSION AUTHORIZATION;
RESET search_path;
ALTER TABLE scoreboard.action DROP careless;

SELECT scoreboard_revoke_access('regress_path');
DROP SCHEMA careless CASCADE;
DROP SCHEMA hostile CASCADE;
DROP OWNED BY regress_path;
DROP ROLE regress_path;
SELECT sign.wait_for_ranks();
