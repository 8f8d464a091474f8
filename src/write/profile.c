/*
 * write/profile.c - how a player is shown: name and picture, as a trusted server sets them, labels too; whether at all, as it chooses itself
 *
 * A player that is there has its row changed, and then its lock taken: it shows moderation whose session it is that holds
 * the row (base/seize.c). One that isn't may have its first action in flight, so it is added under the player's lock; where
 * the action was first, the row comes before the lock again.
 *
 * Locks: relation scoreboard.score (ROW EXCLUSIVE), then the player's row, then its lock.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "base/config_cache.h"
#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/locks.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "base/tables.h"
#include "plain/claims.h"
#include "trust/rate_limit.h"
#include "trust/token.h"
#include "trust/tombstone.h"
#include "write/ledger.h"

PG_FUNCTION_INFO_V1(scoreboard_set_profile);
PG_FUNCTION_INFO_V1(scoreboard_set_labels);
PG_FUNCTION_INFO_V1(scoreboard_set_listed);

static SavedPlan known_plan = {
	.text = "SELECT FROM scoreboard.player WHERE user_id = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan change_plan = {
	.text = "UPDATE scoreboard.player SET display_name = $2, avatar_url = $3 WHERE user_id = $1",
	.nargs = 3, .types = {TEXTOID, TEXTOID, TEXTOID}
};

static SavedPlan add_plan = {
	.text = "INSERT INTO scoreboard.player (user_id, display_name, avatar_url) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
	.nargs = 3, .types = {TEXTOID, TEXTOID, TEXTOID}
};

static SavedPlan change_labels_plan = {
	.text = "UPDATE scoreboard.player SET labels = $2 WHERE user_id = $1",
	.nargs = 2, .types = {TEXTOID, JSONBOID}
};

static SavedPlan add_labels_plan = {
	.text = "INSERT INTO scoreboard.player (user_id, labels) VALUES ($1, $2) ON CONFLICT DO NOTHING",
	.nargs = 2, .types = {TEXTOID, JSONBOID}
};

static SavedPlan lock_plan = {
	.text = "SELECT FROM scoreboard.player WHERE user_id = $1 FOR NO KEY UPDATE",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan choose_plan = {
	.text = "UPDATE scoreboard.player SET unlisted = $2, anonymous = $3 WHERE user_id = $1 AND (unlisted, anonymous) IS DISTINCT FROM ($2, $3)",
	.nargs = 3, .types = {TEXTOID, BOOLOID, BOOLOID}
};

static SavedPlan add_choice_plan = {
	.text = "INSERT INTO scoreboard.player (user_id, unlisted, anonymous) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
	.nargs = 3, .types = {TEXTOID, BOOLOID, BOOLOID}
};

static void
check_profile(const char *user_id, const char *display_name, const char *avatar_url)
{
	Refusal		refusal = {0};

	if (user_id == NULL || !form_is_id(user_id))
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "user id must have 1 to 255 characters, none of them a control character");
	else if (display_name && !form_is_display_name(display_name))
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "display name must have 1 to 50 characters, none of them a control or bidirectional-override character");
	else if (avatar_url && !form_is_avatar_url(avatar_url))
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "avatar must be an https URL of at most 1000 characters");
	if (refusal.code != REFUSAL_NONE)
		refusal_raise(&refusal);
}

/*
 * May the player be added, under its lock? False where it has come while we waited, and the lock is given back: its row comes first, as
 * everywhere. An INSERT would wait for whoever has changed that row and waits for our lock.
 */
static bool
may_add(const char *user_id, uint64 hash)
{
	Datum		values[1] = {CStringGetTextDatum(user_id)};
	Refusal		refusal;

	plan_read(&known_plan, values, NULL, 1);
	if (SPI_processed == 0)
	{
		if (!tombstone_check(user_id, &refusal))
			refusal_raise(&refusal);
		return true;
	}
	if (IsolationUsesXactSnapshot())
		ledger_raise_serialization_failure();
	player_lock_release(hash);
	return false;
}

/* True if the player is there now; under the lock one that came meanwhile is left to the next turn. */
static bool
change_or_add(const char *user_id, SavedPlan *change, SavedPlan *add, Datum *values, const char *nulls)
{
	uint64		hash = player_lock_hash(user_id);
	bool		changed;

	plan_write(change, values, nulls, SPI_OK_UPDATE);
	changed = SPI_processed > 0;
	player_lock_acquire(hash);
	if (changed)
		return true;
	if (!may_add(user_id, hash))
		return false;
	plan_write(add, values, nulls, SPI_OK_INSERT);
	if (SPI_processed > 0)
		return true;
	player_lock_release(hash);
	return false;
}

Datum
scoreboard_set_profile(PG_FUNCTION_ARGS)
{
	char	   *texts[3];
	Datum		values[3] = {0};
	char		nulls[3] = {' ', ' ', ' '};

	hide_statement();
	require_primary("change a profile");
	for (int i = 0; i < 3; i++)
	{
		texts[i] = PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
		if (texts[i])
			values[i] = CStringGetTextDatum(texts[i]);
		else
			nulls[i] = 'n';
	}
	config_begin_call();
	check_profile(texts[0], texts[1], texts[2]);
	tables_require(TABLE_PLAYER);
	ledger_lock();
	SPI_connect();
	while (!change_or_add(texts[0], &change_plan, &add_plan, values, nulls))
		CHECK_FOR_INTERRUPTS();
	SPI_finish();
	PG_RETURN_VOID();
}

static bool
are_labels(Jsonb *labels)
{
	JsonbIterator *iterator = JsonbIteratorInit(&labels->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(labels) || JB_ROOT_COUNT(labels) > CLAIMS_LABELS_MAX)
		return false;
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if ((token == WJB_KEY || token == WJB_VALUE) &&
			(value.type != jbvString || !claims_is_label(value.val.string.val, value.val.string.len)))
			return false;
	}
	return true;
}

Datum
scoreboard_set_labels(PG_FUNCTION_ARGS)
{
	char	   *user_id = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum		values[2];
	Refusal		refusal = {0};

	hide_statement();
	require_primary("change labels");
	config_begin_call();
	check_profile(user_id, NULL, NULL);
	if (PG_ARGISNULL(1) || !are_labels(PG_GETARG_JSONB_P(1)))
	{
		refuse(&refusal, REFUSAL_INVALID_REQUEST, "For example {\"country\": \"de\"}.",
			   "labels must be an object of at most %d strings; names and values have 1 to %d characters of a-z 0-9 _ -", CLAIMS_LABELS_MAX, CLAIMS_LABEL_MAX);
		refusal_raise(&refusal);
	}
	values[0] = CStringGetTextDatum(user_id);
	values[1] = PG_GETARG_DATUM(1);
	tables_require(TABLE_PLAYER);
	ledger_lock();
	SPI_connect();
	while (!change_or_add(user_id, &change_labels_plan, &add_labels_plan, values, NULL))
		CHECK_FOR_INTERRUPTS();
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * The player's own choice
 * ------------------------------------------------------------------------- */

typedef struct Choice
{
	char	   *user_id;
	bool		listed;
	bool		anonymous;
} Choice;

/*
 * The row first, as everywhere; then the lock, in the ordinary way and before the row is changed, whose trigger wants it. False
 * where the player has come meanwhile.
 */
static bool
choose_or_add(const Choice *choice)
{
	Datum		values[3] = {CStringGetTextDatum(choice->user_id), BoolGetDatum(!choice->listed), BoolGetDatum(choice->anonymous)};
	uint64		hash = player_lock_hash(choice->user_id);
	bool		exists;

	plan_write(&lock_plan, values, NULL, SPI_OK_SELECT);
	exists = SPI_processed > 0;
	player_lock_acquire(hash);
	if (exists)
	{
		plan_write(&choose_plan, values, NULL, SPI_OK_UPDATE);
		return true;
	}
	if (!may_add(choice->user_id, hash))
		return false;
	plan_write(&add_choice_plan, values, NULL, SPI_OK_INSERT);
	if (SPI_processed > 0)
		return true;
	player_lock_release(hash);
	return false;
}

static bool
read_choice(FunctionCallInfo fcinfo, Choice *choice, Refusal *refusal)
{
	TokenIdentity caller;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "listed and anonymous must be true or false");
	choice->listed = PG_GETARG_BOOL(0);
	choice->anonymous = PG_GETARG_BOOL(1);
	config_begin_call();
	if (!token_identify(PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), &caller, refusal))
		return false;
	choice->user_id = caller.user_id;
	return rate_limit_take(caller.user_id, 0, NULL, NULL, refusal);
}

Datum
scoreboard_set_listed(PG_FUNCTION_ARGS)
{
	Choice		choice = {0};
	Refusal		refusal;
	StringInfoData text;

	hide_statement();
	require_primary("change who is listed");
	if (!read_choice(fcinfo, &choice, &refusal))
		refusal_raise(&refusal);
	tables_require(TABLE_PLAYER);
	ledger_lock();
	SPI_connect();
	while (!choose_or_add(&choice))
		CHECK_FOR_INTERRUPTS();
	SPI_finish();

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"userId\":");
	escape_json(&text, choice.user_id);
	appendStringInfo(&text, ",\"listed\":%s,\"anonymous\":%s}", choice.listed ? "true" : "false", choice.anonymous ? "true" : "false");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}
