/*
 * rank_tree_fuzz.c - the rank tree against a naive model
 *
 * The model is a sorted array of (key, sum), changed and searched in the most
 * obvious way. Every tree operation is done to both; answers must be equal and
 * the tree's own check silent. Built with AddressSanitizer and UBSan.
 *
 *     rank_tree_fuzz [OPERATIONS] [--seed N] [--speed]
 *
 * The seed is fixed, and printed, so that a failure can be run again.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plain/rank_tree.h"

#define MODEL_MAX 20000

typedef struct ModelEntry
{
	RankTreeKey key;
	int			sum;
} ModelEntry;

typedef struct Model
{
	ModelEntry	entry[MODEL_MAX];
	int			count;
} Model;

/* What keys a test draws from: few values make ties and meetings, many make long trees. */
typedef struct Range
{
	int64_t		scores;
	int64_t		moments;
	int64_t		players;
} Range;

static uint64_t random_state;
static int	passed = 0;
static int	failed = 0;
static int	test_number = 0;

static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static int64_t
below(int64_t limit)
{
	return (int64_t) (next_random(&random_state) % (uint64_t) limit);
}

static void
report(const char *name, const char *wrong)
{
	test_number++;
	if (wrong == NULL)
	{
		passed++;
		printf("ok %d - %s\n", test_number, name);
	}
	else
	{
		failed++;
		printf("not ok %d - %s: %s\n", test_number, name, wrong);
	}
	fflush(stdout);
}

/* ---------------------------------------------------------------------------
 * The model
 * ------------------------------------------------------------------------- */

static int
model_position(const Model *model, const RankTreeKey *key)
{
	int			low = 0;
	int			high = model->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (rank_tree_compare(&model->entry[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
model_sum(const Model *model, const RankTreeKey *key)
{
	int			at = model_position(model, key);

	if (at < model->count && rank_tree_compare(&model->entry[at].key, key) == 0)
		return model->entry[at].sum;
	return 0;
}

static void
model_change(Model *model, const RankTreeKey *key, int change)
{
	int			at = model_position(model, key);
	ModelEntry *entry = &model->entry[at];

	if (at < model->count && rank_tree_compare(&entry->key, key) == 0)
	{
		entry->sum += change;
		if (entry->sum == 0)
		{
			memmove(entry, entry + 1, (size_t) (model->count - at - 1) * sizeof(*entry));
			model->count--;
		}
		return;
	}
	if (model->count == MODEL_MAX)
		abort();
	memmove(entry + 1, entry, (size_t) (model->count - at) * sizeof(*entry));
	entry->key = *key;
	entry->sum = change;
	model->count++;
}

static int64_t
model_before(const Model *model, const RankTreeKey *key)
{
	int64_t		before = 0;

	for (int i = 0; i < model->count && rank_tree_compare(&model->entry[i].key, key) < 0; i++)
		before += model->entry[i].sum;
	return before;
}

static bool
model_regular(const Model *model)
{
	for (int i = 0; i < model->count; i++)
	{
		if (model->entry[i].sum != 1)
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------------------
 * Comparing
 * ------------------------------------------------------------------------- */

static RankTreeKey
random_key(const Range *range)
{
	RankTreeKey key = {
		below(range->scores) - range->scores / 2, below(range->moments), below(range->players)
	};

	return key;
}

static const char *
compare_range(RankArena *arena, const RankTree *tree, const Model *model)
{
	static RankTreeKey keys[1000];
	int64_t		skip = below(model->count + 5);
	size_t		count = (size_t) below(1000);
	size_t		expected = skip < model->count ? (size_t) (model->count - skip) : 0;
	size_t		found = rank_tree_range(arena, tree, skip, keys, count);

	if (expected > count)
		expected = count;
	if (found != expected)
		return "range has another length";
	for (size_t i = 0; i < found; i++)
	{
		if (rank_tree_compare(&keys[i], &model->entry[(size_t) skip + i].key) != 0)
			return "range has another key";
	}
	return NULL;
}

/* One question of each kind; the range only where the tree has ranks to show. */
static const char *
compare_answers(RankArena *arena, const RankTree *tree, const Model *model, const Range *range)
{
	RankTreeKey key = random_key(range);

	if (model->count > 0 && below(2) == 0)
		key = model->entry[below(model->count)].key;
	if (rank_tree_before(arena, tree, &key) != model_before(model, &key))
		return "another rank";
	if (rank_tree_sum(arena, tree, &key) != model_sum(model, &key))
		return "another sum";
	if (rank_tree_regular(tree) != model_regular(model))
		return "regular differs";
	if (rank_tree_regular(tree))
		return compare_range(arena, tree, model);
	return NULL;
}

static const char *
compare_all(RankArena *arena, const RankTree *tree, const Model *model)
{
	const char *wrong = rank_tree_check(arena, tree);
	int64_t		total = 0;

	if (wrong != NULL)
		return wrong;
	for (int i = 0; i < model->count; i++)
	{
		if (rank_tree_sum(arena, tree, &model->entry[i].key) != model->entry[i].sum)
			return "a key of the model stands at another sum";
		total += model->entry[i].sum;
	}
	return tree->total == total ? NULL : "another total";
}

static RankArena *
new_arena(uint32_t nodes)
{
	size_t		size = (size_t) nodes * RANK_NODE_SIZE + 64;
	void	   *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	return rank_arena_init(memory, size);
}

/* ---------------------------------------------------------------------------
 * Tests
 * ------------------------------------------------------------------------- */

/*
 * Changes in any order, - before + included. In phases the tree grows, stays
 * and shrinks, so that every size is met. full: the arena is expected to run out.
 */
static const char *
churn(long operations, const Range *range, uint32_t nodes, bool full)
{
	static Model model;
	RankArena  *arena = new_arena(nodes);
	RankTree	tree = {0};
	const char *wrong = NULL;
	long		refused = 0;

	model.count = 0;
	for (long i = 0; i < operations && wrong == NULL; i++)
	{
		int			phase = (int) (i * 7 / operations) % 3;
		RankTreeKey key = random_key(range);
		int			change = below(10) < (phase == 0 ? 8 : phase == 1 ? 5 : 1) ? 1 : -1;

		/* Mostly take away what is there: otherwise a wide range would only collect negative keys. */
		if (change < 0 && model.count > 0 && below(20) > 0)
			key = model.entry[below(model.count)].key;
		if (abs(model_sum(&model, &key) + change) > 127 || model.count > MODEL_MAX - 2)
			continue;
		if (rank_tree_change(arena, &tree, &key, change) == RANK_TREE_DONE)
			model_change(&model, &key, change);
		else
			refused++;
		if (below(8) == 0)
			wrong = compare_answers(arena, &tree, &model, range);
		if (wrong == NULL && i % 997 == 0)
			wrong = compare_all(arena, &tree, &model);
	}
	if (wrong == NULL)
		wrong = compare_all(arena, &tree, &model);
	if (wrong == NULL && (refused > 0) != full)
		wrong = full ? "the arena never ran out" : "the arena ran out";
	while (wrong == NULL && model.count > 0)
	{
		ModelEntry	entry = model.entry[below(model.count)];

		if (rank_tree_change(arena, &tree, &entry.key, entry.sum > 0 ? -1 : 1) != RANK_TREE_DONE)
			wrong = "taking away needed memory";
		model_change(&model, &entry.key, entry.sum > 0 ? -1 : 1);
	}
	if (wrong == NULL && (rank_arena_used(arena) != 0 || tree.checksum != 0 || tree.root != 0))
		wrong = "something is left of an emptied tree";
	free(arena);
	return wrong;
}

static int
compare_keys(const void *a, const void *b)
{
	return rank_tree_compare(a, b);
}

/* As the builder does it: other commits' changes are in the tree before and between the slices. */
static const char *
load_among_changes(int keys_wanted, const Range *range, uint32_t nodes, size_t slice)
{
	static Model model;
	static RankTreeKey keys[MODEL_MAX];
	RankArena  *arena = new_arena(nodes);
	RankTree	tree = {0};
	const char *wrong = NULL;
	size_t		count = 0;
	size_t		done = 0;

	model.count = 0;
	for (int i = 0; i < keys_wanted; i++)
		keys[i] = random_key(range);
	qsort(keys, (size_t) keys_wanted, sizeof(RankTreeKey), compare_keys);
	for (int i = 0; i < keys_wanted; i++)
	{
		if (count == 0 || rank_tree_compare(&keys[count - 1], &keys[i]) != 0)
			keys[count++] = keys[i];
	}
	while (done < count && wrong == NULL)
	{
		size_t		loaded;
		size_t		some = count - done < slice ? count - done : slice;
		RankTreeResult result;

		for (int i = 0; i < (int) below(12); i++)
		{
			RankTreeKey key = below(2) ? random_key(range) : keys[below((int64_t) count)];
			int			change = below(2) ? 1 : -1;

			if (rank_tree_change(arena, &tree, &key, change) == RANK_TREE_DONE)
				model_change(&model, &key, change);
		}
		result = rank_tree_load(arena, &tree, keys + done, some, &loaded);
		for (size_t i = 0; i < loaded; i++)
			model_change(&model, &keys[done + i], 1);
		done += loaded;
		wrong = compare_all(arena, &tree, &model);
		if (wrong == NULL)
			wrong = compare_answers(arena, &tree, &model, range);
		if (result != RANK_TREE_DONE)
			break;
	}
	rank_tree_clear(arena, &tree);
	if (wrong == NULL && rank_arena_used(arena) != 0)
		wrong = "nodes are still in use";
	free(arena);
	return wrong;
}

static const char *
test_loads(long operations)
{
	const Range wide = {1000000, 1000000, 1000000};
	const Range ties = {5, 3, 2000};
	const char *wrong = NULL;

	for (long i = 0; i < operations / 20000 + 5 && wrong == NULL; i++)
	{
		wrong = load_among_changes((int) below(15000) + 1, &wide, 1000, (size_t) below(3000) + 1);
		if (wrong == NULL)
			wrong = load_among_changes((int) below(9000) + 1, &ties, 1000, (size_t) below(3000) + 1);
		if (wrong == NULL)
			wrong = load_among_changes((int) below(5000) + 1000, &wide, 10, (size_t) below(3000) + 1);
	}
	return wrong;
}

/* Every answer about a large tree, from one walk over the array that says which of its keys are there. */
static const char *
compare_large(RankArena *arena, const RankTree *tree, const bool *there, int64_t count)
{
	const char *wrong = rank_tree_check(arena, tree);
	int64_t		before = 0;

	for (int64_t i = 0; i < count && wrong == NULL; i++)
	{
		RankTreeKey key = {.order = i / 4, .moment = i};
		RankTreeKey found;

		if (i % 7 == 0 && rank_tree_before(arena, tree, &key) != before)
			wrong = "another rank in a large tree";
		if (i % 7 == 0 && there[i] && (rank_tree_range(arena, tree, before, &found, 1) != 1 ||
									   rank_tree_compare(&found, &key) != 0))
			wrong = "another key at a rank of a large tree";
		before += there[i];
	}
	return wrong;
}

/* Takes away or puts back keys from "from" on, upwards or downwards; those that are so already are passed over. */
static void
change_stretch(RankArena *arena, RankTree *tree, bool *there, int64_t count, int64_t from, int64_t length)
{
	int			step = below(2) ? 1 : -1;
	bool		put = below(2);

	for (int64_t i = from; length > 0 && i >= 0 && i < count; i += step, length--)
	{
		RankTreeKey key = {.order = i / 4, .moment = i};

		if (there[i] == put || below(50) == 0)
			continue;
		rank_tree_change(arena, tree, &key, put ? 1 : -1);
		there[i] = put;
	}
}

/* Trees of many levels: whole stretches go and come, so that inner nodes split, share and merge too. */
static const char *
test_large(int64_t count)
{
	RankArena  *arena = new_arena((uint32_t) (count / 20 + 100));
	RankTree	tree = {0};
	bool	   *there = malloc((size_t) count * sizeof(bool));
	RankTreeKey *keys = malloc((size_t) count * sizeof(RankTreeKey));
	size_t		loaded;
	const char *wrong = NULL;

	for (int64_t i = 0; i < count; i++)
		keys[i] = (RankTreeKey) {.order = i / 4, .moment = i};
	for (int round = 0; round < 3 && wrong == NULL; round++)
	{
		memset(there, true, (size_t) count);
		rank_tree_load(arena, &tree, keys, (size_t) count, &loaded);
		wrong = compare_large(arena, &tree, there, count);

		/* The right edge of a loaded tree is where a node can have a single child. */
		for (int64_t i = count - 1; i >= count - below(10000) && wrong == NULL; i--)
		{
			rank_tree_change(arena, &tree, &keys[i], -1);
			there[i] = false;
			if (i % 97 == 0)
				wrong = rank_tree_check(arena, &tree);
		}
		for (int change = 0; change < 60 && wrong == NULL; change++)
		{
			change_stretch(arena, &tree, there, count, below(count), below(count / 3));
			if (change % 4 == 0)
				wrong = compare_large(arena, &tree, there, count);
		}
		rank_tree_clear(arena, &tree);
	}
	if (wrong == NULL && rank_arena_used(arena) != 0)
		wrong = "nodes are still in use";
	free(keys);
	free(there);
	free(arena);
	return wrong;
}

/*
 * A load leaves nodes full and lets the last one have what remains; where the
 * memory ends just then, an inner node has a single child. Each size of arena
 * around a full inner node, filled to the brim, then taken away from the right.
 */
static const char *
test_right_edge(void)
{
	enum {MOST = RANK_INNER_MAX * 2 * RANK_LEAF_MAX};
	static RankTreeKey keys[MOST];
	const char *wrong = NULL;

	for (int i = 0; i < MOST; i++)
		keys[i] = (RankTreeKey) {.order = i};
	for (uint32_t nodes = RANK_INNER_MAX - 2; nodes < RANK_INNER_MAX + 12 && wrong == NULL; nodes++)
	{
		RankArena  *arena = new_arena(nodes);
		RankTree	tree = {0};
		size_t		loaded;

		if (rank_tree_load(arena, &tree, keys, MOST, &loaded) != RANK_TREE_FULL)
			wrong = "the arena never ran out";
		for (size_t i = loaded; i-- > 0 && wrong == NULL;)
		{
			rank_tree_change(arena, &tree, &keys[i], -1);
			if (i % 61 == 0 || i + 200 > loaded)
				wrong = rank_tree_check(arena, &tree);
		}
		if (wrong == NULL && rank_arena_used(arena) != 0)
			wrong = "something is left of an emptied tree";
		free(arena);
	}
	return wrong;
}

/* High first and low first are only the sign of the score: the same players, either way in the order SPEC wants. */
static const char *
test_orders(void)
{
	RankArena  *arena = new_arena(200);
	const char *wrong = NULL;

	for (int sign = -1; sign <= 1 && wrong == NULL; sign += 2)
	{
		RankTree	tree = {0};
		RankTreeKey keys[3000];
		size_t		found;

		for (int64_t player = 0; player < 3000; player++)
		{
			RankTreeKey key = {sign * below(50), below(10), player};

			rank_tree_change(arena, &tree, &key, 1);
		}
		found = rank_tree_range(arena, &tree, 0, keys, 3000);
		if (found != 3000)
			wrong = "players are missing";
		for (size_t i = 1; i < found && wrong == NULL; i++)
		{
			int64_t		score = sign * keys[i].order;
			int64_t		ahead = sign * keys[i - 1].order;
			bool		tie = score == ahead;

			if (!tie && (sign < 0) != (score < ahead))
				wrong = "a worse score ahead of a better one";
			if (tie && (keys[i].moment < keys[i - 1].moment ||
						(keys[i].moment == keys[i - 1].moment && keys[i].player < keys[i - 1].player)))
				wrong = "a tie in the wrong order";
		}
		rank_tree_clear(arena, &tree);
	}
	free(arena);
	return wrong;
}

/* Keys at the ends of their types, and a sum that can't be stored. */
static const char *
test_extremes(void)
{
	RankArena  *arena = new_arena(10);
	RankTree	tree = {0};
	RankTreeKey least = {INT64_MIN, INT64_MIN, INT64_MIN};
	RankTreeKey greatest = {INT64_MAX, INT64_MAX, INT64_MAX};
	RankTreeResult result = RANK_TREE_DONE;
	const char *wrong = NULL;
	uint64_t	checksum;

	rank_tree_change(arena, &tree, &greatest, 1);
	for (int i = 0; i < 127; i++)
		result = rank_tree_change(arena, &tree, &least, -1);
	checksum = tree.checksum;
	if (result != RANK_TREE_DONE || tree.total != -126 || tree.irregular != 1)
		wrong = "127 times - was not kept";
	else if (rank_tree_change(arena, &tree, &least, -1) != RANK_TREE_OVERFLOW ||
			 tree.checksum != checksum)
		wrong = "the 128th - was not refused";
	else if (rank_tree_before(arena, &tree, &greatest) != -127)
		wrong = "the rank behind a negative key";
	else
		wrong = rank_tree_check(arena, &tree);
	free(arena);
	return wrong;
}

/* scoreboard_verify() tells trees apart by their sums alone: each field of a key has to count. */
static const char *
test_checksum_fields(void)
{
	RankTreeKey key = {7, 8, 9};
	RankTreeKey others[] = {{6, 8, 9}, {7, 6, 9}, {7, 8, 6}, {8, 7, 9}, {7, 9, 8}, {9, 8, 7}};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		if (rank_tree_key_checksum(&others[i]) == rank_tree_key_checksum(&key))
			return "a field of a key doesn't count in its checksum";
	}
	return NULL;
}

/* Many boards in one arena, changed in turns; one is given back whole, its nodes serve the others. */
static const char *
test_shared_arena(long operations)
{
	enum {TREES = 8};
	static Model models[TREES];
	const Range range = {100000, 10, 100000};
	RankArena  *arena = new_arena(300);
	RankTree	trees[TREES] = {0};
	const char *wrong = NULL;

	for (int i = 0; i < TREES; i++)
		models[i].count = 0;
	for (long i = 0; i < operations && wrong == NULL; i++)
	{
		int			which = (int) below(TREES);
		RankTreeKey key = random_key(&range);

		if (below(5000) == 0)
		{
			rank_tree_clear(arena, &trees[which]);
			models[which].count = 0;
		}
		if (models[which].count < MODEL_MAX - 2 &&
			rank_tree_change(arena, &trees[which], &key, 1) == RANK_TREE_DONE)
			model_change(&models[which], &key, 1);
		if (i % 4999 == 0)
			wrong = compare_all(arena, &trees[which], &models[which]);
	}
	for (int i = 0; i < TREES; i++)
	{
		if (wrong == NULL)
			wrong = compare_all(arena, &trees[i], &models[i]);
		rank_tree_clear(arena, &trees[i]);
	}
	if (wrong == NULL && rank_arena_used(arena) != 0)
		wrong = "nodes are still in use";
	free(arena);
	return wrong;
}

typedef struct Worker
{
	pthread_t	thread;
	RankArena  *arena;
	long		operations;
	uint64_t	seed;
	const char *wrong;
} Worker;

/* A board under its own lock: only the arena is shared. Grows, is given back, grows again. */
static void *
work(void *argument)
{
	Worker	   *worker = argument;
	RankTree	tree = {0};
	int64_t		entered = 0;

	for (long i = 0; i < worker->operations; i++)
	{
		RankTreeKey key = {(int64_t) (next_random(&worker->seed) % 1000000), i, (int64_t) worker->seed};

		if (i % 4000 == 3999)
		{
			rank_tree_clear(worker->arena, &tree);
			entered = 0;
		}
		if (rank_tree_change(worker->arena, &tree, &key, 1) == RANK_TREE_DONE)
			entered++;
	}
	worker->wrong = rank_tree_check(worker->arena, &tree);
	if (worker->wrong == NULL && tree.total != entered)
		worker->wrong = "entries were lost";
	rank_tree_clear(worker->arena, &tree);
	return NULL;
}

static const char *
test_threads(long operations)
{
	enum {WORKERS = 4};
	Worker		workers[WORKERS];
	RankArena  *arena = new_arena(150);	/* less than all want at once */
	const char *wrong = NULL;

	for (int i = 0; i < WORKERS; i++)
	{
		workers[i] = (Worker) {.arena = arena, .operations = operations,
							   .seed = next_random(&random_state)};
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	for (int i = 0; i < WORKERS; i++)
	{
		pthread_join(workers[i].thread, NULL);
		if (workers[i].wrong != NULL)
			wrong = workers[i].wrong;
	}
	if (wrong == NULL && rank_arena_used(arena) != 0)
		wrong = "nodes are still in use";
	free(arena);
	return wrong;
}

static double
bytes_a_player(RankArena *arena, const RankTree *tree)
{
	return (double) rank_arena_used(arena) * RANK_NODE_SIZE / (double) tree->total;
}

/* Players move at random (the score grows, as it does), or all come new in order of time. */
static const char *
test_memory(long players)
{
	RankArena  *arena = new_arena((uint32_t) (players / 30 + 100));
	RankTree	tree = {0};
	RankTreeKey *keys = malloc((size_t) players * sizeof(RankTreeKey));
	size_t		loaded;
	bool		foreseen;
	double		packed,
				arrived,
				moved;

	for (long i = 0; i < players; i++)
		keys[i] = (RankTreeKey) {.order = i / 3, .moment = i, .player = i};
	rank_tree_load(arena, &tree, keys, (size_t) players, &loaded);
	packed = bytes_a_player(arena, &tree);
	foreseen = tree.nodes <= rank_tree_nodes_for(loaded);
	rank_tree_clear(arena, &tree);

	for (long i = 0; i < players; i++)
	{
		keys[i] = (RankTreeKey) {.order = 0, .moment = i, .player = i};
		rank_tree_change(arena, &tree, &keys[i], 1);
	}
	arrived = bytes_a_player(arena, &tree);
	for (long i = 0; i < players * 10; i++)
	{
		RankTreeKey *key = &keys[below(players)];

		rank_tree_change(arena, &tree, key, -1);
		key->order -= below(10) + 1;
		key->moment = players + i;
		rank_tree_change(arena, &tree, key, 1);
	}
	moved = bytes_a_player(arena, &tree);
	printf("# bytes a player: %.1f loaded, %.1f arrived one by one, %.1f after ten moves each\n",
		   packed, arrived, moved);
	rank_tree_clear(arena, &tree);
	free(keys);
	free(arena);
	if (!foreseen)
		return "a load took more nodes than foreseen";
	return packed <= 40 && arrived <= 40 && moved <= 40 ? NULL : "more than 40 bytes a player";
}

/* ---------------------------------------------------------------------------
 * Throughput, for people (no test asserts a time)
 * ------------------------------------------------------------------------- */

static double
seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) (now.tv_sec - start->tv_sec) + (double) (now.tv_nsec - start->tv_nsec) / 1e9;
}

static void
print_speed(long players)
{
	const long	operations = 2000000;
	RankArena  *arena = new_arena((uint32_t) (players / 25 + 1000));
	RankTree	tree = {0};
	RankTreeKey *keys = malloc((size_t) players * sizeof(RankTreeKey));
	RankTreeKey page[20];
	struct timespec start;
	size_t		loaded;
	int64_t		sum = 0;

	for (long i = 0; i < players; i++)
		keys[i] = (RankTreeKey) {.order = i * 100, .moment = i, .player = i};
	clock_gettime(CLOCK_MONOTONIC, &start);
	rank_tree_load(arena, &tree, keys, (size_t) players, &loaded);
	printf("# %ld players: load %.1f M/s", players, (double) players / seconds_since(&start) / 1e6);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long i = 0; i < operations; i++)
		sum += rank_tree_before(arena, &tree, &keys[below(players)]);
	printf(", rank %.0f ns", seconds_since(&start) / (double) operations * 1e9);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long i = 0; i < operations; i++)
		sum += (int64_t) rank_tree_range(arena, &tree, below(players), page, 20);
	printf(", range of 20 %.0f ns", seconds_since(&start) / (double) operations * 1e9);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long i = 0; i < operations; i++)
	{
		RankTreeKey *key = &keys[below(players)];

		rank_tree_change(arena, &tree, key, -1);
		key->order += below(100000);
		key->moment = players + i;
		rank_tree_change(arena, &tree, key, 1);
	}
	printf(", move (remove, insert) %.0f ns, %.1f bytes a player (%lld)\n",
		   seconds_since(&start) / (double) operations * 1e9, bytes_a_player(arena, &tree),
		   (long long) (sum & 1));
	free(keys);
	free(arena);
}

int
main(int argc, char **argv)
{
	const Range wide = {1000000, 1000000, 1000000};
	const Range fewest = {3, 2, 4};
	const Range narrow = {4, 2, 3};
	const Range middle = {40, 5, 20};
	long		operations = 100000;
	uint64_t	seed = 20260101;
	bool		speed = false;

	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--speed") == 0)
			speed = true;
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 10);
		else if (strtol(argv[i], NULL, 10) > 0)
			operations = strtol(argv[i], NULL, 10);
		else
		{
			fprintf(stderr, "usage: rank_tree_fuzz [OPERATIONS] [--seed N] [--speed]\n");
			return 2;
		}
	}
	printf("# %ld operations, seed %llu\n", operations, (unsigned long long) seed);
	random_state = seed;
	if (speed)
	{
		for (long players = 10000; players <= 10000000; players *= 10)
			print_speed(players);
		return 0;
	}
	report("so few keys that they mostly need no node", churn(operations, &fewest, 100, false));
	report("few keys, sums far from 1", churn(operations, &narrow, 100, false));
	report("ties", churn(operations, &middle, 1000, false));
	report("wide range", churn(operations, &wide, 2000, false));
	report("an arena that runs out", churn(operations, &wide, 20, true));
	report("an arena of one node", churn(operations / 10 + 2000, &wide, 1, true));
	report("bulk loads among changes", test_loads(operations));
	report("large trees", test_large(100000 + operations / 4));
	report("right edges of loaded trees", test_right_edge());
	report("high first and low first", test_orders());
	report("extreme keys and sums", test_extremes());
	report("checksums of keys", test_checksum_fields());
	report("many trees in one arena", test_shared_arena(operations));
	report("threads in one arena", test_threads(operations / 2 + 10000));
	report("memory a player", test_memory(30000 + operations / 10));
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
