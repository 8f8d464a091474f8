/*
 * visitors.h - whose requests these are, by address, and how many they may have
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_VISITORS_H
#define BRIDGE_VISITORS_H

#include "exchange.h"

extern void visitors_start(Bridge *bridge);	/* before there are workers */
extern void visitors_free(Bridge *bridge);

/* Is what this peer says about others' addresses believed? */
extern bool visitors_trust(const Bridge *bridge, const struct in6_addr *peer);

/* Sets exchange->address, which is the peer until then. */
extern void visitor_recognise(Exchange *exchange, const H1Head *head);

/*
 * Counts the request of a head that has been judged; where there are too many it
 * becomes a problem of that, whatever it was. `headers` is room for the
 * problem's own.
 */
extern void visitor_count(const Exchange *exchange, Problem *problem, char headers[32]);

/*
 * A proxy's connection becomes a stream and thereby one of its client's
 * connections; false with the problem where that has all it may have.
 */
extern bool visitor_keep(const Exchange *exchange, Problem *problem);

#endif
