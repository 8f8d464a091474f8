/*
 * read/leaderboard.c - the reads: lists, documents, ranks, neighbours
 *
 * Every function answers what is committed now: neither the caller's snapshot
 * nor this transaction's own changes matter, since the rank index knows neither.
 *
 * Owns no state but saved plans, writes nothing, takes no lock but ACCESS SHARE on what it
 * reads; what it raises are refusals.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/tables.h"
#include "rank/scan.h"
#include "read/document.h"
#include "read/listing.h"
#include "read/reading.h"
#include "read/standing.h"

PG_FUNCTION_INFO_V1(scoreboard_top);
PG_FUNCTION_INFO_V1(scoreboard_top_json);
PG_FUNCTION_INFO_V1(scoreboard_leaderboard);
PG_FUNCTION_INFO_V1(scoreboard_rank);
PG_FUNCTION_INFO_V1(scoreboard_me);
PG_FUNCTION_INFO_V1(scoreboard_around);
PG_FUNCTION_INFO_V1(scoreboard_around_json);
PG_FUNCTION_INFO_V1(scoreboard_ranks);
PG_FUNCTION_INFO_V1(scoreboard_ranks_json);
PG_FUNCTION_INFO_V1(scoreboard_documents);

static SavedPlan friends_plan = {
	.text = "SELECT s.score, coalesce(s.subscore, 9223372036854775807), s.reached_at, s.player_id"
	" FROM scoreboard.player p JOIN scoreboard.score s"
	" ON s.board_id = $2 AND s.season = $3 AND s.player_id = p.player_id"
	" WHERE p.user_id = ANY ($1) AND s.listed",
	.nargs = 3, .types = {TEXTARRAYOID, INT4OID, INT4OID}
};

static SavedPlan document_plan = {
	.text = "SELECT document::text FROM scoreboard.top WHERE board = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan ended_document_plan = {
	.text = "SELECT document::text FROM scoreboard.season WHERE board_id = $1 AND season = $2 AND document IS NOT NULL",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan published_rows_plan = {
	.text = "SELECT rank, user_id, display_name, avatar_url, score, reached_at FROM scoreboard.published_rows($1, $2, $3)",
	.nargs = 3, .types = {TEXTOID, INT4OID, INT4OID}
};

static SavedPlan published_list_plan = {
	.text = "SELECT scoreboard.published_list($1, $2, $3)::text",
	.nargs = 3, .types = {TEXTOID, INT4OID, INT4OID}
};

#define DOCUMENTS_COLUMNS 8

/* A stamp is another one whenever the list is, or what a gateway has to know of its board. A board that was removed keeps its row in top, for the version; it is gone nevertheless. */
static SavedPlan documents_plan = {
	.text = "WITH known AS (SELECT key, value FROM json_each_text($1))"
	" SELECT t.board::text, t.season::int, t.version::bigint, t.document::text, stamp, b.top_size::int, b.visibility::text, b.permission::text"
	" FROM scoreboard.top t JOIN scoreboard.board b ON b.name = t.board,"
	" concat(t.version, '.', hashtextextended(concat_ws(' ', b.top_size, b.visibility, b.permission) COLLATE \"C\", 0)) AS stamp"
	" WHERE NOT EXISTS (SELECT FROM known k WHERE k.key = t.board AND k.value = stamp)"
	" UNION ALL"
	" SELECT DISTINCT k.key, NULL::integer, NULL::bigint, NULL::text, NULL::text, NULL::integer, NULL::text, NULL::text FROM known k"
	" WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.name = k.key)"
	" ORDER BY 1",
	.nargs = 1, .types = {JSONOID}
};

/* How many players stand in the list. */
static int64
count_players(const Reading *reading)
{
	int64		players;
	int			found;
	RankRow		row;

	if (!rank_index_range(&reading->board, reading->season, 0, 1, &row, &found, &players))
		rank_scan_range(&reading->board, reading->season, 0, 1, &row, &found, &players);
	return players;
}

/* {userId, displayName, board, season, score, rank, players, percentile}; at NULL: stands in no list. */
static Datum
standing_json(const Reading *reading, const Standing *standing, const RankStanding *at)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"userId\":");
	document_append_string(&text, standing->user_id);
	appendStringInfoString(&text, ",\"displayName\":");
	document_append_string(&text, standing->display_name);
	appendStringInfoString(&text, ",\"board\":");
	document_append_string(&text, reading->board.name);
	appendStringInfo(&text, ",\"season\":%d,\"score\":" INT64_FORMAT, reading->season, standing->key.score);
	if (at)
	{
		appendStringInfo(&text, ",\"rank\":" INT64_FORMAT ",\"players\":" INT64_FORMAT ",\"percentile\":",
						 at->rank, at->players);
		document_append_percentile(&text, at->behind, at->players);
	}
	else
		appendStringInfo(&text, ",\"rank\":null,\"players\":" INT64_FORMAT ",\"percentile\":null",
						 count_players(reading));
	appendStringInfoChar(&text, '}');
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

/* ---------------------------------------------------------------------------
 * One player
 * ------------------------------------------------------------------------ */

/* The player's own view: hidden or not, scored or not. */
static Datum
own_rank(const Reading *reading, const char *user_id)
{
	Standing	standing;
	RankStanding at;

	(void) standing_read(reading, user_id, &standing);
	if (standing.listed && standing_find(reading, &standing, &at))
		return standing_json(reading, &standing, &at);
	return standing_json(reading, &standing, NULL);
}

Datum
scoreboard_rank(PG_FUNCTION_ARGS)
{
	char	   *user_id;
	Reading		reading;
	Standing	standing;
	RankStanding at;

	hide_statement();
	user_id = reading_user_id(fcinfo, 0);
	reading_begin(fcinfo, 1, 2, 3, &reading);
	if (reading.known_caller && strcmp(reading.caller.user_id, user_id) == 0)
		PG_RETURN_DATUM(own_rank(&reading, user_id));
	if (!standing_read(&reading, user_id, &standing) || !standing.listed ||
		!standing_find(&reading, &standing, &at))
		reading_refuse_player();
	PG_RETURN_DATUM(standing_json(&reading, &standing, &at));
}

Datum
scoreboard_me(PG_FUNCTION_ARGS)
{
	Reading		reading;

	hide_statement();
	reading_begin(fcinfo, 0, 1, 2, &reading);
	reading_require_caller(&reading);
	PG_RETURN_DATUM(own_rank(&reading, reading.caller.user_id));
}

/* ---------------------------------------------------------------------------
 * Lists
 * ------------------------------------------------------------------------ */

static void
emit_rows(ReturnSetInfo *result, const ListedRow *rows, int count)
{
	for (int i = 0; i < count; i++)
	{
		const ListedRow *row = &rows[i];
		Datum		values[6];
		bool		nulls[6] = {false};

		if (row->user_id == NULL)
			continue;
		values[0] = Int64GetDatum(row->at.rank);
		values[1] = CStringGetTextDatum(row->user_id);
		values[2] = CStringGetTextDatum(row->display_name);
		nulls[3] = row->avatar_url == NULL;
		values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(row->avatar_url);
		values[4] = Int64GetDatum(row->at.key.score);
		values[5] = TimestampTzGetDatum(row->at.key.reached_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * {board, season, players, entries}, for bridges; players below 0: not known. What stands beside a score is told where
 * the index knows it, so on all boards of one kind alike.
 */
static Datum
rows_json(const Reading *reading, int64 players, ListedRow *rows, int count)
{
	StringInfoData text;

	for (int i = 0; i < count; i++)
	{
		rows[i].detail = NULL;
		if (rank_order_of(&reading->board).tie_break == TIE_MOMENT)
			rows[i].at.key.subscore = NO_SUBSCORE;
	}
	initStringInfo(&text);
	appendStringInfoString(&text, "{\"board\":");
	document_append_string(&text, reading->board.name);
	appendStringInfo(&text, ",\"season\":%d,", reading->season);
	if (players >= 0)
		appendStringInfo(&text, "\"players\":" INT64_FORMAT ",", players);
	appendStringInfoString(&text, "\"entries\":");
	document_append_entries(&text, rows, count);
	appendStringInfoChar(&text, '}');
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

/* Which part of a list is asked for. */
typedef struct Part
{
	Reading		reading;
	int			entries;
	int			skip;
	Listing		listing;		/* of a board that has more than its published list */
} Part;

/* False where there is nothing but the published list. */
static bool
read_top(FunctionCallInfo fcinfo, Part *part)
{
	part->entries = reading_number(fcinfo, 1, "entries", 1, READING_ENTRIES_MAX);
	part->skip = reading_number(fcinfo, 2, "skip", 0, PG_INT32_MAX);
	reading_begin_list(fcinfo, 0, 3, 4, &part->reading);
	if (part->reading.board.kind != BOARD_COUNTED)
		return false;
	listing_range(&part->reading.board, part->reading.season, part->skip, part->entries, false, &part->listing);
	return true;
}

compat_noreturn static void
refuse_unpublished(void)
{
	Refusal		refusal;

	refuse_for(&refusal, REFUSAL_UNAVAILABLE, 1,
			   "The publisher does that within moments; the server's log says if it can't.",
			   "the board has not been published yet");
	refusal_raise(&refusal);
}

/* Asks one of the plans about the part of a published list, with SPI connected. */
static void
read_published(const Part *part, SavedPlan *plan)
{
	Datum		values[3] = {CStringGetTextDatum(part->reading.board.name), Int32GetDatum(part->entries), Int32GetDatum(part->skip)};

	plan_read_committed(plan, values, NULL, 0);
}

static void
emit_published(ReturnSetInfo *result, const Part *part)
{
	SPI_connect();
	read_published(part, &published_rows_plan);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		row[6];
		bool		nulls[6];

		for (int column = 0; column < 6; column++)
			row[column] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column + 1, &nulls[column]);
		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
	SPI_finish();
}

static Datum
published_json(const Part *part)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *text;

	SPI_connect();
	read_published(part, &published_list_plan);
	MemoryContextSwitchTo(caller);
	text = plan_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_finish();
	if (text == NULL)
		refuse_unpublished();
	return PointerGetDatum(cstring_to_text(text));
}

Datum
scoreboard_top(PG_FUNCTION_ARGS)
{
	Part		part;
	bool		ranked;

	hide_statement();
	ranked = read_top(fcinfo, &part);
	InitMaterializedSRF(fcinfo, 0);
	if (ranked)
		emit_rows((ReturnSetInfo *) fcinfo->resultinfo, part.listing.rows, part.listing.found);
	else
		emit_published((ReturnSetInfo *) fcinfo->resultinfo, &part);
	return (Datum) 0;
}

Datum
scoreboard_top_json(PG_FUNCTION_ARGS)
{
	Part		part;

	hide_statement();
	if (!read_top(fcinfo, &part))
		PG_RETURN_DATUM(published_json(&part));
	PG_RETURN_DATUM(rows_json(&part.reading, part.listing.players, part.listing.rows, part.listing.found));
}

/*
 * The rows around position; false if the player doesn't stand there in them,
 * since somebody committed after position was read.
 */
static bool
neighbours_at(const Reading *reading, int64 position, int radius, const RankKey *key,
			  Listing *listing)
{
	int64		skip = Max(position - radius, 0);
	int			centre = (int) (position - skip);

	listing_range(&reading->board, reading->season, skip, centre + radius + 1, false, listing);
	return centre < listing->found &&
		rank_order_compare(rank_order_of(&reading->board), &listing->rows[centre].at.key, key) == 0;
}

static void
find_neighbours(const Reading *reading, Standing *standing, int radius, Listing *listing)
{
	int64		position;
	Refusal		refusal;

	for (int i = 0; i < STANDING_TRIES; i++)
	{
		if (!rank_index_position(&reading->board, reading->season, &standing->key, &position))
			rank_scan_position(&reading->board, reading->season, &standing->key, &position);
		if (neighbours_at(reading, position, radius, &standing->key, listing))
			return;
		standing_pause();
		if (!standing_read(reading, standing->user_id, standing) || !standing->listed)
			reading_refuse_player();
	}
	refuse_for(&refusal, REFUSAL_UNAVAILABLE, 1, NULL, "the list changes too fast around this player");
	refusal_raise(&refusal);
}

static void
read_around(FunctionCallInfo fcinfo, Reading *reading, Listing *listing)
{
	char	   *user_id = reading_user_id(fcinfo, 0);
	int			radius = reading_number(fcinfo, 2, "radius", 0, READING_RADIUS_MAX);
	Standing	standing;

	reading_begin(fcinfo, 1, 3, 4, reading);
	if (!standing_read(reading, user_id, &standing) || !standing.listed)
		reading_refuse_player();
	find_neighbours(reading, &standing, radius, listing);
}

Datum
scoreboard_around(PG_FUNCTION_ARGS)
{
	Reading		reading;
	Listing		listing;

	hide_statement();
	read_around(fcinfo, &reading, &listing);
	InitMaterializedSRF(fcinfo, 0);
	emit_rows((ReturnSetInfo *) fcinfo->resultinfo, listing.rows, listing.found);
	return (Datum) 0;
}

Datum
scoreboard_around_json(PG_FUNCTION_ARGS)
{
	Reading		reading;
	Listing		listing;

	hide_statement();
	read_around(fcinfo, &reading, &listing);
	PG_RETURN_DATUM(rows_json(&reading, listing.players, listing.rows, listing.found));
}

/* ---------------------------------------------------------------------------
 * A friends' board
 * ------------------------------------------------------------------------ */

/* The listed ones among these players, with their keys. */
static ListedRow *
read_friends(const Reading *reading, ArrayType *user_ids, int *count)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3];
	ListedRow  *rows;

	values[0] = PointerGetDatum(user_ids);
	values[1] = Int32GetDatum(reading->board.board_id);
	values[2] = Int32GetDatum(reading->season);
	tables_require(TABLE_PLAYER);
	tables_require(TABLE_SCORE);
	SPI_connect();
	plan_read_committed(&friends_plan, values, NULL, 0);
	*count = (int) SPI_processed;
	rows = MemoryContextAllocZero(caller, sizeof(ListedRow) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		rows[i].at.key.score = DatumGetInt64(plan_datum(row, desc, 1));
		rows[i].at.key.subscore = DatumGetInt64(plan_datum(row, desc, 2));
		rows[i].at.key.reached_at = DatumGetTimestampTz(plan_datum(row, desc, 3));
		rows[i].at.key.player_id = DatumGetInt64(plan_datum(row, desc, 4));
	}
	SPI_finish();
	return rows;
}

/* Gives a row its rank from the index; rank 0 if the player has left the list meanwhile. */
static IndexAnswer
rank_friend(const Reading *reading, RankRow *row)
{
	IndexAnswer answer = INDEX_MOVED;
	RankStanding at;

	for (int i = 0; i < STANDING_TRIES && answer == INDEX_MOVED; i++)
	{
		if (i > 0)
		{
			standing_pause();
			if (!standing_reread_key(reading, &row->key))
			{
				row->rank = 0;
				return INDEX_ANSWERED;
			}
		}
		answer = standing_in_index(reading, &row->key, &at);
		if (answer == INDEX_ANSWERED)
			row->rank = at.rank;
	}
	return answer;
}

static bool
rank_friends(const Reading *reading, ListedRow *rows, int count)
{
	for (int i = 0; i < count; i++)
		if (rank_friend(reading, &rows[i].at) != INDEX_ANSWERED)
			return false;
	return true;
}

/* The same by SQL, keys included; rank 0 for who has left the list meanwhile. */
static void
scan_friends(const Reading *reading, ListedRow *rows, int count)
{
	int64	   *ids = palloc(sizeof(int64) * count);
	RankRow    *ranked = palloc(sizeof(RankRow) * count);

	for (int i = 0; i < count; i++)
		ids[i] = rows[i].at.key.player_id;
	rank_scan_ranks(&reading->board, reading->season, ids, count, ranked);
	for (int i = 0; i < count; i++)
		rows[i].at = ranked[i];
}

static int
compare_friends(const void *a, const void *b, void *order)
{
	return rank_order_compare(*(const RankOrder *) order, &((const ListedRow *) a)->at.key, &((const ListedRow *) b)->at.key);
}

/* Their rows, best first. */
static ListedRow *
read_ranks(FunctionCallInfo fcinfo, Reading *reading, int *kept)
{
	ArrayType  *user_ids = reading_user_ids(fcinfo, 0);
	RankOrder	order;
	ListedRow  *rows;
	int			count;

	reading_begin(fcinfo, 1, 2, 3, reading);
	rows = read_friends(reading, user_ids, &count);
	if (!rank_friends(reading, rows, count))
		scan_friends(reading, rows, count);

	*kept = 0;
	for (int i = 0; i < count; i++)
		if (rows[i].at.rank > 0)
			rows[(*kept)++] = rows[i];
	order = rank_order_of(&reading->board);
	qsort_arg(rows, *kept, sizeof(ListedRow), compare_friends, &order);
	listing_name(rows, *kept);
	return rows;
}

Datum
scoreboard_ranks(PG_FUNCTION_ARGS)
{
	Reading		reading;
	ListedRow  *rows;
	int			count;

	hide_statement();
	rows = read_ranks(fcinfo, &reading, &count);
	InitMaterializedSRF(fcinfo, 0);
	emit_rows((ReturnSetInfo *) fcinfo->resultinfo, rows, count);
	return (Datum) 0;
}

Datum
scoreboard_ranks_json(PG_FUNCTION_ARGS)
{
	Reading		reading;
	ListedRow  *rows;
	int			count;

	hide_statement();
	rows = read_ranks(fcinfo, &reading, &count);
	PG_RETURN_DATUM(rows_json(&reading, -1, rows, count));
}

/* ---------------------------------------------------------------------------
 * Stored documents
 * ------------------------------------------------------------------------ */

/* The published document, or NULL where the publisher has not stored one yet. */
static char *
read_document(const Reading *reading)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext before;
	char	   *document = NULL;
	Datum		values[2];

	values[0] = reading->running ? CStringGetTextDatum(reading->board.name) : Int32GetDatum(reading->board.board_id);
	values[1] = Int32GetDatum(reading->season);
	SPI_connect();
	plan_read_committed(reading->running ? &document_plan : &ended_document_plan, values, NULL, 1);
	if (SPI_processed > 0)
	{
		before = MemoryContextSwitchTo(caller);
		document = plan_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		MemoryContextSwitchTo(before);
	}
	SPI_finish();
	return document;
}

Datum
scoreboard_leaderboard(PG_FUNCTION_ARGS)
{
	int			entries;
	Reading		reading;
	char	   *document;

	hide_statement();
	entries = PG_ARGISNULL(1) ? 0 : reading_number(fcinfo, 1, "entries", 1, READING_ENTRIES_MAX);
	reading_begin_list(fcinfo, 0, 2, 3, &reading);
	document = read_document(&reading);
	if (document == NULL)
		refuse_unpublished();
	if (entries > 0)
		document = document_cut(document, entries);
	PG_RETURN_TEXT_P(cstring_to_text(document));
}

static void
check_known(FunctionCallInfo fcinfo)
{
	Datum		type;

	if (!PG_ARGISNULL(0))
	{
		type = DirectFunctionCall1(json_typeof, PG_GETARG_DATUM(0));
		if (strcmp(TextDatumGetCString(type), "object") == 0)
			return;
	}
	reading_refuse(REFUSAL_INVALID_REQUEST, "Give {} for none.",
		  "known must be an object of boards and their stamps");
}

Datum
scoreboard_documents(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[1];

	hide_statement();
	check_known(fcinfo);
	config_begin_call();
	InitMaterializedSRF(fcinfo, 0);
	values[0] = PG_GETARG_DATUM(0);
	SPI_connect();
	plan_read_committed(&documents_plan, values, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		row[DOCUMENTS_COLUMNS];
		bool		nulls[DOCUMENTS_COLUMNS];

		/* Text and json look alike inside. */
		for (int column = 0; column < DOCUMENTS_COLUMNS; column++)
			row[column] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column + 1, &nulls[column]);
		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
