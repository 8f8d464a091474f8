/*
 * admin/season_retention.h - ended seasons are kept for so long: a step of their purge
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_SEASON_RETENTION_H
#define SCOREBOARD_ADMIN_SEASON_RETENTION_H

#include "postgres.h"

/* Is there a season that has been kept for long enough, or is one going? */
extern bool season_retention_is_due(void);

/*
 * A step of their purge, in the caller's transaction: a thousand rows at most. False where nothing is to be done, or to be had, now.
 * Both run with our search_path and a snapshot; a step gives up where a lock isn't to be had at once.
 */
extern bool season_retention_step(void);

#endif
