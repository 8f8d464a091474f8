/*
 * read/listing.c - ranked rows with the players that they name
 *
 * Owns no state but a saved plan. Keys, ranks and the count of one list come
 * from one moment (one hold of the index's lock, or one snapshot); names are
 * read afterwards with a snapshot that is newer, so a name may be fresher than
 * the list, never older.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "base/plan.h"
#include "rank/scan.h"
#include "read/listing.h"

static SavedPlan names_plan = {
	.text = "SELECT p.user_id::text, p.display_name::text, p.avatar_url::text"
	" FROM unnest($1) WITH ORDINALITY AS u (player_id, n)"
	" LEFT JOIN scoreboard.player p ON p.player_id = u.player_id ORDER BY u.n",
	.nargs = 1, .types = {INT8ARRAYOID}
};

char *
listing_label(const char *display_name, int64 player_id)
{
	return display_name ? pstrdup(display_name) : psprintf("Player " INT64_FORMAT, player_id);
}

int
listing_compare(const Board *board, const RankKey *a, const RankKey *b)
{
	if (a->score != b->score)
		return (a->score < b->score) == board->low_first ? -1 : 1;
	if (a->reached_at != b->reached_at)
		return a->reached_at < b->reached_at ? -1 : 1;
	return a->player_id < b->player_id ? -1 : a->player_id > b->player_id;
}

void
listing_name(ListedRow *rows, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum	   *ids;
	Datum		values[1];

	if (count == 0)
		return;
	ids = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(rows[i].at.key.player_id);
	values[0] = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
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

void
listing_range(const Board *board, int32 season, int64 skip, int count, bool limited, Listing *listing)
{
	RankRow    *rows = palloc(sizeof(RankRow) * count);

	if (!rank_index_range(board, season, skip, count, rows, &listing->found, &listing->players))
		(limited ? rank_scan_range : rank_scan_range_unlimited)
			(board, season, skip, count, rows, &listing->found, &listing->players);

	listing->rows = palloc0(sizeof(ListedRow) * count);
	for (int i = 0; i < listing->found; i++)
		listing->rows[i].at = rows[i];
	listing_name(listing->rows, listing->found);
}
