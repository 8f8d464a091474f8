/*
 * service.c - readiness, watchdog and sockets of a service manager
 *
 * systemd's protocols, which others speak as well: sd_notify(3) is a datagram
 * of lines to the socket that NOTIFY_SOCKET names, sd_listen_fds(3) are
 * descriptors from 3 on. Both are a few lines, stable and documented to be
 * spoken without the library.
 *
 * The bridge is ready once each worker has read the lists, or has tried for some
 * seconds (workers.c): without its database it serves as well as it can, and must
 * not be started again and again for that. The watchdog is fed while the loop of
 * each worker turns, so a bridge with one that hangs is ended; one that has died
 * is its supervisor's business.
 *
 * Whoever is the service's main process tells all of it: the only worker, or the
 * supervisor.
 *
 * Nothing here ever waits, and nobody has to listen.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "workers.h"

#define FIRST_DESCRIPTOR 3

#define PACE_MS 100
#define TURN_MS 1000			/* a busy loop may take that long for a turn */

typedef struct Service
{
	struct sockaddr_un address;
	socklen_t	address_size;
	int			fd;				/* -1: nobody wants to hear anything */
	uint64_t	hungry_ms;		/* how often the watchdog is fed; 0: there is none */
	uint64_t	fed;			/* ms */
	bool		ready;
	const char *status;			/* the last one told */
} Service;

/* ---- sockets that we were given ---- */

static bool
is_listening(int fd)
{
	int			type = 0;
	int			listening = 0;
	socklen_t	size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
		return false;
	size = sizeof(int);
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

/* Is the descriptor's name in the list with colons "metrics"? */
static bool
is_for_metrics(int index)
{
	const char *names = getenv("LISTEN_FDNAMES");

	for (; names && index > 0; index--)
	{
		names = strchr(names, ':');
		names = names ? names + 1 : NULL;
	}
	return names && strcspn(names, ":") == 7 && strncmp(names, "metrics", 7) == 0;
}

int
service_sockets(bool metrics, ListenSocket sockets[SOCKETS_MAX])
{
	const char *whose = getenv("LISTEN_PID");
	const char *given = getenv("LISTEN_FDS");
	int			count = 0;

	/* The variables may be meant for whoever started us. */
	if (whose == NULL || given == NULL || atoi(whose) != getpid())
		return 0;
	for (int i = 0; i < atoi(given); i++)
	{
		int			fd = FIRST_DESCRIPTOR + i;

		if (is_for_metrics(i) != metrics)
			continue;
		if (count == SOCKETS_MAX || !is_listening(fd) || fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		{
			fprintf(stderr, "scoreboard-bridge: LISTEN_FDS: descriptor %d %s\n", fd,
					count == SOCKETS_MAX ? "is one too many" : "is no listening stream socket");
			return -1;
		}
		sockets[count].fd = fd;
		sockets[count++].file.path[0] = '\0';
	}
	return count;
}

/* ---- what we tell ---- */

static void
tell(const Service *service, const char *lines)
{
	if (service->fd >= 0 && sendto(service->fd, lines, strlen(lines), MSG_DONTWAIT | MSG_NOSIGNAL,
								   (const struct sockaddr *) &service->address, service->address_size) < 0)
		log_debug("service manager not reached", LOG_TEXT("reason", strerror(errno)));
}

static const char *
status_now(const Bridge *bridge, const WorkersAll *all)
{
	if (all->draining || bridge->draining)
		return "STATUS=ending: streams are told, requests in flight are answered";
	if (all->running < bridge->workers->count)
		return "STATUS=a worker has died and is being started again";
	if (!all->live)
		return "STATUS=without its database: lists may be old, or are not known yet";
	return all->taking ? "STATUS=live" : "STATUS=lists are live, increments are refused";
}

/* Has each worker's loop turned since it could last have been missed? */
static bool
all_turn(const Bridge *bridge, uint64_t now, uint64_t within)
{
	for (int i = 0; i < bridge->workers->count; i++)
	{
		const WorkerState *state = &bridge->workers->states[i];
		uint64_t	beat = state->beat;

		if (state->pid && beat && now > beat && now - beat > within)
			return false;
	}
	return true;
}

static void
feed_watchdog(const Bridge *bridge)
{
	Service    *service = bridge->service;
	uint64_t	now = workers_clock();

	if (service->hungry_ms == 0 || now - service->fed < service->hungry_ms ||
		!all_turn(bridge, now, service->hungry_ms < TURN_MS ? TURN_MS : service->hungry_ms))
		return;
	service->fed = now;
	tell(service, "WATCHDOG=1");
}

void
service_tick(Bridge *bridge)
{
	Service    *service = bridge->service;
	WorkersAll	all;
	const char *status;

	if (service == NULL)
		return;
	all = workers_all(bridge);
	status = status_now(bridge, &all);
	if (status != service->status)
		tell(service, status);
	service->status = status;
	if (!service->ready && all.ready)
		tell(service, "READY=1");
	service->ready = service->ready || all.ready;
	feed_watchdog(bridge);
}

uint64_t
service_pace(const Bridge *bridge)
{
	const Service *service = bridge->service;

	return service && service->hungry_ms && service->hungry_ms < PACE_MS ? service->hungry_ms : PACE_MS;
}

void
service_stopping(Bridge *bridge)
{
	if (bridge->service)
		tell(bridge->service, "STOPPING=1");
}

/* ---- coming and going ---- */

/* NOTIFY_SOCKET: a path, or behind @ a name without a file. */
static void
open_notify(Service *service)
{
	const char *name = getenv("NOTIFY_SOCKET");
	size_t		length = name ? strlen(name) : 0;

	service->fd = -1;
	if (length < 2 || (name[0] != '/' && name[0] != '@') || length >= sizeof(service->address.sun_path))
		return;
	service->address.sun_family = AF_UNIX;
	memcpy(service->address.sun_path, name, length);
	if (name[0] == '@')
		service->address.sun_path[0] = '\0';
	service->address_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length);
	service->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* Fed twice in the time that it is given. */
static void
know_watchdog(Service *service)
{
	const char *time = getenv("WATCHDOG_USEC");
	const char *whose = getenv("WATCHDOG_PID");
	long long	us = time ? atoll(time) : 0;

	if (us > 0 && (whose == NULL || atoi(whose) == getpid()))
		service->hungry_ms = us < 4000 ? 1 : (uint64_t) us / 2000;
}

void
service_start(Bridge *bridge)
{
	Service    *service = calloc(1, sizeof(*service));

	if (service == NULL)
		abort();
	bridge->service = service;
	open_notify(service);
	know_watchdog(service);
}

void
service_stop(Bridge *bridge)
{
	Service    *service = bridge->service;

	bridge->service = NULL;
	if (service && service->fd >= 0)
		close(service->fd);
	free(service);
}
