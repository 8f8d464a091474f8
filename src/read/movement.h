/*
 * read/movement.h - how many places a player has moved since the day or the season began
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_READ_MOVEMENT_H
#define SCOREBOARD_READ_MOVEMENT_H

#include "postgres.h"

#include "base/config_cache.h"
#include "read/listing.h"

/* As scoreboard.board and scoreboard.baseline have it. */
extern const char *movement_name(BoardMovement movement);

/* Fills in the movement of a board's rows; nothing where the board shows none. Connects to SPI by itself. */
extern void movement_fill_in(const Board *board, int32 season, ListedRow *rows, int count);

#endif
