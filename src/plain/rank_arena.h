/*
 * plain/rank_arena.h - the nodes that all rank trees share
 *
 * Plain C, as rank_tree.h. Everything here may be called by many processes at
 * the same time; a node that was taken is its taker's alone.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_RANK_ARENA_H
#define SCOREBOARD_PLAIN_RANK_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANK_NODE_SIZE 2048
#define RANK_LEAF_MAX 81
#define RANK_INNER_MAX 56

/* Compared member by member: the least key has rank 0. */
typedef struct RankTreeKey
{
	int64_t		order;			/* the score, negated where the highest ranks first */
	int64_t		moment;
	int64_t		player;
} RankTreeKey;

typedef struct RankNode
{
	_Atomic uint32_t next_free; /* of the free stack; read also by those who lose the race for this node */
	uint16_t	level;			/* 0: leaf */
	uint16_t	count;
	union
	{
		struct
		{
			RankTreeKey keys[RANK_LEAF_MAX];
			int8_t		sums[RANK_LEAF_MAX];
		};
		struct
		{
			RankTreeKey bounds[RANK_INNER_MAX];
			int64_t		totals[RANK_INNER_MAX];
			uint32_t	children[RANK_INNER_MAX];
		};
		uint64_t	memory[(RANK_NODE_SIZE - 8) / 8];	/* of a node that no tree uses */
	};
} RankNode;

_Static_assert(sizeof(RankTreeKey) == 24, "key size");
_Static_assert(sizeof(RankNode) == RANK_NODE_SIZE, "node size");

typedef struct RankArena
{
	_Atomic uint64_t free_head; /* tag << 32 | node */
	_Atomic uint32_t fresh;		/* nodes from here on were never used */
	_Atomic uint32_t used;
	uint32_t	nodes;			/* set once */
	char		padding[64 - 20];
	RankNode	node[];
} RankArena;

/* Lays an arena out in memory (aligned to 64 bytes) of that size. NULL where not even one node fits. */
extern RankArena *rank_arena_init(void *memory, size_t size);

/* Nodes in use, those of trees that were given back not among them. */
extern uint32_t rank_arena_used(const RankArena *arena);

/* A node without entries, or NULL: there is none left. */
extern RankNode *rank_arena_take(RankArena *arena, int level);

/* Gives back this node alone. */
extern void rank_arena_give(RankArena *arena, RankNode *node);

/* Gives back a node with all that is below it, "nodes" in sum, in O(1). */
extern void rank_arena_give_tree(RankArena *arena, RankNode *root, uint32_t nodes);

/* Nodes are named by index from 1, since processes may map the arena at different addresses; 0 is none. */
static inline RankNode *
rank_arena_node(RankArena *arena, uint32_t index)
{
	return &arena->node[index - 1];
}

static inline uint32_t
rank_arena_index(const RankArena *arena, const RankNode *node)
{
	return (uint32_t) (node - arena->node) + 1;
}

#endif
