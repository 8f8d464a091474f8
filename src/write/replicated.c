/*
 * write/replicated.c - what is acknowledged can't be lost with this machine, where a standby is synchronous
 *
 * An increment's commit is flushed and waits for the synchronous standbys whatever the session's synchronous_commit says at that
 * moment: off and local are raised to on for that commit alone. Who must not wait any more empties synchronous_standby_names.
 *
 * Who commits an action waits for the synchronous standbys, but is visible as well when that wait was cut short: its backend
 * was terminated, or the server crashed. A retry finds the row, writes nothing, and so has no commit that would wait; a duplicate's
 * transaction even aborts. Both tell the client that the action is counted, so both wait here first.
 *
 * Locks: none taken. The caller holds the player's, so that player's next action waits too, as it does for an increment
 * whose commit waits.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/lwlock.h"
#include "utils/guc.h"

#include "compat.h"
#include "write/replicated.h"

static bool forced = false;		/* this transaction has counted an action */

/* Within a nest level, or to the end of the transaction. */
static void
raise_setting(GucAction action)
{
	if (synchronous_commit <= SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION, action, true, 0, false);
}

void
replicated_at_commit(void)
{
	forced = true;
	ForceSyncCommit();			/* flushes, but leaves it to the setting whether standbys are waited for */
}

/* As late as the server looks at it: the session may have changed it since. */
static void
transaction_event(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_COMMIT && forced)
		raise_setting(GUC_ACTION_LOCAL);
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		forced = false;
}

void
replicated_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
}

/* Where the last record ends. */
static XLogRecPtr
end_of_wal(void)
{
	XLogRecPtr	next = GetXLogInsertRecPtr();
	uint64		header = XLogSegmentOffset(next, wal_segment_size) < XLOG_BLCKSZ ? SizeOfXLogLongPHD : SizeOfXLogShortPHD;

	/* The next one begins behind a page's header; to flush that header too would be an error. */
	return next % XLOG_BLCKSZ == header ? next - header : next;
}

static int
wait_mode(void)
{
	switch (synchronous_commit)
	{
		case SYNCHRONOUS_COMMIT_REMOTE_WRITE:
			return SYNC_REP_WAIT_WRITE;
		case SYNCHRONOUS_COMMIT_REMOTE_APPLY:
			return SYNC_REP_WAIT_APPLY;
		default:
			return SYNC_REP_WAIT_FLUSH;
	}
}

/* The server ends a wait also where it was cancelled, with a warning and nothing else, or where no standby is wanted any more. */
static bool
is_replicated(XLogRecPtr end)
{
	bool		replicated;

	LWLockAcquire(SyncRepLock, LW_SHARED);
	replicated = !compat_standbys_named() || WalSndCtl->lsn[wait_mode()] >= end;
	LWLockRelease(SyncRepLock);
	return replicated;
}

static bool
wait_for_standbys(XLogRecPtr end)
{
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(end, true);
	RESUME_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();		/* told to end: no answer at all */
	return is_replicated(end);
}

bool
replicated_wait(Refusal *refusal)
{
	XLogRecPtr	end;
	int			level;
	bool		replicated;

	if (max_wal_senders == 0 || !compat_standbys_named())
		return true;
	end = end_of_wal();
	XLogFlush(end);
	level = NewGUCNestLevel();
	raise_setting(GUC_ACTION_SAVE);
	replicated = wait_for_standbys(end);
	AtEOXact_GUC(true, level);
	return replicated ||
		refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Send the request again under the same idempotency key.",
				   "the action has been counted, but the wait for a synchronous standby was cancelled");
}
