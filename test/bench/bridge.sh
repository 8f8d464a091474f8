# Part `bridge`: fan-out, memory and requests of the bridge against a bare epoll loop, npm's ws, nginx (with nchan) and an Express service.
# Sourced by test/bench/run.
#
# Each server runs for its own measurement only, the crowd of clients (crowd.c) and wrk beside it on the same machine.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # what the other files read and write

LIVE=live
LIVE_PLAYERS=100000
CROWD=10000
LARGE_CROWD=36000
SECURE=1000
SERVER_PID=
SERVER_PORT=
SIDE=$WORK/side
STREAM=/v1/leaderboard/stream

# ---- starting what is measured ----

free_port()
{
	node -e "const s = require('net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close(); })"
}

# port_open PORT
port_open()
{
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# server COMMAND...: in the background, its port in SERVER_PORT; what it reads comes from the pipe $SIDE/input.
server()
{
	local tries

	rm -f "$SIDE/input"
	mkfifo "$SIDE/input"
	"$@" <"$SIDE/input" >"$WORK/logs/side" 2>&1 &
	SERVER_PID=$!
	exec {SERVER_INPUT}>"$SIDE/input"
	for ((tries = 0; tries < 100; tries++))
	do
		! port_open "$SERVER_PORT" || return 0
		kill -0 "$SERVER_PID" 2>/dev/null || break
		sleep 0.1
	done
	reason "$CURRENT" "${1##*/} did not start: $(tail -n 1 "$WORK/logs/side")"
	return 1
}

server_end()
{
	exec {SERVER_INPUT}>&-
	kill "$SERVER_PID" 2>/dev/null # nginx ends fast by TERM, the bridge drains
	wait "$SERVER_PID" 2>/dev/null
	SERVER_PID=
}

# With $WORKERS workers
server_bridge()
{
	SERVER_PORT=$(free_port)
	server "$BRIDGE" --database "host=$PGHOST user=bench_gateway dbname=$LIVE" --listen "127.0.0.1:$SERVER_PORT" --workers "${WORKERS:-1}" \
		--max-connections 20000 --max-connections-per-address 20000 --requests-per-minute 0 --log-level error || return
	curl -s -o /dev/null --retry 50 --retry-delay 0 --retry-all-errors -f "http://127.0.0.1:$SERVER_PORT/ready" && return
	reason "$CURRENT" 'the bridge did not become ready'
	return 1
}

server_secure()
{
	SERVER_PORT=$(free_port)
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=bench -days 30 \
		-keyout "$SIDE/key.pem" -out "$SIDE/certificate.pem" 2>/dev/null
	server "$BRIDGE" --database "host=$PGHOST user=bench_gateway dbname=$LIVE" --listen "127.0.0.1:$SERVER_PORT" \
		--tls-certificate "$SIDE/certificate.pem" --tls-key "$SIDE/key.pem" \
		--max-connections 2000 --max-connections-per-address 2000 --requests-per-minute 0 --log-level error || return
	curl -sk -o /dev/null --retry 50 --retry-delay 0 --retry-all-errors -f "https://127.0.0.1:$SERVER_PORT/ready" && return
	reason "$CURRENT" 'the bridge did not become ready'
	return 1
}

server_bare()
{
	SERVER_PORT=$(free_port)
	server "$SIDE/bare" "$SERVER_PORT" "$SIDE/message"
}

# Ten lists a second, as measure_cost has the bridge send them
server_paced()
{
	SERVER_PORT=$(free_port)
	server "$SIDE/bare" "$SERVER_PORT" "$SIDE/message" 10
}

server_ws()
{
	SERVER_PORT=$(free_port)
	server node "$BENCH/peers/ws.mjs" "$SERVER_PORT" "$SIDE/message"
}

server_express()
{
	SERVER_PORT=$(free_port)
	PGDATABASE=$LIVE PGUSER=postgres server node "$BENCH/peers/express.mjs" "$SERVER_PORT" "$WORK/redis/socket" "$ISSUER_KEY" "$SERVICE_KEY" bench
}

# One worker process, as the bridge has; the file is the list as the bridge answers it.
server_nginx()
{
	local nchan=/usr/lib/nginx/modules/ngx_nchan_module.so

	SERVER_PORT=$(free_port)
	mkdir -p "$SIDE/www/v1/leaderboard" "$SIDE/nginx"
	cat >"$SIDE/nginx.conf" <<-END
		$([ ! -f $nchan ] || echo "load_module $nchan;")
		user root; # in its name space; it complains that it can't have root's groups
		worker_processes 1;
		worker_rlimit_nofile 20000;
		daemon off;
		pid $SIDE/nginx/pid;
		error_log $WORK/logs/nginx crit;
		events { worker_connections 19000; }
		http {
			access_log off;
			keepalive_requests 100000000;
			client_body_temp_path $SIDE/nginx/b; proxy_temp_path $SIDE/nginx/p; fastcgi_temp_path $SIDE/nginx/f;
			uwsgi_temp_path $SIDE/nginx/u; scgi_temp_path $SIDE/nginx/s;
			sendfile on; tcp_nopush on; open_file_cache max=100;
			server {
				listen 127.0.0.1:$SERVER_PORT backlog=4096;
				root $SIDE/www;
				default_type application/json;
				$([ ! -f $nchan ] || echo 'location = /publish { nchan_publisher; nchan_channel_id board; nchan_message_buffer_length 1; }
				location = /v1/leaderboard/stream { nchan_subscriber; nchan_channel_id board; nchan_subscriber_first_message newest; }')
			}
		}
	END
	# nchan insists on a directory below /var/lib/nginx, which is root's: an empty one is put there in a name space of our own.
	server unshare --user --map-root-user --mount sh -c "mount -t tmpfs none /var/lib/nginx && exec nginx -c '$SIDE/nginx.conf'"
}

# ---- traffic ----

# leading RATE: lists that change about so often a second, by awards of a trusted server to the first ten.
leading()
{
	exec pgbench -n -M prepared -U postgres -c 1 -R "$1" -T 600 -f "$BENCH/scripts/lead.sql" "$LIVE" >"$WORK/logs/lead" 2>&1 </dev/null
}

publish_interval()
{
	sql $LIVE -c "UPDATE scoreboard.board SET publish_interval_ms = $1"
}

# traffic_WHAT: what makes that server send; prints nothing, is ended by its process id in TRAFFIC.
traffic_bridge() { leading 60 & TRAFFIC=$!; }
traffic_bare() { TRAFFIC=; }
traffic_paced() { TRAFFIC=; }
traffic_ws() { TRAFFIC=; echo go >&"$SERVER_INPUT"; }
traffic_nginx()
{
	BODY=$SIDE/message wrk -t 1 -c 1 -d 600 -s "$BENCH/requests.lua" "http://127.0.0.1:$SERVER_PORT/publish" >/dev/null 2>&1 &
	TRAFFIC=$!
}

traffic_end()
{
	[ -z "$TRAFFIC" ] || { kill "$TRAFFIC"; wait "$TRAFFIC"; } 2>/dev/null
}

# crowd_open KIND SECONDS [COMMAND...]: CROWD streams of the server that runs; OPENED gets the microseconds that connecting one took.
crowd_open()
{
	local word kind=$1 seconds=$2

	shift 2
	[ $# -gt 0 ] || set -- "$SIDE/crowd-clients"

	rm -f "$SIDE/crowd"
	mkfifo "$SIDE/crowd" "$SIDE/crowd.out" 2>/dev/null
	"$@" "$kind" "$SERVER_PORT" "$STREAM" "$CROWD" "$seconds" <"$SIDE/crowd" >"$SIDE/crowd.out" 2>"$WORK/logs/crowd" &
	CROWD_PID=$!
	exec {CROWD_INPUT}>"$SIDE/crowd" {CROWD_OUTPUT}<"$SIDE/crowd.out"
	read -r -t 120 word OPENED <&"$CROWD_OUTPUT" && [ "$word" = connected ] && return
	reason "$CURRENT" "no crowd: $(tail -n 1 "$WORK/logs/crowd")"
	crowd_close
	return 1
}

crowd_count()
{
	echo go >&"$CROWD_INPUT"
	read -r -t 120 VALUE <&"$CROWD_OUTPUT" && return
	VALUE=
	reason "$CURRENT" "the crowd broke up: $(tail -n 1 "$WORK/logs/crowd")"
}

crowd_close()
{
	exec {CROWD_INPUT}>&- {CROWD_OUTPUT}<&-
	wait "$CROWD_PID" 2>/dev/null
}

# ---- what is measured; the key is what:clients:kind ----

# measure_fan SERVER KIND SECONDS: messages a second
measure_fan()
{
	"server_$1" || { server_end; return; }
	if crowd_open "$2" "$3"
	then
		"traffic_$1"
		crowd_count
		traffic_end
		crowd_close
	fi
	server_end
}

measure_fan_bridge() { measure_fan bridge "$2" "$3"; }
measure_fan_bare() { measure_fan bare "$2" "$3"; }
measure_fan_ws() { measure_fan ws "$2" "$3"; }
measure_fan_nchan()
{
	[ -f /usr/lib/nginx/modules/ngx_nchan_module.so ] || { reason "$CURRENT" 'no libnginx-mod-nchan installed'; return; }
	measure_fan nginx "$2" "$3"
}

anonymous_kb()
{
	awk '/^RssAnon/ { print $2 }' "/proc/$SERVER_PID/status"
}

# A process's seconds so far.
process_cpu()
{
	awk -v tick="$(getconf CLK_TCK)" '{ print ($14 + $15) / tick }' "/proc/$SERVER_PID/stat"
}

# measure_idle CLIENTS KIND SECONDS: KB of user memory an idle stream; beside it microseconds of processor time a second, and to connect one
measure_idle()
{
	local before cpu

	server_bridge || { server_end; return; }
	sleep 0.5
	before=$(anonymous_kb)
	if crowd_open "$2" 1
	then
		sleep 0.5
		VALUE=$(calculate "($(anonymous_kb) - $before) / $CROWD")
		cpu=$(process_cpu)
		sleep 10
		result "idle_cpu:$1:$2" "$(calculate "($(process_cpu) - $cpu) * 1e6 / 10 / $CROWD")"
		result "connect:$1:$2" "$OPENED"
		crowd_close
	fi
	server_end
}

# wrk_result PATH CLIENTS SECONDS: sets VALUE (answers of 200 a second), P95 and BAD
wrk_result()
{
	local word good p50 p99 why

	read -r word good BAD VALUE p50 P95 p99 why < <(wrk -t 1 -c "$2" -d "$3" --timeout 20s -s "$BENCH/requests.lua" "http://127.0.0.1:$SERVER_PORT$1" 2>&1 | grep '^RESULT')
	[ "${word-}" = RESULT ] || { VALUE=; reason "$CURRENT" 'wrk failed'; return 1; }
	[ "$BAD" = 0 ] || reason "$CURRENT" "$BAD bad answers, the last: ${why:0:120}"
}

# signed_requests COUNT: into $SIDE/requests, a line each for wrk
signed_requests()
{
	sign $LIVE "$1" && sql $LIVE -c "COPY (SELECT token, json_build_object('actionType', 'HIT', 'actionId', action_id,
		'issuedAt', issued_at, 'receipt', receipt) FROM bench.request ORDER BY n) TO STDOUT (FORMAT csv, DELIMITER E'\t', QUOTE E'\x01')" >"$SIDE/requests"
}

# measure_post SERVER CLIENTS SECONDS: increments a second over HTTP
measure_post()
{
	signed_requests "$(calculate "int($EXPECTED * ($3 + 1) * 2 + 30000)")" || return
	"server_$1" || { server_end; return; }
	REQUESTS=$SIDE/requests wrk_result /v1/scores/increment "$2" "$3"
	server_end
}

measure_post_bridge() { measure_post bridge "$1" "$3"; }
measure_post_express()
{
	[ -z "$REDIS_WHY" ] || { reason "$CURRENT" "$REDIS_WHY"; return; }
	measure_post express "$1" "$3"
}

measure_get_bridge()
{
	server_bridge && wrk_result /v1/leaderboard/top "$1" "$3"
	server_end
}

measure_get_nginx()
{
	server_nginx && wrk_result /v1/leaderboard/top "$1" "$3"
	server_end
}

# The 95th percentile, ms, of requests beside a broadcast of ten lists a second to the crowd.
measure_beside()
{
	publish_interval 100
	server_bridge || { server_end; return; }
	if crowd_open "$2" 1
	then
		traffic_bridge
		sleep 1
		! wrk_result /v1/leaderboard/top 1 "$3" || VALUE=$P95
		traffic_end
		crowd_close
	fi
	server_end
	publish_interval 30
}

# message_cost BEFORE SECONDS: of VALUE messages a second, in these seconds and the crowd's two before them
message_cost()
{
	[ -z "$VALUE" ] || VALUE=$(calculate "($(process_cpu) - $1) * 1e6 / ($VALUE * ($2 + 2))")
}

# measure_secure CLIENTS KIND SECONDS: microseconds of the bridge's processor time a message over TLS; beside it to connect a client (handshake,
# request, first list), and KB of user memory an idle stream
measure_secure()
{
	local memory before CROWD=$1

	server_secure || { server_end; return; }
	sleep 0.5
	memory=$(anonymous_kb)
	before=$(process_cpu)
	if crowd_open "$2" "$3" node "$BENCH/secure.mjs"
	then
		result "secure_connect:$1:$2" "$(calculate "($(process_cpu) - $before) * 1e6 / $1")"
		result "secure_idle:$1:$2" "$(calculate "($(anonymous_kb) - $memory) / $1")"
		traffic_bridge
		before=$(process_cpu)
		crowd_count
		message_cost "$before" "$3"
		traffic_end
		crowd_close
	fi
	server_end
}

# measure_cost SERVER KIND SECONDS: microseconds of its processor time a message, at ten lists a second to the crowd
measure_cost()
{
	local before

	publish_interval 100
	"server_$1" || { server_end; return; }
	if crowd_open "$2" "$3"
	then
		"traffic_$1"
		before=$(process_cpu)
		crowd_count
		message_cost "$before" "$3"
		traffic_end
		crowd_close
	fi
	server_end
	publish_interval 30
}

measure_cost_bridge() { measure_cost bridge "$2" "$3"; }
measure_cost_bare() { measure_cost paced "$2" "$3"; }

# From commit to frame, ms: idle, or while somebody forges notifications
measure_latency()
{
	local forger='' p50 p99 listen50 listen99

	server_bridge || { server_end; return; }
	if [ "$2" = forged ]
	then
		pgbench -n -U postgres -c 1 -T 600 -f "$BENCH/scripts/forge.sql" $LIVE >/dev/null 2>&1 </dev/null &
		forger=$!
	fi
	read -r p50 p99 listen50 listen99 < <(PGDATABASE=$LIVE PGUSER=postgres node "$BENCH/peers/latency.mjs" "$SERVER_PORT" $((100 * $3)) 2>"$WORK/logs/latency")
	[ -z "$forger" ] || { kill "$forger"; wait "$forger"; } 2>/dev/null
	if [ -n "$p99" ]
	then
		VALUE=$p50
		result "latency99:$1:$2" "$p99"
		result "listen50:$1:$2" "$listen50"
		result "listen99:$1:$2" "$listen99"
	else
		reason "$CURRENT" "no latency: $(tail -n 1 "$WORK/logs/latency")"
	fi
	server_end
}

# measure_load STREAMS KIND SECONDS: ms at the 95th percentile of increments, 10,000 a minute, beside so many streams of which a tenth is signed in;
# KIND: ws, or workers for a bridge of two
measure_load()
{
	local figures signed=$(($1 / 10)) length=$(($3 * 5)) WORKERS=1

	[ "$2" != workers ] || WORKERS=2

	signed_requests $(((length + 2) * 200 + signed + 100)) || return
	publish_interval 20
	server_bridge || { server_end; return; }
	read -r -a figures < <(PGDATABASE=$LIVE PGUSER=postgres node "$BENCH/peers/load.mjs" "$SERVER_PORT" "$SIDE/requests" "$SIDE/crowd-clients" \
		"$1" "$signed" "$length" 2>"$WORK/logs/load")
	if [ ${#figures[@]} = 7 ]
	then
		VALUE=${figures[1]}
		[ "${figures[6]}" = 0 ] || reason "$CURRENT" "${figures[6]} increments were refused"
		result "load_write99:$1:$2" "${figures[2]}"
		result "load_list50:$1:$2" "${figures[3]}"
		result "load_list99:$1:$2" "${figures[4]}"
		result "load_own:$1:$2" "${figures[5]}"
	else
		reason "$CURRENT" "no figures: $(grep -m 1 Error "$WORK/logs/load")"
	fi
	server_end
	publish_interval 30
}

# ---- all of it ----

bridge_prepare()
{
	local program

	for program in wrk nginx curl node
	do
		command -v $program >/dev/null || { say "the part bridge is left out: no $program"; return 1; }
	done
	[ -z "${BENCH_QUICK-}" ] || { LIVE_PLAYERS=20000; CROWD=500; LARGE_CROWD=1000; SECURE=200; }
	mkdir -p "$SIDE"
	gcc -std=c11 -O2 -o "$SIDE/crowd-clients" "$BENCH/crowd.c" && gcc -std=c11 -O2 -o "$SIDE/bare" "$BENCH/bare.c" || return 1
	database_create $LIVE $LIVE_PLAYERS || return 1
	ISSUER_KEY=$(sql $LIVE -c "SELECT encode(issuer, 'hex') FROM bench.secret")
	SERVICE_KEY=$(sql $LIVE -c 'SELECT service FROM bench.secret')
	sql $LIVE -c "INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('LEAD', 'trusted', 1, 10000000)" \
		-c "SELECT FROM generate_series(1, 10) n, scoreboard_increment_for(bench.user_id(n), 'LEAD', 'first', points => 5000000)"
	# Thirty lists a second are more than any of them can bring to the crowd, and cost the database little of the same processors.
	publish_interval 30
	until [ -s "$SIDE/message" ] && [ "$(wc -c <"$SIDE/message")" -gt 200 ]
	do
		sql $LIVE -c "SELECT replace(document::text, E'\n', ' ') FROM scoreboard.top" | tr -d '\n' >"$SIDE/message"
	done
	mkdir -p "$SIDE/www/v1/leaderboard"
	cp "$SIDE/message" "$SIDE/www/v1/leaderboard/top"
}

bench_bridge()
{
	bridge_prepare || return
	rounds "fan_bare:$CROWD:ws" "fan_bridge:$CROWD:ws" "fan_nchan:$CROWD:ws" "fan_ws:$CROWD:ws"
	rounds "fan_bare:$CROWD:sse" "fan_bridge:$CROWD:sse"
	rounds "cost_bare:$CROWD:ws" "cost_bridge:$CROWD:ws" "cost_bare:$CROWD:sse" "cost_bridge:$CROWD:sse"
	rounds "post_bridge:64:$LIVE" "post_express:64:$LIVE" "post_bridge:512:$LIVE"
	rounds "get_bridge:64:$LIVE" "get_nginx:64:$LIVE"
	rounds "beside:$CROWD:ws"
	rounds "latency:1:idle" "latency:1:forged"
	rounds "load:$CROWD:ws" "load:$CROWD:workers"
	rounds "load:$LARGE_CROWD:workers"
	rounds "idle:$CROWD:ws" "idle:$CROWD:sse"
	rounds "secure:$SECURE:ws" "secure:$SECURE:sse"
}
