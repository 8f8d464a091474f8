/*
 * rank/build.c - makes rank trees from the table, while commits go on
 *
 * Runs in the publisher or beside it (publish/builder.c), in one process of a database at a time. Nobody waits for it
 * and it waits for nobody but those who alter the table:
 *
 *   1 lock the table in ACCESS SHARE until the end (no TRUNCATE, no rewrite)
 *   2 under the locks of the boards: take snapshot S, keep what it sees, BUILDING
 *   3 scan the table with S; let S go, since an old snapshot stops HOT pruning
 *   4 sort; load in slices, each under the board's lock; READY with the last one
 *
 * From 2 on every commit enters its notes itself, unless S sees its
 * transaction: then the scan brings its rows. Each commit enters once: one that
 * S sees was visible, so committed, before 2; one that S doesn't see was not, so its callback comes after 2.
 *
 * What a board's settings say is read before 2, since callbacks need the order,
 * and again with S: a change in between is seen there, a later one notes a
 * rebuild. So with the table's trigger, without which a tree could not follow.
 *
 * A board whose state_count changed meanwhile was overtaken (a rebuild was noted,
 * the memory was full, the board is gone) and is left as it stands. After an error, or when the process
 * leaves, what is still BUILDING goes back to WANTED.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/plan.h"
#include "base/tables.h"
#include "publish/publisher.h"
#include "rank/board.h"
#include "rank/build.h"
#include "rank/index.h"

/* Built with one scan; each is a lock held at once for a moment (a process can hold 200). */
#define MAX_TARGETS 64

/* Keys entered in one hold of a board's lock: some 50 microseconds. */
#define SLICE 2000

/* A table of so many blocks is read, sorted and loaded within some 20 milliseconds. */
#define QUICK_BLOCKS 1000

/* Settings that change between two looks again and again. */
#define MAX_ATTEMPTS 5

typedef struct Target
{
	int			place;
	RankBoardKey key;
	uint32		state_count;		/* of its BUILDING */
	bool		exists;			/* the board has a row */
	RankOrder	order;
	int			top_size;
	RankTreeKey *keys;
	size_t		count;
	size_t		room;
	bool		too_many;		/* more than the arena can ever hold */
} Target;

typedef struct Build
{
	Relation	rel;
	Target	   *targets;
	int			count;
	bool		tracked;		/* every change of the table is noted, by whomever */
	MemoryContext memory;
} Build;

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE RankTreeKey
#define ST_COMPARE(a, b) rank_tree_compare(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* ---------------------------------------------------------------------------
 * What is to be built
 * ------------------------------------------------------------------------- */

/*
 * A full board is tried again only when others have made room: a tree that
 * just fits would be full again after the next few commits.
 */
static bool
is_to_build(const RankBoard *board)
{
	RankArena  *arena = rank_board_arena();

	return board->state == RANK_WANTED ||
		(board->state == RANK_FULL && arena->nodes - rank_arena_used(arena) >= board->nodes_needed);
}

bool
rank_build_pending(void)
{
	bool		pending = false;

	for (int place = 0; place < rank_board_count() && !pending; place++)
	{
		RankBoard  *board = rank_board_lock_at(place, LW_SHARED);

		if (board == NULL)
			continue;
		pending = board->key.database == MyDatabaseId && is_to_build(board);
		rank_board_unlock(board);
	}
	return pending && !RecoveryInProgress();
}

void
rank_build_want_all(void)
{
	Oid			relid = tables_id(TABLE_SCORE);

	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	if (SPI_execute("SELECT board_id::int FROM scoreboard.board", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading scoreboard.board failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		is_null;
		RankBoardKey key = {.database = MyDatabaseId, .relid = relid, .season = 1};

		key.board_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null));
		rank_board_want(&key);
	}
	SPI_finish();
	PopActiveSnapshot();
}

/* This database's boards that are to be built; those of a table that is gone are freed. */
static void
choose_targets(Build *build)
{
	Oid			relid = RelationGetRelid(build->rel);

	build->targets = MemoryContextAllocZero(build->memory, MAX_TARGETS * sizeof(Target));
	for (int place = 0; place < rank_board_count() && build->count < MAX_TARGETS; place++)
	{
		RankBoard  *board = rank_board_lock_at(place, LW_SHARED);
		RankBoardKey key;
		bool		wanted;

		if (board == NULL)
			continue;
		key = board->key;
		wanted = is_to_build(board);
		rank_board_unlock(board);
		if (key.database != MyDatabaseId)
			continue;
		if (key.relid != relid)
			rank_board_free(&key);
		else if (wanted)
		{
			build->targets[build->count].place = place;
			build->targets[build->count++].key = key;
		}
	}
}

static Target *
find_target(Build *build, int32 board_id, int32 season)
{
	static int	last = 0;		/* rows of one board mostly stand together */

	if (last < build->count && build->targets[last].key.board_id == board_id &&
		build->targets[last].key.season == season)
		return &build->targets[last];
	for (int i = 0; i < build->count; i++)
	{
		if (build->targets[i].key.board_id == board_id && build->targets[i].key.season == season)
		{
			last = i;
			return &build->targets[i];
		}
	}
	return NULL;
}

/*
 * Is the trigger on, as the active snapshot sees it? Not asked of the
 * relation's cache: who switched it has been committed, and has had us woken,
 * before its invalidation arrives here.
 */
static bool
trigger_is_on(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};

	/* 29: for each row, after INSERT, DELETE and UPDATE. */
	if (SPI_execute_with_args("SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
							  " WHERE t.tgrelid = $1 AND p.proname = 'score_changed'"
							  " AND t.tgenabled = 'A' AND t.tgtype = 29",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading pg_trigger failed");
	return SPI_processed > 0;
}

/*
 * The targets' settings, as the active snapshot sees them. True if they are
 * what they were.
 */
static bool
read_settings(Build *build)
{
	bool		same = true;

	SPI_connect();
	build->tracked = trigger_is_on(RelationGetRelid(build->rel));
	if (SPI_execute("SELECT board_id::int, score_order::text, ties::text, top_size::int FROM scoreboard.board", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading scoreboard.board failed");
	for (int t = 0; t < build->count; t++)
	{
		Target	   *target = &build->targets[t];
		Target		was = *target;

		target->exists = false;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		is_null;

			if (DatumGetInt32(SPI_getbinval(row, desc, 1, &is_null)) != target->key.board_id)
				continue;
			target->exists = true;
			target->order = rank_order_of_texts(plan_known_text(row, desc, 2), plan_known_text(row, desc, 3));
			target->top_size = DatumGetInt32(SPI_getbinval(row, desc, 4, &is_null));
		}
		same = same && was.exists == target->exists && rank_order_same(was.order, target->order) &&
			was.top_size == target->top_size;
	}
	SPI_finish();
	return same;
}

static void
read_settings_now(Build *build)
{
	PushActiveSnapshot(GetLatestSnapshot());
	read_settings(build);
	PopActiveSnapshot();
	for (int t = 0; t < build->count; t++)
	{
		if (!build->targets[t].exists)
			rank_board_free(&build->targets[t].key);
	}
}

/* ---------------------------------------------------------------------------
 * States
 * ------------------------------------------------------------------------- */

/* The target's board, locked exclusively, if it still is in our hands. */
static RankBoard *
lock_target(const Target *target)
{
	RankBoard  *board = rank_board_lock_at(target->place, LW_EXCLUSIVE);

	if (board == NULL)
		return NULL;
	if (board->state == RANK_BUILDING && board->state_count == target->state_count &&
		memcmp(&board->key, &target->key, sizeof(RankBoardKey)) == 0)
		return board;
	rank_board_unlock(board);
	return NULL;
}

static void
finish_target(const Target *target, RankState state)
{
	RankBoard  *board = lock_target(target);

	if (board == NULL)
		return;
	rank_board_set_state(board, state);
	if (state == RANK_FULL)
		board->nodes_needed = (uint32) Max(board->nodes_needed, rank_tree_nodes_for(target->count));
	rank_board_unlock(board);
}

/* Whatever way the build ends. */
static void
give_up(int code, Datum arg)
{
	Build	   *build = (Build *) DatumGetPointer(arg);

	for (int t = 0; t < build->count; t++)
		finish_target(&build->targets[t], RANK_WANTED);
}

/* Caller holds the board's lock exclusively. */
static void
begin_board(RankBoard *board, Target *target, Snapshot snapshot)
{
	if (!is_to_build(board) || !target->exists || memcmp(&board->key, &target->key, sizeof(RankBoardKey)) != 0)
		return;
	rank_board_set_state(board, RANK_BUILDING);
	board->order = target->order;
	board->top_size = target->top_size;
	if (!rank_board_keep_snapshot(&board->snapshot, snapshot))
		rank_board_set_state(board, RANK_FULL);
	target->state_count = board->state_count;
}

/*
 * Step 2. Returns the snapshot, registered. Targets stand in the order of
 * places, and nobody else takes two boards' locks in one database.
 */
static Snapshot
begin_building(Build *build)
{
	RankBoard  *locked[MAX_TARGETS];
	Snapshot	snapshot;

	for (int t = 0; t < build->count; t++)
		locked[t] = rank_board_lock_at(build->targets[t].place, LW_EXCLUSIVE);
	snapshot = GetLatestSnapshot();
	for (int t = 0; t < build->count; t++)
	{
		if (locked[t] == NULL)
			continue;
		begin_board(locked[t], &build->targets[t], snapshot);
		rank_board_unlock(locked[t]);
	}
	return RegisterSnapshot(snapshot);
}

/* ---------------------------------------------------------------------------
 * Scanning and loading
 * ------------------------------------------------------------------------- */

static void
add_key(Target *target, const RankTreeKey *key, MemoryContext memory)
{
	if (target->count == target->room)
	{
		size_t		limit = (size_t) rank_board_arena()->nodes * RANK_LEAF_MAX;

		if (target->count >= limit)
		{
			target->too_many = true;
			return;
		}
		target->room = Max(1024, Min(limit, target->room * 2));
		if (target->keys == NULL)
			target->keys = MemoryContextAllocHuge(memory, target->room * sizeof(RankTreeKey));
		else
			target->keys = repalloc_huge(target->keys, target->room * sizeof(RankTreeKey));
	}
	target->keys[target->count++] = *key;
}

static void
scan_table(Build *build, Snapshot snapshot)
{
	const TableLayout layout = *tables_layout(TABLE_SCORE, build->rel, TABLE_SCAN);
	TupleTableSlot *slot = table_slot_create(build->rel, NULL);
	TableScanDesc scan = compat_table_beginscan(build->rel, snapshot);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Target	   *target;
		RankKey		row;
		RankTreeKey key;

		CHECK_FOR_INTERRUPTS();
		target = find_target(build, DatumGetInt32(tables_value(&layout, slot, SCORE_BOARD_ID)),
							 DatumGetInt32(tables_value(&layout, slot, SCORE_SEASON)));
		if (target == NULL || target->too_many || !DatumGetBool(tables_value(&layout, slot, SCORE_LISTED)))
			continue;
		row = rank_key_read(&layout, slot);
		key = rank_order_key(target->order, &row);
		add_key(target, &key, build->memory);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* True if all of it is loaded, and the board is READY. */
static bool
load_target(Target *target)
{
	size_t		done = 0;
	bool		last = false;

	while (!last)
	{
		size_t		some = Min(SLICE, target->count - done);
		size_t		loaded = 0;
		RankTreeResult result;
		RankBoard  *board;

		CHECK_FOR_INTERRUPTS();
		board = lock_target(target);
		if (board == NULL)
			return false;
		result = rank_tree_load(rank_board_arena(), &board->tree, target->keys + done, some, &loaded);
		done += loaded;
		last = result == RANK_TREE_DONE && done == target->count;
		if (last)
			rank_board_set_state(board, RANK_READY);
		rank_board_unlock(board);
		if (result != RANK_TREE_DONE)
		{
			finish_target(target, result == RANK_TREE_FULL ? RANK_FULL : RANK_WANTED);
			return false;
		}
	}
	return true;
}

/* Where it can't fit, it isn't tried: it would take the last nodes from boards that grow meanwhile. */
static bool
fits(const Target *target)
{
	RankArena  *arena = rank_board_arena();

	return !target->too_many &&
		rank_tree_nodes_for(target->count) <= arena->nodes - rank_arena_used(arena);
}

static void
load_targets(Build *build)
{
	for (int t = 0; t < build->count; t++)
	{
		Target	   *target = &build->targets[t];

		if (!fits(target))
		{
			finish_target(target, RANK_FULL);
			continue;
		}
		if (target->count > 1)
			sort_keys(target->keys, target->count);
		if (load_target(target))
			publisher_touch(target->key.board_id);
		if (target->keys != NULL)
			pfree(target->keys);
		target->keys = NULL;
	}
}

/* ---------------------------------------------------------------------------
 * One build
 * ------------------------------------------------------------------------- */

/* Once for each time that a board becomes full: the commits that met it can't write to the log. */
static void
report_full_boards(void)
{
	int			full = 0;

	for (int place = 0; place < rank_board_count(); place++)
	{
		RankBoard  *board = rank_board_lock_at(place, LW_EXCLUSIVE);

		if (board == NULL)
			continue;
		if (board->key.database == MyDatabaseId && board->state == RANK_FULL && !board->reported)
		{
			board->reported = true;
			full++;
		}
		rank_board_unlock(board);
	}
	if (full > 0)
		ereport(WARNING,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("scoreboard has no memory for the ranks of %d boards", full),
				 errdetail("Their ranks and lists are counted by SQL, and increments on them answer no rank."),
				 errhint("Raise scoreboard.rank_memory (now %d kB; about 40 bytes for each player on each board)"
						 " and restart the server.", scoreboard_rank_memory)));
}

/* Under the rules of 2 and S too: who switches the trigger on later notes a rebuild. */
static void
set_untracked(Build *build)
{
	for (int t = 0; t < build->count; t++)
		finish_target(&build->targets[t], RANK_UNTRACKED);
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("scoreboard keeps no ranks: a trigger of table \"%s\" is off", RelationGetRelationName(build->rel)),
			 errdetail("Ranks and lists are counted by SQL, and increments answer no rank."),
			 errhint("ALTER TABLE scoreboard.score ENABLE ALWAYS TRIGGER changed")));
}

/* Steps 2 to 4. */
static void
build_targets(Build *build)
{
	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++)
	{
		Snapshot	snapshot;
		bool		same;

		read_settings_now(build);
		snapshot = begin_building(build);
		PushActiveSnapshot(snapshot);
		same = read_settings(build);
		PopActiveSnapshot();
		if (same && build->tracked)
			scan_table(build, snapshot);
		UnregisterSnapshot(snapshot);
		if (!build->tracked)
			set_untracked(build);
		else if (same)
			load_targets(build);
		else
			give_up(0, PointerGetDatum(build));
		if (same || !build->tracked)
			return;
	}
}

bool
rank_build_is_quick(void)
{
	Oid			relid = tables_id(TABLE_SCORE);
	Relation	rel;
	bool		quick;

	if (!OidIsValid(relid))
		return true;
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return true;
	quick = RelationGetNumberOfBlocks(rel) <= QUICK_BLOCKS;
	relation_close(rel, NoLock);
	return quick;
}

bool
rank_build(void)
{
	Oid			relid = tables_id(TABLE_SCORE);
	Build		build = {0};

	build.rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	if (build.rel == NULL)
		return false;
	build.memory = AllocSetContextCreate(CurrentMemoryContext, "scoreboard rank build", ALLOCSET_DEFAULT_SIZES);
	choose_targets(&build);
	if (build.count > 0)
	{
		PG_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(&build));
		{
			build_targets(&build);
		}
		PG_END_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(&build));
	}
	report_full_boards();
	MemoryContextDelete(build.memory);
	relation_close(build.rel, NoLock);
	return rank_build_pending();
}
