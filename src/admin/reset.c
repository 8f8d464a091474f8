/*
 * admin/reset.c - a season is ended by hand, when nobody is writing
 *
 * The lock conflicts with every writer's, who each take theirs before they ask which season runs: so none of them counts in the
 * ended season any more once the caller's transaction has been committed. It is asked for in short turns, since writers that come
 * behind it wait meanwhile. Who has held it since the first turn for longer than scoreboard.moderation_wait is ended.
 *
 * Locks: relation scoreboard.score (SHARE ROW EXCLUSIVE), to the end of the transaction.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "scoreboard.h"
#include "base/seize.h"
#include "base/tables.h"

PG_FUNCTION_INFO_V1(scoreboard_seize_scores);

/* scoreboard.seize_scores() returns void */
Datum
scoreboard_seize_scores(PG_FUNCTION_ARGS)
{
	SeizeHolders *holders;
	LOCKTAG		tag;

	tables_require(TABLE_SCORE);
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, tables_id(TABLE_SCORE));
	holders = seize_note_holders(&tag, SEIZE_WRITERS);
	for (int waited = 0; !seize_scores(); waited += SEIZE_SCORES_MS)
	{
		/* The others have come since, and go by themselves or have their time. */
		if (waited >= scoreboard_moderation_wait)
		{
			if (seize_holders_left(holders))
				seize_end_holders(holders, "a season's end");
			else
			{
				holders = seize_note_holders(&tag, SEIZE_WRITERS);
				waited = 0;
			}
		}
		seize_scores_pause();
	}
	PG_RETURN_VOID();
}
