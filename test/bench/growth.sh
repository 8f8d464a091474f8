# Part `growth`: write speed, sizes and HOT updates after many increments over few players. Sourced by test/bench/run.
#
# Two databases are alike but for those increments, and are then measured in turn: so what differs is what the increments left behind.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # what the other files read; the keys of ACKNOWLEDGED are words

GROWTH_CLIENTS=4

# Bytes of a table, or with "index" of its indexes.
growth_bytes()
{
	sql grown -c "SELECT pg_${2-relation}_size('scoreboard.$1')"
}

growth_updates()
{
	sql grown -c "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = 'scoreboard' AND relname = 'score'" -F ' '
}

# grow COUNT: that many increments by a trusted server, a hundred a transaction; GROWN says how many it has been.
grow()
{
	local each=$((($1 + 100 * GROWTH_CLIENTS - 1) / (100 * GROWTH_CLIENTS)))

	pgbench -n -M prepared -c $GROWTH_CLIENTS -j 2 -t $each -D share=$((GROWTH_PLAYERS / GROWTH_CLIENTS)) -D clients=$GROWTH_CLIENTS \
		-f "$BENCH/scripts/grow.sql" grown >"$WORK/logs/pgbench" 2>&1 </dev/null ||
		{ reason growth "failed: $(pgbench_error)"; return 1; }
	GROWN=$((GROWN + each * GROWTH_CLIENTS * 100))
}

# Not many more than fit into the time that there is, by what the first few take, which are the slowest.
growth_limit()
{
	local start limit

	start=$(date +%s%N)
	grow 400 && grow 400 || return 1
	limit=$((3 * 800000 * GROWTH_PATIENCE / (($(date +%s%N) - start) / 1000000 + 1)))
	[ $limit -ge "$INCREMENTS" ] || { say "growth: $limit increments at most in $GROWTH_PATIENCE s"; INCREMENTS=$limit; }
}

# hot_share KEY COUNT: grows and notes which share of the updates was HOT
hot_share()
{
	local before after

	read -r -a before <<<"$(growth_updates)"
	grow "$2" || return 1
	sleep 1.5 # until the statistics of the backends that ended are in
	read -r -a after <<<"$(growth_updates)"
	[ "${after[0]}" -le "${before[0]}" ] ||
		result "$1" "$(calculate "100 * (${after[1]} - ${before[1]}) / (${after[0]} - ${before[0]})")"
}

# Somebody's report that keeps its snapshot open: no old version can be pruned meanwhile.
with_old_snapshot()
{
	local reader

	PGAPPNAME=bench_snapshot sql grown -c 'BEGIN ISOLATION LEVEL REPEATABLE READ' -c 'SELECT count(*) FROM scoreboard.board' \
		-c 'SELECT pg_sleep(600)' >/dev/null 2>&1 &
	reader=$!
	sleep 0.5
	hot_share hot_with_snapshot "$1"
	sql grown -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bench_snapshot'" >/dev/null
	wait $reader 2>/dev/null
}

# All of it in slices, and not for longer than this.
GROWTH_PATIENCE=${BENCH_FULL:+3600}
GROWTH_PATIENCE=${GROWTH_PATIENCE:-120}
grow_all()
{
	local slice=$((INCREMENTS / 10)) start

	start=$(date +%s)
	while [ "$GROWN" -lt "$INCREMENTS" ]
	do
		grow $slice || return 1
		say "growth: $GROWN of $INCREMENTS increments"
		if [ $(($(date +%s) - start)) -gt "$GROWTH_PATIENCE" ]
		then
			say "growth: cut short after $GROWTH_PATIENCE s"
			return
		fi
	done
}

bench_growth()
{
	local table before=() after=()

	GROWN=0
	GROWTH_PLAYERS=$((INCREMENTS < 100000 ? 10000 : 100000))
	database_create fresh $GROWTH_PLAYERS && database_create grown $GROWTH_PLAYERS || return
	growth_limit || return
	# The first increments split no page that later ones don't, so sizes are taken once they are in: the room that HOT updates turn in is used then.
	hot_share hot $((GROWTH_PLAYERS < INCREMENTS / 5 ? GROWTH_PLAYERS : INCREMENTS / 5)) || return
	for table in score player
	do
		before+=("$(growth_bytes $table)" "$(growth_bytes $table indexes)")
	done
	grow_all || return
	for table in score player
	do
		after+=("$(growth_bytes $table)" "$(growth_bytes $table indexes)")
	done
	result size_before "$(calculate "${before[0]} + ${before[1]} + ${before[2]} + ${before[3]}")"
	result size_after "$(calculate "${after[0]} + ${after[1]} + ${after[2]} + ${after[3]}")"
	rm -f "$RESULTS/hot"
	hot_share hot $((INCREMENTS / 10)) || return
	result log_bytes "$(calculate "$(sql grown -c "SELECT pg_total_relation_size('scoreboard.action')") / $GROWN")"

	ACKNOWLEDGED[scoreboard:grown]=$GROWN
	rounds increment:32:fresh increment:32:grown
	GROWN=${ACKNOWLEDGED[scoreboard:grown]}
	with_old_snapshot $((INCREMENTS / 10))
	CURRENT=hot_with_snapshot
	ACKNOWLEDGED[scoreboard:grown]=0
	check scoreboard grown "$GROWN"
}
