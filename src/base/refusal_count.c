/*
 * base/refusal_count.c - how many increments were refused on each board, and why
 *
 * scoreboard.refusal keeps the latest only, and whoever watches wants numbers that grow. So the publisher counts each refusal that
 * it stores, in the same transaction: a row a board and code, however many are refused and whatever boards they name.
 *
 * Rows of a board that is gone are purged by the publisher, later: a transaction that deletes a board and stays open must not hold
 * up rows that refusals of others wait for.
 *
 * Locks: rows of scoreboard.refusal_count, which nobody else writes.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/plan.h"
#include "base/refusal_count.h"

#define PURGED_AT_ONCE 1000

struct RefusalCounts
{
	ArrayBuildState *boards;
	ArrayBuildState *codes;
	ArrayBuildState *refusals;
};

static SavedPlan count_plan = {
	.text = "INSERT INTO scoreboard.refusal_count AS c (board_id, code, refusals)"
	" SELECT b.board_id, n.code, sum(n.refusals)::bigint FROM unnest($1, $2, $3) AS n (board, code, refusals)"
	" JOIN scoreboard.board b ON b.name = n.board COLLATE \"C\" GROUP BY b.board_id, n.code"
	" ON CONFLICT (board_id, code) DO UPDATE SET refusals = c.refusals + excluded.refusals",
	.nargs = 3, .types = {TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID}
};

static SavedPlan purge_plan = {
	.text = "DELETE FROM scoreboard.refusal_count c USING (SELECT g.board_id, g.code FROM scoreboard.refusal_count g"
	"  WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.board_id = g.board_id) LIMIT $1) AS gone"
	" WHERE c.board_id = gone.board_id AND c.code = gone.code",
	.nargs = 1, .types = {INT4OID}
};

RefusalCounts *
refusal_counts_begin(void)
{
	RefusalCounts *counts = palloc(sizeof(RefusalCounts));

	counts->boards = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	counts->codes = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	counts->refusals = initArrayResult(INT8OID, CurrentMemoryContext, false);
	return counts;
}

void
refusal_counts_add(RefusalCounts *counts, const char *board, const char *code, int64 refusals)
{
	if (board[0] == '\0')
		return;
	accumArrayResult(counts->boards, CStringGetTextDatum(board), false, TEXTOID, CurrentMemoryContext);
	accumArrayResult(counts->codes, CStringGetTextDatum(code), false, TEXTOID, CurrentMemoryContext);
	accumArrayResult(counts->refusals, Int64GetDatum(refusals), false, INT8OID, CurrentMemoryContext);
}

void
refusal_counts_store(RefusalCounts *counts)
{
	Datum		values[3] = {
		makeArrayResult(counts->boards, CurrentMemoryContext), makeArrayResult(counts->codes, CurrentMemoryContext),
		makeArrayResult(counts->refusals, CurrentMemoryContext)
	};

	if (counts->boards->nelems > 0)
		plan_write(&count_plan, values, NULL, SPI_OK_INSERT);
}

bool
refusal_counts_purge(void)
{
	Datum		values[1] = {Int32GetDatum(PURGED_AT_ONCE)};

	plan_write(&purge_plan, values, NULL, SPI_OK_DELETE);
	return SPI_processed == PURGED_AT_ONCE;
}
