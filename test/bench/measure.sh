# Timed parts: one run of pgbench, rounds in turn, medians. Sourced by test/bench/run.
#
# A result has a key, "what:clients:database", and its values in the file $RESULTS/key, one a line, in the order of the rounds. What could not
# be measured has a reason in $RESULTS/key.reason instead.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2034 # what the other files read

# sql DATABASE [PSQL OPTION...]
sql()
{
	local database=$1
	shift
	psql -X -q -t -A -v ON_ERROR_STOP=1 -d "$database" "$@"
}

# calculate EXPRESSION: with fractions
calculate()
{
	awk "BEGIN { printf \"%.12g\", ($1) }"
}

# median KEY: nothing if there is no value
median()
{
	[ -s "$RESULTS/$1" ] || return 0
	sort -g "$RESULTS/$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# result KEY VALUE
result()
{
	echo "$2" >>"$RESULTS/$1"
}

# reason KEY TEXT: why there is no value, or why those that there are can't be used
reason()
{
	echo "$2" >"$RESULTS/$1.reason"
	say "$1: $2"
}

# why KEY
why()
{
	if [ -s "$RESULTS/$1.reason" ]
	then
		cat "$RESULTS/$1.reason"
	else
		echo 'not part of this run'
	fi
}

# Seconds of processor time that the server's children took which have ended: pgbench's backends among them, soon after it.
children_cpu()
{
	awk -v tick="$(getconf CLK_TCK)" '{ print ($16 + $17) / tick }' "/proc/$(head -n 1 "$WORK/data/postmaster.pid")/stat"
}

# The first seconds of a run aren't counted: every client's backend has its caches to fill and its map of the shared memory to
# make, page by page, which clients that stay connected did long ago. Long enough for 32 of them.
WARM_UP=2
[ -z "${BENCH_QUICK-}" ] || WARM_UP=0

# pgbench_run DATABASE USER CLIENTS SECONDS SCRIPT [OPTION...]: sets TPS (after the warm-up), DONE (transactions of all the run) and CPU (the
# server's microseconds for one of them); false if a client gave up. On a machine that has other work to do, CPU is what still can be compared.
pgbench_run()
{
	local database=$1 user=$2 clients=$3 seconds=$4 script=$5 threads before log=$WORK/logs/pgbench
	shift 5

	threads=$((clients < $(nproc) ? clients : $(nproc)))
	TPS=
	DONE=
	CPU=
	before=$(children_cpu)
	# A second more, since the last one isn't always reported.
	pgbench -n -M prepared -U "$user" -c "$clients" -j "$threads" -T $((WARM_UP + seconds + 1)) -P 1 -f "$BENCH/scripts/$script.sql" "$@" "$database" \
		>"$log" 2>&1 </dev/null || return 1
	TPS=$(sed -n 's/^progress: \([0-9.]*\) s, \([0-9.]*\) tps.*/\1 \2/p' "$log" |
		awk -v from=$WARM_UP -v to=$((WARM_UP + seconds)) '$1 > from + 0.5 && $1 < to + 0.5 { sum += $2; n++ } END { if (n > 0) print sum / n }')
	DONE=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$log")
	[ -n "$TPS" ] && [ "${DONE:-0}" -gt 0 ] || return 1
	sleep 0.2
	CPU=$(calculate "1000000 * ($(children_cpu) - $before) / $DONE")
}

# What a client that gave up was told.
pgbench_error()
{
	grep -m 1 -E 'ERROR|FATAL|error:' "$WORK/logs/pgbench" | sed 's/.*\(ERROR\|FATAL\|error\): *//' | cut -c 1-120
}

# rounds KEY...: each key "what:clients:database" in turn, by the function measure_WHAT CLIENTS DATABASE SECONDS, which prints nothing, sets VALUE
# (empty: it failed and has said why) and may rely on EXPECTED, the value of the run before. The first turn is for warming up and is not kept; a quick run has none.
rounds()
{
	local keys=("$@") key round what clients database
	declare -A before=()

	for ((round = ${BENCH_QUICK:+1} + 0; round <= ROUNDS; round++))
	do
		for key in "${keys[@]}"
		do
			[ ! -f "$RESULTS/$key.reason" ] || continue
			IFS=: read -r what clients database <<<"$key"
			VALUE=
			CPU=
			EXPECTED=${before[$key]:-3000}
			CURRENT=$key
			"measure_$what" "$clients" "$database" $((round == 0 ? 1 : SECONDS_EACH))
			[ -n "$VALUE" ] || continue
			before[$key]=$VALUE
			[ $round -eq 0 ] || { result "$key" "$VALUE"; [ -z "$CPU" ] || result "cpu.$key" "$CPU"; }
		done
		[ $round -eq 0 ] || say "$* in turn: round $round of $ROUNDS done" | sed -E 's/(.{110}).{4,}( in turn.*)/\1...\2/'
	done
}
