/*
 * boards.h - the boards in memory: what the database has shown of each, and how it is to be shown
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_BOARDS_H
#define BRIDGE_BOARDS_H

#include "bridge.h"
#include "frame.h"

typedef struct Board Board;

extern void boards_start(Bridge *bridge);
extern void boards_free(Bridge *bridge);	/* after the last stream has ended */

/* ---- for feed.c ---- */

extern bool boards_newer(Bridge *bridge, const char *board, int64_t version);
extern bool boards_know(Bridge *bridge, const char *board);
extern char *boards_stamps(Bridge *bridge);	/* {"global":"17.4711"}, to be freed */

/* A row of scoreboard_documents, as text; NULL: null. */
typedef struct DocumentRow
{
	const char *board;
	const char *season;
	const char *version;
	const char *document;
	const char *stamp;
	const char *top_size;
	const char *visibility;
	const char *permission;
} DocumentRow;

/* Takes in a row; true where its list is new. */
extern bool boards_apply(Bridge *bridge, const DocumentRow *row);
/* ---- for reads ---- */

extern Board *boards_find(Bridge *bridge, const char *name);	/* NULL: unknown or gone */
extern const Frame *board_frame(const Board *board);
extern const char *board_name(const Board *board);
extern int64_t board_version(const Board *board);
extern bool board_behind(const Board *board);	/* another worker has a newer list, so this one is shown to nobody */
extern int	board_season(const Board *board);
extern int	board_top_size(const Board *board);
extern bool board_public(const Board *board);	/* else the database says who may see it */

typedef enum Visibility
{
	VISIBLE_TO_ALL,
	VISIBLE_TO_PLAYERS,
	VISIBLE_BY_PERMISSION
} Visibility;
extern Visibility board_visibility(const Board *board);
extern const char *board_permission(const Board *board);	/* of VISIBLE_BY_PERMISSION; NULL: nobody has it */

/* ---- for metrics ---- */

extern void boards_each(Bridge *bridge, void (*visit) (void *data, const Board *board), void *data);	/* that are there */
extern struct NewestBoard *board_newest(const Board *board);
/* A list newer than this version is to come: measures when. One such wait a board at a time. */
extern void board_await(Bridge *bridge, Board *board, int64_t version);
extern uint64_t board_awaited(const Board *board);	/* since when, by uv_hrtime; 0: no */

/* ---- for hub.c ---- */

/* Where a season has ended before our eyes: what it is told by, and the version of the next one's first list; NULL and 0: none has. */
extern const Frame *board_season_end(const Board *board);
extern int64_t board_season_began(const Board *board);

extern struct Audience *board_audience(const Board *board);	/* who subscribes to it; NULL: nobody ever has */
extern void board_set_audience(Board *board, struct Audience *audience);	/* the board's from then on */

/* A board without a name, which no row is of and nobody finds: the status. NULL: out of memory. */
extern Board *board_new_nameless(void);
extern void board_show(Board *board, Frame *frame, int64_t version);	/* takes the frame */
extern void board_free(Board *board);

#endif
