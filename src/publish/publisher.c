/*
 * publish/publisher.c - the worker of one database that keeps its boards' top lists published
 *
 * It is woken by commits (slots.c), builds the lists of touched
 * boards, and where a list really changed stores the document with a greater
 * version and sends one NOTIFY. It alone writes scoreboard.top, but for lists
 * that come from other servers (publish/merging.c): of these it only tells.
 *
 *   worker        event                                  does
 *   -----------   ------------------------------------   ------------------------------------------------
 *   looking       extension found                        → publishing; every board counts as touched
 *   looking       no extension                           leaves (the launcher remembers)
 *   publishing    extension gone, or another one         leaves
 *   either        told to end                            leaves
 *   either        SIGTERM (the server ends)              gives up what it is at, stores the last refusals, leaves
 *
 *   board         event                                  does
 *   -----------   ------------------------------------   ------------------------------------------------
 *   new           (unknown here, renamed, no stored      → pending, due at once; published changed or not,
 *                 document, first look after a start)    with a leap of its version to the clock
 *   quiet         touched                                → pending
 *   pending       touched                                nothing (idempotent)
 *   any           its season ends                        → pending, due at once: a new one's list is empty
 *   pending       interval over                          → quiet; published if its list changed
 *   pending       its ranks are being built              pending, looked at again soon
 *   pending       building its list failed               pending, due after a back-off that doubles
 *   pending       somebody holds what it needs           held, pending: tried again soon, and beside the others
 *   held          published                              as any other
 *   any           its row is gone                        forgotten; its stored version stays, so that a
 *                                                        board made again by that name is newer
 *
 * All boards that a cycle looks at and that are due go into one transaction (schedule.c chooses them, some hundreds at most). If one of them fails, that
 * transaction is repeated at once without it; if reading or committing fails,
 * everything waits for a back-off. Locks are waited for a moment only, but at the commit: who sits in a transaction on a row of
 * scoreboard.top, or on whatever else a list needs, holds up the lists that need it, and is named in the log (publish/obstacle.c).
 * While there is such a session each list is tried in a subtransaction, so that the others needn't be built twice. If the commit fails because the queue of
 * NOTIFY is full, the documents are stored without, for a while: gateways look
 * by themselves every few seconds.
 *
 * A mark of a touched board is taken away before the snapshot that its list is
 * built from, so a commit during the cycle marks it again and is not lost.
 * Beside publishing it does chores (publish/chores.c), when publisher_wake() says that there are some.
 *
 * Locks: those of publish/publisher_transaction.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/plan.h"
#include "base/seize.h"
#include "base/tables.h"
#include "publish/baseline.h"
#include "publish/board_row.h"
#include "publish/chores.h"
#include "publish/kept.h"
#include "publish/launcher.h"
#include "publish/merging.h"
#include "publish/obstacle.h"
#include "publish/outbox.h"
#include "publish/publisher.h"
#include "publish/publisher_transaction.h"
#include "publish/schedule.h"
#include "publish/seasons.h"
#include "publish/slots.h"
#include "publish/worker.h"
#include "rank/index.h"
#include "read/document.h"

#define NOTIFY_CHANNEL "scoreboard"

/* A list that waits for its ranks is looked at again this often. */
#define BUILDING_LOOK_MS 50

#define FIRST_BACK_OFF_MS 500
#define LONGEST_BACK_OFF_MS 15000

/* How long documents are stored without NOTIFY after its queue was found full. */
#define QUEUE_FULL_MS 5000

/* A list that couldn't be kept just now is looked at again after so long. */
#define UNKEPT_LOOK_MS 500

/* After an error, all others are published first, and its own pause gets longer. */
#define UNKEPT_BACK_OFF_MS 1000

/* How long a list waits for a lock, and where each is tried by itself; and in sum in a cycle, before it publishes those that it has. */
#define PATIENCE_MS 100
#define TRY_PATIENCE_MS 10
#define TRIES 10

/* Of how many lists a cycle says who is in the way. */
#define TELL_MAX 10

/* Whom to blame for an error. */
typedef enum CycleStep
{
	STEP_READING,
	STEP_BOARD,					/* cycle.current */
	STEP_KEEPING,				/* its list */
	STEP_NOTING,				/* where its players stand */
	STEP_COMMITTING
} CycleStep;

typedef struct Cycle
{
	Look		look;
	CycleStep	step;
	PublishedBoard *current;
	bool		notify;
	int			patience_ms;	/* how long locks are waited for */
	Oid			score_table;	/* whose lists these are */
	bool		may_keep;		/* kept_begin()'s answer, once asked */
	bool		asked_to_keep;
	int64		built_at;		/* ms: all lists were built, and the commit began */
	int			tries;			/* lists that were tried in vain */
	List	   *held;			/* of PublishedBoard: somebody is in the way */
	List	   *done;			/* of BoardRow: built, and stored where changed */
} Cycle;

static int64 all_not_before = 0;	/* back-off after an error that no board is to blame for */
static int	all_failures = 0;
static Obstacle all_obstacle = {0};	/* what no list can do without */
static int64 keep_not_before = 0;	/* no list is kept */
static bool keep_reported = false;	/* that it failed */
static int64 notify_not_before = 0;
static bool queue_full_reported = false;

static SavedPlan store_top = {
	.text = "INSERT INTO scoreboard.top AS t (board, season, version, updated_at, players, document, list_order, second_keys)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
	" ON CONFLICT (board) DO UPDATE SET season = excluded.season, version = excluded.version, updated_at = excluded.updated_at,"
	" players = excluded.players, document = excluded.document, list_order = excluded.list_order, second_keys = excluded.second_keys",
	.nargs = 8,
	.types = {TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, INT8ARRAYOID}
};

/* Those whose lists changed last come first. */
static SavedPlan read_backlog = {
	.text = "SELECT b.board_id::int FROM scoreboard.board b LEFT JOIN scoreboard.top t ON t.board = b.name"
	" ORDER BY t.updated_at DESC NULLS LAST, b.board_id"
};

PGDLLEXPORT void scoreboard_publisher_main(Datum arg);

/* ------------------------------------------------------------------------
 * Reading boards
 * ------------------------------------------------------------------------ */

/* Somebody is in its way. */
static void
set_held(Cycle *cycle, PublishedBoard *known)
{
	known->not_before = obstacle_look_at(&known->obstacle);
	cycle->held = lappend(cycle->held, known);
}

static void
know_board(BoardRow *row, Cycle *cycle)
{
	PublishedBoard *known = schedule_know(&cycle->look, row->board.board_id, row->board.name);

	known->interval_ms = row->board.publish_interval_ms;
	known->remote = row->board.kind == BOARD_REMOTE;
	row->moves = row->known_zone && baseline_due(&row->board, row->season, &row->span, &row->baseline);
	schedule_set_season_end(known, row->known_zone ? Min(row->span.end, row->baseline.until) : DT_NOEND);
	row->known = known;
	row->due = row->known_zone && known->pending && schedule_due_at(known) <= cycle->look.began;
	if (!row->due)
		return;
	row->due = row->board.kind != BOARD_COUNTED || !chores_will_build() || !rank_index_is_coming(cycle->score_table, known->board_id, row->season);
	schedule_set_waiting(known, !row->due);
	if (!row->due)
		known->not_before = cycle->look.began + BUILDING_LOOK_MS;
	else if (obstacle_stands(&known->obstacle))
	{
		row->due = false;
		set_held(cycle, known);
	}
}

/* The boards at the cycle's bits, as committed now. */
static List *
read_rows(Cycle *cycle)
{
	List	   *rows = NIL;

	SPI_connect();
	board_rows_read(&cycle->look.bits);
	MemoryContextSwitchTo(worker_turn_context());
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		BoardRow   *row = board_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);

		know_board(row, cycle);
		if (row->due)
			board_row_stored(row, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		rows = lappend(rows, row);
	}
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
	schedule_forget_unseen(&cycle->look);
	return rows;
}

static void
fill_backlog(void)
{
	int32	   *board_ids;

	SPI_connect();
	plan_read(&read_backlog, NULL, NULL, 0);
	board_ids = palloc_extended(Max(SPI_processed, 1) * sizeof(int32), MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < SPI_processed; i++)
		board_ids[i] = DatumGetInt32(plan_datum(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	schedule_set_backlog(board_ids, (int) SPI_processed);
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
}

/* ------------------------------------------------------------------------
 * Publishing
 * ------------------------------------------------------------------------ */

/* One more than ever before; leaps to the clock, so that versions which nobody here knows of are passed too. */
static int64
next_version(const BoardRow *row, bool leap)
{
	int64		last = Max(row->stored_version, row->known->version);
	int64		version = last + 1;

	if (leap)
	{
		int64		clock = worker_version_of_clock();

		if (last > clock)
			ereport(LOG,
					(errmsg("stored version " INT64_FORMAT " of scoreboard \"%s\" is ahead of the clock (" INT64_FORMAT ")",
							last, row->board.name, clock),
					 errdetail("Either the clock was set back, or another server's clock was ahead."),
					 errhint("Versions go on from the stored one. Clients could miss versions of a server that is lost if its clock was ahead by more than the failover took.")));
		version = Max(version, clock);
	}
	if (version > SCOREBOARD_SCORE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("scoreboard \"%s\" has used up its versions", row->board.name),
				 errdetail("The stored version is " INT64_FORMAT ".", last),
				 errhint("Somebody wrote to scoreboard.top: set the version to the milliseconds since 1970.")));
	return version;
}

static void
store(const BoardRow *row, const PublishedList *list)
{
	const Board *board = &row->board;
	Datum		values[8];

	SPI_connect();
	values[0] = CStringGetTextDatum(board->name);
	values[1] = Int32GetDatum(row->season);
	values[2] = Int64GetDatum(row->new_version);
	values[3] = TimestampTzGetDatum(row->updated_at);
	values[4] = Int64GetDatum(list->players);
	values[5] = CStringGetTextDatum(document_assemble(board, row->season, &row->span, row->new_version,
													  row->updated_at, list->players, list->entries));
	values[6] = CStringGetTextDatum(row->list_order);
	values[7] = list->second_keys;
	plan_write(&store_top, values, NULL, SPI_OK_INSERT);
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
}

/* They are looked at in a later cycle, so after this one's commit. */
static void
touch_merged_by(const BoardRow *row)
{
	ListCell   *cell;

	foreach(cell, row->merged_by)
		publisher_touch(lfirst_int(cell));
}

/* Of the board's list that stands in scoreboard.top from now on, or that a subscription has brought. */
static void
tell(const Cycle *cycle, const BoardRow *row)
{
	touch_merged_by(row);

	/* A board's name needs no escape in JSON: its characters are limited. */
	if (cycle->notify)
		Async_Notify(NOTIFY_CHANNEL, psprintf("{\"board\":\"%s\",\"version\":" INT64_FORMAT "}",
											  row->board.name, row->new_version));
}

/* A list that isn't ours. */
static void
tell_remote(Cycle *cycle, BoardRow *row)
{
	cycle->done = lappend(cycle->done, row);
	if (row->stored && row->stored_version != row->known->version)
	{
		row->new_version = row->stored_version;
		tell(cycle, row);
	}
	else if (!row->stored && row->known->version != 0)
	{
		row->known->version = 0;
		touch_merged_by(row);
	}
}

static void
publish_list(const Cycle *cycle, BoardRow *row, bool leap, const PublishedList *list)
{
	row->new_version = next_version(row, leap);
	row->updated_at = GetCurrentTimestamp();
	store(row, list);
	if (scoreboard_outbox && row->stored && row->stored_season == row->season && row->board.kind == BOARD_COUNTED)
		outbox_note_crossings(&row->board, row->season, row->new_version, row->stored_document, list->entries);
	tell(cycle, row);
}

/* What is kept or noted waits less: whoever has locked a row of it holds up no list. */
static void
set_step(Cycle *cycle, CycleStep step)
{
	cycle->step = step;
	LockTimeout = step == STEP_KEEPING || step == STEP_NOTING ? Min(CHORE_PATIENCE_MS, cycle->patience_ms) : cycle->patience_ms;
}

static bool
may_keep(Cycle *cycle, const BoardRow *row)
{
	if (Max(keep_not_before, row->known->keep_not_before) > cycle->look.began)
		return false;
	if (!cycle->asked_to_keep)
		cycle->may_keep = kept_begin();
	cycle->asked_to_keep = true;
	return cycle->may_keep;
}

/* Where the day or the season has begun since. Where they can't be had just now, the movement of before is shown until then. */
static void
renew_baseline(Cycle *cycle, BoardRow *row)
{
	if (!baseline_is_old(&row->board, row->season, &row->baseline))
		return;
	row->noted = may_keep(cycle, row) && baseline_note(&row->board, row->season, &row->baseline);
	row->unkept |= !row->noted;
}

/* An unchanged list too: it may not have been kept when it was published. */
static void
keep_list(const BoardRow *row, const Listing *listing)
{
	kept_store(&(KeptList) {
		.board = &row->board, .season = row->season, .span = row->span, .since = row->kept_since, .listing = listing,
			.version = row->new_version ? row->new_version : row->shown_version,
			.stands_from = row->new_version ? row->updated_at : GetCurrentTimestamp()
	});
}

static bool
is_published(const BoardRow *row, const PublishedList *list)
{
	if (row->stored_season != row->season || !document_shows(row->stored_document, list->entries))
		return false;
	/* The number of players alone makes no new list here; on other servers it was part of a new one. */
	return row->board.kind != BOARD_MERGED || document_counts(row->stored_document, list->players);
}

static void
note_shown(BoardRow *row, const Listing *listing)
{
	row->shown_count = listing->found;
	row->shown = palloc(Max(listing->found, 1) * sizeof(int32));
	for (int i = 0; i < listing->found; i++)
		row->shown[i] = TOUCH_BIT(listing->rows[i].at.key.player_id);
}

static void
publish_board(Cycle *cycle, BoardRow *row)
{
	Listing		listing = {0};
	PublishedList list;
	bool		leap = row->known->version == 0 || !row->stored;
	bool		keep;

	/* Before the list is built. */
	set_step(cycle, STEP_KEEPING);
	keep = row->keeps && may_keep(cycle, row);
	row->unkept = row->keeps && !keep;
	set_step(cycle, STEP_NOTING);
	if (row->moves)
		renew_baseline(cycle, row);
	set_step(cycle, STEP_BOARD);
	list = row->board.kind == BOARD_MERGED ? merging_list(&row->board) : merging_own_list(&row->board, row->season, &listing);
	note_shown(row, &listing);
	cycle->done = lappend(cycle->done, row);
	if (!row->recorded || (row->board.period != PERIOD_FOREVER && (leap || row->stored_season != row->season)))
		seasons_begin(&row->board, row->season, &row->span, row->stored ? row->stored_season : row->season, row->stored_version, row->stored_document);
	if (leap || !is_published(row, &list))
		publish_list(cycle, row, leap, &list);
	set_step(cycle, STEP_KEEPING);
	if (keep)
		keep_list(row, &listing);
	set_step(cycle, STEP_BOARD);
}

typedef struct Attempt
{
	Cycle	   *cycle;
	BoardRow   *row;
} Attempt;

static void
attempt(void *argument)
{
	Attempt    *tried = argument;

	publish_board(tried->cycle, tried->row);
}

/* A list that can't be had is left as it was, and the others go on. */
static void
try_board(Cycle *cycle, BoardRow *row)
{
	PublishedBoard *known = row->known;
	Attempt		tried = {.cycle = cycle, .row = row};
	bool		done;

	obstacle_forget_wait();
	cycle->patience_ms = TRY_PATIENCE_MS;
	done = seize_try(TRY_PATIENCE_MS, attempt, &tried);
	cycle->patience_ms = PATIENCE_MS;
	if (done)
		return;
	cycle->tries++;
	cycle->asked_to_keep = false;	/* its lock is gone, too, if it was taken just now */
	cycle->done = list_delete_ptr(cycle->done, row);
	row->new_version = 0;
	row->noted = false;
	if (cycle->step == STEP_KEEPING || cycle->step == STEP_NOTING)
		known->keep_not_before = worker_clock_ms() + UNKEPT_BACK_OFF_MS;
	else if (obstacle_note(&known->obstacle, ERRCODE_LOCK_NOT_AVAILABLE))
		set_held(cycle, known);
	else						/* an administrator's trigger doesn't wait */
		known->not_before = worker_clock_ms() + worker_back_off_ms(known->failures++, FIRST_BACK_OFF_MS, LONGEST_BACK_OFF_MS);
	cycle->step = STEP_BOARD;
}

static void
publish_rows(Cycle *cycle, List *rows)
{
	ListCell   *cell;

	foreach(cell, rows)
	{
		BoardRow   *row = lfirst(cell);

		if (!row->due)
			continue;
		if (cycle->tries >= TRIES)
			break;				/* the next cycle has the others */
		cycle->current = row->known;
		if (row->board.kind == BOARD_REMOTE)
			tell_remote(cycle, row);
		else if (obstacle_was_met_lately() || row->known->obstacle.since != 0)
			try_board(cycle, row);
		else
			publish_board(cycle, row);
	}
	cycle->current = NULL;
}

static void
run_cycle(Cycle *cycle)
{
	List	   *rows;

	obstacle_forget_wait();
	cycle->patience_ms = PATIENCE_MS;
	publisher_begin_chore(PATIENCE_MS);
	(void) tables_lock(TABLE_TOP, RowExclusiveLock);
	tables_require(TABLE_TOP);
	if (cycle->look.all)
		fill_backlog();
	cycle->score_table = tables_id(TABLE_SCORE);
	rows = read_rows(cycle);
	cycle->step = STEP_BOARD;
	publish_rows(cycle, rows);
	merging_empty_gone(cycle->look.all);
	cycle->step = STEP_COMMITTING;
	cycle->built_at = worker_clock_ms();
	/* Others commit, too: their NOTIFY may wait for a standby. */
	LockTimeout = 0;
	publisher_commit_transaction();
}

/* ------------------------------------------------------------------------
 * After a cycle
 * ------------------------------------------------------------------------ */

static char *
board_is(const PublishedBoard *known)
{
	return psprintf("scoreboard \"%s\" is", known->name);
}

static char *
all_are(void)
{
	return psprintf("the scoreboards of database %u are", MyDatabaseId);
}

/* Outside of its transaction. */
static void
tell_who_is_in_the_way(const Cycle *cycle)
{
	ListCell   *cell;
	int			told = 0;

	foreach(cell, cycle->held)
	{
		PublishedBoard *known = lfirst(cell);

		if (told++ < TELL_MAX)
			obstacle_tell(&known->obstacle, board_is(known));
	}
	if (all_obstacle.since != 0)
		obstacle_tell(&all_obstacle, all_are());
}

static void
set_unkept(const BoardRow *row, int64 now)
{
	PublishedBoard *known = row->known;

	if (row->unkept)
		schedule_set_unkept(known, Max(known->keep_not_before, now + UNKEPT_LOOK_MS));
	if (row->unkept || !(row->keeps || row->noted))
		return;
	known->keep_failures = 0;
	if (keep_reported)
		ereport(LOG, (errmsg("scoreboard keeps versions of lists again, and where players stand")));
	keep_reported = false;
}

static void
cycle_succeeded(const Cycle *cycle)
{
	int64		now = worker_clock_ms();
	int64		rest = cycle->built_at - cycle->look.began;
	bool		notified = false;
	ListCell   *cell;

	foreach(cell, cycle->done)
	{
		BoardRow   *row = lfirst(cell);
		PublishedBoard *known = row->known;

		schedule_set_pending(known, false);
		schedule_set_shown(known, row->shown, row->shown_count);
		set_unkept(row, now);
		known->failures = 0;
		if (known->obstacle.since != 0)
			obstacle_clear(&known->obstacle, board_is(known));
		if (row->new_version != 0)
		{
			known->version = row->new_version;
			rank_index_published(cycle->score_table, row->board.board_id, row->season, row->new_version);
			known->published_at = cycle->look.began;
			notified |= cycle->notify;
		}

		/* Where lists are dear (counted by SQL), half of our time is rest; a commit that waits for a standby costs nothing. */
		known->not_before = Max(cycle->look.began + LOOK_INTERVAL_MS, now + rest);
	}
	all_failures = 0;
	if (all_obstacle.since != 0)
		obstacle_clear(&all_obstacle, all_are());
	merging_emptied_gone();
	if (cycle->done != NIL)
		slots_set_outcome(OUTCOME_ENDED);
	if (notified && queue_full_reported)
	{
		queue_full_reported = false;
		ereport(LOG,
				(errmsg("scoreboard sends notifications again"),
				 errdetail("Gateways hear of new lists at once, as before.")));
	}
}

static void
report_full_queue(const ErrorData *error)
{
	if (queue_full_reported)
		return;
	queue_full_reported = true;
	ereport(WARNING,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("scoreboard publishes without notifications: %s", error->message),
			 errdetail("Lists are stored; gateways find them by looking every few seconds."),
			 errhint("End the session that listens and sits in a long transaction; the server's log names it.")));
}

/* What stood once is worth less than what stands now: the cycle is run again without keeping anything. */
static void
keeping_failed(const Cycle *cycle, const ErrorData *error, int64 now)
{
	PublishedBoard *known = cycle->current;
	bool		list = cycle->step == STEP_KEEPING;

	keep_not_before = now + UNKEPT_BACK_OFF_MS;
	known->keep_not_before = now + worker_back_off_ms(known->keep_failures++, UNKEPT_BACK_OFF_MS, LONGEST_BACK_OFF_MS);
	if (keep_reported)
		return;
	keep_reported = true;
	/* Its detail may show who stands in the list. */
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("scoreboard publishes \"%s\" without keeping %s: %s", known->name, list ? "versions of its list" : "where its players stand", error->message),
			 errdetail("%s It is tried again.", list ? "scoreboard_leaderboard_at() doesn't know the lists of meanwhile." :
					   "Meanwhile its list shows the movement since the day or season before.")));
}

/*
 * Decides who waits how long. True if the error is to be logged as it is.
 * Everything stays pending.
 */
static bool
cycle_failed(Cycle *cycle, const ErrorData *error)
{
	int64		now = worker_clock_ms();

	schedule_put_back(&cycle->look);
	if (cycle->step == STEP_COMMITTING && cycle->notify
		&& error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
	{
		notify_not_before = now + QUEUE_FULL_MS;
		report_full_queue(error);
		return false;
	}
	if ((cycle->step == STEP_KEEPING || cycle->step == STEP_NOTING) && !worker_was_ended())
	{
		keeping_failed(cycle, error, now);
		return false;
	}
	if (cycle->step != STEP_COMMITTING && obstacle_note(cycle->current ? &cycle->current->obstacle : &all_obstacle, error->sqlerrcode))
	{
		if (cycle->current)
			set_held(cycle, cycle->current);
		else
			all_not_before = obstacle_look_at(&all_obstacle);
		return false;
	}
	if (cycle->step == STEP_BOARD && cycle->current != NULL)
		cycle->current->not_before = now + worker_back_off_ms(cycle->current->failures++,
															  FIRST_BACK_OFF_MS,
															  LONGEST_BACK_OFF_MS);
	else
		all_not_before = now + worker_back_off_ms(all_failures++, FIRST_BACK_OFF_MS,
												  LONGEST_BACK_OFF_MS);
	return true;
}

static void
recover_cycle(Cycle *cycle)
{
	ErrorData  *error = worker_abort_transaction();
	char	   *context = "publishing scoreboards";

	LockTimeout = 0;
	if (!cycle_failed(cycle, error))
		return;
	if (cycle->step == STEP_BOARD && cycle->current != NULL)
		context = psprintf("publishing scoreboard \"%s\"", cycle->current->name);
	worker_log_error(error, context);
}

/* ------------------------------------------------------------------------
 * The loop
 * ------------------------------------------------------------------------ */

/* Publishes what is due. Returns how long to sleep. */
static int64
publish(void)
{
	/* Static: it is read after an error, and it is too large to be volatile. */
	static Cycle cycle;
	static int64 cycles = 0;
	int64		wait_ms = WORKER_LONGEST_SLEEP_MS;
	int64		empty_ms;

	memset(&cycle, 0, sizeof(cycle));
	cycle.look.number = ++cycles;
	cycle.look.began = worker_clock_ms();
	cycle.notify = notify_not_before <= cycle.look.began;
	if (worker_was_ended())
		return 0;
	if (all_not_before > cycle.look.began)
		return all_not_before - cycle.look.began;
	wait_ms = Min(wait_ms, schedule_end_seasons(GetCurrentTimestamp()));
	empty_ms = merging_empty_wait_ms();
	if (!schedule_choose(&cycle.look, &wait_ms) && empty_ms > 0)
		return Min(wait_ms, empty_ms);

	pgstat_report_activity(STATE_RUNNING, "publishing");
	schedule_take(&cycle.look);
	PG_TRY();
	{
		run_cycle(&cycle);
		cycle_succeeded(&cycle);
	}
	PG_CATCH();
	{
		recover_cycle(&cycle);
	}
	PG_END_TRY();
	tell_who_is_in_the_way(&cycle);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return 0;					/* look again: something may have become due meanwhile */
}

static void
leave_if_told(void)
{
	if (slots_told_to_end())
	{
		slots_set_outcome(OUTCOME_TOLD);
		proc_exit(0);
	}
	if (worker_was_ended())
	{
		worker_end_undisturbed();
		chores_finish();
		proc_exit(1);
	}
}

static void
start(Datum arg)
{
	PublisherStart extra;
	Oid			database;

	worker_accept_signals();

	memcpy(&extra, MyBgworkerEntry->bgw_extra, sizeof(extra));
	if (!slots_arrive(DatumGetInt32(arg), extra.reservation, &database))
		proc_exit(0);
	leave_if_told();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	worker_set_settings("scoreboard publisher " SCOREBOARD_VERSION);
	worker_end_between_turns();
	obstacle_take_notes();
	schedule_init();
	merging_is_publisher();
}

void
scoreboard_publisher_main(Datum arg)
{
	uint32		wait_event = compat_wait_event("ScoreboardPublisherMain");

	start(arg);
	for (;;)
	{
		int64		chores_ms;
		int64		wait_ms;

		worker_begin_turn();
		leave_if_told();
		MemoryContextSwitchTo(worker_turn_context());
		/* Chores first: lists are read from the ranks that they build. */
		chores_ms = chores_run();
		wait_ms = publish();
		wait_ms = Min(wait_ms, chores_ms);
		/* Publishing asks for ranks to be built, and waits of its own may have reset the latch by which it woke us. */
		if (slots_chores_due())
			wait_ms = Min(wait_ms, chores_wait_ms());
		MemoryContextReset(worker_turn_context());
		/* A wait in the midst of it may have reset the latch by which a signal woke us. */
		worker_wait(worker_was_ended() ? 0 : wait_ms, wait_event);
	}
}
