/*
 * rank/verify.c - does a tree hold what the table holds? And what state is it in?
 *
 * The running checksum of a tree is compared with the same sum over the table,
 * exactly, while writers go on:
 *
 *   1 under the board's lock: note the checksum, take snapshot V, keep what it sees
 *   2 sum over the table with V; meanwhile a callback of a transaction that V
 *     sees adds what it enters to late_checksum too: V saw its rows, the noted checksum hadn't got them
 *   3 noted checksum + late_checksum = sum, or something is wrong
 *
 * Where 3 differs a callback may just not have come yet: as long as one is on its way (rank/commits.c) it is looked
 * again. No lock of the table is waited for: it would hold up every writer that comes after it.
 *
 * This transaction's own changes are in neither sum: its callback comes last.
 *
 * A board is verified by one session at a time; a state change ends the check without a finding.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "base/tables.h"
#include "rank/board.h"
#include "rank/commits.h"
#include "rank/index.h"

PG_FUNCTION_INFO_V1(scoreboard_rank_state);
PG_FUNCTION_INFO_V1(scoreboard_rank_verify);
PG_FUNCTION_INFO_V1(scoreboard_rank_check);

/* A callback is microseconds behind its commit. */
#define LOOK_INTERVAL_US 1000

typedef struct Verification
{
	RankBoardKey key;
	uint32		state_count;
	RankOrder	order;
	uint64		noted;			/* the tree's checksum at the moment of the snapshot */
	uint64		table;
} Verification;

static RankBoardKey
key_of(int32 board_id, int32 season)
{
	RankBoardKey key = {.database = MyDatabaseId, .relid = tables_id(TABLE_SCORE), .board_id = board_id, .season = season};

	return key;
}

static const char *
state_name(RankState state)
{
	static const char *const names[] = {
		[RANK_NONE] = "none",
		[RANK_WANTED] = "wanted",
		[RANK_BUILDING] = "building",
		[RANK_READY] = "ready",
		[RANK_FULL] = "full",
		[RANK_UNTRACKED] = "untracked"
	};

	return names[state];
}

#define STATE_COLUMNS 6

/*
 * scoreboard.rank_state(board_id int, season int, OUT state text, OUT players bigint,
 * OUT unsettled bigint, OUT memory bigint, OUT publishes bigint, OUT commits bigint)
 */
Datum
scoreboard_rank_state(PG_FUNCTION_ARGS)
{
	RankBoardKey key = key_of(PG_GETARG_INT32(0), PG_GETARG_INT32(1));
	RankBoard  *board = rank_board_lock(&key, LW_SHARED);
	RankState	state = board ? board->state : RANK_NONE;
	RankTree	tree = {0};
	TupleDesc	desc;
	Datum		values[STATE_COLUMNS] = {0};
	bool		nulls[STATE_COLUMNS] = {[4] = board == NULL, [5] = board == NULL};

	if (board != NULL)
	{
		tree = board->tree;
		values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&board->publishes));
		values[5] = Int64GetDatum((int64) board->commits);
		rank_board_unlock(board);
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != STATE_COLUMNS)
		elog(ERROR, "scoreboard_rank_state must return %d columns", STATE_COLUMNS);
	values[0] = CStringGetTextDatum(state_name(state));
	values[1] = Int64GetDatum(tree.total);
	values[2] = Int64GetDatum(tree.irregular);
	values[3] = Int64GetDatum((int64) tree.nodes * RANK_NODE_SIZE);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* The board, locked exclusively, if it still is in the state that the check began with. */
static RankBoard *
lock_verified(const Verification *check)
{
	RankBoard  *board = rank_board_lock(&check->key, LW_EXCLUSIVE);

	if (board == NULL)
		return NULL;
	if (board->state_count == check->state_count)
		return board;
	rank_board_unlock(board);
	return NULL;
}

static void
end_check(int code, Datum arg)
{
	RankBoard  *board = lock_verified((Verification *) DatumGetPointer(arg));

	if (board == NULL)
		return;
	rank_board_drop_snapshot(&board->verifier);
	rank_board_unlock(board);
}

/* Step 1. The snapshot is registered; NULL where there is nothing to check. */
static Snapshot
begin_check(Verification *check)
{
	RankBoard  *board = rank_board_lock(&check->key, LW_EXCLUSIVE);
	Snapshot	snapshot;
	bool		kept;

	if (board == NULL)
		return NULL;
	if (board->state != RANK_READY || board->verifier.xmax != 0)
	{
		rank_board_unlock(board);
		return NULL;
	}
	snapshot = GetLatestSnapshot();
	kept = rank_board_keep_snapshot(&board->verifier, snapshot);
	board->late_checksum = 0;
	check->noted = board->tree.checksum;
	check->state_count = board->state_count;
	check->order = board->order;
	rank_board_unlock(board);
	if (!kept)
		return NULL;
	snapshot = RegisterSnapshot(snapshot);
	snapshot->curcid = FirstCommandId;	/* a copy now; as tables_committed() does */
	return snapshot;
}

/* Step 2. */
static void
sum_table(Verification *check, Relation rel, Snapshot snapshot)
{
	const TableLayout layout = *tables_layout(TABLE_SCORE, rel, TABLE_SCAN);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = compat_table_beginscan(rel, snapshot);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		RankKey		row;
		RankTreeKey key;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt32(tables_value(&layout, slot, SCORE_BOARD_ID)) != check->key.board_id ||
			DatumGetInt32(tables_value(&layout, slot, SCORE_SEASON)) != check->key.season ||
			!DatumGetBool(tables_value(&layout, slot, SCORE_LISTED)))
			continue;
		row = rank_key_read(&layout, slot);
		key = rank_order_key(check->order, &row);
		check->table += rank_tree_key_checksum(&key);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* Step 3. True once it is known; *same also if the tree is not the one any more. */
static bool
compare(Verification *check, bool *same)
{
	RankBoard  *board = lock_verified(check);
	bool		pending;

	*same = true;
	if (board == NULL)
		return true;
	pending = rank_commits_pending(&board->verifier);
	*same = check->noted + board->late_checksum == check->table;
	rank_board_unlock(board);
	return *same || !pending;
}

static bool
verify(Verification *check, Relation rel, Snapshot snapshot)
{
	bool		same;

	sum_table(check, rel, snapshot);
	while (!compare(check, &same))
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOOK_INTERVAL_US);
	}
	return same;
}

/*
 * scoreboard.rank_verify(board_id int, season int) returns boolean: does the
 * tree hold what the table holds? Null: there is no tree now, or somebody else is verifying it.
 */
Datum
scoreboard_rank_verify(PG_FUNCTION_ARGS)
{
	Verification check = {.key = key_of(PG_GETARG_INT32(0), PG_GETARG_INT32(1))};
	Relation	rel;
	Snapshot	snapshot;
	bool		same;

	if (!OidIsValid(check.key.relid))
		PG_RETURN_NULL();
	rel = table_open(check.key.relid, AccessShareLock);
	snapshot = begin_check(&check);
	if (snapshot == NULL)
	{
		table_close(rel, AccessShareLock);
		PG_RETURN_NULL();
	}
	PG_ENSURE_ERROR_CLEANUP(end_check, PointerGetDatum(&check));
	{
		same = verify(&check, rel, snapshot);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_check, PointerGetDatum(&check));
	end_check(0, PointerGetDatum(&check));
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	PG_RETURN_BOOL(same);
}

/*
 * scoreboard.rank_check(board_id int, season int) returns text: what is wrong
 * with the structure of the tree, or null. Holds up writers meanwhile: for tests.
 */
Datum
scoreboard_rank_check(PG_FUNCTION_ARGS)
{
	RankBoardKey key = key_of(PG_GETARG_INT32(0), PG_GETARG_INT32(1));
	RankBoard  *board = rank_board_lock(&key, LW_SHARED);
	const char *wrong;

	if (board == NULL)
		PG_RETURN_NULL();
	wrong = rank_tree_check(rank_board_arena(), &board->tree);
	rank_board_unlock(board);
	if (wrong == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(wrong));
}
