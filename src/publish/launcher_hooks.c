/*
 * publish/launcher_hooks.c - what commands tell the launcher
 *
 * CREATE and DROP EXTENSION, whichever way they happen (a cascade, another
 * extension that requires this one, a restore): noted by the object access
 * hook, told at commit. A rolled-back note costs nothing, and a note too many
 * costs the launcher a look.
 *
 * DROP DATABASE, CREATE DATABASE (of its template), RENAME and SET TABLESPACE fail
 * while anybody is connected to the database. The utility hook takes the very
 * lock that the command takes a moment later, then has the publisher leave.
 * Until the command's transaction ends, that lock holds up whoever connects
 * before he counts as connected, so no new publisher gets in between, and the
 * launcher, which tries the lock first, does not even start one. Should the
 * command fail, the lock goes with its transaction and the publisher comes back.
 *
 * Locks: that of the database object, taken before pg_database's relation lock
 * (which the command takes in a mode that conflicts with nobody here).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "scoreboard.h"
#include "publish/launcher.h"
#include "publish/launcher_hooks.h"
#include "publish/publisher.h"
#include "publish/slots.h"

static object_access_hook_type next_object_access = NULL;
static ProcessUtility_hook_type next_utility = NULL;

/* What this transaction did; cleared at its end. */
static struct
{
	List	   *extensions;		/* oids of those that came; in TopTransactionContext */
	bool		ours_changed;
	bool		databases_changed;
}			noted;

/* ------------------------------------------------------------------------
 * Extensions
 * ------------------------------------------------------------------------ */

static void
note_object(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_object_access)
		next_object_access(access, class_id, object_id, sub_id, arg);
	if (class_id != ExtensionRelationId)
		return;

	/* The new row can't be read yet; whose it is, is looked up before the commit. */
	if (access == OAT_POST_CREATE)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);

		noted.extensions = lappend_oid(noted.extensions, object_id);
		MemoryContextSwitchTo(caller);
	}
	else if (access == OAT_DROP && !noted.ours_changed)
	{
		char	   *name = get_extension_name(object_id);

		noted.ours_changed = name != NULL && strcmp(name, SCOREBOARD_EXTENSION) == 0;
	}
}

static void
forget(void)
{
	memset(&noted, 0, sizeof(noted));
}

static void
transaction_ends(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (noted.extensions != NIL && list_member_oid(noted.extensions, get_extension_oid(SCOREBOARD_EXTENSION, true)))
				noted.ours_changed = true;
			if (event == XACT_EVENT_PRE_PREPARE && noted.ours_changed)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has created or dropped extension \"%s\"",
								SCOREBOARD_EXTENSION),
						 errdetail("COMMIT PREPARED could not start or stop the publisher."),
						 errhint("Use COMMIT.")));
			break;
		case XACT_EVENT_COMMIT:
			if (noted.ours_changed)
				publisher_wake_launcher();
			if (noted.databases_changed)
				slots_want_look(InvalidOid);
			forget();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget();
			break;
		default:
			break;
	}
}

/* ------------------------------------------------------------------------
 * Databases
 * ------------------------------------------------------------------------ */

/* NULL where it is not given, or as DEFAULT. */
static const char *
option_text(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/*
 * Which database the command wants for itself alone, and the lock it takes on
 * it. NULL for every other command.
 */
static const char *
wanted_database(Node *statement, LOCKMODE *mode)
{
	const char *template;

	*mode = AccessExclusiveLock;
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_CreatedbStmt:
			*mode = ShareLock;
			template = option_text(((CreatedbStmt *) statement)->options, "template");
			return template ? template : "template1";
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType != OBJECT_DATABASE)
				return NULL;
			return ((RenameStmt *) statement)->subname;
		case T_AlterDatabaseStmt:
			if (option_text(((AlterDatabaseStmt *) statement)->options, "tablespace") == NULL)
				return NULL;
			return ((AlterDatabaseStmt *) statement)->dbname;
		default:
			return NULL;
	}
}

/* Nobody shall stop publishers by commands that will be refused to him. */
static bool
owns_database(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		owns;

	if (!HeapTupleIsValid(tuple))
		return false;
	owns = has_privs_of_role(GetUserId(), ((Form_pg_database) GETSTRUCT(tuple))->datdba);
	ReleaseSysCache(tuple);
	return owns;
}

static void
make_room(const char *name, LOCKMODE mode)
{
	Oid			database = get_database_oid(name, true);

	/* The command itself says what is wrong with these. */
	if (!OidIsValid(database) || database == MyDatabaseId || !owns_database(database))
		return;
	LockSharedObject(DatabaseRelationId, database, 0, mode);
	if (get_database_oid(name, true) == database)
		slots_end_publisher(database);
}

static void
before_utility(PlannedStmt *planned, ProcessUtilityContext context)
{
	Node	   *statement = planned->utilityStmt;
	const char *name;
	LOCKMODE	mode;

	switch (nodeTag(statement))
	{
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_RenameStmt:
		case T_AlterDatabaseStmt:
			break;
		default:
			return;
	}
	if (!IsTransactionState() || RecoveryInProgress())
		return;
	if (!IsA(statement, RenameStmt) || ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		noted.databases_changed = true;

	/* Within a transaction block only RENAME is allowed: the others will refuse by themselves. */
	if (!IsA(statement, RenameStmt) && IsInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL))
		return;
	name = wanted_database(statement, &mode);
	if (name != NULL)
		make_room(name, mode);
}

static void
utility(PlannedStmt *planned, const char *query, bool read_only_tree,
		ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
		DestReceiver *dest, QueryCompletion *completion)
{
	before_utility(planned, context);
	if (next_utility)
		next_utility(planned, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params, environment,
								dest, completion);
}

void
launcher_hooks_init(void)
{
	next_object_access = object_access_hook;
	object_access_hook = note_object;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	RegisterXactCallback(transaction_ends, NULL);
}
