/*
 * base/season.c - which season of a board runs
 *
 * Seasons are computed from the clock: nothing has to run when one begins, and no writer waits for a row. A season once
 * begun is not left again when the clock steps back. While the server runs, one number in shared memory sees to it: the latest second
 * by which anybody has computed a season (they begin with whole seconds, so it is written once a second at most).
 * After a restart, a crash or a promotion what is recorded does: no season before the last one that has a score
 * or a row in scoreboard.season, which is read with the board's settings.
 *
 * A board of period reset stays in its last recorded season. That changes under a lock on scoreboard.score which
 * conflicts with every writer's, and the settings are read anew then.
 *
 * Takes no locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/season.h"

PG_FUNCTION_INFO_V1(scoreboard_running_season);

typedef struct SeasonClock
{
	pg_atomic_uint64 latest;	/* seconds since 2000, of all readings */
} SeasonClock;

static SeasonClock *season_clock = NULL;

Size
season_shmem_size(void)
{
	return MAXALIGN(sizeof(SeasonClock));
}

void
season_attach(void)
{
	bool		found;

	season_clock = ShmemInitStruct("scoreboard season clock", sizeof(SeasonClock), &found);
	if (!found)
		pg_atomic_init_u64(&season_clock->latest, 0);
}

/* A reading of the clock, not before those that others have made. */
static TimestampTz
not_earlier(TimestampTz now)
{
	uint64		seconds = now > 0 ? (uint64) now / USECS_PER_SEC : 0;
	uint64		latest = pg_atomic_read_u64(&season_clock->latest);

	while (seconds > latest && !pg_atomic_compare_exchange_u64(&season_clock->latest, &latest, seconds))
		;
	return Max(now, (TimestampTz) latest * USECS_PER_SEC);
}

int32
season_of(const Board *board, TimestampTz now)
{
	switch (board->period)
	{
		case PERIOD_FOREVER:
			return 1;
		case PERIOD_RESET:
			return Max(1, board->season_begun);
		default:
			return Max(board->season_begun, calendar_number(calendar_zone(board->time_zone), board->period, not_earlier(now)));
	}
}

int32
season_running(const Board *board)
{
	return season_of(board, GetCurrentTimestamp());
}

bool
season_read(Board *board, HeapTuple row, TupleDesc desc, int column)
{
	board->period = (CalendarPeriod) plan_known_text(row, desc, column)[0];
	board->time_zone = plan_known_text(row, desc, column + 1);
	board->season_begun = DatumGetInt32(plan_datum(row, desc, column + 2));
	return board->period == PERIOD_FOREVER || board->period == PERIOD_RESET || pg_tzset(board->time_zone) != NULL;
}

CalendarSpan
season_span(const Board *board, int32 season)
{
	if (board->period == PERIOD_FOREVER || board->period == PERIOD_RESET)
		return (CalendarSpan) {DT_NOBEGIN, DT_NOEND};
	return calendar_span(calendar_zone(board->time_zone), board->period, season);
}

/* scoreboard.running_season(period text, time_zone text, begun integer) returns integer: null where this server doesn't know the time zone */
Datum
scoreboard_running_season(PG_FUNCTION_ARGS)
{
	Board		board = {
		.period = (CalendarPeriod) text_to_cstring(PG_GETARG_TEXT_PP(0))[0],
		.time_zone = text_to_cstring(PG_GETARG_TEXT_PP(1)),
		.season_begun = PG_GETARG_INT32(2)
	};

	hide_statement();
	if (board.period != PERIOD_FOREVER && board.period != PERIOD_RESET && pg_tzset(board.time_zone) == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT32(season_running(&board));
}
