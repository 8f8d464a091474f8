/*
 * account.c - what is counted and logged of a request
 *
 * A line a request, where it asked for something to be counted or went wrong;
 * the others' lines are for level debug, since a read from memory takes less
 * time than its line would.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "account.h"

#include "log.h"
#include "metrics.h"

static LogLevel
level_of(const Exchange *exchange, int status)
{
	if (status >= 500 && status != 503 && status != 505)
		return LOG_ERROR;
	return exchange->key[0] ? LOG_INFO : LOG_DEBUG;
}

void
account(const Exchange *exchange, const Answer *answer)
{
	uint64_t	us = (uv_hrtime() - exchange->began) / 1000;
	const char *outcome = metrics_answered(exchange, answer, us);

	log_line(level_of(exchange, answer->status), "request", LOG_TEXT("request_id", exchange->id), LOG_TEXT("path", exchange->path),
			 LOG_NUMBER("status", answer->status), LOG_TEXT("outcome", outcome), LOG_NUMBER("us", us));
}
