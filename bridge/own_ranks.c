/*
 * own_ranks.c - me.update: where the players of streams stand themselves
 *
 * Once a second, one question to the database for all of them: of each board
 * that has a newer list than when they were asked for last, the players who
 * have a stream of it. Whose score, rank or count of players is another one
 * than it was told is told so. A list's version is the sign that a board has
 * changed: a place further down moves without a new list too, and is told with
 * the next one.
 *
 * Who stands in no list is told as well, by the pass that came with its token:
 * the database says nothing of it without. A pass is long and almost nobody
 * needs one, so the first question goes without, and who wasn't answered is
 * asked for again with its pass in the next round.
 *
 * Who can't take it now (its socket is full) is asked for again in the next
 * round; so nothing is kept for it. One question at a time, and none of more
 * than ASK_MOST players: the others come with the next.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "own_ranks.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "log.h"
#include "pg_pool.h"
#include "players.h"

#define ROUND_MS 1000
#define ASK_MOST 20000
#define CALL_MOST 1000			/* players a call of the function takes */

/* [["global",["ann","ben"],[null,"ben's pass"]],...], a board as often as it takes; no score: it takes a pass */
#define STANDINGS "SELECT w ->> 0, s.user_id, s.season, s.score, coalesce(s.rank, 0), s.players" \
	" FROM json_array_elements($1::json) AS w," \
	" LATERAL scoreboard.standings(w ->> 0, ARRAY(SELECT json_array_elements_text(w -> 1)), ARRAY(SELECT json_array_elements_text(w -> 2))) AS s"

typedef struct OwnRanks
{
	uv_timer_t	timer;			/* must be first: freed by free_handle */
	Bridge	   *bridge;
	PgCall	   *call;			/* NULL: nothing is asked */
	int			asked;			/* players, by the question that is being made */
	json_t	   *question;
} OwnRanks;

/* ---- asking ---- */

/* The board's call that is being filled; NULL: out of memory. */
static json_t *
call_for(OwnRanks *own, const Board *board)
{
	json_t	   *call;

	for (size_t i = json_array_size(own->question); i-- > 0;)
	{
		call = json_array_get(own->question, i);
		if (strcmp(json_string_value(json_array_get(call, 0)), board_name(board)) == 0 && json_array_size(json_array_get(call, 1)) < CALL_MOST)
			return call;
	}
	call = json_pack("[s,[],[]]", board_name(board));
	return json_array_append_new(own->question, call) == 0 ? call : NULL;
}

/* Both lists stay equally long. */
static bool
add_player(json_t *call, const char *user_id, const char *pass)
{
	json_t	   *players = json_array_get(call, 1);

	if (json_array_append_new(players, json_string(user_id)) != 0)
		return false;
	if (json_array_append_new(json_array_get(call, 2), pass ? json_string(pass) : json_null()) == 0)
		return true;
	json_array_remove(players, json_array_size(players) - 1);
	return false;
}

/* Its boards that have news, into the question. */
static void
add_membership(OwnRanks *own, Membership *membership)
{
	for (int i = 0; i < membership->count; i++)
	{
		OwnRank    *rank = &membership->ranks[i];
		json_t	   *call;

		rank->asking = 0;
		if (board_frame(rank->board) == NULL || board_version(rank->board) <= rank->asked || own->asked >= ASK_MOST)
			continue;
		call = call_for(own, rank->board);
		if (call == NULL || !add_player(call, membership_user_id(membership), rank->unlisted ? membership->pass : NULL))
			continue;
		rank->asking = board_version(rank->board);
		own->asked++;
	}
}

/* ---- telling ---- */

typedef struct Row
{
	const char *board;
	const char *user_id;
	int			season;
	bool		known;			/* false: nothing is told without a pass, or by that one */
	int64_t		score;
	int64_t		rank;
	int64_t		players;
} Row;

static bool
is_news(const OwnRank *rank, const Row *row)
{
	return !rank->told || rank->score != row->score || rank->rank != row->rank || rank->players != row->players || rank->season != row->season;
}

/* NULL: out of memory. */
static Frame *
make_frame(const OwnRank *rank, const Row *row)
{
	json_t	   *json = json_pack("{s:s, s:s, s:i, s:I, s:s, s:I, s:o, s:I}", "type", "me.update", "board", row->board, "season", row->season,
								 "version", (json_int_t) rank->asking, "userId", row->user_id, "score", (json_int_t) row->score,
								 "rank", row->rank > 0 ? json_integer(row->rank) : json_null(), "players", (json_int_t) row->players);
	char	   *text = json ? json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	Frame	   *frame = text ? frame_of_message("me.update", text) : NULL;

	free(text);
	json_decref(json);
	return frame;
}

/* False where the stream is gone by it. */
static bool
tell(Membership *membership, OwnRank *rank, const Row *row)
{
	Frame	   *frame = make_frame(rank, row);
	SayResult	result = frame ? stream_say(membership->stream, frame) : SAY_LATER;

	frame_free(frame);
	if (result == SAY_LOST)
		return false;
	if (result == SAY_LATER)
	{
		rank->asking = 0;
		return true;
	}
	rank->told = true;
	rank->season = row->season;
	rank->score = row->score;
	rank->rank = row->rank;
	rank->players = row->players;
	return true;
}

/* The next round shows the pass; whose pass was no good waits for the next list, as everybody does. */
static void
take_unknown(OwnRank *rank)
{
	if (!rank->unlisted)
		rank->asking = 0;
	rank->unlisted = true;
}

static bool
take(Membership *membership, OwnRank *rank, const Row *row)
{
	if (row->known)
		rank->unlisted = row->rank == 0;
	else
		take_unknown(rank);
	return !row->known || !is_news(rank, row) || tell(membership, rank, row);
}

/* All streams of the row's player that were asked for. */
static void
tell_player(Bridge *bridge, const Row *row)
{
	Membership *next;

	for (Membership *membership = players_of(bridge, row->user_id); membership; membership = next)
	{
		next = membership->newer;
		for (int i = 0; i < membership->count; i++)
		{
			OwnRank    *rank = &membership->ranks[i];

			if (rank->asking > 0 && strcmp(board_name(rank->board), row->board) == 0 && !take(membership, rank, row))
				break;
		}
	}
}

static void
tell_all(Bridge *bridge, const PGresult *result)
{
	for (int i = 0; i < PQntuples(result); i++)
		tell_player(bridge, &(Row) {PQgetvalue(result, i, 0), PQgetvalue(result, i, 1), atoi(PQgetvalue(result, i, 2)),
			PQgetisnull(result, i, 3) == 0, strtoll(PQgetvalue(result, i, 3), NULL, 10), strtoll(PQgetvalue(result, i, 4), NULL, 10), strtoll(PQgetvalue(result, i, 5), NULL, 10)});
	/* Who was told, or had no news, or whose board is gone. */
	for (Membership *membership = players_all(bridge); membership; membership = membership->next)
		for (int i = 0; i < membership->count; i++)
			if (membership->ranks[i].asking > 0)
				membership->ranks[i].asked = membership->ranks[i].asking;
}

static void
answered(void *data, PgEnd end, const PGresult *result)
{
	OwnRanks   *own = data;

	own->call = NULL;
	if (end == PG_ANSWERED && PQnfields(result) == 6)
		tell_all(own->bridge, result);
	else if (end == PG_REFUSED)
		log_warn("own ranks not read", LOG_TEXT("sqlstate", PQresultErrorField(result, PG_DIAG_SQLSTATE)),
				 LOG_TEXT("advice", "streams go on without me.update, and the next round asks again; the server's log has more"),
				 LOG_TEXT("reason", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)));
}

/* ---- the round ---- */

static void
ask(OwnRanks *own)
{
	Bridge	   *bridge = own->bridge;
	char	   *text;

	own->asked = 0;
	own->question = json_array();
	for (Membership *membership = players_all(bridge); membership; membership = membership->next)
		add_membership(own, membership);
	text = own->asked > 0 ? json_dumps(own->question, JSON_COMPACT) : NULL;
	if (text)
	{
		const char *const parameters[] = {text};

		/* Where that isn't possible now, the next round tries it again. */
		own->call = pg_pool_ask(bridge, STANDINGS, 1, parameters, uv_now(&bridge->loop) + (uint64_t) bridge->options.database_timeout_ms, answered, own);
	}
	free(text);
	json_decref(own->question);
	own->question = NULL;
}

static void
round_begins(uv_timer_t *timer)
{
	OwnRanks   *own = timer->data;

	if (own->call == NULL && players_all(own->bridge))
		ask(own);
}

void
own_ranks_start(Bridge *bridge)
{
	OwnRanks   *own = calloc(1, sizeof(*own));

	if (own == NULL)
		abort();
	bridge->own_ranks = own;
	own->bridge = bridge;
	uv_timer_init(&bridge->loop, &own->timer);
	own->timer.data = own;
	uv_timer_start(&own->timer, round_begins, ROUND_MS, ROUND_MS);
}

void
own_ranks_stop(Bridge *bridge)
{
	OwnRanks   *own = bridge->own_ranks;

	if (own->call)
		pg_pool_forget(own->call);
	uv_close((uv_handle_t *) &own->timer, free_handle);
	bridge->own_ranks = NULL;
}
