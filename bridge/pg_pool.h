/*
 * pg_pool.h - questions to the database that anybody may ask
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_PG_POOL_H
#define BRIDGE_PG_POOL_H

#include <libpq-fe.h>

#include "bridge.h"

typedef struct PgCall PgCall;

typedef enum PgEnd
{
	PG_ANSWERED,				/* result has the rows, and the transaction is committed */
	PG_REFUSED,					/* result has the server's error; nothing of it was committed */
	PG_UNKNOWN,					/* sent, and lost, late or not surely replicated: it may have happened */
	PG_UNSENT					/* never sent: no connection in time, or the pool is ending */
} PgEnd;

/* The result, NULL with PG_UNKNOWN and PG_UNSENT, is valid during the call only. */
typedef void (*PgCallback) (void *data, PgEnd end, const PGresult *result);

extern void pg_pool_start(Bridge *bridge);	/* before those that ask, and the feed, start */
extern void pg_pool_stop(Bridge *bridge);	/* after they have stopped */

/*
 * One statement in a transaction of its own; parameters are text, NULL is SQL's
 * NULL. `deadline` is a uv_now time in ms; after it the callback comes with
 * PG_UNKNOWN or PG_UNSENT and what runs is cancelled at the server. The
 * callback comes once, never before this returns. NULL: refused now (queue
 * full, or the database is away and a probe is under way).
 */
extern PgCall *pg_pool_ask(Bridge *bridge, const char *sql, int count, const char *const *parameters,
						   uint64_t deadline, PgCallback callback, void *data);
extern PgCall *pg_pool_submit(Bridge *bridge, const char *sql, int count, const char *const *parameters,
							  uint64_t deadline, PgCallback callback, void *data);	/* the same, for increments */
extern int	pg_pool_most_increments(const Bridge *bridge);	/* so many connections these may have */

/* While a callback runs that has the server's answer: when its call was sent, and when that was read, by uv_hrtime. Else NULL. */
typedef struct PgTimes
{
	uint64_t	sent;
	uint64_t	answered;
} PgTimes;

extern const PgTimes *pg_pool_running(const Bridge *bridge);

extern void pg_pool_forget(PgCall *call);	/* no callback any more; cancelled where it runs */
extern void pg_pool_hurry(Bridge *bridge);	/* somebody else has reached the database */
extern void pg_pool_leave(Bridge *bridge, int host);	/* gives up what was asked of that host, and its connections; -1: of all that are silent */
extern bool pg_pool_live(const Bridge *bridge);	/* a connection is up, or was a moment ago, and increments may be sent */

#endif
