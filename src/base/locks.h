/*
 * base/locks.h - the one lock that decides about a player's increments
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_LOCKS_H
#define SCOREBOARD_BASE_LOCKS_H

#include "postgres.h"

/* What the lock is taken on: a keyed hash of the user_id. Two players that share one only wait for each other. */
extern uint64 player_lock_hash(const char *user_id);

/* Waits until it is had; held to the end of the transaction. */
extern void player_lock_acquire(uint64 hash);

/* True if it was had at once. */
extern bool player_lock_try(uint64 hash);

/* Once per process, from _PG_init: transaction callbacks. */
extern void player_lock_init(void);

#endif
