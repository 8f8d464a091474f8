/*
 * rank/build.c - makes rank trees from the table, while commits go on
 *
 * Runs in the publisher or beside it (publish/builder.c), in one process of a database at a time. Nobody waits for it
 * and it waits for nobody but those who alter the table:
 *
 *   1 lock the table in ACCESS SHARE until the end (no TRUNCATE, no rewrite)
 *   2 under the locks of the boards: take snapshot S, keep what it sees, BUILDING
 *   3 read the rows that S sees: of each board by the index, where they are few, and the others' in one scan of the
 *     table; let S go, since an old snapshot stops HOT pruning
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

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/plan.h"
#include "base/season.h"
#include "base/tables.h"
#include "publish/publisher.h"
#include "rank/board.h"
#include "rank/build.h"
#include "rank/index.h"

/* Built with one snapshot; each is a lock held at once for a moment (a process can hold 200). */
#define MAX_TARGETS 64

/* A board of more rows is read by a scan of the table, others' rows too: by the index it would be slower. */
#define FEW_ROWS 2000

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
	bool		complete;		/* its rows were read by the index */
} Target;

typedef struct Build
{
	Relation	rel;
	Target	   *targets;
	int			count;
	bool		tracked;		/* every change of the table is noted, by whomever */
	RankSnapshot kept;			/* what the snapshot of step 2 sees, for all of them */
	MemoryContext memory;
} Build;

/* Where the next targets are looked for first: behind the last ones. */
static int	next_place = 0;

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

static int
compare_places(const void *a, const void *b)
{
	return ((const Target *) a)->place - ((const Target *) b)->place;
}

/* Is the n-th place from next_place on one of ours that is to be built? Then where it is, and its key. */
static bool
look_at(int n, int *place, RankBoardKey *key)
{
	RankBoard  *board;
	bool		wanted;

	*place = (next_place + n) % rank_board_count();
	board = rank_board_lock_at(*place, LW_SHARED);
	if (board == NULL)
		return false;
	*key = board->key;
	wanted = board->key.database == MyDatabaseId && is_to_build(board);
	rank_board_unlock(board);
	return wanted;
}

bool
rank_build_pending(void)
{
	bool		pending = false;
	int			place;
	RankBoardKey key;

	if (rank_board_count_in(RANK_WANTED) == 0 && rank_board_count_in(RANK_FULL) == 0)
		return false;
	for (int n = 0; n < rank_board_count() && !pending; n++)
		pending = look_at(n, &place, &key);
	return pending && !RecoveryInProgress();
}

void
rank_build_want_all(void)
{
	Oid			relid = tables_id(TABLE_SCORE);

	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	if (SPI_execute("SELECT b.board_id::int, " SEASON_COLUMNS " FROM scoreboard.board b LEFT JOIN scoreboard.top t ON t.board = b.name"
					" ORDER BY t.updated_at DESC NULLS LAST, b.board_id", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading scoreboard.board failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		is_null;
		RankBoardKey key = {.database = MyDatabaseId, .relid = relid};
		Board		board = {.board_id = 0};

		key.board_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null));
		if (!season_read(&board, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2))
			continue;
		key.season = season_running(&board);
		rank_board_want(&key);
	}
	SPI_finish();
	PopActiveSnapshot();
}

/* Boards of a table that had its name before: it may come back as another one than they know. */
static void
free_other_tables(Oid relid)
{
	for (int place = 0; place < rank_board_count(); place++)
	{
		RankBoard  *board = rank_board_lock_at(place, LW_SHARED);
		RankBoardKey key;

		if (board == NULL)
			continue;
		key = board->key;
		rank_board_unlock(board);
		if (key.database == MyDatabaseId && key.relid != relid)
			rank_board_free(&key);
	}
}

/* This database's boards that are to be built. */
static void
choose_targets(Build *build)
{
	Oid			relid = RelationGetRelid(build->rel);
	int			place = next_place;
	RankBoardKey key;

	build->targets = MemoryContextAllocZero(build->memory, MAX_TARGETS * sizeof(Target));
	for (int n = 0; n < rank_board_count() && build->count < MAX_TARGETS; n++)
	{
		if (!look_at(n, &place, &key))
			continue;
		if (key.relid != relid)
			rank_board_free(&key);
		else
		{
			build->targets[build->count].place = place;
			build->targets[build->count++].key = key;
		}
	}
	next_place = (place + 1) % rank_board_count();
	qsort(build->targets, build->count, sizeof(Target), compare_places);
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

static Datum
board_ids(const Build *build)
{
	Datum		ids[MAX_TARGETS];

	for (int t = 0; t < build->count; t++)
		ids[t] = Int32GetDatum(build->targets[t].key.board_id);
	return PointerGetDatum(construct_array(ids, build->count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
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
	Oid			types[] = {INT4ARRAYOID};
	Datum		values[1];
	bool		same = true;

	SPI_connect();
	build->tracked = trigger_is_on(RelationGetRelid(build->rel));
	values[0] = board_ids(build);
	if (SPI_execute_with_args("SELECT b.board_id::int, b.score_order::text, b.ties::text, b.top_size::int, " SEASON_COLUMNS
							  " FROM scoreboard.board b WHERE b.board_id = ANY ($1)",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
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
			Board		board = {.board_id = target->key.board_id};
			bool		is_null;

			/* A season that isn't the running one needs no tree. */
			if (DatumGetInt32(SPI_getbinval(row, desc, 1, &is_null)) != target->key.board_id ||
				!season_read(&board, row, desc, 5) || season_running(&board) != target->key.season)
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
	rank_board_drop_snapshot(&build->kept);
}

/* Caller holds the board's lock exclusively. */
static void
begin_board(RankBoard *board, Target *target, const RankSnapshot *kept)
{
	if (!is_to_build(board) || !target->exists || memcmp(&board->key, &target->key, sizeof(RankBoardKey)) != 0)
		return;
	rank_board_set_state(board, RANK_BUILDING);
	board->order = target->order;
	board->top_size = target->top_size;
	if (kept)
		rank_board_share_snapshot(&board->snapshot, kept);
	else
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
	bool		has_room;

	for (int t = 0; t < build->count; t++)
		locked[t] = rank_board_lock_at(build->targets[t].place, LW_EXCLUSIVE);
	snapshot = GetLatestSnapshot();
	has_room = rank_board_keep_snapshot(&build->kept, snapshot);
	for (int t = 0; t < build->count; t++)
	{
		if (locked[t] == NULL)
			continue;
		begin_board(locked[t], &build->targets[t], has_room ? &build->kept : NULL);
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
take_row(Target *target, const TableLayout *layout, TupleTableSlot *slot, MemoryContext memory)
{
	RankKey		row;
	RankTreeKey key;

	if (target->too_many || !DatumGetBool(tables_value(layout, slot, SCORE_LISTED)))
		return;
	row = rank_key_read(layout, slot);
	key = rank_order_key(target->order, &row);
	add_key(target, &key, memory);
}

/* For those that aren't complete yet. */
static void
scan_table(Build *build, const TableLayout *layout, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(build->rel, NULL);
	TableScanDesc scan = compat_table_beginscan(build->rel, snapshot);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Target	   *target;

		CHECK_FOR_INTERRUPTS();
		target = find_target(build, DatumGetInt32(tables_value(layout, slot, SCORE_BOARD_ID)),
							 DatumGetInt32(tables_value(layout, slot, SCORE_SEASON)));
		if (target != NULL && !target->complete)
			take_row(target, layout, slot, build->memory);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* Can a board's rows be found by it, as any snapshot of now sees them? */
static bool
begins_with_board(Relation index, const TableLayout *layout)
{
	Form_pg_index form = index->rd_index;

	return index->rd_rel->relam == BTREE_AM_OID && form->indisvalid && !form->indcheckxmin &&
		form->indnkeyatts >= 2 && form->indkey.values[0] == layout->attno[SCORE_BOARD_ID] &&
		form->indkey.values[1] == layout->attno[SCORE_SEASON] && RelationGetIndexPredicate(index) == NIL;
}

/* Of the primary key, where an administrator hasn't made another one of it. Open and locked, or NULL. */
static Relation
open_index(Relation rel, const TableLayout *layout)
{
	Oid			oid = RelationGetPrimaryKeyIndex(rel);
	Relation	index;

	if (!OidIsValid(oid))
		return NULL;
	index = index_open(oid, AccessShareLock);
	if (begins_with_board(index, layout))
		return index;
	index_close(index, AccessShareLock);
	return NULL;
}

/* Where there are more than a few rows, the target has none afterwards. */
static void
read_few(Target *target, Relation rel, Relation index, const TableLayout *layout, Snapshot snapshot, MemoryContext memory)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = compat_index_beginscan(rel, index, snapshot, 2);
	ScanKeyData keys[2];
	int			rows = 0;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(target->key.board_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(target->key.season));
	index_rescan(scan, keys, 2, NULL, 0);
	while (rows <= FEW_ROWS && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		take_row(target, layout, slot, memory);
		rows++;
	}
	target->complete = rows <= FEW_ROWS;
	if (!target->complete)
		target->count = 0;
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* Step 3 */
static void
read_rows(Build *build, Snapshot snapshot)
{
	const TableLayout layout = *tables_layout(TABLE_SCORE, build->rel, TABLE_SCAN);
	Relation	index = open_index(build->rel, &layout);
	bool		complete = index != NULL;

	for (int t = 0; t < build->count; t++)
	{
		build->targets[t].complete = false;
		if (index)
			read_few(&build->targets[t], build->rel, index, &layout, snapshot, build->memory);
		complete = complete && build->targets[t].complete;
	}
	if (index)
		index_close(index, NoLock);
	if (!complete)
		scan_table(build, &layout, snapshot);
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

	if (rank_board_count_in(RANK_FULL) == 0)
		return;
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
			read_rows(build, snapshot);
		UnregisterSnapshot(snapshot);
		rank_board_drop_snapshot(&build->kept);
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
rank_build(bool first)
{
	static Oid	last_relid = InvalidOid;
	Oid			relid = tables_id(TABLE_SCORE);
	Build		build = {0};

	build.rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	if (build.rel == NULL)
		return false;
	build.memory = AllocSetContextCreate(CurrentMemoryContext, "scoreboard rank build", ALLOCSET_DEFAULT_SIZES);
	if (first || relid != last_relid)
		free_other_tables(relid);
	last_relid = relid;
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
