# `check` on another release of Debian, with the PostgreSQL that it has: make check DEBIAN=trixie. Sourced by test/run.
#
# The release's root directory is made once, by debootstrap from the mirror that apt uses here, and kept with the packages that the runs
# in it installed. The run itself is a `test/run check` of its own in there, in namespaces of its own: what it mounts and starts goes
# with its first process. What it writes is in our private directory.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

DEBIAN_ROOTS=/var/cache/scoreboard
MACHINE_CA=/etc/ssl/certs/ca-certificates.crt

# The archive, with the mirror that this machine's sources name: no host is written down here.
debian_mirror()
{
	# shellcheck disable=SC2016 # apt's
	apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 'Created-By: Packages' | head -n 1
}

# in_root ROOT COMMAND...: its first process ends everything when it ends, or when we do. npm trusts whom this machine trusts: a mirror
# may have a certificate of its own.
in_root()
{
	local root=$1
	shift

	cp -L /etc/resolv.conf /etc/hosts "$root/etc/" || return 1
	[ ! -e $MACHINE_CA ] || cp -L $MACHINE_CA "$root/etc/scoreboard-ca.crt" || return 1
	# shellcheck disable=SC2016 # the inner shell's
	exec setpriv --pdeathsig KILL -- unshare --mount --ipc --pid --fork --kill-child --mount-proc="$root/proc" -- bash -c '
		root=$1 work=$2
		shift 2
		mount --rbind /dev "$root/dev" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" || exit 1
		if [ -n "$work" ]
		then
			mount --bind "$work/tree" "$root/mnt" && mount --bind "$work/tmp" "$root/tmp" || exit 1
		fi
		[ ! -e "$root/etc/scoreboard-ca.crt" ] || set -- npm_config_cafile=/etc/scoreboard-ca.crt "$@"
		chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 ${http_proxy:+http_proxy="$http_proxy"} "$@"
		exit $?' in_root "$root" "${WORK-}" "$@"
}

# Experimental is no release of its own but what sid lacks; taken from there is the newest PostgreSQL.
bootstrap_debian()
{
	local root=$1 base=$DEBIAN mirror

	mirror=$(debian_mirror)
	[ -n "$mirror" ] || return 1
	[ "$DEBIAN" != experimental ] || base=sid
	debootstrap --variant=minbase "$base" "$root" "$mirror" || return 1
	# No service starts in there; and a mirror may be a snapshot of a day that is long gone.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d" &&
		echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/scoreboard" || return 1
	[ "$DEBIAN" = experimental ] || return 0
	echo "deb $mirror experimental main" >"$root/etc/apt/sources.list.d/experimental.list"
	printf '%s\n' 'Package: postgresql-* libpq*' 'Pin: release a=experimental' 'Pin-Priority: 990' >"$root/etc/apt/preferences.d/scoreboard"
	# libcurl4-openssl-dev: its libpq.pc asks for that.
	# shellcheck disable=SC2016 # the root's
	(in_root "$root" DEBIAN_FRONTEND=noninteractive sh -c '
		mkdir -p /etc/postgresql-common/createcluster.d && echo create_main_cluster = false >/etc/postgresql-common/createcluster.d/scoreboard.conf
		apt-get -q update && newest=$(apt-cache pkgnames postgresql-server-dev- | grep -o "[0-9]*$" | sort -n | tail -n 1) &&
			apt-get -q -y --no-install-recommends install postgresql-$newest postgresql-server-dev-$newest libcurl4-openssl-dev')
}

# Made beside its place, so that an interrupted one is not taken for a whole one.
make_root()
{
	local root=$1 log

	[ ! -d "$root" ] || return 0
	log=$(mktemp) || exit 1
	rm -rf "$root.new"
	say "making $root, once (debootstrap)"
	if ! step debootstrap "$log" bootstrap_debian "$root.new" || ! mv "$root.new" "$root"
	then
		show_log "$log"
		rm -rf "$log" "$root.new"
		die "no root directory of Debian $DEBIAN could be made"
	fi
	rm -f "$log"
}

# To be said before anything is made: whether we can, and the root directory.
prepare_debian()
{
	local root=$DEBIAN_ROOTS/$DEBIAN

	[ "$COMMAND" = check ] || die 'DEBIAN is for check alone'
	[ -z "${REUSE-}" ] || die 'DEBIAN and REUSE do not go together'
	[[ $DEBIAN =~ ^[a-z]+$ ]] || die "DEBIAN=$DEBIAN: the name of a release is wanted, such as trixie, sid or experimental"
	[ "$(id -u)" = 0 ] || die "DEBIAN=$DEBIAN needs root (debootstrap, chroot): sudo make check DEBIAN=$DEBIAN"
	command -v apt-get >/dev/null || die "DEBIAN=$DEBIAN needs a machine with Debian's apt"
	unset PG_CONFIG
	mkdir -p "$DEBIAN_ROOTS" || die "$DEBIAN_ROOTS can't be made"
	install_missing debian
	(
		flock 9
		make_root "$root"
	) 9>"$root.lock" || exit 1
}

# Inside contain, in place of the rest of our run. unshare is deaf to TERM, but its child takes all with it.
check_in_debian()
{
	chmod 1777 "$WORK/tmp"
	in_root "$DEBIAN_ROOTS/$DEBIAN" RUN_STARTED="$RUN_STARTED" ONLY="${ONLY-}" KEEP="${KEEP-}" FUZZ_SECONDS="${FUZZ_SECONDS-2}" \
		/mnt/test/run "$@" &
	trap 'pkill -KILL -P $!' TERM INT HUP
	wait $!
	wait $! # again, where the signal ended it
	exit
}
