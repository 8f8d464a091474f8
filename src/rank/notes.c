/*
 * rank/notes.c - what this transaction changed in the order of its boards
 *
 * Row triggers on the tables note what a commit will mean for the rank index
 * and for the published lists: "- old key, + new key" for each listed row of
 * scoreboard.score, whoever writes it. Only a commit hands the notes on, to
 * rank_index_apply(); an aborted subtransaction cuts its own off.
 *
 * Notes are one append-only array in TopTransactionContext. Each also stands
 * in a hash chain by player (chains are stacks: cutting the array off pops
 * them), so that a batch of increments finds a player's first old key at once.
 *
 * Commit callback: the transaction is committed and visible already, an error
 * there would take the whole server down. It allocates nothing, raises nothing,
 * takes no heavyweight lock and reads no catalogue; all it needs was noted
 * before. Where noting itself fails (out of memory), the statement fails, as it should.
 *
 * Players who are shown in another way are no notes: a set of them has a size, however many they are.
 *
 * What fires no row trigger (ALTER TABLE with a rewrite, a disabled trigger,
 * DROP) is seen through object_access_hook and noted as "rebuild" or "free".
 * More than MAX_NOTES: what can be read again is dropped, and noted for a rebuild of everything.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/form.h"
#include "base/tables.h"
#include "plain/touches.h"
#include "publish/publisher.h"
#include "rank/commits.h"
#include "rank/index.h"
#include "rank/notes.h"

/* Beyond this a rebuild is cheaper than what the commit would have to apply under the boards' locks. */
#define MAX_NOTES 100000

#define CHAIN_BITS 10
#define CHAINS (1 << CHAIN_BITS)

/* This transaction's notes; all of it is forgotten at its end, the memory goes with TopTransactionContext. */
static RankNote *notes = NULL;
static int	note_count = 0;
static int	note_capacity = 0;
static bool notes_dropped = false;	/* there were more than MAX_NOTES */
static bool marks_noted = false;	/* others than ADD, REMOVE, TOUCH; stays when they are cut off */
static TouchSet *shown_anew = NULL;	/* players; those of a subtransaction that was rolled back stay in it */
static int32 chain_heads[CHAINS];	/* newest note of each chain, or -1; valid while notes is set */

/* Lengths of the array at the start of each open subtransaction that began after the first note. */
typedef struct SubxactStart
{
	SubTransactionId subxact;
	int			length;
} SubxactStart;

static SubxactStart *starts = NULL;
static int	start_count = 0;
static int	start_capacity = 0;

static object_access_hook_type previous_object_access_hook = NULL;

PG_FUNCTION_INFO_V1(scoreboard_score_changed);
PG_FUNCTION_INFO_V1(scoreboard_board_touched);
PG_FUNCTION_INFO_V1(scoreboard_player_changed);

/* ---------------------------------------------------------------------------
 * The array
 * ------------------------------------------------------------------------- */

static int
chain_of(int32 board_id, int32 season, int64 player_id)
{
	uint64		hash = ((uint64) player_id * 31 + (uint32) board_id) * 31 + (uint32) season;

	return (int) ((hash * UINT64CONST(0x9E3779B97F4A7C15)) >> (64 - CHAIN_BITS));
}

static bool
is_key_note(RankNoteKind kind)
{
	return kind == NOTE_REMOVE || kind == NOTE_ADD;
}

static void
forget_notes(void)
{
	notes = NULL;
	note_count = note_capacity = 0;
	notes_dropped = marks_noted = false;
	shown_anew = NULL;
	starts = NULL;
	start_count = start_capacity = 0;
}

/* Pops everything from "length" on. */
static void
cut_notes(int length)
{
	while (note_count > length)
	{
		RankNote   *note = &notes[--note_count];

		if (is_key_note(note->kind))
			chain_heads[chain_of(note->board_id, note->season, note->key.player_id)] = note->older;
	}
	/* What said that all is built anew has gone with the rest. */
	if (note_count == 0)
		notes_dropped = false;
}

/* The newest key note of a player on a board and season, or -1. */
static int
find_note(int32 board_id, int32 season, int64 player_id)
{
	int			at;

	if (notes == NULL)
		return -1;
	at = chain_heads[chain_of(board_id, season, player_id)];
	while (at >= 0 && !(notes[at].key.player_id == player_id &&
						notes[at].board_id == board_id && notes[at].season == season))
		at = notes[at].older;
	return at;
}

static void
make_room(void)
{
	if (notes == NULL)
	{
		note_capacity = 16;
		notes = MemoryContextAlloc(TopTransactionContext, note_capacity * sizeof(RankNote));
		memset(chain_heads, 0xFF, sizeof(chain_heads));
	}
	else if (note_count == note_capacity)
	{
		notes = repalloc(notes, (Size) note_capacity * 2 * sizeof(RankNote));
		note_capacity *= 2;
	}
}

static RankNote *add_note(RankNoteKind kind, Oid relid, int32 board_id, int32 season);

/*
 * In the place of all notes: one of each kind that says enough, for every board. What goes with its table or database
 * stays, since nobody would build it anew and so find that it is gone. Notes of a subtransaction that
 * aborts later count too: one rebuild too many is no error.
 */
static void
drop_notes(void)
{
	int			kept = 0;

	for (int i = 0; i < note_count; i++)
	{
		if (notes[i].kind == NOTE_FREE_TABLE || notes[i].kind == NOTE_FREE_DATABASE)
			notes[kept++] = notes[i];
	}
	note_count = kept;
	memset(chain_heads, 0xFF, sizeof(chain_heads));
	notes_dropped = true;
	add_note(NOTE_REBUILD, InvalidOid, 0, 0);
	add_note(NOTE_RENAMED, InvalidOid, 0, 0);
	add_note(NOTE_TOUCH, InvalidOid, 0, 0);
	for (int i = 0; i < start_count; i++)
		starts[i].length = note_count;
}

static RankNote *
add_note(RankNoteKind kind, Oid relid, int32 board_id, int32 season)
{
	RankNote   *note;

	if (note_count >= MAX_NOTES)
		drop_notes();
	make_room();
	note = &notes[note_count++];
	memset(note, 0, sizeof(*note));
	note->relid = relid;
	note->board_id = board_id;
	note->season = season;
	note->kind = kind;
	note->first = note->older = -1;
	marks_noted |= !is_key_note(kind) && kind != NOTE_TOUCH;
	return note;
}

static void
add_key_note(RankNoteKind kind, Oid relid, int32 board_id, int32 season, const RankKey *key)
{
	RankNote   *note;
	int			at;
	int			newest;
	int			chain;

	/* Every board is built anew, whatever comes now. */
	if (notes_dropped)
		return;
	note = add_note(kind, relid, board_id, season);
	at = note_count - 1;
	newest = find_note(board_id, season, key->player_id);
	chain = chain_of(board_id, season, key->player_id);
	note->key = *key;
	note->first = newest < 0 ? at : notes[newest].first;
	note->older = chain_heads[chain];
	chain_heads[chain] = at;
}

bool
rank_notes_complete(void)
{
	return !notes_dropped;
}

bool
rank_notes_old_key(int32 board_id, int32 season, int64 player_id, RankKey *key)
{
	int			newest = find_note(board_id, season, player_id);
	const RankNote *first;

	if (newest < 0)
		return false;
	first = &notes[notes[newest].first];
	if (first->kind != NOTE_REMOVE)
		return false;
	*key = first->key;
	return true;
}

/* ---------------------------------------------------------------------------
 * Triggers
 * ------------------------------------------------------------------------- */

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s: not called by trigger manager", function)));
	return (TriggerData *) fcinfo->context;
}

/* A row of scoreboard.score, as far as the order is concerned. */
typedef struct ScoreRow
{
	bool		listed;			/* false: the rest is not set */
	int32		board_id;
	int32		season;
	RankKey		key;
} ScoreRow;

static ScoreRow
read_score_row(const TableLayout *layout, TupleTableSlot *slot)
{
	return (ScoreRow) {
		.listed = DatumGetBool(tables_value(layout, slot, SCORE_LISTED)),
		.board_id = DatumGetInt32(tables_value(layout, slot, SCORE_BOARD_ID)),
		.season = DatumGetInt32(tables_value(layout, slot, SCORE_SEASON)),
		.key = rank_key_read(layout, slot)
	};
}

static bool
same_place(const ScoreRow *a, const ScoreRow *b)
{
	return a->listed == b->listed && a->board_id == b->board_id && a->season == b->season &&
		a->key.score == b->key.score && a->key.subscore == b->key.subscore &&
		a->key.reached_at == b->key.reached_at && a->key.player_id == b->key.player_id;
}

static void
check_range(const char *column, int64 value)
{
	if (!form_is_score(value))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("%s must lie between -9007199254740991 and 9007199254740991", column),
				 errdetail("Not every JSON reader holds " INT64_FORMAT " exactly.", value)));
}

/* Increments write nothing else; somebody's own INSERT or UPDATE must not either. */
static void
check_row(const TableLayout *layout, TupleTableSlot *slot, const ScoreRow *row)
{
	bool		no_subscore;
	Datum		subscore = slot_getattr(slot, layout->attno[SCORE_SUBSCORE], &no_subscore);
	bool		no_detail;
	Datum		detail = slot_getattr(slot, layout->attno[SCORE_DETAIL], &no_detail);

	check_range("score", row->key.score);
	if (!no_subscore)
		check_range("subscore", DatumGetInt64(subscore));
	if (!no_detail && !form_is_detail(TextDatumGetCString(detail)))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("detail must have 1 to 256 bytes, something visible among them, no control and no bidirectional-override characters")));
}

/* Did a column change? Bytewise: a false yes only makes the publisher look once more. */
static bool
column_changed(TriggerData *trigger, const TableLayout *layout, int column)
{
	AttrNumber	attno = layout->attno[column];
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(trigger->tg_relation), attno - 1);
	bool		old_null,
				new_null;
	Datum		old_value = slot_getattr(trigger->tg_trigslot, attno, &old_null);
	Datum		new_value = slot_getattr(trigger->tg_newslot, attno, &new_null);

	if (old_null || new_null)
		return old_null != new_null;
	return !datum_image_eq(old_value, new_value, attribute->attbyval, attribute->attlen);
}

/*
 * AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW, and AFTER TRUNCATE, on scoreboard.score. A table that was set aside
 * under another name, or a partition of what took its place, has no ranks.
 */
Datum
scoreboard_score_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, "scoreboard_score_changed");
	Oid			relid = RelationGetRelid(trigger->tg_relation);
	const TableLayout *layout;
	TupleTableSlot *new_slot = NULL;
	ScoreRow	old_row = {0};
	ScoreRow	new_row = {0};

	if (relid != tables_id(TABLE_SCORE))
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		add_note(NOTE_CLEAR, relid, 0, 0);
		add_note(NOTE_TOUCH, relid, 0, 0);
		return PointerGetDatum(NULL);
	}
	layout = tables_layout(TABLE_SCORE, trigger->tg_relation, TABLE_SCAN);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		new_slot = trigger->tg_trigslot;
	else
		old_row = read_score_row(layout, trigger->tg_trigslot);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		new_slot = trigger->tg_newslot;
	if (new_slot)
	{
		new_row = read_score_row(layout, new_slot);
		check_row(layout, new_slot, &new_row);
	}

	/* A key that comes back has the list looked at, if it stands there: what lists show beside it is another. */
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && same_place(&old_row, &new_row) &&
		!column_changed(trigger, layout, SCORE_DETAIL))
		return PointerGetDatum(NULL);
	if (old_row.listed)
		add_key_note(NOTE_REMOVE, relid, old_row.board_id, old_row.season, &old_row.key);
	if (new_row.listed)
		add_key_note(NOTE_ADD, relid, new_row.board_id, new_row.season, &new_row.key);
	return PointerGetDatum(NULL);
}

static RankOrder
read_order(const TableLayout *layout, TupleTableSlot *slot)
{
	return rank_order_of_texts(TextDatumGetCString(tables_value(layout, slot, BOARD_SCORE_ORDER)),
							   TextDatumGetCString(tables_value(layout, slot, BOARD_TIES)));
}

/*
 * AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW, and AFTER TRUNCATE, on scoreboard.board.
 */
Datum
scoreboard_board_touched(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, "scoreboard_board_touched");
	Oid			relid = tables_id(TABLE_SCORE);
	const TableLayout *layout;
	TupleTableSlot *slot = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot : trigger->tg_trigslot;
	int32		board_id;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		add_note(NOTE_FREE_BOARD, relid, 0, 0);
		add_note(NOTE_TOUCH, relid, 0, 0);
		return PointerGetDatum(NULL);
	}
	layout = tables_layout(TABLE_BOARD, trigger->tg_relation, TABLE_SCAN);
	board_id = DatumGetInt32(tables_value(layout, slot, BOARD_ID));
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		add_note(NOTE_FREE_BOARD, relid, board_id, 0);
	else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		if (!rank_order_same(read_order(layout, trigger->tg_trigslot), read_order(layout, trigger->tg_newslot)))
			add_note(NOTE_REBUILD, relid, board_id, 0);
		if (column_changed(trigger, layout, BOARD_NAME))
			add_note(NOTE_RENAMED, relid, board_id, 0);
		if (column_changed(trigger, layout, BOARD_TOP_SIZE))
			add_note(NOTE_TOP_SIZE, relid, board_id, 0)->key.score =
				DatumGetInt32(tables_value(layout, slot, BOARD_TOP_SIZE));
	}
	add_note(NOTE_TOUCH, relid, board_id, 0);
	return PointerGetDatum(NULL);
}

static bool
shown_otherwise(TriggerData *trigger, const TableLayout *layout)
{
	return column_changed(trigger, layout, PLAYER_DISPLAY_NAME) || column_changed(trigger, layout, PLAYER_AVATAR_URL) ||
		column_changed(trigger, layout, PLAYER_STATE) || column_changed(trigger, layout, PLAYER_HIDDEN) ||
		column_changed(trigger, layout, PLAYER_UNLISTED) || column_changed(trigger, layout, PLAYER_ANONYMOUS) ||
		column_changed(trigger, layout, PLAYER_USER_ID);
}

/*
 * AFTER UPDATE OR DELETE FOR EACH ROW, and AFTER TRUNCATE, on scoreboard.player: what lists show of
 * a player. Which lists these are knows the publisher.
 */
Datum
scoreboard_player_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, "scoreboard_player_changed");
	const TableLayout *layout;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		add_note(NOTE_TOUCH, InvalidOid, 0, 0);
		return PointerGetDatum(NULL);
	}
	layout = tables_layout(TABLE_PLAYER, trigger->tg_relation, TABLE_SCAN);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && !shown_otherwise(trigger, layout))
		return PointerGetDatum(NULL);
	if (shown_anew == NULL)
		shown_anew = MemoryContextAllocZero(TopTransactionContext, sizeof(TouchSet));
	touch_set_add(shown_anew, TOUCH_BIT(DatumGetInt64(tables_value(layout, trigger->tg_trigslot, PLAYER_ID))));
	return PointerGetDatum(NULL);
}

/* The extension's: a stranger's table of that name, in a database without the extension, is no concern of ours. */
static bool
is_score_table(Oid relid)
{
	return relid == tables_id(TABLE_SCORE) && OidIsValid(get_extension_oid(SCOREBOARD_EXTENSION, true));
}

void
rank_notes_touch(int32 board_id)
{
	add_note(NOTE_TOUCH, tables_id(TABLE_SCORE), board_id, 0);
}

void
rank_notes_rebuild(Oid relid, int32 board_id)
{
	add_note(NOTE_REBUILD, relid, board_id, 0);
	add_note(NOTE_TOUCH, relid, board_id, 0);
}

/* The table of a trigger that is switched or dropped. */
static Oid
table_of_trigger(Oid trigger)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		relid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return relid;
}

/*
 * ALTER and DROP of the table that has the ranks, and DROP DATABASE. Noted
 * whether there are trees now or not: one may be built from before it until the commit.
 */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (previous_object_access_hook)
		previous_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access != OAT_DROP && access != OAT_POST_ALTER)
		return;
	if (class_id == TriggerRelationId)
	{
		Oid			relid = table_of_trigger(object_id);

		if (OidIsValid(relid) && is_score_table(relid))
			add_note(NOTE_REBUILD, relid, 0, 0);
	}
	else if (class_id == DatabaseRelationId && access == OAT_DROP)
		add_note(NOTE_FREE_DATABASE, object_id, 0, 0);
	else if (class_id == RelationRelationId && is_score_table(object_id))
	{
		if (access == OAT_POST_ALTER)
			add_note(NOTE_REBUILD, object_id, 0, 0);
		else if (sub_id == 0)
			add_note(NOTE_FREE_TABLE, object_id, 0, 0);
	}
}

/* ---------------------------------------------------------------------------
 * Transaction callbacks
 * ------------------------------------------------------------------------- */

static void
transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (note_count > 0)
				rank_commits_begin(GetTopFullTransactionIdIfAny());
			break;
		case XACT_EVENT_COMMIT:
			if (note_count > 0)
				rank_index_apply(notes, note_count, marks_noted);
			if (shown_anew)
				publisher_touch_players(shown_anew);
			rank_commits_end();
			forget_notes();
			break;
		case XACT_EVENT_ABORT:
			rank_commits_end();
			forget_notes();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (note_count > 0 || shown_anew)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has changed boards, scores or players of scoreboard"),
						 errdetail("Their ranks follow at commit, from the session that wrote them."),
						 errhint("Use COMMIT. A subscription that feeds scoreboard.score needs two_phase = off.")));
			break;
		case XACT_EVENT_PREPARE:
			forget_notes();
			break;
		default:
			break;				/* parallel workers never write */
	}
}

static void
add_mark(SubTransactionId subxact)
{
	if (starts == NULL)
	{
		start_capacity = 8;
		starts = MemoryContextAlloc(TopTransactionContext, start_capacity * sizeof(SubxactStart));
	}
	else if (start_count == start_capacity)
	{
		starts = repalloc(starts, (Size) start_capacity * 2 * sizeof(SubxactStart));
		start_capacity *= 2;
	}
	starts[start_count].subxact = subxact;
	starts[start_count].length = note_count;
	start_count++;
}

/* A subtransaction without a start here began before the first note, so its length was 0. */
static void
subtransaction_event(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_START_SUB:
			if (notes != NULL)
				add_mark(subxact);
			break;
		case SUBXACT_EVENT_COMMIT_SUB:
			if (start_count > 0 && starts[start_count - 1].subxact == subxact)
				start_count--;
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			if (start_count > 0 && starts[start_count - 1].subxact == subxact)
				cut_notes(starts[--start_count].length);
			else
				cut_notes(0);
			break;
		default:
			break;
	}
}

void
rank_notes_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
	previous_object_access_hook = object_access_hook;
	object_access_hook = object_access;
}
