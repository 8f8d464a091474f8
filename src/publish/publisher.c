/*
 * publish/publisher.c - the worker of one database that keeps its boards' top lists published
 *
 * It is woken by commits (slots.c), builds the lists of touched
 * boards, and where a list really changed stores the document with a greater
 * version and sends one NOTIFY. It alone writes scoreboard.top.
 *
 *   worker        event                                  does
 *   -----------   ------------------------------------   ------------------------------------------------
 *   looking       extension found                        → publishing; every board counts as touched
 *   looking       no extension                           leaves (the launcher remembers)
 *   publishing    extension gone, or another one         leaves
 *   either        told to end, SIGTERM                   leaves
 *
 *   board         event                                  does
 *   -----------   ------------------------------------   ------------------------------------------------
 *   new           (unknown here, renamed, no stored      → pending, due at once; published changed or not,
 *                 document, first look after a start)    with a leap of its version to the clock
 *   quiet         touched                                → pending
 *   pending       touched                                nothing (idempotent)
 *   pending       interval over                          → quiet; published if its list changed
 *   pending       its ranks are being built              pending, looked at again soon
 *   pending       building its list failed               pending, due after a back-off that doubles
 *   any           its row is gone                        forgotten; its stored version stays, so that a
 *                                                        board made again by that name is newer
 *
 * All boards due in a cycle go into one transaction. If one of them fails, that
 * transaction is repeated at once without it; if reading or committing fails,
 * everything waits for a back-off. If the commit fails because the queue of
 * NOTIFY is full, the documents are stored without, for a while: gateways look
 * by themselves every few seconds.
 *
 * A mark of a touched board is taken away before the snapshot that its list is
 * built from, so a commit during the cycle marks it again and is not lost.
 * Boards are never read from caches: a commit wakes us before its
 * invalidations arrive.
 *
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
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "scoreboard.h"
#include "base/plan.h"
#include "base/tables.h"
#include "publish/chores.h"
#include "publish/launcher.h"
#include "publish/publisher.h"
#include "publish/publisher_transaction.h"
#include "publish/slots.h"
#include "publish/worker.h"
#include "rank/index.h"
#include "read/document.h"

#define NOTIFY_CHANNEL "scoreboard"

/* Looks without a result, and looks for boards unknown here, are this far apart at least. */
#define LOOK_INTERVAL_MS 10

/* Rows of boards that wait are read again this often: their interval may have been shortened. */
#define WAITING_LOOK_MS 1000

/* A list that waits for its ranks is looked at again this often. */
#define BUILDING_LOOK_MS 50

#define FIRST_BACK_OFF_MS 500
#define LONGEST_BACK_OFF_MS 15000

/* How long documents are stored without NOTIFY after its queue was found full. */
#define QUEUE_FULL_MS 5000

/* A board as this worker knows it; times are those of worker_clock_ms(). */
typedef struct PublishedBoard
{
	int32		board_id;		/* hash key */
	char		name[SCOREBOARD_NAME_MAX + 1];
	int64		version;		/* the last one stored by this worker; 0: none yet, the next one leaps */
	bool		pending;
	int			interval_ms;
	int64		published_at;	/* 0: not yet */
	int64		not_before;		/* end of a rest or a back-off */
	int			failures;		/* in a row */
	int64		seen;			/* number of the last cycle that read its row */
	int64		seen_at;
} PublishedBoard;

/* What a cycle reads of a board, and what becomes of it. */
typedef struct BoardRow
{
	Board		board;
	PublishedBoard *known;
	bool		due;
	bool		stored;			/* there is a row in scoreboard.top; read where the board is due */
	int32		stored_season;
	int64		stored_version;
	char	   *stored_document;
	int64		new_version;	/* 0: not published in this cycle */
} BoardRow;

/* Whom to blame for an error. */
typedef enum CycleStep
{
	STEP_READING,
	STEP_BOARD,					/* cycle.current */
	STEP_COMMITTING
} CycleStep;

typedef struct Cycle
{
	int64		number;
	int64		began;			/* worker_clock_ms() */
	TouchSet	bits;			/* boards at these bits are looked at */
	TouchSet	taken;			/* those that were touched: back they go if the cycle fails */
	CycleStep	step;
	PublishedBoard *current;
	bool		notify;
	Oid			score_table;	/* whose lists these are */
	List	   *done;			/* of BoardRow: built, and stored where changed */
} Cycle;

static HTAB *boards;

static int64 all_not_before = 0;	/* back-off after an error that no board is to blame for */
static int	all_failures = 0;
static int64 look_not_before = 0;	/* for boards unknown here */
static int64 notify_not_before = 0;
static bool queue_full_reported = false;

static SavedPlan read_boards = {
	.text = "SELECT b.board_id::int, b.name::text, b.score_order::text, b.operator::text, b.ties::text, b.top_size::int, b.lowest_score::bigint,"
	" b.publish_interval_ms::int, t.season, t.version, t.document"
	" FROM scoreboard.board b LEFT JOIN scoreboard.top t ON t.board = b.name"
	" WHERE b.board_id & 1023 = ANY ($1)",
	.nargs = 1,
	.types = {INT4ARRAYOID}
};

static SavedPlan store_top = {
	.text = "INSERT INTO scoreboard.top AS t (board, season, version, updated_at, players, document)"
	" VALUES ($1, $2, $3, $4, $5, $6)"
	" ON CONFLICT (board) DO UPDATE SET season = excluded.season, version = excluded.version,"
	" updated_at = excluded.updated_at, players = excluded.players, document = excluded.document",
	.nargs = 6,
	.types = {TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, INT8OID, TEXTOID}
};

StaticAssertDecl(TOUCH_BITS == 1024, "read_boards picks boards by these bits");

PGDLLEXPORT void scoreboard_publisher_main(Datum arg);

/* ------------------------------------------------------------------------
 * Reading boards
 * ------------------------------------------------------------------------ */

static Datum
bits_as_array(const TouchSet *bits)
{
	Datum	   *values = palloc(TOUCH_BITS * sizeof(Datum));
	int			count = 0;

	for (int bit = 0; bit < TOUCH_BITS; bit++)
		if (touch_set_has(bits, bit))
			values[count++] = Int32GetDatum(bit);
	return PointerGetDatum(construct_array(values, count, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

static BoardOperator
operator_of(const char *name)
{
	if (strcmp(name, "best") == 0)
		return OPERATOR_BEST;
	return strcmp(name, "latest") == 0 ? OPERATOR_LATEST : OPERATOR_SUM;
}

static BoardRow *
board_row(HeapTuple row, TupleDesc desc)
{
	BoardRow   *result = palloc0(sizeof(BoardRow));
	Board	   *board = &result->board;

	board->board_id = DatumGetInt32(plan_datum(row, desc, 1));
	strlcpy(board->name, plan_known_text(row, desc, 2), sizeof(board->name));
	board->low_first = strcmp(plan_known_text(row, desc, 3), "low") == 0;
	board->operator = operator_of(plan_known_text(row, desc, 4));
	board->ties = config_ties(plan_known_text(row, desc, 5));
	board->top_size = DatumGetInt32(plan_datum(row, desc, 6));
	board->lowest_score = DatumGetInt64(plan_datum(row, desc, 7));
	board->publish_interval_ms = DatumGetInt32(plan_datum(row, desc, 8));
	board->season = 1;			/* no board has a period yet */
	return result;
}

static void
read_stored(BoardRow *board, HeapTuple row, TupleDesc desc)
{
	board->stored_document = plan_text(row, desc, 11);
	board->stored = board->stored_document != NULL;
	if (board->stored)
	{
		board->stored_season = DatumGetInt32(plan_datum(row, desc, 9));
		board->stored_version = DatumGetInt64(plan_datum(row, desc, 10));
	}
}

static int64
due_at(const PublishedBoard *known)
{
	if (known->published_at == 0)
		return known->not_before;
	return Max(known->not_before, known->published_at + known->interval_ms);
}

static void
know_board(BoardRow *row, const Cycle *cycle)
{
	bool		found;
	PublishedBoard *known = hash_search(boards, &row->board.board_id, HASH_ENTER, &found);

	/* By another name it is another board: that name's versions go on. */
	if (!found || strcmp(known->name, row->board.name) != 0)
	{
		memset(known, 0, sizeof(PublishedBoard));
		known->board_id = row->board.board_id;
		strlcpy(known->name, row->board.name, sizeof(known->name));
		known->pending = true;
	}
	known->interval_ms = row->board.publish_interval_ms;
	known->seen = cycle->number;
	known->seen_at = cycle->began;
	row->known = known;
	row->due = known->pending && due_at(known) <= cycle->began;
	if (row->due && chores_will_build() && rank_index_is_coming(cycle->score_table, known->board_id, row->board.season))
	{
		known->not_before = cycle->began + BUILDING_LOOK_MS;
		row->due = false;
	}
}

static void
forget_removed_boards(const Cycle *cycle)
{
	HASH_SEQ_STATUS scan;
	PublishedBoard *known;

	hash_seq_init(&scan, boards);
	while ((known = hash_seq_search(&scan)) != NULL)
		if (touch_set_has(&cycle->bits, TOUCH_BIT(known->board_id)) && known->seen != cycle->number)
			hash_search(boards, &known->board_id, HASH_REMOVE, NULL);
}

/* The boards at the cycle's bits, as committed now. */
static List *
read_rows(const Cycle *cycle)
{
	Datum		values[1];
	List	   *rows = NIL;

	SPI_connect();
	values[0] = bits_as_array(&cycle->bits);
	plan_read(&read_boards, values, NULL, 0);
	MemoryContextSwitchTo(worker_turn_context());
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		BoardRow   *row = board_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);

		know_board(row, cycle);
		if (row->due)
			read_stored(row, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		rows = lappend(rows, row);
	}
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
	forget_removed_boards(cycle);
	return rows;
}

/* ------------------------------------------------------------------------
 * Publishing
 * ------------------------------------------------------------------------ */

/* Milliseconds since 1970. */
static int64
version_of_clock(void)
{
	return GetCurrentTimestamp() / 1000
		+ (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
}

/* One more than ever before; leaps to the clock, so that versions which nobody here knows of are passed too. */
static int64
next_version(const BoardRow *row, bool leap)
{
	int64		last = Max(row->stored ? row->stored_version : 0, row->known->version);
	int64		version = last + 1;

	if (leap)
	{
		int64		clock = version_of_clock();

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
store(const BoardRow *row, int64 players, const char *entries, TimestampTz now)
{
	const Board *board = &row->board;
	Datum		values[6];

	SPI_connect();
	values[0] = CStringGetTextDatum(board->name);
	values[1] = Int32GetDatum(board->season);
	values[2] = Int64GetDatum(row->new_version);
	values[3] = TimestampTzGetDatum(now);
	values[4] = Int64GetDatum(players);
	values[5] = CStringGetTextDatum(document_assemble(board, board->season, row->new_version,
													  now, players, entries));
	plan_write(&store_top, values, NULL, SPI_OK_INSERT);
	SPI_finish();
	MemoryContextSwitchTo(worker_turn_context());
}

static void
publish_board(Cycle *cycle, BoardRow *row)
{
	int64		players;
	char	   *entries = document_entries(&row->board, row->board.season, &players);
	bool		leap = row->known->version == 0 || !row->stored;

	cycle->done = lappend(cycle->done, row);
	if (!leap && row->stored_season == row->board.season
		&& document_shows(row->stored_document, entries))
		return;

	row->new_version = next_version(row, leap);
	store(row, players, entries, GetCurrentTimestamp());

	/* A board's name needs no escape in JSON: its characters are limited. */
	if (cycle->notify)
		Async_Notify(NOTIFY_CHANNEL, psprintf("{\"board\":\"%s\",\"version\":" INT64_FORMAT "}",
											  row->board.name, row->new_version));
}

static void
run_cycle(Cycle *cycle)
{
	List	   *rows;
	ListCell   *cell;

	publisher_begin_transaction();
	tables_require(TABLE_TOP);
	cycle->score_table = tables_id(TABLE_SCORE);
	rows = read_rows(cycle);
	cycle->step = STEP_BOARD;
	foreach(cell, rows)
	{
		BoardRow   *row = lfirst(cell);

		if (!row->due)
			continue;
		cycle->current = row->known;
		publish_board(cycle, row);
	}
	cycle->step = STEP_COMMITTING;
	publisher_commit_transaction();
}

/* ------------------------------------------------------------------------
 * After a cycle
 * ------------------------------------------------------------------------ */

static void
cycle_succeeded(const Cycle *cycle)
{
	int64		now = worker_clock_ms();
	bool		notified = false;
	ListCell   *cell;

	foreach(cell, cycle->done)
	{
		BoardRow   *row = lfirst(cell);
		PublishedBoard *known = row->known;

		known->pending = false;
		known->failures = 0;
		if (row->new_version != 0)
		{
			known->version = row->new_version;
			rank_index_published(cycle->score_table, row->board.board_id, row->board.season, row->new_version);
			known->published_at = cycle->began;
			notified |= cycle->notify;
		}

		/* Where lists are dear (counted by SQL), half of our time is rest. */
		known->not_before = Max(cycle->began + LOOK_INTERVAL_MS, now + (now - cycle->began));
	}
	all_failures = 0;
	if (cycle->done != NIL)
		slots_set_outcome(OUTCOME_ENDED);
	if (notified && queue_full_reported)
	{
		queue_full_reported = false;
		ereport(LOG, (errmsg("scoreboard sends notifications again")));
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

/*
 * Decides who waits how long. True if the error is to be logged as it is.
 * Everything stays pending.
 */
static bool
cycle_failed(Cycle *cycle, const ErrorData *error)
{
	int64		now = worker_clock_ms();

	/* Boards that this cycle would have found are not known here yet. */
	slots_put_back_touched(&cycle->taken);
	if (cycle->step == STEP_COMMITTING && cycle->notify
		&& error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
	{
		notify_not_before = now + QUEUE_FULL_MS;
		report_full_queue(error);
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

	if (!cycle_failed(cycle, error))
		return;
	if (cycle->step == STEP_BOARD && cycle->current != NULL)
		context = psprintf("publishing scoreboard \"%s\"", cycle->current->name);
	worker_log_error(error, context);
}

/* ------------------------------------------------------------------------
 * The loop
 * ------------------------------------------------------------------------ */

/*
 * Fills the cycle with what is to be looked at. False if nothing is: then
 * *wait_ms is how long, unless the latch says otherwise. Marks of boards that
 * wait for their interval stay where they are, so they wake nobody again.
 */
static bool
choose_bits(Cycle *cycle, int64 *wait_ms)
{
	TouchSet	touched;
	TouchSet	known_bits = {{0}};
	bool		any = false;
	HASH_SEQ_STATUS scan;
	PublishedBoard *known;

	slots_peek_touched(&touched);
	hash_seq_init(&scan, boards);
	while ((known = hash_seq_search(&scan)) != NULL)
	{
		int			bit = TOUCH_BIT(known->board_id);
		int64		look_at;

		touch_set_add(&known_bits, bit);
		if (!known->pending && !touch_set_has(&touched, bit))
			continue;
		look_at = Min(due_at(known), known->seen_at + WAITING_LOOK_MS);
		if (look_at > cycle->began)
		{
			*wait_ms = Min(*wait_ms, look_at - cycle->began);
			continue;
		}
		touch_set_add(&cycle->bits, bit);
		any = true;
	}
	for (int word = 0; word < TOUCH_WORDS; word++)
	{
		uint32		unknown = touched.words[word] & ~known_bits.words[word];

		if (unknown == 0)
			continue;
		if (look_not_before > cycle->began)
		{
			*wait_ms = Min(*wait_ms, look_not_before - cycle->began);
			continue;
		}
		cycle->bits.words[word] |= unknown;
		any = true;
	}
	return any;
}

/* From here on, the touched boards at the cycle's bits are this worker's to remember. */
static void
take_marks(Cycle *cycle)
{
	HASH_SEQ_STATUS scan;
	PublishedBoard *known;

	slots_take_touched(&cycle->bits, &cycle->taken);
	hash_seq_init(&scan, boards);
	while ((known = hash_seq_search(&scan)) != NULL)
		if (touch_set_has(&cycle->taken, TOUCH_BIT(known->board_id)))
			known->pending = true;
}

/* Publishes what is due. Returns how long to sleep. */
static int64
publish(void)
{
	/* Static: it is read after an error, and it is too large to be volatile. */
	static Cycle cycle;
	static int64 cycles = 0;
	int64		wait_ms = WORKER_LONGEST_SLEEP_MS;

	memset(&cycle, 0, sizeof(cycle));
	cycle.number = ++cycles;
	cycle.began = worker_clock_ms();
	cycle.notify = notify_not_before <= cycle.began;
	if (all_not_before > cycle.began)
		return all_not_before - cycle.began;
	if (!choose_bits(&cycle, &wait_ms))
		return wait_ms;

	pgstat_report_activity(STATE_RUNNING, "publishing");
	take_marks(&cycle);
	look_not_before = cycle.began + LOOK_INTERVAL_MS;
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
}

static void
start(Datum arg)
{
	HASHCTL		control = {.keysize = sizeof(int32), .entrysize = sizeof(PublishedBoard)};
	PublisherStart extra;
	Oid			database;

	worker_accept_signals();

	memcpy(&extra, MyBgworkerEntry->bgw_extra, sizeof(extra));
	if (!slots_arrive(DatumGetInt32(arg), extra.reservation, &database))
		proc_exit(0);
	leave_if_told();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	worker_set_settings("scoreboard publisher " SCOREBOARD_VERSION);
	boards = hash_create("scoreboard boards", 64, &control, HASH_ELEM | HASH_BLOBS);
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
		worker_wait(wait_ms, wait_event);
	}
}
