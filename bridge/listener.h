/*
 * listener.h - listening sockets, and who may have how many connections
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_LISTENER_H
#define BRIDGE_LISTENER_H

#include "client.h"

/* False: a sentence that names the setting was printed on standard error. */
extern bool listener_start(Bridge *bridge);
extern void listener_stop(Bridge *bridge);	/* no new connections; the old ones stay */
extern void listener_free(Bridge *bridge);
extern bool listener_scraped(const Bridge *bridge);	/* is there a socket for metrics? */
extern int	listener_count(const Bridge *bridge);	/* connections, WebSockets included */

/* Gives back what an accepted connection took: its count in total and under its address. */
extern void listener_leave(Bridge *bridge, Seat *seat);

/* Has a connection counted under another address; false where that has all it may have. */
extern bool listener_move(Bridge *bridge, Seat **seat, const struct in6_addr *address);

#endif
