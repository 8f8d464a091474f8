/*
 * base64url.c - base64url as RFC 7515 section 2 has it, and nothing else
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "base64url.h"

#include <stdint.h>

static int
digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	if (c == '_')
		return 63;
	return -1;
}

bool
base64url_decode(const char *text, size_t length,
				 unsigned char *out, size_t size, size_t *decoded)
{
	uint32_t	bits = 0;
	int			held = 0;
	size_t		used = 0;

	if (length % 4 == 1)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		int			value = digit_value(text[i]);

		if (value < 0)
			return false;
		bits = (bits << 6 | (uint32_t) value) & 0xFFFF;
		held += 6;
		if (held >= 8)
		{
			held -= 8;
			if (used == size)
				return false;
			out[used++] = (unsigned char) (bits >> held & 0xFF);
		}
	}
	if ((bits & ((1U << held) - 1)) != 0)
		return false;
	*decoded = used;
	return true;
}
