/*
 * trust/pass.h - what a bridge shows to be told the own place of a player whose stream it has
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_PASS_H
#define SCOREBOARD_TRUST_PASS_H

#include "postgres.h"

#include "admin/keys.h"

/* The key, read once for many passes; begin with {0}. */
typedef struct PassKey
{
	bool		read;
	char		secret[SECRET_DIGITS + 1];	/* empty where there is none: no pass is good then */
} PassKey;

/* For who has shown a token of the player's that ends then, in seconds since 1970; palloc'd; NULL where there is no key. */
extern char *pass_make(const char *user_id, int64 expires_at);

/* Was it made for this player, and lives still? */
extern bool pass_is_good(PassKey *key, const char *user_id, const char *pass);

#endif
