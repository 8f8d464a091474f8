/*
 * api_increment.h - POST /v1/scores/increment
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_API_INCREMENT_H
#define BRIDGE_API_INCREMENT_H

#include "exchange.h"

extern void api_increment(Exchange *exchange);	/* a route's handler; answers when the commit is known */

#endif
