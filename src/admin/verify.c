/*
 * admin/verify.c - does everything that is derived agree with what is recorded? And mending it
 *
 * The action log, balances (opening ones, and actions that were purged) and the administrators' corrections are the record. Derived from it are the scores, from them and
 * the players' states what is listed, the rank tree and the published
 * document. scoreboard_verify() reports each difference in a row;
 * scoreboard_repair() mends what is derived, never what is recorded, and reports the same rows.
 *
 * Every comparison is one statement, so one snapshot: a score and its action
 * commit together, and writers that go on are no difference. The rank tree
 * has its own way of being exact meanwhile (rank/verify.c). A published
 * document is behind the scores by its interval: it is wrong only if it
 * stays as it is for longer.
 *
 * The seasons that have ended are compared in the same statements, their documents one by one: what there is to read is read once. Their repair
 * makes them not final again, so that the publisher makes their documents anew (publish/seasons.c).
 *
 * Locks: none to verify. To repair: relation scoreboard.score (ROW EXCLUSIVE), then those players' locks and rows of scoreboard.season that are to be
 * had, in no order and so without waiting for any: what is held up by an open transaction is left for the next time,
 * and nobody is held up behind it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "admin/records.h"
#include "admin/verification.h"
#include "base/config_cache.h"
#include "base/hidden_statement.h"
#include "base/locks.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/season.h"
#include "base/tables.h"
#include "rank/notes.h"
#include "read/document.h"
#include "write/ledger.h"

PG_FUNCTION_INFO_V1(scoreboard_verify);
PG_FUNCTION_INFO_V1(scoreboard_repair);
PG_FUNCTION_INFO_V1(scoreboard_verify_by_night);

#define PUBLISH_PATIENCE_MS 1000	/* beyond the board's interval */
#define NIGHTLY_PATIENCE_MS 10000
#define LOOK_EVERY_MS 20
#define LOCK_PATIENCE_US 200000	/* for all players of a call together */
#define LOCK_INTERVAL_US 1000

typedef struct Verification
{
	ReturnSetInfo *result;
	const Board *board;			/* copied: the cache may be reset while we run */
	int32		season;			/* that runs */
	bool		repair;
	bool		nightly;
	VerificationRecord record;
	int			patience_us;	/* that is left for players' locks */
	int64		left_over;		/* differences of players whose lock wasn't to be had */
} Verification;

/* What a comparison of one player's rows found; texts as they are reported. */
typedef struct PlayerFinding
{
	char	   *user_id;
	int64		player_id;
	int32		season;
	char	   *expected;
	char	   *found;
} PlayerFinding;

/* Of board $1, without the seasons that were purged (admin/season_retention.c), whatever the log still says of them. */
#define LAST_PURGED "coalesce((SELECT max(e.season) FROM scoreboard.season e WHERE e.board_id = $1 AND e.purged_at IS NOT NULL)::bigint, -2147483649)"
#define OF_STANDING_SEASONS "board_id = $1 AND season > " LAST_PURGED

/* Counted points telescope from 0 to the score, whatever the operator. */
static SavedPlan scores_plan = {
	.text =
	"WITH log AS ("
	" SELECT season, player_id, sum(points)::bigint AS score FROM ("
	"  SELECT season, player_id, " COUNTED " AS points FROM scoreboard.action WHERE " OF_STANDING_SEASONS " AND " COUNTS
	"  UNION ALL SELECT season, player_id, " COUNTED " FROM scoreboard.credit WHERE " OF_STANDING_SEASONS " AND " COUNTS
	"  UNION ALL SELECT season, player_id, " COUNTED " FROM scoreboard.adjustment WHERE " OF_STANDING_SEASONS " AND " CORRECTS
	"  UNION ALL SELECT season, player_id, applied_points FROM scoreboard.balance WHERE " OF_STANDING_SEASONS ") AS credits"
	" WHERE player_id IS NOT NULL AND points IS NOT NULL GROUP BY season, player_id)"
	" SELECT p.user_id, player_id, season, log.score::text, s.score::text"
	" FROM log FULL JOIN (SELECT season, player_id, score FROM scoreboard.score WHERE " OF_STANDING_SEASONS ") AS s USING (season, player_id)"
	" LEFT JOIN scoreboard.player p USING (player_id)"
	" WHERE log.score IS DISTINCT FROM s.score ORDER BY season, player_id",
	.nargs = 1, .types = {INT4OID}, .custom = true
};

/* Of those who have such a thing or should: their last action that set the score. */
static SavedPlan extras_plan = {
	.text =
	"WITH credited AS MATERIALIZED (SELECT c.season, c.player_id, a.created_at, a.subscore, a.detail, c.sets_score"
	"  FROM scoreboard.credit c JOIN scoreboard.action a USING (player_id, action_id)"
	"  WHERE c.board_id = $1 AND c.season > " LAST_PURGED "),"
	" concerned AS ("
	" SELECT season, player_id FROM scoreboard.score WHERE " OF_STANDING_SEASONS " AND (subscore IS NOT NULL OR detail IS NOT NULL)"
	" UNION SELECT season, player_id FROM scoreboard.action WHERE " OF_STANDING_SEASONS " AND (subscore IS NOT NULL OR detail IS NOT NULL)"
	" UNION SELECT season, player_id FROM credited WHERE subscore IS NOT NULL OR detail IS NOT NULL"
	" UNION SELECT season, player_id FROM scoreboard.balance WHERE " OF_STANDING_SEASONS " AND (subscore IS NOT NULL OR detail IS NOT NULL)),"
	" log AS (SELECT DISTINCT ON (season, player_id) season, player_id, subscore, detail FROM ("
	"  SELECT season, player_id, created_at, subscore, detail FROM scoreboard.action WHERE " OF_STANDING_SEASONS " AND sets_score"
	"  UNION ALL SELECT season, player_id, created_at, subscore, detail FROM credited WHERE sets_score"
	"  UNION ALL SELECT season, player_id, set_at, subscore, detail FROM scoreboard.balance WHERE " OF_STANDING_SEASONS " AND set_at IS NOT NULL) AS setters"
	" JOIN concerned USING (season, player_id) ORDER BY season, player_id, created_at DESC)"
	" SELECT p.user_id, player_id, season,"
	"  pg_catalog.json_strip_nulls(pg_catalog.json_build_object('subscore', log.subscore, 'detail', log.detail))::text,"
	"  pg_catalog.json_strip_nulls(pg_catalog.json_build_object('subscore', s.subscore, 'detail', s.detail))::text"
	" FROM concerned LEFT JOIN log USING (season, player_id)"
	" JOIN (SELECT season, player_id, subscore, detail FROM scoreboard.score WHERE " OF_STANDING_SEASONS ") AS s USING (season, player_id)"
	" JOIN scoreboard.player p USING (player_id)"
	" WHERE (log.subscore, log.detail) IS DISTINCT FROM (s.subscore, s.detail) ORDER BY season, player_id",
	.nargs = 1, .types = {INT4OID}, .custom = true
};

/* As admin/moderation.c keeps it */
#define LISTED "(p.state <> 'banned' AND NOT p.hidden AND NOT p.unlisted)"

static SavedPlan listed_plan = {
	.text =
	"SELECT p.user_id, s.player_id, s.season, " LISTED "::text, s.listed::text"
	" FROM (SELECT season, player_id, listed FROM scoreboard.score WHERE " OF_STANDING_SEASONS ") AS s JOIN scoreboard.player p USING (player_id)"
	" WHERE s.listed <> " LISTED " ORDER BY s.season, s.player_id",
	.nargs = 1, .types = {INT4OID}, .custom = true
};

static SavedPlan orphans_plan = {
	.text =
	"SELECT NULL::text, s.player_id, s.season, NULL::text, s.score::text FROM (SELECT season, player_id, score FROM scoreboard.score WHERE " OF_STANDING_SEASONS ") AS s"
	" WHERE NOT EXISTS (SELECT FROM scoreboard.player p WHERE p.player_id = s.player_id)"
	" ORDER BY s.season, s.player_id",
	.nargs = 1, .types = {INT4OID}, .custom = true
};

static SavedPlan indexes_plan = {
	.text =
	"SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
	" WHERE i.indrelid = 'scoreboard.score'::pg_catalog.regclass AND NOT i.indisprimary ORDER BY c.relname",
};

static SavedPlan rank_plan = {
	.text = "SELECT scoreboard.rank_verify($1, $2)",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan top_plan = {
	.text = "SELECT document, version FROM scoreboard.top WHERE board = $1",
	.nargs = 1, .types = {TEXTOID}
};

/* Those that the publisher is still at are made anew anyway. */
static SavedPlan ended_seasons_plan = {
	.text = "SELECT season::int FROM scoreboard.season WHERE board_id = $1 AND ended_at IS NOT NULL AND final AND purged_at IS NULL ORDER BY season",
	.nargs = 1, .types = {INT4OID}
};

static SavedPlan ended_document_plan = {
	.text = "SELECT document::text, coalesce(players, -1)::bigint FROM scoreboard.season WHERE board_id = $1 AND season = $2 AND final AND purged_at IS NULL",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan season_stands_plan = {
	.text = "SELECT count(*) FILTER (WHERE season = $2) > 0, count(*) FILTER (WHERE purged_at IS NOT NULL) > 0 FROM scoreboard.season WHERE board_id = $1 AND season >= $2",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

/* Its purge is kept off until we have committed, too. */
static SavedPlan reopen_plan = {
	.text = "WITH free AS MATERIALIZED (SELECT board_id, season FROM scoreboard.season WHERE board_id = $1 AND season = $2 AND purged_at IS NULL FOR UPDATE SKIP LOCKED)"
	" UPDATE scoreboard.season e SET final = false FROM free f WHERE e.board_id = f.board_id AND e.season = f.season",
	.nargs = 2, .types = {INT4OID, INT4OID}
};

static SavedPlan board_names_plan = {
	.text = "SELECT name FROM scoreboard.board ORDER BY board_id",
};

/* The player's last action that set the score. */
#define LAST_SETTER \
	"(SELECT subscore, detail FROM (" \
	"  SELECT created_at, subscore, detail FROM scoreboard.action WHERE player_id = $3 AND board_id = $1 AND season = $2 AND sets_score" \
	"  UNION ALL SELECT created_at, subscore, detail FROM scoreboard.credit c JOIN scoreboard.action a USING (player_id, action_id)" \
	"  WHERE c.player_id = $3 AND c.board_id = $1 AND c.season = $2 AND c.sets_score" \
	"  UNION ALL SELECT set_at, subscore, detail FROM scoreboard.balance WHERE player_id = $3 AND board_id = $1 AND season = $2 AND set_at IS NOT NULL) AS setters" \
	" ORDER BY created_at DESC LIMIT 1) AS last"

static SavedPlan mend_score_plan = {
	.text =
	"INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, listed, subscore, detail)"
	" SELECT $1, $2, $3, log.score, log.reached_at, " LISTED ", last.subscore, last.detail"
	" FROM (SELECT sum(points)::bigint AS score,"
	"  coalesce(max(moment) FILTER (WHERE moved), min(moment) FILTER (WHERE points IS NOT NULL)) AS reached_at FROM ("
	"  SELECT CASE WHEN " COUNTS " THEN " COUNTED " END AS points, created_at AS moment, applied_points <> 0 AS moved"
	"  FROM scoreboard.action WHERE player_id = $3 AND board_id = $1 AND season = $2"
	"  UNION ALL SELECT CASE WHEN " COUNTS " THEN " COUNTED " END, (SELECT a.created_at FROM scoreboard.action a WHERE a.player_id = c.player_id AND a.action_id = c.action_id), applied_points <> 0"
	"  FROM scoreboard.credit c WHERE player_id = $3 AND board_id = $1 AND season = $2"
	"  UNION ALL SELECT CASE WHEN " CORRECTS " THEN " COUNTED " END, made_at, applied_points <> 0 FROM scoreboard.adjustment"
	"  WHERE player_id = $3 AND board_id = $1 AND season = $2 AND applied_points IS NOT NULL"
	"  UNION ALL SELECT applied_points, reached_at, moved FROM scoreboard.balance"
	"  WHERE player_id = $3 AND board_id = $1 AND season = $2) AS credits) AS log"
	" JOIN scoreboard.player p ON p.player_id = $3 LEFT JOIN " LAST_SETTER " ON true WHERE log.score IS NOT NULL"
	" ON CONFLICT (board_id, season, player_id) DO UPDATE SET score = excluded.score, reached_at = excluded.reached_at,"
	" subscore = excluded.subscore, detail = excluded.detail",
	.nargs = 3, .types = {INT4OID, INT4OID, INT8OID}
};

static SavedPlan mend_extras_plan = {
	.text =
	"UPDATE scoreboard.score s SET subscore = last.subscore, detail = last.detail FROM (SELECT) AS one LEFT JOIN " LAST_SETTER " ON true"
	" WHERE s.board_id = $1 AND s.season = $2 AND s.player_id = $3",
	.nargs = 3, .types = {INT4OID, INT4OID, INT8OID}
};

static SavedPlan mend_listed_plan = {
	.text =
	"UPDATE scoreboard.score s SET listed = " LISTED " FROM scoreboard.player p"
	" WHERE s.board_id = $1 AND s.season = $2 AND s.player_id = $3 AND p.player_id = s.player_id",
	.nargs = 3, .types = {INT4OID, INT4OID, INT8OID}
};

static void
report(Verification *run, int32 season, const char *finding, const char *user_id, const char *expected, const char *found, bool repaired)
{
	Datum		values[7] = {
		CStringGetTextDatum(run->board->name), Int32GetDatum(season), CStringGetTextDatum(finding),
		user_id ? CStringGetTextDatum(user_id) : (Datum) 0,
		expected ? CStringGetTextDatum(expected) : (Datum) 0,
		found ? CStringGetTextDatum(found) : (Datum) 0,
		BoolGetDatum(repaired)
	};
	bool		nulls[7] = {false, false, false, user_id == NULL, expected == NULL, found == NULL, false};

	tuplestore_putvalues(run->result->setResult, run->result->setDesc, values, nulls);
	verification_count(&run->record, finding);
}

static void
progress(const Verification *run, const char *step)
{
	CHECK_FOR_INTERRUPTS();
	if (run->nightly)
		return;
	ereport(NOTICE,
			(errmsg("%s board \"%s\": %s", run->repair ? "repairing" : "verifying", run->board->name, step)));
}

/*
 * Whole tables are compared. Where the planner takes one for empty, as after an import that was rolled back, it would go through
 * another one for each of its rows; so these are planned anew each time, and without that.
 */
static void
read_whole_tables(SavedPlan *plan, Datum *values)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("enable_nestloop", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	plan_read_committed(plan, values, NULL, 0);
	AtEOXact_GUC(true, level);
}

/* All rows of a comparison, copied, so that mending may use SPI again. */
static PlayerFinding *
compare(SavedPlan *plan, const Verification *run, int *count)
{
	Datum		values[1] = {Int32GetDatum(run->board->board_id)};
	PlayerFinding *findings;

	read_whole_tables(plan, values);
	*count = (int) SPI_processed;
	findings = palloc0(Max(*count, 1) * sizeof(PlayerFinding));
	for (int i = 0; i < *count; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		findings[i].user_id = plan_text(row, desc, 1);
		findings[i].player_id = DatumGetInt64(plan_datum(row, desc, 2));
		findings[i].season = DatumGetInt32(plan_datum(row, desc, 3));
		findings[i].expected = plan_text(row, desc, 4);
		findings[i].found = plan_text(row, desc, 5);
	}
	return findings;
}

/* False where the patience is over. */
static bool
wait_a_moment(Verification *run)
{
	if (run->patience_us <= 0)
		return false;
	CHECK_FOR_INTERRUPTS();
	pg_usleep(LOCK_INTERVAL_US);
	run->patience_us -= LOCK_INTERVAL_US;
	return true;
}

static bool
lock_player(Verification *run, const char *user_id)
{
	uint64		hash = player_lock_hash(user_id);

	ledger_lock();
	if (!player_lock_has_room())
		return false;
	while (!player_lock_try(hash))
	{
		if (!wait_a_moment(run))
			return false;
	}
	return true;
}

/* An ended season's document is made anew after our commit. False where the season was purged meanwhile, or somebody has locked its row. */
static bool
reopen_season(Verification *run, int32 season)
{
	Datum		values[2] = {Int32GetDatum(run->board->board_id), Int32GetDatum(season)};

	if (season >= run->season)
		return true;
	do
	{
		HeapTuple	row;
		TupleDesc	desc;

		plan_write(&reopen_plan, values, NULL, SPI_OK_UPDATE);
		if (SPI_processed > 0)
		{
			rank_notes_touch(run->board->board_id);
			return true;
		}
		plan_read_committed(&season_stands_plan, values, NULL, 0);
		row = SPI_tuptable->vals[0];
		desc = SPI_tuptable->tupdesc;
		if (DatumGetBool(plan_datum(row, desc, 2)))
			return false;
		/* One that the publisher has still to record has no document. */
		if (!DatumGetBool(plan_datum(row, desc, 1)))
			return true;
	} while (wait_a_moment(run));
	return false;
}

/* Recomputes one row under the player's lock; what is committed meanwhile counts. False where the player's lock isn't to be had. */
static bool
mend(SavedPlan *plan, Verification *run, const PlayerFinding *finding, int expected_result)
{
	Datum		values[3] = {
		Int32GetDatum(run->board->board_id), Int32GetDatum(finding->season), Int64GetDatum(finding->player_id)
	};

	if (!lock_player(run, finding->user_id) || !reopen_season(run, finding->season))
	{
		run->left_over++;
		return false;
	}
	plan_write(plan, values, NULL, expected_result);
	return true;
}

static void
verify_scores(Verification *run)
{
	int			count;
	PlayerFinding *findings;

	progress(run, "scores against the action log");
	findings = compare(&scores_plan, run, &count);
	for (int i = 0; i < count; i++)
	{
		PlayerFinding *finding = &findings[i];
		bool		mendable = finding->expected != NULL && finding->user_id != NULL;
		bool		mended = run->repair && mendable && mend(&mend_score_plan, run, finding, SPI_OK_INSERT);

		/* A score without any action was put there by hand: only whoever did it knows what it should be. */
		report(run, finding->season, finding->expected == NULL ? "score without an action"
			   : finding->found == NULL ? "score missing" : "score differs from the action log",
			   finding->user_id, finding->expected, finding->found, mended);
	}
}

/* Comparisons that always find both sides. */
static void
verify_rows(Verification *run, SavedPlan *comparison, SavedPlan *mending, const char *finding)
{
	int			count;
	PlayerFinding *findings = compare(comparison, run, &count);

	for (int i = 0; i < count; i++)
	{
		bool		mended = run->repair && mend(mending, run, &findings[i], SPI_OK_UPDATE);

		report(run, findings[i].season, finding, findings[i].user_id, findings[i].expected, findings[i].found, mended);
	}
}

static void
verify_extras(Verification *run)
{
	progress(run, "subscores and details against the action log");
	verify_rows(run, &extras_plan, &mend_extras_plan, "subscore or detail differs from the action log");
}

static void
verify_listed(Verification *run)
{
	progress(run, "listed scores against the players' states");
	verify_rows(run, &listed_plan, &mend_listed_plan, "listed differs from the player's state");
}

/* Findings that nobody but an administrator can mend. */
static void
verify_schema(Verification *run)
{
	int			count;
	PlayerFinding *findings = compare(&orphans_plan, run, &count);

	for (int i = 0; i < count; i++)
		report(run, findings[i].season, "score without a player", NULL, NULL, findings[i].found, false);

	plan_read_committed(&indexes_plan, NULL, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		report(run, run->season, "index that ends HOT updates", NULL, NULL, plan_text(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), false);
}

static void
verify_rank_tree(Verification *run)
{
	Datum		values[2] = {Int32GetDatum(run->board->board_id), Int32GetDatum(run->season)};
	bool		no_tree;
	Datum		same;

	progress(run, "rank tree against the scores");
	plan_read_committed(&rank_plan, values, NULL, 1);
	same = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &no_tree);
	if (no_tree || DatumGetBool(same))
		return;
	if (run->repair)
		rank_notes_rebuild(tables_id(TABLE_SCORE), run->board->board_id);
	report(run, run->season, "rank tree differs from the scores", NULL, NULL, NULL, run->repair);
}

/* The stored document and its version; NULL before the first. */
static char *
stored_document(const Board *board, int64 *version)
{
	Datum		values[1] = {CStringGetTextDatum(board->name)};

	*version = 0;
	plan_read_committed(&top_plan, values, NULL, 1);
	if (SPI_processed == 0)
		return NULL;
	*version = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	return plan_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/*
 * Does the publisher bring the document up to the scores within its interval, or at least a newer one? By night nobody waits that long: one
 * that may still be on its way is given credit.
 */
static bool
document_follows(const Board *board, bool nightly)
{
	bool		may_be_late = nightly && board->publish_interval_ms > NIGHTLY_PATIENCE_MS;
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), may_be_late ? 0 : board->publish_interval_ms + PUBLISH_PATIENCE_MS);
	int64		first_version;
	int64		version;
	Listing		listing;

	(void) stored_document(board, &first_version);
	do
	{
		char	   *document = stored_document(board, &version);

		if (version > first_version ||
			(document && document_shows(document, document_entries(board, season_running(board), &listing))))
			return true;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOOK_EVERY_MS * 1000L);
	} while (GetCurrentTimestamp() < give_up);
	return may_be_late;
}

static void
verify_document(Verification *run)
{
	progress(run, "published document against the scores");
	if (document_follows(run->board, run->nightly))
		return;
	/* The publisher looks again after our commit; a document that is right by then stays. */
	if (run->repair)
		rank_notes_rebuild(tables_id(TABLE_SCORE), run->board->board_id);
	report(run, run->season, "published document differs from the scores", NULL, NULL, NULL, run->repair);
}

/* Does it show what the scores are, or is it made anew within a moment? */
static bool
ended_document_follows(const Board *board, int32 season)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PUBLISH_PATIENCE_MS);
	Datum		values[2] = {Int32GetDatum(board->board_id), Int32GetDatum(season)};

	do
	{
		char	   *document;
		char	   *entries;
		int64		recorded;
		Listing		listing;

		plan_read_committed(&ended_document_plan, values, NULL, 1);
		if (SPI_processed == 0)
			return true;
		document = plan_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		recorded = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
		entries = document_entries(board, season, &listing);
		if (document && document_shows(document, entries) && document_counts(document, listing.players) && recorded == listing.players)
			return true;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOOK_EVERY_MS * 1000L);
	} while (GetCurrentTimestamp() < give_up);
	return false;
}

static void
verify_ended_documents(Verification *run)
{
	Datum		values[1] = {Int32GetDatum(run->board->board_id)};
	SPITupleTable *seasons;
	uint64		count;

	plan_read_committed(&ended_seasons_plan, values, NULL, 0);
	seasons = SPI_tuptable;
	count = SPI_processed;
	if (count > 0)
		progress(run, "documents of ended seasons against their scores");
	for (uint64 i = 0; i < count; i++)
	{
		int32		season = DatumGetInt32(plan_datum(seasons->vals[i], seasons->tupdesc, 1));

		if (!ended_document_follows(run->board, season))
			report(run, season, "document of an ended season differs from its scores", NULL, NULL, NULL, run->repair && reopen_season(run, season));
	}
}

static void
verify_board(Verification *run)
{
	/* These two look at what is committed, so they come before anything is mended. */
	verify_rank_tree(run);
	verify_document(run);
	verify_ended_documents(run);
	verify_scores(run);
	verify_extras(run);
	verify_listed(run);
	verify_schema(run);
}

static List *
boards_to_verify(FunctionCallInfo fcinfo)
{
	List	   *names = NIL;

	if (!PG_ARGISNULL(0))
		return list_make1(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	plan_read_committed(&board_names_plan, NULL, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		names = lappend(names, plan_text(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return names;
}

static Datum
verify_all(FunctionCallInfo fcinfo, bool repair, bool nightly)
{
	Verification run = {.result = (ReturnSetInfo *) fcinfo->resultinfo, .repair = repair, .nightly = nightly, .patience_us = LOCK_PATIENCE_US};
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	config_begin_call();
	tables_require(TABLE_SCORE);
	tables_require(TABLE_ACTION);
	tables_require(TABLE_PLAYER);
	tables_require(TABLE_TOP);
	SPI_connect();
	foreach(cell, boards_to_verify(fcinfo))
	{
		const Board *found = config_board(lfirst(cell));
		Board		board;
		Refusal		refusal;

		if (found == NULL)
		{
			refuse(&refusal, REFUSAL_NOT_FOUND, "scoreboard.board lists the boards.", "there is no such board");
			refusal_raise(&refusal);
		}
		board = *found;
		if (board.kind != BOARD_COUNTED)
			continue;
		run.board = &board;
		run.season = season_running(&board);
		run.record = verification_begin(board.board_id, run.season, nightly);
		verify_board(&run);
		if (!repair)
			verification_store(&run.record);
	}
	SPI_finish();
	if (run.left_over > 0)
		ereport(WARNING,
				(errmsg("scoreboard_repair() left " INT64_FORMAT " differences as they are", run.left_over),
				 errdetail("Other transactions act for these players just now, or they are too many for one transaction."),
				 errhint("Commit, and repair again.")));
	return (Datum) 0;
}

Datum
scoreboard_verify(PG_FUNCTION_ARGS)
{
	hide_statement();
	return verify_all(fcinfo, false, false);
}

Datum
scoreboard_repair(PG_FUNCTION_ARGS)
{
	hide_statement();
	require_primary("repair anything");
	return verify_all(fcinfo, true, false);
}

/* scoreboard.verify_by_night(board text): the publisher's auditor asks */
Datum
scoreboard_verify_by_night(PG_FUNCTION_ARGS)
{
	hide_statement();
	return verify_all(fcinfo, false, true);
}
