/*
 * read/ahead.c - how many stand ahead of somebody who stands on another server
 *
 * A board may be spread over several servers, each with its own players. Where one of them stands among all is one more than
 * the sum of what each server counts here, by one walk down its tree. Only what can be compared over servers counts: the
 * score, then the second key (the moment, or the subscore on boards of such ties); the order of first appearance is a server's own. So
 * whoever is equal in both shares a place.
 *
 * Owns no state, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "base/form.h"
#include "base/hidden_statement.h"
#include "rank/scan.h"
#include "read/reading.h"

PG_FUNCTION_INFO_V1(scoreboard_ahead);

static int64
read_score(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1) || !form_is_score(PG_GETARG_INT64(1)))
		reading_refuse(REFUSAL_INVALID_REQUEST, NULL, "score must lie between -9007199254740991 and 9007199254740991");
	return PG_GETARG_INT64(1);
}

/* Microseconds since 1970; null: behind all who have the score. */
static TimestampTz
read_moment(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(2))
		return DT_NOEND;
	if (!form_is_score(PG_GETARG_INT64(2)))
		reading_refuse(REFUSAL_INVALID_REQUEST, "On this board it is the moment at which the score was reached.",
					   "second_key must be microseconds since 1970, between -9007199254740991 and 9007199254740991");
	return PG_GETARG_INT64(2) - EPOCH_DIFFERENCE;
}

static int64
read_subscore(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(2))
		return NO_SUBSCORE;
	if (!form_is_score(PG_GETARG_INT64(2)))
		reading_refuse(REFUSAL_INVALID_REQUEST, "On this board it is the subscore.",
					   "second_key must lie between -9007199254740991 and 9007199254740991");
	return PG_GETARG_INT64(2);
}

/* A key that stands before all who are equal to it, as far as servers can be compared. */
static RankKey
read_key(FunctionCallInfo fcinfo, const Board *board)
{
	RankKey		key = {.score = read_score(fcinfo), .subscore = NO_SUBSCORE, .player_id = PG_INT64_MIN};

	if (rank_order_of(board).tie_break != TIE_MOMENT)
		key.subscore = read_subscore(fcinfo);
	else
		key.reached_at = read_moment(fcinfo);
	if (board->ties == TIES_SHARED)
		key.reached_at = DT_NOBEGIN;
	return key;
}

Datum
scoreboard_ahead(PG_FUNCTION_ARGS)
{
	Reading		reading;
	RankKey		key;
	int64		ahead;

	hide_statement();
	reading_begin(fcinfo, 0, 3, READING_NO_TOKEN, &reading);
	key = read_key(fcinfo, &reading.board);
	if (!rank_index_position(&reading.board, reading.season, &key, &ahead))
		rank_scan_position(&reading.board, reading.season, &key, &ahead);
	PG_RETURN_INT64(ahead);
}
