/*
 * api_ticket.c - tickets: what opens a stream where a token can't go
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "api_ticket.h"

#include <stdio.h>
#include <string.h>

#include "question.h"

/* RFC 3339, UTC, milliseconds, as all of our times are. */
#define CREATE_TICKET "SELECT ticket, to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM scoreboard.create_ticket($1)"

static void
created(void *data, PgEnd end, const PGresult *result)
{
	Exchange   *exchange = data;
	char		body[128];
	Answer		answer = {200, "application/json", body, 0, "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n", false};

	if (end != PG_ANSWERED)
	{
		exchange_refused(exchange, end, result);
		return;
	}
	answer.length = (size_t) snprintf(body, sizeof(body), "{\"ticket\":\"%.32s\",\"expiresAt\":\"%.32s\"}",
									  PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1));
	exchange_answer(exchange, &answer);
}

void
api_ticket(Exchange *exchange)
{
	exchange_ask_for_player(exchange, &(Question) {CREATE_TICKET, 1, {exchange->token}}, created, exchange);
}
