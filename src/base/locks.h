/*
 * base/locks.h - the one lock that decides about a player's increments, and the one of its tickets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_LOCKS_H
#define SCOREBOARD_BASE_LOCKS_H

#include "postgres.h"
#include "storage/lock.h"

/* What the lock is taken on: a keyed hash of the user_id. Two players that share one only wait for each other. */
extern uint64 player_lock_hash(const char *user_id);
extern void player_lock_tag(uint64 hash, LOCKTAG *tag);

/*
 * To act for the player. Waits until it is had; or true if it was had at once. Held to the end of the transaction;
 * only who has done nothing under it may release it.
 */
extern void player_lock_acquire(uint64 hash);
extern bool player_lock_try(uint64 hash);
extern void player_lock_release(uint64 hash);

/* To moderate the player. Waiting for it is base/seize.c's job. */
extern void player_lock_moderate(uint64 hash);
extern bool player_lock_try_moderate(uint64 hash);
extern void player_lock_release_moderate(uint64 hash);

extern bool player_lock_moderated(uint64 hash); /* does this transaction hold it so already? */

/* Is there room for one more? Raises an error where there is none for so many new ones: before the first of them is taken. */
extern bool player_lock_has_room(void);
extern void player_lock_reserve(int players);

/* To make a ticket of a stream for the player. Waits until it is had; held to the end of the transaction. */
extern void ticket_lock_acquire(const char *user_id);

/* Once per process, from _PG_init: transaction callbacks. */
extern void player_lock_init(void);

#endif
