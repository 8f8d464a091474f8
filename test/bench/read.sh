# Part `read`: ranks and lists, from small boards to the largest, against Redis. Sourced by test/bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2034 # what the other files read

# measure_read SCRIPT CLIENTS DATABASE SECONDS
measure_read()
{
	if pgbench_run "$3" bench_gateway "$2" "$4" "$1" -D "players=${3#players_}"
	then
		VALUE=$TPS
	else
		reason "$CURRENT" "refused: $(pgbench_error)"
	fi
}

measure_nothing() { measure_read nothing "$@"; }
measure_rank() { measure_read rank "$@"; }
measure_top() { measure_read top "$@"; }
measure_leaderboard() { measure_read leaderboard "$@"; }

bench_read()
{
	local size keys=() bytes difference

	for size in "${SIZES[@]}"
	do
		keys+=("rank:1:players_$size")
	done
	rounds "${keys[@]}"
	keys=()
	for size in "${SIZES[@]}"
	do
		keys+=("top:1:players_$size")
	done
	rounds "${keys[@]}"
	rounds "rank:32:players_$PLAYERS" "zrevrank:32:players_$PLAYERS" "nothing:32:players_$PLAYERS"
	rounds "top:32:players_$MAIN" "leaderboard:32:players_$MAIN" "zrevrange:32:players_$MAIN"

	[ -n "$REDIS_WHY" ] || result redis_memory "$(calculate "$(redis MEMORY USAGE "players_$PLAYERS" SAMPLES 0) / $PLAYERS")"
	# After the writes, so with the gaps that they left in the tree.
	bytes=$(sql "players_$PLAYERS" -c "SELECT rank_memory::numeric / players FROM scoreboard_stats() WHERE board = 'global' AND players > 0" 2>/dev/null)
	if [ -n "$bytes" ]
	then
		result memory "$bytes"
	else
		reason memory 'scoreboard_stats() does not tell'
	fi
	for size in "${SIZES[@]}"
	do
		difference=$(sql "players_$size" -c 'SELECT bench.top_difference()')
		[ -z "$difference" ] || say "WRONG LIST at $size players: $difference"
	done
}
