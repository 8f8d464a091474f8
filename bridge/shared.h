/*
 * shared.h - memory that all workers of a bridge see
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SHARED_H
#define BRIDGE_SHARED_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define WORKERS_MAX 64

/*
 * Zeroed, at the same place in this process and all that it forks afterwards, so
 * that pointers into it may stand in it; pages cost memory once they are used.
 */
extern void *shared_alloc(size_t size);
extern void shared_free(void *memory, size_t size);

/*
 * A lock in such memory, held for less than a microsecond. Where a process was
 * killed while it had it, the next one gets it all the same, and true: what it
 * guards may be half changed.
 */
extern void shared_lock_start(pthread_mutex_t *lock);
extern bool shared_lock(pthread_mutex_t *lock);
extern void shared_unlock(pthread_mutex_t *lock);

#endif
