/*
 * rank/board.c - the trees of all boards and seasons in shared memory
 *
 * The directory has a place for each board and season, and a hash table from their key to the place. Places stand in
 * nodes of the arena that all trees share (rank_arena.c): taken when they are first needed, never given back.
 * Together they take scoreboard.rank_memory; a board of few players is its place and nothing else.
 *
 *   state       wanted again  build begins  tree loaded  rebuild noted  no memory   trigger is off
 *   ---------   ------------  ------------  -----------  -------------  ----------  --------------
 *   NONE        → WANTED      -             -            -              -           -
 *   WANTED      -             → BUILDING    -            -              -           -
 *   BUILDING    -             -             → READY      → WANTED       → FULL      → UNTRACKED
 *   READY       -             -             -            → WANTED       → FULL      -
 *   FULL        -             → BUILDING    -            → WANTED       -           -
 *   UNTRACKED   -             -             -            → WANTED       -           -
 *
 * A build that fails puts its boards back to WANTED. Where the board, its table
 * or its database goes, the place gets NONE from any state.
 *
 * Locks, in this order: directory, then one board (the builder alone takes
 * several, by place). Who finds a place in the directory lets that lock go
 * before taking the board's, and looks at the key again. A backend remembers
 * places, so that the directory is not locked on every commit.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#include "compat.h"
#include "scoreboard.h"
#include "rank/board.h"

/* Kilobytes for each place that there can be at most, its entry of the hash table among them. */
#define MEMORY_PER_PLACE 1
#define MIN_PLACES 64
#define MAX_PLACES (1 << 22)

#define PLACE_SIZE 640			/* whole cache lines, so that boards don't slow each other down */
#define PLACES_OFFSET 64		/* into a node, behind what the arena keeps there */
#define PLACES_PER_NODE ((RANK_NODE_SIZE - PLACES_OFFSET) / PLACE_SIZE)

/* How many places a backend remembers; a power of two. */
#define REMEMBERED 16

/* An arena node that holds transaction ids. */
#define RUNNING_PER_NODE ((int) ((RANK_NODE_SIZE - 8) / sizeof(uint32)) - 3)

typedef struct RunningNode
{
	uint32		next;			/* node, or 0 */
	pg_atomic_uint32 sharers;	/* of the first node: snapshots that have it */
	int			count;
	TransactionId xids[RUNNING_PER_NODE];
} RunningNode;

typedef union RankBoardPlace
{
	RankBoard	board;
	char		padding[PLACE_SIZE];
} RankBoardPlace;

StaticAssertDecl(sizeof(RankBoardPlace) == PLACE_SIZE, "a board must fit into its place");

typedef struct DirectoryEntry
{
	RankBoardKey key;			/* hash key */
	int			place;
} DirectoryEntry;

typedef struct RankDirectory
{
	LWLock		lock;			/* for the hash table, and the keys in the places */
	int			places;			/* set once: how many there can be */
	int			maybe_free;		/* lock: no place before it is free */
	pg_atomic_uint32 laid_out;	/* places up to here exist; grows under lock */
	pg_atomic_uint32 in_state[RANK_STATES]; /* how many places */
	uint32		nodes[FLEXIBLE_ARRAY_MEMBER];	/* those with PLACES_PER_NODE places each */
} RankDirectory;

static RankDirectory *directory = NULL;
static HTAB *directory_hash = NULL;
static RankArena *arena = NULL;

static int	remembered[REMEMBERED];

static int
places(void)
{
	return Max(MIN_PLACES, Min(MAX_PLACES, scoreboard_rank_memory / MEMORY_PER_PLACE));
}

static Size
directory_size(void)
{
	return add_size(offsetof(RankDirectory, nodes), mul_size(places() / PLACES_PER_NODE + 1, sizeof(uint32)));
}

static Size
arena_size(void)
{
	Size		wanted = (Size) scoreboard_rank_memory * 1024;
	Size		others = add_size(directory_size(), hash_estimate_size(places(), sizeof(DirectoryEntry)));
	Size		least = 2 * MIN_PLACES * (Size) RANK_NODE_SIZE;

	return wanted > others + least ? wanted - others : least;
}

static RankBoard *
board_at(int place)
{
	RankNode   *node = rank_arena_node(arena, directory->nodes[place / PLACES_PER_NODE]);

	return &((RankBoardPlace *) ((char *) node + PLACES_OFFSET))[place % PLACES_PER_NODE].board;
}

/* Caller holds the directory's lock exclusively, or is alone. */
static bool
lay_out_places(void)
{
	uint32		first = pg_atomic_read_u32(&directory->laid_out);
	RankNode   *node = rank_arena_take(arena, 0);

	if (node == NULL)
		return false;
	directory->nodes[first / PLACES_PER_NODE] = rank_arena_index(arena, node);
	memset((char *) node + PLACES_OFFSET, 0, RANK_NODE_SIZE - PLACES_OFFSET);
	for (uint32 i = 0; i < PLACES_PER_NODE; i++)
	{
		LWLockInitialize(&board_at(first + i)->lock, directory->lock.tranche);
		pg_atomic_init_u64(&board_at(first + i)->version, 0);
		pg_atomic_init_u64(&board_at(first + i)->publishes, 0);
	}
	pg_write_barrier();
	pg_atomic_write_u32(&directory->laid_out, first + PLACES_PER_NODE);
	return true;
}

Size
rank_board_shmem_size(void)
{
	Size		size = MAXALIGN(directory_size());

	size = add_size(size, PG_CACHE_LINE_SIZE);
	size = add_size(size, hash_estimate_size(places(), sizeof(DirectoryEntry)));
	return add_size(size, MAXALIGN(arena_size()) + PG_CACHE_LINE_SIZE);
}

void
rank_board_attach(void)
{
	HASHCTL		control = {.keysize = sizeof(RankBoardKey), .entrysize = sizeof(DirectoryEntry)};
	bool		found;
	void	   *memory;

	directory = ShmemInitStruct("scoreboard rank directory", directory_size(), &found);
	if (!found)
	{
		int			tranche = compat_new_tranche("scoreboard_rank");

		memset(directory, 0, directory_size());
		directory->places = places();
		LWLockInitialize(&directory->lock, tranche);
		pg_atomic_init_u32(&directory->laid_out, 0);
		for (int state = 0; state < RANK_STATES; state++)
			pg_atomic_init_u32(&directory->in_state[state], 0);
	}
	compat_register_tranche(directory->lock.tranche, "scoreboard_rank");
	directory_hash = compat_shmem_hash("scoreboard rank boards", directory->places, &control,
									   HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);

	memory = ShmemInitStruct("scoreboard rank arena", arena_size(), &found);
	arena = found ? (RankArena *) memory : rank_arena_init(memory, arena_size());
	if (!found)
		(void) lay_out_places();	/* the arena has room for more than one node */
}

int
rank_board_count(void)
{
	int			count = directory ? (int) pg_atomic_read_u32(&directory->laid_out) : 0;

	pg_read_barrier();
	return count;
}

int
rank_board_count_in(RankState state)
{
	return directory ? (int) pg_atomic_read_u32(&directory->in_state[state]) : 0;
}

RankArena *
rank_board_arena(void)
{
	return arena;
}

/* ---------------------------------------------------------------------------
 * Places
 * ------------------------------------------------------------------------- */

static bool
same_key(const RankBoardKey *a, const RankBoardKey *b)
{
	return memcmp(a, b, sizeof(RankBoardKey)) == 0;
}

static RankBoard *
lock_place(int place, LWLockMode mode)
{
	RankBoard  *board = board_at(place);

	LWLockAcquire(&board->lock, mode);
	return board;
}

void
rank_board_unlock(RankBoard *board)
{
	LWLockRelease(&board->lock);
}

RankBoard *
rank_board_lock_at(int place, LWLockMode mode)
{
	RankBoard  *board = lock_place(place, mode);

	if (board->state != RANK_NONE)
		return board;
	rank_board_unlock(board);
	return NULL;
}

/* -1 where it isn't in the directory. */
static int
find_place(const RankBoardKey *key)
{
	DirectoryEntry *entry;
	int			place;

	LWLockAcquire(&directory->lock, LW_SHARED);
	entry = hash_search(directory_hash, key, HASH_FIND, NULL);
	place = entry ? entry->place : -1;
	LWLockRelease(&directory->lock);
	return place;
}

RankBoard *
rank_board_lock(const RankBoardKey *key, LWLockMode mode)
{
	int		   *memory = &remembered[(uint32) (key->board_id + key->season) % REMEMBERED];
	RankBoard  *board;
	int			place;

	if (directory == NULL)
		return NULL;
	board = lock_place(*memory, mode);
	if (board->state != RANK_NONE && same_key(&board->key, key))
		return board;
	rank_board_unlock(board);

	place = find_place(key);
	if (place < 0)
		return NULL;
	board = lock_place(place, mode);
	if (board->state != RANK_NONE && same_key(&board->key, key))
	{
		*memory = place;
		return board;
	}
	rank_board_unlock(board);	/* it was freed in between */
	return NULL;
}

/* Caller holds the directory's lock exclusively. -1 where none is free. */
static int
free_place(void)
{
	int			place = directory->maybe_free;

	/* Read without its lock: only under the directory's does a place begin or cease to be free. */
	while (place < rank_board_count() && board_at(place)->state != RANK_NONE)
		place++;
	directory->maybe_free = place;
	if (place < rank_board_count() || (place + PLACES_PER_NODE <= directory->places && lay_out_places()))
		return place;
	return -1;
}

bool
rank_board_want(const RankBoardKey *key)
{
	DirectoryEntry *entry;
	bool		found = true;
	int			place;

	if (directory == NULL || RecoveryInProgress())
		return false;
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	place = free_place();
	if (place >= 0)
		entry = hash_search(directory_hash, key, HASH_ENTER_NULL, &found);
	else
		entry = hash_search(directory_hash, key, HASH_FIND, NULL);
	if (entry != NULL && !found)
	{
		RankBoard  *board = lock_place(place, LW_EXCLUSIVE);

		entry->place = place;
		board->key = *key;
		pg_atomic_write_u64(&board->version, 0);
		pg_atomic_write_u64(&board->publishes, 0);
		board->commits = 0;
		rank_board_set_state(board, RANK_WANTED);
		rank_board_unlock(board);
	}
	LWLockRelease(&directory->lock);
	return entry != NULL;
}

bool
rank_board_matches(const RankBoardKey *key, const RankBoardKey *pattern)
{
	return (!OidIsValid(pattern->database) || pattern->database == key->database) &&
		(!OidIsValid(pattern->relid) || pattern->relid == key->relid) &&
		(pattern->board_id == 0 || pattern->board_id == key->board_id) &&
		(pattern->season == 0 || pattern->season == key->season);
}

void
rank_board_free(const RankBoardKey *pattern)
{
	if (directory == NULL)
		return;
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	for (int place = 0; place < rank_board_count(); place++)
	{
		RankBoard  *board = board_at(place);

		if (board->state == RANK_NONE || !rank_board_matches(&board->key, pattern))
			continue;
		LWLockAcquire(&board->lock, LW_EXCLUSIVE);
		rank_board_set_state(board, RANK_NONE);
		hash_search(directory_hash, &board->key, HASH_REMOVE, NULL);
		rank_board_unlock(board);
		directory->maybe_free = Min(directory->maybe_free, place);
	}
	LWLockRelease(&directory->lock);
}

void
rank_board_set_state(RankBoard *board, RankState state)
{
	Assert(LWLockHeldByMeInMode(&board->lock, LW_EXCLUSIVE));
	if (state != RANK_READY)
	{
		/* A tree that didn't fit needs other trees' room too: its own is not enough. */
		board->nodes_needed = board->tree.nodes + board->tree.nodes / 8 + 1;
		rank_tree_clear(arena, &board->tree);
		rank_board_drop_snapshot(&board->snapshot);
		rank_board_drop_snapshot(&board->verifier);
		board->cut_known = false;
	}
	pg_atomic_fetch_sub_u32(&directory->in_state[board->state], 1);
	pg_atomic_fetch_add_u32(&directory->in_state[state], 1);
	board->state = state;
	board->state_count++;
	board->reported = false;
}

/* ---------------------------------------------------------------------------
 * Snapshots
 * ------------------------------------------------------------------------- */

/* The full id of an id of now or of less than 2^31 transactions ago. */
static uint64
widen(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

static RunningNode *
running_node(uint32 node)
{
	return (RunningNode *) rank_arena_node(arena, node)->memory;
}

bool
rank_board_keep_snapshot(RankSnapshot *kept, Snapshot snapshot)
{
	FullTransactionId next = ReadNextFullTransactionId();

	kept->xmin = widen(snapshot->xmin, next);
	kept->xmax = widen(snapshot->xmax, next);
	kept->running = 0;
	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		RunningNode *running;

		if (kept->running == 0 || running_node(kept->running)->count == RUNNING_PER_NODE)
		{
			RankNode   *node = rank_arena_take(arena, 0);

			if (node == NULL)
			{
				rank_board_drop_snapshot(kept);
				return false;
			}
			running = (RunningNode *) node->memory;
			pg_atomic_init_u32(&running->sharers, 1);
			running->next = kept->running;
			running->count = 0;
			kept->running = rank_arena_index(arena, node);
		}
		running = running_node(kept->running);
		running->xids[running->count++] = snapshot->xip[i];
	}
	return true;
}

void
rank_board_share_snapshot(RankSnapshot *kept, const RankSnapshot *from)
{
	*kept = *from;
	if (from->running != 0)
		pg_atomic_fetch_add_u32(&running_node(from->running)->sharers, 1);
}

void
rank_board_drop_snapshot(RankSnapshot *kept)
{
	if (kept->running != 0 && pg_atomic_fetch_sub_u32(&running_node(kept->running)->sharers, 1) > 1)
		kept->running = 0;
	while (kept->running != 0)
	{
		uint32		node = kept->running;

		kept->running = running_node(node)->next;
		rank_arena_give(arena, rank_arena_node(arena, node));
	}
	kept->xmin = kept->xmax = 0;
}

bool
rank_board_sees(const RankSnapshot *kept, FullTransactionId xid)
{
	uint64		id = U64FromFullTransactionId(xid);
	TransactionId short_id = XidFromFullTransactionId(xid);

	if (id >= kept->xmax)
		return false;
	if (id < kept->xmin)
		return true;
	for (uint32 node = kept->running; node != 0; node = running_node(node)->next)
	{
		const RunningNode *running = running_node(node);

		for (int i = 0; i < running->count; i++)
		{
			if (running->xids[i] == short_id)
				return false;
		}
	}
	return true;
}
