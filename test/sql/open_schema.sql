-- Where others may create functions beside ours, or were given what is made: warned of, taken back, and never mistaken for ours.
CREATE ROLE regress_sb_builder;
CREATE ROLE regress_sb_given;
CREATE ROLE regress_sb_reader;
CREATE DATABASE scoreboard_open TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\connect scoreboard_open
SET client_min_messages = warning;
\set SHOW_CONTEXT never
-- Default privileges as careless as they can be
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC, regress_sb_given;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_sb_given WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, regress_sb_given;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, regress_sb_given;
GRANT CREATE ON SCHEMA public TO regress_sb_builder;
CREATE EXTENSION scoreboard CASCADE;
CREATE VIEW given AS
    SELECT d.classid::regclass AS catalog, pg_describe_object(d.classid, d.objid, 0) AS object, coalesce(r.rolname, 'PUBLIC') AS grantee, x.privilege_type
    FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        JOIN LATERAL (SELECT proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE oid = d.objid AND d.classid = 'pg_proc'::regclass
            UNION ALL SELECT relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM pg_class WHERE oid = d.objid AND d.classid = 'pg_class'::regclass
            UNION ALL SELECT nspowner, nspacl FROM pg_namespace WHERE oid = d.objid AND d.classid = 'pg_namespace'::regclass) AS o(owner, acl) ON true
        CROSS JOIN LATERAL aclexplode(o.acl) AS x LEFT JOIN pg_roles r ON r.oid = x.grantee
    WHERE e.extname = 'scoreboard' AND x.grantee <> o.owner;
-- What a CHECK calls, and nothing else
SELECT object, grantee, privilege_type FROM given ORDER BY 1, 2, 3;
-- Warned of: once for all roles, and for whoever was given it later
SELECT scoreboard_grant_access('regress_sb_reader', 'reader');
GRANT CREATE ON SCHEMA public TO PUBLIC;
GRANT CREATE ON SCHEMA scoreboard TO regress_sb_given;
SELECT scoreboard_grant_access('regress_sb_reader', 'gateway');
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE CREATE ON SCHEMA scoreboard FROM regress_sb_given;
-- A better match for a call than ours, and a second one for every name: nobody is given them, nothing is taken from them
SET ROLE regress_sb_builder;
CREATE FUNCTION scoreboard_increment(text, text, issued_at integer DEFAULT 0, receipt text DEFAULT '', token text DEFAULT '') RETURNS text LANGUAGE sql AS $$ SELECT 'taken' $$;
CREATE FUNCTION scoreboard_top(character varying) RETURNS text LANGUAGE sql AS $$ SELECT 'taken' $$;
CREATE FUNCTION submit(json) RETURNS text LANGUAGE sql AS $$ SELECT 'taken' $$;
REVOKE EXECUTE ON FUNCTION scoreboard_increment(text, text, integer, text, text), scoreboard_top(character varying), submit(json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION scoreboard_top(character varying) TO regress_sb_reader;
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM regress_sb_builder;
SELECT scoreboard_grant_access('regress_sb_reader', 'admin'), scoreboard_grant_access('regress_sb_reader', 'gateway');
SELECT p.oid::regprocedure AS foreign_function, has_function_privilege('regress_sb_reader', p.oid, 'EXECUTE') AS may_call FROM pg_proc p WHERE p.proowner = 'regress_sb_builder'::regrole ORDER BY 1;
SELECT count(*) > 10 AS ours FROM given WHERE grantee = 'regress_sb_reader' AND catalog = 'pg_proc'::regclass;
SELECT scoreboard_revoke_access('regress_sb_reader');
SELECT p.oid::regprocedure AS foreign_function, has_function_privilege('regress_sb_reader', p.oid, 'EXECUTE') AS may_call FROM pg_proc p WHERE p.proowner = 'regress_sb_builder'::regrole ORDER BY 1;
SELECT object, grantee, privilege_type FROM given WHERE grantee = 'regress_sb_reader' ORDER BY 1, 2, 3;
-- The bridge's call: not where the API's schema decides, where another function makes it ambiguous
CREATE FUNCTION public.scoreboard_submit(json, integer DEFAULT 0) RETURNS text LANGUAGE sql AS $$ SELECT 'taken' $$;
\set VERBOSITY terse
SELECT * FROM public.scoreboard_submit('[]'::json);
\set VERBOSITY default
SELECT * FROM scoreboard.submit('[]'::json);
-- In a schema of its own there is nothing to warn of.
DROP VIEW given;
DROP EXTENSION scoreboard;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC, regress_sb_given;
CREATE SCHEMA api;
CREATE EXTENSION scoreboard SCHEMA api;
SELECT api.scoreboard_grant_access('regress_sb_reader', 'reader');
\connect regression
DROP DATABASE scoreboard_open;
DROP ROLE regress_sb_builder, regress_sb_given, regress_sb_reader;
