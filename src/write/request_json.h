/*
 * write/request_json.h - increments read from a batch's JSON text
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_REQUEST_JSON_H
#define SCOREBOARD_WRITE_REQUEST_JSON_H

#include "write/request.h"

/* A JSON array, element by element. */
typedef struct RequestArray
{
	const char *at;
	const char *end;
} RequestArray;

/* One of them: its text within the array's, with blanks behind it perhaps. */
typedef struct RequestElement
{
	const char *text;
	size_t		length;			/* bytes */
	int			depth;			/* levels of nesting */
} RequestElement;

/* json is what the type json accepted, without a terminator perhaps. False where it is no array. */
extern bool request_json_open(const char *json, size_t length, RequestArray *array);

/* False behind the last one. */
extern bool request_json_next(RequestArray *array, RequestElement *element);

/*
 * Reads an element and checks it (request_check); refuses on the text what a cast to jsonb would change or choke on.
 * Texts are in the current memory context. Where it refuses, request_id is set if it could be read.
 */
extern bool request_json_read(const RequestElement *element, Request *request, Refusal *refusal);

#endif
