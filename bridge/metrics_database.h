/*
 * metrics_database.h - the database's own counters
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_METRICS_DATABASE_H
#define BRIDGE_METRICS_DATABASE_H

#include <stdio.h>

#include "bridge.h"

extern void metrics_database_start(Bridge *bridge);	/* after the pool */
extern void metrics_database_want(Bridge *bridge, bool wanted);	/* this worker answers scrapers, or does so no more */
extern void metrics_database_stop(Bridge *bridge);	/* before the pool */

/* As they were last read, for somebody who asks; so they are read again soon. */
extern void metrics_database_print(Bridge *bridge, FILE *out);

/* Of more boards than these, those with the lowest numbers have series of their own: what was read last is of them, or not yet known. */
#define METRICS_BOARDS 1000
extern bool metrics_database_told_of(Bridge *bridge, const char *board);

#endif
