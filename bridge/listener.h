/*
 * listener.h - listening sockets, and who may have how many connections
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_LISTENER_H
#define BRIDGE_LISTENER_H

#include "client.h"

/* Before there are workers. False: a sentence that names the setting was printed on standard error. */
extern bool listener_open(Bridge *bridge);
extern void listener_announce(const Bridge *bridge);	/* in the log */
extern void listener_close(Bridge *bridge); /* the sockets; where nothing was started */
extern void listener_start(Bridge *bridge);	/* accepting */
extern void listener_tick(Bridge *bridge);	/* main.c's tick */
extern void listener_stop(Bridge *bridge);	/* no new connections; the old ones stay */
extern void listener_free(Bridge *bridge);
extern void listener_forget(Bridge *bridge, int worker);	/* it has died, and with it its connections */
extern bool listener_scraped(const Bridge *bridge);	/* is there a socket for metrics? */
extern int	listener_count(const Bridge *bridge);	/* connections, WebSockets included */

/* Gives back what an accepted connection took: its count in total and under its address. */
extern void listener_leave(Bridge *bridge, Seat *seat);

/* Has a connection counted under another address; false where that has all it may have. */
extern bool listener_move(Bridge *bridge, Seat **seat, const struct in6_addr *address);

#endif
