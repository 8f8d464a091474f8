/*
 * publish/launcher_hooks.h - commands on databases, for which a publisher makes room
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_LAUNCHER_HOOKS_H
#define SCOREBOARD_PUBLISH_LAUNCHER_HOOKS_H

/* Puts the hooks in place; once, while preloading. */
extern void launcher_hooks_init(void);

#endif
