/*
 * admin/undo.c - an accepted action is taken back, on every board and season that it counted towards
 *
 * Which those are says the log: the action's row and those of scoreboard.credit, whatever routing, labels or the calendar have become since. What each
 * of these scores would be without it is admin/replay.c's; here it is written, with a row of scoreboard.adjustment for each: who, why, what
 * became of the score. The action stays in the log, marked: a retry gets its answer, its id stays used, quotas count it.
 * A season that has ended gets its document anew. Where the player has nothing else on a board, its row there goes.
 *
 * Locks: as moderation (admin/moderation.h): relation scoreboard.score (ROW EXCLUSIVE), the player's row, its lock; then boards by id, each
 * the row of an ended season: who holds such a row for longer than scoreboard.moderation_wait moderates another player in an open
 * transaction, and has it refused. What is read is as committed now, and 40001 where this transaction can't see the same.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "scoreboard.h"
#include "admin/change.h"
#include "admin/moderation.h"
#include "admin/records.h"
#include "admin/replay.h"
#include "base/arguments.h"
#include "base/config_cache.h"
#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/seize.h"
#include "write/event.h"
#include "write/ledger.h"
#include "write/replicated.h"

PG_FUNCTION_INFO_V1(scoreboard_undo);

typedef struct Undoing
{
	const char *user_id;
	const char *action_id;
	const char *reason;
	const char *reference;		/* or NULL */

	int64		player_id;
	bool		listed;
	LedgerAction action;
	TimestampTz undone_at;
	bool		replayed;
} Undoing;

static SavedPlan find_plan = {
	.text = "SELECT kind = 'undo' AND (player_id, action_id) IS NOT DISTINCT FROM ($2, $3), made_at::timestamptz FROM scoreboard.adjustment WHERE reference = $1",
	.nargs = 3, .types = {TEXTOID, INT8OID, TEXTOID}
};

static SavedPlan credits_plan = {
	.text = "SELECT board_id::int, season::int, named, counted::bigint, sets_score FROM ("
	" SELECT board_id, season, true AS named, " COUNTED " AS counted, sets_score FROM scoreboard.action WHERE player_id = $1 AND action_id = $2"
	" UNION ALL SELECT board_id, season, false, " COUNTED ", sets_score FROM scoreboard.credit WHERE player_id = $1 AND action_id = $2) AS c"
	" ORDER BY board_id",
	.nargs = 2, .types = {INT8OID, TEXTOID}
};

static SavedPlan mark_credits_plan = {
	.text = "UPDATE scoreboard.credit SET undone_at = $3, counted_points = 0, sets_score = false WHERE player_id = $1 AND action_id = $2",
	.nargs = 3, .types = {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static SavedPlan mark_action_plan = {
	.text = "UPDATE scoreboard.action SET undone_at = $3, counted_points = 0, sets_score = false WHERE player_id = $1 AND action_id = $2",
	.nargs = 3, .types = {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static SavedPlan remove_score_plan = {
	.text = "DELETE FROM scoreboard.score WHERE board_id = $1 AND season = $2 AND player_id = $3",
	.nargs = 3, .types = {INT4OID, INT4OID, INT8OID}
};

static SavedPlan reopen_plan = {
	.text = "UPDATE scoreboard.season SET final = false WHERE board_id = $1 AND season = $2 AND ended_at IS NOT NULL AND purged_at IS NULL",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan record_plan = {
	.text = "INSERT INTO scoreboard.adjustment (reference, kind, player_id, action_id, reason, made_at, board_id, season, points, applied_points, previous_score, score)"
	" VALUES ($1, 'undo', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (reference) DO NOTHING",
	.nargs = 11, .types = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID}
};

/* Two undos of one id have different moments: the first action was purged in between. */
#define THIS_UNDO "FROM scoreboard.adjustment a LEFT JOIN scoreboard.board b USING (board_id) WHERE a.player_id = $1 AND a.kind = 'undo' AND a.action_id = $2 AND a.made_at = $3"

static SavedPlan rows_plan = {
	.text = "SELECT b.name::text, a.season::int, a.previous_score::bigint, a.score::bigint, a.applied_points::bigint " THIS_UNDO " ORDER BY board_id",
	.nargs = 3, .types = {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static SavedPlan details_plan = {
	.text = "SELECT json_build_object('credits', json_agg(json_build_object('board', b.name, 'season', a.season, 'previousScore', a.previous_score, 'score', a.score,"
	" 'appliedPoints', a.applied_points) ORDER BY board_id))::text " THIS_UNDO,
	.nargs = 3, .types = {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static bool
read_arguments(FunctionCallInfo fcinfo, Undoing *undoing, Refusal *refusal)
{
	undoing->user_id = argument_text(fcinfo, 0);
	undoing->action_id = argument_text(fcinfo, 1);
	undoing->reason = argument_text(fcinfo, 2);
	undoing->reference = argument_text(fcinfo, 3);
	if (undoing->user_id == NULL || undoing->action_id == NULL || undoing->reason == NULL)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "user_id, action_id and reason must be given");
	if (!form_is_id(undoing->action_id))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "action id must have 1 to 255 characters, none of them a control character");
	return change_check_user_id(undoing->user_id, refusal) &&
		change_check_reason(undoing->reason, refusal) &&
		(undoing->reference == NULL || change_check_reference(undoing->reference, refusal));
}

static bool
was_made(Undoing *undoing, Refusal *refusal)
{
	Datum		values[3];

	refusal->code = REFUSAL_NONE;
	if (undoing->reference == NULL)
		return false;
	values[0] = CStringGetTextDatum(undoing->reference);
	values[1] = Int64GetDatum(undoing->player_id);
	values[2] = CStringGetTextDatum(undoing->action_id);
	if (!change_was_made(&find_plan, values, refusal))
		return false;
	undoing->undone_at = DatumGetTimestampTz(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	undoing->replayed = true;
	return true;
}

static bool
find_action(Undoing *undoing, Ledger *ledger, Refusal *refusal)
{
	LedgerPlayer player;

	ledger_look(ledger);
	ledger_find_player(ledger, undoing->user_id, &player);
	undoing->listed = !player.hidden && !player.banned;
	ledger_find_action(ledger, undoing->player_id, undoing->action_id, &undoing->action);
	if (!undoing->action.exists)
		return refuse(refusal, REFUSAL_NOT_FOUND, "scoreboard_history_for() lists those that are; for one that was purged, correct the score with scoreboard_adjust().",
					  "there is no such action of the player in the log");
	if (undoing->action.undone_at != 0)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "scoreboard.adjustment says by whom and why.", "the action was undone already");
	return true;
}

/* ---------------------------------------------------------------------------
 * One board and season
 * ------------------------------------------------------------------------- */

static void
reopen(void *argument)
{
	int			pin = plan_connect();

	plan_write(&reopen_plan, argument, NULL, SPI_OK_UPDATE);
	plan_finish(pin);
}

/* Whatever is shown of it is made anew, if it has ended. */
static bool
reopen_season(const ReplayCredit *credit, Refusal *refusal)
{
	Datum		values[2] = {Int32GetDatum(credit->board_id), Int32GetDatum(credit->season)};

	return seize_try(scoreboard_moderation_wait, reopen, values) ||
		refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Find the open transaction that has moderated a player of that season, and end it.",
				   "an open transaction holds up a season that has ended");
}

static void
remove_score(const ReplayCredit *credit)
{
	Datum		values[3] = {Int32GetDatum(credit->board_id), Int32GetDatum(credit->season), Int64GetDatum(credit->player_id)};

	plan_write(&remove_score_plan, values, NULL, SPI_OK_DELETE);
	if (SPI_processed != 1)
		ledger_raise_serialization_failure();
}

/* The row of ledger_find_score(), which was asked last. */
static bool
write_score(const Undoing *undoing, const ReplayCredit *credit, Ledger *ledger, const LedgerScore *old, LedgerScore *new, Refusal *refusal)
{
	if (ledger_same_score(old, new))
		return true;
	if (!new->exists)
		remove_score(credit);
	else
	{
		new->reached_at = old->score == new->score ? old->reached_at : undoing->undone_at;
		ledger_set_score(ledger, credit->board_id, credit->season, credit->player_id, old, new, undoing->listed);
		ledger_finish_action(ledger);
	}
	return reopen_season(credit, refusal);
}

static bool
record(const Undoing *undoing, const ReplayCredit *credit, bool first, const LedgerScore *old, const LedgerScore *new, Refusal *refusal)
{
	bool		recorded;
	bool		referred = first && undoing->reference != NULL;
	char		nulls[] = "           ";
	Datum		values[11] = {
		referred ? CStringGetTextDatum(undoing->reference) : (Datum) 0, Int64GetDatum(undoing->player_id), CStringGetTextDatum(undoing->action_id),
		CStringGetTextDatum(undoing->reason), TimestampTzGetDatum(undoing->undone_at), Int32GetDatum(credit->board_id), Int32GetDatum(credit->season),
		Int64GetDatum(-credit->counted), Int64GetDatum(new->score - old->score), Int64GetDatum(old->score), Int64GetDatum(new->score)
	};

	nulls[0] = referred ? ' ' : 'n';
	nulls[8] = nulls[9] = old->exists ? ' ' : 'n';
	nulls[10] = new->exists ? ' ' : 'n';
	/* Where another session has used the reference meanwhile, it was for something else: nobody undoes this one beside us. */
	return change_record(&record_plan, values, nulls, &recorded, refusal) && (recorded || change_refuse_reference(refusal));
}

static bool
change_score(const Undoing *undoing, const ReplayCredit *credit, const Board *board, Ledger *ledger, LedgerScore *old, LedgerScore *new, Refusal *refusal)
{
	ledger_find_score(ledger, credit->board_id, credit->season, credit->player_id, old);
	if (!replay_without(credit, board, old, new, refusal))
		return false;
	/* Where somebody has removed it by hand, only what the log says is changed: the rest is for scoreboard_repair(). */
	new->exists = new->exists && old->exists;
	return !old->exists || write_score(undoing, credit, ledger, old, new, refusal);
}

/* Nothing stands where the board is gone. */
static bool
undo_credit(const Undoing *undoing, const ReplayCredit *credit, bool first, Ledger *ledger, Refusal *refusal)
{
	const Board *found = config_board_by_id(credit->board_id);
	LedgerScore old = {.exists = false};
	LedgerScore new = {.exists = false};

	if (found)
	{
		Board		board = *found; /* the cache may be filled anew meanwhile */

		if (!change_score(undoing, credit, &board, ledger, &old, &new, refusal))
			return false;
	}
	return record(undoing, credit, first, &old, &new, refusal);
}

/* ---------------------------------------------------------------------------
 * All of them
 * ------------------------------------------------------------------------- */

static ReplayCredit *
read_credits(const Undoing *undoing, int *count)
{
	Datum		values[2] = {Int64GetDatum(undoing->player_id), CStringGetTextDatum(undoing->action_id)};
	ReplayCredit *credits;

	plan_read(&credits_plan, values, NULL, 0);
	*count = (int) SPI_processed;
	credits = palloc(Max(*count, 1) * sizeof(ReplayCredit));
	for (int i = 0; i < *count; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		credits[i] = (ReplayCredit) {
			.player_id = undoing->player_id,
			.action_id = undoing->action_id,
			.created_at = undoing->action.created_at,
			.points = undoing->action.points,
			.board_id = DatumGetInt32(plan_datum(row, desc, 1)),
			.season = DatumGetInt32(plan_datum(row, desc, 2)),
			.named = DatumGetBool(plan_datum(row, desc, 3)),
			.counted = DatumGetInt64(plan_datum(row, desc, 4)),
			.set_score = DatumGetBool(plan_datum(row, desc, 5))
		};
	}
	return credits;
}

static void
mark(const Undoing *undoing, int credits)
{
	Datum		values[3] = {Int64GetDatum(undoing->player_id), CStringGetTextDatum(undoing->action_id), TimestampTzGetDatum(undoing->undone_at)};
	uint64		marked;

	plan_write(&mark_credits_plan, values, NULL, SPI_OK_UPDATE);
	marked = SPI_processed;
	plan_write(&mark_action_plan, values, NULL, SPI_OK_UPDATE);
	if (marked + SPI_processed != credits)
		ledger_raise_serialization_failure();
}

static void
set_this_undo(const Undoing *undoing, Datum *values)
{
	values[0] = Int64GetDatum(undoing->player_id);
	values[1] = CStringGetTextDatum(undoing->action_id);
	values[2] = TimestampTzGetDatum(undoing->undone_at);
}

static void
note_event(const Undoing *undoing, Ledger *ledger)
{
	Datum		values[3];

	set_this_undo(undoing, values);
	plan_read(&details_plan, values, NULL, 1);
	event_action_undone(ledger, undoing->player_id, undoing->action_id, &undoing->action, undoing->undone_at,
						plan_known_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

/* Under the player's lock. */
static bool
undo_action(Undoing *undoing, Ledger *ledger, Refusal *refusal)
{
	ReplayCredit *credits;
	int			count;

	if (was_made(undoing, refusal))
		return true;
	if (refusal->code != REFUSAL_NONE || !find_action(undoing, ledger, refusal))
		return false;
	undoing->undone_at = ledger_clock();
	credits = read_credits(undoing, &count);
	mark(undoing, count);
	for (int i = 0; i < count; i++)
	{
		if (!undo_credit(undoing, &credits[i], i == 0, ledger, refusal))
			return false;
	}
	if (scoreboard_outbox)
		note_event(undoing, ledger);
	replicated_at_commit();
	return true;
}

static void
emit_rows(FunctionCallInfo fcinfo, const Undoing *undoing)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		key[3];

	set_this_undo(undoing, key);
	plan_read(&rows_plan, key, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[9];
		bool		nulls[9] = {false};

		values[0] = CStringGetTextDatum(undoing->user_id);
		values[1] = CStringGetTextDatum(undoing->action_id);
		for (int column = 1; column <= 5; column++)
			values[column + 1] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &nulls[column + 1]);
		values[7] = TimestampTzGetDatum(undoing->undone_at);
		values[8] = BoolGetDatum(undoing->replayed);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* The board's settings are read under the lock. */
static bool
lock_and_undo(FunctionCallInfo fcinfo, Undoing *undoing, Refusal *refusal)
{
	Ledger	   *ledger;
	bool		undone;

	undoing->player_id = moderation_lock_player(undoing->user_id);
	if (undoing->player_id == 0)
		return change_refuse_player(refusal);
	config_begin_call();
	SPI_connect();
	ledger = ledger_open();
	undone = undo_action(undoing, ledger, refusal);
	ledger_close(ledger);
	if (undone)
		emit_rows(fcinfo, undoing);
	SPI_finish();
	return undone;
}

Datum
scoreboard_undo(PG_FUNCTION_ARGS)
{
	Undoing		undoing = {0};
	Refusal		refusal;

	hide_statement();
	InitMaterializedSRF(fcinfo, 0);
	if (!read_arguments(fcinfo, &undoing, &refusal) || !lock_and_undo(fcinfo, &undoing, &refusal))
		refusal_raise(&refusal);
	return (Datum) 0;
}
