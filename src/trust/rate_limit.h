/*
 * trust/rate_limit.h - how often a player may try: exact sliding windows in shared memory
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_RATE_LIMIT_H
#define SCOREBOARD_TRUST_RATE_LIMIT_H

#include "postgres.h"

#include "base/config_cache.h"
#include "base/refusal.h"

/*
 * Takes a slot in the player's windows over all boards (scoreboard.rate_limit a minute, scoreboard.burst_limit a second), and in
 * those of the board, or of the action type on it where the rule has its own; in all of them or in none. board, rule: NULL where there
 * is none. False with RATE_LIMITED (retry_after: seconds until all have room) or UNAVAILABLE (table full) in *refusal.
 * attempt: keyed hash of (action_id, idempotency key); an attempt that stands in a window takes no further
 * slot in it, up to 8 times; 0 = never shared. Never raises, writes nothing, is not undone by a rollback.
 */
extern bool rate_limit_take(const char *user_id, uint64 attempt, const Board *board, const ActionRule *rule, Refusal *refusal);

/* Would the windows over all boards let it pass? Takes nothing. */
extern bool rate_limit_look(const char *user_id, uint64 attempt, Refusal *refusal);

/* The keyed hash of one attempt. */
extern uint64 rate_limit_attempt(const char *action_id, const char *idempotency_key);

/* Of the whole server. */
typedef struct RateStats
{
	int64		entries;		/* windows of players that are active: one for each player */
	int64		capacity;		/* how many fit, with up to ten attempts each */
	int64		full_refusals;
	int64		memory;			/* bytes */
	int64		memory_used;
	bool		nearly_full;	/* since 80 % of the memory were reached, until less than 70 % are used */
} RateStats;

extern RateStats rate_limit_stats(void);

/* For the publisher: is the memory full or nearly so, and the log doesn't say so yet? Says so. Needs no transaction. */
extern bool rate_limit_report_pending(void);
extern void rate_limit_report(void);

/* Shared memory: asked for at shmem_request time; attached to, and initialised if not found, at shmem_startup time under AddinShmemInitLock. */
extern Size rate_limit_shmem_size(void);
extern void rate_limit_attach(void);

#endif
