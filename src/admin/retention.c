/*
 * admin/retention.c - the log of actions is kept for so long: what is older goes, and what it added to scores stays
 *
 * An action that goes is folded into its player's row of scoreboard.balance, its credits into those of their boards, in the very
 * statement that deletes them: whenever it is killed, a point stands in one of both. The row of balance keeps what verify and
 * repair (admin/verify.c) would have read: the sum of the applied points, when they changed the score last, and what stood beside
 * the score by the last action that set it. All of that is a sum or a maximum, so the order in which actions go doesn't matter. An action
 * that was undone leaves nothing there, but for what could not be taken away.
 *
 * A pass goes over the log's pages from the first to the last, a window of them at a time: no index says what is old once freed pages
 * are filled again, rows of one time stand together, and a page is written once. How far it has come stands in scoreboard.purge, by the
 * transaction that did the work: a pass that was killed goes on where it was. What it could not have, it leaves to the next one.
 *
 * An address is taken from a row by an update, which stays on its page (HOT) only if there is room, and pages of the log are full.
 * So of each page two rows are taken at a time: their old versions have made room for the next two by the time it is their turn.
 *
 * What was added to a season that was purged (admin/season_retention.c) goes with the action: nobody sums it up any more.
 *
 * Whatever the settings say, an action stays for as long as a receipt could vouch for it once more: two changes of the configuration may
 * be made at once, and triggers be off.
 *
 * Locks: relation scoreboard.score (ROW EXCLUSIVE), those players' locks that are to be had at once, those rows of the log that nobody
 * has locked; the pages that are needed were read before, without a lock. Addresses are removed under the rows' locks alone.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/block.h"
#include "storage/itemptr.h"
#include "utils/array.h"

#include "admin/records.h"
#include "admin/retention.h"
#include "base/locks.h"
#include "base/plan.h"
#include "write/ledger.h"

#define WINDOW_BLOCKS 64
#define STEP_ROWS 100			/* each may be another player's, whom a batch of increments waits 20 ms for */
#define STEP_ROWS_PER_BLOCK 2	/* of those whose address goes */

/* Settings, and how far the pass has come, as of this step. */
typedef struct Pass
{
	bool		wanted;			/* is anything to be removed at all? */
	TimestampTz actions_before; /* what is older goes; -infinity: nothing */
	TimestampTz addresses_before;
	bool		under_way;
	int64		next_block;
	int64		blocks;			/* of the log */
} Pass;

/* What there is to do in a window. */
typedef struct Survey
{
	bool		old_actions;
	bool		old_addresses;
	bool		empty;
	TimestampTz oldest;
} Survey;

static SavedPlan due_plan = {.text = "SELECT scoreboard.purge_due()"};

/* 8 days: no receipt is older than 7, and its clock may be ahead by a day (scoreboard.receipt_window). */
static SavedPlan pass_plan = {
	.text = "SELECT CASE WHEN r.actions IS NULL THEN '-infinity' ELSE clock_timestamp() - greatest(r.actions, interval '8 days') END,"
	" coalesce(clock_timestamp() - r.addresses, '-infinity'), coalesce(p.next_block, -1),"
	" pg_relation_size('scoreboard.action') / current_setting('block_size')::bigint"
	" FROM scoreboard.retention r LEFT JOIN scoreboard.purge p ON true WHERE coalesce(r.actions, r.addresses) IS NOT NULL"
};

static SavedPlan begin_plan = {
	.text = "INSERT INTO scoreboard.purge AS p (next_block, began_at) VALUES (0, clock_timestamp())"
	" ON CONFLICT (one) DO UPDATE SET next_block = 0, began_at = excluded.began_at, oldest_seen = NULL"
};

static SavedPlan advance_plan = {
	.text = "UPDATE scoreboard.purge SET next_block = $1, oldest_seen = least(oldest_seen, $2)",
	.nargs = 2, .types = {INT8OID, TIMESTAMPTZOID}
};

static SavedPlan end_plan = {
	.text = "UPDATE scoreboard.purge SET next_block = NULL, ended_at = clock_timestamp(), oldest_kept = oldest_seen"
};

static SavedPlan count_plan = {
	.text = "UPDATE scoreboard.purge SET actions_purged = actions_purged + $1, addresses_removed = addresses_removed + $2",
	.nargs = 2, .types = {INT8OID, INT8OID}
};

#define IN_WINDOW "a.ctid >= $1 AND a.ctid < $2"
#define HAS_OLD_ADDRESS "a.created_at >= $3 AND a.created_at < $4 AND (a.client_address IS NOT NULL OR a.request_id IS NOT NULL)"

static SavedPlan survey_plan = {
	.text = "SELECT coalesce(bool_or(a.created_at < $3), false), coalesce(bool_or(" HAS_OLD_ADDRESS "), false), min(a.created_at)"
	" FROM scoreboard.action a WHERE " IN_WINDOW,
	.nargs = 4, .types = {TIDOID, TIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* The last column is for the pages that it reads, so that nobody's lock is held while a disk is waited for. */
static SavedPlan actions_plan = {
	.text = "SELECT a.ctid, (SELECT p.user_id FROM scoreboard.player p WHERE p.player_id = a.player_id)::text,"
	" (SELECT count(*) FROM scoreboard.balance b WHERE b.board_id = a.board_id AND b.season = a.season AND b.player_id = a.player_id)"
	" + (SELECT count(*) FROM scoreboard.credit c, scoreboard.balance b WHERE c.player_id = a.player_id AND c.action_id = a.action_id"
	"    AND b.board_id = c.board_id AND b.season = c.season AND b.player_id = c.player_id)"
	" FROM scoreboard.action a WHERE " IN_WINDOW " AND a.created_at < $3 LIMIT $4",
	.nargs = 4, .types = {TIDOID, TIDOID, TIMESTAMPTZOID, INT8OID}
};

static SavedPlan addresses_plan = {
	.text = "SELECT a.ctid FROM scoreboard.action a WHERE " IN_WINDOW " AND " HAS_OLD_ADDRESS,
	.nargs = 4, .types = {TIDOID, TIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static SavedPlan purge_plan = {
	.text = "WITH old AS MATERIALIZED (SELECT a.ctid AS at FROM scoreboard.action a WHERE a.ctid = ANY ($1) AND a.created_at < $2 FOR UPDATE SKIP LOCKED),"
	" gone AS (DELETE FROM scoreboard.action a WHERE a.ctid = ANY (ARRAY(SELECT old.at FROM old)) RETURNING a.*),"
	" gone_credits AS (DELETE FROM scoreboard.credit c USING gone g WHERE c.player_id = g.player_id AND c.action_id = g.action_id"
	"  RETURNING c.board_id, c.season, c.player_id, c.counted_points, c.applied_points, g.created_at, c.sets_score, g.subscore, g.detail, c.undone_at),"
	" folded AS (INSERT INTO scoreboard.balance AS b (board_id, season, player_id, applied_points, reached_at, moved, set_at, subscore, detail, purged_until)"
	"  SELECT board_id, season, player_id, sum(" COUNTED "),"
	"   coalesce(max(created_at) FILTER (WHERE applied_points <> 0), min(created_at)), bool_or(applied_points <> 0), max(created_at) FILTER (WHERE sets_score),"
	"   (array_agg(subscore ORDER BY created_at DESC) FILTER (WHERE sets_score))[1], (array_agg(detail ORDER BY created_at DESC) FILTER (WHERE sets_score))[1],"
	"   max(created_at)"
	"  FROM (SELECT board_id, season, player_id, counted_points, applied_points, created_at, sets_score, subscore, detail, undone_at"
	"   FROM gone UNION ALL SELECT * FROM gone_credits) AS u"
	"  WHERE " COUNTS " AND NOT EXISTS (SELECT FROM scoreboard.season e WHERE e.board_id = u.board_id AND e.season >= u.season AND e.purged_at IS NOT NULL)"
	"  GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
	"  ON CONFLICT (board_id, season, player_id) DO UPDATE SET applied_points = b.applied_points + excluded.applied_points,"
	"   moved = b.moved OR excluded.moved,"
	"   reached_at = CASE WHEN b.moved AND excluded.moved THEN greatest(b.reached_at, excluded.reached_at) WHEN b.moved THEN b.reached_at"
	"    WHEN excluded.moved THEN excluded.reached_at ELSE least(b.reached_at, excluded.reached_at) END,"
	"   set_at = greatest(b.set_at, excluded.set_at), purged_until = greatest(b.purged_until, excluded.purged_until),"
	"   subscore = CASE WHEN excluded.set_at > coalesce(b.set_at, '-infinity') THEN excluded.subscore ELSE b.subscore END,"
	"   detail = CASE WHEN excluded.set_at > coalesce(b.set_at, '-infinity') THEN excluded.detail ELSE b.detail END)"
	" SELECT count(*) FROM gone",
	.nargs = 2, .types = {TIDARRAYOID, TIMESTAMPTZOID}
};

static SavedPlan remove_plan = {
	.text = "WITH old AS MATERIALIZED (SELECT a.ctid AS at FROM scoreboard.action a WHERE a.ctid = ANY ($1) AND a.created_at < $2 FOR NO KEY UPDATE SKIP LOCKED)"
	" UPDATE scoreboard.action a SET client_address = NULL, request_id = NULL WHERE a.ctid = ANY (ARRAY(SELECT old.at FROM old))",
	.nargs = 2, .types = {TIDARRAYOID, TIMESTAMPTZOID}
};

/* ---------- when ---------- */

bool
retention_is_due(void)
{
	bool		due;
	int			pin = plan_connect();

	plan_write(&due_plan, NULL, NULL, SPI_OK_SELECT);
	due = DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	plan_finish(pin);
	return due;
}

/* ---------- a pass ---------- */

static void
read_pass(Pass *pass)
{
	HeapTuple	row;
	TupleDesc	desc;

	*pass = (Pass) {0};
	plan_write(&pass_plan, NULL, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	pass->wanted = true;
	pass->actions_before = DatumGetTimestampTz(plan_datum(row, desc, 1));
	pass->addresses_before = DatumGetTimestampTz(plan_datum(row, desc, 2));
	pass->next_block = DatumGetInt64(plan_datum(row, desc, 3));
	pass->under_way = pass->next_block >= 0;
	pass->blocks = DatumGetInt64(plan_datum(row, desc, 4));
}

static int64
end_of_window(const Pass *pass)
{
	return Min(pass->next_block + WINDOW_BLOCKS, (int64) MaxBlockNumber);
}

/* The window's bounds as the first values of a statement. */
static void
set_window(const Pass *pass, ItemPointerData *bounds, Datum *values)
{
	ItemPointerSet(&bounds[0], (BlockNumber) pass->next_block, 0);
	ItemPointerSet(&bounds[1], (BlockNumber) end_of_window(pass), 0);
	values[0] = PointerGetDatum(&bounds[0]);
	values[1] = PointerGetDatum(&bounds[1]);
}

static void
survey_window(const Pass *pass, Survey *survey)
{
	ItemPointerData bounds[2];
	Datum		values[4] = {0, 0, TimestampTzGetDatum(pass->actions_before), TimestampTzGetDatum(pass->addresses_before)};
	HeapTuple	row;
	TupleDesc	desc;

	set_window(pass, bounds, values);
	plan_write(&survey_plan, values, NULL, SPI_OK_SELECT);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	survey->old_actions = DatumGetBool(plan_datum(row, desc, 1));
	survey->old_addresses = DatumGetBool(plan_datum(row, desc, 2));
	survey->oldest = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &survey->empty));
}

/* Runs a statement on these rows. */
static uint64
change_rows(SavedPlan *plan, Datum *rows, int count, TimestampTz before, int expected)
{
	Datum		values[2] = {0, TimestampTzGetDatum(before)};

	if (count == 0)
		return 0;
	values[0] = PointerGetDatum(construct_array(rows, count, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT));
	plan_write(plan, values, NULL, expected);
	return SPI_processed;
}

static void
count_removed(int64 actions, int64 addresses)
{
	Datum		values[2] = {Int64GetDatum(actions), Int64GetDatum(addresses)};

	if (actions + addresses > 0)
		plan_write(&count_plan, values, NULL, SPI_OK_UPDATE);
}

/* Where a row stands that the statement found. */
static Datum
place_of(uint64 which)
{
	return plan_datum(SPI_tuptable->vals[which], SPI_tuptable->tupdesc, 1);
}

/* Whose action it is must not be acting just now; who isn't there any more can't. */
static bool
lock_player(uint64 which)
{
	char	   *user_id = plan_text(SPI_tuptable->vals[which], SPI_tuptable->tupdesc, 2);

	return user_id == NULL || (player_lock_has_room() && player_lock_try(player_lock_hash(user_id)));
}

/* How many actions went. */
static int64
purge_actions(const Pass *pass)
{
	ItemPointerData bounds[2];
	Datum		values[4] = {0, 0, TimestampTzGetDatum(pass->actions_before), Int64GetDatum(STEP_ROWS)};
	Datum		rows[STEP_ROWS];
	int			count = 0;
	int64		gone = 0;

	set_window(pass, bounds, values);
	plan_write(&actions_plan, values, NULL, SPI_OK_SELECT);
	ledger_lock();
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		if (lock_player(i))
			rows[count++] = place_of(i);
	}
	if (change_rows(&purge_plan, rows, count, pass->actions_before, SPI_OK_SELECT) > 0)
		gone = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	count_removed(gone, 0);
	return gone;
}

/* Of how many actions the address went. */
static int64
remove_addresses(const Pass *pass)
{
	ItemPointerData bounds[2];
	Datum		values[4] = {0, 0, TimestampTzGetDatum(pass->actions_before), TimestampTzGetDatum(pass->addresses_before)};
	Datum		rows[WINDOW_BLOCKS * STEP_ROWS_PER_BLOCK];
	BlockNumber block = InvalidBlockNumber;
	int			of_block = 0;
	int			count = 0;
	int64		removed;

	set_window(pass, bounds, values);
	plan_write(&addresses_plan, values, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed && count < lengthof(rows); i++)
	{
		Datum		at = place_of(i);
		BlockNumber its_block = ItemPointerGetBlockNumber((ItemPointer) DatumGetPointer(at));

		of_block = its_block == block ? of_block + 1 : 1;
		block = its_block;
		if (of_block <= STEP_ROWS_PER_BLOCK)
			rows[count++] = at;
	}
	removed = (int64) change_rows(&remove_plan, rows, count, pass->addresses_before, SPI_OK_UPDATE);
	count_removed(0, removed);
	return removed;
}

static void
advance(const Pass *pass, const Survey *survey)
{
	Datum		values[2] = {Int64GetDatum(end_of_window(pass)), TimestampTzGetDatum(survey->oldest)};

	plan_write(&advance_plan, values, survey->empty ? " n" : "  ", SPI_OK_UPDATE);
}

/* Until nothing of it goes any more: what is left is somebody else's just now. */
static void
work_on_window(const Pass *pass)
{
	Survey		survey;

	survey_window(pass, &survey);
	if (survey.old_actions && purge_actions(pass) > 0)
		return;
	if (survey.old_addresses && remove_addresses(pass) > 0)
		return;
	advance(pass, &survey);
}

bool
retention_step(void)
{
	int			pin = plan_connect();
	bool		more = true;
	Pass		pass;

	read_pass(&pass);
	if (!pass.wanted || (!pass.under_way && !retention_is_due()))
		more = false;
	else if (!pass.under_way)
		plan_write(&begin_plan, NULL, NULL, SPI_OK_INSERT);
	else if (pass.next_block >= pass.blocks)
		plan_write(&end_plan, NULL, NULL, SPI_OK_UPDATE);
	else
		work_on_window(&pass);
	plan_finish(pin);
	return more;
}
