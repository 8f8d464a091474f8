/*
 * limiter.c - so many requests a minute for each address, then a block
 *
 * Owns a table of fixed size in memory that all workers share, made at the
 * start, under one lock: a minute begins with an
 * address's first request; the first one over the limit begins a block, which
 * further attempts don't prolong, so that what was announced holds. After
 * either the address begins anew.
 *
 * Places are in the order of their last request, and a new address gets the one
 * that has been silent longest. So whoever invents addresses costs no memory,
 * and whoever goes on while it is blocked keeps its place and stays blocked.
 *
 * Where a worker was killed in the middle of a change all is forgotten: everybody
 * begins a new minute.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "limiter.h"

#include <string.h>

#include "addresses.h"
#include "shared.h"
#include "text_hash.h"

#define NONE 0					/* places are numbered from 1 */

typedef struct Place
{
	struct in6_addr address;
	uint64_t	began;			/* ms: the minute, or the block */
	uint32_t	requests;		/* in it; over the limit: blocked */
	uint32_t	next;			/* in its bucket */
	uint32_t	older;			/* in the order of the last request */
	uint32_t	newer;
} Place;

struct Limiter
{
	pthread_mutex_t lock;
	uint32_t	limit;
	uint32_t	size;
	uint32_t	used;
	uint32_t	oldest;
	uint32_t	newest;
	uint64_t	seed;
	Place	   *places;			/* [0] is none */
	uint32_t   *buckets;		/* their first place; as many as places */
};

static size_t
memory_size(uint32_t places)
{
	return sizeof(Limiter) + ((size_t) places + 1) * sizeof(Place) + (size_t) places * sizeof(uint32_t);
}

Limiter *
limiter_new(uint32_t limit, uint32_t places, uint64_t seed)
{
	Limiter    *limiter = shared_alloc(memory_size(places));

	shared_lock_start(&limiter->lock);
	limiter->limit = limit;
	limiter->size = places;
	limiter->seed = seed;
	limiter->places = (Place *) (limiter + 1);
	limiter->buckets = (uint32_t *) (limiter->places + places + 1);
	return limiter;
}

void
limiter_free(Limiter *limiter)
{
	shared_free(limiter, memory_size(limiter->size));
}

static void
forget_all(Limiter *limiter)
{
	limiter->used = limiter->oldest = limiter->newest = NONE;
	memset(limiter->buckets, 0, limiter->size * sizeof(uint32_t));
}

static uint32_t *
bucket_of(Limiter *limiter, const struct in6_addr *address)
{
	return &limiter->buckets[key_hash(address, limiter->seed) & (limiter->size - 1)];
}

/* ---- the order ---- */

static void
take_out(Limiter *limiter, uint32_t number)
{
	const Place *place = &limiter->places[number];

	if (place->older != NONE)
		limiter->places[place->older].newer = place->newer;
	else
		limiter->oldest = place->newer;
	if (place->newer != NONE)
		limiter->places[place->newer].older = place->older;
	else
		limiter->newest = place->older;
}

static void
put_newest(Limiter *limiter, uint32_t number)
{
	Place	   *place = &limiter->places[number];

	place->older = limiter->newest;
	place->newer = NONE;
	if (limiter->newest != NONE)
		limiter->places[limiter->newest].newer = number;
	else
		limiter->oldest = number;
	limiter->newest = number;
}

/* ---- places ---- */

static uint32_t
find(Limiter *limiter, const struct in6_addr *address)
{
	uint32_t	number = *bucket_of(limiter, address);

	while (number != NONE && memcmp(&limiter->places[number].address, address, sizeof(*address)) != 0)
		number = limiter->places[number].next;
	return number;
}

/* A place that nobody has, or the one that has been silent longest; in no list. */
static uint32_t
vacate(Limiter *limiter)
{
	uint32_t	number = limiter->oldest;
	uint32_t   *link;

	if (limiter->used < limiter->size)
		return ++limiter->used;
	for (link = bucket_of(limiter, &limiter->places[number].address); *link != number;)
		link = &limiter->places[*link].next;
	*link = limiter->places[number].next;
	take_out(limiter, number);
	return number;
}

static Place *
place_of(Limiter *limiter, const struct in6_addr *address, uint64_t now_ms)
{
	uint32_t	number = find(limiter, address);
	uint32_t   *bucket;

	if (number != NONE)
		take_out(limiter, number);
	else
	{
		number = vacate(limiter);
		bucket = bucket_of(limiter, address);
		limiter->places[number] = (Place) {.address = *address, .began = now_ms, .next = *bucket};
		*bucket = number;
	}
	put_newest(limiter, number);
	return &limiter->places[number];
}

static uint64_t
take(Limiter *limiter, const struct in6_addr *address, uint64_t now_ms, bool *begins)
{
	struct in6_addr group = address_group(address);
	Place	   *place = place_of(limiter, &group, now_ms);

	/* Another worker's clock may be a moment ahead. */
	if (now_ms < place->began)
		now_ms = place->began;
	if (now_ms - place->began >= LIMITER_WINDOW_MS)
	{
		place->began = now_ms;
		place->requests = 0;
	}
	*begins = place->requests == limiter->limit;
	if (*begins)
		place->began = now_ms;
	if (place->requests <= limiter->limit)
		place->requests++;
	return place->requests <= limiter->limit ? 0 : place->began + LIMITER_WINDOW_MS - now_ms;
}

uint64_t
limiter_take(Limiter *limiter, const struct in6_addr *address, uint64_t now_ms, bool *begins)
{
	uint64_t	wait;

	if (shared_lock(&limiter->lock))
		forget_all(limiter);
	wait = take(limiter, address, now_ms, begins);
	shared_unlock(&limiter->lock);
	return wait;
}
