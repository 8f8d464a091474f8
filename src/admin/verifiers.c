/*
 * admin/verifiers.c - which function looks at new actions of a type
 *
 * Whoever sets one must own it, since it runs with its owner's rights from then on. So this function runs as its caller, not as
 * the extension's owner: asking for the role of the session would let a function that an administrator calls decide for the
 * administrator. Only the row is written as the table's owner.
 *
 * Locks: scoreboard.verifier (ROW EXCLUSIVE).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "base/hidden_statement.h"
#include "base/plan.h"
#include "base/refusal.h"
#include "trust/verifier.h"

PG_FUNCTION_INFO_V1(scoreboard_set_verifier);

static SavedPlan type_plan = {
	.text = "SELECT action_type_id::int FROM scoreboard.action_type WHERE name = $1",
	.nargs = 1, .types = {TEXTOID}
};

static SavedPlan set_plan = {
	.text = "INSERT INTO scoreboard.verifier AS v (action_type_id, function_schema, function_name, owner, fraction, set_by)"
	" SELECT $1, n.nspname, p.proname, r.rolname, $3, $4 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner"
	" WHERE p.oid = $2"
	" ON CONFLICT (action_type_id) DO UPDATE SET function_schema = excluded.function_schema, function_name = excluded.function_name,"
	" owner = excluded.owner, fraction = excluded.fraction, set_by = excluded.set_by, set_at = now()",
	.nargs = 4, .types = {INT4OID, OIDOID, FLOAT8OID, NAMEOID}
};

static SavedPlan remove_plan = {
	.text = "DELETE FROM scoreboard.verifier WHERE action_type_id = $1",
	.nargs = 1, .types = {INT4OID}
};

static Oid
table_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(get_relname_relid("verifier", get_namespace_oid("scoreboard", false))));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "there is no table scoreboard.verifier");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static bool
check(Oid function, float8 fraction, Refusal *refusal)
{
	const char *complaint;

	if (!(fraction >= 0 && fraction <= 1))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "0: only flagged players' actions; 1: all.", "fraction must be between 0 and 1");
	if (!OidIsValid(function))
		return true;
	complaint = verifier_complaint(function);
	if (complaint)
		return refuse(refusal, REFUSAL_INVALID_REQUEST,
					  "It must take the action as one jsonb, return boolean, run as its caller, and SET search_path to what it needs with pg_temp last.",
					  "the function %s", complaint);
	if (!compat_owns_function(function, GetUserId()))
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "Have its owner call this.",
					  "only the owner of a function may make a verifier of it, since it runs with the owner's rights");
	return true;
}

/* False where there is no such type. Runs as the table's owner. */
static bool
store(Datum action_type, Oid function, float8 fraction, const char *caller)
{
	Datum		values[4] = {action_type};
	NameData	name;
	bool		found;

	namestrcpy(&name, caller);
	plan_read(&type_plan, values, NULL, 1);
	found = SPI_processed > 0;
	if (!found)
		return false;
	values[0] = plan_datum(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	values[1] = ObjectIdGetDatum(function);
	values[2] = Float8GetDatum(fraction);
	values[3] = NameGetDatum(&name);
	if (OidIsValid(function))
		plan_write(&set_plan, values, NULL, SPI_OK_INSERT);
	else
		plan_write(&remove_plan, values, NULL, SPI_OK_DELETE);
	return true;
}

Datum
scoreboard_set_verifier(PG_FUNCTION_ARGS)
{
	Refusal		refusal;
	Datum		action_type = PG_ARGISNULL(0) ? CStringGetTextDatum("") : PG_GETARG_DATUM(0);
	Oid			function = PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1);
	float8		fraction = PG_ARGISNULL(2) ? 1 : PG_GETARG_FLOAT8(2);
	Oid			user;
	int			context;
	int			pin;
	bool		found;

	hide_statement();
	require_primary("change verifiers");
	if (!check(function, fraction, &refusal))
		refusal_raise(&refusal);
	GetUserIdAndSecContext(&user, &context);
	/* An error takes it back with the (sub)transaction. */
	SetUserIdAndSecContext(table_owner(), context | SECURITY_LOCAL_USERID_CHANGE);
	pin = plan_connect();
	found = store(action_type, function, fraction, GetUserNameFromId(user, false));
	plan_finish(pin);
	SetUserIdAndSecContext(user, context);
	if (!found)
	{
		refuse(&refusal, REFUSAL_NOT_FOUND, "scoreboard.action_type lists the action types.", "there is no such action type");
		refusal_raise(&refusal);
	}
	PG_RETURN_VOID();
}
