#!/usr/bin/env bash
# The inner half of test/run: builds the copy of the tree that it stands in, makes the private prefix, then tests, plays or measures.
# Runs unprivileged. $RUN_WORK is the run's private directory; the outer half ends and removes whatever we leave.
#
#   inner.sh check SUITE... | demo | soak | torture [--help] | bench ARGUMENT...
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
set -u

WORK=$RUN_WORK
LIB=$WORK/tree/test/lib
# shellcheck source=test/lib/say.sh
. "$LIB/say.sh"
# shellcheck source=test/lib/packages.sh
. "$LIB/packages.sh"
# shellcheck source=test/lib/prefix.sh
. "$LIB/prefix.sh"
# shellcheck source=test/lib/files.sh
. "$LIB/files.sh"
# shellcheck source=test/lib/sources.sh
. "$LIB/sources.sh"
# shellcheck source=test/lib/suites.sh
. "$LIB/suites.sh"
# shellcheck source=test/lib/static.sh
. "$LIB/static.sh"

COMMAND=$1
shift
cd "$WORK/tree" || exit 1

build || die 'there is no build to test'

# What the suites need to start servers and bridges of their own.
export PATH="$PG_BINDIR:$PATH"
export PG_BINDIR

case $COMMAND in
check) check "$@" ;;
demo) exec node test/demo/demo.mjs ;;
soak) at_length test/bridge/soak.mjs ;;
torture) at_length test/torture/torture.mjs "$@" ;;
bench)
	[ -x test/bench/run ] || die 'there is no test/bench/run'
	exec test/bench/run "$@"
	;;
esac
