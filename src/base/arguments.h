/*
 * base/arguments.h - arguments that several functions take alike
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_ARGUMENTS_H
#define SCOREBOARD_BASE_ARGUMENTS_H

#include "postgres.h"
#include "fmgr.h"
#include "utils/timestamp.h"

/* Each raises INVALID_REQUEST where it is not what it must be. */
extern const char *argument_user_id(FunctionCallInfo fcinfo, int which);
extern Interval *argument_life(FunctionCallInfo fcinfo, int which, int longest_days, const char *of_what);

/* Where there may be none. */
extern const char *argument_text(FunctionCallInfo fcinfo, int which);
extern int64 argument_int64(FunctionCallInfo fcinfo, int which, bool *given);

#endif
