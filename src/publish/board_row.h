/*
 * publish/board_row.h - a board as a cycle of the publisher reads it
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_BOARD_ROW_H
#define SCOREBOARD_PUBLISH_BOARD_ROW_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "nodes/pg_list.h"

#include "scoreboard.h"
#include "base/calendar.h"
#include "base/config_cache.h"
#include "plain/touches.h"
#include "publish/baseline.h"
#include "publish/schedule.h"
/* What a cycle reads of a board, and what becomes of it. */
typedef struct BoardRow
{
	Board		board;
	PublishedBoard *known;
	bool		due;
	int32		season;			/* that runs */
	CalendarSpan	span;
	bool		known_zone;		/* else the season isn't known: no list */
	bool		stored;			/* there is a row in scoreboard.top; read where the board is due */
	int32		stored_season;
	int64		stored_version;	/* the last one, also of documents that seasons have kept */
	char	   *list_order;
	List	   *merged_by;		/* board_ids of those that merge it */
	char	   *stored_document;
	int64		shown_version;	/* that of stored_document */
	TimestampTz kept_since;
	bool		keeps;			/* versions of its list, since kept_since */
	bool		moves;			/* its players have, since the baseline's moment */
	bool		noted;			/* a baseline, in this cycle */
	bool		unkept;			/* a list or a baseline: it couldn't be done in this cycle */
	bool		recorded;		/* the season that runs has its row, and none before it runs */
	int			shown_count;
	int32	   *shown;			/* bits of the players in the list that was built */
	BaselineDue baseline;
	TimestampTz updated_at;		/* when new_version was */
	int64		new_version;	/* 0: not published in this cycle */
} BoardRow;

/* Those at these bits, as committed now: rows for the two below, in SPI_tuptable. SPI is connected. */
extern void board_rows_read(const TouchSet *bits);

/* In the current context: what is needed of all; then of those that are due, what is stored. */
extern BoardRow *board_row(HeapTuple row, TupleDesc desc);
extern void board_row_stored(BoardRow *board, HeapTuple row, TupleDesc desc);

#endif
