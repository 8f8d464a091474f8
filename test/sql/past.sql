-- Boards that keep versions of their list: what stood at a past moment, with today's names and without who stands in no list today; a time without
-- the setting leaves a gap that nothing fills; forgotten players are gone from what was kept; what has stood too long ago goes.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
-- A list in short, and whether it is what it was
CREATE FUNCTION pg_temp.short(document json) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat_ws(' ', e ->> 'rank', e ->> 'userId', e ->> 'score', e ->> 'subscore', e ->> 'detail'), ', ' ORDER BY n), 'nobody') FROM json_array_elements(document -> 'entries') WITH ORDINALITY AS x (e, n)
$$;
CREATE FUNCTION pg_temp.at(board text, moment timestamptz, entries integer DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.short(scoreboard_leaderboard_at(board, moment, entries))
$$;
-- Waits until this list is kept; the moment when it is.
CREATE TABLE sign.moment (name text PRIMARY KEY, at timestamptz);
CREATE FUNCTION pg_temp.stands(board text, list text, moment text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text := sign.becomes(format('pg_temp.at(%L, clock_timestamp()) = %L', board, list));
BEGIN
    INSERT INTO sign.moment VALUES (moment, clock_timestamp()) ON CONFLICT (name) DO UPDATE SET at = excluded.at;
    RETURN answer || CASE WHEN answer <> 'yes' THEN ' for ' || list || ', found ' || pg_temp.at(board, clock_timestamp()) ELSE '' END;
END
$$;
CREATE FUNCTION pg_temp.then(board text, moment text) RETURNS text LANGUAGE sql AS $$ SELECT pg_temp.at(board, (SELECT m.at FROM sign.moment m WHERE m.name = moment)) $$;
CREATE FUNCTION pg_temp.kept(board text) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM scoreboard.kept_version k JOIN scoreboard.board b USING (board_id) WHERE b.name = board $$;
INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('past', 10), ('past-off', 10);
SELECT sign.wait_for_ranks();
-- Not kept: the error says which setting it is.
SELECT score FROM scoreboard_increment_for('past:ann', 'AWARD', 'p-1', 'past', 10, subscore => 7, detail => 'here');
SELECT sign.becomes($$(SELECT document LIKE '%past:ann%' FROM scoreboard.top WHERE board = 'past')$$);
SELECT scoreboard_leaderboard_at('past', now());
UPDATE scoreboard.board SET keep_versions = '59 minutes' WHERE name = 'past';
INSERT INTO sign.moment VALUES ('before', clock_timestamp());
UPDATE scoreboard.board SET keep_versions = '1 day' WHERE name = 'past' RETURNING kept_since > now() - interval '1 minute' AS since_now;
-- From now on, the list that stands already too.
SELECT sign.becomes($$pg_temp.kept('past') = 1$$) AS kept;
SELECT pg_temp.stands('past', '1 past:ann 10 7 here', 'ann');
SELECT scoreboard_leaderboard_at('past', (SELECT at FROM sign.moment WHERE name = 'before'));
SELECT score FROM scoreboard_increment_for('past:bob', 'AWARD', 'p-2', 'past', 20);
SELECT pg_temp.stands('past', '1 past:bob 20, 2 past:ann 10 7 here', 'bob');
SELECT score FROM scoreboard_increment_for('past:cid', 'AWARD', 'p-3', 'past', 30, detail => 'cid was here');
SELECT pg_temp.stands('past', '1 past:cid 30 cid was here, 2 past:bob 20, 3 past:ann 10 7 here', 'cid');
SELECT pg_temp.then('past', 'ann') AS ann, pg_temp.then('past', 'bob') AS bob, pg_temp.then('past', 'cid') AS cid;
SELECT pg_temp.kept('past') AS versions;
-- The whole document, as scoreboard_leaderboard() has it
SELECT d::jsonb = scoreboard_leaderboard('past')::jsonb AS same, json_typeof(d -> 'seasonStart') AS season_start FROM scoreboard_leaderboard_at('past', clock_timestamp()) d;
SELECT (SELECT string_agg(k, ' ') FROM json_object_keys(d) k) AS members, d -> 'players' AS players, (d ->> 'updatedAt')::timestamptz <= at AS updated FROM sign.moment, scoreboard_leaderboard_at('past', at) d WHERE name = 'bob';
SELECT pg_temp.at('past', clock_timestamp(), 1) AS one, pg_temp.at('past', clock_timestamp(), 1000) AS all;
-- A new name is no new version, and is shown in the old ones.
SELECT scoreboard_set_profile('past:bob', 'Bob', 'https://img.test/bob');
SELECT sign.becomes($$(SELECT document LIKE '%"Bob"%' FROM scoreboard.top WHERE board = 'past')$$);
SELECT d -> 'entries' -> 0 ->> 'displayName' AS name, d -> 'entries' -> 0 ->> 'avatarUrl' AS avatar, pg_temp.kept('past') AS versions FROM sign.moment, scoreboard_leaderboard_at('past', at) d WHERE name = 'bob';
SELECT scoreboard_set_listed(true, true, sign.token('past:bob')) ->> 'anonymous' AS anonymous;
SELECT d -> 'entries' -> 0 ->> 'displayName' LIKE 'Player %' AS label, d -> 'entries' -> 0 -> 'avatarUrl' AS avatar FROM sign.moment, scoreboard_leaderboard_at('past', at) d WHERE name = 'bob';
-- Who is banned, hidden or unlisted now wasn't there; the others keep their ranks. Back again, back in the past.
SELECT scoreboard_ban('past:cid');
SELECT pg_temp.then('past', 'cid') AS without_cid, pg_temp.then('past', 'bob') AS bob;
SELECT scoreboard_restore('past:cid');
SELECT scoreboard_hide('past:bob');
SELECT pg_temp.then('past', 'cid') AS without_bob;
SELECT scoreboard_hide('past:bob', false);
SELECT scoreboard_set_listed(false, token => sign.token('past:ann')) ->> 'listed' AS listed;
SELECT pg_temp.then('past', 'cid') AS without_ann, pg_temp.at('past', (SELECT at FROM sign.moment WHERE name = 'cid'), 2) AS two;
SELECT scoreboard_set_listed(true, token => sign.token('past:ann')) ->> 'listed' AS listed;
SELECT pg_temp.then('past', 'cid') AS cid;
-- What is asked for wrongly
SELECT q, sign.outcome('SELECT scoreboard_leaderboard_at(' || q || ')') FROM unnest(ARRAY['NULL, now()', $$'past', NULL$$, $$'past', 'infinity'$$, $$'past', clock_timestamp() + interval '10 seconds'$$, $$'past', '-infinity'$$,
    $$'past', '0001-01-01 BC'$$, $$'past', now(), 0$$, $$'past', now(), 1001$$, $$'past-none', now()$$, $$'past-off', now()$$, $$'past', now(), token => 'x'$$]) q;
UPDATE scoreboard.board SET visibility = 'token' WHERE name = 'past';
SELECT sign.outcome($$SELECT scoreboard_leaderboard_at('past', now())$$);
SELECT pg_temp.short(scoreboard_leaderboard_at('past', now(), token => sign.token('past:ann'))) <> '' AS seen;
UPDATE scoreboard.board SET visibility = 'public' WHERE name = 'past';
-- Another snapshot's isolation level makes no difference: it is what is committed now that is asked for.
SELECT pg_temp.stands('past', '1 past:cid 30 cid was here, 2 past:bob 20, 3 past:ann 10 7 here', 'again');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.then('past', 'ann') AS ann;
ROLLBACK;
-- Forgotten: anonymised ones stay without what they said, erased ones are gone by number too.
SELECT player_id AS cid FROM scoreboard.player WHERE user_id = 'past:cid' \gset
SELECT player_id AS ann FROM scoreboard.player WHERE user_id = 'past:ann' \gset
SELECT count(*) > 0 AS kept FROM scoreboard.kept_version WHERE details @> '{cid was here}' AND player_ids @> ARRAY[:cid::bigint];
SELECT mode FROM scoreboard_forget('past:cid', 'anonymise');
SELECT count(*) FILTER (WHERE details @> '{cid was here}') AS details, count(*) FILTER (WHERE player_ids @> ARRAY[:cid::bigint]) > 0 AS ids FROM scoreboard.kept_version;
SELECT regexp_replace(pg_temp.then('past', 'cid'), 'forgotten-[0-9a-f]+', 'somebody') AS cid;
SELECT mode FROM scoreboard_forget('past:ann');
SELECT count(*) FILTER (WHERE details @> '{here}') AS details, count(*) FILTER (WHERE :ann = ANY (player_ids)) AS ids, count(*) FILTER (WHERE cardinality(ranks) <> cardinality(player_ids)
    OR cardinality(scores) <> cardinality(ranks) OR cardinality(subscores) <> cardinality(ranks) OR cardinality(details) <> cardinality(ranks)) AS uneven FROM scoreboard.kept_version;
SELECT regexp_replace(pg_temp.then('past', 'cid'), 'forgotten-[0-9a-f]+', 'somebody') AS cid, pg_temp.then('past', 'ann') AS ann;
-- Nothing is kept without the setting, and what was kept before a time without it is no list of that time.
SELECT sign.becomes($$pg_temp.at('past', clock_timestamp()) NOT LIKE '%past:ann%'$$);
UPDATE scoreboard.board SET keep_versions = NULL WHERE name = 'past' RETURNING kept_since;
SELECT sign.outcome($$SELECT scoreboard_leaderboard_at('past', now())$$);
SELECT sign.becomes($$pg_temp.kept('past') = 0$$) AS purged;
SELECT score FROM scoreboard_increment_for('past:dan', 'AWARD', 'p-4', 'past', 40);
SELECT sign.becomes($$(SELECT document LIKE '%past:dan%' FROM scoreboard.top WHERE board = 'past')$$);
SELECT pg_temp.kept('past') AS versions;
UPDATE scoreboard.board SET keep_versions = '2 hours', kept_since = '2000-01-01' WHERE name = 'past';
SELECT sign.becomes($$pg_temp.kept('past') = 1$$) AS from_now;
SELECT sign.outcome($$SELECT scoreboard_leaderboard_at('past', (SELECT at FROM sign.moment WHERE name = 'again'))$$);
-- Rows of before a gap that the purge hasn't got to yet answer nothing.
INSERT INTO scoreboard.kept_version SELECT board_id, now() - interval '1 day', 1, 1, '-infinity', 'infinity', 0, '{}', '{}', '{}' FROM scoreboard.board WHERE name = 'past';
SELECT sign.outcome($$SELECT scoreboard_leaderboard_at('past', now() - interval '1 hour')$$);
-- What has stood too long ago goes, but not what stood when the time that is kept began.
UPDATE scoreboard.board SET keep_versions = '100 years' WHERE name = 'past';
ALTER TABLE scoreboard.board DISABLE TRIGGER keeps;
UPDATE scoreboard.board SET kept_since = now() - interval '90 days' WHERE name = 'past';
ALTER TABLE scoreboard.board ENABLE TRIGGER keeps;
INSERT INTO scoreboard.kept_version SELECT board_id, now() - h * interval '1 hour', 1, 1, '-infinity', 'infinity', h, '{}', '{}', '{}' FROM scoreboard.board, generate_series(2, 1500) h WHERE name = 'past';
UPDATE scoreboard.board SET keep_versions = '720 hours 10 minutes' WHERE name = 'past';
SELECT sign.becomes($$(SELECT max(players) = 721 FROM scoreboard.kept_version k JOIN scoreboard.board b USING (board_id) WHERE b.name = 'past')$$) AS purged;
SELECT (scoreboard_leaderboard_at('past', now() - interval '720 hours 5 minutes') ->> 'players')::int AS then;
-- A label board has its template's setting; a removed board takes nothing into its next life, and all of its versions go.
UPDATE scoreboard.board SET title = 'Past', keep_versions = '1 hour' WHERE name = 'past';
SELECT count(*) FROM scoreboard_set_label_boards('past', 'country', '{de}');
SELECT sign.becomes(format('pg_temp.kept(%L) = 1', name)) AS labels_board, kept_since > now() - interval '1 minute' AS since_now FROM scoreboard.board JOIN scoreboard.label_board USING (board_id) WHERE value = 'de' AND keep_versions = '1 hour';
SELECT board_id AS old FROM scoreboard.board WHERE name = 'past' \gset
DELETE FROM scoreboard.board WHERE name LIKE 'past%';
INSERT INTO scoreboard.board (name, keep_versions, publish_interval_ms) VALUES ('past', '1 hour', 10);
SELECT sign.becomes($$pg_temp.kept('past') = 1$$) AS kept, pg_temp.at('past', clock_timestamp()) AS new;
SELECT sign.outcome($$SELECT scoreboard_leaderboard_at('past', (SELECT at FROM sign.moment WHERE name = 'again'))$$);
SELECT sign.becomes($$NOT EXISTS (SELECT FROM scoreboard.kept_version WHERE board_id = $$ || :old || ')') AS purged;
DELETE FROM scoreboard.board WHERE name LIKE 'past%';
SELECT sign.becomes($$NOT EXISTS (SELECT FROM scoreboard.kept_version k WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.board_id = k.board_id))$$) AS purged;
DROP TABLE sign.moment;
