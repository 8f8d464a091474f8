/*
 * admin/records.h - what a record of the log counts for, as statements say it
 *
 * Records are rows of scoreboard.action, credit and adjustment. What was applied when one was made stays as it was answered; what it counts for
 * is that, until scoreboard_undo() (admin/undo.c, admin/replay.c) says otherwise. Whoever adds records up takes these.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_RECORDS_H
#define SCOREBOARD_ADMIN_RECORDS_H

#define COUNTED "coalesce(counted_points, applied_points)"

/* Of actions and credits: one that was undone doesn't stand for a score, but for what could not be taken away. */
#define COUNTS "(undone_at IS NULL OR counted_points <> 0)"

/* Of adjustments */
#define CORRECTS "(kind = 'adjust' AND counted_points IS DISTINCT FROM 0)"

#endif
