/*
 * read/standings.c - where many players of a board stand, for a bridge that tells each of them
 *
 * Everybody's key from one snapshot, all ranks in one hold of the index's lock. A gateway asks, which reads any board. Who stands in
 * no list is nobody's business but its own: its score is for who shows its pass (trust/pass.c); without one, the hidden, those who have
 * no score and those whom nobody knows are answered alike.
 *
 * Owns no state, writes nothing, takes no lock but ACCESS SHARE on what it reads.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/season.h"
#include "read/reading.h"
#include "read/standing.h"
#include "trust/pass.h"

PG_FUNCTION_INFO_V1(scoreboard_standings);

#define STANDINGS_COLUMNS 5

typedef struct Asked
{
	char	  **user_ids;
	char	  **passes;			/* NULL where none is shown */
	RankKey    *keys;
	bool	   *listed;
	int			count;
} Asked;

static void
read_passes(ArrayType *passes, Asked *asked)
{
	Datum	   *texts = NULL;
	bool	   *nulls = NULL;
	int			count = 0;

	if (passes)
		deconstruct_array(passes, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, &count);
	if (count != 0 && count != asked->count)
		reading_refuse(REFUSAL_INVALID_REQUEST, NULL, "passes must have as many elements as user_ids, or none");
	asked->passes = palloc0(Max(asked->count, 1) * sizeof(char *));
	for (int i = 0; i < count; i++)
		asked->passes[i] = nulls[i] ? NULL : TextDatumGetCString(texts[i]);
}

static void
read_asked(const Reading *reading, ArrayType *user_ids, ArrayType *passes, Asked *asked, RankView *rank)
{
	Datum	   *texts;

	deconstruct_array(user_ids, TEXTOID, -1, false, TYPALIGN_INT, &texts, NULL, &asked->count);
	asked->user_ids = palloc(Max(asked->count, 1) * sizeof(char *));
	asked->keys = palloc(Max(asked->count, 1) * sizeof(RankKey));
	asked->listed = palloc(Max(asked->count, 1) * sizeof(bool));
	rank->friend = palloc0(Max(asked->count, 1) * sizeof(RankRow));
	for (int i = 0; i < asked->count; i++)
		asked->user_ids[i] = TextDatumGetCString(texts[i]);
	read_passes(passes, asked);
	standing_read_keys(reading, asked->user_ids, asked->count, asked->keys, asked->listed);
	for (int i = 0; i < asked->count; i++)
		if (asked->listed[i])
			rank->friend[rank->friends++].key = asked->keys[i];
}

/* rank.friend has those that were listed, in their order. */
static void
emit(ReturnSetInfo *result, const Reading *reading, const RankView *rank, const Asked *asked)
{
	const RankRow *next = rank->friend;
	PassKey		key = {0};

	for (int i = 0; i < asked->count; i++)
	{
		const RankRow *at = asked->listed[i] ? next++ : NULL;
		bool		ranked = at && at->rank > 0;
		bool		told = ranked || (asked->passes[i] && pass_is_good(&key, asked->user_ids[i], asked->passes[i]));
		Datum		row[STANDINGS_COLUMNS] = {
			CStringGetTextDatum(asked->user_ids[i]), Int32GetDatum(reading->season), Int64GetDatum(ranked ? at->key.score : asked->keys[i].score),
			Int64GetDatum(ranked ? at->rank : 0), Int64GetDatum(rank->players)
		};
		bool		nulls[STANDINGS_COLUMNS] = {false, false, !told, !ranked, false};

		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
}

/*
 * scoreboard.standings(board text, user_ids text[], passes text[]) -> (user_id, season, score, rank, players): no rows for a board that
 * there isn't, or that has no ranks here
 */
Datum
scoreboard_standings(PG_FUNCTION_ARGS)
{
	const char *name;
	ArrayType  *user_ids;
	ArrayType  *passes;
	RankView	rank = {0};
	Reading		reading = {0};
	const Board *board;
	Asked		asked;

	hide_statement();
	name = reading_text(fcinfo, 0);
	user_ids = reading_user_ids(fcinfo, 1);
	passes = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	config_begin_call();
	InitMaterializedSRF(fcinfo, 0);
	board = name && form_is_board_name(name) ? config_board(name) : NULL;
	if (board == NULL || board->kind != BOARD_COUNTED)
		return (Datum) 0;
	reading.board = *board;
	reading.season = season_running(board);
	read_asked(&reading, user_ids, passes, &asked, &rank);
	standing_find_all(&reading, &rank);
	emit((ReturnSetInfo *) fcinfo->resultinfo, &reading, &rank, &asked);
	return (Datum) 0;
}
