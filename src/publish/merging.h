/*
 * publish/merging.h - lists of several servers as one
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_MERGING_H
#define SCOREBOARD_PUBLISH_MERGING_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "read/listing.h"

/* What a row of scoreboard.top holds of a list. */
typedef struct PublishedList
{
	int64		players;
	char	   *entries;		/* as document_entries() says */
	Datum		second_keys;	/* bigint[]: what decides between equal scores, of each entry */
} PublishedList;

/* What scoreboard.top.list_order says of a board by these settings. */
extern char *merging_order(const char *score_order, const char *ties);

/* Of a board that counts by itself, and its rows. Needs a transaction; allocates in the current context, as the next does. */
extern PublishedList merging_own_list(const Board *board, int32 season, Listing *listing);

/* Of a board that merges others, from what is stored of these now. Raises where one of them is in another order. */
extern PublishedList merging_list(const Board *board);

/*
 * The publisher's: leaves nobody in the stored lists of boards that are gone, of those that it has known or of all. After the commit:
 * forgets them, but for those that somebody holds; and how long until these are tried again.
 */
extern void merging_empty_gone(bool all);
extern void merging_emptied_gone(void);
extern int64 merging_empty_wait_ms(void);

/* Tells this process's triggers that what it writes to scoreboard.top needs no look: it is the publisher. */
extern void merging_is_publisher(void);

#endif
