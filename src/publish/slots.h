/*
 * publish/slots.h - what backends, the launcher and the publishers tell each other
 *
 * Used by slots.c, the launcher's, the publisher's and the builder's files only;
 * everybody else wakes the publisher through publisher.h.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PUBLISH_SLOTS_H
#define SCOREBOARD_PUBLISH_SLOTS_H

#include "postgres.h"

#include "plain/touches.h"

typedef enum SlotState
{
	SLOT_FREE,					/* no worker, none asked for */
	SLOT_REGISTERED,			/* the launcher asked for a worker; its process has not come yet */
	SLOT_LOOKING,				/* the worker is there; whether it finds the extension is open */
	SLOT_PUBLISHING,			/* it found the extension */
	SLOT_ENDED					/* it is gone; the launcher has not read why */
} SlotState;

typedef enum SlotOutcome
{
	OUTCOME_FAILED,				/* it left before it had published anything: each in a row makes the next one wait longer */
	OUTCOME_ENDED,				/* it had published, or a signal ended it: no failure, start another one */
	OUTCOME_WITHOUT,			/* the database has no extension (any more) */
	OUTCOME_TOLD				/* it was told to make room for a command on the database */
} SlotOutcome;

/* A copy of a slot's public part. */
typedef struct SlotView
{
	Oid			database;
	SlotState	state;
	SlotOutcome outcome;
} SlotView;

/* How many slots there are, what stands in one. */
extern int	slots_count(void);
extern SlotView slots_view(int slot);

/*
 * Launcher only. Looks: databases where the extension came or went; if there
 * were too many of them, *look_at_all.
 */
extern void slots_launcher_arrives(void);
extern int	slots_reserve(Oid database, uint32 *reservation);	/* -1: none is free */
extern void slots_free(int slot);	/* from REGISTERED (the worker never came) or ENDED */
extern int	slots_take_looks(Oid *databases, int room, bool *look_at_all);

/*
 * From commit callbacks: has the launcher look whether this database needs a
 * publisher, or (InvalidOid) only whether there are other databases now.
 */
extern void slots_want_look(Oid database);

/* Has the publisher of the database leave; returns when its process is gone from it. */
extern void slots_end_publisher(Oid database);

/* The same without waiting. False if there is none. */
extern bool slots_tell_to_end(Oid database, bool by_signal);

/*
 * Publisher only. slots_arrive() comes before anything else: false if this
 * process is not wanted (any more). Leaving is registered with it and happens whatever way the process ends.
 */
extern bool slots_arrive(int slot, uint32 reservation, Oid *database);
extern void slots_found_extension(void);
extern bool slots_told_to_end(void);
extern void slots_set_outcome(SlotOutcome outcome);

/* The own slot's marks of touched boards; plain/touches.h says what these promise. */
extern void slots_peek_touched(TouchSet *marked);
extern void slots_take_touched(const TouchSet *wanted, TouchSet *taken);
extern void slots_put_back_touched(const TouchSet *taken);

/* Those of players who are shown in another way. Where they are taken, they are the taker's to remember. */
extern bool slots_players_touched(void);
extern void slots_take_players(TouchSet *taken);

/* Was publisher_touch_all() called since this was last set to false? True at the start too. Setting is a full memory barrier. */
extern bool slots_all_touched(void);
extern void slots_set_all_touched(bool touched);

/* Has the builder done all it was started for? Set by itself, reset by the publisher. */
extern void slots_set_built(bool built);
extern bool slots_built(void);

/* Was publisher_wake() called since the last time? True at the start too. Taking is again a full memory barrier. */
extern bool slots_chores_due(void);
extern bool slots_take_chores(void);

/* What publisher_wake_for_events() has told since the time before, in bits of EVENTS_. Taking is a full memory barrier. */
extern uint32 slots_events(void);
extern uint32 slots_take_events(void);

/* Shared memory: asked for at shmem_request time; attached to, and initialised if not found, at shmem_startup time under AddinShmemInitLock. */
extern Size slots_shmem_size(void);
extern void slots_attach(void);

#endif
