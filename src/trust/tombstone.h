/*
 * trust/tombstone.h - players who were forgotten, as long as something that they hold could still be used
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_TOMBSTONE_H
#define SCOREBOARD_TRUST_TOMBSTONE_H

#include "postgres.h"

#include "base/refusal.h"

/*
 * For who is about to add the player, under its lock. False, with PLAYER_SUSPENDED and a refusal that is to be kept without a name,
 * where it was forgotten.
 */
extern bool tombstone_check(const char *user_id, Refusal *refusal);

/* The same for many: the place of the first that was forgotten, from 1; 0: none was. SPI is connected. */
extern int64 tombstone_first(Datum user_ids);

/* Which of them were forgotten. SPI is connected. */
extern void tombstone_find(const char **user_ids, int count, bool *forgotten);

#endif
