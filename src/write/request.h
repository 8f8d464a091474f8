/*
 * write/request.h - one increment as it was submitted
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_REQUEST_H
#define SCOREBOARD_WRITE_REQUEST_H

#include "postgres.h"
#include "utils/jsonb.h"

#include "base/config_cache.h"
#include "base/refusal.h"

#define REQUEST_METADATA_MAX 4096	/* bytes of the object's text */

/* Texts are NULL where they were not given. */
typedef struct Request
{
	const char *action_type;
	const char *action_id;
	const char *board;
	bool		has_points;
	int64		points;
	bool		has_subscore;
	int64		subscore;
	const char *detail;			/* what stands beside the score in a list */
	bool		has_issued_at;
	int64		issued_at;		/* seconds since 1970 */
	const char *receipt;
	const char *idempotency_key;
	Jsonb	   *metadata;		/* NULL for {} */
	const char *token;
	const char *request_id;
	const char *client_address;
} Request;

/* An IPv4 or IPv6 address, without a zone. */
extern bool request_is_address(const char *text);

/* Step 1 of SPEC section 3: types, lengths, characters. False with INVALID_REQUEST. */
extern bool request_check(const Request *request, Refusal *refusal);

/* What it names in the configuration as it is now: a board that actions may name, and the rule of the action type there. Else NOT_FOUND or ACTION_NOT_ALLOWED. */
extern bool request_find_rule(const Request *request, const Board **board, const ActionRule **rule, Refusal *refusal);

#endif
