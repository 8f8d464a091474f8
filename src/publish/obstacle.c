/*
 * publish/obstacle.c - who holds what the publisher waited for in vain
 *
 * The publisher waits for a lock a moment only: somebody who sits in a transaction on a row that one list needs must not hold up the others.
 * An administrator is told who that is. When lock_timeout ends a wait nobody knows any more what it was for: so the signal that brings its end,
 * which comes to us while we still wait, notes the lock. Whose it is, is then looked up as for pg_blocking_pids(): who has it, or stands
 * before us in its queue, and whom that one waits for itself.
 *
 * A row's holder is waited for by its transaction id. As long as that runs there is nothing to try, and asking that costs nothing.
 *
 * Owns the note of the last wait, and of whom the log was told last. Locks: those of the lock manager's status, for a moment.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"

#include "compat.h"
#include "base/plan.h"
#include "publish/obstacle.h"
#include "publish/publisher_transaction.h"
#include "publish/worker.h"

/* What is over sooner is not worth a line. */
#define TELL_AFTER_MS 1000

/* It is looked again who it is, sooner at first. */
#define LONGEST_LOOK_MS 60000

/* What waits is tried again after so long; the latter where it has waited for long. */
#define SHORTEST_TRY_MS 100
#define LONGEST_TRY_MS 1000

#define LATELY_MS 5000

/* How far it is followed who waits for whom. */
#define CHAIN_MAX 20

/* Whoever waits for a prepared transaction. */
#define PREPARED (-1)

typedef struct LockWait
{
	LOCKTAG		tag;
	LOCKMODE	mode;			/* NoLock: there was no wait */
} LockWait;

static volatile LockWait last_wait;
static int64 met_at = 0;
static int	told_last = 0;

static SavedPlan session_plan = {
	.text = "SELECT format('Role \"%s\", application \"%s\"%s, %s, its transaction began %s ago.', usename, application_name, ' at ' || host(client_addr),"
	" coalesce(state, backend_type), coalesce(date_trunc('second', clock_timestamp() - xact_start), '0'))::text FROM pg_stat_activity WHERE pid = $1",
	.nargs = 1, .types = {INT4OID}
};

static SavedPlan prepared_plan = {
	.text = "SELECT format('Role \"%s\" prepared it as ''%s'' %s ago.', owner, gid, date_trunc('second', clock_timestamp() - prepared))::text, gid"
	" FROM pg_prepared_xacts WHERE database = current_database() ORDER BY transaction::text = $1 DESC, prepared LIMIT 1",
	.nargs = 1, .types = {TEXTOID}
};

/* ------------------------------------------------------------------------
 * Notes
 * ------------------------------------------------------------------------ */

/* Signal handler. A lock that we stand in the queue of stays where it is. */
static void
note_and_cancel(SIGNAL_ARGS)
{
	const LOCK *lock = MyProc ? MyProc->waitLock : NULL;

	if (lock)
	{
		last_wait.tag = lock->tag;
		last_wait.mode = MyProc->waitLockMode;
	}
	StatementCancelHandler(COMPAT_SIGNAL_ARGS);
}

void
obstacle_take_notes(void)
{
	pqsignal(SIGINT, note_and_cancel);
}

void
obstacle_forget_wait(void)
{
	last_wait.mode = NoLock;
}

bool
obstacle_note(Obstacle *obstacle, int sqlerrcode)
{
	if (sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || last_wait.mode == NoLock)
		return false;
	obstacle->tag = last_wait.tag;
	obstacle->mode = last_wait.mode;
	met_at = worker_clock_ms();
	if (obstacle->since == 0)
	{
		obstacle->since = met_at;
		obstacle->look_at = met_at + TELL_AFTER_MS;
	}
	obstacle_forget_wait();
	return true;
}

bool
obstacle_stands(const Obstacle *obstacle)
{
	return obstacle->since != 0 && obstacle->tag.locktag_type == LOCKTAG_TRANSACTION &&
		TransactionIdIsInProgress(obstacle->tag.locktag_field1);
}

int64
obstacle_look_at(const Obstacle *obstacle)
{
	int64		now = worker_clock_ms();

	return now + Max(SHORTEST_TRY_MS, Min((now - obstacle->since) / 8, LONGEST_TRY_MS));
}

bool
obstacle_was_met_lately(void)
{
	return met_at != 0 && worker_clock_ms() - met_at < LATELY_MS;
}

/* ------------------------------------------------------------------------
 * Who it is
 * ------------------------------------------------------------------------ */

static bool
conflicts(LOCKMASK held, LOCKMODE wanted)
{
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
		if ((held & LOCKBIT_ON(mode)) && DoLockModesConflict(mode, wanted))
			return true;
	return false;
}

/* Who has the lock; if nobody, who waits for it and will be given it before us. */
static const LockInstanceData *
holder_of(const LockData *locks, const LockWait *wait)
{
	const LockInstanceData *before = NULL;

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (memcmp(&lock->locktag, &wait->tag, sizeof(LOCKTAG)) != 0 || lock->pid == MyProcPid)
			continue;
		if (conflicts(lock->holdMask, wait->mode))
			return lock;
		if (lock->waitLockMode != NoLock && DoLockModesConflict(lock->waitLockMode, wait->mode))
			before = lock;
	}
	return before;
}

static bool
find_wait(const LockData *locks, int pid, LockWait *wait)
{
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->pid != pid || lock->waitLockMode == NoLock)
			continue;
		wait->tag = lock->locktag;
		wait->mode = lock->waitLockMode;
		return true;
	}
	return false;
}

/* A process id, PREPARED, or 0 where it is gone. */
static int
find_culprit(const Obstacle *obstacle, LockWait *wait)
{
	LockData   *locks = GetLockStatusData();
	int			pid = 0;

	wait->tag = obstacle->tag;
	wait->mode = obstacle->mode;
	for (int i = 0; i < CHAIN_MAX; i++)
	{
		const LockInstanceData *holder = holder_of(locks, wait);

		if (holder == NULL)
			return pid;
		pid = holder->pid ? holder->pid : PREPARED;
		if (pid == PREPARED || !find_wait(locks, pid, wait))
			return pid;
	}
	return pid;
}

/* ------------------------------------------------------------------------
 * The log
 * ------------------------------------------------------------------------ */

/* NULL where it is gone, or it can't be said. SPI is connected. */
static char *
describe_session(int pid)
{
	Datum		values[1] = {Int32GetDatum(pid)};

	plan_read(&session_plan, values, NULL, 1);
	return SPI_processed ? plan_known_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
}

static void
tell_of_session(const char *what, int pid)
{
	char	   *session = describe_session(pid);

	if (session)
		ereport(LOG,
				(errmsg("%s not published: process %d is in the way", what, pid),
				 errdetail("%s", session),
				 errhint("Have it end its transaction, or end it: SELECT pg_terminate_backend(%d). Whatever needs nothing of what it holds is published meanwhile.", pid)));
}

static void
tell_of_prepared(const char *what, const LockWait *wait)
{
	Datum		values[1] = {CStringGetTextDatum(psprintf("%u", wait->tag.locktag_type == LOCKTAG_TRANSACTION ? wait->tag.locktag_field1 : 0))};
	HeapTuple	row;
	TupleDesc	desc;

	plan_read(&prepared_plan, values, NULL, 1);
	if (SPI_processed == 0)
		return;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	ereport(LOG,
			(errmsg("%s not published: a prepared transaction is in the way", what),
			 errdetail("%s", plan_known_text(row, desc, 1)),
			 errhint("COMMIT PREPARED or ROLLBACK PREPARED '%s'.", plan_known_text(row, desc, 2))));
}

static void
tell(int culprit, const LockWait *wait, const char *what)
{
	publisher_begin_chore(CHORE_PATIENCE_MS);
	SPI_connect();
	if (culprit == PREPARED)
		tell_of_prepared(what, wait);
	else
		tell_of_session(what, culprit);
	SPI_finish();
	publisher_commit_chore();
}

/* Told or not, publishing goes on. */
static void
try_to_tell(int culprit, const LockWait *wait, const char *what)
{
	PG_TRY();
	{
		tell(culprit, wait, what);
	}
	PG_CATCH();
	{
		ErrorData  *error = worker_abort_transaction();

		LockTimeout = 0;
		worker_log_error(error, psprintf("looking for process %d, for which \"%s\" waits", culprit, what));
	}
	PG_END_TRY();
}

void
obstacle_tell(Obstacle *obstacle, const char *what)
{
	int64		now = worker_clock_ms();
	LockWait	wait;
	int			culprit;

	if (now < obstacle->look_at)
		return;
	obstacle->look_at = now + Min(now - obstacle->since, LONGEST_LOOK_MS);
	culprit = find_culprit(obstacle, &wait);
	if (culprit == 0 || culprit == obstacle->culprit)
		return;
	obstacle->culprit = culprit;
	/* Of a thousand lists that one holds up, the first is enough. */
	if (culprit == told_last)
		return;
	told_last = culprit;
	obstacle->told = true;
	try_to_tell(culprit, &wait, what);
}

void
obstacle_clear(Obstacle *obstacle, const char *what)
{
	if (obstacle->told)
	{
		ereport(LOG, (errmsg("%s published again", what)));
		told_last = 0;
	}
	memset(obstacle, 0, sizeof(Obstacle));
}
