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

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lock.h"

#include "scoreboard.h"
#include "base/locks.h"
#include "plain/keyed_hash.h"

#define PLAYER_LOCK_CLASS 3

/* The outermost nesting level at which this transaction holds a player's lock; 0: it holds none. */
static int	held_from = 0;

uint64
player_lock_hash(const char *user_id)
{
	return keyed_hash64(scoreboard_hash_key(0), scoreboard_hash_key(1), user_id, strlen(user_id));
}

static LockAcquireResult
acquire(uint64 hash, bool dont_wait)
{
	LOCKTAG		tag;
	LockAcquireResult result;
	int			level = GetCurrentTransactionNestLevel();

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, PLAYER_LOCK_CLASS);
	result = LockAcquire(&tag, ExclusiveLock, false, dont_wait);
	if (result != LOCKACQUIRE_NOT_AVAIL && (held_from == 0 || level < held_from))
		held_from = level;
	return result;
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

/*
 * A prepared transaction would keep the lock without a session that could be ended: the player could neither act nor be
 * banned. Whatever was written under the lock, and if it was nothing.
 */
static void
transaction_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE && held_from > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has acted for a player of scoreboard"),
				 errdetail("Nobody could end it while it holds up the player's other actions, and its ranks follow at commit only."),
				 errhint("Use COMMIT.")));
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		held_from = 0;
}

/* Locks go to the parent with a commit, and back to the server with an abort. */
static void
subtransaction_event(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB && held_from >= level)
		held_from = 0;
	else if (event == SUBXACT_EVENT_COMMIT_SUB && held_from == level)
		held_from--;
}

void
player_lock_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}
