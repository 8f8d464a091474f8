/*
 * read/boards.c - the boards that the caller may see
 *
 * All of it comes from one look at the tables, what decides who may see a board and which season runs too: a hundred thousand boards
 * are not looked up one by one, nor kept in mind by each backend that lists them.
 *
 * Owns no state but a saved plan, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/season.h"
#include "read/document.h"
#include "read/reading.h"

PG_FUNCTION_INFO_V1(scoreboard_boards);
PG_FUNCTION_INFO_V1(scoreboard_boards_json);

static SavedPlan boards_plan = {
	.text = "SELECT b.name::text, b.title::text, b.score_order::text, b.period::text, b.visibility::text, t.players::bigint, t.version::bigint,"
	" l.label::text, l.value::text, b.permission::text, " SEASON_COLUMNS
	" FROM scoreboard.board b LEFT JOIN scoreboard.top t ON t.board = b.name"
	" LEFT JOIN scoreboard.label_board l ON l.board_id = b.board_id LEFT JOIN scoreboard.board o ON o.board_id = l.template_id"
	" ORDER BY coalesce(o.name, b.name) COLLATE \"C\", l.label COLLATE \"C\" NULLS FIRST, l.value COLLATE \"C\"",
};

/* The statement's columns; the answer has the season in place of the version, and that behind it. */
enum
{
	BOARDS_NAME = 1, BOARDS_TITLE, BOARDS_ORDER, BOARDS_PERIOD, BOARDS_VISIBILITY, BOARDS_PLAYERS, BOARDS_VERSION, BOARDS_LABEL, BOARDS_VALUE,
	BOARDS_COLUMNS = BOARDS_VALUE, BOARDS_PERMISSION, BOARDS_SEASON
};

/* As much of a board as decides who may see it and which season runs. False: this server doesn't know its time zone, so none does. */
static bool
read_board(Board *board, HeapTuple row, TupleDesc desc)
{
	*board = (Board) {.visibility = config_visibility(plan_known_text(row, desc, BOARDS_VISIBILITY)), .permission = plan_text(row, desc, BOARDS_PERMISSION)};
	strlcpy(board->name, plan_known_text(row, desc, BOARDS_NAME), sizeof(board->name));
	return season_read(board, row, desc, BOARDS_SEASON);
}

/* Calls take() for each board, in order, with SPI connected. */
static void
for_boards(FunctionCallInfo fcinfo, void (*take) (void *answer, const Board *board, HeapTuple row, TupleDesc desc), void *answer)
{
	Reading		reading;
	SPITupleTable *table;
	uint64		count;

	reading_begin_boards(fcinfo, 0, &reading);
	SPI_connect();
	plan_read_committed(&boards_plan, NULL, NULL, 0);
	table = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		Board		board;
		Refusal		refusal;

		if (read_board(&board, table->vals[i], table->tupdesc) &&
			reading_may_see(&board, reading.known_caller ? &reading.caller : NULL, &refusal))
			take(answer, &board, table->vals[i], table->tupdesc);
	}
	SPI_finish();
}

static void
emit_board(void *answer, const Board *board, HeapTuple row, TupleDesc desc)
{
	ReturnSetInfo *result = answer;
	Datum		values[BOARDS_COLUMNS + 1];
	bool		nulls[BOARDS_COLUMNS + 1] = {false};

	for (int column = BOARDS_NAME; column <= BOARDS_PLAYERS; column++)
		values[column - 1] = SPI_getbinval(row, desc, column, &nulls[column - 1]);
	values[BOARDS_VERSION - 1] = Int32GetDatum(season_running(board));
	for (int column = BOARDS_VERSION; column <= BOARDS_VALUE; column++)
		values[column] = SPI_getbinval(row, desc, column, &nulls[column]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
scoreboard_boards(PG_FUNCTION_ARGS)
{
	hide_statement();
	InitMaterializedSRF(fcinfo, 0);
	for_boards(fcinfo, emit_board, fcinfo->resultinfo);
	return (Datum) 0;
}

static void
append_member(StringInfo text, const char *name, const char *value)
{
	appendStringInfo(text, "\"%s\":", name);
	document_append_string(text, value);
	appendStringInfoChar(text, ',');
}

static void
append_board(void *answer, const Board *board, HeapTuple row, TupleDesc desc)
{
	StringInfo	text = answer;
	bool		unpublished;
	Datum		players = SPI_getbinval(row, desc, BOARDS_PLAYERS, &unpublished);

	appendStringInfoString(text, text->data[text->len - 1] == '[' ? "{" : ",{");
	append_member(text, "board", board->name);
	append_member(text, "title", plan_known_text(row, desc, BOARDS_TITLE));
	append_member(text, "order", plan_known_text(row, desc, BOARDS_ORDER));
	append_member(text, "period", plan_known_text(row, desc, BOARDS_PERIOD));
	append_member(text, "visibility", plan_known_text(row, desc, BOARDS_VISIBILITY));
	if (plan_text(row, desc, BOARDS_LABEL))
	{
		append_member(text, "label", plan_known_text(row, desc, BOARDS_LABEL));
		append_member(text, "value", plan_known_text(row, desc, BOARDS_VALUE));
	}
	if (unpublished)
		appendStringInfo(text, "\"players\":null,\"season\":%d,\"version\":null}", season_running(board));
	else
		appendStringInfo(text, "\"players\":" INT64_FORMAT ",\"season\":%d,\"version\":" INT64_FORMAT "}",
						 DatumGetInt64(players), season_running(board), DatumGetInt64(plan_datum(row, desc, BOARDS_VERSION)));
}

/* The same as JSON, for bridges */
Datum
scoreboard_boards_json(PG_FUNCTION_ARGS)
{
	StringInfoData text;

	hide_statement();
	initStringInfo(&text);
	appendStringInfoString(&text, "{\"boards\":[");
	for_boards(fcinfo, append_board, &text);
	appendStringInfoString(&text, "]}");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}
