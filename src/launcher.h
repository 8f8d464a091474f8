/*
 * launcher.h - what the launcher's files and the publisher agree on
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_LAUNCHER_H
#define SCOREBOARD_LAUNCHER_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define SCOREBOARD_EXTENSION "scoreboard"

/* The longest wait of either worker: what it does then is a look that should be needless. */
#define WORKER_LONGEST_SLEEP_MS 60000

/* Where a publisher finds its slot: bgw_main_arg is the slot, bgw_extra this. */
typedef struct PublisherStart
{
	uint32		generation;
} PublisherStart;

/* Puts the hooks in place; once, while preloading. */
extern void launcher_hooks_init(void);

/* min(first * 2^failures, longest), without overflow. */
extern int64 worker_back_off_ms(int failures, int64 first, int64 longest);

/* Milliseconds of a clock that nobody sets. */
extern int64 worker_clock_ms(void);

/* Sleeps until the latch is set or the time is over, as every turn of a worker's loop ends. */
extern void worker_wait(int64 timeout_ms, uint32 wait_event);

/* Interrupts and reload, as every turn of a worker's loop begins. */
extern void worker_begin_turn(void);

#endif
