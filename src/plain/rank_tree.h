/*
 * plain/rank_tree.h - order-statistics B+trees in one arena of fixed size
 *
 * Plain C: knows nothing of PostgreSQL, so that a test program can drive it.
 * A tree is a signed multiset of keys: each key stands at a sum that is not
 * zero; only trees whose keys all stand at 1 (rank_tree_regular) have ranks
 * to show. The caller keeps others away from a tree while it uses or changes
 * it; trees of one arena may be changed at the same time.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_RANK_TREE_H
#define SCOREBOARD_PLAIN_RANK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plain/rank_arena.h"

typedef enum RankTreeResult
{
	RANK_TREE_DONE,
	RANK_TREE_FULL,				/* the arena has no node left; the key was not entered, all else stands */
	RANK_TREE_OVERFLOW			/* a key would stand beyond +-127; nothing was changed */
} RankTreeResult;

/* So many keys stand in the tree itself: one of them costs no node. */
#define RANK_FEW_MAX 17

/* All zero is an empty tree. */
typedef struct RankTree
{
	uint32_t	root;			/* node; 0: its keys stand in "few" */
	uint32_t	nodes;			/* nodes that it holds */
	int64_t		total;			/* the sum over all keys: players, where it is regular */
	int64_t		irregular;		/* keys that stand at another sum than 1 */
	uint64_t	checksum;		/* of keys and sums, whatever the order they came in */
	RankTreeKey few[RANK_FEW_MAX];	/* in order */
	int8_t		few_sums[RANK_FEW_MAX];
	uint8_t		few_count;
} RankTree;

/* Adds change (+1 or -1) to the sum at which key stands. O(log n). */
extern RankTreeResult rank_tree_change(RankArena *arena, RankTree *tree,
									   const RankTreeKey *key, int change);

/*
 * rank_tree_change(+1) for each of count keys that ascend strictly, far faster
 * and packed densely. *loaded tells how many were entered.
 */
extern RankTreeResult rank_tree_load(RankArena *arena, RankTree *tree,
									 const RankTreeKey *keys, size_t count, size_t *loaded);

/* How many nodes a bulk load of so many keys takes, with a little to spare. */
extern size_t rank_tree_nodes_for(size_t keys);

/* Empties the tree, whatever its size, in O(1). */
extern void rank_tree_clear(RankArena *arena, RankTree *tree);

static inline bool
rank_tree_regular(const RankTree *tree)
{
	return tree->irregular == 0;
}

/* The sum over all keys that are less than key. */
extern int64_t rank_tree_before(RankArena *arena, const RankTree *tree, const RankTreeKey *key);

/* The sum at which key stands; 0 where it is not in the tree. */
extern int	rank_tree_sum(RankArena *arena, const RankTree *tree, const RankTreeKey *key);

/*
 * Of a regular tree: the keys from position skip (0 = the least) on, in order,
 * at most count. Returns how many there were.
 */
extern size_t rank_tree_range(RankArena *arena, const RankTree *tree, int64_t skip,
							  RankTreeKey *keys, size_t count);

/* What one key adds to the checksum of a tree where it stands at 1. */
extern uint64_t rank_tree_key_checksum(const RankTreeKey *key);

/* Walks the whole tree; NULL, or what is wrong with it. For tests and for an administrator's check. */
extern const char *rank_tree_check(RankArena *arena, const RankTree *tree);

static inline int
rank_tree_compare(const RankTreeKey *a, const RankTreeKey *b)
{
	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	if (a->moment != b->moment)
		return a->moment < b->moment ? -1 : 1;
	if (a->player != b->player)
		return a->player < b->player ? -1 : 1;
	return 0;
}

#endif
