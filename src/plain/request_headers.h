/*
 * plain/request_headers.h - what of an HTTP request's headers goes with an action
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_REQUEST_HEADERS_H
#define SCOREBOARD_PLAIN_REQUEST_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

/* One character more than each may have: what is cut is still too long for whoever checks it. */
#define REQUEST_HEADERS_KEY 256
#define REQUEST_HEADERS_ID 129
#define REQUEST_HEADERS_ADDRESS 46	/* of IPv6, with an IPv4 tail, and one more */

/* Not checked yet. */
typedef struct RequestHeaders
{
	bool		has_idempotency_key;	/* an empty one counts: it is refused, not overlooked */
	char		idempotency_key[REQUEST_HEADERS_KEY + 1];
	char		request_id[REQUEST_HEADERS_ID + 1]; /* "" where there is none */
	char		client_address[REQUEST_HEADERS_ADDRESS + 1];	/* likewise */
} RequestHeaders;

/*
 * Reads them from a JSON object of lower-case names. hops: how many proxies, the nearest included, have added to X-Forwarded-For;
 * the entry that the first of them added is the client's. NULL; or, with nothing filled in,
 * what is wrong: the text is no strict JSON object, or guard_no_memory.
 */
extern const char *request_headers_read(const char *text, size_t length, int hops, RequestHeaders *headers);

#endif
