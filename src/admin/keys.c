/*
 * admin/keys.c - administration that SQL can't do by itself
 *
 * The rest of administration is SQL, in sql/scoreboard--1.0.sql.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/config_cache.h"
#include "base/form.h"
#include "base/locks.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "write/ledger.h"

PG_FUNCTION_INFO_V1(scoreboard_random_secret);
PG_FUNCTION_INFO_V1(scoreboard_set_profile);
PG_FUNCTION_INFO_V1(scoreboard_lock_player);
PG_FUNCTION_INFO_V1(scoreboard_player_listed);

#define SECRET_BYTES 32

static SavedPlan boards_plan = {
	.text = "SELECT board_id FROM scoreboard.board ORDER BY board_id",
};

static SavedPlan set_listed_plan = {
	.text = "UPDATE scoreboard.score SET listed = $4 WHERE board_id = $1 AND season = $2 AND player_id = $3 AND listed <> $4",
	.nargs = 4, .types = {INT4OID, INT4OID, INT8OID, BOOLOID}
};

/* 64 lower-case hex characters; these characters are the HMAC key. */
Datum
scoreboard_random_secret(PG_FUNCTION_ARGS)
{
	uint8		bytes[SECRET_BYTES];
	char		hex[2 * SECRET_BYTES + 1];

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a secret"),
				 errhint("The system's source of random numbers failed.")));
	for (int i = 0; i < SECRET_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	PG_RETURN_TEXT_P(cstring_to_text(hex));
}

static void
lock_player(const char *user_id)
{
	ledger_lock();
	player_lock_acquire(player_lock_hash(user_id));
}

static void
check_profile(const char *user_id, const char *display_name, const char *avatar_url)
{
	Refusal		refusal = {0};

	if (user_id == NULL || !form_is_id(user_id))
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "user id must have 1 to 255 characters, none of them a control character");
	else if (display_name && !form_is_display_name(display_name))
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "display name must have 1 to 50 characters, none of them a control or bidirectional-override character");
	else if (avatar_url && !form_is_avatar_url(avatar_url))
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "avatar must be an https URL of at most 1000 characters");
	if (refusal.code != REFUSAL_NONE)
		refusal_raise(&refusal);
}

Datum
scoreboard_set_profile(PG_FUNCTION_ARGS)
{
	char	   *user_id = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *display_name = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *avatar_url = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	LedgerPlayer player;
	Ledger	   *ledger;

	config_begin_call();
	check_profile(user_id, display_name, avatar_url);
	lock_player(user_id);
	ledger = ledger_open();
	ledger_look(ledger);
	ledger_find_player(ledger, user_id, &player);
	if (!player.exists)
		ledger_add_player(user_id, &player);
	ledger_set_profile(player.player_id, display_name, avatar_url, true);
	ledger_close(ledger);
	PG_RETURN_VOID();
}

/* For administration in SQL: no increment of this player is in flight until the transaction ends. */
Datum
scoreboard_lock_player(PG_FUNCTION_ARGS)
{
	lock_player(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* One board's row; ledger_find_score raises 40001 where this transaction can't see what is committed. */
static void
set_listed(Ledger *ledger, int32 board_id, int64 player_id, bool listed)
{
	const Board *board = config_board_by_id(board_id);
	LedgerScore score;
	Datum		values[4];

	if (board == NULL)
		return;
	ledger_find_score(ledger, board->board_id, board->season, player_id, &score);
	if (!score.exists)
		return;
	values[0] = Int32GetDatum(board->board_id);
	values[1] = Int32GetDatum(board->season);
	values[2] = Int64GetDatum(player_id);
	values[3] = BoolGetDatum(listed);
	plan_write(&set_listed_plan, values, NULL, SPI_OK_UPDATE);
}

static void
set_listed_everywhere(int64 player_id, bool listed)
{
	uint64		count;
	int32	   *board_ids;
	Ledger	   *ledger = ledger_open();

	config_begin_call();
	ledger_look(ledger);
	SPI_connect();
	plan_read(&boards_plan, NULL, NULL, 0);
	count = SPI_processed;
	board_ids = palloc(Max(count, 1) * sizeof(int32));
	for (uint64 i = 0; i < count; i++)
		board_ids[i] = DatumGetInt32(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	for (uint64 i = 0; i < count; i++)
		set_listed(ledger, board_ids[i], player_id, listed);
	SPI_finish();
	ledger_close(ledger);
}

static bool
is_listed(HeapTuple player, TupleDesc desc)
{
	bool		hidden = DatumGetBool(plan_datum(player, desc, SPI_fnumber(desc, "hidden")));

	return !hidden && strcmp(plan_text(player, desc, SPI_fnumber(desc, "state")), "banned") != 0;
}

/*
 * Row trigger on scoreboard.player, for updates of state and hidden: who is hidden or banned leaves every list
 * with that very commit, who comes back stands in all of them. Waits for an increment of the player
 * that is in flight, since its new score row could not be seen yet.
 */
Datum
scoreboard_player_listed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	bool		listed;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("scoreboard_player_listed() must be called as a trigger for updated rows")));
	desc = RelationGetDescr(trigger->tg_relation);
	lock_player(plan_text(trigger->tg_newtuple, desc, SPI_fnumber(desc, "user_id")));
	listed = is_listed(trigger->tg_newtuple, desc);
	if (listed != is_listed(trigger->tg_trigtuple, desc))
		set_listed_everywhere(DatumGetInt64(plan_datum(trigger->tg_newtuple, desc, SPI_fnumber(desc, "player_id"))), listed);
	return PointerGetDatum(NULL);
}
