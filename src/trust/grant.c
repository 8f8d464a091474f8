/*
 * trust/grant.c - one-time permissions that a trusted server makes beforehand (SPEC section 3, steps 4 and 6)
 *
 * Owns table scoreboard.grant_token. A grant's id is the action_id; it fixes player, board, action type and, where given, points,
 * subscore and detail, and the request must say the same. Its row is deleted by the transaction that counts the
 * action, so that it is used once, a rollback gives it back, and only what was never used is ever purged. What became of it then stands in
 * the action log: an action of that id and type says that the grant was this player's.
 *
 * Locks: it is made and consumed under relation scoreboard.score (ROW EXCLUSIVE) and the player's lock, so that whoever forgets
 * the player finds it; a row that an administrator has locked is never waited for.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
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
#include "trust/grant.h"
#include "trust/tombstone.h"
#include "write/ledger.h"

PG_FUNCTION_INFO_V1(scoreboard_create_grant);

#define LONGEST_LIFE_DAYS 7		/* not longer than the shortest retention of actions */
#define GRANT_ID_DIGITS 32		/* behind the prefix: 128 bits */
#define PURGED_AT_ONCE 10000

typedef struct Grant
{
	int32		board_id;
	int32		action_type_id;
	bool		has_points;
	int64		points;
	bool		has_subscore;
	int64		subscore;
	const char *detail;			/* or NULL */
	TimestampTz expires_at;
} Grant;

static SavedPlan add_plan = {
	.text = "INSERT INTO scoreboard.grant_token (grant_id, user_id, action_type_id, board_id, points, subscore, detail, created_at, expires_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	.nargs = 9, .types = {TEXTOID, TEXTOID, INT4OID, INT4OID, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static SavedPlan consume_plan = {
	.text = "DELETE FROM scoreboard.grant_token WHERE grant_id ="
	" (SELECT g.grant_id FROM scoreboard.grant_token g WHERE g.grant_id = $1 FOR UPDATE SKIP LOCKED)",
	.nargs = 1, .types = {TEXTOID}
};

/* So long an expired one is told from one that never was. */
static SavedPlan purge_plan = {
	.text = "DELETE FROM scoreboard.grant_token WHERE grant_id IN (SELECT g.grant_id FROM scoreboard.grant_token g"
	" WHERE g.expires_at < clock_timestamp() - interval '7 days' ORDER BY g.expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
	.nargs = 1, .types = {INT8OID}
};

/* ---------- look-ups, as committed now ---------- */

static bool
find_grant(const char *grant_id, const char *user_id, Grant *grant)
{
	Table		table;
	Snapshot	snapshot;
	bool		found;

	tables_open(&table, TABLE_GRANT_TOKEN, TABLE_FIND, AccessShareLock);
	tables_key_text(&table, GRANT_ID, grant_id);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	found = tables_find(&table, snapshot) && strcmp(tables_text(&table, GRANT_USER_ID), user_id) == 0;
	if (found)
		*grant = (Grant) {
			.board_id = tables_int4(&table, GRANT_BOARD_ID),
			.action_type_id = tables_int4(&table, GRANT_TYPE_ID),
			.has_points = !tables_is_null(&table, GRANT_POINTS),
			.points = tables_int8(&table, GRANT_POINTS),
			.has_subscore = !tables_is_null(&table, GRANT_SUBSCORE),
			.subscore = tables_int8(&table, GRANT_SUBSCORE),
			.detail = tables_text(&table, GRANT_DETAIL),
			.expires_at = tables_int8(&table, GRANT_EXPIRES_AT),
		};
	UnregisterSnapshot(snapshot);
	tables_close(&table);
	return found;
}

static bool
find_player(const char *user_id, Snapshot snapshot, int64 *player_id)
{
	Table		table;
	bool		found;

	tables_open(&table, TABLE_PLAYER, TABLE_FIND, AccessShareLock);
	tables_key_text(&table, PLAYER_USER_ID, user_id);
	found = tables_find(&table, snapshot);
	if (found)
		*player_id = tables_int8(&table, PLAYER_ID);
	tables_close(&table);
	return found;
}

/* Has the player an action of that id and type? Its grant was seen to be the player's when it was counted. */
static bool
was_consumed(const GrantUse *use)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Table		table;
	int64		player_id;
	bool		consumed = false;

	if (find_player(use->user_id, snapshot, &player_id))
	{
		tables_open(&table, TABLE_ACTION, TABLE_FIND, AccessShareLock);
		tables_key_int8(&table, ACTION_PLAYER_ID, player_id);
		tables_key_text(&table, ACTION_ID, use->request->action_id);
		consumed = tables_find(&table, snapshot) && tables_int4(&table, ACTION_TYPE_ID) == use->rule->action_type_id;
		tables_close(&table);
	}
	UnregisterSnapshot(snapshot);
	return consumed;
}

/* ---------- is it for this ---------- */

static bool
refuse_unknown(Refusal *refusal)
{
	return refuse(refusal, REFUSAL_INVALID_SIGNATURE, "A trusted server makes it with scoreboard_create_grant(); its id is the action id.",
				  "the player has no such grant");
}

/* What is given, and what the grant says about it; a server that names the player may add what the grant is silent about. */
static bool
same_number(bool given, int64 number, bool granted, int64 grant, bool may_add)
{
	if (given != granted)
		return given && may_add;
	return !given || number == grant;
}

static bool
same_detail(const char *given, const char *granted, bool may_add)
{
	if (given == NULL || granted == NULL)
		return given == granted || (given && may_add);
	return strcmp(given, granted) == 0;
}

static bool
check_content(const GrantUse *use, const Grant *grant, Refusal *refusal)
{
	const Request *request = use->request;

	if (!use->by_server && ((request->has_subscore && !grant->has_subscore) || (request->detail && !grant->detail)))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Leave them out, or make a grant that fixes them.",
					  "the grant does not fix subscore and detail that the request gives");
	if (grant->board_id != use->board->board_id || grant->action_type_id != use->rule->action_type_id ||
		!same_number(request->has_points, request->points, grant->has_points, grant->points, false) ||
		!same_number(request->has_subscore, request->subscore, grant->has_subscore, grant->subscore, use->by_server) ||
		!same_detail(request->detail, grant->detail, use->by_server))
		return refuse(refusal, REFUSAL_INVALID_SIGNATURE, "Send board, action type, points, subscore and detail as the grant was made for them.",
					  "the grant is for something else");
	return true;
}

bool
grant_verify(const GrantUse *use, Refusal *refusal)
{
	Grant		grant;

	/* In this order: what is consumed between the two is found by the second. */
	if (find_grant(use->request->action_id, use->user_id, &grant))
		return check_content(use, &grant, refusal);
	return was_consumed(use) || refuse_unknown(refusal);
}

bool
grant_check(const GrantUse *use, TimestampTz now, Refusal *refusal)
{
	Grant		grant;

	if (!find_grant(use->request->action_id, use->user_id, &grant))
		return refuse_unknown(refusal);
	if (!check_content(use, &grant, refusal))
		return false;
	if (now >= grant.expires_at)
		return refuse(refusal, REFUSAL_RECEIPT_EXPIRED, "Have another grant made.", "the grant has expired");
	return true;
}

bool
grant_consume(const char *grant_id, Refusal *refusal)
{
	Datum		values[1] = {CStringGetTextDatum(grant_id)};
	int			pin = plan_connect();
	bool		consumed;

	plan_write(&consume_plan, values, NULL, SPI_OK_DELETE);
	consumed = SPI_processed > 0;
	plan_finish(pin);
	if (!consumed && IsolationUsesXactSnapshot())
		ledger_raise_serialization_failure();
	return consumed || refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Send the request again.", "somebody else has locked the grant");
}

bool
grants_purge(void)
{
	Datum		values[1] = {Int64GetDatum(PURGED_AT_ONCE)};

	plan_write(&purge_plan, values, NULL, SPI_OK_DELETE);
	return SPI_processed == PURGED_AT_ONCE;
}

/* ---------- for trusted servers ---------- */

static bool
check_points(const Request *request, const ActionRule *rule, Refusal *refusal)
{
	if (rule->points_fixed && request->has_points)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Leave points out.",
					  "the points of action type \"%s\" are fixed", request->action_type);
	if (!rule->points_fixed && !request->has_points)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Give the points that the grant is for.",
					  "action type \"%s\" needs points", request->action_type);
	if (!rule->points_fixed && (request->points < rule->min_points || request->points > rule->max_points))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "points of action type \"%s\" must lie between " INT64_FORMAT " and " INT64_FORMAT,
					  request->action_type, rule->min_points, rule->max_points);
	return true;
}

/* What an increment would be refused for is refused here, where the server that makes the grant can be told. */
static bool
resolve(const Request *request, const Board **board, const ActionRule **rule, Refusal *refusal)
{
	if (!request_check(request, refusal) || !request_find_rule(request, board, rule, refusal))
		return false;
	if ((*rule)->proof != PROOF_GRANT)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Its proof in scoreboard.action_type would have to be \"grant\".",
					  "action type \"%s\" takes no grants", request->action_type);
	return check_points(request, *rule, refusal);
}

static void
add_grant(const char *grant_id, const char *user_id, const Request *request, const Board *board, const ActionRule *rule, Interval *life)
{
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());
	Datum		values[9] = {
		CStringGetTextDatum(grant_id), CStringGetTextDatum(user_id), Int32GetDatum(rule->action_type_id), Int32GetDatum(board->board_id),
		Int64GetDatum(request->points), Int64GetDatum(request->subscore), request->detail ? CStringGetTextDatum(request->detail) : (Datum) 0,
		now, DirectFunctionCall2(timestamptz_pl_interval, now, IntervalPGetDatum(life))
	};
	char		nulls[] = "         ";
	int			pin = plan_connect();

	nulls[4] = request->has_points ? ' ' : 'n';
	nulls[5] = request->has_subscore ? ' ' : 'n';
	nulls[6] = request->detail ? ' ' : 'n';
	plan_write(&add_plan, values, nulls, SPI_OK_INSERT);
	plan_finish(pin);
}

/* scoreboard_create_grant(user_id text, action_type text, board text, points bigint, expires_in interval, subscore bigint, detail text) returns text */
Datum
scoreboard_create_grant(PG_FUNCTION_ARGS)
{
	char		digits[SECRET_DIGITS + 1];
	const char *user_id;
	Interval   *life;
	Request		request = {0};
	Refusal		refusal;
	const Board *board = NULL;
	const ActionRule *rule = NULL;

	hide_statement();
	require_primary("make grants");
	user_id = argument_user_id(fcinfo, 0);
	life = argument_life(fcinfo, 4, LONGEST_LIFE_DAYS, "a grant");
	keys_random_secret(digits);
	request.action_type = argument_text(fcinfo, 1);
	request.action_id = psprintf("g-%.*s", GRANT_ID_DIGITS, digits);
	request.board = argument_text(fcinfo, 2);
	request.points = argument_int64(fcinfo, 3, &request.has_points);
	request.subscore = argument_int64(fcinfo, 5, &request.has_subscore);
	request.detail = argument_text(fcinfo, 6);
	ledger_lock();
	player_lock_acquire(player_lock_hash(user_id));
	config_begin_call();
	/* Else what a player wanted to be forgotten would be written down again. */
	if (!resolve(&request, &board, &rule, &refusal) || !tombstone_check(user_id, &refusal))
		refusal_raise(&refusal);
	add_grant(request.action_id, user_id, &request, board, rule, life);
	PG_RETURN_TEXT_P(cstring_to_text(request.action_id));
}
