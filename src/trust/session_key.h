/*
 * trust/session_key.h - keys by which a player's own device signs receipts
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_SESSION_KEY_H
#define SCOREBOARD_TRUST_SESSION_KEY_H

#include "postgres.h"

#include "base/config_cache.h"

/*
 * The player's key of that name, as committed now, as a signing key without a number and without limits. False where there
 * is none or it is another player's; whether it is valid is the caller's question.
 */
extern bool session_key_find(const char *key_id, const char *user_id, SigningKey *key);

/* Ends all of the player's keys, and says how many were alive. The caller holds its lock. */
extern int	session_keys_end(const char *user_id);

/* Removes some of those that have been dead for long; true if there may be more. SPI is connected, with our search_path. */
extern bool session_keys_purge(void);

#endif
