/*
 * workers.c - what each worker of a bridge tells the others, and how they are
 *
 * Owns the states in shared memory: a few numbers of each worker, set by its own
 * tick and read by whoever speaks for the bridge: the first worker to a scraper,
 * the supervisor, or the only worker, to the service manager.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "workers.h"

#include <limits.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "boards.h"
#include "feed.h"
#include "listener.h"

#define READY_MS 3000
#define SILENT_MS 3000			/* one whose loop has not turned for so long doesn't answer */

uint64_t
workers_clock(void)
{
	return uv_hrtime() / 1000000;
}

WorkerState *
workers_own(const Bridge *bridge)
{
	return &bridge->workers->states[bridge->worker];
}

bool
workers_answers(const Bridge *bridge, int worker)
{
	const WorkerState *state = &bridge->workers->states[worker];
	uint64_t	beat = state->beat;
	uint64_t	now = workers_clock();

	return state->pid != 0 && beat != 0 && (now < beat || now - beat < SILENT_MS);
}

int
workers_first(const Bridge *bridge)
{
	for (int i = 0; i < bridge->workers->count; i++)
		if (i == bridge->worker || workers_answers(bridge, i))
			return i;
	return 0;
}

int
workers_least(const Bridge *bridge)
{
	int			least = INT_MAX;

	for (int i = 0; i < bridge->workers->count; i++)
	{
		const WorkerState *state = &bridge->workers->states[i];

		if (i != bridge->worker && state->ready && state->connections < least && workers_answers(bridge, i))
			least = state->connections;
	}
	return least;
}

WorkersAll
workers_all(const Bridge *bridge)
{
	WorkersAll	all = {.live = true, .taking = true, .ready = true};

	for (int i = 0; i < bridge->workers->count; i++)
	{
		const WorkerState *state = &bridge->workers->states[i];
		bool		answers = workers_answers(bridge, i);
		uint64_t	awaited = state->awaited;

		all.ready = all.ready && state->ready;
		if (state->pid == 0)
			continue;
		all.running++;
		all.answering += answers;
		all.connections += state->connections;
		all.pending += state->pending;
		all.queued += state->queued;
		if (awaited && (all.awaited == 0 || awaited < all.awaited))
			all.awaited = awaited;
		/* What one says that doesn't answer was true once. */
		all.live = all.live && answers && state->live;
		all.taking = all.taking && answers && state->taking;
		all.draining = all.draining || state->draining;
	}
	return all;
}

static void
find_oldest(void *data, const Board *board)
{
	uint64_t   *oldest = data;

	if (board_awaited(board) && (*oldest == 0 || board_awaited(board) < *oldest))
		*oldest = board_awaited(board);
}

void
workers_tick(Bridge *bridge)
{
	WorkerState *state = workers_own(bridge);
	uint64_t	oldest = 0;

	if (listener_scraped(bridge))
		boards_each(bridge, find_oldest, &oldest);
	state->awaited = oldest;
	state->pending = batch_pending(bridge);
	state->queued = batch_queued(bridge);
	state->live = feed_live(bridge);
	state->taking = batch_live(bridge);
	state->draining = bridge->draining;
	state->ready = state->ready || feed_live(bridge) || uv_now(&bridge->loop) - bridge->began >= READY_MS;
	state->beat = workers_clock();
}

/* ---- coming and going ---- */

void
workers_start(Bridge *bridge)
{
	struct timespec now;

	bridge->workers = shared_alloc(sizeof(Workers));
	bridge->workers->count = (int) bridge->options.workers;
	clock_gettime(CLOCK_REALTIME, &now);
	bridge->workers->started = (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

void
workers_free(Bridge *bridge)
{
	shared_free(bridge->workers, sizeof(Workers));
	bridge->workers = NULL;
}
