/*
 * write/replicated.h - an answer that rests on a committed row waits until that row can't be lost with this machine
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_REPLICATED_H
#define SCOREBOARD_WRITE_REPLICATED_H

#include "postgres.h"

#include "base/refusal.h"

/*
 * Waits until the WAL as it stands is where synchronous_commit and synchronous_standby_names want a commit to be; at once where
 * they want nothing. A wait that was cancelled is refused as UNAVAILABLE.
 */
extern bool replicated_wait(Refusal *refusal);

#endif
