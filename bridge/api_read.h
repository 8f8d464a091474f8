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

/* False with the problem set where one of them is shown to some only. */
extern bool api_all_public(Board *const *boards, int count, Problem *problem);

/* Boards by a comma-separated list of names; how many, or 0 with the problem set. */
extern int	api_find_boards(Bridge *bridge, const char *list, Board **boards, Problem *problem);

#endif
