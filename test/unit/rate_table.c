/*
 * rate_table.c - the windows count exactly, in at most 96 bytes a player, and forget nobody who is active
 *
 * A model that keeps every attempt as a row of its own is asked beside the table, at millions of random attempts: players, limits
 * and pauses of all sizes, retries, one scope or two. Outcome and wait must agree to the millisecond. Then small tables are filled,
 * flooded with invented players and looked through: who is active stays, only the idle make room, every cell is accounted for.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "plain/rate_table.h"
#include "tap.h"

#define PLAYERS 40
#define SCOPES (2 * PLAYERS)	/* the second half: of a board */
#define STEPS 3000000
#define LEVELS 7

static uint32_t random_state;

static uint32_t
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	return random_state ^= random_state << 5;
}

static int
below(int bound)
{
	return (int) (next_random() % (uint32_t) bound);
}

/* SplitMix64: what the keyed hash gives the server. */
static uint64_t
hash_of(uint64_t number)
{
	number += UINT64_C(0x9e3779b97f4a7c15);
	number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
	return number ^ number >> 31;
}

static RateHold
make_table(size_t bytes)
{
	RateHold	hold = {.table = calloc(1, sizeof(RateTable))};

	hold.table->cells = rate_table_cells(bytes);
	hold.table->buckets = rate_table_buckets(hold.table->cells);
	hold.cells = malloc(hold.table->cells * sizeof(RateCell));
	hold.heads = malloc(hold.table->buckets * sizeof(uint32_t));
	rate_table_init(&hold);
	return hold;
}

static void
free_table(RateHold *hold)
{
	free(hold->heads);
	free(hold->cells);
	free(hold->table);
}

/* ---- the model ---- */

typedef struct Attempt
{
	int64_t		at;
	uint64_t	hash;
	int			retries;
} Attempt;

static Attempt model[SCOPES][RATE_LIMIT_MAX];
static int	model_count[SCOPES];

/* Forgets what is older than the longest window that is on. */
static void
model_drop(int scope, int64_t now, int64_t length)
{
	int			kept = 0;

	for (int i = 0; i < model_count[scope]; i++)
		if (now - model[scope][i].at < length)
			model[scope][kept++] = model[scope][i];
	model_count[scope] = kept;
}

static Attempt *
model_retry(int scope, uint64_t hash)
{
	for (int i = 0; hash != 0 && i < model_count[scope]; i++)
		if (model[scope][i].hash == hash && model[scope][i].retries < RATE_FREE_RETRIES)
			return &model[scope][i];
	return NULL;
}

/* The first moment from now on at which fewer than limit attempts are younger than length. */
static int64_t
model_wait(int scope, int64_t now, int limit, int64_t length)
{
	int			younger = 0;

	if (limit == 0)
		return 0;
	for (int i = model_count[scope] - 1; i >= 0; i--)
		if (now - model[scope][i].at < length && ++younger == limit)
			return model[scope][i].at + length - now;
	return 0;
}

static int64_t
model_take(const int *scopes, const RateScope *wanted, int count, uint64_t hash, int64_t now)
{
	int64_t		wait = 0;

	for (int i = 0; i < count; i++)
	{
		int64_t		minute;
		int64_t		second;

		model_drop(scopes[i], now, wanted[i].minute_limit > 0 ? RATE_MINUTE : RATE_SECOND);
		if (model_retry(scopes[i], hash))
			continue;
		minute = model_wait(scopes[i], now, wanted[i].minute_limit, RATE_MINUTE);
		second = model_wait(scopes[i], now, wanted[i].second_limit, RATE_SECOND);
		wait = minute > wait ? minute : wait;
		wait = second > wait ? second : wait;
	}
	for (int i = 0; wait == 0 && i < count; i++)
	{
		Attempt    *retry = model_retry(scopes[i], hash);

		if (retry)
			retry->retries++;
		else
			model[scopes[i]][model_count[scopes[i]]++] = (Attempt) {now, hash, 0};
	}
	return wait;
}

/* ---- is the table whole? ---- */

static int
cells_behind(const RateHold *hold, uint32_t cell, int *cells)
{
	int			count = 0;

	for (; cell != RATE_NO_CELL && count <= (int) hold->table->cells; cell = hold->cells[cell].more.next)
		count++;
	*cells += count;
	return count;
}

/* Each entry stands in its bucket and in its list, in order; each cell in use is one's, each other one free. */
static bool
is_whole(const RateHold *hold)
{
	const RateTable *table = hold->table;
	int			listed = 0;
	int			found = 0;
	int			used = 0;
	int			unused = 0;

	for (uint32_t bucket = 0; bucket < table->buckets; bucket++)
		for (uint32_t cell = hold->heads[bucket]; cell != RATE_NO_CELL; cell = hold->cells[cell].entry.bucket_next)
			found += hold->cells[cell].entry.key_low % table->buckets == bucket;
	for (int list = 0; list < RATE_LISTS; list++)
	{
		uint32_t	before = RATE_NO_CELL;

		for (uint32_t cell = table->oldest[list]; cell != RATE_NO_CELL; cell = hold->cells[cell].entry.newer)
		{
			const RateEntry *entry = &hold->cells[cell].entry;
			int			more = cells_behind(hold, entry->more, &used);

			if (entry->older != before || entry->minute != list ||
				more != (entry->count <= RATE_ENTRY_SLOTS ? 0 : (entry->count - RATE_ENTRY_SLOTS + RATE_MORE_SLOTS - 1) / RATE_MORE_SLOTS))
				return false;
			before = cell;
			listed++;
			used++;
		}
		if (table->newest[list] != before)
			return false;
	}
	cells_behind(hold, table->free, &unused);
	return listed == (int) table->entries && found == listed && used == (int) table->used &&
		used + unused == (int) table->fresh && table->fresh <= table->cells;
}

/* ---- the tests ---- */

/* Limits as administrators set and change them, while attempts stand in the windows. */
static const RateScope levels[LEVELS] = {
	{.minute_limit = 10, .second_limit = 5}, {.minute_limit = 10}, {.second_limit = 3}, {.minute_limit = 1, .second_limit = 1},
	{.minute_limit = 60, .second_limit = 20}, {.minute_limit = RATE_LIMIT_MAX, .second_limit = RATE_LIMIT_MAX}, {.minute_limit = 25}
};

/* Mostly in haste, now and then a pause as long as a window, or days. */
static int64_t
pause_before_next(void)
{
	switch (below(1000))
	{
		case 0:
			return below(3) == 0 ? (int64_t) below(2000000000) : RATE_MINUTE - 1 + below(3);
		case 1:
		case 2:
			return RATE_SECOND - 1 + below(3);
		case 3:
			return below(70000);
		default:
			return below(8) == 0 ? below(40) : 0;
	}
}

static void
agrees_with_model(void)
{
	RateHold	hold = make_table(1 << 20);
	int			differ = 0;
	int			refused = 0;
	int			level = 0;

	hold.now = INT64_C(0xfffff000);	/* the low half of the time runs over soon */
	for (int step = 0; step < STEPS; step++)
	{
		int			player = below(below(4) == 0 ? PLAYERS : 2);
		int			count = 1 + below(2);
		int			numbers[RATE_SCOPES_MAX] = {player, PLAYERS + player};
		RateScope	scopes[RATE_SCOPES_MAX];
		uint64_t	attempt = below(20) == 0 ? 0 : hash_of(below(3) == 0 ? below(8) : step);
		int64_t		wait;
		int64_t		wanted;
		RateOutcome outcome;

		if (below(20000) == 0)
			level = below(LEVELS);
		hold.now += pause_before_next();
		scopes[0] = levels[level];
		scopes[1] = levels[(level + 1) % LEVELS];
		for (int i = 0; i < count; i++)
			scopes[i].key = hash_of(1000 + numbers[i]);
		wanted = model_take(numbers, scopes, count, attempt, hold.now);
		outcome = rate_table_take(&hold, scopes, count, attempt, &wait);
		differ += wait != wanted || outcome != (wanted > 0 ? RATE_EXHAUSTED : RATE_TAKEN);
		refused += wanted > 0;
		if (step % 5000 == 0)
			differ += !is_whole(&hold);
	}
	printf("# %d attempts, %d of them refused\n", STEPS, refused);
	tap_ok(differ == 0, "outcome and wait are the model's, to the millisecond");
	tap_ok(refused > STEPS / 10 && refused < STEPS - STEPS / 10, "of each there were many");
	free_table(&hold);
}

/* The first player who is refused for lack of room, each with so many attempts within a minute. */
static int
players_that_fit(RateHold *hold, int attempts)
{
	for (int player = 0;; player++)
	{
		RateScope	scope = {hash_of(player), attempts, 0};
		int64_t		wait;

		for (int i = 0; i < attempts; i++)
			if (rate_table_take(hold, &scope, 1, hash_of(i + 1), &wait) != RATE_TAKEN)
				return player;
	}
}

static void
costs_at_most(int attempts, double most, const char *name)
{
	size_t		bytes = 4 << 20;
	RateHold	hold = make_table(bytes);
	int			fit = players_that_fit(&hold, attempts);

	hold.now = 5;
	printf("# %d attempts a minute: %.1f bytes a player\n", attempts, (double) bytes / fit);
	tap_ok(fit > 0 && (double) bytes / fit <= most && is_whole(&hold), name);
	free_table(&hold);
}

/* A table as full as it gets: who is in it goes on exactly as before, whoever else comes. */
static void
stands_a_flood(void)
{
	RateHold	hold = make_table(64 << 10);
	int			fit = players_that_fit(&hold, 5);
	int			wrong = 0;
	int64_t		wait;

	hold.now = RATE_MINUTE - 1;
	for (int i = 0; i < 20 * fit; i++)
	{
		RateScope	stranger = {hash_of(1000000 + i), 10, 0};
		RateScope	player = {hash_of(i % fit), 5, 0};

		wrong += rate_table_take(&hold, &stranger, 1, 0, &wait) != RATE_TABLE_FULL;
		wrong += rate_table_take(&hold, &player, 1, 0, &wait) != RATE_EXHAUSTED || wait != 1;
		wrong += rate_table_take(&hold, &player, 1, hash_of(1 + i / fit % 2), &wait) != (i / fit < 2 * RATE_FREE_RETRIES ? RATE_TAKEN : RATE_EXHAUSTED);
	}
	tap_ok(wrong == 0 && (int) hold.table->entries == fit && is_whole(&hold), "a flood of invented players refuses itself, and nobody who is active");

	/* A moment later all are idle: each stranger has room, and by twos the others are forgotten. */
	hold.now = RATE_MINUTE;
	for (int i = 0; i < fit / 4; i++)
	{
		RateScope	stranger = {hash_of(2000000 + i), 10, 0};

		wrong += rate_table_take(&hold, &stranger, 1, 0, &wait) != RATE_TAKEN;
	}
	tap_ok(wrong == 0 && is_whole(&hold), "the idle make room, to the millisecond");
	tap_ok(hold.table->entries <= (uint32_t) (fit - fit / 4), "and are forgotten faster than others come, so what is in use is who is active");
	tap_ok(rate_table_sweep(&hold, fit) == fit - fit / 4 * 2 && (int) hold.table->entries == fit / 4 && is_whole(&hold),
		   "a sweep forgets the rest of the idle, and nobody else");
	free_table(&hold);
}

/* Players whose attempts count for a second only are forgotten after one, while others' minutes go on. */
static void
keeps_lists_apart(void)
{
	RateHold	hold = make_table(64 << 10);
	RateScope	minute = {hash_of(1), 1, 0};
	int			wrong = 0;
	int64_t		wait;

	wrong += rate_table_take(&hold, &minute, 1, 0, &wait) != RATE_TAKEN;
	for (int i = 0; i < 100000; i++)
	{
		RateScope	burst = {hash_of(10 + i), 0, 5};

		hold.now = i / 2;
		wrong += rate_table_take(&hold, &burst, 1, 0, &wait) == RATE_EXHAUSTED;
		if (i % 1000 == 0)
			wrong += rate_table_look(&hold, &minute, 1, 0, &wait) != RATE_EXHAUSTED || wait != RATE_MINUTE - hold.now;
	}
	tap_ok(wrong == 0 && is_whole(&hold), "windows of a second don't push out windows of a minute");
	free_table(&hold);
}

/* Nothing is taken where one of two windows refuses; looking takes nothing at all. */
static void
takes_all_or_none(void)
{
	RateHold	hold = make_table(64 << 10);
	RateScope	scopes[2] = {{hash_of(1), 3, 0}, {hash_of(2), 1, 0}};
	int64_t		wait;
	bool		good = rate_table_look(&hold, scopes, 2, 0, &wait) == RATE_TAKEN && hold.table->entries == 0;

	good &= rate_table_take(&hold, scopes, 2, 7 << 4, &wait) == RATE_TAKEN;
	hold.now = 1000;
	for (int i = 0; i < 5; i++)
		good &= rate_table_take(&hold, scopes, 2, 0, &wait) == RATE_EXHAUSTED && wait == RATE_MINUTE - 1000;
	good &= rate_table_take(&hold, scopes, 2, 7 << 4, &wait) == RATE_TAKEN;
	for (int i = 0; i < 2; i++)
		good &= rate_table_take(&hold, scopes, 1, 0, &wait) == RATE_TAKEN;
	good &= rate_table_take(&hold, scopes, 1, 0, &wait) == RATE_EXHAUSTED;
	tap_ok(good && hold.table->entries == 2 && is_whole(&hold), "an attempt that one window refuses takes no slot of the other");
	free_table(&hold);
}

int
main(int argc, char **argv)
{
	random_state = argc > 1 ? (uint32_t) strtoul(argv[1], NULL, 0) : 20261128;
	agrees_with_model();
	costs_at_most(1, 96, "a player costs at most 96 bytes, with its share of the buckets");
	costs_at_most(10, 96, "with ten attempts a minute, too");
	costs_at_most(24, 2 * 96, "each further fourteen cost as much again");
	costs_at_most(RATE_LIMIT_MAX, 72 * 96, "up to the most that a window may have");
	stands_a_flood();
	keeps_lists_apart();
	takes_all_or_none();
	return tap_done();
}
