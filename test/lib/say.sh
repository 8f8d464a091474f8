# Messages of test/run: progress with the seconds since its start, and the end of everything. Sourced.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

say()
{
	printf '[%3d s] %s\n' $(($(date +%s) - RUN_STARTED)) "$*"
}

# The last line of `check` is the sum, whatever happened.
die()
{
	printf 'test/run: %s\n' "$*" >&2
	[ "${COMMAND-}" != check ] || echo '0 passed, 1 failed'
	exit 1
}

# step LABEL LOG COMMAND...: runs a command with its output in LOG, and says every half minute that it is still at it.
step()
{
	local label=$1 log=$2 pid start now
	shift 2
	start=$(date +%s)
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while sleep 0.2; kill -0 $pid 2>/dev/null
	do
		now=$(date +%s)
		if [ $((now - start)) -ge 30 ]
		then
			say "$label: still running"
			start=$now
		fi
	done
	wait $pid
}

# The end of a log, indented, so that it is told apart from our own lines.
show_log()
{
	tail -n "${2:-60}" "$1" | cut -c 1-240 | sed 's/^/    | /'
}
