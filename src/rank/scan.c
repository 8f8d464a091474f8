/*
 * rank/scan.c - ranks counted by SQL, for the moments when the rank index can't answer
 *
 * Owns no state but its saved plans and one timer. Each answer comes from one
 * snapshot of what is committed now, without this transaction's own changes,
 * as the index would give it.
 *
 * A reader's scan holds one of scoreboard.max_scans tickets: heavyweight locks
 * of our own class (an advisory tag that SQL can't name), taken without
 * waiting. They are released at the end, or by the abort whatever ended the
 * scan, so a backend that dies can't keep one. Nothing else is locked
 * meanwhile. A timer cancels a scan after RANK_SCAN_TIME; the cancellation is
 * turned into UNAVAILABLE, everybody else's passes unchanged.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "scoreboard.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/tables.h"
#include "rank/scan.h"

#define RANK_SCAN_TIME 2000		/* milliseconds */

/* Beside 1 and 2, which SQL's advisory locks have, and the player locks' own. */
#define RANK_SCAN_LOCK_CLASS 19

/* One question, so that all of them can run under the same limits. */
typedef struct RankScan
{
	const Board *board;
	int32		season;
	const RankKey *key;
	int64		skip;
	int			count;
	const int64 *player_ids;

	/* The answers; NULL where they weren't asked for. */
	RankStanding *at;
	int64	   *players;
	int64	   *position;
	RankRow    *rows;
	int		   *found;
} RankScan;

static SavedPlan count_plan = {
	.text = "SELECT count(*), count(*) FILTER (WHERE score > $3), count(*) FILTER (WHERE score < $3),"
	" count(*) FILTER (WHERE score = $3 AND (reached_at, player_id) < ($4, $5))"
	" FROM scoreboard.score WHERE board_id = $1 AND season = $2 AND listed AND player_id <> $5",
	.nargs = 5, .types = {INT4OID, INT4OID, INT8OID, TIMESTAMPTZOID, INT8OID}
};

static SavedPlan players_plan = {
	.text = "SELECT count(*) FROM scoreboard.score WHERE board_id = $1 AND season = $2 AND listed",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan high_range_plan = {
	.text = "SELECT score, reached_at, player_id FROM scoreboard.score"
	" WHERE board_id = $1 AND season = $2 AND listed"
	" ORDER BY score DESC, reached_at, player_id OFFSET $3 LIMIT $4",
	.nargs = 4, .types = {INT4OID, INT4OID, INT8OID, INT8OID}
};

static SavedPlan low_range_plan = {
	.text = "SELECT score, reached_at, player_id FROM scoreboard.score"
	" WHERE board_id = $1 AND season = $2 AND listed"
	" ORDER BY score, reached_at, player_id OFFSET $3 LIMIT $4",
	.nargs = 4, .types = {INT4OID, INT4OID, INT8OID, INT8OID}
};

/* $4: low scores first; $5: equal scores share a rank. */
static SavedPlan ranks_plan = {
	.text = "SELECT r.score, r.reached_at, r.player_id, CASE WHEN $5 THEN r.shared ELSE r.single END"
	" FROM unnest($3) WITH ORDINALITY AS u (player_id, n)"
	" LEFT JOIN (SELECT s.score, s.reached_at, s.player_id,"
	"  rank() OVER (ORDER BY o.score) AS shared,"
	"  row_number() OVER (ORDER BY o.score, s.reached_at, s.player_id) AS single"
	"  FROM scoreboard.score s, LATERAL (SELECT CASE WHEN $4 THEN s.score ELSE -s.score END) AS o (score)"
	"  WHERE s.board_id = $1 AND s.season = $2 AND s.listed) r ON r.player_id = u.player_id"
	" ORDER BY u.n",
	.nargs = 5, .types = {INT4OID, INT4OID, INT8ARRAYOID, BOOLOID, BOOLOID}
};

static TimeoutId scan_timeout = MAX_TIMEOUTS;	/* not registered yet */
static volatile sig_atomic_t scan_timed_out = false;

/* ---------------------------------------------------------------------------
 * The questions. Each runs with SPI connected and the answer's snapshot pushed.
 * ------------------------------------------------------------------------ */

static int64
int64_at(int row, int column)
{
	return DatumGetInt64(plan_datum(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column));
}

/* How many others stand before and behind key by score, and before it at the same score. */
static void
count_around(const RankScan *scan, const RankKey *key,
			 int64 *others, int64 *ahead, int64 *behind, int64 *tied_before)
{
	Datum		values[5];
	int			greater = 2,
				less = 3;

	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = Int64GetDatum(key->score);
	values[3] = TimestampTzGetDatum(key->reached_at);
	values[4] = Int64GetDatum(key->player_id);
	plan_read_active(&count_plan, values, NULL, 1);
	*others = int64_at(0, 1);
	*ahead = int64_at(0, scan->board->low_first ? less : greater);
	*behind = int64_at(0, scan->board->low_first ? greater : less);
	*tied_before = int64_at(0, 4);
}

static void
scan_standing_of(const RankScan *scan)
{
	int64		others,
				ahead,
				tied_before;

	count_around(scan, scan->key, &others, &ahead, &scan->at->behind, &tied_before);
	scan->at->rank = ahead + 1 + (scan->board->ties_shared ? 0 : tied_before);
	scan->at->players = others + 1;
}

static void
scan_position(const RankScan *scan)
{
	int64		others,
				ahead,
				behind,
				tied_before;

	count_around(scan, scan->key, &others, &ahead, &behind, &tied_before);
	*scan->position = ahead + tied_before;
}

/* The rows have their keys and stand in order: give them their ranks. */
static void
rank_rows(const RankScan *scan)
{
	int64		others,
				ahead,
				behind,
				tied_before;

	for (int i = 0; i < *scan->found; i++)
	{
		scan->rows[i].rank = scan->skip + i + 1;
		if (scan->board->ties_shared && i > 0 && scan->rows[i].key.score == scan->rows[i - 1].key.score)
			scan->rows[i].rank = scan->rows[i - 1].rank;
		else if (scan->board->ties_shared && i == 0 && scan->skip > 0)
		{
			count_around(scan, &scan->rows[0].key, &others, &ahead, &behind, &tied_before);
			scan->rows[0].rank = ahead + 1;
		}
	}
}

static void
read_key(RankKey *key, int row)
{
	key->score = int64_at(row, 1);
	key->reached_at = int64_at(row, 2);
	key->player_id = int64_at(row, 3);
}

static void
scan_range(const RankScan *scan)
{
	Datum		values[4];

	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = Int64GetDatum(scan->skip);
	values[3] = Int64GetDatum(scan->count);
	plan_read_active(scan->board->low_first ? &low_range_plan : &high_range_plan, values, NULL, 0);
	*scan->found = (int) SPI_processed;
	for (int i = 0; i < *scan->found; i++)
		read_key(&scan->rows[i].key, i);
	rank_rows(scan);

	plan_read_active(&players_plan, values, NULL, 1);
	*scan->players = int64_at(0, 1);
}

static void
scan_ranks(const RankScan *scan)
{
	Datum		values[5];
	Datum	   *ids = palloc(sizeof(Datum) * scan->count);
	bool		unlisted;

	for (int i = 0; i < scan->count; i++)
		ids[i] = Int64GetDatum(scan->player_ids[i]);
	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = PointerGetDatum(construct_array(ids, scan->count, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[3] = BoolGetDatum(scan->board->low_first);
	values[4] = BoolGetDatum(scan->board->ties_shared);
	plan_read_active(&ranks_plan, values, NULL, 0);
	for (int i = 0; i < scan->count; i++)
	{
		scan->rows[i].rank = 0;
		(void) SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 4, &unlisted);
		if (unlisted)
			continue;
		read_key(&scan->rows[i].key, i);
		scan->rows[i].rank = int64_at(i, 4);
	}
}

/* ---------------------------------------------------------------------------
 * Running them
 * ------------------------------------------------------------------------ */

static void
run(void (*question) (const RankScan *scan), const RankScan *scan)
{
	tables_require(TABLE_SCORE);
	SPI_connect();
	plan_push_committed();
	question(scan);
	PopActiveSnapshot();
	SPI_finish();
}

static void
raise_unavailable(const char *message)
{
	Refusal		refusal;

	refuse_for(&refusal, REFUSAL_UNAVAILABLE, 1,
			   "The rank index is being built or its memory is full; try again, or raise scoreboard.rank_memory.",
			   "%s", message);
	refusal_raise(&refusal);
}

/* One of the tickets, or UNAVAILABLE. */
static void
take_ticket(LOCKTAG *ticket)
{
	for (int i = 0; i < scoreboard_max_scans; i++)
	{
		/* No database in the tag: the limit protects the whole server. */
		SET_LOCKTAG_ADVISORY(*ticket, InvalidOid, 0, i, RANK_SCAN_LOCK_CLASS);
		if (LockAcquire(ticket, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
			return;
	}
	raise_unavailable("too many ranks are being counted at once");
}

/* Signal handler: asks the running statement to stop, as statement_timeout does. */
static void
handle_scan_timeout(void)
{
	scan_timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

static void
run_timed(void (*question) (const RankScan *scan), const RankScan *scan)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *error;

	if (scan_timeout == MAX_TIMEOUTS)
		scan_timeout = RegisterTimeout(USER_TIMEOUT, handle_scan_timeout);
	scan_timed_out = false;
	PG_TRY();
	{
		enable_timeout_after(scan_timeout, RANK_SCAN_TIME);
		run(question, scan);
		disable_timeout(scan_timeout, false);

		/* It may have fired after the last look: don't leave that to the next statement. */
		CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		disable_timeout(scan_timeout, false);
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		if (scan_timed_out && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			raise_unavailable("counting the ranks took too long");
		ReThrowError(error);
	}
	PG_END_TRY();
}

static void
run_limited(void (*question) (const RankScan *scan), const RankScan *scan)
{
	LOCKTAG		ticket;

	take_ticket(&ticket);
	run_timed(question, scan);
	LockRelease(&ticket, ExclusiveLock, false);
}

void
rank_scan_standing_of(const Board *board, int32 season, const RankKey *key, RankStanding *at)
{
	RankScan	scan = {.board = board, .season = season, .key = key, .at = at};

	run_limited(scan_standing_of, &scan);
}

void
rank_scan_position(const Board *board, int32 season, const RankKey *key, int64 *position)
{
	RankScan	scan = {.board = board, .season = season, .key = key, .position = position};

	run_limited(scan_position, &scan);
}

void
rank_scan_range(const Board *board, int32 season, int64 skip, int count,
				RankRow *rows, int *found, int64 *players)
{
	RankScan	scan = {.board = board, .season = season, .skip = skip, .count = count,
	.rows = rows, .found = found, .players = players};

	run_limited(scan_range, &scan);
}

void
rank_scan_ranks(const Board *board, int32 season, const int64 *player_ids, int count, RankRow *rows)
{
	RankScan	scan = {.board = board, .season = season, .player_ids = player_ids, .count = count,
	.rows = rows};

	run_limited(scan_ranks, &scan);
}

void
rank_scan_range_unlimited(const Board *board, int32 season, int64 skip, int count,
						  RankRow *rows, int *found, int64 *players)
{
	RankScan	scan = {.board = board, .season = season, .skip = skip, .count = count,
	.rows = rows, .found = found, .players = players};

	run(scan_range, &scan);
}
