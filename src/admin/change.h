/*
 * admin/change.h - what changes by administrators have in common: whom, why, and under which reference
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_CHANGE_H
#define SCOREBOARD_ADMIN_CHANGE_H

#include "postgres.h"

#include "base/refusal.h"

extern bool change_check_user_id(const char *user_id, Refusal *refusal);
extern bool change_check_reason(const char *reason, Refusal *refusal);
extern bool change_check_reference(const char *reference, Refusal *refusal);
extern bool change_check_score(int64 score, Refusal *refusal);

/* The reference was used for another change. */
extern bool change_refuse_reference(Refusal *refusal);

/* There is no such player. */
extern bool change_refuse_player(Refusal *refusal);

#endif
