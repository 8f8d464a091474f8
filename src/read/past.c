/*
 * read/past.c - a board's list as it stood at a past moment
 *
 * What stood is what the publisher has kept (publish/kept.c): who, where, with which score. Names are those of today, and who stands in no list
 * today is left out, while the others keep the ranks that they had.
 *
 * Owns no state but a saved plan, writes nothing, takes no lock but ACCESS SHARE on what it reads.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/tables.h"
#include "read/document.h"
#include "read/listing.h"
#include "read/reading.h"

PG_FUNCTION_INFO_V1(scoreboard_leaderboard_at);

/* The version that stood then, in a row for each entry. One row at least, if the board is there. */
static SavedPlan past_plan = {
	.text = "SELECT b.kept_since IS NOT NULL, k.version::bigint, k.season::int, k.season_start::timestamptz, k.season_end::timestamptz, k.kept_at::timestamptz, k.players::bigint,"
	" p.user_id::text, CASE WHEN NOT p.anonymous THEN p.display_name::text END, CASE WHEN NOT p.anonymous THEN p.avatar_url::text END,"
	" e.rank::bigint, e.player_id::bigint, e.score::bigint, coalesce(e.subscore::bigint, 9223372036854775807), e.detail::text"
	" FROM scoreboard.board b LEFT JOIN LATERAL (SELECT * FROM scoreboard.kept_version k WHERE k.board_id = b.board_id AND k.kept_at BETWEEN b.kept_since AND $2"
	"   ORDER BY k.kept_at DESC, k.version DESC LIMIT 1) k ON true"
	" LEFT JOIN LATERAL unnest(k.ranks, k.player_ids, k.scores, k.subscores, k.details) WITH ORDINALITY AS e (rank, player_id, score, subscore, detail, n) ON true"
	" LEFT JOIN scoreboard.player p ON p.player_id = e.player_id AND p.state <> 'banned' AND NOT p.hidden AND NOT p.unlisted"
	" WHERE b.board_id = $1 ORDER BY e.n",
	.nargs = 2, .types = {INT4OID, TIMESTAMPTZOID}
};

static TimestampTz
read_moment(FunctionCallInfo fcinfo, int number)
{
	TimestampTz moment = PG_ARGISNULL(number) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(number);

	if (PG_ARGISNULL(number))
		reading_refuse(REFUSAL_INVALID_REQUEST, NULL, "moment must be given");
	if (moment > GetCurrentTimestamp())
		reading_refuse(REFUSAL_INVALID_REQUEST, "scoreboard_leaderboard() answers the list of now.",
					   "moment must not lie in the future");
	return moment;
}

/* A row's player and what it had; user_id NULL: stands in no list today. */
static ListedRow
listed_row(HeapTuple found, TupleDesc desc)
{
	ListedRow	row = {.user_id = plan_text(found, desc, 8)};

	if (row.user_id == NULL)
		return row;
	row.avatar_url = plan_text(found, desc, 10);
	row.at.rank = DatumGetInt64(plan_datum(found, desc, 11));
	row.at.key.player_id = DatumGetInt64(plan_datum(found, desc, 12));
	row.at.key.score = DatumGetInt64(plan_datum(found, desc, 13));
	row.at.key.subscore = DatumGetInt64(plan_datum(found, desc, 14));
	row.detail = plan_text(found, desc, 15);
	row.display_name = listing_label(plan_text(found, desc, 9), row.at.key.player_id);
	return row;
}

/* "entries":[…], so many at most. */
static char *
past_entries(int entries)
{
	ListedRow  *rows = palloc(sizeof(ListedRow) * SPI_processed);
	int			count = 0;
	StringInfoData text;

	for (uint64 i = 0; i < SPI_processed && count < entries; i++)
	{
		rows[count] = listed_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		if (rows[count].user_id)
			count++;
	}
	initStringInfo(&text);
	appendStringInfoString(&text, "\"entries\":");
	document_append_entries(&text, rows, count);
	return text.data;
}

static char *
past_document(const Board *board, int entries)
{
	HeapTuple	row = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	CalendarSpan span = {DatumGetTimestampTz(plan_datum(row, desc, 4)), DatumGetTimestampTz(plan_datum(row, desc, 5))};

	return document_assemble(board, DatumGetInt32(plan_datum(row, desc, 3)), &span, DatumGetInt64(plan_datum(row, desc, 2)),
							 DatumGetTimestampTz(plan_datum(row, desc, 6)), DatumGetInt64(plan_datum(row, desc, 7)), past_entries(entries));
}

static bool
has_value(int column)
{
	bool		is_null;

	(void) SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &is_null);
	return !is_null;
}

Datum
scoreboard_leaderboard_at(PG_FUNCTION_ARGS)
{
	TimestampTz moment;
	int			entries;
	Reading		reading;
	Datum		values[2];
	text	   *document;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext before;

	hide_statement();
	moment = read_moment(fcinfo, 1);
	entries = PG_ARGISNULL(2) ? READING_ENTRIES_MAX : reading_number(fcinfo, 2, "entries", 1, READING_ENTRIES_MAX);
	reading_begin(fcinfo, 0, READING_NO_SEASON, 3, &reading);
	tables_require(TABLE_PLAYER);
	values[0] = Int32GetDatum(reading.board.board_id);
	values[1] = TimestampTzGetDatum(moment);
	SPI_connect();
	plan_read_committed(&past_plan, values, NULL, 0);
	if (SPI_processed == 0 || !DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)))
		reading_refuse(REFUSAL_NOT_FOUND, "Set keep_versions in its row of scoreboard.board: for how long they are kept, from then on.",
					   "the board keeps no versions of its list");
	if (!has_value(2))
		reading_refuse(REFUSAL_NOT_FOUND, "The board's kept_since says since when it keeps versions, its keep_versions for how long.",
					   "no version of the list that stood at that moment is kept");
	before = MemoryContextSwitchTo(caller);
	document = cstring_to_text(past_document(&reading.board, entries));
	MemoryContextSwitchTo(before);
	SPI_finish();
	PG_RETURN_TEXT_P(document);
}
