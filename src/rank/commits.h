/*
 * rank/commits.h - which commits are on their way into the trees
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_COMMITS_H
#define SCOREBOARD_RANK_COMMITS_H

#include "postgres.h"

#include "access/transam.h"

#include "rank/board.h"

/* Around a commit that has something to enter: before others can see it, and once all of it is entered (or it failed). Callback rules. */
extern void rank_commits_begin(FullTransactionId xid);
extern void rank_commits_end(void);

/*
 * Is there one that this snapshot sees? Where a board's lock is held: if there is none, all that the snapshot sees has
 * been entered into that board's tree.
 */
extern bool rank_commits_pending(const RankSnapshot *seen);

/* Shared memory: asked for at shmem_request time; attached to, and initialised if not found, at shmem_startup time under AddinShmemInitLock. */
extern Size rank_commits_shmem_size(void);
extern void rank_commits_attach(void);

#endif
