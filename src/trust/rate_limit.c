/*
 * trust/rate_limit.c - exact sliding windows per player in shared memory
 *
 * One log of attempts a player serves both windows: the window of a minute is
 * full exactly if the rate_limit-th newest attempt is younger than a minute,
 * the burst window likewise with its own number and a second. Attempts older
 * than the longest window that is on are dropped whenever the player is looked at.
 *
 * What takes a slot: every attempt that the windows let pass, whatever becomes
 * of it later (refused by a later check, rolled back, an error). Nothing is
 * given back. An attempt that the windows themselves refuse takes none, so a
 * client that keeps hammering gets exactly its limit through, and Retry-After
 * (the moment at which a slot falls free) stays true unless another attempt of
 * the same player takes that slot first. An attempt whose hash stands in the
 * log takes no further slot, RATE_FREE_RETRIES times; the next one takes a slot
 * of its own, with free retries of its own.
 *
 * Memory: scoreboard.rate_memory is cut into cells of 64 bytes, held by
 * partitions that share nothing. A player is one cell (RateEntry) and chunks of
 * five attempts, one cell each. An entry is admitted only together with the
 * chunks for its first RATE_RESERVED_CHUNKS * 5 = 10 attempts, so with the
 * default limit a player costs 192 bytes and who is in the table is never
 * refused for lack of memory. With higher limits chunks are added as needed;
 * 1,000 attempts cost 12,864 bytes. Cells come from the free list, then from
 * memory not used yet, then from the entry of that partition that was idle for
 * longest, if its newest attempt has left the window; otherwise the attempt is
 * refused with UNAVAILABLE and counted. Players are spread by their hash, so
 * the fullest partition refuses first, when the whole is about nine tenths full.
 * The log says so once an hour at most: a publisher writes it, since the session
 * that is refused has a statement with a token in it.
 *
 * Locks: one LWLock a partition, exclusive, never two at once, nothing below
 * it. Nothing here raises. Backends can't stop halfway: interrupts are held
 * while an LWLock is held. After a crash shared memory is made anew and the
 * windows start empty.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <time.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "compat.h"
#include "scoreboard.h"
#include "plain/keyed_hash.h"
#include "publish/publisher.h"
#include "trust/rate_limit.h"

#define RATE_LIMIT_MAX 1000		/* attempts in a window, whatever the settings say */
#define RATE_FREE_RETRIES 8
#define RATE_RESERVED_CHUNKS 2
#define RATE_MINUTE INT64CONST(60000000)	/* microseconds */
#define RATE_SECOND INT64CONST(1000000)

#define RATE_REPORT_INTERVAL (60 * RATE_MINUTE) /* the log says at most this often that the table is full */

#define RATE_CELL_SIZE 64
#define RATE_CHUNK_SLOTS 5
#define RATE_NO_CELL PG_UINT32_MAX

/* A partition has at least so many cells, so that small tables aren't refused unevenly. */
#define RATE_PARTITION_CELLS 4096
#define RATE_MAX_PARTITIONS 64

/* An attempt: 12 bytes, so that five and a link fill a cell. */
typedef struct RateSlot
{
	uint32		time;			/* microseconds, the low 32 bits: live slots are younger than an hour */
	uint32		attempt_high;	/* the attempt's hash, high half */
	uint32		attempt_low;	/* its low half without the last four bits: those count free retries */
} RateSlot;

#define RATE_RETRIES_MASK ((uint32) 0xf)

typedef struct RateChunk
{
	uint32		next;			/* the chunk with the next attempts; of a free cell: the next free one */
	RateSlot	slots[RATE_CHUNK_SLOTS];
} RateChunk;

/* Who is limited. Compared field by field. */
typedef struct RateKey
{
	uint64		player[2];		/* keyed hash of the user_id */
	Oid			database;
	uint32		scope;			/* 0: over all boards */
} RateKey;

typedef struct RateEntry
{
	RateKey		key;
	int64		last;			/* when the newest slot was taken, microseconds */
	uint32		bucket_next;
	uint32		older;			/* by "last", within the partition */
	uint32		newer;
	uint32		first_chunk;
	uint16		count;			/* slots in use, oldest first, packed from the first chunk on */
	uint16		chunks;
} RateEntry;

typedef union RateCell
{
	RateEntry	entry;
	RateChunk	chunk;
	char		size[RATE_CELL_SIZE];
} RateCell;

StaticAssertDecl(sizeof(RateCell) == RATE_CELL_SIZE, "a rate cell has 64 bytes");

/* Every field but the lock, and the partition's cells and buckets: under the lock. */
typedef struct RatePartition
{
	LWLock		lock;
	uint32		free;			/* list of cells given back */
	uint32		fresh;			/* cells from here on have never been used */
	uint32		oldest;			/* ends of the list by "last" */
	uint32		newest;
	uint32		entries;
} RatePartition;

typedef union RatePartitionPadded
{
	RatePartition partition;
	char		pad[PG_CACHE_LINE_SIZE];
} RatePartitionPadded;

/* All fields but the atomics are set once, before anybody else sees them. */
typedef struct RateShared
{
	int			tranche;
	uint32		partitions;
	uint32		cells;			/* of each partition */
	uint32		buckets;		/* of each partition */
	pg_atomic_uint64 full_refusals;
	pg_atomic_uint64 quiet_until;	/* monotonic_now(): so long the log has said it */
	pg_atomic_uint32 report_due;	/* 1: the log is to say that the table is full */
	RatePartitionPadded partition[RATE_MAX_PARTITIONS];
} RateShared;

/* The windows as the settings stand at the moment of one attempt. */
typedef struct RateWindows
{
	int			minute_limit;	/* 0 = off */
	int			second_limit;
	int64		horizon;		/* attempts older than that matter to no window */
} RateWindows;

/* A partition while its lock is held, with its share of the arrays. */
typedef struct RateHold
{
	RatePartition *partition;
	uint32	   *buckets;
	RateCell   *cells;
	int64		now;			/* read under the lock: slots are ordered by it */
	int64		horizon;
} RateHold;

typedef enum RateOutcome
{
	RATE_TAKEN,
	RATE_EXHAUSTED,
	RATE_TABLE_FULL
} RateOutcome;

static RateShared *rate_shared = NULL;
static uint32 *rate_buckets;
static RateCell *rate_cells;

static RateOutcome take_slot(RateHold *hold, const RateKey *key, uint64 attempt,
							 const RateWindows *windows, int64 *wait);

/* ---------------------------------------------------------------------------
 * Shared memory
 * ------------------------------------------------------------------------ */

Size
rate_limit_shmem_size(void)
{
	return add_size(CACHELINEALIGN(sizeof(RateShared)),
					mul_size(Max(scoreboard_rate_memory, 64), 1024));
}

/* How the memory after the header is divided. */
static void
plan_layout(RateShared *shared, Size bytes)
{
	Size		cells = bytes / RATE_CELL_SIZE;

	shared->partitions = Max(1, Min(RATE_MAX_PARTITIONS, cells / RATE_PARTITION_CELLS));
	cells = Min(cells / shared->partitions, (Size) PG_INT32_MAX);

	/* Buckets, one for three cells, take their share of the cells' memory. */
	shared->buckets = (uint32) (cells / 3);
	shared->cells = (uint32) (cells - (shared->buckets * sizeof(uint32) / RATE_CELL_SIZE + 1));
}

static void
initialise(RateShared *shared)
{
	plan_layout(shared, mul_size(Max(scoreboard_rate_memory, 64), 1024));
	shared->tranche = compat_new_tranche("scoreboard_rate");
	pg_atomic_init_u64(&shared->full_refusals, 0);
	pg_atomic_init_u64(&shared->quiet_until, 0);
	pg_atomic_init_u32(&shared->report_due, 0);
	for (uint32 i = 0; i < shared->partitions; i++)
	{
		RatePartition *partition = &shared->partition[i].partition;

		LWLockInitialize(&partition->lock, shared->tranche);
		partition->free = partition->oldest = partition->newest = RATE_NO_CELL;
		partition->fresh = partition->entries = 0;
	}
}

/* Caller holds AddinShmemInitLock. */
void
rate_limit_attach(void)
{
	bool		found;

	rate_shared = ShmemInitStruct("scoreboard rate windows", rate_limit_shmem_size(), &found);
	if (!found)
		initialise(rate_shared);
	compat_register_tranche(rate_shared->tranche, "scoreboard_rate");

	/* The server aligns what it hands out to a cache line. */
	rate_cells = (RateCell *) ((char *) rate_shared + CACHELINEALIGN(sizeof(RateShared)));
	rate_buckets = (uint32 *) (rate_cells + (Size) rate_shared->partitions * rate_shared->cells);
	if (found)
		return;
	for (Size i = 0; i < (Size) rate_shared->partitions * rate_shared->buckets; i++)
		rate_buckets[i] = RATE_NO_CELL;
}

/* ---------------------------------------------------------------------------
 * Cells. Caller holds the partition's lock in every function below.
 * ------------------------------------------------------------------------ */

static inline RateEntry *
entry_at(RateHold *hold, uint32 cell)
{
	return &hold->cells[cell].entry;
}

static inline RateChunk *
chunk_at(RateHold *hold, uint32 cell)
{
	return &hold->cells[cell].chunk;
}

static void
cell_give_back(RateHold *hold, uint32 cell)
{
	chunk_at(hold, cell)->next = hold->partition->free;
	hold->partition->free = cell;
}

static uint32 *
bucket_of(RateHold *hold, const RateKey *key)
{
	uint32		mixed = (uint32) key->player[1] ^ hash_combine(key->database, key->scope);

	return &hold->buckets[mixed % rate_shared->buckets];
}

static void
list_unlink(RateHold *hold, RateEntry *entry)
{
	if (entry->older == RATE_NO_CELL)
		hold->partition->oldest = entry->newer;
	else
		entry_at(hold, entry->older)->newer = entry->newer;
	if (entry->newer == RATE_NO_CELL)
		hold->partition->newest = entry->older;
	else
		entry_at(hold, entry->newer)->older = entry->older;
}

static void
list_append(RateHold *hold, uint32 cell)
{
	RateEntry  *entry = entry_at(hold, cell);

	entry->newer = RATE_NO_CELL;
	entry->older = hold->partition->newest;
	if (entry->older == RATE_NO_CELL)
		hold->partition->oldest = cell;
	else
		entry_at(hold, entry->older)->newer = cell;
	hold->partition->newest = cell;
}

/* Frees the entry that was idle for longest if none of its attempts is in a window any more. */
static bool
evict_idle(RateHold *hold)
{
	uint32		cell = hold->partition->oldest;
	RateEntry  *entry;
	uint32	   *link;
	uint32		next;

	if (cell == RATE_NO_CELL)
		return false;
	entry = entry_at(hold, cell);
	if (hold->now - entry->last < hold->horizon)
		return false;

	for (link = bucket_of(hold, &entry->key); *link != cell;)
		link = &entry_at(hold, *link)->bucket_next;
	*link = entry->bucket_next;
	list_unlink(hold, entry);
	for (uint32 chunk = entry->first_chunk; chunk != RATE_NO_CELL; chunk = next)
	{
		next = chunk_at(hold, chunk)->next;
		cell_give_back(hold, chunk);
	}
	cell_give_back(hold, cell);
	hold->partition->entries--;
	return true;
}

static uint32
cell_allocate(RateHold *hold)
{
	RatePartition *partition = hold->partition;
	uint32		cell;

	if (partition->free == RATE_NO_CELL && partition->fresh < rate_shared->cells)
		return partition->fresh++;
	if (partition->free == RATE_NO_CELL && !evict_idle(hold))
		return RATE_NO_CELL;
	cell = partition->free;
	partition->free = chunk_at(hold, cell)->next;
	return cell;
}

/* ---------------------------------------------------------------------------
 * Entries and their slots
 * ------------------------------------------------------------------------ */

static uint32
entry_find(RateHold *hold, const RateKey *key)
{
	uint32		cell = *bucket_of(hold, key);

	while (cell != RATE_NO_CELL)
	{
		RateEntry  *entry = entry_at(hold, cell);

		if (entry->key.player[0] == key->player[0] && entry->key.player[1] == key->player[1] &&
			entry->key.database == key->database && entry->key.scope == key->scope)
			break;
		cell = entry->bucket_next;
	}
	return cell;
}

/* How many chunks an entry holds from the start: one suffices where the limit is that low. */
static int
reserved_chunks(const RateWindows *windows)
{
	int			slots = windows->minute_limit > 0 ? windows->minute_limit : windows->second_limit;

	return slots > RATE_CHUNK_SLOTS ? RATE_RESERVED_CHUNKS : 1;
}

/* A new entry without attempts, together with its reserved chunks, or RATE_NO_CELL. */
static uint32
entry_create(RateHold *hold, const RateKey *key, int chunks)
{
	uint32		cells[1 + RATE_RESERVED_CHUNKS];
	uint32	   *bucket;
	RateEntry  *entry;

	for (int i = 0; i < 1 + chunks; i++)
	{
		cells[i] = cell_allocate(hold);
		if (cells[i] == RATE_NO_CELL)
		{
			while (i-- > 0)
				cell_give_back(hold, cells[i]);
			return RATE_NO_CELL;
		}
	}
	for (int i = 1; i <= chunks; i++)
		chunk_at(hold, cells[i])->next = i < chunks ? cells[i + 1] : RATE_NO_CELL;

	/* Only now: an eviction above may have changed the bucket. */
	bucket = bucket_of(hold, key);
	entry = entry_at(hold, cells[0]);
	entry->key = *key;
	entry->last = hold->now;
	entry->first_chunk = cells[1];
	entry->count = 0;
	entry->chunks = chunks;
	entry->bucket_next = *bucket;
	*bucket = cells[0];
	list_append(hold, cells[0]);
	hold->partition->entries++;
	return cells[0];
}

static RateSlot *
slot_at(RateHold *hold, const RateEntry *entry, int position)
{
	uint32		chunk = entry->first_chunk;

	for (; position >= RATE_CHUNK_SLOTS; position -= RATE_CHUNK_SLOTS)
		chunk = chunk_at(hold, chunk)->next;
	return &chunk_at(hold, chunk)->slots[position];
}

static int64
slot_age(const RateHold *hold, const RateSlot *slot)
{
	return (uint32) hold->now - slot->time;
}

/* Steps through an entry's slots in order. */
typedef struct SlotCursor
{
	RateChunk  *chunk;
	int			index;
} SlotCursor;

static RateSlot *
cursor_next(RateHold *hold, SlotCursor *cursor)
{
	if (cursor->index == RATE_CHUNK_SLOTS)
	{
		cursor->chunk = chunk_at(hold, cursor->chunk->next);
		cursor->index = 0;
	}
	return &cursor->chunk->slots[cursor->index++];
}

/* Gives back the chunks behind the last slot, but for the reserved ones. */
static void
trim_chunks(RateHold *hold, RateEntry *entry, int reserved)
{
	int			needed = Max(reserved, (entry->count + RATE_CHUNK_SLOTS - 1) / RATE_CHUNK_SLOTS);
	uint32		chunk = entry->first_chunk;
	uint32		rest;

	if (entry->chunks <= needed)
		return;
	for (int i = 1; i < needed; i++)
		chunk = chunk_at(hold, chunk)->next;
	rest = chunk_at(hold, chunk)->next;
	chunk_at(hold, chunk)->next = RATE_NO_CELL;
	while (rest != RATE_NO_CELL)
	{
		uint32		next = chunk_at(hold, rest)->next;

		cell_give_back(hold, rest);
		rest = next;
	}
	entry->chunks = needed;
}

/* Forgets what has left every window, so that slots stay packed from the first chunk on. */
static void
drop_expired(RateHold *hold, RateEntry *entry)
{
	SlotCursor	from = {chunk_at(hold, entry->first_chunk), 0};
	SlotCursor	to = from;
	int			kept = 0;

	/* The slots' 32-bit times mean something only while the newest one is that young. */
	if (hold->now - entry->last >= hold->horizon)
	{
		entry->count = 0;
		return;
	}
	for (int i = 0; i < entry->count; i++)
	{
		RateSlot   *slot = cursor_next(hold, &from);

		if (slot_age(hold, slot) >= hold->horizon)
			continue;
		if (kept == i)
		{
			/* The oldest is still in the window: so is everything. */
			return;
		}
		*cursor_next(hold, &to) = *slot;
		kept++;
	}
	entry->count = kept;
}

/* Is this a retry of an attempt that stands in the window and has free retries left? */
static bool
retry_for_free(RateHold *hold, RateEntry *entry, uint64 attempt)
{
	SlotCursor	cursor = {chunk_at(hold, entry->first_chunk), 0};
	uint32		high = (uint32) (attempt >> 32);
	uint32		low = (uint32) attempt & ~RATE_RETRIES_MASK;

	if (attempt == 0)
		return false;
	for (int i = 0; i < entry->count; i++)
	{
		RateSlot   *slot = cursor_next(hold, &cursor);

		if (slot->attempt_high == high &&
			(slot->attempt_low & ~RATE_RETRIES_MASK) == low &&
			(slot->attempt_low & RATE_RETRIES_MASK) < RATE_FREE_RETRIES)
		{
			slot->attempt_low++;
			return true;
		}
	}
	return false;
}

/* How long until a window of that length has room for one more; 0 if it has. */
static int64
wait_for(RateHold *hold, const RateEntry *entry, int limit, int64 length)
{
	int64		age;

	if (limit == 0 || entry->count < limit)
		return 0;
	age = slot_age(hold, slot_at(hold, entry, entry->count - limit));
	return Max(length - age, 0);
}

/* Adds a slot behind the others. False: no cell for a further chunk. */
static bool
append_slot(RateHold *hold, uint32 cell, uint64 attempt)
{
	RateEntry  *entry = entry_at(hold, cell);
	RateSlot   *slot;

	if (entry->count == entry->chunks * RATE_CHUNK_SLOTS)
	{
		/* All its slots are live, so this entry itself can't be evicted here. */
		uint32		chunk = cell_allocate(hold);
		uint32		last = entry->first_chunk;

		if (chunk == RATE_NO_CELL)
			return false;
		for (int i = 1; i < entry->chunks; i++)
			last = chunk_at(hold, last)->next;
		chunk_at(hold, chunk)->next = RATE_NO_CELL;
		chunk_at(hold, last)->next = chunk;
		entry->chunks++;
	}
	slot = slot_at(hold, entry, entry->count++);
	slot->time = (uint32) hold->now;
	slot->attempt_high = (uint32) (attempt >> 32);
	slot->attempt_low = (uint32) attempt & ~RATE_RETRIES_MASK;

	entry->last = hold->now;
	list_unlink(hold, entry);
	list_append(hold, cell);
	return true;
}

static RateOutcome
take_slot(RateHold *hold, const RateKey *key, uint64 attempt, const RateWindows *windows,
		  int64 *wait)
{
	uint32		cell = entry_find(hold, key);
	RateEntry  *entry;

	Assert(LWLockHeldByMeInMode(&hold->partition->lock, LW_EXCLUSIVE));

	if (cell == RATE_NO_CELL)
		cell = entry_create(hold, key, reserved_chunks(windows));
	if (cell == RATE_NO_CELL)
		return RATE_TABLE_FULL;

	entry = entry_at(hold, cell);
	drop_expired(hold, entry);
	trim_chunks(hold, entry, reserved_chunks(windows));
	if (retry_for_free(hold, entry, attempt))
		return RATE_TAKEN;

	*wait = Max(wait_for(hold, entry, windows->minute_limit, RATE_MINUTE),
				wait_for(hold, entry, windows->second_limit, RATE_SECOND));
	if (*wait > 0)
		return RATE_EXHAUSTED;
	return append_slot(hold, cell, attempt) ? RATE_TAKEN : RATE_TABLE_FULL;
}

/* ---------------------------------------------------------------------------
 * What callers see
 * ------------------------------------------------------------------------ */

static RateWindows
current_windows(void)
{
	RateWindows windows;

	windows.minute_limit = Max(0, Min(scoreboard_rate_limit, RATE_LIMIT_MAX));
	windows.second_limit = Max(0, Min(scoreboard_burst_limit, RATE_LIMIT_MAX));
	windows.horizon = windows.minute_limit > 0 ? RATE_MINUTE : RATE_SECOND;
	return windows;
}

/* Can't fail with this clock on any platform that PostgreSQL runs on. */
static int64
monotonic_now(void)
{
	struct timespec now = {0, 0};

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * RATE_SECOND + now.tv_nsec / 1000;
}

static RateOutcome
take_locked(const RateKey *key, uint64 attempt, const RateWindows *windows, int64 *wait)
{
	uint32		number = (uint32) key->player[0] % rate_shared->partitions;
	RatePartition *partition = &rate_shared->partition[number].partition;
	RateHold	hold;
	RateOutcome outcome;

	hold.partition = partition;
	hold.buckets = rate_buckets + (Size) number * rate_shared->buckets;
	hold.cells = rate_cells + (Size) number * rate_shared->cells;
	hold.horizon = windows->horizon;

	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	hold.now = monotonic_now();
	outcome = take_slot(&hold, key, attempt, windows, wait);
	LWLockRelease(&partition->lock);
	return outcome;
}

static void
note_full(void)
{
	pg_atomic_fetch_add_u64(&rate_shared->full_refusals, 1);
	if ((uint64) monotonic_now() < pg_atomic_read_u64(&rate_shared->quiet_until))
		return;
	pg_atomic_write_u32(&rate_shared->report_due, 1);
	publisher_wake();
}

bool
rate_limit_take(const char *user_id, uint64 attempt, Refusal *refusal)
{
	RateWindows windows = current_windows();
	RateKey		key = {.database = MyDatabaseId, .scope = 0};
	int64		wait = 0;

	if (windows.minute_limit == 0 && windows.second_limit == 0)
		return true;
	if (rate_shared == NULL)
		return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1,
						  "Add scoreboard to shared_preload_libraries in postgresql.conf and restart the server.",
						  "the rate windows are not in shared memory");

	keyed_hash128(scoreboard_hash_key(0), scoreboard_hash_key(1), user_id, strlen(user_id), key.player);
	switch (take_locked(&key, attempt, &windows, &wait))
	{
		case RATE_TAKEN:
			return true;
		case RATE_EXHAUSTED:
			return refuse_for(refusal, REFUSAL_RATE_LIMITED,
							  (int) ((wait + RATE_SECOND - 1) / RATE_SECOND),
							  "Wait as many seconds as retryAfter says, then try again.",
							  "too many attempts by this player");
		case RATE_TABLE_FULL:
			break;
	}
	note_full();
	return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1,
					  "Raise scoreboard.rate_memory if this lasts.",
					  "too many players at once");
}

uint64
rate_limit_attempt(const char *action_id, const char *idempotency_key)
{
	uint64		parts[2];
	uint64		attempt;

	/* Two hashes in a row: the boundary between the texts counts, and no key is not an empty one. */
	parts[0] = keyed_hash64(scoreboard_hash_key(0), scoreboard_hash_key(1), action_id, strlen(action_id));
	parts[1] = idempotency_key == NULL ? 0 :
		keyed_hash64(scoreboard_hash_key(0), scoreboard_hash_key(1), idempotency_key, strlen(idempotency_key));
	attempt = keyed_hash64(scoreboard_hash_key(0), scoreboard_hash_key(1), parts, sizeof(parts));
	return attempt == 0 ? 1 : attempt;
}

void
rate_limit_stats(int64 *entries, int64 *capacity, int64 *full_refusals)
{
	RateWindows windows = current_windows();

	*entries = *capacity = *full_refusals = 0;
	if (rate_shared == NULL)
		return;
	for (uint32 i = 0; i < rate_shared->partitions; i++)
	{
		RatePartition *partition = &rate_shared->partition[i].partition;

		LWLockAcquire(&partition->lock, LW_SHARED);
		*entries += partition->entries;
		LWLockRelease(&partition->lock);
	}
	*capacity = (int64) rate_shared->partitions * rate_shared->cells /
		(1 + reserved_chunks(&windows));
	*full_refusals = (int64) pg_atomic_read_u64(&rate_shared->full_refusals);
}

bool
rate_limit_report_pending(void)
{
	return pg_atomic_read_u32(&rate_shared->report_due) != 0;
}

void
rate_limit_report(void)
{
	uint64		now = (uint64) monotonic_now();
	uint64		quiet_until = pg_atomic_read_u64(&rate_shared->quiet_until);
	int64		entries;
	int64		capacity;
	int64		full_refusals;

	pg_atomic_write_u32(&rate_shared->report_due, 0);

	/* Several databases' publishers may be about to say it, and who noted it may have been slow. */
	if (now < quiet_until ||
		!pg_atomic_compare_exchange_u64(&rate_shared->quiet_until, &quiet_until, now + RATE_REPORT_INTERVAL))
		return;
	rate_limit_stats(&entries, &capacity, &full_refusals);
	ereport(WARNING,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("scoreboard has no memory for the rate windows of more players"),
			 errdetail("It has those of " INT64_FORMAT " players. Others are refused until some of these are idle;"
					   " scoreboard_server_stats() counts the refusals.", entries),
			 errhint("Raise scoreboard.rate_memory (now %d kB; 192 bytes for each player active within a minute, at the default limits)"
					 " and restart the server.", scoreboard_rate_memory)));
}
