/*
 * trust/verifier.h - a function of an administrator's that looks at new actions
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_VERIFIER_H
#define SCOREBOARD_TRUST_VERIFIER_H

#include "postgres.h"
#include "portability/instr_time.h"

#include "base/refusal.h"
#include "write/increment.h"

/* What the verifiers of one call have taken altogether: none begins after scoreboard.verifier_timeout. Starts as {0}. */
typedef struct VerifierPatience
{
	int64		spent_us;
} VerifierPatience;

/*
 * Is there something to verify: an action type with a verifier, an action that is not counted yet, and a player who is flagged or
 * was drawn? Takes no lock. Says the same each time, so that nobody gets past by trying again.
 */
extern bool verifier_is_demanded(const Increment *increment);

/*
 * Runs it. The caller holds no lock of a player. False with ACTION_NOT_ALLOWED, and increment->flag where it is the player's doing;
 * or UNAVAILABLE where the call's patience is over. Raises nothing but the end of the whole statement.
 */
extern bool verifier_pass(Increment *increment, VerifierPatience *patience, Refusal *refusal);

/* What keeps a function from being a verifier, as a sentence's end; NULL where nothing does. */
extern const char *verifier_complaint(Oid function);

#endif
