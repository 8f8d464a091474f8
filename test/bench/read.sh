# Part `read`: ranks and lists, from small boards to the largest, against Redis. Sourced by test/bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

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

measure_rank() { measure_read rank "$@"; }
measure_top() { measure_read top "$@"; }
measure_leaderboard() { measure_read leaderboard "$@"; }

bench_read()
{
	local size keys=() difference

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
	rounds "rank:32:players_$PLAYERS" "zrevrank:32:players_$PLAYERS"
	rounds "top:32:players_$MAIN" "leaderboard:32:players_$MAIN" "zrevrange:32:players_$MAIN"

	[ -n "$REDIS_WHY" ] || result redis_memory "$(calculate "$(redis MEMORY USAGE "players_$PLAYERS" SAMPLES 0) / $PLAYERS")"
	for size in "${SIZES[@]}"
	do
		difference=$(sql "players_$size" -c 'SELECT bench.top_difference()')
		[ -z "$difference" ] || say "WRONG LIST at $size players: $difference"
	done
}
