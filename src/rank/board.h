/*
 * rank/board.h - the trees of all boards and seasons in shared memory
 *
 * For rank/index.c and rank/build.c only; others ask through rank/index.h.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_BOARD_H
#define SCOREBOARD_RANK_BOARD_H

#include "postgres.h"

#include "access/transam.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/snapshot.h"

#include "plain/rank_tree.h"
#include "rank/order.h"

/* relid names one CREATE EXTENSION: an old tree is never met by a new table. No padding: it is hashed as bytes. */
typedef struct RankBoardKey
{
	Oid			database;
	Oid			relid;			/* of scoreboard.score */
	int32		board_id;
	int32		season;
} RankBoardKey;

typedef enum RankState
{
	RANK_NONE,					/* the place is free */
	RANK_WANTED,				/* no tree; the builder shall make one */
	RANK_BUILDING,				/* commits enter the tree already, the scan's rows are on their way */
	RANK_READY,
	RANK_FULL,					/* no tree: the arena had no room */
	RANK_UNTRACKED				/* no tree: the table's trigger is off */
} RankState;

#define RANK_STATES (RANK_UNTRACKED + 1)

/* What a snapshot sees, kept as long as the tree that was built from it: a callback may come late. */
typedef struct RankSnapshot
{
	uint64		xmin;			/* full transaction ids */
	uint64		xmax;
	uint32		running;		/* arena node with the first of those between that were running; 0: none */
} RankSnapshot;

typedef struct RankBoard
{
	LWLock		lock;			/* protects all below; key is also protected by the directory's */
	RankBoardKey key;
	RankState	state;
	uint32		state_count;		/* changes with every state: the builder sees that it was overtaken */
	RankOrder	order;			/* of the tree's keys; set while it is built or ready */
	int			top_size;		/* at least the board's: a change beyond it wakes nobody */
	RankTree	tree;
	bool		cut_known;
	RankTreeKey cut;			/* where cut_known: the last key of the top */
	RankSnapshot snapshot;		/* set while it is built or ready */
	uint32		nodes_needed;	/* FULL: look again when so many are free */
	bool		reported;		/* FULL, UNTRACKED: the log has it */
	RankSnapshot verifier;		/* of a running check; xmax 0: none */
	uint64		late_checksum;	/* of changes that the verifier's snapshot sees and that came after it */
	pg_atomic_uint64 version;	/* of its list, as published last; 0: not known. Lock in any mode */
	pg_atomic_uint64 publishes; /* of this season since the place was taken; the publisher's to count. Lock in any mode */
	uint64		commits;		/* that its list had to follow, since then */
} RankBoard;

/* How many places to walk over, how many are in a state (of all databases; not RANK_NONE), and the nodes that the boards share. */
extern int	rank_board_count(void);
extern int	rank_board_count_in(RankState state);
extern RankArena *rank_board_arena(void);

/*
 * The board at a place (for walks), or the one of that key; locked, NULL where
 * there is none. Taking no lock but these two, one after the other, they may
 * be called from commit callbacks.
 */
extern RankBoard *rank_board_lock_at(int place, LWLockMode mode);
extern RankBoard *rank_board_lock(const RankBoardKey *key, LWLockMode mode);
extern void rank_board_unlock(RankBoard *board);

/* Makes a place for it, WANTED, where there is none. False where no place is left, or on a standby. */
extern bool rank_board_want(const RankBoardKey *key);

/* Frees the places that match; 0 and InvalidOid match everything. Callback rules. */
extern void rank_board_free(const RankBoardKey *pattern);
extern bool rank_board_matches(const RankBoardKey *key, const RankBoardKey *pattern);

/* The only way to another state: drops the tree where the new one has none. Caller holds its lock exclusively. */
extern void rank_board_set_state(RankBoard *board, RankState state);

/*
 * Caller holds the lock of the board whose it is exclusively. False where the arena has no room. Boards that are built by one
 * snapshot share what it costs; from stays its owner's, and must not be dropped meanwhile.
 */
extern bool rank_board_keep_snapshot(RankSnapshot *kept, Snapshot snapshot);
extern void rank_board_share_snapshot(RankSnapshot *kept, const RankSnapshot *from);
extern void rank_board_drop_snapshot(RankSnapshot *kept);

/* Was that transaction committed for the snapshot? For transactions that are committed now. */
extern bool rank_board_sees(const RankSnapshot *kept, FullTransactionId xid);

/* Shared memory: asked for at shmem_request time; attached to, and initialised if not found, at shmem_startup time under AddinShmemInitLock. */
extern Size rank_board_shmem_size(void);
extern void rank_board_attach(void);

#endif
