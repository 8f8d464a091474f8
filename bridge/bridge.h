/*
 * bridge.h - the process: what every part of it can reach
 *
 * One process, one libuv loop, one thread but for the log's writer (log.c); nothing
 * else in bridge/ needs a lock.
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

typedef struct Bridge
{
	uv_loop_t	loop;
	Options		options;
	bool		draining;		/* set once by main.c: nothing new is begun */
	char		date[32];		/* for the Date header, made anew by main.c's tick */

	struct Proxies *proxies;	/* whom we trust; of addresses.c */
	struct Limiter *limiter;	/* NULL: requests are not limited */
	struct Listener *listener;
	struct Clients *clients;
	struct TlsContext *tls;		/* NULL: plain sockets */
	struct Hub *hub;
	struct Players *players;
	struct OwnRanks *own_ranks;
	struct Ws  *ws;
	struct Feed *feed;
	struct PgHosts *hosts;		/* pg_pool.c makes them */
	struct Pool *pool;
	struct Batches *batch;
	struct Pages *pages;
	struct Metrics *metrics;	/* there before all others, gone after them */
	struct DatabaseMetrics *database_metrics;
	struct Service *service;
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
