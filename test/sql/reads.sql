-- Reads: lists, documents, ranks, neighbours, friends; their bounds and refusals.
-- Rows are written directly, with fixed ids and moments, so that the order is the test's own.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set VERBOSITY default
SET timezone = 'UTC';
INSERT INTO scoreboard.board (name, score_order, ties, top_size) VALUES
    ('reads', 'high', 'first', 3), ('reads-low', 'low', 'first', 10), ('reads-shared', 'high', 'shared', 10), ('reads-empty', 'high', 'first', 10);
INSERT INTO scoreboard.player (player_id, user_id, display_name, avatar_url, state, hidden) VALUES
    (990001, 'reads-ada', 'Ada "the first" \', 'https://img.test/ada.png', 'active', false),
    (990002, 'reads-bob', NULL, NULL, 'active', false),
    (990003, 'reads-cyd', E'C\u0177d \U0001F600 <b>', NULL, 'active', false),
    (990004, 'reads-dan', 'Dan', NULL, 'frozen', false),
    (990005, 'reads-eve', 'Eve', NULL, 'active', true),
    (990006, 'reads-mal', 'Mal', NULL, 'banned', false),
    (990007, 'reads-new', 'New', NULL, 'active', false);
-- ada and bob reached 300 at the same moment: who appeared first stands first; cyd reached it later.
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, listed)
    SELECT b.board_id, 1, s.player_id, s.score, s.reached_at::timestamptz, s.listed
    FROM scoreboard.board b, (VALUES
        (990001, 300, '2026-01-01 10:00:00.000001', true), (990002, 300, '2026-01-01 10:00:00.000001', true),
        (990003, 300, '2026-01-01 10:00:00.000002', true), (990004, 100, '2026-01-01 09:00:00', true),
        (990005, 999, '2026-01-01 08:00:00', false), (990006, 5, '2026-01-01 08:00:00', false)) AS s (player_id, score, reached_at, listed)
    WHERE b.name IN ('reads', 'reads-low', 'reads-shared');

-- Lists: both orders, both kinds of ties, nobody who is hidden or banned. From the rank trees (061_rank_scan.pl compares with SQL).
SELECT sign.wait_for_ranks();
SELECT * FROM scoreboard_top('reads');
SELECT * FROM scoreboard_top('reads-low');
SELECT rank, user_id, score FROM scoreboard_top('reads-shared');
SELECT rank, user_id FROM scoreboard_top('reads', entries => 2, skip => 1);
SELECT rank, user_id FROM scoreboard_top('reads-shared', entries => 2, skip => 2);
SELECT rank, user_id FROM scoreboard_top('reads', skip => 4);
SELECT * FROM scoreboard_top('reads-empty');

-- One player: percentile counts who stands strictly behind by score.
SELECT scoreboard_rank('reads-ada', 'reads');
SELECT scoreboard_rank('reads-bob', 'reads');
SELECT scoreboard_rank('reads-cyd', 'reads');
SELECT scoreboard_rank('reads-cyd', 'reads-shared');
SELECT scoreboard_rank('reads-dan', 'reads', season => 1);
SELECT scoreboard_rank('reads-dan', 'reads-low');

-- Hidden, banned, without a score, unknown: not found, all in the same words.
SELECT scoreboard_rank('reads-eve', 'reads');
SELECT scoreboard_rank('reads-mal', 'reads');
SELECT scoreboard_rank('reads-new', 'reads');
SELECT scoreboard_rank('reads-nobody', 'reads');
SELECT * FROM scoreboard_around('reads-eve', 'reads');
-- The player itself sees its score, whatever it is.
SELECT scoreboard_me('reads', token => sign.token('reads-dan'));
SELECT scoreboard_me('reads', token => sign.token('reads-eve'));
SELECT scoreboard_me('reads', token => sign.token('reads-new'));
SELECT scoreboard_me('reads', token => sign.token('reads-never-seen'));
SELECT scoreboard_me('reads-empty', token => sign.token('reads-never-seen'));
SELECT scoreboard_rank('reads-eve', 'reads', token => sign.token('reads-eve'));
SELECT scoreboard_rank('reads-eve', 'reads', token => sign.token('reads-dan'));
SELECT scoreboard_me('reads');

-- Neighbours.
SELECT rank, user_id FROM scoreboard_around('reads-bob', 'reads', radius => 1);
SELECT rank, user_id FROM scoreboard_around('reads-ada', 'reads', radius => 1);
SELECT rank, user_id FROM scoreboard_around('reads-dan', 'reads', radius => 50);
SELECT * FROM scoreboard_around('reads-dan', 'reads-shared', radius => 0);
SELECT rank, user_id FROM scoreboard_around('reads-dan', 'reads-low', radius => 1);

-- Friends: in order, each once, with their ranks on the whole board; others are left out.
SELECT rank, user_id, display_name, score FROM scoreboard_ranks(ARRAY['reads-dan', 'reads-bob', 'reads-eve', 'reads-bob', 'reads-nobody', ''], 'reads');
SELECT rank, user_id FROM scoreboard_ranks(ARRAY['reads-dan', 'reads-bob', 'reads-ada'], 'reads-shared');
SELECT rank, user_id FROM scoreboard_ranks(ARRAY['reads-cyd', 'reads-dan', 'reads-bob', 'reads-ada'], 'reads-low');
SELECT * FROM scoreboard_ranks('{}', 'reads');

-- For bridges, as JSON: the same rows.
SELECT scoreboard.live_top('reads', 2, 1, NULL, NULL);
SELECT scoreboard.around('reads-dan', 'reads-low', 1, NULL, NULL);
SELECT scoreboard.ranks('{reads-dan,reads-eve,reads-ada}', 'reads', NULL, NULL);
SELECT scoreboard.ranks('{}', 'reads', 1, NULL);
SELECT scoreboard.rank('reads-dan', 'reads', NULL, NULL)::text = scoreboard_rank('reads-dan', 'reads')::text AS rank,
    scoreboard.me('reads', NULL, sign.token('reads-eve'))::text = scoreboard_me('reads', token => sign.token('reads-eve'))::text AS me,
    scoreboard.view('reads', 1, 1, '{}', 'reads-dan', NULL, NULL)::jsonb - 'asOf' = scoreboard_view('reads', 1, 1, user_id => 'reads-dan')::jsonb - 'asOf' AS view;
SELECT scoreboard.live_top('reads', 0, 0, NULL, NULL);
SELECT scoreboard.around('reads-eve', 'reads', 1, NULL, NULL);

-- What is committed counts, not what this transaction has done.
BEGIN;
UPDATE scoreboard.score SET score = 1000, reached_at = '2026-01-02' WHERE player_id = 990004;
INSERT INTO scoreboard.score SELECT board_id, 1, 990007, 2000, '2026-01-02' FROM scoreboard.board WHERE name = 'reads';
SELECT rank, user_id, score FROM scoreboard_top('reads');
SELECT scoreboard_rank('reads-dan', 'reads');
SELECT scoreboard_rank('reads-new', 'reads');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT rank, user_id FROM scoreboard_top('reads');
SELECT rank, user_id FROM scoreboard_around('reads-bob', 'reads', 1);
COMMIT;

-- A score that not every JSON reader holds exactly enters by no way.
UPDATE scoreboard.score SET score = 9007199254740992 WHERE player_id = 990001;
UPDATE scoreboard.score SET score = -9007199254740992 WHERE player_id = 990001;

-- Bounds: refused, never clamped.
SELECT * FROM scoreboard_top('reads', entries => 0);
SELECT * FROM scoreboard_top('reads', entries => 1001);
SELECT * FROM scoreboard_top('reads', entries => NULL);
SELECT * FROM scoreboard_top('reads', skip => -1);
SELECT * FROM scoreboard_top('reads', skip => NULL);
SELECT * FROM scoreboard_top(NULL);
SELECT scoreboard_leaderboard('reads', entries => 0);
SELECT scoreboard_leaderboard('reads', entries => 1001);
SELECT * FROM scoreboard_around('reads-bob', 'reads', radius => 51);
SELECT * FROM scoreboard_around('reads-bob', 'reads', radius => -1);
SELECT * FROM scoreboard_around(NULL, 'reads');
SELECT * FROM scoreboard_ranks(NULL, 'reads');
SELECT * FROM scoreboard_ranks(ARRAY['reads-bob', NULL], 'reads');
SELECT * FROM scoreboard_ranks(ARRAY[ARRAY['reads-bob']], 'reads');
SELECT * FROM scoreboard_ranks(array_fill('x'::text, ARRAY[1001]), 'reads');
SELECT count(*) FROM scoreboard_ranks(array_fill('reads-bob'::text, ARRAY[1000]), 'reads');
SELECT count(*) FROM scoreboard_top('reads', entries => 1000);
SELECT scoreboard_rank('', 'reads');
SELECT scoreboard_rank(repeat('x', 256), 'reads');
SELECT scoreboard_rank(repeat('x', 255), 'reads');

-- Boards and seasons that don't exist; what no board can be called is not found either.
SELECT * FROM scoreboard_top('reads-none');
SELECT * FROM scoreboard_top('Reads');
SELECT * FROM scoreboard_top(repeat('x', 100));
SELECT * FROM scoreboard_top('reads', season => 2);
SELECT scoreboard_rank('reads-bob', 'reads', season => 0);
SELECT scoreboard_leaderboard('reads', season => 2);

-- A token that is given is verified, also where nobody asked for it; form comes first.
SELECT * FROM scoreboard_top('reads', token => 'x');
SELECT scoreboard_rank('reads-bob', 'reads', token => '');
SELECT * FROM scoreboard_top('reads-none', token => 'x');
SELECT * FROM scoreboard_top('reads', entries => 0, token => 'x');
SELECT rank FROM scoreboard_top('reads', entries => 1, token => sign.token('reads-dan'));

-- The stored document. The publisher writes it: wait until it shows what we wrote.
CREATE FUNCTION pg_temp.published(board text, entries int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..600 LOOP
        BEGIN
            IF json_array_length(scoreboard_leaderboard(board) -> 'entries') = entries THEN
                RETURN;
            END IF;
        EXCEPTION WHEN SQLSTATE 'PT503' THEN
            NULL;
        END;
        PERFORM pg_sleep(0.1);
    END LOOP;
    RAISE 'board % was not published', board;
END
$$;
SELECT pg_temp.published('reads', 3), pg_temp.published('reads-low', 4), pg_temp.published('reads-shared', 4), pg_temp.published('reads-empty', 0);
CREATE FUNCTION pg_temp.steady(document json) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(document::text, '"version":[1-9][0-9]{12,15},', '"version":N,'),
        '"updatedAt":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"', '"updatedAt":T')
$$;
SELECT pg_temp.steady(scoreboard_leaderboard('reads'));
SELECT pg_temp.steady(scoreboard_leaderboard('reads', entries => 1));
SELECT pg_temp.steady(scoreboard_leaderboard('reads', entries => 2)) = pg_temp.steady(scoreboard_leaderboard('reads', 2, 1, sign.token('x')));
SELECT scoreboard_leaderboard('reads', entries => 1000)::text = scoreboard_leaderboard('reads')::text AS whole;
SELECT pg_temp.steady(scoreboard_leaderboard('reads-empty', entries => 1));

-- Documents for a gateway: what differs from what it knows, and what is gone.
SELECT board, season, version > 0 AS version, document::text = scoreboard_leaderboard(board)::text AS document
    FROM scoreboard_documents() WHERE board LIKE 'reads%';
SELECT board, version IS NULL AS gone, document IS NULL AS empty FROM scoreboard_documents(
    (SELECT json_object_agg(d.board, d.stamp) FROM scoreboard_documents() d WHERE d.board <> 'reads-low'))
    WHERE board LIKE 'reads%';
SELECT board FROM scoreboard_documents('{"reads":1,"reads-low":1}') WHERE board LIKE 'reads%';
SELECT d.* FROM scoreboard_documents('{"reads-gone":17,"Not a \"board\"":null}') d WHERE version IS NULL;
SELECT * FROM scoreboard_documents('[]');
SELECT * FROM scoreboard_documents(NULL);
DELETE FROM scoreboard.board WHERE name = 'reads-empty';
SELECT * FROM scoreboard_documents('{"reads-empty":1}') WHERE board = 'reads-empty';

-- Nobody may call anything before it was granted.
CREATE ROLE reads_nobody;
CREATE ROLE reads_reader;
SELECT scoreboard_grant_access('reads_reader', 'reader');
SET ROLE reads_nobody;
SELECT * FROM scoreboard_top('reads');
SET ROLE reads_reader;
SELECT rank, user_id FROM scoreboard_top('reads', entries => 1);
SELECT scoreboard_rank('reads-bob', 'reads') ->> 'rank' AS rank;
SELECT scoreboard_me('reads');
SELECT * FROM scoreboard_documents();
SELECT * FROM scoreboard.score;
RESET ROLE;
SELECT scoreboard_revoke_access('reads_reader');
DROP ROLE reads_reader, reads_nobody;
DELETE FROM scoreboard.score WHERE player_id BETWEEN 990001 AND 990007;
DELETE FROM scoreboard.player WHERE player_id BETWEEN 990001 AND 990007;
DELETE FROM scoreboard.board WHERE name LIKE 'reads%';
