/*
 * trust/session_key.c - keys by which a player's own device signs receipts (SPEC section 3, step 4)
 *
 * Owns table scoreboard.session_key. There may be several a player, and players are many: a key is looked up below SQL when a
 * receipt names it, and again under the player's lock, and no process remembers it.
 *
 * A key ends with its time, or when revoked_at is set: by a logout, when its player is frozen or banned (admin/moderation.c),
 * when it makes room for a newer one. An ended key never comes back. It is kept for a while all the same: what it signed before is
 * still answered (a retry), and told from what it never signed.
 *
 * Locks: who makes or ends a player's keys holds relation scoreboard.score (ROW EXCLUSIVE) and the player's lock: nothing
 * that an ended key signed is counted once its end has committed, and two that make keys see each other's.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/keys.h"
#include "base/arguments.h"
#include "base/hidden_statement.h"
#include "base/locks.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/tables.h"
#include "trust/session_key.h"
#include "trust/tombstone.h"
#include "write/ledger.h"

PG_FUNCTION_INFO_V1(scoreboard_create_session_key);
PG_FUNCTION_INFO_V1(scoreboard_end_session_keys);

#define LIVE_KEYS_MAX 8			/* a player; one more ends the oldest */
#define LONGEST_LIFE_DAYS 30
#define KEY_ID_DIGITS 32		/* behind the prefix: 128 bits */
#define PURGED_AT_ONCE 10000

static SavedPlan add_plan = {
	.text = "INSERT INTO scoreboard.session_key (key_id, user_id, secret, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
	.nargs = 5, .types = {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* All that are alive but for the newest $3. */
static SavedPlan end_plan = {
	.text = "UPDATE scoreboard.session_key SET revoked_at = $2 WHERE key_id IN (SELECT k.key_id FROM scoreboard.session_key k"
	" WHERE k.user_id = $1 AND k.revoked_at IS NULL AND k.expires_at > $2 ORDER BY k.created_at DESC, k.key_id OFFSET $3)",
	.nargs = 3, .types = {TEXTOID, TIMESTAMPTZOID, INT8OID}
};

static SavedPlan alive_plan = {
	.text = "SELECT FROM scoreboard.session_key WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2",
	.nargs = 2, .types = {TEXTOID, TIMESTAMPTZOID}
};

/* The time that a dead one is kept is the shortest that an action may be kept. */
static SavedPlan purge_plan = {
	.text = "DELETE FROM scoreboard.session_key WHERE key_id IN (SELECT k.key_id FROM scoreboard.session_key k"
	" WHERE least(k.expires_at, k.revoked_at) < clock_timestamp() - interval '7 days' ORDER BY least(k.expires_at, k.revoked_at) LIMIT $1 FOR UPDATE SKIP LOCKED)",
	.nargs = 1, .types = {INT8OID}
};

bool
session_key_find(const char *key_id, const char *user_id, SigningKey *key)
{
	Table		table;
	Snapshot	snapshot;
	bool		found;

	tables_open(&table, TABLE_SESSION_KEY, TABLE_FIND, AccessShareLock);
	tables_key_text(&table, SESSION_KEY_ID, key_id);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	found = tables_find(&table, snapshot) && strcmp(tables_text(&table, SESSION_KEY_USER_ID), user_id) == 0;
	if (found)
	{
		memset(key, 0, sizeof(*key));
		strlcpy(key->key_id, key_id, sizeof(key->key_id));
		strlcpy(key->secret, tables_text(&table, SESSION_KEY_SECRET), sizeof(key->secret));
		key->valid_from = DT_NOBEGIN;
		key->valid_until = tables_int8(&table, SESSION_KEY_EXPIRES_AT);
		key->revoked = !tables_is_null(&table, SESSION_KEY_REVOKED_AT);
	}
	UnregisterSnapshot(snapshot);
	tables_close(&table);
	return found;
}

/*
 * Ends all that are alive but for the newest. How many ended. 40001 where this transaction's own snapshot
 * doesn't show one that must end.
 */
static int
end_keys(const char *user_id, int spared)
{
	Datum		values[3] = {CStringGetTextDatum(user_id), TimestampTzGetDatum(GetCurrentTimestamp()), Int64GetDatum(spared)};
	int			ended;

	plan_write(&end_plan, values, NULL, SPI_OK_UPDATE);
	ended = (int) SPI_processed;
	plan_read(&alive_plan, values, NULL, 0);
	if (SPI_processed > (uint64) spared)
		ledger_raise_serialization_failure();
	return ended;
}

int
session_keys_end(const char *user_id)
{
	int			pin = plan_connect();
	int			ended = end_keys(user_id, 0);

	plan_finish(pin);
	return ended;
}

bool
session_keys_purge(void)
{
	Datum		values[1] = {Int64GetDatum(PURGED_AT_ONCE)};

	plan_write(&purge_plan, values, NULL, SPI_OK_DELETE);
	return SPI_processed == PURGED_AT_ONCE;
}

/* ---------- for trusted servers ---------- */

static void
check_not_suspended(const char *user_id)
{
	Ledger	   *ledger = ledger_open();
	LedgerPlayer player;
	Refusal		refusal;

	ledger_look(ledger);
	ledger_find_player(ledger, user_id, &player);
	ledger_close(ledger);
	if (player.frozen || player.banned)
	{
		refuse(&refusal, REFUSAL_PLAYER_SUSPENDED, NULL, "the player is suspended");
		refusal_raise(&refusal);
	}
	if (!player.exists && !tombstone_check(user_id, &refusal))
		refusal_raise(&refusal);
}

static Datum
key_row(FunctionCallInfo fcinfo, const char *key_id, const char *secret, Datum expires_at)
{
	TupleDesc	desc;
	Datum		values[3] = {CStringGetTextDatum(key_id), CStringGetTextDatum(secret), expires_at};
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* scoreboard_create_session_key(user_id text, expires_in interval) -> (key_id, secret, expires_at) */
Datum
scoreboard_create_session_key(PG_FUNCTION_ARGS)
{
	const char *user_id;
	Interval   *life;
	char		id_digits[SECRET_DIGITS + 1];
	char		secret[SECRET_DIGITS + 1];
	char	   *key_id;
	Datum		created_at;
	Datum		expires_at;
	int			pin;

	hide_statement();
	require_primary("make keys");
	user_id = argument_user_id(fcinfo, 0);
	life = argument_life(fcinfo, 1, LONGEST_LIFE_DAYS, "a session key");
	keys_random_secret(id_digits);
	keys_random_secret(secret);
	key_id = psprintf("s-%.*s", KEY_ID_DIGITS, id_digits);

	ledger_lock();
	player_lock_acquire(player_lock_hash(user_id));
	check_not_suspended(user_id);
	pin = plan_connect();
	(void) end_keys(user_id, LIVE_KEYS_MAX - 1);
	created_at = TimestampTzGetDatum(GetCurrentTimestamp());
	expires_at = DirectFunctionCall2(timestamptz_pl_interval, created_at, IntervalPGetDatum(life));
	plan_write(&add_plan, (Datum[]) {CStringGetTextDatum(key_id), CStringGetTextDatum(user_id), CStringGetTextDatum(secret), created_at, expires_at},
			   NULL, SPI_OK_INSERT);
	plan_finish(pin);
	return key_row(fcinfo, key_id, secret, expires_at);
}

/* scoreboard.end_session_keys(user_id text) returns integer: how many ended. The caller has the player locked (scoreboard.lock_player). */
Datum
scoreboard_end_session_keys(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(session_keys_end(argument_user_id(fcinfo, 0)));
}
