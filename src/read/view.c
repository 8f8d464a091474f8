/*
 * read/view.c - one document for one look at a board: the top, oneself, neighbours and friends
 *
 * Keys of the players who are named come from the table, everything else from one hold of the index's lock, in which
 * those keys must stand (standing_find_all). Where the index can't answer, one snapshot answers all of it by SQL. So ranks and scores never
 * disagree, and players, next and the neighbours belong to them; names are read afterwards, all at once.
 *
 * Owns no state but a saved plan, writes nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/tables.h"
#include "rank/scan.h"
#include "read/document.h"
#include "read/listing.h"
#include "read/movement.h"
#include "read/reading.h"
#include "read/standing.h"

PG_FUNCTION_INFO_V1(scoreboard_view);

/* In the order in which they were named; nulls for who stands in no list. */
static SavedPlan friends_plan = {
	.text = "SELECT s.score, coalesce(s.subscore, 9223372036854775807), s.reached_at, s.player_id"
	" FROM unnest($1) WITH ORDINALITY AS u (user_id, n)"
	" LEFT JOIN (scoreboard.player p JOIN scoreboard.score s"
	"  ON s.board_id = $2 AND s.season = $3 AND s.player_id = p.player_id AND s.listed) ON p.user_id = u.user_id"
	" ORDER BY u.n",
	.nargs = 3, .types = {TEXTARRAYOID, INT4OID, INT4OID}
};

/* What was asked for, and what is known of it. */
typedef struct View
{
	Reading		reading;
	const char *own_id;			/* NULL: nobody */
	bool		by_itself;		/* own_id asks: it sees its score, listed or not */
	Standing	own;
	int			named;			/* how many friends were named */
	int		   *friend_of;		/* of each: its place in rank.friend, or -1: stands in no list */
	RankView	rank;
} View;

/* ---------------------------------------------------------------------------
 * Keys from the table
 * ------------------------------------------------------------------------ */

static RankKey
read_friend(HeapTuple row, TupleDesc desc)
{
	return (RankKey) {
		.score = DatumGetInt64(plan_datum(row, desc, 1)),
		.subscore = DatumGetInt64(plan_datum(row, desc, 2)),
		.reached_at = DatumGetTimestampTz(plan_datum(row, desc, 3)),
		.player_id = DatumGetInt64(plan_datum(row, desc, 4))
	};
}

static void
read_friends(View *view, ArrayType *user_ids)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3] = {PointerGetDatum(user_ids), Int32GetDatum(view->reading.board.board_id), Int32GetDatum(view->reading.season)};

	SPI_connect();
	plan_read_committed(&friends_plan, values, NULL, 0);
	view->named = (int) SPI_processed;
	view->friend_of = MemoryContextAlloc(caller, Max(view->named, 1) * sizeof(int));
	view->rank.friend = MemoryContextAllocZero(caller, Max(view->named, 1) * sizeof(RankRow));
	for (int i = 0; i < view->named; i++)
	{
		bool		unlisted;

		(void) SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 4, &unlisted);
		view->friend_of[i] = unlisted ? -1 : view->rank.friends;
		if (!unlisted)
			view->rank.friend[view->rank.friends++].key = read_friend(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	}
	SPI_finish();
}

static void
read_own(View *view)
{
	if (view->own_id == NULL)
		return;
	(void) standing_read(&view->reading, view->own_id, &view->own);
	view->rank.has_own = view->own.listed;
	view->rank.own.key = view->own.key;
}

static void
find_ranks(View *view)
{
	RankView   *rank = &view->rank;

	rank->top = palloc(rank->entries * sizeof(RankRow));
	rank->around = palloc((2 * rank->radius + 1) * sizeof(RankRow));
	standing_find_all(&view->reading, rank);
}

/* ---------------------------------------------------------------------------
 * The document
 * ------------------------------------------------------------------------ */

/* All rows of the answer, so that their names come from one look. */
typedef struct Rows
{
	ListedRow  *all;
	int			count;
	ListedRow  *top;
	ListedRow  *around;
	ListedRow  *friend;
	ListedRow  *own;			/* NULL: stands in no list */
	ListedRow  *next;			/* NULL: nobody stands ahead */
} Rows;

static ListedRow *
add_rows(Rows *rows, const RankRow *at, int count)
{
	ListedRow  *first = &rows->all[rows->count];

	for (int i = 0; i < count; i++)
		first[i].at = at[i];
	rows->count += count;
	return first;
}

/* Where ties aren't of subscores the index doesn't know them, and what the table told of a few may belong to another score by now. */
static void
drop_subscores(const Board *board, Rows *rows)
{
	if (rank_order_of(board).tie_break == TIE_MOMENT)
		for (int i = 0; i < rows->count; i++)
			rows->all[i].at.key.subscore = NO_SUBSCORE;
}

static void
name_rows(const View *view, Rows *rows)
{
	const RankView *rank = &view->rank;
	bool		listed = rank->has_own && rank->own.rank > 0;

	*rows = (Rows) {.all = palloc0((rank->top_found + rank->around_found + rank->friends + 2) * sizeof(ListedRow))};
	rows->top = add_rows(rows, rank->top, rank->top_found);
	rows->around = add_rows(rows, rank->around, rank->around_found);
	rows->friend = add_rows(rows, rank->friend, rank->friends);
	rows->own = listed ? add_rows(rows, &rank->own, 1) : NULL;
	rows->next = listed && rank->next.rank > 0 ? add_rows(rows, &rank->next, 1) : NULL;
	drop_subscores(&view->reading.board, rows);
	listing_name(rows->all, rows->count);
	movement_fill_in(&view->reading.board, view->reading.season, rows->all, rows->count);
}

/* The own row; null where somebody else asks for a player who stands in no list. */
static void
append_own(StringInfo text, const View *view, const Rows *rows)
{
	if (rows->own && rows->own->user_id)
	{
		appendStringInfoChar(text, '{');
		document_append_player(text, rows->own);
		appendStringInfoString(text, ",\"percentile\":");
		document_append_percentile(text, view->rank.own_behind, view->rank.players);
		appendStringInfoChar(text, '}');
		return;
	}
	if (!view->by_itself)
	{
		appendStringInfoString(text, "null");
		return;
	}
	appendStringInfoString(text, "{\"rank\":null,\"userId\":");
	document_append_string(text, view->own.user_id);
	appendStringInfoString(text, ",\"displayName\":");
	document_append_string(text, view->own.display_name);
	if (view->own.avatar_url)
	{
		appendStringInfoString(text, ",\"avatarUrl\":");
		document_append_string(text, view->own.avatar_url);
	}
	appendStringInfo(text, ",\"score\":" INT64_FORMAT "%s,\"percentile\":null}", view->own.key.score,
					 view->reading.board.movement == MOVEMENT_NONE ? "" : ",\"movement\":null");
}

static void
append_next(StringInfo text, const Rows *rows)
{
	int64		missing;

	if (rows->next == NULL || rows->next->user_id == NULL)
	{
		appendStringInfoString(text, "null");
		return;
	}
	missing = rows->next->at.key.score - rows->own->at.key.score;
	appendStringInfoChar(text, '{');
	document_append_player(text, rows->next);
	appendStringInfo(text, ",\"missing\":" INT64_FORMAT "}", missing < 0 ? -missing : missing);
}

static void
append_friends(StringInfo text, const View *view, const Rows *rows)
{
	char		separator = '[';

	for (int i = 0; i < view->named; i++)
	{
		const ListedRow *row = view->friend_of[i] < 0 ? NULL : &rows->friend[view->friend_of[i]];

		appendStringInfoChar(text, separator);
		if (row && row->at.rank > 0 && row->user_id)
			document_append_entry(text, row);
		else
			appendStringInfoString(text, "null");
		separator = ',';
	}
	appendStringInfoString(text, separator == '[' ? "[]" : "]");
}

static Datum
view_json(const View *view)
{
	const RankView *rank = &view->rank;
	StringInfoData text;
	Rows		rows;

	name_rows(view, &rows);
	initStringInfo(&text);
	appendStringInfoString(&text, "{\"board\":");
	document_append_string(&text, view->reading.board.name);
	appendStringInfo(&text, ",\"season\":%d,\"asOf\":", view->reading.season);
	document_append_time(&text, rank->as_of);
	appendStringInfo(&text, ",\"players\":" INT64_FORMAT ",\"entries\":", rank->players);
	document_append_entries(&text, rows.top, rank->top_found);
	appendStringInfoString(&text, ",\"own\":");
	append_own(&text, view, &rows);
	appendStringInfoString(&text, ",\"next\":");
	append_next(&text, &rows);
	appendStringInfoString(&text, ",\"neighbours\":");
	document_append_entries(&text, rows.around, rank->around_found);
	appendStringInfoString(&text, ",\"friends\":");
	append_friends(&text, view, &rows);
	appendStringInfoChar(&text, '}');
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

/* Whose row is the own one: the caller's, or that of whoever is named by nobody in particular. */
static void
choose_own(View *view, const char *named)
{
	view->own_id = named;
	if (named)
		return;
	reading_guess_caller(&view->reading);
	view->by_itself = view->reading.known_caller;
	if (view->by_itself)
		view->own_id = view->reading.caller.user_id;
}

Datum
scoreboard_view(PG_FUNCTION_ARGS)
{
	View		view = {0};
	ArrayType  *user_ids;
	const char *named;

	hide_statement();
	view.rank.entries = reading_number(fcinfo, 1, "entries", 1, READING_ENTRIES_MAX);
	view.rank.radius = reading_number(fcinfo, 2, "radius", 0, READING_RADIUS_MAX);
	user_ids = reading_user_ids(fcinfo, 3);
	named = PG_ARGISNULL(4) ? NULL : reading_user_id(fcinfo, 4);
	if (named && !PG_ARGISNULL(6))
		reading_refuse(REFUSAL_INVALID_REQUEST, "A token says by itself whose row is the own one; name others in user_ids.",
					   "user_id can't be given beside a token");
	reading_begin(fcinfo, 0, 5, 6, &view.reading);
	choose_own(&view, named);
	tables_require(TABLE_PLAYER);
	tables_require(TABLE_SCORE);
	read_own(&view);
	read_friends(&view, user_ids);
	find_ranks(&view);
	PG_RETURN_DATUM(view_json(&view));
}
