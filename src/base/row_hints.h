/*
 * base/row_hints.h - where rows were found last, in shared memory
 *
 * Saves the descent of an index where the same rows are found again and again, by whatever backend. Only a hint: whoever takes one looks
 * whether the row there has the key, and asks the index where it hasn't. So nothing has to be kept in step, and
 * nothing is lost where two rows share a place.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_ROW_HINTS_H
#define SCOREBOARD_BASE_ROW_HINTS_H

#include "postgres.h"
#include "storage/itemptr.h"

/* key: a hash of the table and the row's key. */
extern bool row_hints_get(uint64 key, ItemPointer tid);
extern void row_hints_put(uint64 key, const ItemPointerData *tid);

/* Shared memory: asked for at shmem_request time; attached to at shmem_startup time under AddinShmemInitLock. */
extern Size row_hints_shmem_size(void);
extern void row_hints_attach(void);

#endif
