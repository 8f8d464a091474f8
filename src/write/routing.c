/*
 * write/routing.c - what an action does to each board that it counts towards
 *
 * An action names one board. That board's counts_towards, and theirs in turn, lead to the others; each applies its own operator, lowest
 * score, order and ties to the action's points, in its own season. All of them are weighed before the first is written: one that
 * refuses has nothing to undo. A board that is a template leads to the boards of the player's labels too; a label board leads nowhere. The named board's part stands in the action's row, each other's in a row of scoreboard.credit.
 *
 * An action whose board leads nowhere takes no look-up and no memory more than it did without this file.
 *
 * Locks: none of its own. The player's lock, which the caller holds, covers all of the player's scores; their rows are
 * written boards by id, for who has locked rows of scoreboard.score without it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/htup_details.h"

#include "base/form.h"
#include "base/season.h"
#include "rank/order.h"
#include "write/routing.h"

/* Points and scores stay far from overflowing 64 bits. A penalty never lifts who is below the lowest score already. */
int64
routing_added(const Board *board, int64 score, int64 points)
{
	int64		next = score + points;

	return points < 0 && next < board->lowest_score ? Min(board->lowest_score, score) : next;
}

int64
routing_combined(const Board *board, const LedgerScore *old, int64 points)
{
	if (board->operator != OPERATOR_BEST || !old->exists)
		return points;
	return board->low_first ? Min(old->score, points) : Max(old->score, points);
}

/* The new score by the board's operator. */
static bool
next_score(const Board *board, const LedgerScore *old, int64 points, int64 *score, Refusal *refusal)
{
	int64		next;

	if (board->operator == OPERATOR_SUM)
		next = routing_added(board, old->score, points);
	else if (points < board->lowest_score)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "points must not lie below the lowest score of board \"%s\", " INT64_FORMAT, board->name, board->lowest_score);
	else
		next = routing_combined(board, old, points);

	if (!form_is_score(next))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "the score on board \"%s\" would leave the range of -9007199254740991 to 9007199254740991", board->name);
	*score = next;
	return true;
}

bool
routing_sets_score(const Board *board, const LedgerScore *old, int64 points, const LedgerExtras *extras)
{
	RankKey		before = {.score = old->score, .subscore = old->extras.subscore};
	RankKey		after = {.score = points, .subscore = extras->subscore};

	return board->operator != OPERATOR_BEST || !old->exists ||
		rank_order_compare(rank_order_of(board), &after, &before) < 0;
}

static bool
weigh(Credit *credit, const Board *board, const RoutedAction *action, Ledger *ledger, const LedgerPlayer *player, Refusal *refusal)
{
	LedgerScore *old = &credit->old;
	LedgerScore *new = &credit->new;

	*credit = (Credit) {.board = board, .season = season_of(board, action->now), .old.extras.subscore = NO_SUBSCORE};
	if (player->exists)
		ledger_find_score(ledger, board->board_id, credit->season, player->player_id, old);
	*new = (LedgerScore) {.exists = true};
	if (!next_score(board, old, action->points, &new->score, refusal))
		return false;
	credit->sets_score = routing_sets_score(board, old, action->points, action->extras);
	new->extras = credit->sets_score ? *action->extras : old->extras;
	new->reached_at = old->exists && old->score == new->score ? old->reached_at : action->now;
	return true;
}

/* NULL where the player has no such label. */
static const char *
label_of(const RoutedAction *action, Ledger *ledger, const LedgerPlayer *player, const char *label)
{
	for (int i = 0; i < list_length(action->labels); i += 2)
	{
		if (strcmp(list_nth(action->labels, i), label) == 0)
			return list_nth(action->labels, i + 1);
	}
	return player->exists ? ledger_player_label(ledger, label) : NULL;
}

/* The board of the player's value, for each label that this one is a template for. */
static int
add_label_boards(const Board *template, const RoutedAction *action, Ledger *ledger, const LedgerPlayer *player, const Board **boards, int count)
{
	for (int i = 0; i < template->label_count; i++)
	{
		const char *value = label_of(action, ledger, player, template->labels[i]);
		const Board *board = value ? config_label_board(template, template->labels[i], value) : NULL;

		if (board)
			boards[count++] = board;
	}
	return count;
}

static int
compare_ids(const void *a, const void *b)
{
	const Board *first = *(const Board *const *) a;
	const Board *second = *(const Board *const *) b;

	return first->board_id < second->board_id ? -1 : first->board_id > second->board_id;
}

/* The further boards by board_id, near and far, and those of the player's labels. */
static const Board **
gather(const RoutedAction *action, Ledger *ledger, const LedgerPlayer *player, int *count)
{
	int			further_count;
	const Board *const *further = config_further(action->board, &further_count);
	const Board **boards;
	int			most = further_count + action->board->label_count;

	*count = 0;
	if (most == 0)
		return NULL;
	for (int i = 0; i < further_count; i++)
		most += further[i]->label_count;
	boards = palloc(most * sizeof(Board *));
	*count = add_label_boards(action->board, action, ledger, player, boards, 0);
	for (int i = 0; i < further_count; i++)
	{
		boards[(*count)++] = further[i];
		*count = add_label_boards(further[i], action, ledger, player, boards, *count);
	}
	qsort(boards, *count, sizeof(Board *), compare_ids);
	return boards;
}

bool
routing_weigh(Routing *routing, const RoutedAction *action, Ledger *ledger, const LedgerPlayer *player, Refusal *refusal)
{
	const Board **further = gather(action, ledger, player, &routing->count);

	routing->named.old.kept = NULL;
	routing->further = routing->count > 0 ? palloc0(routing->count * sizeof(Credit)) : NULL;
	for (int i = 0; i < routing->count; i++)
	{
		Credit	   *credit = &routing->further[i];

		if (!weigh(credit, further[i], action, ledger, player, refusal))
			return false;
		ledger_keep_score(ledger, &credit->old);
	}
	if (further)
		pfree(further);
	/* Last: its row is still at hand where nothing else is written before. */
	if (!weigh(&routing->named, action->board, action, ledger, player, refusal))
		return false;
	if (routing->count > 0)
		ledger_keep_score(ledger, &routing->named.old);
	return true;
}

static void
write_score(const Credit *credit, Ledger *ledger, const LedgerPlayer *player)
{
	if (!ledger_same_score(&credit->old, &credit->new))
		ledger_set_score(ledger, credit->board->board_id, credit->season, player->player_id, &credit->old, &credit->new, !player->hidden);
}

void
routing_write(const Routing *routing, Ledger *ledger, const LedgerPlayer *player, const char *action_id)
{
	int			at = 0;

	for (; at < routing->count && routing->further[at].board->board_id < routing->named.board->board_id; at++)
		write_score(&routing->further[at], ledger, player);
	write_score(&routing->named, ledger, player);
	for (; at < routing->count; at++)
		write_score(&routing->further[at], ledger, player);

	for (int i = 0; i < routing->count; i++)
	{
		const Credit *credit = &routing->further[i];

		ledger_add_credit(ledger, player->player_id, action_id, &(LedgerCredit) {
			.board_id = credit->board->board_id,
			.season = credit->season,
			.applied_points = credit->new.score - credit->old.score,
			.previous_score = credit->old.score,
			.score = credit->new.score,
			.sets_score = credit->sets_score
		});
	}
}

/* A batch has a thousand of them. */
void
routing_free(Routing *routing)
{
	for (int i = 0; i < routing->count; i++)
	{
		if (routing->further[i].old.kept)
			heap_freetuple(routing->further[i].old.kept);
	}
	if (routing->count > 0 && routing->named.old.kept)
		heap_freetuple(routing->named.old.kept);
	if (routing->further)
		pfree(routing->further);
}
