/*
 * api_read.c - reads: what memory holds is answered at once, the rest by the database
 *
 * A list is cut out of the board's frame, so what is answered is byte by byte
 * what the database published. The ETag names all that the answer depends on.
 * Where the answer isn't in memory, or where not everybody may see the board,
 * the database is asked, with the client's own token and nobody's name: its
 * functions answer the JSON text that is sent, or refuse.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "api_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "account.h"
#include "batch.h"
#include "feed.h"
#include "query.h"
#include "room.h"

#define LIMIT_MOST 100			/* SPEC: the largest top size */
#define RADIUS_MOST 50
#define USERS_MOST 100

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

typedef char BoardName[BOARD_NAME_MAX + 1];

/* One to 16 names with commas between, each once: how many, 0 where they aren't. */
static int
split_names(const char *list, BoardName names[BOARDS_PER_STREAM], Problem *problem)
{
	int			count = 0;

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
	{
		size_t		length = strcspn(p, ",");

		if (!is_board_name(p, length) || count == BOARDS_PER_STREAM)
			return problem_set(problem, ERROR_INVALID_REQUEST, "board is one to 16 names of boards, with commas between.");
		snprintf(names[count], sizeof(names[count]), "%.*s", (int) length, p);
		for (int i = 0; i < count; i++)
			if (strcmp(names[i], names[count]) == 0)
				return problem_set(problem, ERROR_INVALID_REQUEST, "A board is named twice.");
		count++;
	}
	return count;
}

int
api_find_boards(Bridge *bridge, const char *list, Board **boards, Problem *problem)
{
	BoardName	names[BOARDS_PER_STREAM];
	int			count = split_names(list, names, problem);

	for (int i = 0; i < count; i++)
	{
		boards[i] = boards_find(bridge, names[i]);
		if (boards[i] == NULL && !feed_loaded(bridge))
			return problem_set(problem, ERROR_UNAVAILABLE, "The boards have not been read yet.");
		if (boards[i] == NULL)
			return problem_set(problem, ERROR_NOT_FOUND, "There is no such board.");
	}
	return count;
}

/* ---- parameters for the database ---- */

bool
api_text(const char *text, Problem *problem)
{
	json_t	   *json = json_string(text);

	json_decref(json);
	return json || problem_set(problem, ERROR_INVALID_REQUEST, "A text in the URL is not UTF-8.");
}

bool
api_board(const Exchange *exchange, const char **board, Problem *problem)
{
	const char *name = exchange_parameter(exchange, "board");

	*board = name ? name : "global";
	return is_board_name(*board, strlen(*board)) ||
		problem_set(problem, ERROR_INVALID_REQUEST, "board is the name of one board: 1 to 63 of a-z 0-9 _ . -");
}

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

bool
api_number(const Exchange *exchange, const char *name, const char *unset, size_t low, size_t high, const char **number, Problem *problem)
{
	static char sentence[80];
	size_t		value;
	const char *text = exchange_parameter(exchange, name);

	*number = text ? text : unset;
	if (read_number(exchange, name, low, high, &value))
		return true;
	snprintf(sentence, sizeof(sentence), "%s is a whole number from %zu to %zu.", name, low, high);
	return problem_set(problem, ERROR_INVALID_REQUEST, sentence);
}

static bool
read_season(const Exchange *exchange, const char **season, Problem *problem)
{
	return api_number(exchange, "season", NULL, 0, INT32_MAX, season, problem);
}

/* {"ann","a\"b"}: an array as PostgreSQL reads it, to be freed; NULL with the problem set. */
static char *
array_text(const char *const *items, int count, Problem *problem)
{
	size_t		size = 3;
	char	   *text;
	char	   *at;

	for (int i = 0; i < count; i++)
	{
		if (!api_text(items[i], problem))
			return NULL;
		size += 2 * strlen(items[i]) + 3;
	}
	text = at = malloc(size);
	if (text == NULL)
	{
		problem_set(problem, ERROR_UNAVAILABLE, "Out of memory.");
		return NULL;
	}
	*at++ = '{';
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			*at++ = ',';
		*at++ = '"';
		for (const char *c = items[i]; *c; c++)
		{
			if (*c == '"' || *c == '\\')
				*at++ = '\\';
			*at++ = *c;
		}
		*at++ = '"';
	}
	strcpy(at, "}");
	return text;
}

/* The parameter users as an array, to be freed; NULL with the problem set. */
static char *
read_users(const Exchange *exchange, bool required, Problem *problem)
{
	const char *items[USERS_MOST];
	char	   *text;
	char	   *array = NULL;
	int			count = query_list(exchange->head->query, "users", items, USERS_MOST, &text);

	if (count < 0 || (count == 0 && required))
		problem_set(problem, ERROR_INVALID_REQUEST, "users is 1 to 100 ids with commas between.");
	else
		array = array_text(items, count, problem);
	free(text);
	return array;
}

/* ---- questions to the database ---- */

static void
told(void *data, PgEnd end, const PGresult *result)
{
	Exchange   *exchange = data;
	Answer		answer = {200, "application/json", NULL, 0,
		exchange->token ? "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n" : "Cache-Control: public, no-cache\r\n", false};

	if (end != PG_ANSWERED || PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
	{
		exchange_refused(exchange, end == PG_ANSWERED ? PG_UNKNOWN : end, result);
		return;
	}
	answer.body = PQgetvalue(result, 0, 0);
	answer.length = (size_t) PQgetlength(result, 0, 0);
	exchange_answer(exchange, &answer);
}

/* The player that is named first in the answer is the token's. */
static void
told_of_player(void *data, PgEnd end, const PGresult *result)
{
	if (end == PG_ANSWERED && PQntuples(result) == 1)
		account_player(data, PQgetvalue(result, 0, 0));
	told(data, end, result);
}

void
api_ask(Exchange *exchange, const Question *question)
{
	exchange_ask(exchange, question, told, exchange);
}

void
api_ask_for_player(Exchange *exchange, const Question *question)
{
	exchange_ask_for_player(exchange, question, told_of_player, exchange);
}

/* ---- lists that the database answers ---- */

void
api_around(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Question	question = {"SELECT scoreboard.around($1, $2, $3::integer, $4::integer, $5)", 5, {0}};

	question.parameters[0] = exchange_parameter(exchange, "user");
	question.parameters[4] = exchange->token;
	if (question.parameters[0] == NULL)
		problem_set(&problem, ERROR_INVALID_REQUEST, "user is needed.");
	else if (api_text(question.parameters[0], &problem) && api_board(exchange, &question.parameters[1], &problem) &&
			 api_number(exchange, "radius", "5", 0, RADIUS_MOST, &question.parameters[2], &problem) &&
			 read_season(exchange, &question.parameters[3], &problem))
	{
		api_ask(exchange, &question);
		return;
	}
	exchange_problem(exchange, &problem);
}

void
api_ranks(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Question	question = {"SELECT scoreboard.ranks($1::text[], $2, $3::integer, $4)", 4, {0}};
	char	   *users = NULL;

	question.parameters[3] = exchange->token;
	if (api_board(exchange, &question.parameters[1], &problem) && read_season(exchange, &question.parameters[2], &problem) &&
		(question.parameters[0] = users = read_users(exchange, true, &problem)) != NULL)
		api_ask(exchange, &question);
	else
		exchange_problem(exchange, &problem);
	free(users);
}

void
api_view(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Question	question = {"SELECT scoreboard.view($1, $2::integer, $3::integer, $4::text[], NULL, $5::integer, $6)", 6, {0}};
	char	   *users = NULL;

	question.parameters[5] = exchange->token;
	if (api_board(exchange, &question.parameters[0], &problem) &&
		api_number(exchange, "limit", "10", 1, LIMIT_MOST, &question.parameters[1], &problem) &&
		api_number(exchange, "radius", "2", 0, RADIUS_MOST, &question.parameters[2], &problem) &&
		read_season(exchange, &question.parameters[4], &problem) &&
		(question.parameters[3] = users = read_users(exchange, false, &problem)) != NULL)
		api_ask(exchange, &question);
	else
		exchange_problem(exchange, &problem);
	free(users);
}

void
api_boards(Exchange *exchange)
{
	api_ask(exchange, &(Question) {"SELECT scoreboard.boards($1)", 1, {exchange->token}});
}

/* ---- the top list ---- */

typedef struct TopQuery
{
	Board	   *board;
	size_t		limit;
	size_t		skip;
	const char *season;			/* NULL: the current one */
} TopQuery;

static bool
read_top_query(Exchange *exchange, TopQuery *query, Problem *problem)
{
	const char *name;
	const char *text;
	Board	   *boards[BOARDS_PER_STREAM];

	query->limit = LIMIT_MOST;
	query->skip = 0;
	if (!api_number(exchange, "limit", NULL, 1, LIMIT_MOST, &text, problem) ||
		!api_number(exchange, "skip", NULL, 0, INT32_MAX, &text, problem) ||
		!read_season(exchange, &query->season, problem) || !api_board(exchange, &name, problem) ||
		api_find_boards(exchange->bridge, name, boards, problem) == 0)
		return false;
	read_number(exchange, "limit", 1, LIMIT_MOST, &query->limit);
	read_number(exchange, "skip", 0, INT32_MAX, &query->skip);
	query->board = boards[0];
	return true;
}

/*
 * Does memory hold all that is asked for? A page that begins in the list may end
 * behind it, where the board goes on; and another worker may have shown a newer
 * list already.
 */
static bool
in_memory(const TopQuery *query)
{
	const Frame *frame = board_frame(query->board);
	bool		whole = frame->entries < (size_t) board_top_size(query->board);

	if (!board_public(query->board) || board_behind(query->board) || (query->season && atoi(query->season) != board_season(query->board)))
		return false;
	return query->skip == 0 || whole || query->skip + query->limit <= frame->entries;
}

static void
ask_top(Exchange *exchange, const TopQuery *query)
{
	static const char live[] = "SELECT scoreboard.live_top($1, $2::integer, $5::integer, $3::integer, $4)";
	static const char stored[] = "SELECT scoreboard.leaderboard($1, $2::integer, $3::integer, $4)";
	char		limit[24];
	Question	question = {query->skip > 0 ? live : stored, query->skip > 0 ? 5 : 4,
		{board_name(query->board), limit, query->season, exchange->token, exchange_parameter(exchange, "skip")}};

	snprintf(limit, sizeof(limit), "%zu", query->limit);
	if (board_public(query->board))
		api_ask(exchange, &question);
	else
		api_ask_for_player(exchange, &question);
}

void
api_top(Exchange *exchange)
{
	TopQuery	query;
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	char		tag[BOARD_NAME_MAX + 80];
	char		headers[sizeof(tag) + 80];
	Answer		answer = {304, NULL, NULL, 0, headers, false};
	static Room room;
	const Frame *frame;
	char	   *list;

	if (!read_top_query(exchange, &query, &problem))
	{
		exchange_problem(exchange, &problem);
		return;
	}
	if (!in_memory(&query))
	{
		ask_top(exchange, &query);
		return;
	}
	snprintf(tag, sizeof(tag), "\"%s.%d.%" PRId64 ".%zu.%zu\"", board_name(query.board), board_season(query.board),
			 board_version(query.board), query.skip, query.limit);
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
