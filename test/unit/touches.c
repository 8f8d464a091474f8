/*
 * touches.c - a mark that was set is taken, once, whoever sets or takes what meanwhile
 *
 * Two threads touch boards at random and count which marks they were the ones to set; a third takes marks, now of some boards,
 * now of all, and counts what it took. In the end the counts agree, mark by mark. A lost mark is a list that isn't published.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <pthread.h>
#include <string.h>

#include "plain/touches.h"
#include "tap.h"

#define TOUCHERS 2
#define TAKES 100000

/* Two words far apart, so that threads meet all the time. */
#define SOME_BIT(random) ((int) ((random) >> 8 & 31) + ((random) >> 16 & 1) * (TOUCH_BITS - TOUCH_WORD_BITS))

static Touches touches;
static atomic_bool ended = false;
static long was_set[TOUCHERS][TOUCH_BITS];
static long was_taken[TOUCH_BITS];

static uint32_t
next_random(uint32_t *state)
{
	return *state = *state * 1664525 + 1013904223;
}

static void *
touch(void *arg)
{
	long	   *mine = arg;
	uint32_t	random = (uint32_t) (mine - was_set[0]);

	while (!atomic_load(&ended))
	{
		int			bit = SOME_BIT(next_random(&random));

		if (touches_mark(&touches, bit))
			mine[bit]++;
	}
	return NULL;
}

static void
take(const TouchSet *wanted)
{
	TouchSet	taken;

	touches_take(&touches, wanted, &taken);
	for (int bit = touch_set_next(&taken, 0); bit >= 0; bit = touch_set_next(&taken, bit + 1))
		was_taken[bit]++;
}

static void
race(void)
{
	pthread_t	touchers[TOUCHERS];
	uint32_t	random = 7;
	TouchSet	all = {{0}};

	for (uint32_t random = 0; random < 64; random++)
		touch_set_add(&all, SOME_BIT(random << 8 | (random & 32) << 11));
	for (int i = 0; i < TOUCHERS; i++)
		pthread_create(&touchers[i], NULL, touch, was_set[i]);
	for (int n = 0; n < TAKES; n++)
	{
		TouchSet	some = {{0}};

		for (int i = 0; i < 8; i++)
			touch_set_add(&some, SOME_BIT(next_random(&random)));
		take(next_random(&random) >> 31 ? &all : &some);
	}
	atomic_store(&ended, true);
	for (int i = 0; i < TOUCHERS; i++)
		pthread_join(touchers[i], NULL);
	take(&all);
}

static bool
counts_agree(void)
{
	bool		agree = true;

	for (int bit = 0; bit < TOUCH_BITS; bit++)
	{
		long		set = 0;

		for (int i = 0; i < TOUCHERS; i++)
			set += was_set[i][bit];
		if (set == was_taken[bit])
			continue;
		printf("# mark %d was set %ld times and taken %ld times\n", bit, set, was_taken[bit]);
		agree = false;
	}
	return agree;
}

int
main(void)
{
	TouchSet	wanted = {{0}},
				taken,
				marked;

	tap_ok(touches_mark(&touches, 5) && !touches_mark(&touches, 5), "who sets a mark is told so, once");
	touches_mark(&touches, 37);
	touch_set_add(&wanted, 5);
	touch_set_add(&wanted, 6);
	touches_take(&touches, &wanted, &taken);
	tap_ok(touch_set_has(&taken, 5) && !touch_set_has(&taken, 6) && !touch_set_has(&taken, 37), "what is taken was wanted and was there");
	touches_peek(&touches, &marked);
	tap_ok(!touch_set_has(&marked, 5) && touch_set_has(&marked, 37), "what wasn't wanted stays");
	tap_ok(touches_mark_set(&touches, &taken) && !touches_mark_set(&touches, &taken), "what was taken can be put back");
	for (int bit = 0; bit < TOUCH_BITS; bit++)
		touch_set_add(&wanted, bit);
	touches_take(&touches, &wanted, &taken);
	tap_ok(touch_set_has(&taken, 5) && touch_set_has(&taken, 37), "and is there again");

	race();
	tap_ok(counts_agree(), "no mark is lost and none is taken twice");
	return tap_done();
}
