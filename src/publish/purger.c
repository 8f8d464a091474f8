/*
 * publish/purger.c - a worker beside the publisher, for as long as ended seasons are purged, the log of actions is gone over, or kept versions of lists
 *
 * What goes and how, admin/season_retention.c, admin/retention.c and publish/kept.c say; here is that each step is a transaction of its own, with a pause behind it as long as it
 * took. A step never waits: not for a lock (it fails then, and the next worker goes on where it was), nor for a disk or a standby at
 * its commit: what a crash takes back of a purge is purged again, and whoever commits after it takes it along.
 *
 * It is the publisher's own, as the builder is: a publisher that leaves ends it first.
 *
 * Locks: those of publish/publisher_transaction.c, then those of these three.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "admin/retention.h"
#include "admin/season_retention.h"
#include "compat.h"
#include "publish/kept.h"
#include "publish/publisher_transaction.h"
#include "publish/purger.h"
#include "publish/worker.h"

#define SHORTEST_PAUSE_MS 10

static HelperWorker purger = {.kind = "purger", .purpose = "purge actions, seasons and kept versions"};

PGDLLEXPORT void scoreboard_purger_main(Datum arg);

/* ------------------------------------------------------------------------
 * The publisher's side
 * ------------------------------------------------------------------------ */

bool
purger_start(void)
{
	return helper_start(&purger);
}

bool
purger_is_running(void)
{
	return purger.handle != NULL;
}

bool
purger_ended(void)
{
	return helper_ended(&purger);
}

/* ------------------------------------------------------------------------
 * The purger
 * ------------------------------------------------------------------------ */

/* A planner that saw another table than the one that is there must not read all of it, nor its rows in another order than they stand. */
static void
set_settings(void)
{
	static const char *const settings[][2] = {
		{"synchronous_commit", "off"},
		{"enable_seqscan", "off"}, {"enable_bitmapscan", "off"}, {"enable_hashjoin", "off"}, {"enable_mergejoin", "off"},
		{"jit", "off"}
	};

	worker_set_settings("scoreboard purger " SCOREBOARD_VERSION);
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	LockTimeout = CHORE_PATIENCE_MS;
}

static bool
step(void)
{
	bool		more;

	if (!publisher_try_transaction())
		return false;
	more = season_retention_step() || (retention_step() | kept_purge_step());
	publisher_commit_transaction();
	MemoryContextReset(worker_turn_context());
	pgstat_report_stat(false);
	return more;
}

/* Errors are not caught: the process ends, and the publisher starts another one after a while. */
void
scoreboard_purger_main(Datum arg)
{
	uint32		wait_event = compat_wait_event("ScoreboardPurgerMain");
	bool		more = true;

	worker_accept_signals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	set_settings();
	pgstat_report_activity(STATE_RUNNING, "purging actions, seasons and kept versions");
	while (more)
	{
		int64		began = worker_clock_ms();

		worker_begin_turn();
		more = step();
		if (more)
			worker_wait(Max(worker_clock_ms() - began, SHORTEST_PAUSE_MS), wait_event);
	}
	proc_exit(0);
}
