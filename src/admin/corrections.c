/*
 * admin/corrections.c - a score is corrected by an administrator, once for each reference
 *
 * A correction is a row of scoreboard.adjustment with what was asked for, what was applied, who did it and why. It is part of the
 * record, as actions are: scores are the sum of both. It adds points to the score that stands, whatever the board's operator.
 *
 * Locks: as moderation (admin/moderation.h): relation scoreboard.score (ROW EXCLUSIVE), the player's row, its lock; what is read
 * under it is as committed now, and 40001 where this transaction can't see the same. A reference that another session has
 * just used is waited for last, no longer than moderation waits.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "admin/change.h"
#include "admin/moderation.h"
#include "base/config_cache.h"
#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/season.h"
#include "base/refusal.h"
#include "write/ledger.h"
#include "write/replicated.h"
#include "write/routing.h"

PG_FUNCTION_INFO_V1(scoreboard_adjust);

typedef struct Correction
{
	const char *user_id;
	const char *board_name;
	int64		points;
	const char *reason;
	const char *reference;

	const Board *board;			/* these as of the last look */
	int64		player_id;
	int32		season;
	int64		previous_score;
	int64		score;
	TimestampTz made_at;
	bool		replayed;
} Correction;

static SavedPlan find_plan = {
	.text = "SELECT kind = 'adjust' AND (player_id, board_id, points, reason) IS NOT DISTINCT FROM ($2, $3, $4, $5),"
	" season::int, previous_score::bigint, score::bigint, made_at::timestamptz FROM scoreboard.adjustment WHERE reference = $1",
	.nargs = 5, .types = {TEXTOID, INT8OID, INT4OID, INT8OID, TEXTOID}
};

static SavedPlan add_plan = {
	.text = "INSERT INTO scoreboard.adjustment"
	" (reference, kind, player_id, board_id, points, reason, season, applied_points, previous_score, score, made_at)"
	" VALUES ($1, 'adjust', $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (reference) DO NOTHING",
	.nargs = 10, .types = {TEXTOID, INT8OID, INT4OID, INT8OID, TEXTOID, INT4OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
};

static bool
read_arguments(FunctionCallInfo fcinfo, Correction *correction, Refusal *refusal)
{
	for (int i = 0; i < 5; i++)
	{
		if (PG_ARGISNULL(i))
			return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "user_id, board, points, reason and reference must all be given");
	}
	correction->user_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	correction->board_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	correction->points = PG_GETARG_INT64(2);
	correction->reason = text_to_cstring(PG_GETARG_TEXT_PP(3));
	correction->reference = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (!change_check_user_id(correction->user_id, refusal))
		return false;
	if (correction->points == 0 || !form_is_score(correction->points))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "points must lie between -9007199254740991 and 9007199254740991 and not be 0");
	return change_check_reason(correction->reason, refusal) && change_check_reference(correction->reference, refusal);
}

static bool
find_board(Correction *correction, Refusal *refusal)
{
	config_begin_call();
	correction->board = config_board(correction->board_name);
	if (correction->board == NULL)
		return refuse(refusal, REFUSAL_NOT_FOUND, "scoreboard.board lists the boards.", "there is no board \"%s\"", correction->board_name);
	if (correction->board->kind != BOARD_COUNTED)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Scores are kept on the servers that its list comes from.",
					  "board \"%s\" has no scores of its own", correction->board_name);
	return true;
}

/* The first of those that both statements take. */
static void
set_values(const Correction *correction, Datum *values)
{
	values[0] = CStringGetTextDatum(correction->reference);
	values[1] = Int64GetDatum(correction->player_id);
	values[2] = Int32GetDatum(correction->board->board_id);
	values[3] = Int64GetDatum(correction->points);
	values[4] = CStringGetTextDatum(correction->reason);
}

static void
take_stored(Correction *correction, HeapTuple row, TupleDesc desc)
{
	correction->season = DatumGetInt32(plan_datum(row, desc, 2));
	correction->previous_score = DatumGetInt64(plan_datum(row, desc, 3));
	correction->score = DatumGetInt64(plan_datum(row, desc, 4));
	correction->made_at = DatumGetTimestampTz(plan_datum(row, desc, 5));
	correction->replayed = true;
}

/* As change_was_made(); what it did is in *correction. */
static bool
was_made(Correction *correction, Refusal *refusal)
{
	Datum		values[5];
	bool		made;

	set_values(correction, values);
	SPI_connect();
	made = change_was_made(&find_plan, values, refusal);
	if (made)
		take_stored(correction, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	SPI_finish();
	return made;
}

static bool
next_score(Correction *correction, const LedgerScore *old, Refusal *refusal)
{
	const Board *board = correction->board;
	int64		next = routing_added(board, old->score, correction->points);

	/* There is nothing that a difference could be added to. */
	if (board->operator != OPERATOR_SUM && !old->exists)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Its first action sets the score.",
					  "the player has no score on board \"%s\" that could be corrected", board->name);
	if (!change_check_score(next, refusal))
		return false;
	correction->previous_score = old->score;
	correction->score = next;
	return true;
}

/* *recorded is false where another session has used the reference meanwhile. */
static bool
record(const Correction *correction, bool *recorded, Refusal *refusal)
{
	Datum		values[10];

	set_values(correction, values);
	values[5] = Int32GetDatum(correction->season);
	values[6] = Int64GetDatum(correction->score - correction->previous_score);
	values[7] = Int64GetDatum(correction->previous_score);
	values[8] = Int64GetDatum(correction->score);
	values[9] = TimestampTzGetDatum(correction->made_at);
	return change_record(&add_plan, values, NULL, recorded, refusal);
}

static void
write_score(const Correction *correction, Ledger *ledger, const LedgerPlayer *player, const LedgerScore *old)
{
	LedgerScore new = {.exists = true, .score = correction->score, .reached_at = correction->made_at, .extras = old->extras};

	if (old->exists && old->score == correction->score)
		return;
	ledger_set_score(ledger, correction->board->board_id, correction->season, player->player_id, old, &new,
					 !player->hidden && !player->banned);
	ledger_finish_action(ledger);
}

/* Under the player's lock. */
static bool
correct(Correction *correction, Ledger *ledger, Refusal *refusal)
{
	LedgerPlayer player;
	LedgerScore old;
	bool		recorded;

	if (was_made(correction, refusal) || refusal->code != REFUSAL_NONE)
		return refusal->code == REFUSAL_NONE;
	ledger_look(ledger);
	ledger_find_player(ledger, correction->user_id, &player);
	correction->made_at = ledger_clock();
	correction->season = season_of(correction->board, correction->made_at);
	ledger_find_score(ledger, correction->board->board_id, correction->season, player.player_id, &old);
	if (!next_score(correction, &old, refusal) || !record(correction, &recorded, refusal))
		return false;
	if (!recorded)
		return was_made(correction, refusal);
	write_score(correction, ledger, &player, &old);
	replicated_at_commit();
	return true;
}

static bool
lock_and_correct(Correction *correction, Refusal *refusal)
{
	Ledger	   *ledger;
	bool		corrected;

	if (!find_board(correction, refusal))
		return false;
	correction->player_id = moderation_lock_player(correction->user_id);
	if (correction->player_id == 0)
		return change_refuse_player(refusal);
	/* It may have been changed while we waited. */
	if (!find_board(correction, refusal))
		return false;
	ledger = ledger_open();
	corrected = correct(correction, ledger, refusal);
	ledger_close(ledger);
	return corrected;
}

static Datum
answer_row(FunctionCallInfo fcinfo, const Correction *correction)
{
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(correction->user_id);
	values[1] = CStringGetTextDatum(correction->board_name);
	values[2] = Int32GetDatum(correction->season);
	values[3] = Int64GetDatum(correction->previous_score);
	values[4] = Int64GetDatum(correction->score);
	values[5] = Int64GetDatum(correction->score - correction->previous_score);
	values[6] = TimestampTzGetDatum(correction->made_at);
	values[7] = BoolGetDatum(correction->replayed);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

Datum
scoreboard_adjust(PG_FUNCTION_ARGS)
{
	Correction	correction = {0};
	Refusal		refusal;

	hide_statement();
	if (!read_arguments(fcinfo, &correction, &refusal) || !lock_and_correct(&correction, &refusal))
		refusal_raise(&refusal);
	return answer_row(fcinfo, &correction);
}
