-- What an administrator may do to our tables: every way of bending them is served as an INSERT or UPDATE by SQL would be, or
-- refused with a message that says what is wrong; never a crash, never a wrong answer.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
INSERT INTO scoreboard.board (name) VALUES ('bent');
CREATE SCHEMA bent;
-- What a statement answers, or how it fails; details only of our own refusals: a failing row shows ids and times.
CREATE FUNCTION bent.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    detail text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(': ', SQLSTATE, SQLERRM, CASE WHEN SQLSTATE = '55000' THEN detail END);
END
$$;
CREATE FUNCTION bent.request(sub text, action_id text) RETURNS json LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('actionType', 'SCORE_RUN', 'actionId', action_id, 'board', 'bent', 'points', 5, 'issuedAt', t.s, 'token', sign.token(sub),
        'idempotencyKey', 'k', 'receipt', sign.receipt(sub, 'SCORE_RUN', action_id, 'bent', 5, t.s)) FROM (SELECT sign.now() AS s) AS t
$$;
-- Writes: a new player's increment, a second one and its retry, a batch with this player and a new one.
CREATE FUNCTION bent.try(name text) RETURNS TABLE (uses text, outcome text) LANGUAGE plpgsql AS $$
DECLARE
    u record;
BEGIN
    FOR u IN SELECT * FROM (VALUES
        ('new', format('SELECT (i.previous_score, i.score) FROM sign.increment(%L, %L, %L, %L, 2) i', name, 'SCORE_RUN', 'a', 'bent')),
        ('again', format('SELECT (i.previous_score, i.score) FROM sign.increment(%L, %L, %L, %L, 3, %L) i', name, 'SCORE_RUN', 'b', 'bent', 'k')),
        ('retry', format('SELECT (i.previous_score, i.score) FROM sign.increment(%L, %L, %L, %L, 3, %L) i', name, 'SCORE_RUN', 'b', 'bent', 'k')),
        ('batch', format('SELECT string_agg(coalesce(s.body ->> %L, s.body #>> %L), %L ORDER BY s.ordinal) FROM scoreboard_submit(json_build_array(bent.request(%L, %L), bent.request(%L, %L))) s',
            'score', '{error,code}', ' ', name, 'c', name || ' too', 'c'))) AS v (use, statement) LOOP
        u.statement := bent.outcome(u.statement);
        IF u.statement = outcome THEN
            uses := uses || ' ' || u.use;
        ELSE
            IF outcome IS NOT NULL THEN
                RETURN NEXT;
            END IF;
            uses := u.use;
            outcome := u.statement;
        END IF;
    END LOOP;
    RETURN NEXT;
END
$$;
-- Reads, of what is committed: are list and rank what the table says? What does scoreboard_verify find?
-- Asks for the ranks until the index has them, so that what follows is read from a tree that was built from the table as it is.
CREATE FUNCTION bent.wait_for_tree() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR round IN 1..3000 LOOP
        PERFORM scoreboard_rank('bent best', 'bent');
        IF (SELECT s.rank_state = 'ready' FROM scoreboard_stats() s WHERE s.board = 'bent') THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'waited in vain for the ranks';
END
$$;
CREATE FUNCTION bent.wait_for_document(wanted text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR round IN 1..3000 LOOP
        IF EXISTS (SELECT FROM scoreboard.top t WHERE t.board = 'bent' AND strpos(t.document, wanted) > 0) THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION '% was not published', wanted;
END
$$;
CREATE FUNCTION bent.reads() RETURNS TABLE (use text, outcome text) LANGUAGE sql VOLATILE AS $q$
    SELECT 'top', bent.outcome($$ SELECT CASE WHEN (SELECT array_agg((t.user_id, t.score)::text ORDER BY t.rank) FROM scoreboard_top('bent', 1000) t)
        = (SELECT array_agg((p.user_id, s.score)::text ORDER BY s.score DESC, s.reached_at, p.player_id) FROM scoreboard.score s JOIN scoreboard.player p USING (player_id)
           WHERE s.board_id = (SELECT b.board_id FROM scoreboard.board b WHERE b.name = 'bent')) THEN 'right' ELSE 'wrong' END $$)
    UNION ALL SELECT 'rank', bent.outcome($$ SELECT (r ->> 'score', r ->> 'rank') FROM scoreboard_rank('bent best', 'bent') r $$)
    UNION ALL SELECT 'ranks', bent.outcome($$ SELECT (r.rank, r.score) FROM scoreboard_ranks('{bent best}', 'bent') r $$)
    UNION ALL SELECT 'view', bent.outcome($$ SELECT (v -> 'own' ->> 'score', v -> 'own' ->> 'rank', v -> 'friends' -> 1 ->> 'rank') FROM scoreboard_view('bent', user_id => 'bent best', user_ids => '{none,bent best}') v $$)
    UNION ALL SELECT 'history', bent.outcome(format($$ SELECT count(*) > 0 FROM scoreboard_history('bent', token => %L) $$, sign.token('bent best')))
    UNION ALL SELECT 'boards', bent.outcome($$ SELECT (board, visibility, season) FROM scoreboard_boards() WHERE board = 'bent' $$)
    UNION ALL SELECT 'choice', bent.outcome(format($$ SELECT scoreboard_set_listed(true, token => %L) ->> 'listed' $$, sign.token('bent best')))
    UNION ALL SELECT 'verify', bent.outcome($$ SELECT coalesce(string_agg(finding, ', ' ORDER BY finding), 'nothing') FROM scoreboard_verify('bent') $$)
$q$;
\set ECHO all
SELECT (i).score FROM (SELECT sign.increment('bent best', 'SCORE_RUN', 'first', 'bent', 500) AS i) AS best;
SELECT * FROM bent.try('as it was made');
SELECT * FROM bent.reads();

-- Served. A generated column: once this ended the server.
ALTER TABLE scoreboard.score ADD m bigint GENERATED ALWAYS AS (score / 2) STORED;
ALTER TABLE scoreboard.action ADD m text GENERATED ALWAYS AS (action_id || '!') STORED;
SELECT * FROM bent.try('generated');
SELECT bent.wait_for_tree();
SELECT * FROM bent.reads();
SELECT count(*) FILTER (WHERE m IS DISTINCT FROM score / 2) AS wrong FROM scoreboard.score;
SELECT count(*) FILTER (WHERE m IS DISTINCT FROM action_id || '!') AS wrong FROM scoreboard.action;
CREATE INDEX m ON scoreboard.score (m);
SELECT * FROM bent.try('generated and indexed');
SET enable_seqscan = off;
SELECT count(*) FROM scoreboard.score WHERE m = 5 AND score = 10;
RESET enable_seqscan;
ALTER TABLE scoreboard.score DROP m;
ALTER TABLE scoreboard.action DROP m;

-- Dropped columns, with long values before known ones' successors; defaults of all kinds; identity
ALTER TABLE scoreboard.score ADD gone text DEFAULT repeat('long', 1000), ADD kept text DEFAULT 'kept', ADD other int DEFAULT 1;
ALTER TABLE scoreboard.score DROP gone;
ALTER TABLE scoreboard.score ALTER other SET DEFAULT 2, ALTER listed SET DEFAULT false;
ALTER TABLE scoreboard.action ADD n bigint GENERATED ALWAYS AS IDENTITY, ADD made timestamptz DEFAULT clock_timestamp(), ADD gone int;
ALTER TABLE scoreboard.action DROP gone;
SELECT * FROM bent.try('defaults');
SELECT bent.wait_for_tree();
SELECT * FROM bent.reads();
SELECT DISTINCT s.kept, s.other, s.listed FROM scoreboard.score s JOIN scoreboard.player p USING (player_id) WHERE p.user_id LIKE 'defaults%';
SELECT count(*) = count(DISTINCT n) AND count(*) = count(made) AS filled FROM scoreboard.action;
ALTER TABLE scoreboard.score DROP kept, DROP other, ALTER listed SET DEFAULT true;
ALTER TABLE scoreboard.action DROP n, DROP made;

-- Constraints speak for themselves.
ALTER TABLE scoreboard.score ADD must int NOT NULL DEFAULT 1;
ALTER TABLE scoreboard.score ALTER must DROP DEFAULT;
SELECT * FROM bent.try('must');
ALTER TABLE scoreboard.score DROP must;
CREATE DOMAIN bent.must AS int DEFAULT 7 NOT NULL;
ALTER TABLE scoreboard.action ADD must bent.must;
SELECT * FROM bent.try('domain');
ALTER DOMAIN bent.must DROP DEFAULT;
SELECT * FROM bent.try('domain without default');
ALTER TABLE scoreboard.action DROP must;
ALTER TABLE scoreboard.score ADD CONSTRAINT at_most CHECK (score < 5 OR score > 499) NOT VALID;
SELECT * FROM bent.try('check');
ALTER TABLE scoreboard.score DROP CONSTRAINT at_most;
ALTER TABLE scoreboard.score ADD FOREIGN KEY (player_id) REFERENCES scoreboard.player, ADD EXCLUDE (board_id WITH =, player_id WITH =) WHERE (score = 4);
SELECT * FROM bent.try('foreign key');
ALTER TABLE scoreboard.score DROP CONSTRAINT score_player_id_fkey, DROP CONSTRAINT score_board_id_player_id_excl;

-- Triggers that fire for each row after the write
CREATE TABLE bent.seen (what text, old bigint, new bigint);
CREATE FUNCTION bent.see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bent.seen SELECT TG_NAME, CASE WHEN TG_OP = 'UPDATE' THEN OLD.score END, CASE WHEN TG_LEVEL = 'ROW' THEN NEW.score END;
    RETURN NEW;
END
$$;
CREATE TRIGGER see AFTER INSERT OR UPDATE ON scoreboard.score FOR EACH ROW EXECUTE FUNCTION bent.see();
CREATE TRIGGER see_some AFTER UPDATE ON scoreboard.score FOR EACH ROW WHEN (OLD.score < 5 AND NEW.score >= 5) EXECUTE FUNCTION bent.see();
CREATE CONSTRAINT TRIGGER see_late AFTER INSERT ON scoreboard.action DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bent.see();
SELECT * FROM bent.try('after');
SELECT what, old, new, count(*) FROM bent.seen GROUP BY what, old, new ORDER BY what, old, new;
DROP TRIGGER see ON scoreboard.score;
DROP TRIGGER see_some ON scoreboard.score;
DROP TRIGGER see_late ON scoreboard.action;

-- Keys: another order, another name, more columns along, a unique index beside a deferrable key
ALTER TABLE scoreboard.score DROP CONSTRAINT score_pkey, ADD PRIMARY KEY (player_id, board_id, season);
ALTER TABLE scoreboard.action DROP CONSTRAINT action_pkey;
CREATE UNIQUE INDEX other_key ON scoreboard.action (action_id DESC, player_id) INCLUDE (score);
ALTER TABLE scoreboard.player DROP CONSTRAINT player_user_id_key;
CREATE UNIQUE INDEX other_key_too ON scoreboard.player (user_id);
SELECT * FROM bent.try('keys');
SELECT bent.wait_for_tree();
SELECT * FROM bent.reads();
ALTER TABLE scoreboard.player ADD UNIQUE (user_id);
ALTER TABLE scoreboard.action ADD PRIMARY KEY (player_id, action_id);
DROP INDEX scoreboard.other_key, scoreboard.other_key_too;
ALTER TABLE scoreboard.score DROP CONSTRAINT score_pkey, ADD PRIMARY KEY (board_id, season, player_id) DEFERRABLE;
SELECT * FROM bent.try('deferrable');
CREATE UNIQUE INDEX beside ON scoreboard.score (season, player_id, board_id);
SELECT * FROM bent.try('beside');
ALTER TABLE scoreboard.score DROP CONSTRAINT score_pkey, ADD PRIMARY KEY (board_id, season, player_id);
DROP INDEX scoreboard.beside;

-- Another table in its place, with the columns in another order; a partition of somebody's table
BEGIN;
ALTER TABLE scoreboard.score RENAME TO score_old;
CREATE TABLE scoreboard.score (reached_at timestamptz NOT NULL, listed boolean NOT NULL, score bigint NOT NULL, mine text DEFAULT 'mine',
    player_id bigint NOT NULL, season int NOT NULL, detail text, board_id int NOT NULL, subscore bigint, PRIMARY KEY (player_id, board_id, season));
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, listed) SELECT board_id, season, player_id, score, reached_at, listed FROM scoreboard.score_old;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON scoreboard.score FOR EACH ROW EXECUTE FUNCTION scoreboard.score_changed();
ALTER TABLE scoreboard.score ENABLE ALWAYS TRIGGER changed;
COMMIT;
SELECT * FROM bent.try('replaced');
SELECT bent.wait_for_tree();
SELECT * FROM bent.reads();
-- The old one is nobody's now.
UPDATE scoreboard.score_old SET score = score + 1 WHERE score = 5;
SELECT * FROM bent.reads();
BEGIN;
TRUNCATE scoreboard.score_old;
INSERT INTO scoreboard.score_old (board_id, season, player_id, score, reached_at, listed) SELECT board_id, season, player_id, score, reached_at, listed FROM scoreboard.score;
DROP TABLE scoreboard.score;
ALTER TABLE scoreboard.score_old RENAME TO score;
COMMIT;
SELECT * FROM bent.try('put back');
SELECT bent.wait_for_tree();
SELECT * FROM bent.reads();
CREATE TABLE bent.all_scores (LIKE scoreboard.score INCLUDING DEFAULTS) PARTITION BY RANGE (score);
ALTER TABLE bent.all_scores ATTACH PARTITION scoreboard.score FOR VALUES FROM (MINVALUE) TO (600);
SELECT * FROM bent.try('partition');
SELECT bent.outcome($$ SELECT sign.increment('bent best', 'SCORE_RUN', 'partition', 'bent', 400) $$);
SELECT * FROM bent.reads();
ALTER TABLE bent.all_scores DETACH PARTITION scoreboard.score;

-- A published table without a replica identity: what an UPDATE says.
SET client_min_messages = error;
CREATE PUBLICATION bent FOR TABLE scoreboard.score;
SET client_min_messages = warning;
ALTER TABLE scoreboard.score REPLICA IDENTITY NOTHING;
SELECT * FROM bent.try('identity');
SELECT bent.outcome($$ UPDATE scoreboard.score SET score = score $$);
ALTER PUBLICATION bent SET (publish = 'insert');
SELECT * FROM bent.try('inserts only');
DROP PUBLICATION bent;
ALTER TABLE scoreboard.score REPLICA IDENTITY DEFAULT;

-- Refused: triggers and rules that would not take part, or decide what is written.
CREATE TRIGGER before BEFORE INSERT ON scoreboard.score FOR EACH ROW EXECUTE FUNCTION bent.see();
SELECT * FROM bent.try('before');
SELECT * FROM bent.reads();
DROP TRIGGER before ON scoreboard.score;
CREATE TRIGGER of_column AFTER UPDATE OF score ON scoreboard.score FOR EACH ROW EXECUTE FUNCTION bent.see();
SELECT * FROM bent.try('of column');
SELECT scoreboard_increment_for('bent best', 'AWARD', 'of column', 'bent', 1);
ALTER TABLE scoreboard.score DISABLE TRIGGER of_column;
SELECT * FROM bent.try('of column, disabled');
DROP TRIGGER of_column ON scoreboard.score;
CREATE TRIGGER statement AFTER UPDATE ON scoreboard.score FOR EACH STATEMENT EXECUTE FUNCTION bent.see();
SELECT * FROM bent.try('statement');
DROP TRIGGER statement ON scoreboard.score;
CREATE TRIGGER statement AFTER INSERT ON scoreboard.action REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION bent.see();
SELECT * FROM bent.try('transition table');
DROP TRIGGER statement ON scoreboard.action;
CREATE RULE aside AS ON INSERT TO scoreboard.action DO ALSO NOTHING;
SELECT * FROM bent.try('rule');
ALTER TABLE scoreboard.action DISABLE RULE aside;
SELECT * FROM bent.try('disabled rule');
DROP RULE aside ON scoreboard.action;

-- Columns
ALTER TABLE scoreboard.score ALTER season ADD GENERATED ALWAYS AS IDENTITY;
SELECT * FROM bent.try('identity column');
ALTER TABLE scoreboard.score ALTER season DROP IDENTITY;
ALTER TABLE scoreboard.action ALTER version TYPE numeric;
SELECT * FROM bent.try('action.version numeric');
ALTER TABLE scoreboard.action ALTER version TYPE bigint;
ALTER TABLE scoreboard.player ALTER user_id TYPE text COLLATE "POSIX";
SELECT * FROM bent.try('collation');
SELECT * FROM bent.reads() WHERE use = 'rank';
ALTER TABLE scoreboard.player ALTER user_id TYPE text COLLATE "C";
ALTER TABLE scoreboard.player ALTER display_name TYPE varchar(50);
SELECT * FROM bent.try('player.display_name varchar(50)');
ALTER TABLE scoreboard.player ALTER display_name TYPE text;
ALTER TABLE scoreboard.action RENAME client_address TO address;
SELECT * FROM bent.try('renamed');
ALTER TABLE scoreboard.action RENAME address TO client_address;
ALTER TABLE scoreboard.score ALTER score TYPE numeric;
SELECT * FROM bent.try('score.score numeric');
SELECT * FROM bent.reads();
SELECT bent.outcome($$ UPDATE scoreboard.score SET score = score $$);
ALTER TABLE scoreboard.score ALTER score TYPE bigint, ALTER reached_at TYPE timestamptz(0);
SELECT * FROM bent.try('timestamptz(0)');
ALTER TABLE scoreboard.score ALTER reached_at TYPE timestamptz, ALTER listed DROP NOT NULL;
SELECT * FROM bent.try('null');
ALTER TABLE scoreboard.score RENAME listed TO shown;
ALTER TABLE scoreboard.score ADD listed boolean GENERATED ALWAYS AS (shown) STORED NOT NULL;
SELECT * FROM bent.try('generated');
ALTER TABLE scoreboard.score DROP listed;
ALTER TABLE scoreboard.score RENAME shown TO listed;
ALTER TABLE scoreboard.score ALTER listed SET NOT NULL;
ALTER TABLE scoreboard.top ALTER version TYPE numeric;
SELECT use, outcome FROM bent.reads() WHERE use = 'verify';
ALTER TABLE scoreboard.top ALTER version TYPE bigint;

-- Tables
CREATE TABLE bent.heir () INHERITS (scoreboard.score);
SELECT * FROM bent.try('heir');
SELECT * FROM bent.reads() WHERE use <> 'top';
DROP TABLE bent.heir;
SELECT * FROM bent.try('heir gone');
BEGIN;
ALTER TABLE scoreboard.score RENAME TO score_old;
CREATE TABLE scoreboard.score (LIKE scoreboard.score_old INCLUDING DEFAULTS, PRIMARY KEY (board_id, season, player_id)) PARTITION BY LIST (season);
COMMIT;
SELECT * FROM bent.try('partitioned');
SELECT * FROM bent.reads();
DROP TABLE scoreboard.score;
CREATE VIEW scoreboard.score AS SELECT * FROM scoreboard.score_old;
SELECT * FROM bent.try('view');
DROP VIEW scoreboard.score;
SELECT * FROM bent.try('none');
ALTER TABLE scoreboard.score_old RENAME TO score;
ALTER TABLE scoreboard.action DROP CONSTRAINT action_pkey;
SELECT * FROM bent.try('keyless');
CREATE INDEX plain_key ON scoreboard.action (player_id, action_id);
SELECT * FROM bent.try('not unique');
DROP INDEX scoreboard.plain_key;
ALTER TABLE scoreboard.action ADD PRIMARY KEY (player_id, action_id);

-- The configuration is read by SQL: another type that holds the same is served, a null is refused.
ALTER TABLE scoreboard.board ALTER top_size TYPE numeric, ALTER publish_interval_ms TYPE bigint, ALTER title TYPE varchar(200);
ALTER TABLE scoreboard.action_type ALTER proof TYPE varchar(20), ALTER max_points TYPE numeric;
ALTER TABLE scoreboard.jwt_key ALTER algorithm TYPE name;
ALTER TABLE scoreboard.signing_key ALTER secret TYPE varchar(64);
UPDATE scoreboard.board SET title = 'Bent' WHERE name = 'bent';
SELECT * FROM bent.try('configuration');
ALTER TABLE scoreboard.board ALTER top_size TYPE integer, ALTER publish_interval_ms TYPE integer, ALTER title TYPE text, ALTER operator DROP NOT NULL;
ALTER TABLE scoreboard.action_type ALTER proof TYPE text, ALTER max_points TYPE bigint;
ALTER TABLE scoreboard.jwt_key ALTER algorithm TYPE text;
ALTER TABLE scoreboard.signing_key ALTER secret TYPE text;
INSERT INTO scoreboard.board (name, operator) VALUES ('bent-null', NULL);
SELECT bent.outcome($$ SELECT scoreboard_increment_for('bent best', 'AWARD', 'null', 'bent-null', 1) $$);
DELETE FROM scoreboard.board WHERE operator IS NULL;
ALTER TABLE scoreboard.board ALTER operator SET NOT NULL;

-- Session keys are looked up below SQL.
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('BENT_STEP', 'session', 2);
INSERT INTO sign.key SELECT k.key_id, k.secret FROM scoreboard_create_session_key('bent step') AS k;
CREATE FUNCTION pg_temp.step(action_id text) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT bent.outcome(format('SELECT score FROM scoreboard_increment_for(%L, %L, %L, %L, issued_at => %s, receipt => %L)', 'bent step', 'BENT_STEP', action_id, 'bent', s,
        sign.receipt('bent step', 'BENT_STEP', action_id, 'bent', NULL, s, k.key_id))) FROM (SELECT sign.now()) AS t(s), scoreboard.session_key k WHERE k.user_id = 'bent step'
$$;
SELECT pg_temp.step('as it was made');
ALTER TABLE scoreboard.session_key ADD device text DEFAULT 'any', ADD gone int;
ALTER TABLE scoreboard.session_key DROP gone;
SELECT pg_temp.step('more columns');
ALTER TABLE scoreboard.session_key ALTER secret TYPE varchar(64);
SELECT pg_temp.step('another type');
ALTER TABLE scoreboard.session_key ALTER secret TYPE text;
ALTER TABLE scoreboard.session_key ALTER expires_at DROP NOT NULL;
SELECT pg_temp.step('null');
ALTER TABLE scoreboard.session_key ALTER expires_at SET NOT NULL;
ALTER TABLE scoreboard.session_key DROP CONSTRAINT session_key_pkey;
SELECT pg_temp.step('keyless');
ALTER TABLE scoreboard.session_key ADD PRIMARY KEY (key_id), DROP device;
SELECT pg_temp.step('as it was');
DELETE FROM scoreboard.session_key WHERE user_id = 'bent step';
DELETE FROM scoreboard.action_type WHERE name = 'BENT_STEP';

-- So are grants.
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('BENT_GRANT', 'grant', 2);
CREATE FUNCTION pg_temp.granted() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT bent.outcome(format('SELECT score FROM scoreboard_increment_for(%L, %L, %L, %L)', 'bent grant', 'BENT_GRANT', (SELECT min(g.grant_id) FROM scoreboard.grant_token g WHERE g.user_id = 'bent grant'), 'bent'))
$$;
SELECT count(scoreboard_create_grant('bent grant', 'BENT_GRANT', 'bent')) FROM generate_series(1, 3);
SELECT pg_temp.granted();
ALTER TABLE scoreboard.grant_token ADD note text DEFAULT 'any', ADD gone int;
ALTER TABLE scoreboard.grant_token DROP gone;
SELECT pg_temp.granted();
ALTER TABLE scoreboard.grant_token ALTER points TYPE integer;
SELECT pg_temp.granted();
ALTER TABLE scoreboard.grant_token ALTER points TYPE bigint, ALTER user_id DROP NOT NULL;
SELECT pg_temp.granted();
ALTER TABLE scoreboard.grant_token ALTER user_id SET NOT NULL, DROP CONSTRAINT grant_token_pkey;
SELECT pg_temp.granted();
ALTER TABLE scoreboard.grant_token ADD PRIMARY KEY (grant_id), DROP note;
SELECT pg_temp.granted();
SELECT count(*) FROM scoreboard.grant_token WHERE user_id = 'bent grant';
DELETE FROM scoreboard.action_type WHERE name = 'BENT_GRANT';

-- Row security, for who is not past it
CREATE ROLE regress_bent;
GRANT USAGE ON SCHEMA scoreboard TO regress_bent;
GRANT ALL ON ALL TABLES IN SCHEMA scoreboard TO regress_bent;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scoreboard TO regress_bent;
ALTER TABLE scoreboard.score ENABLE ROW LEVEL SECURITY;
SELECT * FROM bent.try('row security');
CREATE FUNCTION pg_temp.own(who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY(SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname ~ '^scoreboard_(increment|submit|rank|top)') LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', f, who);
    END LOOP;
END
$$;
SELECT current_user AS installer \gset
SELECT pg_temp.own('regress_bent');
SELECT * FROM bent.try('row security of another');
SELECT * FROM bent.reads() WHERE use = 'rank';
ALTER TABLE scoreboard.score DISABLE ROW LEVEL SECURITY;
SELECT * FROM bent.try('of another');
SELECT pg_temp.own(:'installer');
DROP OWNED BY regress_bent;
DROP ROLE regress_bent;

-- All of it undone: nothing was counted wrong, and the ranks are kept again.
SELECT * FROM bent.try('as it was');
SELECT (sign.increment('bent best', 'SCORE_RUN', 'last', 'bent', 77)).score;
SELECT bent.wait_for_tree();
SELECT bent.wait_for_document('577');
SELECT * FROM bent.reads();
SELECT count(*) AS wrong FROM scoreboard.score s
    WHERE s.score IS DISTINCT FROM (SELECT sum(a.applied_points) FROM scoreboard.action a WHERE (a.player_id, a.board_id, a.season) = (s.player_id, s.board_id, s.season));
DROP SCHEMA bent CASCADE;
-- For those who come after: the publisher asks for every board's ranks again.
UPDATE scoreboard.board SET title = title;
SELECT sign.wait_for_ranks();
