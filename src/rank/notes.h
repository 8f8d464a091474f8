/*
 * rank/notes.h - what this transaction changed in the order of its boards
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_RANK_NOTES_H
#define SCOREBOARD_RANK_NOTES_H

#include "postgres.h"
#include "fmgr.h"

#include "rank/index.h"

typedef enum RankNoteKind
{
	NOTE_REMOVE,				/* a listed row left: key */
	NOTE_ADD,					/* a listed row came: key */
	NOTE_CLEAR,					/* every board of the table is empty now */
	NOTE_REBUILD,				/* what the notes can't tell; board_id 0 = all */
	NOTE_TOP_SIZE,				/* key.score = the board's new top size */
	NOTE_RENAMED,				/* versions belong to names: the board's is not known any more */
	NOTE_FREE_BOARD,			/* the board's row is gone */
	NOTE_FREE_TABLE,			/* the table itself is gone */
	NOTE_FREE_DATABASE,			/* relid = the database that was dropped */
	NOTE_TOUCH,					/* the list shows something else; board_id 0 = all */
	NOTE_DONE					/* applied already */
} RankNoteKind;

typedef struct RankNote
{
	Oid			relid;			/* the score table (of one CREATE EXTENSION) */
	int32		board_id;
	int32		season;
	RankNoteKind kind;
	RankKey		key;
	int32		first;			/* the transaction's first note of this player on this board and season */
	int32		older;			/* the next older note of the same hash chain, or -1 */
} RankNote;

/*
 * The key that the player had on this board and season before this transaction
 * changed it first. False where it had none, or nothing was changed.
 */
extern bool rank_notes_old_key(int32 board_id, int32 season, int64 player_id, RankKey *key);

/* False where so many rows were changed that old keys were forgotten. */
extern bool rank_notes_complete(void);

/* For repair: the board's trees are built anew, and its list is looked at, after this transaction's commit. */
extern void rank_notes_rebuild(Oid relid, int32 board_id);

/* The board's list is looked at after this transaction's commit. */
extern void rank_notes_touch(int32 board_id);

/* The trigger on scoreboard.score. */
extern Datum scoreboard_score_changed(PG_FUNCTION_ARGS);

/* Registers the transaction callbacks and the hook that sees DROP and ALTER; once per process. */
extern void rank_notes_init(void);

/*
 * In rank/index.c: applies a committed transaction's notes, under the rules of
 * a commit callback (rank/notes.c). with_marks: there are others than ADD, REMOVE and TOUCH.
 */
extern void rank_index_apply(RankNote *notes, int count, bool with_marks);

#endif
