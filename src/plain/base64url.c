/*
 * plain/base64url.c - base64url as RFC 7515 section 2 has it, and nothing else
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/base64url.h"

#include <stdint.h>

/* A digit's value and 64; 0 for what is no digit. */
static const unsigned char digits[256] = {
	['A'] = 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76,
	77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89,
	['a'] = 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102,
	103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115,
	['0'] = 116, 117, 118, 119, 120, 121, 122, 123, 124, 125,
	['-'] = 126, ['_'] = 127,
};

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
		unsigned	digit = digits[(unsigned char) text[i]];

		if (digit == 0)
			return false;
		bits = (bits << 6 | (digit & 63)) & 0xFFFF;
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

void
base64url_encode(const unsigned char *bytes, size_t length, char *out)
{
	static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t	bits = 0;
	int			held = 0;

	for (size_t i = 0; i < length; i++)
	{
		bits = (bits << 8 | bytes[i]) & 0xFFFF;
		held += 8;
		while (held >= 6)
		{
			held -= 6;
			*out++ = characters[bits >> held & 63];
		}
	}
	if (held > 0)
		*out++ = characters[bits << (6 - held) & 63];
	*out = '\0';
}
