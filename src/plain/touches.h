/*
 * plain/touches.h - which boards were touched since somebody looked: a set of marks in shared memory
 *
 * Many processes touch, one takes. Plain C without the server, so that a test
 * program lets threads race.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_TOUCHES_H
#define SCOREBOARD_PLAIN_TOUCHES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A board is marked at its id's low bits: boards that collide are looked at once too often. 16 kB, so that few do. */
#define TOUCH_BITS 131072
#define TOUCH_WORD_BITS 32
#define TOUCH_WORDS (TOUCH_BITS / TOUCH_WORD_BITS)
#define TOUCH_BIT(board_id) ((int) ((uint32_t) (board_id) % TOUCH_BITS))

/* The shared marks; zeroed bytes are an empty set. */
typedef struct Touches
{
	_Atomic uint32_t words[TOUCH_WORDS];
} Touches;

/* A process's own set of such bits. */
typedef struct TouchSet
{
	uint32_t	words[TOUCH_WORDS];
} TouchSet;

extern void touch_set_add(TouchSet *set, int bit);
extern bool touch_set_has(const TouchSet *set, int bit);

/* The first bit of the set from this one on; -1: there is none. */
extern int	touch_set_next(const TouchSet *set, int from);

/* Sets these marks. True if this call set any: who did has to wake the taker. */
extern bool touches_mark(Touches *touches, int bit);
extern bool touches_mark_set(Touches *touches, const TouchSet *bits);

/* What is marked now: for choosing what to take, nothing else. It may be more when it is taken. */
extern void touches_peek(const Touches *touches, TouchSet *marked);

/*
 * Takes away the wanted marks and says which of them were there: each mark that
 * was set is taken by exactly one call. A full memory barrier: what is read afterwards is
 * what was touched, or newer.
 */
extern void touches_take(Touches *touches, const TouchSet *wanted, TouchSet *taken);

#endif
