# The suites of `make check` and their files. Sourced by test/run and inner.sh, in the tree's top directory.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

ALL_SUITES="static unit fuzz regress isolation tap bridge browser torture demo"

# files PATTERN: the files that match, in the order of their names; ONLY narrows them down.
files()
{
	compgen -G "$1" | LC_ALL=C sort | { grep -F -- "${ONLY-}" || true; }
}

files_static() { files 'src/*.c'; }
# A file without a main function is a part of others.
files_unit() { files 'test/unit/*.c' | xargs -r grep -lw main; }
files_fuzz() { files 'test/fuzz/*.c' | xargs -r grep -lw main; }
files_regress() { files 'test/sql/*.sql'; }
files_isolation() { files 'test/specs/*.spec'; }
files_tap() { files 'test/t/*.pl'; }
files_bridge() { files 'test/lib/*.test.mjs'; files 'test/bridge/*.test.mjs'; files 'test/graphql/*.test.mjs'; }
files_browser() { files 'test/browser/*.test.mjs'; }
files_torture() { files 'test/torture/*.test.mjs'; }
files_demo() { files 'test/harness/*.pl'; }

# What a name means that no suite was named for: the suites that have such a test.
suites_of_only()
{
	local suite

	for suite in ${ALL_SUITES#static }
	do
		[ -z "$("files_$suite")" ] || printf '%s ' "$suite"
	done
}
