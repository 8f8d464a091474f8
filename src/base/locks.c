/*
 * base/locks.c - the one lock that decides about a player's increments, and the one of its tickets
 *
 * A transaction-scoped heavyweight lock: no row, no WAL, works before the
 * player's row exists. field4 = 3 keeps it apart from users' advisory locks (1 and 2).
 * Who acts for the player takes it in EXCLUSIVE mode, who moderates it in ACCESS EXCLUSIVE: they exclude each other, and one
 * sees who holds it as what (base/seize.c).
 *
 * Order of locks everywhere: relation scoreboard.score, rows of scoreboard.player, players by hash, boards by id. The row
 * comes before the player's lock, since an administrator's UPDATE has locked it before any trigger of ours runs. An increment,
 * which has the lock first, never waits for the row.
 *
 * Tickets of streams have a lock of their own, field4 = 4: they neither wait for what the player does, nor hold that up.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/locks.h"
#include "plain/keyed_hash.h"

#define PLAYER_LOCK_CLASS 3
#define TICKET_LOCK_CLASS 4

/* How many of them this transaction holds since each of its nesting levels, and in all. */
static int *held = NULL;
static int	held_levels = 0;
static int	held_total = 0;

uint64
player_lock_hash(const char *user_id)
{
	return keyed_hash64(scoreboard_hash_key(0), scoreboard_hash_key(1), user_id, strlen(user_id));
}

void
player_lock_tag(uint64 hash, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, PLAYER_LOCK_CLASS);
}

/* The server's table of locks is laid out for so many in all; a transaction that filled it would fail others too. */
static int
most_players(void)
{
	return max_locks_per_xact * (MaxBackends + max_prepared_xacts) / 2;
}

bool
player_lock_moderated(uint64 hash)
{
	LOCKTAG		tag;

	player_lock_tag(hash, &tag);
	return compat_lock_held_by_me(&tag, AccessExclusiveLock);
}

bool
player_lock_has_room(void)
{
	return held_total < most_players();
}

void
player_lock_reserve(int players)
{
	if (players > most_players() - held_total)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the transaction acts for too many players: %lld", (long long) players + held_total),
				 errdetail("It would take a lock for each, of which the server has room for a few thousand."),
				 errhint("Commit after every %d players, or raise max_locks_per_transaction (now %d) and restart the server.",
						 most_players(), max_locks_per_xact)));
}

static void
make_room(int level)
{
	int			levels = Max(16, 2 * level);

	if (level < held_levels)
		return;
	held = held ? repalloc(held, levels * sizeof(int)) : MemoryContextAlloc(TopMemoryContext, levels * sizeof(int));
	memset(held + held_levels, 0, (levels - held_levels) * sizeof(int));
	held_levels = levels;
}

static bool
acquire(uint64 hash, LOCKMODE mode, bool dont_wait)
{
	LOCKTAG		tag;
	LockAcquireResult result;
	int			level = GetCurrentTransactionNestLevel();

	make_room(level);
	player_lock_tag(hash, &tag);
	if (!compat_lock_held_by_me(&tag, mode))
		player_lock_reserve(1);
	result = LockAcquire(&tag, mode, false, dont_wait);
	if (result == LOCKACQUIRE_OK)
	{
		held[level]++;
		held_total++;
	}
	return result != LOCKACQUIRE_NOT_AVAIL;
}

void
player_lock_acquire(uint64 hash)
{
	(void) acquire(hash, ExclusiveLock, false);
}

bool
player_lock_try(uint64 hash)
{
	return acquire(hash, ExclusiveLock, true);
}

void
player_lock_moderate(uint64 hash)
{
	(void) acquire(hash, AccessExclusiveLock, false);
}

bool
player_lock_try_moderate(uint64 hash)
{
	return acquire(hash, AccessExclusiveLock, true);
}

static void
release(uint64 hash, LOCKMODE mode)
{
	LOCKTAG		tag;
	int			level = GetCurrentTransactionNestLevel();

	player_lock_tag(hash, &tag);
	if (LockRelease(&tag, mode, false) && level < held_levels && held[level] > 0)
	{
		held[level]--;
		held_total--;
	}
}

void
player_lock_release(uint64 hash)
{
	release(hash, ExclusiveLock);
}

void
player_lock_release_moderate(uint64 hash)
{
	release(hash, AccessExclusiveLock);
}

void
ticket_lock_acquire(const char *user_id)
{
	uint64		hash = player_lock_hash(user_id);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, TICKET_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * A prepared transaction would keep the lock without a session that could be ended: the player could neither act nor be
 * banned. Whatever was written under the lock, and if it was nothing.
 */
static void
transaction_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE && held_total > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has acted for a player of scoreboard"),
				 errdetail("Nobody could end it while it holds up the player's other actions, and its ranks follow at commit only."),
				 errhint("Use COMMIT.")));
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		if (held_total > 0)
			memset(held, 0, held_levels * sizeof(int));
		held_total = 0;
	}
}

/* Locks go to the parent with a commit, and back to the server with an abort. */
static void
subtransaction_event(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (level >= held_levels || held[level] == 0 || (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		held[level - 1] += held[level];
	else
		held_total -= held[level];
	held[level] = 0;
}

void
player_lock_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}
