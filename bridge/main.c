/*
 * main.c - start, signals, end
 *
 * The order of the start matters. First what all workers share, or inherit: the
 * certificate, the limit of open files, by which the library sizes its table,
 * the tables in shared memory, pages, and the listening sockets, so that a port
 * that is taken ends the process before the database is bothered. Then there are
 * workers, if there are to be several (supervisor.c), and each starts what is its
 * own: its loop, the library on it (the others use both), the database.
 * The line "listening" is the last thing before the loop.
 *
 * SIGTERM and SIGINT end in steps, each at its own pace on the loop:
 *
 *	stop accepting -> streams are told 1001, a slice a turn -> increments in
 *	flight are answered (at most drain_timeout) -> connections are cut -> done
 *
 * A second one ends at once. SIGHUP has the certificate read anew; SIGPIPE is
 * ignored. A worker is told by its supervisor alone, by SIGTERM: a terminal's
 * Ctrl-C reaches both.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "boards.h"
#include "client.h"
#include "exchange.h"
#include "feed.h"
#include "hub.h"
#include "listener.h"
#include "log.h"
#include "metrics.h"
#include "metrics_database.h"
#include "newest.h"
#include "own_ranks.h"
#include "pages.h"
#include "pg_pool.h"
#include "players.h"
#include "service.h"
#include "smoke.h"
#include "supervisor.h"
#include "tls.h"
#include "visitors.h"
#include "workers.h"
#include "ws.h"

/* Descriptors that are not clients (the database, libuv, pages): what will do, and what is plenty. */
#define NEEDED_FILES 128
#define SPARE_FILES 1024

#define DRAIN_TURN_MS 10
#define DRAIN_SLICE 200			/* streams a turn: 10,000 in half a second */
#define CLOSING_MS 500
#define PARTING_MS 500			/* for the last bytes to leave */

typedef struct Program
{
	Bridge		bridge;
	uv_signal_t signals[3];
	int			signal_count;
	uv_timer_t	tick;
	uv_timer_t	drain;
	uv_prepare_t turn;			/* before the loop sleeps: the log goes out */
	uint64_t	drain_until;	/* ms */
	uint64_t	quiet_since;	/* ms, 0: something is still in flight */
} Program;

/* ---- open files ---- */

/* A WebSocket over TLS has a pair of sockets besides its own, see relay.c. */
#define FILES_OF_A_CLIENT(options) ((options)->tls_certificate[0] ? 3 : 1)

/* Whoever starts us may have closed 0, 1 and 2. A client's socket in their place would get the log. */
static bool
keep_standard_files(void)
{
	int			file;

	do
		file = open("/dev/null", O_RDWR);
	while (file >= 0 && file <= STDERR_FILENO);
	if (file < 0)
		return false;
	close(file);
	return true;
}

/*
 * Raises the limit to what the clients need, as far as that is allowed, and
 * promises no more clients than that. Never higher: the library's table has a
 * place for every descriptor, and a hard limit may be a thousand million.
 */
static bool
limit_files(Options *options)
{
	struct rlimit limit;
	int64_t		wanted = options->max_connections;
	int64_t		files = FILES_OF_A_CLIENT(options);
	int64_t		room;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	limit.rlim_cur = (rlim_t) (wanted * files + SPARE_FILES);
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	room = ((int64_t) limit.rlim_cur - NEEDED_FILES) / files;
	if (room < 1)
	{
		fprintf(stderr, "scoreboard-bridge: a limit of %lld open files is too low, %lld are needed at least, and more for more clients: ulimit -n, or systemd's LimitNOFILE\n",
				(long long) limit.rlim_cur, (long long) (NEEDED_FILES + files));
		return false;
	}
	if (room >= wanted)
		return true;
	options->max_connections = room;
	log_warn("fewer connections than wanted", LOG_NUMBER("wanted", wanted),
			 LOG_NUMBER("open_files", limit.rlim_cur), LOG_NUMBER("connections", options->max_connections),
			 LOG_TEXT("advice", "raise the limit of open files: ulimit -n, or systemd's LimitNOFILE"));
	return true;
}

/* ---- regular work ---- */

static void
make_date(Bridge *bridge)
{
	time_t		now = time(NULL);
	struct tm	tm;

	gmtime_r(&now, &tm);
	strftime(bridge->date, sizeof(bridge->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static void
tick(uv_timer_t *timer)
{
	Program    *program = timer->data;

	make_date(&program->bridge);
	clients_tick(&program->bridge);
	hub_tick(&program->bridge);
	players_tick(&program->bridge);
	workers_tick(&program->bridge);
	metrics_tick(&program->bridge);
	listener_tick(&program->bridge);
	service_tick(&program->bridge);
}

static void
before_sleep(uv_prepare_t *turn)
{
	(void) turn;
	log_flush();
}

/* ---- the end ---- */

static void
drain_turn(uv_timer_t *timer)
{
	Program    *program = timer->data;
	Bridge	   *bridge = &program->bridge;
	uint64_t	now = uv_now(&bridge->loop);
	bool		busy = hub_drain(bridge, DRAIN_SLICE) > 0 || exchange_count() > 0;

	if (busy || program->quiet_since == 0)
		program->quiet_since = now;
	if (now < program->drain_until && listener_count(bridge) > 0 &&
		(busy || now - program->quiet_since < PARTING_MS))
		return;
	uv_stop(&bridge->loop);
}

static void
begin_end(Program *program)
{
	Bridge	   *bridge = &program->bridge;

	log_info("ending", LOG_NUMBER("streams", hub_streams(bridge)), LOG_NUMBER("increments", batch_pending(bridge)));
	bridge->draining = true;
	service_stopping(bridge);
	program->drain_until = uv_now(&bridge->loop) + (uint64_t) bridge->options.drain_timeout_ms + PARTING_MS;
	listener_stop(bridge);
	uv_timer_start(&program->drain, drain_turn, 0, DRAIN_TURN_MS);
}

static void
on_signal(uv_signal_t *handle, int number)
{
	Program    *program = handle->data;

	if (number == SIGHUP)
	{
		if (tls_is_spoken(&program->bridge))
			tls_reload(&program->bridge);
		else
			log_info("SIGHUP taken; there is nothing to reload");
		return;
	}
	if (!program->bridge.draining)
	{
		begin_end(program);
		return;
	}
	if (program->bridge.workers->count > 1)
		return;
	log_warn("ended at once", LOG_TEXT("advice", "a second signal came: clients saw their connections break, and increments under way have no answer"));
	log_end();
	_exit(1);
}

static void
start_handles(Program *program)
{
	static const int numbers[] = {SIGTERM, SIGHUP, SIGINT};
	uv_loop_t  *loop = &program->bridge.loop;

	signal(SIGPIPE, SIG_IGN);
	program->signal_count = program->bridge.workers->count > 1 ? 2 : 3;
	for (int i = 0; i < program->signal_count; i++)
	{
		uv_signal_init(loop, &program->signals[i]);
		program->signals[i].data = program;
		uv_signal_start(&program->signals[i], on_signal, numbers[i]);
	}
	uv_timer_init(loop, &program->tick);
	uv_timer_init(loop, &program->drain);
	uv_prepare_init(loop, &program->turn);
	program->tick.data = program->drain.data = program;
	uv_timer_start(&program->tick, tick, service_pace(&program->bridge), service_pace(&program->bridge));
	uv_prepare_start(&program->turn, before_sleep);
}

static void
stop_handles(Program *program)
{
	for (int i = 0; i < program->signal_count; i++)
		uv_close((uv_handle_t *) &program->signals[i], NULL);
	uv_close((uv_handle_t *) &program->tick, NULL);
	uv_close((uv_handle_t *) &program->drain, NULL);
	uv_close((uv_handle_t *) &program->turn, NULL);
}

/*
 * Lets the loop work off what was closed; false where something doesn't end: a
 * name look-up in a thread of libuv's can't be broken off, and a resolver that
 * hangs must not keep an ended bridge.
 */
static bool
close_handles(uv_loop_t *loop)
{
	uint64_t	until = uv_hrtime() + CLOSING_MS * UINT64_C(1000000);

	while (uv_run(loop, UV_RUN_NOWAIT) != 0)
	{
		if (uv_hrtime() >= until)
			return false;
		usleep(1000);
	}
	return true;
}

static void
unprepare(Bridge *bridge)
{
	players_free(bridge);
	pages_free(bridge);
	tls_free(bridge);
	listener_free(bridge);
	visitors_free(bridge);
	newest_free(bridge);
	metrics_free(bridge);
	workers_free(bridge);
}

/* In the order that the library wants: our handles, its context, the loop, the rest of it. */
static void
end(Program *program)
{
	Bridge	   *bridge = &program->bridge;

	listener_stop(bridge);
	batch_stop(bridge);
	metrics_database_stop(bridge);
	own_ranks_stop(bridge);
	feed_stop(bridge);
	pg_pool_stop(bridge);
	clients_stop(bridge);
	hub_stop(bridge);
	stop_handles(program);
	service_stop(bridge);
	ws_stop(bridge);
	if (close_handles(&bridge->loop))
	{
		ws_free(bridge);
		uv_loop_close(&bridge->loop);
		hub_free(bridge);
		boards_free(bridge);
		clients_free(bridge);
		unprepare(bridge);
	}
	log_info("ended");
	log_end();
}

/* What all workers share, or inherit. */
static bool
prepare(Bridge *bridge)
{
	if (!tls_start(bridge) || !limit_files(&bridge->options))
		return false;
	workers_start(bridge);
	metrics_start(bridge);
	newest_start(bridge);
	players_start(bridge);
	visitors_start(bridge);
	return pages_start(bridge) && listener_open(bridge);
}

static bool
start(Program *program)
{
	Bridge	   *bridge = &program->bridge;

	uv_loop_init(&bridge->loop);
	bridge->began = uv_now(&bridge->loop);
	make_date(bridge);
	metrics_take(bridge);
	workers_own(bridge)->pid = getpid();
	boards_start(bridge);
	hub_start(bridge);
	clients_start(bridge);
	if (!ws_start(bridge))
		return false;
	listener_start(bridge);
	if (bridge->workers->count == 1)
		service_start(bridge);
	start_handles(program);
	pg_pool_start(bridge);
	batch_start(bridge);
	feed_start(bridge);
	metrics_database_start(bridge);
	own_ranks_start(bridge);
	workers_tick(bridge);
	listener_tick(bridge);
	return true;
}

/* One worker, to its end. */
static int
work(Program *program)
{
	if (!start(program))
	{
		log_end();
		return 1;
	}
	if (program->bridge.workers->count == 1)
		listener_announce(&program->bridge);
	else
		supervisor_let_signals_in();
	log_flush();
	uv_run(&program->bridge.loop, UV_RUN_DEFAULT);
	end(program);
	return 0;
}

int
main(int argc, char **argv)
{
	static Program program;
	int			status;

	if (!keep_standard_files())
		return 1;
	switch (options_read(&program.bridge.options, argc, argv))
	{
		case OPTIONS_DONE:
			return 0;
		case OPTIONS_BAD:
			return 2;
		case OPTIONS_RUN:
			break;
	}
	if (program.bridge.options.smoke[0])
		return smoke(&program.bridge.options);
	if (program.bridge.options.workers == 1)
		log_start();
	log_set_level_by_name(program.bridge.options.log_level);
	if (!prepare(&program.bridge))
	{
		log_end();
		return 1;
	}
	if (program.bridge.workers->count > 1 && supervise(&program.bridge, &status))
	{
		unprepare(&program.bridge);
		log_end();
		return status;
	}
	return work(&program);
}
