/*
 * sse.h - server-sent events, plain writes on our own sockets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SSE_H
#define BRIDGE_SSE_H

#include "exchange.h"
#include "hub.h"

/* Answers with the stream of these boards, of a player (NULL: of anybody). Ends the exchange. */
extern void sse_open(Exchange *exchange, Board *const *boards, int count, const struct Identity *identity, const char *last_event_id);

#endif
