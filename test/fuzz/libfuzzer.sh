#!/usr/bin/env bash
# Runs a program of test/fuzz under clang's libFuzzer, which looks for paths by itself:
#
#     make fuzz FUZZ=token FUZZ_SECONDS=3600
#
# Begins with test/fuzz/corpus/NAME_fuzz and what earlier runs found, which is kept in $FUZZ_DIR (default
# /tmp/scoreboard-fuzz.UID) and so is an input that failed. KEEP=1 brings those that reach code which the corpus doesn't
# reach into the corpus; nothing else in the tree changes.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
set -u

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
TOP=$PWD
export RUN_STARTED=${RUN_STARTED:-$(date +%s)}
# shellcheck source=test/lib/say.sh
. "$TOP/test/lib/say.sh"
# shellcheck source=test/lib/packages.sh
. "$TOP/test/lib/packages.sh"
# shellcheck source=test/lib/sources.sh
. "$TOP/test/lib/sources.sh"

COMMAND=fuzz
NAME=${FUZZ:-token}
FILE=test/fuzz/${NAME}_fuzz.c
CORPUS=test/fuzz/corpus/${NAME}_fuzz
FOUND=${FUZZ_DIR:-/tmp/scoreboard-fuzz.$UID}/$NAME
LIBRARIES="cjose jansson libcrypto"

grep -qs LIBFUZZER "$FILE" || die "FUZZ=$NAME: there is $(grep -ls LIBFUZZER test/fuzz/*.c | sed 's,.*/\(.*\)_fuzz.c,\1,' | paste -sd ' ')"
install_missing fuzz
mkdir -p "$FOUND" "$CORPUS" || exit 1

# shellcheck disable=SC2046,SC2086 # words
clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -DLIBFUZZER -Isrc -Ibridge \
	$(pkg-config --cflags $LIBRARIES) -o "$FOUND.program" "$FILE" $(sources_of "$FILE") $(pkg-config --libs $LIBRARIES) || exit 1

"$FOUND.program" -max_total_time="${FUZZ_SECONDS:-3600}" -max_len=12000 -timeout=20 -artifact_prefix="$FOUND-" "$FOUND" "$CORPUS"
ended=$?
[ -z "${KEEP-}" ] || "$FOUND.program" -merge=1 -use_counters=0 -max_len=2000 "$CORPUS" "$FOUND"
rmdir --ignore-fail-on-non-empty "$CORPUS"
exit $ended
