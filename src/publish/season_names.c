/*
 * publish/season_names.c - the final documents of ended seasons follow the names of the players that they show
 *
 * Whoever changes how a player is shown adds a row to scoreboard.profile_change, in the same transaction (a trigger). The chore here takes
 * these rows and marks the documents that show such a player; then it makes the marked ones anew, as many as a moment allows. Both
 * stand in tables: nothing is lost with the process. Ranks and scores stay as they are in the stored document, so a season of a million players
 * costs no more than one of ten. A document that has changed gets a newer version than any of the board.
 *
 * Not while a dump is being restored, which may bring the seasons later.
 *
 * A name that was committed before a final document read it is in it; one that was committed later has its row here later: both chores
 * run in this process, one after the other.
 *
 * Locks: rows of scoreboard.profile_change and scoreboard.season; marking waits for them as chores do, making anew skips what is locked.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/plan.h"
#include "publish/publisher_transaction.h"
#include "publish/season_names.h"
#include "publish/seasons.h"
#include "publish/worker.h"
#include "read/document.h"

#define SLICE 1000				/* changes, then documents */
#define SLICE_MS 50

/* When what is left is locked. */
#define AGAIN_MS 500

static bool look = true;		/* at our start, too */
static int64 look_at = 0;

static SavedPlan mark_plan = {
	.text = "WITH taken AS (DELETE FROM scoreboard.profile_change c"
	"  WHERE c.ctid = ANY (ARRAY(SELECT o.ctid FROM scoreboard.profile_change o LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING c.player_id),"
	" marked AS (UPDATE scoreboard.season e SET stale = true FROM (SELECT array_agg(DISTINCT player_id) AS ids FROM taken) AS t"
	"  WHERE e.shows && t.ids AND NOT e.stale AND e.purged_at IS NULL RETURNING e.season)"
	" SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM marked)",
	.nargs = 1, .types = {INT8OID}
};

static SavedPlan stale_plan = {
	.text = "SELECT board_id::int, season::int FROM scoreboard.season WHERE stale AND final AND purged_at IS NULL",
};

static SavedPlan lock_plan = {
	.text = "SELECT e.began_at, e.ended_at, coalesce(e.players, 0)::bigint, coalesce(e.document::text, ''), e.shows::bigint[], " SEASONS_LAST_VERSION
	" FROM scoreboard.season e WHERE e.board_id = $1 AND e.season = $2 AND e.stale AND e.final AND e.shows IS NOT NULL AND e.purged_at IS NULL FOR UPDATE SKIP LOCKED",
	.nargs = 3, .types = {INT4OID, INT4OID, TEXTOID}
};

static SavedPlan store_plan = {
	.text = "UPDATE scoreboard.season SET stale = false, version = $3, document = $4 WHERE board_id = $1 AND season = $2",
	.nargs = 4, .types = {INT4OID, INT4OID, INT8OID, TEXTOID}
};

static SavedPlan unmark_plan = {
	.text = "UPDATE scoreboard.season SET stale = false, final = final AND $3 WHERE board_id = $1 AND season = $2",
	.nargs = 3, .types = {INT4OID, INT4OID, BOOLOID}
};

void
season_names_look(void)
{
	look = true;
}

int64
season_names_wait_ms(void)
{
	return look ? Max(look_at - worker_clock_ms(), 0) : WORKER_LONGEST_SLEEP_MS;
}

bool
season_names_pending(void)
{
	return season_names_wait_ms() == 0;
}

/* What shows somebody who has changed; true where there may be more of them. */
static bool
mark_stale(void)
{
	Datum		values[1] = {Int64GetDatum(SLICE)};
	int64		taken;

	plan_write(&mark_plan, values, NULL, SPI_OK_SELECT);
	taken = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	return taken == SLICE;
}

/* The players of a document, as they are shown now. */
static ListedRow *
named_rows(Datum shows, int *count)
{
	Datum	   *ids;
	ListedRow  *rows;

	deconstruct_array(DatumGetArrayTypeP(shows), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, count);
	rows = palloc0(sizeof(ListedRow) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
		rows[i].at.key.player_id = DatumGetInt64(ids[i]);
	listing_name(rows, *count);
	return rows;
}

/* A document that isn't what it should be is made anew from the scores. */
static void
store(const Board *board, int32 season, HeapTuple row, TupleDesc desc)
{
	int64		players = DatumGetInt64(plan_datum(row, desc, 3));
	char	   *document = plan_known_text(row, desc, 4);
	int64		version = Max(DatumGetInt64(plan_datum(row, desc, 6)) + 1, worker_version_of_clock());
	CalendarSpan span = {DatumGetTimestampTz(plan_datum(row, desc, 1)), DatumGetTimestampTz(plan_datum(row, desc, 2))};
	int			count;
	ListedRow  *rows = named_rows(plan_datum(row, desc, 5), &count);
	char	   *entries = document_renamed(document, rows, count);
	Datum		values[4] = {Int32GetDatum(board->board_id), Int32GetDatum(season)};

	if (entries == NULL || document_shows(document, entries))
	{
		values[2] = BoolGetDatum(entries != NULL);
		plan_write(&unmark_plan, values, NULL, SPI_OK_UPDATE);
		if (entries == NULL)
			seasons_look();
		return;
	}
	values[2] = Int64GetDatum(version);
	values[3] = CStringGetTextDatum(document_assemble(board, season, &span, version, GetCurrentTimestamp(), players, entries));
	plan_write(&store_plan, values, NULL, SPI_OK_UPDATE);
}

/* False where it couldn't be had. */
static bool
rename_in(int32 board_id, int32 season)
{
	const Board *board = config_board_by_id(board_id);
	Datum		values[3] = {Int32GetDatum(board_id), Int32GetDatum(season)};

	if (board == NULL)
		return true;
	values[2] = CStringGetTextDatum(board->name);
	plan_write(&lock_plan, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	store(board, season, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	return true;
}

/* True where there may be more. */
static bool
rename_in_stale(void)
{
	int64		until = worker_clock_ms() + SLICE_MS;
	SPITupleTable *stale;
	uint64		count;
	uint64		at = 0;
	bool		skipped = false;

	plan_read(&stale_plan, NULL, NULL, SLICE);
	stale = SPI_tuptable;
	count = SPI_processed;
	for (; at < count && (at == 0 || worker_clock_ms() < until); at++)
	{
		if (!rename_in(DatumGetInt32(plan_datum(stale->vals[at], stale->tupdesc, 1)), DatumGetInt32(plan_datum(stale->vals[at], stale->tupdesc, 2))))
			skipped = true;
	}
	if (skipped)
		look_at = worker_clock_ms() + AGAIN_MS;
	return skipped || at < count || count == SLICE;
}

void
season_names_follow(void)
{
	bool		more;

	if (!publisher_try_chore(CHORE_PATIENCE_MS))
	{
		look_at = worker_clock_ms() + AGAIN_MS;
		return;
	}
	config_begin_call();
	SPI_connect();
	more = mark_stale();
	more |= rename_in_stale();
	SPI_finish();
	publisher_commit_chore();
	look = more;
}
