/*
 * publish/outbox.c - events get their positions, and go when they have been kept long enough
 *
 * Writers leave rows without a position in scoreboard.pending_event (write/event.c). The publisher moves those that are committed to
 * scoreboard.event, a slice in a transaction, and numbers them there. It alone does, one slice after the other: so whoever
 * has seen a position has seen all before it, and a transaction that stays open delays its own rows and no others. A row is
 * deleted here and inserted there in one transaction, with a synchronous commit: exactly once, whatever is killed.
 *
 * Where is it to look? Deleted rows stay until they are vacuumed, behind an old snapshot for hours; who began with the first row every time would
 * come to do nothing else. So a look goes by the writers' transaction ids, which begin the table's key: between two
 * snapshots those become visible that were running at the first and aren't at the second, and all from the first one's xmax on. What a
 * look before has left is dead. Only at our start, and where SQL has written into the table (a restore, scoreboard_forget), all of it is looked at.
 *
 * Positions go on by 1. At our start they leap to the microseconds since 1970, as versions do to the milliseconds: so they aren't given twice
 * either where an asynchronous standby or a restored dump had not heard of the last ones.
 *
 * Locks: those of publish/publisher_transaction.c; rows of pending_event, SKIP LOCKED.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "scoreboard.h"
#include "base/plan.h"
#include "base/tables.h"
#include "publish/outbox.h"
#include "publish/publisher.h"
#include "publish/publisher_transaction.h"
#include "publish/slots.h"
#include "publish/worker.h"
#include "write/event.h"

/* Events in a transaction, and for how long one is followed by another before lists are looked at. */
#define SLICE 1000
#define TURN_MS 50

/* After its queue was found full, nothing is notified for so long. */
#define QUEUE_FULL_MS 5000

/* A look through the table, which may take several turns. */
typedef struct Look
{
	bool		begun;
	char	   *snapshot;		/* taken before the first slice */
	char	   *lows;			/* int8[]: ranges of writers' ids, in order, high bounds excluded */
	char	   *highs;
	int64		writer;			/* of the row taken last */
	int32		number;
} Look;

static Look look;
static char *looked_at = NULL;	/* the snapshot of the last look that came to its end; NULL: look at everything */
static uint32 wanted = EVENTS_NEW;	/* bits that were taken and have not begun a look; at our start there may be rows */
static int64 last_position = 0; /* of this process; 0: leap */
static int64 notify_not_before = 0;

static SavedPlan begin_plan = {
	.text = "SELECT snapshot, lows, highs FROM scoreboard.events_due($1)",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan number_plan = {
	.text = "SELECT moved, last_writer, last_number, last_position FROM scoreboard.number_events($1::bigint[], $2::bigint[], $3, $4, $5, $6, $7)",
	.nargs = 7, .types = {TEXTOID, TEXTOID, INT8OID, INT4OID, INT4OID, INT8OID, BOOLOID}
};

static SavedPlan purge_plan = {
	.text = "SELECT scoreboard.purge_events($1, $2)",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan crossings_plan = {
	.text = "SELECT player_id, by_player_id, details::text FROM scoreboard.crossings($1, $2, $3, $4, $5, $6)",
	.nargs = 6, .types = {INT4OID, INT4OID, BOOLOID, INT8OID, TEXTOID, TEXTOID}
};

/* ------------------------------------------------------------------------
 * Numbering
 * ------------------------------------------------------------------------ */

bool
outbox_pending(void)
{
	return wanted != 0 || look.begun || slots_events() != 0;
}

static char *
keep(const char *text)
{
	return MemoryContextStrdup(TopMemoryContext, text);
}

static void
end_look(void)
{
	if (look.snapshot)
		pfree(look.snapshot);
	if (look.lows)
		pfree(look.lows);
	if (look.highs)
		pfree(look.highs);
	memset(&look, 0, sizeof(look));
}

/* The marks are taken before the snapshot, so a commit meanwhile marks anew. */
static void
begin_look(void)
{
	Datum		values[1];
	char		nulls[1] = {' '};

	wanted |= slots_take_events();
	if ((wanted & EVENTS_CHANGED) && looked_at)
	{
		pfree(looked_at);
		looked_at = NULL;
	}
	if (looked_at)
		values[0] = CStringGetTextDatum(looked_at);
	else
		nulls[0] = 'n';
	end_look();
	plan_write(&begin_plan, values, nulls, SPI_OK_SELECT);
	look.snapshot = keep(plan_known_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	look.lows = keep(plan_known_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	look.highs = keep(plan_known_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3));
	look.writer = PG_INT64_MIN;
	look.begun = true;
	wanted = 0;
}

/* What a slice came to. */
typedef struct Slice
{
	int32		found;
	int64		writer;
	int32		number;
	int64		position;
} Slice;

static Slice
number_slice(bool notify)
{
	Slice		slice;
	HeapTuple	row;
	TupleDesc	desc;
	Datum		values[7] = {
		CStringGetTextDatum(look.lows), CStringGetTextDatum(look.highs), Int64GetDatum(look.writer), Int32GetDatum(look.number),
		Int32GetDatum(SLICE), Int64GetDatum(last_position), BoolGetDatum(notify)
	};

	plan_write(&number_plan, values, NULL, SPI_OK_SELECT);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	slice.found = DatumGetInt32(plan_datum(row, desc, 1));
	slice.writer = DatumGetInt64(plan_datum(row, desc, 2));
	slice.number = DatumGetInt32(plan_datum(row, desc, 3));
	slice.position = DatumGetInt64(plan_datum(row, desc, 4));
	return slice;
}

/* A transaction. An error leaves the look where it was, and the next turn goes on with it. -1 while a dump is being restored. */
static int
run_slice(void)
{
	Slice		slice;
	int64		now = worker_clock_ms();
	bool		notify = notify_not_before <= now;
	int			pin;

	if (!publisher_try_chore(CHORE_PATIENCE_MS))
		return -1;
	tables_require(TABLE_PENDING_EVENT);
	pin = plan_connect();
	if (!look.begun)
		begin_look();
	slice = number_slice(notify);
	plan_finish(pin);

	/* Where NOTIFY's queue is full the commit fails: then without, until that time has passed. */
	if (notify)
		notify_not_before = now + QUEUE_FULL_MS;
	publisher_commit_chore();
	if (notify)
		notify_not_before = 0;

	if (slice.found > 0)
	{
		look.writer = slice.writer;
		look.number = slice.number;
		last_position = slice.position;
	}
	return slice.found;
}

bool
outbox_number(void)
{
	int64		until = worker_clock_ms() + TURN_MS;
	int			found;

	do
		found = run_slice();
	while (found == SLICE && worker_clock_ms() < until);
	if (found == SLICE)
		publisher_wake();
	else if (found >= 0)
	{
		if (looked_at)
			pfree(looked_at);
		looked_at = keep(look.snapshot);
		end_look();
	}
	return found >= 0;
}

/* ------------------------------------------------------------------------
 * Purging
 * ------------------------------------------------------------------------ */

bool
outbox_purge(void)
{
	Datum		values[2] = {Int32GetDatum(SLICE), Int32GetDatum(scoreboard_event_retention)};

	plan_write(&purge_plan, values, NULL, SPI_OK_SELECT);
	return DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

/* ------------------------------------------------------------------------
 * Crossings in the top
 * ------------------------------------------------------------------------ */

void
outbox_note_crossings(const Board *board, int32 season, int64 version, const char *old_document, const char *entries)
{
	Datum		values[6] = {
		Int32GetDatum(board->board_id), Int32GetDatum(season), BoolGetDatum(board->low_first), Int64GetDatum(version),
		CStringGetTextDatum(old_document), CStringGetTextDatum(psprintf("{%s}", entries))
	};
	MemoryContext caller = CurrentMemoryContext;
	Ledger	   *ledger = ledger_open_events();
	int			pin = plan_connect();
	bool		restoring = publisher_sees_restore();

	if (!restoring)
		plan_read(&crossings_plan, values, NULL, 0);
	for (uint64 i = 0; !restoring && i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		event_player_overtaken(ledger, board->board_id, season, DatumGetInt64(plan_datum(row, desc, 1)), DatumGetInt64(plan_datum(row, desc, 2)),
							   plan_known_text(row, desc, 3));
	}
	ledger_close(ledger);
	plan_finish(pin);
	MemoryContextSwitchTo(caller);
}
