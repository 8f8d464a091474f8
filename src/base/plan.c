/*
 * base/plan.c - SQL statements that a backend prepares once and keeps
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/plan.h"

#define SEARCH_PATH "pg_catalog, pg_temp"

/* Also by a function's SET clause, which stands in quotes where quote_all_identifiers was on at CREATE EXTENSION. */
static bool
is_pinned(void)
{
	return strcmp(namespace_search_path, SEARCH_PATH) == 0 ||
		strcmp(namespace_search_path, "\"pg_catalog\", \"pg_temp\"") == 0;
}

/* As a function's SET clause does it; an error takes it back by itself. */
int
plan_pin(void)
{
	int			level;

	if (is_pinned())
		return 0;
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", SEARCH_PATH, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
plan_unpin(int pin)
{
	if (pin > 0)
		AtEOXact_GUC(true, pin);
}

int
plan_connect(void)
{
	int			pin = plan_pin();

	SPI_connect();
	return pin;
}

void
plan_finish(int pin)
{
	SPI_finish();
	plan_unpin(pin);
}

static SPIPlanPtr
prepared(SavedPlan *plan)
{
	if (!is_pinned())
		elog(ERROR, "search_path is not pinned for \"%s\"", plan->text);
	if (plan->plan == NULL)
	{
		SPIPlanPtr	fresh = SPI_prepare_cursor(plan->text, plan->nargs, plan->types, plan->custom ? CURSOR_OPT_CUSTOM_PLAN : 0);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", plan->text, SPI_result_code_string(SPI_result));
		plan->plan = fresh;
	}
	return plan->plan;
}

static void
read_at(SavedPlan *plan, Datum *values, const char *nulls, long count, Snapshot snapshot)
{
	int			result;

	result = SPI_execute_snapshot(prepared(plan), values, nulls, snapshot, InvalidSnapshot,
								  true, false, count);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\": %s", plan->text, SPI_result_code_string(result));
}

/*
 * Before the snapshot: a table that is rewritten while its lock is waited for would be empty for one from before.
 */
static void
lock_tables(SavedPlan *plan)
{
	ReleaseCachedPlan(SPI_plan_get_cached_plan(prepared(plan)), CurrentResourceOwner);
}

void
plan_read(SavedPlan *plan, Datum *values, const char *nulls, long count)
{
	lock_tables(plan);
	read_at(plan, values, nulls, count, GetLatestSnapshot());
}

Portal
plan_open(SavedPlan *plan, Datum *values, const char *nulls)
{
	Portal		portal;

	lock_tables(plan);
	PushActiveSnapshot(GetLatestSnapshot());
	portal = SPI_cursor_open(NULL, prepared(plan), values, nulls, true);
	PopActiveSnapshot();
	return portal;
}

void
plan_push_committed(void)
{
	/* A copy, so that the command number may be set: no command of ours has run yet. */
	PushCopiedSnapshot(GetLatestSnapshot());
	GetActiveSnapshot()->curcid = FirstCommandId;
}

void
plan_read_active(SavedPlan *plan, Datum *values, const char *nulls, long count)
{
	read_at(plan, values, nulls, count, GetActiveSnapshot());
}

void
plan_read_committed(SavedPlan *plan, Datum *values, const char *nulls, long count)
{
	lock_tables(plan);
	plan_push_committed();
	plan_read_active(plan, values, nulls, count);
	PopActiveSnapshot();
}

void
plan_write(SavedPlan *plan, Datum *values, const char *nulls, int expected)
{
	int			result;

	result = SPI_execute_plan(prepared(plan), values, nulls, false, 0);
	if (result != expected)
		elog(ERROR, "could not run \"%s\": %s", plan->text, SPI_result_code_string(result));
}

char *
plan_text(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

Datum
plan_datum(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	/* What the table forbids, as long as nobody has taken that back. */
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("scoreboard needs a value in column \"%s\", which is null", NameStr(TupleDescAttr(desc, column - 1)->attname))));
	return value;
}

char *
plan_known_text(HeapTuple row, TupleDesc desc, int column)
{
	return TextDatumGetCString(plan_datum(row, desc, column));
}
