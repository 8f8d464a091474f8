/*
 * write/ledger.h - what is recorded of a player: its row, its actions, its scores
 *
 * Reads and writes need ROW EXCLUSIVE on scoreboard.score (ledger_lock), then
 * the player's lock.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_LEDGER_H
#define SCOREBOARD_WRITE_LEDGER_H

#include "postgres.h"
#include "access/htup.h"
#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"

#include "scoreboard.h"
#include "compat.h"
#include "write/request.h"

typedef struct LedgerPlayer
{
	bool		exists;
	int64		player_id;
	bool		frozen;
	bool		banned;
	bool		hidden;			/* by moderation or by its own choice */
	char	   *display_name;	/* or NULL */
	char	   *avatar_url;		/* or NULL */
} LedgerPlayer;

/* What stands beside a score. */
typedef struct LedgerExtras
{
	int64		subscore;		/* or NO_SUBSCORE */
	const char *detail;			/* or NULL */
} LedgerExtras;

typedef struct LedgerAction
{
	bool		exists;
	int32		board_id;
	int32		season;
	int32		action_type_id;
	bool		has_points;
	int64		points;			/* as submitted; where they aren't, what the action type gave */
	LedgerExtras extras;
	bool		sets_score;		/* the score's extras are this action's from then on */
	int64		applied_points;
	int64		previous_score;
	int64		score;
	int64		rank;			/* 0: null */
	int64		version;
	TimestampTz created_at;
	char	   *idempotency_key;	/* or NULL */
	Jsonb	   *metadata;		/* NULL for {} */
	int32		signing_key_id; /* 0: null */
	TimestampTz undone_at;		/* 0: it wasn't */
} LedgerAction;

typedef struct LedgerScore
{
	bool		exists;
	int64		score;
	TimestampTz reached_at;
	LedgerExtras extras;
	ItemPointerData at;			/* where its row stands, for ledger_set_score */
	HeapTuple	kept;			/* ledger_keep_score()'s copy of the row, or NULL */
} LedgerScore;

/* What an action added to a further board. */
typedef struct LedgerCredit
{
	int32		board_id;
	int32		season;
	int64		applied_points;
	int64		previous_score;
	int64		score;
	bool		sets_score;
} LedgerCredit;

/* What happened, before it has its position. What is 0 or NULL is null. */
typedef struct LedgerEvent
{
	const char *type;
	int32		board_id;
	int32		season;
	int64		player_id;
	int64		other_player_id;
	const char *action_id;
	TimestampTz occurred_at;
	const char *details;		/* JSON */
} LedgerEvent;

/* The tables at hand; one for a call, however many increments it counts. */
typedef struct Ledger Ledger;

/* Takes ROW EXCLUSIVE on scoreboard.score: first of all locks, before any player's. */
extern void ledger_lock(void);

/* After ledger_lock(). An error in between closes by itself. */
extern Ledger *ledger_open(void);
extern void ledger_close(Ledger *ledger);

/*
 * From here on reads answer what is committed now; called under the player's
 * lock. They raise 40001 where this transaction's own snapshot can't see the same.
 */
extern void ledger_look(Ledger *ledger);
extern void ledger_find_player(Ledger *ledger, const char *user_id, LedgerPlayer *player);
extern void ledger_find_action(Ledger *ledger, int64 player_id, const char *action_id, LedgerAction *action);
extern void ledger_find_score(Ledger *ledger, int32 board_id, int32 season, int64 player_id, LedgerScore *score);

/* Is there nothing to write? When it was reached follows from the rest. */
extern bool ledger_same_score(const LedgerScore *a, const LedgerScore *b);

/* After ledger_find_score(), where others are looked for before this one is written. */
extern void ledger_keep_score(Ledger *ledger, LedgerScore *score);

/* What ledger_find_player() found last has as a label; NULL where it has none. */
extern char *ledger_player_label(Ledger *ledger, const char *label);

/* The board's last published version; 0 before the first. */
extern int64 ledger_version(Ledger *ledger, const char *board);

/* The clock, strictly increasing within this backend. */
extern TimestampTz ledger_clock(void);

/*
 * Writes. A score is written over the one that ledger_find_score found last, or ledger_keep_score kept; 40001 where somebody
 * changed it without the player's lock. Triggers of the tables fire before a function returns. A profile whose row somebody else has locked is left as it is.
 */
extern void ledger_add_player(const char *user_id, LedgerPlayer *player);
extern void ledger_set_profile(int64 player_id, const char *display_name, const char *avatar_url);
/* Over those that it has; a JSON object. As with a profile, a row that somebody else has locked is left as it is. */
extern void ledger_set_labels(int64 player_id, const char *labels);
extern void ledger_set_score(Ledger *ledger, int32 board_id, int32 season, int64 player_id,
							 const LedgerScore *old, const LedgerScore *new, bool listed);
extern void ledger_add_action(Ledger *ledger, int64 player_id, const Request *request, const LedgerAction *action);

extern void ledger_add_credit(Ledger *ledger, int64 player_id, const char *action_id, const LedgerCredit *credit);

/* 40001, for who has seen that a row was changed which this transaction's snapshot doesn't show. */
compat_noreturn extern void ledger_raise_serialization_failure(void);

/*
 * One row of scoreboard.pending_event; needs no lock but the table's own, which it takes. ledger_open_events() is for who
 * writes nothing else. write/event.h is what others call.
 */
extern Ledger *ledger_open_events(void);
extern void ledger_add_event(Ledger *ledger, const LedgerEvent *event);

/* Makes what was written visible to this transaction's next reads. */
extern void ledger_finish_action(Ledger *ledger);

#endif
