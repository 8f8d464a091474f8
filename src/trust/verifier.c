/*
 * trust/verifier.c - a function of an administrator's that looks at new actions
 *
 * It runs as its owner, in a subtransaction that is rolled back whatever it answers: what it locks, sets and opens goes with
 * it. That transaction is read-only and a SECURITY_RESTRICTED_OPERATION (no SET ROLE, temporary tables, prepared statements,
 * held cursors); its arguments are the action, and neither the statements that led to it nor the settings that a layer hands claims and
 * headers over in can be read meanwhile, nor is what else the session has within its reach (confinement.c). What no rollback takes back,
 * advisory locks that it takes for the session, is released by hand.
 *
 * A timer of its own ends it: from scoreboard.verifier_timeout on it is cancelled again and again, since a function may catch a
 * cancel; if that doesn't end it within GRACE_MS, the session is. A cancel that is meant for the whole statement is noted
 * where its signal arrives, and honoured even if the function has swallowed it.
 *
 * A verifier is known by name, owner included, not by oid: names are what a dump holds, and a function that somebody else makes in its
 * place is none.
 *
 * Locks: none that outlives it; the caller holds none of a player, so whatever the function waits for holds up nobody.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/plan.h"
#include "base/season.h"
#include "plain/keyed_hash.h"
#include "trust/confinement.h"
#include "trust/verifier.h"

/* How often a function that is late is cancelled, and for how long, before its session is ended. */
#define CANCEL_MS 10
#define GRACE_MS 1000

static const char *const hidden_settings[] = {
	"request.headers", "request.cookies", "request.jwt.claims", "request.jwt"
};

static SavedPlan look_plan = {
	.text = "SELECT EXISTS (SELECT FROM scoreboard.action a WHERE a.player_id = p.player_id AND a.action_id = $2),"
	" coalesce(p.flagged, false) OR EXISTS (SELECT FROM scoreboard.flag f WHERE f.user_id = $1 AND f.cleared_at IS NULL)"
	" FROM (VALUES ($1)) AS v (user_id) LEFT JOIN scoreboard.player p ON p.user_id = v.user_id",
	.nargs = 2, .types = {TEXTOID, TEXTOID}
};

/* ---------------------------------------------------------------------------
 * Which function
 * ------------------------------------------------------------------------- */

/* With pg_temp last, so that no temporary table of the session's stands in for the function's own. */
static bool
sets_search_path(ArrayType *settings)
{
	Datum	   *elements;
	int			count;

	deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *setting = TextDatumGetCString(elements[i]);
		List	   *schemas;

		if (strncmp(setting, "search_path=", strlen("search_path=")) == 0)
			return SplitIdentifierString(setting + strlen("search_path="), ',', &schemas) &&
				schemas != NIL && strcmp(llast(schemas), "pg_temp") == 0;
	}
	return false;
}

static bool
resolves_names_by_itself(HeapTuple tuple)
{
	bool		isnull;
	Datum		settings;

	(void) SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (!isnull)
		return true;
	settings = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	return !isnull && sets_search_path(DatumGetArrayTypeP(settings));
}

const char *
verifier_complaint(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	const char *complaint = NULL;
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		return "is gone";
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind != PROKIND_FUNCTION || form->proretset || form->prorettype != BOOLOID ||
		form->pronargs != 1 || form->proargtypes.values[0] != JSONBOID)
		complaint = "does not take one jsonb and return boolean";
	else if (form->prosecdef)
		complaint = "is SECURITY DEFINER";
	else if (!resolves_names_by_itself(tuple))
		complaint = "has no search_path of its own that ends with pg_temp";
	else if (!compat_may_execute(function, form->proowner))
		complaint = "may not be executed by its owner";
	ReleaseSysCache(tuple);
	return complaint;
}

/* By its name; or why not. */
static Oid
find_function(const Verifier *verifier, Oid *owner, const char **complaint)
{
	Oid			schema = get_namespace_oid(verifier->function_schema, true);
	Oid			arguments[] = {JSONBOID};
	HeapTuple	tuple = NULL;
	Oid			function = InvalidOid;

	if (OidIsValid(schema))
		tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(verifier->function_name),
								PointerGetDatum(buildoidvector(arguments, 1)), ObjectIdGetDatum(schema));
	*complaint = "is gone";
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	*owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	function = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
	ReleaseSysCache(tuple);
	*complaint = get_role_oid(verifier->owner, true) == *owner ? verifier_complaint(function) : "has another owner now";
	return function;
}

/* ---------------------------------------------------------------------------
 * Whether
 * ------------------------------------------------------------------------- */

/* The same for an action as long as the server runs: a hash whose key nobody knows. */
static bool
is_drawn(const Increment *increment, double fraction)
{
	char	   *text = psprintf("%s\n%s", increment->user_id, increment->request.action_id);
	uint64		hash = keyed_hash64(scoreboard_hash_key(1), scoreboard_hash_key(0), text, strlen(text));

	pfree(text);
	return (double) (hash >> 11) / (double) (UINT64CONST(1) << 53) < fraction;
}

bool
verifier_is_demanded(const Increment *increment)
{
	const Verifier *verifier = increment->rule->verifier;
	Datum		values[2];
	bool		counted;
	bool		flagged;
	int			pin;

	if (verifier == NULL)
		return false;
	pin = plan_connect();
	values[0] = CStringGetTextDatum(increment->user_id);
	values[1] = CStringGetTextDatum(increment->request.action_id);
	plan_read(&look_plan, values, NULL, 1);
	counted = DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	flagged = DatumGetBool(plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	plan_finish(pin);
	return !counted && (flagged || is_drawn(increment, verifier->fraction));
}

/* ---------------------------------------------------------------------------
 * The timer, and cancels
 * ------------------------------------------------------------------------- */

static TimeoutId timer = MAX_TIMEOUTS;
static volatile sig_atomic_t late = 0;	/* how often it has been cancelled by us */
static volatile sig_atomic_t statement_cancelled = false;

/* Signal handler. */
static void
cancel_function(void)
{
	late++;
	if (late > GRACE_MS / CANCEL_MS)
		ProcDiePending = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* Signal handler, in place of the server's: lock_timeout, too, comes as this signal, and means one wait only. */
static void
cancel_statement(SIGNAL_ARGS)
{
	if (!get_timeout_indicator(LOCK_TIMEOUT, false))
		statement_cancelled = true;
	StatementCancelHandler(COMPAT_SIGNAL_ARGS);
}

static void
start_timer(void)
{
	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, cancel_function);
	late = 0;
	statement_cancelled = false;
	pqsignal(SIGINT, cancel_statement);
	enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), scoreboard_verifier_timeout), CANCEL_MS);
}

/* A cancel of ours that came too late must not end anything else. */
static void
stop_timer(void)
{
	disable_timeout(timer, false);
	pqsignal(SIGINT, StatementCancelHandler);
	if (late > 0 && !statement_cancelled)
		QueryCancelPending = false;
}

/* ---------------------------------------------------------------------------
 * Advisory locks of the session: the only ones that a rollback leaves
 * ------------------------------------------------------------------------- */

static bool
is_users_lock(const LockInstanceData *lock)
{
	return lock->pid == MyProcPid && lock->holdMask != 0 && lock->locktag.locktag_lockmethodid == USER_LOCKMETHOD;
}

static bool
was_held(const LockData *before, const LOCKTAG *tag, LOCKMODE mode)
{
	for (int i = 0; i < before->nelements; i++)
	{
		if (is_users_lock(&before->locks[i]) && memcmp(&before->locks[i].locktag, tag, sizeof(LOCKTAG)) == 0 &&
			(before->locks[i].holdMask & LOCKBIT_ON(mode)) != 0)
			return true;
	}
	return false;
}

static void
release_new_locks(const LockData *before)
{
	LockData   *now = GetLockStatusData();

	for (int i = 0; i < now->nelements; i++)
	{
		const LOCKTAG *tag = &now->locks[i].locktag;

		if (!is_users_lock(&now->locks[i]))
			continue;
		for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
		{
			if (was_held(before, tag, mode))
				continue;
			while (compat_lock_held_by_me(tag, mode) && LockRelease(tag, mode, true))
				;
		}
	}
}

/* ---------------------------------------------------------------------------
 * Running it
 * ------------------------------------------------------------------------- */

static void
append_text(StringInfo json, const char *name, const char *text)
{
	appendStringInfo(json, ",\"%s\":", name);
	if (text)
		escape_json(json, text);
	else
		appendStringInfoString(json, "null");
}

static void
append_number(StringInfo json, const char *name, bool given, int64 number)
{
	if (given)
		appendStringInfo(json, ",\"%s\":" INT64_FORMAT, name, number);
	else
		appendStringInfo(json, ",\"%s\":null", name);
}

/* All that is known of the action; not what proved it. */
static Datum
action_json(const Increment *increment)
{
	const Request *request = &increment->request;
	const ActionRule *rule = increment->rule;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"userId\":");
	escape_json(&json, increment->user_id);
	append_text(&json, "board", increment->board->name);
	append_number(&json, "season", true, season_running(increment->board));
	append_text(&json, "actionType", request->action_type);
	append_text(&json, "actionId", request->action_id);
	append_number(&json, "points", true, rule->points_fixed ? rule->points : request->points);
	append_number(&json, "subscore", request->has_subscore, request->subscore);
	append_text(&json, "detail", request->detail);
	append_number(&json, "issuedAt", request->has_issued_at, request->issued_at);
	append_text(&json, "keyId", increment->key_id[0] ? increment->key_id : NULL);
	append_text(&json, "requestId", request->request_id);
	append_text(&json, "clientAddress", request->client_address);
	appendStringInfo(&json, ",\"metadata\":%s}",
					 request->metadata ? JsonbToCString(NULL, &request->metadata->root, VARSIZE(request->metadata)) : "{}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
hide_settings(void)
{
	for (int i = 0; i < lengthof(hidden_settings); i++)
	{
		if (GetConfigOption(hidden_settings[i], true, false) != NULL)
			(void) set_config_option(hidden_settings[i], "", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	}
}

/* In the subtransaction, whose end restores user, search_path, settings and all. */
static bool
call_function(Oid function, Oid owner, Datum action)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	flinfo;
	Datum		answer;
	Oid			user;
	int			context;

	(void) plan_pin();
	hide_settings();
	XactReadOnly = true;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
	PushActiveSnapshot(GetTransactionSnapshot());
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = action;
	fcinfo->args[0].isnull = false;
	answer = FunctionCallInvoke(fcinfo);
	return !fcinfo->isnull && DatumGetBool(answer);
}

/* NULL where it came to an end; else its error. Nothing of it is left. */
static ErrorData *
run(Oid function, Oid owner, Datum action, bool *answer)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner resource_owner = CurrentResourceOwner;
	const char *statement = debug_query_string;
	LockData   *locks = GetLockStatusData();
	int			level = GetCurrentTransactionNestLevel();
	Confinement *volatile confinement = NULL;
	ErrorData  *volatile error = NULL;

	*answer = false;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	debug_query_string = NULL;
	PG_TRY();
	{
		start_timer();
		confinement = confinement_begin();
		*answer = call_function(function, owner, action);
		HOLD_INTERRUPTS();
		stop_timer();
		RESUME_INTERRUPTS();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		stop_timer();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	debug_query_string = statement;
	while (GetCurrentTransactionNestLevel() > level)
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = resource_owner;
	if (confinement)
		confinement_end(confinement);
	release_new_locks(locks);
	return error;
}

/* What was meant for the whole statement ends it, whether the function let it pass or not. */
static void
end_statement(ErrorData *error)
{
	if (error && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling statement due to user request")));
}

static bool
judge(Increment *increment, bool answer, const ErrorData *error, Refusal *refusal)
{
	if (late > 0)
		increment->flag = psprintf("took longer than scoreboard.verifier_timeout, %d ms", scoreboard_verifier_timeout);
	else if (error && ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK)
		/* Another transaction's doing. */
		return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Send the request again under the same idempotency key.",
						  "the action could not be verified now");
	else if (error)
		increment->flag = psprintf("error %s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	else if (!answer)
		increment->flag = "answered false";
	else
		return true;
	return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, NULL, "the action was not verified");
}

bool
verifier_pass(Increment *increment, VerifierPatience *patience, Refusal *refusal)
{
	const Verifier *verifier = increment->rule->verifier;
	const char *complaint;
	Oid			owner = InvalidOid;
	Oid			function = find_function(verifier, &owner, &complaint);
	instr_time	start;
	instr_time	passed;
	ErrorData  *error;
	bool		answer;

	if (complaint)
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "An administrator sets another with scoreboard_set_verifier().",
					  "action type \"%s\" can't be verified: its verifier %s", increment->request.action_type, complaint);
	/* Others have used it up. */
	if (patience->spent_us >= scoreboard_verifier_timeout * INT64CONST(1000))
		return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Send the request again under the same idempotency key, in a call of its own.",
						  "there is no time left to verify the action");
	INSTR_TIME_SET_CURRENT(start);
	error = run(function, owner, action_json(increment), &answer);
	INSTR_TIME_SET_CURRENT(passed);
	INSTR_TIME_SUBTRACT(passed, start);
	patience->spent_us += INSTR_TIME_GET_MICROSEC(passed);
	if (statement_cancelled)
		end_statement(error);
	return judge(increment, answer, error, refusal);
}
