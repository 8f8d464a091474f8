/*
 * read/movement.c - how many places a player has moved since the day or the season began
 *
 * Where the first ones stood then, the publisher has noted in scoreboard.baseline (publish/baseline.c); as long as it hasn't, what it noted before
 * counts. Ranks are those of then: who was ahead and is banned or forgotten since has made way for all behind.
 *
 * Owns no state but a saved plan, writes nothing, takes no lock but ACCESS SHARE on what it reads.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "base/plan.h"
#include "read/movement.h"

static SavedPlan ranks_plan = {
	.text = "SELECT e.player_id, e.rank FROM scoreboard.baseline b, unnest(b.player_ids, b.ranks) AS e (player_id, rank)"
	" WHERE b.board_id = $1 AND b.season = $2 AND b.movement = $3 AND e.player_id = ANY ($4) ORDER BY e.player_id",
	.nargs = 4, .types = {INT4OID, INT4OID, TEXTOID, INT8ARRAYOID}
};

const char *
movement_name(BoardMovement movement)
{
	return movement == MOVEMENT_DAY ? "day" : movement == MOVEMENT_SEASON ? "season" : "none";
}

/* Where they stood then, in the order of their numbers; of the keys nothing else is known. */
static RankRow *
read_ranks(const Board *board, int32 season, const ListedRow *rows, int count, int *found)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[4] = {
		Int32GetDatum(board->board_id), Int32GetDatum(season), CStringGetTextDatum(movement_name(board->movement)), listing_ids(rows, count)
	};
	RankRow    *then;

	SPI_connect();
	/* What this transaction of the publisher's has noted, too. */
	plan_read(&ranks_plan, values, NULL, 0);
	*found = (int) SPI_processed;
	then = MemoryContextAllocZero(caller, sizeof(RankRow) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
	{
		then[i].key.player_id = DatumGetInt64(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		then[i].rank = DatumGetInt64(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
	}
	SPI_finish();
	return then;
}

static int
compare_players(const void *a, const void *b)
{
	int64		left = ((const RankRow *) a)->key.player_id;
	int64		right = ((const RankRow *) b)->key.player_id;

	return left < right ? -1 : left > right;
}

void
movement_fill_in(const Board *board, int32 season, ListedRow *rows, int count)
{
	RankRow    *ranks;
	int			found;

	if (board->movement == MOVEMENT_NONE || count == 0)
		return;
	ranks = read_ranks(board, season, rows, count, &found);
	for (int i = 0; i < count; i++)
	{
		const RankRow *then = bsearch(&rows[i].at, ranks, found, sizeof(RankRow), compare_players);

		rows[i].shows_movement = true;
		rows[i].has_moved_from = then != NULL;
		rows[i].movement = then ? then->rank - rows[i].at.rank : 0;
	}
}
