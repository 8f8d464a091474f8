/*
 * publish/kept.h - versions of lists that boards keep, so that the list of a past moment can be asked for
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_KEPT_H
#define SCOREBOARD_PUBLISH_KEPT_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/config_cache.h"
#include "read/listing.h"

/*
 * May this transaction keep lists, or note where players stand in them? To be asked before they are built: who forgets a player meanwhile waits for our commit from then on.
 * Never waits: false while a player is being forgotten, their tables are locked otherwise, or a dump restored.
 */
extern bool kept_begin(void);

/* A list as it stands from a moment on. Nothing is added where it is the one that was kept last; what was kept before since doesn't count. */
typedef struct KeptList
{
	const Board *board;
	int32		season;
	CalendarSpan span;
	int64		version;
	TimestampTz stands_from;
	TimestampTz since;
	const Listing *listing;
} KeptList;

extern void kept_store(const KeptList *list);

/* For the publisher, in a transaction: is it time for the purger to look? */
extern bool kept_purge_is_due(void);

/* For the purger: a transaction's worth of it. True: there may be more. */
extern bool kept_purge_step(void);

#endif
