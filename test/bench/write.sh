# Part `write`: increments one at a time and in batches, against the floor, the textbook way and Redis. Sourced by test/bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153 # what the other files read and write

BATCH=100

# Acknowledged so far, by kind and database: what the checks afterwards compare with.
declare -A ACKNOWLEDGED=()

# check KIND DATABASE COUNT: COUNT more were acknowledged; false (and the reason is noted) if anything else was counted.
check()
{
	local all difference

	all=$((${ACKNOWLEDGED[$1:$2]:-0} + $3))
	ACKNOWLEDGED[$1:$2]=$all
	difference=$(sql "$2" -c "SELECT bench.difference('$1', $all)") || difference='the check failed'
	[ -n "$difference" ] || return 0
	reason "$CURRENT" "wrong sums: $difference"
	return 1
}

# given_up KIND DATABASE: notes what a client was told; what the others had counted is where the next check starts from.
given_up()
{
	local log=scoreboard.action

	reason "$CURRENT" "refused or failed: $(pgbench_error)"
	[ "$1" = scoreboard ] || log=bench.$1_action
	ACKNOWLEDGED[$1:$2]=$(sql "$2" -c "SELECT count(*) FROM $log")
}

# measure_single KIND SCRIPT CLIENTS DATABASE SECONDS: one request a transaction. Signs as many as a run that is four tenths faster could use.
measure_single()
{
	local kind=$1 script=$2 clients=$3 database=$4 seconds=$5 used

	sign "$database" "$(calculate "int($EXPECTED * ($WARM_UP + $seconds + 1) * 1.4 + 50 * $clients + 200)")" || return
	if ! pgbench_run "$database" bench_gateway "$clients" "$seconds" "$script"
	then
		given_up "$kind" "$database"
		return
	fi
	used=$(sql "$database" -c 'SELECT last_value FROM bench.next_request')
	if [ "$used" -gt "$LAST" ]
	then
		# The transactions after the last request did nothing, so this says only that it is faster than was expected.
		ACKNOWLEDGED[$kind:$database]=$((${ACKNOWLEDGED[$kind:$database]:-0} + LAST - FIRST + 1))
		EXPECTED=$(calculate "$EXPECTED * 3")
		measure_single "$@"
		return
	fi
	! check "$kind" "$database" "$DONE" || VALUE=$TPS
}

measure_floor() { measure_single floor floor "$@"; }
measure_textbook() { measure_single textbook textbook "$@"; }
measure_increment() { measure_single scoreboard increment "$@"; }

# Increments a second, BATCH a transaction.
measure_submit()
{
	local clients=$1 database=$2 seconds=$3 batches first used

	batches=$(calculate "int($EXPECTED / $BATCH * ($WARM_UP + $seconds + 1) * 1.4 + 2 * $clients + 5)")
	# From a number that begins a batch.
	first=$(((${SIGNED[$database]:-0} / BATCH + 1) * BATCH))
	SIGNED["$database"]=$((first - 1))
	sign "$database" $((batches * BATCH)) || return
	sql "$database" -c "SELECT bench.make_batches($BATCH)" -c "SELECT setval('bench.next_batch', $((first / BATCH)), false)" -c 'ANALYZE bench.batch' >/dev/null
	if ! pgbench_run "$database" bench_gateway "$clients" "$seconds" submit
	then
		given_up scoreboard "$database"
		return
	fi
	used=$(($(sql "$database" -c 'SELECT last_value FROM bench.next_batch') - first / BATCH + 1))
	if [ $used -gt "$batches" ]
	then
		ACKNOWLEDGED[scoreboard:$database]=$((${ACKNOWLEDGED[scoreboard:$database]:-0} + batches * BATCH))
		EXPECTED=$(calculate "$EXPECTED * 3")
		measure_submit "$@"
		return
	fi
	check scoreboard "$database" $((DONE * BATCH)) || return
	VALUE=$(calculate "$TPS * $BATCH")
	CPU=$(calculate "$CPU / $BATCH")
}

bench_write()
{
	local clients size keys=()

	for clients in 1 8 32
	do
		rounds "floor:$clients:players_$MAIN" "textbook:$clients:players_$MAIN" "increment:$clients:players_$MAIN"
	done
	rounds "submit:1:players_$MAIN" "submit:8:players_$MAIN" "zincrby:32:players_$MAIN"

	# How it moves with the size of the board; against each other, so each in turn.
	for size in "${SIZES[@]}"
	do
		keys+=("increment:8:players_$size")
	done
	[ ${#SIZES[@]} -eq 1 ] || { rm -f "$RESULTS/increment:8:players_$MAIN"; rounds "${keys[@]}"; }
}
