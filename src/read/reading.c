/*
 * read/reading.c - what a read is about: its arguments, who asks, which board, and whether that one may be seen
 *
 * Order of checks: form of the arguments, token, board, whether it may be seen, season. An
 * explicit token is verified even where the board is public; the claims of a trusted request are looked at where
 * somebody has to be known only.
 *
 * Owns nothing, takes no lock; what it raises are refusals.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/form.h"
#include "base/plan.h"
#include "base/season.h"
#include "plain/base64url.h"
#include "read/reading.h"

/* ---------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------ */

void
reading_refuse(RefusalCode code, const char *hint, const char *message)
{
	Refusal		refusal;

	refuse(&refusal, code, hint, "%s", message);
	refusal_raise(&refusal);
}

void
reading_refuse_player(void)
{
	reading_refuse(REFUSAL_NOT_FOUND, "Players appear with their first counted action.",
				   "there is no such player on this board");
}

char *
reading_text(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

int
reading_number(FunctionCallInfo fcinfo, int number, const char *name, int lowest, int highest)
{
	Refusal		refusal;
	int			value = PG_ARGISNULL(number) ? 0 : PG_GETARG_INT32(number);

	if (PG_ARGISNULL(number) || value < lowest || value > highest)
	{
		if (highest == PG_INT32_MAX)
			refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL, "%s must be at least %d", name, lowest);
		else
			refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL, "%s must be from %d to %d", name, lowest, highest);
		refusal_raise(&refusal);
	}
	return value;
}

char *
reading_user_id(FunctionCallInfo fcinfo, int number)
{
	char	   *user_id = reading_text(fcinfo, number);

	if (user_id == NULL || !form_is_id(user_id))
		reading_refuse(REFUSAL_INVALID_REQUEST, NULL,
					   "user_id must have 1 to 255 characters, none of them a control character");
	return user_id;
}

ArrayType *
reading_user_ids(FunctionCallInfo fcinfo, int number)
{
	ArrayType  *user_ids = PG_ARGISNULL(number) ? NULL : PG_GETARG_ARRAYTYPE_P(number);

	if (user_ids == NULL || array_contains_nulls(user_ids) || ARR_NDIM(user_ids) > 1)
		reading_refuse(REFUSAL_INVALID_REQUEST, NULL, "user_ids must be a list of user ids without nulls");
	if (ArrayGetNItems(ARR_NDIM(user_ids), ARR_DIMS(user_ids)) > READING_USER_IDS_MAX)
		reading_refuse(REFUSAL_INVALID_REQUEST, NULL, "user_ids must have at most 1000 elements");
	return user_ids;
}

char *
reading_cursor(const char *plain)
{
	size_t		length = strlen(plain);
	char	   *cursor = palloc(BASE64URL_LENGTH(length) + 1);

	base64url_encode((const unsigned char *) plain, length, cursor);
	return cursor;
}

char *
reading_cursor_plain(const char *cursor, size_t most)
{
	char	   *plain = palloc(most + 1);
	size_t		length;

	if (!base64url_decode(cursor, strlen(cursor), (unsigned char *) plain, most, &length))
		return NULL;
	plain[length] = '\0';
	return strlen(plain) == length ? plain : NULL;
}

/* ---------------------------------------------------------------------------
 * Who, and what
 * ------------------------------------------------------------------------ */

static bool
has_permission(const TokenIdentity *caller, const char *permission)
{
	ListCell   *cell;

	foreach(cell, caller->permissions)
		if (permission && strcmp(lfirst(cell), permission) == 0)
			return true;
	return false;
}

bool
reading_may_see(const Board *board, const TokenIdentity *caller, Refusal *refusal)
{
	if (board->visibility == VISIBLE_TO_ALL)
		return true;
	if (caller == NULL)
		return refuse(refusal, REFUSAL_UNAUTHORIZED, "Pass a JWT of a configured issuer as token.",
					  "this board is shown to players only");
	if (board->visibility == VISIBLE_TO_PLAYERS || has_permission(caller, board->permission))
		return true;
	return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "The issuer puts permissions into the claim that its permissions_claim names.",
				  "the token lacks the permission that this board demands");
}

void
reading_guess_caller(Reading *reading)
{
	Refusal		refusal;

	if (!reading->known_caller)
		reading->known_caller = token_identify(NULL, &reading->caller, &refusal);
}

void
reading_require_caller(Reading *reading)
{
	Refusal		refusal;

	if (!reading->known_caller && !token_identify(NULL, &reading->caller, &refusal))
		refusal_raise(&refusal);
	reading->known_caller = true;
}

static void
read_token(FunctionCallInfo fcinfo, int number, Reading *reading)
{
	const char *token = number == READING_NO_TOKEN ? NULL : reading_text(fcinfo, number);
	Refusal		refusal;

	reading->known_caller = token != NULL;
	if (token && !token_identify(token, &reading->caller, &refusal))
		refusal_raise(&refusal);
}

static void
check_visibility(Reading *reading)
{
	Refusal		refusal;

	if (reading->board.visibility != VISIBLE_TO_ALL)
		reading_guess_caller(reading);
	if (!reading_may_see(&reading->board, reading->known_caller ? &reading->caller : NULL, &refusal))
		refusal_raise(&refusal);
}

static SavedPlan season_plan = {
	.text = "SELECT FROM scoreboard.season WHERE board_id = $1 AND season = $2 AND purged_at IS NULL",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

/* One that ended stands in scoreboard.season, until it is purged. */
static void
take_season(Reading *reading, int32 season)
{
	Datum		values[2] = {Int32GetDatum(reading->board.board_id), Int32GetDatum(season)};
	bool		stands = season == reading->season;

	if (season < reading->season)
	{
		int			pin = plan_connect();

		plan_read_committed(&season_plan, values, NULL, 1);
		stands = SPI_processed > 0;
		plan_finish(pin);
	}
	if (!stands)
		reading_refuse(REFUSAL_NOT_FOUND, "Leave season out for the running one.",
					   "the board has no such season");
	reading->running = season == reading->season;
	reading->season = season;
}

void
reading_begin_list(FunctionCallInfo fcinfo, int board_number, int season_number, int token_number, Reading *reading)
{
	const char *name = reading_text(fcinfo, board_number);
	const Board *board;

	config_begin_call();
	if (name == NULL)
		reading_refuse(REFUSAL_INVALID_REQUEST, NULL, "board must be given");
	read_token(fcinfo, token_number, reading);
	board = form_is_board_name(name) ? config_board(name) : NULL;
	if (board == NULL)
		reading_refuse(REFUSAL_NOT_FOUND, "The rows of scoreboard.board are the boards that exist.",
					   "there is no such board");
	reading->board = *board;
	if (token_number != READING_NO_TOKEN)
		check_visibility(reading);
	reading->season = season_running(&reading->board);
	reading->running = true;
	if (season_number != READING_NO_SEASON && !PG_ARGISNULL(season_number))
		take_season(reading, PG_GETARG_INT32(season_number));
}

void
reading_begin(FunctionCallInfo fcinfo, int board_number, int season_number, int token_number, Reading *reading)
{
	reading_begin_list(fcinfo, board_number, season_number, token_number, reading);
	if (reading->board.kind != BOARD_COUNTED)
		reading_refuse(REFUSAL_INVALID_REQUEST, "Ask the servers that its list comes from; the README says how, under \"More than one machine\".",
					   "this board's list comes from elsewhere, and here there is nothing but the list");
}

void
reading_begin_boards(FunctionCallInfo fcinfo, int token_number, Reading *reading)
{
	config_begin_call();
	read_token(fcinfo, token_number, reading);
	reading_guess_caller(reading);
}
