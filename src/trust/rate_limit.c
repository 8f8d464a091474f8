/*
 * trust/rate_limit.c - exact sliding windows per player in shared memory
 *
 * plain/rate_table.c has the windows and how they lie in memory; here is who is
 * limited by what, and the memory that all backends share.
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
 * A player has windows over all boards, and apart from them windows on each board that limits attempts, or on an
 * action type there whose rule does. An attempt takes a slot in both or in neither; both lie in the same
 * partition, so one hold of its lock decides.
 *
 * Memory: scoreboard.rate_memory is cut into partitions that share nothing. Players are
 * spread over them by their hash, so the fullest partition refuses first, when the whole is
 * nearly full. Entries of the idle give way; where none is idle, a player who has
 * no entry yet is refused with UNAVAILABLE and counted. The log says so once an hour at most, and
 * once each time that four fifths are reached: a publisher writes it, since the session
 * that notes it has a statement with a token in it.
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

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "compat.h"
#include "scoreboard.h"
#include "plain/keyed_hash.h"
#include "plain/rate_table.h"
#include "publish/publisher.h"
#include "trust/rate_limit.h"

#define RATE_REPORT_INTERVAL (60 * RATE_MINUTE) /* the log says at most this often that the table is full */

/* A partition has at least so many cells, so that small tables aren't refused unevenly. */
#define RATE_PARTITION_CELLS 4096
#define RATE_MAX_PARTITIONS 64

/* Of the cells: from here on the log and scoreboard_server_stats() warn, until less than that is in use. */
#define RATE_WARN_PERCENT 80
#define RATE_CALM_PERCENT 70

/* Entries that a look at the counters forgets in one hold of a lock. */
#define RATE_SWEEP 128

typedef struct RatePartition
{
	LWLock		lock;
	RateTable	table;			/* and its cells and heads: under the lock */
} RatePartition;

typedef union RatePartitionPadded
{
	RatePartition partition;
	char		pad[PG_CACHE_LINE_SIZE];
} RatePartitionPadded;

/* What the log is to say. */
#define RATE_REPORT_FULL 1
#define RATE_REPORT_NEARLY_FULL 2

/* All fields but the atomics are set once, before anybody else sees them. */
typedef struct RateShared
{
	int			tranche;
	uint32		partitions;
	uint32		cells;			/* of each partition */
	uint32		buckets;		/* of each partition */
	pg_atomic_uint64 used;		/* cells, of all partitions */
	pg_atomic_uint64 full_refusals;
	pg_atomic_uint64 quiet_until;	/* monotonic_now(): so long the log has said that the table is full */
	pg_atomic_uint32 nearly_full;	/* 1: RATE_WARN_PERCENT were reached, and not RATE_CALM_PERCENT since */
	pg_atomic_uint32 report_due;
	RatePartitionPadded partition[RATE_MAX_PARTITIONS];
} RateShared;

static RateShared *rate_shared = NULL;
static uint32 *rate_heads;
static RateCell *rate_cells;

/* ---------------------------------------------------------------------------
 * Shared memory
 * ------------------------------------------------------------------------ */

static Size
table_bytes(void)
{
	return mul_size(Max(scoreboard_rate_memory, 64), 1024);
}

Size
rate_limit_shmem_size(void)
{
	return add_size(CACHELINEALIGN(sizeof(RateShared)), table_bytes());
}

static RateHold
hold_of(uint32 number)
{
	return (RateHold) {
		.table = &rate_shared->partition[number].partition.table,
		.cells = rate_cells + (Size) number * rate_shared->cells,
		.heads = rate_heads + (Size) number * rate_shared->buckets
	};
}

static void
initialise(void)
{
	rate_shared->tranche = compat_new_tranche("scoreboard_rate");
	pg_atomic_init_u64(&rate_shared->used, 0);
	pg_atomic_init_u64(&rate_shared->full_refusals, 0);
	pg_atomic_init_u64(&rate_shared->quiet_until, 0);
	pg_atomic_init_u32(&rate_shared->nearly_full, 0);
	pg_atomic_init_u32(&rate_shared->report_due, 0);
	rate_shared->partitions = Max(1, Min(RATE_MAX_PARTITIONS, rate_table_cells(table_bytes()) / RATE_PARTITION_CELLS));
	rate_shared->cells = rate_table_cells(table_bytes() / rate_shared->partitions);
	rate_shared->buckets = rate_table_buckets(rate_shared->cells);
}

static void
initialise_partition(uint32 number)
{
	RateHold	hold = hold_of(number);

	LWLockInitialize(&rate_shared->partition[number].partition.lock, rate_shared->tranche);
	hold.table->cells = rate_shared->cells;
	hold.table->buckets = rate_shared->buckets;
	rate_table_init(&hold);
}

/* Caller holds AddinShmemInitLock. */
void
rate_limit_attach(void)
{
	bool		found;

	rate_shared = ShmemInitStruct("scoreboard rate windows", rate_limit_shmem_size(), &found);
	if (!found)
		initialise();
	compat_register_tranche(rate_shared->tranche, "scoreboard_rate");

	/* The server aligns what it hands out to a cache line. */
	rate_cells = (RateCell *) ((char *) rate_shared + CACHELINEALIGN(sizeof(RateShared)));
	rate_heads = (uint32 *) (rate_cells + (Size) rate_shared->partitions * rate_shared->cells);
	for (uint32 i = 0; !found && i < rate_shared->partitions; i++)
		initialise_partition(i);
}

/* ---------------------------------------------------------------------------
 * Attempts
 * ------------------------------------------------------------------------ */

/* Can't fail with this clock on any platform that PostgreSQL runs on. */
static int64
monotonic_now(void)
{
	struct timespec now = {0, 0};

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
report(uint32 what)
{
	pg_atomic_fetch_or_u32(&rate_shared->report_due, what);
	publisher_wake();
}

static int
percent_of(uint64 used)
{
	return (int) (used * 100 / ((uint64) rate_shared->partitions * rate_shared->cells));
}

/* Once for each time that the memory gets nearly full. */
static void
note_used(int64 change)
{
	int			percent = percent_of(pg_atomic_add_fetch_u64(&rate_shared->used, change));
	uint32		before = percent >= RATE_WARN_PERCENT ? 0 : 1;

	if (percent < RATE_WARN_PERCENT && percent >= RATE_CALM_PERCENT)
		return;
	if (pg_atomic_read_u32(&rate_shared->nearly_full) == before &&
		pg_atomic_compare_exchange_u32(&rate_shared->nearly_full, &before, 1 - before) && before == 0)
		report(RATE_REPORT_NEARLY_FULL);
}

/* What an attempt is counted in: the player's partition and up to two scopes. */
typedef struct RateQuestion
{
	uint32		partition;
	int			count;
	RateScope	scopes[RATE_SCOPES_MAX];
} RateQuestion;

typedef RateOutcome (*RateAnswer) (RateHold *hold, const RateScope *scopes, int count, uint64_t attempt, int64_t *wait);

static RateOutcome
ask_locked(RateAnswer answer, const RateQuestion *question, uint64 attempt, int64 *wait)
{
	RatePartition *partition = &rate_shared->partition[question->partition].partition;
	RateHold	hold = hold_of(question->partition);
	RateOutcome outcome;
	int64		change;

	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	hold.now = monotonic_now();
	change = -(int64) hold.table->used;
	outcome = answer(&hold, question->scopes, question->count, attempt, wait);
	change += hold.table->used;
	LWLockRelease(&partition->lock);
	if (change != 0)
		note_used(change);
	return outcome;
}

static void
note_full(void)
{
	pg_atomic_fetch_add_u64(&rate_shared->full_refusals, 1);
	if ((uint64) monotonic_now() >= pg_atomic_read_u64(&rate_shared->quiet_until))
		report(RATE_REPORT_FULL);
}

/* The same id in another database is another player. */
static uint64
player_key(const uint64 *player)
{
	return player[1] ^ MyDatabaseId * UINT64CONST(0x9e3779b97f4a7c15);
}

static uint64
board_key(const uint64 *player, int32 board_id, int32 action_type_id)
{
	struct
	{
		uint64		player[2];
		Oid			database;
		int32		board_id;
		int32		action_type_id;
		int32		zero;
	}			parts = {{player[0], player[1]}, MyDatabaseId, board_id, action_type_id, 0};

	return keyed_hash64(scoreboard_hash_key(0), scoreboard_hash_key(1), &parts, sizeof(parts));
}

static bool
refuse_exhausted(int64 wait, Refusal *refusal)
{
	return refuse_for(refusal, REFUSAL_RATE_LIMITED, (int) ((wait + RATE_SECOND - 1) / RATE_SECOND),
					  "Wait as many seconds as retryAfter says, then try again.",
					  "too many attempts by this player");
}

static void
add_scope(RateQuestion *question, uint64 key, int minute_limit, int second_limit)
{
	RateScope	scope = {
		.key = key,
		.minute_limit = Max(0, Min(minute_limit, RATE_LIMIT_MAX)),
		.second_limit = Max(0, Min(second_limit, RATE_LIMIT_MAX))
	};

	if (scope.minute_limit > 0 || scope.second_limit > 0)
		question->scopes[question->count++] = scope;
}

/* The first of the two that says anything. */
static int
limit_of(int own, int general)
{
	return own >= 0 ? own : general;
}

/* The windows of a board, or those that its rule gives an action type in their place. */
static void
add_board(RateQuestion *question, const uint64 *player, const Board *board, const ActionRule *rule)
{
	int			minute = limit_of(board->rate_limit, scoreboard_board_rate_limit);
	int			second = limit_of(board->burst_limit, scoreboard_board_burst_limit);
	int32		action_type_id = 0;

	if (rule && (rule->rate_limit >= 0 || rule->burst_limit >= 0))
	{
		minute = limit_of(rule->rate_limit, minute);
		second = limit_of(rule->burst_limit, second);
		action_type_id = rule->action_type_id;
	}
	if (minute > 0 || second > 0)
		add_scope(question, board_key(player, board->board_id, action_type_id), minute, second);
}

static bool
ask(RateAnswer answer, const char *user_id, uint64 attempt, const Board *board, const ActionRule *rule, Refusal *refusal)
{
	RateQuestion question = {0};
	uint64		player[2];
	int64		wait = 0;

	if (rate_shared == NULL)
		return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1,
						  "Add scoreboard to shared_preload_libraries in postgresql.conf and restart the server.",
						  "the rate windows are not in shared memory");

	keyed_hash128(scoreboard_hash_key(0), scoreboard_hash_key(1), user_id, strlen(user_id), player);
	question.partition = (uint32) player[0] % rate_shared->partitions;
	add_scope(&question, player_key(player), scoreboard_rate_limit, scoreboard_burst_limit);
	if (board)
		add_board(&question, player, board, rule);
	if (question.count == 0)
		return true;
	switch (ask_locked(answer, &question, attempt, &wait))
	{
		case RATE_TAKEN:
			return true;
		case RATE_EXHAUSTED:
			return refuse_exhausted(wait, refusal);
		case RATE_TABLE_FULL:
			break;
	}
	note_full();
	return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1,
					  "Raise scoreboard.rate_memory if this lasts.",
					  "too many players at once");
}

bool
rate_limit_take(const char *user_id, uint64 attempt, const Board *board, const ActionRule *rule, Refusal *refusal)
{
	return ask(rate_table_take, user_id, attempt, board, rule, refusal);
}

bool
rate_limit_look(const char *user_id, uint64 attempt, Refusal *refusal)
{
	return ask(rate_table_look, user_id, attempt, NULL, NULL, refusal);
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

/* ---------------------------------------------------------------------------
 * What an administrator sees
 * ------------------------------------------------------------------------ */

/* Entries that idle don't count: they are forgotten first, some at a time, so that nobody waits for long. */
static int64
active_entries(uint32 number)
{
	RatePartition *partition = &rate_shared->partition[number].partition;
	RateHold	hold = hold_of(number);
	int			forgotten;
	int64		entries;
	int64		change;

	do
	{
		LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
		hold.now = monotonic_now();
		change = -(int64) hold.table->used;
		forgotten = rate_table_sweep(&hold, RATE_SWEEP);
		change += hold.table->used;
		entries = hold.table->entries;
		LWLockRelease(&partition->lock);
		if (change != 0)
			note_used(change);
	} while (forgotten == RATE_SWEEP);
	return entries;
}

RateStats
rate_limit_stats(void)
{
	RateStats	stats = {0};
	Size		cells;

	if (rate_shared == NULL)
		return stats;
	for (uint32 i = 0; i < rate_shared->partitions; i++)
		stats.entries += active_entries(i);
	cells = (Size) rate_shared->partitions * rate_shared->cells;
	stats.capacity = cells;
	stats.full_refusals = (int64) pg_atomic_read_u64(&rate_shared->full_refusals);
	stats.memory = table_bytes();
	stats.memory_used = (int64) (pg_atomic_read_u64(&rate_shared->used) * (double) stats.memory / cells);
	stats.nearly_full = pg_atomic_read_u32(&rate_shared->nearly_full) != 0;
	return stats;
}

bool
rate_limit_report_pending(void)
{
	return pg_atomic_read_u32(&rate_shared->report_due) != 0;
}

static void
report_nearly_full(void)
{
	RateStats	stats = rate_limit_stats();

	ereport(WARNING,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("scoreboard's rate windows have reached %d %% of their memory", RATE_WARN_PERCENT),
			 errdetail("They are those of " INT64_FORMAT " players of about " INT64_FORMAT " that fit."
					   " Where it is full, players who have none yet are refused.", stats.entries, stats.capacity),
			 errhint("Raise scoreboard.rate_memory (now %d kB; 96 bytes for each player active within a minute, more where limits above 10 or boards' own are used)"
					 " and restart the server.", scoreboard_rate_memory)));
}

static void
report_full(void)
{
	uint64		now = (uint64) monotonic_now();
	uint64		quiet_until = pg_atomic_read_u64(&rate_shared->quiet_until);

	/* Several databases' publishers may be about to say it, and who noted it may have been slow. */
	if (now < quiet_until ||
		!pg_atomic_compare_exchange_u64(&rate_shared->quiet_until, &quiet_until, now + RATE_REPORT_INTERVAL))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("scoreboard has no memory for the rate windows of more players"),
			 errdetail("It has those of " INT64_FORMAT " players. Others are refused until some of these are idle;"
					   " scoreboard_server_stats() counts the refusals.", rate_limit_stats().entries),
			 errhint("Raise scoreboard.rate_memory (now %d kB; 96 bytes for each player active within a minute, more where limits above 10 or boards' own are used)"
					 " and restart the server.", scoreboard_rate_memory)));
}

void
rate_limit_report(void)
{
	uint32		due = pg_atomic_exchange_u32(&rate_shared->report_due, 0);

	if (due & RATE_REPORT_NEARLY_FULL)
		report_nearly_full();
	if (due & RATE_REPORT_FULL)
		report_full();
}
