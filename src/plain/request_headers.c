/*
 * plain/request_headers.c - what of an HTTP request's headers goes with an action
 *
 * A layer like PostgREST hands all headers on as one JSON object. Texts are copied into the caller's buffers, so that nothing is
 * allocated when this returns; raises nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/request_headers.h"

#include <string.h>

#include "plain/strict_json.h"

#define MAX_DEPTH 2

static void
copy(const char *from, size_t length, char *to, size_t size)
{
	if (length >= size)
		length = size - 1;
	memcpy(to, from, length);
	to[length] = '\0';
}

static bool
copy_header(const json_t *object, const char *name, char *to, size_t size)
{
	size_t		length;
	const char *value = strict_json_string(json_object_get(object, name), &length);

	if (value != NULL)
		copy(value, length, to, size);
	return value != NULL;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The last entry is what the nearest proxy saw, the one before it what the next one says that it saw. A shorter list has no such entry. */
static void
copy_forwarded(const char *list, size_t length, int hops, char *to, size_t size)
{
	const char *end = list + length;
	const char *start;

	for (;;)
	{
		start = end;
		while (start > list && start[-1] != ',')
			start--;
		if (--hops <= 0)
			break;
		if (start == list)
			return;
		end = start - 1;
	}
	while (start < end && is_blank(*start))
		start++;
	while (start < end && is_blank(end[-1]))
		end--;
	copy(start, (size_t) (end - start), to, size);
}

const char *
request_headers_read(const char *text, size_t length, int hops, RequestHeaders *headers)
{
	json_t	   *object;
	const char *why = strict_json_object(text, length, MAX_DEPTH, &object);
	const char *forwarded;

	*headers = (RequestHeaders) {.has_idempotency_key = false};
	if (why != NULL)
		return why;
	headers->has_idempotency_key = copy_header(object, "idempotency-key", headers->idempotency_key, sizeof(headers->idempotency_key));
	copy_header(object, "x-request-id", headers->request_id, sizeof(headers->request_id));
	forwarded = strict_json_string(json_object_get(object, "x-forwarded-for"), &length);
	if (forwarded != NULL)
		copy_forwarded(forwarded, length, hops, headers->client_address, sizeof(headers->client_address));
	json_decref(object);
	return NULL;
}
