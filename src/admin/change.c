/*
 * admin/change.c - what changes by administrators have in common: whom, why, and under which reference
 *
 * Locks: a row of scoreboard.adjustment that another session has just added under the same reference is waited for.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"

#include "scoreboard.h"
#include "admin/change.h"
#include "base/form.h"
#include "base/seize.h"

#define REASON_MAX 1000			/* characters */

PG_FUNCTION_INFO_V1(scoreboard_record_change);

static SavedPlan record_plan = {
	.text = "INSERT INTO scoreboard.adjustment (reference, kind, reason, player_id, board_id, season, content, made_at)"
	" VALUES ($1, $2, coalesce($3, ''), $4, $5, $6, $7, coalesce($8, now())) ON CONFLICT (reference) DO NOTHING",
	.nargs = 8, .types = {TEXTOID, TEXTOID, TEXTOID, INT8OID, INT4OID, INT4OID, BYTEAOID, TIMESTAMPTZOID}
};

bool
change_check_user_id(const char *user_id, Refusal *refusal)
{
	return form_is_id(user_id) ||
		refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "user id must have 1 to 255 characters, none of them a control character");
}

bool
change_check_reason(const char *reason, Refusal *refusal)
{
	return (reason[0] != '\0' && pg_mbstrlen(reason) <= REASON_MAX) ||
		refuse(refusal, REFUSAL_INVALID_REQUEST, "Say why, for those who read scoreboard.adjustment later.",
			   "reason must have 1 to %d characters", REASON_MAX);
}

bool
change_check_reference(const char *reference, Refusal *refusal)
{
	return form_is_id(reference) ||
		refuse(refusal, REFUSAL_INVALID_REQUEST, "Give every change a reference of its own; a retry repeats it.",
			   "reference must have 1 to 255 characters, none of them a control character");
}

bool
change_check_score(int64 score, Refusal *refusal)
{
	return form_is_score(score) ||
		refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "the score would leave the range of -9007199254740991 to 9007199254740991");
}

typedef struct Recording
{
	SavedPlan  *plan;
	Datum	   *values;
	const char *nulls;
	bool		recorded;
} Recording;

static void
add_record(void *argument)
{
	Recording  *recording = argument;
	int			pin = plan_connect();

	plan_write(recording->plan, recording->values, recording->nulls, SPI_OK_INSERT);
	recording->recorded = SPI_processed > 0;
	plan_finish(pin);
}

bool
change_record(SavedPlan *plan, Datum *values, const char *nulls, bool *recorded, Refusal *refusal)
{
	Recording	recording = {.plan = plan, .values = values, .nulls = nulls};

	if (!seize_try(scoreboard_moderation_wait, add_record, &recording))
		return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "End the open transaction that has used it, or give every change a reference of its own.",
						  "an open transaction has just used the reference");
	*recorded = recording.recorded;
	return true;
}

/*
 * scoreboard.record_change(reference, kind, reason, player_id, board_id, season, content, made_at) returns boolean: for administration in SQL. False
 * where the reference was used already.
 */
Datum
scoreboard_record_change(PG_FUNCTION_ARGS)
{
	Datum		values[8];
	char		nulls[8];
	bool		recorded;
	Refusal		refusal;

	for (int i = 0; i < 8; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	if (!change_record(&record_plan, values, nulls, &recorded, &refusal))
		refusal_raise(&refusal);
	PG_RETURN_BOOL(recorded);
}

bool
change_was_made(SavedPlan *plan, Datum *values, Refusal *refusal)
{
	refusal->code = REFUSAL_NONE;
	plan_read(plan, values, NULL, 1);
	if (SPI_processed == 0)
		return false;
	return DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)) || change_refuse_reference(refusal);
}

bool
change_refuse_reference(Refusal *refusal)
{
	return refuse(refusal, REFUSAL_IDEMPOTENCY_MISMATCH, "Give every change a reference of its own.",
				  "the reference was used for something else");
}

bool
change_refuse_player(Refusal *refusal)
{
	return refuse(refusal, REFUSAL_NOT_FOUND, "Players appear with their first action or profile.", "there is no such player");
}
