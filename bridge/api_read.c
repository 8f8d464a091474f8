/*
 * api_read.c - reads that memory holds, answered at once
 *
 * A list is cut out of the board's frame, so what is answered is byte by byte
 * what the database published. The ETag names all that the answer depends on.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "api_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "feed.h"
#include "room.h"

#define LIMIT_MOST 100			/* SPEC: the largest top size */
#define SKIP_MOST 1000

static void
answer_status(Exchange *exchange, const char *body)
{
	Answer		answer = {200, "application/json", body, strlen(body), "Cache-Control: no-store\r\n", false};

	exchange_answer(exchange, &answer);
}

void
api_health(Exchange *exchange)
{
	answer_status(exchange, "{\"status\":\"ok\"}");
}

void
api_ready(Exchange *exchange)
{
	const Bridge *bridge = client_bridge(exchange->client);
	Problem		problem = {ERROR_UNAVAILABLE, NULL, NULL, false};

	if (bridge->draining)
		problem.message = "This server is ending.";
	else if (!feed_live(bridge))
		problem.message = "The database is not reached, or not listened to yet.";
	else if (!batch_live(bridge))
		problem.message = "Increments are not taken.";
	if (problem.message)
		exchange_problem(exchange, &problem);
	else
		answer_status(exchange, "{\"status\":\"ready\"}");
}

/* ---- boards by name ---- */

static bool
is_board_name(const char *name, size_t length)
{
	return length >= 1 && length <= BOARD_NAME_MAX &&
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") >= length;
}

int
api_find_boards(Bridge *bridge, const char *list, Board **boards, Problem *problem)
{
	int			count = 0;

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
	{
		size_t		length = strcspn(p, ",");
		char		name[BOARD_NAME_MAX + 1];

		if (!is_board_name(p, length) || count == BOARDS_PER_STREAM)
			return problem_set(problem, ERROR_INVALID_REQUEST, "board is one to 16 names of boards, with commas between.");
		snprintf(name, sizeof(name), "%.*s", (int) length, p);
		boards[count] = hub_board(bridge, name);
		if (boards[count] == NULL && !feed_loaded(bridge))
			return problem_set(problem, ERROR_UNAVAILABLE, "The boards have not been read yet.");
		if (boards[count] == NULL)
			return problem_set(problem, ERROR_NOT_FOUND, "There is no such board.");
		for (int i = 0; i < count; i++)
			if (boards[i] == boards[count])
				return problem_set(problem, ERROR_INVALID_REQUEST, "A board is named twice.");
		count++;
	}
	return count;
}

bool
api_all_public(Board *const *boards, int count, Problem *problem)
{
	for (int i = 0; i < count; i++)
		if (!board_public(boards[i]))
			return problem_set(problem, ERROR_UNAUTHORIZED, "This board is shown to players only.");
	return true;
}

/* ---- the top list ---- */

typedef struct TopQuery
{
	Board	   *board;
	size_t		limit;
	size_t		skip;
} TopQuery;

/* A whole number in plain digits; left as it is where the parameter is missing. */
static bool
read_number(const Exchange *exchange, const char *name, size_t low, size_t high, size_t *number)
{
	const char *text = exchange_parameter(exchange, name);

	if (text == NULL)
		return true;
	if (strlen(text) > 10 || text[strspn(text, "0123456789")] != '\0')
		return false;
	*number = strtoul(text, NULL, 10);
	return *number >= low && *number <= high;
}

static bool
read_top_query(Exchange *exchange, TopQuery *query, Problem *problem)
{
	const char *name = exchange_parameter(exchange, "board");
	Board	   *boards[BOARDS_PER_STREAM];
	size_t		season = 0;

	query->limit = LIMIT_MOST;
	query->skip = 0;
	if (!read_number(exchange, "limit", 1, LIMIT_MOST, &query->limit))
		return problem_set(problem, ERROR_INVALID_REQUEST, "limit is a whole number from 1 to 100.");
	if (!read_number(exchange, "skip", 0, SKIP_MOST, &query->skip))
		return problem_set(problem, ERROR_INVALID_REQUEST, "skip is a whole number from 0 to 1000.");
	if (!read_number(exchange, "season", 0, INT32_MAX, &season))
		return problem_set(problem, ERROR_INVALID_REQUEST, "season is a whole number.");
	if (name && strchr(name, ','))
		return problem_set(problem, ERROR_INVALID_REQUEST, "board is the name of one board.");
	if (api_find_boards(client_bridge(exchange->client), name ? name : "global", boards, problem) == 0)
		return false;
	if (!api_all_public(boards, 1, problem))
		return false;
	query->board = boards[0];
	if (exchange_parameter(exchange, "season") && (int) season != board_season(query->board))
		return problem_set(problem, ERROR_NOT_FOUND, "There is no list of that season.");
	return true;
}

void
api_top(Exchange *exchange)
{
	TopQuery	query;
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	char		tag[BOARD_NAME_MAX + 80];
	char		headers[sizeof(tag) + 80];
	char		skip[24] = "";
	Answer		answer = {304, NULL, NULL, 0, headers, false};
	static Room room;
	const Frame *frame;
	char	   *list;

	if (!read_top_query(exchange, &query, &problem))
	{
		exchange_problem(exchange, &problem);
		return;
	}
	if (query.skip > 0)
		snprintf(skip, sizeof(skip), ".%zu", query.skip);
	snprintf(tag, sizeof(tag), "\"%s.%d.%" PRId64 ".%zu%s\"", board_name(query.board), board_season(query.board),
			 board_version(query.board), query.limit, skip);
	snprintf(headers, sizeof(headers), "ETag: %s\r\nCache-Control: public, no-cache\r\n", tag);
	if (!exchange_tag_matches(exchange, tag))
	{
		frame = board_frame(query.board);
		answer.status = 200;
		answer.type = "application/json";
		answer.body = list = room_for(&room, frame->message_length);
		answer.length = frame_cut(frame, query.skip, query.limit, list);
	}
	exchange_answer(exchange, &answer);
}
