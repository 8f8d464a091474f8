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
	RankView   *view;
	RankSpread *spread;

	/* The answers; NULL where they weren't asked for. */
	RankStanding *at;
	int64	   *players;
	int64	   *position;
	RankRow    *rows;
	int		   *found;
} RankScan;

/* What decides between equal scores, less is better, as rank/order.c has it; an absent subscore comes last. */
#define MOMENT "reached_at"
#define SUBSCORE_HIGH "coalesce(-subscore, 9223372036854775807)"
#define SUBSCORE_LOW "coalesce(subscore, 9223372036854775807)"

/* Strictly behind a key at the same score: by subscore only. */
#define COUNT_PLAN(tie, behind, type) { \
	.text = "SELECT count(*), count(*) FILTER (WHERE score > $3), count(*) FILTER (WHERE score < $3)," \
	" count(*) FILTER (WHERE score = $3 AND (" tie ", player_id) < ($4, $5))," \
	" count(*) FILTER (WHERE score = $3 AND " behind ")" \
	" FROM scoreboard.score WHERE board_id = $1 AND season = $2 AND listed AND player_id <> $5", \
	.nargs = 5, .types = {INT4OID, INT4OID, INT8OID, type, INT8OID} \
}

static SavedPlan count_plans[RANK_TIE_BREAKS] = {
	[TIE_MOMENT] = COUNT_PLAN(MOMENT, "false", TIMESTAMPTZOID),
	[TIE_SUBSCORE_HIGH] = COUNT_PLAN(SUBSCORE_HIGH, SUBSCORE_HIGH " > $4", INT8OID),
	[TIE_SUBSCORE_LOW] = COUNT_PLAN(SUBSCORE_LOW, SUBSCORE_LOW " > $4", INT8OID)
};

static SavedPlan players_plan = {
	.text = "SELECT count(*) FROM scoreboard.score WHERE board_id = $1 AND season = $2 AND listed",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

#define KEY_COLUMNS "score, coalesce(subscore, 9223372036854775807) AS subscore, reached_at, player_id"

#define RANGE_PLAN(direction, tie) { \
	.text = "SELECT " KEY_COLUMNS " FROM scoreboard.score" \
	" WHERE board_id = $1 AND season = $2 AND listed" \
	" ORDER BY score " direction ", " tie ", player_id OFFSET $3 LIMIT $4", \
	.nargs = 4, .types = {INT4OID, INT4OID, INT8OID, INT8OID} \
}

#define RANGE_PLANS(direction) { \
	[TIE_MOMENT] = RANGE_PLAN(direction, MOMENT), \
	[TIE_SUBSCORE_HIGH] = RANGE_PLAN(direction, SUBSCORE_HIGH), \
	[TIE_SUBSCORE_LOW] = RANGE_PLAN(direction, SUBSCORE_LOW) \
}

static SavedPlan high_range_plans[RANK_TIE_BREAKS] = RANGE_PLANS("DESC");
static SavedPlan low_range_plans[RANK_TIE_BREAKS] = RANGE_PLANS("ASC");

/* Behind a key, which is $3, $4 and $5. */
#define BEHIND(direction, tie) "(score " direction " $3 OR (score = $3 AND (" tie ", player_id) > ($4, $5)))"
#define AFTER_TYPES(type) .types = {INT4OID, INT4OID, INT8OID, type, INT8OID, INT8OID}

#define AFTER_PLAN(behind, direction, tie, type) { \
	.text = "SELECT " KEY_COLUMNS " FROM scoreboard.score" \
	" WHERE board_id = $1 AND season = $2 AND listed AND " BEHIND(behind, tie) \
	" ORDER BY score " direction ", " tie ", player_id LIMIT $6", \
	.nargs = 6, AFTER_TYPES(type) \
}

#define AFTER_PLANS(behind, direction) { \
	[TIE_MOMENT] = AFTER_PLAN(behind, direction, MOMENT, TIMESTAMPTZOID), \
	[TIE_SUBSCORE_HIGH] = AFTER_PLAN(behind, direction, SUBSCORE_HIGH, INT8OID), \
	[TIE_SUBSCORE_LOW] = AFTER_PLAN(behind, direction, SUBSCORE_LOW, INT8OID) \
}

static SavedPlan high_after_plans[RANK_TIE_BREAKS] = AFTER_PLANS("<", "DESC");
static SavedPlan low_after_plans[RANK_TIE_BREAKS] = AFTER_PLANS(">", "ASC");

/* How many stand no further back than a key. */
#define SKIPPED_PLAN(behind, tie, type) { \
	.text = "SELECT count(*) FROM scoreboard.score" \
	" WHERE board_id = $1 AND season = $2 AND listed AND NOT " BEHIND(behind, tie), \
	.nargs = 5, AFTER_TYPES(type) \
}

#define SKIPPED_PLANS(behind) { \
	[TIE_MOMENT] = SKIPPED_PLAN(behind, MOMENT, TIMESTAMPTZOID), \
	[TIE_SUBSCORE_HIGH] = SKIPPED_PLAN(behind, SUBSCORE_HIGH, INT8OID), \
	[TIE_SUBSCORE_LOW] = SKIPPED_PLAN(behind, SUBSCORE_LOW, INT8OID) \
}

static SavedPlan high_skipped_plans[RANK_TIE_BREAKS] = SKIPPED_PLANS("<");
static SavedPlan low_skipped_plans[RANK_TIE_BREAKS] = SKIPPED_PLANS(">");

static SavedPlan bounds_plan = {
	.text = "SELECT count(*), coalesce(min(score), 0), coalesce(max(score), 0) FROM scoreboard.score"
	" WHERE board_id = $1 AND season = $2 AND listed",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

/* $3: the lowest score; $4: the width. */
static SavedPlan buckets_plan = {
	.text = "SELECT (score - $3) / $4, count(*) FROM scoreboard.score"
	" WHERE board_id = $1 AND season = $2 AND listed GROUP BY 1",
	.nargs = 4, .types = {INT4OID, INT4OID, INT8OID, INT8OID}
};

/* $3: places from the worst; $4: high scores are the best. */
static SavedPlan places_plan = {
	.text = "SELECT s.score FROM unnest($3) WITH ORDINALITY AS u (place, n) JOIN"
	" (SELECT score, row_number() OVER (ORDER BY CASE WHEN $4 THEN score ELSE -score END) AS place FROM scoreboard.score"
	"  WHERE board_id = $1 AND season = $2 AND listed) s USING (place) ORDER BY u.n",
	.nargs = 4, .types = {INT4OID, INT4OID, INT8ARRAYOID, BOOLOID}
};

/* $4: low scores first; $5: equal scores share a rank. */
#define RANKS_PLAN(tie) { \
	.text = "SELECT r.score, r.subscore, r.reached_at, r.player_id, CASE WHEN $5 THEN r.shared ELSE r.single END" \
	" FROM unnest($3) WITH ORDINALITY AS u (player_id, n)" \
	" LEFT JOIN (SELECT " KEY_COLUMNS "," \
	"  rank() OVER (ORDER BY o.place) AS shared," \
	"  row_number() OVER (ORDER BY o.place, " tie ", player_id) AS single" \
	"  FROM scoreboard.score s, LATERAL (SELECT CASE WHEN $4 THEN s.score ELSE -s.score END) AS o (place)" \
	"  WHERE s.board_id = $1 AND s.season = $2 AND s.listed) r ON r.player_id = u.player_id" \
	" ORDER BY u.n", \
	.nargs = 5, .types = {INT4OID, INT4OID, INT8ARRAYOID, BOOLOID, BOOLOID} \
}

static SavedPlan ranks_plans[RANK_TIE_BREAKS] = {
	[TIE_MOMENT] = RANKS_PLAN(MOMENT),
	[TIE_SUBSCORE_HIGH] = RANKS_PLAN(SUBSCORE_HIGH),
	[TIE_SUBSCORE_LOW] = RANKS_PLAN(SUBSCORE_LOW)
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

/* How many others there are, stand before and behind key by score, before it at the same score, and strictly behind it. */
typedef struct Surroundings
{
	int64		others;
	int64		ahead;
	int64		tied_before;
	int64		behind;
} Surroundings;

static Surroundings
count_around(const RankScan *scan, const RankKey *key)
{
	RankOrder	order = rank_order_of(scan->board);
	int			greater = 2,
				less = 3;
	Datum		values[5];

	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = Int64GetDatum(key->score);
	values[3] = Int64GetDatum(rank_order_key(order, key).moment);	/* a timestamptz is passed alike */
	values[4] = Int64GetDatum(key->player_id);
	plan_read_active(&count_plans[order.tie_break], values, NULL, 1);
	return (Surroundings) {
		.others = int64_at(0, 1),
		.ahead = int64_at(0, order.low_first ? less : greater),
		.tied_before = int64_at(0, 4),
		.behind = int64_at(0, order.low_first ? greater : less) + int64_at(0, 5)
	};
}

static void
scan_standing_of(const RankScan *scan)
{
	Surroundings around = count_around(scan, scan->key);

	scan->at->rank = around.ahead + 1 + (scan->board->ties == TIES_SHARED ? 0 : around.tied_before);
	scan->at->players = around.others + 1;
	scan->at->behind = around.behind;
}

static void
scan_position(const RankScan *scan)
{
	Surroundings around = count_around(scan, scan->key);

	*scan->position = around.ahead + around.tied_before;
}

/* The rows have their keys and stand in order: give them their ranks. */
static void
rank_rows(const RankScan *scan)
{
	bool		shared = scan->board->ties == TIES_SHARED;

	for (int i = 0; i < *scan->found; i++)
	{
		scan->rows[i].rank = scan->skip + i + 1;
		if (shared && i > 0 && scan->rows[i].key.score == scan->rows[i - 1].key.score)
			scan->rows[i].rank = scan->rows[i - 1].rank;
		else if (shared && i == 0 && scan->skip > 0)
			scan->rows[0].rank = count_around(scan, &scan->rows[0].key).ahead + 1;
	}
}

static void
read_key(RankKey *key, int row)
{
	key->score = int64_at(row, 1);
	key->subscore = int64_at(row, 2);
	key->reached_at = int64_at(row, 3);
	key->player_id = int64_at(row, 4);
}

static void
scan_range(const RankScan *scan)
{
	RankOrder	order = rank_order_of(scan->board);
	Datum		values[4];

	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = Int64GetDatum(scan->skip);
	values[3] = Int64GetDatum(scan->count);
	plan_read_active(&(order.low_first ? low_range_plans : high_range_plans)[order.tie_break], values, NULL, 0);
	*scan->found = (int) SPI_processed;
	for (int i = 0; i < *scan->found; i++)
		read_key(&scan->rows[i].key, i);
	rank_rows(scan);

	plan_read_active(&players_plan, values, NULL, 1);
	*scan->players = int64_at(0, 1);
}

static Datum
bigints(const int64 *numbers, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(numbers[i]);
	return PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
scan_after(const RankScan *scan)
{
	RankOrder	order = rank_order_of(scan->board);
	RankScan	page = *scan;
	Datum		values[6];

	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = Int64GetDatum(scan->key->score);
	values[3] = Int64GetDatum(rank_order_key(order, scan->key).moment);	/* a timestamptz is passed alike */
	values[4] = Int64GetDatum(scan->key->player_id);
	values[5] = Int64GetDatum(scan->count);
	plan_read_active(&(order.low_first ? low_skipped_plans : high_skipped_plans)[order.tie_break], values, NULL, 1);
	page.skip = int64_at(0, 1);
	plan_read_active(&(order.low_first ? low_after_plans : high_after_plans)[order.tie_break], values, NULL, 0);
	*page.found = (int) SPI_processed;
	for (int i = 0; i < *page.found; i++)
		read_key(&page.rows[i].key, i);
	rank_rows(&page);
}

static void
scan_places(const RankScan *scan)
{
	RankSpread *spread = scan->spread;
	int64		places[RANK_QUANTILES];
	Datum		values[4];

	for (int i = 0; i < RANK_QUANTILES; i++)
		places[i] = rank_spread_place(spread, i);
	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = bigints(places, RANK_QUANTILES);
	values[3] = BoolGetDatum(!scan->board->low_first);
	plan_read_active(&places_plan, values, NULL, 0);
	for (int i = 0; i < RANK_QUANTILES; i++)
		spread->quantiles[i] = int64_at(i, 1);
}

static void
scan_spread(const RankScan *scan)
{
	RankSpread *spread = scan->spread;
	Datum		values[4] = {Int32GetDatum(scan->board->board_id), Int32GetDatum(scan->season)};

	spread->as_of = GetCurrentTimestamp();
	plan_read_active(&bounds_plan, values, NULL, 1);
	spread->players = int64_at(0, 1);
	spread->lowest = int64_at(0, 2);
	spread->highest = int64_at(0, 3);
	if (spread->players == 0)
		return;
	rank_spread_divide(spread);
	values[2] = Int64GetDatum(spread->lowest);
	values[3] = Int64GetDatum(spread->width);
	plan_read_active(&buckets_plan, values, NULL, 0);
	memset(spread->counts, 0, sizeof(spread->counts));
	for (int i = 0; i < (int) SPI_processed; i++)
		spread->counts[int64_at(i, 1)] = int64_at(i, 2);
	scan_places(scan);
}

static void
scan_ranks(const RankScan *scan)
{
	Datum		values[5];
	bool		unlisted;

	values[0] = Int32GetDatum(scan->board->board_id);
	values[1] = Int32GetDatum(scan->season);
	values[2] = bigints(scan->player_ids, scan->count);
	values[3] = BoolGetDatum(scan->board->low_first);
	values[4] = BoolGetDatum(scan->board->ties == TIES_SHARED);
	plan_read_active(&ranks_plans[rank_order_of(scan->board).tie_break], values, NULL, 0);
	for (int i = 0; i < scan->count; i++)
	{
		scan->rows[i].rank = 0;
		(void) SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 5, &unlisted);
		if (unlisted)
			continue;
		read_key(&scan->rows[i].key, i);
		scan->rows[i].rank = int64_at(i, 5);
	}
}

/* Of players whose keys are asked: where these stand in this snapshot. */
static void
scan_asked(const RankScan *scan, RankRow *asked, int count)
{
	int64	   *ids = palloc(sizeof(int64) * Max(count, 1));
	RankScan	ranks = {.board = scan->board, .season = scan->season, .player_ids = ids, .count = count, .rows = asked};

	for (int i = 0; i < count; i++)
		ids[i] = asked[i].key.player_id;
	if (count > 0)
		scan_ranks(&ranks);
}

static void
scan_own(const RankScan *scan, RankView *view)
{
	Surroundings around = count_around(scan, &view->own.key);
	int64		position = around.ahead + around.tied_before;
	int			before = (int) Min(position, view->radius);
	int			found;
	RankScan	part = {.board = scan->board, .season = scan->season, .rows = view->around, .found = &view->around_found, .players = &view->players};

	view->own_behind = around.behind;
	part.skip = position - before;
	part.count = before + 1 + view->radius;
	scan_range(&part);
	if (view->own.rank <= 1)
		return;
	part.rows = &view->next;
	part.found = &found;
	part.skip = view->own.rank - 2;
	part.count = 1;
	scan_range(&part);
}

static void
scan_view(const RankScan *scan)
{
	RankView   *view = scan->view;
	RankScan	top = {.board = scan->board, .season = scan->season, .count = view->entries, .rows = view->top, .found = &view->top_found, .players = &view->players};

	view->as_of = GetCurrentTimestamp();
	view->around_found = 0;
	view->next.rank = 0;
	scan_range(&top);
	scan_asked(scan, view->friend, view->friends);
	if (!view->has_own)
		return;
	scan_asked(scan, &view->own, 1);
	if (view->own.rank > 0)
		scan_own(scan, view);
}

/* ---------------------------------------------------------------------------
 * Running them
 * ------------------------------------------------------------------------ */

static void
run(void (*question) (const RankScan *scan), const RankScan *scan)
{
	int			pin;

	tables_require(TABLE_SCORE);
	pin = plan_connect();
	plan_push_committed();
	question(scan);
	PopActiveSnapshot();
	plan_finish(pin);
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
run_ticketed(void (*run_it) (void (*question) (const RankScan *scan), const RankScan *scan),
			 void (*question) (const RankScan *scan), const RankScan *scan)
{
	LOCKTAG		ticket;

	take_ticket(&ticket);
	run_it(question, scan);
	LockRelease(&ticket, ExclusiveLock, false);
}

static void
run_limited(void (*question) (const RankScan *scan), const RankScan *scan)
{
	run_ticketed(run_timed, question, scan);
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
rank_scan_after(const Board *board, int32 season, const RankKey *after, int count, RankRow *rows, int *found)
{
	int64		players;
	RankScan	scan = {.board = board, .season = season, .key = after, .count = count, .rows = rows, .found = found, .players = &players};

	run_ticketed(run, after ? scan_after : scan_range, &scan);
}

void
rank_scan_spread(const Board *board, int32 season, RankSpread *spread)
{
	RankScan	scan = {.board = board, .season = season, .spread = spread};

	run_limited(scan_spread, &scan);
}

void
rank_scan_view(const Board *board, int32 season, RankView *view)
{
	RankScan	scan = {.board = board, .season = season, .view = view};

	run_limited(scan_view, &scan);
}

void
rank_scan_range_unlimited(const Board *board, int32 season, int64 skip, int count,
						  RankRow *rows, int *found, int64 *players)
{
	RankScan	scan = {.board = board, .season = season, .skip = skip, .count = count,
	.rows = rows, .found = found, .players = players};

	run(scan_range, &scan);
}
