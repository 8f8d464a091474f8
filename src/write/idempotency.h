/*
 * write/idempotency.h - was this action counted before, and may its answer be repeated
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_IDEMPOTENCY_H
#define SCOREBOARD_WRITE_IDEMPOTENCY_H

#include "postgres.h"

#include "base/config_cache.h"
#include "base/refusal.h"
#include "write/ledger.h"
#include "write/request.h"

typedef enum Novelty
{
	NOVELTY_NEW,				/* not counted yet */
	NOVELTY_RETRY,				/* counted: the stored answer goes out again */
	NOVELTY_REFUSED				/* DUPLICATE_ACTION or IDEMPOTENCY_MISMATCH */
} Novelty;

/*
 * Decides under the player's lock; stored is what ledger_find_action found.
 * A twin in flight held that lock, so it has committed or gone by now.
 */
extern Novelty idempotency_decide(const Request *request, const Board *board, const ActionRule *rule,
								  const LedgerAction *stored, Refusal *refusal);

#endif
