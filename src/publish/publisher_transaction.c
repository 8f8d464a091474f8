/*
 * publish/publisher_transaction.c - a transaction of the publisher or its builder: only where the extension is still there
 *
 * Locks: the extension's object (ACCESS SHARE) first, so that DROP EXTENSION either waits for the transaction or is seen
 * by it; then what its statements take.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/snapmgr.h"

#include "scoreboard.h"
#include "base/plan.h"
#include "publish/publisher_transaction.h"
#include "publish/slots.h"
#include "publish/worker.h"

static Oid	own_extension = InvalidOid;

static SavedPlan restored_plan = {.text = "SELECT 'scoreboard.restored'::regclass::oid"};
static SavedPlan restoring_plan = {.text = "SELECT scoreboard.restore_under_way()"};

/* False if the extension is gone, or is another one than when we started. */
static bool
extension_is_there(void)
{
	Oid			extension = get_extension_oid(SCOREBOARD_EXTENSION, true);

	if (!OidIsValid(extension))
		return false;

	/* DROP EXTENSION waits for us now, or we have waited for it. */
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	if (get_extension_oid(SCOREBOARD_EXTENSION, true) != extension)
		return false;
	if (!OidIsValid(own_extension))
		own_extension = extension;
	return own_extension == extension;
}

bool
publisher_try_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!extension_is_there())
	{
		CommitTransactionCommand();
		return false;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(worker_turn_context());
	return true;
}

void
publisher_begin_transaction(void)
{
	static bool found = false;

	if (!publisher_try_transaction())
	{
		slots_set_outcome(OUTCOME_WITHOUT);
		proc_exit(0);
	}
	if (!found)
		slots_found_extension();
	found = true;
}

void
publisher_commit_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(worker_turn_context());
}

void
publisher_begin_chore(int patience_ms)
{
	LockTimeout = patience_ms;
	publisher_begin_transaction();
}

void
publisher_commit_chore(void)
{
	publisher_commit_transaction();
	LockTimeout = 0;
}

static Datum
ask(SavedPlan *plan)
{
	plan_read(plan, NULL, NULL, 1);
	return plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* Each of its sessions writes there before it brings a table's rows: one that is about to holds the lock, one that has is found. */
bool
publisher_sees_restore(void)
{
	return !ConditionalLockRelationOid(DatumGetObjectId(ask(&restored_plan)), ShareLock) || DatumGetBool(ask(&restoring_plan));
}

bool
publisher_try_chore(int patience_ms)
{
	bool		restoring;
	int			pin;

	publisher_begin_chore(patience_ms);
	pin = plan_connect();
	restoring = publisher_sees_restore();
	plan_finish(pin);
	if (restoring)
		publisher_commit_chore();
	return !restoring;
}
