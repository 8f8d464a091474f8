/*
 * rank/build.h - trees made from the table, online
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_BUILD_H
#define SCOREBOARD_RANK_BUILD_H

#include "postgres.h"

/*
 * For the publisher, which is this database's builder. Pending: boards of this database may
 * be waiting for their tree (cheap, asked on every turn). Build: makes trees
 * for them, within a transaction of the caller's that has pushed no snapshot;
 * raises what reading the table may raise, then they wait for the next time.
 */
extern bool rank_build_pending(void);
extern void rank_build(void);

#endif
