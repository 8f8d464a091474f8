/*
 * sse.h - server-sent events, plain writes on our own sockets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SSE_H
#define BRIDGE_SSE_H

#include "exchange.h"
#include "hub.h"

/* Answers with the stream of these boards. Ends the exchange. */
extern void sse_open(Exchange *exchange, Board *const *boards, int count, const char *last_event_id);

#endif
