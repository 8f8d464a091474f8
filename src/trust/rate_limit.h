/*
 * trust/rate_limit.h - how often a player may try: exact sliding windows in shared memory
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_RATE_LIMIT_H
#define SCOREBOARD_TRUST_RATE_LIMIT_H

#include "postgres.h"

#include "base/refusal.h"

/*
 * Takes a slot in the player's windows (scope 0: over all boards, with
 * scoreboard.rate_limit a minute and scoreboard.burst_limit a second). False with RATE_LIMITED (retry_after: seconds until a slot
 * falls free) or UNAVAILABLE (table full) in *refusal.
 * attempt: keyed hash of (action_id, idempotency key); an attempt that stands in the window takes no further
 * slot, up to 8 times; 0 = never shared. Never raises, writes nothing, is not undone by a rollback.
 */
extern bool rate_limit_take(const char *user_id, uint64 attempt, Refusal *refusal);

/* The keyed hash of one attempt. */
extern uint64 rate_limit_attempt(const char *action_id, const char *idempotency_key);

/*
 * Counters of the whole server: entries in use (idle ones among them, until
 * their place is needed), how many would fit with the limits of this session, refusals for a full table.
 */
extern void rate_limit_stats(int64 *entries, int64 *capacity, int64 *full_refusals);

/* For the publisher: was somebody refused for a full table, and the log doesn't say so yet? Says so. Needs no transaction. */
extern bool rate_limit_report_pending(void);
extern void rate_limit_report(void);

/* Shared memory: asked for at shmem_request time; attached to, and initialised if not found, at shmem_startup time under AddinShmemInitLock. */
extern Size rate_limit_shmem_size(void);
extern void rate_limit_attach(void);

#endif
