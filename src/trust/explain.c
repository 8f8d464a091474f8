/*
 * trust/explain.c - why a receipt doesn't verify (scoreboard_explain_receipt)
 *
 * For who debugs a service that signs: the bytes that should have been signed, where the bytes differ that it says it has signed, and
 * otherwise which of the usual mistakes would explain the signature. What others do wrong is plain C (plain/receipt_mistakes.c); here
 * stands what it is tried with: keys, this database's names.
 *
 * Never answers a signature or a secret: only whether one that the caller has stands for bytes that the caller can make. Comparisons are in
 * constant time (receipt.c). Some thousands of HMACs at most, each interruptible; each part in a memory context of its own. No locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/config_cache.h"
#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "plain/receipt_mistakes.h"
#include "trust/receipt.h"
#include "trust/session_key.h"
#include "write/request.h"

PG_FUNCTION_INFO_V1(scoreboard_explain_receipt);

#define KEYS_TRIED 100			/* beside the one that is named; the newest */
#define NAMES_TRIED 100			/* boards, prefixes of issuers */
#define GIVEN_MAX 65536			/* bytes that the caller says were signed: some are of another form altogether */

static SavedPlan keys_plan = {
	.text = "SELECT key_id::text FROM scoreboard.signing_key ORDER BY created_at DESC, key_id LIMIT $1",
	.nargs = 1, .types = {INT8OID}
};

static SavedPlan session_keys_plan = {
	.text = "SELECT key_id FROM scoreboard.session_key WHERE user_id = $2 ORDER BY created_at DESC, key_id LIMIT $1",
	.nargs = 2, .types = {INT8OID, TEXTOID}
};

static SavedPlan boards_plan = {
	.text = "SELECT name::text FROM scoreboard.board ORDER BY board_id LIMIT $1",
	.nargs = 1, .types = {INT8OID}
};

static SavedPlan prefixes_plan = {
	.text = "SELECT user_id_prefix::text FROM scoreboard.jwt_issuer WHERE user_id_prefix <> '' ORDER BY issuer LIMIT $1",
	.nargs = 1, .types = {INT8OID}
};

/* What is asked about. */
typedef struct Question
{
	const char *user_id;
	Request		request;
	const Board *board;
	const ActionRule *rule;
	ReceiptFields fields;
	ReceiptAlternative *alternatives;
	int			alternative_count;
	List	   *other_keys;		/* of char *: names of keys that may have signed instead */
	char		right[RECEIPT_SIGNED_MAX];
	size_t		right_length;
	const char *given;			/* bytes that the caller says were signed, or NULL */
	size_t		given_length;
	StringInfoData findings;	/* elements of a JSON array */
} Question;

static void
append_text(StringInfo json, const char *text)
{
	escape_json(json, text);
}

/* Bytes as they stand where they are text, else as hex. */
static void
append_bytes(StringInfo json, const char *bytes, size_t length)
{
	if (memchr(bytes, '\0', length) == NULL && pg_verify_mbstr(PG_UTF8, bytes, (int) length, true))
		append_text(json, pnstrdup(bytes, length));
	else
	{
		appendStringInfoString(json, "\"\\\\x");
		for (size_t i = 0; i < length; i++)
			appendStringInfo(json, "%02x", (unsigned char) bytes[i]);
		appendStringInfoChar(json, '"');
	}
}

static void
add_finding(void *argument, const char *sentence)
{
	StringInfo	findings = argument;

	if (findings->len > 0)
		appendStringInfoChar(findings, ',');
	append_text(findings, sentence);
}

/* ---------- what it is tried with ---------- */

static List *
read_names(SavedPlan *plan, const char *user_id, int count)
{
	Datum		values[2] = {Int64GetDatum(count), user_id ? CStringGetTextDatum(user_id) : (Datum) 0};
	MemoryContext caller = CurrentMemoryContext;
	List	   *names = NIL;
	int			pin = plan_connect();

	plan_read(plan, values, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = plan_known_text(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext inner = MemoryContextSwitchTo(caller);

		names = lappend(names, pstrdup(name));
		MemoryContextSwitchTo(inner);
	}
	plan_finish(pin);
	return names;
}

static void
add_alternative(Question *question, int line, const char *text, const char *meaning)
{
	ReceiptAlternative *alternative = &question->alternatives[question->alternative_count++];

	alternative->line = line;
	alternative->text = text;
	alternative->meaning = meaning;
}

/* The same user without the prefix that an issuer's players have, or with one. */
static void
add_prefixes(Question *question, const List *prefixes)
{
	ListCell   *cell;

	foreach(cell, prefixes)
	{
		const char *prefix = lfirst(cell);

		if (strncmp(question->user_id, prefix, strlen(prefix)) == 0)
			add_alternative(question, 3, question->user_id + strlen(prefix),
							psprintf("the token's claim alone; the issuer's prefix \"%s\" belongs before it", prefix));
		else
			add_alternative(question, 3, psprintf("%s%s", prefix, question->user_id),
							psprintf("an issuer's prefix, \"%s\", that this user_id doesn't have", prefix));
	}
}

static void
gather_alternatives(Question *question)
{
	List	   *boards = read_names(&boards_plan, NULL, NAMES_TRIED);
	List	   *prefixes = read_names(&prefixes_plan, NULL, NAMES_TRIED);
	const char *database = get_database_name(MyDatabaseId);
	ListCell   *cell;

	question->alternatives = palloc((list_length(boards) + list_length(prefixes) + 8) * sizeof(ReceiptAlternative));
	add_alternative(question, 1, database, psprintf("the database's name; the setting scoreboard.audience is \"%s\"", question->fields.audience));
	add_alternative(question, 1, "", "an empty audience");
	add_alternative(question, 1, "scoreboard", "the audience \"scoreboard\"");
	add_alternative(question, 2, "", "an empty board; where none is sent it is \"global\"");
	foreach(cell, boards)
		add_alternative(question, 2, lfirst(cell), psprintf("another board, \"%s\"", (char *) lfirst(cell)));
	add_prefixes(question, prefixes);
	if (question->rule->points_fixed)
		add_alternative(question, 6, psprintf(INT64_FORMAT, question->rule->points), "the points that the action type fixes; the line is empty then");
}

/* ---------- one part ---------- */

typedef struct PartTest
{
	const unsigned char *mac;
	const char *secret;			/* 64 characters */
	bool		decoded;		/* the match came with the decoded key */
	MemoryContext work;
} PartTest;

static bool
matches(PartTest *test, const char *bytes, size_t length, bool decode)
{
	MemoryContext caller = MemoryContextSwitchTo(test->work);
	char		key[64];
	size_t		key_length = strlen(test->secret);
	bool		found;

	memcpy(key, test->secret, Min(key_length, sizeof(key)));
	if (decode)
		key_length = hex_decode(test->secret, key_length, key);
	found = receipt_mac_matches(bytes, length, key, key_length, test->mac);
	explicit_bzero(key, sizeof(key));
	MemoryContextSwitchTo(caller);
	MemoryContextReset(test->work);
	CHECK_FOR_INTERRUPTS();
	return found;
}

static bool
test_bytes(void *argument, const char *bytes, size_t length)
{
	PartTest   *test = argument;

	test->decoded = false;
	if (matches(test, bytes, length, false))
		return true;
	test->decoded = matches(test, bytes, length, true);
	return test->decoded;
}

static const char *const decoded_key = "The key was decoded from hex; its 64 characters as they stand are the HMAC key.";

/* What would explain the signature by this key. False: nothing would. */
static bool
explain_by(const Question *question, PartTest *test, bool times, StringInfo sentence)
{
	char		found[RECEIPT_MISTAKE_MAX] = "";

	if (!test_bytes(test, question->right, question->right_length) &&
		!receipt_mistake_find(&question->fields, question->alternatives, question->alternative_count, times, test_bytes, test, found))
		return false;
	appendStringInfoString(sentence, found);
	if (test->decoded)
		appendStringInfo(sentence, "%s%s", found[0] ? " " : "", decoded_key);
	return true;
}

/* A key by its name, whatever kind of proof is asked for. Its secret in *room where it is a session key. */
static const SigningKey *
any_key(const Question *question, const char *key_id, SigningKey *room)
{
	if (session_key_find(key_id, question->user_id, room))
		return room;
	return config_signing_key(key_id);
}

static const char *
state_of_key(const Question *question, const char *key_id, const SigningKey *key)
{
	SigningKey	room;
	TimestampTz now = GetCurrentTimestamp();

	if (key == NULL)
		return "unknown";
	if (receipt_key(key_id, question->user_id, question->board, question->rule, &room) == NULL)
		return key->signing_key_id == 0 || question->rule->proof == PROOF_SESSION ? "of another kind" : "limited";
	if (key->revoked)
		return "revoked";
	return now < key->valid_from ? "not valid yet" : now >= key->valid_until ? "expired" : "valid";
}

static const char *
sentence_of_state(const char *state)
{
	if (strcmp(state, "unknown") == 0)
		return "There is no key of that name here, or it is another player's session key.";
	if (strcmp(state, "of another kind") == 0)
		return "The action type demands a receipt by a key of another kind: of a service, or of the player's session.";
	if (strcmp(state, "limited") == 0)
		return "The key is limited to other boards or action types.";
	if (strcmp(state, "revoked") == 0)
		return "The key is revoked.";
	return strcmp(state, "expired") == 0 ? "The key's time is over." : strcmp(state, "not valid yet") == 0 ? "The key's time has not begun." : NULL;
}

/* Another key than the one that is named? */
static bool
explain_by_others(const Question *question, const char *key_id, PartTest *test, StringInfo sentence)
{
	ListCell   *cell;

	foreach(cell, question->other_keys)
	{
		const char *other = lfirst(cell);
		SigningKey	room;
		const SigningKey *key = strcmp(other, key_id) == 0 ? NULL : any_key(question, other, &room);

		if (key == NULL)
			continue;
		test->secret = key->secret;
		if (explain_by(question, test, false, sentence))
		{
			appendStringInfo(sentence, "%sIt was signed by key \"%s\", not by the one that is named.", sentence->len > 0 ? " " : "", other);
			return true;
		}
	}
	return false;
}

/* Nothing usual; perhaps the bytes that the caller says it has signed. */
static void
explain_given(const Question *question, const SigningKey *key, PartTest *test, StringInfo sentence)
{
	if (key == NULL || question->given == NULL)
	{
		appendStringInfoString(sentence, "No usual mistake explains the signature: compare the secret, and pass the bytes that were signed as signed_bytes.");
		return;
	}
	test->secret = key->secret;
	if (test_bytes(test, question->given, question->given_length))
		appendStringInfo(sentence, "It is the signature of the bytes that were passed.%s%s", test->decoded ? " " : "", test->decoded ? decoded_key : "");
	else
		appendStringInfoString(sentence, "It is not the key's HMAC-SHA256 of the bytes that were passed: another secret, or another function, has signed.");
}

static bool
append_part(Question *question, const ReceiptPart *part, MemoryContext work, StringInfo json)
{
	SigningKey	room;
	const SigningKey *key = any_key(question, part->key_id, &room);
	const char *state = state_of_key(question, part->key_id, key);
	PartTest	test = {.mac = part->mac, .work = work};
	StringInfoData sentence;
	bool		right = false;

	initStringInfo(&sentence);
	if (key != NULL)
	{
		test.secret = key->secret;
		right = test_bytes(&test, question->right, question->right_length) && !test.decoded;
	}
	if (!right && !(key && explain_by(question, &test, true, &sentence)) &&
		!explain_by_others(question, part->key_id, &test, &sentence))
		explain_given(question, key, &test, &sentence);
	if (sentence_of_state(state))
		appendStringInfo(&sentence, "%s%s", sentence.len > 0 ? " " : "", sentence_of_state(state));

	appendStringInfo(json, "%s{\"keyId\":", json->data[json->len - 1] == '[' ? "" : ",");
	append_text(json, part->key_id);
	appendStringInfo(json, ",\"key\":\"%s\",\"signature\":\"%s\",\"explanation\":", state, right ? "right" : "wrong");
	if (sentence.len > 0)
		append_text(json, sentence.data);
	else
		appendStringInfoString(json, "null");
	appendStringInfoChar(json, '}');
	return right && strcmp(state, "valid") == 0;
}

/* ---------- the whole ---------- */

static void
check(bool passed, const Refusal *refusal)
{
	if (!passed)
		refusal_raise(refusal);
}

/* The arguments from the third on, as those of an increment. */
static void
read_question(FunctionCallInfo fcinfo, Question *question)
{
	Request    *request = &question->request;
	Refusal		refusal;

	question->user_id = argument_user_id(fcinfo, 2);
	request->action_type = argument_text(fcinfo, 3);
	request->action_id = argument_text(fcinfo, 4);
	request->board = argument_text(fcinfo, 5);
	request->points = argument_int64(fcinfo, 6, &request->has_points);
	request->issued_at = argument_int64(fcinfo, 7, &request->has_issued_at);
	request->subscore = argument_int64(fcinfo, 8, &request->has_subscore);
	request->detail = argument_text(fcinfo, 9);
	if (!PG_ARGISNULL(1))
	{
		bytea	   *given = PG_GETARG_BYTEA_PP(1);

		question->given = VARDATA_ANY(given);
		question->given_length = VARSIZE_ANY_EXHDR(given);
		if (question->given_length > GIVEN_MAX)
			check(refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL, "signed_bytes must not have more than %d bytes", GIVEN_MAX), &refusal);
	}
	check(request_check(request, &refusal), &refusal);
	if (!request->has_issued_at)
		check(refuse(&refusal, REFUSAL_INVALID_REQUEST, "Send the issued_at that the receipt signs.", "a receipt needs issued_at"), &refusal);
	question->board = config_board(request->board);
	if (question->board == NULL)
		check(refuse(&refusal, REFUSAL_NOT_FOUND, "scoreboard.board lists the boards.", "there is no board \"%s\"", request->board), &refusal);
	question->rule = config_action_rule(question->board, request->action_type);
	if (question->rule == NULL)
		check(refuse(&refusal, REFUSAL_ACTION_NOT_ALLOWED, "scoreboard.action_type lists the action types.",
					 "there is no action type \"%s\"", request->action_type), &refusal);
}

static void
fill_fields(Question *question)
{
	const Request *request = &question->request;

	question->fields = (ReceiptFields) {
		.audience = receipt_audience(),
		.board = question->board->name,
		.user_id = question->user_id,
		.action_type = request->action_type,
		.action_id = request->action_id,
		.has_points = request->has_points,
		.points = request->points,
		.has_subscore = request->has_subscore,
		.subscore = request->subscore,
		.detail = request->detail,
		.issued_at = request->issued_at,
	};
	question->right_length = receipt_form_write(&question->fields, question->right);
	if (question->right_length == 0)
		elog(ERROR, "the bytes that a receipt signs could not be written");
}

/* What an increment would be refused for beside its signature. */
static void
look_beside(Question *question)
{
	const ActionRule *rule = question->rule;
	int64		age = timestamptz_to_time_t(GetCurrentTimestamp()) - question->request.issued_at;
	int64		max_age = age >= 0 && rule->receipt_max_age >= 0 ? rule->receipt_max_age : scoreboard_receipt_window;

	if (rule->proof == PROOF_TRUSTED || rule->proof == PROOF_GRANT)
		add_finding(&question->findings, psprintf("The action type's proof is \"%s\": it takes no receipt.", rule->proof == PROOF_GRANT ? "grant" : "trusted"));
	if (question->request.has_points && rule->points_fixed)
		add_finding(&question->findings, "The action type fixes the points: leave them out, and their line empty.");
	if (!question->request.has_points && !rule->points_fixed)
		add_finding(&question->findings, "The action type leaves the points open: send and sign them.");
	if (question->request.issued_at > INT64CONST(100000000000))
		add_finding(&question->findings, "issued_at looks like milliseconds; it is whole seconds since 1970.");
	else if (Abs(age) > max_age)
		add_finding(&question->findings, psprintf("issued_at is " INT64_FORMAT " seconds %s the server's clock, of at most " INT64_FORMAT ": RECEIPT_EXPIRED.",
												  Abs(age), age < 0 ? "ahead of" : "behind", max_age));
}

static void
append_difference(const Question *question, StringInfo json)
{
	ReceiptDifference difference;

	if (question->given == NULL)
		return;
	appendStringInfoString(json, ",\"difference\":");
	if (!receipt_difference_find(question->right, question->right_length, question->given, question->given_length, &difference))
	{
		appendStringInfoString(json, "null");
		return;
	}
	appendStringInfoString(json, "{\"what\":");
	append_text(json, difference.what);
	if (difference.line >= 0)
	{
		appendStringInfo(json, ",\"line\":%d,\"field\":\"%s\",\"expected\":", difference.line + 1, receipt_line_names[difference.line]);
		append_bytes(json, difference.expected, difference.expected_length);
		appendStringInfoString(json, ",\"given\":");
		append_bytes(json, difference.given, difference.given_length);
	}
	appendStringInfoChar(json, '}');
}

/* The parts as they are, or as they were probably meant. How many. */
static int
read_parts(Question *question, const char *receipt, ReceiptPart parts[RECEIPT_MAX_PARTS], bool *well_formed)
{
	char		mended[RECEIPT_MAX_BYTES + 1];
	int			count = receipt ? receipt_form_read(receipt, parts) : 0;

	*well_formed = count > 0;
	if (count > 0)
		return count;
	if (receipt == NULL)
	{
		add_finding(&question->findings, "There is no receipt.");
		return 0;
	}
	add_finding(&question->findings, "The receipt is ill-formed: it is v1:<key id>:<64 lower-case hex digits>, at most 4 of them with one space between.");
	receipt_form_mend(receipt, mended, add_finding, &question->findings);
	return receipt_form_read(mended, parts);
}

static bool
append_parts(Question *question, const char *receipt, StringInfo json)
{
	ReceiptPart parts[RECEIPT_MAX_PARTS];
	bool		well_formed;
	int			count = read_parts(question, receipt, parts, &well_formed);
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "scoreboard explain", ALLOCSET_SMALL_SIZES);
	bool		verifies = false;

	appendStringInfoString(json, ",\"parts\":[");
	for (int i = 0; i < count; i++)
		verifies |= append_part(question, &parts[i], work, json);
	appendStringInfoChar(json, ']');
	MemoryContextDelete(work);
	return verifies && well_formed;
}

/*
 * scoreboard_explain_receipt(receipt text, signed_bytes bytea, user_id text, action_type text, action_id text, board text,
 * points bigint, issued_at bigint, subscore bigint, detail text) returns jsonb
 */
Datum
scoreboard_explain_receipt(PG_FUNCTION_ARGS)
{
	const char *receipt = argument_text(fcinfo, 0);
	Question	question = {0};
	StringInfoData json;
	bool		verifies;

	hide_statement();
	config_begin_call();
	read_question(fcinfo, &question);
	fill_fields(&question);
	gather_alternatives(&question);
	question.other_keys = list_concat(read_names(&session_keys_plan, question.user_id, KEYS_TRIED), read_names(&keys_plan, NULL, KEYS_TRIED));
	initStringInfo(&question.findings);
	initStringInfo(&json);
	appendStringInfoString(&json, "{\"signedBytes\":");
	append_bytes(&json, question.right, question.right_length);
	append_difference(&question, &json);
	verifies = append_parts(&question, receipt, &json);
	look_beside(&question);
	appendStringInfo(&json, ",\"verifies\":%s,\"findings\":[%s]}", verifies ? "true" : "false", question.findings.data);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
