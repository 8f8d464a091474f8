# The private server and its databases, one for each size of board. Sourced by test/bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2034 # what the other files read

# A quarter of the memory, as PostgreSQL's manual has it, up to 8 GB: there is a Redis beside.
shared_buffers()
{
	awk '/^MemTotal/ { mb = $2 / 1024 / 4; print int(mb < 256 ? 256 : mb > 8192 ? 8192 : mb) "MB" }' /proc/meminfo
}

# All checks on: the rate windows are at their largest, so that each attempt is looked up and noted, and none is refused. Signatures
# are made before the timed part, so their window is wide. Durability as an installation has it: fsync, synchronous commit.
server_settings()
{
	local total=200000 size

	for size in "${SIZES[@]}"
	do
		total=$((total + size))
	done
	cat <<-END
		shared_buffers = $(shared_buffers)
		max_wal_size = 8GB
		min_wal_size = $([ -n "${BENCH_QUICK-}" ] && echo 256MB || echo 3GB)
		checkpoint_timeout = 30min
		max_worker_processes = 32
		scoreboard.audience = 'bench'
		scoreboard.rate_limit = 1000
		scoreboard.burst_limit = 1000
		scoreboard.rate_memory = 512MB
		scoreboard.receipt_window = 86400
		scoreboard.rank_memory = $((65536 + total / 16))kB
	END
}

server_start()
{
	local status

	cluster_start "$WORK" || return 1
	server_settings >>"$WORK/data/postgresql.conf"
	server_restart || return 1
	psql -X -q -c 'CREATE ROLE bench_gateway LOGIN'
	status=$?
	SERVER=$(psql -X -t -A -c 'SHOW server_version')
	return $status
}

server_restart()
{
	pg_ctl --pgdata="$WORK/data" --log="$WORK/server.log" --mode=fast --wait --silent restart >"$WORK/logs/pg_ctl" 2>&1 ||
		{ show_log "$WORK/server.log"; return 1; }
}

# database_create NAME PLAYERS: the peers beside it on the board that the goals are judged on
database_create()
{
	local peers=$(($2 == MAIN))

	createdb "$1" || return 1
	if ! step "database of $2 players" "$WORK/logs/database" sql "$1" -v players="$2" -v peers=$peers -f "$BENCH/database.sql"
	then
		show_log "$WORK/logs/database"
		return 1
	fi
	say "database of $2 players: ready"
}

# sign DATABASE COUNT: that many requests, numbered on from the last; what is left of earlier ones is dropped. Sets FIRST and LAST.
declare -A SIGNED=()
sign()
{
	local database=$1 count=$2 middle

	FIRST=$((${SIGNED[$database]:-0} + 1))
	LAST=$((FIRST + count - 1))
	middle=$(((FIRST + LAST) / 2))
	SIGNED[$database]=$LAST
	sql "$database" -c 'TRUNCATE bench.request, bench.batch' || return 1
	sql "$database" -c "SELECT bench.sign($FIRST, $middle)" >/dev/null &
	sql "$database" -c "SELECT bench.sign($((middle + 1)), $LAST)" >/dev/null
	wait $!
	sql "$database" -c "SELECT setval('bench.next_request', $FIRST, false)" -c 'VACUUM ANALYZE bench.request' >/dev/null
}

# Sets INDEXED. Without a tree every rank is a scan, and only a few may run at once: then as many as ask may, so that there is a figure at all.
look_for_tree()
{
	local patience=30

	[ -z "${BENCH_QUICK-}" ] || patience=3
	patience=$(($(date +%s) + patience))
	INDEXED=
	until ranks_are_indexed "players_$PLAYERS"
	do
		if [ "$(date +%s)" -ge $patience ]
		then
			say 'ranks are counted by scans: the tree does not answer'
			psql -X -q -c "ALTER SYSTEM SET scoreboard.max_scans = 1000" -c 'SELECT pg_reload_conf()' >/dev/null
			return
		fi
		sleep 0.2
	done
	INDEXED=1
}

# Whether the tree answers ranks, rather than a scan: with no scan allowed there is an answer only then.
ranks_are_indexed()
{
	[ -n "$(sql "$1" -c 'SET scoreboard.max_scans = 0' -c 'SELECT scoreboard_rank(bench.user_id(1))' 2>/dev/null)" ]
}
