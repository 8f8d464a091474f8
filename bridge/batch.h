/*
 * batch.h - increments on their way to the database and back
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_BATCH_H
#define BRIDGE_BATCH_H

#include "bridge.h"

typedef struct BatchAnswer
{
	int			status;			/* of HTTP */
	const char *body;			/* JSON, the error's with the server's hint; NULL where the database didn't answer */
	int			retry_after;	/* seconds, 0: none */
} BatchAnswer;

typedef void (*BatchCallback) (void *data, const BatchAnswer *answer);

extern void batch_start(Bridge *bridge);
extern void batch_stop(Bridge *bridge);	/* answers all that is left with 503 */
extern bool batch_live(const Bridge *bridge);	/* increments are taken */
extern int	batch_pending(const Bridge *bridge);
extern int64_t batch_queued(const Bridge *bridge);	/* of these, how many wait to be sent */

/*
 * Takes over `element` (malloc'd JSON of one increment, with its idempotency
 * key) in any case. False: can't be taken now (queue full, database away). The
 * callback comes once, never before this
 * returns, when the commit is known or the deadline is over.
 */
extern bool batch_add(Bridge *bridge, char *element, const char *request_id,
					  BatchCallback callback, void *data);

#endif
