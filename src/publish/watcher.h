/*
 * publish/watcher.h - a worker beside the publisher that looks for players who are far from what is normal
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_WATCHER_H
#define SCOREBOARD_PUBLISH_WATCHER_H

#include "postgres.h"

/* Publisher only. Starts one, unless the last one still runs; false if no worker can be had. */
extern bool watcher_start(void);

#endif
