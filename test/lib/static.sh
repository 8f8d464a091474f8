# The suite `static`: what can be said about the sources without running them. Sourced by inner.sh.
#
# Each check is a function check_NAME that prints what it has to complain about and returns false then.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

LONGEST_FILE=900

ANALYSERS="clang_tidy cppcheck shellcheck"
STATIC_CHECKS="compiler_warnings whitespace $ANALYSERS javascript versions errcodes log_lines
	file_length plain_room registry_hosts leftovers test_names"

run_static()
{
	local name

	for name in $STATIC_CHECKS
	do
		if [[ " $ANALYSERS " = *" $name "* ]] && ! has_analysers
		then
			say "static: $name is left out: it is asked on Debian $ANALYSERS_RELEASE"
		elif step "static: $name" "$WORK/logs/static-$name" "check_$name"
		then
			count 1 0
		else
			count 0 1
			failed "static: $name failed" "$WORK/logs/static-$name"
			show_log "$WORK/logs/static-$name" 80
		fi
	done
}

# Every file of the project that is text of ours: the copy has nothing else but what npm installed and inputs that fuzzers found.
our_files()
{
	find . -type d \( -name node_modules -o -path ./test/fuzz/corpus \) -prune -o -type f ! -name '*.o' ! -name '*.so' ! -name scoreboard-bridge \
		"$@" -print | LC_ALL=C sort
}

c_sources() { our_files \( -path './src/*.c' -o -path './bridge/*.c' \); }
c_files() { our_files \( -name '*.c' -o -name '*.h' \); }

# The build's own output, so that nothing is compiled twice.
check_compiler_warnings()
{
	! grep -E -A 4 'warning:' "$BUILD_LOG"
}

# What every tool agrees about. (clang-format itself is no check: `make format` can't align declarations as pgindent does.)
check_whitespace()
{
	local status=0

	our_files ! -name '*.out' ! -name '*.png' | xargs grep -nIP '[ \t]+$|\r' && status=1
	c_files | xargs grep -nP '^\t*    ' && status=1
	return $status
}

# What the compiler was told about the includes; analysers must see the same.
include_flags()
{
	local flags

	case $1 in
	./src/*) flags="-D_GNU_SOURCE -Isrc -DSCOREBOARD_VERSION=\"1\" -I$("$PG_CONFIG" --includedir-server) $(pkg-config --cflags cjose jansson libcrypto)" ;;
	*) flags="-DSCOREBOARD_VERSION=\"1\" $(pkg-config --cflags libwebsockets libpq libuv jansson libssl libcrypto)" ;;
	esac
	echo "-std=gnu11 $flags"
}

tidy_one()
{
	# shellcheck disable=SC2046 # words
	clang-tidy --quiet "$1" -- $(include_flags "$1") 2>/dev/null
}

check_clang_tidy()
{
	export -f tidy_one include_flags
	# shellcheck disable=SC2016 # the inner shell's
	c_sources | xargs -r -P "$(nproc)" -I '{}' bash -c 'tidy_one "$1"' tidy '{}'
}

# The suppressed ones misread ownership that moves to another function; the sanitizers find what leaks.
check_cppcheck()
{
	c_sources | xargs -r cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=unknownMacro --suppress=missingInclude --suppress=memleak --suppress=uninitdata \
		--suppress=assignBoolToPointer --error-exitcode=1 -j "$(nproc)" -Isrc -Ibridge 2>&1
}

# From each script that is started, into the files that it sources: what one sets another uses.
check_shellcheck()
{
	our_files | xargs grep -lm 1 '^#!/usr/bin/env bash' | xargs shellcheck --external-sources --check-sourced
}

check_javascript()
{
	local file status=0

	command -v node >/dev/null || return 0
	while read -r file
	do
		# By its own name node 18 would read a module of the page as a script.
		cp "$file" "$WORK/check.mjs"
		node --check "$WORK/check.mjs" || { echo "in $file"; status=1; }
	done < <(our_files \( -name '*.mjs' -o -path './bridge/www/*.js' \))
	return $status
}

# The control file says which version this is; all else has to agree.
check_versions()
{
	local version file status=0

	version=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" scoreboard.control)
	[ -f "sql/scoreboard--$version.sql" ] || { echo "no sql/scoreboard--$version.sql"; status=1; }
	grep -qE "^## $version( |$)" CHANGELOG.md || { echo "CHANGELOG.md has no section $version"; status=1; }
	sed '/"meta-spec"/,/}/d' META.json | grep '"version"' | grep -vF "\"$version.0\"" &&
		{ echo "META.json does not say $version.0 there"; status=1; }
	grep -qF "\"version\": \"$version.0\"" bridge/www/package.json || { echo "bridge/www/package.json does not say $version.0"; status=1; }
	for file in bridge/openapi.json bridge/asyncapi.json
	do
		grep -qxF "    \"version\": \"$version\"," "$file" || { echo "$file does not say $version"; status=1; }
	done
	grep -qF "sql/scoreboard--$version.sql" META.json || { echo 'META.json names another script'; status=1; }
	return $status
}

# A client tells errors apart by SQLSTATE, so each of ours needs one. The statement ends with the first ';' at the end of a line.
check_errcodes()
{
	# shellcheck disable=SC2016 # awk's
	our_files -path './src/*.c' | xargs awk '
		FNR == 1 { statement = "" }
		/ereport\((ERROR|FATAL|PANIC)/ { statement = " "; line = FNR }
		statement != "" { statement = statement $0 }
		statement != "" && /;[ \t]*$/ {
			if (statement !~ /errcode/) { print FILENAME ":" line ": ereport without errcode"; bad = 1 }
			statement = ""
		}
		END { exit bad }'
}

# A line of the log is worth reading where it says what it means or what to do.
check_log_lines()
{
	# shellcheck disable=SC2016 # awk's
	our_files \( -path './src/*.c' -o -path './bridge/*.c' \) | xargs awk '
		FNR == 1 { statement = "" }
		/ereport\((LOG|WARNING),?$/ { statement = " "; line = FNR; wanted = "err(detail|hint)\\(" }
		/log_(warn|error)\("/ { statement = " "; line = FNR; wanted = "\"advice\"" }
		statement != "" { statement = statement $0 }
		statement != "" && /;[ \t]*$/ {
			if (statement !~ wanted) { print FILENAME ":" line ": a line of the log without advice"; bad = 1 }
			statement = ""
		}
		END { exit bad }'
}

check_file_length()
{
	# shellcheck disable=SC2016 # awk's
	our_files ! -path './sql/*' \( -name '*.[ch]' -o -name '*.sql' -o -name '*.js' -o -name '*.mjs' -o -name '*.p[lm]' -o -name '*.sh' \) |
		xargs awk -v most=$LONGEST_FILE '
			FNR == most + 1 { print FILENAME ": longer than " most " lines"; bad = 1 }
			END { exit bad }'
}

# src/plain is linked into test programs without a server: only its own headers and the libraries'.
check_plain_room()
{
	local status=0

	our_files -path './src/plain/*' | xargs grep -nE '#include "' | grep -vE '#include "plain/' && status=1
	our_files -path './src/plain/*' | xargs grep -nwE 'palloc|ereport|elog|Datum|LWLock' && status=1
	return $status
}

# The project is built where other mirrors may stand in for the public ones.
check_registry_hosts()
{
	! our_files | xargs grep -nIE '\b(deb|apt|security|registry)\.[a-z]+\.(org|com)\b'
}

check_leftovers()
{
	local word='TO''DO|FIX''ME' # so that this line is none

	! our_files \( -path './src/*' -o -path './bridge/*' -o -path './sql/*' -o -path './test/*' \) | xargs grep -nIE "\b($word)\b"
}

# One name for a regression test and a spec would share one expected file; and a test without one can only fail.
check_test_names()
{
	local file status=0

	if files_regress | sed 's,.*/,,; s/\.sql$//' | grep -Fx -f <(files_isolation | sed 's,.*/,,; s/\.spec$//')
	then
		echo 'these name both a regression test and a spec'
		status=1
	fi
	for file in expected/*.out
	do
		[ -e "$file" ] || continue
		file=$(basename "$file" .out)
		[ -f "test/sql/${file%_[0-9]}.sql" ] || [ -f "test/specs/${file%_[0-9]}.spec" ] ||
			[ -f "test/sql/$file.sql" ] || [ -f "test/specs/$file.spec" ] ||
			{ echo "expected/$file.out belongs to no test"; status=1; }
	done
	return $status
}
