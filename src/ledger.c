/*
 * ledger.c - what is recorded of a player: its row, its actions, its scores
 *
 * Owns the access to the tables player, action and score on the way of an
 * increment. Look-ups go straight through the unique indexes: the increment
 * asks three to four of them a call, and a planner that has seen an empty table must not decide how.
 *
 * Reads under the lock use the latest snapshot at every isolation level. Under
 * REPEATABLE READ and SERIALIZABLE the transaction's own snapshot is asked too:
 * if it doesn't see the same row version, what we would write rests on
 * something this transaction can't know, so it fails with 40001.
 *
 * Locks: relation score (ROW EXCLUSIVE), then players by hash; the other relations ACCESS SHARE or ROW EXCLUSIVE.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ledger.h"
#include "plan.h"

/* Columns by their place in sql/scoreboard--1.0.sql. */
enum PlayerColumn
{
	PLAYER_ID = 1, PLAYER_USER_ID, PLAYER_DISPLAY_NAME, PLAYER_AVATAR_URL, PLAYER_STATE, PLAYER_HIDDEN,
	PLAYER_COLUMNS = 8
};
enum ActionColumn
{
	ACTION_PLAYER_ID = 1, ACTION_ID, ACTION_BOARD_ID, ACTION_SEASON, ACTION_TYPE_ID, ACTION_POINTS,
	ACTION_APPLIED, ACTION_PREVIOUS, ACTION_SCORE, ACTION_RANK, ACTION_VERSION, ACTION_CREATED_AT,
	ACTION_IDEMPOTENCY_KEY, ACTION_SIGNING_KEY_ID, ACTION_METADATA, ACTION_REQUEST_ID, ACTION_CLIENT_ADDRESS,
	ACTION_COLUMNS = ACTION_CLIENT_ADDRESS
};
enum ScoreColumn
{
	SCORE_BOARD_ID = 1, SCORE_SEASON, SCORE_PLAYER_ID, SCORE_SCORE, SCORE_REACHED_AT, SCORE_LISTED,
	SCORE_COLUMNS = SCORE_LISTED
};
enum TopColumn
{
	TOP_BOARD = 1, TOP_SEASON, TOP_VERSION, TOP_UPDATED_AT, TOP_PLAYERS, TOP_DOCUMENT,
	TOP_COLUMNS = TOP_DOCUMENT
};

static SavedPlan add_player_plan = {
	.text = "INSERT INTO scoreboard.player (user_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING player_id",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan set_profile_plan = {
	.text = "UPDATE scoreboard.player SET display_name = $2, avatar_url = $3 WHERE player_id = $1",
	.nargs = 3, .types = {INT8OID, TEXTOID, TEXTOID}
};

static SavedPlan set_score_plan = {
	.text = "INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, listed) VALUES ($1, $2, $3, $4, $5, $6)"
	" ON CONFLICT (board_id, season, player_id) DO UPDATE SET score = excluded.score, reached_at = excluded.reached_at",
	.nargs = 6, .types = {INT4OID, INT4OID, INT8OID, INT8OID, TIMESTAMPTZOID, BOOLOID}
};

static SavedPlan add_action_plan = {
	.text = "INSERT INTO scoreboard.action VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::inet)",
	.nargs = ACTION_COLUMNS, .types = {INT8OID, TEXTOID, INT4OID, INT4OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID,
	TEXTOID, INT4OID, JSONBOID, TEXTOID, TEXTOID}
};

static Relation
open_table(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid("scoreboard", false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"scoreboard.%s\" does not exist", name)));
	return table_open(relid, AccessShareLock);
}

void
ledger_lock(void)
{
	Oid			relid = get_relname_relid("score", get_namespace_oid("scoreboard", false));

	LockRelationOid(relid, RowExclusiveLock);
}

/* The row that a snapshot sees, as values of the caller's context; returns whether there is one, and where. */
static bool
look_up(Relation table, Oid index, ScanKey keys, int nkeys, Snapshot snapshot,
		Datum *values, bool *nulls, ItemPointer where)
{
	SysScanDesc scan = systable_beginscan(table, index, true, snapshot, nkeys, keys);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
	{
		*where = tuple->t_self;
		if (values)
			heap_deform_tuple(heap_copytuple(tuple), RelationGetDescr(table), values, nulls);
	}
	systable_endscan(scan);
	return found;
}

/* Finds a row by a unique index as committed now; see the file's header for 40001. */
static bool
find(Relation table, Oid index, ScanKey keys, int nkeys, Datum *values, bool *nulls)
{
	Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());
	ItemPointerData now_at;
	ItemPointerData own_at;
	ScanKeyData again[3];
	bool		found;

	memcpy(again, keys, nkeys * sizeof(ScanKeyData));	/* a scan renumbers the keys that it is given */
	found = look_up(table, index, keys, nkeys, latest, values, nulls, &now_at);
	UnregisterSnapshot(latest);

	if (IsolationUsesXactSnapshot())
	{
		bool		own = look_up(table, index, again, nkeys, GetTransactionSnapshot(), NULL, NULL, &own_at);

		if (own != found || (found && !ItemPointerEquals(&now_at, &own_at)))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update"),
					 errhint("The transaction might succeed if retried.")));
	}
	return found;
}

static void
text_key(ScanKey key, int column, const char *value)
{
	ScanKeyEntryInitialize(key, 0, column, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(value));
}

static char *
text_or_null(Datum *values, bool *nulls, int column)
{
	return nulls[column - 1] ? NULL : TextDatumGetCString(values[column - 1]);
}

/* The unique index that a constraint of the install script made. */
static Oid
index_named(Relation table, const char *name)
{
	return get_relname_relid(name, RelationGetNamespace(table));
}

void
ledger_find_player(const char *user_id, LedgerPlayer *player)
{
	Relation	table = open_table("player");
	ScanKeyData key;
	Datum		values[PLAYER_COLUMNS];
	bool		nulls[PLAYER_COLUMNS];

	memset(player, 0, sizeof(*player));
	text_key(&key, PLAYER_USER_ID, user_id);
	if (find(table, index_named(table, "player_user_id_key"), &key, 1, values, nulls))
	{
		char	   *state = TextDatumGetCString(values[PLAYER_STATE - 1]);

		player->exists = true;
		player->player_id = DatumGetInt64(values[PLAYER_ID - 1]);
		player->frozen = strcmp(state, "frozen") == 0;
		player->banned = strcmp(state, "banned") == 0;
		player->hidden = DatumGetBool(values[PLAYER_HIDDEN - 1]);
		player->display_name = text_or_null(values, nulls, PLAYER_DISPLAY_NAME);
		player->avatar_url = text_or_null(values, nulls, PLAYER_AVATAR_URL);
	}
	table_close(table, NoLock);
}

static void
fill_action(LedgerAction *action, Datum *values, bool *nulls)
{
	action->exists = true;
	action->board_id = DatumGetInt32(values[ACTION_BOARD_ID - 1]);
	action->season = DatumGetInt32(values[ACTION_SEASON - 1]);
	action->action_type_id = DatumGetInt32(values[ACTION_TYPE_ID - 1]);
	action->has_points = !nulls[ACTION_POINTS - 1];
	action->points = action->has_points ? DatumGetInt64(values[ACTION_POINTS - 1]) : 0;
	action->applied_points = DatumGetInt64(values[ACTION_APPLIED - 1]);
	action->previous_score = DatumGetInt64(values[ACTION_PREVIOUS - 1]);
	action->score = DatumGetInt64(values[ACTION_SCORE - 1]);
	action->rank = nulls[ACTION_RANK - 1] ? 0 : DatumGetInt64(values[ACTION_RANK - 1]);
	action->version = DatumGetInt64(values[ACTION_VERSION - 1]);
	action->created_at = DatumGetTimestampTz(values[ACTION_CREATED_AT - 1]);
	action->idempotency_key = text_or_null(values, nulls, ACTION_IDEMPOTENCY_KEY);
	action->metadata = nulls[ACTION_METADATA - 1] ? NULL : DatumGetJsonbPCopy(values[ACTION_METADATA - 1]);
}

void
ledger_find_action(int64 player_id, const char *action_id, LedgerAction *action)
{
	Relation	table = open_table("action");
	ScanKeyData keys[2];
	Datum		values[ACTION_COLUMNS];
	bool		nulls[ACTION_COLUMNS];

	memset(action, 0, sizeof(*action));
	ScanKeyInit(&keys[0], ACTION_PLAYER_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(player_id));
	text_key(&keys[1], ACTION_ID, action_id);
	if (find(table, index_named(table, "action_pkey"), keys, 2, values, nulls))
		fill_action(action, values, nulls);
	table_close(table, NoLock);
}

void
ledger_find_score(int32 board_id, int32 season, int64 player_id, LedgerScore *score)
{
	Relation	table = open_table("score");
	ScanKeyData keys[3];
	Datum		values[SCORE_COLUMNS];
	bool		nulls[SCORE_COLUMNS];

	memset(score, 0, sizeof(*score));
	ScanKeyInit(&keys[0], SCORE_BOARD_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(board_id));
	ScanKeyInit(&keys[1], SCORE_SEASON, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(season));
	ScanKeyInit(&keys[2], SCORE_PLAYER_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(player_id));
	if (find(table, index_named(table, "score_pkey"), keys, 3, values, nulls))
	{
		score->exists = true;
		score->score = DatumGetInt64(values[SCORE_SCORE - 1]);
		score->reached_at = DatumGetTimestampTz(values[SCORE_REACHED_AT - 1]);
	}
	table_close(table, NoLock);
}

int64
ledger_version(const char *board)
{
	Relation	table = open_table("top");
	Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData key;
	Datum		values[TOP_COLUMNS];
	bool		nulls[TOP_COLUMNS];
	ItemPointerData where;
	int64		version = 0;

	text_key(&key, TOP_BOARD, board);
	if (look_up(table, index_named(table, "top_pkey"), &key, 1, latest, values, nulls, &where))
		version = DatumGetInt64(values[TOP_VERSION - 1]);
	UnregisterSnapshot(latest);
	table_close(table, NoLock);
	return version;
}

TimestampTz
ledger_clock(void)
{
	static TimestampTz last = 0;

	last = Max(GetCurrentTimestamp(), last + 1);
	return last;
}

void
ledger_add_player(const char *user_id, LedgerPlayer *player)
{
	Datum		values[1] = {CStringGetTextDatum(user_id)};

	plan_write(&add_player_plan, values, NULL, SPI_OK_INSERT_RETURNING);
	/* Somebody inserts players by hand, without the lock. */
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent insertion of a player"),
				 errhint("The transaction might succeed if retried.")));
	player->exists = true;
	player->player_id = DatumGetInt64(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_freetuptable(SPI_tuptable);
}

void
ledger_set_profile(int64 player_id, const char *display_name, const char *avatar_url)
{
	Datum		values[3] = {Int64GetDatum(player_id)};
	char		nulls[3] = {' ', 'n', 'n'};

	if (display_name)
	{
		values[1] = CStringGetTextDatum(display_name);
		nulls[1] = ' ';
	}
	if (avatar_url)
	{
		values[2] = CStringGetTextDatum(avatar_url);
		nulls[2] = ' ';
	}
	plan_write(&set_profile_plan, values, nulls, SPI_OK_UPDATE);
}

void
ledger_set_score(int32 board_id, int32 season, int64 player_id, int64 score,
				 TimestampTz reached_at, bool listed)
{
	Datum		values[6] = {
		Int32GetDatum(board_id), Int32GetDatum(season), Int64GetDatum(player_id),
		Int64GetDatum(score), TimestampTzGetDatum(reached_at), BoolGetDatum(listed)
	};

	plan_write(&set_score_plan, values, NULL, SPI_OK_INSERT);
}

static void
set_text(Datum *values, char *nulls, int column, const char *text)
{
	if (text)
		values[column - 1] = CStringGetTextDatum(text);
	else
		nulls[column - 1] = 'n';
}

void
ledger_add_action(int64 player_id, const Request *request, const LedgerAction *action)
{
	Datum		values[ACTION_COLUMNS];
	char		nulls[ACTION_COLUMNS];

	memset(nulls, ' ', sizeof(nulls));
	values[ACTION_PLAYER_ID - 1] = Int64GetDatum(player_id);
	values[ACTION_ID - 1] = CStringGetTextDatum(request->action_id);
	values[ACTION_BOARD_ID - 1] = Int32GetDatum(action->board_id);
	values[ACTION_SEASON - 1] = Int32GetDatum(action->season);
	values[ACTION_TYPE_ID - 1] = Int32GetDatum(action->action_type_id);
	values[ACTION_POINTS - 1] = Int64GetDatum(action->points);
	nulls[ACTION_POINTS - 1] = action->has_points ? ' ' : 'n';
	values[ACTION_APPLIED - 1] = Int64GetDatum(action->applied_points);
	values[ACTION_PREVIOUS - 1] = Int64GetDatum(action->previous_score);
	values[ACTION_SCORE - 1] = Int64GetDatum(action->score);
	values[ACTION_RANK - 1] = Int64GetDatum(action->rank);
	nulls[ACTION_RANK - 1] = action->rank > 0 ? ' ' : 'n';
	values[ACTION_VERSION - 1] = Int64GetDatum(action->version);
	values[ACTION_CREATED_AT - 1] = TimestampTzGetDatum(action->created_at);
	set_text(values, nulls, ACTION_IDEMPOTENCY_KEY, request->idempotency_key);
	values[ACTION_SIGNING_KEY_ID - 1] = Int32GetDatum(action->signing_key_id);
	nulls[ACTION_SIGNING_KEY_ID - 1] = action->signing_key_id > 0 ? ' ' : 'n';
	values[ACTION_METADATA - 1] = JsonbPGetDatum(request->metadata);
	nulls[ACTION_METADATA - 1] = request->metadata ? ' ' : 'n';
	set_text(values, nulls, ACTION_REQUEST_ID, request->request_id);
	set_text(values, nulls, ACTION_CLIENT_ADDRESS, request->client_address);
	plan_write(&add_action_plan, values, nulls, SPI_OK_INSERT);
}
