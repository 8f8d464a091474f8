/*
 * base/arguments.c - arguments that several functions take alike
 *
 * Leaf: no locks, no tables.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/arguments.h"
#include "base/form.h"
#include "base/refusal.h"

const char *
argument_text(FunctionCallInfo fcinfo, int which)
{
	return PG_ARGISNULL(which) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(which));
}

int64
argument_int64(FunctionCallInfo fcinfo, int which, bool *given)
{
	*given = !PG_ARGISNULL(which);
	return *given ? PG_GETARG_INT64(which) : 0;
}

const char *
argument_user_id(FunctionCallInfo fcinfo, int which)
{
	const char *user_id = argument_text(fcinfo, which);
	Refusal		refusal;

	if (user_id == NULL || !form_is_id(user_id))
	{
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "user id must have 1 to 255 characters, none of them a control character");
		refusal_raise(&refusal);
	}
	return user_id;
}

/* Compared as intervals: a sum may leave the range of times. */
Interval *
argument_life(FunctionCallInfo fcinfo, int which, int longest_days, const char *of_what)
{
	Interval	none = {0};
	Interval	longest = {.day = longest_days};
	Interval   *life = PG_ARGISNULL(which) ? NULL : PG_GETARG_INTERVAL_P(which);
	Refusal		refusal;

	if (life == NULL ||
		DatumGetBool(DirectFunctionCall2(interval_le, IntervalPGetDatum(life), IntervalPGetDatum(&none))) ||
		DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(life), IntervalPGetDatum(&longest))))
	{
		refuse(&refusal, REFUSAL_INVALID_REQUEST, "Give an interval, for example '1 hour'.",
			   "%s must live for more than nothing and at most %d days", of_what, longest_days);
		refusal_raise(&refusal);
	}
	return life;
}
