/*
 * read/standings.c - where many players of a board stand, for a bridge that tells each of them
 *
 * Everybody's key in one statement, all ranks in one hold of the index's lock. A gateway asks, which reads any board and knows
 * by itself who may be told what; so who stands in no list is answered too, with the score and without a rank.
 *
 * Owns no state but a saved plan, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/tables.h"
#include "read/reading.h"
#include "read/standing.h"

PG_FUNCTION_INFO_V1(scoreboard_standings);

#define STANDINGS_COLUMNS 5

/* A player who has no score here, or isn't one yet, has nulls. */
static SavedPlan keys_plan = {
	.text = "SELECT u.user_id, s.score, coalesce(s.subscore, 9223372036854775807), s.reached_at, s.player_id, s.listed"
	" FROM unnest($1) AS u (user_id)"
	" LEFT JOIN (scoreboard.player p JOIN scoreboard.score s"
	"  ON s.board_id = $2 AND s.season = $3 AND s.player_id = p.player_id) ON p.user_id = u.user_id",
	.nargs = 3, .types = {TEXTARRAYOID, INT4OID, INT4OID}
};

typedef struct Asked
{
	char	   *user_id;
	int64		score;
	int			friend;			/* its place in rank.friend, or -1: stands in no list */
} Asked;

static void
read_row(HeapTuple row, TupleDesc desc, RankView *rank, Asked *one)
{
	bool		none;

	one->user_id = plan_known_text(row, desc, 1);
	one->friend = -1;
	(void) SPI_getbinval(row, desc, 5, &none);
	if (none)
		return;
	one->score = DatumGetInt64(plan_datum(row, desc, 2));
	if (!DatumGetBool(plan_datum(row, desc, 6)))
		return;
	one->friend = rank->friends;
	rank->friend[rank->friends++].key = (RankKey) {
		.score = one->score,
		.subscore = DatumGetInt64(plan_datum(row, desc, 3)),
		.reached_at = DatumGetTimestampTz(plan_datum(row, desc, 4)),
		.player_id = DatumGetInt64(plan_datum(row, desc, 5))
	};
}

static Asked *
read_keys(const Reading *reading, ArrayType *user_ids, RankView *rank, int *count)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3] = {PointerGetDatum(user_ids), Int32GetDatum(reading->board.board_id), Int32GetDatum(reading->season)};
	Asked	   *asked;

	tables_require(TABLE_PLAYER);
	tables_require(TABLE_SCORE);
	SPI_connect();
	plan_read_committed(&keys_plan, values, NULL, 0);
	*count = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	asked = palloc0(Max(*count, 1) * sizeof(Asked));
	rank->friend = palloc0(Max(*count, 1) * sizeof(RankRow));
	for (int i = 0; i < *count; i++)
		read_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, rank, &asked[i]);
	SPI_finish();
	return asked;
}

static void
emit(ReturnSetInfo *result, const Reading *reading, const RankView *rank, const Asked *asked, int count)
{
	for (int i = 0; i < count; i++)
	{
		const RankRow *at = asked[i].friend < 0 ? NULL : &rank->friend[asked[i].friend];
		bool		ranked = at && at->rank > 0;
		Datum		row[STANDINGS_COLUMNS] = {
			CStringGetTextDatum(asked[i].user_id), Int32GetDatum(reading->season), Int64GetDatum(ranked ? at->key.score : asked[i].score),
			Int64GetDatum(ranked ? at->rank : 0), Int64GetDatum(rank->players)
		};
		bool		nulls[STANDINGS_COLUMNS] = {false, false, false, !ranked, false};

		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
}

/* scoreboard.standings(board text, user_ids text[]) -> (user_id, season, score, rank, players): no rows for a board that there isn't */
Datum
scoreboard_standings(PG_FUNCTION_ARGS)
{
	const char *name = reading_text(fcinfo, 0);
	ArrayType  *user_ids = reading_user_ids(fcinfo, 1);
	RankView	rank = {0};
	Reading		reading = {0};
	const Board *board;
	Asked	   *asked;
	int			count;

	hide_statement();
	config_begin_call();
	InitMaterializedSRF(fcinfo, 0);
	board = name && form_is_board_name(name) ? config_board(name) : NULL;
	if (board == NULL)
		return (Datum) 0;
	reading.board = *board;
	reading.season = board->season;
	asked = read_keys(&reading, user_ids, &rank, &count);
	standing_find_all(&reading, &rank);
	emit((ReturnSetInfo *) fcinfo->resultinfo, &reading, &rank, asked, count);
	return (Datum) 0;
}
