/*
 * write/ledger.c - what is recorded of a player: its row, its actions, its scores
 *
 * Owns the access to the tables player, action, credit, score and top on the way of an
 * increment, and notes events for the outbox. It goes below SQL where every increment pays: look-ups through
 * base/tables.c, the two writes through the executor's own row functions: indexes,
 * constraints and row triggers AFTER the write as with an INSERT or UPDATE,
 * without a plan to start and end. Tables with rules, or with triggers that only a plan fires, are refused (base/tables.c).
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
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/lsyscache.h"
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
	Table		at_hand;
	Datum	   *values;			/* of the row found last, or to be written; as many as the table has columns */
	bool	   *nulls;
	ResultRelInfo *target;		/* the rest: NULL until the first write */
	TupleTableSlot *slot;
	bool		indexes_open;
	int			pin;			/* of the search_path, during a write */
} LedgerTable;

struct Ledger
{
	LedgerTable player;
	LedgerTable action;
	LedgerTable score;
	LedgerTable credit;			/* not open before the first one is written: few actions have any */
	LedgerTable event;			/* not open before the first one */
	Snapshot	latest;			/* NULL before the first look */
	EState	   *estate;			/* NULL until the first write */
};

static SavedPlan add_player_plan = {
	.text = "INSERT INTO scoreboard.player (user_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING player_id",
	.nargs = 1, .types = {TEXTOID}
};

/* On the way of an increment nobody waits for an administrator's open transaction: the next action brings the name again. */
static SavedPlan try_profile_plan = {
	.text = "UPDATE scoreboard.player SET display_name = $2, avatar_url = $3 WHERE player_id ="
	" (SELECT player_id FROM scoreboard.player WHERE player_id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
	.nargs = 3, .types = {INT8OID, TEXTOID, TEXTOID}
};

static SavedPlan try_labels_plan = {
	.text = "UPDATE scoreboard.player SET labels = labels || $2::jsonb WHERE player_id ="
	" (SELECT player_id FROM scoreboard.player p WHERE player_id = $1 AND (SELECT count(*) FROM jsonb_object_keys(p.labels || $2::jsonb)) <= 16"
	" FOR NO KEY UPDATE SKIP LOCKED)",
	.nargs = 2, .types = {INT8OID, TEXTOID}
};

void
ledger_raise_serialization_failure(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 errhint("The transaction might succeed if retried.")));
}

/* ---------- tables ---------- */

void
ledger_lock(void)
{
	(void) tables_lock(TABLE_SCORE, RowExclusiveLock);
}

static void
open_table(LedgerTable *table, TableName name, TableUse use, LOCKMODE lock)
{
	tables_open(&table->at_hand, name, use, lock);
	table->values = palloc0(RelationGetNumberOfAttributes(table->at_hand.rel) * sizeof(Datum));
	table->nulls = palloc0(RelationGetNumberOfAttributes(table->at_hand.rel) * sizeof(bool));
}

Ledger *
ledger_open(void)
{
	Ledger	   *ledger = palloc0(sizeof(Ledger));

	open_table(&ledger->score, TABLE_SCORE, TABLE_WRITE, RowExclusiveLock);
	ledger->score.at_hand.updates = true;
	open_table(&ledger->action, TABLE_ACTION, TABLE_WRITE, RowExclusiveLock);
	open_table(&ledger->player, TABLE_PLAYER, TABLE_FIND, AccessShareLock);
	return ledger;
}

Ledger *
ledger_open_events(void)
{
	return palloc0(sizeof(Ledger));
}

static void
close_table(LedgerTable *table)
{
	if (table->at_hand.rel == NULL)
		return;
	if (table->target)
	{
		if (table->indexes_open)
			ExecCloseIndices(table->target);
		ExecDropSingleTupleTableSlot(table->slot);
	}
	tables_close(&table->at_hand);
}

void
ledger_close(Ledger *ledger)
{
	close_table(&ledger->player);
	close_table(&ledger->action);
	close_table(&ledger->credit);
	close_table(&ledger->score);
	close_table(&ledger->event);
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
find(Ledger *ledger, LedgerTable *table)
{
	Table	   *at_hand = &table->at_hand;
	bool		own = false;
	bool		found;
	ItemPointerData own_at;

	if (IsolationUsesXactSnapshot())
	{
		own = tables_find(at_hand, GetTransactionSnapshot());
		own_at = at_hand->slot->tts_tid;
	}
	found = tables_find(at_hand, ledger->latest);
	if (IsolationUsesXactSnapshot() &&
		(own != found || (found && !ItemPointerEquals(&at_hand->slot->tts_tid, &own_at))))
		ledger_raise_serialization_failure();
	if (found)
	{
		/* Lets the page go: an UPDATE through SQL couldn't prune it under our pin. */
		ExecMaterializeSlot(at_hand->slot);
		slot_getallattrs(at_hand->slot);
		memcpy(table->values, at_hand->slot->tts_values, at_hand->slot->tts_nvalid * sizeof(Datum));
		memcpy(table->nulls, at_hand->slot->tts_isnull, at_hand->slot->tts_nvalid * sizeof(bool));
	}
	return found;
}

/* A column of the row found last, or of the one to be written. */
static Datum *
value_at(const LedgerTable *table, int column)
{
	return &table->values[table->at_hand.layout.attno[column] - 1];
}

static bool *
null_at(const LedgerTable *table, int column)
{
	return &table->nulls[table->at_hand.layout.attno[column] - 1];
}

static char *
text_or_null(const LedgerTable *table, int column)
{
	return *null_at(table, column) ? NULL : TextDatumGetCString(*value_at(table, column));
}

static int64
int64_or_zero(const LedgerTable *table, int column)
{
	return *null_at(table, column) ? 0 : DatumGetInt64(*value_at(table, column));
}

static int32
int32_or_zero(const LedgerTable *table, int column)
{
	return *null_at(table, column) ? 0 : DatumGetInt32(*value_at(table, column));
}

static LedgerExtras
extras_at(const LedgerTable *table, int subscore, int detail)
{
	return (LedgerExtras) {
		.subscore = *null_at(table, subscore) ? NO_SUBSCORE : DatumGetInt64(*value_at(table, subscore)),
		.detail = text_or_null(table, detail)
	};
}

void
ledger_find_player(Ledger *ledger, const char *user_id, LedgerPlayer *player)
{
	LedgerTable *table = &ledger->player;

	memset(player, 0, sizeof(*player));
	tables_key_text(&table->at_hand, PLAYER_USER_ID, user_id);
	if (find(ledger, table))
	{
		char	   *state = text_or_null(table, PLAYER_STATE);

		player->exists = true;
		player->player_id = int64_or_zero(table, PLAYER_ID);
		player->frozen = state && strcmp(state, "frozen") == 0;
		player->banned = state && strcmp(state, "banned") == 0;
		player->hidden = DatumGetBool(*value_at(table, PLAYER_HIDDEN)) || DatumGetBool(*value_at(table, PLAYER_UNLISTED));
		player->display_name = text_or_null(table, PLAYER_DISPLAY_NAME);
		player->avatar_url = text_or_null(table, PLAYER_AVATAR_URL);
	}
}

char *
ledger_player_label(Ledger *ledger, const char *label)
{
	Jsonb	   *labels = DatumGetJsonbP(*value_at(&ledger->player, PLAYER_LABELS));
	JsonbValue	room;
	JsonbValue *value;

	if (!JB_ROOT_IS_OBJECT(labels))
		return NULL;
	value = getKeyJsonValueFromContainer(&labels->root, label, strlen(label), &room);
	return value && value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

static void
fill_action(LedgerAction *action, const LedgerTable *table)
{
	action->exists = true;
	action->board_id = int32_or_zero(table, ACTION_BOARD_ID);
	action->season = int32_or_zero(table, ACTION_SEASON);
	action->action_type_id = int32_or_zero(table, ACTION_TYPE_ID);
	action->has_points = !*null_at(table, ACTION_POINTS);
	action->points = int64_or_zero(table, action->has_points ? ACTION_POINTS : ACTION_FIXED_POINTS);
	action->extras = extras_at(table, ACTION_SUBSCORE, ACTION_DETAIL);
	action->applied_points = int64_or_zero(table, ACTION_APPLIED);
	action->previous_score = int64_or_zero(table, ACTION_PREVIOUS);
	action->score = int64_or_zero(table, ACTION_SCORE);
	action->rank = int64_or_zero(table, ACTION_RANK);
	action->version = int64_or_zero(table, ACTION_VERSION);
	action->created_at = int64_or_zero(table, ACTION_CREATED_AT);
	action->undone_at = int64_or_zero(table, ACTION_UNDONE_AT);
	action->idempotency_key = text_or_null(table, ACTION_IDEMPOTENCY_KEY);
	action->metadata = *null_at(table, ACTION_METADATA) ? NULL : DatumGetJsonbPCopy(*value_at(table, ACTION_METADATA));
}

void
ledger_find_action(Ledger *ledger, int64 player_id, const char *action_id, LedgerAction *action)
{
	LedgerTable *table = &ledger->action;

	memset(action, 0, sizeof(*action));
	tables_key_int8(&table->at_hand, ACTION_PLAYER_ID, player_id);
	tables_key_text(&table->at_hand, ACTION_ID, action_id);
	if (find(ledger, table))
		fill_action(action, table);
}

bool
ledger_same_score(const LedgerScore *a, const LedgerScore *b)
{
	if (a->exists != b->exists || a->score != b->score || a->extras.subscore != b->extras.subscore)
		return false;
	if (a->extras.detail == NULL || b->extras.detail == NULL)
		return a->extras.detail == b->extras.detail;
	return strcmp(a->extras.detail, b->extras.detail) == 0;
}

void
ledger_find_score(Ledger *ledger, int32 board_id, int32 season, int64 player_id, LedgerScore *score)
{
	LedgerTable *table = &ledger->score;

	*score = (LedgerScore) {.extras.subscore = NO_SUBSCORE};
	tables_key_int4(&table->at_hand, SCORE_BOARD_ID, board_id);
	tables_key_int4(&table->at_hand, SCORE_SEASON, season);
	tables_key_int8(&table->at_hand, SCORE_PLAYER_ID, player_id);
	if (find(ledger, table))
	{
		score->exists = true;
		score->at = table->at_hand.slot->tts_tid;
		score->score = int64_or_zero(table, SCORE_SCORE);
		score->reached_at = int64_or_zero(table, SCORE_REACHED_AT);
		score->extras = extras_at(table, SCORE_SUBSCORE, SCORE_DETAIL);
	}
}

void
ledger_keep_score(Ledger *ledger, LedgerScore *score)
{
	if (score->exists)
		score->kept = ExecCopySlotHeapTuple(ledger->score.at_hand.slot);
}

/* Opened here, since the rank index hardly ever doesn't know. */
int64
ledger_version(Ledger *ledger, const char *board)
{
	Table		top;
	int64		version = 0;

	tables_open(&top, TABLE_TOP, TABLE_FIND, AccessShareLock);
	tables_key_text(&top, TOP_BOARD, board);
	if (tables_find(&top, ledger->latest))
		version = tables_int8(&top, TOP_VERSION);
	tables_close(&top);
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
	int			pin;

	pin = plan_connect();
	plan_write(&add_player_plan, values, NULL, SPI_OK_INSERT_RETURNING);
	/* Somebody inserts players by hand, without the lock. */
	if (SPI_processed == 0)
		ledger_raise_serialization_failure();
	player->exists = true;
	player->player_id = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	plan_finish(pin);
}

void
ledger_set_profile(int64 player_id, const char *display_name, const char *avatar_url)
{
	Datum		values[3] = {Int64GetDatum(player_id)};
	char		nulls[3] = {' ', 'n', 'n'};
	int			pin;

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
	pin = plan_connect();
	plan_write(&try_profile_plan, values, nulls, SPI_OK_UPDATE);
	plan_finish(pin);
}

void
ledger_set_labels(int64 player_id, const char *labels)
{
	Datum		values[2] = {Int64GetDatum(player_id), CStringGetTextDatum(labels)};
	int			pin = plan_connect();

	plan_write(&try_labels_plan, values, NULL, SPI_OK_UPDATE);
	plan_finish(pin);
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
		InitResultRelInfo(table->target, table->at_hand.rel, 0, NULL, 0);
		table->slot = table_slot_create(table->at_hand.rel, NULL);
		/* Where triggers look for the table that they fire for. */
		ledger->estate->es_opened_result_relations =
			lappend(ledger->estate->es_opened_result_relations, table->target);
		MemoryContextSwitchTo(caller);
	}
	ledger->estate->es_output_cid = GetCurrentCommandId(true);
	table->pin = table->at_hand.layout.runs_others ? plan_pin() : 0;
	AfterTriggerBeginQuery();
}

static void
finish_write(Ledger *ledger, LedgerTable *table)
{
	AfterTriggerEndQuery(ledger->estate);
	plan_unpin(table->pin);
	ExecClearTuple(table->slot);
	ResetPerTupleExprContext(ledger->estate);
}

/* The table's values as a row. */
static void
fill_slot(LedgerTable *table)
{
	int			columns = RelationGetNumberOfAttributes(table->at_hand.rel);

	ExecClearTuple(table->slot);
	memcpy(table->slot->tts_values, table->values, columns * sizeof(Datum));
	memcpy(table->slot->tts_isnull, table->nulls, columns * sizeof(bool));
	ExecStoreVirtualTuple(table->slot);
}

static void
set_value(LedgerTable *table, int column, Datum value)
{
	*value_at(table, column) = value;
	*null_at(table, column) = false;
}

static void
set_int64(LedgerTable *table, int column, int64 value, bool is_null)
{
	*value_at(table, column) = Int64GetDatum(value);
	*null_at(table, column) = is_null;
}

static void
set_text(LedgerTable *table, int column, const char *text)
{
	*value_at(table, column) = text ? CStringGetTextDatum(text) : (Datum) 0;
	*null_at(table, column) = text == NULL;
}

static void
set_extras(LedgerTable *table, int subscore, int detail, const LedgerExtras *extras)
{
	set_int64(table, subscore, extras->subscore, extras->subscore == NO_SUBSCORE);
	set_text(table, detail, extras->detail);
}

/* What an INSERT that doesn't name the column would give it. Generated ones are the executor's. */
static void
set_default(Ledger *ledger, LedgerTable *table, Form_pg_attribute attribute)
{
	int			at = attribute->attnum - 1;
	Node	   *preset = NULL;

	if (!attribute->attisdropped && attribute->attgenerated == '\0')
		preset = build_column_default(table->at_hand.rel, attribute->attnum);
	if (preset)
		table->values[at] = ExecEvalExpr(ExecPrepareExpr((Expr *) preset, ledger->estate),
										 GetPerTupleExprContext(ledger->estate), &table->nulls[at]);
	else if (!attribute->attisdropped && get_typtype(attribute->atttypid) == TYPTYPE_DOMAIN)
		domain_check((Datum) 0, true, attribute->atttypid, NULL, CurrentMemoryContext);
}

/* A row of nulls, with the defaults of columns that we don't know. */
static void
clear_values(Ledger *ledger, LedgerTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->at_hand.rel);
	const TableLayout *layout = &table->at_hand.layout;

	memset(table->nulls, true, desc->natts * sizeof(bool));
	for (int i = 0; layout->has_others && i < desc->natts; i++)
	{
		int			column = 0;

		while (column < layout->columns && layout->attno[column] != i + 1)
			column++;
		if (column == layout->columns)
			set_default(ledger, table, TupleDescAttr(desc, i));
	}
}

/* An UPDATE doesn't carry on what a dropped column held. */
static void
forget_dropped(LedgerTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->at_hand.rel);

	for (int i = 0; table->at_hand.layout.has_others && i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			table->nulls[i] = true;
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

	/* The executor's own update of a plan asks it before the first row. */
	CheckCmdReplicaIdentity(table->at_hand.rel, CMD_UPDATE);
	if (table->at_hand.rel->rd_att->constr)
	{
		/* As for an INSERT: every generated column, whatever it is made from. */
		if (table->at_hand.rel->rd_att->constr->has_generated_stored)
			ExecComputeStoredGenerated(table->target, ledger->estate, table->slot, CMD_INSERT);
		ExecConstraints(table->target, table->slot, ledger->estate);
	}
	if (table->at_hand.rel->rd_rel->relispartition)
		ExecPartitionCheck(table->target, table->slot, ledger->estate, true);
	if (compat_tuple_update(table->at_hand.rel, at, table->slot, ledger->estate->es_output_cid, ledger->latest,
							&failure, &lock_mode, &indexes) != TM_Ok)
		ledger_raise_serialization_failure();
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
	if (old->kept)
		heap_deform_tuple(old->kept, RelationGetDescr(table->at_hand.rel), table->values, table->nulls);
	if (old->exists)
		forget_dropped(table);
	else
	{
		clear_values(ledger, table);
		set_value(table, SCORE_BOARD_ID, Int32GetDatum(board_id));
		set_value(table, SCORE_SEASON, Int32GetDatum(season));
		set_value(table, SCORE_PLAYER_ID, Int64GetDatum(player_id));
		set_value(table, SCORE_LISTED, BoolGetDatum(listed));
	}
	set_value(table, SCORE_SCORE, Int64GetDatum(new->score));
	set_value(table, SCORE_REACHED_AT, TimestampTzGetDatum(new->reached_at));
	set_extras(table, SCORE_SUBSCORE, SCORE_DETAIL, &new->extras);
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
	clear_values(ledger, table);
	set_value(table, ACTION_PLAYER_ID, Int64GetDatum(player_id));
	set_text(table, ACTION_ID, request->action_id);
	set_value(table, ACTION_BOARD_ID, Int32GetDatum(action->board_id));
	set_value(table, ACTION_SEASON, Int32GetDatum(action->season));
	set_value(table, ACTION_TYPE_ID, Int32GetDatum(action->action_type_id));
	set_int64(table, ACTION_POINTS, action->points, !action->has_points);
	set_int64(table, ACTION_FIXED_POINTS, action->points, action->has_points);
	set_extras(table, ACTION_SUBSCORE, ACTION_DETAIL, &action->extras);
	set_value(table, ACTION_SETS_SCORE, BoolGetDatum(action->sets_score));
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

/* Where an event stands among those of its transaction: the publisher numbers them in this order. */
static int32
next_event_number(uint64 writer)
{
	static uint64 last_writer = 0;
	static int32 last = 0;

	last = writer == last_writer ? last + 1 : 1;
	last_writer = writer;
	return last;
}

void
ledger_add_event(Ledger *ledger, const LedgerEvent *event)
{
	LedgerTable *table = &ledger->event;
	uint64		writer = U64FromFullTransactionId(GetTopFullTransactionId());

	if (table->at_hand.rel == NULL)
		open_table(table, TABLE_PENDING_EVENT, TABLE_WRITE, RowExclusiveLock);
	prepare_write(ledger, table);
	clear_values(ledger, table);
	set_value(table, PENDING_WRITER, Int64GetDatum((int64) writer));
	set_value(table, PENDING_NUMBER, Int32GetDatum(next_event_number(writer)));
	set_value(table, PENDING_EVENT_ID, DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	set_text(table, PENDING_TYPE, event->type);
	if (event->board_id != 0)
		set_value(table, PENDING_BOARD_ID, Int32GetDatum(event->board_id));
	if (event->season != 0)
		set_value(table, PENDING_SEASON, Int32GetDatum(event->season));
	set_int64(table, PENDING_PLAYER_ID, event->player_id, event->player_id == 0);
	set_int64(table, PENDING_OTHER_PLAYER_ID, event->other_player_id, event->other_player_id == 0);
	set_text(table, PENDING_ACTION_ID, event->action_id);
	set_value(table, PENDING_OCCURRED_AT, TimestampTzGetDatum(event->occurred_at));
	set_text(table, PENDING_DETAILS, event->details);	/* the type json is a text that was checked */
	fill_slot(table);
	insert_row(ledger, table);
	finish_write(ledger, table);
}

void
ledger_add_credit(Ledger *ledger, int64 player_id, const char *action_id, const LedgerCredit *credit)
{
	LedgerTable *table = &ledger->credit;

	if (table->at_hand.rel == NULL)
		open_table(table, TABLE_CREDIT, TABLE_WRITE, RowExclusiveLock);
	prepare_write(ledger, table);
	clear_values(ledger, table);
	set_value(table, CREDIT_PLAYER_ID, Int64GetDatum(player_id));
	set_text(table, CREDIT_ACTION_ID, action_id);
	set_value(table, CREDIT_BOARD_ID, Int32GetDatum(credit->board_id));
	set_value(table, CREDIT_SEASON, Int32GetDatum(credit->season));
	set_value(table, CREDIT_APPLIED, Int64GetDatum(credit->applied_points));
	set_value(table, CREDIT_PREVIOUS, Int64GetDatum(credit->previous_score));
	set_value(table, CREDIT_SCORE, Int64GetDatum(credit->score));
	set_value(table, CREDIT_SETS_SCORE, BoolGetDatum(credit->sets_score));
	fill_slot(table);
	insert_row(ledger, table);
	finish_write(ledger, table);
}

void
ledger_finish_action(Ledger *ledger)
{
	CommandCounterIncrement();
}
