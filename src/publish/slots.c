/*
 * publish/slots.c - shared memory between commits, the launcher and the publishers
 *
 * There is one slot for each publisher that can run (max_worker_processes). A
 * slot belongs to a database from the moment the launcher asks for a worker
 * until it has read why that worker left:
 *
 *   state       launcher       worker comes   worker looks   told to end     worker leaves   launcher looks
 *   ---------   ------------   ------------   ------------   -------------   -------------   -----------------
 *   FREE        → REGISTERED   (turned away)  -              -               -               -
 *   REGISTERED  -              → LOOKING      -              noted           -               → FREE if the worker
 *                                                                                            never came
 *   LOOKING     -              -              → PUBLISHING   noted, signal   → ENDED         -
 *   PUBLISHING  -              -              -              noted, signal   → ENDED         -
 *   ENDED       -              (turned away)  -              -               -               → FREE
 *
 * "Told to end" may come any number of times. A worker that comes to a slot
 * where it was already told, or which is no longer its own (reservation), leaves
 * at once. Only slot_set_state() changes a state.
 *
 * Locks: shared->lock, held for a few instructions, never while anything is
 * raised or another lock is taken. Exceptions are the marks of touched boards (one for all of them among these)
 * and the looks that the launcher is asked for, which are atomics, and the latch pointers:
 * a latch of a PGPROC stays at its place for the server's life, so a pointer
 * that is read a moment too late at worst wakes a stranger once.
 *
 * A commit sets a board's mark, and only who set it sets the latch; the worker
 * leaves a mark alone until it publishes that board. So a thousand commits in
 * an interval cost one wake-up. The marks live and die with the slot: without
 * a slot a touch is lost, and a publisher that starts looks at every board.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "scoreboard.h"
#include "publish/publisher.h"
#include "publish/slots.h"
#include "publish/worker.h"

/* Databases that can wait for the launcher's look at once, which takes it milliseconds; one more and it looks at all. */
#define LOOKS 4

/* How long a publisher may take to leave by itself before it is signalled. */
#define POLITE_MS 100

typedef struct PublisherSlot
{
	Oid			database;		/* written under lock; commits read it without */
	SlotState	state;			/* lock */
	SlotOutcome outcome;		/* lock */
	uint32		reservation;		/* lock; counts reservations */
	bool		told_to_end;	/* lock; its worker may read it without */
	pid_t		pid;			/* lock; 0 while there is no process */
	Latch	   *latch;			/* written under lock; commits read it without */
	pg_atomic_uint32 chores;	/* 1: something beside publishing is to be done */
	pg_atomic_uint32 events;	/* bits of EVENTS_: what became of scoreboard.pending_event */
	pg_atomic_uint32 built;		/* 1: the builder has done all it was started for */
	pg_atomic_uint32 all_touched;	/* 1: every board is to be looked at */
	Touches		touched;
	Touches		players;		/* who are shown in another way */
} PublisherSlot;

typedef struct PublisherShared
{
	LWLock		lock;
	ConditionVariable left;		/* a worker has left its slot */
	Latch	   *launcher_latch; /* as the slots' latches */
	pg_atomic_uint32 looks[LOOKS];	/* database oids; 0 = free place */
	pg_atomic_uint32 look_at_all;
	int			count;			/* set once */
	PublisherSlot slots[FLEXIBLE_ARRAY_MEMBER];
} PublisherShared;

static PublisherShared *shared = NULL;

/* The slot this backend touched last, or the publisher's own. */
static int	own_slot = 0;

static void leave(int code, Datum arg);

Size
slots_shmem_size(void)
{
	return MAXALIGN(add_size(offsetof(PublisherShared, slots),
							 mul_size(max_worker_processes, sizeof(PublisherSlot))));
}

void
slots_attach(void)
{
	bool		found;

	shared = ShmemInitStruct("scoreboard publisher", slots_shmem_size(), &found);
	if (!found)
	{
		memset(shared, 0, slots_shmem_size());
		shared->count = max_worker_processes;
		LWLockInitialize(&shared->lock, compat_new_tranche("scoreboard_publisher"));
		ConditionVariableInit(&shared->left);
		pg_atomic_init_u32(&shared->look_at_all, 0);
		for (int i = 0; i < LOOKS; i++)
			pg_atomic_init_u32(&shared->looks[i], 0);
		for (int slot = 0; slot < shared->count; slot++)
		{
			pg_atomic_init_u32(&shared->slots[slot].chores, 0);
			pg_atomic_init_u32(&shared->slots[slot].events, 0);
			pg_atomic_init_u32(&shared->slots[slot].built, 0);
			pg_atomic_init_u32(&shared->slots[slot].all_touched, 0);
		}
	}
	compat_register_tranche(shared->lock.tranche, "scoreboard_publisher");
}

/* Caller holds the lock, exclusively. */
static void
slot_set_state(PublisherSlot *slot, SlotState state)
{
	Assert(LWLockHeldByMeInMode(&shared->lock, LW_EXCLUSIVE));
	slot->state = state;
	if (state == SLOT_ENDED || state == SLOT_FREE)
	{
		slot->pid = 0;
		slot->latch = NULL;
	}
	if (state == SLOT_FREE)
		slot->database = InvalidOid;
}

/* The pointer is read once: it may change meanwhile. */
static void
wake(Latch *const *place)
{
	Latch	   *latch = *(Latch *const volatile *) place;

	if (latch != NULL)
		SetLatch(latch);
}

/* ------------------------------------------------------------------------
 * Commits
 * ------------------------------------------------------------------------ */

static PublisherSlot *
slot_of_my_database(void)
{
	if (shared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	if (own_slot < shared->count && shared->slots[own_slot].database == MyDatabaseId)
		return &shared->slots[own_slot];
	for (int slot = 0; slot < shared->count; slot++)
	{
		if (shared->slots[slot].database == MyDatabaseId)
		{
			own_slot = slot;
			return &shared->slots[slot];
		}
	}
	return NULL;
}

void
publisher_touch(int32 board_id)
{
	PublisherSlot *slot;

	/* Our commit is visible before we look whether a mark or a slot is there. */
	pg_memory_barrier();
	slot = slot_of_my_database();
	if (slot && touches_mark(&slot->touched, TOUCH_BIT(board_id)))
		wake(&slot->latch);
}

void
publisher_touch_players(const TouchSet *players)
{
	PublisherSlot *slot;

	pg_memory_barrier();
	slot = slot_of_my_database();
	if (slot && touches_mark_set(&slot->players, players))
		wake(&slot->latch);
}

void
publisher_touch_all(void)
{
	PublisherSlot *slot;

	pg_memory_barrier();
	slot = slot_of_my_database();
	if (slot && pg_atomic_exchange_u32(&slot->all_touched, 1) == 0)
		wake(&slot->latch);
}

void
publisher_wake(void)
{
	PublisherSlot *slot;

	pg_memory_barrier();
	slot = slot_of_my_database();
	if (slot && pg_atomic_read_u32(&slot->chores) == 0
		&& pg_atomic_exchange_u32(&slot->chores, 1) == 0)
		wake(&slot->latch);
}

void
publisher_wake_for_events(uint32 what)
{
	PublisherSlot *slot;

	pg_memory_barrier();
	slot = slot_of_my_database();
	if (slot == NULL)
		return;
	if ((pg_atomic_read_u32(&slot->events) & what) != what)
		pg_atomic_fetch_or_u32(&slot->events, what);
	publisher_wake();
}

void
publisher_wake_launcher(void)
{
	/* A publisher that is there may have lost its extension. */
	publisher_touch_all();
	slots_want_look(MyDatabaseId);
}

void
slots_want_look(Oid database)
{
	bool		noted = false;

	if (shared == NULL)
		return;
	for (int i = 0; OidIsValid(database) && i < LOOKS && !noted; i++)
	{
		uint32		old = 0;

		/* On failure the exchange leaves in old what stands there. */
		noted = pg_atomic_compare_exchange_u32(&shared->looks[i], &old, database)
			|| old == database;
	}
	if (OidIsValid(database) && !noted)
		pg_atomic_exchange_u32(&shared->look_at_all, 1);
	wake(&shared->launcher_latch);
}

/* ------------------------------------------------------------------------
 * Commands on databases
 * ------------------------------------------------------------------------ */

bool
slots_tell_to_end(Oid database, bool by_signal)
{
	bool		there = false;

	if (shared == NULL)
		return false;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->count; i++)
	{
		PublisherSlot *slot = &shared->slots[i];

		if (slot->database != database || slot->state == SLOT_FREE || slot->state == SLOT_ENDED)
			continue;
		slot->told_to_end = true;
		if (slot->state == SLOT_REGISTERED)
			continue;			/* it reads that when it comes, before it connects */
		there = true;
		/* The process can't be gone, nor its number another's: it clears pid under this lock. */
		if (by_signal)
			(void) kill(slot->pid, SIGTERM);
		else
			wake(&slot->latch);
	}
	LWLockRelease(&shared->lock);
	return there;
}

void
slots_end_publisher(Oid database)
{
	uint32		wait_event = compat_wait_event("ScoreboardPublisherEnd");
	bool		by_signal = false;

	if (shared == NULL)
		return;
	ConditionVariablePrepareToSleep(&shared->left);
	while (slots_tell_to_end(database, by_signal))
		by_signal = ConditionVariableTimedSleep(&shared->left, POLITE_MS, wait_event);
	ConditionVariableCancelSleep();
}

/* ------------------------------------------------------------------------
 * The launcher
 * ------------------------------------------------------------------------ */

static void
launcher_leaves(int code, Datum arg)
{
	shared->launcher_latch = NULL;
}

void
slots_launcher_arrives(void)
{
	before_shmem_exit(launcher_leaves, (Datum) 0);
	shared->launcher_latch = MyLatch;
}

int
slots_count(void)
{
	return shared->count;
}

SlotView
slots_view(int slot)
{
	SlotView	view;

	LWLockAcquire(&shared->lock, LW_SHARED);
	view.database = shared->slots[slot].database;
	view.state = shared->slots[slot].state;
	view.outcome = shared->slots[slot].outcome;
	LWLockRelease(&shared->lock);
	return view;
}

int
slots_reserve(Oid database, uint32 *reservation)
{
	int			found = -1;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->count && found < 0; i++)
	{
		PublisherSlot *slot = &shared->slots[i];

		if (slot->state != SLOT_FREE)
			continue;
		found = i;
		*reservation = ++slot->reservation;
		slot->outcome = OUTCOME_FAILED;
		slot->told_to_end = false;
		slot->database = database;
		slot_set_state(slot, SLOT_REGISTERED);
	}
	LWLockRelease(&shared->lock);
	return found;
}

void
slots_free(int slot)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (shared->slots[slot].state == SLOT_REGISTERED || shared->slots[slot].state == SLOT_ENDED)
		slot_set_state(&shared->slots[slot], SLOT_FREE);
	LWLockRelease(&shared->lock);
}

int
slots_take_looks(Oid *databases, int room, bool *look_at_all)
{
	int			count = 0;

	*look_at_all = pg_atomic_exchange_u32(&shared->look_at_all, 0) != 0;
	for (int i = 0; i < LOOKS && count < room; i++)
	{
		Oid			database = pg_atomic_exchange_u32(&shared->looks[i], 0);

		if (OidIsValid(database))
			databases[count++] = database;
	}
	return count;
}

/* ------------------------------------------------------------------------
 * The publisher
 * ------------------------------------------------------------------------ */

bool
slots_arrive(int slot, uint32 reservation, Oid *database)
{
	PublisherSlot *own = &shared->slots[slot];
	bool		wanted;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	wanted = own->state == SLOT_REGISTERED && own->reservation == reservation;
	if (wanted)
	{
		*database = own->database;
		own->pid = MyProcPid;
		own->latch = MyLatch;
		slot_set_state(own, SLOT_LOOKING);
	}
	LWLockRelease(&shared->lock);

	if (!wanted)
		return false;
	own_slot = slot;

	/*
	 * Not before_shmem_exit: callbacks run in reverse order, and this one has
	 * to run after the process has left the list of those connected to the
	 * database, since DROP DATABASE waits for it. The latch may be read until
	 * then, it is our PGPROC's.
	 */
	on_shmem_exit(leave, (Datum) 0);
	pg_atomic_exchange_u32(&own->all_touched, 1);
	pg_atomic_exchange_u32(&own->chores, 1);
	return true;
}

/* Registered by slots_arrive(); MyProc is still ours. */
static void
leave(int code, Datum arg)
{
	PublisherSlot *own = &shared->slots[own_slot];

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (own->outcome == OUTCOME_FAILED && worker_was_ended())
		own->outcome = OUTCOME_ENDED;
	slot_set_state(own, SLOT_ENDED);
	LWLockRelease(&shared->lock);
	ConditionVariableBroadcast(&shared->left);
	wake(&shared->launcher_latch);
}

void
slots_found_extension(void)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot_set_state(&shared->slots[own_slot], SLOT_PUBLISHING);
	LWLockRelease(&shared->lock);
	wake(&shared->launcher_latch);
}

bool
slots_told_to_end(void)
{
	return ((volatile PublisherSlot *) &shared->slots[own_slot])->told_to_end;
}

void
slots_set_outcome(SlotOutcome outcome)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	shared->slots[own_slot].outcome = outcome;
	LWLockRelease(&shared->lock);
}

void
slots_peek_touched(TouchSet *marked)
{
	touches_peek(&shared->slots[own_slot].touched, marked);
}

void
slots_take_touched(const TouchSet *wanted, TouchSet *taken)
{
	touches_take(&shared->slots[own_slot].touched, wanted, taken);
}

void
slots_put_back_touched(const TouchSet *taken)
{
	(void) touches_mark_set(&shared->slots[own_slot].touched, taken);
}

bool
slots_players_touched(void)
{
	TouchSet	marked;

	touches_peek(&shared->slots[own_slot].players, &marked);
	return touch_set_next(&marked, 0) >= 0;
}

void
slots_take_players(TouchSet *taken)
{
	TouchSet	marked;

	touches_peek(&shared->slots[own_slot].players, &marked);
	touches_take(&shared->slots[own_slot].players, &marked, taken);
}

bool
slots_all_touched(void)
{
	return pg_atomic_read_u32(&shared->slots[own_slot].all_touched) != 0;
}

void
slots_set_all_touched(bool touched)
{
	pg_atomic_exchange_u32(&shared->slots[own_slot].all_touched, touched);
}

bool
slots_chores_due(void)
{
	return pg_atomic_read_u32(&shared->slots[own_slot].chores) != 0;
}

bool
slots_take_chores(void)
{
	return pg_atomic_exchange_u32(&shared->slots[own_slot].chores, 0) != 0;
}

uint32
slots_events(void)
{
	return pg_atomic_read_u32(&shared->slots[own_slot].events);
}

uint32
slots_take_events(void)
{
	return pg_atomic_exchange_u32(&shared->slots[own_slot].events, 0);
}

void
slots_set_built(bool built)
{
	PublisherSlot *slot = slot_of_my_database();

	if (slot)
		pg_atomic_write_u32(&slot->built, built);
}

bool
slots_built(void)
{
	return pg_atomic_read_u32(&shared->slots[own_slot].built) != 0;
}
