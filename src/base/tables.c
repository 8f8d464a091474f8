/*
 * base/tables.c - one row of a table of ours by a unique index, below SQL
 *
 * Where every increment and every rank pays, a plan to start and end is most of the
 * cost, and a planner that has seen an empty table must not decide how a row
 * is found. One scan serves all the looks of a call.
 *
 * The row found last keeps its page pinned until the next look or the end: values are read where they stand.
 *
 * An index scan of the server's prunes a page on its way whenever less is free than fillfactor wants, so with every
 * update of a page that was filled as far as that: a lock for itself, a record in the WAL, the page tidied for one
 * dead row. Here a page is pruned only when it lacks the room for the version that comes next, once for some thirty.
 *
 * Locks: those of the tables, as the caller says, and ACCESS SHARE on their indexes.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation_d.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/tables.h"

static struct
{
	const char *name;
	const char *index;			/* NULL: the primary key */
	Oid			relid;			/* InvalidOid: not known */
}			tables[] = {
	[LOOKUP_PLAYER] = {"player", "player_user_id_key"},
	[LOOKUP_ACTION] = {"action"},
	[LOOKUP_SCORE] = {"score"},
	[LOOKUP_TOP] = {"top"},
};

/* Relcache callback: may run at any time, so it only forgets. */
static void
forget_table(Datum argument, Oid relid)
{
	for (int i = 0; i < lengthof(tables); i++)
	{
		if (relid == InvalidOid || relid == tables[i].relid)
			tables[i].relid = InvalidOid;
	}
}

void
lookup_init(void)
{
	CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
}

Oid
lookup_table_id(LookupTable table)
{
	if (!OidIsValid(tables[table].relid))
	{
		Oid			schema = get_namespace_oid("scoreboard", true);

		if (OidIsValid(schema))
			tables[table].relid = get_relname_relid(tables[table].name, schema);
	}
	return tables[table].relid;
}

static Oid
index_id(LookupTable table, Relation rel)
{
	return tables[table].index ? get_relname_relid(tables[table].index, RelationGetNamespace(rel)) : compat_primary_key(rel);
}

void
lookup_open(Lookup *lookup, LookupTable table, LOCKMODE lock)
{
	Oid			relid = lookup_table_id(table);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"scoreboard.%s\" does not exist", tables[table].name)));
	lookup->rel = table_open(relid, lock);
	lookup->index = index_open(index_id(table, lookup->rel), AccessShareLock);
	lookup->updates = false;
	lookup->context = CurrentMemoryContext;
	lookup->scan = NULL;
	lookup->slot = NULL;
}

void
lookup_close(Lookup *lookup)
{
	if (lookup->scan)
	{
		ExecDropSingleTupleTableSlot(lookup->slot);
		index_endscan(lookup->scan);
	}
	index_close(lookup->index, NoLock);
	table_close(lookup->rel, NoLock);
}

void
lookup_key_int4(ScanKey keys, int column, int32 value)
{
	ScanKeyInit(&keys[column - 1], column, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(value));
}

void
lookup_key_int8(ScanKey keys, int column, int64 value)
{
	ScanKeyInit(&keys[column - 1], column, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(value));
}

void
lookup_key_text(ScanKey keys, int column, const char *value)
{
	ScanKeyEntryInitialize(&keys[column - 1], 0, column, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(value));
}

/* For this row's next version and two that others write meanwhile. */
static Size
room_for_versions(HeapTuple tuple)
{
	return 3 * (MAXALIGN(tuple->t_len) + sizeof(ItemIdData));
}

/* The version that the snapshot sees among those that the index entry leads to. */
static bool
fetch(Lookup *lookup, ItemPointer tid, Snapshot snapshot, bool *all_dead)
{
	Buffer		buffer = ReadBuffer(lookup->rel, ItemPointerGetBlockNumber(tid));
	ItemPointerData at = *tid;
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) lookup->slot)->base.tupdata;
	bool		found;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&at, lookup->rel, buffer, snapshot, tuple, all_dead, true);
	if (found && lookup->updates && PageGetHeapFreeSpace(BufferGetPage(buffer)) < room_for_versions(tuple))
	{
		/* Takes a lock of its own, and moves what stands on the page. */
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		heap_page_prune_opt(lookup->rel, buffer);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		at = *tid;
		found = heap_hot_search_buffer(&at, lookup->rel, buffer, snapshot, tuple, all_dead, true);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (!found)
	{
		ReleaseBuffer(buffer);
		return false;
	}
	tuple->t_self = at;
	ExecStorePinnedBufferHeapTuple(tuple, lookup->slot, buffer);
	pgstat_count_heap_fetch(lookup->index);
	return true;
}

bool
lookup_find(Lookup *lookup, ScanKey keys, int nkeys, Snapshot snapshot)
{
	MemoryContext caller = MemoryContextSwitchTo(lookup->context);
	ItemPointer tid;
	bool		found = false;

	if (lookup->scan == NULL)
	{
		lookup->slot = MakeSingleTupleTableSlot(RelationGetDescr(lookup->rel), &TTSOpsBufferHeapTuple);
		lookup->scan = compat_index_beginscan(lookup->rel, lookup->index, snapshot, nkeys);
	}
	/* A page that is pinned twice can't be pruned. */
	ExecClearTuple(lookup->slot);
	lookup->scan->xs_snapshot = snapshot;
	index_rescan(lookup->scan, keys, nkeys, NULL, 0);
	while (!found && (tid = index_getnext_tid(lookup->scan, ForwardScanDirection)) != NULL)
	{
		bool		all_dead;

		found = fetch(lookup, tid, snapshot, &all_dead);
		/* So that the index forgets it: not after a start in recovery, whose snapshots may see what the primary's don't. */
		lookup->scan->kill_prior_tuple = all_dead && !lookup->scan->xactStartedInRecovery;
	}
	MemoryContextSwitchTo(caller);
	return found;
}

int64
lookup_int8(Lookup *lookup, int column)
{
	bool		is_null;
	Datum		value = slot_getattr(lookup->slot, column, &is_null);

	return is_null ? 0 : DatumGetInt64(value);
}

bool
lookup_bool(Lookup *lookup, int column)
{
	bool		is_null;
	Datum		value = slot_getattr(lookup->slot, column, &is_null);

	return !is_null && DatumGetBool(value);
}

char *
lookup_text(Lookup *lookup, int column)
{
	bool		is_null;
	Datum		value = slot_getattr(lookup->slot, column, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

Snapshot
lookup_committed(void)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	/* Registered, it is a copy, and nobody else's: no command of this transaction has run yet, it says. */
	snapshot->curcid = FirstCommandId;
	return snapshot;
}
