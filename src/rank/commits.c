/*
 * rank/commits.c - which commits are on their way into the trees
 *
 * A commit is visible a moment before its callback enters it. Whoever compares a tree with the table must know
 * that no callback is missing, and can't wait for it by a lock on the table: a lock that waits for one writer holds up all
 * that come after it. So each process says here which transaction it is about to make visible, until it has entered it.
 *
 * The order of things makes it exact: a process writes its id before ProcArrayEndTransaction(), so who sees the
 * transaction sees the id; and takes it back after it has let go of the boards' locks.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "compat.h"
#include "rank/commits.h"

/* Of each process: the full id of its transaction, or 0. */
static pg_atomic_uint64 *entering = NULL;

/* This process has said something. */
static bool begun = false;

Size
rank_commits_shmem_size(void)
{
	return mul_size(MaxBackends, sizeof(pg_atomic_uint64));
}

void
rank_commits_attach(void)
{
	bool		found;

	entering = ShmemInitStruct("scoreboard rank commits", rank_commits_shmem_size(), &found);
	for (int process = 0; process < MaxBackends && !found; process++)
		pg_atomic_init_u64(&entering[process], 0);
}

void
rank_commits_begin(FullTransactionId xid)
{
	if (entering == NULL)
		return;
	pg_atomic_write_u64(&entering[compat_my_proc_number], U64FromFullTransactionId(xid));
	begun = true;
}

void
rank_commits_end(void)
{
	if (!begun)
		return;
	pg_write_barrier();
	pg_atomic_write_u64(&entering[compat_my_proc_number], 0);
	begun = false;
}

bool
rank_commits_pending(const RankSnapshot *seen)
{
	for (int process = 0; process < MaxBackends; process++)
	{
		uint64		xid = pg_atomic_read_u64(&entering[process]);

		if (xid != 0 && rank_board_sees(seen, FullTransactionIdFromU64(xid)))
			return true;
	}
	return false;
}
