/*
 * api_stream.h - GET /v1/leaderboard/stream
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_API_STREAM_H
#define BRIDGE_API_STREAM_H

#include "exchange.h"

extern void api_stream(Exchange *exchange);	/* a route's handler: WebSocket, server-sent events, or 426 */

#endif
