# A private server for the benchmarks: no TCP, socket and data below the run's directory. Sourced by bench/run.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

# cluster_start DIRECTORY: the data go to DIRECTORY/data, the socket and the log to DIRECTORY. Superuser: postgres.
cluster_start()
{
	local directory=$1

	mkdir -p "$directory"
	initdb --pgdata="$directory/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync \
		>"$directory/initdb.log" 2>&1 || { show_log "$directory/initdb.log"; return 1; }
	cat >>"$directory/data/postgresql.conf" <<-END
		shared_preload_libraries = 'scoreboard'
		scoreboard.verify_at = off
		listen_addresses = ''
		unix_socket_directories = '$directory'
		logging_collector = off
	END
	if ! pg_ctl --pgdata="$directory/data" --log="$directory/server.log" --wait --silent start >"$directory/pg_ctl.log" 2>&1
	then
		show_log "$directory/server.log"
		return 1
	fi
	export PGHOST=$directory PGUSER=postgres PGDATABASE=postgres
}

cluster_stop()
{
	pg_ctl --pgdata="$1/data" --mode=fast --wait --silent stop >/dev/null 2>&1
}
