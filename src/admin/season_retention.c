/*
 * admin/season_retention.c - ended seasons are kept for as long as their boards say: what is older goes
 *
 * A board's seasons go one after the other, the oldest first. A season that is final, and has ended longer ago than the board's
 * season_retention, is marked in scoreboard.season, without its document: from that commit on it is none for readers, and for whoever checks or mends
 * scores. Then its scores and balances go, a slice in each transaction; how far that has come, the rows that are left say: a purge that was
 * killed goes on there. When none is left the mark stays alone, in place of the one before it:
 *
 *   - no season up to it is any, whatever the log of actions still says of them (what purged actions added to them isn't kept either)
 *   - the board has had scores: its period stays
 *   - versions go on above the greatest that any of them has had
 *
 * Nobody writes to a final season but moderation, forgetting and repair, which lock the rows that they need: those that somebody has locked are
 * left to another time, and so is the season's end.
 *
 * Locks: relation scoreboard.score (ROW EXCLUSIVE), rows of scoreboard.season, score and balance that nobody has locked.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "admin/season_retention.h"
#include "base/plan.h"
#include "publish/worker.h"
#include "write/ledger.h"

#define STEP_ROWS 1000
#define STEP_SEASONS 100		/* where each has few */

/* Marked together: which they are is asked of all boards. */
#define BATCH 1000

/* When nothing was to be had. */
#define LOOK_INTERVAL_MS 60000

typedef struct PurgedSeason
{
	int32		board_id;
	int32		season;
} PurgedSeason;

/*
 * What this process is at. Not kept: another one begins with whatever is marked. Where in a season it is, it knows so that it doesn't pass again
 * what is dead but can't be freed yet; what was left behind it is looked for at the season's end.
 */
static PurgedSeason batch[BATCH];
static int	batch_count = 0;
static int	batch_at = 0;
static int	next_table = 0;
static int64 next_player = PG_INT64_MIN;
static bool progressed = true;	/* has anything of the batch gone? */
static int64 look_at = 0;

static SavedPlan due_plan = {
	.text = "SELECT FROM scoreboard.seasons_to_purge() LIMIT 1"
};

static SavedPlan mark_plan = {
	.text = "WITH due AS MATERIALIZED (SELECT d.board_id, d.season FROM scoreboard.seasons_to_purge() d WHERE NOT d.going LIMIT $1),"
	" free AS MATERIALIZED (SELECT e.board_id, e.season FROM due d JOIN scoreboard.season e USING (board_id, season)"
	"  WHERE e.final AND e.purged_at IS NULL FOR UPDATE OF e SKIP LOCKED),"
	" began AS (DELETE FROM scoreboard.baseline n USING free f WHERE n.board_id = f.board_id AND n.season = f.season)"
	" UPDATE scoreboard.season e SET purged_at = clock_timestamp(), players = coalesce(e.players, 0), document = NULL, shows = NULL, stale = false"
	" FROM free f WHERE e.board_id = f.board_id AND e.season = f.season",
	.nargs = 1, .types = {INT8OID}
};

static SavedPlan batch_plan = {
	.text = "SELECT e.board_id::int, e.season::int FROM scoreboard.season e WHERE e.purged_at IS NOT NULL AND e.players IS NOT NULL ORDER BY e.purged_at LIMIT $1",
	.nargs = 1, .types = {INT8OID}
};

#define SLICE_OF(name) \
	"WITH old AS MATERIALIZED (SELECT o.player_id FROM scoreboard." name " o WHERE o.board_id = $1 AND o.season = $2 AND o.player_id >= $3" \
	"  ORDER BY o.board_id, o.season, o.player_id LIMIT $4 FOR UPDATE SKIP LOCKED)," \
	" gone AS (DELETE FROM scoreboard." name " g WHERE g.board_id = $1 AND g.season = $2 AND g.player_id = ANY (ARRAY(SELECT o.player_id FROM old o)) RETURNING g.player_id)" \
	" SELECT max(g.player_id), count(*) FROM gone g"

static SavedPlan slice_plans[] = {
	{.text = SLICE_OF("score"), .nargs = 4, .types = {INT4OID, INT4OID, INT8OID, INT8OID}},
	{.text = SLICE_OF("balance"), .nargs = 4, .types = {INT4OID, INT4OID, INT8OID, INT8OID}}
};

static SavedPlan end_plan = {
	.text = "WITH free AS MATERIALIZED (SELECT e.board_id, e.season FROM scoreboard.season e WHERE e.board_id = $1 AND e.season = $2 AND e.purged_at IS NOT NULL"
	"  AND NOT EXISTS (SELECT FROM scoreboard.score s WHERE s.board_id = $1 AND s.season = $2)"
	"  AND NOT EXISTS (SELECT FROM scoreboard.balance b WHERE b.board_id = $1 AND b.season = $2) FOR UPDATE OF e SKIP LOCKED),"
	" before AS (DELETE FROM scoreboard.season e USING free f WHERE e.board_id = f.board_id AND e.season < f.season AND e.purged_at IS NOT NULL RETURNING e.version)"
	" UPDATE scoreboard.season e SET players = NULL, version = greatest(e.version, (SELECT max(o.version) FROM before o))"
	" FROM free f WHERE e.board_id = f.board_id AND e.season = f.season",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

bool
season_retention_is_due(void)
{
	int			pin = plan_connect();
	bool		due;

	plan_write(&due_plan, NULL, NULL, SPI_OK_SELECT);
	due = SPI_processed > 0;
	plan_finish(pin);
	return due;
}

/* How many rows went. */
static int64
purge_slice(const PurgedSeason *season, int64 rows)
{
	Datum		values[4] = {Int32GetDatum(season->board_id), Int32GetDatum(season->season), Int64GetDatum(next_player), Int64GetDatum(rows)};
	bool		none;
	Datum		last;

	plan_write(&slice_plans[next_table], values, NULL, SPI_OK_SELECT);
	last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none);
	if (none)
		return 0;
	next_player = DatumGetInt64(last);
	return DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
}

/* True at its end: it is gone, or somebody has locked what is left. */
static bool
purge_season(const PurgedSeason *season, int64 *rows)
{
	Datum		values[2] = {Int32GetDatum(season->board_id), Int32GetDatum(season->season)};

	while (next_table < lengthof(slice_plans))
	{
		int64		gone = purge_slice(season, *rows);

		progressed |= gone > 0;
		*rows -= gone;
		if (*rows <= 0)
			return false;
		if (gone > 0)
			continue;
		next_table++;
		next_player = PG_INT64_MIN;
	}
	plan_write(&end_plan, values, NULL, SPI_OK_UPDATE);
	progressed |= SPI_processed > 0;
	next_table = 0;
	return true;
}

/* True where there is something to do. What is marked here goes in other transactions: no reader is at it any more. */
static bool
begin_batch(void)
{
	Datum		values[1] = {Int64GetDatum(BATCH)};

	batch_at = 0;
	batch_count = 0;
	if (look_at > worker_clock_ms())
		return false;
	plan_write(&mark_plan, values, NULL, SPI_OK_UPDATE);
	if (SPI_processed > 0 || progressed)
	{
		plan_write(&batch_plan, values, NULL, SPI_OK_SELECT);
		batch_count = (int) SPI_processed;
		for (int i = 0; i < batch_count; i++)
		{
			batch[i].board_id = DatumGetInt32(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
			batch[i].season = DatumGetInt32(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		}
	}
	progressed = batch_count == 0;
	if (batch_count == 0)
		look_at = worker_clock_ms() + LOOK_INTERVAL_MS;
	return batch_count > 0;
}

bool
season_retention_step(void)
{
	int			pin = plan_connect();
	int64		rows = STEP_ROWS;
	bool		more = true;

	if (batch_at == batch_count)
		more = begin_batch();
	else
	{
		ledger_lock();
		for (int i = 0; i < STEP_SEASONS && rows > 0 && batch_at < batch_count; i++)
			batch_at += purge_season(&batch[batch_at], &rows);
	}
	plan_finish(pin);
	return more;
}
