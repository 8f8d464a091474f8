/*
 * trust/confinement.c - what a session has besides, kept from a function that runs in it
 *
 * A SECURITY_RESTRICTED_OPERATION keeps a function from leaving things behind. It doesn't keep it from what is there: cursors are
 * found by name whoever opened them, and fetched from, closed; functions of the server list them and the prepared statements with
 * their texts, which may hold a token; let go of advisory locks, which nobody could take again unnoticed; and seed the generator that the
 * session's next random numbers come from. Statements further out stand in the error context.
 *
 * Cursors are made such as can't be run, closed or listed meanwhile; those functions are refused wherever an expression
 * calls them. No locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"

#include "base/plan.h"
#include "trust/confinement.h"

typedef struct ShutPortal
{
	const char *name;
	PortalStatus status;
	bool		visible;
	bool		pinned;
} ShutPortal;

struct Confinement
{
	ErrorContextCallback *context;
	int			count;
	ShutPortal *portals;
};

static const Oid refused_functions[] = {
	F_PG_ADVISORY_UNLOCK_INT8, F_PG_ADVISORY_UNLOCK_SHARED_INT8, F_PG_ADVISORY_UNLOCK_INT4_INT4, F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4,
	F_PG_ADVISORY_UNLOCK_ALL, F_PG_PREPARED_STATEMENT, F_SETSEED
};

/* Those that pg_cursors doesn't list are a protocol's: no function can name them. */
static SavedPlan cursors_plan = {.text = "SELECT name FROM pg_catalog.pg_cursor()"};

static object_access_hook_type previous_hook = NULL;

static void
refuse_function(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *argument)
{
	if (previous_hook)
		previous_hook(access, class_id, object_id, sub_id, argument);
	if (access != OAT_FUNCTION_EXECUTE)
		return;
	for (int i = 0; i < lengthof(refused_functions); i++)
	{
		if (refused_functions[i] == object_id)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("a verifier may not call %s()", get_func_name(object_id))));
	}
}

/* Before anything is changed, since this may raise. */
static void
find_portals(Confinement *confinement)
{
	MemoryContext caller = CurrentMemoryContext;
	int			pin = plan_connect();

	plan_read(&cursors_plan, NULL, NULL, 0);
	confinement->portals = MemoryContextAlloc(caller, Max(SPI_processed, 1) * sizeof(ShutPortal));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = plan_known_text(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		if (GetPortalByName(name))
			confinement->portals[confinement->count++].name = MemoryContextStrdup(caller, name);
	}
	plan_finish(pin);
}

Confinement *
confinement_begin(void)
{
	Confinement *confinement = palloc0(sizeof(Confinement));

	find_portals(confinement);
	for (int i = 0; i < confinement->count; i++)
	{
		ShutPortal *shut = &confinement->portals[i];
		Portal		portal = GetPortalByName(shut->name);

		shut->status = portal->status;
		shut->visible = portal->visible;
		shut->pinned = portal->portalPinned;
		if (portal->status == PORTAL_READY)
			portal->status = PORTAL_DEFINED;
		portal->visible = false;
		portal->portalPinned = true;
	}
	confinement->context = error_context_stack;
	error_context_stack = NULL;
	previous_hook = object_access_hook;
	object_access_hook = refuse_function;
	return confinement;
}

void
confinement_end(Confinement *confinement)
{
	object_access_hook = previous_hook;
	error_context_stack = confinement->context;
	for (int i = 0; i < confinement->count; i++)
	{
		ShutPortal *shut = &confinement->portals[i];
		Portal		portal = GetPortalByName(shut->name);

		if (portal == NULL)
			continue;
		portal->status = shut->status;
		portal->visible = shut->visible;
		portal->portalPinned = shut->pinned;
	}
}
