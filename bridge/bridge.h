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

	struct Listener *listener;
	struct Clients *clients;
	struct Hub *hub;
	struct Ws  *ws;
	struct Feed *feed;
	struct PgHosts *hosts;		/* pg_pool.c makes them */
	struct Pool *pool;
	struct Batches *batch;
	struct Pages *pages;		/* NULL without --www */
} Bridge;

#endif
