/*
 * publish/merging.c - lists of several servers as one
 *
 * A board that is spread over servers has a list on each. PostgreSQL's logical replication carries the rows of
 * scoreboard.top, keyed by the board's name, to a server where boards by these names are remote: a subscription alone writes their
 * lists, the publisher only tells of them. There another board merges them, and such as are counted there. With each entry
 * goes what the document doesn't show and the order needs: the second key.
 *
 *   apply worker writes a row → trigger notes the board → its commit touches it → the publisher reads who merges it,
 *   touches these → their lists are built anew from the stored ones
 *
 * Who merges what is read by the publisher, after the commit: so a board that begins to merge another at the same time
 * misses nothing, whichever of both is first.
 *
 * A subscription writes nothing but lists of remote boards, and of names that no board here has yet. An initial copy, which
 * inserts, finds rows that an earlier one brought (a slot that was lost with its server): they make room.
 *
 * Owns no state but saved plans, what this process has reported, and that it is the publisher. Locks: those of the statements.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "replication/logicalworker.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "scoreboard.h"
#include "base/plan.h"
#include "base/tables.h"
#include "publish/merging.h"
#include "publish/schedule.h"
#include "publish/worker.h"
#include "rank/notes.h"
#include "read/document.h"

PG_FUNCTION_INFO_V1(scoreboard_top_arrives);
PG_FUNCTION_INFO_V1(scoreboard_top_changed);

/* Lists of boards that are gone and that somebody holds are looked at again after so long. */
#define GONE_LOOK_MS 500

static bool is_publisher = false;

/* Lists of boards that are gone: all of them, not only those that we have known; some of either are left. */
static struct
{
	bool		all;
	bool		left_all;
	bool		left;
	int64		next_at;		/* 0: none is left */
}			emptying = {0};

/* The board whose list was turned away last. */
static char turned_away[SCOREBOARD_NAME_MAX + 1] = "";

static SavedPlan board_plan = {
	.text = "SELECT board_id::int, remote::bool FROM scoreboard.board WHERE name = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan make_room_plan = {
	.text = "DELETE FROM scoreboard.top WHERE board = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan merged_plan = {
	.text = "SELECT players, entries, second_keys FROM scoreboard.merged_list($1)",
	.nargs = 1, .types = {INT4OID}
};

static SavedPlan empty_plan = {
	.text = "SELECT scoreboard.empty_gone_lists($1)",
	.nargs = 1, .types = {TEXTARRAYOID}
};

/* ---------------------------------------------------------------------------
 * Lists
 * ------------------------------------------------------------------------ */

char *
merging_order(const char *score_order, const char *ties)
{
	return psprintf("%s %s", score_order, ties);
}

static Datum
second_keys(const Board *board, const Listing *listing)
{
	bool		by_moment = rank_order_of(board).tie_break == TIE_MOMENT;
	ArrayBuildState *array = initArrayResult(INT8OID, CurrentMemoryContext, false);

	for (int i = 0; i < listing->found; i++)
	{
		const RankKey *key = &listing->rows[i].at.key;

		if (listing->rows[i].user_id == NULL)
			continue;			/* the document doesn't show it either */
		if (by_moment)
			array = accumArrayResult(array, Int64GetDatum(key->reached_at + EPOCH_DIFFERENCE), false, INT8OID, CurrentMemoryContext);
		else
			array = accumArrayResult(array, Int64GetDatum(key->subscore), key->subscore == NO_SUBSCORE, INT8OID, CurrentMemoryContext);
	}
	return makeArrayResult(array, CurrentMemoryContext);
}

PublishedList
merging_own_list(const Board *board, int32 season, Listing *listing)
{
	PublishedList list;

	list.entries = document_entries(board, season, listing);
	list.players = listing->players;
	list.second_keys = second_keys(board, listing);
	return list;
}

PublishedList
merging_list(const Board *board)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[1] = {Int32GetDatum(board->board_id)};
	PublishedList list;
	HeapTuple	row;
	TupleDesc	desc;

	SPI_connect();
	plan_write(&merged_plan, values, NULL, SPI_OK_SELECT);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	MemoryContextSwitchTo(caller);
	list.players = DatumGetInt64(plan_datum(row, desc, 1));
	list.entries = plan_known_text(row, desc, 2);
	list.second_keys = PointerGetDatum(DatumGetArrayTypePCopy(plan_datum(row, desc, 3)));
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return list;
}

/* Null: of all that are gone. False: somebody holds some of them. */
static bool
empty_lists(List *names)
{
	ArrayBuildState *array = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	Datum		values[1] = {(Datum) 0};
	ListCell   *cell;
	bool		all;

	foreach(cell, names)
		array = accumArrayResult(array, CStringGetTextDatum(lfirst(cell)), false, TEXTOID, CurrentMemoryContext);
	if (names != NIL)
		values[0] = makeArrayResult(array, CurrentMemoryContext);
	SPI_connect();
	plan_write(&empty_plan, values, names != NIL ? " " : "n", SPI_OK_SELECT);
	all = DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
	return all;
}

void
merging_empty_gone(bool all)
{
	List	   *names = schedule_gone();

	emptying.all |= all;
	emptying.left_all = emptying.all && !empty_lists(NIL);
	emptying.left = names != NIL && !empty_lists(names);
}

void
merging_emptied_gone(void)
{
	emptying.all = emptying.left_all;
	if (!emptying.left)
		schedule_forget_gone();
	emptying.next_at = emptying.all || emptying.left ? worker_clock_ms() + GONE_LOOK_MS : 0;
}

int64
merging_empty_wait_ms(void)
{
	return emptying.next_at == 0 ? WORKER_LONGEST_SLEEP_MS : Max(emptying.next_at - worker_clock_ms(), 0);
}

/* ---------------------------------------------------------------------------
 * What is written to scoreboard.top, and by whom
 * ------------------------------------------------------------------------ */

void
merging_is_publisher(void)
{
	is_publisher = true;
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("a trigger function of scoreboard.top was not called by the trigger manager")));
	return (TriggerData *) fcinfo->context;
}

static char *
board_of(const TriggerData *trigger, TupleTableSlot *slot)
{
	const TableLayout *layout = tables_layout(TABLE_TOP, trigger->tg_relation, TABLE_SCAN);

	return TextDatumGetCString(tables_value(layout, slot, TOP_BOARD));
}

/* False where there is no board by that name (yet). SPI is connected. */
static bool
find_board(const char *name, int32 *board_id, bool *remote)
{
	Datum		values[1] = {CStringGetTextDatum(name)};

	plan_read(&board_plan, values, NULL, 1);
	if (SPI_processed == 0)
		return false;
	*board_id = DatumGetInt32(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	*remote = DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	return true;
}

/* Each row is turned away, and each board told of once, until it is another one's turn. */
static void
report_turned_away(const char *name)
{
	if (strcmp(turned_away, name) == 0)
		return;
	strlcpy(turned_away, name, sizeof(turned_away));
	ereport(LOG,
			(errmsg("a subscription brings a list of scoreboard \"%s\", which is not remote", name),
			 errdetail("The list stays the one that is published here."),
			 errhint("Leave the board out of the publication, or give it another name on either server.")));
}

/* BEFORE INSERT OR UPDATE OR DELETE FOR EACH ROW */
Datum
scoreboard_top_arrives(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);
	HeapTuple	result = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	char	   *name;
	int32		board_id;
	bool		remote;
	int			pin;

	if (!IsLogicalWorker())
		return PointerGetDatum(result);
	name = board_of(trigger, TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot : trigger->tg_trigslot);
	pin = plan_connect();
	if (find_board(name, &board_id, &remote) && !remote)
	{
		report_turned_away(name);
		result = NULL;
	}
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		Datum		values[1] = {CStringGetTextDatum(name)};

		plan_write(&make_room_plan, values, NULL, SPI_OK_DELETE);
	}
	plan_finish(pin);
	return PointerGetDatum(result);
}

static void
touch(const char *name)
{
	int32		board_id;
	bool		remote;

	if (find_board(name, &board_id, &remote) && remote)
		rank_notes_touch(board_id);
}

/* AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW */
Datum
scoreboard_top_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);
	int			pin;

	if (is_publisher)
		return PointerGetDatum(NULL);
	pin = plan_connect();
	touch(board_of(trigger, trigger->tg_trigslot));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		touch(board_of(trigger, trigger->tg_newslot));
	plan_finish(pin);
	return PointerGetDatum(NULL);
}
