/*
 * h1.h - HTTP/1.1 as it comes from a client: a strict subset of RFC 9112
 *
 * Plain C without sockets, loop or allocation, so that fuzzers and the
 * differential test against h11 link this file alone. What it accepts, every
 * strict implementation reads the same way; all else is refused with a reason,
 * never guessed: line ends are CRLF, names are tokens directly before the
 * colon, no folding, no control bytes (HTAB between a value's characters is
 * taken), origin-form target without '#', HTTP/1.0 or 1.1, one Host (1.1), at
 * most one Content-Length, no Transfer-Encoding.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_H1_H
#define BRIDGE_H1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H1_HEAD_MAX (16 * 1024)		/* with the URL, line ends included */
#define H1_FIELDS_MAX 100

/* A piece of the bytes that were read; not terminated, valid as long as they are. */
typedef struct Slice
{
	const char *at;				/* NULL: absent */
	size_t		length;
} Slice;

typedef struct H1Field
{
	Slice		name;			/* as it was sent; compare with h1_name_is() */
	Slice		value;			/* without blanks around it */
} H1Field;

typedef struct H1Head
{
	Slice		method;
	Slice		path;			/* before '?', as it was sent: not decoded */
	Slice		query;			/* after '?'; at is NULL where there is no '?' */
	Slice		host;
	int			minor;			/* of HTTP/1.x: 0 or 1 */
	int64_t		length;			/* of the body: Content-Length, else 0 */
	bool		has_length;
	bool		keep_alive;		/* what version and Connection say */
	bool		upgrade;		/* Connection names upgrade */
	bool		expect;			/* Expect: 100-continue */
	size_t		size;			/* of the head in bytes, with its empty line */
	int			field_count;
	H1Field		fields[H1_FIELDS_MAX];
} H1Head;

typedef enum H1Outcome
{
	H1_MORE,					/* a proper beginning: read on */
	H1_READ,					/* *head is filled, head->size bytes belong to it */
	H1_MALFORMED,				/* 400 */
	H1_TOO_LARGE,				/* 431: over H1_HEAD_MAX or H1_FIELDS_MAX */
	H1_TRANSFER_ENCODING,		/* 411 */
	H1_VERSION					/* 505: a well-formed version that isn't 1.0 or 1.1 */
} H1Outcome;

/*
 * Reads the head at the beginning of bytes[0..length). *reason gets a sentence
 * for everything but H1_MORE and H1_READ; after those the connection is of no
 * further use. `seen` is where an earlier call with fewer bytes left off (start
 * with 0), so that a head that comes byte by byte is not scanned anew each
 * time.
 */
extern H1Outcome h1_read_head(const char *bytes, size_t length, size_t *seen, H1Head *head, const char **reason);

/* Terminated; false where it is too long. */
extern bool h1_copy(Slice slice, char *out, size_t size);

extern bool h1_name_is(Slice name, const char *lower_case);
/* The only field of that name; NULL: none. *several: there are more than one. */
extern const H1Field *h1_field(const H1Head *head, const char *lower_case, bool *several);
/* Walks a comma-separated list (all fields of that name): begin with {head, name}. */
typedef struct H1List
{
	const H1Head *head;
	const char *lower_case;
	int			field;			/* the next one to look at */
	Slice		rest;			/* of the field before it */
} H1List;
extern bool h1_list_next(H1List *list, Slice *element);	/* without blanks around it, perhaps empty */
/* Does a comma-separated list (all fields of that name) hold this token, in any case? */
extern bool h1_list_has(const H1Head *head, const char *lower_case, const char *token);

#endif
