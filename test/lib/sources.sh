# What a C program of the tests is made of. Sourced by inner.sh and test/fuzz/libfuzzer.sh, in the tree's top directory.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
# shellcheck shell=bash

# The C files that a program is made of besides itself: for each header of ours that it includes, the C file of that name, and so on
# for these. A program that needs something else says so in its head comment, in one line: "Build: src/rank_tree.c -lm".
sources_of()
{
	local queue=("$1") seen=' ' file name

	if grep -q -m 1 'Build:' "$1"
	then
		sed -n 's,^.*Build: *\(.*[^ */]\).*$,\1,p' "$1" | head -n 1
		return
	fi
	while [ ${#queue[@]} -gt 0 ]
	do
		file=${queue[0]}
		queue=("${queue[@]:1}")
		while read -r name
		do
			for file in {src,bridge,test/unit,test/fuzz}/"$name".{h,c}
			do
				if [ -f "$file" ] && [[ $seen != *" $file "* ]]
				then
					seen+="$file "
					queue+=("$file")
				fi
			done
		done < <(sed -n 's/^#include "\(.*\)\.h".*/\1/p' "$file")
	done
	# shellcheck disable=SC2086 # names
	printf '%s\n' $seen | grep '\.c$'
}
