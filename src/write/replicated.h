/*
 * write/replicated.h - what is acknowledged can't be lost with this machine, where a standby is synchronous
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_REPLICATED_H
#define SCOREBOARD_WRITE_REPLICATED_H

#include "postgres.h"

#include "base/refusal.h"

/* This transaction's commit is flushed and waits for the synchronous standbys, whatever synchronous_commit says then. */
extern void replicated_at_commit(void);

/*
 * For an answer that rests on a committed row: waits until the WAL as it stands is where such a commit would have waited for it;
 * at once where no standby is named. A wait that was cancelled is refused as UNAVAILABLE.
 */
extern bool replicated_wait(Refusal *refusal);

/* Once per process, from _PG_init: transaction callback. */
extern void replicated_init(void);

#endif
