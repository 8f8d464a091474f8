/*
 * request_json.h - an increment read from JSON text, in exactly one way
 *
 * Plain C, no server: see test/unit.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_REQUEST_JSON_H
#define SCOREBOARD_REQUEST_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text_arena.h"

/* Members of the object; texts are NULL where they are missing or null, and stand in the arena. */
typedef struct RequestJson
{
	const char *action_type;
	const char *action_id;
	const char *board;
	const char *receipt;
	const char *idempotency_key;
	const char *token;
	const char *request_id;
	const char *client_address;
	bool		has_points;
	int64_t		points;
	bool		has_issued_at;
	int64_t		issued_at;
	bool		has_metadata;	/* an object; its text stays in the element */
} RequestJson;

/* Arena that is never too small for an element of that many bytes. */
#define REQUEST_JSON_ARENA_SIZE(length) ((length) + 16)

/* NULL, or what is wrong, as a sentence that holds nothing of the text. */
extern const char *request_json_read(const char *text, size_t length, TextArena *arena, RequestJson *request);

/* Does every number outside of strings stay within what PostgreSQL's numeric reads? */
extern bool request_json_numbers_fit(const char *json);

#endif
