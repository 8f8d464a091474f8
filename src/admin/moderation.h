/*
 * admin/moderation.h - nobody acts for a player, within scoreboard.moderation_wait
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_MODERATION_H
#define SCOREBOARD_ADMIN_MODERATION_H

#include "postgres.h"

/*
 * Takes relation scoreboard.score (ROW EXCLUSIVE), the player's row and its lock, all to the end of the transaction. Its player_id;
 * 0 where there is no such player, though its first action was waited for: it can't come as long as the transaction lasts.
 */
extern int64 moderation_lock_player(const char *user_id);

#endif
