/*
 * base/tables.h - our tables below SQL: their checked layout, and one row by its key
 *
 * The only place that knows columns. Whoever reads or writes a tuple of ours below SQL asks here where a column
 * stands. A table that an administrator has changed into something that we can't serve raises an error that names it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_TABLES_H
#define SCOREBOARD_BASE_TABLES_H

#include "postgres.h"
#include "access/attnum.h"
#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

typedef enum TableName
{
	TABLE_BOARD,
	TABLE_PLAYER,
	TABLE_ACTION,
	TABLE_CREDIT,
	TABLE_SCORE,
	TABLE_TOP,
	TABLE_SESSION_KEY,
	TABLE_GRANT_TOKEN,
	TABLE_PENDING_EVENT,
	TABLES						/* how many there are */
} TableName;

/* Columns that we know, in the order of tables.c; an administrator may have added others. */
enum BoardColumn
{
	BOARD_ID, BOARD_NAME, BOARD_SCORE_ORDER, BOARD_TIES, BOARD_TOP_SIZE
};
enum PlayerColumn
{
	PLAYER_ID, PLAYER_USER_ID, PLAYER_DISPLAY_NAME, PLAYER_AVATAR_URL, PLAYER_STATE, PLAYER_HIDDEN,
	PLAYER_UNLISTED, PLAYER_ANONYMOUS, PLAYER_LABELS
};
enum ActionColumn
{
	ACTION_PLAYER_ID, ACTION_ID, ACTION_BOARD_ID, ACTION_SEASON, ACTION_TYPE_ID, ACTION_POINTS,
	ACTION_APPLIED, ACTION_PREVIOUS, ACTION_SCORE, ACTION_RANK, ACTION_VERSION, ACTION_CREATED_AT,
	ACTION_IDEMPOTENCY_KEY, ACTION_SIGNING_KEY_ID, ACTION_METADATA, ACTION_REQUEST_ID, ACTION_CLIENT_ADDRESS,
	ACTION_SUBSCORE, ACTION_DETAIL, ACTION_SETS_SCORE, ACTION_FIXED_POINTS, ACTION_COUNTED, ACTION_UNDONE_AT
};
enum CreditColumn
{
	CREDIT_PLAYER_ID, CREDIT_ACTION_ID, CREDIT_BOARD_ID, CREDIT_SEASON, CREDIT_APPLIED, CREDIT_PREVIOUS, CREDIT_SCORE,
	CREDIT_SETS_SCORE, CREDIT_COUNTED, CREDIT_UNDONE_AT
};
enum ScoreColumn
{
	SCORE_BOARD_ID, SCORE_SEASON, SCORE_PLAYER_ID, SCORE_SCORE, SCORE_REACHED_AT, SCORE_LISTED,
	SCORE_SUBSCORE, SCORE_DETAIL
};
enum TopColumn
{
	TOP_BOARD, TOP_SEASON, TOP_VERSION, TOP_DOCUMENT
};

enum SessionKeyColumn
{
	SESSION_KEY_ID, SESSION_KEY_USER_ID, SESSION_KEY_SECRET, SESSION_KEY_EXPIRES_AT, SESSION_KEY_REVOKED_AT
};

enum GrantColumn
{
	GRANT_ID, GRANT_USER_ID, GRANT_TYPE_ID, GRANT_BOARD_ID, GRANT_POINTS, GRANT_SUBSCORE, GRANT_DETAIL, GRANT_EXPIRES_AT
};

enum PendingEventColumn
{
	PENDING_WRITER, PENDING_NUMBER, PENDING_EVENT_ID, PENDING_TYPE, PENDING_BOARD_ID, PENDING_SEASON, PENDING_PLAYER_ID,
	PENDING_OTHER_PLAYER_ID, PENDING_ACTION_ID, PENDING_OCCURRED_AT, PENDING_DETAILS
};

#define TABLE_COLUMNS_MAX 24
#define TABLE_KEYS_MAX 3

/* What a table is to be used for; each includes those before. */
typedef enum TableUse
{
	TABLE_UNCHECKED,
	TABLE_SCAN,					/* its rows are read: columns, and an ordinary table without heirs */
	TABLE_FIND,					/* a row is found by its key: the heap's, with a unique index */
	TABLE_WRITE					/* rows are written below SQL: no rules, no triggers that only SQL can fire */
} TableUse;

/* What was checked. attno holds attribute numbers from 1; whoever holds a lock on the table may keep a copy as long. */
typedef struct TableLayout
{
	TableUse	use;
	int			columns;		/* that we know */
	AttrNumber	attno[TABLE_COLUMNS_MAX];
	bool		has_others;		/* columns that we don't know, or dropped ones */
	Oid			index;			/* from TABLE_FIND on: of the key */
	int			keys;			/* columns of the key */
	uint8		key_column[TABLE_KEYS_MAX]; /* our column at each place of the index */
	bool		runs_others;	/* from TABLE_WRITE on: a write may run an administrator's code, which resolves names by the search_path */
} TableLayout;

/* The table's oid; InvalidOid where the extension isn't there. A name is looked up once, and again after any change of the table. */
extern Oid	tables_id(TableName name);

/* Locks the table to the end of the transaction; what has the name once the lock is had. */
extern Oid	tables_lock(TableName name, LOCKMODE lock);

/* For who has it open and locked. Raises what is wrong with it. */
extern const TableLayout *tables_layout(TableName name, Relation rel, TableUse use);

/* Before SQL reads it: locks it in ACCESS SHARE and raises what is wrong with it. */
extern void tables_require(TableName name);

/* A column of a row in a slot. Null is 0 or false, which the columns that we need not ask don't allow. */
extern Datum tables_value(const TableLayout *layout, TupleTableSlot *slot, int column);

/* A table at hand. An error before tables_close() closes by itself. */
typedef struct Table
{
	TableLayout layout;
	bool		updates;		/* the caller will write the next version of the row */
	Relation	rel;
	Relation	index;			/* NULL as scan is */
	uint64		hash;			/* of which table it is; 0: where its rows stand is not remembered */
	MemoryContext context;		/* where it was opened; scan and slot live there, however deep a look is taken */
	IndexScanDesc scan;			/* NULL before the first look that asks the index */
	ScanKeyData keys[TABLE_KEYS_MAX];
	TupleTableSlot *slot;		/* the row found last; its page is pinned */
} Table;

/* TABLE_FIND or TABLE_WRITE. Locks the table, and the index once it is asked, to the end of the transaction. */
extern void tables_open(Table *table, TableName name, TableUse use, LOCKMODE lock);
extern void tables_close(Table *table);

/* Every column of the key, before each look. */
extern void tables_key_int4(Table *table, int column, int32 value);
extern void tables_key_int8(Table *table, int column, int64 value);
extern void tables_key_text(Table *table, int column, const char *value);

/* The row that a snapshot sees: in slot, until the next look. */
extern bool tables_find(Table *table, Snapshot snapshot);

/* A column of the row found last. Texts are copies; null is NULL, 0 or false. */
extern int32 tables_int4(Table *table, int column);
extern int64 tables_int8(Table *table, int column);
extern bool tables_bool(Table *table, int column);
extern char *tables_text(Table *table, int column);
extern bool tables_is_null(Table *table, int column);

/*
 * What is committed now, without this transaction's own changes; to be given to UnregisterSnapshot(). After the tables were
 * opened: one that was rewritten while they were waited for would be empty.
 */
extern Snapshot tables_committed(void);

/* Once per process, from _PG_init: relcache callback. */
extern void tables_init(void);

#endif
