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

#define STATS_COLUMNS 10

Datum
scoreboard_server_stats(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[STATS_COLUMNS];
	bool		nulls[STATS_COLUMNS] = {false};
	RateStats	rate;
	int64		memory_used;
	int64		memory;

	hide_statement();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != STATS_COLUMNS)
		elog(ERROR, "scoreboard_server_stats must return %d columns", STATS_COLUMNS);
	rate = rate_limit_stats();
	rank_index_memory(&memory_used, &memory);
	values[0] = CStringGetTextDatum(SCOREBOARD_VERSION);
	values[1] = Int64GetDatum(rate.entries);
	values[2] = Int64GetDatum(rate.capacity);
	values[3] = Int64GetDatum(rate.full_refusals);
	values[4] = Int64GetDatum((int64) refusal_log_lost());
	values[5] = Int64GetDatum(memory_used);
	values[6] = Int64GetDatum(memory);
	values[7] = Int64GetDatum(rate.memory_used);
	values[8] = Int64GetDatum(rate.memory);
	values[9] = BoolGetDatum(rate.nearly_full);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
