/*
 * base/check_form.c - a row that a constraint would refuse is refused in a sentence
 *
 * The error of a CHECK itself only names the constraint. What is allowed says the constraint's comment; here it becomes the error, before
 * the row gets as far. The rules stand once: in the table's constraints. An administrator's own constraints, which have no
 * comment, keep PostgreSQL's error; they are asked here too.
 *
 * The expressions are prepared once for each statement, as the server does for the constraints themselves: many boards are added by one.
 *
 * Takes no locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_constraint.h"
#include "commands/comment.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(scoreboard_check_form);

/* Of a table, for one statement */
typedef struct Checks
{
	ExprContext *context;
	int			count;
	ExprState  *holds[FLEXIBLE_ARRAY_MEMBER];	/* in the order of the relation's own */
} Checks;

static Checks *
prepare_checks(Relation rel)
{
	const TupleConstr *constraints = RelationGetDescr(rel)->constr;
	int			count = constraints ? constraints->num_check : 0;
	Checks	   *checks = palloc(offsetof(Checks, holds) + count * sizeof(ExprState *));

	checks->context = CreateStandaloneExprContext();
	checks->count = count;
	for (int i = 0; i < count; i++)
		checks->holds[i] = ExecInitExpr(expression_planner(stringToNode(constraints->check[i].ccbin)), NULL);
	return checks;
}

/* What the executor generates isn't there yet. */
static void
refuse_nulls(Relation rel, TupleTableSlot *row)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->attnotnull && !column->attisdropped && column->attgenerated == '\0' && slot_attisnull(row, column->attnum))
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("%s of table %s.%s must not be null", NameStr(column->attname),
							get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel)),
					 errtablecol(rel, column->attnum)));
	}
}

/* Of those that don't hold, the one that was made first. */
static void
refuse_broken(Relation rel, const Checks *checks, TupleTableSlot *row)
{
	const ConstrCheck *check = checks->count > 0 ? RelationGetDescr(rel)->constr->check : NULL;
	const char *broken = NULL;
	char	   *sentence = NULL;
	Oid			broken_id = InvalidOid;

	checks->context->ecxt_scantuple = row;
	for (int i = 0; i < checks->count; i++)
	{
		Oid			id;
		char	   *comment;

		if (ExecCheck(checks->holds[i], checks->context))
			continue;
		id = get_relation_constraint_oid(RelationGetRelid(rel), check[i].ccname, false);
		comment = GetComment(id, ConstraintRelationId, 0);
		if (comment == NULL || (sentence && id > broken_id))
			continue;
		broken = check[i].ccname;
		broken_id = id;
		sentence = comment;
	}
	ResetExprContext(checks->context);
	if (sentence)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("%s", sentence),
				 errtableconstraint(rel, broken)));
}

/* Trigger before a row is inserted or updated. */
Datum
scoreboard_check_form(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		updated;
	TupleTableSlot *row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("scoreboard_check_form() must be called as a trigger before a row is inserted or updated")));
	updated = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	row = updated ? trigger->tg_newslot : trigger->tg_trigslot;
	refuse_nulls(trigger->tg_relation, row);
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		fcinfo->flinfo->fn_extra = prepare_checks(trigger->tg_relation);
		MemoryContextSwitchTo(caller);
	}
	refuse_broken(trigger->tg_relation, fcinfo->flinfo->fn_extra, row);
	return PointerGetDatum(updated ? trigger->tg_newtuple : trigger->tg_trigtuple);
}
