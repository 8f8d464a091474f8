/*
 * trust/receipt.h - did the action really happen: HMAC receipts (SPEC section 3, step 4)
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_RECEIPT_H
#define SCOREBOARD_TRUST_RECEIPT_H

#include "postgres.h"

#include "base/config_cache.h"
#include "base/refusal.h"

/* What a receipt signs; board is the resolved name. */
typedef struct ReceiptSubject
{
	const char *board;
	const char *user_id;
	const char *action_type;
	const char *action_id;
	bool		has_points;		/* false: the field is empty (the action type fixes the amount) */
	int64		points;
	bool		has_subscore;	/* false: the field is empty */
	int64		subscore;
	const char *detail;			/* or NULL: the field is empty */
	int64		issued_at;		/* seconds since 1970 */
} ReceiptSubject;

/* The audience that this database signs for: scoreboard.audience, or the database's name. */
extern const char *receipt_audience(void);

/*
 * Finds the key that signed: *key is that key (whatever its validity now; the
 * caller checks that under the player's lock). A key limited to other boards or action types does not count.
 * False with INVALID_SIGNATURE in *refusal.
 */
extern bool receipt_verify(const char *receipt, const ReceiptSubject *subject,
						   const Board *board, const ActionRule *rule,
						   const SigningKey **key, Refusal *refusal);

/* Drops the cached hmac() if pg_proc changed; called once per process. */
extern void receipt_init(void);

#endif
