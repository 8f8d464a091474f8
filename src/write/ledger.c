/*
 * write/ledger.c - what is recorded of a player: its row, its actions, its scores
 *
 * Owns the access to the tables player, action, score and top on the way of an
 * increment. It goes below SQL where every increment pays: look-ups through
 * base/tables.c, the two writes through the executor's own row functions: indexes,
 * constraints and row triggers AFTER the write as with an INSERT or UPDATE,
 * without a plan to start and end. Statement triggers, row triggers BEFORE an update and those AFTER UPDATE OF named
 * columns don't fire; one with a transition table fails, since there is none.
 *
 * Reads under the lock use the latest snapshot at every isolation level. Under
 * REPEATABLE READ and SERIALIZABLE the transaction's own snapshot is asked too:
 * if it doesn't see the same row version, what we would write rests on
 * something this transaction can't know, so it fails with 40001.
 *
 * Locks: relation score (ROW EXCLUSIVE), then players by hash; the other
 * relations ROW EXCLUSIVE or ACCESS SHARE, all to the end of the transaction.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "rewrite/rewriteHandler.h"
#include "executor/nodeModifyTable.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "base/plan.h"
#include "base/tables.h"
#include "write/ledger.h"

/* One of our tables: how rows are found, and how they are written. */
typedef struct LedgerTable
{
	Lookup		lookup;
	Datum	   *values;			/* of the row found last, or to be written; as many as the table has columns */
	bool	   *nulls;
	ResultRelInfo *target;		/* the rest: NULL until the first write */
	TupleTableSlot *slot;
	bool		indexes_open;
} LedgerTable;

struct Ledger
{
	LedgerTable player;
	LedgerTable action;
	LedgerTable score;
	Snapshot	latest;			/* NULL before the first look */
	EState	   *estate;			/* NULL until the first write */
};

static SavedPlan add_player_plan = {
	.text = "INSERT INTO scoreboard.player (user_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING player_id",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan set_profile_plan = {
	.text = "UPDATE scoreboard.player SET display_name = $2, avatar_url = $3 WHERE player_id = $1",
	.nargs = 3, .types = {INT8OID, TEXTOID, TEXTOID}
};

/* On the way of an increment nobody waits for an administrator's open transaction: the next action brings the name again. */
static SavedPlan try_profile_plan = {
	.text = "UPDATE scoreboard.player SET display_name = $2, avatar_url = $3 WHERE player_id ="
	" (SELECT player_id FROM scoreboard.player WHERE player_id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
	.nargs = 3, .types = {INT8OID, TEXTOID, TEXTOID}
};

static void
raise_serialization_failure(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 errhint("The transaction might succeed if retried."),
			 errhidestmt(true),		/* a literal token may stand in it */
			 errhidecontext(true)));
}

/* ---------- tables ---------- */

void
ledger_lock(void)
{
	LockRelationOid(lookup_table_id(LOOKUP_SCORE), RowExclusiveLock);
}

static void
open_table(LedgerTable *table, LookupTable which, LOCKMODE lock)
{
	lookup_open(&table->lookup, which, lock);
	table->values = palloc0(RelationGetNumberOfAttributes(table->lookup.rel) * sizeof(Datum));
	table->nulls = palloc0(RelationGetNumberOfAttributes(table->lookup.rel) * sizeof(bool));
}

Ledger *
ledger_open(void)
{
	Ledger	   *ledger = palloc0(sizeof(Ledger));

	open_table(&ledger->score, LOOKUP_SCORE, RowExclusiveLock);
	ledger->score.lookup.updates = true;
	open_table(&ledger->action, LOOKUP_ACTION, RowExclusiveLock);
	open_table(&ledger->player, LOOKUP_PLAYER, AccessShareLock);
	return ledger;
}

static void
close_table(LedgerTable *table)
{
	if (table->target)
	{
		if (table->indexes_open)
			ExecCloseIndices(table->target);
		ExecDropSingleTupleTableSlot(table->slot);
	}
	lookup_close(&table->lookup);
}

void
ledger_close(Ledger *ledger)
{
	close_table(&ledger->player);
	close_table(&ledger->action);
	close_table(&ledger->score);
	if (ledger->latest)
		UnregisterSnapshot(ledger->latest);
	if (ledger->estate)
	{
		ExecResetTupleTable(ledger->estate->es_tupleTable, false);	/* the triggers' slots */
		FreeExecutorState(ledger->estate);
	}
	pfree(ledger);
}

/* ---------- reads ---------- */

void
ledger_look(Ledger *ledger)
{
	if (ledger->latest)
		UnregisterSnapshot(ledger->latest);
	ledger->latest = RegisterSnapshot(GetLatestSnapshot());
}

/* Finds a row as committed now, as the table's values; see the file's header for 40001. */
static bool
find(Ledger *ledger, LedgerTable *table, ScanKey keys, int nkeys)
{
	Lookup	   *lookup = &table->lookup;
	bool		own = false;
	bool		found;
	ItemPointerData own_at;

	if (IsolationUsesXactSnapshot())
	{
		own = lookup_find(lookup, keys, nkeys, GetTransactionSnapshot());
		own_at = lookup->slot->tts_tid;
	}
	found = lookup_find(lookup, keys, nkeys, ledger->latest);
	if (IsolationUsesXactSnapshot() &&
		(own != found || (found && !ItemPointerEquals(&lookup->slot->tts_tid, &own_at))))
		raise_serialization_failure();
	if (found)
	{
		/* Lets the page go: an UPDATE through SQL couldn't prune it under our pin. */
		ExecMaterializeSlot(lookup->slot);
		slot_getallattrs(lookup->slot);
		memcpy(table->values, lookup->slot->tts_values, lookup->slot->tts_nvalid * sizeof(Datum));
		memcpy(table->nulls, lookup->slot->tts_isnull, lookup->slot->tts_nvalid * sizeof(bool));
	}
	return found;
}

static char *
text_or_null(const LedgerTable *table, int column)
{
	return table->nulls[column - 1] ? NULL : TextDatumGetCString(table->values[column - 1]);
}

static int64
int64_or_zero(const LedgerTable *table, int column)
{
	return table->nulls[column - 1] ? 0 : DatumGetInt64(table->values[column - 1]);
}

void
ledger_find_player(Ledger *ledger, const char *user_id, LedgerPlayer *player)
{
	LedgerTable *table = &ledger->player;
	ScanKeyData key;

	memset(player, 0, sizeof(*player));
	lookup_key_text(&key, 1, user_id);
	if (find(ledger, table, &key, 1))
	{
		char	   *state = text_or_null(table, PLAYER_STATE);

		player->exists = true;
		player->player_id = int64_or_zero(table, PLAYER_ID);
		player->frozen = strcmp(state, "frozen") == 0;
		player->banned = strcmp(state, "banned") == 0;
		player->hidden = DatumGetBool(table->values[PLAYER_HIDDEN - 1]);
		player->display_name = text_or_null(table, PLAYER_DISPLAY_NAME);
		player->avatar_url = text_or_null(table, PLAYER_AVATAR_URL);
	}
}

static void
fill_action(LedgerAction *action, const LedgerTable *table)
{
	action->exists = true;
	action->board_id = DatumGetInt32(table->values[ACTION_BOARD_ID - 1]);
	action->season = DatumGetInt32(table->values[ACTION_SEASON - 1]);
	action->action_type_id = DatumGetInt32(table->values[ACTION_TYPE_ID - 1]);
	action->has_points = !table->nulls[ACTION_POINTS - 1];
	action->points = int64_or_zero(table, ACTION_POINTS);
	action->has_subscore = !table->nulls[ACTION_SUBSCORE - 1];
	action->subscore = int64_or_zero(table, ACTION_SUBSCORE);
	action->detail = text_or_null(table, ACTION_DETAIL);
	action->applied_points = int64_or_zero(table, ACTION_APPLIED);
	action->previous_score = int64_or_zero(table, ACTION_PREVIOUS);
	action->score = int64_or_zero(table, ACTION_SCORE);
	action->rank = int64_or_zero(table, ACTION_RANK);
	action->version = int64_or_zero(table, ACTION_VERSION);
	action->created_at = DatumGetTimestampTz(table->values[ACTION_CREATED_AT - 1]);
	action->idempotency_key = text_or_null(table, ACTION_IDEMPOTENCY_KEY);
	action->metadata = table->nulls[ACTION_METADATA - 1] ? NULL : DatumGetJsonbPCopy(table->values[ACTION_METADATA - 1]);
}

void
ledger_find_action(Ledger *ledger, int64 player_id, const char *action_id, LedgerAction *action)
{
	ScanKeyData keys[2];

	memset(action, 0, sizeof(*action));
	lookup_key_int8(keys, 1, player_id);
	lookup_key_text(keys, 2, action_id);
	if (find(ledger, &ledger->action, keys, 2))
		fill_action(action, &ledger->action);
}

void
ledger_find_score(Ledger *ledger, int32 board_id, int32 season, int64 player_id, LedgerScore *score)
{
	ScanKeyData keys[3];

	memset(score, 0, sizeof(*score));
	lookup_key_int4(keys, 1, board_id);
	lookup_key_int4(keys, 2, season);
	lookup_key_int8(keys, 3, player_id);
	if (find(ledger, &ledger->score, keys, 3))
	{
		score->exists = true;
		score->at = ledger->score.lookup.slot->tts_tid;
		score->score = int64_or_zero(&ledger->score, SCORE_SCORE);
		score->reached_at = DatumGetTimestampTz(ledger->score.values[SCORE_REACHED_AT - 1]);
	}
}

/* Opened here, since the rank index hardly ever doesn't know. */
int64
ledger_version(Ledger *ledger, const char *board)
{
	Lookup		top;
	ScanKeyData key;
	int64		version = 0;

	lookup_open(&top, LOOKUP_TOP, AccessShareLock);
	lookup_key_text(&key, 1, board);
	if (lookup_find(&top, &key, 1, ledger->latest))
		version = lookup_int8(&top, TOP_VERSION);
	lookup_close(&top);
	return version;
}

TimestampTz
ledger_clock(void)
{
	static TimestampTz last = 0;
	static TimestampTz transaction = 0;

	/* Another transaction starts anew: where the clock was set back, receipts must not seem old for as long as the session lives. */
	if (transaction != GetCurrentTransactionStartTimestamp())
	{
		transaction = GetCurrentTransactionStartTimestamp();
		last = 0;
	}
	last = Max(GetCurrentTimestamp(), last + 1);
	return last;
}

/* ---------- writes through SQL: a player's first action, a new name ---------- */

void
ledger_add_player(const char *user_id, LedgerPlayer *player)
{
	Datum		values[1] = {CStringGetTextDatum(user_id)};

	SPI_connect();
	plan_write(&add_player_plan, values, NULL, SPI_OK_INSERT_RETURNING);
	/* Somebody inserts players by hand, without the lock. */
	if (SPI_processed == 0)
		raise_serialization_failure();
	player->exists = true;
	player->player_id = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
}

void
ledger_set_profile(int64 player_id, const char *display_name, const char *avatar_url, bool wait)
{
	Datum		values[3] = {Int64GetDatum(player_id)};
	char		nulls[3] = {' ', 'n', 'n'};

	if (display_name)
	{
		values[1] = CStringGetTextDatum(display_name);
		nulls[1] = ' ';
	}
	if (avatar_url)
	{
		values[2] = CStringGetTextDatum(avatar_url);
		nulls[2] = ' ';
	}
	SPI_connect();
	plan_write(wait ? &set_profile_plan : &try_profile_plan, values, nulls, SPI_OK_UPDATE);
	SPI_finish();
}

/* ---------- the two writes of every increment ---------- */

/* Indexes are opened when the first row needs an entry: a HOT update doesn't. */
static void
prepare_indexes(Ledger *ledger, LedgerTable *table)
{
	MemoryContext caller = MemoryContextSwitchTo(ledger->estate->es_query_cxt);

	if (!table->indexes_open)
		ExecOpenIndices(table->target, false);
	table->indexes_open = true;
	MemoryContextSwitchTo(caller);
}

/* What the executor needs to write to a table; kept for the next increment of the call. */
static void
prepare_write(Ledger *ledger, LedgerTable *table)
{
	if (ledger->estate == NULL)
		ledger->estate = CreateExecutorState();
	if (table->target == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(ledger->estate->es_query_cxt);

		table->target = makeNode(ResultRelInfo);
		InitResultRelInfo(table->target, table->lookup.rel, 0, NULL, 0);
		table->slot = table_slot_create(table->lookup.rel, NULL);
		/* Where triggers look for the table that they fire for. */
		ledger->estate->es_opened_result_relations =
			lappend(ledger->estate->es_opened_result_relations, table->target);
		MemoryContextSwitchTo(caller);
	}
	ledger->estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
}

static void
finish_write(Ledger *ledger, LedgerTable *table)
{
	AfterTriggerEndQuery(ledger->estate);
	ExecClearTuple(table->slot);
	ResetPerTupleExprContext(ledger->estate);
}

/* The table's values as a row. */
static void
fill_slot(LedgerTable *table)
{
	int			columns = RelationGetNumberOfAttributes(table->lookup.rel);

	ExecClearTuple(table->slot);
	memcpy(table->slot->tts_values, table->values, columns * sizeof(Datum));
	memcpy(table->slot->tts_isnull, table->nulls, columns * sizeof(bool));
	ExecStoreVirtualTuple(table->slot);
}

static void
set_value(LedgerTable *table, int column, Datum value)
{
	table->values[column - 1] = value;
	table->nulls[column - 1] = false;
}

static void
set_int64(LedgerTable *table, int column, int64 value, bool is_null)
{
	table->values[column - 1] = Int64GetDatum(value);
	table->nulls[column - 1] = is_null;
}

static void
set_text(LedgerTable *table, int column, const char *text)
{
	table->values[column - 1] = text ? CStringGetTextDatum(text) : (Datum) 0;
	table->nulls[column - 1] = text == NULL;
}

/* Columns that we don't know get what an INSERT that doesn't name them would give them. */
static void
clear_values(Ledger *ledger, LedgerTable *table, int known_columns)
{
	ExprContext *context = GetPerTupleExprContext(ledger->estate);

	for (int column = 1; column <= RelationGetNumberOfAttributes(table->lookup.rel); column++)
	{
		Node	   *preset = NULL;

		table->nulls[column - 1] = true;
		if (column > known_columns && !TupleDescAttr(RelationGetDescr(table->lookup.rel), column - 1)->attisdropped)
			preset = build_column_default(table->lookup.rel, column);
		if (preset)
			table->values[column - 1] = ExecEvalExpr(ExecPrepareExpr((Expr *) preset, ledger->estate), context, &table->nulls[column - 1]);
	}
}

static void
insert_row(Ledger *ledger, LedgerTable *table)
{
	prepare_indexes(ledger, table);
	ExecSimpleRelationInsert(table->target, ledger->estate, table->slot);
}

/* Over a row that we found: a HOT update as long as nobody indexes what changes. */
static void
update_row(Ledger *ledger, LedgerTable *table, ItemPointer at)
{
	CompatUpdateIndexes indexes;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	List	   *recheck = NIL;

	if (table->lookup.rel->rd_att->constr)
	{
		/* As for an INSERT: every generated column, whatever it is made from. */
		if (table->lookup.rel->rd_att->constr->has_generated_stored)
			ExecComputeStoredGenerated(table->target, ledger->estate, table->slot, CMD_INSERT);
		ExecConstraints(table->target, table->slot, ledger->estate);
	}
	if (table_tuple_update(table->lookup.rel, at, table->slot, ledger->estate->es_output_cid, ledger->latest, InvalidSnapshot,
						   true, &failure, &lock_mode, &indexes) != TM_Ok)
		raise_serialization_failure();
	if (compat_indexes_need_update(indexes))
	{
		prepare_indexes(ledger, table);
		recheck = compat_update_index_tuples(table->target, table->slot, ledger->estate, indexes);
	}
	ExecARUpdateTriggers(ledger->estate, table->target, NULL, NULL, at, NULL, table->slot, recheck, NULL, false);
}

void
ledger_set_score(Ledger *ledger, int32 board_id, int32 season, int64 player_id,
				 const LedgerScore *old, const LedgerScore *new, bool listed)
{
	LedgerTable *table = &ledger->score;
	ItemPointerData at = old->at;

	prepare_write(ledger, table);
	if (!old->exists)
	{
		clear_values(ledger, table, SCORE_LISTED);
		set_value(table, SCORE_BOARD_ID, Int32GetDatum(board_id));
		set_value(table, SCORE_SEASON, Int32GetDatum(season));
		set_value(table, SCORE_PLAYER_ID, Int64GetDatum(player_id));
		set_value(table, SCORE_LISTED, BoolGetDatum(listed));
	}
	set_value(table, SCORE_SCORE, Int64GetDatum(new->score));
	set_value(table, SCORE_REACHED_AT, TimestampTzGetDatum(new->reached_at));
	fill_slot(table);
	if (old->exists)
		update_row(ledger, table, &at);
	else
		insert_row(ledger, table);
	finish_write(ledger, table);
}

void
ledger_add_action(Ledger *ledger, int64 player_id, const Request *request, const LedgerAction *action)
{
	LedgerTable *table = &ledger->action;

	prepare_write(ledger, table);
	clear_values(ledger, table, ACTION_DETAIL);
	set_value(table, ACTION_PLAYER_ID, Int64GetDatum(player_id));
	set_text(table, ACTION_ID, request->action_id);
	set_value(table, ACTION_BOARD_ID, Int32GetDatum(action->board_id));
	set_value(table, ACTION_SEASON, Int32GetDatum(action->season));
	set_value(table, ACTION_TYPE_ID, Int32GetDatum(action->action_type_id));
	set_int64(table, ACTION_POINTS, action->points, !action->has_points);
	set_int64(table, ACTION_SUBSCORE, request->subscore, !request->has_subscore);
	set_text(table, ACTION_DETAIL, request->detail);
	set_int64(table, ACTION_APPLIED, action->applied_points, false);
	set_int64(table, ACTION_PREVIOUS, action->previous_score, false);
	set_int64(table, ACTION_SCORE, action->score, false);
	set_int64(table, ACTION_RANK, action->rank, action->rank == 0);
	set_int64(table, ACTION_VERSION, action->version, false);
	set_value(table, ACTION_CREATED_AT, TimestampTzGetDatum(action->created_at));
	set_text(table, ACTION_IDEMPOTENCY_KEY, request->idempotency_key);
	if (action->signing_key_id > 0)
		set_value(table, ACTION_SIGNING_KEY_ID, Int32GetDatum(action->signing_key_id));
	if (request->metadata)
		set_value(table, ACTION_METADATA, JsonbPGetDatum(request->metadata));
	set_text(table, ACTION_REQUEST_ID, request->request_id);
	if (request->client_address)
		set_value(table, ACTION_CLIENT_ADDRESS, DirectFunctionCall1(inet_in, CStringGetDatum(request->client_address)));
	fill_slot(table);
	insert_row(ledger, table);
	finish_write(ledger, table);
}

void
ledger_finish_action(Ledger *ledger)
{
	CommandCounterIncrement();
}
