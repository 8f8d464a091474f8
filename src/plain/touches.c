/*
 * plain/touches.c - which boards were touched since somebody looked
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/touches.h"

void
touch_set_add(TouchSet *set, int bit)
{
	set->words[bit / TOUCH_WORD_BITS] |= UINT32_C(1) << (bit % TOUCH_WORD_BITS);
}

bool
touch_set_has(const TouchSet *set, int bit)
{
	return (set->words[bit / TOUCH_WORD_BITS] >> (bit % TOUCH_WORD_BITS)) & 1;
}

int
touch_set_next(const TouchSet *set, int from)
{
	int			word = from / TOUCH_WORD_BITS;
	uint32_t	bits;

	if (from >= TOUCH_BITS)
		return -1;
	bits = set->words[word] & UINT32_MAX << (from % TOUCH_WORD_BITS);
	while (bits == 0)
	{
		if (++word == TOUCH_WORDS)
			return -1;
		bits = set->words[word];
	}
	return word * TOUCH_WORD_BITS + __builtin_ctz(bits);
}

static bool
mark_word(_Atomic uint32_t *word, uint32_t bits)
{
	/* The common case costs no exclusive cache line: somebody has woken the taker already. */
	if ((atomic_load(word) & bits) == bits)
		return false;
	return (atomic_fetch_or(word, bits) & bits) != bits;
}

bool
touches_mark(Touches *touches, int bit)
{
	return mark_word(&touches->words[bit / TOUCH_WORD_BITS], UINT32_C(1) << (bit % TOUCH_WORD_BITS));
}

bool
touches_mark_set(Touches *touches, const TouchSet *bits)
{
	bool		any = false;

	for (int word = 0; word < TOUCH_WORDS; word++)
	{
		if (bits->words[word] != 0)
			any |= mark_word(&touches->words[word], bits->words[word]);
	}
	return any;
}

void
touches_peek(const Touches *touches, TouchSet *marked)
{
	for (int word = 0; word < TOUCH_WORDS; word++)
		marked->words[word] = atomic_load(&touches->words[word]);
}

void
touches_take(Touches *touches, const TouchSet *wanted, TouchSet *taken)
{
	for (int word = 0; word < TOUCH_WORDS; word++)
	{
		uint32_t	bits = wanted->words[word];

		taken->words[word] = bits ? atomic_fetch_and(&touches->words[word], ~bits) & bits : 0;
	}
	atomic_thread_fence(memory_order_seq_cst);
}
