/*
 * blocks.c - so many requests a minute, then a block of a minute; the oldest address is forgotten where there are too many
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "limiter.h"
#include "tap.h"

#define LIMIT 3
#define PLACES 8
#define BEGAN UINT64_C(1000000)
#define MINUTE LIMITER_WINDOW_MS

static int	blocks;				/* that have begun */

static struct in6_addr
numbered(uint32_t number)
{
	struct in6_addr address = {0};

	address.s6_addr[10] = address.s6_addr[11] = 0xff;
	memcpy(address.s6_addr + 12, &number, sizeof(number));
	return address;
}

static uint64_t
ask(Limiter *limiter, uint32_t number, uint64_t now)
{
	struct in6_addr address = numbered(number);
	bool		begins;
	uint64_t	wait = limiter_take(limiter, &address, now, &begins);

	blocks += begins;
	return wait;
}

/* So often; how many of them passed. */
static int
passed(Limiter *limiter, uint32_t number, uint64_t now, int times)
{
	int			count = 0;

	while (times-- > 0)
		count += ask(limiter, number, now) == 0;
	return count;
}

static void
check_one(void)
{
	Limiter    *limiter = limiter_new(LIMIT, PLACES, 42);

	tap_ok(passed(limiter, 1, BEGAN, LIMIT) == LIMIT && blocks == 0, "as many as it may");
	tap_ok(ask(limiter, 1, BEGAN + 1000) == MINUTE && blocks == 1, "one more begins a block, of a minute from now");
	tap_ok(ask(limiter, 2, BEGAN + 1000) == 0, "of nobody else");
	tap_ok(ask(limiter, 1, BEGAN + 1001) == MINUTE - 1 && ask(limiter, 1, BEGAN + 31000) == MINUTE / 2, "attempts don't prolong it");
	tap_ok(ask(limiter, 1, BEGAN + 1000 + MINUTE - 1) == 1 && blocks == 1, "it lasts to its end");
	tap_ok(passed(limiter, 1, BEGAN + 1000 + MINUTE, LIMIT + 5) == LIMIT && blocks == 2, "then it begins anew");
	limiter_free(limiter);
}

static void
check_minute(void)
{
	Limiter    *limiter = limiter_new(LIMIT, PLACES, 42);
	bool		fine = true;

	blocks = 0;
	passed(limiter, 1, BEGAN, LIMIT);
	tap_ok(passed(limiter, 1, BEGAN + MINUTE, LIMIT) == LIMIT && blocks == 0, "the next minute has its own");
	tap_ok(ask(limiter, 1, BEGAN + 2 * MINUTE - 1) == MINUTE, "a minute lasts to its end");
	for (int i = 0; i < 100; i++)
		fine &= ask(limiter, 2, BEGAN + (uint64_t) i * MINUTE / LIMIT) == 0;
	tap_ok(fine, "whoever keeps to the rate is never blocked");
	limiter_free(limiter);
}

static void
check_groups(void)
{
	Limiter    *limiter = limiter_new(LIMIT, PLACES, 42);
	struct in6_addr address = {{{0x20, 1, 0xd, 0xb8}}};
	int			count = 0;
	bool		begins;

	for (int i = 0; i < 100; i++)
	{
		address.s6_addr[8 + i % 8] = (uint8_t) i;
		count += limiter_take(limiter, &address, BEGAN, &begins) == 0;
	}
	tap_ok(count == LIMIT, "a /64 is one");
	address.s6_addr[7] = 1;
	tap_ok(limiter_take(limiter, &address, BEGAN, &begins) == 0, "its neighbour is another");
	limiter_free(limiter);
}

static void
check_room(void)
{
	Limiter    *limiter = limiter_new(LIMIT, PLACES, 42);

	passed(limiter, 1, BEGAN, LIMIT + 1);
	passed(limiter, 2, BEGAN, LIMIT + 1);
	for (uint32_t i = 3; i <= PLACES; i++)
		ask(limiter, i, BEGAN);
	tap_ok(ask(limiter, 2, BEGAN) > 0 && ask(limiter, 1, BEGAN) > 0, "as many as there are places are remembered");
	for (uint32_t i = 0; i < PLACES - 1; i++)
		ask(limiter, 100 + i, BEGAN);
	tap_ok(ask(limiter, 1, BEGAN) > 0, "what was heard of last stays longest");
	tap_ok(ask(limiter, 2, BEGAN) == 0, "the oldest goes");
	limiter_free(limiter);
}

/* Against a list that is searched from end to end. */
static void
check_at_random(void)
{
	struct
	{
		uint32_t	number;
		int			requests;
		uint64_t	heard;
	}			model[PLACES] = {{0}};
	Limiter    *limiter = limiter_new(LIMIT, PLACES, 42);
	int			wrong = 0;

	srand(1);
	for (uint64_t turn = 1; turn <= 200000; turn++)
	{
		uint32_t	number = 1 + (uint32_t) rand() % (2 * PLACES);
		int			at = 0;

		for (int i = 0; i < PLACES; i++)
		{
			if (model[i].number == number)
			{
				at = i;
				break;
			}
			if (model[i].heard < model[at].heard)
				at = i;
		}
		if (model[at].number != number)
			model[at].requests = 0;
		model[at].number = number;
		model[at].heard = turn;
		wrong += (ask(limiter, number, BEGAN) == 0) != (++model[at].requests <= LIMIT);
	}
	tap_ok(wrong == 0, "200,000 requests of 16 addresses in 8 places");
	limiter_free(limiter);
}

int
main(void)
{
	check_one();
	check_minute();
	check_groups();
	check_room();
	check_at_random();
	return tap_done();
}
