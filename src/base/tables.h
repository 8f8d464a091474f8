/*
 * base/tables.h - one row of a table of ours by a unique index, below SQL
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_TABLES_H
#define SCOREBOARD_BASE_TABLES_H

#include "postgres.h"
#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Tables of the heap access method, each with the index that its rows are found by: the user_id, or the primary key. */
typedef enum LookupTable
{
	LOOKUP_PLAYER,
	LOOKUP_ACTION,
	LOOKUP_SCORE,
	LOOKUP_TOP
} LookupTable;

/* Columns by their place in sql/scoreboard--1.0.sql; an administrator may have added others behind them. */
enum PlayerColumn
{
	PLAYER_ID = 1, PLAYER_USER_ID, PLAYER_DISPLAY_NAME, PLAYER_AVATAR_URL, PLAYER_STATE, PLAYER_HIDDEN
};
enum ActionColumn
{
	ACTION_PLAYER_ID = 1, ACTION_ID, ACTION_BOARD_ID, ACTION_SEASON, ACTION_TYPE_ID, ACTION_POINTS,
	ACTION_APPLIED, ACTION_PREVIOUS, ACTION_SCORE, ACTION_RANK, ACTION_VERSION, ACTION_CREATED_AT,
	ACTION_IDEMPOTENCY_KEY, ACTION_SIGNING_KEY_ID, ACTION_METADATA, ACTION_REQUEST_ID, ACTION_CLIENT_ADDRESS,
	ACTION_SUBSCORE, ACTION_DETAIL
};
enum ScoreColumn
{
	SCORE_BOARD_ID = 1, SCORE_SEASON, SCORE_PLAYER_ID, SCORE_SCORE, SCORE_REACHED_AT, SCORE_LISTED
};
enum TopColumn
{
	TOP_BOARD = 1, TOP_SEASON, TOP_VERSION
};

/* A table at hand. An error before lookup_close() closes by itself. */
typedef struct Lookup
{
	bool		updates;		/* the caller will write the next version of the row */
	Relation	rel;
	Relation	index;
	MemoryContext context;		/* where it was opened; scan and slot live there, however deep a look is taken */
	IndexScanDesc scan;			/* NULL before the first look */
	TupleTableSlot *slot;		/* the row found last; its page is pinned */
} Lookup;

/* The table's oid; InvalidOid where the extension isn't there. A name is looked up once, and again after any change of the table. */
extern Oid	lookup_table_id(LookupTable table);

/* For reading: updates is false. Locks table and index and keeps these locks to the end of the transaction. */
extern void lookup_open(Lookup *lookup, LookupTable table, LOCKMODE lock);
extern void lookup_close(Lookup *lookup);

/* Keys for the index's columns from the first on, as many for every look. */
extern void lookup_key_int4(ScanKey keys, int column, int32 value);
extern void lookup_key_int8(ScanKey keys, int column, int64 value);
extern void lookup_key_text(ScanKey keys, int column, const char *value);

/* The row that a snapshot sees: in slot, until the next look. */
extern bool lookup_find(Lookup *lookup, ScanKey keys, int nkeys, Snapshot snapshot);

/* A column of the row found last, from 1. Texts are copies; null is NULL, 0 or false. */
extern int64 lookup_int8(Lookup *lookup, int column);
extern bool lookup_bool(Lookup *lookup, int column);
extern char *lookup_text(Lookup *lookup, int column);

/* What is committed now, without this transaction's own changes; to be given to UnregisterSnapshot(). */
extern Snapshot lookup_committed(void);

/* Once per process, from _PG_init: relcache callback. */
extern void lookup_init(void);

#endif
