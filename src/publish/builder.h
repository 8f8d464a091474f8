/*
 * publish/builder.h - a worker beside the publisher, for as long as ranks of a large table are built
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_BUILDER_H
#define SCOREBOARD_PUBLISH_BUILDER_H

#include "postgres.h"

/* Publisher only. False if no worker can be had. */
extern bool builder_start(void);

/* From its start until builder_ended() has said that it ended. */
extern bool builder_is_running(void);

/* True once for each builder; *succeeded: it built everything that was to be built. Its end sets the publisher's latch. */
extern bool builder_ended(bool *succeeded);

#endif
