/*
 * admin/verification.c - what checks have found: a record of each board's
 *
 * A check (admin/verify.c) of a board leaves a row, by hand or by night; scoreboard_stats() shows the last one. Rows are only added, so
 * that nobody who verifies waits for somebody else who does. They tell how many differences of which kind there were and never whose: who
 * is forgotten must not stand here, and scoreboard_verify() says it again for as long as the difference is there.
 *
 * Of the rows of a board the nightly check leaves its own and the last that found something; what is older and what boards that are gone
 * have left, the publisher purges.
 *
 * Locks: rows of scoreboard.verification.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "admin/verification.h"
#include "base/plan.h"

#define PURGED_AT_ONCE 1000

static SavedPlan store_plan = {
	.text = "INSERT INTO scoreboard.verification (board_id, began_at, ended_at, season, nightly, findings, kinds)"
	" VALUES ($1, $2, clock_timestamp(), $3, $4, $5, $6::jsonb) ON CONFLICT DO NOTHING",
	.nargs = 6, .types = {INT4OID, TIMESTAMPTZOID, INT4OID, BOOLOID, INT8OID, TEXTOID}
};

static SavedPlan replace_plan = {
	.text = "DELETE FROM scoreboard.verification v WHERE v.board_id = $1 AND v.began_at < $2"
	" AND (v.findings = 0 OR EXISTS (SELECT FROM scoreboard.verification n WHERE n.board_id = $1 AND n.began_at > v.began_at AND n.findings > 0))",
	.nargs = 2, .types = {INT4OID, TIMESTAMPTZOID}
};

#define DUE \
	" FROM scoreboard.board b LEFT JOIN (SELECT v.board_id, max(v.began_at) FROM scoreboard.verification v WHERE v.nightly GROUP BY v.board_id) AS n (board_id, began_at)" \
	" ON n.board_id = b.board_id WHERE (n.began_at IS NULL OR n.began_at < $1) AND NOT b.remote AND b.merges = '{}'"

static SavedPlan due_plan = {
	.text = "SELECT b.board_id::int" DUE " ORDER BY n.began_at NULLS FIRST, b.board_id",
	.nargs = 1, .types = {TIMESTAMPTZOID}
};

static SavedPlan is_due_plan = {
	.text = "SELECT ($2 OR EXISTS (SELECT FROM scoreboard.verification v WHERE v.nightly AND v.began_at >= $1)) AND EXISTS (SELECT" DUE ")",
	.nargs = 2, .types = {TIMESTAMPTZOID, BOOLOID}
};

static SavedPlan purge_plan = {
	.text = "DELETE FROM scoreboard.verification v USING (SELECT o.board_id, o.began_at FROM scoreboard.verification o"
	"  WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.board_id = o.board_id)"
	"  OR (o.began_at < now() - interval '30 days' AND EXISTS (SELECT FROM scoreboard.verification n WHERE n.board_id = o.board_id AND n.began_at > o.began_at))"
	"  LIMIT $1) AS gone WHERE v.board_id = gone.board_id AND v.began_at = gone.began_at",
	.nargs = 1, .types = {INT4OID}
};

VerificationRecord
verification_begin(int32 board_id, int32 season, bool nightly)
{
	return (VerificationRecord) {.board_id = board_id, .season = season, .nightly = nightly, .began_at = GetCurrentTimestamp()};
}

void
verification_count(VerificationRecord *record, const char *finding)
{
	int			kind = 0;

	record->findings++;
	while (kind < record->kinds && strcmp(record->kind[kind].finding, finding) != 0)
		kind++;
	Assert(kind < VERIFICATION_KINDS);
	record->kind[kind].finding = finding;
	record->kind[kind].count++;
	record->kinds = Max(record->kinds, kind + 1);
}

static char *
kinds_as_json(const VerificationRecord *record)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int kind = 0; kind < record->kinds; kind++)
		appendStringInfo(&text, "%c\"%s\":" INT64_FORMAT, kind == 0 ? '{' : ',', record->kind[kind].finding, record->kind[kind].count);
	appendStringInfoString(&text, record->kinds == 0 ? "{}" : "}");
	return text.data;
}

/*
 * A check has to end also where a synchronous standby is away, and its record is worth less than its answer. But what else the
 * transaction has written, or may write yet, is for its own setting.
 */
static void
wait_for_no_standby(void)
{
	if (!IsTransactionBlock() && !TransactionIdIsValid(GetTopTransactionIdIfAny()) && synchronous_commit > SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

void
verification_store(const VerificationRecord *record)
{
	Datum		values[6] = {
		Int32GetDatum(record->board_id), TimestampTzGetDatum(record->began_at), Int32GetDatum(record->season), BoolGetDatum(record->nightly),
		Int64GetDatum(record->findings), CStringGetTextDatum(kinds_as_json(record))
	};

	if (XactReadOnly || RecoveryInProgress())
		return;
	wait_for_no_standby();
	plan_write(&store_plan, values, NULL, SPI_OK_INSERT);
	if (record->nightly)
		plan_write(&replace_plan, values, NULL, SPI_OK_DELETE);
}

int32 *
verification_due(TimestampTz night, int *count)
{
	Datum		values[1] = {TimestampTzGetDatum(night)};
	int32	   *board_ids;

	plan_read(&due_plan, values, NULL, 0);
	*count = (int) SPI_processed;
	board_ids = palloc_extended(Max(*count, 1) * sizeof(int32), MCXT_ALLOC_HUGE);
	for (int i = 0; i < *count; i++)
		board_ids[i] = DatumGetInt32(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return board_ids;
}

bool
verification_is_due(TimestampTz night, bool may_begin)
{
	Datum		values[2] = {TimestampTzGetDatum(night), BoolGetDatum(may_begin)};

	plan_read(&is_due_plan, values, NULL, 1);
	return DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

bool
verification_purge(void)
{
	Datum		values[1] = {Int32GetDatum(PURGED_AT_ONCE)};

	plan_write(&purge_plan, values, NULL, SPI_OK_DELETE);
	return SPI_processed == PURGED_AT_ONCE;
}
