/*
 * plain/rate_table.h - exact sliding windows of many players in a memory of fixed size
 *
 * Plain C without the server, so that a test program holds it against a model. A
 * table is for one caller at a time: inside the server each partition has one, with a lock around it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_RATE_TABLE_H
#define SCOREBOARD_PLAIN_RATE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_LIMIT_MAX 1000		/* attempts in a window, whatever the settings say */
#define RATE_FREE_RETRIES 8
#define RATE_MINUTE 60000		/* milliseconds */
#define RATE_SECOND 1000

#define RATE_ENTRY_SLOTS 10		/* attempts that an entry has room for by itself */
#define RATE_MORE_SLOTS 14		/* in each further cell */
#define RATE_SCOPES_MAX 2
#define RATE_NO_CELL UINT32_MAX

/*
 * An attempt is its moment, the low 16 bits of the milliseconds (what counts is younger than a minute, so they suffice),
 * and 28 bits of its hash above 4 that count its free retries.
 */
typedef struct RateEntry
{
	uint32_t	key_high;
	uint32_t	key_low;
	uint32_t	last_low;		/* when the newest attempt took its slot: 48 bits of milliseconds */
	uint16_t	last_high;
	uint16_t	count:15;		/* slots in use, oldest first, packed */
	uint16_t	minute:1;		/* which list it is in: its attempts count for a minute, or for a second */
	uint32_t	bucket_next;
	uint32_t	older;
	uint32_t	newer;
	uint32_t	more;			/* the cell with the eleventh attempt, if any */
	uint32_t	hashes[RATE_ENTRY_SLOTS];
	uint16_t	times[RATE_ENTRY_SLOTS];
} RateEntry;

typedef struct RateMore
{
	uint32_t	next;			/* the cell with the next attempts; of a free cell: the next free one */
	uint32_t	hashes[RATE_MORE_SLOTS];
	uint16_t	times[RATE_MORE_SLOTS];
} RateMore;

typedef union RateCell
{
	RateEntry	entry;
	RateMore	more;
} RateCell;

_Static_assert(sizeof(RateCell) == 92, "a rate cell has 92 bytes: with its share of a bucket it stays under 96");

/* By when their attempts stop to count. */
typedef enum RateList
{
	RATE_LIST_SECOND,
	RATE_LIST_MINUTE,
	RATE_LISTS
} RateList;

typedef struct RateTable
{
	uint32_t	cells;			/* set once */
	uint32_t	buckets;		/* set once */
	uint32_t	free;			/* list of cells given back */
	uint32_t	fresh;			/* cells from here on have never been used */
	uint32_t	used;			/* cells in use */
	uint32_t	entries;
	uint32_t	oldest[RATE_LISTS]; /* ends of the lists by "last" */
	uint32_t	newest[RATE_LISTS];
} RateTable;

/* A table with its memory, at a moment that never goes back. */
typedef struct RateHold
{
	RateTable  *table;
	RateCell   *cells;
	uint32_t   *heads;			/* of the buckets */
	int64_t		now;			/* milliseconds */
} RateHold;

/* What an attempt is counted in: who (a keyed hash), and how many may be. */
typedef struct RateScope
{
	uint64_t	key;
	int			minute_limit;	/* 0 = off */
	int			second_limit;
} RateScope;

typedef enum RateOutcome
{
	RATE_TAKEN,
	RATE_EXHAUSTED,
	RATE_TABLE_FULL
} RateOutcome;

/* How many cells fit into that many bytes together with the heads of their buckets, and how many buckets these are. */
extern uint32_t rate_table_cells(size_t bytes);
extern uint32_t rate_table_buckets(uint32_t cells);

/* hold->table->cells and ->buckets have been set. */
extern void rate_table_init(RateHold *hold);

/*
 * An attempt takes a slot in each of the scopes (at least one), or none: it takes none where one of them is exhausted (*wait: milliseconds
 * until all have room). An attempt whose hash stands in a scope takes no further slot in it, RATE_FREE_RETRIES times;
 * hash 0 is never the same. Where the memory runs out between two scopes the first has been taken.
 */
extern RateOutcome rate_table_take(RateHold *hold, const RateScope *scopes, int count, uint64_t attempt, int64_t *wait);

/* Would it be taken? Takes nothing. */
extern RateOutcome rate_table_look(RateHold *hold, const RateScope *scopes, int count, uint64_t attempt, int64_t *wait);

/* Forgets at most so many entries of which nothing counts any more; how many it forgot. */
extern int	rate_table_sweep(RateHold *hold, int most);

#endif
