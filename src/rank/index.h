/*
 * rank/index.h - ranks of what is committed, for each board and season of this database
 *
 * Functions that answer return false while the index can't (being built, on a
 * standby, memory full): then the caller does without or counts by SQL
 * (rank/scan.h), never waits for ever.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_INDEX_H
#define SCOREBOARD_RANK_INDEX_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/config_cache.h"
#include "rank/order.h"

/* A key where it stands. */
typedef struct RankRow
{
	RankKey		key;
	int64		rank;			/* from 1; ties as the board says */
} RankRow;

/*
 * The rank that key has among what is committed, the player's own old entry
 * (the first that this transaction noted) left out. Waits scoreboard.rank_wait at most.
 * *version: of the board's list as published last; 0: scoreboard.top has it.
 */
extern bool rank_index_rank_of_new(const Board *board, int32 season,
								   const RankKey *key, int64 *rank, int64 *version);

/* Where a committed key stands; from one moment. */
typedef struct RankStanding
{
	int64		rank;			/* from 1; ties as the board says; 0: the key isn't there (yet, or any more) */
	int64		players;		/* how many stand in the list */
	int64		behind;			/* how many of them strictly behind it (rank/order.h), for the percentile */
} RankStanding;

extern bool rank_index_standing_of(const Board *board, int32 season, const RankKey *key, RankStanding *at);

/*
 * count rows from position skip (0 = the best) in order; *found how many there
 * were; *players as above. rows has room for count.
 */
extern bool rank_index_range(const Board *board, int32 season, int64 skip, int count,
							 RankRow *rows, int *found, int64 *players);

/*
 * Several answers of one moment. Asked: the top, a player with its neighbours, and other players, by the keys that their rows have;
 * the rows have room. Where a key isn't there (yet, or any more), its rank is 0, and own has no neighbours.
 */
typedef struct RankView
{
	int			entries;		/* how many of the best */
	bool		has_own;
	int			radius;			/* neighbours of own on each side */
	int			friends;

	RankRow		own;			/* its key is asked, as those of friend are */
	RankRow    *friend;

	/* The answers */
	TimestampTz as_of;
	int64		players;
	int64		own_behind;		/* how many stand strictly behind own */
	RankRow		next;			/* who stands directly ahead of own, whoever shares its rank left out; rank 0: nobody */
	RankRow    *top;
	int			top_found;
	RankRow    *around;			/* own among them; 2 * radius + 1 at most */
	int			around_found;
} RankView;

extern bool rank_index_view(const Board *board, int32 season, RankView *view);

/* Position (0 = the best) of the first entry not ahead of key: where range() starts for its neighbours. */
extern bool rank_index_position(const Board *board, int32 season, const RankKey *key,
								int64 *position);

/*
 * count rows that stand behind after, or with NULL from the best on. It need not stand there any more, so pages by their
 * last keys leave out nobody who keeps its place, however many come, go and move meanwhile.
 */
extern bool rank_index_after(const Board *board, int32 season, const RankKey *after, int count,
							 RankRow *rows, int *found);

#define RANK_BUCKETS_MAX 100

/* Whose scores of so many thousandths of all players, the worst first, are told. */
#define RANK_QUANTILES 11
extern const int rank_quantiles[RANK_QUANTILES];

/* How the scores of a list are spread, of one moment. All but the first member are answers; where players is 0, the others aren't set. */
typedef struct RankSpread
{
	int			buckets;		/* how many at most; then how many there are */
	TimestampTz as_of;
	int64		players;
	int64		lowest;			/* scores */
	int64		highest;
	int64		width;			/* of a bucket: bucket i has the scores from lowest + i * width on, fewer in the last one */
	int64		counts[RANK_BUCKETS_MAX];
	int64		quantiles[RANK_QUANTILES];	/* the score that a part of all players stands at or behind: nearest rank */
} RankSpread;

extern bool rank_index_spread(const Board *board, int32 season, RankSpread *spread);

/* Sets width, and the number of buckets that it takes, once lowest and highest are known. */
extern void rank_spread_divide(RankSpread *spread);

/* From the worst, 1 to players: whose score stands for that many thousandths. */
extern int64 rank_spread_place(const RankSpread *spread, int quantile);

/* For the publisher, once a version is committed; table: what tables_id() said within that transaction. */
extern void rank_index_published(Oid table, int32 board_id, int32 season, int64 version);

/* Gives its tree back: of a season that has ended. */
extern void rank_index_free(Oid table, int32 board_id, int32 season);

/* Is the board's tree still to be built, or being built? Where nobody has asked for it yet, this does. */
extern bool rank_index_is_coming(Oid table, int32 board_id, int32 season);

/* For who found in scoreboard.top what rank_index_rank_of_new() didn't know. */
extern void rank_index_learn_version(const Board *board, int32 season, int64 version);

/* Bytes that the trees of all databases share: in use, and in all. */
extern void rank_index_memory(int64 *used, int64 *size);

/* Once per process, from _PG_init: transaction callbacks. */
extern void rank_index_init(void);

#endif
