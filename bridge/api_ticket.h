/*
 * api_ticket.h - POST /v1/stream-tickets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_API_TICKET_H
#define BRIDGE_API_TICKET_H

#include "exchange.h"

extern void api_ticket(Exchange *exchange); /* a route's handler */

#endif
