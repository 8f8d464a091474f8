/*
 * workers.h - what each worker of a bridge tells the others, and how they are
 *
 * A bridge is one worker, or several processes that share its sockets and its
 * limits, below a supervisor (supervisor.c).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_WORKERS_H
#define BRIDGE_WORKERS_H

#include <stdatomic.h>
#include <sys/types.h>

#include "bridge.h"
#include "shared.h"

/* Written by that worker; cleared by the supervisor when it has died. */
typedef struct WorkerState
{
	_Atomic pid_t pid;			/* 0: it isn't there */
	_Atomic uint64_t beat;		/* ms of the monotonic clock: when its loop last turned; 0: it hasn't yet */
	_Atomic uint64_t awaited;	/* uv_hrtime: since when an increment waits for its list; 0: none does */
	atomic_int	connections;
	_Atomic int64_t pending;	/* increments */
	_Atomic int64_t queued;		/* of these, that wait to be sent */
	atomic_bool ready;			/* has read the lists, or tried for long enough */
	atomic_bool live;			/* see feed_live() */
	atomic_bool taking;			/* see batch_live() */
	atomic_bool draining;
} WorkerState;

typedef struct Workers
{
	int			count;
	double		started;		/* the bridge, in seconds since 1970 */
	_Atomic uint64_t restarts;
	WorkerState states[WORKERS_MAX];
} Workers;

/* How all that are there are together. */
typedef struct WorkersAll
{
	int			running;
	int			answering;
	int64_t		connections;
	int64_t		pending;
	int64_t		queued;
	uint64_t	awaited;		/* the oldest; 0: none */
	bool		ready;			/* each of these: all of them */
	bool		live;
	bool		taking;
	bool		draining;		/* one of them */
} WorkersAll;

extern WorkersAll workers_all(const Bridge *bridge);

extern void workers_start(Bridge *bridge);	/* before there are any */
extern void workers_free(Bridge *bridge);
extern void workers_tick(Bridge *bridge);	/* tells how this one is; main.c's tick */

extern uint64_t workers_clock(void);	/* ms, as in `beat` */
extern WorkerState *workers_own(const Bridge *bridge);
extern bool workers_answers(const Bridge *bridge, int worker);	/* is it there, and has its loop turned lately? */
extern int	workers_first(const Bridge *bridge);	/* that answers; it speaks for all */
extern int	workers_least(const Bridge *bridge);	/* connections that the emptiest other one has that is ready; INT_MAX: there is none */

#endif
