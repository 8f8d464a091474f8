/*
 * feed.h - LISTEN, and reading what is new
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_FEED_H
#define BRIDGE_FEED_H

#include "bridge.h"

extern void feed_start(Bridge *bridge);
extern void feed_stop(Bridge *bridge);
extern void feed_hurry(Bridge *bridge); /* somebody else has reached the database */
extern bool feed_loaded(const Bridge *bridge);	/* the documents have been read once */
extern bool feed_live(const Bridge *bridge);	/* listening, and the last look was answered in time */

#endif
