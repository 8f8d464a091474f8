/*
 * publish/launcher.c - starts a publisher for each database that has the extension
 *
 * A static background worker, started when recovery is over (so by a promotion
 * too), connected to no database. From pg_database alone it can't see who has
 * the extension, so the publisher itself looks and leaves where it finds none.
 * Each database is looked at once after a start, and again when CREATE or DROP
 * EXTENSION is reported from there (launcher_hooks.c).
 *
 * What it knows of a database stands in a Database entry of its own memory; who
 * runs stands in the slots (slots.c has the table of states). A new
 * launcher after a crash of this one finds the running publishers there, and
 * forgets only which databases are without the extension: it looks again.
 *
 * At most LOOKING_MAX workers look at once, so that a cluster of many databases
 * needs no more than that beside the real publishers. If no worker can be had
 * although nobody is looking, max_worker_processes is too small; that is
 * logged once, until it has worked again.
 *
 * Errors are not caught: the postmaster starts a new launcher after a while.
 * Locks: for an instant those of database objects, and only if nobody else has
 * them (launcher_hooks.c says who).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "scoreboard.h"
#include "publish/launcher.h"
#include "publish/launcher_hooks.h"
#include "publish/publisher.h"
#include "publish/slots.h"
#include "publish/worker.h"

#define LOOKING_MAX 3

/* A publisher that ended comes back after this time, doubled with each failure in a row. */
#define FIRST_BACK_OFF_MS 250
#define LONGEST_BACK_OFF_MS 60000

/* A database that a command has for itself is tried again after this time. */
#define LOCKED_MS 100

/* No worker to be had. */
#define EXHAUSTED_MS 2000

/* A worker that was asked for by an earlier launcher and never came. */
#define NEVER_CAME_MS 60000

#define LOOKS_A_TURN 16

typedef struct Database
{
	Oid			oid;			/* hash key */
	bool		listed;			/* pg_database has it, and a publisher may run there */
	bool		without;		/* a worker looked: no extension there */
	bool		look_again;		/* reported while a worker was there already */
	int			failures;		/* in a row */
	int64		not_before;		/* worker_clock_ms() */
	int64		started_at;
	BackgroundWorkerHandle *handle; /* of the worker in our slot; NULL: none, or an earlier launcher's */
} Database;

static HTAB *databases;
static bool exhaustion_reported = false;

PGDLLEXPORT void scoreboard_launcher_main(Datum arg);

/* ------------------------------------------------------------------------
 * What the launcher knows
 * ------------------------------------------------------------------------ */

static Database *
database_entry(Oid oid)
{
	bool		found;
	Database   *database = hash_search(databases, &oid, HASH_ENTER, &found);

	if (!found)
	{
		memset(database, 0, sizeof(Database));
		database->oid = oid;
		database->started_at = worker_clock_ms();
	}
	return database;
}

static void
take_looks(void)
{
	Oid			oids[LOOKS_A_TURN];
	bool		look_at_all;
	int			count = slots_take_looks(oids, LOOKS_A_TURN, &look_at_all);

	for (int i = 0; i < count; i++)
		database_entry(oids[i])->look_again = true;
	if (look_at_all)
	{
		HASH_SEQ_STATUS scan;
		Database   *database;

		hash_seq_init(&scan, databases);
		while ((database = hash_seq_search(&scan)) != NULL)
			database->look_again = true;
	}
}

/* Reads pg_database. Caller is in a transaction. */
static void
list_databases(void)
{
	HASH_SEQ_STATUS status;
	Database   *database;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
		database->listed = false;

	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);

		if (row->datallowconn && !row->datistemplate)
			database_entry(row->oid)->listed = true;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
}

static void
drop_handle(Database *database)
{
	if (database->handle)
		pfree(database->handle);
	database->handle = NULL;
}

/* Has its next worker started in a while, after so many failures in a row. */
static void
start_later(Database *database, int failures, int64 now)
{
	int64		wait_ms = worker_back_off_ms(failures, FIRST_BACK_OFF_MS, LONGEST_BACK_OFF_MS);

	database->failures = failures;
	database->not_before = now + wait_ms;
	ereport(DEBUG1,
			(errmsg_internal("scoreboard publisher for database %u starts again in " INT64_FORMAT " ms",
							 database->oid, wait_ms)));
}

/* The postmaster could not start it, or it was turned away before it came. */
static bool
never_came(const Database *database, int64 now)
{
	pid_t		pid;

	if (database->handle == NULL)
		return now - database->started_at > NEVER_CAME_MS;
	return GetBackgroundWorkerPid(database->handle, &pid) == BGWH_STOPPED;
}

/* Takes in why a worker left and frees its slot. */
static void
reap(int slot, const SlotView *view, int64 now)
{
	Database   *database = database_entry(view->database);

	switch (view->outcome)
	{
		case OUTCOME_WITHOUT:
			database->without = true;
			database->failures = 0;
			break;
		case OUTCOME_TOLD:
			database->not_before = now + LOCKED_MS;
			break;
		case OUTCOME_ENDED:
			start_later(database, 0, now);
			break;
		case OUTCOME_FAILED:
			start_later(database, database->failures + 1, now);
			break;
	}
	drop_handle(database);
	slots_free(slot);
}

/* Looks through the slots. Returns how many workers have not yet said whether they stay. */
static int
look_at_slots(int64 now)
{
	int			looking = 0;

	for (int slot = 0; slot < slots_count(); slot++)
	{
		SlotView	view = slots_view(slot);

		if (view.state == SLOT_ENDED)
			reap(slot, &view, now);
		else if (view.state == SLOT_REGISTERED && never_came(database_entry(view.database), now))
		{
			/* It may have come, even gone, between our two looks. */
			view = slots_view(slot);
			if (view.state == SLOT_REGISTERED || view.state == SLOT_ENDED)
				reap(slot, &view, now);
		}
		else if (view.state == SLOT_REGISTERED || view.state == SLOT_LOOKING)
			looking++;
	}
	return looking;
}

/* ------------------------------------------------------------------------
 * Starting and ending publishers
 * ------------------------------------------------------------------------ */

static bool
has_worker(Oid oid)
{
	for (int slot = 0; slot < slots_count(); slot++)
	{
		SlotView	view = slots_view(slot);

		if (view.database == oid && view.state != SLOT_FREE)
			return true;
	}
	return false;
}

/* Until our transaction ends nobody can begin a command that wants the database for itself. */
static bool
lock_database(Oid oid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, oid, 0);
	return LockAcquire(&tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
report_exhaustion(void)
{
	if (exhaustion_reported)
		return;
	exhaustion_reported = true;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("scoreboard can't start a publisher: no background worker is free"),
			 errdetail("Lists of at least one database are not published until one is."),
			 errhint("Increase the configuration parameter \"max_worker_processes\": scoreboard needs one for each database that has the extension, one for its launcher, one more to look into new databases, and one more for each of these while it is at work: building ranks of a large table, looking for anomalies, purging, verifying by night.")));
}

static bool
start_worker(Database *database)
{
	BackgroundWorker worker = worker_describe("publisher", database->oid);
	PublisherStart start;
	int			slot = slots_reserve(database->oid, &start.reservation);

	if (slot < 0)
		return false;
	worker.bgw_main_arg = Int32GetDatum(slot);
	memcpy(worker.bgw_extra, &start, sizeof(start));
	if (!worker_start(&worker, &database->handle))
	{
		slots_free(slot);
		return false;
	}
	database->started_at = worker_clock_ms();
	return true;
}

/* Is it this database's turn? If not yet, *wait_ms shrinks to when it is. */
static bool
wants_worker(Database *database, int64 now, int64 *wait_ms)
{
	if (!database->listed || has_worker(database->oid))
		return false;
	if (database->look_again)
	{
		database->look_again = false;
		database->without = false;
		database->failures = 0;
		database->not_before = 0;
	}
	if (database->without)
		return false;
	if (database->not_before > now)
	{
		*wait_ms = Min(*wait_ms, database->not_before - now);
		return false;
	}
	return true;
}

/* Starts what has to be started. Returns how long to sleep. Caller is in a transaction. */
static int64
start_workers(int looking, int64 now)
{
	int64		wait_ms = WORKER_LONGEST_SLEEP_MS;
	bool		all_started = true;
	HASH_SEQ_STATUS scan;
	Database   *database;

	hash_seq_init(&scan, databases);
	while ((database = hash_seq_search(&scan)) != NULL)
	{
		if (!wants_worker(database, now, &wait_ms))
			continue;
		if (looking >= LOOKING_MAX)
		{
			all_started = false;	/* whoever looks wakes us when he has looked */
			continue;
		}
		if (!lock_database(database->oid))
		{
			database->not_before = now + LOCKED_MS;
			wait_ms = Min(wait_ms, LOCKED_MS);
		}
		else if (start_worker(database))
			looking++;
		else
		{
			if (looking == 0)
				report_exhaustion();
			wait_ms = Min(wait_ms, EXHAUSTED_MS);
			all_started = false;
			hash_seq_term(&scan);
			break;
		}
	}
	/* Nobody is left to start, nobody waits: the next time it is news again. */
	if (all_started && wait_ms == WORKER_LONGEST_SLEEP_MS)
		exhaustion_reported = false;
	return wait_ms;
}

/* A database that is gone, or became a template, or lets nobody in. */
static void
end_unlisted(void)
{
	HASH_SEQ_STATUS scan;
	Database   *database;

	hash_seq_init(&scan, databases);
	while ((database = hash_seq_search(&scan)) != NULL)
	{
		if (database->listed)
			continue;
		(void) slots_tell_to_end(database->oid, false);
		if (!has_worker(database->oid))
		{
			drop_handle(database);
			hash_search(databases, &database->oid, HASH_REMOVE, NULL);
		}
	}
}

static int64
turn(void)
{
	int64		now = worker_clock_ms();
	int64		wait_ms;
	int			looking;

	take_looks();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	list_databases();
	looking = look_at_slots(now);
	wait_ms = start_workers(looking, now);
	end_unlisted();
	CommitTransactionCommand();
	return wait_ms;
}

void
scoreboard_launcher_main(Datum arg)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Database)};
	uint32		wait_event = compat_wait_event("ScoreboardLauncherMain");

	worker_accept_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	SetConfigOption("application_name", "scoreboard launcher " SCOREBOARD_VERSION, PGC_SUSET, PGC_S_OVERRIDE);
	databases = hash_create("scoreboard databases", 64, &control, HASH_ELEM | HASH_BLOBS);
	slots_launcher_arrives();

	for (;;)
	{
		int64		wait_ms;

		worker_begin_turn();
		pgstat_report_activity(STATE_RUNNING, "looking for databases that have the extension");
		wait_ms = turn();
		pgstat_report_activity(STATE_IDLE, NULL);
		worker_wait(wait_ms, wait_event);
	}
}

void
launcher_init(void)
{
	BackgroundWorker worker = worker_describe("launcher", InvalidOid);

	/* pg_upgrade wants nobody but itself in its databases. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	launcher_hooks_init();

	worker.bgw_restart_time = 5;
	RegisterBackgroundWorker(&worker);
}
