/*
 * publish/worker.c - what our background workers have in common: clock, waiting, turns of a loop, errors that they survive
 *
 * A turn is one pass of a worker's loop. What it allocates lives in worker_turn_context() and goes with the turn, so
 * that an error's copy outlives the transaction that it ended.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "publish/worker.h"

static volatile sig_atomic_t was_ended = false;

/* The server forgets its own mark of it on the way out. */
static void
end_worker(SIGNAL_ARGS)
{
	was_ended = true;
	die(COMPAT_SIGNAL_ARGS);
}

/* What it is at is given up as a statement is that somebody cancels: an error, which the worker survives. */
static void
end_after_this_turn(SIGNAL_ARGS)
{
	was_ended = true;
	StatementCancelHandler(COMPAT_SIGNAL_ARGS);
}

void
worker_accept_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, end_worker);
	BackgroundWorkerUnblockSignals();
}

void
worker_end_between_turns(void)
{
	pqsignal(SIGTERM, end_after_this_turn);
}

void
worker_end_undisturbed(void)
{
	pqsignal(SIGTERM, SIG_IGN);
	QueryCancelPending = false; /* by the first one: it came behind the turn's begin */
}

bool
worker_was_ended(void)
{
	return was_ended;
}

/* What the server's or the database's defaults must not change for us. */
void
worker_set_settings(const char *application_name)
{
	static const char *const settings[][2] = {
		{"synchronous_commit", "on"},	/* an announced version can't be taken back by a crash */
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"search_path", "pg_catalog, pg_temp"},
		{"lock_timeout", "0"},
		{"transaction_timeout", "0"}	/* since 17 */
	};

	for (int i = 0; i < lengthof(settings); i++)
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", application_name, PGC_SUSET, PGC_S_OVERRIDE);
}

int64
worker_clock_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

int64
worker_version_of_clock(void)
{
	return GetCurrentTimestamp() / 1000
		+ (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
}

int64
worker_back_off_ms(int failures, int64 first, int64 longest)
{
	return Min(first << Min(failures, 20), longest);
}

void
worker_wait(int64 timeout_ms, uint32 wait_event)
{
	timeout_ms = Max(timeout_ms, 0);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 (long) Min(timeout_ms, WORKER_LONGEST_SLEEP_MS), wait_event);
	ResetLatch(MyLatch);
}

void
worker_begin_turn(void)
{
	/* Between two turns there is nothing to undo: a shutdown needs no FATAL in the log. */
	if (ProcDiePending)
		proc_exit(1);

	/* Nor is there anything to cancel: a cancel that came too late must not end the worker. */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

MemoryContext
worker_turn_context(void)
{
	static MemoryContext context = NULL;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "scoreboard worker turn", ALLOCSET_DEFAULT_SIZES);
	return context;
}

ErrorData *
worker_abort_transaction(void)
{
	ErrorData  *error;

	MemoryContextSwitchTo(worker_turn_context());
	error = CopyErrorData();
	HOLD_INTERRUPTS();
	AbortCurrentTransaction();
	FlushErrorState();
	MemoryContextSwitchTo(worker_turn_context());
	RESUME_INTERRUPTS();
	return error;
}

void
worker_log_error(ErrorData *error, char *context)
{
	if (was_ended && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return;
	error->elevel = LOG;
	error->context = context;
	ThrowErrorData(error);
}

BackgroundWorker
worker_describe(const char *kind, Oid database)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART
	};

	if (OidIsValid(database))
		snprintf(worker.bgw_name, BGW_MAXLEN, "scoreboard %s for database %u", kind, database);
	else
		snprintf(worker.bgw_name, BGW_MAXLEN, "scoreboard %s", kind);
	snprintf(worker.bgw_type, BGW_MAXLEN, "scoreboard %s", kind);
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "scoreboard");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "scoreboard_%s_main", kind);
	return worker;
}

bool
worker_start(BackgroundWorker *worker, BackgroundWorkerHandle **handle)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	bool		started;

	worker->bgw_notify_pid = MyProcPid;
	started = RegisterDynamicBackgroundWorker(worker, handle);
	MemoryContextSwitchTo(caller);
	if (!started)
		*handle = NULL;
	return started;
}

static void
end_helper(int code, Datum arg)
{
	HelperWorker *helper = (HelperWorker *) DatumGetPointer(arg);

	if (helper->handle == NULL)
		return;
	TerminateBackgroundWorker(helper->handle);
	(void) WaitForBackgroundWorkerShutdown(helper->handle);
}

static void
report_no_place(HelperWorker *helper)
{
	if (helper->no_place || helper->purpose == NULL)
		return;
	helper->no_place = true;
	ereport(LOG,
			(errmsg("scoreboard could not %s: no background worker is free", helper->purpose),
			 errdetail("It tries again by itself; this is said once."),
			 errhint("Increase the configuration parameter \"max_worker_processes\".")));
}

bool
helper_start(HelperWorker *helper)
{
	BackgroundWorker worker = worker_describe(helper->kind, MyDatabaseId);

	if (helper->handle)
		return true;
	if (!helper->ends_with_us)
		before_shmem_exit(end_helper, PointerGetDatum(helper));
	helper->ends_with_us = true;
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	if (!worker_start(&worker, &helper->handle))
	{
		report_no_place(helper);
		return false;
	}
	helper->no_place = false;
	return true;
}

bool
helper_ended(HelperWorker *helper)
{
	pid_t		pid;

	if (helper->handle == NULL || GetBackgroundWorkerPid(helper->handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(helper->handle);
	helper->handle = NULL;
	return true;
}
