/*
 * write/routing.h - what an action does to each board that it counts towards
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_WRITE_ROUTING_H
#define SCOREBOARD_WRITE_ROUTING_H

#include "postgres.h"

#include "base/config_cache.h"
#include "base/refusal.h"
#include "write/ledger.h"

typedef struct Credit
{
	const Board *board;
	int32		season;
	LedgerScore old;
	LedgerScore new;
	bool		sets_score;		/* what stands beside the score is this action's from then on */
} Credit;

typedef struct Routing
{
	Credit		named;			/* of the board that the action names */
	Credit	   *further;		/* by board_id; NULL where there are none */
	int			count;			/* of the further ones */
} Routing;

/*
 * What points make of a score: added, for penalties down to the board's lowest score; or combined by the operators best and latest,
 * old being nothing before the first.
 */
extern int64 routing_added(const Board *board, int64 score, int64 points);
extern int64 routing_combined(const Board *board, const LedgerScore *old, int64 points);

/* Is what stands beside the score this action's from then on? With operator best only if it is better: the first one stays. */
extern bool routing_sets_score(const Board *board, const LedgerScore *old, int64 points, const LedgerExtras *extras);

/* The action, as far as scores are concerned. */
typedef struct RoutedAction
{
	const Board *board;			/* that it names */
	int64		points;
	const LedgerExtras *extras;
	List	   *labels;			/* that the token gives the player, over those that it has: names and values in turn */
	TimestampTz now;
} RoutedAction;

/*
 * What the action will do, by each board's own settings. Under the player's lock, before anything is written; a refusal by one board is
 * one of the action.
 */
extern bool routing_weigh(Routing *routing, const RoutedAction *action, Ledger *ledger, const LedgerPlayer *player, Refusal *refusal);

/* The scores, boards by id, and a credit for each further board. The player's row is there by now. */
extern void routing_write(const Routing *routing, Ledger *ledger, const LedgerPlayer *player, const char *action_id);

extern void routing_free(Routing *routing);

#endif
