/*
 * base/locks.c - the one lock that decides about a player's increments
 *
 * A transaction-scoped heavyweight lock: no row, no WAL, works before the
 * player's row exists. field4 = 3 keeps it apart from users' advisory locks (1 and 2).
 *
 * Order: relation scoreboard.score first, then players by hash.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "scoreboard.h"
#include "base/locks.h"
#include "plain/keyed_hash.h"

#define PLAYER_LOCK_CLASS 3

uint64
player_lock_hash(const char *user_id)
{
	return keyed_hash64(scoreboard_hash_key(0), scoreboard_hash_key(1), user_id, strlen(user_id));
}

static LockAcquireResult
acquire(uint64 hash, bool dont_wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, PLAYER_LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, dont_wait);
}

void
player_lock_acquire(uint64 hash)
{
	(void) acquire(hash, false);
}

bool
player_lock_try(uint64 hash)
{
	return acquire(hash, true) != LOCKACQUIRE_NOT_AVAIL;
}
