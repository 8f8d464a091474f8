/*
 * read/history.c - what was counted of a player on a board, newest first
 *
 * A page begins behind a cursor: the moment and the id of the action that the page before ended with, as base64url of
 * "microseconds:action_id". It is opaque to callers, and needs no secret: it says where to begin in the caller's
 * own list, and nothing else. The index action_history finds the page; actions keep their place (old ones are purged, from the end), so pages neither
 * overlap nor leave anything out, however many are counted meanwhile.
 *
 * Owns no state but saved plans, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/tables.h"
#include "read/document.h"
#include "read/reading.h"

PG_FUNCTION_INFO_V1(scoreboard_history);
PG_FUNCTION_INFO_V1(scoreboard_history_for);
PG_FUNCTION_INFO_V1(scoreboard_history_json);

/* Of a cursor's bytes: a sign, 19 digits, a colon, and 255 characters of up to four bytes. */
#define CURSOR_BYTES_MAX (1 + 19 + 1 + 255 * 4)

static SavedPlan player_plan = {
	.text = "SELECT player_id::bigint FROM scoreboard.player WHERE user_id = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan page_plan = {
	.text = "SELECT a.action_id::text, t.name::text, a.season::int, a.applied_points::bigint, a.previous_score::bigint, a.score::bigint,"
	" a.subscore::bigint, a.detail::text, a.created_at::timestamptz, a.undone_at::timestamptz"
	" FROM scoreboard.action a LEFT JOIN scoreboard.action_type t ON t.action_type_id = a.action_type_id"
	" WHERE a.player_id = $1 AND a.board_id = $2 AND (a.created_at, a.action_id) < ($3, $4)"
	" ORDER BY a.created_at DESC, a.action_id DESC LIMIT $5",
	.nargs = 5, .types = {INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID, INT8OID}
};

/* The columns of the statement, and those of scoreboard_action, which has board behind the second and cursor at the end. */
enum
{
	PAGE_ACTION_ID = 1, PAGE_TYPE, PAGE_SEASON, PAGE_APPLIED, PAGE_PREVIOUS, PAGE_SCORE, PAGE_SUBSCORE, PAGE_DETAIL, PAGE_CREATED_AT, PAGE_UNDONE_AT,
	PAGE_COLUMNS = PAGE_UNDONE_AT
};

#define ROW_COLUMNS (PAGE_COLUMNS + 2)

typedef struct Cursor
{
	TimestampTz moment;
	char	   *action_id;
} Cursor;

/* ---------------------------------------------------------------------------
 * Cursors
 * ------------------------------------------------------------------------ */

static char *
cursor_text(TimestampTz moment, const char *action_id)
{
	return reading_cursor(psprintf(INT64_FORMAT ":%s", moment, action_id));
}

/* False where no answer of ours can have had it. */
static bool
parse_cursor(const char *text, Cursor *cursor)
{
	char	   *plain = reading_cursor_plain(text, CURSOR_BYTES_MAX);
	char	   *colon = plain ? strchr(plain, ':') : NULL;
	char	   *end;

	if (colon == NULL || !pg_verify_mbstr(PG_UTF8, plain, (int) strlen(plain), true))
		return false;
	errno = 0;
	cursor->moment = strtoll(plain, &end, 10);
	cursor->action_id = colon + 1;
	return end == colon && errno == 0 && IS_VALID_TIMESTAMP(cursor->moment) && form_is_id(cursor->action_id) &&
		strcmp(cursor_text(cursor->moment, cursor->action_id), text) == 0;
}

/* Null is the begin: later than anything that can have been counted. */
static Cursor
cursor_argument(FunctionCallInfo fcinfo, int number)
{
	const char *text = reading_text(fcinfo, number);
	Cursor		cursor = {.moment = DT_NOEND, .action_id = ""};

	if (text && !parse_cursor(text, &cursor))
		reading_refuse(REFUSAL_INVALID_REQUEST, "Leave it out for the newest actions; else give the cursor that came with the page before.",
					   "cursor is none that came with a page");
	return cursor;
}

/* ---------------------------------------------------------------------------
 * Pages
 * ------------------------------------------------------------------------ */

/* SPI is connected. 0: there is no such player. */
static int64
find_player(const char *user_id)
{
	Datum		values[1] = {CStringGetTextDatum(user_id)};

	plan_read_committed(&player_plan, values, NULL, 1);
	return SPI_processed == 0 ? 0 : DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

/* The page is in SPI_tuptable, for as long as SPI is connected. */
static void
read_page(const Reading *reading, int64 player_id, const Cursor *cursor, int entries)
{
	Datum		values[5] = {Int64GetDatum(player_id), Int32GetDatum(reading->board.board_id), TimestampTzGetDatum(cursor->moment),
	CStringGetTextDatum(cursor->action_id), Int64GetDatum(entries)};

	tables_require(TABLE_ACTION);
	plan_read_committed(&page_plan, values, NULL, 0);
}

static char *
cursor_of(HeapTuple row, TupleDesc desc)
{
	return cursor_text(DatumGetTimestampTz(plan_datum(row, desc, PAGE_CREATED_AT)), plan_known_text(row, desc, PAGE_ACTION_ID));
}

static void
emit_page(ReturnSetInfo *result, const Reading *reading)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Datum		values[ROW_COLUMNS];
		bool		nulls[ROW_COLUMNS] = {false};

		for (int column = 1; column <= PAGE_COLUMNS; column++)
		{
			int			to = column <= PAGE_TYPE ? column - 1 : column;

			values[to] = SPI_getbinval(row, desc, column, &nulls[to]);
		}
		values[PAGE_TYPE] = CStringGetTextDatum(reading->board.name);
		values[ROW_COLUMNS - 1] = CStringGetTextDatum(cursor_of(row, desc));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

static void
answer_rows(FunctionCallInfo fcinfo, const Reading *reading, const char *user_id, const Cursor *cursor, int entries, bool must_exist)
{
	int64		player_id;

	InitMaterializedSRF(fcinfo, 0);
	tables_require(TABLE_PLAYER);
	SPI_connect();
	player_id = find_player(user_id);
	if (player_id == 0 && must_exist)
		reading_refuse_player();
	if (player_id != 0)
	{
		read_page(reading, player_id, cursor, entries);
		emit_page((ReturnSetInfo *) fcinfo->resultinfo, reading);
	}
	SPI_finish();
}

Datum
scoreboard_history(PG_FUNCTION_ARGS)
{
	Reading		reading;
	Cursor		cursor;
	int			entries;

	hide_statement();
	cursor = cursor_argument(fcinfo, 1);
	entries = reading_number(fcinfo, 2, "entries", 1, READING_ENTRIES_MAX);
	reading_begin(fcinfo, 0, READING_NO_SEASON, 3, &reading);
	reading_require_caller(&reading);
	answer_rows(fcinfo, &reading, reading.caller.user_id, &cursor, entries, false);
	return (Datum) 0;
}

Datum
scoreboard_history_for(PG_FUNCTION_ARGS)
{
	Reading		reading;
	char	   *user_id;
	Cursor		cursor;
	int			entries;

	hide_statement();
	user_id = reading_user_id(fcinfo, 0);
	cursor = cursor_argument(fcinfo, 2);
	entries = reading_number(fcinfo, 3, "entries", 1, READING_ENTRIES_MAX);
	reading_begin(fcinfo, 1, READING_NO_SEASON, READING_NO_TOKEN, &reading);
	answer_rows(fcinfo, &reading, user_id, &cursor, entries, true);
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * The same as JSON, for bridges
 * ------------------------------------------------------------------------ */

static void
append_text(StringInfo text, const char *name, const char *value)
{
	appendStringInfo(text, "\"%s\":", name);
	if (value)
		document_append_string(text, value);
	else
		appendStringInfoString(text, "null");
}

static void
append_action(StringInfo text, HeapTuple row, TupleDesc desc)
{
	char	   *detail = plan_text(row, desc, PAGE_DETAIL);
	bool		absent;
	bool		stands;
	Datum		subscore = SPI_getbinval(row, desc, PAGE_SUBSCORE, &absent);
	Datum		undone_at = SPI_getbinval(row, desc, PAGE_UNDONE_AT, &stands);

	appendStringInfoChar(text, '{');
	append_text(text, "actionId", plan_known_text(row, desc, PAGE_ACTION_ID));
	appendStringInfoChar(text, ',');
	append_text(text, "actionType", plan_text(row, desc, PAGE_TYPE));
	appendStringInfo(text, ",\"season\":%d,\"appliedPoints\":" INT64_FORMAT ",\"previousScore\":" INT64_FORMAT ",\"score\":" INT64_FORMAT,
					 DatumGetInt32(plan_datum(row, desc, PAGE_SEASON)), DatumGetInt64(plan_datum(row, desc, PAGE_APPLIED)),
					 DatumGetInt64(plan_datum(row, desc, PAGE_PREVIOUS)), DatumGetInt64(plan_datum(row, desc, PAGE_SCORE)));
	if (!absent)
		appendStringInfo(text, ",\"subscore\":" INT64_FORMAT, DatumGetInt64(subscore));
	if (detail)
	{
		appendStringInfoChar(text, ',');
		append_text(text, "detail", detail);
	}
	appendStringInfoString(text, ",\"countedAt\":");
	document_append_time(text, DatumGetTimestampTz(plan_datum(row, desc, PAGE_CREATED_AT)));
	if (!stands)
	{
		appendStringInfoString(text, ",\"undoneAt\":");
		document_append_time(text, DatumGetTimestampTz(undone_at));
	}
	appendStringInfoChar(text, '}');
}

/* Of a page that was read with one entry more: that one says that there are others. */
static void
append_page(StringInfo text, int entries)
{
	int			count = (int) Min(SPI_processed, (uint64) entries);
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoChar(text, ',');
		append_action(text, SPI_tuptable->vals[i], desc);
	}
	appendStringInfoString(text, "],");
	append_text(text, "cursor", SPI_processed > (uint64) entries ? cursor_of(SPI_tuptable->vals[count - 1], desc) : NULL);
}

Datum
scoreboard_history_json(PG_FUNCTION_ARGS)
{
	Reading		reading;
	Cursor		cursor;
	int			entries;
	int64		player_id;
	StringInfoData text;

	hide_statement();
	cursor = cursor_argument(fcinfo, 1);
	entries = reading_number(fcinfo, 2, "entries", 1, READING_ENTRIES_MAX);
	reading_begin(fcinfo, 0, READING_NO_SEASON, 3, &reading);
	reading_require_caller(&reading);
	tables_require(TABLE_PLAYER);
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	append_text(&text, "board", reading.board.name);
	appendStringInfoString(&text, ",\"actions\":[");
	SPI_connect();
	player_id = find_player(reading.caller.user_id);
	if (player_id == 0)
		appendStringInfoString(&text, "],\"cursor\":null");
	else
	{
		read_page(&reading, player_id, &cursor, entries + 1);
		append_page(&text, entries);
	}
	SPI_finish();
	appendStringInfoChar(&text, '}');
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}
