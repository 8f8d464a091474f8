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
 * The key that a receipt for an action of this kind may name: a service's, or where the proof is "session" one of the player's own,
 * which is put into *room. NULL where there is none, or where it is limited to other boards or action types. Whether it is
 * valid is another question.
 */
extern const SigningKey *receipt_key(const char *key_id, const char *user_id, const Board *board, const ActionRule *rule, SigningKey *room);
extern bool receipt_key_is_valid(const SigningKey *key, TimestampTz now);

/*
 * Finds the key that signed, and writes its name to key_id. Whatever its validity now: the caller asks
 * for it under the player's lock. False with INVALID_SIGNATURE in *refusal.
 */
extern bool receipt_verify(const char *receipt, const ReceiptSubject *subject, const Board *board, const ActionRule *rule,
						   char key_id[SCOREBOARD_NAME_MAX + 1], Refusal *refusal);

/*
 * The MAC (RECEIPT_MAC_BYTES) that this key makes of these bytes, and whether it is that one: in constant time. Both leave some garbage
 * in the current context.
 */
extern void receipt_mac(const char *bytes, size_t length, const char *key, size_t key_length, unsigned char *mac);
extern bool receipt_mac_matches(const char *bytes, size_t length, const char *key, size_t key_length, const unsigned char *mac);

/* Drops the cached hmac() if pg_proc changed; called once per process. */
extern void receipt_init(void);

#endif
