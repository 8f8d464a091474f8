/*
 * admin/change.h - what changes by administrators have in common: whom, why, and under which reference
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_CHANGE_H
#define SCOREBOARD_ADMIN_CHANGE_H

#include "postgres.h"

#include "base/plan.h"
#include "base/refusal.h"

extern bool change_check_user_id(const char *user_id, Refusal *refusal);
extern bool change_check_reason(const char *reason, Refusal *refusal);
extern bool change_check_reference(const char *reference, Refusal *refusal);
extern bool change_check_score(int64 score, Refusal *refusal);

/*
 * Adds rows to scoreboard.adjustment by a statement that does nothing where the reference is there already: *recorded is false then. A session
 * that has used it and not committed yet is waited for, no longer than moderation waits: the locks that we hold would hold up others meanwhile.
 */
extern bool change_record(SavedPlan *plan, Datum *values, const char *nulls, bool *recorded, Refusal *refusal);

/*
 * With SPI connected, asks a statement about the row of a reference, whose first column says whether it is of this very change: true if so,
 * the row is SPI's. False with the refusal where it was used for another one; the code is REFUSAL_NONE where it wasn't used.
 */
extern bool change_was_made(SavedPlan *plan, Datum *values, Refusal *refusal);

/* The reference was used for another change. */
extern bool change_refuse_reference(Refusal *refusal);

/* There is no such player. */
extern bool change_refuse_player(Refusal *refusal);

#endif
