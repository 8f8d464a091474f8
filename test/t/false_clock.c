/*
 * false_clock.c - a clock that a test sets, preloaded into a server (FalseClock.pm)
 *
 * $FALSE_CLOCK names a file of 8 bytes: how many microseconds the wall clock is off, an int64. It is mapped, so that whoever writes to the
 * file sets the clocks of all processes at once. The monotonic clock, timers and waits are true, as where an administrator sets a
 * server's clock.
 *
 * Not libfaketime: it turns itself off while it waits in select(), and PostgreSQL before 16 starts its workers in a handler of a
 * signal that comes then; they would have the true clock for ever. Nothing here allocates or locks, so handlers may ask for the time.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MICROSECONDS 1000000

static const volatile int64_t *offset;

/* Not without the file: a server with a true clock would pass for one with a false one. */
__attribute__((constructor)) static void
map_offset(void)
{
	const char *path = getenv("FALSE_CLOCK");
	int			file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *mapped = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, file, 0);

	if (mapped == MAP_FAILED)
		abort();
	offset = mapped;
	close(file);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
	{
		int64_t		microseconds = (int64_t) now->tv_sec * MICROSECONDS + now->tv_nsec / 1000 + *offset;

		now->tv_sec = (time_t) (microseconds / MICROSECONDS);
		now->tv_nsec = (long) (microseconds % MICROSECONDS * 1000 + now->tv_nsec % 1000);
	}
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void) zone;
	(void) clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *seconds)
{
	struct timespec precise;

	(void) clock_gettime(CLOCK_REALTIME, &precise);
	if (seconds)
		*seconds = precise.tv_sec;
	return precise.tv_sec;
}
