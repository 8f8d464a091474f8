/*
 * bridge.h - the process: what every part of it can reach
 *
 * A worker is one process, one libuv loop, one thread but for the log's writer
 * (log.c). What needs a lock is in memory that workers share (shared.h).
 * Each part keeps its own state behind the pointer that bears its name, made
 * and freed by that part's start and free functions, which main.c calls in
 * order.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <uv.h>

#include "options.h"

#define BOARD_NAME_MAX 63
#define BOARDS_PER_STREAM 16

#define SUPERVISOR (-1)

typedef struct Bridge
{
	uv_loop_t	loop;
	Options		options;
	bool		draining;		/* set once by main.c: nothing new is begun */
	char		date[32];		/* for the Date header, made anew by main.c's tick */

	int			worker;			/* which one this is, from 0, or SUPERVISOR; 0 where there is only one */
	uint64_t	began;			/* ms of the loop */

	/* Made before there are workers, and the same for all of them. */
	struct Workers *workers;
	struct Metrics *all_metrics;
	struct Newest *newest;
	struct Proxies *proxies;	/* whom we trust; of addresses.c */
	struct Limiter *limiter;	/* NULL: requests are not limited */
	struct TlsContext *tls;		/* NULL: plain sockets */
	struct Pages *pages;
	struct Players *players;
	struct Listener *listener;

	/* Each worker's own. */
	struct Clients *clients;
	struct Boards *boards;
	struct Hub *hub;
	struct OwnRanks *own_ranks;
	struct Ws  *ws;
	struct Feed *feed;
	struct PgHosts *hosts;		/* pg_pool.c makes them */
	struct Pool *pool;
	struct Batches *batch;
	struct Metrics *metrics;	/* in all_metrics */
	struct DatabaseMetrics *database_metrics;
	struct Service *service;	/* NULL in a worker: its supervisor speaks for it */
} Bridge;

/* For uv_close: memory that begins with the handle, or that the handle's data is, goes when libuv has let go of it. */
static inline void
free_handle(uv_handle_t *handle)
{
	free(handle);
}

static inline void
free_handle_data(uv_handle_t *handle)
{
	free(handle->data);
}

#endif
