/*
 * write/increment.h - the order of checks, and the writes
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_INCREMENT_H
#define SCOREBOARD_WRITE_INCREMENT_H

#include "postgres.h"

#include "base/config_cache.h"
#include "base/refusal.h"
#include "trust/token.h"
#include "write/ledger.h"
#include "write/request.h"

/* One increment on its way through the checks. */
typedef struct Increment
{
	Request		request;
	const char *user_id;		/* known once step 2 has passed, or named by a trusted server */
	bool		by_server;		/* a trusted server names the player: no token */
	TokenIdentity identity;		/* where not by_server */
	const Board *board;			/* these two as of the generation below */
	const ActionRule *rule;
	uint64		generation;		/* of the configuration that they are from */
	ActionProof proof;			/* that was given */
	char		key_id[SCOREBOARD_NAME_MAX + 1];	/* of the key that signed; empty where there is none */
	int32		signing_key_id; /* its number, once it was found valid; 0: it has none */
	uint64		lock_hash;		/* of the player's lock */
	const char *flag;			/* why the player is to be flagged; NULL: it isn't */
	bool		counted_before;	/* the answer rests on a committed row: it waits as write/replicated.h says */
} Increment;

/* What an increment answers; the same on a retry but for replayed. */
typedef struct Answer
{
	const char *user_id;
	const char *board;
	int32		season;
	int64		previous_score;
	int64		score;
	int64		applied_points;
	int64		rank;			/* 0: null */
	int64		version;
	TimestampTz updated_at;
	bool		replayed;
} Answer;

/*
 * Steps 1 to 4 of SPEC section 3: who, how often, really happened. Takes no
 * lock, writes nothing. The request's form has been checked.
 */
extern bool increment_check(Increment *increment, Refusal *refusal);

/*
 * Steps 5 and 6 and the writes. The caller holds ROW EXCLUSIVE on
 * scoreboard.score and the player's lock, in this order. A refusal has written nothing.
 */
extern bool increment_count(Increment *increment, Ledger *ledger, Answer *answer, Refusal *refusal);

#endif
