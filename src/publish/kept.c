/*
 * publish/kept.c - versions of lists that boards keep, so that the list of a past moment can be asked for
 *
 * A row of scoreboard.kept_version holds who stood where with which score, by player_id: names, and who may be shown, are those of
 * the day on which somebody asks (read/past.c). The publisher adds it in the transaction that stores the document. Nothing
 * is added where the same stood there before, so neither a start, which publishes everything, nor a new name adds a row. What was kept of moments
 * that are still to come, before the clock was set back, goes: nothing of it will have stood then.
 *
 * Who forgets a player takes it out of all rows that are committed. A list that was built before may still have it: so the publisher locks
 * the table before it builds one, and who forgets waits for that lock. The publisher itself never waits: it publishes
 * without keeping, and looks again a little later.
 *
 * What has stood too long ago is purged by the purger: all before the version that stood when the time began that is kept, all of before the
 * board was told to keep versions (it may have been told not to in between), and all of boards that are gone. board_id is
 * never used twice, so the latter needn't happen when they go.
 *
 * Locks: scoreboard.kept_version, then scoreboard.baseline (publish/baseline.c), ROW EXCLUSIVE, conditionally.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/plan.h"
#include "base/tables.h"
#include "publish/kept.h"
#include "publish/publisher_transaction.h"
#include "publish/worker.h"

/* Rows, or ten times as many boards, of one transaction of the purger's. */
#define PURGE_ROWS 1000

#define PURGE_INTERVAL_MS 600000

static SavedPlan table_plan = {
	.text = "SELECT 'scoreboard.kept_version'::regclass::oid, 'scoreboard.baseline'::regclass::oid"
};

static SavedPlan store_plan = {
	.text = "WITH later AS (DELETE FROM scoreboard.kept_version k USING (SELECT l.kept_at, l.version FROM scoreboard.kept_version l"
	"  WHERE l.board_id = $1 AND l.kept_at > $2 ORDER BY l.kept_at LIMIT 1000 FOR UPDATE SKIP LOCKED) AS l"
	"  WHERE k.board_id = $1 AND k.kept_at = l.kept_at AND k.version = l.version)"
	" INSERT INTO scoreboard.kept_version (board_id, kept_at, version, season, season_start, season_end, players, ranks, player_ids, scores, subscores, details)"
	" SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 WHERE NOT EXISTS ("
	"SELECT FROM (SELECT k.* FROM scoreboard.kept_version k WHERE k.board_id = $1 AND k.kept_at BETWEEN $13 AND $2 ORDER BY k.kept_at DESC, k.version DESC LIMIT 1) AS last"
	" WHERE last.season = $4 AND last.ranks = $8 AND last.player_ids = $9 AND last.scores = $10 AND last.subscores IS NOT DISTINCT FROM $11 AND last.details IS NOT DISTINCT FROM $12)"
	" ON CONFLICT DO NOTHING",
	.nargs = 13,
	.types = {INT4OID, TIMESTAMPTZOID, INT8OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};

static SavedPlan any_plan = {.text = "SELECT FROM scoreboard.kept_version LIMIT 1"};

static SavedPlan purge_plan = {
	.text = "SELECT scoreboard.purge_kept_versions($1, $2)",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

/* ------------------------------------------------------------------------
 * Keeping
 * ------------------------------------------------------------------------ */

bool
kept_begin(void)
{
	Oid			kept;
	Oid			baseline;
	bool		restoring;

	SPI_connect();
	plan_read(&table_plan, NULL, NULL, 1);
	kept = DatumGetObjectId(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	baseline = DatumGetObjectId(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	restoring = publisher_sees_restore();
	SPI_finish();
	return !restoring && ConditionalLockRelationOid(kept, RowExclusiveLock) && ConditionalLockRelationOid(baseline, RowExclusiveLock);
}

/* A column of the list: what is no value is null, and a column of nothing but nulls is null. */
typedef struct Column
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
	bool		any;
} Column;

static Column
room_for(const Listing *listing)
{
	return (Column) {.values = palloc(sizeof(Datum) * Max(listing->found, 1)), .nulls = palloc(sizeof(bool) * Max(listing->found, 1))};
}

static void
add(Column *column, bool is_null, Datum value)
{
	column->values[column->count] = value;
	column->nulls[column->count++] = is_null;
	column->any |= !is_null;
}

static Datum
as_array(Column *column, Oid type)
{
	int			lower = 1;

	if (column->count == 0)
		return PointerGetDatum(construct_empty_array(type));
	if (type == TEXTOID)
		return PointerGetDatum(construct_md_array(column->values, column->nulls, 1, &column->count, &lower, type, -1, false, TYPALIGN_INT));
	return PointerGetDatum(construct_md_array(column->values, column->nulls, 1, &column->count, &lower, type, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
set_entries(const Listing *listing, Datum *values, char *nulls)
{
	Column		ranks = room_for(listing);
	Column		ids = room_for(listing);
	Column		scores = room_for(listing);
	Column		subscores = room_for(listing);
	Column		details = room_for(listing);

	for (int i = 0; i < listing->found; i++)
	{
		const ListedRow *row = &listing->rows[i];
		bool		has_subscore = row->at.key.subscore != NO_SUBSCORE;

		if (row->user_id == NULL)
			continue;
		add(&ranks, false, Int64GetDatum(row->at.rank));
		add(&ids, false, Int64GetDatum(row->at.key.player_id));
		add(&scores, false, Int64GetDatum(row->at.key.score));
		add(&subscores, !has_subscore, Int64GetDatum(row->at.key.subscore));
		add(&details, row->detail == NULL, row->detail ? CStringGetTextDatum(row->detail) : (Datum) 0);
	}
	values[0] = as_array(&ranks, INT8OID);
	values[1] = as_array(&ids, INT8OID);
	values[2] = as_array(&scores, INT8OID);
	values[3] = as_array(&subscores, INT8OID);
	values[4] = as_array(&details, TEXTOID);
	nulls[3] = subscores.any ? ' ' : 'n';
	nulls[4] = details.any ? ' ' : 'n';
}

void
kept_store(const KeptList *list)
{
	char		nulls[13];
	Datum		values[13] = {
		Int32GetDatum(list->board->board_id), TimestampTzGetDatum(list->stands_from), Int64GetDatum(list->version), Int32GetDatum(list->season),
		TimestampTzGetDatum(list->span.begin), TimestampTzGetDatum(list->span.end), Int64GetDatum(list->listing->players)
	};

	memset(nulls, ' ', sizeof(nulls));
	set_entries(list->listing, &values[7], &nulls[7]);
	values[12] = TimestampTzGetDatum(list->since);
	SPI_connect();
	plan_write(&store_plan, values, nulls, SPI_OK_INSERT);
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
}

/* ------------------------------------------------------------------------
 * Purging
 * ------------------------------------------------------------------------ */

/* Every so often, since time passes; and where the settings of a board have changed, or it is gone. */
bool
kept_purge_is_due(void)
{
	static uint64 looked_generation = 0;
	static int64 next_at = 0;
	int			pin;
	bool		any;

	config_begin_call();
	if (config_generation() == looked_generation && worker_clock_ms() < next_at)
		return false;
	looked_generation = config_generation();
	next_at = worker_clock_ms() + PURGE_INTERVAL_MS;
	pin = plan_connect();
	plan_read(&any_plan, NULL, NULL, 1);
	any = SPI_processed > 0;
	plan_finish(pin);
	return any;
}

bool
kept_purge_step(void)
{
	static int32 behind = 0;	/* this board is done */
	static bool done = false;
	int			pin;
	Datum		values[2] = {Int32GetDatum(behind), Int32GetDatum(PURGE_ROWS)};
	Datum		next;

	if (done)
		return false;
	pin = plan_connect();
	plan_write(&purge_plan, values, NULL, SPI_OK_SELECT);
	next = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &done);
	if (!done)
		behind = DatumGetInt32(next);
	plan_finish(pin);
	return !done;
}
