/*
 * publish/schedule.h - the boards that this publisher knows, and when it looks at which
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_SCHEDULE_H
#define SCOREBOARD_PUBLISH_SCHEDULE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"

#include "scoreboard.h"
#include "plain/touches.h"
#include "publish/obstacle.h"

/* Looks without a result, and looks for boards unknown here, are this far apart at least. */
#define LOOK_INTERVAL_MS 10

/* A board as this worker knows it; times are those of worker_clock_ms(). */
typedef struct PublishedBoard
{
	int32		board_id;		/* hash key */
	char		name[SCOREBOARD_NAME_MAX + 1];
	int64		version;		/* the last one stored by this worker; 0: none yet, the next one leaps */
	bool		pending;		/* only schedule_set_pending() changes it */
	bool		waiting;		/* for its ranks; only schedule_set_waiting() changes it */
	bool		remote;			/* its list is another server's */
	int			interval_ms;
	int64		published_at;	/* 0: not yet */
	int64		not_before;		/* end of a rest or a back-off */
	int			failures;		/* in a row */
	Obstacle	obstacle;		/* what its list waits for */
	int64		keep_at;		/* it is pending only to have its list kept, and not before; 0: to be published */
	int64		keep_not_before;	/* back-off after its list couldn't be kept */
	int			keep_failures;	/* in a row */
	int64		seen;			/* number of the last cycle that read its row */
	int64		seen_at;
	TimestampTz season_ends;	/* by the calendar, or the day does that its movement is of; DT_NOEND: neither does */
	int32	   *shown;			/* bits of the players in its stored list; only schedule_set_shown() changes them */
	int			shown_count;
	struct PublishedBoard *next_at_bit;
	dlist_node	in_pending;
} PublishedBoard;

/* What one cycle looks at. */
typedef struct Look
{
	int64		number;			/* of the cycle */
	int64		began;			/* worker_clock_ms() */
	bool		all;			/* every board is wanted: the backlog is to be read anew, and nothing else done */
	TouchSet	bits;			/* boards at these bits are looked at */
	TouchSet	taken;			/* those that were touched: back they go if the cycle fails */
} Look;

extern void schedule_init(void);

/* Fills bits, or sets all. False if nothing is due: then *wait_ms is how long, unless the latch says otherwise. */
extern bool schedule_choose(Look *look, int64 *wait_ms);

/* From here on, the touched boards at the look's bits are this worker's to remember. */
extern void schedule_take(Look *look);
extern void schedule_put_back(const Look *look);

/* In place of what is left of the backlog, boards in the order in which they shall be looked at. */
extern void schedule_set_backlog(const int32 *board_ids, int count);

/* The board by that name, made pending where it is new here; seen in this look. */
extern PublishedBoard *schedule_know(const Look *look, int32 board_id, const char *name);
extern void schedule_set_pending(PublishedBoard *known, bool pending);

/* Whom the list that was stored shows: when they are shown in another way, the board is made pending. Copies the bits of their ids. */
extern void schedule_set_shown(PublishedBoard *known, const int32 *players, int count);

/* It was published, but its list is still to be kept: it is looked at again then, or sooner where it is touched. */
extern void schedule_set_unkept(PublishedBoard *known, int64 keep_at);

/* While many wait for their ranks, no more of the backlog joins them. */
extern void schedule_set_waiting(PublishedBoard *known, bool waiting);

/* Those at the look's bits that it hasn't seen. */
extern void schedule_forget_unseen(const Look *look);

/* The names (char *, of TopMemoryContext) of boards with a list of our own that were forgotten since schedule_forget_gone(): renamed, or gone. */
extern List *schedule_gone(void);
extern void schedule_forget_gone(void);

/* When its season ends, or the day that its movement is of: then it is made pending, whatever its interval. */
extern void schedule_set_season_end(PublishedBoard *known, TimestampTz ends);

/* Those whose seasons have ended by now. Returns how long until the next one's does. */
extern int64 schedule_end_seasons(TimestampTz now);

/* When a pending board may be published. */
extern int64 schedule_due_at(const PublishedBoard *known);

#endif
