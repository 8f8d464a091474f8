/*
 * publish/auditor.c - a worker beside the publisher that holds the log against scores, lists and ranks, every night
 *
 * scoreboard.verify_at says when a night begins, in the database's time zone. From then on each board is verified (admin/verify.c), in
 * a transaction of its own, so that no snapshot outlives a board, with a pause behind it as long as it took. Boards come in the order
 * of their last nightly check. What a night of NIGHT_HOURS doesn't reach is first in the next one; so the log of a hundred thousand
 * boards, which is read for each of them, costs no more than half a processor for so long.
 *
 *   publisher     event                                       does
 *   -----------   -----------------------------------------   ----------------------------------------------------
 *   waiting       the night has begun, boards are due         → running: starts a worker
 *   waiting       it began long ago, with no board verified   → over: the server was down, or the setting is new
 *   running       somebody waits for a lock of the worker's   cancels the board that it is at
 *   running       the worker has left                         → waiting: another one, ATTEMPTS in a night
 *   any           no board is due any more                    → over, until the next night begins
 *
 * How far a night has come stands in scoreboard.verification alone: whoever is killed or restarted goes on with what is left.
 *
 * It never holds anybody up: it waits for no lock longer than PATIENCE_MS, and whoever waits for one that it holds (a command on a
 * table, DROP EXTENSION) has it cancelled within a second, as an autovacuum would be.
 *
 * It is the publisher's own, as the builder is: a publisher that leaves ends it first.
 *
 * Locks: those of publish/publisher_transaction.c, then admin/verify.c's.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pgtime.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "scoreboard.h"
#include "admin/verification.h"
#include "base/plan.h"
#include "publish/auditor.h"
#include "publish/publisher_transaction.h"
#include "publish/worker.h"

#define NIGHT_HOURS 4
#define BEGINS_WITHIN_HOURS 1	/* later than that, a night in which nothing has been done is let go */
#define ATTEMPTS 3				/* workers in a night */

#define LOOK_MS 60000
#define GIVE_WAY_LOOK_MS 1000
#define PATIENCE_MS 1000
#define SHORTEST_PAUSE_MS 10

static HelperWorker auditor = {.kind = "auditor", .purpose = "verify boards by night"};

/* The publisher's: of this night */
static TimestampTz night = DT_NOBEGIN;
static bool over = false;
static int	attempts = 0;
static int64 next_look = 0;		/* worker_clock_ms() */

static SavedPlan give_way_plan = {
	.text = "SELECT pg_cancel_backend($1) FROM (SELECT FROM pg_locks l WHERE NOT l.granted AND l.mode = 'AccessExclusiveLock'"
	" AND $1 = ANY (pg_blocking_pids(l.pid)) LIMIT 1) AS waiting",
	.nargs = 1, .types = {INT4OID}
};

static SavedPlan verify_plan = {
	.text = "SELECT b.name::text, v.finding, count(*)::bigint FROM scoreboard.board b CROSS JOIN LATERAL scoreboard.verify_by_night(b.name) v"
	" WHERE b.board_id = $1 GROUP BY 1, 2 ORDER BY 2",
	.nargs = 1, .types = {INT4OID}
};

PGDLLEXPORT void scoreboard_auditor_main(Datum arg);

/* ------------------------------------------------------------------------
 * When
 * ------------------------------------------------------------------------ */

/* Seconds since midnight; -1: off; -2: that is no time. */
static int
time_of_day(const char *text)
{
	int			hour;
	int			minute;
	int			second = 0;
	int			end = 0;

	if (pg_strcasecmp(text, "off") == 0)
		return -1;
	if (sscanf(text, "%2d:%2d%n:%2d%n", &hour, &minute, &end, &second, &end) < 2 || text[end] != '\0' || strspn(text, "0123456789:") != strlen(text))
		return -2;
	if (hour > 23 || minute > 59 || second > 59)
		return -2;
	return hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE + second;
}

bool
auditor_check_time(char **value, void **extra, GucSource source)
{
	if (time_of_day(*value) != -2)
		return true;
	GUC_check_errdetail("It must be a time of day such as 03:30, or off.");
	return false;
}

/* When the night that it is now began, or the last one; DT_NOBEGIN where there are none. */
static TimestampTz
begin_of_night(TimestampTz now)
{
	int			wanted = time_of_day(scoreboard_verify_at);

	for (int days_ago = 0; days_ago <= 1 && wanted >= 0; days_ago++)
	{
		struct pg_tm tm;
		fsec_t		fraction;
		int			zone;
		TimestampTz begin;

		if (timestamp2tm(now, &zone, &tm, &fraction, NULL, NULL) != 0)
			break;
		j2date(date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - days_ago, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		tm.tm_hour = wanted / SECS_PER_HOUR;
		tm.tm_min = wanted % SECS_PER_HOUR / SECS_PER_MINUTE;
		tm.tm_sec = wanted % SECS_PER_MINUTE;
		zone = DetermineTimeZoneOffset(&tm, session_timezone);
		if (tm2timestamp(&tm, 0, &zone, &begin) == 0 && begin <= now)
			return begin;
	}
	return DT_NOBEGIN;
}

static bool
within_hours(TimestampTz begin, int hours)
{
	return begin != DT_NOBEGIN && GetCurrentTimestamp() - begin < hours * USECS_PER_HOUR;
}

/* ------------------------------------------------------------------------
 * The publisher's side
 * ------------------------------------------------------------------------ */

int64
auditor_wait_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz begin = begin_of_night(now);

	if (auditor.handle == NULL && begin != night)
	{
		night = begin;
		over = false;
		attempts = 0;
		next_look = 0;
	}
	if (auditor.handle || (!over && within_hours(night, NIGHT_HOURS)))
		return Max(next_look - worker_clock_ms(), 0);
	if (night == DT_NOBEGIN)
		return WORKER_LONGEST_SLEEP_MS;
	/* The next one begins a day later, or so: clocks are changed at night. */
	return Max(Min((night + 23 * USECS_PER_HOUR - now) / 1000, WORKER_LONGEST_SLEEP_MS), 100);
}

/* Does somebody wait for what the worker holds? Then it has to begin that board anew. */
static void
give_way(void)
{
	pid_t		pid;
	Datum		values[1];
	int			pin;

	if (GetBackgroundWorkerPid(auditor.handle, &pid) != BGWH_STARTED)
		return;
	values[0] = Int32GetDatum(pid);
	publisher_begin_chore(CHORE_PATIENCE_MS);
	pin = plan_connect();
	plan_write(&give_way_plan, values, NULL, SPI_OK_SELECT);
	plan_finish(pin);
	publisher_commit_chore();
}

/* A night goes by while a dump is being restored: what is there is half of it. */
static bool
is_due(void)
{
	bool		due;
	int			pin;

	if (!publisher_try_chore(CHORE_PATIENCE_MS))
		return false;
	pin = plan_connect();
	due = verification_is_due(night, within_hours(night, BEGINS_WITHIN_HOURS));
	plan_finish(pin);
	publisher_commit_chore();
	return due;
}

void
auditor_look(void)
{
	if (!helper_ended(&auditor) && auditor.handle)
	{
		next_look = worker_clock_ms() + GIVE_WAY_LOOK_MS;
		give_way();
		return;
	}
	next_look = worker_clock_ms() + LOOK_MS;
	over = attempts >= ATTEMPTS || !is_due();
	if (over)
		return;
	if (!helper_start(&auditor))
		return;
	attempts++;
	next_look = worker_clock_ms() + GIVE_WAY_LOOK_MS;
}

/* ------------------------------------------------------------------------
 * The auditor
 * ------------------------------------------------------------------------ */

static int32 *
read_due(TimestampTz begin, int *count)
{
	int32	   *board_ids = NULL;
	int			pin;

	*count = 0;
	if (!publisher_try_transaction())
		return NULL;
	pin = plan_connect();
	board_ids = verification_due(begin, count);
	if (*count > 0)
		board_ids = memcpy(MemoryContextAllocHuge(TopMemoryContext, *count * sizeof(int32)), board_ids, *count * sizeof(int32));
	plan_finish(pin);
	publisher_commit_transaction();
	return board_ids;
}

/* Once what was found is committed, so that whoever reads the line finds it recorded. */
static void
report(const char *name, int64 findings, const char *kinds)
{
	ereport(WARNING,
			(errmsg("scoreboard \"%s\": the nightly check found " INT64_FORMAT " differences", name, findings),
			 errdetail("%s.", kinds),
			 errhint("SELECT * FROM scoreboard_verify('%s') says whose they are; scoreboard_repair('%s') mends what is derived from the log. Find out first who wrote to scoreboard's tables.",
					 name, name)));
}

/* How many differences there were; a board that is gone has none. */
static int64
verify(int32 board_id)
{
	Datum		values[1] = {Int32GetDatum(board_id)};
	StringInfoData kinds;
	char	   *name = NULL;
	int64		findings = 0;
	int			pin;

	if (!publisher_try_transaction())
		proc_exit(0);
	initStringInfo(&kinds);
	pin = plan_connect();
	plan_write(&verify_plan, values, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		int64		count = DatumGetInt64(plan_datum(row, desc, 3));

		name = MemoryContextStrdup(worker_turn_context(), plan_known_text(row, desc, 1));
		appendStringInfo(&kinds, "%s%s: " INT64_FORMAT, i > 0 ? "; " : "", plan_known_text(row, desc, 2), count);
		findings += count;
	}
	plan_finish(pin);
	publisher_commit_transaction();
	if (findings > 0)
		report(name, findings, kinds.data);
	return findings;
}

/* False where it failed: the next worker tries again. */
static bool
try_board(int32 board_id, int64 *findings)
{
	volatile bool done = false;

	PG_TRY();
	{
		*findings += verify(board_id);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error = worker_abort_transaction();

		/* Somebody waits for what we held, or held what we waited for: nothing is wrong. */
		if (error->sqlerrcode != ERRCODE_QUERY_CANCELED && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			worker_log_error(error, psprintf("verifying board %d of scoreboard by night", board_id));
	}
	PG_END_TRY();
	MemoryContextReset(worker_turn_context());
	pgstat_report_stat(false);
	return done;
}

void
scoreboard_auditor_main(Datum arg)
{
	uint32		wait_event = compat_wait_event("ScoreboardAuditorMain");
	TimestampTz begin;
	int32	   *board_ids;
	int			count;
	int			done = 0;
	int			at = 0;
	int64		findings = 0;

	worker_accept_signals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	worker_set_settings("scoreboard auditor " SCOREBOARD_VERSION);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	LockTimeout = PATIENCE_MS;
	pgstat_report_activity(STATE_RUNNING, "verifying boards");
	begin = begin_of_night(GetCurrentTimestamp());
	board_ids = read_due(begin, &count);
	for (; at < count && within_hours(begin, NIGHT_HOURS); at++)
	{
		int64		began = worker_clock_ms();

		worker_begin_turn();
		if (begin_of_night(GetCurrentTimestamp()) != begin)
			break;				/* it was turned off, or is to be at another time */
		done += try_board(board_ids[at], &findings);
		worker_wait(Max(worker_clock_ms() - began, SHORTEST_PAUSE_MS), wait_event);
	}
	ereport(LOG,
			(errmsg("scoreboard has verified %d boards by night and found " INT64_FORMAT " differences", done, findings),
			 count == done ? 0 : errdetail("%d boards are left: %d were held up by others or failed, %d were not reached.", count - done, at - done, count - at)));
	proc_exit(0);
}
