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
-- The settings, without what the tables' own order takes: 48 MB for half a million players of at most 96 bytes, 64 MB for nodes of 2 kB.
SELECT rate_memory, rate_capacity * 96 >= rate_memory AND rate_capacity > 500000 AS rate_capacity, rate_memory_used BETWEEN rate_entries * 92 AND rate_memory * 0.8 AS rate_memory_used, rate_nearly_full,
    rank_memory BETWEEN 48 * 1024 * 1024 AND 64 * 1024 * 1024 AS rank_memory FROM scoreboard_server_stats();
SHOW scoreboard.rate_memory;
SHOW scoreboard.rank_memory;
-- A player's attempts are seen; that they are one entry shows a server of their own, since others' may become idle meanwhile.
SELECT applied_points FROM scoreboard_increment_for('stats-ada', 'AWARD', 'one', points => 1);
SELECT applied_points FROM scoreboard_increment_for('stats-ada', 'AWARD', 'two', points => 1);
SELECT rate_entries > 0 AS entries, rate_memory_used > 0 AS used FROM scoreboard_server_stats();
-- This database's trees are among the server's.
SELECT sign.wait_for_ranks();
SELECT s.rank_memory_used >= b.bytes AND b.bytes > 0 AS trees_counted FROM scoreboard_server_stats() s, (SELECT sum(rank_memory) AS bytes FROM scoreboard_stats()) b;
DELETE FROM scoreboard.score s USING scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id = 'stats-ada';
DELETE FROM scoreboard.action a USING scoreboard.player p WHERE p.player_id = a.player_id AND p.user_id = 'stats-ada';
DELETE FROM scoreboard.player WHERE user_id = 'stats-ada';
