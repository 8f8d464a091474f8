/*
 * newest.h - the newest version of each board that any worker has
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_NEWEST_H
#define BRIDGE_NEWEST_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge.h"

typedef struct NewestBoard NewestBoard;

extern void newest_start(Bridge *bridge);	/* before there are workers */
extern void newest_free(Bridge *bridge);

/* Never NULL; where the table is full, one that this worker has for itself. */
extern NewestBoard *newest_board(Bridge *bridge, const char *name);

extern int64_t newest_version(const NewestBoard *board);
/* This worker has that version now. */
extern void newest_raise(NewestBoard *board, int64_t version);
extern int64_t newest_publications(const NewestBoard *board);	/* how often it was raised */

extern void newest_set_subscribers(NewestBoard *board, int worker, uint32_t count);	/* board: NULL is fine */
extern int64_t newest_subscribers(const NewestBoard *board);	/* of all workers */

extern void newest_forget(Bridge *bridge, int worker);	/* it has died, and with it its subscribers */

#endif
