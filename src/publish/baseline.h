/*
 * publish/baseline.h - where the first of a list stood when the day or the season began, for their movement since
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_BASELINE_H
#define SCOREBOARD_PUBLISH_BASELINE_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/config_cache.h"

/* Of which moment the board's baseline is to be, as of now, and of which season's list; false where it has none. */
typedef struct BaselineDue
{
	TimestampTz stands_for;
	TimestampTz until;			/* DT_NOEND: as long as the season runs */
	int32		list_season;
} BaselineDue;

extern bool baseline_due(const Board *board, int32 season, const CalendarSpan *span, BaselineDue *due);

/* Is that another one than the one that is noted? Reads what is committed, and what this transaction has noted. */
extern bool baseline_is_old(const Board *board, int32 season, const BaselineDue *due);

/* Notes it; false where the board is being deleted or changed just now. The caller may keep lists (publish/kept.h). */
extern bool baseline_note(const Board *board, int32 season, const BaselineDue *due);

#endif
