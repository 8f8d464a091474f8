/*
 * plain/jwks.h - an issuer's keys, checked before they are stored (RFC 7517)
 *
 * Plain C, no server: see test/unit/token_keys.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_JWKS_H
#define SCOREBOARD_PLAIN_JWKS_H

#include <stdbool.h>
#include <stddef.h>

#include "plain/jws.h"
#include "plain/text_arena.h"

#define JWKS_MAX_BYTES 65536
#define JWKS_MAX_KEYS 64

typedef struct JwksKey
{
	const char *kid;			/* or NULL; in the arena */
	JwsAlgorithm algorithm;		/* the only one it verifies */
	const char *jwk;			/* what verifying needs and nothing else; in the arena */
} JwksKey;

typedef struct JwksSet
{
	int			count;
	JwksKey		keys[JWKS_MAX_KEYS];
	char		why[160];		/* where reading failed: what is wrong, nothing secret */
	bool		no_memory;		/* where it failed for want of memory: why means nothing then */
} JwksSet;

/* Arena that is never too small for a set of that many bytes. */
#define JWKS_ARENA_SIZE(length) (2 * (length) + 128 * JWKS_MAX_KEYS)

extern bool jwks_read(const char *text, size_t length, TextArena *arena, JwksSet *set);

#endif
