/*
 * write/submit.c - many players' increments in one transaction, an outcome each
 *
 * Each element is judged by itself; a refusal has written nothing, so no row
 * needs a subtransaction. Players' locks are taken in the order of their hash,
 * so that batches that share players can't deadlock, and never waited for longer
 * than LOCK_PATIENCE_MS for the whole batch: a session that sits on its own
 * player's lock costs its neighbours nothing, its row says UNAVAILABLE.
 *
 * Locks: relation scoreboard.score (ROW EXCLUSIVE), then players by hash.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/hidden_statement.h"
#include "base/locks.h"
#include "base/refusal_log.h"
#include "read/document.h"
#include "trust/verifier.h"
#include "write/increment.h"
#include "write/replicated.h"
#include "write/request_json.h"

PG_FUNCTION_INFO_V1(scoreboard_submit);
PG_FUNCTION_INFO_V1(scoreboard_submit_bridge);

#define SUBMIT_MAX 1000
#define LOCK_PATIENCE_MS 20

typedef struct Submission
{
	Increment	increment;
	Answer		answer;
	Refusal		refusal;		/* code REFUSAL_NONE: it goes on, or was counted */
	bool		alone;			/* not refused, but to be sent alone */
} Submission;

static void
refuse_batch(const char *message)
{
	Refusal		refusal;

	refuse(&refusal, REFUSAL_INVALID_REQUEST, "Send an array of at most 1000 requests.", "%s", message);
	refusal_raise(&refusal);
}

/* The array's elements, where they stand. */
static RequestElement *
split(FunctionCallInfo fcinfo, int *count)
{
	text	   *requests = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	RequestElement *elements = palloc((SUBMIT_MAX + 1) * sizeof(RequestElement));
	RequestArray array;

	if (requests == NULL || !request_json_open(VARDATA_ANY(requests), VARSIZE_ANY_EXHDR(requests), &array))
		refuse_batch("requests must be a JSON array");
	for (*count = 0; request_json_next(&array, &elements[*count]); (*count)++)
	{
		if (*count == SUBMIT_MAX)
			refuse_batch("requests must not have more than 1000 elements");
	}
	return elements;
}

/* Steps 1 to 4 of one element; a batch never speaks for a player without that player's token. */
static void
check(const RequestElement *element, Submission *submission)
{
	Increment  *increment = &submission->increment;
	Refusal    *refusal = &submission->refusal;

	if (!request_json_read(element, &increment->request, refusal))
		return;
	if (increment->request.token == NULL)
		refuse(refusal, REFUSAL_UNAUTHORIZED, "Send the player's token.", "a token is required");
	else
		increment_check(increment, refusal);
}

/*
 * What is to be verified, before any lock: one after the other, as long as there is patience, so that they hold up their
 * neighbours for no longer; or not at all, where the bridge can send each alone.
 */
static void
verify(Submission *submissions, int count, bool apart)
{
	VerifierPatience patience = {0};

	for (int i = 0; i < count; i++)
	{
		Submission *submission = &submissions[i];

		if (submission->refusal.code != REFUSAL_NONE || !verifier_is_demanded(&submission->increment))
			continue;
		submission->alone = apart && count > 1;
		if (submission->alone)
			refuse(&submission->refusal, REFUSAL_UNAVAILABLE, "Send it again, in a call of its own.", "the action is verified alone");
		else
			verifier_pass(&submission->increment, &patience, &submission->refusal);
	}
}

static int
compare_hashes(const void *a, const void *b)
{
	uint64		first = (*(Submission *const *) a)->increment.lock_hash;
	uint64		second = (*(Submission *const *) b)->increment.lock_hash;

	return first < second ? -1 : first > second ? 1 : 0;
}

/* Tries for one lock until the batch's patience has run out. */
static bool
lock_player(uint64 hash, instr_time start)
{
	for (;;)
	{
		instr_time	passed;

		if (player_lock_try(hash))
			return true;
		INSTR_TIME_SET_CURRENT(passed);
		INSTR_TIME_SUBTRACT(passed, start);
		if (INSTR_TIME_GET_MILLISEC(passed) >= LOCK_PATIENCE_MS)
			return false;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(500);
	}
}

static void
lock_players(Submission *submissions, int count)
{
	Submission **order = palloc(Max(count, 1) * sizeof(Submission *));
	int			waiting = 0;
	instr_time	start;

	for (int i = 0; i < count; i++)
	{
		if (submissions[i].refusal.code == REFUSAL_NONE)
			order[waiting++] = &submissions[i];
	}
	qsort(order, waiting, sizeof(Submission *), compare_hashes);
	INSTR_TIME_SET_CURRENT(start);
	for (int i = 0; i < waiting; i++)
	{
		if (!lock_player(order[i]->increment.lock_hash, start))
			refuse_for(&order[i]->refusal, REFUSAL_UNAVAILABLE, 1, "Send the request again under the same idempotency key.",
					   "another action of this player is still being counted");
	}
}

static char *
answer_body(const Answer *answer)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"userId\":");
	document_append_string(&body, answer->user_id);
	appendStringInfoString(&body, ",\"board\":");
	document_append_string(&body, answer->board);
	appendStringInfo(&body, ",\"season\":%d,\"previousScore\":" INT64_FORMAT ",\"score\":" INT64_FORMAT ",\"appliedPoints\":" INT64_FORMAT ",\"rank\":",
					 answer->season, answer->previous_score, answer->score, answer->applied_points);
	if (answer->rank > 0)
		appendStringInfo(&body, INT64_FORMAT, answer->rank);
	else
		appendStringInfoString(&body, "null");
	appendStringInfo(&body, ",\"version\":" INT64_FORMAT ",\"updatedAt\":", answer->version);
	document_append_time(&body, answer->updated_at);
	appendStringInfo(&body, ",\"replayed\":%s}", answer->replayed ? "true" : "false");
	return body.data;
}

static char *
refusal_body(const Refusal *refusal, const char *request_id)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfo(&body, "{\"error\":{\"code\":\"%s\",\"message\":", refusal_name(refusal->code));
	document_append_string(&body, refusal->message);
	if (refusal->hint)
	{
		appendStringInfoString(&body, ",\"hint\":");
		document_append_string(&body, refusal->hint);
	}
	appendStringInfoString(&body, ",\"requestId\":");
	if (request_id)
		document_append_string(&body, request_id);
	else
		appendStringInfoString(&body, "null");
	appendStringInfoString(&body, "}}");
	return body.data;
}

static void
put_row(ReturnSetInfo *result, int ordinal, const Submission *submission)
{
	const Refusal *refusal = &submission->refusal;
	char	   *body = refusal->code == REFUSAL_NONE
		? answer_body(&submission->answer)
		: refusal_body(refusal, submission->increment.request.request_id);
	Datum		values[4] = {
		Int32GetDatum(ordinal), Int32GetDatum(refusal_http_status(refusal->code)),
		CStringGetTextDatum(body), Int32GetDatum(refusal->retry_after)
	};
	bool		nulls[4] = {false, false, false, refusal->retry_after == 0 && !submission->alone};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Once for the whole batch, and only where an answer rests on a row that is committed already. */
static void
wait_for_standbys(Submission *submissions, int count)
{
	Refusal		refusal;
	bool		counted_before = false;

	for (int i = 0; i < count; i++)
		counted_before |= submissions[i].increment.counted_before;
	if (!counted_before || replicated_wait(&refusal))
		return;
	for (int i = 0; i < count; i++)
	{
		if (submissions[i].increment.counted_before)
			submissions[i].refusal = refusal;
	}
}

static Datum
submit(FunctionCallInfo fcinfo, bool apart)
{
	int			count;
	RequestElement *elements;
	Submission *submissions;
	Ledger	   *ledger;

	hide_statement();
	InitMaterializedSRF(fcinfo, 0);
	config_begin_call();
	elements = split(fcinfo, &count);
	submissions = palloc0(Max(count, 1) * sizeof(Submission));
	for (int i = 0; i < count; i++)
		check(&elements[i], &submissions[i]);
	verify(submissions, count, apart);

	ledger_lock();
	lock_players(submissions, count);
	ledger = ledger_open();
	for (int i = 0; i < count; i++)
	{
		if (submissions[i].refusal.code == REFUSAL_NONE)
			increment_count(&submissions[i].increment, ledger, &submissions[i].answer, &submissions[i].refusal);
	}
	ledger_close(ledger);
	wait_for_standbys(submissions, count);
	for (int i = 0; i < count; i++)
	{
		const Increment *increment = &submissions[i].increment;

		if (submissions[i].refusal.code != REFUSAL_NONE && !submissions[i].alone)
			refusal_log_note(&submissions[i].refusal, increment->user_id, increment->key_id, increment->flag, &increment->request);
		put_row((ReturnSetInfo *) fcinfo->resultinfo, i + 1, &submissions[i]);
	}
	return (Datum) 0;
}

Datum
scoreboard_submit(PG_FUNCTION_ARGS)
{
	return submit(fcinfo, false);
}

/* A row of status 503 with 0 seconds to wait is to be sent again alone. */
Datum
scoreboard_submit_bridge(PG_FUNCTION_ARGS)
{
	return submit(fcinfo, true);
}
