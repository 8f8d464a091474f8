/*
 * publish/builder.c - a worker beside the publisher, for as long as ranks of a large table are built
 *
 * Reading and sorting millions of rows takes seconds, and a lock that somebody holds on the table any time: the publisher goes
 * on publishing meanwhile. A build needs one snapshot from begin to end, so it can't be cut into pieces between publications.
 *
 * It is the publisher's own: nobody else starts one, and a publisher that leaves ends it first, so that whoever waits for the
 * publisher to leave the database (launcher_hooks.c) has waited for both.
 *
 * Locks: those of publish/publisher_transaction.c, then rank/build.c's.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "publish/builder.h"
#include "publish/publisher_transaction.h"
#include "publish/slots.h"
#include "publish/worker.h"
#include "rank/build.h"

static HelperWorker builder = {.kind = "builder"};

PGDLLEXPORT void scoreboard_builder_main(Datum arg);

/* ------------------------------------------------------------------------
 * The publisher's side
 * ------------------------------------------------------------------------ */

bool
builder_start(void)
{
	slots_set_built(false);
	return helper_start(&builder);
}

bool
builder_is_running(void)
{
	return builder.handle != NULL;
}

bool
builder_ended(bool *succeeded)
{
	if (!helper_ended(&builder))
		return false;
	*succeeded = slots_built();
	return true;
}

/* ------------------------------------------------------------------------
 * The builder
 * ------------------------------------------------------------------------ */

/* Errors are not caught: the process ends, and the publisher starts another one after a while. */
void
scoreboard_builder_main(Datum arg)
{
	bool		first = true;
	bool		more = true;

	worker_accept_signals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	worker_set_settings("scoreboard builder " SCOREBOARD_VERSION);

	/* Without a snapshot of our own: rank_build() lets its go as soon as it has read the table. */
	while (more)
	{
		if (!publisher_try_transaction())
			proc_exit(0);
		PopActiveSnapshot();
		more = rank_build(first);
		first = false;
		CommitTransactionCommand();
	}
	slots_set_built(true);
	proc_exit(0);
}
