/*
 * supervisor.h - the process above several workers
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SUPERVISOR_H
#define BRIDGE_SUPERVISOR_H

#include "bridge.h"

/*
 * Starts the workers and looks after them. True: the bridge has ended, with this
 * status. False: this is a worker now, which no signal reaches yet.
 */
extern bool supervise(Bridge *bridge, int *status);

/* The worker can take them. */
extern void supervisor_let_signals_in(void);

#endif
