/*
 * shared.c - memory that all workers of a bridge see
 *
 * Made before the workers are: an anonymous shared mapping that each inherits.
 * A bridge without workers has it too, and shares it with nobody.
 *
 * The locks are robust: the kernel passes on what a killed process held.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "shared.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

void *
shared_alloc(size_t size)
{
	void	   *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	return memory;
}

void
shared_free(void *memory, size_t size)
{
	munmap(memory, size);
}

void
shared_lock_start(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

bool
shared_lock(pthread_mutex_t *lock)
{
	switch (pthread_mutex_lock(lock))
	{
		case 0:
			return false;
		case EOWNERDEAD:
			pthread_mutex_consistent(lock);
			return true;
		default:
			abort();
	}
}

void
shared_unlock(pthread_mutex_t *lock)
{
	pthread_mutex_unlock(lock);
}
