# The tables and the goals, as plain text. Sourced by test/bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2153 # set by the other files

# number VALUE: as a person reads it, "-" for none
number()
{
	[ -n "$1" ] || { echo -; return; }
	awk -v v="$1" 'BEGIN {
		s = sprintf((v < 10) ? "%.2f" : (v < 100) ? "%.1f" : "%.0f", v)
		while (match(s, /^[0-9]+[0-9][0-9][0-9]($|,)/)) {
			n = index(s, ","); n = n ? n - 1 : length(s)
			s = substr(s, 1, n - 3) "," substr(s, n - 2)
		}
		print s }'
}

# players COUNT: 10 k, 1 M
players()
{
	awk -v n="$1" 'BEGIN { print (n >= 1e6) ? n / 1e6 " M" : n / 1e3 " k" }'
}

# row LABEL KEY...: a line of a table, its cells the medians
row()
{
	local label=$1 key
	shift
	printf '  %-52s' "$label"
	for key
	do
		printf ' %11s' "$(number "$(median "$key")")"
	done
	printf '\n'
}

# spread KEY: how far the rounds lie apart, in percent of the median
spread()
{
	[ -s "$RESULTS/$1" ] || return 0
	sort -g "$RESULTS/$1" | awk -v m="$(median "$1")" '{ v[NR] = $1 } END { printf "%.0f", m ? 100 * (v[NR] - v[1]) / m : 0 }'
}

# goal LABEL >=|<= LIMIT VALUE DETAIL [UNIT]: without a value, DETAIL is why
goal()
{
	local verdict=short unit=${6-x}

	if [ -z "$4" ]
	then
		printf '  %-58s %-10s not measured: %s\n' "$1" "${2/=/} ${3} $unit" "$5" | sed 's/ > / ≥ /; s/ < / ≤ /'
		return
	fi
	[ "$(calculate "$4 $2 $3")" != 1 ] || verdict=ok
	printf '  %-58s %-10s %10s  %-36s %s\n' "$1" "${2/=/} ${3} $unit" "$(number "$4") $unit" "($5)" $verdict | sed 's/ > / ≥ /; s/ < / ≤ /'
}

# goal_ratio LABEL >=|<= LIMIT KEY BASE: the median of KEY as a multiple of BASE's
goal_ratio()
{
	local value base

	value=$(median "$4")
	base=$(median "$5")
	if [ -f "$RESULTS/$4.reason" ] || [ -z "$value" ]
	then
		goal "$1" "$2" "$3" '' "$(why "$4")"
	elif [ -f "$RESULTS/$5.reason" ] || [ -z "$base" ]
	then
		goal "$1" "$2" "$3" '' "$(number "$value"), and the other: $(why "$5")"
	else
		goal "$1" "$2" "$3" "$(calculate "$value / $base")" "$(number "$value") / $(number "$base")"
	fi
}

# goal_value LABEL >=|<= LIMIT KEY UNIT: the median itself
goal_value()
{
	local value

	value=$(median "$4")
	if [ -f "$RESULTS/$4.reason" ] || [ -z "$value" ]
	then
		goal "$1" "$2" "$3" '' "$(why "$4")" "$5"
	else
		goal "$1" "$2" "$3" "$value" measured "$5"
	fi
}

report_write()
{
	local what size keys=()

	printf '\nTransactions a second on a board of %s players, by clients\n' "$(players "$MAIN")"
	printf '  %-52s%12s%12s%12s\n' '' 1 8 32
	for what in 'floor floor: log row + score upsert' "textbook textbook: top-10 row of every writer + NOTIFY" 'increment scoreboard_increment(), all checks on'
	do
		row "${what#* }" "${what%% *}":{1,8,32}:"players_$MAIN"
	done
	row "scoreboard_submit(), $BATCH a batch: increments" submit:{1,8}:"players_$MAIN"
	row "Redis ${REDIS-} ZINCRBY, appendfsync always" none none "zincrby:32:players_$MAIN"

	printf "\nThe server's processor time, microseconds a transaction (a batch: an increment); other work on the machine hardly moves it\n"
	printf '  %-52s%12s%12s%12s\n' '' 1 8 32
	row 'floor' cpu.floor:{1,8,32}:"players_$MAIN"
	row 'textbook' cpu.textbook:{1,8,32}:"players_$MAIN"
	row 'scoreboard_increment()' cpu.increment:{1,8,32}:"players_$MAIN"
	row "scoreboard_submit(), $BATCH a batch" cpu.submit:{1,8}:"players_$MAIN"

	[ ${#SIZES[@]} -gt 1 ] || return 0
	printf '\nBy the size of the board: calls a second\n  %-52s' ''
	for size in "${SIZES[@]}"
	do
		printf ' %11s' "$(players "$size")"
	done
	printf '\n'
	for what in 'increment:8 scoreboard_increment(), 8 clients' 'rank:1 scoreboard_rank(), 1 client' 'top:1 scoreboard_top(), 1 client'
	do
		keys=()
		for size in "${SIZES[@]}"
		do
			keys+=("${what%% *}:players_$size")
		done
		row "${what#* }" "${keys[@]}"
	done
}

report_read()
{
	printf '\nReads a second, 32 clients\n  %-52s%12s%12s\n' '' 'here' 'Redis'
	row "rank of a random player of $(players "$PLAYERS")" rank:32:players_"$PLAYERS" zrevrank:32:players_"$PLAYERS"
	row "top ten of $(players "$MAIN"), live" top:32:players_"$MAIN" zrevrange:32:players_"$MAIN"
	row 'top ten, the published document' leaderboard:32:players_"$MAIN"
	row 'SELECT 1: what a statement costs that does nothing' nothing:32:players_"$PLAYERS"
	printf "The server's processor time, microseconds a call\n"
	row 'SELECT 1' cpu.nothing:32:players_"$PLAYERS"
	row 'scoreboard_rank()' cpu.rank:32:players_"$PLAYERS"
	row 'scoreboard_top()' cpu.top:32:players_"$MAIN"
	row 'scoreboard_leaderboard()' cpu.leaderboard:32:players_"$MAIN"
}

report_growth()
{
	printf '\nAfter %s increments over %s players\n' "$(number "$GROWN")" "$(players "$GROWTH_PLAYERS")"
	row 'HOT updates of score, percent' hot
	row 'the same beside an old snapshot' hot_with_snapshot
	row 'log, bytes an action' log_bytes
	row 'increments a second, 32 clients: untouched, then' increment:32:fresh increment:32:grown
	row 'bytes of score and player with indexes: before, after' size_before size_after
}

# report_load STREAMS:KIND WORDS
report_load()
{
	printf '  %-52s %11s' "POST /v1/scores/increment$2" ''
	printf '%12s%12s\n' "$(number "$(median "load:$1")")" "$(number "$(median "load_write99:$1")")"
	printf '  %-52s %11s%12s%12s\n' "list, from its commit (interval 20 ms)$2" "$(number "$(median "load_list50:$1")")" '' "$(number "$(median "load_list99:$1")")"
	row "me.updates a second at 21 of the streams$2" "load_own:$1"
}

# trust_row LABEL WHAT BASE: with 1 and 8 clients each: calls a second, as a multiple of the base's; processor time, and how much more than the base's
trust_row()
{
	local clients key base value field values=()

	for clients in 1 8
	do
		key=$2:$clients:players_$MAIN
		base=$3:$clients:players_$MAIN
		value=$(median "$key")
		values[clients]=$value
		values[clients + 10]=$([ -z "$value" ] || [ -z "$(median "$base")" ] || calculate "$value / $(median "$base")")
		value=$(median "cpu.$key")
		values[clients + 20]=$value
		values[clients + 30]=$([ -z "$value" ] || [ -z "$(median "cpu.$base")" ] || calculate "$value - $(median "cpu.$base")")
	done
	printf '  %-40s' "$1"
	for field in 1 8 11 18 21 28 31 38
	do
		printf ' %8s' "$(number "${values[field]}")"
	done
	printf '\n'
}

report_trust()
{
	local algorithm

	printf '\nWhat a check costs an increment, a board of %s players, 1 and 8 clients\n' "$(players "$MAIN")"
	[ -z "$TRUST_WHY" ] || { printf '  not measured: %s\n' "$TRUST_WHY"; return; }
	printf '  %-40s%18s%18s%18s%18s\n' '' 'calls a second' 'of the base' 'processor, us' 'more than base'
	trust_row 'floor' trust_floor trust_floor
	trust_row 'a trusted server, no check; base: floor' trusted trust_floor
	trust_row 'base: that; with subscore and detail' extras trusted
	trust_row 'an hourly quota' hourly trusted
	trust_row 'a daily quota' daily trusted
	trust_row 'a grant' grant trusted
	trust_row 'a receipt of a service' receipt trusted
	trust_row 'a receipt of a session key' session trusted
	for algorithm in HS256 RS256 PS256 ES256
	do
		trust_row "base: receipt; a token, $algorithm" "${algorithm,,}" receipt
	done
	trust_row 'few players: a receipt of a service' receipt_few trusted
	for algorithm in HS256 RS256 PS256 ES256
	do
		trust_row "base: that; a token again, $algorithm" "${algorithm,,}_few" receipt_few
	done
}

report_bridge()
{
	printf '\nThe bridge: messages a second to %s clients, a list of %s bytes\n' "$(number "$CROWD")" "$(wc -c <"$SIDE/message")"
	printf '  %-52s%12s%12s\n' '' 'WebSocket' 'SSE'
	row 'a bare epoll loop that sends ready bytes' fan_bare:"$CROWD":{ws,sse}
	row 'scoreboard-bridge' fan_bridge:"$CROWD":{ws,sse}
	row 'nginx + nchan' fan_nchan:"$CROWD":ws
	row "npm's ws" fan_ws:"$CROWD":ws
	row 'processor time a message at ten lists a second, us' cost_bridge:"$CROWD":{ws,sse}
	row 'the same: the bare loop' cost_bare:"$CROWD":{ws,sse}
	row 'user memory an idle stream, KB' idle:"$CROWD":{ws,sse}
	row 'processor time an idle stream a second, us' idle_cpu:"$CROWD":{ws,sse}
	row 'time to connect one of the last thousand, us' connect:"$CROWD":{ws,sse}
	printf 'Over TLS, %s clients: what it costs the bridge\n' "$(number "$SECURE")"
	row 'processor time a message, us' secure:"$SECURE":{ws,sse}
	row 'processor time to connect one, us' secure_connect:"$SECURE":{ws,sse}
	row 'user memory an idle stream, KB' secure_idle:"$SECURE":{ws,sse}
	printf 'Requests a second, keep-alive connections\n  %-52s%12s%12s\n' '' 64 512
	row 'POST /v1/scores/increment: scoreboard-bridge' post_bridge:{64,512}:"$LIVE"
	row 'the same service by Express, pg and ioredis' post_express:64:"$LIVE"
	row 'GET /v1/leaderboard/top: scoreboard-bridge' get_bridge:64:"$LIVE"
	row 'nginx, the same bytes as a file' get_nginx:64:"$LIVE"
	printf 'Milliseconds from commit to client\n  %-52s%12s%12s\n' '' p50 p99
	row 'frame' latency:1:idle latency99:1:idle
	row 'LISTEN' listen50:1:idle listen99:1:idle
	row 'frame, beside a flood of forged notifications' latency:1:forged latency99:1:forged
	printf 'Milliseconds beside %s streams, a tenth signed in, 10,000 increments a minute\n  %-52s%12s%12s%12s\n' "$(number "$CROWD")" '' p50 p95 p99
	report_load "$CROWD:ws" ''
	report_load "$CROWD:workers" ', two workers'
	report_load "$LARGE_CROWD:workers" ", $(number "$LARGE_CROWD") streams"
}

report_goals()
{
	local main=players_$MAIN detail

	printf '\nGoals (DESIGN.md, section 8); ratios of medians\n'
	goal_ratio "scoreboard_increment(), 32 clients, $(players "$MAIN") / floor" '>=' 0.85 "increment:32:$main" "floor:32:$main"
	goal_ratio 'the same / textbook way' '>=' 8 "increment:32:$main" "textbook:32:$main"
	goal_ratio "scoreboard_submit(), $BATCH a batch, 8 clients / floor" '>=' 4 "submit:8:$main" "floor:8:$main"
	goal_ratio 'the same / Redis ZINCRBY' '>=' 2 "submit:8:$main" "zincrby:32:$main"
	goal_ratio 'POST /v1/scores/increment, 64 connections / Express' '>=' 12 "post_bridge:64:$LIVE" "post_express:64:$LIVE"
	goal_ratio 'the same, 512 connections / 64' '>=' 1 "post_bridge:512:$LIVE" "post_bridge:64:$LIVE"
	goal_ratio 'GET /v1/leaderboard/top / nginx' '>=' 0.8 "get_bridge:64:$LIVE" "get_nginx:64:$LIVE"
	# Of speeds, so the other way round than of times.
	goal_ratio "time of scoreboard_rank(): $(players "$PLAYERS") / $(players "${SIZES[0]}")" '<=' 1.3 "rank:1:players_${SIZES[0]}" "rank:1:players_$PLAYERS"
	goal_ratio "scoreboard_rank(), 32 clients, $(players "$PLAYERS") / Redis ZREVRANK" '>=' 0.8 "rank:32:players_$PLAYERS" "zrevrank:32:players_$PLAYERS"
	detail="Redis zset: $(number "$(median redis_memory)")"
	[ -s "$RESULTS/memory" ] || detail=$(why memory)
	goal "shared memory a player, $(players "$PLAYERS")" '<=' 40 "$(median memory)" "$detail" bytes
	goal_ratio "tree after a restart, $(players "$PLAYERS") / scan of the table" '<=' 5 build scan
	goal_value 'commit to frame at a client, idle: p50' '<=' 2 latency:1:idle ms
	goal_value 'commit to frame at a client, idle: p99' '<=' 5 latency99:1:idle ms
	goal_value 'the same beside forged notifications: p50' '<=' 2 latency:1:forged ms
	goal_value 'the same beside forged notifications: p99' '<=' 5 latency99:1:forged ms
	goal_ratio "fan-out, $(number "$CROWD") WebSocket clients / bare epoll loop" '>=' 0.9 "fan_bridge:$CROWD:ws" "fan_bare:$CROWD:ws"
	goal_ratio 'the same / nginx + nchan' '>=' 1.3 "fan_bridge:$CROWD:ws" "fan_nchan:$CROWD:ws"
	goal_ratio 'the same / node ws' '>=' 1.7 "fan_bridge:$CROWD:ws" "fan_ws:$CROWD:ws"
	goal_ratio "fan-out, $(number "$CROWD") SSE clients / bare loop" '>=' 0.9 "fan_bridge:$CROWD:sse" "fan_bare:$CROWD:sse"
	goal_value 'requests beside ten lists a second to them: p95' '<=' 10 "beside:$CROWD:ws" ms
	goal_value "increments, 10,000 a minute beside $(number "$CROWD") streams: p95" '<=' 20 "load:$CROWD:ws" ms
	goal_value 'lists beside them, from their commit: p99' '<=' 50 "load_list99:$CROWD:ws" ms
	goal_value 'memory of an idle WebSocket connection' '<=' 5.5 "idle:$CROWD:ws" KB
	goal_value 'memory of an idle SSE connection' '<=' 1 "idle:$CROWD:sse" KB
	goal_value 'processor time of an idle WebSocket stream a second' '<=' 1 "idle_cpu:$CROWD:ws" us
	goal_value 'processor time of an idle SSE stream a second' '<=' 1 "idle_cpu:$CROWD:sse" us
	goal_ratio "write speed after $(number "${GROWN-}") increments / before" '>=' 0.95 increment:32:grown increment:32:fresh
	goal_ratio 'size of score and player with indexes, after / before' '<=' 1.05 size_after size_before
}

report()
{
	local key

	printf '\nscoreboard %s, PostgreSQL %s, %s cores (%s), %s GB of memory, %s\n' \
		"$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" scoreboard.control)" "$SERVER" "$(nproc)" \
		"$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)" "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" \
		"$(date -u +%Y-%m-%d)"
	printf 'medians of %s rounds of %s s in turn; load of the machine at the end: %s\n' "$ROUNDS" "$SECONDS_EACH" "$(cut -d ' ' -f 1-3 /proc/loadavg)"
	[ -z "${BENCH_QUICK-}" ] || echo 'A QUICK RUN: it shows that the benchmark works; its figures mean nothing.'
	[ -n "$INDEXED" ] || echo 'Ranks were counted by scans: the tree did not answer.'
	! wants write || report_write
	! wants read || report_read
	! wants growth || [ -z "${GROWN-}" ] || report_growth
	! wants trust || report_trust
	! wants bridge || report_bridge
	report_goals

	printf '\nRounds apart by more than 15 percent of their median (a busy machine):'
	for key in "$RESULTS"/[a-z]*:*
	do
		key=${key##*/}
		[[ $key = *.reason || $key = cpu.* ]] || [ "$(spread "$key")" -le 15 ] || printf ' %s %s%%' "$key" "$(spread "$key")"
	done
	printf '\n'
	for key in "$RESULTS"/*.reason
	do
		[ ! -f "$key" ] || printf 'Not usable: %s: %s\n' "$(basename "$key" .reason)" "$(cat "$key")"
	done
}
