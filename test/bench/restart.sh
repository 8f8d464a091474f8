# Part `restart`: how long until ranks are answered by the tree again. Sourced by test/bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

now()
{
	date +%s.%N
}

bench_restart()
{
	local database=players_$PLAYERS start round patience

	if [ -z "$INDEXED" ]
	then
		reason build 'the tree does not answer'
		return
	fi
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
		# The same pages are in the same caches as they were when the tree read them.
		start=$(now)
		sql "$database" -c 'SET max_parallel_workers_per_gather = 0' -c 'SELECT count(*) FROM scoreboard.score' >/dev/null
		result scan "$(calculate "$(now) - $start")"
	done
	say "restart: tree and scan measured $ROUNDS times"
}
