/*
 * publish/obstacle.h - who holds what the publisher waited for in vain
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_OBSTACLE_H
#define SCOREBOARD_PUBLISH_OBSTACLE_H

#include "postgres.h"
#include "storage/lock.h"
#include "utils/elog.h"

/* Something waits for a lock again and again: which, since when, and whose it is. All zero: nothing waits. */
typedef struct Obstacle
{
	LOCKTAG		tag;
	LOCKMODE	mode;			/* that was asked for */
	int64		since;			/* worker_clock_ms(); 0: nothing waits */
	int64		look_at;		/* who it is, for the log */
	int			culprit;		/* process id; 0: not known yet, -1: a prepared transaction */
	bool		told;			/* the log has a line of it */
} Obstacle;

/* The process takes notes of waits that lock_timeout ends. */
extern void obstacle_take_notes(void);

/* Before waiting: forgets the last wait. */
extern void obstacle_forget_wait(void);

/* A wait was ended: notes it, keeping since when. False where the error is another one, and then it is no obstacle. */
extern bool obstacle_note(Obstacle *obstacle, int sqlerrcode);

/* False: it may be tried again. True without a wait, where a row's holder is known to be there still. */
extern bool obstacle_stands(const Obstacle *obstacle);

/* When to try again; and whether any wait was ended these last seconds. */
extern int64 obstacle_look_at(const Obstacle *obstacle);
extern bool obstacle_was_met_lately(void);

/*
 * Once it has lasted: a line in the log that "what" isn't published, and by whose fault, once for each who is in the way.
 * Outside a transaction.
 */
extern void obstacle_tell(Obstacle *obstacle, const char *what);

/* It is over. Both: of one that waits. */
extern void obstacle_clear(Obstacle *obstacle, const char *what);

#endif
