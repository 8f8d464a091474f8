/*
 * rank/build.h - trees made from the table, online
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_BUILD_H
#define SCOREBOARD_RANK_BUILD_H

#include "postgres.h"

/* Are boards of this database waiting for their tree? For one that was full: is there room now? */
extern bool rank_build_pending(void);

/* Has every board wait for a tree that has none, so that nobody has to ask first. Within a transaction. */
extern void rank_build_want_all(void);

/* Would a build take but milliseconds: the table is small, and nobody has it locked? Locks it then, until the transaction ends. */
extern bool rank_build_is_quick(void);

/*
 * Makes trees for boards that wait, in one process of a database at a time, within a transaction of the caller's that has
 * pushed no snapshot. Raises what reading the table may raise; then they wait for the next time. True if there are more already:
 * then call it again, with false.
 */
extern bool rank_build(bool first);

#endif
