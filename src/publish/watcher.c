/*
 * publish/watcher.c - a worker beside the publisher that looks for players who are far from what is normal
 *
 * It reads what a window of time has of the log, which may take a second, and freezing waits for the player: the publisher goes
 * on publishing meanwhile. What is normal and who is not, scoreboard.watch() says; here is when, and that each freeze is a
 * transaction of its own, so that none holds a player while it waits for another. What fails is tried again at the next time. So is
 * what an administrator's open transaction holds: it is waited for a while longer than moderation waits for players, since our own
 * transaction holds up what vacuum may remove meanwhile, and the flags behind it.
 *
 * It is the publisher's own, as the builder is: a publisher that leaves ends it first.
 *
 * Locks: those of publish/publisher_transaction.c, then what the statements take.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"

#include "scoreboard.h"
#include "base/plan.h"
#include "publish/publisher_transaction.h"
#include "publish/watcher.h"
#include "publish/worker.h"

static HelperWorker watcher = {.kind = "watcher", .purpose = "look for anomalies"};

/* Beyond scoreboard.moderation_wait, after which sessions that act for players are ended. */
#define PATIENCE_MS 3000

static SavedPlan watch_plan = {.text = "SELECT scoreboard.watch()"};
static SavedPlan freeze_plan = {
	.text = "SELECT coalesce(scoreboard.freeze_flagged($1), 0)",
	.nargs = 1, .types = {INT8OID}
};

PGDLLEXPORT void scoreboard_watcher_main(Datum arg);

/* ------------------------------------------------------------------------
 * The publisher's side
 * ------------------------------------------------------------------------ */

bool
watcher_start(void)
{
	(void) helper_ended(&watcher);
	return helper_start(&watcher);
}

/* ------------------------------------------------------------------------
 * The watcher
 * ------------------------------------------------------------------------ */

/* 0 as well where the extension is gone, and while a dump is being restored. */
static int64
run(SavedPlan *plan, int64 argument)
{
	Datum		values[1] = {Int64GetDatum(argument)};
	int64		answer = 0;
	int			pin;

	if (!publisher_try_transaction())
		return 0;
	pin = plan_connect();
	if (!publisher_sees_restore())
	{
		plan_write(plan, values, NULL, SPI_OK_SELECT);
		answer = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	}
	plan_finish(pin);
	publisher_commit_transaction();
	return answer;
}

/* Errors are not caught: the process ends. */
void
scoreboard_watcher_main(Datum arg)
{
	int64		flag_id = 0;

	worker_accept_signals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	worker_set_settings("scoreboard watcher " SCOREBOARD_VERSION);
	LockTimeout = Min(scoreboard_moderation_wait, INT_MAX - PATIENCE_MS) + PATIENCE_MS;
	(void) run(&watch_plan, 0);
	while ((flag_id = run(&freeze_plan, flag_id)) > 0)
		CHECK_FOR_INTERRUPTS();
	proc_exit(0);
}
