/*
 * api_read.h - what is read: the top list, health, readiness
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_API_READ_H
#define BRIDGE_API_READ_H

#include "exchange.h"
#include "hub.h"

/* Handlers of routes. */
extern void api_top(Exchange *exchange);
extern void api_health(Exchange *exchange);
extern void api_ready(Exchange *exchange);

/* Boards by a comma-separated list of names; how many, or 0 with the problem set. */
extern int	api_find_boards(Bridge *bridge, const char *list, Board **boards, Problem *problem);

#endif
