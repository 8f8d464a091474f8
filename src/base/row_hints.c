/*
 * base/row_hints.c - where rows were found last, in shared memory
 *
 * One array of 64-bit words, read and written whole, so without a lock: a piece of the key's hash, block, line
 * pointer. 0 is empty, since no line pointer is 0.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#include "scoreboard.h"
#include "base/row_hints.h"

static pg_atomic_uint64 *hints = NULL;

/* The greatest power of two that fits; 0: switched off. */
static uint64
hint_count(void)
{
	uint64		fit = (uint64) scoreboard_lookup_memory * 1024 / sizeof(pg_atomic_uint64);

	return fit == 0 ? 0 : UINT64CONST(1) << pg_leftmost_one_pos64(fit);
}

Size
row_hints_shmem_size(void)
{
	return hint_count() * sizeof(pg_atomic_uint64);
}

void
row_hints_attach(void)
{
	bool		found;

	if (hint_count() == 0)
		return;
	hints = ShmemInitStruct("scoreboard row hints", row_hints_shmem_size(), &found);
	for (uint64 i = 0; !found && i < hint_count(); i++)
		pg_atomic_init_u64(&hints[i], 0);
}

/* The place is chosen by the low bits. */
static uint64
piece_of(uint64 key)
{
	return key & UINT64CONST(0xFFFF000000000000);
}

bool
row_hints_get(uint64 key, ItemPointer tid)
{
	uint64		hint;

	if (hints == NULL)
		return false;
	hint = pg_atomic_read_u64(&hints[key & (hint_count() - 1)]);
	if (hint == 0 || piece_of(hint) != piece_of(key))
		return false;
	ItemPointerSet(tid, (BlockNumber) (hint >> 16), (OffsetNumber) hint);
	return true;
}

void
row_hints_put(uint64 key, const ItemPointerData *tid)
{
	if (hints != NULL)
		pg_atomic_write_u64(&hints[key & (hint_count() - 1)],
							piece_of(key) | (uint64) ItemPointerGetBlockNumber(tid) << 16 | ItemPointerGetOffsetNumber(tid));
}
