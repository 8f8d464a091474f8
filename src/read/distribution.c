/*
 * read/distribution.c - how the scores of a list are spread: a histogram and percentiles
 *
 * Everything that one answer tells is of one moment: one hold of the index's lock, in which each bound is one walk down the
 * tree, or one snapshot where that can't answer.
 *
 * Owns no state, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/hidden_statement.h"
#include "rank/scan.h"
#include "read/document.h"
#include "read/reading.h"

PG_FUNCTION_INFO_V1(scoreboard_distribution);

/* Buckets hold whole numbers, so both of their bounds belong to them. */
static void
append_buckets(StringInfo text, const RankSpread *spread)
{
	for (int i = 0; i < spread->buckets; i++)
	{
		int64		from = spread->lowest + i * spread->width;
		int64		to = Min(from + spread->width - 1, spread->highest);

		appendStringInfo(text, "%s{\"from\":" INT64_FORMAT ",\"to\":" INT64_FORMAT ",\"players\":" INT64_FORMAT "}",
						 i > 0 ? "," : "", from, to, spread->counts[i]);
	}
}

static void
append_percentiles(StringInfo text, const RankSpread *spread)
{
	for (int i = 0; i < RANK_QUANTILES; i++)
	{
		int			thousandths = rank_quantiles[i];

		appendStringInfo(text, "%s{\"percentile\":%d", i > 0 ? "," : "", thousandths / 10);
		if (thousandths % 10 != 0)
			appendStringInfo(text, ".%d", thousandths % 10);
		appendStringInfo(text, ",\"score\":" INT64_FORMAT "}", spread->quantiles[i]);
	}
}

static Datum
spread_json(const Reading *reading, const RankSpread *spread)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"board\":");
	document_append_string(&text, reading->board.name);
	appendStringInfo(&text, ",\"season\":%d,\"asOf\":", reading->season);
	document_append_time(&text, spread->as_of);
	appendStringInfo(&text, ",\"players\":" INT64_FORMAT, spread->players);
	if (spread->players == 0)
		appendStringInfoString(&text, ",\"lowest\":null,\"highest\":null,\"buckets\":[],\"percentiles\":[]}");
	else
	{
		appendStringInfo(&text, ",\"lowest\":" INT64_FORMAT ",\"highest\":" INT64_FORMAT ",\"buckets\":[", spread->lowest, spread->highest);
		append_buckets(&text, spread);
		appendStringInfoString(&text, "],\"percentiles\":[");
		append_percentiles(&text, spread);
		appendStringInfoString(&text, "]}");
	}
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

Datum
scoreboard_distribution(PG_FUNCTION_ARGS)
{
	Reading		reading;
	RankSpread	spread = {0};

	hide_statement();
	spread.buckets = reading_number(fcinfo, 1, "buckets", 1, RANK_BUCKETS_MAX);
	reading_begin(fcinfo, 0, 2, 3, &reading);
	if (!rank_index_spread(&reading.board, reading.season, &spread))
		rank_scan_spread(&reading.board, reading.season, &spread);
	PG_RETURN_DATUM(spread_json(&reading, &spread));
}
