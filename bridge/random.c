/*
 * random.c - the kernel's random bytes, fetched a kilobyte at a time
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint32_t pool[256];
static size_t left;

void
random_forget(void)
{
	left = 0;
}

uint64_t
random_seed(void)
{
	return (uint64_t) random_number() << 32 | random_number();
}

uint32_t
random_number(void)
{
	if (left == 0)
	{
		/* Up to 256 bytes a call never come short. */
		for (size_t i = 0; i < 4; i++)
			if (getrandom(pool + 64 * i, 256, 0) != 256)
				abort();
		left = sizeof(pool) / sizeof(pool[0]);
	}
	return pool[--left];
}

int64_t
random_pause(int64_t *pause, int64_t first, int64_t most)
{
	*pause = *pause ? *pause * 2 : first;
	if (*pause > most)
		*pause = most;
	return *pause / 2 + (int64_t) (random_number() % (uint32_t) (*pause / 2 + 1));
}

void
random_id(char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < 4; i++)
	{
		uint32_t	number = random_number();

		for (int digit = 0; digit < 8; digit++, number >>= 4)
			*text++ = hex[number & 15];
	}
	*text = '\0';
}
