/*
 * read/listing.c - ranked rows with the players that they name
 *
 * Owns no state but saved plans. Keys, ranks and the count of one list come
 * from one moment (one hold of the index's lock, or one snapshot); names are
 * read afterwards with a snapshot that is newer, so a name may be fresher than
 * the list, never older. So is what stands beside a score, of which the key tells a part only: a document
 * is read again while a row has moved on meanwhile, and where they move faster than that, it leaves out
 * what belongs to another score. Who moved them has the publisher look again.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/plan.h"
#include "rank/scan.h"
#include "read/listing.h"

#define AGAIN_MAX 10
#define AGAIN_PAUSE 200L		/* microseconds */

static SavedPlan names_plan = {
	.text = "SELECT p.user_id::text, CASE WHEN NOT p.anonymous THEN p.display_name::text END, CASE WHEN NOT p.anonymous THEN p.avatar_url::text END"
	" FROM unnest($1) WITH ORDINALITY AS u (player_id, n)"
	" LEFT JOIN scoreboard.player p ON p.player_id = u.player_id ORDER BY u.n",
	.nargs = 1, .types = {INT8ARRAYOID}
};

static SavedPlan scores_plan = {
	.text = "SELECT s.score, coalesce(s.subscore, 9223372036854775807), s.reached_at, s.detail"
	" FROM unnest($3) WITH ORDINALITY AS u (player_id, n)"
	" LEFT JOIN scoreboard.score s ON s.board_id = $1 AND s.season = $2 AND s.player_id = u.player_id ORDER BY u.n",
	.nargs = 3, .types = {INT4OID, INT4OID, INT8ARRAYOID}
};

char *
listing_label(const char *display_name, int64 player_id)
{
	return display_name ? pstrdup(display_name) : psprintf("Player " INT64_FORMAT, player_id);
}

Datum
listing_ids(const ListedRow *rows, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(rows[i].at.key.player_id);
	return PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

void
listing_name(ListedRow *rows, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[1];

	if (count == 0)
		return;
	values[0] = listing_ids(rows, count);
	SPI_connect();
	plan_read_committed(&names_plan, values, NULL, 0);
	for (int i = 0; i < count; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext before = MemoryContextSwitchTo(caller);

		rows[i].user_id = plan_text(row, desc, 1);
		rows[i].display_name = listing_label(plan_text(row, desc, 2), rows[i].at.key.player_id);
		rows[i].avatar_url = plan_text(row, desc, 3);
		MemoryContextSwitchTo(before);
	}
	SPI_finish();
}

static void
read_rows(const Board *board, int32 season, int64 skip, int count, bool for_document, Listing *listing)
{
	RankRow    *rows = palloc(sizeof(RankRow) * count);

	if (!rank_index_range(board, season, skip, count, rows, &listing->found, &listing->players))
		(for_document ? rank_scan_range_unlimited : rank_scan_range)
			(board, season, skip, count, rows, &listing->found, &listing->players);

	listing->rows = palloc0(sizeof(ListedRow) * count);
	for (int i = 0; i < listing->found; i++)
		listing->rows[i].at = rows[i];
}

/* Fills in the rest of a row's key, and its detail; false where the row stands elsewhere by now. */
static bool
complete_row(const Board *board, HeapTuple found, TupleDesc desc, ListedRow *row, MemoryContext memory)
{
	MemoryContext before;
	RankKey		key = {.player_id = row->at.key.player_id};
	bool		gone;

	(void) SPI_getbinval(found, desc, 1, &gone);
	if (gone)
		return false;
	key.score = DatumGetInt64(plan_datum(found, desc, 1));
	key.subscore = DatumGetInt64(plan_datum(found, desc, 2));
	key.reached_at = DatumGetTimestampTz(plan_datum(found, desc, 3));
	if (rank_order_compare(rank_order_of(board), &key, &row->at.key) != 0)
	{
		if (rank_order_of(board).tie_break != TIE_MOMENT)
			row->at.key.reached_at = key.reached_at;
		return false;
	}
	row->at.key = key;
	before = MemoryContextSwitchTo(memory);
	row->detail = plan_text(found, desc, 4);
	MemoryContextSwitchTo(before);
	return true;
}

bool
listing_complete(const Board *board, int32 season, Listing *listing)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3] = {Int32GetDatum(board->board_id), Int32GetDatum(season)};
	bool		unmoved = true;

	if (listing->found == 0)
		return true;
	values[2] = listing_ids(listing->rows, listing->found);
	SPI_connect();
	plan_read_committed(&scores_plan, values, NULL, 0);
	for (int i = 0; i < listing->found; i++)
	{
		if (!complete_row(board, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &listing->rows[i], caller))
			unmoved = false;
	}
	SPI_finish();
	return unmoved;
}

void
listing_range(const Board *board, int32 season, int64 skip, int count, bool for_document, Listing *listing)
{
	bool		moment_known = rank_order_of(board).tie_break == TIE_MOMENT;

	read_rows(board, season, skip, count, for_document, listing);
	if (for_document)
	{
		for (int again = 0; !listing_complete(board, season, listing) && again < AGAIN_MAX; again++)
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(AGAIN_PAUSE);
			read_rows(board, season, skip, count, for_document, listing);
		}
	}
	else if (!moment_known)
		(void) listing_complete(board, season, listing);
	listing_name(listing->rows, listing->found);
}
