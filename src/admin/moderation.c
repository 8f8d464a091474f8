/*
 * admin/moderation.c - a player's state is changed, within scoreboard.moderation_wait
 *
 * Who is hidden or banned leaves every list with that very commit, who comes back stands in all of them; who is frozen
 * can't score from then on. The session keys of who is frozen or banned end for good. An action in flight is waited for, since its rows can't be seen yet.
 *
 * Who takes itself out of the lists, or back in (write/profile.c), passes the same trigger, but acts for itself: nobody is ended for it.
 *
 * Locks: relation scoreboard.score (ROW EXCLUSIVE), the players' rows, players by hash, boards by id, each the row of an ended season; all
 * to the end of the transaction. SQL that changes scoreboard.player has locked the rows before its triggers run.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "admin/moderation.h"
#include "base/config_cache.h"
#include "base/locks.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/season.h"
#include "base/seize.h"
#include "base/tables.h"
#include "trust/session_key.h"
#include "write/event.h"
#include "write/ledger.h"

PG_FUNCTION_INFO_V1(scoreboard_lock_player);
PG_FUNCTION_INFO_V1(scoreboard_player_listed);
PG_FUNCTION_INFO_V1(scoreboard_reopen_seasons);

static SavedPlan boards_plan = {
	.text = "SELECT board_id FROM scoreboard.board ORDER BY board_id",
};

static SavedPlan set_listed_plan = {
	.text = "UPDATE scoreboard.score SET listed = $4 WHERE board_id = $1 AND season = $2 AND player_id = $3 AND listed <> $4",
	.nargs = 4, .types = {INT4OID, INT4OID, INT8OID, BOOLOID}
};

/*
 * The seasons that are recorded, those that ended too: their documents are made anew. A row that the publisher has in its hands is waited for,
 * whatever it says; and all in one order, since others moderate as well.
 */
static SavedPlan set_recorded_plan = {
	.text = "WITH changed AS (UPDATE scoreboard.score s SET listed = $2 FROM scoreboard.season e"
	"  WHERE s.board_id = e.board_id AND s.season = e.season AND e.purged_at IS NULL AND s.player_id = $1 AND s.listed <> $2 RETURNING s.board_id, s.season),"
	" locked AS MATERIALIZED (SELECT e.board_id, e.season FROM scoreboard.season e JOIN changed c ON c.board_id = e.board_id AND c.season = e.season"
	"  WHERE e.ended_at IS NOT NULL AND e.purged_at IS NULL ORDER BY e.board_id, e.season FOR NO KEY UPDATE OF e)"
	" UPDATE scoreboard.season e SET final = false FROM locked l WHERE e.board_id = l.board_id AND e.season = l.season",
	.nargs = 2, .types = {INT8OID, BOOLOID}
};

/* All that the player has a score in. Whatever they are now: a publisher that has them in its hands waits for us, or we for it. In the same order. */
static SavedPlan reopen_plan = {
	.text = "WITH locked AS MATERIALIZED (SELECT e.board_id, e.season FROM scoreboard.season e"
	"  WHERE e.purged_at IS NULL AND EXISTS (SELECT FROM scoreboard.score s WHERE s.board_id = e.board_id AND s.season = e.season AND s.player_id = $1)"
	"  ORDER BY e.board_id, e.season FOR NO KEY UPDATE)"
	" UPDATE scoreboard.season e SET final = false FROM locked l WHERE e.board_id = l.board_id AND e.season = l.season",
	.nargs = 1, .types = {INT8OID}
};

static SavedPlan lock_row_plan = {
	.text = "SELECT player_id FROM scoreboard.player WHERE user_id = $1 FOR NO KEY UPDATE",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan try_row_plan = {
	.text = "SELECT player_id FROM scoreboard.player WHERE user_id = $1 FOR NO KEY UPDATE SKIP LOCKED",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan exists_plan = {
	.text = "SELECT FROM scoreboard.player WHERE user_id = $1",
	.nargs = 1, .types = {TEXTOID}
};

/* ---------------------------------------------------------------------------
 * One player, for administration in SQL
 * ------------------------------------------------------------------------- */

typedef struct PlayerRow
{
	const char *user_id;
	SavedPlan  *plan;
	int64		player_id;		/* 0: no row, or it was skipped */
} PlayerRow;

static void
take_row(void *argument)
{
	PlayerRow  *row = argument;
	Datum		values[1] = {CStringGetTextDatum(row->user_id)};
	int			pin = plan_connect();

	row->player_id = 0;
	plan_write(row->plan, values, NULL, SPI_OK_SELECT);
	if (SPI_processed > 0)
		row->player_id = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	plan_finish(pin);
}

static bool
try_row(PlayerRow *row)
{
	row->plan = &try_row_plan;
	take_row(row);
	return row->player_id != 0;
}

static bool
player_exists(const char *user_id)
{
	Datum		values[1] = {CStringGetTextDatum(user_id)};
	int			pin = plan_connect();
	bool		exists;

	plan_read_committed(&exists_plan, values, NULL, 1);
	exists = SPI_processed > 0;
	plan_finish(pin);
	return exists;
}

/* The row; its holder may be an action of the player that has set a name, and is ended then. False where there is none. */
static bool
lock_row(SeizeWait *wait, PlayerRow *row)
{
	if (try_row(row))
		return true;
	row->plan = &lock_row_plan;
	if (player_exists(row->user_id))
		seize_from_player(wait, row->user_id, take_row, row);
	return row->player_id != 0;
}

int64
moderation_lock_player(const char *user_id)
{
	PlayerRow	row = {.user_id = user_id};
	uint64		hash = player_lock_hash(user_id);
	SeizeWait	wait = {0};

	require_primary("change players");
	tables_require(TABLE_PLAYER);
	ledger_lock();
	for (;;)
	{
		bool		found = lock_row(&wait, &row);

		seize_player(&wait, row.user_id);
		/* Its first action has been waited for. A row that somebody else has come to lock comes before the lock again. */
		if (found || try_row(&row))
			return row.player_id;
		if (!player_exists(row.user_id))
			return 0;
		if (IsolationUsesXactSnapshot())
			ledger_raise_serialization_failure();
		player_lock_release_moderate(hash);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * scoreboard.lock_player(user_id text) returns bigint: nobody acts for the player until the transaction ends, and its
 * row is ours. Null where there is no such player, though its first action was waited for.
 */
Datum
scoreboard_lock_player(PG_FUNCTION_ARGS)
{
	int64		player_id = moderation_lock_player(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (player_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(player_id);
}

/* ---------------------------------------------------------------------------
 * Whatever changed players, in whatever way
 * ------------------------------------------------------------------------- */

/* One board's row; ledger_find_score raises 40001 where this transaction can't see what is committed. */
static void
set_listed(Ledger *ledger, int32 board_id, int64 player_id, bool listed)
{
	const Board *board = config_board_by_id(board_id);
	int32		season;
	LedgerScore score;
	Datum		values[4];

	if (board == NULL)
		return;
	season = season_running(board);
	ledger_find_score(ledger, board->board_id, season, player_id, &score);
	if (!score.exists)
		return;
	values[0] = Int32GetDatum(board->board_id);
	values[1] = Int32GetDatum(season);
	values[2] = Int64GetDatum(player_id);
	values[3] = BoolGetDatum(listed);
	plan_write(&set_listed_plan, values, NULL, SPI_OK_UPDATE);
}

typedef struct Reopening
{
	SavedPlan  *plan;
	Datum	   *values;
} Reopening;

static void
reopen(void *argument)
{
	Reopening  *reopening = argument;
	int			pin = plan_connect();

	plan_write(reopening->plan, reopening->values, NULL, SPI_OK_UPDATE);
	plan_finish(pin);
}

/* Whoever moderates another player of an ended season, in an open transaction, holds its row. Who chooses for itself ends nobody. */
static void
reopen_seasons(Reopening *reopening, bool moderated)
{
	Oid			seasons = get_relname_relid("season", get_namespace_oid("scoreboard", false));
	Refusal		refusal;

	if (moderated ? seize_rows(seasons, "a season that has ended", reopen, reopening) : seize_try(scoreboard_moderation_wait, reopen, reopening))
		return;
	refuse_for(&refusal, REFUSAL_UNAVAILABLE, 1, "Find the open transaction that has moderated a player of that season, and end it.",
			   "an open transaction holds up a season that has ended");
	refusal_raise(&refusal);
}

static void
set_listed_everywhere(int64 player_id, bool listed, bool moderated)
{
	uint64		count;
	int32	   *board_ids;
	Ledger	   *ledger = ledger_open();
	Datum		values[2] = {Int64GetDatum(player_id), BoolGetDatum(listed)};

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
	reopen_seasons(&(Reopening) {&set_recorded_plan, values}, moderated);
	ledger_close(ledger);
}

/* scoreboard.reopen_seasons(player_id bigint) returns void */
Datum
scoreboard_reopen_seasons(PG_FUNCTION_ARGS)
{
	Datum		values[1] = {PG_GETARG_DATUM(0)};

	reopen_seasons(&(Reopening) {&reopen_plan, values}, true);
	PG_RETURN_VOID();
}

/* A player of whom a statement changed what decides about lists, or about scoring. */
typedef struct ChangedPlayer
{
	uint64		hash;
	char	   *user_id;
	int64		player_id;
	bool		moderated;		/* else it has chosen by itself */
	bool		suspended;		/* frozen or banned just now */
	const char *new_state;		/* NULL: it is the old one */
	const char *new_view;		/* "hidden", "shown", or NULL */
	bool		was_listed;
	bool		listed;
} ChangedPlayer;

typedef struct ChangedPlayers
{
	ChangedPlayer *players;
	int			count;
	int			room;
} ChangedPlayers;

static char *
state_of(const TableLayout *layout, TupleTableSlot *slot)
{
	return TextDatumGetCString(tables_value(layout, slot, PLAYER_STATE));
}

static bool
is_set(const TableLayout *layout, TupleTableSlot *slot, int column)
{
	return DatumGetBool(tables_value(layout, slot, column));
}

static bool
listed_of(const TableLayout *layout, TupleTableSlot *slot)
{
	return !is_set(layout, slot, PLAYER_HIDDEN) && !is_set(layout, slot, PLAYER_UNLISTED) && strcmp(state_of(layout, slot), "banned") != 0;
}

static void
add_changed(ChangedPlayers *changed, const TableLayout *layout, TupleTableSlot *old, TupleTableSlot *new)
{
	bool		another_state = strcmp(state_of(layout, old), state_of(layout, new)) != 0;
	bool		moderated = another_state || is_set(layout, old, PLAYER_HIDDEN) != is_set(layout, new, PLAYER_HIDDEN);
	ChangedPlayer *player;

	if (!moderated && is_set(layout, old, PLAYER_UNLISTED) == is_set(layout, new, PLAYER_UNLISTED))
		return;
	if (changed->count == changed->room)
	{
		changed->room = Max(16, 2 * changed->room);
		changed->players = changed->players
			? repalloc_huge(changed->players, changed->room * sizeof(ChangedPlayer))
			: palloc(changed->room * sizeof(ChangedPlayer));
	}
	player = &changed->players[changed->count++];
	player->user_id = TextDatumGetCString(tables_value(layout, new, PLAYER_USER_ID));
	player->hash = player_lock_hash(player->user_id);
	player->player_id = DatumGetInt64(tables_value(layout, new, PLAYER_ID));
	player->moderated = moderated;
	player->suspended = another_state && strcmp(state_of(layout, new), "active") != 0;
	player->new_state = another_state ? state_of(layout, new) : NULL;
	if (is_set(layout, old, PLAYER_HIDDEN) != is_set(layout, new, PLAYER_HIDDEN))
		player->new_view = is_set(layout, new, PLAYER_HIDDEN) ? "hidden" : "shown";
	else
		player->new_view = NULL;
	player->was_listed = listed_of(layout, old);
	player->listed = listed_of(layout, new);
}

/* The statement's rows before and after stand in the same order. */
static ChangedPlayers
changed_players(TriggerData *trigger)
{
	const TableLayout layout = *tables_layout(TABLE_PLAYER, trigger->tg_relation, TABLE_SCAN);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	TupleTableSlot *old = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	TupleTableSlot *new = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	ChangedPlayers changed = {0};

	tuplestore_rescan(trigger->tg_oldtable);
	tuplestore_rescan(trigger->tg_newtable);
	while (tuplestore_gettupleslot(trigger->tg_oldtable, true, false, old) &&
		   tuplestore_gettupleslot(trigger->tg_newtable, true, false, new))
	{
		CHECK_FOR_INTERRUPTS();
		add_changed(&changed, &layout, old, new);
	}
	ExecDropSingleTupleTableSlot(old);
	ExecDropSingleTupleTableSlot(new);
	return changed;
}

static int
compare_hashes(const void *a, const void *b)
{
	uint64		first = ((const ChangedPlayer *) a)->hash;
	uint64		second = ((const ChangedPlayer *) b)->hash;

	return first < second ? -1 : first > second ? 1 : 0;
}

static void
moderate(ChangedPlayers *changed)
{
	SeizeWait	wait = {0};
	int			new_ones = 0;

	/* Before anything is written that would have to be taken back. */
	for (int i = 0; i < changed->count; i++)
		new_ones += !player_lock_moderated(changed->players[i].hash);
	player_lock_reserve(new_ones);
	qsort(changed->players, changed->count, sizeof(ChangedPlayer), compare_hashes);
	for (int i = 0; i < changed->count; i++)
	{
		/* A player's own choice ends nobody's session, and its transaction must not be spared when moderation comes. */
		if (changed->players[i].moderated)
			seize_player(&wait, changed->players[i].user_id);
		else
			player_lock_acquire(changed->players[i].hash);
	}
	for (int i = 0; i < changed->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (changed->players[i].suspended)
			(void) session_keys_end(changed->players[i].user_id);
		if (changed->players[i].listed != changed->players[i].was_listed)
			set_listed_everywhere(changed->players[i].player_id, changed->players[i].listed, changed->players[i].moderated);
	}
}

/* For who listens to the outbox. */
static void
note_events(const ChangedPlayers *changed)
{
	Ledger	   *ledger = ledger_open_events();

	for (int i = 0; i < changed->count; i++)
	{
		const ChangedPlayer *player = &changed->players[i];

		if (player->new_state)
			event_player_moderated(ledger, player->player_id, strcmp(player->new_state, "active") == 0 ? "restored" : player->new_state);
		if (player->new_view)
			event_player_moderated(ledger, player->player_id, player->new_view);
	}
	ledger_close(ledger);
}

/*
 * Statement trigger on scoreboard.player. BEFORE an update: takes the first of all locks. AFTER it, with the
 * old and the new rows as transition tables: what their states demand.
 */
Datum
scoreboard_player_listed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	ChangedPlayers changed;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		(TRIGGER_FIRED_AFTER(trigger->tg_event) && (trigger->tg_oldtable == NULL || trigger->tg_newtable == NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("scoreboard_player_listed() must be called as a trigger for statements that update, with both transition tables")));
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
	{
		ledger_lock();
		return PointerGetDatum(NULL);
	}
	changed = changed_players(trigger);
	if (changed.count > 0)
		moderate(&changed);
	if (changed.count > 0 && scoreboard_outbox)
		note_events(&changed);
	return PointerGetDatum(NULL);
}
