-- Ended seasons are kept for as long as the board says, and go for good then: reads don't know them, verify doesn't miss them, the log of actions may
-- outlive them or not, versions and the period stay what they are.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE VIEW pg_temp.seasons AS SELECT b.name, e.* FROM scoreboard.season e JOIN scoreboard.board b USING (board_id) WHERE b.name LIKE 'sr-%';
CREATE FUNCTION pg_temp.final(board text, season integer) RETURNS text LANGUAGE sql AS $$
    SELECT sign.becomes(format('EXISTS (SELECT FROM pg_temp.seasons e WHERE e.name = %L AND e.season = %s AND e.final)', board, season))
$$;
-- Until nothing is to be purged any more
CREATE FUNCTION pg_temp.purged() RETURNS text LANGUAGE sql AS $$ SELECT sign.becomes('NOT EXISTS (SELECT FROM scoreboard.seasons_to_purge())') $$;
-- As if it had ended so long ago
CREATE FUNCTION pg_temp.age(board text, season integer, age interval) RETURNS void LANGUAGE sql AS $$
    UPDATE scoreboard.season e SET ended_at = clock_timestamp() - age FROM scoreboard.board b WHERE b.board_id = e.board_id AND b.name = board AND e.season = age.season
$$;
CREATE FUNCTION pg_temp.rows() RETURNS TABLE (board text, place text, season integer, rows bigint) LANGUAGE sql VOLATILE AS $$
    SELECT b.name, t.place, t.season, count(*) FROM scoreboard.board b JOIN (SELECT 'score' AS place, board_id, season FROM scoreboard.score
        UNION ALL SELECT 'balance', board_id, season FROM scoreboard.balance UNION ALL SELECT 'action', board_id, season FROM scoreboard.action
        UNION ALL SELECT 'credit', board_id, season FROM scoreboard.credit) AS t USING (board_id)
    WHERE b.name LIKE 'sr-%' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
$$;
CREATE FUNCTION pg_temp.differences() RETURNS TABLE (board text, season integer, finding text) LANGUAGE sql VOLATILE AS $$
    SELECT v.board_name, v.season, v.finding FROM scoreboard.board b, LATERAL scoreboard_verify(b.name) v WHERE b.name LIKE 'sr-%'
$$;
\set ECHO all

-- What is allowed
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, season_retention) VALUES ('sr-bad', '59 minutes')$$);
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, season_retention) VALUES ('sr-bad', '-1 day')$$);
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, season_retention) VALUES ('sr-bad', '101 years')$$);
INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('sr-reset', 'reset', 10), ('sr-all', 'reset', 10);
UPDATE scoreboard.board SET counts_towards = ARRAY(SELECT board_id FROM scoreboard.board WHERE name = 'sr-all') WHERE name = 'sr-reset';
SELECT sign.wait_for_ranks();

-- Three seasons of the one, two of the other; the players' actions count on both.
SELECT r.season, r.score FROM generate_series(1, 3) n, LATERAL scoreboard_increment_for('sr:' || n, 'AWARD', 's1', 'sr-reset', n, idempotency_key => 'sr-' || n) r;
SELECT r.season, r.next_season FROM scoreboard_reset_season('sr-reset') r;
SELECT r.season, r.score FROM generate_series(1, 2) n, LATERAL scoreboard_increment_for('sr:' || n, 'AWARD', 's2', 'sr-reset', n) r;
SELECT r.season, r.next_season FROM scoreboard_reset_season('sr-reset') r;
SELECT r.season, r.next_season FROM scoreboard_reset_season('sr-all') r;
SELECT r.season, r.score FROM scoreboard_increment_for('sr:1', 'AWARD', 's3', 'sr-reset', 7) r;
SELECT i.season, i.players FROM scoreboard_import('sr-all', '{sr:9}', '{5}', 'sr-import') i;
SELECT pg_temp.final('sr-reset', 1), pg_temp.final('sr-reset', 2), pg_temp.final('sr-all', 1);
SELECT * FROM pg_temp.rows();

-- For ever, where nobody says otherwise; then by the setting, the oldest first, whatever is younger stays.
SELECT pg_temp.age('sr-reset', 1, '3 hours'), pg_temp.age('sr-reset', 2, '70 minutes'), pg_temp.age('sr-all', 1, '100 days');
SELECT count(*) FROM scoreboard.seasons_to_purge();
SELECT max(version) AS greatest FROM pg_temp.seasons WHERE name = 'sr-reset' \gset
UPDATE scoreboard.board SET season_retention = '2 hours' WHERE name = 'sr-reset';
SELECT pg_temp.purged();
SELECT * FROM pg_temp.rows() WHERE board = 'sr-reset';
SELECT season, ended_at IS NOT NULL AS ended, players, document IS NULL AS no_document, purged_at IS NOT NULL AS purged FROM pg_temp.seasons WHERE name = 'sr-reset' ORDER BY season;
-- As one that never was
SELECT sign.outcome(format(call, season)) FROM generate_series(0, 1) season, (VALUES (1, $$SELECT scoreboard_top('sr-reset', season => %s)$$), (2, $$SELECT scoreboard_leaderboard('sr-reset', season => %s)$$),
    (3, $$SELECT scoreboard_rank('sr:1', 'sr-reset', %s)$$), (4, $$SELECT scoreboard_around('sr:1', 'sr-reset', season => %s)$$), (5, $$SELECT scoreboard_ranks('{sr:1}', 'sr-reset', %s)$$),
    (6, $$SELECT scoreboard_view('sr-reset', season => %s)$$), (7, $$SELECT scoreboard_distribution('sr-reset', season => %s)$$), (8, $$SELECT scoreboard_export('sr-reset', season => %s)$$)) c (n, call) ORDER BY n, season;
SELECT t.rank, t.user_id, t.score FROM scoreboard_top('sr-reset', season => 2) t;
SELECT * FROM pg_temp.differences();
SELECT h.season, h.score FROM scoreboard_history_for('sr:1', 'sr-reset') h;
-- A repetition has its answer still.
SELECT r.season, r.score, r.replayed FROM scoreboard_increment_for('sr:2', 'AWARD', 's1', 'sr-reset', 2, idempotency_key => 'sr-2') r;
-- Longer again brings nothing back. Shorter takes the next, and its mark takes the older one's place; the greatest version stays known.
UPDATE scoreboard.board SET season_retention = '1 year' WHERE name = 'sr-reset';
UPDATE scoreboard.board SET season_retention = '1 hour' WHERE name LIKE 'sr-%';
SELECT pg_temp.purged();
SELECT name, season, players, document IS NULL AS no_document, purged_at IS NOT NULL AS purged FROM pg_temp.seasons WHERE purged_at IS NOT NULL ORDER BY 1, 2;
SELECT version >= :greatest AS kept FROM pg_temp.seasons WHERE name = 'sr-reset' AND season = 2;
SELECT * FROM pg_temp.rows();
SELECT * FROM pg_temp.differences();
SELECT b.season, b.players FROM scoreboard_boards() b WHERE b.board LIKE 'sr-%' ORDER BY b.board;
-- The running one goes on, in every way.
SELECT r.season, r.score, r.rank FROM scoreboard_increment_for('sr:2', 'AWARD', 's4', 'sr-reset', 1) r;
SELECT sign.becomes(format($$(SELECT t.version > %s AND t.players = 2 FROM scoreboard.top t WHERE t.board = 'sr-reset')$$, :greatest));
SELECT a.season, a.score FROM scoreboard_adjust('sr:2', 'sr-reset', 4, 'test', 'sr-adjust') a;
SELECT * FROM pg_temp.differences();
SELECT sign.outcome($$UPDATE scoreboard.board SET period = 'day' WHERE name = 'sr-all'$$);

-- An action of it is taken back: in the log alone.
SELECT u.board, u.season, u.previous_score, u.score FROM scoreboard_undo('sr:1', 's1', 'test') u;
SELECT * FROM pg_temp.rows() WHERE place = 'score';
-- Moderation and forgetting of who stood in what is gone
SELECT scoreboard_hide('sr:1'), scoreboard_hide('sr:1', false);
SELECT f.mode FROM scoreboard_forget('sr:3') f;
SELECT f.mode FROM scoreboard_forget('sr:2', 'anonymise') f;
SELECT * FROM pg_temp.differences();

-- Actions that are purged after their season leave no balance of it; those of a season that stands do.
UPDATE scoreboard.action a SET created_at = a.created_at - interval '60 days' FROM scoreboard.board b WHERE b.board_id = a.board_id AND b.name LIKE 'sr-%';
SELECT scoreboard_set_retention('30 days');
SELECT sign.becomes('NOT scoreboard.purge_due()');
SELECT * FROM pg_temp.rows();
SELECT * FROM pg_temp.differences();
-- A season that ends then has its balances purged, too.
SELECT r.season, r.next_season FROM scoreboard_reset_season('sr-reset') r;
SELECT pg_temp.final('sr-reset', 3);
SELECT pg_temp.age('sr-reset', 3, '2 hours');
UPDATE scoreboard.board SET season_retention = '90 minutes' WHERE name = 'sr-reset';
SELECT pg_temp.purged();
SELECT * FROM pg_temp.rows();
SELECT season, players, purged_at IS NOT NULL AS purged FROM pg_temp.seasons WHERE name = 'sr-reset' ORDER BY season;
SELECT scoreboard_set_retention();

-- What isn't final, or hasn't ended, stays however old it is.
UPDATE scoreboard.season e SET began_at = began_at - interval '1 year' FROM scoreboard.board b WHERE b.board_id = e.board_id AND b.name = 'sr-all' AND e.season = 2;
UPDATE scoreboard.board SET season_retention = '61 minutes' WHERE name = 'sr-all';
SELECT count(*) FROM scoreboard.seasons_to_purge();
-- Label boards do as their template does.
INSERT INTO scoreboard.board (name, period) VALUES ('sr-label', 'day');
SELECT count(*) FROM scoreboard_set_label_boards('sr-label', 'country', '{de}') s;
UPDATE scoreboard.board SET season_retention = '5 days' WHERE name = 'sr-label';
SELECT b.name, b.season_retention FROM scoreboard.board b WHERE b.name LIKE 'sr-label%' ORDER BY 1;
DELETE FROM scoreboard.board WHERE name LIKE 'sr-label%';
-- A board that is removed and made again knows of nothing.
DELETE FROM scoreboard.board WHERE name = 'sr-reset';
INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('sr-reset', 'reset', 10);
SELECT r.season, r.score FROM scoreboard_increment_for('sr:9', 'AWARD', 'new', 'sr-reset', 1) r;
DELETE FROM scoreboard.board WHERE name LIKE 'sr-%';
