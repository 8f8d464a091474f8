-- Who has a level of ours, and may make what he likes in a schema of his own, gets nothing run as the extension's owner. A way each; search
-- paths are search_path.sql's, schemas that others may create in open_schema.sql's, what an administrator has bent bent_tables.sql's.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
CREATE ROLE regress_sb_thief;
SELECT scoreboard_grant_access('regress_sb_thief', level) FROM unnest('{player,gateway,server,admin}'::text[]) AS level;
CREATE SCHEMA thief AUTHORIZATION regress_sb_thief;
GRANT USAGE ON SCHEMA sign TO PUBLIC;
GRANT SELECT ON sign.key TO PUBLIC;
INSERT INTO scoreboard.board (name) VALUES ('hijack');
SELECT sign.wait_for_ranks();
SELECT score FROM scoreboard_increment_for('hij-victim', 'AWARD', 'hij-0', 'hijack', 7);
SET SESSION AUTHORIZATION regress_sb_thief;
-- Every way to put something of his beside or onto what is ours is closed, with the highest level too.
CREATE FUNCTION thief.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the thief runs as %', current_user; END $$;
CREATE FUNCTION thief.event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the thief runs as %', current_user; END $$;
CREATE FUNCTION thief.compare(text, text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the thief runs as %', current_user; END $$;
CREATE FUNCTION thief.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the thief runs as %', current_user; END $$;
CREATE OPERATOR thief.= (LEFTARG = text, RIGHTARG = text, FUNCTION = thief.same);
SELECT way, sign.outcome(statement) AS open FROM (VALUES
    ('a function of ours, replaced', $$CREATE OR REPLACE FUNCTION public.scoreboard_library_version() RETURNS text LANGUAGE sql AS 'SELECT 1::text'$$),
    ('a function in schema scoreboard', $$CREATE FUNCTION scoreboard.submit(jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1'$$),
    ('a function in the API''s schema', $$CREATE FUNCTION public.scoreboard_submit(jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1'$$),
    ('a table in schema scoreboard', $$CREATE TABLE scoreboard.mine ()$$),
    ('a type in schema scoreboard', $$CREATE TYPE scoreboard.mine AS (a int)$$),
    ('an operator in schema scoreboard', $$CREATE OPERATOR scoreboard.= (LEFTARG = text, RIGHTARG = text, FUNCTION = thief.same)$$),
    ('a setting of a function of ours', $$ALTER FUNCTION public.scoreboard_top SET search_path = thief$$),
    ('the schema of a function of ours', $$ALTER FUNCTION public.scoreboard_top SET SCHEMA thief$$),
    ('a trigger', $$CREATE TRIGGER mine AFTER INSERT ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION thief.fired()$$),
    ('a trigger on what he may edit', $$CREATE TRIGGER mine AFTER INSERT ON scoreboard.board FOR EACH ROW EXECUTE FUNCTION thief.fired()$$),
    ('a rule', $$CREATE RULE mine AS ON INSERT TO scoreboard.score DO ALSO SELECT 1$$),
    ('a policy', $$CREATE POLICY mine ON scoreboard.player USING (false)$$),
    ('row security', $$ALTER TABLE scoreboard.player ENABLE ROW LEVEL SECURITY$$),
    ('an heir', $$CREATE TABLE thief.heir () INHERITS (scoreboard.player)$$),
    ('a column', $$ALTER TABLE scoreboard.score ADD mine int DEFAULT 1$$),
    ('a check', $$ALTER TABLE scoreboard.board ADD CHECK (thief.same(name, name))$$),
    ('an index', $$CREATE INDEX ON scoreboard.player (lower(user_id))$$),
    ('statistics', $$CREATE STATISTICS thief.mine ON user_id, state FROM scoreboard.player$$),
    ('a publication', $$CREATE PUBLICATION mine FOR TABLE scoreboard.signing_key$$),
    ('an event trigger', $$CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION thief.event()$$),
    ('an operator class', $$CREATE OPERATOR CLASS thief.text_ops DEFAULT FOR TYPE text USING btree AS FUNCTION 1 thief.compare(text, text)$$),
    ('an operator in a family', $$ALTER OPERATOR FAMILY pg_catalog.text_ops USING btree ADD FUNCTION 1 (text, text) thief.compare(text, text)$$),
    ('a cast between types of the server', $$CREATE CAST (json AS bigint) WITH INOUT AS IMPLICIT$$),
    ('the extension', $$ALTER EXTENSION scoreboard ADD FUNCTION thief.fired()$$),
    ('the extension, gone', $$DROP EXTENSION scoreboard CASCADE$$),
    ('a sequence', $$SELECT nextval('scoreboard.player_player_id_seq')$$),
    ('a setting that trusts him', $$SET scoreboard.trusted_request_roles = 'regress_sb_thief'$$),
    ('his own role, with it', $$ALTER ROLE CURRENT_USER SET scoreboard.trusted_request_roles = 'regress_sb_thief'$$),
    ('replication''s role', $$SET session_replication_role = 'replica'$$),
    ('a function of ours inside', $$SELECT scoreboard.change_player('x', 'hij-victim', 'banned', NULL, '', NULL)$$),
    ('a secret of ours', $$SELECT secret FROM scoreboard.signing_key$$)) AS t(way, statement) WHERE sign.outcome(statement) NOT LIKE '42501: %';
-- Casts of his own types run as himself, before ours begins.
CREATE TYPE thief.name AS (id text);
CREATE FUNCTION thief.as_text(thief.name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
CREATE CAST (thief.name AS text) WITH FUNCTION thief.as_text(thief.name) AS IMPLICIT;
SELECT user_id, score FROM scoreboard_increment_for(ROW('x')::thief.name, 'AWARD', 'hij-1', 'hijack', 1);
-- Temporary objects of the names that ours use: tables, views, types, functions, operators, sequences.
SELECT sign.token('hij-victim') AS token \gset
CREATE TEMP VIEW player AS SELECT 'nobody'::text AS user_id;
CREATE TEMP TABLE score (board_id integer, season integer, player_id bigint, score bigint);
CREATE TEMP TABLE board (name text);
CREATE TEMP TABLE pg_class (oid oid);
CREATE TEMP SEQUENCE player_player_id_seq;
CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (thief.same(VALUE, 'x'));
CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT NULL::timestamptz $$;
CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$;
CREATE OPERATOR pg_temp.= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = thief.same);
SELECT score FROM scoreboard_increment_for('hij-victim', 'AWARD', 'hij-2', 'hijack', 1);
SELECT length(ticket) FROM scoreboard_create_ticket(:'token');
SELECT length(scoreboard_create_key('hij-key'));
SELECT scoreboard_freeze('hij-victim'), scoreboard_restore('hij-victim');
SELECT count(*) FROM scoreboard_verify('hijack');
INSERT INTO scoreboard.board (name) VALUES ('hijack-2');
INSERT INTO scoreboard.board (name, top_size) VALUES ('hijack-3', 0);
DELETE FROM scoreboard.board WHERE name = 'hijack-2';
SELECT count(*) FROM scoreboard_setup('postgrest', 'regress_sb_thief', authenticator => 'regress_sb_thief');
DISCARD TEMP;
RESET SESSION AUTHORIZATION;
-- What looks a function's argument up by its name in a message can't be made to run: names are quoted.
CREATE ROLE "regress_sb ""; DROP TABLE x; --";
SELECT scoreboard_grant_access('regress_sb "; DROP TABLE x; --', 'reader');
SELECT has_function_privilege('regress_sb "; DROP TABLE x; --', 'public.scoreboard_top(text, integer, integer, integer, text)', 'EXECUTE') AS may;
SELECT scoreboard_revoke_access('regress_sb "; DROP TABLE x; --');
DROP ROLE "regress_sb ""; DROP TABLE x; --";
SELECT score FROM scoreboard_rank('hij-victim', 'hijack') AS r, json_to_record(r) AS x(score bigint);
SELECT scoreboard_revoke_access('regress_sb_thief');
DELETE FROM scoreboard.board WHERE name LIKE 'hijack%';
DELETE FROM scoreboard.signing_key WHERE key_id = 'hij-key';
DROP SCHEMA thief CASCADE;
DROP OWNED BY regress_sb_thief;
DROP ROLE regress_sb_thief;
