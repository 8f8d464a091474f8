# Redis beside, as durable as PostgreSQL is: every write is on disk before it is answered. Sourced by test/bench/run.
#
# redis-tools is enough: the server is the program redis-check-rdb under another name, and no service gets installed or started.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

REDIS_PID=
REDIS_WHY='no redis-tools installed'

redis()
{
	redis-cli -s "$WORK/redis/socket" "$@"
}

redis_start()
{
	local program tries

	program=$(command -v redis-server || command -v redis-check-rdb) || return 0
	command -v redis-benchmark >/dev/null || return 0
	mkdir -p "$WORK/redis"
	ln -s "$program" "$WORK/redis/redis-server"
	# Below our directory, so that whatever ends the run finds it.
	(cd "$WORK/redis" && exec ./redis-server --port 0 --unixsocket "$WORK/redis/socket" --dir "$WORK/redis" \
		--save '' --appendonly yes --appendfsync always --daemonize no) >"$WORK/logs/redis" 2>&1 </dev/null &
	REDIS_PID=$!
	for ((tries = 0; tries < 100; tries++))
	do
		if [ "$(redis PING 2>/dev/null)" = PONG ]
		then
			REDIS_WHY=
			REDIS=$(redis INFO server | tr -d '\r' | sed -n 's/^redis_version://p')
			redis_fill
			return
		fi
		sleep 0.1
	done
	REDIS_WHY='redis-server did not start'
}

# A sorted set for each board, with the same ids and scores.
redis_fill()
{
	local size first

	for size in "${SIZES[@]}"
	do
		for ((first = 0; first < size; first += 50000))
		do
			redis EVAL "for i = ARGV[1], math.min(ARGV[1] + 49999, ARGV[2] - 1) do
				redis.call('ZADD', KEYS[1], i * 7919 % 1000003, string.format('00000000-0000-4000-8000-%012d', i)) end" \
				1 "players_$size" $first "$size" >/dev/null
		done
	done
	say "redis $REDIS: filled"
}

redis_stop()
{
	[ -z "$REDIS_PID" ] || { kill "$REDIS_PID" && wait "$REDIS_PID"; } 2>/dev/null
}

# measure_redis CLIENTS SECONDS COMMAND...: as many requests as should take so long. __rand_int__ is twelve digits.
measure_redis()
{
	local clients=$1 seconds=$2 size=$3 count
	shift 3

	if [ -n "$REDIS_WHY" ]
	then
		reason "$CURRENT" "$REDIS_WHY"
		return
	fi
	count=$(calculate "int(($EXPECTED > 1000 ? $EXPECTED : 20000) * $seconds)")
	VALUE=$(redis-benchmark -s "$WORK/redis/socket" -c "$clients" -n "$count" -r "$size" --csv "$@" 2>/dev/null |
		tail -n 1 | sed 's/^"[^"]*","\([0-9.]*\)".*/\1/')
	[[ $VALUE =~ ^[0-9.]+$ ]] || { VALUE=; reason "$CURRENT" 'redis-benchmark failed'; }
}

measure_zincrby()
{
	measure_redis "$1" "$3" "${2#players_}" ZINCRBY "$2" 100 00000000-0000-4000-8000-__rand_int__
}

measure_zrevrank()
{
	measure_redis "$1" "$3" "${2#players_}" ZREVRANK "$2" 00000000-0000-4000-8000-__rand_int__
}

measure_zrevrange()
{
	measure_redis "$1" "$3" "${2#players_}" ZREVRANGE "$2" 0 9 WITHSCORES
}
