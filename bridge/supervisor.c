/*
 * supervisor.c - the process above several workers
 *
 * Forks them after everything that they share was made (main.c) and before
 * anything was started that doesn't survive a fork: it has no loop, no
 * connection to the database and no thread. It keeps the listening sockets open,
 * so that whoever comes while a worker is away waits for another one, and serves
 * nobody itself.
 *
 * A worker that ends unasked is started again, after a pause that grows while
 * that goes on. What it had in shared memory is given back first: its
 * connections under their addresses, its players' streams, its subscribers; its
 * counters stay, and its successor counts on. One that ends before the bridge has
 * begun ends the bridge: what is wrong would be wrong again.
 *
 * SIGTERM and SIGINT: the sockets are closed, the workers told, and waited for;
 * a second one kills them. SIGHUP: the certificate is read here first (for
 * workers to come, and for the keys of tickets), then by each. If the
 * supervisor is killed the kernel tells the workers to end (PR_SET_PDEATHSIG).
 *
 * It is the service's main process, and speaks for the bridge (service.c).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "supervisor.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "listener.h"
#include "log.h"
#include "metrics.h"
#include "newest.h"
#include "players.h"
#include "random.h"
#include "service.h"
#include "tls.h"
#include "workers.h"

#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 5000
#define PROVED_MS 10000			/* one that lived so long is started without more ado */

typedef struct Charge
{
	pid_t		pid;			/* 0: it isn't there */
	uint64_t	started;		/* ms */
	uint64_t	due;			/* ms: when it is started again */
	int64_t		pause;			/* before the last start */
} Charge;

typedef struct Supervisor
{
	Bridge	   *bridge;
	Charge		charges[WORKERS_MAX];
	bool		announced;		/* all have begun once */
	bool		failed;			/* one ended as it should not have */
	bool		is_worker;		/* after a fork, in the child */
} Supervisor;

static sigset_t signals;

void
supervisor_let_signals_in(void)
{
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
}

/* ---- starting ---- */

/* In the child. */
static void
become_worker(Bridge *bridge, int number, pid_t parent)
{
	signal(SIGINT, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* It may have died before that. */
	if (getppid() != parent)
		_exit(1);
	random_forget();
	bridge->worker = number;
	service_stop(bridge);
	log_info("worker started", LOG_NUMBER("pid", getpid()));
}

static void
start_worker(Supervisor *supervisor, int number)
{
	Charge	   *charge = &supervisor->charges[number];
	pid_t		self = getpid();
	pid_t		pid = log_fork(number + 1);

	if (pid == 0)
	{
		supervisor->is_worker = true;
		become_worker(supervisor->bridge, number, self);
		return;
	}
	charge->started = workers_clock();
	if (pid < 0)
	{
		log_error("worker not started", LOG_NUMBER("worker", number + 1), LOG_TEXT("reason", strerror(errno)),
				  LOG_TEXT("advice", "the others serve meanwhile; raise the limit of processes or memory"));
		charge->due = charge->started + LONGEST_PAUSE_MS;
		return;
	}
	charge->pid = pid;
	supervisor->bridge->workers->states[number].pid = pid;
}

/* Those that are due. */
static void
start_workers(Supervisor *supervisor)
{
	Workers    *workers = supervisor->bridge->workers;

	for (int i = 0; i < workers->count && !supervisor->is_worker; i++)
	{
		const Charge *charge = &supervisor->charges[i];

		if (charge->pid || charge->due > workers_clock())
			continue;
		if (charge->started)
			workers->restarts++;
		start_worker(supervisor, i);
	}
}

/* ---- ending ---- */

static int
running(const Supervisor *supervisor)
{
	int			count = 0;

	for (int i = 0; i < supervisor->bridge->workers->count; i++)
		count += supervisor->charges[i].pid != 0;
	return count;
}

static void
tell_all(const Supervisor *supervisor, int number)
{
	for (int i = 0; i < supervisor->bridge->workers->count; i++)
		if (supervisor->charges[i].pid)
			kill(supervisor->charges[i].pid, number);
}

static void
begin_end(Supervisor *supervisor)
{
	Bridge	   *bridge = supervisor->bridge;

	log_info("ending", LOG_NUMBER("workers", running(supervisor)));
	bridge->draining = true;
	service_stopping(bridge);
	listener_close(bridge);
	tell_all(supervisor, SIGTERM);
}

/* What it had in the shared memory is nobody's any more. */
static void
give_back(Bridge *bridge, int number)
{
	listener_forget(bridge, number);
	players_forget(bridge, number);
	newest_forget(bridge, number);
	metrics_forget(bridge, number);
	memset((void *) &bridge->workers->states[number], 0, sizeof(WorkerState));
}

static void
plan_restart(Charge *charge)
{
	uint64_t	now = workers_clock();

	if (now - charge->started >= PROVED_MS)
		charge->pause = 0;
	charge->due = now + (uint64_t) random_pause(&charge->pause, FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
}

static void
worker_ended(Supervisor *supervisor, int number, int how)
{
	Charge	   *charge = &supervisor->charges[number];
	Bridge	   *bridge = supervisor->bridge;
	bool		begun = bridge->workers->states[number].beat != 0;

	give_back(bridge, number);
	charge->pid = 0;
	supervisor->failed = supervisor->failed || (bridge->draining && how != 0);
	if (bridge->draining)
		return;
	plan_restart(charge);
	if (WIFSIGNALED(how))
		log_error("worker died", LOG_NUMBER("worker", number + 1), LOG_NUMBER("signal", WTERMSIG(how)), LOG_NUMBER("pause_ms", charge->due - workers_clock()),
				  LOG_TEXT("advice", "it is started again after the pause; signal 9: the memory limit, or somebody's kill; another: a defect, keep the core"));
	else
		log_error("worker ended", LOG_NUMBER("worker", number + 1), LOG_NUMBER("status", WEXITSTATUS(how)), LOG_NUMBER("pause_ms", charge->due - workers_clock()),
				  LOG_TEXT("advice", "it is started again after the pause; its own lines before say why"));
	if (supervisor->announced || begun)
		return;
	supervisor->failed = true;
	begin_end(supervisor);
}

static void
reap(Supervisor *supervisor)
{
	pid_t		pid;
	int			how;

	while ((pid = waitpid(-1, &how, WNOHANG)) > 0)
		for (int i = 0; i < supervisor->bridge->workers->count; i++)
			if (supervisor->charges[i].pid == pid)
				worker_ended(supervisor, i, how);
}

/* ---- the loop ---- */

/* False: it ends at once. */
static bool
take_signal(Supervisor *supervisor, int number)
{
	Bridge	   *bridge = supervisor->bridge;

	switch (number)
	{
		case SIGHUP:
			if (tls_is_spoken(bridge))
			{
				tls_reload(bridge);
				tell_all(supervisor, SIGHUP);
			}
			else
				log_info("SIGHUP taken; there is nothing to reload");
			return true;
		case SIGTERM:
		case SIGINT:
			if (bridge->draining)
				return false;
			begin_end(supervisor);
			return true;
		default:
			return true;		/* SIGCHLD: reap() looks each time */
	}
}

/* The first time that all loops turn. */
static void
announce(Supervisor *supervisor)
{
	Bridge	   *bridge = supervisor->bridge;

	if (supervisor->announced || bridge->draining || workers_all(bridge).answering < bridge->workers->count)
		return;
	supervisor->announced = true;
	listener_announce(bridge);
}

static void
look_after(Supervisor *supervisor)
{
	Bridge	   *bridge = supervisor->bridge;
	int64_t		pace = (int64_t) service_pace(bridge) * 1000000;
	const struct timespec wait = {pace / 1000000000, pace % 1000000000};

	reap(supervisor);
	if (!bridge->draining)
		start_workers(supervisor);
	if (supervisor->is_worker)
		return;
	announce(supervisor);
	service_tick(bridge);
	log_flush();
	if (take_signal(supervisor, sigtimedwait(&signals, NULL, &wait)))
		return;
	log_warn("ended at once", LOG_TEXT("advice", "a second signal came: clients saw their connections break, and increments under way have no answer"));
	supervisor->failed = true;
	tell_all(supervisor, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	memset(supervisor->charges, 0, sizeof(supervisor->charges));
}

bool
supervise(Bridge *bridge, int *status)
{
	static Supervisor supervisor;

	supervisor.bridge = bridge;
	bridge->worker = SUPERVISOR;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	service_start(bridge);
	while (!supervisor.is_worker && (!bridge->draining || running(&supervisor) > 0))
		look_after(&supervisor);
	if (supervisor.is_worker)
		return false;
	service_stop(bridge);
	*status = supervisor.failed ? 1 : 0;
	log_info("ended");
	return true;
}
