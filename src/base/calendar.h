/*
 * base/calendar.h - calendar days, weeks and months in a time zone
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_CALENDAR_H
#define SCOREBOARD_BASE_CALENDAR_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "pgtime.h"

/* A day, a week, a month or a season. */
typedef struct CalendarSpan
{
	TimestampTz begin;
	TimestampTz end;			/* where the next one begins: for a day 24 hours later, unless the clock is set on it */
} CalendarSpan;

/* The zone's; an error where the server knows no zone of that name. */
extern pg_tz *calendar_zone(const char *name);

/* The day that a moment belongs to. A day once begun is not left again, although the clock may be set back behind its midnight. */
extern CalendarSpan calendar_day(pg_tz *zone, TimestampTz moment);

/* How long a season of a board is. */
typedef enum CalendarPeriod
{
	PERIOD_FOREVER = 'f',
	PERIOD_DAY = 'd',
	PERIOD_WEEK = 'w',			/* ISO: from Monday on */
	PERIOD_MONTH = 'm',
	PERIOD_RESET = 'r'			/* until an administrator ends it */
} CalendarPeriod;

/* Days, weeks or months since 1970-01-01, which each begin with the first moment of their first day. */
extern int32 calendar_number(pg_tz *zone, CalendarPeriod period, TimestampTz moment);
extern CalendarSpan calendar_span(pg_tz *zone, CalendarPeriod period, int32 number);

#endif
