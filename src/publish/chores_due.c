/*
 * publish/chores_due.c - a trigger that makes the publisher's chores due
 *
 * On what chores (publish/chores.c) go by: settings of retention, names of players. Whoever changes one and waits for a minute
 * to pass thinks that it doesn't work. The publisher is woken after the commit, since it sees nothing before.
 *
 * Owns whether this transaction has done so. Takes no lock.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"

#include "publish/chores_due.h"
#include "publish/publisher.h"

PG_FUNCTION_INFO_V1(scoreboard_chores_due);

static bool due = false;

/* A subtransaction that was rolled back leaves it: the publisher looks once for nothing. */
Datum
scoreboard_chores_due(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "scoreboard.chores_due() is a trigger function");
	due = true;
	PG_RETURN_POINTER(NULL);
}

static void
transaction_event(XactEvent event, void *arg)
{
	if (due && event == XACT_EVENT_COMMIT)
		publisher_wake();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		due = false;
}

void
chores_due_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
}
