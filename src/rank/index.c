/*
 * rank/index.c - ranks of what is committed, for each board and season of this database
 *
 * Two sides meet at the trees of rank/board.c. Commits enter what their
 * transaction noted (rank/notes.c); readers ask where a key stands. Both hold the
 * board's lock only; everything that one answer needs is read in one hold, so it is from one moment.
 *
 * A commit becomes visible before its callback has entered it here, so another
 * session can change a row again and be first: its "- key" meets a tree that
 * doesn't have key yet. The tree is a signed multiset; sums commute, and when
 * both have come all is as it should be. Until then some key stands at another
 * sum than 1, and nothing is answered: readers look again for a moment.
 *
 * In commit callbacks nothing is allocated or raised. A tree that finds no
 * memory is given up (FULL), one that notes can't keep right is WANTED anew;
 * the publisher, which is touched in either case, builds it (rank/build.c).
 *
 * A list is touched if its tree isn't ready, or if a key came or went that
 * stands no further back than the last key of the top: only then the publisher is woken.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/timestamp.h"

#include "scoreboard.h"
#include "base/season.h"
#include "base/tables.h"
#include "publish/publisher.h"
#include "rank/board.h"
#include "rank/index.h"
#include "rank/notes.h"

/* How long readers look again while commits are on their way into the tree. */
#define READER_WAIT_MS 5

#define LOOK_AGAIN_US 100

void
rank_index_init(void)
{
	rank_notes_init();
}

void
rank_index_memory(int64 *used, int64 *size)
{
	const RankArena *arena = rank_board_arena();

	*used = (int64) rank_arena_used(arena) * RANK_NODE_SIZE;
	*size = (int64) arena->nodes * RANK_NODE_SIZE;
}

/* ---------------------------------------------------------------------------
 * Commits
 * ------------------------------------------------------------------------- */

/* What a walk over all places does to those that match. */
static void
for_matching(const RankBoardKey *pattern, void (*action) (RankBoard *board, int64 argument), int64 argument)
{
	for (int place = 0; place < rank_board_count(); place++)
	{
		RankBoard  *board = rank_board_lock_at(place, LW_EXCLUSIVE);

		if (board == NULL)
			continue;
		if (rank_board_matches(&board->key, pattern))
			action(board, argument);
		rank_board_unlock(board);
	}
}

/*
 * After TRUNCATE, which still holds ACCESS EXCLUSIVE on the table: everybody
 * who wrote before has been here, nobody writes since, nobody builds.
 */
static void
clear_board(RankBoard *board, int64 argument)
{
	if (board->state == RANK_READY)
	{
		rank_tree_clear(rank_board_arena(), &board->tree);
		board->cut_known = false;
	}
	else if (board->state == RANK_BUILDING)
		rank_board_set_state(board, RANK_WANTED);
}

static void
rebuild_board(RankBoard *board, int64 argument)
{
	rank_board_set_state(board, RANK_WANTED);
}

/* Only ever grows, since callbacks may come in another order than their commits; a rebuild sets it exactly. */
static void
raise_top_size(RankBoard *board, int64 top_size)
{
	if (top_size > board->top_size)
	{
		board->top_size = (int) top_size;
		board->cut_known = false;
	}
}

static void
forget_version(RankBoard *board, int64 argument)
{
	pg_atomic_write_u64(&board->version, 0);
}

/* Caller holds the board's lock. */
static void
find_cut(RankBoard *board)
{
	if (!board->cut_known && board->tree.total >= board->top_size && rank_tree_regular(&board->tree))
		board->cut_known = rank_tree_range(rank_board_arena(), &board->tree, board->top_size - 1,
										   &board->cut, 1) == 1;
}

/*
 * One change. Caller holds the board's lock exclusively. True if the top may
 * show it; *entered = false if the tree had to be given up.
 */
static bool
enter_change(RankBoard *board, const RankTreeKey *key, int change, bool *entered)
{
	bool		touched = true;
	RankTreeResult result;

	if (board->state == RANK_READY)
	{
		find_cut(board);
		touched = !board->cut_known || rank_tree_compare(key, &board->cut) <= 0;
		if (touched)
			board->cut_known = false;
	}
	result = rank_tree_change(rank_board_arena(), &board->tree, key, change);
	*entered = result == RANK_TREE_DONE;
	if (!*entered)
	{
		rank_board_set_state(board, result == RANK_TREE_FULL ? RANK_FULL : RANK_WANTED);
		publisher_wake();
	}
	return touched || !*entered;
}

static bool
same_board(const RankNote *a, const RankNote *b)
{
	return a->board_id == b->board_id && a->season == b->season && a->relid == b->relid;
}

static RankBoardKey
note_key(const RankNote *note)
{
	RankBoardKey key = {
		.database = note->kind == NOTE_FREE_DATABASE ? note->relid : MyDatabaseId,
		.relid = note->kind == NOTE_FREE_DATABASE ? InvalidOid : note->relid,
		.board_id = note->board_id,
		.season = note->season
	};

	return key;
}

/*
 * All key notes of the first note's board, in one hold of its lock; marks them
 * as done. True if the publisher has to look.
 */
static bool
enter_board(RankNote *notes, int count, FullTransactionId xid)
{
	RankBoardKey key = note_key(&notes[0]);
	RankNote	first = notes[0];
	RankBoard  *board = rank_board_lock(&key, LW_EXCLUSIVE);
	bool		entering = board != NULL &&
		(board->state == RANK_BUILDING || board->state == RANK_READY) &&
		!rank_board_sees(&board->snapshot, xid);
	bool		verified = board != NULL && rank_board_sees(&board->verifier, xid);
	bool		touched = !entering;

	for (int i = 0; i < count; i++)
	{
		RankNote   *note = &notes[i];
		RankTreeKey tkey;
		int			change = note->kind == NOTE_ADD ? 1 : -1;

		if ((note->kind != NOTE_ADD && note->kind != NOTE_REMOVE) || !same_board(note, &first))
			continue;
		note->kind = NOTE_DONE;
		if (!entering)
			continue;
		tkey = rank_order_key(board->order, &note->key);
		if (verified)
			board->late_checksum += (uint64) (int64) change * rank_tree_key_checksum(&tkey);
		touched |= enter_change(board, &tkey, change, &entering);
	}
	if (board != NULL)
	{
		board->commits += touched;
		rank_board_unlock(board);
	}
	return touched;
}

/* Notes about more than keys come first: what they clear makes key notes before them moot. */
static void
apply_marks(RankNote *notes, int count)
{
	for (int i = 0; i < count; i++)
	{
		RankBoardKey pattern = note_key(&notes[i]);

		switch (notes[i].kind)
		{
			case NOTE_CLEAR:
				for_matching(&pattern, clear_board, 0);
				for (int j = 0; j < i; j++)
				{
					if (notes[j].relid == notes[i].relid && notes[j].kind != NOTE_TOUCH)
						notes[j].kind = NOTE_DONE;
				}
				break;
			case NOTE_REBUILD:
				for_matching(&pattern, rebuild_board, 0);
				break;
			case NOTE_RENAMED:
				for_matching(&pattern, forget_version, 0);
				break;
			case NOTE_TOP_SIZE:
				for_matching(&pattern, raise_top_size, notes[i].key.score);
				break;
			case NOTE_FREE_BOARD:
			case NOTE_FREE_TABLE:
			case NOTE_FREE_DATABASE:
				rank_board_free(&pattern);
				break;
			default:
				break;
		}
	}
}

void
rank_index_apply(RankNote *notes, int count, bool with_marks)
{
	FullTransactionId xid = GetTopFullTransactionIdIfAny();

	if (with_marks)
	{
		apply_marks(notes, count);
		publisher_wake();		/* there may be something to build, or room for it */
	}
	for (int i = 0; i < count; i++)
	{
		bool		touched = true;

		switch (notes[i].kind)
		{
			case NOTE_ADD:
			case NOTE_REMOVE:
				touched = enter_board(&notes[i], count - i, xid);
				break;
			case NOTE_CLEAR:
			case NOTE_REBUILD:
			case NOTE_TOUCH:
			case NOTE_FREE_BOARD:
				break;
			default:
				touched = false;
		}
		if (!touched)
			continue;
		if (notes[i].board_id == 0)
			publisher_touch_all();
		else
			publisher_touch(notes[i].board_id);
	}
}

/* ---------------------------------------------------------------------------
 * Answers
 * ------------------------------------------------------------------------- */

typedef enum Presence
{
	PRESENT,					/* locked, regular */
	SETTLING,					/* commits are on their way into it: look again at once */
	UNBUILT,					/* wanted or being built */
	ABSENT						/* full, untracked, a standby: no use in waiting */
} Presence;

static Presence
try_board(const RankBoardKey *key, const Board *asked, RankBoard **locked)
{
	RankBoard  *board = rank_board_lock(key, LW_SHARED);
	RankOrder	order = rank_order_of(asked);
	Presence	presence = ABSENT;

	if (board == NULL)
	{
		if (key->season != season_running(asked) || !rank_board_want(key))
			return ABSENT;
		publisher_wake();
		return UNBUILT;
	}
	if (board->state == RANK_READY && rank_order_same(board->order, order))
	{
		if (rank_tree_regular(&board->tree))
		{
			*locked = board;
			return PRESENT;
		}
		presence = SETTLING;
	}
	else if (board->state == RANK_WANTED || board->state == RANK_BUILDING)
		presence = UNBUILT;
	rank_board_unlock(board);
	return presence;
}

/*
 * The board, locked in shared mode, as soon as it can answer; NULL if that
 * takes longer than wait_us. A season that isn't the running one is never built for
 * being asked for: anybody can ask for any number.
 */
static RankBoard *
lock_ready(const Board *board, int32 season, int64 wait_us, bool wait_for_build)
{
	RankBoardKey key = {.database = MyDatabaseId, .relid = tables_id(TABLE_SCORE),
	.board_id = board->board_id, .season = season};
	RankBoard  *locked = NULL;
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	if (RecoveryInProgress() || !OidIsValid(key.relid))
		return NULL;
	for (;;)
	{
		Presence	presence = try_board(&key, board, &locked);
		instr_time	passed;

		if (presence == PRESENT)
			return locked;
		INSTR_TIME_SET_CURRENT(passed);
		INSTR_TIME_SUBTRACT(passed, start);
		if (INSTR_TIME_GET_MICROSEC(passed) >= wait_us || presence == ABSENT || (presence == UNBUILT && !wait_for_build))
			return NULL;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOOK_AGAIN_US);
	}
}

static RankBoard *
lock_for_reading(const Board *board, int32 season)
{
	return lock_ready(board, season, READER_WAIT_MS * 1000, false);
}

/*
 * What is left of this transaction's scoreboard.rank_wait: a batch must not
 * wait for each of its rows. Used up by the clock while it waits.
 */
static RankBoard *
lock_for_writing(const Board *board, int32 season)
{
	static TimestampTz transaction = 0;
	static int64 waited_us = 0;
	RankBoard  *locked;
	instr_time	start,
				end;

	if (transaction != GetCurrentTransactionStartTimestamp())
	{
		transaction = GetCurrentTransactionStartTimestamp();
		waited_us = 0;
	}
	locked = lock_ready(board, season, 0, true);
	if (locked != NULL || waited_us >= scoreboard_rank_wait * INT64CONST(1000))
		return locked;
	INSTR_TIME_SET_CURRENT(start);
	locked = lock_ready(board, season, scoreboard_rank_wait * INT64CONST(1000) - waited_us, true);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	waited_us += INSTR_TIME_GET_MICROSEC(end);
	return locked;
}

bool
rank_index_rank_of_new(const Board *board, int32 season, const RankKey *key, int64 *rank, int64 *version)
{
	RankOrder	order = rank_order_of(board);
	RankTreeKey new_key = rank_order_key(order, key);
	RankTreeKey bound = rank_order_ahead(board, &new_key);
	RankArena  *arena = rank_board_arena();
	RankBoard  *locked;
	RankKey		old;
	bool		has_old = rank_notes_old_key(board->board_id, season, key->player_id, &old);
	int64		ahead;

	if (!rank_notes_complete())
		return false;
	locked = lock_for_writing(board, season);
	if (locked == NULL)
		return false;
	ahead = rank_tree_before(arena, &locked->tree, &bound);
	if (has_old)
	{
		RankTreeKey old_key = rank_order_key(order, &old);

		if (rank_tree_compare(&old_key, &bound) < 0 && rank_tree_sum(arena, &locked->tree, &old_key) > 0)
			ahead--;
	}
	*version = (int64) pg_atomic_read_u64(&locked->version);
	rank_board_unlock(locked);
	*rank = ahead + 1;
	return true;
}

void
rank_index_published(Oid table, int32 board_id, int32 season, int64 version)
{
	RankBoardKey key = {.database = MyDatabaseId, .relid = table, .board_id = board_id, .season = season};
	RankBoard  *board = rank_board_lock(&key, LW_SHARED);

	if (board == NULL)
		return;
	pg_atomic_write_u64(&board->version, (uint64) version);
	pg_atomic_fetch_add_u64(&board->publishes, 1);
	rank_board_unlock(board);
}

void
rank_index_free(Oid table, int32 board_id, int32 season)
{
	RankBoardKey key = {.database = MyDatabaseId, .relid = table, .board_id = board_id, .season = season};

	rank_board_free(&key);
	publisher_wake();			/* others may have been waiting for room */
}

bool
rank_index_is_coming(Oid table, int32 board_id, int32 season)
{
	RankBoardKey key = {.database = MyDatabaseId, .relid = table, .board_id = board_id, .season = season};
	RankBoard  *board = rank_board_lock(&key, LW_SHARED);
	bool		coming;

	if (board == NULL)
	{
		if (!rank_board_want(&key))
			return false;
		publisher_wake();
		return true;
	}
	coming = board->state == RANK_WANTED || board->state == RANK_BUILDING;
	rank_board_unlock(board);
	return coming;
}

void
rank_index_learn_version(const Board *board, int32 season, int64 version)
{
	RankBoardKey key = {.database = MyDatabaseId, .relid = tables_id(TABLE_SCORE), .board_id = board->board_id, .season = season};
	RankBoard  *known = rank_board_lock(&key, LW_SHARED);
	uint64		unknown = 0;

	if (known == NULL)
		return;
	/* What the publisher said meanwhile is newer. */
	(void) pg_atomic_compare_exchange_u64(&known->version, &unknown, (uint64) version);
	rank_board_unlock(known);
}

/* Caller holds the board's lock. 0: the key isn't there. */
static int64
rank_in(const Board *board, RankBoard *locked, const RankTreeKey *key)
{
	RankTreeKey ahead = rank_order_ahead(board, key);
	RankArena  *arena = rank_board_arena();

	return rank_tree_sum(arena, &locked->tree, key) == 1 ? rank_tree_before(arena, &locked->tree, &ahead) + 1 : 0;
}

static RankStanding
standing_in(const Board *board, RankBoard *locked, const RankTreeKey *key)
{
	RankTreeKey behind = rank_order_behind(rank_order_of(board), key);

	return (RankStanding) {
		.players = locked->tree.total,
		.rank = rank_in(board, locked, key),
		.behind = locked->tree.total - rank_tree_before(rank_board_arena(), &locked->tree, &behind)
	};
}

bool
rank_index_standing_of(const Board *board, int32 season, const RankKey *key, RankStanding *at)
{
	RankTreeKey tkey = rank_order_key(rank_order_of(board), key);
	RankBoard  *locked = lock_for_reading(board, season);

	if (locked == NULL)
		return false;
	*at = standing_in(board, locked, &tkey);
	rank_board_unlock(locked);
	return true;
}

/* Keys in a row; becomes rows once the lock is released. */
typedef struct Stretch
{
	RankTreeKey *keys;
	int			found;
	int64		skip;
	int64		first_rank;
} Stretch;

static Stretch
make_stretch(int count)
{
	return (Stretch) {.keys = palloc(Max(count, 1) * sizeof(RankTreeKey))};
}

/* Caller holds the board's lock. */
static void
read_stretch(const Board *board, RankBoard *locked, int64 skip, int count, Stretch *stretch)
{
	RankArena  *arena = rank_board_arena();

	stretch->skip = skip;
	stretch->first_rank = skip + 1;
	stretch->found = (int) rank_tree_range(arena, &locked->tree, skip, stretch->keys, (size_t) Max(count, 0));
	if (stretch->found > 0 && board->ties == TIES_SHARED)
	{
		RankTreeKey bound = rank_order_ahead(board, &stretch->keys[0]);

		stretch->first_rank = rank_tree_before(arena, &locked->tree, &bound) + 1;
	}
}

/* Its keys as rows; how many there are. */
static int
take_stretch(const Board *board, const Stretch *stretch, RankRow *rows)
{
	RankOrder	order = rank_order_of(board);
	const RankTreeKey *keys = stretch->keys;

	for (int i = 0; i < stretch->found; i++)
	{
		rows[i].key = rank_order_row(order, &keys[i]);
		if (i == 0)
			rows[i].rank = stretch->first_rank;
		else if (board->ties == TIES_SHARED && keys[i].order == keys[i - 1].order)
			rows[i].rank = rows[i - 1].rank;
		else
			rows[i].rank = stretch->skip + i + 1;
	}
	pfree(stretch->keys);
	return stretch->found;
}

bool
rank_index_range(const Board *board, int32 season, int64 skip, int count,
				 RankRow *rows, int *found, int64 *players)
{
	Stretch		stretch = make_stretch(count);
	RankBoard  *locked = lock_for_reading(board, season);

	if (locked == NULL)
	{
		pfree(stretch.keys);
		return false;
	}
	*players = locked->tree.total;
	read_stretch(board, locked, skip, count, &stretch);
	rank_board_unlock(locked);
	*found = take_stretch(board, &stretch, rows);
	return true;
}

/* Caller holds the board's lock. */
static void
read_own(const Board *board, RankBoard *locked, RankView *view, Stretch *next, Stretch *around)
{
	RankTreeKey key = rank_order_key(rank_order_of(board), &view->own.key);
	RankStanding at = standing_in(board, locked, &key);
	int64		position = rank_tree_before(rank_board_arena(), &locked->tree, &key);
	int			before = (int) Min(position, view->radius);

	view->own.rank = at.rank;
	view->own_behind = at.behind;
	if (at.rank == 0)
		return;
	read_stretch(board, locked, position - before, before + 1 + view->radius, around);
	if (at.rank > 1)
		read_stretch(board, locked, at.rank - 2, 1, next);
}

bool
rank_index_view(const Board *board, int32 season, RankView *view)
{
	RankOrder	order = rank_order_of(board);
	Stretch		top = make_stretch(view->entries);
	Stretch		around = make_stretch(2 * view->radius + 1);
	Stretch		next = make_stretch(1);
	RankBoard  *locked = lock_for_reading(board, season);

	if (locked == NULL)
		return false;
	view->as_of = GetCurrentTimestamp();
	view->players = locked->tree.total;
	read_stretch(board, locked, 0, view->entries, &top);
	if (view->has_own)
		read_own(board, locked, view, &next, &around);
	for (int i = 0; i < view->friends; i++)
	{
		RankTreeKey key = rank_order_key(order, &view->friend[i].key);

		view->friend[i].rank = rank_in(board, locked, &key);
	}
	rank_board_unlock(locked);

	view->top_found = take_stretch(board, &top, view->top);
	view->around_found = take_stretch(board, &around, view->around);
	if (take_stretch(board, &next, &view->next) == 0)
		view->next.rank = 0;
	return true;
}

bool
rank_index_position(const Board *board, int32 season, const RankKey *key, int64 *position)
{
	RankTreeKey tkey = rank_order_key(rank_order_of(board), key);
	RankBoard  *locked = lock_for_reading(board, season);

	if (locked == NULL)
		return false;
	*position = rank_tree_before(rank_board_arena(), &locked->tree, &tkey);
	rank_board_unlock(locked);
	return true;
}

bool
rank_index_after(const Board *board, int32 season, const RankKey *after, int count, RankRow *rows, int *found)
{
	RankArena  *arena = rank_board_arena();
	Stretch		stretch = make_stretch(count);
	RankBoard  *locked = lock_for_reading(board, season);
	int64		skip = 0;

	if (locked == NULL)
		return false;
	if (after)
	{
		RankTreeKey key = rank_order_key(rank_order_of(board), after);

		skip = rank_tree_before(arena, &locked->tree, &key) + rank_tree_sum(arena, &locked->tree, &key);
	}
	read_stretch(board, locked, skip, count, &stretch);
	rank_board_unlock(locked);
	*found = take_stretch(board, &stretch, rows);
	return true;
}

/* ---------------------------------------------------------------------------
 * How scores are spread: each bound of a bucket and each quantile takes one walk down the tree
 * ------------------------------------------------------------------------- */

const int	rank_quantiles[RANK_QUANTILES] = {10, 50, 100, 250, 500, 750, 900, 950, 990, 995, 999};

void
rank_spread_divide(RankSpread *spread)
{
	spread->width = (spread->highest - spread->lowest) / spread->buckets + 1;
	spread->buckets = (int) ((spread->highest - spread->lowest) / spread->width) + 1;
}

int64
rank_spread_place(const RankSpread *spread, int quantile)
{
	return (spread->players * rank_quantiles[quantile] + 999) / 1000;
}

/* Caller holds the board's lock, and there is such a place. */
static int64
score_at(RankBoard *locked, RankOrder order, int64 place)
{
	RankTreeKey key = {0};

	(void) rank_tree_range(rank_board_arena(), &locked->tree, place, &key, 1);
	return rank_order_row(order, &key).score;
}

/* How many scores are less than this one. Caller holds the board's lock. */
static int64
count_below(RankBoard *locked, RankOrder order, int64 score)
{
	RankTreeKey bound = rank_order_score(order, order.low_first ? score : score - 1);
	int64		ahead = rank_tree_before(rank_board_arena(), &locked->tree, &bound);

	return order.low_first ? ahead : locked->tree.total - ahead;
}

/* Caller holds the board's lock. */
static void
read_spread(RankBoard *locked, RankOrder order, RankSpread *spread)
{
	int64		best = score_at(locked, order, 0);
	int64		worst = score_at(locked, order, spread->players - 1);
	int64		below = 0;

	spread->lowest = Min(best, worst);
	spread->highest = Max(best, worst);
	rank_spread_divide(spread);
	for (int i = 0; i < spread->buckets; i++)
	{
		int64		next = i + 1 == spread->buckets ? spread->players : count_below(locked, order, spread->lowest + (i + 1) * spread->width);

		spread->counts[i] = next - below;
		below = next;
	}
	for (int i = 0; i < RANK_QUANTILES; i++)
		spread->quantiles[i] = score_at(locked, order, spread->players - rank_spread_place(spread, i));
}

bool
rank_index_spread(const Board *board, int32 season, RankSpread *spread)
{
	RankBoard  *locked = lock_for_reading(board, season);

	if (locked == NULL)
		return false;
	spread->as_of = GetCurrentTimestamp();
	spread->players = locked->tree.total;
	if (spread->players > 0)
		read_spread(locked, rank_order_of(board), spread);
	rank_board_unlock(locked);
	return true;
}
