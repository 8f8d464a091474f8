/*
 * ws.h - WebSocket streams; the only part that sees libwebsockets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_WS_H
#define BRIDGE_WS_H

#include "credential.h"
#include "exchange.h"
#include "hub.h"

extern bool ws_start(Bridge *bridge);	/* after the limit of open files was raised: the library sizes its table by it */
extern void ws_stop(Bridge *bridge);
extern void ws_free(Bridge *bridge);

/*
 * Takes a checked request for a WebSocket (version, key, origin, subprotocol
 * are right) and makes it a stream of these boards, of a player (NULL: of
 * anybody), whose identity it takes. `subprotocol` is echoed; NULL: none. Ends
 * the exchange.
 */
extern void ws_open(Exchange *exchange, const char *key, const char *subprotocol, Board *const *boards, int count, Identity *identity);

#endif
