/*
 * publish/chores.c - what the publisher's worker does beside publishing
 *
 * Who makes a chore due calls publisher_wake(). Each runs outside a transaction and makes its own, so that a long one
 * needn't hold a snapshot, and a build of ranks that takes long is left to a process of its own (publish/builder.c); one that
 * fails is logged and tried again after a back-off that doubles, the others go on meanwhile. No locks of its own.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "admin/retention.h"
#include "admin/season_retention.h"
#include "admin/verification.h"
#include "base/plan.h"
#include "scoreboard.h"
#include "base/refusal_count.h"
#include "base/refusal_log.h"
#include "publish/auditor.h"
#include "publish/builder.h"
#include "publish/chores.h"
#include "publish/kept.h"
#include "publish/outbox.h"
#include "publish/publisher.h"
#include "publish/publisher_transaction.h"
#include "publish/purger.h"
#include "publish/season_names.h"
#include "publish/seasons.h"
#include "publish/slots.h"
#include "publish/watcher.h"
#include "publish/worker.h"
#include "rank/build.h"
#include "trust/grant.h"
#include "trust/rate_limit.h"
#include "trust/session_key.h"

/* They are gathered for so long. */
#define CHORES_INTERVAL_MS 100

/* How long a lock is waited for at our end, when the sessions that could hold one are told to end as well. */
#define LAST_PATIENCE_MS 1000

/* The builder waits as long as it takes; where we build ourselves, publishing is to say who is in the way. */
#define BUILD_PATIENCE_MS 1000

/* Nobody makes it due: what has lived long enough is looked for at our start, and so often. */
#define PURGE_INTERVAL_MS 600000

/* Whether something is to be purged is asked for at our start, so often, and where we are woken: once a second at most, and for a hundredth of the time. */
#define RETENTION_INTERVAL_MS 60000
#define RETENTION_SHORTEST_INTERVAL_MS 1000
#define RETENTION_SHARE 100

#define FIRST_BACK_OFF_MS 500
#define LONGEST_BACK_OFF_MS 15000

typedef struct Chore
{
	const char *what;
	bool		(*pending) (void);
	void		(*run) (void);
	int			failures;		/* in a row */
	int64		not_before;		/* end of its back-off */
} Chore;

enum
{
	BUILDING_RANKS, RENAMING_PLAYERS, FINISHING_SEASONS, REPORTING_WINDOWS, STORING_REFUSALS, PURGING, RETAINING, WATCHING, AUDITING, NUMBERING_EVENTS,
	CHORES						/* how many there are */
};

static Chore chores[CHORES];

static int64 gathered_at = 0;	/* no look before that */
static bool put_off = false;	/* one waits for the end of its back-off */
static int	build_failures = 0;	/* in a row, of the builder */
static int64 purge_at = 0;
static int64 retention_at = 0;
static int64 retention_looked_at = INT64_MIN / 2;
static int64 retention_look_ms = 0;	/* how long that took: the more boards, the longer */
static int	purger_failures = 0;	/* in a row: it ended, and there was still something to do */
static int64 watched_at = 0;	/* 0: not yet; the first look is an interval after our start */
static bool boards_wanted = false;	/* we have asked for every board's ranks, at our start */

static void
try_later(Chore *chore, int in_a_row)
{
	int64		wait_ms = worker_back_off_ms(in_a_row, FIRST_BACK_OFF_MS, LONGEST_BACK_OFF_MS);

	chore->not_before = worker_clock_ms() + wait_ms;
	ereport(DEBUG1, (errmsg_internal("scoreboard tries again in " INT64_FORMAT " ms: %s", wait_ms, chore->what)));
}

static void
store_refusals(void)
{
	publisher_begin_chore(worker_was_ended() ? LAST_PATIENCE_MS : CHORE_PATIENCE_MS);
	SPI_connect();
	refusal_log_store();
	SPI_finish();
	publisher_commit_chore();
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
	publisher_begin_chore(BUILD_PATIENCE_MS);
	if (!boards_wanted)
		rank_build_want_all();
	boards_wanted = true;
	PopActiveSnapshot();
	if ((rank_build_is_quick() || !builder_start()) && rank_build(true))
		publisher_wake();
	CommitTransactionCommand();
	LockTimeout = 0;
	MemoryContextSwitchTo(worker_turn_context());
}

static bool
purge_pending(void)
{
	return purge_at <= worker_clock_ms();
}

/* A slice at a time, so that publishing goes on in between. */
static void
purge(void)
{
	bool		more;
	int			pin;

	if (!publisher_try_chore(CHORE_PATIENCE_MS))
	{
		try_later(&chores[PURGING], 1);
		return;
	}
	pin = plan_connect();
	more = session_keys_purge() | grants_purge() | outbox_purge() | refusal_counts_purge() | verification_purge();
	plan_finish(pin);
	publisher_commit_chore();
	if (!more)
		purge_at = worker_clock_ms() + PURGE_INTERVAL_MS;
}

static bool
retention_pending(void)
{
	return retention_at <= worker_clock_ms();
}

static void
retain(void)
{
	bool		due;

	retention_looked_at = worker_clock_ms();
	if (!publisher_try_chore(CHORE_PATIENCE_MS))
	{
		try_later(&chores[RETAINING], 1);
		return;
	}
	due = season_retention_is_due() | retention_is_due() | (!purger_is_running() && kept_purge_is_due());
	publisher_commit_chore();
	retention_look_ms = worker_clock_ms() - retention_looked_at;
	retention_at = worker_clock_ms() + RETENTION_INTERVAL_MS;
	if (!due)
		purger_failures = 0;
	else
		(void) purger_start();
}

/* It may have been woken for us. */
static void
hurry_retention(void)
{
	retention_at = Min(retention_at, retention_looked_at + Max(RETENTION_SHORTEST_INTERVAL_MS, RETENTION_SHARE * retention_look_ms));
}

/* It has nothing left to do, or has failed: that is seen at the next look. */
static void
take_in_purger(void)
{
	if (purger_ended())
		retention_at = worker_clock_ms() + worker_back_off_ms(purger_failures++, FIRST_BACK_OFF_MS, RETENTION_INTERVAL_MS);
}

/* How long until players are looked at again. */
static int64
watch_wait_ms(void)
{
	if (watched_at == 0)
		watched_at = worker_clock_ms();
	if (scoreboard_anomaly_interval == 0)
		return WORKER_LONGEST_SLEEP_MS;
	return Max(watched_at + scoreboard_anomaly_interval * INT64CONST(1000) - worker_clock_ms(), 0);
}

static bool
watch_pending(void)
{
	return watch_wait_ms() == 0;
}

/* Where no worker is free, at the next time. */
static void
watch(void)
{
	watched_at = worker_clock_ms();
	(void) watcher_start();
}

static bool
audit_pending(void)
{
	return auditor_wait_ms() == 0;
}

static void number_events(void);

static Chore chores[CHORES] = {
	[BUILDING_RANKS] = {"building ranks", ranks_pending, build_ranks},
	[RENAMING_PLAYERS] = {"renaming players in ended seasons", season_names_pending, season_names_follow},
	[FINISHING_SEASONS] = {"finishing seasons", seasons_pending, seasons_finish},
	[REPORTING_WINDOWS] = {"reporting full rate windows", rate_limit_report_pending, rate_limit_report},
	[STORING_REFUSALS] = {"storing refusals", refusal_log_pending, store_refusals},
	[PURGING] = {"purging session keys, grants, events and counts", purge_pending, purge},
	[RETAINING] = {"looking for actions, seasons and kept versions to purge", retention_pending, retain},
	[WATCHING] = {"looking for anomalies", watch_pending, watch},
	[AUDITING] = {"looking after the nightly check", audit_pending, auditor_look},
	[NUMBERING_EVENTS] = {"numbering events", outbox_pending, number_events}
};

/* Not into tables that a restore is still filling. */
static void
number_events(void)
{
	if (!outbox_number())
		try_later(&chores[NUMBERING_EVENTS], 1);
}

/* What became of the builder. */
static void
take_in_builder(void)
{
	bool		succeeded;

	if (!builder_ended(&succeeded))
		return;
	build_failures = succeeded ? 0 : build_failures + 1;
	if (!succeeded)
		try_later(&chores[BUILDING_RANKS], build_failures);
	publisher_wake();			/* more may be wanted meanwhile */
}

bool
chores_will_build(void)
{
	return builder_is_running() || (chores[BUILDING_RANKS].failures == 0 && build_failures == 0);
}

static void
run_chore(Chore *chore)
{
	pgstat_report_activity(STATE_RUNNING, chore->what);
	PG_TRY();
	{
		chore->run();
		chore->failures = 0;
	}
	PG_CATCH();
	{
		ErrorData  *error = worker_abort_transaction();

		LockTimeout = 0;
		/* Where the error stood before, nothing is kept; now it is the turn's. */
		worker_log_error(error, pstrdup(chore->what));
		try_later(chore, ++chore->failures);
	}
	PG_END_TRY();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* What is due by the clock: nobody wakes us for it. */
static int64
clock_wait_ms(void)
{
	int64		purge_wait_ms = Max(purge_at, chores[PURGING].not_before) - worker_clock_ms();
	int64		retention_wait_ms = Max(retention_at, chores[RETAINING].not_before) - worker_clock_ms();
	int64		seasons_ms = Min(seasons_wait_ms(), season_names_wait_ms());

	return Min(Min(Min(watch_wait_ms(), auditor_wait_ms()), Min(seasons_ms, Max(Min(purge_wait_ms, retention_wait_ms), 0))), WORKER_LONGEST_SLEEP_MS);
}

int64
chores_run(void)
{
	int64		now = worker_clock_ms();
	int64		wait_ms;
	bool		any = false;
	bool		woken;

	take_in_builder();
	take_in_purger();

	/* Meanwhile the mark stays, so that nobody wakes us. */
	if (gathered_at > now)
		return gathered_at - now;
	woken = slots_take_chores();
	if (woken)
	{
		hurry_retention();
		season_names_look();
	}
	if (!woken && !put_off && !purge_pending() && !retention_pending() && !watch_pending() && !audit_pending() && !seasons_pending() && !season_names_pending())
		return clock_wait_ms();
	put_off = false;
	wait_ms = WORKER_LONGEST_SLEEP_MS;
	for (int which = 0; which < CHORES; which++)
	{
		Chore	   *chore = &chores[which];

		if (!chore->pending())
		{
			chore->failures = 0;
			continue;
		}
		any = true;
		if (chore->not_before <= now && !worker_was_ended())
			run_chore(chore);
		if (chore->not_before > now)
		{
			put_off = true;
			wait_ms = Min(wait_ms, chore->not_before - now);
		}
	}
	wait_ms = Min(wait_ms, clock_wait_ms());
	if (any)
		gathered_at = now + CHORES_INTERVAL_MS;
	return any ? Max(wait_ms, CHORES_INTERVAL_MS) : wait_ms;
}

void
chores_finish(void)
{
	if (!refusal_log_pending())
		return;
	/* A standby may be gone already; what is committed here is flushed by the server's end. */
	SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
	run_chore(&chores[STORING_REFUSALS]);
}

int64
chores_wait_ms(void)
{
	return Max(gathered_at - worker_clock_ms(), 0);
}
