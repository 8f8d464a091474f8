/*
 * rank/order.c - what a board's settings make of its rows: the keys of its tree
 *
 * A tree compares (order, moment, player), less is better: order is the score, moment when it was reached, or on
 * boards of such ties the subscore, each with the sign that puts the best first.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "rank/order.h"

static RankOrder
order_of(bool low_first, BoardTies ties)
{
	return (RankOrder) {
		.low_first = low_first,
		.tie_break = ties == TIES_SUBSCORE_HIGH ? TIE_SUBSCORE_HIGH : ties == TIES_SUBSCORE_LOW ? TIE_SUBSCORE_LOW : TIE_MOMENT
	};
}

RankOrder
rank_order_of(const Board *board)
{
	return order_of(board->low_first, board->ties);
}

RankOrder
rank_order_of_texts(const char *score_order, const char *ties)
{
	return order_of(strcmp(score_order, "low") == 0, config_ties(ties));
}

bool
rank_order_same(RankOrder a, RankOrder b)
{
	return a.low_first == b.low_first && a.tie_break == b.tie_break;
}

RankKey
rank_key_read(const TableLayout *layout, TupleTableSlot *slot)
{
	bool		absent;
	Datum		subscore = slot_getattr(slot, layout->attno[SCORE_SUBSCORE], &absent);

	return (RankKey) {
		.score = DatumGetInt64(tables_value(layout, slot, SCORE_SCORE)),
		.subscore = absent ? NO_SUBSCORE : DatumGetInt64(subscore),
		.reached_at = DatumGetTimestampTz(tables_value(layout, slot, SCORE_REACHED_AT)),
		.player_id = DatumGetInt64(tables_value(layout, slot, SCORE_PLAYER_ID))
	};
}

RankTreeKey
rank_order_key(RankOrder order, const RankKey *key)
{
	RankTreeKey result = {
		.order = order.low_first ? key->score : -key->score,
		.moment = key->reached_at,
		.player = key->player_id
	};

	if (order.tie_break != TIE_MOMENT)
		result.moment = order.tie_break == TIE_SUBSCORE_HIGH && key->subscore != NO_SUBSCORE ? -key->subscore : key->subscore;
	return result;
}

RankKey
rank_order_row(RankOrder order, const RankTreeKey *key)
{
	RankKey		result = {
		.score = order.low_first ? key->order : -key->order,
		.subscore = NO_SUBSCORE,
		.player_id = key->player
	};

	if (order.tie_break == TIE_MOMENT)
		result.reached_at = key->moment;
	else
		result.subscore = order.tie_break == TIE_SUBSCORE_HIGH && key->moment != NO_SUBSCORE ? -key->moment : key->moment;
	return result;
}

int
rank_order_compare(RankOrder order, const RankKey *a, const RankKey *b)
{
	RankTreeKey first = rank_order_key(order, a);
	RankTreeKey second = rank_order_key(order, b);

	return rank_tree_compare(&first, &second);
}

RankTreeKey
rank_order_ahead(const Board *board, const RankTreeKey *key)
{
	RankTreeKey result = *key;

	if (board->ties == TIES_SHARED)
		result.moment = result.player = PG_INT64_MIN;
	return result;
}

RankTreeKey
rank_order_score(RankOrder order, int64 score)
{
	return (RankTreeKey) {.order = order.low_first ? score : -score, .moment = PG_INT64_MIN, .player = PG_INT64_MIN};
}

RankTreeKey
rank_order_behind(RankOrder order, const RankTreeKey *key)
{
	RankTreeKey result = {.order = key->order, .moment = key->moment, .player = PG_INT64_MIN};

	/* Scores are far from the end of their type. */
	if (order.tie_break == TIE_MOMENT || key->moment == NO_SUBSCORE)
	{
		result.order++;
		result.moment = PG_INT64_MIN;
	}
	else
		result.moment++;
	return result;
}
