/*
 * write/event.c - what happened, noted for the outbox
 *
 * A row of scoreboard.pending_event has no position: whoever took one before its commit would hold up all that come after it. The
 * publisher is woken by the commit, and gives it one then. A row holds what identifies it; what an action's event says is read from the
 * action when it is numbered.
 *
 * The event's id is drawn here, by the writer: where a crash or a failover takes back that an event was numbered, it is numbered
 * again under the same id.
 *
 * Locks: relation scoreboard.pending_event (ROW EXCLUSIVE), to the end of the transaction.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"

#include "scoreboard.h"
#include "base/config_cache.h"
#include "base/plan.h"
#include "publish/publisher.h"
#include "write/event.h"

PG_FUNCTION_INFO_V1(scoreboard_events_changed);

/* What a dump brings was written under another server's ids, which transactions here may come to have. */
static SavedPlan set_apart_plan = {
	.text = "UPDATE scoreboard.pending_event SET writer = -writer WHERE writer > 0 AND scoreboard.restoring()",
};

static uint32 noted = 0;		/* bits of EVENTS_, of this transaction */

/* A subtransaction that was rolled back leaves its bit: the publisher looks once for nothing. */
static void
transaction_event(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_COMMIT && noted != 0)
		publisher_wake_for_events(noted);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		noted = 0;
}

void
event_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
}

static void
note(Ledger *ledger, const LedgerEvent *event)
{
	ledger_add_event(ledger, event);
	noted |= EVENTS_NEW;
}

void
event_action_counted(Ledger *ledger, int64 player_id, const char *action_id, const LedgerAction *action)
{
	LedgerEvent event = {
		.type = "action", .board_id = action->board_id, .season = action->season,
		.player_id = player_id, .action_id = action_id, .occurred_at = action->created_at
	};

	note(ledger, &event);
}

void
event_action_undone(Ledger *ledger, int64 player_id, const char *action_id, const LedgerAction *action, TimestampTz undone_at, const char *details)
{
	LedgerEvent event = {
		.type = "undone", .board_id = action->board_id, .season = action->season,
		.player_id = player_id, .action_id = action_id, .occurred_at = undone_at, .details = details
	};

	note(ledger, &event);
}

void
event_player_moderated(Ledger *ledger, int64 player_id, const char *type)
{
	LedgerEvent event = {.type = type, .player_id = player_id, .occurred_at = ledger_clock()};

	note(ledger, &event);
}

void
event_player_overtaken(Ledger *ledger, int32 board_id, int32 season, int64 player_id, int64 by_player_id, const char *details)
{
	LedgerEvent event = {
		.type = "overtaken", .board_id = board_id, .season = season,
		.player_id = player_id, .other_player_id = by_player_id, .occurred_at = ledger_clock(), .details = details
	};

	note(ledger, &event);
}

void
event_season_ended(int32 board_id, int32 season, int32 next_season, TimestampTz ended_at)
{
	LedgerEvent event = {
		.type = "season.end", .board_id = board_id, .season = season,
		.occurred_at = ended_at, .details = psprintf("{\"nextSeason\":%d}", next_season)
	};
	Ledger	   *ledger;

	if (!scoreboard_outbox)
		return;
	ledger = ledger_open_events();
	note(ledger, &event);
	ledger_close(ledger);
}

/*
 * Statement trigger on scoreboard.pending_event, after what SQL inserts or updates: a restore's rows, those of a player who is forgotten. They
 * may stand where the publisher has looked already.
 */
Datum
scoreboard_events_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("scoreboard_events_changed() must be called as a trigger")));
	noted |= EVENTS_CHANGED;
	if (TRIGGER_FIRED_BY_INSERT(((TriggerData *) fcinfo->context)->tg_event))
	{
		int			pin = plan_connect();

		plan_write(&set_apart_plan, NULL, NULL, SPI_OK_UPDATE);
		plan_finish(pin);
	}
	return PointerGetDatum(NULL);
}
