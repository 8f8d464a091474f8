/*
 * plain/rank_tree.c - order-statistics B+trees in one arena of fixed size
 *
 * Leaves hold keys and the sum at which each stands; inner nodes hold, for each child, the
 * least key that may be found there (that of child 0 counts as minus
 * infinity) and the total of all sums below it.
 *
 *                      [ - | k1 | k2 ]     totals 3 2 2
 *                      /      |     \
 *             [a b c]      [k1 d]    [k2 e]
 *
 * A tree of few keys has them in itself, without a node: a hundred thousand small boards cost their places only.
 *
 * All leaves are at level 0, the root's level is the height. Nodes are kept fuller
 * than in a plain B-tree, because memory per player is what this structure is for: a full leaf
 * first evens out with a neighbour, and splits only where the neighbours are
 * nearly full too; a node that falls below LOW_FILL merges with a neighbour
 * where both fit into one.
 *
 * Nothing fails half-way: a change first makes room, in steps of one split
 * each; after each step the tree is complete, so that running out of
 * memory there only leaves it a little roomier. No recursion but in the check;
 * height is below MAX_HEIGHT, since inner nodes have at least RANK_INNER_MAX / 2 children, but for those at the right edge.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/rank_tree.h"

#include <string.h>

#define MAX_HEIGHT 12

/* Settled by measuring bytes a player under random moves; three times rarer sharing makes it no faster. */
#define LOW_FILL(full) ((full) * 6 / 8) /* below: merge with a neighbour where both fit into one */
#define EVEN_FILL(full) ((full) / 2)	/* below: even out with a neighbour where they don't */
#define SHARE_ROOM 4			/* a neighbour with so much room takes over from a full leaf; 1 would move nothing */

#define LOAD_FILL (RANK_LEAF_MAX * 7 / 8)	/* of leaves filled by bulk loads: room for what comes next */
#define LOAD_RUN_MIN 16			/* a shorter run in the middle of a leaf goes in key by key */

/* The way from the root to a leaf: at each level the node, and the slot of its child. */
typedef struct Path
{
	int			height;			/* level of the root */
	RankNode	   *node[MAX_HEIGHT];	/* by level */
	int			slot[MAX_HEIGHT];	/* by level; not set for level 0 */
} Path;

static inline int
capacity(const RankNode *node)
{
	return node->level == 0 ? RANK_LEAF_MAX : RANK_INNER_MAX;
}

static RankNode *
take_node(RankArena *arena, RankTree *tree, int level)
{
	RankNode   *node = rank_arena_take(arena, level);

	if (node != NULL)
		tree->nodes++;
	return node;
}

/* The node alone: its entries were moved elsewhere. */
static void
give_node(RankArena *arena, RankTree *tree, RankNode *node)
{
	rank_arena_give(arena, node);
	tree->nodes--;
}

void
rank_tree_clear(RankArena *arena, RankTree *tree)
{
	if (tree->root != 0)
		rank_arena_give_tree(arena, rank_arena_node(arena, tree->root), tree->nodes);
	memset(tree, 0, sizeof(*tree));
}

/* ---------------------------------------------------------------------------
 * Searching
 * ------------------------------------------------------------------------- */

/* The first position whose key is not less than key. */
static int
position_among(const RankTreeKey *keys, int count, const RankTreeKey *key)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (rank_tree_compare(&keys[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
leaf_position(const RankNode *leaf, const RankTreeKey *key)
{
	return position_among(leaf->keys, leaf->count, key);
}

static int
few_position(const RankTree *tree, const RankTreeKey *key)
{
	return position_among(tree->few, tree->few_count, key);
}

/* The child where key belongs: the last one whose bound is not greater. */
static int
child_slot(const RankNode *inner, const RankTreeKey *key)
{
	int			low = 0;
	int			high = inner->count - 1;

	while (low < high)
	{
		int			middle = (low + high + 1) / 2;

		if (rank_tree_compare(&inner->bounds[middle], key) <= 0)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* To the leaf where key belongs; the tree is not empty. */
static RankNode *
descend(RankArena *arena, const RankTree *tree, const RankTreeKey *key, Path *path)
{
	RankNode	   *node = rank_arena_node(arena, tree->root);

	path->height = node->level;
	while (node->level > 0)
	{
		int			slot = child_slot(node, key);

		path->node[node->level] = node;
		path->slot[node->level] = slot;
		node = rank_arena_node(arena, node->children[slot]);
	}
	path->node[0] = node;
	return node;
}

static int64_t
sum_up(const int8_t *sums, int from, int to)
{
	int64_t		total = 0;

	for (int i = from; i < to; i++)
		total += sums[i];
	return total;
}

static int64_t
node_total(const RankNode *node, int from, int to)
{
	int64_t		total = 0;

	if (node->level == 0)
		return sum_up(node->sums, from, to);
	for (int i = from; i < to; i++)
		total += node->totals[i];
	return total;
}

int64_t
rank_tree_before(RankArena *arena, const RankTree *tree, const RankTreeKey *key)
{
	RankNode	   *node;
	int64_t		before = 0;

	if (tree->root == 0)
		return sum_up(tree->few_sums, 0, few_position(tree, key));
	node = rank_arena_node(arena, tree->root);
	while (node->level > 0)
	{
		int			slot = child_slot(node, key);

		before += node_total(node, 0, slot);
		node = rank_arena_node(arena, node->children[slot]);
	}
	return before + node_total(node, 0, leaf_position(node, key));
}

int
rank_tree_sum(RankArena *arena, const RankTree *tree, const RankTreeKey *key)
{
	Path		path;
	RankNode	   *leaf;
	int			at;

	if (tree->root == 0)
	{
		at = few_position(tree, key);
		return at < tree->few_count && rank_tree_compare(&tree->few[at], key) == 0 ? tree->few_sums[at] : 0;
	}
	leaf = descend(arena, tree, key, &path);
	at = leaf_position(leaf, key);
	if (at < leaf->count && rank_tree_compare(&leaf->keys[at], key) == 0)
		return leaf->sums[at];
	return 0;
}

/* To the leaf with position *skip; *skip becomes the position within it. */
static RankNode *
descend_to_position(RankArena *arena, const RankTree *tree, int64_t *skip, Path *path)
{
	RankNode	   *node = rank_arena_node(arena, tree->root);

	path->height = node->level;
	while (node->level > 0)
	{
		int			slot = 0;

		while (slot < node->count - 1 && *skip >= node->totals[slot])
			*skip -= node->totals[slot++];
		path->node[node->level] = node;
		path->slot[node->level] = slot;
		node = rank_arena_node(arena, node->children[slot]);
	}
	path->node[0] = node;
	return node;
}

/* The leaf to the right of the path's, or NULL. */
static RankNode *
next_leaf(RankArena *arena, Path *path)
{
	int			level = 1;
	RankNode	   *node;

	while (level <= path->height && path->slot[level] + 1 >= path->node[level]->count)
		level++;
	if (level > path->height)
		return NULL;
	path->slot[level]++;
	node = rank_arena_node(arena, path->node[level]->children[path->slot[level]]);
	while (node->level > 0)
	{
		path->node[node->level] = node;
		path->slot[node->level] = 0;
		node = rank_arena_node(arena, node->children[0]);
	}
	path->node[0] = node;
	return node;
}

size_t
rank_tree_range(RankArena *arena, const RankTree *tree, int64_t skip,
				RankTreeKey *keys, size_t count)
{
	Path		path;
	RankNode	   *leaf;
	size_t		found = 0;

	if (skip < 0 || skip >= tree->total)
		return 0;
	if (tree->root == 0)
	{
		found = skip < tree->few_count ? (size_t) (tree->few_count - skip) : 0;
		found = found < count ? found : count;
		memcpy(keys, &tree->few[skip], found * sizeof(RankTreeKey));
		return found;
	}
	leaf = descend_to_position(arena, tree, &skip, &path);
	while (leaf != NULL && found < count)
	{
		size_t		some = skip < leaf->count ? (size_t) (leaf->count - skip) : 0;

		if (some > count - found)
			some = count - found;
		if (some > 0)
			memcpy(&keys[found], &leaf->keys[skip], some * sizeof(RankTreeKey));
		found += some;
		skip = 0;
		leaf = next_leaf(arena, &path);
	}
	return found;
}

/* ---------------------------------------------------------------------------
 * Moving entries between nodes
 * ------------------------------------------------------------------------- */

/* Shifts the entries from "from" on by "by" places; leaves count to the caller. */
static void
shift_entries(RankNode *node, int from, int by)
{
	size_t		some = (size_t) (node->count - from);

	if (node->level == 0)
	{
		memmove(&node->keys[from + by], &node->keys[from], some * sizeof(RankTreeKey));
		memmove(&node->sums[from + by], &node->sums[from], some * sizeof(int8_t));
	}
	else
	{
		memmove(&node->bounds[from + by], &node->bounds[from], some * sizeof(RankTreeKey));
		memmove(&node->totals[from + by], &node->totals[from], some * sizeof(int64_t));
		memmove(&node->children[from + by], &node->children[from], some * sizeof(uint32_t));
	}
}

static void
copy_entries(RankNode *target, int to, const RankNode *source, int from, int some)
{
	size_t		n = (size_t) some;

	if (target->level == 0)
	{
		memcpy(&target->keys[to], &source->keys[from], n * sizeof(RankTreeKey));
		memcpy(&target->sums[to], &source->sums[from], n * sizeof(int8_t));
	}
	else
	{
		memcpy(&target->bounds[to], &source->bounds[from], n * sizeof(RankTreeKey));
		memcpy(&target->totals[to], &source->totals[from], n * sizeof(int64_t));
		memcpy(&target->children[to], &source->children[from], n * sizeof(uint32_t));
	}
}

static void
remove_entry(RankNode *node, int at)
{
	shift_entries(node, at + 1, -1);
	node->count--;
}

/*
 * The bound of a node's first child counts as minus infinity and may hold
 * anything; before it becomes the bound of a child further right, it is set
 * to what the node's own bound says.
 */
static void
move_between(RankNode *parent, int slot, RankNode *left, RankNode *right, int left_count)
{
	int			move = left->count - left_count;

	if (right->level > 0 && right->count > 0)
		right->bounds[0] = parent->bounds[slot + 1];
	if (move > 0)
	{
		shift_entries(right, 0, move);
		copy_entries(right, 0, left, left_count, move);
	}
	else if (move < 0)
	{
		copy_entries(left, left->count, right, 0, -move);
		shift_entries(right, -move, move);
	}
	left->count = (uint16_t) left_count;
	right->count = (uint16_t) (right->count + move);

	parent->totals[slot] = node_total(left, 0, left->count);
	parent->totals[slot + 1] = node_total(right, 0, right->count);
	if (right->count > 0)
		parent->bounds[slot + 1] = right->level > 0 ? right->bounds[0] : right->keys[0];
}

/* Makes child "slot" two: its entries from "at" on go to a new node. The parent has room. */
static bool
split_child(RankArena *arena, RankTree *tree, RankNode *parent, int slot, int at)
{
	RankNode	   *left = rank_arena_node(arena, parent->children[slot]);
	RankNode	   *right = take_node(arena, tree, left->level);

	if (right == NULL)
		return false;
	shift_entries(parent, slot + 1, 1);
	parent->count++;
	parent->children[slot + 1] = rank_arena_index(arena, right);
	move_between(parent, slot, left, right, at);
	return true;
}

/* The tree grows by a level: a root with the old one as its only child. */
static bool
grow_root(RankArena *arena, RankTree *tree)
{
	RankNode	   *old = rank_arena_node(arena, tree->root);
	RankNode	   *root = take_node(arena, tree, old->level + 1);

	if (root == NULL)
		return false;
	memset(&root->bounds[0], 0, sizeof(RankTreeKey));
	root->children[0] = tree->root;
	root->totals[0] = tree->total;
	root->count = 1;
	tree->root = rank_arena_index(arena, root);
	return true;
}

/* Evens a full leaf out with a neighbour that has room. */
static bool
share_with_neighbour(RankArena *arena, RankNode *parent, int slot)
{
	for (int left = slot - 1; left <= slot; left++)
	{
		RankNode	   *a,
				   *b;
		const RankNode *neighbour;

		if (left < 0 || left + 1 >= parent->count)
			continue;
		a = rank_arena_node(arena, parent->children[left]);
		b = rank_arena_node(arena, parent->children[left + 1]);
		neighbour = left == slot ? b : a;
		if (neighbour->count > RANK_LEAF_MAX - SHARE_ROOM)
			continue;
		move_between(parent, left, a, b, (a->count + b->count) / 2);
		return true;
	}
	return false;
}

/*
 * One step towards room in the path's leaf; then the path is stale. Splits the
 * highest of the full nodes that stand one above the other, so its parent has
 * room. appending: keys come in order, so the left half is left full.
 */
static bool
make_room(RankArena *arena, RankTree *tree, const Path *path, bool appending)
{
	int			level = 0;
	RankNode	   *node;
	bool		at_end;

	if (!appending && path->height > 0 &&
		share_with_neighbour(arena, path->node[1], path->slot[1]))
		return true;
	while (level < path->height && path->node[level + 1]->count == RANK_INNER_MAX)
		level++;
	if (level == path->height)
		return path->height + 1 < MAX_HEIGHT && grow_root(arena, tree);
	node = path->node[level];
	at_end = appending && level > 0 && path->slot[level] == node->count - 1;
	return split_child(arena, tree, path->node[level + 1], path->slot[level + 1],
					   at_end ? node->count - 1 : node->count / 2);
}

/*
 * Merges or evens out child "slot" of parent where it has become too small. It
 * has a neighbour: a parent of one child is itself merged or evened out when
 * its child first falls below LOW_FILL, long before that is empty.
 */
static void
tend_child(RankArena *arena, RankTree *tree, RankNode *parent, int slot)
{
	RankNode	   *child = rank_arena_node(arena, parent->children[slot]);
	int			full = capacity(child);
	int			smaller = -1;
	int			best = full * 2;

	for (int left = slot - 1; left <= slot; left++)
	{
		int			both;

		if (left < 0 || left + 1 >= parent->count)
			continue;
		both = rank_arena_node(arena, parent->children[left])->count +
			rank_arena_node(arena, parent->children[left + 1])->count;
		if (both < best)
		{
			best = both;
			smaller = left;
		}
	}
	if (smaller >= 0 && best <= full)
	{
		RankNode	   *right = rank_arena_node(arena, parent->children[smaller + 1]);

		move_between(parent, smaller, rank_arena_node(arena, parent->children[smaller]), right, best);
		remove_entry(parent, smaller + 1);
		give_node(arena, tree, right);
	}
	else if (smaller >= 0 && child->count < EVEN_FILL(full))
		move_between(parent, smaller, rank_arena_node(arena, parent->children[smaller]),
					 rank_arena_node(arena, parent->children[smaller + 1]), best / 2);
}

/* After the path's leaf has lost an entry. */
static void
tend_path(RankArena *arena, RankTree *tree, const Path *path)
{
	RankNode	   *root;

	for (int level = 0; level < path->height; level++)
	{
		RankNode	   *node = path->node[level];

		if (node->count >= LOW_FILL(capacity(node)))
			break;
		tend_child(arena, tree, path->node[level + 1], path->slot[level + 1]);
	}
	root = rank_arena_node(arena, tree->root);
	while (root->level > 0 && root->count == 1)
	{
		tree->root = root->children[0];
		give_node(arena, tree, root);
		root = rank_arena_node(arena, tree->root);
	}
	if (root->count == 0)
	{
		give_node(arena, tree, root);
		tree->root = 0;
	}
}

/* ---------------------------------------------------------------------------
 * Changing
 * ------------------------------------------------------------------------- */

static uint64_t
mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

uint64_t
rank_tree_key_checksum(const RankTreeKey *key)
{
	uint64_t	sum = mix((uint64_t) key->order + UINT64_C(0x9E3779B97F4A7C15));

	sum = mix(sum ^ (uint64_t) key->moment);
	return mix(sum + (uint64_t) key->player);
}

/* Totals and checksum of a change at the path's leaf that has been made. */
static void
account(RankTree *tree, const Path *path, const RankTreeKey *key, int change)
{
	for (int level = 1; level <= path->height; level++)
		path->node[level]->totals[path->slot[level]] += change;
	tree->total += change;
	tree->checksum += (uint64_t) (int64_t) change * rank_tree_key_checksum(key);
}

/* One key among few: 1 more or less at a sum that stands, or a new key at "at". */
static RankTreeResult
change_few(RankTree *tree, int at, const RankTreeKey *key, int change)
{
	Path		none = {0};
	size_t		behind = (size_t) (tree->few_count - at);
	bool		stands = behind > 0 && rank_tree_compare(&tree->few[at], key) == 0;
	int			old = stands ? tree->few_sums[at] : 0;
	int			sum = old + change;

	if (sum > INT8_MAX || sum < -INT8_MAX)
		return RANK_TREE_OVERFLOW;
	if (!stands)
	{
		memmove(&tree->few[at + 1], &tree->few[at], behind * sizeof(RankTreeKey));
		memmove(&tree->few_sums[at + 1], &tree->few_sums[at], behind);
		tree->few[at] = *key;
		tree->few_count++;
	}
	tree->irregular += (sum != 0 && sum != 1) - (stands && old != 1);
	account(tree, &none, key, change);
	tree->few_sums[at] = (int8_t) sum;
	if (sum == 0)
	{
		memmove(&tree->few[at], &tree->few[at + 1], (behind - 1) * sizeof(RankTreeKey));
		memmove(&tree->few_sums[at], &tree->few_sums[at + 1], behind - 1);
		tree->few_count--;
	}
	return RANK_TREE_DONE;
}

/* Would key be one too many among few? */
static bool
is_crowded(const RankTree *tree, int at, const RankTreeKey *key)
{
	return tree->few_count == RANK_FEW_MAX && (at == RANK_FEW_MAX || rank_tree_compare(&tree->few[at], key) != 0);
}

static RankTreeResult
change_entry(RankArena *arena, RankTree *tree, const Path *path, int at, int change)
{
	RankNode	   *leaf = path->node[0];
	RankTreeKey key = leaf->keys[at];
	int			old = leaf->sums[at];
	int			sum = old + change;

	if (sum > INT8_MAX || sum < -INT8_MAX)
		return RANK_TREE_OVERFLOW;
	tree->irregular += (sum != 0 && sum != 1) - (old != 1);
	account(tree, path, &key, change);
	leaf->sums[at] = (int8_t) sum;
	if (sum == 0)
	{
		remove_entry(leaf, at);
		tend_path(arena, tree, path);
	}
	return RANK_TREE_DONE;
}

/* The few go to a leaf. */
static bool
plant(RankArena *arena, RankTree *tree)
{
	RankNode	   *leaf = take_node(arena, tree, 0);

	if (leaf == NULL)
		return false;
	memcpy(leaf->keys, tree->few, tree->few_count * sizeof(RankTreeKey));
	memcpy(leaf->sums, tree->few_sums, tree->few_count);
	leaf->count = tree->few_count;
	tree->few_count = 0;
	tree->root = rank_arena_index(arena, leaf);
	return true;
}

RankTreeResult
rank_tree_change(RankArena *arena, RankTree *tree, const RankTreeKey *key, int change)
{
	Path		path;
	RankNode	   *leaf;
	int			at;

	if (tree->root == 0)
	{
		at = few_position(tree, key);
		if (!is_crowded(tree, at, key))
			return change_few(tree, at, key, change);
		if (!plant(arena, tree))
			return RANK_TREE_FULL;
	}
	for (;;)
	{
		leaf = descend(arena, tree, key, &path);
		at = leaf_position(leaf, key);
		if (at < leaf->count && rank_tree_compare(&leaf->keys[at], key) == 0)
			return change_entry(arena, tree, &path, at, change);
		if (leaf->count < RANK_LEAF_MAX)
			break;
		if (!make_room(arena, tree, &path, false))
			return RANK_TREE_FULL;
	}
	shift_entries(leaf, at, 1);
	leaf->keys[at] = *key;
	leaf->sums[at] = (int8_t) change;
	leaf->count++;
	if (change != 1)
		tree->irregular++;
	account(tree, &path, key, change);
	return RANK_TREE_DONE;
}

/* ---------------------------------------------------------------------------
 * Bulk loading
 * ------------------------------------------------------------------------- */

/* How many of the keys, at most "most", are less than what follows them in the tree. */
static int
run_length(const Path *path, int at, const RankTreeKey *keys, size_t count, int most)
{
	const RankTreeKey *limit = NULL;
	int			run = 0;

	if (at < path->node[0]->count)
		limit = &path->node[0]->keys[at];
	for (int level = 1; limit == NULL && level <= path->height; level++)
	{
		if (path->slot[level] + 1 < path->node[level]->count)
			limit = &path->node[level]->bounds[path->slot[level] + 1];
	}
	while (run < most && (size_t) run < count &&
		   (limit == NULL || rank_tree_compare(&keys[run], limit) < 0))
		run++;
	return run;
}

static void
insert_run(RankTree *tree, const Path *path, int at, const RankTreeKey *keys, int run)
{
	RankNode	   *leaf = path->node[0];

	shift_entries(leaf, at, run);
	memcpy(&leaf->keys[at], keys, (size_t) run * sizeof(RankTreeKey));
	memset(&leaf->sums[at], 1, (size_t) run);
	leaf->count = (uint16_t) (leaf->count + run);
	for (int level = 1; level <= path->height; level++)
		path->node[level]->totals[path->slot[level]] += run;
	tree->total += run;
	for (int i = 0; i < run; i++)
		tree->checksum += rank_tree_key_checksum(&keys[i]);
}

/* Ends the path's leaf before "at": what follows goes to a leaf of its own, and a run can go on in between. */
static RankTreeResult
open_leaf(RankArena *arena, RankTree *tree, const Path *path, int at, const RankTreeKey *key)
{
	RankNode	   *parent;

	if (path->height == 0 || path->node[1]->count == RANK_INNER_MAX)
		return make_room(arena, tree, path, true) ? RANK_TREE_DONE : RANK_TREE_FULL;
	parent = path->node[1];
	if (!split_child(arena, tree, parent, path->slot[1], at))
		return RANK_TREE_FULL;
	/* Nothing followed: the new leaf is empty, and its bound is the key that comes. */
	if (rank_arena_node(arena, parent->children[path->slot[1] + 1])->count == 0)
		parent->bounds[path->slot[1] + 1] = *key;
	return RANK_TREE_DONE;
}

/* Enters some of the keys; *some = 0: the tree was only prepared, look again. */
static RankTreeResult
load_step(RankArena *arena, RankTree *tree, const RankTreeKey *keys, size_t count, size_t *some)
{
	Path		path;
	RankNode	   *leaf = descend(arena, tree, keys, &path);
	int			at = leaf_position(leaf, keys);
	int			run;

	*some = 0;
	if (leaf->count < LOAD_FILL)
		run = run_length(&path, at, keys, count, LOAD_FILL - leaf->count);
	else
		run = run_length(&path, at, keys, count, LOAD_RUN_MIN);
	if (leaf->count < LOAD_FILL && run > 0)
	{
		insert_run(tree, &path, at, keys, run);
		*some = (size_t) run;
		return RANK_TREE_DONE;
	}
	if (run == LOAD_RUN_MIN)
		return open_leaf(arena, tree, &path, at, keys);
	*some = 1;
	return rank_tree_change(arena, tree, keys, 1);
}

size_t
rank_tree_nodes_for(size_t keys)
{
	size_t		leaves = keys / LOAD_FILL + 1;

	if (keys <= RANK_FEW_MAX)
		return 0;
	return leaves + leaves / 32 + MAX_HEIGHT;
}

RankTreeResult
rank_tree_load(RankArena *arena, RankTree *tree, const RankTreeKey *keys,
			   size_t count, size_t *loaded)
{
	*loaded = 0;
	while (*loaded < count)
	{
		size_t		some;
		RankTreeResult result;

		if (tree->root == 0 && tree->few_count + count - *loaded <= RANK_FEW_MAX)
		{
			some = 1;
			result = rank_tree_change(arena, tree, keys + *loaded, 1);
		}
		else if (tree->root == 0 && !plant(arena, tree))
			return RANK_TREE_FULL;
		else
			result = load_step(arena, tree, keys + *loaded, count - *loaded, &some);
		if (result != RANK_TREE_DONE)
			return result;
		*loaded += some;
	}
	return RANK_TREE_DONE;
}

/* ---------------------------------------------------------------------------
 * Checking
 * ------------------------------------------------------------------------- */

typedef struct Check
{
	RankTree	counted;
	bool		any;			/* a key was seen; last is it */
	RankTreeKey last;
} Check;

static const char *
check_keys(const RankTreeKey *keys, const int8_t *sums, int count, Check *check)
{
	for (int i = 0; i < count; i++)
	{
		int			sum = sums[i];

		if (sum == 0)
			return "a key stands at 0";
		if (check->any && rank_tree_compare(&check->last, &keys[i]) >= 0)
			return "keys out of order";
		check->any = true;
		check->last = keys[i];
		check->counted.total += sum;
		check->counted.irregular += sum != 1;
		check->counted.checksum += (uint64_t) (int64_t) sum * rank_tree_key_checksum(&keys[i]);
	}
	return NULL;
}

static const char *
check_node(RankArena *arena, uint32_t index, int level, Check *check)
{
	RankNode	   *node = rank_arena_node(arena, index);

	if (index == 0 || index > arena->nodes || node->level != level)
		return "a child of the wrong level";
	if (node->count > capacity(node) || node->count == 0)
		return "an impossible number of entries";
	check->counted.nodes++;
	if (level == 0)
		return check_keys(node->keys, node->sums, node->count, check);
	for (int i = 0; i < node->count; i++)
	{
		int64_t		before = check->counted.total;
		const char *wrong;

		if (i > 0 && check->any && rank_tree_compare(&check->last, &node->bounds[i]) >= 0)
			return "a bound not above what is left of it";
		wrong = check_node(arena, node->children[i], level - 1, check);
		if (wrong != NULL)
			return wrong;
		if (check->counted.total - before != node->totals[i])
			return "a wrong total";
		if (i + 1 < node->count && rank_tree_compare(&check->last, &node->bounds[i + 1]) >= 0)
			return "a key beyond its bound";
	}
	return NULL;
}

const char *
rank_tree_check(RankArena *arena, const RankTree *tree)
{
	Check		check = {0};
	const char *wrong = NULL;

	if (tree->root == 0 && tree->few_count > RANK_FEW_MAX)
		wrong = "an impossible number of keys";
	else if (tree->root == 0)
		wrong = check_keys(tree->few, tree->few_sums, tree->few_count, &check);
	else if (tree->few_count != 0)
		wrong = "keys beside the root";
	else
		wrong = check_node(arena, tree->root, rank_arena_node(arena, tree->root)->level, &check);
	if (wrong != NULL)
		return wrong;
	if (check.counted.total != tree->total || check.counted.irregular != tree->irregular)
		return "total or irregular keys miscounted";
	if (check.counted.nodes != tree->nodes)
		return "nodes miscounted";
	if (check.counted.checksum != tree->checksum)
		return "checksum differs from the keys";
	return NULL;
}
