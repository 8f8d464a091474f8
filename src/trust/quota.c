/*
 * trust/quota.c - how often a player's actions of one type may be counted within an hour and a day
 *
 * The action log is the only record: what was counted on this board within the
 * last hour, and since midnight in the board's time zone. So there is nothing that could be lost by a
 * rollback, a restore or a quota that is set later, and what was refused has used
 * nothing. The index on the log answers from the newest action backwards; no more rows
 * are read than the greater of the quotas.
 *
 * The caller holds the player's lock; the log is read as committed now (with this transaction's own
 * actions), at every isolation level.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/plan.h"
#include "trust/quota.h"

static SavedPlan uses_plan = {
	.text = "SELECT created_at::timestamptz FROM scoreboard.action"
	" WHERE player_id = $1 AND board_id = $2 AND created_at >= $3 AND action_type_id = $4 ORDER BY created_at DESC LIMIT $5",
	.nargs = 5, .types = {INT8OID, INT4OID, TIMESTAMPTZOID, INT4OID, INT8OID}
};

/* A quota while the uses are counted, newest first. */
typedef struct Quota
{
	int			most;			/* 0: none */
	TimestampTz since;			/* earlier uses don't count */
	int			used;
	TimestampTz frees;			/* when the last use that leaves room for no more stops to count; once used = most */
} Quota;

static void
count_uses(Quota *hour, Quota *day, const CalendarSpan *today)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TimestampTz at = DatumGetTimestampTz(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));

		if (hour->most > 0 && at > hour->since && ++hour->used == hour->most)
			hour->frees = at + USECS_PER_HOUR;
		if (day->most > 0 && at >= day->since && ++day->used == day->most)
			day->frees = today->end;
	}
}

static void
find_uses(const Board *board, const ActionRule *rule, int64 player_id, TimestampTz now, Quota *hour, Quota *day)
{
	CalendarSpan today = {now, now};
	Datum		values[5];
	int			pin;

	if (rule->daily_quota > 0)
		today = calendar_day(calendar_zone(board->time_zone), now);
	*hour = (Quota) {.most = rule->hourly_quota, .since = now - USECS_PER_HOUR};
	*day = (Quota) {.most = rule->daily_quota, .since = today.begin};

	values[0] = Int64GetDatum(player_id);
	values[1] = Int32GetDatum(board->board_id);
	values[2] = TimestampTzGetDatum(hour->most > 0 ? Min(hour->since, day->since) : day->since);
	values[3] = Int32GetDatum(rule->action_type_id);
	values[4] = Int64GetDatum(Max(hour->most, day->most));
	pin = plan_connect();
	plan_read(&uses_plan, values, NULL, 0);
	count_uses(hour, day, &today);
	plan_finish(pin);
}

/* The seconds until both have room, rounded up: a moment later it is had. */
static int
wait_seconds(const Quota *hour, const Quota *day, TimestampTz now)
{
	int64		wait = Max(hour->frees, day->frees) - now;

	return (int) ((wait + USECS_PER_SEC - 1) / USECS_PER_SEC);
}

bool
quota_check(const Board *board, const ActionRule *rule, const char *action_type, int64 player_id,
			TimestampTz now, Refusal *refusal)
{
	Quota		hour;
	Quota		day;

	if (rule->hourly_quota == 0 && rule->daily_quota == 0)
		return true;
	find_uses(board, rule, player_id, now, &hour, &day);
	if (day.frees > hour.frees)
		return refuse_for(refusal, REFUSAL_QUOTA_EXCEEDED, wait_seconds(&hour, &day, now),
						  "Wait as many seconds as retryAfter says, then try again.",
						  "the quota of action type \"%s\" on board \"%s\" is used up: %d a day", action_type, board->name, day.most);
	if (hour.frees > 0)
		return refuse_for(refusal, REFUSAL_QUOTA_EXCEEDED, wait_seconds(&hour, &day, now),
						  "Wait as many seconds as retryAfter says, then try again.",
						  "the quota of action type \"%s\" on board \"%s\" is used up: %d an hour", action_type, board->name, hour.most);
	return true;
}
