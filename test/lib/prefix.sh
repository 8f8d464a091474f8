# Builds the tree and makes a private prefix from it: PostgreSQL's own files and ours side by side, nothing installed in the system.
# Sourced by inner.sh.
#
# The server finds its libraries and its share directory relative to where its program really lies. So its programs are copied and
# everything else is linked, into the same paths below $PREFIX that they have below /.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

# A run within a run (the demo's test) takes over the prefix that stands.
PREFIX=${RUN_PREFIX:-$WORK/prefix}
PG_BINDIR=$PREFIX$("$PG_CONFIG" --bindir)
export BRIDGE=$PREFIX/usr/local/bin/scoreboard-bridge
BUILD_LOG=$WORK/logs/build

# with_llvm=no: bitcode only serves inlining by the JIT compiler, and takes clang to make.
ours()
{
	make --no-print-directory -j"$(nproc)" with_llvm=no all &&
		make --no-print-directory with_llvm=no install DESTDIR="$PREFIX"
}

# The programs come last, by a rename: where they are, a run that uses the directory again finds all of it.
theirs()
{
	local directory

	[ ! -d "$PG_BINDIR" ] || return 0
	for directory in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)"
	do
		# -n: what we installed there stays ours.
		mkdir -p "$PREFIX$directory" && cp -asn "$directory/." "$PREFIX$directory" || return 1
	done
	rm -rf "$PG_BINDIR.new" && mkdir -p "$(dirname "$PG_BINDIR")" && cp -a "$("$PG_CONFIG" --bindir)" "$PG_BINDIR.new" && mv "$PG_BINDIR.new" "$PG_BINDIR"
}

build()
{
	[ -z "${RUN_PREFIX-}" ] || return 0
	say "building with $("$PG_CONFIG" --version)"
	if ! step build "$BUILD_LOG" ours
	then
		grep -E -A 5 ': (fatal )?error|undefined reference|[*]{3}' "$BUILD_LOG" | head -n 60 | sed 's/^/    | /'
		say "the build failed"
		return 1
	fi
	theirs || die 'making the private prefix failed'
}
