/*
 * trust/grant.h - one-time permissions that a trusted server makes beforehand
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_GRANT_H
#define SCOREBOARD_TRUST_GRANT_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/config_cache.h"
#include "base/refusal.h"
#include "write/request.h"

/* Who wants to use the grant that the request's action_id names, and for what. */
typedef struct GrantUse
{
	const char *user_id;
	bool		by_server;		/* vouches for subscore and detail itself where the grant is silent */
	const Request *request;
	const Board *board;
	const ActionRule *rule;
} GrantUse;

/* Step 4 of SPEC section 3: there is such a grant, or it was used up by this very action, which step 5 answers. No lock. */
extern bool grant_verify(const GrantUse *use, Refusal *refusal);

/* Step 6, under the player's lock: it is there still, and has not expired. */
extern bool grant_check(const GrantUse *use, TimestampTz now, Refusal *refusal);

/* The first of the writes, and the last that may refuse: nothing is written then. */
extern bool grant_consume(const char *grant_id, Refusal *refusal);

/* Removes some of those that have been expired for long; true if there may be more. SPI is connected, with our search_path. */
extern bool grants_purge(void);

#endif
