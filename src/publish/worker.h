/*
 * publish/worker.h - what our background workers have in common
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_WORKER_H
#define SCOREBOARD_PUBLISH_WORKER_H

#include "postgres.h"
#include "postmaster/bgworker.h"

/* The longest wait of either worker: what it does then is a look that should be needless. */
#define WORKER_LONGEST_SLEEP_MS 60000

/* Milliseconds of a clock that nobody sets. */
extern int64 worker_clock_ms(void);

/* Milliseconds since 1970: what versions leap to where others may have been given that are unknown here, as by a server that is lost. */
extern int64 worker_version_of_clock(void);

/* min(first * 2^failures, longest), without overflow. */
extern int64 worker_back_off_ms(int failures, int64 first, int64 longest);

/* Signals as our workers take them, from here on. */
extern void worker_accept_signals(void);

/*
 * From here on a signal to end doesn't end the process: it cancels what it is at, and whoever runs its loop asks
 * worker_was_ended() and has a last thing to do.
 */
extern void worker_end_between_turns(void);

/* From here on no signal to end (a shutdown can send several) interrupts that last thing; it bounds its own waits. */
extern void worker_end_undisturbed(void);

/* Has a signal told this process to end (an administrator, a shutdown)? */
extern bool worker_was_ended(void);

/* What a worker with a database sets for itself, once it is connected. */
extern void worker_set_settings(const char *application_name);

/* Interrupts and reload, as every turn of a worker's loop begins. */
extern void worker_begin_turn(void);

/* Sleeps until the latch is set or the time is over, as every turn of a worker's loop ends. */
extern void worker_wait(int64 timeout_ms, uint32 wait_event);

/* What lives as long as a turn; its owner resets it between two. */
extern MemoryContext worker_turn_context(void);

/* In a PG_CATCH: ends the transaction and returns its error, allocated in the turn's context. */
extern ErrorData *worker_abort_transaction(void);

/* As a message of the log only: the worker goes on. Not of what was cancelled since it is to end. */
extern void worker_log_error(ErrorData *error, char *context);

/* A worker of ours, whose main function is scoreboard_<kind>_main; database: for its name, InvalidOid for none. Not started again by itself. */
extern BackgroundWorker worker_describe(const char *kind, Oid database);

/* Starts it and is told when it comes and goes. *handle outlives the turn; NULL, and false, where max_worker_processes leaves no place. */
extern bool worker_start(BackgroundWorker *worker, BackgroundWorkerHandle **handle);

/* A worker beside the publisher, its own: nobody else starts it, and a publisher that leaves ends it first, whatever way it leaves. */
typedef struct HelperWorker
{
	const char *kind;			/* worker_describe()'s; told the database's oid */
	const char *purpose;		/* what is left undone without it, for the log; NULL: nothing */
	bool		no_place;		/* the log has it */
	BackgroundWorkerHandle *handle;	/* NULL: none was started, or its end was taken in */
	bool		ends_with_us;
} HelperWorker;

/* True too where it is there already; false where max_worker_processes leaves no place: the log says so once, until one is started. */
extern bool helper_start(HelperWorker *helper);

/* Has it left? True once for each that was started. */
extern bool helper_ended(HelperWorker *helper);

#endif
