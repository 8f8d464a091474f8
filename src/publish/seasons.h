/*
 * publish/seasons.h - seasons are recorded, and their final documents kept
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_SEASONS_H
#define SCOREBOARD_PUBLISH_SEASONS_H

#include "postgres.h"

#include "base/config_cache.h"
#include "base/season.h"

/* Of board $1, whose name is $3: the last that any of its documents has had. */
#define SEASONS_LAST_VERSION \
	"greatest((SELECT max(o.version) FROM scoreboard.season o WHERE o.board_id = $1), (SELECT t.version FROM scoreboard.top t WHERE t.board = $3), 0)::bigint"

/*
 * Before the first list of a season is stored, in that transaction: records the season, and what ends with it. The last document that was stored
 * stays with its season; NULL: there is none.
 */
extern void seasons_begin(const Board *board, int32 season, const CalendarSpan *span, int32 stored_season, int64 stored_version, const char *stored_document);

/* There may be an ended season without its final document. */
extern void seasons_look(void);

/* The chore. */
extern bool seasons_pending(void);
extern void seasons_finish(void);
extern int64 seasons_wait_ms(void);

#endif
