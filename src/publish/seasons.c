/*
 * publish/seasons.c - seasons are recorded, and their final documents kept
 *
 * A board's running season has a row in scoreboard.season from its first list on. When another begins, the row gets its end and the
 * document that was published last. That isn't final yet: who read the clock before the end may still be writing. So the chore here
 *
 *   1 notes the ended seasons whose document isn't final
 *   2 notes who holds a lock on scoreboard.score with which one writes: only they can write to these seasons, since
 *     whoever takes it later reads the clock, or the board's settings, later
 *   3 waits until they are gone; after scoreboard.moderation_wait it ends them, with a line in the log
 *   4 builds each list anew, stores it as final, and gives the season's rank tree back
 *
 * A document that has changed since it was published gets a version that is newer than the board's last one, and than those that a server
 * from which this one took over may have given. Whoever changes later what an ended season shows (moderation, forgetting) makes its row
 * not final again, under that row's lock, and has the board touched.
 *
 * Runs in the publisher, and keeps its notes in its memory: another one begins again. Locks: a row of scoreboard.season, then
 * nothing but reads.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "scoreboard.h"
#include "base/plan.h"
#include "base/seize.h"
#include "base/tables.h"
#include "publish/publisher_transaction.h"
#include "publish/seasons.h"
#include "publish/worker.h"
#include "rank/index.h"
#include "read/document.h"
#include "write/event.h"

/* Finished with one wait. */
#define SLICE 200
#define SLICE_MS 50

/* While there are writers to wait for. */
#define FIRST_LOOK_MS 20
#define LONGEST_LOOK_MS 500

typedef struct EndedSeason
{
	int32		board_id;
	int32		season;
} EndedSeason;

static bool look = true;		/* at our start, too */
static int64 look_at = 0;
static EndedSeason ended[SLICE];
static int	ended_count = 0;
static SeizeHolders *writers = NULL;	/* before step 2 */
static int64 waiting_since = 0;

/* From the latest on; those before the last that is recorded have rows, or are purged. */
static SavedPlan missed_plan = {
	.text = "WITH RECURSIVE recorded (season) AS (SELECT coalesce(max(e.season), -2147483648) FROM scoreboard.season e WHERE e.board_id = $1 AND e.season < $2),"
	" missed (season) AS ("
	"  SELECT (SELECT max(s.season) FROM scoreboard.score s WHERE s.board_id = $1 AND s.season < $2 AND s.season > (SELECT r.season FROM recorded r))"
	"  UNION ALL SELECT (SELECT max(s.season) FROM scoreboard.score s WHERE s.board_id = $1 AND s.season < m.season AND s.season > (SELECT r.season FROM recorded r))"
	"  FROM missed m WHERE m.season IS NOT NULL)"
	" SELECT season::int FROM missed WHERE season IS NOT NULL",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan add_plan = {
	.text = "INSERT INTO scoreboard.season (board_id, season, began_at) SELECT b.board_id, $2, $3 FROM scoreboard.board b WHERE b.board_id = $1 AND left(b.period, 1) = $4 AND b.time_zone = $5"
	" FOR SHARE SKIP LOCKED ON CONFLICT (board_id, season) DO NOTHING",
	.nargs = 5, .types = {INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
};

static SavedPlan open_plan = {
	.text = "SELECT season::int FROM scoreboard.season WHERE board_id = $1 AND season < $2 AND (ended_at IS NULL OR season = $3 AND document IS NULL)",
	.nargs = 3, .types = {INT4OID, INT4OID, INT4OID}
};

static SavedPlan end_plan = {
	.text = "UPDATE scoreboard.season SET ended_at = coalesce(ended_at, $3), version = $4, document = $5 WHERE board_id = $1 AND season = $2",
	.nargs = 5, .types = {INT4OID, INT4OID, TIMESTAMPTZOID, INT8OID, TEXTOID}
};

static SavedPlan unfinished_plan = {
	.text = "SELECT e.board_id::int, e.season::int FROM scoreboard.season e JOIN scoreboard.board b USING (board_id)"
	" WHERE e.ended_at IS NOT NULL AND NOT e.final AND e.purged_at IS NULL ORDER BY e.ended_at, 1, 2",
};

static SavedPlan lock_plan = {
	.text = "SELECT e.began_at, e.ended_at, coalesce(e.version, 0)::bigint, e.document::text, " SEASONS_LAST_VERSION
	" FROM scoreboard.season e WHERE e.board_id = $1 AND e.season = $2 AND NOT e.final AND e.purged_at IS NULL FOR UPDATE SKIP LOCKED",
	.nargs = 3, .types = {INT4OID, INT4OID, TEXTOID}
};

static SavedPlan finish_plan = {
	.text = "UPDATE scoreboard.season SET final = true, players = $3, version = $4, document = $5, shows = $6, stale = false WHERE board_id = $1 AND season = $2",
	.nargs = 6, .types = {INT4OID, INT4OID, INT8OID, INT8OID, TEXTOID, INT8ARRAYOID}
};

/* ------------------------------------------------------------------------
 * When a season begins
 * ------------------------------------------------------------------------ */

/* Not where the board is being deleted: its seasons go with it. Nor where its period is another since we read it: the number is one of the old. */
static void
add_season(const Board *board, int32 season, TimestampTz begins)
{
	Datum		values[5] = {Int32GetDatum(board->board_id), Int32GetDatum(season), TimestampTzGetDatum(begins),
		CStringGetTextDatum(psprintf("%c", board->period)), CStringGetTextDatum(board->time_zone)};

	plan_write(&add_plan, values, NULL, SPI_OK_INSERT);
}

/* The seasons with scores that we have slept through; a board that is reset by hand has each recorded then. */
static void
add_missed(const Board *board, int32 season)
{
	Datum		values[2] = {Int32GetDatum(board->board_id), Int32GetDatum(season)};
	SPITupleTable *missed;
	uint64		count;

	if (board->period == PERIOD_RESET)
		return;
	plan_read(&missed_plan, values, NULL, 0);
	missed = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		int32		earlier = DatumGetInt32(plan_datum(missed->vals[i], missed->tupdesc, 1));

		add_season(board, earlier, season_span(board, earlier).begin);
	}
}

static void
end_season(const Board *board, int32 season, int32 next_season, int64 version, const char *document)
{
	TimestampTz ends = season_span(board, season).end;
	Datum		values[5] = {Int32GetDatum(board->board_id), Int32GetDatum(season),
		TimestampTzGetDatum(TIMESTAMP_NOT_FINITE(ends) ? GetCurrentTimestamp() : ends), Int64GetDatum(version),
	document ? CStringGetTextDatum(document) : (Datum) 0};

	plan_write(&end_plan, values, document ? NULL : "   nn", SPI_OK_UPDATE);
	event_season_ended(board->board_id, season, next_season, DatumGetTimestampTz(values[2]));
}

static void
begin_season(const Board *board, int32 season, const CalendarSpan *span, int32 stored_season, int64 stored_version, const char *stored_document)
{
	Datum		values[3] = {Int32GetDatum(board->board_id), Int32GetDatum(season), Int32GetDatum(stored_season)};
	SPITupleTable *open;
	uint64		count;

	add_season(board, season, span->begin);
	add_missed(board, season);
	plan_read(&open_plan, values, NULL, 0);
	open = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		int32		older = DatumGetInt32(plan_datum(open->vals[i], open->tupdesc, 1));

		end_season(board, older, season, stored_version, older == stored_season ? stored_document : NULL);
	}
	if (count > 0)
		seasons_look();
}

static void
report_future(const Board *board, int32 season, TimestampTz begins)
{
	if (begins <= GetCurrentTimestamp())
		return;
	ereport(LOG,
			(errmsg("scoreboard \"%s\" is in season %d, which begins at %s only", board->name, season, timestamptz_to_str(begins)),
			 errdetail("The clock was ahead when the season was begun, or has been set back since. Actions count in it until the clock has come by its end."),
			 errhint("If that is too far away: set the clock, restart the server, which has noted the latest moment, and make the board anew.")));
}

void
seasons_begin(const Board *board, int32 season, const CalendarSpan *span, int32 stored_season, int64 stored_version, const char *stored_document)
{
	SPI_connect();
	/* A dump brings the seasons that it knows; one that has begun since is recorded when its list changes, or at our next start. */
	if (!publisher_sees_restore())
		begin_season(board, season, span, stored_season, stored_version, stored_document);
	report_future(board, season, span->begin);
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
}

/* ------------------------------------------------------------------------
 * After its end
 * ------------------------------------------------------------------------ */

void
seasons_look(void)
{
	look = true;
}

int64
seasons_wait_ms(void)
{
	return look ? Max(look_at - worker_clock_ms(), 0) : WORKER_LONGEST_SLEEP_MS;
}

bool
seasons_pending(void)
{
	return seasons_wait_ms() == 0;
}

/* Steps 1 and 2; false while a dump is being restored, whose scores may come behind its seasons. */
static bool
note_ended(void)
{
	if (!publisher_try_chore(CHORE_PATIENCE_MS))
		return false;
	SPI_connect();
	plan_read(&unfinished_plan, NULL, NULL, SLICE);
	ended_count = (int) SPI_processed;
	for (int i = 0; i < ended_count; i++)
	{
		ended[i].board_id = DatumGetInt32(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		ended[i].season = DatumGetInt32(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
	}
	SPI_finish();
	if (ended_count > 0)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, tables_id(TABLE_SCORE));
		MemoryContextSwitchTo(TopMemoryContext);
		writers = seize_note_holders(&tag, SEIZE_WRITERS);
		MemoryContextSwitchTo(worker_turn_context());
		waiting_since = worker_clock_ms();
	}
	publisher_commit_chore();
	return true;
}

/* Step 3: true if they are gone. */
static bool
writers_gone(void)
{
	int64		waited = worker_clock_ms() - waiting_since;

	if (!seize_holders_left(writers))
		return true;
	if (waited >= scoreboard_moderation_wait)
	{
		publisher_begin_transaction();
		seize_end_holders(writers, "a season's end");
		publisher_commit_transaction();
	}
	look_at = worker_clock_ms() + Min(FIRST_LOOK_MS + waited / 4, LONGEST_LOOK_MS);
	return false;
}

/* What scoreboard.season has of it, and what it shall have. */
typedef struct Final
{
	CalendarSpan	span;
	int64		version;
	char	   *document;		/* or NULL */
	int64		last_version;	/* of the board */
} Final;

/* False where it is gone, or final already, or an administrator's transaction has it in its hands: others are behind it. */
static bool
lock_season(const Board *board, int32 season, Final *final)
{
	Datum		values[3] = {Int32GetDatum(board->board_id), Int32GetDatum(season), CStringGetTextDatum(board->name)};
	HeapTuple	row;
	TupleDesc	desc;

	plan_write(&lock_plan, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	final->span.begin = DatumGetTimestampTz(plan_datum(row, desc, 1));
	final->span.end = DatumGetTimestampTz(plan_datum(row, desc, 2));
	final->version = DatumGetInt64(plan_datum(row, desc, 3));
	final->document = plan_text(row, desc, 4);
	final->last_version = DatumGetInt64(plan_datum(row, desc, 5));
	return true;
}

/* Without those who were gone by the time that names were read. */
static Datum
shown_ids(const Listing *listing)
{
	ListedRow  *shown = palloc(sizeof(ListedRow) * Max(listing->found, 1));
	int			count = 0;

	for (int i = 0; i < listing->found; i++)
	{
		if (listing->rows[i].user_id)
			shown[count++] = listing->rows[i];
	}
	return listing_ids(shown, count);
}

/* Step 4, for one of them; false where it couldn't be had. */
static bool
finish_season(const Board *board, int32 season)
{
	Final		final;
	bool		locked;

	SPI_connect();
	locked = lock_season(board, season, &final);
	if (locked)
	{
		Listing		listing;
		char	   *entries = document_entries(board, season, &listing);
		Datum		values[6];

		if (final.document == NULL || document_is_open(final.document) || !document_is_of(final.document, board) ||
			!document_shows(final.document, entries) || !document_counts(final.document, listing.players))
		{
			final.version = Max(final.last_version + 1, worker_version_of_clock());
			final.document = document_assemble(board, season, &final.span, final.version, GetCurrentTimestamp(), listing.players, entries);
		}
		values[0] = Int32GetDatum(board->board_id);
		values[1] = Int32GetDatum(season);
		values[2] = Int64GetDatum(listing.players);
		values[3] = Int64GetDatum(final.version);
		values[4] = CStringGetTextDatum(final.document);
		values[5] = shown_ids(&listing);
		plan_write(&finish_plan, values, NULL, SPI_OK_UPDATE);
	}
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
	return locked;
}

/* As many as a moment allows: lists are to be published, too. What is left is noted again. */
static void
finish_noted(void)
{
	Oid			score_table;
	int64		until = worker_clock_ms() + SLICE_MS;
	int			done = 0;
	bool		skipped = false;

	publisher_begin_chore(CHORE_PATIENCE_MS);
	config_begin_call();
	score_table = tables_id(TABLE_SCORE);
	for (; done < ended_count && (done == 0 || worker_clock_ms() < until); done++)
	{
		const Board *board = config_board_by_id(ended[done].board_id);

		if (board && !finish_season(board, ended[done].season))
			skipped = true;
	}
	publisher_commit_chore();
	for (int i = 0; i < done; i++)
		rank_index_free(score_table, ended[i].board_id, ended[i].season);
	if (skipped)
		look_at = worker_clock_ms() + LONGEST_LOOK_MS;
}

static void
forget_notes(void)
{
	if (writers)
		pfree(writers);
	writers = NULL;
	ended_count = 0;
}

void
seasons_finish(void)
{
	if (writers == NULL && !note_ended())
	{
		look_at = worker_clock_ms() + LONGEST_LOOK_MS;
		return;
	}
	if (writers == NULL)
	{
		look = false;
		return;
	}
	if (!writers_gone())
		return;
	PG_TRY();
	{
		finish_noted();
	}
	PG_FINALLY();
	{
		forget_notes();
	}
	PG_END_TRY();
}
