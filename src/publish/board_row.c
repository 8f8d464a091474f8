/*
 * publish/board_row.c - a board as a cycle of the publisher reads it
 *
 * Boards are never read from caches: a commit wakes the publisher before its invalidations arrive.
 *
 * Owns a saved plan. Locks: those of its statement.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/plan.h"
#include "base/season.h"
#include "publish/board_row.h"
#include "publish/merging.h"
#include "publish/seasons.h"

static SavedPlan read_boards = {
	.text = "SELECT b.board_id::int, b.name::text, b.score_order::text, b.operator::text, b.ties::text, b.top_size::int, b.lowest_score::bigint,"
	" b.publish_interval_ms::int, t.season, greatest(t.version, CASE WHEN b.period <> 'forever' THEN (SELECT max(e.version) FROM scoreboard.season e WHERE e.board_id = b.board_id) END),"
	" t.document, coalesce(CASE WHEN b.period = 'reset' THEN (SELECT e.began_at FROM scoreboard.season e WHERE e.board_id = b.board_id ORDER BY e.season DESC LIMIT 1) END,"
	"  b.created_at)::timestamptz,"
	" CASE WHEN b.period <> 'forever' THEN EXISTS (SELECT FROM scoreboard.season e WHERE e.board_id = b.board_id AND e.ended_at IS NOT NULL AND NOT e.final AND e.purged_at IS NULL)"
	"  ELSE false END, " SEASON_COLUMNS ","
	" coalesce(CASE WHEN b.period <> 'forever' THEN (SELECT min(e.season) FROM scoreboard.season e WHERE e.board_id = b.board_id AND e.ended_at IS NULL) END, -2147483648)::int,"
	" t.version::bigint, b.kept_since::timestamptz, CASE WHEN b.remote THEN 'r' WHEN b.merges <> '{}' THEN 'm' ELSE 'c' END,"
	" ARRAY(SELECT g.merged_id FROM scoreboard.merging g WHERE g.source_id = b.board_id)::int[], b.movement::text, b.movement_entries::int"
	" FROM scoreboard.board b LEFT JOIN scoreboard.top t ON t.board = b.name"
	" WHERE b.board_id & 131071 = ANY ($1)",
	.nargs = 1,
	.types = {INT4ARRAYOID}
};

StaticAssertDecl(TOUCH_BITS == 131072, "read_boards picks boards by these bits, with the index board_touch_bit");

static Datum
bits_as_array(const TouchSet *bits)
{
	ArrayBuildState *array = initArrayResult(INT4OID, CurrentMemoryContext, false);

	for (int bit = touch_set_next(bits, 0); bit >= 0; bit = touch_set_next(bits, bit + 1))
		array = accumArrayResult(array, Int32GetDatum(bit), false, INT4OID, CurrentMemoryContext);
	return makeArrayResult(array, CurrentMemoryContext);
}

void
board_rows_read(const TouchSet *bits)
{
	Datum		values[1] = {bits_as_array(bits)};

	plan_read(&read_boards, values, NULL, 0);
}

static BoardOperator
operator_of(const char *name)
{
	if (strcmp(name, "best") == 0)
		return OPERATOR_BEST;
	return strcmp(name, "latest") == 0 ? OPERATOR_LATEST : OPERATOR_SUM;
}

static List *
int_list(HeapTuple row, TupleDesc desc, int column)
{
	List	   *list = NIL;
	Datum	   *elements;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(plan_datum(row, desc, column)), INT4OID, sizeof(int32), true, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		list = lappend_int(list, DatumGetInt32(elements[i]));
	return list;
}

static void
read_season(BoardRow *row, HeapTuple tuple, TupleDesc desc)
{
	row->known_zone = season_read(&row->board, tuple, desc, 14);
	if (!row->known_zone)
		return;
	row->season = season_running(&row->board);
	row->recorded = row->board.period == PERIOD_FOREVER || DatumGetInt32(plan_datum(tuple, desc, 17)) == row->season;
	row->span = season_span(&row->board, row->season);
	if (row->board.period == PERIOD_RESET)
		row->span.begin = DatumGetTimestampTz(plan_datum(tuple, desc, 12));
	if (DatumGetBool(plan_datum(tuple, desc, 13)))
		seasons_look();
}

BoardRow *
board_row(HeapTuple row, TupleDesc desc)
{
	BoardRow   *result = palloc0(sizeof(BoardRow));
	Board	   *board = &result->board;
	bool		no_since;
	Datum		since;

	board->board_id = DatumGetInt32(plan_datum(row, desc, 1));
	strlcpy(board->name, plan_known_text(row, desc, 2), sizeof(board->name));
	board->low_first = strcmp(plan_known_text(row, desc, 3), "low") == 0;
	board->operator = operator_of(plan_known_text(row, desc, 4));
	board->ties = config_ties(plan_known_text(row, desc, 5));
	board->top_size = DatumGetInt32(plan_datum(row, desc, 6));
	board->lowest_score = DatumGetInt64(plan_datum(row, desc, 7));
	board->publish_interval_ms = DatumGetInt32(plan_datum(row, desc, 8));
	read_season(result, row, desc);
	since = SPI_getbinval(row, desc, 19, &no_since);
	board->movement = config_movement(plan_known_text(row, desc, 22));
	board->movement_entries = DatumGetInt32(plan_datum(row, desc, 23));
	result->keeps = !no_since;
	result->kept_since = no_since ? 0 : DatumGetTimestampTz(since);
	result->list_order = merging_order(plan_known_text(row, desc, 3), plan_known_text(row, desc, 5));
	board->kind = (BoardKind) plan_known_text(row, desc, 20)[0];
	result->merged_by = int_list(row, desc, 21);
	return result;
}

void
board_row_stored(BoardRow *board, HeapTuple row, TupleDesc desc)
{
	bool		no_version;
	Datum		version;

	board->stored_document = plan_text(row, desc, 11);
	board->stored = board->stored_document != NULL;
	if (board->stored)
		board->stored_season = DatumGetInt32(plan_datum(row, desc, 9));
	version = SPI_getbinval(row, desc, 10, &no_version);
	board->stored_version = no_version ? 0 : DatumGetInt64(version);
	if (board->stored)
		board->shown_version = DatumGetInt64(plan_datum(row, desc, 18));
}
