/*
 * publish/baseline.c - where the first of a list stood when the day or the season began, for their movement since
 *
 * Noted by the publisher before it builds the first list of the day or season, as the ranks are at that time: some milliseconds after midnight, when it looks
 * at the board anyway. Where it was away then, or the setting is new, it is later: captured_at says when. The order in which the season before
 * ended is there whenever it is asked for, until that season is purged.
 *
 * A row of scoreboard.baseline for each season, as long as the season is kept: its document may be made anew after its end.
 *
 * Locks: those of publish/kept.c, whose rule about forgotten players is the same here; then the board's row, so that none is noted of a board that is
 * being deleted, and the row of the baseline.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/plan.h"
#include "publish/baseline.h"
#include "publish/worker.h"
#include "rank/index.h"
#include "rank/scan.h"
#include "read/movement.h"

/* A little behind its midnight the clock may be set back: the day that has begun isn't left. It was wrong where it was ahead by more than that day. */
static SavedPlan current_plan = {
	.text = "SELECT FROM scoreboard.baseline WHERE board_id = $1 AND season = $2 AND movement = $3 AND stands_for BETWEEN $4 AND $5",
	.nargs = 5, .types = {INT4OID, INT4OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static SavedPlan purged_plan = {
	.text = "SELECT FROM scoreboard.season WHERE board_id = $1 AND season >= $2 AND purged_at IS NOT NULL",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan note_plan = {
	.text = "INSERT INTO scoreboard.baseline AS n (board_id, season, movement, stands_for, captured_at, player_ids, ranks)"
	" SELECT b.board_id, $2, $3, $4, $5, $6, $7 FROM scoreboard.board b WHERE b.board_id = $1 FOR SHARE SKIP LOCKED"
	" ON CONFLICT (board_id, season) DO UPDATE SET movement = excluded.movement, stands_for = excluded.stands_for, captured_at = excluded.captured_at,"
	" player_ids = excluded.player_ids, ranks = excluded.ranks",
	.nargs = 7, .types = {INT4OID, INT4OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8ARRAYOID, INT8ARRAYOID}
};

bool
baseline_due(const Board *board, int32 season, const CalendarSpan *span, BaselineDue *due)
{
	pg_tz	   *zone = board->movement == MOVEMENT_DAY ? pg_tzset(board->time_zone) : NULL;

	*due = (BaselineDue) {.stands_for = span->begin, .list_season = season - 1, .until = DT_NOEND};
	if (zone)
	{
		CalendarSpan day = calendar_day(zone, GetCurrentTimestamp());

		due->until = day.end;
		/* Where the day has begun a season, or a reset did since, there is nothing to move from but the season before. */
		if (day.begin > span->begin)
		{
			due->stands_for = day.begin;
			due->list_season = season;
		}
	}
	return board->movement != MOVEMENT_NONE && due->stands_for != DT_NOBEGIN;
}

bool
baseline_is_old(const Board *board, int32 season, const BaselineDue *due)
{
	Datum		values[5] = {
		Int32GetDatum(board->board_id), Int32GetDatum(season), CStringGetTextDatum(movement_name(board->movement)),
		TimestampTzGetDatum(due->stands_for), TimestampTzGetDatum(Max(due->stands_for, due->until))
	};
	bool		found;

	SPI_connect();
	plan_read(&current_plan, values, NULL, 1);
	found = SPI_processed > 0;
	SPI_finish();
	return !found;
}

static Datum
as_array(Datum *values, int count)
{
	return PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Of a season whose scores are going there is no order. Asked after they were read: a purge says so before it takes the first. */
static bool
is_purged(const Board *board, int32 season)
{
	Datum		values[2] = {Int32GetDatum(board->board_id), Int32GetDatum(season)};

	plan_read(&purged_plan, values, NULL, 1);
	return SPI_processed > 0;
}

static int
read_order(const Board *board, int32 season, Datum *ids, Datum *ranks)
{
	RankRow    *rows = palloc(sizeof(RankRow) * board->movement_entries);
	int			found;
	int64		players;

	if (!rank_index_range(board, season, 0, board->movement_entries, rows, &found, &players))
		rank_scan_range_unlimited(board, season, 0, board->movement_entries, rows, &found, &players);
	for (int i = 0; i < found; i++)
	{
		ids[i] = Int64GetDatum(rows[i].key.player_id);
		ranks[i] = Int64GetDatum(rows[i].rank);
	}
	return found;
}

bool
baseline_note(const Board *board, int32 season, const BaselineDue *due)
{
	Datum	   *ids = palloc(sizeof(Datum) * board->movement_entries);
	Datum	   *ranks = palloc(sizeof(Datum) * board->movement_entries);
	Datum		values[7] = {
		Int32GetDatum(board->board_id), Int32GetDatum(season), CStringGetTextDatum(movement_name(board->movement)),
		TimestampTzGetDatum(due->stands_for), TimestampTzGetDatum(GetCurrentTimestamp())
	};
	int			count = read_order(board, due->list_season, ids, ranks);
	bool		noted;

	SPI_connect();
	if (due->list_season != season && is_purged(board, due->list_season))
		count = 0;
	values[5] = as_array(ids, count);
	values[6] = as_array(ranks, count);
	plan_write(&note_plan, values, NULL, SPI_OK_INSERT);
	noted = SPI_processed > 0;
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
	return noted;
}
