/*
 * admin/replay.c - what a score would be without an action that is undone
 *
 * Records of a score are actions, credits, corrections, and a balance: an opening one, and what was purged. What each counts for
 * adds up to the score. It is what was applied when it was made, until an undo changes it: so answers that were given stay in
 * the log as they are, verify and repair (admin/verify.c) need sums only, and a purge (admin/retention.c) folds what counts.
 *
 * sum: what the action counts for is taken away, never further down than to the board's lowest score. What can't be taken away goes on
 * counting for the action. Other records stay as they are.
 *
 * best and latest: what came before the action adds up to the score that it found. From there on later records are gone through in their order, actions combined
 * by the operator with what they were worth, corrections added (to nothing they add nothing, as scoreboard_adjust() refuses them there), until the same score by the same action stands there as with the action:
 * then all that follows is as it was. That needs every later record, so it is refused where one of them was purged. It needs their order, too, which
 * only their moments tell: where they don't lead to what was counted, a clock was set back in between, and it is refused.
 * Those that were purged before are no matter: their sum is exact, and who set the score last among them is known.
 *
 * Locks: none of its own; the caller holds the player's.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "admin/change.h"
#include "admin/records.h"
#include "admin/replay.h"
#include "base/plan.h"
#include "write/routing.h"

#define PAGE_RECORDS 1000

#define HERE "player_id = $1 AND board_id = $2 AND season = $3"
#define CREDITS "scoreboard.credit c JOIN (SELECT player_id, action_id, created_at, points, fixed_points, subscore, detail FROM scoreboard.action) AS a USING (player_id, action_id)"

/* Is there anything left that the player has a score for? */
static SavedPlan left_plan = {
	.text = "SELECT EXISTS (SELECT FROM scoreboard.action WHERE " HERE " AND " COUNTS ")"
	" OR EXISTS (SELECT FROM scoreboard.balance WHERE " HERE ")"
	" OR EXISTS (SELECT FROM scoreboard.adjustment WHERE " HERE " AND " CORRECTS ")"
	" OR EXISTS (SELECT FROM scoreboard.credit WHERE " HERE " AND " COUNTS ")",
	.nargs = 3, .types = {INT8OID, INT4OID, INT4OID}
};

/* What stands beside a score by the last record before a moment that set it. */
static SavedPlan setter_plan = {
	.text = "SELECT subscore::bigint, detail::text FROM ("
	" (SELECT created_at, subscore, detail FROM scoreboard.action WHERE " HERE " AND created_at < $4 AND sets_score ORDER BY created_at DESC LIMIT 1)"
	" UNION ALL SELECT created_at, subscore, detail FROM " CREDITS " WHERE " HERE " AND created_at < $4 AND sets_score"
	" UNION ALL SELECT set_at, subscore, detail FROM scoreboard.balance WHERE " HERE " AND set_at < $4) AS setters"
	" ORDER BY created_at DESC LIMIT 1",
	.nargs = 4, .types = {INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID}
};

/* The records before the action: their sum, how many there are that a correction may follow, and is one later than it gone? */
static SavedPlan before_plan = {
	.text = "SELECT coalesce(sum(points), 0)::bigint, count(*) FILTER (WHERE stands), coalesce(max(purged_until) >= $4, false) FROM ("
	" SELECT " COUNTED " AS points, true AS stands, NULL::timestamptz AS purged_until FROM scoreboard.action WHERE " HERE " AND " COUNTS " AND created_at <= $4 AND (created_at, action_id) < ($4, $5)"
	" UNION ALL SELECT " COUNTED ", true, NULL FROM " CREDITS " WHERE " HERE " AND " COUNTS " AND (created_at, action_id) < ($4, $5)"
	" UNION ALL SELECT " COUNTED ", false, NULL FROM scoreboard.adjustment WHERE " HERE " AND kind = 'adjust' AND made_at < $4"
	" UNION ALL SELECT applied_points, true, purged_until FROM scoreboard.balance WHERE " HERE ") AS records",
	.nargs = 5, .types = {INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID}
};

/* The records behind a moment and id, in their order. A correction that counts for nothing may count again: the lowest score had stopped it. */
static SavedPlan later_plan = {
	.text = "SELECT kind::text, id::text, moment::timestamptz, points::bigint, subscore::bigint, detail::text, counted::bigint, sets_score FROM ("
	" SELECT 'action' AS kind, action_id AS id, created_at AS moment, coalesce(points, fixed_points) AS points, subscore, detail, " COUNTED " AS counted, sets_score"
	"  FROM scoreboard.action WHERE " HERE " AND " COUNTS " AND created_at >= $4"
	" UNION ALL SELECT 'credit', action_id, created_at, coalesce(points, fixed_points), subscore, detail, " COUNTED ", sets_score"
	"  FROM " CREDITS " WHERE " HERE " AND " COUNTS " AND created_at >= $4"
	" UNION ALL SELECT 'adjust', adjustment_id::text COLLATE \"C\", made_at, points, NULL, NULL, " COUNTED ", false"
	"  FROM scoreboard.adjustment WHERE " HERE " AND kind = 'adjust' AND made_at >= $4) AS later"
	" WHERE (moment, id COLLATE \"C\") > ($4, $5) ORDER BY moment, id COLLATE \"C\"",
	.nargs = 5, .types = {INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID}
};

static SavedPlan recount_action_plan = {
	.text = "UPDATE scoreboard.action SET counted_points = $4, sets_score = $5 WHERE player_id = $1 AND action_id = $2 AND board_id = $3",
	.nargs = 5, .types = {INT8OID, TEXTOID, INT4OID, INT8OID, BOOLOID}
};

static SavedPlan recount_credit_plan = {
	.text = "UPDATE scoreboard.credit SET counted_points = $4, sets_score = $5 WHERE player_id = $1 AND action_id = $2 AND board_id = $3",
	.nargs = 5, .types = {INT8OID, TEXTOID, INT4OID, INT8OID, BOOLOID}
};

static SavedPlan recount_adjustment_plan = {
	.text = "UPDATE scoreboard.adjustment SET counted_points = $2 WHERE adjustment_id = $1::bigint",
	.nargs = 2, .types = {TEXTOID, INT8OID}
};

typedef enum RecordKind
{
	RECORD_ACTION = 'a',
	RECORD_CREDIT = 'c',
	RECORD_CORRECTION = 'k'
} RecordKind;

typedef struct Record
{
	RecordKind	kind;
	const char *id;
	int64		points;			/* that it was worth, or that were to be added */
	LedgerExtras extras;
	int64		counted;
	bool		sets_score;
} Record;

/* Both ways at once, with the action and without, as far as records have been gone through. */
typedef struct Replay
{
	const ReplayCredit *credit;
	const Board *board;
	int64		with;			/* the score with the action */
	LedgerScore without;
	bool		same_setter;	/* is what stands beside both of the same record? */
	MemoryContext context;		/* for what outlives its page */
	MemoryContext page_context;
} Replay;

static void
set_place(const ReplayCredit *credit, Datum *values)
{
	values[0] = Int64GetDatum(credit->player_id);
	values[1] = Int32GetDatum(credit->board_id);
	values[2] = Int32GetDatum(credit->season);
}

/* Under REPEATABLE READ a row that the transaction doesn't see isn't changed. */
static void
change_one(SavedPlan *plan, Datum *values)
{
	plan_write(plan, values, NULL, SPI_OK_UPDATE);
	if (SPI_processed != 1)
		ledger_raise_serialization_failure();
}

static void
recount(const ReplayCredit *credit, RecordKind kind, const char *id, int64 counted, bool sets_score)
{
	Datum		of_correction[2] = {CStringGetTextDatum(id), Int64GetDatum(counted)};
	Datum		values[5] = {Int64GetDatum(credit->player_id), CStringGetTextDatum(id), Int32GetDatum(credit->board_id), Int64GetDatum(counted), BoolGetDatum(sets_score)};

	if (kind == RECORD_CORRECTION)
		change_one(&recount_adjustment_plan, of_correction);
	else
		change_one(kind == RECORD_ACTION ? &recount_action_plan : &recount_credit_plan, values);
}

static LedgerExtras
extras_of(HeapTuple row, TupleDesc desc, int column)
{
	bool		absent;
	Datum		subscore = SPI_getbinval(row, desc, column, &absent);

	return (LedgerExtras) {.subscore = absent ? NO_SUBSCORE : DatumGetInt64(subscore), .detail = plan_text(row, desc, column + 1)};
}

static LedgerExtras
extras_before(const ReplayCredit *credit, TimestampTz moment)
{
	Datum		values[4];

	set_place(credit, values);
	values[3] = TimestampTzGetDatum(moment);
	plan_read(&setter_plan, values, NULL, 1);
	if (SPI_processed == 0)
		return (LedgerExtras) {.subscore = NO_SUBSCORE};
	return extras_of(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* ---------- sum ---------- */

static bool
anything_left(const ReplayCredit *credit)
{
	Datum		values[3];

	set_place(credit, values);
	plan_read(&left_plan, values, NULL, 1);
	return DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

static bool
take_away(const ReplayCredit *credit, const Board *board, const LedgerScore *old, LedgerScore *new, Refusal *refusal)
{
	int64		kept;

	new->exists = old->exists && anything_left(credit);
	if (!new->exists)
		return true;
	new->score = routing_added(board, old->score, -credit->counted);
	if (!change_check_score(new->score, refusal))
		return false;
	new->extras = extras_before(credit, DT_NOEND);
	kept = credit->counted - (old->score - new->score);
	if (kept != 0)
		recount(credit, credit->named ? RECORD_ACTION : RECORD_CREDIT, credit->action_id, kept, false);
	return true;
}

/* ---------- best and latest ---------- */

/* Do these points, added to what stood there with the action, make of it what the log has? */
static bool
follows(Replay *replay, bool exists, int64 points, int64 counted, Refusal *refusal)
{
	LedgerScore found = {.exists = exists, .score = replay->with};

	replay->with += counted;
	return replay->with == routing_combined(replay->board, &found, points) ||
		refuse(refusal, REFUSAL_INVALID_REQUEST, "Correct its score with scoreboard_adjust().",
			   "in which order actions of the player were counted on board \"%s\" is not known: the clock was set back in between, or the log was changed", replay->board->name);
}

static bool
begin(Replay *replay, Refusal *refusal)
{
	const ReplayCredit *credit = replay->credit;
	Datum		values[5];
	HeapTuple	row;
	TupleDesc	desc;

	set_place(credit, values);
	values[3] = TimestampTzGetDatum(credit->created_at);
	values[4] = CStringGetTextDatum(credit->action_id);
	plan_read(&before_plan, values, NULL, 1);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	if (DatumGetBool(plan_datum(row, desc, 3)))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Correct its score with scoreboard_adjust().",
					  "later actions of the player were purged: what its score on board \"%s\" would be without this one is not known any more", replay->board->name);
	replay->without = (LedgerScore) {
		.exists = DatumGetInt64(plan_datum(row, desc, 2)) > 0,
		.score = DatumGetInt64(plan_datum(row, desc, 1))
	};
	replay->without.extras = extras_before(credit, credit->created_at);
	replay->with = replay->without.score;
	replay->same_setter = !credit->set_score;
	return follows(replay, replay->without.exists, credit->points, credit->counted, refusal);
}

/* All that follows is as it was. */
static bool
is_even(const Replay *replay)
{
	return replay->without.exists && replay->without.score == replay->with && replay->same_setter;
}

static void
read_record(Record *record, HeapTuple row, TupleDesc desc)
{
	const char *kind = plan_known_text(row, desc, 1);

	*record = (Record) {
		.kind = strcmp(kind, "action") == 0 ? RECORD_ACTION : strcmp(kind, "credit") == 0 ? RECORD_CREDIT : RECORD_CORRECTION,
		.id = plan_known_text(row, desc, 2),
		.points = DatumGetInt64(plan_datum(row, desc, 4)),
		.extras = extras_of(row, desc, 5),
		.counted = DatumGetInt64(plan_datum(row, desc, 7)),
		.sets_score = DatumGetBool(plan_datum(row, desc, 8))
	};
}

static bool
apply(Replay *replay, const Record *record, Refusal *refusal)
{
	LedgerScore *without = &replay->without;
	bool		correction = record->kind == RECORD_CORRECTION;
	bool		sets_score = !correction && routing_sets_score(replay->board, without, record->points, &record->extras);
	int64		next = correction ? routing_added(replay->board, without->score, record->points)
		: routing_combined(replay->board, without, record->points);

	if (!change_check_score(next, refusal))
		return false;
	if (correction)
		replay->with += record->counted;
	else if (!follows(replay, true, record->points, record->counted, refusal))
		return false;
	if (next - without->score != record->counted || sets_score != record->sets_score)
		recount(replay->credit, record->kind, record->id, next - without->score, sets_score);
	without->exists = true;
	without->score = next;
	if (sets_score)
	{
		without->extras.subscore = record->extras.subscore;
		without->extras.detail = record->extras.detail ? MemoryContextStrdup(replay->context, record->extras.detail) : NULL;
	}
	if (sets_score || record->sets_score)
		replay->same_setter = sets_score && record->sets_score;
	return true;
}

/* There is no score that it corrects. */
static void
drop_correction(Replay *replay, const Record *record)
{
	recount(replay->credit, record->kind, record->id, 0, false);
	replay->with += record->counted;
}

static bool
apply_page(Replay *replay, SPITupleTable *page, int count, Refusal *refusal)
{
	bool		good = true;

	MemoryContextSwitchTo(replay->page_context);
	for (int i = 0; i < count && good && !is_even(replay); i++)
	{
		Record		record;

		CHECK_FOR_INTERRUPTS();
		read_record(&record, page->vals[i], page->tupdesc);
		if (record.kind == RECORD_CORRECTION && !replay->without.exists)
			drop_correction(replay, &record);
		else
			good = apply(replay, &record, refusal);
	}
	MemoryContextSwitchTo(replay->context);
	MemoryContextReset(replay->page_context);
	SPI_freetuptable(page);
	return good;
}

static bool
replay_later(Replay *replay, Refusal *refusal)
{
	Datum		values[5];
	Portal		records;
	int			count;
	bool		good;

	set_place(replay->credit, values);
	values[3] = TimestampTzGetDatum(replay->credit->created_at);
	values[4] = CStringGetTextDatum(replay->credit->action_id);
	records = plan_open(&later_plan, values, NULL);
	replay->page_context = AllocSetContextCreate(replay->context, "scoreboard replay", ALLOCSET_DEFAULT_SIZES);
	do
	{
		SPI_cursor_fetch(records, true, PAGE_RECORDS);
		count = (int) SPI_processed;
		good = apply_page(replay, SPI_tuptable, count, refusal);
	} while (good && count == PAGE_RECORDS && !is_even(replay));
	MemoryContextDelete(replay->page_context);
	SPI_cursor_close(records);
	return good;
}

bool
replay_without(const ReplayCredit *credit, const Board *board, const LedgerScore *old, LedgerScore *new, Refusal *refusal)
{
	Replay		replay = {.credit = credit, .board = board, .context = CurrentMemoryContext};

	*new = (LedgerScore) {.extras.subscore = NO_SUBSCORE};
	if (board->operator == OPERATOR_SUM)
		return take_away(credit, board, old, new, refusal);
	if (!begin(&replay, refusal) || (!is_even(&replay) && !replay_later(&replay, refusal)))
		return false;
	if (is_even(&replay))
		*new = (LedgerScore) {.exists = old->exists, .score = old->score, .extras = old->extras};
	else
		*new = (LedgerScore) {.exists = replay.without.exists, .score = replay.without.score, .extras = replay.without.extras};
	return true;
}
