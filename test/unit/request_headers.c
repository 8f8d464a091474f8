/*
 * test/unit/request_headers.c - what is read from a request's headers, byte by byte
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <string.h>

#include "plain/request_headers.h"
#include "tap.h"

static RequestHeaders headers;

static bool
reads(const char *text, int hops)
{
	return request_headers_read(text, strlen(text), hops, &headers) == NULL;
}

/* The client's address in this X-Forwarded-For. */
static void
address_is(const char *list, int hops, const char *expected)
{
	char		text[512];
	char		name[512];

	snprintf(text, sizeof(text), "{\"x-forwarded-for\": \"%s\"}", list);
	snprintf(name, sizeof(name), "%d hops of \"%s\": \"%s\"", hops, list, expected);
	tap_ok(reads(text, hops) && strcmp(headers.client_address, expected) == 0, name);
}

int
main(void)
{
	char		text[1024];

	tap_ok(reads("{}", 1) && !headers.has_idempotency_key && headers.request_id[0] == '\0' && headers.client_address[0] == '\0', "no headers, nothing");
	tap_ok(reads("{\"idempotency-key\": \"\"}", 1) && headers.has_idempotency_key && headers.idempotency_key[0] == '\0', "an empty key is one");
	tap_ok(reads("{\"Idempotency-Key\": \"k\", \"x-request-id\": 7}", 1) && !headers.has_idempotency_key && headers.request_id[0] == '\0',
		   "names are lower-case, values texts");
	snprintf(text, sizeof(text), "{\"idempotency-key\": \"%0300d\", \"x-request-id\": \"%0300d\"}", 1, 1);
	tap_ok(reads(text, 1) && strlen(headers.idempotency_key) == 256 && strlen(headers.request_id) == 129, "what is too long stays too long");
	tap_ok(!reads("", 1) && !reads("[]", 1) && !reads("{\"a\": \"b\"", 1) && !reads("{\"a\": \"1\", \"a\": \"2\"}", 1) &&
		   !reads("{\"idempotency-key\": \"a\\u0000b\"}", 1) && !reads("{\"a\": {\"b\": {}}}", 1), "no strict object, nothing at all");
	tap_ok(!headers.has_idempotency_key, "nothing is left from before");

	address_is("192.0.2.1", 1, "192.0.2.1");
	address_is("203.0.113.9, 192.0.2.1", 1, "192.0.2.1");
	address_is("203.0.113.9, 192.0.2.1", 2, "203.0.113.9");
	address_is("203.0.113.9,192.0.2.1 ,\\t198.51.100.7 ", 2, "192.0.2.1");
	address_is("203.0.113.9,192.0.2.1 ,\\t198.51.100.7 ", 1, "198.51.100.7");
	address_is("203.0.113.9", 2, "");
	address_is("203.0.113.9,", 1, "");
	address_is(",", 2, "");
	address_is(",", 3, "");
	address_is("", 1, "");
	address_is("   ", 1, "");
	return tap_done();
}
