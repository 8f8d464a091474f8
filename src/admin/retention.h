/*
 * admin/retention.h - the log of actions is kept for so long: a step of the purge
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_RETENTION_H
#define SCOREBOARD_ADMIN_RETENTION_H

#include "postgres.h"

/* Is the log to be gone over, or is it being gone over? */
extern bool retention_is_due(void);

/*
 * A step of a pass over the log, in the caller's transaction: a few hundred rows, or as many pages without any. False where the pass
 * is over and no other one is due. Both run with our search_path and a snapshot; a step gives up where a lock isn't to be had at once.
 */
extern bool retention_step(void);

#endif
