# The demo: a server, the bridge, players who score, and the board in the terminal, until Ctrl-C. Sourced by inner.sh.
#
# The parts are started in sessions of their own, so that Ctrl-C reaches only this script, which then ends them in order.
#
# What the players (test/demo/players.mjs) and the board (test/demo/board.mjs) are told in DEMO_* variables stands in their heads; the
# SQL side of it is test/demo/setup.sql.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

DEMO_ENDING=
DEMO_PIDS=() # in the order of their start
FIRST_PORT=${PORT:-8080}

# demo_sql USER [PSQL OPTION...]
demo_sql()
{
	local user=$1
	shift
	psql -X -q -t -A -v ON_ERROR_STOP=1 -U "$user" -d scoreboard "$@"
}

# The bridge's role and the administrator's hold one level each and nothing else, as in an installation.
demo_database()
{
	createdb scoreboard && demo_sql postgres <<-'END' >/dev/null || return 1
		SET client_min_messages = warning;
		CREATE EXTENSION scoreboard CASCADE;
		CREATE ROLE demo_admin LOGIN;
		CREATE ROLE demo_bridge LOGIN;
		SELECT scoreboard_grant_access('demo_admin', 'admin');
		SELECT scoreboard_grant_access('demo_bridge', 'gateway');
	END
	DEMO_AUDIENCE=scoreboard # the database's name, since the setting is empty
	DEMO_ISSUER=https://id.demo.example
	DEMO_ISSUER_SECRET=$(head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '=')
	DEMO_KEY_ID=demo
	export DEMO_AUDIENCE DEMO_ISSUER DEMO_ISSUER_SECRET DEMO_KEY_ID
	DEMO_KEY_SECRET=$(demo_sql demo_admin -f test/demo/setup.sql) || return 1
	export DEMO_KEY_SECRET
}

# demo_start LOG COMMAND...: in the background, in a session of its own
demo_start()
{
	local log=$1
	shift
	setsid "$@" >"$log" 2>&1 </dev/null &
	DEMO_PIDS+=($!)
}

port_is_free()
{
	! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Waits until the bridge is ready; false if it ended instead.
demo_bridge_is_ready()
{
	local pid=$1 tries

	for ((tries = 0; tries < 200; tries++))
	do
		kill -0 "$pid" 2>/dev/null || return 1
		node test/lib/is-ready.mjs "$DEMO_URL/ready" && return 0
		sleep 0.1
	done
	return 1
}

# On the first port that is free; one that somebody takes in between makes the bridge end, then the next is tried.
demo_bridge()
{
	local port

	for ((port = FIRST_PORT; port < FIRST_PORT + 50; port++))
	do
		port_is_free "$port" || continue
		export DEMO_URL=http://127.0.0.1:$port
		demo_start "$WORK/logs/bridge" "$BRIDGE" --listen "127.0.0.1:$port" \
			--database "host=$PGHOST user=demo_bridge dbname=scoreboard" --www bridge/www
		demo_bridge_is_ready "${DEMO_PIDS[-1]}" && return 0
		grep -qi 'in use' "$WORK/logs/bridge" || break
		unset 'DEMO_PIDS[-1]'
	done
	show_log "$WORK/logs/bridge" 20
	return 1
}

demo_end()
{
	local pid index

	trap '' INT TERM HUP
	for ((index = ${#DEMO_PIDS[@]} - 1; index >= 0; index--))
	do
		pid=${DEMO_PIDS[index]}
		kill -TERM "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	cluster_stop "$WORK/demo"
}

# A signal while the board moves is the orderly end; earlier, it is an interruption.
demo_signal()
{
	DEMO_ENDING=1
	[ -n "${DEMO_SHOWING-}" ] || { demo_end; exit 130; }
}

demo()
{
	local board status=0 deadline

	trap demo_signal INT TERM HUP
	say 'starting a private server'
	if ! { cluster_start "$WORK/demo" && demo_database && demo_bridge; }
	then
		demo_end
		die 'the demo could not be started'
	fi
	demo_start "$WORK/logs/players" node test/demo/players.mjs

	printf '\n  The live page: %s/\n  End: Ctrl-C\n\n' "$DEMO_URL"
	DEMO_SHOWING=1
	node test/demo/board.mjs </dev/null &
	board=$!
	deadline=$(($(date +%s) + ${DEMO_SECONDS:-1000000000}))
	while [ -z "$DEMO_ENDING" ] && [ "$(date +%s)" -lt $deadline ]
	do
		if ! demo_is_alive
		then
			status=1
			break
		fi
		sleep 0.5
	done
	kill -TERM $board 2>/dev/null && wait $board 2>/dev/null
	demo_end
	[ $status -ne 0 ] || say 'ended; nothing is left behind'
	exit $status
}

# Says what ended, if something did.
demo_is_alive()
{
	local name index=0

	for name in bridge players
	do
		if ! kill -0 "${DEMO_PIDS[index]}" 2>/dev/null
		then
			say "the $name ended by itself:"
			show_log "$WORK/logs/$name" 30
			return 1
		fi
		index=$((index + 1))
	done
}
