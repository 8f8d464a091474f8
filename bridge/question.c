/*
 * question.c - what is asked of the database for one request, and its no in HTTP
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "question.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "log.h"

bool
exchange_ask(Exchange *exchange, const Question *question, PgCallback callback, void *data)
{
	static const Problem later = {ERROR_UNAVAILABLE, "The database can't be asked now; try again.", NULL, false};
	Bridge	   *bridge = exchange->bridge;
	uint64_t	deadline = uv_now(&bridge->loop) + (uint64_t) bridge->options.database_timeout_ms;

	exchange->head = NULL;
	if (pg_pool_ask(bridge, question->sql, question->count, question->parameters, deadline, callback, data))
		return true;
	exchange_problem(exchange, &later);
	return false;
}

bool
exchange_ask_for_player(Exchange *exchange, const Question *question, PgCallback callback, void *data)
{
	static const Problem nobody = {ERROR_UNAUTHORIZED, "A bearer token is needed.", NULL, false};

	if (exchange->token)
		return exchange_ask(exchange, question, callback, data);
	exchange_problem(exchange, &nobody);
	return false;
}

/* {"error":{"code":...}} as the server's error has it, to be freed; NULL: out of memory. */
static char *
error_text(const Exchange *exchange, const PGresult *result, const char *code)
{
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	json_t	   *json = json_pack("{s:{s:s, s:s, s:s*, s:s}}", "error", "code", code,
								 "message", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY), "hint", hint, "requestId", exchange->id);
	char	   *text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);

	json_decref(json);
	return text;
}

/* The status stands in the SQLSTATE, code and Retry-After in DETAIL's JSON. */
static void
answer_refusal(Exchange *exchange, int status, const PGresult *result)
{
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	json_t	   *json = detail ? json_loads(detail, 0, NULL) : NULL;
	const char *code = json_string_value(json_object_get(json, "code"));
	json_int_t	retry_after = json_integer_value(json_object_get(json, "retryAfter"));
	char	   *body = error_text(exchange, result, code ? code : "INTERNAL");
	char		headers[160];
	Answer		answer = {status, "application/json", body, body ? strlen(body) : 0, headers, false};
	int			n = snprintf(headers, sizeof(headers), "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n%s",
							 status == 401 ? "WWW-Authenticate: Bearer\r\n" : "");

	if (retry_after > 0 || status == 429 || status == 503)
		snprintf(headers + n, sizeof(headers) - (size_t) n, "Retry-After: %lld\r\n", (long long) (retry_after > 0 ? retry_after : 1));
	exchange_answer(exchange, &answer);
	free(body);
	json_decref(json);
}

void
exchange_refused(Exchange *exchange, PgEnd end, const PGresult *result)
{
	static const Problem away = {ERROR_UNAVAILABLE, "The database did not answer in time; try again.", NULL, false};
	static const Problem failed = {ERROR_INTERNAL, "Something is wrong here; the log knows it by the request's id.", NULL, false};
	static const Problem not_now = {ERROR_UNAVAILABLE, "The database can't do that now; try again.", NULL, false};
	const char *sqlstate = end == PG_REFUSED ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;

	if (sqlstate && strncmp(sqlstate, "PT", 2) == 0 && strspn(sqlstate + 2, "0123456789") == 3)
		answer_refusal(exchange, atoi(sqlstate + 2), result);
	else if (end != PG_REFUSED)
		exchange_problem(exchange, &away);
	else if (pg_error_lasts(sqlstate) || pg_error_passes(sqlstate))
		exchange_problem(exchange, &not_now);
	else
	{
		log_error("request failed", LOG_TEXT("request_id", exchange->id), LOG_TEXT("sqlstate", sqlstate),
				  LOG_TEXT("advice", "answered with INTERNAL: a defect, or the extension is older than this bridge; the server's log has more"),
				  LOG_TEXT("reason", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)));
		exchange_problem(exchange, &failed);
	}
}
