/*
 * api_read.h - what is read of boards, health, readiness
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_API_READ_H
#define BRIDGE_API_READ_H

#include "exchange.h"
#include "boards.h"
#include "question.h"

/* Handlers of routes. */
extern void api_top(Exchange *exchange);
extern void api_around(Exchange *exchange);
extern void api_ranks(Exchange *exchange);
extern void api_view(Exchange *exchange);
extern void api_boards(Exchange *exchange);
extern void api_health(Exchange *exchange);
extern void api_ready(Exchange *exchange);

/* ---- what the database answers, for api_users.c too ---- */

/* Asks a function of schema scoreboard that answers one JSON text, and answers with what it says: the body, or the refusal. Ends the exchange, now or later. */
extern void api_ask(Exchange *exchange, const Question *question);
/* Its token's player alone is meant: 401 where there is none. */
extern void api_ask_for_player(Exchange *exchange, const Question *question);

/* Parameters of the query as the database takes them; false with the problem set. A missing one is the default, NULL: SQL's NULL. */
extern bool api_board(const Exchange *exchange, const char **board, Problem *problem);
extern bool api_number(const Exchange *exchange, const char *name, const char *unset, size_t low, size_t high, const char **number, Problem *problem);
extern bool api_text(const char *text, Problem *problem);	/* is it UTF-8? */

/* Boards by a comma-separated list of names; how many, or 0 with the problem set. */
extern int	api_find_boards(Bridge *bridge, const char *list, Board **boards, Problem *problem);

#endif
