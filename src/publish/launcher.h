/*
 * publish/launcher.h - what the launcher's files and the publisher agree on
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_LAUNCHER_H
#define SCOREBOARD_PUBLISH_LAUNCHER_H

#include "postgres.h"

/* Where a publisher finds its slot: bgw_main_arg is the slot, bgw_extra this. */
typedef struct PublisherStart
{
	uint32		reservation;
} PublisherStart;

/* Once, while preloading: registers the launcher. */
extern void launcher_init(void);

#endif
