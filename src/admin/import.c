/*
 * admin/import.c - opening balances from another system, all of them or none, once for each reference
 *
 * Players that are not there yet appear in the order of the array, and each score is reached a microsecond after the one before it,
 * so that ties rank as the array has them. Who has a score on the board already is refused: what it has done there comes on top of
 * an opening balance, never before it. Balances are part of the record, as actions are: scores are the sum of both.
 *
 * Locks: relation scoreboard.score (SHARE ROW EXCLUSIVE): nobody acts meanwhile, on whatever board, so that a million players need
 * no lock each. Whoever waits for such a lock holds up all who come after it, so it is waited for in short turns, and given
 * up after scoreboard.moderation_wait.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "admin/change.h"
#include "base/config_cache.h"
#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/season.h"
#include "base/seize.h"
#include "base/tables.h"
#include "trust/tombstone.h"
#include "write/ledger.h"
#include "write/replicated.h"

PG_FUNCTION_INFO_V1(scoreboard_import);

#define PLAYERS_MAX 1000000		/* a call */

typedef struct Import
{
	const char *board_name;
	ArrayType  *user_ids;
	ArrayType  *scores;
	const char *reference;

	int			count;
	char	  **user_id;
	int64	   *score;
	uint8		content[PG_SHA256_DIGEST_LENGTH];	/* of ids and scores in their order */

	const Board *board;			/* these under the lock */
	ArrayType  *player_ids;		/* nulls: not there yet */
	ArrayType  *listed;
	int32		season;
	TimestampTz made_at;
	bool		replayed;
} Import;

static SavedPlan find_plan = {
	.text = "SELECT kind = 'import' AND (board_id, content) IS NOT DISTINCT FROM ($2, $3), season::int, made_at::timestamptz"
	" FROM scoreboard.adjustment WHERE reference = $1",
	.nargs = 3, .types = {TEXTOID, INT4OID, BYTEAOID}
};

static SavedPlan record_plan = {
	.text = "INSERT INTO scoreboard.adjustment (reference, kind, board_id, content, season, players, made_at)"
	" VALUES ($1, 'import', $2, $3, $4, $5, $6) ON CONFLICT (reference) DO NOTHING",
	.nargs = 6, .types = {TEXTOID, INT4OID, BYTEAOID, INT4OID, INT8OID, TIMESTAMPTZOID}
};

/*
 * A look-up for each row (OFFSET 0) and no join: a planner that has no statistics yet, as after a flood of new rows, joins arrays of a
 * million in a way that takes for ever. Planned anew each time, since the tables may have been empty the last time.
 */
static SavedPlan ids_plan = {
	.text = "SELECT array_agg(known.player_id ORDER BY t.n), array_agg(coalesce(known.listed, true) ORDER BY t.n)"
	" FROM unnest($1) WITH ORDINALITY AS t (user_id, n) LEFT JOIN LATERAL"
	" (SELECT p.player_id, p.state <> 'banned' AND NOT p.hidden AND NOT p.unlisted AS listed"
	"  FROM scoreboard.player p WHERE p.user_id = t.user_id COLLATE \"C\" OFFSET 0) AS known ON true",
	.nargs = 1, .types = {TEXTARRAYOID}, .custom = true
};

static SavedPlan known_plan = {
	.text = "SELECT t.n FROM unnest($1) WITH ORDINALITY AS t (player_id, n) WHERE t.player_id IS NOT NULL AND"
	" (SELECT true FROM scoreboard.score s WHERE s.board_id = $2 AND s.season = $3 AND s.player_id = t.player_id) ORDER BY t.n LIMIT 1",
	.nargs = 3, .types = {INT8ARRAYOID, INT4OID, INT4OID}, .custom = true
};

static SavedPlan players_plan = {
	.text = "WITH added AS (INSERT INTO scoreboard.player (user_id) SELECT t.user_id FROM unnest($1, $2) WITH ORDINALITY AS t (user_id, player_id, n)"
	" WHERE t.player_id IS NULL ORDER BY t.n ON CONFLICT DO NOTHING RETURNING player_id) SELECT array_agg(player_id ORDER BY player_id) FROM added",
	.nargs = 2, .types = {TEXTARRAYOID, INT8ARRAYOID}, .custom = true
};

static SavedPlan scores_plan = {
	.text = "WITH opened AS (INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, listed)"
	" SELECT $4, $5, t.player_id, t.score, $6 + t.n * interval '1 microsecond', t.listed"
	" FROM unnest($1, $2, $3) WITH ORDINALITY AS t (player_id, score, listed, n) RETURNING board_id, season, player_id, score, reached_at)"
	" INSERT INTO scoreboard.balance (board_id, season, player_id, applied_points, reached_at) SELECT * FROM opened",
	.nargs = 6, .types = {INT8ARRAYOID, INT8ARRAYOID, BOOLARRAYOID, INT4OID, INT4OID, TIMESTAMPTZOID}, .custom = true
};

/* ---------- what was given ---------- */

static bool
is_plain(ArrayType *array)
{
	return ARR_NDIM(array) == 1 && !array_contains_nulls(array);
}

static bool
read_arguments(FunctionCallInfo fcinfo, Import *import, Refusal *refusal)
{
	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "board, user_ids, scores and reference must all be given");
	}
	import->board_name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	import->user_ids = PG_GETARG_ARRAYTYPE_P(1);
	import->scores = PG_GETARG_ARRAYTYPE_P(2);
	import->reference = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (!change_check_reference(import->reference, refusal))
		return false;
	if (!is_plain(import->user_ids) || !is_plain(import->scores) ||
		ARR_DIMS(import->user_ids)[0] != ARR_DIMS(import->scores)[0] || ARR_DIMS(import->user_ids)[0] > PLAYERS_MAX)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Import more players in slices, each under a reference of its own.",
					  "user_ids and scores must have one dimension, no nulls and as many elements as each other, 1 to %d", PLAYERS_MAX);
	return true;
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The first in order that stands there twice, or NULL. */
static const char *
find_twice(const Import *import)
{
	char	  **sorted = palloc(import->count * sizeof(char *));
	const char *twice = NULL;

	memcpy(sorted, import->user_id, import->count * sizeof(char *));
	qsort(sorted, import->count, sizeof(char *), compare_ids);
	for (int i = 1; i < import->count && twice == NULL; i++)
	{
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			twice = sorted[i];
	}
	pfree(sorted);
	return twice;
}

static void
hash_content(Import *import)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	bool		hashed = hash != NULL && pg_cryptohash_init(hash) >= 0;

	for (int i = 0; hashed && i < import->count; i++)
		hashed = pg_cryptohash_update(hash, (uint8 *) import->user_id[i], strlen(import->user_id[i]) + 1) >= 0 &&
			pg_cryptohash_update(hash, (uint8 *) &import->score[i], sizeof(int64)) >= 0;
	hashed = hashed && pg_cryptohash_final(hash, import->content, sizeof(import->content)) >= 0;
	pg_cryptohash_free(hash);
	if (!hashed)
		elog(ERROR, "could not hash what is to be imported");
}

/* Everything about the arrays that can be known without the tables. */
static bool
read_players(Import *import, Refusal *refusal)
{
	Datum	   *ids;
	Datum	   *scores;
	int			count;
	const char *twice;

	deconstruct_array(import->user_ids, TEXTOID, -1, false, TYPALIGN_INT, &ids, NULL, &import->count);
	deconstruct_array(import->scores, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &scores, NULL, &count);
	import->user_id = palloc(import->count * sizeof(char *));
	import->score = palloc(import->count * sizeof(int64));
	for (int i = 0; i < import->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		import->user_id[i] = TextDatumGetCString(ids[i]);
		import->score[i] = DatumGetInt64(scores[i]);
		if (!form_is_id(import->user_id[i]))
			return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
						  "user id number %d must have 1 to 255 characters, none of them a control character", i + 1);
		if (!form_is_score(import->score[i]))
			return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
						  "score number %d must lie between -9007199254740991 and 9007199254740991", i + 1);
	}
	twice = find_twice(import);
	if (twice)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Add its scores up, or take one of them, before.",
					  "player \"%.100s\" stands there twice", twice);
	hash_content(import);
	return true;
}

/* ---------- under the lock ---------- */

static bool
lock_scores(Refusal *refusal)
{
	for (int waited = 0; !seize_scores(); waited += SEIZE_SCORES_MS)
	{
		if (waited >= scoreboard_moderation_wait)
			return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "pg_locks says who holds scoreboard.score; end that transaction, or raise scoreboard.moderation_wait.",
							  "an open transaction that acts for players holds up the import");
		seize_scores_pause();
	}
	return true;
}

static bool
find_board(Import *import, Refusal *refusal)
{
	config_begin_call();
	import->board = config_board(import->board_name);
	if (import->board == NULL)
		return refuse(refusal, REFUSAL_NOT_FOUND, "scoreboard.board lists the boards.", "there is no board \"%s\"", import->board_name);
	if (import->board->kind != BOARD_COUNTED)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Scores are kept on the servers that its list comes from.",
					  "board \"%s\" has no scores of its own", import->board_name);
	for (int i = 0; i < import->count; i++)
	{
		if (import->score[i] < import->board->lowest_score)
			return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "score number %d lies below the lowest score of board \"%s\", " INT64_FORMAT,
						  i + 1, import->board->name, import->board->lowest_score);
	}
	import->made_at = ledger_clock();
	import->season = season_of(import->board, import->made_at);
	return true;
}

static Datum
content_datum(const Import *import)
{
	bytea	   *content = palloc(VARHDRSZ + sizeof(import->content));

	SET_VARSIZE(content, VARHDRSZ + sizeof(import->content));
	memcpy(VARDATA(content), import->content, sizeof(import->content));
	return PointerGetDatum(content);
}

static bool
was_made(Import *import, Refusal *refusal)
{
	Datum		values[3] = {CStringGetTextDatum(import->reference), Int32GetDatum(import->board->board_id), content_datum(import)};
	HeapTuple	row;

	if (!change_was_made(&find_plan, values, refusal))
		return false;
	row = SPI_tuptable->vals[0];
	import->season = DatumGetInt32(plan_datum(row, SPI_tuptable->tupdesc, 2));
	import->made_at = DatumGetTimestampTz(plan_datum(row, SPI_tuptable->tupdesc, 3));
	import->replayed = true;
	return true;
}

/* An array out of the one row that a statement has answered; NULL where it is empty. */
static ArrayType *
answered_array(int column)
{
	bool		none;
	Datum		array = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &none);

	return none ? NULL : DatumGetArrayTypeP(array);
}

static bool
check_unknown(Import *import, Refusal *refusal)
{
	Datum		values[3] = {PointerGetDatum(import->user_ids), Int32GetDatum(import->board->board_id), Int32GetDatum(import->season)};
	int64		forgotten;

	forgotten = tombstone_first(values[0]);
	if (forgotten > 0)
		return refuse(refusal, REFUSAL_PLAYER_SUSPENDED, "It can come back when nothing that it held could be used any more.",
					  "player number " INT64_FORMAT " was forgotten", forgotten);
	plan_read(&ids_plan, values, NULL, 1);
	import->player_ids = answered_array(1);
	import->listed = answered_array(2);
	values[0] = PointerGetDatum(import->player_ids);
	plan_read(&known_plan, values, NULL, 1);
	return SPI_processed == 0 ||
		refuse(refusal, REFUSAL_INVALID_REQUEST, "Leave it out, and correct its score with scoreboard_adjust().",
			   "player \"%.100s\" has a score on board \"%s\" already",
			   import->user_id[DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)) - 1], import->board->name);
}

/* *recorded is false where another session has used the reference meanwhile. */
static bool
record(const Import *import, bool *recorded, Refusal *refusal)
{
	Datum		values[6] = {CStringGetTextDatum(import->reference), Int32GetDatum(import->board->board_id), content_datum(import),
	Int32GetDatum(import->season), Int64GetDatum(import->count), TimestampTzGetDatum(import->made_at)};

	return change_record(&record_plan, values, NULL, recorded, refusal);
}

/* Those that are not there yet, in the order of the array; their ids take the places of the nulls. */
static void
add_players(Import *import)
{
	Datum		values[2] = {PointerGetDatum(import->user_ids), PointerGetDatum(import->player_ids)};
	Datum	   *ids;
	bool	   *missing;
	Datum	   *added = NULL;
	ArrayType  *added_ids;
	int			count = 0;
	int			next = 0;

	plan_write(&players_plan, values, NULL, SPI_OK_SELECT);
	added_ids = answered_array(1);
	if (added_ids)
		deconstruct_array(added_ids, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &added, NULL, &count);
	deconstruct_array(import->player_ids, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, &missing, &import->count);
	for (int i = 0; i < import->count; i++)
	{
		/* Somebody adds players by hand, without a lock. */
		if (missing[i] && next == count)
			ledger_raise_serialization_failure();
		if (missing[i])
			ids[i] = added[next++];
	}
	import->player_ids = construct_array(ids, import->count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static void
write_players(Import *import)
{
	Datum		values[6] = {0, PointerGetDatum(import->scores), PointerGetDatum(import->listed), Int32GetDatum(import->board->board_id),
	Int32GetDatum(import->season), TimestampTzGetDatum(import->made_at)};

	add_players(import);
	values[0] = PointerGetDatum(import->player_ids);
	plan_write(&scores_plan, values, NULL, SPI_OK_INSERT);
}

static bool
import_players(Import *import, Refusal *refusal)
{
	bool		recorded;

	if (!find_board(import, refusal))
		return false;
	if (was_made(import, refusal))
		return true;
	if (refusal->code != REFUSAL_NONE || !check_unknown(import, refusal))
		return false;
	if (!record(import, &recorded, refusal))
		return false;
	if (!recorded)
		return was_made(import, refusal);
	write_players(import);
	replicated_at_commit();
	return true;
}

static Datum
answer_row(FunctionCallInfo fcinfo, const Import *import)
{
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(import->board_name);
	values[1] = Int32GetDatum(import->season);
	values[2] = Int64GetDatum(import->count);
	values[3] = TimestampTzGetDatum(import->made_at);
	values[4] = BoolGetDatum(import->replayed);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

Datum
scoreboard_import(PG_FUNCTION_ARGS)
{
	Import		import = {0};
	Refusal		refusal;
	bool		imported;

	hide_statement();
	require_primary("import scores");
	if (!read_arguments(fcinfo, &import, &refusal) || !read_players(&import, &refusal) || !lock_scores(&refusal))
		refusal_raise(&refusal);
	SPI_connect();
	imported = import_players(&import, &refusal);
	SPI_finish();
	if (!imported)
		refusal_raise(&refusal);
	return answer_row(fcinfo, &import);
}
