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
	exec env -u XDG_RUNTIME_DIR -u SUDO_USER HOME="$WORK/home" USER="$ACCOUNT" LOGNAME="$ACCOUNT" TMPDIR="$WORK/tmp" \
		RUN_WORK="$WORK" "${prefix[@]}" "$@"
}

# Makes $WORK, and starts its guardian: should we be killed, it cleans up in our place.
make_workdir()
{
	local base

	ACCOUNT=$(choose_account)
	id "$ACCOUNT" >/dev/null || die "no account '$ACCOUNT' to step down to; name one with RUN_AS"
	for base in "${TMPDIR:-/tmp}" /tmp
	do
		WORK=$(umask 077 && mktemp -d -p "$base" --suffix=.scoreboard) || exit 1
		trap clean_up EXIT
		mkdir "$WORK/tree" "$WORK/home" "$WORK/tmp" "$WORK/logs" || exit 1
		[ "$(id -u)" != 0 ] || chown -R "$ACCOUNT:" "$WORK" || exit 1
		[ ${#WORK} -le $LONGEST_WORKDIR ] && (step_down test -w "$WORK/tree") 2>/dev/null && break
		rm -rf "$WORK"
	done
	[ -d "$WORK" ] || die "account '$ACCOUNT' can't use a directory of its own below ${TMPDIR:-/tmp} or /tmp"

	# In a session of its own, so that neither Ctrl-C nor the end of the terminal reaches it.
	setsid "$TOP/test/lib/clean-up" --when-gone $$ "$WORK" </dev/null >/dev/null 2>&1 &
	GUARDIAN=$!
}

# Runs when test/run exits.
clean_up()
{
	trap '' INT TERM HUP
	if [ -n "${KEEP-}" ]
	then
		"$TOP/test/lib/clean-up" --keep "$WORK"
		echo "kept: $WORK" >&2
	else
		"$TOP/test/lib/clean-up" "$WORK"
	fi
	# -- its process group: the guardian and what it waits with.
	[ -z "${GUARDIAN-}" ] || kill -- "-$GUARDIAN" 2>/dev/null
}

# Without what git ignores (objects built with other flags, node's packages) and without .git.
copy_tree()
{
	tar -C "$TOP" --exclude-vcs --exclude-vcs-ignores -cf - . |
		tar -C "$WORK/tree" --no-same-owner --no-same-permissions -xf - || die 'copying the tree failed'
	cp "$TOP/.gitignore" "$WORK/tree/" 2>/dev/null
	[ "$(id -u)" != 0 ] || chown -R "$ACCOUNT:" "$WORK/tree"
}

# The packages that the tests in JavaScript need, as test/package-lock.json pins them. By ourselves and not by the account below,
# since npm's settings and cache are ours; scripts of packages don't run.
install_node_modules()
{
	[[ " $* " = *" bridge "* || " $* " = *" browser "* ]] || return 0
	[ -f "$WORK/tree/test/package-lock.json" ] || return 0
	say 'installing packages for the tests in JavaScript (npm ci)'
	if ! (cd "$WORK/tree/test" && step 'npm ci' "$WORK/npm.log" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
	then
		show_log "$WORK/npm.log"
		die 'npm ci failed'
	fi
	[ "$(id -u)" != 0 ] || chown -R "$ACCOUNT:" "$WORK/tree/test/node_modules"
}
