/*
 * h1_beside_h11.c - prints what the bridge's reader makes of heads, for h1_beside_h11.py
 *
 * Standard input has each head as its length, a line feed and its bytes. A
 * line comes back for each: the outcome's name and, of a head that was read,
 * size, minor version, length of the body, keep-alive, upgrade, expect, then
 * method, target, host, names and values in hexadecimal.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>

#include "h1.h"

static const char *const called[] = {"more", "read", "malformed", "large", "encoded", "version"};

/* In front each, so that an empty one can be seen too. */
static void
print_hex(Slice slice)
{
	putchar(' ');
	putchar(slice.at ? '=' : '-');
	for (size_t i = 0; i < slice.length; i++)
		printf("%02x", (unsigned char) slice.at[i]);
}

static void
print_head(const H1Head *head)
{
	printf(" %zu %d %lld %d %d %d", head->size, head->minor, (long long) head->length, head->keep_alive, head->upgrade,
		   head->expect);
	print_hex(head->method);
	print_hex(head->path);
	print_hex(head->query);
	print_hex(head->host);
	for (int i = 0; i < head->field_count; i++)
	{
		print_hex(head->fields[i].name);
		print_hex(head->fields[i].value);
	}
}

int
main(void)
{
	size_t		length;

	while (scanf("%zu", &length) == 1 && getchar() == '\n')
	{
		char	   *bytes = malloc(length ? length : 1);
		size_t		seen = 0;
		H1Head		head;
		const char *reason;
		H1Outcome	outcome;

		if (fread(bytes, 1, length, stdin) != length)
			return 1;
		outcome = h1_read_head(bytes, length, &seen, &head, &reason);
		fputs(called[outcome], stdout);
		if (outcome == H1_READ)
			print_head(&head);
		putchar('\n');
		free(bytes);
	}
	return 0;
}
