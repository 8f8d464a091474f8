# Part `restart`: how long until ranks are answered by the tree again. Sourced by test/bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

now()
{
	date +%s.%N
}

# The same rows in a table that nobody has read since the restart: the scan finds them where the tree's builder found its own, in the system's
# cache, and with all of shared_buffers still to be touched for the first time.
copy_scores()
{
	sql "$1" -c 'CREATE TABLE bench.score_copy (LIKE scoreboard.score) WITH (fillfactor = 70)' \
		-c 'INSERT INTO bench.score_copy SELECT * FROM scoreboard.score' -c 'VACUUM ANALYZE bench.score_copy'
}

bench_restart()
{
	local database=players_$PLAYERS start round patience

	if [ -z "$INDEXED" ]
	then
		reason build 'the tree does not answer'
		return
	fi
	copy_scores "$database" || return
	for ((round = 1; round <= ROUNDS; round++))
	do
		server_restart || return
		start=$(now)
		patience=$(($(date +%s) + 120))
		until ranks_are_indexed "$database"
		do
			[ "$(date +%s)" -lt $patience ] || { reason build 'not ready two minutes after the restart'; return; }
			sleep 0.02
		done
		result build "$(calculate "$(now) - $start")"
		start=$(now)
		sql "$database" -c 'SET max_parallel_workers_per_gather = 0' -c 'SELECT count(*) FROM bench.score_copy' >/dev/null
		result scan "$(calculate "$(now) - $start")"
	done
	say "restart: tree and scan measured $ROUNDS times"
}
