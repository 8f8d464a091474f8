/*
 * admin/replay.h - what a score would be without an action that is undone
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_ADMIN_REPLAY_H
#define SCOREBOARD_ADMIN_REPLAY_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "base/config_cache.h"
#include "base/refusal.h"
#include "write/ledger.h"

/* What an action had added to one board and season, before it was undone. */
typedef struct ReplayCredit
{
	int64		player_id;
	const char *action_id;
	TimestampTz created_at;		/* of the action */
	int32		board_id;
	int32		season;
	int64		points;			/* that it was worth */
	bool		named;			/* it stands in the action's row, else in one of scoreboard.credit */
	int64		counted;
	bool		set_score;
} ReplayCredit;

/*
 * Under the player's lock, with SPI connected and the record marked as undone. *new is what stands there from now on (but for when it was reached),
 * given what did so far; it doesn't exist where nothing is left. What other records count for, and which of them set the score, is
 * changed to agree with it. False with the refusal where that can't be known.
 */
extern bool replay_without(const ReplayCredit *credit, const Board *board, const LedgerScore *old, LedgerScore *new, Refusal *refusal);

#endif
