/*
 * newest.c - the newest version of each board that any worker has
 *
 * So that a list never goes back, whichever worker a client comes to: a worker
 * raises the version here before it shows that list to anybody, and one that
 * is behind it shows its own to nobody (hub.c) until it has read the newer one,
 * which it is about to, since the same notification woke it.
 *
 * A table in shared memory that only grows: a board's entry is filled in, then
 * linked, under a lock, and its numbers are atomic. So a worker may be killed
 * anywhere in here.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "newest.h"

#include <stdatomic.h>
#include <string.h>

#include "log.h"
#include "shared.h"
#include "text_hash.h"

#define PLACES 16384
#define BUCKETS 4096

struct NewestBoard
{
	char		name[BOARD_NAME_MAX + 1];
	NewestBoard *next;			/* in its bucket */
	_Atomic int64_t version;
	_Atomic int64_t publications;
	_Atomic uint32_t subscribers[WORKERS_MAX];
};

typedef struct Newest
{
	pthread_mutex_t lock;
	atomic_uint used;
	_Atomic(NewestBoard *) buckets[BUCKETS];
	NewestBoard boards[PLACES];
} Newest;

/* Under the lock; NULL: there is no room. */
static NewestBoard *
find_or_make(Newest *newest, const char *name)
{
	_Atomic(NewestBoard *) *bucket = &newest->buckets[text_hash(name) % BUCKETS];
	NewestBoard *board = *bucket;

	while (board && strcmp(board->name, name) != 0)
		board = board->next;
	if (board || newest->used == PLACES)
		return board;
	board = &newest->boards[newest->used++];
	strcpy(board->name, name);
	board->next = *bucket;
	*bucket = board;
	return board;
}

NewestBoard *
newest_board(Bridge *bridge, const char *name)
{
	Newest	   *newest = bridge->newest;
	NewestBoard *board;

	shared_lock(&newest->lock);
	board = find_or_make(newest, name);
	shared_unlock(&newest->lock);
	if (board)
		return board;
	log_warn("more boards than workers can compare", LOG_TEXT("board", name), LOG_NUMBER("boards", PLACES),
			 LOG_TEXT("advice", "a client of this board that changes workers may see its list go back for a moment; run more bridges of fewer boards, or one worker"));
	board = calloc(1, sizeof(*board));
	if (board == NULL)
		abort();
	return board;
}

int64_t
newest_version(const NewestBoard *board)
{
	return board->version;
}

void
newest_raise(NewestBoard *board, int64_t version)
{
	int64_t		before = board->version;

	while (before < version)
		if (atomic_compare_exchange_weak(&board->version, &before, version))
		{
			board->publications++;
			return;
		}
}

int64_t
newest_publications(const NewestBoard *board)
{
	return board->publications;
}

void
newest_set_subscribers(NewestBoard *board, int worker, uint32_t count)
{
	if (board)
		board->subscribers[worker] = count;
}

int64_t
newest_subscribers(const NewestBoard *board)
{
	int64_t		count = 0;

	for (int i = 0; i < WORKERS_MAX; i++)
		count += board->subscribers[i];
	return count;
}

void
newest_forget(Bridge *bridge, int worker)
{
	Newest	   *newest = bridge->newest;

	for (unsigned i = 0; i < newest->used; i++)
		newest->boards[i].subscribers[worker] = 0;
}

/* ---- coming and going ---- */

void
newest_start(Bridge *bridge)
{
	bridge->newest = shared_alloc(sizeof(Newest));
	shared_lock_start(&bridge->newest->lock);
}

void
newest_free(Bridge *bridge)
{
	shared_free(bridge->newest, sizeof(Newest));
	bridge->newest = NULL;
}
