/*
 * admin/reset.c - a season is ended by hand, when nobody is writing
 *
 * A board and its label boards end theirs together. The lock on scoreboard.score conflicts with every writer's, who each take theirs before
 * they ask which season runs: so none of them counts in the ended seasons any more once the caller's transaction has been
 * committed. It is asked for in short turns, since writers that come behind it wait meanwhile; and a turn gives it back at once where
 * somebody else holds the boards or their seasons, so that no writer waits for that. Who has held up the scores since the first turn for longer
 * than scoreboard.moderation_wait is ended; whoever holds a board is the administrator's own matter, and is named to him.
 *
 * Locks, to the end of the transaction: relation scoreboard.score (SHARE ROW EXCLUSIVE), rows of scoreboard.board, the template's first, as
 * its settings go, and those of running seasons. Before them, a row of scoreboard.adjustment.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "scoreboard.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/seize.h"
#include "base/tables.h"

PG_FUNCTION_INFO_V1(scoreboard_seize_season);

static SavedPlan board_plan = {
	.text = "SELECT FROM scoreboard.board b WHERE b.board_id = $1 FOR NO KEY UPDATE NOWAIT",
	.nargs = 1, .types = {INT4OID}
};

static SavedPlan label_boards_plan = {
	.text = "SELECT FROM scoreboard.board b WHERE b.board_id IN (SELECT l.board_id FROM scoreboard.label_board l WHERE l.template_id = $1) ORDER BY b.board_id FOR NO KEY UPDATE NOWAIT",
	.nargs = 1, .types = {INT4OID}
};

static SavedPlan seasons_plan = {
	.text = "SELECT FROM scoreboard.season e WHERE e.board_id IN (SELECT $1 UNION ALL SELECT l.board_id FROM scoreboard.label_board l WHERE l.template_id = $1) AND e.ended_at IS NULL"
	" ORDER BY e.board_id, e.season FOR UPDATE NOWAIT",
	.nargs = 1, .types = {INT4OID}
};

typedef struct Taking
{
	Datum		template_id;
	SeizeHolders *writers;		/* who is waited for */
	int			writers_ms;		/* for how long */
	int			rows_ms;
	bool		has_scores;		/* of the last turn */
} Taking;

/* Whoever makes label boards meanwhile has locked their template's row. */
static void
take_season(void *argument)
{
	Taking	   *taking = argument;
	int			pin;

	taking->has_scores = false;
	(void) tables_lock(TABLE_SCORE, ShareRowExclusiveLock);
	taking->has_scores = true;
	pin = plan_connect();
	plan_write(&board_plan, &taking->template_id, NULL, SPI_OK_SELECT);
	plan_write(&label_boards_plan, &taking->template_id, NULL, SPI_OK_SELECT);
	plan_write(&seasons_plan, &taking->template_id, NULL, SPI_OK_SELECT);
	plan_finish(pin);
}

static void
refuse_held_rows(void)
{
	Refusal		refusal;

	refuse_for(&refusal, REFUSAL_UNAVAILABLE, 1, "End the open transaction that has changed or locked it; pg_stat_activity shows whose it is.",
			   "an open transaction holds the board, or one of its label boards");
	refusal_raise(&refusal);
}

static void
note_writers(Taking *taking)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, tables_id(TABLE_SCORE));
	taking->writers = seize_note_holders(&tag, SEIZE_WRITERS);
	taking->writers_ms = 0;
}

/* After a turn that was in vain. */
static void
wait_on(Taking *taking)
{
	if (taking->has_scores)
	{
		taking->rows_ms += SEIZE_SCORES_MS;
		if (taking->rows_ms >= scoreboard_moderation_wait)
			refuse_held_rows();
	}
	else if (taking->writers_ms < scoreboard_moderation_wait)
		taking->writers_ms += SEIZE_SCORES_MS;
	else if (seize_holders_left(taking->writers))
		seize_end_holders(taking->writers, "a season's end");
	else						/* The others have come since, and go by themselves or have their time. */
		note_writers(taking);
	seize_scores_pause();
}

/* scoreboard.seize_season(template_id integer) returns void */
Datum
scoreboard_seize_season(PG_FUNCTION_ARGS)
{
	Taking		taking = {.template_id = PG_GETARG_DATUM(0)};

	tables_require(TABLE_SCORE);
	note_writers(&taking);
	while (!seize_scores_with(take_season, &taking))
		wait_on(&taking);
	PG_RETURN_VOID();
}
