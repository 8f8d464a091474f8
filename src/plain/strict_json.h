/*
 * plain/strict_json.h - JSON from strangers, read in exactly one way
 *
 * Plain C over jansson, so that unit tests and fuzzers need no server. Not for
 * files that include the server's headers: both declare a json_object().
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_STRICT_JSON_H
#define SCOREBOARD_PLAIN_STRICT_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

/*
 * The object that text is, to be given to json_decref. NULL and an object, or what is wrong and none: ill-formed, not an
 * object, nested deeper than max_depth, a member twice (at any depth), a byte
 * order mark before it or anything but blanks behind it; or guard_no_memory.
 */
extern const char *strict_json_object(const char *text, size_t length, int max_depth, json_t **object);

/* The string's bytes, or NULL where the value is no string. */
extern const char *strict_json_string(const json_t *value, size_t *length);

#endif
