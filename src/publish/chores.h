/*
 * publish/chores.h - what the publisher's worker does beside publishing
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_CHORES_H
#define SCOREBOARD_PUBLISH_CHORES_H

#include "postgres.h"

/* Does what is due. Returns how many milliseconds to sleep. */
extern int64 chores_run(void);

/* What can't wait for the next publisher, since the server may be ending: refusals that are only in shared memory. */
extern void chores_finish(void);

/* How long what is due has to wait for its turn. */
extern int64 chores_wait_ms(void);

/*
 * Are ranks that are missing on their way? A list waits for them then and stays as it is stored; where building failed, it is
 * counted by SQL meanwhile.
 */
extern bool chores_will_build(void);

#endif
