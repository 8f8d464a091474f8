/*
 * tallies.c - counts over all workers: limits, the oldest that gives way, and what workers that are killed anywhere leave behind
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "limiter.h"
#include "shared.h"
#include "tally.h"
#include "tap.h"

#define WORKERS 4
#define PLACES 64
#define KEYS 8
#define KILLS 400

static TallyKey
key(uint64_t number)
{
	return (TallyKey) {{number * 3, number}};
}

static void
check_counts(void)
{
	Tally	   *tally = tally_new(WORKERS, PLACES, 42);
	TallyKey	one = key(1);
	TallyKey	other = key(2);
	TallyEntry *entries[4];

	for (int i = 0; i < 4; i++)
		entries[i] = tally_count(tally, i % 2, &one, 4);
	tap_ok(entries[0] && entries[3] && entries[0] == entries[2] && entries[0] != entries[1], "each worker has one entry for a key");
	tap_ok(!tally_count(tally, 0, &one, 4) && !tally_count(tally, 3, &one, 4), "and all of them together not more than there may be");
	tap_ok(tally_count(tally, 3, &other, 4) != NULL, "of this key");
	tally_leave(tally, 1, entries[1]);
	tap_ok(tally_count(tally, 2, &one, 4) && !tally_count(tally, 1, &one, 4), "one that has left makes room, wherever");
	tally_forget(tally, 0);
	tap_ok(tally_count(tally, 1, &one, 4) && tally_count(tally, 1, &one, 4) && !tally_count(tally, 1, &one, 4), "a dead worker's are given back, the others' are not");
	tally_free(tally);
}

static void
check_oldest(void)
{
	Tally	   *tally = tally_new(WORKERS, PLACES, 42);
	TallyKey	one = key(1);
	TallyEntry *entries[5];
	int			count = 0;

	for (int i = 0; i < 5; i++)
		entries[i] = tally_join(tally, i % WORKERS, &one, 3);
	tap_ok(entries[0]->replaced && entries[1]->replaced && !entries[2]->replaced && !entries[3]->replaced && !entries[4]->replaced,
		   "the oldest are replaced, in whatever worker they are");
	tally_leave(tally, 0, entries[0]);
	tally_leave(tally, 3, entries[3]);
	tap_ok(!tally_join(tally, 0, &one, 3)->replaced && !entries[2]->replaced, "who has left is no more one of them");
	tally_forget(tally, 2);
	tap_ok(!tally_join(tally, 1, &one, 3)->replaced && !entries[4]->replaced, "nor who was in a worker that died");
	while (tally_join(tally, 2, &one, PLACES * WORKERS))
		count++;
	tap_ok(count == PLACES, "a worker has so many places");
	tally_free(tally);
}

/* ---- killed anywhere ---- */

/* What a worker does all the time, in a child, until it is killed. */
static void __attribute__((noreturn))
work(Tally *tally, Limiter *limiter, int worker)
{
	TallyEntry *held[KEYS] = {NULL};

	srand((unsigned) getpid());
	for (;;)
	{
		int			number = rand() % KEYS;
		TallyKey	some = key((uint64_t) number);
		struct in6_addr address = {.s6_addr = {10, (unsigned char) rand(), (unsigned char) rand()}};
		bool		begins;

		limiter_take(limiter, &address, 1000, &begins);
		if (held[number])
			tally_leave(tally, worker, held[number]);
		held[number] = held[number] ? NULL : rand() % 2 ? tally_join(tally, worker, &some, 3) : tally_count(tally, worker, &some, 3);
	}
}

static pid_t
start(Tally *tally, Limiter *limiter, int worker)
{
	pid_t		pid = fork();

	if (pid == 0)
		work(tally, limiter, worker);
	return pid;
}

/* One worker after the other is killed, wherever it is; the others go on. */
static void
check_kills(void)
{
	Tally	   *tally = tally_new(WORKERS, PLACES, 42);
	Limiter    *limiter = limiter_new(3, 1024, 42);
	pid_t		pids[WORKERS];
	int			free_places = 0;
	bool		begins;
	struct in6_addr address = {.s6_addr = {11}};

	for (int i = 0; i < WORKERS; i++)
		pids[i] = start(tally, limiter, i);
	for (int i = 0; i < KILLS + WORKERS; i++)
	{
		int			worker = i % WORKERS;

		nanosleep(&(struct timespec) {0, 200000 + rand() % 2000000}, NULL);
		kill(pids[worker], SIGKILL);
		waitpid(pids[worker], NULL, 0);
		tally_forget(tally, worker);
		if (i < KILLS)
			pids[worker] = start(tally, limiter, worker);
	}
	for (int number = 0; number < KEYS; number++)
	{
		TallyKey	some = key((uint64_t) number);

		free_places += tally_count(tally, 0, &some, 1) != NULL;
	}
	tap_ok(free_places == KEYS, "after many workers were killed in the middle of it nothing is counted that isn't there");
	tap_ok(limiter_take(limiter, &address, 1000, &begins) == 0 && limiter_take(limiter, &address, 1000, &begins) == 0 &&
		   limiter_take(limiter, &address, 1000, &begins) == 0 && limiter_take(limiter, &address, 1000, &begins) > 0, "and requests are limited");
	tally_free(tally);
	limiter_free(limiter);
}

static void
check_lock(void)
{
	pthread_mutex_t *lock = shared_alloc(sizeof(*lock));
	pid_t		pid;

	shared_lock_start(lock);
	pid = fork();
	if (pid == 0)
	{
		shared_lock(lock);
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, NULL, 0);
	tap_ok(shared_lock(lock), "who gets the lock of one that died with it is told so");
	shared_unlock(lock);
	tap_ok(!shared_lock(lock), "once");
	shared_unlock(lock);
	shared_free(lock, sizeof(*lock));
}

int
main(void)
{
	check_counts();
	check_oldest();
	check_lock();
	check_kills();
	return tap_done();
}
