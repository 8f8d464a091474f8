-- Installing: in a schema of one's own, what is there then, what is refused, and that it goes and comes again.
CREATE DATABASE scoreboard_install TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\connect scoreboard_install
SET client_min_messages = warning;
-- A careless owner of the search path harms nobody.
CREATE SCHEMA api;
CREATE SCHEMA evil;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$;
CREATE FUNCTION evil.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
SET search_path = evil, pg_catalog;
CREATE EXTENSION scoreboard SCHEMA api CASCADE;
RESET search_path;
SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'scoreboard';
\pset footer off
-- Every function that applications call, its level and its arguments.
SELECT a.level, p.oid::regprocedure::text AS function FROM scoreboard.api_function a
    LEFT JOIN (scoreboard.api_members() m JOIN pg_proc p ON p.oid = m.function) ON p.proname = a.name AND m.level = a.level
    ORDER BY array_position(ARRAY['reader', 'player', 'gateway', 'server', 'admin'], a.level), a.name;
\pset footer on
CREATE VIEW ours AS
    SELECT p.* FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid WHERE e.extname = 'scoreboard';
CREATE VIEW our_relations AS
    SELECT c.* FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid WHERE e.extname = 'scoreboard';
-- House rules: each of these lists is empty.
SELECT oid::regprocedure AS public_without_level FROM ours
    WHERE pronamespace = 'api'::regnamespace AND proname NOT IN (SELECT name FROM scoreboard.api_function);
SELECT oid::regprocedure AS without_comment FROM ours
    WHERE obj_description(oid, 'pg_proc') IS NULL AND proname NOT LIKE 'valid\_%';
SELECT oid::regprocedure AS first_line_no_summary FROM ours
    WHERE pronamespace = 'api'::regnamespace AND split_part(obj_description(oid, 'pg_proc'), E'\n', 1) !~ '^[A-Z].*\.$';
SELECT oid::regprocedure AS wider_than_a_terminal FROM ours
    WHERE pronamespace = 'api'::regnamespace AND obj_description(oid, 'pg_proc') ~ '[^\n]{101}';
SELECT oid::regclass AS table_without_comment FROM our_relations WHERE relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL;
SELECT proname AS overloaded FROM ours GROUP BY pronamespace, proname HAVING count(*) > 1;
SELECT oid::regprocedure AS reserved_argument FROM ours WHERE proargnames && ARRAY['limit', 'offset', 'select', 'order'];
SELECT oid::regprocedure AS unnamed_argument FROM ours
    WHERE pronamespace = 'api'::regnamespace AND pronargs > coalesce(cardinality(array_remove(proargnames, '')), 0);
-- What HTTP layers make types of: rows have a type with a name.
SELECT oid::regprocedure AS anonymous_record FROM ours WHERE pronamespace = 'api'::regnamespace AND (prorettype = 'record'::regtype OR proargmodes IS NOT NULL);
SELECT t.oid::regtype AS type_without_comment FROM pg_type t JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid WHERE e.extname = 'scoreboard' AND t.typnamespace = 'api'::regnamespace
    AND t.typcategory <> 'A' AND obj_description(t.oid, 'pg_type') IS NULL;
-- These five pin it in C: search_path.sql.
SELECT oid::regprocedure AS search_path_not_pinned FROM ours
    WHERE prosecdef AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
        AND proname <> ALL ('{scoreboard_increment,scoreboard_increment_for,scoreboard_submit,scoreboard_rank,scoreboard_me}');
SELECT oid::regprocedure AS everybody_may_call FROM ours
    WHERE has_function_privilege('public', oid, 'EXECUTE') AND proname NOT LIKE 'valid\_%';
SELECT oid::regclass AS everybody_may_use FROM our_relations
    WHERE relkind IN ('r', 'v', 'm', 'S') AND (relkind <> 'S' AND has_table_privilege('public', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
        OR relkind = 'S' AND has_sequence_privilege('public', oid, 'USAGE, SELECT, UPDATE'));
SELECT oid::regprocedure AS writes_but_stable FROM ours
    WHERE provolatile <> 'v' AND proname ~ '(increment|submit|set_|create_|rotate|revoke|remove|grant)';
-- What a form is doesn't depend on the locale: no class of characters, no upper and lower case.
SELECT conrelid::regclass, conname AS form_by_locale FROM pg_constraint
    WHERE connamespace = 'scoreboard'::regnamespace AND pg_get_constraintdef(oid) ~ '\\[swdSWDmMyY]|\[:|~\*|~~|lower\(|upper\(|initcap\(';
SELECT oid::regprocedure AS form_by_locale FROM ours
    WHERE prosrc ~ '\\[swdSWDmMyY]|\[:|~\*|ILIKE|lower\(|upper\(|initcap\(';
-- Everything that records is dumped, with its sequence; what is derived or belongs to the version is not.
SELECT c.oid::regclass AS not_dumped FROM our_relations c
    WHERE c.relkind IN ('r', 'S') AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'scoreboard' AND c.oid = ANY (e.extconfig))
    ORDER BY 1;
-- The board that is there from the start works from any search path.
SET search_path = evil;
SELECT * FROM api.scoreboard_top();
SELECT length(api.scoreboard_create_key('game')) AS secret_characters;
RESET search_path;
SELECT name, title, score_order, operator, ties, top_size, publish_interval_ms, lowest_score FROM scoreboard.board;
\set SHOW_CONTEXT never
SELECT count(*) AS boards FROM scoreboard.board;
-- It goes, and comes again; nothing of the first stays.
DROP VIEW ours, our_relations;
DROP EXTENSION scoreboard;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = 'scoreboard';
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'api'::regnamespace AND p.proname LIKE 'scoreboard%';
CREATE EXTENSION scoreboard SCHEMA api;
SELECT * FROM api.scoreboard_top();
SELECT count(*) AS keys FROM scoreboard.signing_key;
SELECT length(api.scoreboard_create_key('game')) AS secret_characters;
-- It can't be moved: its functions name its schema.
ALTER EXTENSION scoreboard SET SCHEMA evil;
-- pgcrypto can't be taken away from under it.
DROP EXTENSION pgcrypto;
-- A transaction that installs it can be taken back.
DROP EXTENSION scoreboard;
BEGIN;
CREATE EXTENSION scoreboard SCHEMA api;
SELECT * FROM api.scoreboard_top();
ROLLBACK;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = 'scoreboard';
-- Only by superusers: a database's owner alone may not make functions in C.
CREATE ROLE regress_sb_owner;
GRANT CREATE ON DATABASE scoreboard_install TO regress_sb_owner;
SET ROLE regress_sb_owner;
CREATE EXTENSION scoreboard SCHEMA api;
RESET ROLE;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = 'scoreboard';
DROP OWNED BY regress_sb_owner;
DROP ROLE regress_sb_owner;
-- Only UTF8 databases.
CREATE DATABASE scoreboard_latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
\connect scoreboard_latin
SET client_min_messages = warning;
CREATE EXTENSION scoreboard CASCADE;
SELECT count(*) AS extensions FROM pg_extension WHERE extname = 'scoreboard';
\connect scoreboard_install
CREATE EXTENSION scoreboard SCHEMA api;
\connect regression
-- A database whose publisher is at work can be dropped.
DROP DATABASE scoreboard_install;
DROP DATABASE scoreboard_latin;
