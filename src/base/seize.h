/*
 * base/seize.h - a lock that is had within scoreboard.moderation_wait: who holds it longer is ended
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_SEIZE_H
#define SCOREBOARD_BASE_SEIZE_H

#include "postgres.h"
#include "portability/instr_time.h"
#include "storage/lock.h"

/* One wait for all locks of a call: the time runs from the first that isn't had at once. Starts as {0}. */
typedef struct SeizeWait
{
	bool		began;
	instr_time	start;
} SeizeWait;

/*
 * Runs take(argument), which waits for locks and writes nothing, until it comes back: under a limit of time, again and
 * again. When the time is over, whoever holds or awaits the lock of that tag in one of these modes is ended,
 * before each further time; but not who holds it in ACCESS EXCLUSIVE mode, nor ourselves. "what" names the lock in the log.
 * Raises what take raises: the caller's own lock_timeout, a cancel, a deadlock with those who are spared; UNAVAILABLE where there is nobody to end.
 */
extern void seize(SeizeWait *wait, const LOCKTAG *tag, LOCKMASK modes, const char *what, void (*take) (void *argument), void *argument);

/* Runs take(argument) likewise for so long only, and nobody is ended: false where it hasn't come back by then. */
extern bool seize_try(int patience_ms, void (*take) (void *argument), void *argument);

/*
 * scoreboard.score for itself (SHARE ROW EXCLUSIVE, to the end of the transaction), asked for in short turns with a pause between, since
 * writers that come behind it wait meanwhile: one turn, false where it isn't had; the pause; and how long both take.
 */
#define SEIZE_SCORES_MS 300
extern bool seize_scores(void);
extern bool seize_scores_with(void (*take) (void *argument), void *argument);	/* which takes it and more */
extern void seize_scores_pause(void);

/* Who held a lock at a moment, for a caller that doesn't wait in the lock's queue. */
typedef struct SeizeHolders SeizeHolders;

/*
 * Runs take(argument), which waits for rows of a table, for scoreboard.moderation_wait; then ends who has held a lock on the table since before,
 * other than to read it, and runs it once more. False where it doesn't come back even so.
 */
extern bool seize_rows(Oid table, const char *what, void (*take) (void *argument), void *argument);

/* Modes with which somebody writes to a table. */
#define SEIZE_WRITERS \
	(LOCKBIT_ON(RowExclusiveLock) | LOCKBIT_ON(ShareRowExclusiveLock) | LOCKBIT_ON(ExclusiveLock) | LOCKBIT_ON(AccessExclusiveLock))

/* One piece of memory. Then: is any of them still there? And ends those, each once. */
extern SeizeHolders *seize_note_holders(const LOCKTAG *tag, LOCKMASK modes);
extern bool seize_holders_left(SeizeHolders *holders);
extern void seize_end_holders(SeizeHolders *holders, const char *what);

/* The player's lock, to moderate it. */
extern void seize_player(SeizeWait *wait, const char *user_id);

/* The same wait for something else that the player's own transaction may hold too. */
extern void seize_from_player(SeizeWait *wait, const char *user_id, void (*take) (void *argument), void *argument);

#endif
