/*
 * publish/chores_due.h - a trigger that makes the publisher's chores due
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_CHORES_DUE_H
#define SCOREBOARD_PUBLISH_CHORES_DUE_H

/* Once per process, from _PG_init: a transaction callback. */
extern void chores_due_init(void);

#endif
