/*
 * api_users.c - /v1/users: scores of players, and what a token's own player may see and set
 *
 * Whose score, actions and visibility "me" means the database decides by the
 * token, which is always there: a question without one is never asked.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "api_users.h"

#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "api_read.h"

#define ACTIONS_MOST 1000

static bool
read_board_and_season(const Exchange *exchange, const char **board, const char **season, Problem *problem)
{
	return api_board(exchange, board, problem) && api_number(exchange, "season", NULL, 0, INT32_MAX, season, problem);
}

void
api_score(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Question	question = {"SELECT scoreboard.rank($1, $2, $3::integer, $4)", 4, {exchange->items[0], NULL, NULL, exchange->token}};

	if (api_text(exchange->items[0], &problem) &&
		read_board_and_season(exchange, &question.parameters[1], &question.parameters[2], &problem))
		api_ask(exchange, &question);
	else
		exchange_problem(exchange, &problem);
}

void
api_own_score(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Question	question = {"SELECT scoreboard.me($1, $2::integer, $3)", 3, {NULL, NULL, exchange->token}};

	if (read_board_and_season(exchange, &question.parameters[0], &question.parameters[1], &problem))
		api_ask_for_player(exchange, &question);
	else
		exchange_problem(exchange, &problem);
}

void
api_own_actions(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Question	question = {"SELECT scoreboard.history($1, $2, $3::integer, $4)", 4, {NULL, NULL, NULL, exchange->token}};
	const char *cursor = question.parameters[1] = exchange_parameter(exchange, "cursor");

	if ((cursor == NULL || api_text(cursor, &problem)) && api_board(exchange, &question.parameters[0], &problem) &&
		api_number(exchange, "limit", "50", 1, ACTIONS_MOST, &question.parameters[2], &problem))
		api_ask_for_player(exchange, &question);
	else
		exchange_problem(exchange, &problem);
}

/* {"listed":true,"anonymous":false}; anonymous may be left out. */
static bool
read_choice(const Exchange *exchange, const char **listed, const char **anonymous, Problem *problem)
{
	json_t	   *body = json_loadb(exchange->body, exchange->body_length, JSON_REJECT_DUPLICATES, NULL);
	const json_t *member = json_object_get(body, "anonymous");
	bool		fine = json_is_boolean(json_object_get(body, "listed")) && (member == NULL || json_is_boolean(member));

	*listed = json_is_true(json_object_get(body, "listed")) ? "true" : "false";
	*anonymous = json_is_true(member) ? "true" : "false";
	json_decref(body);
	return fine || problem_set(problem, ERROR_INVALID_REQUEST, "The body is a JSON object: listed is true or false, so is anonymous, which may be left out.");
}

void
api_visibility(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Question	question = {"SELECT scoreboard.set_listed($1::boolean, $2::boolean, $3)", 3, {NULL, NULL, exchange->token}};

	if (read_choice(exchange, &question.parameters[0], &question.parameters[1], &problem))
		api_ask_for_player(exchange, &question);
	else
		exchange_problem(exchange, &problem);
}
