/*
 * base/refusal_log.h - refusals outlive the transaction that they rolled back
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_REFUSAL_LOG_H
#define SCOREBOARD_BASE_REFUSAL_LOG_H

#include "postgres.h"

#include "base/refusal.h"
#include "write/request.h"

/*
 * Hands a refused increment over to the publisher, and says it in the log where scoreboard.log_refusals asks for that;
 * user_id is NULL where the player is not known, key_id empty where no key has signed, flag NULL or why the player is to be flagged.
 */
extern void refusal_log_note(const Refusal *refusal, const char *user_id, const char *key_id, const char *flag, const Request *request);

/* Is something of this database waiting? */
extern bool refusal_log_pending(void);

/* Writes what is waiting to scoreboard.refusal and scoreboard.flag, and removes what is beyond scoreboard.refusals_kept. Needs a transaction and SPI. */
extern void refusal_log_store(void);

/* After that transaction's commit: their places are free. Until then nothing is lost. */
extern void refusal_log_forget(void);

/* How many were dropped since the server started, since the ring was full. */
extern uint64 refusal_log_lost(void);

/* Shared memory: asked for at shmem_request time; attached to, and initialised if not found, at shmem_startup time under AddinShmemInitLock. */
extern Size refusal_log_shmem_size(void);
extern void refusal_log_attach(void);

#endif
