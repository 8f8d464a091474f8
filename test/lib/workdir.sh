# The private directory of one run: whose it is, what is copied into it, and how it goes away. Sourced by test/run.
#
# Always a copy of the tree, also for an ordinary user: the checkout may lie where the account that runs PostgreSQL can't read
# (/root), and it gets no litter of anybody's.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

# Where a socket's path would grow past the 107 bytes that Unix allows.
LONGEST_WORKDIR=65

# The account that the inner half runs as: ourselves, or for root somebody unprivileged. Not postgres: a server of this machine
# would let that account in as its superuser.
choose_account()
{
	if [ "$(id -u)" != 0 ]
	then
		id -un
	elif [ -n "${RUN_AS-}" ]
	then
		echo "$RUN_AS"
	elif [ "$(id -u "${SUDO_USER:-root}" 2>/dev/null)" != 0 ]
	then
		echo "$SUDO_USER"
	else
		echo nobody
	fi
}

# step_down COMMAND...: as that account, with a home and a place for temporary files that are ours. exec'ed: meant for a subshell.
step_down()
{
	local prefix=()

	if [ "$(id -u)" = 0 ]
	then
		prefix=(setpriv --reuid="$ACCOUNT" --regid="$(id -g "$ACCOUNT")" --clear-groups --)
	fi
	cd "$WORK/tree" || exit 1
	exec env -u XDG_RUNTIME_DIR -u SUDO_USER -u REUSE -u KEEP HOME="$WORK/home" USER="$ACCOUNT" LOGNAME="$ACCOUNT" TMPDIR="$WORK/tmp" \
		RUN_WORK="$WORK" "${prefix[@]}" "$@"
}

# Makes $WORK, or takes the one that REUSE names.
make_workdir()
{
	local base

	ACCOUNT=$(choose_account)
	id "$ACCOUNT" >/dev/null || die "no account '$ACCOUNT' to step down to; name one with RUN_AS"
	export WORK ACCOUNT
	if [ -n "${REUSE-}" ]
	then
		reuse_workdir
		return
	fi
	trap 'rm -rf "$WORK"' EXIT
	for base in "${TMPDIR:-/tmp}" /tmp
	do
		WORK=$(umask 077 && mktemp -d -p "$base" --suffix=.scoreboard) || die "no directory can be made in $base"
		fill_workdir
		[ ${#WORK} -le $LONGEST_WORKDIR ] && (step_down test -w "$WORK/tree") 2>/dev/null && return
		rm -rf "$WORK"
	done
	die "account '$ACCOUNT' can't use a directory of its own below ${TMPDIR:-/tmp} or /tmp"
}

fill_workdir()
{
	mkdir -p "$WORK"/{tree,home,tmp,logs} || die "no directories can be made in $WORK"
	[ "$(id -u)" != 0 ] || chown "$ACCOUNT:" "$WORK" "$WORK"/{tree,home,tmp,logs}
}

# What an earlier run with the same tools built stays; the rest is made anew. The file `built` says what it was built with, and that the
# directory is one of ours. Two runs at once keep off each other: the lock is every process's until the last has ended.
reuse_workdir()
{
	local built

	[[ $REUSE = /* ]] || REUSE=$PWD/$REUSE
	WORK=$REUSE
	[ ${#WORK} -le $LONGEST_WORKDIR ] || die "REUSE: a path of at most $LONGEST_WORKDIR characters, since sockets lie in there"
	[ -d "$WORK" ] || mkdir -m 700 "$WORK" || die "REUSE: $WORK can't be made"
	[ -O "$WORK/built" ] || [ -z "$(ls -A "$WORK")" ] || die "REUSE: $WORK is not a directory of a run of yours"
	exec 9<"$WORK"
	flock -n 9 || die "REUSE: another run is using $WORK"
	built=$("$PG_CONFIG" --bindir --version --configure; gcc --version; cksum <"$TOP/Makefile"; echo "$ACCOUNT")
	[ "$(cat "$WORK/built" 2>/dev/null)" = "$built" ] || rm -rf "${WORK:?}"/*
	find "$WORK" -mindepth 1 -maxdepth 1 ! -name built ! -name tree ! -name prefix ! -name sanitized -exec rm -rf {} +
	echo "$built" >"$WORK/built"
	fill_workdir
	(step_down test -w "$WORK/tree") 2>/dev/null || die "account '$ACCOUNT' can't use $WORK"
}

# Goes on inside contain, in place of this process. What a killed server has left, its System V segment, stands in the seventh line of
# its postmaster.pid.
# shellcheck disable=SC2016 # the cleaner's variables
contained()
{
	local cleaner terminal=()

	cleaner='find "$WORK" -name postmaster.pid -exec sed -n "7s/.* //p" {} ";" | xargs -r -n 1 ipcrm -m 2>/dev/null'
	if [ -n "${REUSE-}${KEEP-}" ]
	then
		say "keeping $WORK"
	else
		cleaner+='; rm -rf "$WORK"'
	fi
	gcc -O1 -o "$WORK/contain" "$TOP/test/lib/contain.c" || die 'contain.c does not compile'
	[ "$COMMAND" != demo ] || terminal=(-f)
	trap - EXIT
	exec "$WORK/contain" "${terminal[@]}" "cd /; $cleaner" "$TOP/test/run" --inside "$@"
}

# Without what git ignores (objects built with other flags, node's packages) and without .git. In a directory that is used again, a file
# that has not changed keeps its time and the objects theirs, so that make sees what is new. Not for the suite static: it reads the
# compiler's warnings, about all files.
copy_tree()
{
	local old=$WORK/tree new=$WORK/tree.new file

	mkdir "$new" || die 'copying the tree failed'
	tar -C "$TOP" --exclude-vcs --exclude-vcs-ignores -cf - . |
		tar -C "$new" -m --no-same-owner --no-same-permissions -xf - || die 'copying the tree failed'
	cp "$TOP/.gitignore" "$new" 2>/dev/null
	if [ -d "$old/src" ] && [[ " $* " != *" static "* ]]
	then
		while read -r file
		do
			! cmp -s "$old/$file" "$new/$file" || touch -r "$old/$file" "$new/$file"
		done < <(cd "$new" && find src bridge -name '*.[ch]' -o -name '*.json')
		(cd "$old" && find src bridge -name '*.o' -print0 | tar -cf - --null -T -) | tar -C "$new" -xf -
	fi
	[ ! -d "$old/test/node_modules" ] || mv "$old/test/node_modules" "$new/test"
	[ ! -d "$old/test/graphql/node_modules" ] || mv "$old/test/graphql/node_modules" "$new/test/graphql"
	rm -rf "$old"
	mv "$new" "$old" || die 'copying the tree failed'
	[ "$(id -u)" != 0 ] || chown -R "$ACCOUNT:" "$WORK/tree"
}

# install_node_modules COMMAND SUITE...: what is written in JavaScript needs packages, as a package-lock.json pins them.
install_node_modules()
{
	case " $* " in
	" bench "*) npm_ci "$WORK/tree/test/bench/peers" ;;
	*" bridge "* | *" browser "* | *" torture "* | " soak "*) npm_ci "$WORK/tree/test" ;;
	esac
	[[ " $* " != *" bridge "* ]] || [ -z "$(cd "$TOP" && files 'test/graphql/*.test.mjs')" ] || npm_ci "$WORK/tree/test/graphql"
}

# npm_ci DIRECTORY. By ourselves and not by the account below, since npm's settings and cache are ours; scripts of packages don't run.
npm_ci()
{
	[ -f "$1/package-lock.json" ] || return 0
	cmp -s "$1"/{,node_modules/}package-lock.json && return
	say "installing packages for JavaScript in ${1#"$WORK/tree/"} (npm ci)"
	if ! (cd "$1" && step 'npm ci' "$WORK/npm.log" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
	then
		show_log "$WORK/npm.log"
		die 'npm ci failed'
	fi
	cp "$1"/{,node_modules/}package-lock.json # says which, to a run that uses them again
	[ "$(id -u)" != 0 ] || chown -R "$ACCOUNT:" "$1/node_modules"
}
