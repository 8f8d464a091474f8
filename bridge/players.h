/*
 * players.h - whose streams they are
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_PLAYERS_H
#define BRIDGE_PLAYERS_H

#include "credential.h"
#include "hub.h"
#include "tally.h"

#define PASS_MAX 49				/* the database's passes aren't longer */

/* What a stream's player was told of its own place on one of the stream's boards. */
typedef struct OwnRank
{
	Board	   *board;
	int64_t		asked;			/* the list's version at which it was read; -1: never */
	int64_t		asking;			/* likewise, by the question that is under way; 0: it isn't in it */
	bool		told;
	bool		unlisted;		/* the database told nothing without a pass */
	int64_t		score;
	int64_t		rank;			/* 0: stands in no list */
	int64_t		players;
	int			season;
} OwnRank;

/* A stream of a player's. */
typedef struct Membership
{
	Bridge	   *bridge;
	struct Player *player;
	Stream	   *stream;
	struct Membership *newer;	/* the same player's */
	struct Membership *previous;	/* of all */
	struct Membership *next;
	TallyEntry *entry;			/* its place among the player's, in all workers */
	int64_t		expires_at;		/* seconds since 1970 */
	char		pass[PASS_MAX + 1];
	int			count;			/* of boards */
	OwnRank		ranks[];
} Membership;

extern void players_start(Bridge *bridge);	/* before there are workers */
extern void players_free(Bridge *bridge);	/* when all streams have ended */

/*
 * The stream is this player's: it ends with the token (4001), and where the player has too many by it, the oldest does
 * (4002), in whatever worker it is. NULL: out of memory.
 */
extern Membership *players_join(Bridge *bridge, const Identity *identity, Stream *stream, Board *const *boards, int count);
extern void players_leave(Membership *membership);	/* the stream is gone */
extern void players_forget(Bridge *bridge, int worker);	/* it has died, and with it its streams */
extern Membership *players_all(const Bridge *bridge);	/* the first of all; `next` leads on */
extern Membership *players_of(const Bridge *bridge, const char *user_id);	/* this player's oldest, or NULL; `newer` leads on */
extern const char *membership_user_id(const Membership *membership);
extern void players_tick(Bridge *bridge);	/* ends what has expired; main.c's tick */

#endif
