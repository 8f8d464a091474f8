/*
 * publish/chores.c - what the publisher's worker does beside publishing
 *
 * Who makes a chore due calls publisher_wake(). Each runs outside a transaction and makes its own, so that a long one
 * needn't hold a snapshot, and a build of ranks that takes long is left to a process of its own (publish/builder.c); one that fails is logged, and all are tried again after a back-off that doubles. No locks of its own.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "utils/backend_status.h"
#include "utils/snapmgr.h"

#include "base/refusal_log.h"
#include "publish/builder.h"
#include "publish/chores.h"
#include "publish/publisher.h"
#include "publish/publisher_transaction.h"
#include "publish/slots.h"
#include "publish/worker.h"
#include "rank/build.h"
#include "trust/rate_limit.h"

/* They are gathered for so long. */
#define CHORES_INTERVAL_MS 100

#define FIRST_BACK_OFF_MS 500
#define LONGEST_BACK_OFF_MS 15000

static int64 not_before = 0;
static int	failures = 0;		/* in a row, of any chore */
static int	build_failures = 0;	/* in a row, of the builder */
static bool boards_wanted = false;	/* we have asked for every board's ranks, at our start */

static void
store_refusals(void)
{
	publisher_begin_transaction();
	SPI_connect();
	refusal_log_store();
	SPI_finish();
	publisher_commit_transaction();
	refusal_log_forget();
}

static bool
ranks_pending(void)
{
	return !boards_wanted || (!builder_is_running() && rank_build_pending());
}

/* Here where it is a matter of milliseconds or no worker is free, otherwise beside us. */
static void
build_ranks(void)
{
	publisher_begin_transaction();
	if (!boards_wanted)
		rank_build_want_all();
	boards_wanted = true;
	PopActiveSnapshot();
	if ((rank_build_is_quick() || !builder_start()) && rank_build())
		publisher_wake();
	CommitTransactionCommand();
	MemoryContextSwitchTo(worker_turn_context());
}

/* What became of the builder. */
static void
take_in_builder(int64 now)
{
	bool		succeeded;

	if (!builder_ended(&succeeded))
		return;
	build_failures = succeeded ? 0 : build_failures + 1;
	if (!succeeded)
		not_before = now + worker_back_off_ms(build_failures, FIRST_BACK_OFF_MS, LONGEST_BACK_OFF_MS);
	publisher_wake();			/* more may be wanted meanwhile */
}

bool
chores_will_build(void)
{
	return builder_is_running() || (failures == 0 && build_failures == 0);
}

static const struct
{
	const char *what;
	bool		(*pending) (void);
	void		(*run) (void);
}			chores[] = {
	{"building ranks", ranks_pending, build_ranks},
	{"reporting full rate windows", rate_limit_report_pending, rate_limit_report},
	{"storing refusals", refusal_log_pending, store_refusals}
};

static void
run_chore(int which)
{
	pgstat_report_activity(STATE_RUNNING, chores[which].what);
	PG_TRY();
	{
		chores[which].run();
		failures = 0;
	}
	PG_CATCH();
	{
		worker_log_error(worker_abort_transaction(), pstrdup(chores[which].what));
		failures++;
	}
	PG_END_TRY();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

int64
chores_run(void)
{
	int64		now = worker_clock_ms();
	bool		any = false;

	take_in_builder(now);

	/* Meanwhile the mark stays, so that nobody wakes us. */
	if (not_before > now)
		return not_before - now;
	if (!slots_take_chores() && failures == 0)
		return WORKER_LONGEST_SLEEP_MS;
	for (int which = 0; which < lengthof(chores); which++)
	{
		if (!chores[which].pending())
			continue;
		any = true;
		run_chore(which);
	}
	if (!any)
	{
		failures = 0;
		return WORKER_LONGEST_SLEEP_MS;
	}
	not_before = now + CHORES_INTERVAL_MS;
	if (failures > 0)
	{
		not_before = now + worker_back_off_ms(failures, FIRST_BACK_OFF_MS, LONGEST_BACK_OFF_MS);
		ereport(DEBUG1, (errmsg_internal("scoreboard tries again in " INT64_FORMAT " ms", not_before - now)));
	}
	return not_before - now;
}

int64
chores_wait_ms(void)
{
	return Max(not_before - worker_clock_ms(), 0);
}
