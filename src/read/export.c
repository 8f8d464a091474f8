/*
 * read/export.c - a whole list in rank order, page by page
 *
 * A page begins behind a cursor: the key of the row that the page before ended with (its three numbers in the tree, as base64url).
 * So whoever keeps its place stands in exactly one page, however many come, go and move while the pages are read; who moves
 * meanwhile stands where it was met, in one, two or none of them. Each page is one hold of the index's lock, so nobody is
 * held up by an export, however long it takes; where the index can't answer (an ended season), a page is counted by SQL.
 *
 * Owns no state, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/tables.h"
#include "rank/scan.h"
#include "read/listing.h"
#include "read/reading.h"

PG_FUNCTION_INFO_V1(scoreboard_export);

/* Three signs, three times 19 digits, two colons. */
#define CURSOR_BYTES_MAX (3 * 20 + 2)

/* ---------------------------------------------------------------------------
 * Cursors
 * ------------------------------------------------------------------------ */

static char *
cursor_text(const RankTreeKey *key)
{
	return reading_cursor(psprintf(INT64_FORMAT ":" INT64_FORMAT ":" INT64_FORMAT, key->order, key->moment, key->player));
}

static bool
is_second_key(RankOrder order, int64 moment)
{
	if (order.tie_break == TIE_MOMENT)
		return IS_VALID_TIMESTAMP(moment);
	return moment == NO_SUBSCORE || form_is_score(moment);
}

/* False where no page of this board can have ended with it. */
static bool
parse_cursor(const char *text, RankOrder order, RankTreeKey *key)
{
	char	   *plain = reading_cursor_plain(text, CURSOR_BYTES_MAX);
	char	   *end;

	if (plain == NULL)
		return false;
	key->order = strtoll(plain, &end, 10);
	key->moment = *end == ':' ? strtoll(end + 1, &end, 10) : 0;
	key->player = *end == ':' ? strtoll(end + 1, &end, 10) : 0;
	return strcmp(cursor_text(key), text) == 0 && form_is_score(key->order) &&
		is_second_key(order, key->moment);
}

/* ---------------------------------------------------------------------------
 * Pages
 * ------------------------------------------------------------------------ */

static void
read_page(const Reading *reading, const RankKey *after, int entries, Listing *page)
{
	RankRow    *rows = palloc(sizeof(RankRow) * entries);

	if (!rank_index_after(&reading->board, reading->season, after, entries, rows, &page->found))
		rank_scan_after(&reading->board, reading->season, after, entries, rows, &page->found);
	page->rows = palloc0(sizeof(ListedRow) * entries);
	for (int i = 0; i < page->found; i++)
		page->rows[i].at = rows[i];
	(void) listing_complete(&reading->board, reading->season, page);
	listing_name(page->rows, page->found);
}

static Datum
text_or_null(const char *text, bool *null)
{
	*null = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* How many of its players are still there. */
static int
emit_page(ReturnSetInfo *result, RankOrder order, const Listing *page)
{
	int			shown = 0;

	for (int i = 0; i < page->found; i++)
	{
		const ListedRow *row = &page->rows[i];
		RankTreeKey key = rank_order_key(order, &row->at.key);
		Datum		values[9];
		bool		nulls[9] = {false};

		if (row->user_id == NULL)
			continue;
		values[0] = Int64GetDatum(row->at.rank);
		values[1] = CStringGetTextDatum(row->user_id);
		values[2] = CStringGetTextDatum(row->display_name);
		values[3] = text_or_null(row->avatar_url, &nulls[3]);
		values[4] = Int64GetDatum(row->at.key.score);
		nulls[5] = row->at.key.subscore == NO_SUBSCORE;
		values[5] = Int64GetDatum(row->at.key.subscore);
		values[6] = text_or_null(row->detail, &nulls[6]);
		values[7] = TimestampTzGetDatum(row->at.key.reached_at);
		values[8] = CStringGetTextDatum(cursor_text(&key));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		shown++;
	}
	return shown;
}

/* A page whose players have all gone meanwhile isn't the end: only an empty answer is. */
static void
answer_page(FunctionCallInfo fcinfo, const Reading *reading, RankKey *after, int entries)
{
	RankOrder	order = rank_order_of(&reading->board);
	Listing		page;

	do
	{
		CHECK_FOR_INTERRUPTS();
		read_page(reading, after, entries, &page);
		if (page.found > 0)
			after = &page.rows[page.found - 1].at.key;
	} while (emit_page((ReturnSetInfo *) fcinfo->resultinfo, order, &page) == 0 && page.found > 0);
}

Datum
scoreboard_export(PG_FUNCTION_ARGS)
{
	Reading		reading;
	const char *cursor;
	int			entries;
	RankTreeKey key;
	RankKey		after;

	hide_statement();
	cursor = reading_text(fcinfo, 1);
	entries = reading_number(fcinfo, 2, "entries", 1, READING_ENTRIES_MAX);
	reading_begin(fcinfo, 0, 3, READING_NO_TOKEN, &reading);
	if (cursor && !parse_cursor(cursor, rank_order_of(&reading.board), &key))
		reading_refuse(REFUSAL_INVALID_REQUEST, "Leave it out to begin with the best; else give the cursor of the last row of the page before.",
					   "cursor is none that came with a row of this board");
	tables_require(TABLE_PLAYER);
	tables_require(TABLE_SCORE);
	if (cursor)
		after = rank_order_row(rank_order_of(&reading.board), &key);
	InitMaterializedSRF(fcinfo, 0);
	answer_page(fcinfo, &reading, cursor ? &after : NULL, entries);
	return (Datum) 0;
}
