/*
 * base/calendar.c - calendar days, weeks and months in a time zone
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
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/hidden_statement.h"

PG_FUNCTION_INFO_V1(scoreboard_calendar_day);
PG_FUNCTION_INFO_V1(scoreboard_calendar_season);

/* 1970-01-01 was a Thursday. */
#define DAYS_BEFORE_EPOCH_OF_WEEK 3

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

/* The number of the day that a moment belongs to, since 1970-01-01. */
static int64
day_number(const pg_tz *zone, TimestampTz moment)
{
	pg_time_t	seconds = to_seconds(moment);
	const struct pg_tm *local = pg_localtime(&seconds, zone);
	int64		day = floor_divide(seconds + (local ? local->tm_gmtoff : 0), SECS_PER_DAY);

	/* The clock may have been set back to the day before, or have left days out. */
	while (first_moment(zone, day + 1) <= seconds)
		day++;
	return day;
}

CalendarSpan
calendar_day(pg_tz *zone, TimestampTz moment)
{
	return calendar_span(zone, PERIOD_DAY, (int32) day_number(zone, moment));
}

/* The first day of a month, and the month of a day; both counted since January 1970. */
static int64
first_day(int32 month)
{
	int			year = 1970 + (int) floor_divide(month, 12);

	return date2j(year, month - (year - 1970) * 12 + 1, 1) - UNIX_EPOCH_JDATE;
}

static int32
month_of(int64 day)
{
	int			year,
				month,
				day_of_month;

	j2date((int) day + UNIX_EPOCH_JDATE, &year, &month, &day_of_month);
	return (year - 1970) * 12 + month - 1;
}

int32
calendar_number(pg_tz *zone, CalendarPeriod period, TimestampTz moment)
{
	int64		day = day_number(zone, moment);

	switch (period)
	{
		case PERIOD_WEEK:
			return (int32) floor_divide(day + DAYS_BEFORE_EPOCH_OF_WEEK, 7);
		case PERIOD_MONTH:
			return month_of(day);
		default:
			return (int32) day;
	}
}

CalendarSpan
calendar_span(pg_tz *zone, CalendarPeriod period, int32 number)
{
	int64		first = number;
	int64		next = (int64) number + 1;

	if (period == PERIOD_WEEK)
	{
		first = (int64) number * 7 - DAYS_BEFORE_EPOCH_OF_WEEK;
		next = first + 7;
	}
	else if (period == PERIOD_MONTH)
	{
		first = first_day(number);
		next = first_day(number + 1);
	}
	return (CalendarSpan) {from_seconds(first_moment(zone, first)), from_seconds(first_moment(zone, next))};
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

static void
require_finite(TimestampTz moment)
{
	if (TIMESTAMP_NOT_FINITE(moment))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("an infinite moment belongs to no day")));
}

/* scoreboard.calendar_day(time_zone text, moment timestamptz) -> (day_begins, day_ends) */
Datum
scoreboard_calendar_day(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	CalendarSpan day;
	Datum		values[2];
	bool		nulls[2] = {false};

	hide_statement();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 2)
		elog(ERROR, "scoreboard.calendar_day must return 2 columns");
	require_finite(PG_GETARG_TIMESTAMPTZ(1));
	day = calendar_day(calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(0))), PG_GETARG_TIMESTAMPTZ(1));
	values[0] = TimestampTzGetDatum(day.begin);
	values[1] = TimestampTzGetDatum(day.end);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* scoreboard.calendar_season(period text, time_zone text, moment timestamptz) -> (season, begins, ends) */
Datum
scoreboard_calendar_season(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	CalendarPeriod period = (CalendarPeriod) text_to_cstring(PG_GETARG_TEXT_PP(0))[0];
	pg_tz	   *zone = calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	CalendarSpan span;
	int32		season;
	Datum		values[3];
	bool		nulls[3] = {false};

	hide_statement();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 3)
		elog(ERROR, "scoreboard.calendar_season must return 3 columns");
	if (period != PERIOD_DAY && period != PERIOD_WEEK && period != PERIOD_MONTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the calendar knows the periods day, week and month")));
	require_finite(PG_GETARG_TIMESTAMPTZ(2));
	season = calendar_number(zone, period, PG_GETARG_TIMESTAMPTZ(2));
	span = calendar_span(zone, period, season);
	values[0] = Int32GetDatum(season);
	values[1] = TimestampTzGetDatum(span.begin);
	values[2] = TimestampTzGetDatum(span.end);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
