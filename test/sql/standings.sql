-- scoreboard.standings: where many players stand, as each of them is told.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set ECHO all
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, visibility, ties) VALUES ('standings', 'token', 'shared'), ('standings-none', 'public', 'first');
SELECT count(*) FROM generate_series(1, 30) n, scoreboard_increment_for('stand-' || n, 'AWARD', 'first', 'standings', points => n / 2) r;
SELECT scoreboard_hide('stand-5'), scoreboard_ban('stand-6'), scoreboard_freeze('stand-7');
SELECT scoreboard_set_profile('stand-new', 'No score yet');
SELECT sign.wait_for_ranks();
SELECT * FROM scoreboard.standings('standings', ARRAY['stand-30', 'stand-1', 'stand-5', 'stand-6', 'stand-7', 'stand-new', 'stand-nobody', 'stand-29', 'stand-30']) ORDER BY user_id;
-- The same as each would be told by itself.
SELECT s.user_id, s.score, s.rank, m FROM scoreboard.standings('standings', ARRAY(SELECT 'stand-' || n FROM generate_series(1, 30) n)) s,
    LATERAL (SELECT scoreboard_me('standings', token => sign.token(s.user_id)) AS m) t
    WHERE (m ->> 'score', m ->> 'rank', m ->> 'players', m ->> 'season') IS DISTINCT FROM (s.score::text, s.rank::text, s.players::text, s.season::text);
-- Nobody, nothing, nowhere.
SELECT * FROM scoreboard.standings('standings', '{}');
SELECT * FROM scoreboard.standings('standings-none', '{stand-1,""}');
SELECT * FROM scoreboard.standings('nowhere', '{stand-1}');
SELECT * FROM scoreboard.standings(NULL, '{stand-1}');
SELECT sign.outcome('SELECT scoreboard.standings(''standings'', NULL)');
SELECT sign.outcome('SELECT scoreboard.standings(''standings'', ARRAY[''stand-1'', NULL])');
SELECT sign.outcome('SELECT scoreboard.standings(''standings'', array_fill(''x''::text, ARRAY[1001]))');
SELECT count(*) FROM scoreboard.standings('standings', array_fill('stand-30'::text, ARRAY[1000])) WHERE rank = 1;
-- What is committed, not what this transaction has done.
BEGIN;
SELECT score FROM scoreboard_increment_for('stand-1', 'AWARD', 'second', 'standings', points => 100);
SELECT score FROM scoreboard.standings('standings', '{stand-1}');
ROLLBACK;
DELETE FROM scoreboard.board WHERE name LIKE 'standings%';
