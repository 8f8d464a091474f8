/*
 * base/plan.h - SQL statements that a backend prepares once and keeps
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_PLAN_H
#define SCOREBOARD_BASE_PLAN_H

#include "postgres.h"
#include "executor/spi.h"

#define PLAN_ARGS_MAX 20

typedef struct SavedPlan
{
	const char *text;
	int			nargs;
	Oid			types[PLAN_ARGS_MAX];
	bool		custom;			/* planned anew for each values: how many there are in an array decides */
	SPIPlanPtr	plan;			/* NULL until first used */
} SavedPlan;

/*
 * Connects to SPI with our search_path, whatever the caller's is; what it returns is for plan_finish(). The
 * functions that pay for every call have no SET clause: whatever could resolve a name for them stands between these two,
 * or between plan_pin() and plan_unpin(). A plan refuses to run under another search_path.
 */
extern int	plan_connect(void);
extern void plan_finish(int pin);
extern int	plan_pin(void);
extern void plan_unpin(int pin);

/*
 * Runs a read against what is committed now plus this transaction's own
 * changes, whatever the isolation level (a snapshot of its own). SPI must be connected; the result is in
 * SPI_tuptable. count 0 = all rows.
 */
extern void plan_read(SavedPlan *plan, Datum *values, const char *nulls, long count);

/*
 * The same without this transaction's own changes: only what is committed, as
 * the rank index has it.
 */
extern void plan_read_committed(SavedPlan *plan, Datum *values, const char *nulls, long count);

/*
 * For several statements that must agree: pushes such a snapshot until
 * PopActiveSnapshot(), and reads with the one that was pushed last. The caller has locked their tables.
 */
extern void plan_push_committed(void);
extern void plan_read_active(SavedPlan *plan, Datum *values, const char *nulls, long count);

/* As plan_read(), in slices by SPI_cursor_fetch(), until SPI_cursor_close(): what is changed meanwhile isn't seen. */
extern Portal plan_open(SavedPlan *plan, Datum *values, const char *nulls);

/* Runs a write with the transaction's own snapshot rules; expects the SPI result code. */
extern void plan_write(SavedPlan *plan, Datum *values, const char *nulls, int expected);

/* A text column of a row as a C string in the current context; NULL where it is null. */
extern char *plan_text(HeapTuple row, TupleDesc desc, int column);

/* A column that is not null, as statements cast it to the type that the caller takes: an administrator may have changed it. */
extern Datum plan_datum(HeapTuple row, TupleDesc desc, int column);
extern char *plan_known_text(HeapTuple row, TupleDesc desc, int column);

#endif
