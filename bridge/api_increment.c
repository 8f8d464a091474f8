/*
 * api_increment.c - an increment's body, and its way to the database and back
 *
 * The database must get the client's own text: numbers in `metadata` would not
 * survive being parsed and printed again. So the body is checked here, and the
 * element for scoreboard_submit is its text with our members written in front:
 *
 *	{"token":"...","idempotencyKey":"...","requestId":"...","clientAddress":"...", <the body's own members>}
 *
 * A body that holds one of these names itself is refused, and so is a member
 * given twice at any depth, so nothing in it can override ours. jansson decides
 * what is JSON and UTF-8. It has limits for numbers that JSON doesn't have, so
 * it is given a copy in which every number that isn't a plain integer of its
 * range is replaced by 0.0 of the same length, after its form was checked.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "api_increment.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "account.h"
#include "addresses.h"
#include "batch.h"
#include "metrics.h"

#define DEPTH_MAX 32
#define INTEGER_DIGITS 18
#define EXPONENT_MAX 300		/* scoreboard_submit has the same limit, but can't name the request then */

/* The length of the JSON number at `text`, 0 if it is none; says whether jansson can take it. */
static size_t
number_length(const char *text, bool *plain)
{
	const char *p = text + (*text == '-');
	const char *digits = p;

	if (!isdigit((unsigned char) *p))
		return 0;
	if (*p == '0')
		p++;
	else
		while (isdigit((unsigned char) *p))
			p++;
	*plain = p - digits <= INTEGER_DIGITS;
	if (*p == '.')
	{
		*plain = false;
		if (!isdigit((unsigned char) *++p))
			return 0;
		while (isdigit((unsigned char) *p))
			p++;
	}
	if (*p == 'e' || *p == 'E')
	{
		long		exponent = strtol(p + 1, NULL, 10);

		*plain = false;
		if (exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX)
			return 0;
		p += 1 + (p[1] == '+' || p[1] == '-');
		if (!isdigit((unsigned char) *p))
			return 0;
		while (isdigit((unsigned char) *p))
			p++;
	}
	return (size_t) (p - text);
}

static void
replace_number(char *text, size_t length)
{
	memset(text, '0', length);
	text[1] = '.';
}

/* Numbers replaced in place; false where one is broken or the nesting is too deep. */
static bool
tame(char *text, Problem *problem)
{
	bool		quoted = false;
	int			depth = 0;

	for (char *p = text; *p; p++)
	{
		if (*p == '\\' && quoted && p[1])
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (quoted)
			continue;
		else if (*p == '{' || *p == '[')
		{
			if (++depth > DEPTH_MAX)
				return problem_set(problem, ERROR_INVALID_REQUEST, "The body is nested too deeply.");
		}
		else if (*p == '}' || *p == ']')
			depth--;
		else if (*p == '-' || isdigit((unsigned char) *p))
		{
			bool		plain = false;
			size_t		length = number_length(p, &plain);

			if (length == 0)
				return problem_set(problem, ERROR_INVALID_REQUEST, "A number in the body is broken or out of bounds.");
			if (!plain)
				replace_number(p, length);
			p += length - 1;
		}
	}
	return true;
}

static bool
check_members(const json_t *body, Problem *problem)
{
	static const char *const reserved[] = {"token", "idempotencyKey", "requestId", "clientAddress"};
	static const char *const integers[] = {"points", "subscore", "issuedAt"};

	if (!json_is_object(body))
		return problem_set(problem, ERROR_INVALID_REQUEST, "The body is one JSON object, each member once, in UTF-8.");
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (json_object_get(body, reserved[i]))
			return problem_set(problem, ERROR_INVALID_REQUEST,
							   "token, idempotencyKey, requestId and clientAddress do not belong into the body.");
	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
	{
		const json_t *value = json_object_get(body, integers[i]);

		if (value && !json_is_integer(value) && !json_is_null(value))
			return problem_set(problem, ERROR_INVALID_REQUEST, "points, subscore and issuedAt are whole numbers, written plainly.");
	}
	return true;
}

/* Is it an object that we may write members into? */
static bool
check_body(const Exchange *exchange, bool *empty, Problem *problem)
{
	char	   *copy = malloc(exchange->body_length + 1);
	json_t	   *json = NULL;
	bool		fine = false;

	if (copy == NULL)
		return problem_set(problem, ERROR_UNAVAILABLE, "Out of memory.");
	memcpy(copy, exchange->body, exchange->body_length + 1);
	if (strlen(copy) != exchange->body_length)
		problem_set(problem, ERROR_INVALID_REQUEST, "The body is not valid JSON.");
	else if (tame(copy, problem))
	{
		json = json_loadb(copy, exchange->body_length, JSON_REJECT_DUPLICATES, NULL);
		fine = check_members(json, problem);
		*empty = json_object_size(json) == 0;
	}
	json_decref(json);
	free(copy);
	return fine;
}

/* "name":"value", with what JSON wants escaped in visible ASCII. */
static char *
put_member(char *at, const char *name, const char *value)
{
	at += sprintf(at, "\"%s\":\"", name);
	for (; *value; value++)
	{
		if (*value == '"' || *value == '\\')
			*at++ = '\\';
		*at++ = *value;
	}
	return stpcpy(at, "\",");
}

/* The element for scoreboard_submit, malloc'd; NULL with the problem set. */
static char *
make_element(const Exchange *exchange, const char *token, Problem *problem)
{
	char		address[INET6_ADDRSTRLEN];
	bool		empty = false;
	char	   *element;
	char	   *at;

	if (!check_body(exchange, &empty, problem))
		return NULL;
	address_write(&exchange->address, address);
	element = malloc(strlen(token) + 2 * (KEY_MAX + REQUEST_ID_MAX) + sizeof(address) + exchange->body_length + 128);
	if (element == NULL)
	{
		problem_set(problem, ERROR_UNAVAILABLE, "Out of memory.");
		return NULL;
	}
	at = element;
	*at++ = '{';
	at = put_member(at, "token", token);
	at = put_member(at, "idempotencyKey", exchange->key);
	at = put_member(at, "requestId", exchange->id);
	/* Of a unix socket nothing is known. */
	if (!IN6_IS_ADDR_UNSPECIFIED(&exchange->address))
		at = put_member(at, "clientAddress", address);
	if (empty)
		at--;
	strcpy(at, strchr(exchange->body, '{') + 1);
	return element;
}

/* ---- the answer ---- */

static void
answered(void *data, const BatchAnswer *outcome)
{
	static const Problem failed = {ERROR_INTERNAL, "Something is wrong here; the log knows it by the request's id.", NULL, false};
	static const Problem away = {ERROR_UNAVAILABLE, "The database did not answer in time; try again with the same Idempotency-Key.", NULL, false};
	Exchange   *exchange = data;
	char		headers[160];
	Answer		answer = {outcome->status, "application/json", outcome->body, 0, headers, false};
	int			n;

	if (outcome->status == 200 && outcome->body)
	{
		metrics_counted(exchange->bridge, outcome->body);
		account_player_of(exchange, outcome->body);
	}
	if (outcome->body == NULL)
	{
		exchange_problem(exchange, outcome->status == 503 ? &away : &failed);
		return;
	}
	n = snprintf(headers, sizeof(headers), "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n%s",
				 outcome->status == 401 ? "WWW-Authenticate: Bearer\r\n" : "");
	if (outcome->retry_after > 0)
		snprintf(headers + n, sizeof(headers) - (size_t) n, "Retry-After: %d\r\n", outcome->retry_after);
	answer.length = strlen(outcome->body);
	exchange_answer(exchange, &answer);
}

void
api_increment(Exchange *exchange)
{
	static const Problem later = {ERROR_UNAVAILABLE, "Increments are not taken now; try again with the same Idempotency-Key.", NULL, false};
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	char	   *element = make_element(exchange, exchange->token ? exchange->token : "", &problem);

	exchange->head = NULL;
	/* Who it is comes after the body's form. */
	if (element && exchange->token == NULL)
	{
		problem_set(&problem, ERROR_UNAUTHORIZED, "A bearer token is needed.");
		free(element);
		element = NULL;
	}
	if (element == NULL)
		exchange_problem(exchange, &problem);
	else if (!batch_add(client_bridge(exchange->client), element, exchange->id, answered, exchange))
		exchange_problem(exchange, &later);
}
