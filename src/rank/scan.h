/*
 * rank/scan.h - the same answers as rank/index.h, counted by SQL
 *
 * For the moments when the index can't answer. A scan reads the whole board:
 * readers do it under a time limit and few at once (beyond: UNAVAILABLE is
 * raised), writers never.
 * SPI need not be connected by the caller: each function connects and finishes by itself.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_SCAN_H
#define SCOREBOARD_RANK_SCAN_H

#include "rank/index.h"

/* The key's player is counted as standing at key, wherever the table has it. */
extern void rank_scan_standing_of(const Board *board, int32 season, const RankKey *key, RankStanding *at);
extern void rank_scan_range(const Board *board, int32 season, int64 skip, int count,
							RankRow *rows, int *found, int64 *players);
extern void rank_scan_position(const Board *board, int32 season, const RankKey *key,
							   int64 *position);

/* Keys and ranks of these players, in one scan; rank 0: not listed. Fills rows[i] for player_ids[i]. */
extern void rank_scan_ranks(const Board *board, int32 season, const int64 *player_ids, int count,
							RankRow *rows);

/* As rank_index_after() and rank_index_spread() say. A page of a list that is read to its end may take its time: the first has no time limit. */
extern void rank_scan_after(const Board *board, int32 season, const RankKey *after, int count,
							RankRow *rows, int *found);
extern void rank_scan_spread(const Board *board, int32 season, RankSpread *spread);

/* All of it from one snapshot, keys included; rank 0: not listed. */
extern void rank_scan_view(const Board *board, int32 season, RankView *view);

/* rank_scan_range without time limit and not counted among the readers' scans: for the publisher. */
extern void rank_scan_range_unlimited(const Board *board, int32 season, int64 skip, int count,
									  RankRow *rows, int *found, int64 *players);

#endif
