/*
 * compat.h - every difference between the PostgreSQL versions we build for
 *
 * The only file with PG_VERSION_NUM. Names say what is meant, not which
 * version has it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_COMPAT_H
#define SCOREBOARD_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "scoreboard needs PostgreSQL 15 or newer"
#endif

/* 18 replaced pg_attribute_noreturn(); stands before the declaration. */
#if PG_VERSION_NUM >= 180000
#define compat_noreturn pg_noreturn
#else
#define compat_noreturn __attribute__((noreturn))
#endif

/* 18 lets a library name itself and its version. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_MODULE_MAGIC(module_name, module_version) \
	PG_MODULE_MAGIC_EXT(.name = module_name, .version = module_version)
#else
#define COMPAT_MODULE_MAGIC(module_name, module_version) PG_MODULE_MAGIC
#endif

/* 19 names a tranche of LWLocks when it is made; before, every process does by itself. */
#if PG_VERSION_NUM >= 190000
#define compat_new_tranche(name) LWLockNewTrancheId(name)
#define compat_register_tranche(id, name) ((void) (id))
#else
#define compat_new_tranche(name) LWLockNewTrancheId()
#define compat_register_tranche(id, name) LWLockRegisterTranche(id, name)
#endif

/* 19 tells a signal's handler who sent it; what a handler passes on. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_SIGNAL_ARGS postgres_signal_arg, pg_siginfo
#else
#define COMPAT_SIGNAL_ARGS postgres_signal_arg
#endif

/* 17 lets a library name what its workers wait for ("utils/wait_event.h"); ask once per process. */
#if PG_VERSION_NUM >= 170000
#define compat_wait_event(name) WaitEventExtensionNew(name)
#else
#define compat_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 19 has room for options where a row is updated; we have none. */
#if PG_VERSION_NUM >= 190000
#define compat_tuple_update(rel, tid, slot, cid, snapshot, failure, lock_mode, indexes) \
	table_tuple_update(rel, tid, slot, cid, 0, snapshot, InvalidSnapshot, true, failure, lock_mode, indexes)
#else
#define compat_tuple_update(rel, tid, slot, cid, snapshot, failure, lock_mode, indexes) \
	table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot, true, failure, lock_mode, indexes)
#endif

/* 17 numbers processes by themselves ("storage/proc.h"). */
#if PG_VERSION_NUM >= 170000
#define compat_my_proc_number MyProcNumber
#else
#define compat_my_proc_number MyProc->pgprocno
#endif

/* 17 keeps the virtual transaction of a lock ("storage/lock.h") in one piece. */
#if PG_VERSION_NUM >= 170000
#define compat_lock_vxid(lock) ((lock)->vxid)
#else
#define compat_lock_vxid(lock) ((VirtualTransactionId) {(lock)->backend, (lock)->lxid})
#endif

/* 17 can also ask for a stronger one ("storage/lock.h"). */
#if PG_VERSION_NUM >= 170000
#define compat_lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode), false)
#else
#define compat_lock_held_by_me(tag, mode) LockHeldByMe((tag), (mode))
#endif

/* 16 asks one way of all kinds of objects ("catalog/pg_proc.h", "utils/acl.h"). */
#if PG_VERSION_NUM >= 160000
#define compat_may_execute(function, role) (object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK)
#define compat_owns_function(function, role) object_ownercheck(ProcedureRelationId, function, role)
#else
#define compat_may_execute(function, role) (pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK)
#define compat_owns_function(function, role) pg_proc_ownercheck(function, role)
#endif

/* 16 can update only an index that summarises; before, it was all of them or none. */
#if PG_VERSION_NUM >= 160000
#define CompatUpdateIndexes TU_UpdateIndexes
#define compat_indexes_need_update(indexes) ((indexes) != TU_None)
#else
#define CompatUpdateIndexes bool
#define compat_indexes_need_update(indexes) (indexes)
#endif
#if PG_VERSION_NUM >= 190000
#define compat_update_index_tuples(target, slot, estate, indexes) \
	ExecInsertIndexTuples(target, estate, EIIT_IS_UPDATE | ((indexes) == TU_Summarizing ? EIIT_ONLY_SUMMARIZING : 0), \
						  slot, NIL, NULL)
#elif PG_VERSION_NUM >= 160000
#define compat_update_index_tuples(target, slot, estate, indexes) \
	ExecInsertIndexTuples(target, slot, estate, true, false, NULL, NIL, (indexes) == TU_Summarizing)
#else
#define compat_update_index_tuples(target, slot, estate, indexes) \
	ExecInsertIndexTuples(target, slot, estate, true, false, NULL, NIL)
#endif

/* 18 asks whether a deferrable one will do. */
#if PG_VERSION_NUM >= 180000
#define compat_primary_key(rel) RelationGetPrimaryKeyIndex(rel, false)
#else
#define compat_primary_key(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* 17 can put the lexer ("common/jsonapi.h") where the caller has room for it. */
#if PG_VERSION_NUM >= 170000
#define compat_json_lexer(text, length) makeJsonLexContextCstringLen(NULL, text, length, PG_UTF8, true)
#else
#define compat_json_lexer(text, length) makeJsonLexContextCstringLen(text, length, PG_UTF8, true)
#endif

/* 16 lets what is called for a part of a text end the parse. */
#if PG_VERSION_NUM >= 160000
#define CompatJsonAction JsonParseErrorType
#define compat_json_go_on() return JSON_SUCCESS
#else
#define CompatJsonAction void
#define compat_json_go_on() return
#endif

/* 18 counts what a scan searched, for EXPLAIN; 19 takes hints about it, and so of a scan of a table. */
#if PG_VERSION_NUM >= 190000
#define compat_index_beginscan(rel, index, snapshot, nkeys) index_beginscan(rel, index, snapshot, NULL, nkeys, 0, SO_NONE)
#define compat_table_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define compat_index_beginscan(rel, index, snapshot, nkeys) index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#define compat_table_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)
#else
#define compat_index_beginscan(rel, index, snapshot, nkeys) index_beginscan(rel, index, snapshot, nkeys, 0)
#define compat_table_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)
#endif

/* 19 pins a page of the visibility map for whoever prunes the next page too; nobody does. */
#if PG_VERSION_NUM >= 190000
#define compat_page_prune(rel, buffer) \
	do { \
		Buffer		map_ = InvalidBuffer; \
		heap_page_prune_opt(rel, buffer, &map_, false); \
		if (BufferIsValid(map_)) \
			ReleaseBuffer(map_); \
	} while (0)
#else
#define compat_page_prune(rel, buffer) heap_page_prune_opt(rel, buffer)
#endif

/* 19 makes a table of shared memory as large as it will ever be. */
#if PG_VERSION_NUM >= 190000
#define compat_shmem_hash(name, size, control, flags) ShmemInitHash(name, size, control, flags)
#else
#define compat_shmem_hash(name, size, control, flags) ShmemInitHash(name, size, size, control, flags)
#endif

/* Minor releases of 2025 made flags of it. Are synchronous standbys named ("replication/walsender_private.h")? */
#ifdef SYNC_STANDBY_DEFINED
#define compat_standbys_named() ((((volatile WalSndCtlData *) WalSndCtl)->sync_standbys_status & SYNC_STANDBY_DEFINED) != 0)
#else
#define compat_standbys_named() (((volatile WalSndCtlData *) WalSndCtl)->sync_standbys_defined)
#endif

#endif
