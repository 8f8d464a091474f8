-- A player chooses how it stands in lists: in none, in all, or in them without name and avatar. The published list follows.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('choice', 10), ('choice-2', 10);
INSERT INTO scoreboard.player (player_id, user_id, display_name, avatar_url) VALUES
    (992001, 'ch-ada', 'Ada', 'https://img.test/ada.png'), (992002, 'ch-bob', 'Bob', NULL), (992003, 'ch-cyd', 'Cyd', NULL);
CREATE FUNCTION pg_temp.act(who text, points bigint, board text DEFAULT 'choice') RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.score, 'rank', coalesce(r.rank::text, 'null')) FROM public.scoreboard_increment_for(who, 'AWARD', gen_random_uuid()::text, act.board, act.points) r
$$;
SELECT who, board, pg_temp.act(who, points, board) IS NOT NULL AS counted
    FROM (VALUES ('ch-ada', 30, 'choice'), ('ch-bob', 20, 'choice'), ('ch-cyd', 10, 'choice'), ('ch-ada', 5, 'choice-2')) AS v (who, points, board);
SELECT sign.wait_for_ranks();
CREATE FUNCTION pg_temp.shows(wanted text, board text DEFAULT 'choice') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    FOR round IN 1..1500 LOOP
        SELECT t.players || ': ' || coalesce(string_agg(concat_ws(' ', e ->> 'rank', e ->> 'userId', e ->> 'displayName', e ->> 'avatarUrl'), ', ' ORDER BY n), '') INTO found
            FROM scoreboard.top t LEFT JOIN json_array_elements(t.document::json -> 'entries') WITH ORDINALITY AS x (e, n) ON true WHERE t.board = shows.board GROUP BY t.players;
        EXIT WHEN found IS NOT DISTINCT FROM wanted;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN found;
END
$$;
SELECT pg_temp.shows('3: 1 ch-ada Ada https://img.test/ada.png, 2 ch-bob Bob, 3 ch-cyd Cyd');

-- Out of all lists, ranks and counts, on every board; it goes on scoring, and sees its own score.
SELECT scoreboard_set_listed(false, token => sign.token('ch-ada'));
SELECT pg_temp.shows('2: 1 ch-bob Bob, 2 ch-cyd Cyd'), pg_temp.shows('0: ', 'choice-2');
SELECT rank, user_id FROM scoreboard_top('choice');
SELECT sign.outcome($$SELECT scoreboard_rank('ch-ada', 'choice')$$);
SELECT count(*) FROM scoreboard_ranks('{ch-ada,ch-bob}', 'choice');
SELECT scoreboard_me('choice', token => sign.token('ch-ada'));
SELECT pg_temp.act('ch-ada', 5);
-- The same again changes nothing: not even the row.
SELECT xmin AS before FROM scoreboard.player WHERE user_id = 'ch-ada' \gset
SELECT scoreboard_set_listed(false, token => sign.token('ch-ada'));
SELECT xmin = :'before' AS untouched FROM scoreboard.player WHERE user_id = 'ch-ada';
-- And in again
SELECT scoreboard_set_listed(true, token => sign.token('ch-ada'));
SELECT pg_temp.shows('3: 1 ch-ada Ada https://img.test/ada.png, 2 ch-bob Bob, 3 ch-cyd Cyd'), pg_temp.shows('1: 1 ch-ada Ada https://img.test/ada.png', 'choice-2');
SELECT pg_temp.act('ch-ada', 5);

-- Without name and avatar, wherever it is shown; a name that comes later isn't shown either, and both come back.
SELECT scoreboard_set_listed(true, true, sign.token('ch-ada'));
SELECT pg_temp.shows('3: 1 ch-ada Player 992001, 2 ch-bob Bob, 3 ch-cyd Cyd');
SELECT scoreboard_set_profile('ch-ada', 'Countess', 'https://img.test/countess.png');
SELECT display_name, avatar_url FROM scoreboard_top('choice', entries => 1);
SELECT scoreboard_rank('ch-ada', 'choice') ->> 'displayName' AS rank, scoreboard_me('choice', token => sign.token('ch-ada')) ->> 'displayName' AS me;
SELECT display_name, avatar_url FROM scoreboard_around('ch-ada', 'choice', 0);
SELECT display_name, avatar_url FROM scoreboard_ranks('{ch-ada}', 'choice');
SELECT scoreboard_set_listed(true, token => sign.token('ch-ada'));
SELECT pg_temp.shows('3: 1 ch-ada Countess https://img.test/countess.png, 2 ch-bob Bob, 3 ch-cyd Cyd');

-- What moderation has hidden stays hidden; what the player has chosen stays chosen.
SELECT scoreboard_hide('ch-bob');
SELECT scoreboard_set_listed(true, token => sign.token('ch-bob'));
SELECT sign.outcome($$SELECT scoreboard_rank('ch-bob', 'choice')$$);
SELECT scoreboard_set_listed(false, token => sign.token('ch-bob'));
SELECT scoreboard_hide('ch-bob', false);
SELECT sign.outcome($$SELECT scoreboard_rank('ch-bob', 'choice')$$);
SELECT scoreboard_set_listed(true, token => sign.token('ch-bob'));
SELECT scoreboard_rank('ch-bob', 'choice') ->> 'rank' AS rank;
SELECT scoreboard_ban('ch-cyd');
SELECT scoreboard_set_listed(true, token => sign.token('ch-cyd'));
SELECT sign.outcome($$SELECT scoreboard_rank('ch-cyd', 'choice')$$);
SELECT scoreboard_restore('ch-cyd');
SELECT scoreboard_rank('ch-cyd', 'choice') ->> 'rank' AS rank;

-- Who has never acted can choose before.
SELECT scoreboard_set_listed(false, token => sign.token('ch-new'));
SELECT pg_temp.act('ch-new', 1000);
SELECT user_id FROM scoreboard_top('choice', entries => 1);
SELECT scoreboard_set_listed(true, token => sign.token('ch-new'));
SELECT user_id FROM scoreboard_top('choice', entries => 1);

-- In a transaction that ends otherwise, and in one that began before.
BEGIN;
SELECT scoreboard_set_listed(false, token => sign.token('ch-new'));
ROLLBACK;
SELECT user_id FROM scoreboard_top('choice', entries => 1);
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT (scoreboard_increment_for('ch-new', 'AWARD', 'serializable', 'choice', 1)).score;
SELECT scoreboard_set_listed(false, true, token => sign.token('ch-new'));
COMMIT;
SELECT user_id FROM scoreboard_top('choice', entries => 1);
BEGIN READ ONLY;
SELECT sign.outcome(format($$SELECT scoreboard_set_listed(true, token => %L)$$, sign.token('ch-new')));
COMMIT;

-- Each attempt counts in the player's rate windows, together with its actions, before anything is written.
SET scoreboard.rate_limit = 3;
SELECT sign.outcome(format($$SELECT scoreboard_set_listed(%L, token => %L)$$, n % 2 = 1, sign.token('ch-many'))) FROM generate_series(1, 3) n;
SELECT regexp_replace(sign.outcome(format($$SELECT scoreboard_set_listed(false, token => %L)$$, sign.token('ch-many'))), '[0-9]+ s', 'N s');
SELECT regexp_replace(sign.outcome($$SELECT sign.increment('ch-many', 'COMPLETE_LEVEL', 'one', 'choice')$$), '[0-9]+ s', 'N s');
SELECT unlisted FROM scoreboard.player WHERE user_id = 'ch-many';
SET scoreboard.rate_limit = 0;

-- Refused
SELECT sign.outcome($$SELECT scoreboard_set_listed(true)$$);
SELECT sign.outcome($$SELECT scoreboard_set_listed(true, token => 'x')$$);
SELECT sign.outcome($$SELECT scoreboard_set_listed(NULL, token => 'x')$$);
SELECT sign.outcome($$SELECT scoreboard_set_listed(true, NULL, token => 'x')$$);

-- By hand, of many, an administrator may do the same.
UPDATE scoreboard.player SET unlisted = true WHERE user_id LIKE 'ch-%';
SELECT count(*) FROM scoreboard_top('choice');
UPDATE scoreboard.player SET unlisted = false, anonymous = false WHERE user_id LIKE 'ch-%';
SELECT rank, user_id FROM scoreboard_top('choice');
SET client_min_messages = warning;
SELECT * FROM scoreboard_verify('choice');
UPDATE scoreboard.score SET listed = false WHERE player_id = 992002;
SELECT finding, user_id, expected, found FROM scoreboard_repair('choice') WHERE user_id IS NOT NULL;
SELECT * FROM scoreboard_verify('choice') WHERE user_id IS NOT NULL;

DELETE FROM scoreboard.action WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'ch-%');
DELETE FROM scoreboard.score WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'ch-%');
DELETE FROM scoreboard.player WHERE user_id LIKE 'ch-%';
DELETE FROM scoreboard.board WHERE name LIKE 'choice%';
