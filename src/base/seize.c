/*
 * base/seize.c - a lock that is had within scoreboard.moderation_wait: who holds it longer is ended
 *
 * A player with SQL access could evade moderation by keeping a transaction open. So moderation stands in the lock's queue
 * as everybody does (the deadlock detector, lock_timeout and pg_blocking_pids() see it), but for a time only. Then it
 * leaves the queue, ends the sessions that hold the lock and those that wait for it too, and queues again:
 * ahead of it are only those who came in between, and they are ended after another moment.
 *
 * The wait is in a subtransaction, by the server's own lock_timeout: its end is an error. A deadlock counts as
 * the end of the time, as long as there is somebody to end. Where the time is over and there is nobody (another moderator, or somebody who has
 * locked the row by SQL of his own), the caller is refused.
 *
 * A session is ended by its process id. Whether that is still the process whose lock was seen is asked of its virtual
 * transaction right before; and such a lock goes with its transaction.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/resowner.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/locks.h"
#include "base/refusal.h"
#include "base/seize.h"
#include "base/tables.h"

/* Once the time is over: how long those who were ended may take to go, before it is looked who else there is. */
#define ROUND_MS 100

/* So many rounds without anybody to end: whoever has just gone has left the lock by then. */
#define ROUNDS_FOR_NOBODY 3

/* Of scoreboard.score: a turn of asking for it, and the pause behind it. */
#define SCORES_TURN_MS 100
#define SCORES_PAUSE_MS (SEIZE_SCORES_MS - SCORES_TURN_MS)

/* Who has committed lets go of its locks within some microseconds. */
#define LEAVING_US 200

static int64
passed_ms(const instr_time *since)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, *since);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* ---------------------------------------------------------------------------
 * Ending sessions
 * ------------------------------------------------------------------------- */

static bool
is_of_another(const LockInstanceData *lock, const LOCKTAG *tag)
{
	return memcmp(&lock->locktag, tag, sizeof(LOCKTAG)) == 0 &&
		lock->pid != 0 && lock->pid != MyProcPid && lock->leaderPid != MyProcPid;
}

static bool
is_in_the_way(const LockInstanceData *lock, const LOCKTAG *tag, LOCKMASK modes)
{
	LOCKMASK	wanted = lock->holdMask | (lock->waitLockMode != NoLock ? LOCKBIT_ON(lock->waitLockMode) : 0);

	return is_of_another(lock, tag) && (wanted & modes) != 0 && (lock->holdMask & LOCKBIT_ON(AccessExclusiveLock)) == 0;
}

static void
report_ended(int pid, Oid role, const char *what)
{
	char	   *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	ereport(LOG,
			(errmsg("scoreboard ended the session of process %d, of role \"%s\"", pid, name ? name : "?"),
			 errdetail("It held up %s for longer than scoreboard.moderation_wait (%d ms).", what, scoreboard_moderation_wait),
			 errhidestmt(true),
			 errhidecontext(true)));
}

static bool
end_session(int pid, VirtualTransactionId vxid, const char *what)
{
	PGPROC	   *process = BackendPidGetProc(pid);
	Oid			role = process ? process->roleId : InvalidOid;

	/* Without one it has committed, and is about to let go of its locks. */
	if (process == NULL || !VirtualTransactionIdIsValid(vxid) || VirtualXactLock(vxid, false))
		return false;
	if (kill(pid, SIGTERM) != 0)
	{
		ereport(WARNING,
				(errmsg("could not end the session of process %d: %m", pid),
				 errdetail("It holds up %s.", what),
				 errhint("Try again; if it stays, end it by the operating system.")));
		return false;
	}
	report_ended(pid, role, what);
	return true;
}

/* True if somebody was ended, or is about to go since an earlier time. */
static bool
end_sessions(const LOCKTAG *tag, LOCKMASK modes, const char *what, List **ended)
{
	LockData   *locks = GetLockStatusData();
	bool		any = false;

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (!is_in_the_way(lock, tag, modes))
			continue;
		any = true;
		if (!list_member_int(*ended, lock->pid) && end_session(lock->pid, compat_lock_vxid(lock), psprintf("the lock of %s", what)))
			*ended = lappend_int(*ended, lock->pid);
	}
	return any;
}

typedef struct SeizeHolder
{
	int			pid;
	VirtualTransactionId vxid;
	bool		ended;
} SeizeHolder;

struct SeizeHolders
{
	int			count;
	SeizeHolder holder[FLEXIBLE_ARRAY_MEMBER];
};

/* False where one has committed and is about to let go of its locks: it can't be named any more, and isn't through yet. */
static bool
note_holders(const LOCKTAG *tag, LOCKMASK modes, SeizeHolders **holders)
{
	LockData   *locks = GetLockStatusData();
	bool		named = true;

	*holders = palloc0(offsetof(SeizeHolders, holder) + locks->nelements * sizeof(SeizeHolder));
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		SeizeHolder *holder = &(*holders)->holder[(*holders)->count];

		if (!is_of_another(lock, tag) || (lock->holdMask & modes) == 0)
			continue;
		holder->pid = lock->pid;
		holder->vxid = compat_lock_vxid(lock);
		named = named && VirtualTransactionIdIsValid(holder->vxid);
		(*holders)->count++;
	}
	return named;
}

SeizeHolders *
seize_note_holders(const LOCKTAG *tag, LOCKMASK modes)
{
	SeizeHolders *holders;

	while (!note_holders(tag, modes, &holders))
	{
		pfree(holders);
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LEAVING_US);
	}
	return holders;
}

/* A lock on a table goes with its transaction. */
bool
seize_holders_left(SeizeHolders *holders)
{
	int			left = 0;

	for (int i = 0; i < holders->count; i++)
	{
		const SeizeHolder *holder = &holders->holder[i];

		if (!VirtualXactLock(holder->vxid, false))
			holders->holder[left++] = *holder;
	}
	holders->count = left;
	return left > 0;
}

void
seize_end_holders(SeizeHolders *holders, const char *what)
{
	for (int i = 0; i < holders->count; i++)
	{
		SeizeHolder *holder = &holders->holder[i];

		if (!holder->ended)
			holder->ended = end_session(holder->pid, holder->vxid, what);
	}
}

/* ---------------------------------------------------------------------------
 * Waiting
 * ------------------------------------------------------------------------- */

/* NULL if it was taken; else the error that ended the wait, rolled back. */
static ErrorData *
take_within(int patience_ms, void (*take) (void *argument), void *argument)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			own_timeout = LockTimeout;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		LockTimeout = Max(1, patience_ms);
		take(argument);
		LockTimeout = own_timeout;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		LockTimeout = own_timeout;
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return error;
}

compat_noreturn static void
refuse_held(const char *what)
{
	Refusal		refusal;

	refuse_for(&refusal, REFUSAL_UNAVAILABLE, 1, "pg_blocking_pids() says whose it is while somebody waits. Try again, or end that session.",
			   "an open transaction that moderates, or has locked the row, holds up %s", what);
	refusal_raise(&refusal);
}

void
seize(SeizeWait *wait, const LOCKTAG *tag, LOCKMASK modes, const char *what, void (*take) (void *argument), void *argument)
{
	List	   *ended = NIL;
	int			rounds = 0;
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	if (!wait->began)
	{
		wait->began = true;
		wait->start = start;
	}
	for (;;)
	{
		int64		left = scoreboard_moderation_wait - passed_ms(&wait->start);
		int64		patience = left > 0 ? left : ROUND_MS;
		int64		own_left = LockTimeout - passed_ms(&start);
		bool		own_first = LockTimeout > 0 && own_left <= patience;
		ErrorData  *error = take_within((int) (own_first ? own_left : patience), take, argument);
		bool		deadlock;

		if (error == NULL)
			return;
		deadlock = error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
		if (!deadlock && (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || own_first))
			ReThrowError(error);
		if (deadlock || passed_ms(&wait->start) >= scoreboard_moderation_wait)
		{
			if (end_sessions(tag, modes, what, &ended))
				rounds = 0;
			else if (deadlock)
				ReThrowError(error);
			else if (++rounds == ROUNDS_FOR_NOBODY)
				refuse_held(what);
		}
		FreeErrorData(error);
		CHECK_FOR_INTERRUPTS();
	}
}

bool
seize_try(int patience_ms, void (*take) (void *argument), void *argument)
{
	bool		own_first = LockTimeout > 0 && LockTimeout <= patience_ms;
	ErrorData  *error = take_within(own_first ? LockTimeout : patience_ms, take, argument);

	if (error == NULL)
		return true;
	if (own_first || error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

bool
seize_rows(Oid table, const char *what, void (*take) (void *argument), void *argument)
{
	SeizeHolders *holders;
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
	holders = seize_note_holders(&tag, ~LOCKBIT_ON(AccessShareLock));
	if (seize_try(scoreboard_moderation_wait, take, argument))
		return true;
	if (!seize_holders_left(holders))
		return false;
	seize_end_holders(holders, what);
	return seize_try(scoreboard_moderation_wait, take, argument);
}

void
seize_from_player(SeizeWait *wait, const char *user_id, void (*take) (void *argument), void *argument)
{
	LOCKTAG		tag;

	player_lock_tag(player_lock_hash(user_id), &tag);
	seize(wait, &tag, LOCKBIT_ON(ExclusiveLock), psprintf("player \"%s\"", user_id), take, argument);
}

static void
take_player(void *argument)
{
	player_lock_moderate(*(uint64 *) argument);
}

void
seize_player(SeizeWait *wait, const char *user_id)
{
	uint64		hash = player_lock_hash(user_id);

	if (!player_lock_try_moderate(hash))
		seize_from_player(wait, user_id, take_player, &hash);
}

static void
take_scores(void *argument)
{
	(void) tables_lock(TABLE_SCORE, ShareRowExclusiveLock);
}

bool
seize_scores(void)
{
	return seize_scores_with(take_scores, NULL);
}

bool
seize_scores_with(void (*take) (void *argument), void *argument)
{
	return seize_try(SCORES_TURN_MS, take, argument);
}

void
seize_scores_pause(void)
{
	CHECK_FOR_INTERRUPTS();
	pg_usleep(SCORES_PAUSE_MS * 1000L);
}
