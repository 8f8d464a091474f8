/*
 * write/replicated.c - an answer that rests on a committed row waits until that row can't be lost with this machine
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

#include "compat.h"
#include "write/replicated.h"

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

bool
replicated_wait(Refusal *refusal)
{
	XLogRecPtr	end;

	if (!SyncRepRequested() || !compat_standbys_named())
		return true;
	end = end_of_wal();
	XLogFlush(end);
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(end, true);
	RESUME_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();		/* told to end: no answer at all */
	if (is_replicated(end))
		return true;
	return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Send the request again under the same idempotency key.",
					  "the action has been counted, but the wait for a synchronous standby was cancelled");
}
