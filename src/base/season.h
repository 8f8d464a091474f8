/*
 * base/season.h - which season of a board runs
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_SEASON_H
#define SCOREBOARD_BASE_SEASON_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "base/config_cache.h"

/*
 * The season in which an action of that moment counts, by a reading of the clock. Writers call it under the player's lock,
 * with ROW EXCLUSIVE on scoreboard.score: so nobody has ended the season since, and its end waits for them.
 */
extern int32 season_of(const Board *board, TimestampTz now);

/* The one that runs now, for readers. */
extern int32 season_running(const Board *board);

/* What it takes of a board's row, for who reads boards by SQL as b: these columns, from a number on. False: an unknown time zone. */
#define SEASON_COLUMNS "b.period::text, b.time_zone::text, " CONFIG_SEASON_BEGUN
extern bool season_read(Board *board, HeapTuple row, TupleDesc desc, int column);

/* By the calendar; DT_NOBEGIN and DT_NOEND for boards of other periods, of which nothing is known here. */
extern CalendarSpan season_span(const Board *board, int32 season);

/* Shared memory, at shmem_request and at shmem_startup time. */
extern Size season_shmem_size(void);
extern void season_attach(void);

#endif
