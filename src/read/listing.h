/*
 * read/listing.h - ranked rows with the players that they name, for lists and for the document
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_READ_LISTING_H
#define SCOREBOARD_READ_LISTING_H

#include "postgres.h"

#include "rank/index.h"

typedef struct ListedRow
{
	RankRow		at;
	char	   *user_id;		/* NULL: the player is gone meanwhile; such a row is not shown */
	char	   *display_name;	/* or the neutral label */
	char	   *avatar_url;		/* or NULL */
	char	   *detail;			/* or NULL; for the document */
	bool		shows_movement; /* read/movement.h fills these in */
	bool		has_moved_from; /* it stood among those that the board remembers; else its movement is null */
	int64		movement;		/* places, up is positive */
} ListedRow;

typedef struct Listing
{
	ListedRow  *rows;
	int			found;
	int64		players;		/* in the whole list, at the same moment */
} Listing;

/*
 * count rows from position skip, from the rank index, else counted by SQL. The document is the publisher's: it shows
 * subscore and detail, and what it shows of a score belongs to that score; its scans know no limits (rank/scan.h).
 * Allocates in the current context, connects to SPI by itself.
 */
extern void listing_range(const Board *board, int32 season, int64 skip, int count,
						  bool for_document, Listing *listing);

/*
 * Fills in what the index doesn't know of its rows: subscore, detail, and the moment where ties aren't of it. False where one of
 * them has moved on since: it goes without, and keeps its key.
 */
extern bool listing_complete(const Board *board, int32 season, Listing *listing);

/* An array of these rows' players. */
extern Datum listing_ids(const ListedRow *rows, int count);

/* Fills in the players of rows that have their keys. */
extern void listing_name(ListedRow *rows, int count);

/* What lists show for a player: the name, or the neutral label (never the user_id). */
extern char *listing_label(const char *display_name, int64 player_id);

#endif
