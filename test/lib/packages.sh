# Which Debian packages a run needs, which of them are missing, and their installation. Sourced by test/run.
#
# apt is called only if something is missing. A program that is there already, from wherever, is not replaced: `node` and `npm`
# often come from elsewhere.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

# A file here keeps postgresql-common from creating (and starting) a cluster when a server package is new on the machine.
CLUSTER_SETTINGS=/etc/postgresql-common/createcluster.d
CLUSTER_SETTING=$CLUSTER_SETTINGS/scoreboard-tests.conf

# Whom Debian's packages ask before they start a service.
SERVICE_POLICY=/usr/sbin/policy-rc.d

# The Debian whose clang-tidy, cppcheck and shellcheck are asked: every release of them finds something new to complain about.
ANALYSERS_RELEASE=bookworm

has_analysers()
{
	grep -qx "VERSION_CODENAME=$ANALYSERS_RELEASE" /etc/os-release
}

# needed_packages COMMAND SUITE...: one a line; "package:command" is needed only where there is no such command.
needed_packages()
{
	local command=$1 suite
	shift

	if [ "$command" = debian ] # test/lib/debian.sh
	then
		printf '%s\n' debootstrap:debootstrap procps:pkill gcc:gcc libc6-dev
		return
	fi
	printf '%s\n' gcc:gcc libc6-dev make:make pkg-config:pkg-config \
		libpq-dev libwebsockets-dev libwebsockets-evlib-uv libuv1-dev libjansson-dev libcjose-dev libssl-dev
	needed_postgres
	case $command in
	demo) echo nodejs:node ;;
	bench) # measured beside; without redis-server's service, test/bench/redis.sh says how
		printf '%s\n' redis-tools:redis-benchmark nginx:nginx libnginx-mod-nchan wrk:wrk curl:curl nodejs:node npm:npm
		;;
	fuzz) echo clang:clang ;;
	soak | torture) printf '%s\n' nodejs:node npm:npm ;;
	check)
		for suite
		do
			case $suite in
			static) ! has_analysers || printf '%s\n' clang-tidy:clang-tidy cppcheck:cppcheck shellcheck:shellcheck ;;
			fuzz) echo python3-h11 ;;
			tap) printf '%s\n' perl libipc-run-perl redis-tools:redis-cli ;; # a sorted set moves; its server as test/bench/redis.sh says
			bridge) printf '%s\n' nodejs:node npm:npm haproxy nginx prometheus:promtool groff-base:groff perl-base:perl openssl:openssl ;;
			torture) printf '%s\n' nodejs:node npm:npm ;;
			browser) printf '%s\n' nodejs:node npm:npm chromium:chromium ;;
			demo) printf '%s\n' perl libipc-run-perl nodejs:node curl:curl openssl:openssl ;;
			esac
		done
		;;
	esac
}

# The server and its headers, where there is no complete one: the distribution's default.
needed_postgres()
{
	local version

	find_pg_config >/dev/null && return
	version=$(apt-cache show postgresql 2>/dev/null | sed -n 's/^Depends:.*postgresql-\([0-9]*\).*/\1/p' | head -n 1)
	printf '%s\n' "postgresql-${version:-15}" "postgresql-server-dev-${version:-15}"
}

# Prints the pg_config of the PostgreSQL to use: with headers to build against, and a server to run.
find_pg_config()
{
	local candidate

	# shellcheck disable=SC2012 # version numbers
	for candidate in ${PG_CONFIG:-$(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -rV) pg_config}
	do
		if [ -f "$("$candidate" --includedir-server 2>/dev/null)/postgres.h" ] &&
			[ -x "$("$candidate" --bindir)/initdb" ] && [ -f "$("$candidate" --pgxs)" ]
		then
			command -v "$candidate"
			return 0
		fi
	done
	return 1
}

# missing_packages COMMAND SUITE...
missing_packages()
{
	local entry package

	needed_packages "$@" | sort -u | while read -r entry
	do
		package=${entry%%:*}
		[ "$entry" != "$package" ] && command -v "${entry#*:}" >/dev/null && continue
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
	done
}

as_root()
{
	if [ "$(id -u)" = 0 ]
	then
		"$@"
	else
		sudo "$@"
	fi
}

apt()
{
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

# The tests start their servers by themselves: no service of a package that is new here starts, now or with the machine. As
# create_main_cluster, the policy is off for the time of the installation only; what the administrator set stays as it is.
install_packages()
{
	local status service made=

	if [ ! -e "$SERVICE_POLICY" ]
	then
		made=$SERVICE_POLICY
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$made" >/dev/null && as_root chmod +x "$made" || return 1
	fi
	as_root mkdir -p "$CLUSTER_SETTINGS" &&
		echo 'create_main_cluster = false' | as_root tee "$CLUSTER_SETTING" >/dev/null &&
		apt install --no-install-recommends "$@"
	status=$?
	as_root rm -f "$CLUSTER_SETTING" ${made:+"$made"}
	for service in haproxy nginx prometheus
	do
		[[ " $* " != *" $service "* ]] || ! command -v systemctl >/dev/null || as_root systemctl -q disable "$service"
	done
	return "$status"
}

install_missing()
{
	local log missing

	[ -z "${PG_CONFIG-}" ] || find_pg_config >/dev/null || die "PG_CONFIG=$PG_CONFIG: no PostgreSQL server or no headers there"
	command -v dpkg-query >/dev/null || return 0 # another distribution: the builds will say what they miss
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
		die "missing packages, and neither root nor sudo to install them: apt-get install ${missing[*]}"

	log=$(mktemp) || exit 1
	say "installing Debian packages: ${missing[*]}"
	as_root true || die "sudo refused; as root: apt-get install ${missing[*]}" # asks for a password here, not in the log
	if ! step 'apt-get update' "$log" apt update
	then
		show_log "$log"
		rm -f "$log"
		die 'apt-get update failed'
	fi
	# Only now is it sure which version of PostgreSQL is the default one.
	mapfile -t missing < <(missing_packages "$@")
	if ! step 'apt-get install' "$log" install_packages "${missing[@]}"
	then
		show_log "$log"
		rm -f "$log"
		die 'apt-get install failed'
	fi
	rm -f "$log"
}
