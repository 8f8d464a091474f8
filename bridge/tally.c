/*
 * tally.c - how many there are of a kind, in all workers together
 *
 * Each worker has a table of its own in the shared memory, which it alone
 * changes; whoever wants to know how many there are of a key looks into all of
 * them. So what a dead worker had is given back by emptying one table. The one
 * thing that is written into another's table is the mark that an entry was
 * replaced.
 *
 * One lock guards all of it, for the time of a look-up. Where a worker was killed
 * in the middle of a change only its own table is in doubt, until its supervisor
 * empties it: others, who only read it, may miss entries or see some that are not
 * there; but bucket's and vacant entries' lists are never joined to a ring.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "tally.h"

#include <string.h>

#include "shared.h"
#include "text_hash.h"

#define NONE 0					/* entries are numbered from 1 */

typedef struct Table
{
	uint32_t	used;			/* entries that have ever been used */
	uint32_t	vacant;			/* the first of those that are free again */
	TallyEntry *entries;		/* [0] is none */
	uint32_t   *buckets;		/* their first entry */
} Table;

struct Tally
{
	pthread_mutex_t lock;
	int			workers;
	uint32_t	places;
	uint32_t	buckets;		/* a power of two */
	uint64_t	seed;
	uint64_t	order;
	size_t		size;			/* of all of this */
	Table		tables[];
};

/* ---- a worker's table ---- */

static uint32_t *
bucket_of(const Tally *tally, int worker, const TallyKey *key)
{
	return &tally->tables[worker].buckets[key_hash(key, tally->seed) & (tally->buckets - 1)];
}

/* The first of this key behind `entry`, in its bucket; NULL: it is the last. */
static TallyEntry *
same(const Tally *tally, int worker, uint32_t entry, const TallyKey *key)
{
	TallyEntry *entries = tally->tables[worker].entries;

	while (entry != NONE && memcmp(&entries[entry].key, key, sizeof(*key)) != 0)
		entry = entries[entry].next;
	return entry == NONE ? NULL : &entries[entry];
}

static TallyEntry *
first(const Tally *tally, int worker, const TallyKey *key)
{
	return same(tally, worker, *bucket_of(tally, worker, key), key);
}

static TallyEntry *
make(Tally *tally, int worker, const TallyKey *key)
{
	Table	   *table = &tally->tables[worker];
	uint32_t   *bucket = bucket_of(tally, worker, key);
	uint32_t	number = table->vacant;

	if (number != NONE)
		table->vacant = table->entries[number].next;
	else if (table->used < tally->places)
		number = ++table->used;
	else
		return NULL;
	table->entries[number] = (TallyEntry) {.key = *key, .next = *bucket};
	*bucket = number;
	return &table->entries[number];
}

static void
unmake(Tally *tally, int worker, TallyEntry *entry)
{
	Table	   *table = &tally->tables[worker];
	uint32_t	number = (uint32_t) (entry - table->entries);
	uint32_t   *link = bucket_of(tally, worker, &entry->key);

	while (*link != number)
		link = &table->entries[*link].next;
	*link = entry->next;
	entry->next = table->vacant;
	table->vacant = number;
}

/* ---- all workers' ---- */

TallyEntry *
tally_count(Tally *tally, int worker, const TallyKey *key, int64_t most)
{
	TallyEntry *own = NULL;
	int64_t		count = 0;

	shared_lock(&tally->lock);
	for (int i = 0; i < tally->workers; i++)
	{
		const TallyEntry *entry = first(tally, i, key);

		count += entry ? entry->count : 0;
	}
	if (count < most && (own = first(tally, worker, key)) == NULL)
		own = make(tally, worker, key);
	if (own)
		own->count++;
	shared_unlock(&tally->lock);
	return own;
}

/* How many of the key have not been replaced; the oldest of these. */
static int64_t
count_present(const Tally *tally, const TallyKey *key, TallyEntry **oldest)
{
	int64_t		count = 0;

	*oldest = NULL;
	for (int i = 0; i < tally->workers; i++)
		for (TallyEntry *entry = first(tally, i, key); entry; entry = same(tally, i, entry->next, key))
		{
			if (entry->replaced)
				continue;
			count++;
			if (*oldest == NULL || entry->order < (*oldest)->order)
				*oldest = entry;
		}
	return count;
}

TallyEntry *
tally_join(Tally *tally, int worker, const TallyKey *key, int64_t most)
{
	TallyEntry *own;
	TallyEntry *oldest;

	shared_lock(&tally->lock);
	own = make(tally, worker, key);
	if (own)
	{
		own->count = 1;
		own->order = ++tally->order;
		while (count_present(tally, key, &oldest) > most)
			oldest->replaced = true;
	}
	shared_unlock(&tally->lock);
	return own;
}

void
tally_leave(Tally *tally, int worker, TallyEntry *entry)
{
	shared_lock(&tally->lock);
	if (--entry->count == 0)
		unmake(tally, worker, entry);
	shared_unlock(&tally->lock);
}

void
tally_forget(Tally *tally, int worker)
{
	Table	   *table = &tally->tables[worker];

	shared_lock(&tally->lock);
	table->used = 0;
	table->vacant = NONE;
	memset(table->buckets, 0, tally->buckets * sizeof(uint32_t));
	shared_unlock(&tally->lock);
}

/* ---- coming and going ---- */

Tally *
tally_new(int workers, size_t places, uint64_t seed)
{
	size_t		buckets = 1024;
	size_t		head = sizeof(Tally) + (size_t) workers * sizeof(Table);
	size_t		size;
	Tally	   *tally;
	char	   *at;

	while (buckets < places / 2)
		buckets *= 2;
	head = (head + 63) & ~(size_t) 63;
	size = head + (size_t) workers * ((places + 1) * sizeof(TallyEntry) + buckets * sizeof(uint32_t));
	tally = shared_alloc(size);
	shared_lock_start(&tally->lock);
	tally->workers = workers;
	tally->places = (uint32_t) places;
	tally->buckets = (uint32_t) buckets;
	tally->seed = seed;
	tally->size = size;
	at = (char *) tally + head;
	for (int i = 0; i < workers; i++)
	{
		tally->tables[i].entries = (TallyEntry *) (void *) at;
		at += (places + 1) * sizeof(TallyEntry);
		tally->tables[i].buckets = (uint32_t *) (void *) at;
		at += buckets * sizeof(uint32_t);
	}
	return tally;
}

void
tally_free(Tally *tally)
{
	shared_free(tally, tally->size);
}
