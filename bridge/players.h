/*
 * players.h - whose streams they are
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_PLAYERS_H
#define BRIDGE_PLAYERS_H

#include "credential.h"
#include "hub.h"

typedef struct Membership Membership;	/* a stream of a player's */

extern void players_start(Bridge *bridge);
extern void players_free(Bridge *bridge);	/* when all streams have ended */

/*
 * The stream is this player's: it ends with the token (4001), and where the player has too many by it, the oldest does
 * (4002). NULL: out of memory.
 */
extern Membership *players_join(Bridge *bridge, const Identity *identity, Stream *stream);
extern void players_leave(Membership *membership);	/* the stream is gone */
extern void players_tick(Bridge *bridge);	/* ends what has expired; main.c's tick */

#endif
