/*
 * base/refusal.c - the error table
 *
 * The only place that knows which code has which SQLSTATE and HTTP status.
 * PostgREST maps SQLSTATE PTxyz to status xyz by itself.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "base/refusal.h"
#include "trust/trusted_request.h"

PG_FUNCTION_INFO_V1(scoreboard_require_primary);

typedef struct RefusalKind
{
	const char *name;
	int			http_status;
	const char *sqlstate;
} RefusalKind;

static const RefusalKind refusal_kinds[REFUSAL_CODES] = {
	[REFUSAL_NONE] = {"NONE", 200, "00000"},
	[REFUSAL_INVALID_REQUEST] = {"INVALID_REQUEST", 400, "PT400"},
	[REFUSAL_UNAUTHORIZED] = {"UNAUTHORIZED", 401, "PT401"},
	[REFUSAL_INVALID_SIGNATURE] = {"INVALID_SIGNATURE", 403, "PT403"},
	[REFUSAL_RECEIPT_EXPIRED] = {"RECEIPT_EXPIRED", 403, "PT403"},
	[REFUSAL_ACTION_NOT_ALLOWED] = {"ACTION_NOT_ALLOWED", 403, "PT403"},
	[REFUSAL_PLAYER_SUSPENDED] = {"PLAYER_SUSPENDED", 403, "PT403"},
	[REFUSAL_NOT_FOUND] = {"NOT_FOUND", 404, "PT404"},
	[REFUSAL_METHOD_NOT_ALLOWED] = {"METHOD_NOT_ALLOWED", 405, "PT405"},
	[REFUSAL_DUPLICATE_ACTION] = {"DUPLICATE_ACTION", 409, "PT409"},
	[REFUSAL_IDEMPOTENCY_MISMATCH] = {"IDEMPOTENCY_MISMATCH", 422, "PT422"},
	[REFUSAL_RATE_LIMITED] = {"RATE_LIMITED", 429, "PT429"},
	[REFUSAL_QUOTA_EXCEEDED] = {"QUOTA_EXCEEDED", 429, "PT429"},
	[REFUSAL_INTERNAL] = {"INTERNAL", 500, "PT500"},
	[REFUSAL_UNAVAILABLE] = {"UNAVAILABLE", 503, "PT503"},
};

static void fill(Refusal *refusal, RefusalCode code, int retry_after, const char *hint,
				 const char *format, va_list args) pg_attribute_printf(5, 0);

static void
fill(Refusal *refusal, RefusalCode code, int retry_after, const char *hint,
	 const char *format, va_list args)
{
	refusal->code = code;
	refusal->retry_after = retry_after;
	refusal->hint = hint;
	refusal->nameless = false;
	/* A message cut in the middle of a character would not be UTF-8: callers keep user text out or short. */
	vsnprintf(refusal->message, sizeof(refusal->message), format, args);
}

bool
refuse(Refusal *refusal, RefusalCode code, const char *hint, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fill(refusal, code, 0, hint, format, args);
	va_end(args);
	return false;
}

bool
refuse_for(Refusal *refusal, RefusalCode code, int retry_after, const char *hint, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fill(refusal, code, Max(retry_after, 1), hint, format, args);
	va_end(args);
	return false;
}

const char *
refusal_name(RefusalCode code)
{
	return refusal_kinds[code].name;
}

int
refusal_http_status(RefusalCode code)
{
	return refusal_kinds[code].http_status;
}

static int
refusal_sqlstate(RefusalCode code)
{
	const char *s = refusal_kinds[code].sqlstate;

	return MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]);
}

/*
 * PostgREST maps PTxyz by itself but sends no Retry-After with it; its own form
 * does: the message is the body, the detail has status and headers.
 */
static void
raise_for_postgrest(const Refusal *refusal)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfo(&body, "{\"code\":\"%s\",\"message\":", refusal_name(refusal->code));
	escape_json(&body, refusal->message);
	appendStringInfo(&body, ",\"details\":\"{\\\"code\\\":\\\"%s\\\",\\\"retryAfter\\\":%d}\",\"hint\":",
					 refusal_name(refusal->code), refusal->retry_after);
	if (refusal->hint)
		escape_json(&body, refusal->hint);
	else
		appendStringInfoString(&body, "null");
	appendStringInfoChar(&body, '}');
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')),
			 errmsg_internal("%s", body.data),
			 errdetail_internal("{\"status\":%d,\"headers\":{\"Retry-After\":\"%d\"}}",
								refusal_http_status(refusal->code), refusal->retry_after)));
}

void
refusal_raise(const Refusal *refusal)
{
	if (refusal->retry_after > 0 && trusted_request_variable("request.method") != NULL)
		raise_for_postgrest(refusal);
	ereport(ERROR,
			(errcode(refusal_sqlstate(refusal->code)),
			 errmsg_internal("%s", refusal->message),
			 refusal->retry_after > 0
			 ? errdetail_internal("{\"code\":\"%s\",\"retryAfter\":%d}", refusal_name(refusal->code), refusal->retry_after)
			 : errdetail_internal("{\"code\":\"%s\"}", refusal_name(refusal->code)),
			 refusal->hint ? errhint("%s", refusal->hint) : 0));
	pg_unreachable();
}

bool
refuse_on_standby(Refusal *refusal, const char *what)
{
	if (!RecoveryInProgress())
		return true;
	return refuse_for(refusal, REFUSAL_UNAVAILABLE, 1, "Send it to the primary.",
					  "this server is a standby and can't %s", what);
}

void
require_primary(const char *what)
{
	Refusal		refusal;

	if (!refuse_on_standby(&refusal, what))
		refusal_raise(&refusal);
}

/* scoreboard.require_primary(what text) */
Datum
scoreboard_require_primary(PG_FUNCTION_ARGS)
{
	require_primary(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

void
raise_no_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("A token, a key or a request's headers could not be checked.")));
	pg_unreachable();
}
