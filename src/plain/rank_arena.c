/*
 * plain/rank_arena.c - the nodes that all rank trees share
 *
 * An array of nodes of one size. Those that were never used are counted off
 * from the front, so that no page is touched before it is needed. Free nodes
 * stand on a stack that is changed by compare-and-swap, with a tag against a
 * node that comes back between two looks: trees under different locks share it without one of their own.
 *
 * A free node may still have children: who takes it puts them on the stack in
 * its stead. So a tree of any size is given back by its root.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/rank_arena.h"

RankArena *
rank_arena_init(void *memory, size_t size)
{
	RankArena  *arena = memory;
	size_t		nodes;

	if (size < sizeof(RankArena) + sizeof(RankNode))
		return NULL;
	nodes = (size - sizeof(RankArena)) / sizeof(RankNode);
	atomic_init(&arena->free_head, 0);
	atomic_init(&arena->fresh, 1);
	atomic_init(&arena->used, 0);
	arena->nodes = nodes < UINT32_MAX - 1 ? (uint32_t) nodes : UINT32_MAX - 1;
	return arena;
}

uint32_t
rank_arena_used(const RankArena *arena)
{
	return atomic_load(&arena->used);
}

/* Puts a chain of nodes, linked from first to last, on the free stack. */
static void
push(RankArena *arena, RankNode *first, RankNode *last)
{
	uint64_t	head = atomic_load(&arena->free_head);
	uint64_t	next;

	do
	{
		atomic_store(&last->next_free, (uint32_t) head);
		next = ((head >> 32) + 1) << 32 | rank_arena_index(arena, first);
	} while (!atomic_compare_exchange_weak(&arena->free_head, &head, next));
}

static RankNode *
pop(RankArena *arena)
{
	uint64_t	head = atomic_load(&arena->free_head);
	uint64_t	next;
	RankNode   *node;

	do
	{
		if ((uint32_t) head == 0)
			return NULL;
		node = rank_arena_node(arena, (uint32_t) head);
		next = ((head >> 32) + 1) << 32 | atomic_load(&node->next_free);
	} while (!atomic_compare_exchange_weak(&arena->free_head, &head, next));
	return node;
}

static void
free_children(RankArena *arena, RankNode *node)
{
	RankNode   *first = rank_arena_node(arena, node->children[0]);
	RankNode   *last = first;

	for (int i = 1; i < node->count; i++)
	{
		atomic_store(&last->next_free, node->children[i]);
		last = rank_arena_node(arena, node->children[i]);
	}
	push(arena, first, last);
}

static RankNode *
take_fresh(RankArena *arena)
{
	uint32_t	fresh = atomic_load(&arena->fresh);

	do
	{
		if (fresh > arena->nodes)
			return NULL;
	} while (!atomic_compare_exchange_weak(&arena->fresh, &fresh, fresh + 1));
	return rank_arena_node(arena, fresh);
}

RankNode *
rank_arena_take(RankArena *arena, int level)
{
	RankNode   *node = pop(arena);

	if (node != NULL && node->level > 0 && node->count > 0)
		free_children(arena, node);
	if (node == NULL)
		node = take_fresh(arena);
	if (node == NULL)
		return NULL;
	atomic_fetch_add(&arena->used, 1);
	node->level = (uint16_t) level;
	node->count = 0;
	return node;
}

void
rank_arena_give(RankArena *arena, RankNode *node)
{
	node->count = 0;
	push(arena, node, node);
	atomic_fetch_sub(&arena->used, 1);
}

void
rank_arena_give_tree(RankArena *arena, RankNode *root, uint32_t nodes)
{
	push(arena, root, root);
	atomic_fetch_sub(&arena->used, nodes);
}
