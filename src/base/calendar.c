/*
 * base/calendar.c - calendar days in a time zone
 *
 * A day begins at the first moment whose local date is not before it. That is
 * midnight, where there is one; where clocks are set forward over midnight it is the
 * moment at which they are, and where they are set back over it, the first of the two midnights. A
 * zone's offset is constant between its transitions, so days are found by stepping from one to the next.
 *
 * Owns no state, takes no locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/hidden_statement.h"

PG_FUNCTION_INFO_V1(scoreboard_calendar_day);

#define UNIX_EPOCH_SECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* No zone has ever been as far from UTC. */
#define FARTHEST_OFFSET (2 * SECS_PER_DAY)

static int64
floor_divide(int64 value, int64 by)
{
	return value / by - (value % by < 0 ? 1 : 0);
}

static pg_time_t
to_seconds(TimestampTz moment)
{
	return floor_divide(moment, USECS_PER_SEC) + UNIX_EPOCH_SECONDS;
}

static TimestampTz
from_seconds(pg_time_t seconds)
{
	return (seconds - UNIX_EPOCH_SECONDS) * USECS_PER_SEC;
}

/* The first moment of a day, counted since 1970-01-01. */
static pg_time_t
first_moment(const pg_tz *zone, int64 day)
{
	pg_time_t	midnight = day * SECS_PER_DAY;
	pg_time_t	from = midnight - FARTHEST_OFFSET;

	for (;;)
	{
		long		offset = 0;
		long		offset_after;
		int			is_dst;
		pg_time_t	transition;
		bool		more = pg_next_dst_boundary(&from, &offset, &is_dst, &transition, &offset_after, &is_dst, zone) > 0;
		pg_time_t	first = Max(midnight - offset, from);

		if (!more || first < transition)
			return first;
		from = transition;
	}
}

CalendarDay
calendar_day(pg_tz *zone, TimestampTz moment)
{
	pg_time_t	seconds = to_seconds(moment);
	const struct pg_tm *local = pg_localtime(&seconds, zone);
	int64		day = floor_divide(seconds + (local ? local->tm_gmtoff : 0), SECS_PER_DAY);
	pg_time_t	begin = first_moment(zone, day);
	pg_time_t	end;

	/* The clock may have been set back to the day before, or have left days out. */
	while ((end = first_moment(zone, ++day)) <= seconds)
		begin = end;
	return (CalendarDay) {from_seconds(begin), from_seconds(end)};
}

pg_tz *
calendar_zone(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this server knows no time zone \"%s\"", name),
				 errhint("pg_timezone_names lists those that it knows.")));
	return zone;
}

/* scoreboard.calendar_day(time_zone text, moment timestamptz) -> (day_begins, day_ends) */
Datum
scoreboard_calendar_day(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	CalendarDay day;
	Datum		values[2];
	bool		nulls[2] = {false};

	hide_statement();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 2)
		elog(ERROR, "scoreboard.calendar_day must return 2 columns");
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("an infinite moment belongs to no day")));
	day = calendar_day(calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(0))), PG_GETARG_TIMESTAMPTZ(1));
	values[0] = TimestampTzGetDatum(day.begin);
	values[1] = TimestampTzGetDatum(day.end);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
