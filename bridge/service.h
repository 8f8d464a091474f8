/*
 * service.h - what the bridge and the service manager tell each other
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SERVICE_H
#define BRIDGE_SERVICE_H

#include "bridge.h"
#include "sockets.h"

/*
 * Listening sockets that we were started with. Those named "metrics" if
 * `metrics`, else all others; how many. -1: one is of no use, a sentence was
 * printed on standard error.
 */
extern int	service_sockets(bool metrics, ListenSocket sockets[SOCKETS_MAX]);

extern void service_start(Bridge *bridge);
extern uint64_t service_pace(const Bridge *bridge); /* ms: how often it wants its tick */
extern void service_tick(Bridge *bridge);	/* tells what has changed, and that all live */
extern void service_stopping(Bridge *bridge);	/* the end has begun */
extern void service_stop(Bridge *bridge);

#endif
