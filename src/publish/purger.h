/*
 * publish/purger.h - a worker beside the publisher, for as long as ended seasons are purged, the log of actions is gone over, or kept versions of lists
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_PURGER_H
#define SCOREBOARD_PUBLISH_PURGER_H

#include "postgres.h"

/* Starts one, if none is there; false where no worker is free. Ends with the publisher. */
extern bool purger_start(void);

extern bool purger_is_running(void);

/* Has one that was started ended since the last question? */
extern bool purger_ended(void);

#endif
