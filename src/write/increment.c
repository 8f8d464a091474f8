/*
 * write/increment.c - the order of checks, and the writes
 *
 * Everything that can refuse comes before anything is written:
 *
 *   1 input       request.c      4 signature         receipt.c, grant.c
 *   2 who         token.c        - the player's lock base/locks.c
 *   3 rate        rate_limit.c   5 retry or replay   idempotency.c
 *                                6 allowed now, then the writes (routing.c, ledger.c)
 *
 * Steps 1 to 4 need no lock. The lock decides: what steps 5 and 6 read under it
 * is as committed now, at every isolation level, the configuration too.
 *
 * Locks: relation scoreboard.score (ROW EXCLUSIVE), then the player's; both held to
 * the end of the transaction, so that whoever waited finds everything committed and in the rank index.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/form.h"
#include "base/hidden_statement.h"
#include "base/locks.h"
#include "base/refusal_log.h"
#include "rank/index.h"
#include "trust/grant.h"
#include "trust/quota.h"
#include "trust/rate_limit.h"
#include "trust/receipt.h"
#include "trust/trusted_request.h"
#include "trust/verifier.h"
#include "trust/tombstone.h"
#include "write/event.h"
#include "write/idempotency.h"
#include "write/increment.h"
#include "write/replicated.h"
#include "write/routing.h"

PG_FUNCTION_INFO_V1(scoreboard_increment);
PG_FUNCTION_INFO_V1(scoreboard_increment_for);

/* Step 2. */
static bool
check_who(Increment *increment, Refusal *refusal)
{
	if (!increment->by_server)
	{
		if (!token_identify(increment->request.token, &increment->identity, refusal))
			return false;
		increment->user_id = increment->identity.user_id;
	}
	increment->lock_hash = player_lock_hash(increment->user_id);
	return true;
}

/* Looks up what the request names in the configuration as it is now. */
static bool
resolve(Increment *increment, Refusal *refusal)
{
	int			further;

	increment->generation = config_generation();
	if (!request_find_rule(&increment->request, &increment->board, &increment->rule, refusal))
		return false;
	/* They are of this generation too. */
	(void) config_further(increment->board, &further);
	return true;
}

/* The amount must be given exactly where the action type leaves it open. */
static bool
check_points_given(const Increment *increment, Refusal *refusal)
{
	/* Refused where it is configured; but two changes may have been made at once. */
	if (increment->rule->proof == PROOF_SESSION && !increment->rule->points_fixed)
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "Give it fixed points, on every board.",
					  "action type \"%s\" of proof \"session\" leaves its points open", increment->request.action_type);
	if (increment->request.has_points && increment->rule->points_fixed)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Leave points out.",
					  "the points of action type \"%s\" are fixed", increment->request.action_type);
	if (!increment->request.has_points && !increment->rule->points_fixed)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Send the points that the receipt signs.",
					  "action type \"%s\" needs points", increment->request.action_type);
	return true;
}

/* Who vouches for what stands beside the score: a service by its receipt, a grant, or a server that names the player; never the player. */
static bool
check_subscore_vouched(const Increment *increment, Refusal *refusal)
{
	if ((increment->request.has_subscore || increment->request.detail) && !increment->by_server &&
		increment->rule->proof != PROOF_SERVICE && increment->rule->proof != PROOF_GRANT)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Leave subscore and detail out.",
					  "nothing vouches for subscore and detail of action type \"%s\"", increment->request.action_type);
	return true;
}

static GrantUse
grant_use(const Increment *increment)
{
	return (GrantUse) {
		.user_id = increment->user_id,
		.by_server = increment->by_server,
		.request = &increment->request,
		.board = increment->board,
		.rule = increment->rule,
	};
}

/* Step 4: the proof that the action type demands. */
static bool
check_proof(Increment *increment, Refusal *refusal)
{
	const Request *request = &increment->request;
	ReceiptSubject subject;

	if (!resolve(increment, refusal))
		return false;
	if (increment->rule->proof == PROOF_TRUSTED && !increment->by_server)
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "Submit it with scoreboard_increment_for().",
					  "only a trusted server may submit action type \"%s\"", request->action_type);
	if (!check_points_given(increment, refusal) || !check_subscore_vouched(increment, refusal))
		return false;
	increment->proof = increment->rule->proof;
	if (increment->proof == PROOF_TRUSTED)
		return true;
	if (increment->proof == PROOF_GRANT)
	{
		GrantUse	use = grant_use(increment);

		return grant_verify(&use, refusal);
	}

	subject = (ReceiptSubject) {
		.board = increment->board->name,
		.user_id = increment->user_id,
		.action_type = request->action_type,
		.action_id = request->action_id,
		.has_points = request->has_points,
		.points = request->points,
		.has_subscore = request->has_subscore,
		.subscore = request->subscore,
		.detail = request->detail,
		.issued_at = request->issued_at,
	};
	return receipt_verify(request->receipt, &subject, increment->board, increment->rule, increment->key_id, refusal);
}

/* What ledger.c writes below SQL no executor would stop in a read-only transaction. */
static bool
check_primary(Refusal *refusal)
{
	if (!refuse_on_standby(refusal, "count actions"))
		return false;
	if (XactReadOnly && trusted_request_variable("request.method") != NULL)
		return refuse(refusal, REFUSAL_METHOD_NOT_ALLOWED, "Call it by POST.",
					  "an action is not counted by a request that only reads");
	if (XactReadOnly)
		return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Use a transaction that may write (default_transaction_read_only).",
						  "the transaction is read-only and can't count actions");
	return true;
}

/* Step 3: the player's windows, and those of the board or of the action type on it. */
static bool
check_rate(const Increment *increment, Refusal *refusal)
{
	const Request *request = &increment->request;
	uint64		attempt = rate_limit_attempt(request->action_id, request->idempotency_key);
	const Board *board = config_known_board(request->board);
	const ActionRule *rule = board ? config_known_rule(board, request->action_type) : NULL;

	/* What isn't remembered, invented names for one, costs a statement: not for who has no attempt left. */
	if (rule == NULL)
	{
		if (!rate_limit_look(increment->user_id, attempt, refusal))
			return false;
		board = config_board(request->board);
		rule = board ? config_action_rule(board, request->action_type) : NULL;
	}
	return rate_limit_take(increment->user_id, attempt, board, rule, refusal);
}

bool
increment_check(Increment *increment, Refusal *refusal)
{
	return check_primary(refusal) &&
		check_who(increment, refusal) &&
		check_rate(increment, refusal) &&
		check_proof(increment, refusal);
}

static bool
check_player(const LedgerPlayer *player, Refusal *refusal)
{
	if (player->frozen || player->banned)
		return refuse(refusal, REFUSAL_PLAYER_SUSPENDED, NULL, "the player is suspended");
	return true;
}

/* The key that signed may have ended since, or not have begun; and what the action type demands may be another proof by now. */
static bool
check_key(Increment *increment, TimestampTz now, Refusal *refusal)
{
	SigningKey	room;
	const SigningKey *key;

	if (increment->proof != increment->rule->proof)
		return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Send the request again.",
						  "action type \"%s\" has just been given another proof", increment->request.action_type);
	if (increment->key_id[0] == '\0')
		return true;
	key = receipt_key(increment->key_id, increment->user_id, increment->board, increment->rule, &room);
	if (key == NULL || !receipt_key_is_valid(key, now))
		return refuse(refusal, REFUSAL_INVALID_SIGNATURE, "Sign with a key that is valid now.",
					  "the signing key is revoked or outside its validity");
	increment->signing_key_id = key->signing_key_id;
	return true;
}

static bool
has_permission(const Increment *increment, const char *permission)
{
	ListCell   *cell;

	foreach(cell, increment->identity.permissions)
	{
		if (strcmp(lfirst(cell), permission) == 0)
			return true;
	}
	return false;
}

static bool
check_action(const Increment *increment, Refusal *refusal)
{
	const ActionRule *rule = increment->rule;
	const Request *request = &increment->request;

	if (!rule->enabled)
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, NULL,
					  "action type \"%s\" is disabled on board \"%s\"", request->action_type, request->board);
	if (!check_points_given(increment, refusal))
		return false;
	if (!rule->points_fixed && (request->points < rule->min_points || request->points > rule->max_points))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "points of action type \"%s\" must lie between " INT64_FORMAT " and " INT64_FORMAT,
					  request->action_type, rule->min_points, rule->max_points);
	if (rule->permission && !increment->by_server && !has_permission(increment, rule->permission))
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, NULL,
					  "the token lacks the permission that action type \"%s\" demands", request->action_type);
	return true;
}

/* Only the past may be longer ago than the setting: a clock that is ahead is wrong, however long the game was offline. */
static bool
check_issued_at(const Increment *increment, TimestampTz now, Refusal *refusal)
{
	int64		age = timestamptz_to_time_t(now) - increment->request.issued_at;
	int64		max_age = increment->rule->receipt_max_age;

	if (increment->key_id[0] == '\0')
		return true;
	if (age < 0 || max_age < 0)
	{
		age = age < 0 ? -age : age;
		max_age = scoreboard_receipt_window;
	}
	if (age > max_age)
		return refuse(refusal, REFUSAL_RECEIPT_EXPIRED, "Sign the action again with the current time, and check the service's clock.",
					  "issued_at of the receipt is more than " INT64_FORMAT " seconds away from the server's clock", max_age);
	return true;
}

static bool
check_grant(const Increment *increment, TimestampTz now, Refusal *refusal)
{
	GrantUse	use = grant_use(increment);

	return increment->proof != PROOF_GRANT || grant_check(&use, now, refusal);
}

static bool
check_quota(const Increment *increment, const LedgerPlayer *player, TimestampTz now, Refusal *refusal)
{
	return !player->exists ||
		quota_check(increment->board, increment->rule, increment->request.action_type, player->player_id, now, refusal);
}

/* Step 6, in SPEC's order. */
static bool
check_allowed(Increment *increment, const LedgerPlayer *player, TimestampTz now, Refusal *refusal)
{
	return check_player(player, refusal) &&
		check_key(increment, now, refusal) &&
		check_action(increment, refusal) &&
		check_quota(increment, player, now, refusal) &&
		check_issued_at(increment, now, refusal) &&
		check_grant(increment, now, refusal);
}

static LedgerExtras
requested_extras(const Request *request)
{
	return (LedgerExtras) {
		.subscore = request->has_subscore ? request->subscore : NO_SUBSCORE,
		.detail = request->detail
	};
}

/* A name or avatar from the token wins over what is stored; one that is not valid is ignored. */
static void
take_profile(const Increment *increment, const LedgerPlayer *player)
{
	const char *name = increment->identity.display_name;
	const char *avatar = increment->identity.avatar_url;

	if (name == NULL || !form_is_display_name(name))
		name = player->display_name;
	if (avatar == NULL || !form_is_avatar_url(avatar))
		avatar = player->avatar_url;
	if ((name && (player->display_name == NULL || strcmp(name, player->display_name) != 0)) ||
		(avatar && (player->avatar_url == NULL || strcmp(avatar, player->avatar_url) != 0)))
		ledger_set_profile(player->player_id, name, avatar);
}

/* Labels from the token win, too. What is stored of a player that is new is nothing. */
static void
take_labels(const Increment *increment, Ledger *ledger, int64 player_id, bool known)
{
	List	   *labels = increment->identity.labels;
	StringInfoData text;
	bool		differ = false;

	if (labels == NIL)
		return;
	initStringInfo(&text);
	for (int i = 0; i < list_length(labels); i += 2)
	{
		const char *label = list_nth(labels, i);
		const char *value = list_nth(labels, i + 1);
		const char *stored = known ? ledger_player_label(ledger, label) : NULL;

		differ |= stored == NULL || strcmp(stored, value) != 0;
		/* Neither has a character that JSON would escape. */
		appendStringInfo(&text, "%c\"%s\":\"%s\"", i == 0 ? '{' : ',', label, value);
	}
	appendStringInfoChar(&text, '}');
	if (differ)
		ledger_set_labels(player_id, text.data);
	pfree(text.data);
}

/*
 * The action's rank, and the list's version. 0 where no rank is known: hidden players, and while the index can't
 * answer. A writer never counts by scanning.
 */
static void
place_action(const Increment *increment, Ledger *ledger, const LedgerPlayer *player, const LedgerScore *score, LedgerAction *action)
{
	const Board *board = increment->board;
	RankKey		key = {.score = score->score, .subscore = score->extras.subscore, .reached_at = score->reached_at, .player_id = player->player_id};

	if (player->hidden || !rank_index_rank_of_new(board, action->season, &key, &action->rank, &action->version))
		action->rank = action->version = 0;
	if (action->version == 0)
	{
		action->version = ledger_version(ledger, board->name);
		rank_index_learn_version(board, action->season, action->version);
	}
}

/* The writes: player if new, scores that changed or what stands beside them, profile if the token names one, action last. */
static void
write_action(const Increment *increment, Ledger *ledger, LedgerPlayer *player, const RoutedAction *routed, const Routing *routing,
			 LedgerAction *action)
{
	const Credit *named = &routing->named;
	bool		known = player->exists;

	if (!known)
		ledger_add_player(increment->user_id, player);
	routing_write(routing, ledger, player, increment->request.action_id);
	if (!increment->by_server)
	{
		take_profile(increment, player);
		take_labels(increment, ledger, player->player_id, known);
	}

	*action = (LedgerAction) {
		.exists = true,
		.board_id = named->board->board_id,
		.season = named->season,
		.action_type_id = increment->rule->action_type_id,
		.has_points = increment->request.has_points,
		.points = routed->points,
		.extras = *routed->extras,
		.sets_score = named->sets_score,
		.applied_points = named->new.score - named->old.score,
		.previous_score = named->old.score,
		.score = named->new.score,
		.created_at = routed->now,
		.signing_key_id = increment->signing_key_id,
	};
	place_action(increment, ledger, player, &named->new, action);
	ledger_add_action(ledger, player->player_id, &increment->request, action);
	if (scoreboard_outbox)
		event_action_counted(ledger, player->player_id, increment->request.action_id, action);
	ledger_finish_action(ledger);

	replicated_at_commit();
}

static void
fill_answer(const Increment *increment, const LedgerAction *action, bool replayed, Answer *answer)
{
	*answer = (Answer) {
		.user_id = increment->user_id,
		.board = pstrdup(increment->board->name),	/* the cache may be filled anew before it is read */
		.season = action->season,
		.previous_score = action->previous_score,
		.score = action->score,
		.applied_points = action->applied_points,
		.rank = action->rank,
		.version = action->version,
		.updated_at = action->created_at,
		.replayed = replayed,
	};
}

/* Step 6 and the writes, for an action that is new. */
static bool
count_new(Increment *increment, Ledger *ledger, LedgerPlayer *player, Answer *answer, Refusal *refusal)
{
	TimestampTz now = ledger_clock();
	LedgerExtras extras = requested_extras(&increment->request);
	LedgerAction action;
	Routing		routing;
	RoutedAction routed = {
		.board = increment->board,
		.points = increment->rule->points_fixed ? increment->rule->points : increment->request.points,
		.extras = &extras,
		.labels = increment->identity.labels,
		.now = now
	};
	bool		counts;

	if ((!player->exists && !tombstone_check(increment->user_id, refusal)) || !check_allowed(increment, player, now, refusal))
		return false;
	counts = routing_weigh(&routing, &routed, ledger, player, refusal) &&
		(increment->proof != PROOF_GRANT || grant_consume(increment->request.action_id, refusal));
	if (counts)
	{
		write_action(increment, ledger, player, &routed, &routing, &action);
		fill_answer(increment, &action, false, answer);
	}
	routing_free(&routing);
	return counts;
}

bool
increment_count(Increment *increment, Ledger *ledger, Answer *answer, Refusal *refusal)
{
	LedgerPlayer player;
	LedgerAction stored = {0};

	/* A key that was revoked while we waited for the lock is revoked; so is one that is while we look. */
	for (config_begin_call(); increment->generation != config_generation(); config_begin_call())
	{
		if (!resolve(increment, refusal))
			return false;
	}

	ledger_look(ledger);
	ledger_find_player(ledger, increment->user_id, &player);
	if (player.exists)
		ledger_find_action(ledger, player.player_id, increment->request.action_id, &stored);
	increment->counted_before = stored.exists;
	switch (idempotency_decide(&increment->request, increment->board, increment->rule, &stored, refusal))
	{
		case NOVELTY_NEW:
			return count_new(increment, ledger, &player, answer, refusal);
		case NOVELTY_RETRY:
			fill_answer(increment, &stored, true, answer);
			return true;
		case NOVELTY_REFUSED:
			break;
	}
	return false;
}

/* The arguments from action_type on, and from subscore on; metadata {} counts as none. */
static void
read_arguments(FunctionCallInfo fcinfo, int first, int subscore, Request *request)
{
	request->action_type = argument_text(fcinfo, first);
	request->action_id = argument_text(fcinfo, first + 1);
	request->board = PG_ARGISNULL(first + 2) ? "global" : argument_text(fcinfo, first + 2);
	request->points = argument_int64(fcinfo, first + 3, &request->has_points);
	request->issued_at = argument_int64(fcinfo, first + 4, &request->has_issued_at);
	request->receipt = argument_text(fcinfo, first + 5);
	request->idempotency_key = argument_text(fcinfo, first + 6);
	if (!PG_ARGISNULL(first + 7))
	{
		Jsonb	   *metadata = PG_GETARG_JSONB_P(first + 7);

		if (!JB_ROOT_IS_OBJECT(metadata) || JB_ROOT_COUNT(metadata) > 0)
			request->metadata = metadata;
	}
	request->subscore = argument_int64(fcinfo, subscore, &request->has_subscore);
	request->detail = argument_text(fcinfo, subscore + 1);
}

/*
 * What the HTTP layer that we trust was sent, where the caller says nothing itself. A key is checked like any other, since a retry
 * rests on it; id and address are a service to whoever reads the log, and left out where they are none.
 */
static void
take_headers(Request *request)
{
	RequestHeaders headers;

	if (!trusted_request_headers(&headers))
		return;
	if (request->idempotency_key == NULL && headers.has_idempotency_key)
		request->idempotency_key = pstrdup(headers.idempotency_key);
	if (form_is_visible_ascii(headers.request_id, 128))
		request->request_id = pstrdup(headers.request_id);
	if (request_is_address(headers.client_address))
		request->client_address = pstrdup(headers.client_address);
}

static Datum
answer_row(FunctionCallInfo fcinfo, const Answer *answer)
{
	TupleDesc	desc;
	Datum		values[10];
	bool		nulls[10] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(answer->user_id);
	values[1] = CStringGetTextDatum(answer->board);
	values[2] = Int32GetDatum(answer->season);
	values[3] = Int64GetDatum(answer->previous_score);
	values[4] = Int64GetDatum(answer->score);
	values[5] = Int64GetDatum(answer->applied_points);
	values[6] = Int64GetDatum(answer->rank);
	nulls[6] = answer->rank == 0;
	values[7] = Int64GetDatum(answer->version);
	values[8] = TimestampTzGetDatum(answer->updated_at);
	values[9] = BoolGetDatum(answer->replayed);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static void
refuse_one(const Increment *increment, const Refusal *refusal)
{
	refusal_log_note(refusal, increment->user_id, increment->key_id, increment->flag, &increment->request);
	refusal_raise(refusal);
}

/* Between the signature and the lock, where an administrator has set a function for it. */
static bool
verify(Increment *increment, Refusal *refusal)
{
	VerifierPatience patience = {0};

	return !verifier_is_demanded(increment) || verifier_pass(increment, &patience, refusal);
}

/* A single call: waits for the player's lock, raises what is refused. */
static Datum
count_one(FunctionCallInfo fcinfo, Increment *increment)
{
	Refusal		refusal;
	Answer		answer;
	Ledger	   *ledger;
	bool		counted;

	config_begin_call();
	take_headers(&increment->request);
	if (!request_check(&increment->request, &refusal) || !increment_check(increment, &refusal) || !verify(increment, &refusal))
		refuse_one(increment, &refusal);

	ledger_lock();
	player_lock_acquire(increment->lock_hash);
	ledger = ledger_open();
	counted = increment_count(increment, ledger, &answer, &refusal);
	ledger_close(ledger);
	if (increment->counted_before && !replicated_wait(&refusal))
		counted = false;
	if (!counted)
		refuse_one(increment, &refusal);
	return answer_row(fcinfo, &answer);
}

Datum
scoreboard_increment(PG_FUNCTION_ARGS)
{
	Increment	increment = {0};

	hide_statement();
	read_arguments(fcinfo, 0, 9, &increment.request);
	increment.request.token = argument_text(fcinfo, 8);
	return count_one(fcinfo, &increment);
}

Datum
scoreboard_increment_for(PG_FUNCTION_ARGS)
{
	Increment	increment = {.by_server = true};
	Refusal		refusal;

	hide_statement();
	increment.user_id = argument_text(fcinfo, 0);
	read_arguments(fcinfo, 1, 9, &increment.request);
	if (increment.user_id == NULL || !form_is_id(increment.user_id))
	{
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL,
			   "user id must have 1 to 255 characters, none of them a control character");
		refuse_one(&increment, &refusal);
	}
	return count_one(fcinfo, &increment);
}
