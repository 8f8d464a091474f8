# `check` on another release of Debian, with the PostgreSQL that it has: make check DEBIAN=trixie. Sourced by test/run.
#
# The release's root directory is made once, by debootstrap from the mirror that apt uses here, and kept with the packages that the runs
# in it installed. The run itself is a `test/run check` of its own in there, in namespaces of its own: what it mounts and starts goes
# with its first process. What it writes is in our private directory.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

DEBIAN_ROOTS=/var/cache/scoreboard

# The archive, with the mirror that this machine's sources name: no host is written down here.
debian_mirror()
{
	apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 'Created-By: Packages' | head -n 1
}

# in_root ROOT COMMAND...: the caller's first process there ends everything when it ends, or when we do.
in_root()
{
	local root=$1
	shift

	cp -L /etc/resolv.conf /etc/hosts "$root/etc/" || return 1
	# shellcheck disable=SC2016 # the inner shell's
	exec setpriv --pdeathsig KILL -- unshare --mount --ipc --pid --fork --kill-child --mount-proc="$root/proc" -- bash -c '
		root=$1 work=$2
		shift 2
		mount --rbind /dev "$root/dev" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" || exit 1
		if [ -n "$work" ]
		then
			mount --bind "$work/tree" "$root/mnt" && mount --bind "$work/tmp" "$root/tmp" || exit 1
		fi
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
	# libcurl4-openssl-dev: its libpq.pc asks for that.
	# shellcheck disable=SC2016 # the root's
	(in_root "$root" DEBIAN_FRONTEND=noninteractive sh -c '
		mkdir -p /etc/postgresql-common/createcluster.d && echo create_main_cluster = false >/etc/postgresql-common/createcluster.d/scoreboard.conf
		apt-get -q update && newest=$(apt-cache pkgnames postgresql-server-dev- | grep -o "[0-9]*$" | sort -n | tail -n 1) &&
			apt-get -q -y -t experimental --no-install-recommends install postgresql-$newest postgresql-server-dev-$newest libcurl4-openssl-dev')
}

# Made beside its place, so that an interrupted one is not taken for a whole one.
make_root()
{
	local root=$1 log

	[ ! -d "$root" ] || return 0
	install_missing debian
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

# Killed as one: its first process takes the others along, and is waited for.
stop_in_root()
{
	trap '' INT TERM HUP
	pkill -KILL -P "$INNER"
	wait "$INNER"
	exit "$1"
}

# check_in_debian SUITE...
check_in_debian()
{
	local root=$DEBIAN_ROOTS/$DEBIAN

	[[ $DEBIAN =~ ^[a-z]+$ ]] || die "DEBIAN=$DEBIAN: the name of a release is wanted, such as trixie, sid or experimental"
	[ "$(id -u)" = 0 ] || die "DEBIAN=$DEBIAN needs root (debootstrap, chroot): sudo make check DEBIAN=$DEBIAN"
	command -v apt-get >/dev/null || die "DEBIAN=$DEBIAN needs a machine with Debian's apt"
	mkdir -p "$DEBIAN_ROOTS" || exit 1
	exec 9>"$root.lock"
	flock 9
	make_root "$root"
	exec 9>&-

	make_workdir
	copy_tree
	chmod 1777 "$WORK/tmp"
	INNER=
	trap 'stop_in_root 130' INT
	trap 'stop_in_root 143' TERM
	trap 'stop_in_root 129' HUP
	(in_root "$root" RUN_STARTED="$RUN_STARTED" ONLY="${ONLY-}" KEEP="${KEEP-}" FUZZ_SECONDS="${FUZZ_SECONDS-2}" \
		/mnt/test/run check "$@") &
	INNER=$!
	wait "$INNER"
}
