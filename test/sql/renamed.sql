-- Names that administrators change under us, or that need quotes: the API's schema, roles that have a level, all identifiers quoted.
CREATE ROLE regress_sb_old;
CREATE ROLE regress_sb_gone;
CREATE ROLE "regress_sb Login";
CREATE ROLE regress_sb_squatter;
CREATE DATABASE scoreboard_renamed TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\connect scoreboard_renamed
SET client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
-- As a server's default can have it: what CREATE EXTENSION stores is in quotes then.
SET quote_all_identifiers = on;
CREATE SCHEMA "My Api";
CREATE EXTENSION pgcrypto SCHEMA public;
CREATE EXTENSION scoreboard SCHEMA "My Api";
RESET quote_all_identifiers;
SET search_path = "My Api";
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('GIFT', 'trusted', 5);
CREATE SCHEMA "My Rules";
CREATE FUNCTION "My Rules"."Look"(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT action ->> 'userId' <> 'eve' $$;
SELECT scoreboard_set_verifier('GIFT', '"My Rules"."Look"(jsonb)');
SELECT scoreboard_increment_for('eve', 'GIFT', 'one');
SELECT score FROM scoreboard_increment_for('ada', 'GIFT', 'one');
SELECT players FROM scoreboard_import('global', '{bob}', '{7}', 'r-import');
SELECT score FROM scoreboard_adjust('bob', 'global', 1, 'a mistake', 'r-adjust');
SELECT scoreboard_freeze('ada'), scoreboard_restore('ada');
SELECT length(secret) FROM scoreboard_create_session_key('ada');
SELECT scoreboard_set_profile('ada', 'Ada');
SELECT user_id, score FROM scoreboard_top() ORDER BY rank;
-- A layer's schemas are named without quotes.
SELECT done, statement FROM scoreboard_setup('postgrest', anonymous => 'regress_sb_old', authenticator => 'regress_sb Login');
ALTER ROLE "regress_sb Login" SET pgrst.db_schemas = 'public, My Api';
SELECT done, statement FROM scoreboard_setup('postgrest', anonymous => 'regress_sb_old', authenticator => 'regress_sb Login') WHERE what LIKE '%exposed%';

-- The API's schema is renamed, and somebody makes one of its old name.
ALTER SCHEMA "My Api" RENAME TO api;
SET search_path = api;
GRANT CREATE ON DATABASE scoreboard_renamed TO regress_sb_squatter;
SET ROLE regress_sb_squatter;
CREATE SCHEMA "My Api";
GRANT USAGE ON SCHEMA "My Api" TO PUBLIC;
CREATE TYPE "My Api".scoreboard_forgotten AS (mode text, suspended_until timestamptz, replayed boolean);
CREATE FUNCTION "My Api".scoreboard_stats() RETURNS TABLE (board text, season integer, version bigint, rank_state text, players bigint, rank_memory bigint) LANGUAGE sql AS $$ SELECT current_user::text, 0, 0::bigint, 'taken', 0::bigint, 0::bigint $$;
CREATE FUNCTION "My Api".scoreboard_grant_access(name, text) RETURNS text LANGUAGE sql AS $$ SELECT 'taken' $$;
RESET ROLE;
SELECT board, players FROM scoreboard.stats();
SELECT board, players FROM scoreboard_stats();
SELECT mode, replayed FROM scoreboard_forget('bob', reference => 'r-forget');
SELECT mode, replayed FROM scoreboard_forget('bob', reference => 'r-forget');
SELECT done, statement FROM scoreboard_setup('postgrest', anonymous => 'regress_sb_old', authenticated => 'regress_sb_gone', authenticator => 'regress_sb Login');
SELECT scoreboard_grant_access('regress_sb_old', 'admin');
SELECT has_schema_privilege('regress_sb_old', 'api', 'USAGE') AS api, has_schema_privilege('regress_sb_old', 'scoreboard', 'USAGE') AS internals;

-- A role is renamed: what it was given is taken back under its new name, and the old one is forgotten.
ALTER ROLE regress_sb_old RENAME TO regress_sb_new;
SELECT has_function_privilege('regress_sb_new', 'scoreboard_forget(text, text, text, text)', 'EXECUTE');
SELECT scoreboard_revoke_access('regress_sb_new');
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace IN ('api'::regnamespace, 'scoreboard'::regnamespace) AND p.proname NOT LIKE 'valid\_%' AND has_function_privilege('regress_sb_new', p.oid, 'EXECUTE');
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'scoreboard'::regnamespace AND c.relkind = 'r' AND has_any_column_privilege('regress_sb_new', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES');
SELECT has_schema_privilege('regress_sb_new', 'api', 'USAGE') AS api, has_schema_privilege('regress_sb_new', 'scoreboard', 'USAGE') AS internals;
SELECT scoreboard_revoke_access('regress_sb_new');
SELECT scoreboard_revoke_access('regress_sb_old');
DROP ROLE regress_sb_new;
-- One that was dropped, too; one that never had anything is none.
DROP OWNED BY regress_sb_gone;
DROP ROLE regress_sb_gone;
SELECT * FROM scoreboard.access_level ORDER BY 1, 2;
SELECT scoreboard_revoke_access('regress_sb_gone');
SELECT scoreboard_revoke_access('regress_sb_gone');
SELECT scoreboard_revoke_access('regress_sb_squatter');
SELECT * FROM scoreboard.access_level;
-- Everybody
SELECT scoreboard_grant_access('public', 'reader'), scoreboard_revoke_access('public');
SELECT scoreboard_revoke_access('public');

\connect regression
DROP DATABASE scoreboard_renamed;
DROP ROLE "regress_sb Login", regress_sb_squatter;
