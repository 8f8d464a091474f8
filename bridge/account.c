/*
 * account.c - what is counted and logged of a request
 *
 * A line a request, where it asked the database for something or went wrong;
 * the others' lines are for level debug, since a read from memory takes less
 * time than its line would.
 *
 * The line is a span: where the request came with a traceparent (W3C Trace
 * Context) it bears the trace's id, the caller's span and one of our own. Its
 * stages are milliseconds that follow on each other: the body's reading, the
 * wait for the database (earlier tries of a batch included), the database, and
 * what was left to do until the answer was handed to the socket. Only what
 * there was has a stage.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "account.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "addresses.h"
#include "log.h"
#include "metrics.h"
#include "pg_pool.h"
#include "random.h"

#define TRACE_ID 32
#define SPAN_ID 16
#define TRACEPARENT (2 + 1 + TRACE_ID + 1 + SPAN_ID + 1 + 2)

/* ---- the caller's trace ---- */

/* So many lower-case hexadecimal digits, not all of them 0. */
static bool
is_id(const char *text, size_t length)
{
	return strspn(text, "0123456789abcdef") >= length && strspn(text, "0") < length;
}

/* version-trace-span-flags; versions that we don't know may have more behind that. */
static bool
read_traceparent(Exchange *exchange, const char *text)
{
	const char *trace = text + 3;
	const char *span = trace + TRACE_ID + 1;
	const char *flags = span + SPAN_ID + 1;

	if (strspn(text, "0123456789abcdef") != 2 || strncmp(text, "ff", 2) == 0 || text[2] != '-' || !is_id(trace, TRACE_ID) || span[-1] != '-' ||
		!is_id(span, SPAN_ID) || flags[-1] != '-' || strspn(flags, "0123456789abcdef") != 2 ||
		(flags[2] != '\0' && (flags[2] != '-' || strncmp(text, "00", 2) == 0)))
		return false;
	memcpy(exchange->trace_id, trace, TRACE_ID);
	memcpy(exchange->parent_id, span, SPAN_ID);
	return true;
}

void
account_trace(Exchange *exchange, const H1Head *head)
{
	char		text[128];
	int			given = 0;
	const H1Field *field = NULL;

	for (int i = 0; i < head->field_count; i++)
		/* Each request comes here: the length first. */
		if (head->fields[i].name.length == 11 && h1_name_is(head->fields[i].name, "traceparent"))
		{
			field = &head->fields[i];
			given++;
		}
	if (given == 1 && field->value.length >= TRACEPARENT && h1_copy(field->value, text, sizeof(text)))
		read_traceparent(exchange, text);
}

/* ---- the player ---- */

void
account_player(Exchange *exchange, const char *user_id)
{
	free(exchange->player);
	exchange->player = strdup(user_id);
}

void
account_player_of(Exchange *exchange, const char *body)
{
	static const char member[] = "{\"userId\":";
	json_t	   *user;

	if (strncmp(body, member, sizeof(member) - 1) != 0)
		return;
	/* The rest of the body is not looked at. */
	user = json_loads(body + sizeof(member) - 1, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, NULL);
	if (json_is_string(user))
		account_player(exchange, json_string_value(user));
	json_decref(user);
}

/* ---- the line ---- */

static LogLevel
level_of(const Exchange *exchange, int status, bool asked)
{
	if (status >= 500 && status != 503 && status != 505)
		return LOG_ERROR;
	return asked || exchange->key[0] ? LOG_INFO : LOG_DEBUG;
}

static void
log_request(const Exchange *exchange, const Answer *answer, const char *outcome, uint64_t now)
{
	const PgTimes *times = pg_pool_running(exchange->bridge);
	LogLevel	level = level_of(exchange, answer->status, times != NULL);
	char		span[RANDOM_ID_SIZE] = "";
	char		address[INET6_ADDRSTRLEN];
	bool		traced = exchange->trace_id[0];

	if (!log_wants(level))
		return;
	if (traced)
	{
		random_id(span);
		span[SPAN_ID] = '\0';
	}
	address_write(&exchange->address, address);
	log_line(level, "request", LOG_TEXT("request_id", exchange->id), LOG_TEXT("path", exchange->path),
			 LOG_NUMBER("status", answer->status), LOG_TEXT("outcome", outcome),
			 LOG_TEXT_IF(exchange->player, "player", exchange->player),
			 LOG_TEXT_IF(!IN6_IS_ADDR_UNSPECIFIED(&exchange->address), "address", address),
			 LOG_TEXT_IF(exchange->client == NULL, "client", "gone"),
			 LOG_TIME("ms", (now - exchange->began) / 1000),
			 LOG_TIME_IF(exchange->ready > exchange->began, "body_ms", (exchange->ready - exchange->began) / 1000),
			 LOG_TIME_IF(times, "queue_ms", times ? (times->sent - exchange->ready) / 1000 : 0),
			 LOG_TIME_IF(times, "database_ms", times ? (times->answered - times->sent) / 1000 : 0),
			 LOG_TIME_IF(times, "send_ms", times ? (now - times->answered) / 1000 : 0),
			 LOG_TEXT_IF(traced, "trace_id", exchange->trace_id), LOG_TEXT_IF(traced, "span_id", span),
			 LOG_TEXT_IF(traced, "parent_span_id", exchange->parent_id));
}

void
account(const Exchange *exchange, const Answer *answer)
{
	uint64_t	now = uv_hrtime();
	const char *outcome = metrics_answered(exchange, answer, (now - exchange->began) / 1000);

	log_request(exchange, answer, outcome, now);
}
