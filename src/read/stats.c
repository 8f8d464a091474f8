/*
 * read/stats.c - what stands in shared memory, for whoever watches the server
 *
 * Boards have scoreboard_stats(); this is what they share, and what was refused
 * or lost for want of room. The counters begin with the server's start and
 * belong to no database.
 *
 * Locks: those of the owners, one after the other, so the columns are not from one moment.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/hidden_statement.h"
#include "base/refusal_log.h"
#include "rank/index.h"
#include "trust/rate_limit.h"

PG_FUNCTION_INFO_V1(scoreboard_server_stats);

#define STATS_COLUMNS 7

Datum
scoreboard_server_stats(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[STATS_COLUMNS];
	bool		nulls[STATS_COLUMNS] = {false};
	int64		entries;
	int64		capacity;
	int64		full_refusals;
	int64		memory_used;
	int64		memory;

	hide_statement();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != STATS_COLUMNS)
		elog(ERROR, "scoreboard_server_stats must return %d columns", STATS_COLUMNS);
	rate_limit_stats(&entries, &capacity, &full_refusals);
	rank_index_memory(&memory_used, &memory);
	values[0] = CStringGetTextDatum(SCOREBOARD_VERSION);
	values[1] = Int64GetDatum(entries);
	values[2] = Int64GetDatum(capacity);
	values[3] = Int64GetDatum(full_refusals);
	values[4] = Int64GetDatum((int64) refusal_log_lost());
	values[5] = Int64GetDatum(memory_used);
	values[6] = Int64GetDatum(memory);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
