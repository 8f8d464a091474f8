/*
 * publish/season_names.h - the final documents of ended seasons follow the names of the players that they show
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_SEASON_NAMES_H
#define SCOREBOARD_PUBLISH_SEASON_NAMES_H

#include "postgres.h"

/* Somebody may have another name. */
extern void season_names_look(void);

/* The chore. */
extern bool season_names_pending(void);
extern void season_names_follow(void);
extern int64 season_names_wait_ms(void);

#endif
