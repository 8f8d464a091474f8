/*
 * rank/order.h - what a board's settings make of its rows: the keys of its tree
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_ORDER_H
#define SCOREBOARD_RANK_ORDER_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "scoreboard.h"
#include "base/config_cache.h"
#include "base/tables.h"
#include "plain/rank_tree.h"

/*
 * What places a row. Where ties are of subscores, reached_at doesn't matter, else subscore doesn't; what comes back
 * from a tree has 0 and NO_SUBSCORE there.
 */
typedef struct RankKey
{
	int64		score;
	int64		subscore;		/* or NO_SUBSCORE */
	TimestampTz reached_at;
	int64		player_id;
} RankKey;

/* Moments are microseconds since 2000 here, and since 1970 for other servers. */
#define EPOCH_DIFFERENCE ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* What decides between equal scores, before the order of first appearance. */
typedef enum RankTieBreak
{
	TIE_MOMENT,
	TIE_SUBSCORE_HIGH,
	TIE_SUBSCORE_LOW
} RankTieBreak;

#define RANK_TIE_BREAKS (TIE_SUBSCORE_LOW + 1)

/* What a tree's keys depend on: a board whose order is another one needs another tree. */
typedef struct RankOrder
{
	bool		low_first;		/* the lowest score ranks first */
	RankTieBreak tie_break;
} RankOrder;

extern RankOrder rank_order_of(const Board *board);
extern RankOrder rank_order_of_texts(const char *score_order, const char *ties);
extern bool rank_order_same(RankOrder a, RankOrder b);

/* Of a row of scoreboard.score. */
extern RankKey rank_key_read(const TableLayout *layout, TupleTableSlot *slot);

/* A row's key in the tree, and what a tree's key tells of the row. Callback rules (rank/notes.c): nothing is raised or allocated. */
extern RankTreeKey rank_order_key(RankOrder order, const RankKey *key);
extern RankKey rank_order_row(RankOrder order, const RankTreeKey *key);

/* Board order: negative where a stands before b. */
extern int	rank_order_compare(RankOrder order, const RankKey *a, const RankKey *b);

/* The key whose predecessors are ahead of key, ties as the board has them. */
extern RankTreeKey rank_order_ahead(const Board *board, const RankTreeKey *key);

/* The key that stands ahead of all of this score, behind all of better ones. */
extern RankTreeKey rank_order_score(RankOrder order, int64 score);

/* The key from which on all are strictly behind key: by score, where subscores count by score and subscore. */
extern RankTreeKey rank_order_behind(RankOrder order, const RankTreeKey *key);

#endif
