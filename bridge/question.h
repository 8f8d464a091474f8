/*
 * question.h - what is asked of the database for one request, and its no in HTTP
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_QUESTION_H
#define BRIDGE_QUESTION_H

#include "exchange.h"
#include "pg_hosts.h"
#include "pg_pool.h"

#define QUESTION_PARAMETERS_MAX 7

typedef struct Question
{
	const char *sql;			/* one statement */
	int			count;
	const char *parameters[QUESTION_PARAMETERS_MAX];	/* NULL: SQL's */
} Question;

/*
 * Asks it within --database-timeout; the exchange is the callback's from then on and has no head any more. False: it can't be
 * asked now, the client has been told so, and the exchange has ended.
 */
extern bool exchange_ask(Exchange *exchange, const Question *question, PgCallback callback, void *data);

/* Of the token's player alone: false, too, where there is no token, by 401. */
extern bool exchange_ask_for_player(Exchange *exchange, const Question *question, PgCallback callback, void *data);

/*
 * Answers with the refusal that a function of the extension has raised (SQLSTATE PTxyz, SPEC section 4), its hint included;
 * with UNAVAILABLE where there was no answer or the trouble passes, else with INTERNAL and a line in the log. Not for
 * PG_ANSWERED. Ends the exchange.
 */
extern void exchange_refused(Exchange *exchange, PgEnd end, const PGresult *result);

#endif
