# The suites of `make check`, how each one's tests are counted, and the sum. Sourced by inner.sh.
#
# run_NAME runs the suite NAME, whose files files_NAME prints (files.sh), and calls `count` for what it saw. A suite that has files but
# counted no test has failed.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

PASSED=0 # of the suite at work
FAILED=0
FAILURES=() # of the whole run: lines for its end, where the sum alone would send the reader back through everything

SUITE_LIMIT=1200 # seconds; one that hangs shall end as a failure
FUZZ_SECONDS=${FUZZ_SECONDS:-2}
export FUZZ_SECONDS

count()
{
	PASSED=$((PASSED + $1))
	FAILED=$((FAILED + $2))
}

# failed LABEL LOG: said now and, with LOG's first failures or else its end, once more when the run is over
failed()
{
	local line failure='^ *not ok|^test .*FAILED|^diff '

	say "$1"
	FAILURES+=("$1")
	while IFS= read -r line
	do
		FAILURES+=("    | ${line:0:240}")
	done < <(if grep -qE "$failure" "$2"; then grep -E -A 9 "$failure" "$2" | head -n 12; else tail -n 4 "$2"; fi)
}

# limited COMMAND...: ended after $SUITE_LIMIT, and hearing Ctrl-C's signal, to which the shell makes background jobs deaf.
limited()
{
	env --default-signal=INT,QUIT timeout --kill-after=20 $SUITE_LIMIT "$@"
}

# matches LOG PATTERN: how many lines
matches()
{
	grep -cE -- "$2" "$1" || true
}

# ---- C programs ---------------------------------------------------------------------------------

# shellcheck disable=SC2054 # the commas are gcc's
SANITIZE=(-std=gnu11 -g -O1 -Wall -Wextra -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all)

run_unit() { run_programs unit; }
# Each program takes its time, in which nothing hangs.
run_fuzz()
{
	local SUITE_LIMIT=$((SUITE_LIMIT + FUZZ_SECONDS))

	run_programs fuzz
}

compile_program()
{
	local libraries="cjose jansson libcrypto"

	# shellcheck disable=SC2046,SC2086 # words
	gcc "${SANITIZE[@]}" -pthread -Isrc -Ibridge -Itest/unit $(pkg-config --cflags $libraries) \
		-o "$2" "$1" $(sources_of "$1") $(pkg-config --libs $libraries) -lm
}

# Programs print TAP ("ok 1 - name", "not ok 2 - name") or close with "N passed, N failed"; one that prints neither counts as one
# test, by its exit status. One that has a script of its name beside it is run by the script, with the Python that Debian's modules
# are installed for.
run_programs()
{
	local file log program command

	for file in $("files_$1")
	do
		program=$WORK/$1-$(basename "$file" .c)
		log=$WORK/logs/$1-$(basename "$file" .c)
		if ! compile_program "$file" "$program" >"$log" 2>&1
		then
			count 0 1
			failed "$file does not compile" "$log"
			show_log "$log"
			continue
		fi
		command=("$program")
		[ ! -e "${file%.c}.py" ] || command=(/usr/bin/python3 "${file%.c}.py" "$program")
		step "$file" "$log" limited "${command[@]}"
		count_tap $? "$log" "$file"
	done
}

# count_tap STATUS LOG NAME: counts top-level lines of TAP, or a sum; a failure that no line owns up to is one more.
count_tap()
{
	local passed failed

	if grep -qE '^[0-9]+ passed, [0-9]+ failed$' "$2"
	then
		read -r passed _ failed _ < <(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$2" | tail -n 1)
	else
		passed=$(matches "$2" '^ok\b')
		failed=$(matches "$2" '^not ok\b')
	fi
	if [ "$1" -ne 0 ] && [ "$failed" -eq 0 ]
	then
		failed=1
	elif [ "$1" -eq 0 ] && [ $((passed + failed)) -eq 0 ]
	then
		passed=1
	fi
	count "$passed" "$failed"
	if [ "$failed" -gt 0 ]
	then
		failed "$3 failed (exit status $1)" "$2"
		grep -E -A 12 '^not ok\b' "$2" | head -n 60 | sed 's/^/    | /'
		show_log "$2" 30
	fi
}

# ---- pg_regress and pg_isolation_regress ---------------------------------------------------------

PGXS_TESTS=$(dirname "$("$PG_CONFIG" --pgxs)")/../test

# In both kinds of locale that know more than ASCII: nothing that we answer may depend on it. The suites below run in C.
run_regress()
{
	local locale

	for locale in C.UTF-8 ICU
	do
		run_pg_regress regress $locale "$PGXS_TESTS/regress/pg_regress"
	done
}
# Specs have no first test that could create the extension.
run_isolation()
{
	run_pg_regress isolation ICU "$PGXS_TESTS/isolation/pg_isolation_regress" \
		--load-extension=pgcrypto --load-extension=scoreboard
}

# initdb_for LOCALE DIRECTORY: the server's programs, but an initdb that makes clusters of this locale. pg_regress leaves the
# choice between C and the environment's only.
initdb_for()
{
	local options=(--locale=C.UTF-8)

	[ "$1" != ICU ] || options+=(--locale-provider=icu --icu-locale=und)
	mkdir "$2"
	ln -s "$PG_BINDIR"/* "$2"
	rm "$2/initdb"
	printf '#!/bin/sh\nexec "%s/initdb" %s "$@"\n' "$PG_BINDIR" "${options[*]}" >"$2/initdb"
	chmod +x "$2/initdb"
}

# run_pg_regress SUITE LOCALE PROGRAM OPTION...
run_pg_regress()
{
	local suite=$1 locale=$2 program=$3 file log names=() out status
	shift 3
	log=$WORK/logs/$suite-$locale
	out=$WORK/$suite-$locale
	mkdir "$out"
	initdb_for "$locale" "$out/bin"
	ln -s "$WORK/tree/expected" "$out/expected" # the one place where both programs look, in all versions
	for file in $("files_$suite")
	do
		file=$(basename "$file")
		names+=("${file%.*}")
	done

	step "$suite in locale $locale" "$log" limited "$program" --bindir="$out/bin" --inputdir=test --outputdir="$out" \
		--temp-instance="$out/pg" --temp-config=test/regress.conf --encoding=UTF8 "$@" "${names[@]}"
	status=$?
	# One line a test: "test NAME ... ok" up to 15, TAP from 16 on.
	count "$(matches "$log" '^(test .*\.\.\. ok\b|ok [0-9])')" "$(matches "$log" '^(test .*\.\.\. FAILED|not ok [0-9])')"
	[ $status -eq 0 ] && return
	[ "$FAILED" -gt 0 ] || count 0 1
	if [ -s "$out/regression.diffs" ]
	then
		failed "$suite failed in locale $locale" "$out/regression.diffs"
		head -n 150 "$out/regression.diffs" | sed 's/^/    | /'
	else
		failed "$suite failed in locale $locale" "$log"
		show_log "$log" 20
		[ ! -s "$out/log/postmaster.log" ] || show_log "$out/log/postmaster.log" 30
	fi
	if grep -qE 'PANIC|TRAP:|terminated by signal' "$out/log/postmaster.log" 2>/dev/null
	then
		grep -E -A 3 'PANIC|TRAP:|terminated by signal' "$out/log/postmaster.log" | head -n 20 | sed 's/^/    | /'
	fi
}

# ---- Perl ----------------------------------------------------------------------------------------

run_tap() { run_prove tap; }
run_demo()
{
	RUN_PREFIX=$PREFIX run_prove demo
}

# One file at a time, so that what a file printed stays together. TESTDIR etc. are what PostgreSQL::Test::Utils asks for.
run_prove()
{
	local file log name status

	for file in $("files_$1")
	do
		name=$(basename "$file" .pl)
		log=$WORK/logs/$1-$name
		mkdir -p "$WORK/$1/$name"
		step "$file" "$log" limited env PG_REGRESS="$PGXS_TESTS/regress/pg_regress" \
			TESTDIR="$WORK/$1/$name" TESTLOGDIR="$WORK/$1/$name/log" TESTDATADIR="$WORK/$1/$name/data" \
			PERL5LIB="$PGXS_TESTS/perl:$WORK/tree/test/t" perl "$file"
		status=$?
		count_tap $status "$log" "$file"
		[ $status -eq 0 ] || show_perl_logs "$WORK/$1/$name"
	done
}

# PostgreSQL::Test writes what a test said and what its servers said to files of their own.
show_perl_logs()
{
	local file

	while read -r file
	do
		printf '    | ---- %s\n' "${file##*/}"
		show_log "$file" 25
	done < <(find "$1" -name 'regress_log_*' -o -path '*/log/*.log')
}

# ---- node ----------------------------------------------------------------------------------------

run_browser()
{
	CHROMIUM=$(command -v chromium) run_node browser
}

# A build of the bridge of its own, with sanitizers. What they find is a failure even if no test noticed: what stands in their logs is
# counted by count_sanitizers.
build_sanitized()
{
	local build=$WORK/sanitized

	mkdir -p "$build/bridge"
	rm -f "$build"/bridge/{*.[ch],scoreboard-bridge}
	cp -p Makefile scoreboard.control "$build"
	cp -p bridge/*.{c,h,json} "$build/bridge"
	if ! step 'bridge with sanitizers' "$WORK/logs/bridge-build" \
		make -C "$build" -j"$(nproc)" bridge BRIDGE_CFLAGS="${SANITIZE[*]}"
	then
		count 0 1
		failed 'the bridge with sanitizers does not compile' "$WORK/logs/bridge-build"
		show_log "$WORK/logs/bridge-build"
		return 1
	fi
}

# with_sanitizers COMMAND...: a short quarantine, since a test bounds the bridge's memory. log_path would also catch what node starts
# besides, if it were built like that; nothing else is.
with_sanitizers()
{
	BRIDGE=$WORK/sanitized/bridge/scoreboard-bridge \
		ASAN_OPTIONS=quarantine_size_mb=4:log_path=$WORK/logs/sanitizer UBSAN_OPTIONS=print_stacktrace=1:log_path=$WORK/logs/sanitizer "$@"
}

count_sanitizers()
{
	local report

	for report in "$WORK"/logs/sanitizer.*
	do
		[ -e "$report" ] || continue
		count 0 1
		failed "the bridge's sanitizers report:" "$report"
		show_log "$report" 40
	done
}

run_bridge()
{
	build_sanitized || return
	with_sanitizers run_node bridge
	count_sanitizers
}

# What is killed at any moment can't say that it leaks, so the build is the ordinary one.
run_torture() { run_node torture; }

# at_length PROGRAM [ARGUMENT...]: no suite, it takes as long as one likes.
at_length()
{
	local status

	if [ -z "${SANITIZED-}" ]
	then
		exec node "$@"
	fi
	build_sanitized || return 1
	with_sanitizers node "$@"
	status=$?
	count_sanitizers
	[ $status -eq 0 ] && [ "$FAILED" -eq 0 ]
}

# Each file by itself: a bridge test starts servers, and the machine may be small.
run_node()
{
	local file log status

	for file in $("files_$1")
	do
		log=$WORK/logs/$1-$(basename "$file" .test.mjs)
		CHROMIUM=${CHROMIUM-} step "$file" "$log" limited node --test --test-reporter=tap "$file"
		status=$?
		count "$(node_total pass "$log")" $(($(node_total fail "$log") + $(node_total cancelled "$log")))
		if [ $status -ne 0 ]
		then
			[ "$(node_total fail "$log")" != 0 ] || [ "$(node_total cancelled "$log")" != 0 ] || count 0 1
			failed "$file failed (exit status $status)" "$log"
			# Each failed test up to the end of its details, "...".
			awk '/^ *not ok/ { show = 1 } show { print "    | " substr($0, 1, 240) } /^ *\.\.\.$/ { show = 0 }' "$log" | head -n 150
		fi
	done
}

# node_total pass|fail|cancelled LOG: from the runner's closing lines ("# pass 12")
node_total()
{
	local total

	total=$(sed -n "s/^# $1 \([0-9]*\)$/\1/p" "$2" | tail -n 1)
	echo "${total:-0}"
}

# ---- all of them ---------------------------------------------------------------------------------

check()
{
	local suite start total_passed=0 total_failed=0

	for suite
	do
		if [ -z "$("files_$suite")" ]
		then
			say "$suite: has no tests${ONLY:+ named like $ONLY}"
			continue
		fi
		PASSED=0
		FAILED=0
		start=$(date +%s)
		say "$suite ..."
		"run_$suite"
		if [ $((PASSED + FAILED)) -eq 0 ]
		then
			failed "$suite: ran no test" /dev/null
			FAILED=1
		fi
		say "$suite: $PASSED passed, $FAILED failed ($(($(date +%s) - start)) s)"
		total_passed=$((total_passed + PASSED))
		total_failed=$((total_failed + FAILED))
	done
	[ ${#FAILURES[@]} -eq 0 ] || printf '%s\n' 'what failed:' "${FAILURES[@]}"
	echo "$total_passed passed, $total_failed failed"
	[ $total_failed -eq 0 ] && [ $total_passed -gt 0 ]
}
