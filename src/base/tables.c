/*
 * base/tables.c - our tables below SQL: their checked layout, and one row by its key
 *
 * A layout is checked once after each change of its table (a relcache callback forgets it), under the caller's lock, which
 * keeps the columns as they are. Only what was found good is kept: a table that was refused is looked at again, since
 * not everything that mends it (dropping an heir) sends an invalidation.
 *
 * Where every increment and every rank pays, a plan to start and end is most of the
 * cost, and a planner that has seen an empty table must not decide how a row
 * is found. One scan serves all the looks of a call; players and scores are looked for where they were found last (base/row_hints.h).
 *
 * The row found last keeps its page pinned until the next look or the end: values are read where they stand.
 *
 * An index scan of the server's prunes a page on its way whenever less is free than fillfactor wants, so with every
 * update of a page that was filled as far as that: a lock for itself, a record in the WAL, the page tidied for one
 * dead row. Here a page is pruned only when it lacks the room for the version that comes next, once for some thirty.
 *
 * Locks: those of the tables, as the caller says, and ACCESS SHARE on their indexes: ALTER INDEX ... SET TABLESPACE
 * locks nothing but the index.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/row_hints.h"
#include "base/tables.h"
#include "rank/notes.h"

typedef struct Column
{
	const char *name;
	Oid			type;
	bool		nullable;
} Column;

/* What the extension made, as far as it is used below SQL. */
typedef struct Definition
{
	const char *name;
	int			keys;
	uint8		key[TABLE_KEYS_MAX];	/* the unique key that rows are found by */
	bool		hinted;			/* the same rows are found again and again */
	bool		updated;		/* rows are updated below SQL, not only inserted */
	Column		column[TABLE_COLUMNS_MAX];	/* up to the first without a name */
} Definition;

static const Definition definitions[TABLES] = {
	[TABLE_BOARD] = {
		.name = "board", .keys = 1, .key = {BOARD_NAME},
		.column = {
			[BOARD_ID] = {"board_id", INT4OID}, [BOARD_NAME] = {"name", TEXTOID},
			[BOARD_SCORE_ORDER] = {"score_order", TEXTOID}, [BOARD_TIES] = {"ties", TEXTOID}, [BOARD_TOP_SIZE] = {"top_size", INT4OID}
		}
	},
	[TABLE_PLAYER] = {
		.name = "player", .keys = 1, .key = {PLAYER_USER_ID}, .hinted = true,
		.column = {
			[PLAYER_ID] = {"player_id", INT8OID}, [PLAYER_USER_ID] = {"user_id", TEXTOID},
			[PLAYER_DISPLAY_NAME] = {"display_name", TEXTOID, true}, [PLAYER_AVATAR_URL] = {"avatar_url", TEXTOID, true},
			[PLAYER_STATE] = {"state", TEXTOID}, [PLAYER_HIDDEN] = {"hidden", BOOLOID},
			[PLAYER_UNLISTED] = {"unlisted", BOOLOID}, [PLAYER_ANONYMOUS] = {"anonymous", BOOLOID},
			[PLAYER_LABELS] = {"labels", JSONBOID}
		}
	},
	[TABLE_ACTION] = {
		.name = "action", .keys = 2, .key = {ACTION_PLAYER_ID, ACTION_ID},
		.column = {
			[ACTION_PLAYER_ID] = {"player_id", INT8OID}, [ACTION_ID] = {"action_id", TEXTOID},
			[ACTION_BOARD_ID] = {"board_id", INT4OID}, [ACTION_SEASON] = {"season", INT4OID},
			[ACTION_TYPE_ID] = {"action_type_id", INT4OID}, [ACTION_POINTS] = {"points", INT8OID, true},
			[ACTION_APPLIED] = {"applied_points", INT8OID}, [ACTION_PREVIOUS] = {"previous_score", INT8OID},
			[ACTION_SCORE] = {"score", INT8OID}, [ACTION_RANK] = {"rank", INT8OID, true},
			[ACTION_VERSION] = {"version", INT8OID}, [ACTION_CREATED_AT] = {"created_at", TIMESTAMPTZOID},
			[ACTION_IDEMPOTENCY_KEY] = {"idempotency_key", TEXTOID, true},
			[ACTION_SIGNING_KEY_ID] = {"signing_key_id", INT4OID, true}, [ACTION_METADATA] = {"metadata", JSONBOID, true},
			[ACTION_REQUEST_ID] = {"request_id", TEXTOID, true}, [ACTION_CLIENT_ADDRESS] = {"client_address", INETOID, true},
			[ACTION_SUBSCORE] = {"subscore", INT8OID, true}, [ACTION_DETAIL] = {"detail", TEXTOID, true},
			[ACTION_SETS_SCORE] = {"sets_score", BOOLOID}, [ACTION_FIXED_POINTS] = {"fixed_points", INT8OID, true},
			[ACTION_COUNTED] = {"counted_points", INT8OID, true}, [ACTION_UNDONE_AT] = {"undone_at", TIMESTAMPTZOID, true}
		}
	},
	[TABLE_CREDIT] = {
		.name = "credit", .keys = 3, .key = {CREDIT_PLAYER_ID, CREDIT_ACTION_ID, CREDIT_BOARD_ID},
		.column = {
			[CREDIT_PLAYER_ID] = {"player_id", INT8OID}, [CREDIT_ACTION_ID] = {"action_id", TEXTOID},
			[CREDIT_BOARD_ID] = {"board_id", INT4OID}, [CREDIT_SEASON] = {"season", INT4OID},
			[CREDIT_APPLIED] = {"applied_points", INT8OID}, [CREDIT_PREVIOUS] = {"previous_score", INT8OID},
			[CREDIT_SCORE] = {"score", INT8OID}, [CREDIT_SETS_SCORE] = {"sets_score", BOOLOID},
			[CREDIT_COUNTED] = {"counted_points", INT8OID, true}, [CREDIT_UNDONE_AT] = {"undone_at", TIMESTAMPTZOID, true}
		}
	},
	[TABLE_SCORE] = {
		.name = "score", .keys = 3, .key = {SCORE_BOARD_ID, SCORE_SEASON, SCORE_PLAYER_ID}, .hinted = true, .updated = true,
		.column = {
			[SCORE_BOARD_ID] = {"board_id", INT4OID}, [SCORE_SEASON] = {"season", INT4OID},
			[SCORE_PLAYER_ID] = {"player_id", INT8OID}, [SCORE_SCORE] = {"score", INT8OID},
			[SCORE_REACHED_AT] = {"reached_at", TIMESTAMPTZOID}, [SCORE_LISTED] = {"listed", BOOLOID},
			[SCORE_SUBSCORE] = {"subscore", INT8OID, true}, [SCORE_DETAIL] = {"detail", TEXTOID, true}
		}
	},
	[TABLE_TOP] = {
		.name = "top", .keys = 1, .key = {TOP_BOARD},
		.column = {
			[TOP_BOARD] = {"board", TEXTOID}, [TOP_SEASON] = {"season", INT4OID},
			[TOP_VERSION] = {"version", INT8OID}, [TOP_DOCUMENT] = {"document", TEXTOID}
		}
	},
	[TABLE_SESSION_KEY] = {
		.name = "session_key", .keys = 1, .key = {SESSION_KEY_ID},
		.column = {
			[SESSION_KEY_ID] = {"key_id", TEXTOID}, [SESSION_KEY_USER_ID] = {"user_id", TEXTOID},
			[SESSION_KEY_SECRET] = {"secret", TEXTOID}, [SESSION_KEY_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
			[SESSION_KEY_REVOKED_AT] = {"revoked_at", TIMESTAMPTZOID, true}
		}
	},
	[TABLE_GRANT_TOKEN] = {
		.name = "grant_token", .keys = 1, .key = {GRANT_ID},
		.column = {
			[GRANT_ID] = {"grant_id", TEXTOID}, [GRANT_USER_ID] = {"user_id", TEXTOID},
			[GRANT_TYPE_ID] = {"action_type_id", INT4OID}, [GRANT_BOARD_ID] = {"board_id", INT4OID},
			[GRANT_POINTS] = {"points", INT8OID, true}, [GRANT_SUBSCORE] = {"subscore", INT8OID, true},
			[GRANT_DETAIL] = {"detail", TEXTOID, true}, [GRANT_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID}
		}
	},
	[TABLE_PENDING_EVENT] = {
		.name = "pending_event", .keys = 2, .key = {PENDING_WRITER, PENDING_NUMBER},
		.column = {
			[PENDING_WRITER] = {"writer", INT8OID}, [PENDING_NUMBER] = {"number", INT4OID}, [PENDING_EVENT_ID] = {"event_id", UUIDOID},
			[PENDING_TYPE] = {"type", TEXTOID}, [PENDING_BOARD_ID] = {"board_id", INT4OID, true}, [PENDING_SEASON] = {"season", INT4OID, true},
			[PENDING_PLAYER_ID] = {"player_id", INT8OID, true}, [PENDING_OTHER_PLAYER_ID] = {"other_player_id", INT8OID, true},
			[PENDING_ACTION_ID] = {"action_id", TEXTOID, true}, [PENDING_OCCURRED_AT] = {"occurred_at", TIMESTAMPTZOID},
			[PENDING_DETAILS] = {"details", JSONOID, true}
		}
	},
};

/* What is known of each in this process. */
static struct
{
	Oid			relid;			/* InvalidOid: not known */
	TableLayout layout;			/* of relid */
}			known[TABLES];

/* ---------- which table ---------- */

/* Relcache callback: may run at any time, so it only forgets. */
static void
forget_table(Datum argument, Oid relid)
{
	for (int i = 0; i < TABLES; i++)
	{
		if (relid == InvalidOid || relid == known[i].relid)
			known[i].relid = InvalidOid;
	}
}

void
tables_init(void)
{
	CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
}

Oid
tables_id(TableName name)
{
	if (!OidIsValid(known[name].relid))
	{
		Oid			schema = get_namespace_oid("scoreboard", true);
		Oid			relid = OidIsValid(schema) ? get_relname_relid(definitions[name].name, schema) : InvalidOid;

		known[name].layout.use = TABLE_UNCHECKED;
		known[name].relid = relid;
	}
	return known[name].relid;
}

Oid
tables_lock(TableName name, LOCKMODE lock)
{
	for (;;)
	{
		Oid			relid = tables_id(name);

		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation \"scoreboard.%s\" does not exist", definitions[name].name)));
		LockRelationOid(relid, lock);
		/* Waiting for it, we may have waited for somebody who put another one in its place. */
		if (tables_id(name) == relid)
			return relid;
		UnlockRelationOid(relid, lock);
	}
}

/* ---------- is it what we take it for ---------- */

compat_noreturn static void
refuse_table(Relation rel, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s.%s\" was changed into something that scoreboard can't serve",
					get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel)),
			 errdetail("%s", detail),
			 errhint("%s", hint),
			 errtable(rel)));
	pg_unreachable();
}

static void
check_column(Relation rel, const Column *column, Form_pg_attribute attribute)
{
	if (attribute->atttypid != column->type || attribute->atttypmod != -1)
		refuse_table(rel, psprintf("Column \"%s\" is of type %s instead of %s.", column->name,
								   format_type_with_typemod(attribute->atttypid, attribute->atttypmod),
								   format_type_be(column->type)),
					 "Give the column its type back: ALTER TABLE ... ALTER COLUMN ... TYPE.");
	if (attribute->attgenerated != '\0')
		refuse_table(rel, psprintf("Column \"%s\" is generated.", column->name),
					 "Generate columns of your own; this one is written.");
	if (!attribute->attnotnull && !column->nullable)
		refuse_table(rel, psprintf("Column \"%s\" may be null.", column->name),
					 "ALTER TABLE ... ALTER COLUMN ... SET NOT NULL.");
}

static AttrNumber
find_column(Relation rel, const Column *column)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), column->name) != 0)
			continue;
		check_column(rel, column, attribute);
		return attribute->attnum;
	}
	refuse_table(rel, psprintf("Column \"%s\" is missing.", column->name),
				 psprintf("Give it back its name, or add it, of type %s.", format_type_be(column->type)));
}

static void
check_scan(const Definition *table, Relation rel, TableLayout *layout)
{
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		refuse_table(rel, "It is not an ordinary table.",
					 "Partitioned and foreign tables, and views, have no place for what is written below SQL.");
	/* The flag stays when the last heir goes. */
	if (rel->rd_rel->relhassubclass && find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		refuse_table(rel, "Other tables inherit from it.",
					 "Their rows would be left out. Copy the table instead, or ALTER TABLE ... NO INHERIT.");
	for (layout->columns = 0; table->column[layout->columns].name; layout->columns++)
		layout->attno[layout->columns] = find_column(rel, &table->column[layout->columns]);
	layout->has_others = RelationGetNumberOfAttributes(rel) > layout->columns;
}

/* Which column of the key stands at a place of the index? -1: none does, as we would search it. */
static int
column_at(const Definition *table, const TableLayout *layout, Relation index, int place)
{
	for (int i = 0; i < table->keys; i++)
	{
		bool		is_text = table->column[table->key[i]].type == TEXTOID;

		if (index->rd_index->indkey.values[place] == layout->attno[table->key[i]] &&
			index->rd_opfamily[place] == (is_text ? TEXT_BTREE_FAM_OID : INTEGER_BTREE_FAM_OID) &&
			(!is_text || index->rd_indcollation[place] == C_COLLATION_OID))
			return table->key[i];
	}
	return -1;
}

/* An index that finds at most one row for our key, whatever the order of its columns. */
static bool
take_index(const Definition *table, Relation index, TableLayout *layout)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisvalid || !form->indisunique || !form->indimmediate || form->indnkeyatts != table->keys ||
		index->rd_rel->relam != BTREE_AM_OID || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int place = 0; place < table->keys; place++)
	{
		int			column = column_at(table, layout, index, place);

		if (column < 0)
			return false;
		layout->key_column[place] = (uint8) column;
	}
	layout->index = RelationGetRelid(index);
	layout->keys = table->keys;
	return true;
}

static void
check_find(const Definition *table, Relation rel, TableLayout *layout)
{
	List	   *indexes = RelationGetIndexList(rel);
	StringInfoData columns;
	ListCell   *cell;

	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		refuse_table(rel, "It is not of the access method \"heap\".", "ALTER TABLE ... SET ACCESS METHOD heap.");
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		bool		taken = take_index(table, index, layout);

		index_close(index, AccessShareLock);
		if (taken)
			return;
	}
	initStringInfo(&columns);
	for (int i = 0; i < table->keys; i++)
		appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "", table->column[table->key[i]].name);
	refuse_table(rel, psprintf("It has no unique index on (%s) that is valid, not deferrable and not partial, of texts in collation \"C\".",
							   columns.data),
				 "Rows are found by it: ALTER TABLE ... ADD PRIMARY KEY or UNIQUE.");
}

/* Ours on what a restore brings; it does nothing for others. */
static bool
is_for_restores(Relation rel, const Trigger *trigger)
{
	char	   *function = get_func_name(trigger->tgfoid);

	return function && (strcmp(function, "restore_begins") == 0 || strcmp(function, "events_changed") == 0) &&
		get_func_namespace(trigger->tgfoid) == RelationGetNamespace(rel);
}

/* Not so one that only a plan would fire, or whose doing what we answer would not know. */
static bool
is_served(const Definition *table, Relation rel, const Trigger *trigger)
{
	if (trigger->tgenabled == TRIGGER_DISABLED ||
		!(TRIGGER_FOR_INSERT(trigger->tgtype) || (table->updated && TRIGGER_FOR_UPDATE(trigger->tgtype))) ||
		is_for_restores(rel, trigger))
		return true;
	return TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_AFTER(trigger->tgtype) &&
		trigger->tgnattr == 0 && trigger->tgoldtable == NULL && trigger->tgnewtable == NULL;
}

/* Our own, which resolves no name; compared by what it calls, so that one with a SET clause or another owner isn't it. */
static bool
is_ours(const Trigger *trigger)
{
	FmgrInfo	function;

	fmgr_info(trigger->tgfoid, &function);
	return function.fn_addr == scoreboard_score_changed && trigger->tgqual == NULL;
}

/* Triggers, and all kinds of expressions: checks, defaults, of indexes, of a partition's bounds. */
static bool
may_run_others(Relation rel, const TableLayout *layout)
{
	const TupleConstr *constraints = RelationGetDescr(rel)->constr;

	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		if (!is_ours(&rel->trigdesc->triggers[i]))
			return true;
	}
	return layout->has_others || (constraints && constraints->num_check > 0) || rel->rd_rel->relispartition ||
		list_length(RelationGetIndexList(rel)) > 1;
}

static void
check_write(const Definition *table, Relation rel, TableLayout *layout)
{
	layout->runs_others = may_run_others(rel, layout);
	for (int i = 0; i < layout->columns; i++)
	{
		if (TupleDescAttr(RelationGetDescr(rel), layout->attno[i] - 1)->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			refuse_table(rel, psprintf("Column \"%s\" is an identity column that is generated always.", table->column[i].name),
						 "It is written: ALTER TABLE ... ALTER COLUMN ... DROP IDENTITY.");
	}
	for (int i = 0; rel->rd_rules && i < rel->rd_rules->numLocks; i++)
	{
		const RewriteRule *rule = rel->rd_rules->rules[i];

		if (rule->enabled != RULE_DISABLED && (rule->event == CMD_INSERT || (table->updated && rule->event == CMD_UPDATE)))
			refuse_table(rel, "A rule rewrites what is written to it.", "Drop the rule, or disable it; use a row trigger AFTER the write.");
	}
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (!is_served(table, rel, trigger))
			refuse_table(rel, psprintf("Trigger \"%s\" can't fire for increments.", trigger->tgname),
						 "Use a trigger AFTER the write FOR EACH ROW, without a list of columns and transition tables; WHEN may compare OLD and NEW.");
	}
}

const TableLayout *
tables_layout(TableName name, Relation rel, TableUse use)
{
	const Definition *table = &definitions[name];
	bool		ours = tables_id(name) == RelationGetRelid(rel);
	static TableLayout checked;

	if (ours && known[name].layout.use >= use)
		return &known[name].layout;
	memset(&checked, 0, sizeof(checked));
	check_scan(table, rel, &checked);
	if (use >= TABLE_FIND)
		check_find(table, rel, &checked);
	if (use >= TABLE_WRITE)
		check_write(table, rel, &checked);
	checked.use = use;
	/* Looking at indexes may have brought an invalidation. */
	if (known[name].relid != RelationGetRelid(rel))
		return &checked;
	known[name].layout = checked;
	return &known[name].layout;
}

/* A superuser and the table's owner are past it, unless it is forced. */
static void
check_row_security(Relation rel)
{
	if (rel->rd_rel->relrowsecurity && check_enable_rls(RelationGetRelid(rel), InvalidOid, true) == RLS_ENABLED)
		refuse_table(rel, psprintf("Its row security applies to \"%s\", as whom scoreboard's functions run.", GetUserNameFromId(GetUserId(), false)),
					 "ALTER TABLE ... DISABLE ROW LEVEL SECURITY, or give the table to the functions' owner.");
}

void
tables_require(TableName name)
{
	Relation	rel = table_open(tables_lock(name, AccessShareLock), NoLock);

	(void) tables_layout(name, rel, TABLE_SCAN);
	check_row_security(rel);
	table_close(rel, NoLock);
}

/* ---------- one row ---------- */

/* So that each bit of the result depends on each of x. */
static uint64
mix(uint64 x)
{
	x = (x ^ x >> 33) * UINT64CONST(0xff51afd7ed558ccd);
	x = (x ^ x >> 33) * UINT64CONST(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

void
tables_open(Table *table, TableName name, TableUse use, LOCKMODE lock)
{
	table->rel = table_open(tables_lock(name, lock), NoLock);
	table->layout = *tables_layout(name, table->rel, use);
	check_row_security(table->rel);
	table->hash = definitions[name].hinted ? mix((uint64) MyDatabaseId << 32 | RelationGetRelid(table->rel)) : 0;
	table->index = NULL;
	table->updates = false;
	table->context = CurrentMemoryContext;
	table->scan = NULL;
	table->slot = NULL;
}

void
tables_close(Table *table)
{
	if (table->slot)
		ExecDropSingleTupleTableSlot(table->slot);
	if (table->scan)
	{
		index_endscan(table->scan);
		index_close(table->index, NoLock);
	}
	table_close(table->rel, NoLock);
}

static void
set_key(Table *table, int column, RegProcedure equal, Oid collation, Datum value)
{
	for (int place = 0; place < table->layout.keys; place++)
	{
		if (table->layout.key_column[place] == column)
			ScanKeyEntryInitialize(&table->keys[place], 0, place + 1, BTEqualStrategyNumber, InvalidOid, collation, equal, value);
	}
}

void
tables_key_int4(Table *table, int column, int32 value)
{
	set_key(table, column, F_INT4EQ, InvalidOid, Int32GetDatum(value));
}

void
tables_key_int8(Table *table, int column, int64 value)
{
	set_key(table, column, F_INT8EQ, InvalidOid, Int64GetDatum(value));
}

void
tables_key_text(Table *table, int column, const char *value)
{
	set_key(table, column, F_TEXTEQ, C_COLLATION_OID, CStringGetTextDatum(value));
}

/* For this row's next version and two that others write meanwhile. */
static Size
room_for_versions(HeapTuple tuple)
{
	return 3 * (MAXALIGN(tuple->t_len) + sizeof(ItemIdData));
}

/* The version that the snapshot sees among those that the index entry leads to. */
static bool
fetch(Table *table, ItemPointer tid, Snapshot snapshot, bool *all_dead)
{
	Buffer		buffer = ReadBuffer(table->rel, ItemPointerGetBlockNumber(tid));
	ItemPointerData at = *tid;
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) table->slot)->base.tupdata;
	bool		found;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&at, table->rel, buffer, snapshot, tuple, all_dead, true);
	if (found && table->updates && PageGetHeapFreeSpace(BufferGetPage(buffer)) < room_for_versions(tuple))
	{
		/* Takes a lock of its own, and moves what stands on the page. */
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		compat_page_prune(table->rel, buffer);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		at = *tid;
		found = heap_hot_search_buffer(&at, table->rel, buffer, snapshot, tuple, all_dead, true);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (!found)
	{
		ReleaseBuffer(buffer);
		return false;
	}
	tuple->t_self = at;
	ExecStorePinnedBufferHeapTuple(tuple, table->slot, buffer);
	return true;
}

static uint64
key_hash(const Table *table)
{
	uint64		hash = table->hash;

	for (int place = 0; place < table->layout.keys; place++)
	{
		const ScanKeyData *key = &table->keys[place];

		if (key->sk_func.fn_oid == F_TEXTEQ)
			hash ^= hash_bytes_extended((unsigned char *) VARDATA_ANY(DatumGetPointer(key->sk_argument)),
										VARSIZE_ANY_EXHDR(DatumGetPointer(key->sk_argument)), hash);
		else
			hash ^= (uint64) key->sk_argument;
		hash = mix(hash);
	}
	return hash;
}

/* Has the row in slot the key that is looked for? */
static bool
has_key(Table *table)
{
	for (int place = 0; place < table->layout.keys; place++)
	{
		ScanKey		key = &table->keys[place];
		Datum		value = tables_value(&table->layout, table->slot, table->layout.key_column[place]);

		if (!DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation, value, key->sk_argument)))
			return false;
	}
	return true;
}

/* Has the table that block still? It can't lose one under our lock; what was seen of it since is a lower bound. */
static bool
has_block(Table *table, BlockNumber block)
{
	BlockNumber seen = RelationGetSmgr(table->rel)->smgr_cached_nblocks[MAIN_FORKNUM];

	return (seen != InvalidBlockNumber && block < seen) || block < RelationGetNumberOfBlocks(table->rel);
}

/* Where it was found last. What else may stand there by now: nothing, or another row. */
static bool
find_by_hint(Table *table, uint64 hash, Snapshot snapshot)
{
	ItemPointerData tid;
	bool		all_dead;

	if (!row_hints_get(hash, &tid) || !has_block(table, ItemPointerGetBlockNumber(&tid)) ||
		!fetch(table, &tid, snapshot, &all_dead))
		return false;
	if (has_key(table))
		return true;
	ExecClearTuple(table->slot);
	return false;
}

static bool
find_by_index(Table *table, uint64 hash, Snapshot snapshot)
{
	ItemPointer tid;
	bool		found = false;

	if (table->scan == NULL)
	{
		table->index = index_open(table->layout.index, AccessShareLock);
		table->scan = compat_index_beginscan(table->rel, table->index, snapshot, table->layout.keys);
	}
	table->scan->xs_snapshot = snapshot;
	index_rescan(table->scan, table->keys, table->layout.keys, NULL, 0);
	while (!found && (tid = index_getnext_tid(table->scan, ForwardScanDirection)) != NULL)
	{
		bool		all_dead;

		found = fetch(table, tid, snapshot, &all_dead);
		if (found)
			pgstat_count_heap_fetch(table->index);
		if (found && table->hash != 0)
			row_hints_put(hash, tid);
		/* So that the index forgets it: not after a start in recovery, whose snapshots may see what the primary's don't. */
		table->scan->kill_prior_tuple = all_dead && !table->scan->xactStartedInRecovery;
	}
	return found;
}

bool
tables_find(Table *table, Snapshot snapshot)
{
	MemoryContext caller = MemoryContextSwitchTo(table->context);
	uint64		hash = table->hash != 0 ? key_hash(table) : 0;
	bool		found;

	if (table->slot == NULL)
		table->slot = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsBufferHeapTuple);
	/* A page that is pinned twice can't be pruned. */
	ExecClearTuple(table->slot);
	found = (table->hash != 0 && find_by_hint(table, hash, snapshot)) || find_by_index(table, hash, snapshot);
	MemoryContextSwitchTo(caller);
	return found;
}

Datum
tables_value(const TableLayout *layout, TupleTableSlot *slot, int column)
{
	bool		is_null;

	return slot_getattr(slot, layout->attno[column], &is_null);
}

int32
tables_int4(Table *table, int column)
{
	return DatumGetInt32(tables_value(&table->layout, table->slot, column));
}

int64
tables_int8(Table *table, int column)
{
	return DatumGetInt64(tables_value(&table->layout, table->slot, column));
}

bool
tables_bool(Table *table, int column)
{
	return DatumGetBool(tables_value(&table->layout, table->slot, column));
}

bool
tables_is_null(Table *table, int column)
{
	return slot_attisnull(table->slot, table->layout.attno[column]);
}

char *
tables_text(Table *table, int column)
{
	bool		is_null;
	Datum		value = slot_getattr(table->slot, table->layout.attno[column], &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

Snapshot
tables_committed(void)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	/* Registered, it is a copy, and nobody else's: no command of this transaction has run yet, it says. */
	snapshot->curcid = FirstCommandId;
	return snapshot;
}
