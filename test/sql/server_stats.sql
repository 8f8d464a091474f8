-- What the whole server has in shared memory: one row, which follows what happens. Who may see it: access.sql.
-- That its counters grow needs a server with less memory: test/t/060_rate_limit.pl.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SELECT * FROM scoreboard_server_stats() LIMIT 0;
SELECT count(*) AS rows FROM scoreboard_server_stats();
SELECT library_version = scoreboard_library_version() AS version_of_library, rate_entries BETWEEN 0 AND rate_capacity AS entries_fit,
    rate_refusals_full >= 0 AND refusals_lost >= 0 AS counted, rank_memory_used BETWEEN 0 AND rank_memory AS trees_fit FROM scoreboard_server_stats();
-- The settings, without what the tables' own order takes: 16 MB for players of 192 bytes, 64 MB for nodes of 2 kB.
SELECT rate_capacity BETWEEN 80000 AND 16 * 1024 * 1024 / 192 AS rate_capacity, rank_memory BETWEEN 48 * 1024 * 1024 AND 64 * 1024 * 1024 AS rank_memory
    FROM scoreboard_server_stats();
SHOW scoreboard.rate_memory;
SHOW scoreboard.rank_memory;
-- Lower limits need less for each player.
SET scoreboard.rate_limit = 5;
SELECT rate_capacity BETWEEN 120000 AND 16 * 1024 * 1024 / 128 AS rate_capacity FROM scoreboard_server_stats();
RESET scoreboard.rate_limit;
-- A player's first attempt makes an entry, its next one none.
SELECT rate_entries AS entries FROM scoreboard_server_stats() \gset
SELECT applied_points FROM scoreboard_increment_for('stats-ada', 'AWARD', 'one', points => 1);
SELECT applied_points FROM scoreboard_increment_for('stats-ada', 'AWARD', 'two', points => 1);
SELECT rate_entries - :entries AS new_entries FROM scoreboard_server_stats();
-- This database's trees are among the server's.
SELECT sign.wait_for_ranks();
SELECT s.rank_memory_used >= b.bytes AND b.bytes > 0 AS trees_counted FROM scoreboard_server_stats() s, (SELECT sum(rank_memory) AS bytes FROM scoreboard_stats()) b;
DELETE FROM scoreboard.score s USING scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id = 'stats-ada';
DELETE FROM scoreboard.action a USING scoreboard.player p WHERE p.player_id = a.player_id AND p.user_id = 'stats-ada';
DELETE FROM scoreboard.player WHERE user_id = 'stats-ada';
