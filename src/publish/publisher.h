/*
 * publish/publisher.h - how a commit wakes the publisher, and what stands in the board's last published version
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_PUBLISHER_H
#define SCOREBOARD_PUBLISH_PUBLISHER_H

#include "postgres.h"

#include "plain/touches.h"

/*
 * A commit of this database changed what board_id's list may show. Called from
 * commit callbacks: allocates nothing, raises nothing, takes no lock that can
 * wait; a thousand calls before the publisher looks cost one wake-up.
 */
extern void publisher_touch(int32 board_id);

/* The same for every board of this database. */
extern void publisher_touch_all(void);

/* The same for the boards whose lists show one of these players, at the bits of their ids. */
extern void publisher_touch_players(const TouchSet *players);

/*
 * Something beside publishing is to be done (publish/chores.c has the list of
 * chores). May be called anywhere; many calls cost one wake-up.
 */
extern void publisher_wake(void);

/* From commit callbacks: scoreboard.pending_event has new rows, or rows that were there already have changed. */
#define EVENTS_NEW		0x1
#define EVENTS_CHANGED	0x2
extern void publisher_wake_for_events(uint32 what);

/*
 * From commit callbacks too: CREATE or DROP EXTENSION happened in this
 * database, the launcher shall look whether it needs a publisher.
 */
extern void publisher_wake_launcher(void);

#endif
