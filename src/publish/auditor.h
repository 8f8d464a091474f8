/*
 * publish/auditor.h - a worker beside the publisher that holds the log against scores, lists and ranks, every night
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_AUDITOR_H
#define SCOREBOARD_PUBLISH_AUDITOR_H

#include "postgres.h"
#include "utils/guc.h"

/* Of the setting scoreboard.verify_at: a time of day, or off. */
extern bool auditor_check_time(char **value, void **extra, GucSource source);

/* Publisher only: how long until there is something for auditor_look(), and that: starts one, or has the one that runs give way. */
extern int64 auditor_wait_ms(void);
extern void auditor_look(void);

#endif
