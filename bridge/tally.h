/*
 * tally.h - how many there are of a kind, in all workers together
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_TALLY_H
#define BRIDGE_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What they have in common: an address, or the digest of a name. */
typedef struct TallyKey
{
	uint64_t	half[2];
} TallyKey;

/* In the worker's own part of the table. */
typedef struct TallyEntry
{
	TallyKey	key;
	uint64_t	order;			/* in which they came; of tally_join() */
	uint32_t	count;
	uint32_t	next;			/* in its bucket, or of the vacant ones */
	bool		replaced;		/* newer ones have its place: its worker is to end it */
} TallyEntry;

typedef struct Tally Tally;

/* With room for so many entries of each worker; before there are workers. */
extern Tally *tally_new(int workers, size_t places, uint64_t seed);
extern void tally_free(Tally *tally);

/* One more under this key, which they share an entry for; NULL: there are `most` already. */
extern TallyEntry *tally_count(Tally *tally, int worker, const TallyKey *key, int64_t most);

/* One with an entry of its own; where there are more than `most` then, the oldest ones are marked as replaced. NULL: no room. */
extern TallyEntry *tally_join(Tally *tally, int worker, const TallyKey *key, int64_t most);

/* One less. */
extern void tally_leave(Tally *tally, int worker, TallyEntry *entry);

/* The worker has died: what it had is nobody's. */
extern void tally_forget(Tally *tally, int worker);

#endif
