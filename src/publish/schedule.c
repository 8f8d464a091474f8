/*
 * publish/schedule.c - the boards that this publisher knows, and when it looks at which
 *
 * A look is at most SLICE boards, so that one of a hundred thousand that is touched waits for one slice, not for all of them. It
 * has, in this order: boards that were touched, boards that are pending, and what is left of the backlog: all boards, those published
 * last first, since this worker has started or everything was touched. What is asked each time is in proportion to what is
 * touched and pending, not to how many boards there are.
 *
 * A board whose season ends by the calendar is pending from that moment on. So is one whose list shows a player of whom somebody has
 * changed the name or the like: the lists' players are remembered, since scores are found by board, and looking whether a list shows one of some
 * players costs a ten-thousandth of making it. That walk over all boards rests nine times as long as it takes.
 *
 * Everything touched at once waits for the backlog's end, or nobody at that end would ever be looked at.
 *
 * Marks of boards that wait for their interval stay where they are, so they wake nobody again.
 *
 * Owns the publisher's memory of boards; process-local, no locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "publish/schedule.h"
#include "publish/slots.h"
#include "publish/worker.h"

/* Some 20 milliseconds of publishing. */
#define SLICE 200

/* So many wait for their ranks at most before more of the backlog joins them: each is looked at again and again. */
#define WAITING_MAX 1000

/* Rows of boards that are touched while they wait are read again this often: their interval may have been shortened. */
#define WAITING_LOOK_MS 1000

/* Between two walks over all boards for those that show some players; this machine may have had other things to do. */
#define PLAYERS_REST_MAX_MS 500

static HTAB *boards;
static PublishedBoard **at_bit;	/* chains, by next_at_bit */
static dlist_head pending_boards = DLIST_STATIC_INIT(pending_boards);
static int	waiting_count = 0;
static TimestampTz next_season_end = DT_NOEND;	/* or one that has come to nothing */
static int64 look_not_before = 0;	/* for boards unknown here */
static int64 players_not_before = 0;	/* for boards that show players who were touched */
static List *gone = NIL;

static int32 *backlog = NULL;	/* bits */
static int	backlog_count = 0;
static int	backlog_next = 0;

void
schedule_init(void)
{
	HASHCTL		control = {.keysize = sizeof(int32), .entrysize = sizeof(PublishedBoard)};

	boards = hash_create("scoreboard boards", 64, &control, HASH_ELEM | HASH_BLOBS);
	at_bit = MemoryContextAllocZero(TopMemoryContext, TOUCH_BITS * sizeof(PublishedBoard *));
}

/* ------------------------------------------------------------------------
 * Boards
 * ------------------------------------------------------------------------ */

void
schedule_set_pending(PublishedBoard *known, bool pending)
{
	known->keep_at = 0;
	if (known->pending == pending)
		return;
	known->pending = pending;
	if (pending)
		dlist_push_tail(&pending_boards, &known->in_pending);
	else
		dlist_delete(&known->in_pending);
}

void
schedule_set_unkept(PublishedBoard *known, int64 keep_at)
{
	schedule_set_pending(known, true);
	known->keep_at = keep_at;
}

void
schedule_set_waiting(PublishedBoard *known, bool waiting)
{
	waiting_count += waiting - known->waiting;
	known->waiting = waiting;
}

void
schedule_set_shown(PublishedBoard *known, const int32 *players, int count)
{
	if (known->shown_count != count)
	{
		if (known->shown)
			pfree(known->shown);
		known->shown_count = 0;
		known->shown = count > 0 ? MemoryContextAlloc(TopMemoryContext, count * sizeof(int32)) : NULL;
		known->shown_count = count;
	}
	if (count > 0)
		memcpy(known->shown, players, count * sizeof(int32));
}

static void
forget(PublishedBoard *known)
{
	PublishedBoard **at = &at_bit[TOUCH_BIT(known->board_id)];
	MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

	if (!known->remote)
		gone = lappend(gone, pstrdup(known->name));
	MemoryContextSwitchTo(before);
	while (*at != known)
		at = &(*at)->next_at_bit;
	*at = known->next_at_bit;
	schedule_set_pending(known, false);
	schedule_set_waiting(known, false);
	schedule_set_shown(known, NULL, 0);
	hash_search(boards, &known->board_id, HASH_REMOVE, NULL);
}

List *
schedule_gone(void)
{
	return gone;
}

void
schedule_forget_gone(void)
{
	list_free_deep(gone);
	gone = NIL;
}

PublishedBoard *
schedule_know(const Look *look, int32 board_id, const char *name)
{
	bool		found;
	PublishedBoard *known = hash_search(boards, &board_id, HASH_FIND, NULL);

	/* By another name it is another board: that name's versions go on. */
	if (known && strcmp(known->name, name) != 0)
		forget(known);
	known = hash_search(boards, &board_id, HASH_ENTER, &found);
	if (!found)
	{
		memset(known, 0, sizeof(PublishedBoard));
		known->board_id = board_id;
		known->season_ends = DT_NOEND;
		strlcpy(known->name, name, sizeof(known->name));
		known->next_at_bit = at_bit[TOUCH_BIT(board_id)];
		at_bit[TOUCH_BIT(board_id)] = known;
		schedule_set_pending(known, true);
	}
	known->seen = look->number;
	known->seen_at = look->began;
	return known;
}

void
schedule_forget_unseen(const Look *look)
{
	for (int bit = touch_set_next(&look->bits, 0); bit >= 0; bit = touch_set_next(&look->bits, bit + 1))
	{
		PublishedBoard *next;

		for (PublishedBoard *known = at_bit[bit]; known; known = next)
		{
			next = known->next_at_bit;
			if (known->seen != look->number)
				forget(known);
		}
	}
}

void
schedule_set_season_end(PublishedBoard *known, TimestampTz ends)
{
	known->season_ends = ends;
	next_season_end = Min(next_season_end, ends);
}

/* All boards are walked over when one of them has a season that ends: at midnight. */
static void
end_seasons(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	PublishedBoard *known;

	next_season_end = DT_NOEND;
	hash_seq_init(&scan, boards);
	while ((known = hash_seq_search(&scan)) != NULL)
	{
		if (known->season_ends <= now)
		{
			schedule_set_pending(known, true);
			known->published_at = 0;
		}
		else
			next_season_end = Min(next_season_end, known->season_ends);
	}
}

int64
schedule_end_seasons(TimestampTz now)
{
	if (next_season_end <= now)
		end_seasons(now);
	/* The clock may be set meanwhile. */
	return Min((next_season_end - now) / 1000 + 1, WORKER_LONGEST_SLEEP_MS);
}

/* When it may be published once it is touched. */
static int64
publishable_at(const PublishedBoard *known)
{
	if (known->published_at == 0)
		return known->not_before;
	return Max(known->not_before, known->published_at + known->interval_ms);
}

int64
schedule_due_at(const PublishedBoard *known)
{
	return Max(publishable_at(known), known->keep_at);
}

/* ------------------------------------------------------------------------
 * Choosing
 * ------------------------------------------------------------------------ */

typedef struct Choice
{
	Look	   *look;
	int			count;
	int64		wait_ms;
} Choice;

static void
choose(Choice *choice, int bit)
{
	if (touch_set_has(&choice->look->bits, bit))
		return;
	touch_set_add(&choice->look->bits, bit);
	choice->count++;
}

static void
choose_at(Choice *choice, int bit, int64 look_at)
{
	if (look_at > choice->look->began)
		choice->wait_ms = Min(choice->wait_ms, look_at - choice->look->began);
	else
		choose(choice, bit);
}

static bool
shows_any(const PublishedBoard *known, const TouchSet *players)
{
	for (int i = 0; i < known->shown_count; i++)
	{
		if (touch_set_has(players, known->shown[i]))
			return true;
	}
	return false;
}

/* Nothing in here can fail, so no mark is lost. */
static void
find_players(Choice *choice)
{
	TouchSet	players;
	HASH_SEQ_STATUS scan;
	PublishedBoard *known;
	int64		now;

	if (!slots_players_touched())
		return;
	if (players_not_before > choice->look->began)
	{
		choice->wait_ms = Min(choice->wait_ms, players_not_before - choice->look->began);
		return;
	}
	slots_take_players(&players);
	hash_seq_init(&scan, boards);
	while ((known = hash_seq_search(&scan)) != NULL)
	{
		if (shows_any(known, &players))
			schedule_set_pending(known, true);
	}
	now = worker_clock_ms();
	players_not_before = now + Min(9 * (now - choice->look->began), PLAYERS_REST_MAX_MS);
}

static void
choose_touched(Choice *choice)
{
	TouchSet	touched;

	slots_peek_touched(&touched);
	for (int bit = touch_set_next(&touched, 0); bit >= 0 && choice->count < SLICE; bit = touch_set_next(&touched, bit + 1))
	{
		if (at_bit[bit] == NULL)
			choose_at(choice, bit, look_not_before);
		for (PublishedBoard *known = at_bit[bit]; known; known = known->next_at_bit)
			choose_at(choice, bit, Min(publishable_at(known), known->seen_at + WAITING_LOOK_MS));
	}
}

static void
choose_pending(Choice *choice)
{
	dlist_iter	at;

	dlist_foreach(at, &pending_boards)
	{
		const PublishedBoard *known = dlist_container(PublishedBoard, in_pending, at.cur);

		if (choice->count >= SLICE)
			return;
		choose_at(choice, TOUCH_BIT(known->board_id), schedule_due_at(known));
	}
}

/* What is taken from the backlog counts as touched: so it isn't lost where the look fails. */
static void
choose_backlog(Choice *choice)
{
	while (backlog_next < backlog_count && choice->count < SLICE && waiting_count < WAITING_MAX)
	{
		int			bit = backlog[backlog_next++];

		choose(choice, bit);
		touch_set_add(&choice->look->taken, bit);
	}
}

bool
schedule_choose(Look *look, int64 *wait_ms)
{
	Choice		choice = {.look = look, .wait_ms = *wait_ms};

	look->all = slots_all_touched() && backlog_next == backlog_count;
	if (look->all)
		return true;
	find_players(&choice);
	choose_touched(&choice);
	choose_pending(&choice);
	choose_backlog(&choice);
	*wait_ms = choice.wait_ms;
	return choice.count > 0;
}

void
schedule_take(Look *look)
{
	TouchSet	touched;

	if (look->all)
	{
		slots_set_all_touched(false);
		return;
	}
	look_not_before = look->began + LOOK_INTERVAL_MS;
	slots_take_touched(&look->bits, &touched);
	for (int word = 0; word < TOUCH_WORDS; word++)
		look->taken.words[word] |= touched.words[word];
	for (int bit = touch_set_next(&look->taken, 0); bit >= 0; bit = touch_set_next(&look->taken, bit + 1))
		for (PublishedBoard *known = at_bit[bit]; known; known = known->next_at_bit)
			schedule_set_pending(known, true);
}

/* Boards that the look would have found are not known here yet. */
void
schedule_put_back(const Look *look)
{
	if (look->all)
		slots_set_all_touched(true);
	slots_put_back_touched(&look->taken);
}

void
schedule_set_backlog(const int32 *board_ids, int count)
{
	if (backlog)
		pfree(backlog);
	backlog = MemoryContextAllocHuge(TopMemoryContext, Max(count, 1) * sizeof(int32));
	for (int i = 0; i < count; i++)
		backlog[i] = TOUCH_BIT(board_ids[i]);
	backlog_count = count;
	backlog_next = 0;
}
