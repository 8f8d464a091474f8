/*
 * read/standing.h - a player as one board's tables have it, and where it stands
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_READ_STANDING_H
#define SCOREBOARD_READ_STANDING_H

#include "postgres.h"

#include "rank/index.h"
#include "read/reading.h"

#define STANDING_TRIES 10		/* how often a key is read again that has moved */

typedef struct Standing
{
	char	   *user_id;
	char	   *display_name;	/* or the neutral label */
	char	   *avatar_url;		/* or NULL */
	bool		listed;
	RankKey		key;			/* score 0 before the first action on this board and season */
} Standing;

/* What the tables have for the player; false where there is no such player: then only the names are set. */
extern bool standing_read(const Reading *reading, const char *user_id, Standing *standing);

/* The keys alone, of many from one snapshot: score 0 for who has none here or isn't known. */
extern void standing_read_keys(const Reading *reading, char *const *user_ids, int count, RankKey *keys, bool *listed);

/* Reads the player's key again; false where it has left the list. */
extern bool standing_reread_key(const Reading *reading, RankKey *key);

/* Between two looks */
extern void standing_pause(void);

typedef enum IndexAnswer
{
	INDEX_ANSWERED,
	INDEX_MOVED,				/* the key isn't there (yet, or any more) */
	INDEX_CANT
} IndexAnswer;

extern IndexAnswer standing_in_index(const Reading *reading, const RankKey *key, RankStanding *at);

/* Where a listed player stands. Reads the standing again where it moved meanwhile; false if the player has left the list by then. */
extern bool standing_find(const Reading *reading, Standing *standing, RankStanding *at);

/*
 * All that is asked for in *rank (rank/index.h), from one moment: keys that the index doesn't have are read again, and then all is
 * asked anew. Who has left the list meanwhile has rank 0.
 */
extern void standing_find_all(const Reading *reading, RankView *rank);

#endif
