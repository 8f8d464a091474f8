-- A player is forgotten: what is gone from every table and list, what stays, that nobody comes back with what the player still holds, that sums verify.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, publish_interval_ms, keep_versions) VALUES ('fg', 10, '1 day'), ('fg-2', 10, NULL);
-- Everything that may be known of two players, each with an id that can be searched for, and of a neighbour.
CREATE FUNCTION pg_temp.live(who text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM scoreboard_import('fg-2', ARRAY[who], ARRAY[50], 'fg-import-' || md5(who));
    PERFORM scoreboard_increment_for(who, 'AWARD', who || '-1', 'fg', 30, metadata => jsonb_build_object('who', who), subscore => 3, detail => who || ' was here', idempotency_key => who || '-key');
    PERFORM scoreboard_increment_for(who, 'AWARD', who || '-2', 'fg-2', 7, idempotency_key => who || '-key');
    PERFORM scoreboard_set_profile(who, 'Name of ' || who, 'https://img.test/' || who);
    PERFORM scoreboard_adjust(who, 'fg', 5, 'asked by ' || who, who || '-reference');
    PERFORM scoreboard_hide(who, reason => who), scoreboard_hide(who, false, who);
    UPDATE scoreboard.action SET client_address = '192.0.2.7', request_id = who || '-request' WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = who);
    PERFORM scoreboard_create_session_key(who), scoreboard_create_grant(who, 'FG_GRANT', 'fg'), scoreboard_create_ticket(sign.token(who));
    INSERT INTO scoreboard.refusal (code, user_id, action_id, message, refused_at) VALUES ('RATE_LIMITED', who, who || '-refused', 'no', now());
    INSERT INTO scoreboard.flag (user_id, board_id, kind) SELECT who, board_id, 'rate' FROM scoreboard.board WHERE name = 'fg';
    RETURN who;
END
$$;
INSERT INTO scoreboard.action_type (name, points, proof) VALUES ('FG_GRANT', 5, 'grant');
SELECT pg_temp.live(who) FROM unnest(ARRAY['fg:erased', 'fg:anon', 'fg:stays']) AS who;
-- In which tables a text stands, anywhere in a row.
CREATE FUNCTION pg_temp.found(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t regclass;
    rows bigint;
    found text[] := '{}';
BEGIN
    PERFORM sign.wait_for_events();
    FOR t IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'scoreboard'::regnamespace AND c.relkind = 'r' AND c.relname <> 'top' ORDER BY c.relname LOOP
        EXECUTE format('SELECT count(*) FROM %s AS t WHERE strpos(t::text, %L) > 0', t, what) INTO rows;
        IF rows > 0 THEN
            found := found || format('%s %s', t, CASE WHEN t IN ('scoreboard.event'::regclass, 'scoreboard.kept_version'::regclass) THEN 'some' ELSE rows::text END);
        END IF;
    END LOOP;
    RETURN array_to_string(found, ', ');
END
$$;
CREATE FUNCTION pg_temp.published(wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    FOR round IN 1..1500 LOOP
        SELECT string_agg(concat_ws(' ', e ->> 'rank', CASE WHEN e ->> 'userId' LIKE 'fg:%' THEN e ->> 'userId' ELSE 'somebody' END, e ->> 'score', e ->> 'detail'), ', ' ORDER BY n) INTO found
            FROM scoreboard.top t, json_array_elements(t.document::json -> 'entries') WITH ORDINALITY AS x (e, n) WHERE t.board = 'fg';
        EXIT WHEN found IS NOT DISTINCT FROM wanted;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN found;
END
$$;
SELECT sign.wait_for_ranks();
SELECT pg_temp.published('1 fg:erased 35 fg:erased was here, 2 fg:anon 35 fg:anon was here, 3 fg:stays 35 fg:stays was here');
SELECT pg_temp.found('fg:erased') AS erased, pg_temp.found('fg:anon') AS anon;
SET client_min_messages = warning;
SELECT * FROM scoreboard_verify('fg') WHERE user_id IS NOT NULL;

-- Erased
SELECT mode, suspended_until > now() + interval '1 hour' AS an_hour, suspended_until < now() + interval '1 hour 2 minutes' AS no_longer, replayed FROM scoreboard_forget('fg:erased', reason => 'request 17', reference => 'fg-17');
SELECT pg_temp.found('fg:erased') AS erased;
SELECT pg_temp.published('1 fg:anon 35 fg:anon was here, 2 fg:stays 35 fg:stays was here');
SELECT rank, user_id, score FROM scoreboard_top('fg');
SELECT sign.outcome($$SELECT scoreboard_rank('fg:erased', 'fg')$$);
SELECT count(*) FROM scoreboard_history_for('fg:stays', 'fg');
SELECT sign.outcome($$SELECT count(*) FROM scoreboard_history_for('fg:erased', 'fg')$$);

-- Anonymised: the scores stay, under an id that nobody knows or can act as.
SELECT mode, replayed FROM scoreboard_forget('fg:anon', 'anonymise', reference => 'fg-18');
SELECT pg_temp.found('fg:anon') AS anon;
SELECT pg_temp.published('1 somebody 35, 2 fg:stays 35 fg:stays was here');
SELECT rank, user_id ~ '^forgotten-[0-9a-f]{32}$' AS forgotten, display_name ~ '^Player [0-9]+$' AS neutral, avatar_url, score FROM scoreboard_top('fg', 1);
SELECT user_id AS label FROM scoreboard_top('fg', 1) \gset
SELECT sign.outcome(format($$SELECT scoreboard_increment_for(%L, 'AWARD', 'again', 'fg', 1)$$, :'label'));
SELECT a.action_id LIKE :'label' || '-%' AS renamed, a.idempotency_key, a.metadata, a.request_id, a.client_address, a.detail, a.applied_points FROM scoreboard.action a JOIN scoreboard.player USING (player_id) WHERE user_id = :'label' ORDER BY a.created_at;
SELECT * FROM scoreboard_verify('fg') WHERE user_id IS NOT NULL;
SELECT * FROM scoreboard_verify('fg-2') WHERE user_id IS NOT NULL;
SELECT pg_temp.found('fg:stays') AS stays;

SELECT set_config('fg.before', coalesce(max(refusal_id), 0)::text, false) IS NOT NULL AS noted FROM scoreboard.refusal;
-- Nobody comes back with what the player holds, and what is refused then is kept without a name.
SELECT sign.outcome($$SELECT sign.increment('fg:erased', 'COMPLETE_LEVEL', 'back', 'fg')$$);
SELECT sign.outcome($$SELECT scoreboard_increment_for('fg:anon', 'AWARD', 'fg:anon-1', 'fg', 30, idempotency_key => 'fg:anon-key')$$);
SELECT sign.outcome($$SELECT scoreboard_set_profile('fg:erased', 'Back')$$), sign.outcome(format($$SELECT scoreboard_set_listed(true, token => %L)$$, sign.token('fg:anon')));
SELECT sign.outcome($$SELECT scoreboard_import('fg', '{fg:new,fg:erased}', '{1,2}', 'fg-19')$$);
SELECT sign.outcome($$SELECT scoreboard_create_session_key('fg:erased')$$), sign.outcome($$SELECT scoreboard_create_grant('fg:anon', 'FG_GRANT', 'fg')$$);
SELECT s.status, s.body #>> '{error,code}' AS code FROM (SELECT sign.now() AS now) AS n, scoreboard_submit(json_build_array(json_build_object('actionType', 'COMPLETE_LEVEL', 'actionId', 'back', 'board', 'fg', 'issuedAt', now,
    'receipt', sign.receipt('fg:erased', 'COMPLETE_LEVEL', 'back', 'fg', issued_at => now), 'token', sign.token('fg:erased')))) AS s;
-- Nor is written down what else it is refused for, nor that a verifier didn't like it.
CREATE SCHEMA fg_game;
CREATE FUNCTION fg_game.dislike(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT false';
SELECT scoreboard_set_verifier('COMPLETE_LEVEL', 'fg_game.dislike(jsonb)');
SELECT sign.outcome($$SELECT sign.increment('fg:erased', 'COMPLETE_LEVEL', 'fg:erased-back', 'fg')$$), sign.outcome($$SELECT scoreboard_increment('COMPLETE_LEVEL', 'fg:erased-back', 'fg', token => sign.token('fg:erased'))$$);
SELECT sign.outcome($$SELECT scoreboard_increment('AWARD', 'fg:anon-back', 'fg', 1, token => sign.token('fg:anon'))$$), sign.outcome($$SELECT scoreboard_increment('AWARD', '', 'fg', token => sign.token('fg:anon'))$$);
SELECT scoreboard_set_verifier('COMPLETE_LEVEL', NULL);
DROP SCHEMA fg_game CASCADE;
CREATE FUNCTION pg_temp.nameless() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    FOR round IN 1..1500 LOOP
        SELECT count(*) INTO kept FROM scoreboard.refusal WHERE code = 'PLAYER_SUSPENDED' AND user_id IS NULL AND action_id IS NULL AND client_address IS NULL;
        EXIT WHEN kept >= 3;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN kept;
END
$$;
SELECT pg_temp.nameless() >= 3 AS kept;
CREATE FUNCTION pg_temp.kept(wanted int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    kept text;
BEGIN
    FOR round IN 1..1500 LOOP
        SELECT string_agg(concat_ws(' ', code, user_id, action_id, action_type, board, message), '; ' ORDER BY refusal_id) INTO kept FROM scoreboard.refusal
            WHERE refusal_id > current_setting('fg.before')::bigint AND code <> 'PLAYER_SUSPENDED' HAVING count(*) >= wanted;
        EXIT WHEN kept IS NOT NULL;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN kept;
END
$$;
SELECT pg_temp.kept(4);
SELECT count(*) FROM scoreboard.flag WHERE user_id LIKE 'fg:%' AND user_id <> 'fg:stays';
SELECT pg_temp.found('fg:erased') AS erased, pg_temp.found('fg:anon') AS anon;

-- The same again, other content, and what can't be.
SELECT mode, suspended_until IS NOT NULL AS until, replayed FROM scoreboard_forget('fg:erased', reference => 'fg-17');
SELECT sign.outcome($$SELECT scoreboard_forget('fg:stays', reference => 'fg-17')$$), sign.outcome($$SELECT scoreboard_forget('fg:erased', 'anonymise', reference => 'fg-17')$$);
SELECT sign.outcome($$SELECT scoreboard_forget('fg:erased')$$), sign.outcome($$SELECT scoreboard_forget('fg:nobody')$$);
SELECT sign.outcome($$SELECT scoreboard_forget('fg:stays', 'sometimes')$$), sign.outcome($$SELECT scoreboard_forget(NULL)$$), sign.outcome($$SELECT scoreboard_forget('fg:stays', NULL)$$);
-- Whatever is recorded with a reason and a reference says what these may be; nothing has changed.
SELECT call, what, sign.outcome(format('SELECT scoreboard_%s, reason => %L, reference => %L)', call, reason, reference))
    FROM unnest('{freeze(''fg:stays'',ban(''fg:stays'',restore(''fg:stays'',hide(''fg:stays'',forget(''fg:stays'',reset_season(''fg'',set_retention(NULL}'::text[]) WITH ORDINALITY AS c(call, n),
        (VALUES (1, 'a reference too long', 'r', repeat('x', 256)), (2, 'an empty one', 'r', ''), (3, 'a control character', 'r', E'a\nb'), (4, 'a reason too long', repeat('x', 1001), NULL)) AS v(m, what, reason, reference) ORDER BY n, m;
SELECT sign.outcome(format('SELECT scoreboard_clear_flag(1, %L)', repeat('x', 1001)));
SELECT count(*) FROM scoreboard.adjustment WHERE length(reference) NOT BETWEEN 1 AND 255 OR reference ~ E'\n' OR length(reason) > 1000;
SELECT state, hidden FROM scoreboard.player WHERE user_id = 'fg:stays';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT sign.outcome($$SELECT scoreboard_forget('fg:stays')$$);
COMMIT;
BEGIN;
SELECT mode FROM scoreboard_forget('fg:stays');
SELECT kind, reference IS NOT NULL AS referred, content IS NOT NULL AS hashed FROM scoreboard.adjustment WHERE kind IN ('erase', 'anonymise') ORDER BY adjustment_id DESC LIMIT 2;
ROLLBACK;
SELECT pg_temp.found('fg:stays') AS stays;
SELECT kind, reference, player_id IS NULL AS nobody, reason, made_by = session_user AS by_me FROM scoreboard.adjustment WHERE reference IN ('fg-17', 'fg-18') ORDER BY adjustment_id;
-- Of whom only a refusal is known
INSERT INTO scoreboard.refusal (code, user_id, message, refused_at) VALUES ('UNAUTHORIZED', 'fg:refused', 'no', now());
SELECT mode FROM scoreboard_forget('fg:refused', 'anonymise');
SELECT pg_temp.found('fg:refused') AS refused;
-- Once nothing that it held could be used any more, the player may begin anew.
UPDATE scoreboard.tombstone SET expires_at = now() - interval '1 second' WHERE digest = scoreboard.tombstone_digest('fg:erased');
BEGIN;
SELECT sign.outcome($$SELECT players FROM scoreboard_import('fg', '{fg:new,fg:erased}', '{1,2}', 'fg-20')$$);
ROLLBACK;
SELECT previous_score, score FROM scoreboard_increment_for('fg:erased', 'AWARD', 'fg:erased-1', 'fg', 1);
SELECT count(*) AS tombstones FROM scoreboard.tombstone;
SELECT mode FROM scoreboard_forget('fg:erased');
SELECT count(*) AS tombstones FROM scoreboard.tombstone;

SELECT count(scoreboard_forget(user_id)) > 0 AS cleared FROM scoreboard.player WHERE user_id LIKE 'fg:%' OR user_id LIKE 'forgotten-%';
DELETE FROM scoreboard.adjustment WHERE reference LIKE 'fg%' OR kind IN ('erase', 'anonymise');
DELETE FROM scoreboard.tombstone;
DELETE FROM scoreboard.board WHERE name LIKE 'fg%';
DELETE FROM scoreboard.action_type WHERE name = 'FG_GRANT';
