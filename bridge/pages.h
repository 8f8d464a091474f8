/*
 * pages.h - contracts and the live page's files, served from memory
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_PAGES_H
#define BRIDGE_PAGES_H

#include "exchange.h"

extern bool pages_start(Bridge *bridge);	/* reads --www; false: the log says why not */
extern void pages_free(Bridge *bridge);
extern bool pages_have(const Exchange *exchange);	/* is its path one of them? */
extern void pages_answer(Exchange *exchange);	/* a route's handler */

#endif
