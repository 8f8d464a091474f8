/*
 * own_ranks.h - me.update: where the players of streams stand themselves
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_OWN_RANKS_H
#define BRIDGE_OWN_RANKS_H

#include "bridge.h"

extern void own_ranks_start(Bridge *bridge);
extern void own_ranks_stop(Bridge *bridge);	/* before the pool stops */

#endif
