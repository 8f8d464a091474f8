/*
 * read/reading.h - what a read is about: its arguments, who asks, which board, and whether that one may be seen
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_READ_READING_H
#define SCOREBOARD_READ_READING_H

#include "postgres.h"
#include "fmgr.h"
#include "utils/array.h"

#include "compat.h"
#include "base/config_cache.h"
#include "base/refusal.h"
#include "trust/token.h"

#define READING_ENTRIES_MAX 1000
#define READING_RADIUS_MAX 50
#define READING_USER_IDS_MAX 1000

/* Once its arguments are checked. */
typedef struct Reading
{
	Board		board;
	int32		season;
	bool		running;		/* it hasn't ended */
	bool		known_caller;	/* the caller is a player: who */
	TokenIdentity caller;
} Reading;

/* Arguments by their numbers; each raises where its form is wrong. */
extern char *reading_text(FunctionCallInfo fcinfo, int number); /* NULL: null */
extern int	reading_number(FunctionCallInfo fcinfo, int number, const char *name, int lowest, int highest); /* null is none */
extern char *reading_user_id(FunctionCallInfo fcinfo, int number);
extern ArrayType *reading_user_ids(FunctionCallInfo fcinfo, int number);

/* A page's cursor: base64url of a text that says where the next page begins. Back again: NULL where it isn't of such a form, or longer than most bytes. */
extern char *reading_cursor(const char *plain);
extern char *reading_cursor_plain(const char *cursor, size_t most);

/* What stands where a function has no such argument: it reads the running season; nobody acts, and a trusted server sees every board. */
#define READING_NO_SEASON (-1)
#define READING_NO_TOKEN (-1)

/* Starts a read: the arguments board, season and token stand at these numbers. The caller has checked the form of its own ones. */
extern void reading_begin(FunctionCallInfo fcinfo, int board_number, int season_number, int token_number, Reading *reading);

/* The same where the published list is enough, which boards have too that are remote or merge others. */
extern void reading_begin_list(FunctionCallInfo fcinfo, int board_number, int season_number, int token_number, Reading *reading);

/* The same without a board: who asks for those that he may see, if anybody is known. */
extern void reading_begin_boards(FunctionCallInfo fcinfo, int token_number, Reading *reading);

/*
 * Who asks: the player of an explicit token, or of a trusted request's claims. Raises where there is none; reading_guess_caller()
 * leaves known_caller false then.
 */
extern void reading_require_caller(Reading *reading);
extern void reading_guess_caller(Reading *reading);

/* The one place that decides who may see a board; caller NULL: nobody in particular. False with the reason in *refusal. */
extern bool reading_may_see(const Board *board, const TokenIdentity *caller, Refusal *refusal);

compat_noreturn extern void reading_refuse(RefusalCode code, const char *hint, const char *message);
compat_noreturn extern void reading_refuse_player(void);

#endif
