/*
 * Runs a command, and when that has ended or we are told to end, ends every process that came of it, then cleans up.
 *
 *   contain [-f] CLEANER COMMAND [ARGUMENT...]      CLEANER: a shell script, run last; -f: see foreground()
 *
 * Two processes: the one that was started, and the keeper below it, which starts the command. Both are subreapers (prctl(2)):
 * whatever loses its parent down there, a daemon in a session of its own too, becomes a child of the keeper, so "until I have no
 * children" is everything, and nothing else can be hit. The keeper is told by the kernel when the first dies, and the first
 * inherits from a killed keeper; the keeper stands in a session of its own, so that no Ctrl-C and no kill of a process group
 * reaches both. That takes no privileges, no namespaces and no cgroup.
 *
 * The exit status is the command's; of one that didn't end well when it was told to, 128 + the signal that we got.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sigset_t heard;			/* what we wait for; blocked always */
static sigset_t inherited;		/* the mask that the command gets */

static void
fail(const char *what)
{
	fprintf(stderr, "contain: %s: %s\n", what, strerror(errno));
	exit(125);
}

/* A command, in a process of its own with this signal mask. */
static pid_t
start(char **command, const sigset_t *mask)
{
	pid_t		pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid == 0)
	{
		sigprocmask(SIG_SETMASK, mask, NULL);
		execvp(command[0], command);
		fail(command[0]);
	}
	return pid;
}

/* Waits for a child or a signal, a tenth of a second at most. Returns the signal that tells us to end, or 0. */
static int
pause_for_news(void)
{
	int			got = sigtimedwait(&heard, NULL, &(struct timespec) {.tv_nsec = 100 * 1000 * 1000});

	return got == SIGINT || got == SIGTERM || got == SIGHUP ? got : 0;
}

/* Reaps whatever has ended; the one asked for leaves its status. False if there is no child any more. */
static bool
reap(pid_t wanted, int *status)
{
	for (;;)
	{
		int			ended;
		pid_t		pid = waitpid(-1, &ended, WNOHANG);

		if (pid <= 0)
			return pid == 0;
		if (pid == wanted)
			*status = ended;
	}
}

static void
signal_children(int first, int second)
{
	char		path[64];
	FILE	   *file;
	int			pid;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int) getpid());
	if ((file = fopen(path, "r")) == NULL)
		fail(path);
	while (fscanf(file, "%d", &pid) == 1)
	{
		kill(pid, first);
		kill(pid, second);
	}
	fclose(file);
}

/*
 * Ends all that is left, again and again since the end of one makes another our child. A postmaster takes TERM and INT as a fast
 * shutdown and QUIT as an immediate one: both give its shared memory back.
 */
static void
end_children(void)
{
	static const struct
	{
		int			first,
					second,
					tenths;
	}			rounds[] = {{SIGTERM, SIGINT, 100}, {SIGQUIT, SIGQUIT, 70}, {SIGKILL, SIGKILL, 100}};
	int			ignored;

	for (size_t i = 0; i < sizeof rounds / sizeof rounds[0]; i++)
		for (int wait = 0; wait < rounds[i].tenths; wait++)
		{
			if (!reap(0, &ignored))
				return;
			signal_children(rounds[i].first, rounds[i].second);
			pause_for_news();
		}
}

static void
clean_up(char *cleaner)
{
	int			ignored;
	pid_t		pid;

	end_children();
	pid = start((char *[]) {"sh", "-c", cleaner, NULL}, &heard);
	waitpid(pid, &ignored, 0);
}

/* Waits for one child; who tells us to end tells it. A command that doesn't hear has 15 seconds. Returns our exit status. */
static int
wait_for(pid_t child, bool is_keeper, bool *was_killed)
{
	int			status = -1,
				told = 0,
				patience = 150;

	while (reap(child, &status) && status == -1 && (patience > 0 || is_keeper))
	{
		int			got = pause_for_news();

		if (got != 0)
		{
			kill(child, SIGTERM);
			told = got;
		}
		patience -= told != 0;
	}
	*was_killed = status == -1 || WIFSIGNALED(status);
	if (told != 0 && status != 0)
		return 128 + told;
	return *was_killed ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/*
 * On a terminal, Ctrl-C shall reach us and not the make above us, which would call an orderly end an error: so we take the
 * terminal for a process group of our own, and give it back. (SIGTTOU is blocked: we may.) Returns whom to give it back to.
 */
static pid_t
foreground(void)
{
	pid_t		group = getpgrp();

	if (!isatty(0) || tcgetpgrp(0) != group)
		return 0;
	setpgid(0, 0);
	tcsetpgrp(0, getpgrp());
	sigaddset(&heard, SIGTSTP);		/* nobody could continue us */
	sigprocmask(SIG_BLOCK, &heard, NULL);
	return group;
}

int
main(int argc, char **argv)
{
	bool		take_terminal = argc > 1 && strcmp(argv[1], "-f") == 0;
	char	  **command = argv + 2 + take_terminal;
	pid_t		terminal_of = 0,
				first = getpid(),
				keeper;
	int			status;
	bool		was_killed;

	if (argc < 3 + take_terminal)
		return 125;
	sigemptyset(&heard);
	for (const int *s = (const int[]) {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGTTOU, 0}; *s != 0; s++)
		sigaddset(&heard, *s);
	sigprocmask(SIG_BLOCK, &heard, &inherited);
	if (take_terminal)
		terminal_of = foreground();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
		fail("prctl");

	if ((keeper = fork()) < 0)
		fail("fork");
	if (keeper == 0)
	{
		setsid();
		prctl(PR_SET_CHILD_SUBREAPER, 1);	/* fork doesn't hand it on */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != first)
			raise(SIGTERM);
		dup2(open("/dev/null", O_RDONLY), 0);
		status = wait_for(start(command, &inherited), false, &was_killed);
		clean_up(command[-1]);
		_exit(status);
	}
	status = wait_for(keeper, true, &was_killed);
	if (was_killed)
		clean_up(command[-1]);
	if (terminal_of != 0)
		tcsetpgrp(0, terminal_of);
	return status;
}
