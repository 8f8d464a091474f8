/*
 * trust/quota.h - how often a player's actions of one type may be counted within an hour and a day
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_QUOTA_H
#define SCOREBOARD_TRUST_QUOTA_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/config_cache.h"
#include "base/refusal.h"

/*
 * Is there room for one more? Under the player's lock. False with QUOTA_EXCEEDED in *refusal; retry_after: seconds until
 * there is. May raise what SQL raises.
 */
extern bool quota_check(const Board *board, const ActionRule *rule, const char *action_type, int64 player_id,
						TimestampTz now, Refusal *refusal);

#endif
