/*
 * listener.c - accepting and counting connections
 *
 * Owns the listening sockets, one uv_poll each, and the table of addresses,
 * which spans all workers. A connection's Seat is its address's entry in that
 * table, so giving it back is one call, whoever has the socket then (a client, or
 * libwebsockets).
 *
 * Workers inherit the same sockets: what one that died had not yet accepted the
 * others do. Each connection wakes all that are idle.
 *
 * A cap that is reached, or any failure here, costs the new connection, never
 * an old one. At most ACCEPTS_A_TURN are taken a turn of the loop, so that a
 * flood of them leaves time for those that are in.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* accept4 */
#include "listener.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "addresses.h"
#include "exchange.h"
#include "log.h"
#include "metrics.h"
#include "metrics_database.h"
#include "metrics_text.h"
#include "random.h"
#include "service.h"
#include "sockets.h"
#include "tls.h"
#include "visitors.h"
#include "workers.h"

#define ACCEPTS_A_TURN 64
#define FULL_PAUSE_MS 100
#define LEFT_PAUSE_MS 2
#define LEAD 64					/* connections more than another worker has, with which new ones are left to that one */
#define SCRAPERS_MAX 8

typedef struct Listener
{
	uv_poll_t	polls[2 * SOCKETS_MAX];
	ListenSocket sockets[2 * SOCKETS_MAX];
	int			count;
	int			for_scrapers;	/* so many are, the first ones */
	Seat		scrapers;		/* counted apart, so that a bridge that is full can still be looked at */
	Seat		proxies;		/* of no address: everybody's connections come from them */
	uv_timer_t	pause;			/* runs while nobody is accepted */
	bool		left;			/* the last ones, to others, who didn't take them all at once */
	bool		for_all;		/* this worker answers the scrapers */
	int			connections;
	Tally	   *addresses;		/* over all workers */
} Listener;

/* ---- addresses ---- */

/* NULL where the address has all it may have. */
static Seat *
address_take(Bridge *bridge, const struct in6_addr *peer)
{
	struct in6_addr address = address_group(peer);
	TallyKey	key;

	memcpy(&key, &address, sizeof(key));
	return tally_count(bridge->listener->addresses, bridge->worker, &key, bridge->options.max_connections_per_address);
}

static void
address_give(Bridge *bridge, Seat *seat)
{
	if (seat == &bridge->listener->proxies)
		seat->count--;
	else
		tally_leave(bridge->listener->addresses, bridge->worker, seat);
}

static void
count_connections(Bridge *bridge, int more)
{
	bridge->listener->connections += more;
	workers_own(bridge)->connections = bridge->listener->connections;
}

void
listener_forget(Bridge *bridge, int worker)
{
	tally_forget(bridge->listener->addresses, worker);
}

void
listener_leave(Bridge *bridge, Seat *seat)
{
	if (seat == &bridge->listener->scrapers)
	{
		seat->count--;
		return;
	}
	count_connections(bridge, -1);
	address_give(bridge, seat);
}

bool
listener_move(Bridge *bridge, Seat **seat, const struct in6_addr *address)
{
	Seat	   *other = address_take(bridge, address);

	if (other == NULL)
		return false;
	address_give(bridge, *seat);
	*seat = other;
	return true;
}

/* ---- accepting ---- */

/* IPv4 as ::ffff:a.b.c.d, a unix socket's as :: */
static struct in6_addr
peer_of(const struct sockaddr_storage *address)
{
	struct in6_addr peer = {0};

	if (address->ss_family == AF_UNIX)
		return peer;
	if (address->ss_family == AF_INET6)
		return ((const struct sockaddr_in6 *) address)->sin6_addr;
	memset(peer.s6_addr + 10, 0xff, 2);
	memcpy(peer.s6_addr + 12, &((const struct sockaddr_in *) address)->sin_addr, 4);
	return peer;
}

/* Takes over the socket in any case. */
static void
admit_scraper(Bridge *bridge, int fd, const struct sockaddr_storage *address)
{
	Seat	   *seat = &bridge->listener->scrapers;
	struct in6_addr peer = peer_of(address);
	Client	   *client;

	if (seat->count == SCRAPERS_MAX)
	{
		close(fd);
		return;
	}
	seat->count++;
	client = client_new(bridge, fd, seat, &peer, false);
	if (client)
		metrics_begin(client);
}

/* Behind a unix socket is a proxy, too, whether its word is taken or not. */
static Seat *
seat_of(Bridge *bridge, const struct in6_addr *peer)
{
	if (!IN6_IS_ADDR_UNSPECIFIED(peer) && !visitors_trust(bridge, peer))
		return address_take(bridge, peer);
	bridge->listener->proxies.count++;
	return &bridge->listener->proxies;
}

/* Takes over the socket in any case. */
static void
admit(Bridge *bridge, int fd, const struct sockaddr_storage *address)
{
	Listener   *listener = bridge->listener;
	struct in6_addr peer = peer_of(address);
	Seat	   *seat = NULL;
	Client	   *client;
	int			on = 1;
	bool		local = address->ss_family == AF_UNIX;

	if (listener->connections < bridge->options.max_connections)
		seat = seat_of(bridge, &peer);
	if (seat == NULL)
	{
		bridge->metrics->connections_refused++;
		log_debug("connection refused", LOG_NUMBER("connections", listener->connections));
		close(fd);
		return;
	}
	count_connections(bridge, 1);
	if (!local)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	client = client_new(bridge, fd, seat, &peer, !local && tls_is_spoken(bridge));
	if (client)
		exchange_begin(client);
}

static void accept_ready(uv_poll_t *poll, int status, int events);

static void
listen_again(uv_timer_t *timer)
{
	Bridge	   *bridge = timer->data;
	Listener   *listener = bridge->listener;

	for (int i = listener->for_all ? 0 : listener->for_scrapers; i < listener->count; i++)
		uv_poll_start(&listener->polls[i], UV_READABLE, accept_ready);
}

static void
pause_accepting(Listener *listener, uint64_t ms)
{
	for (int i = 0; i < listener->count; i++)
		uv_poll_stop(&listener->polls[i]);
	uv_timer_start(&listener->pause, listen_again, ms, 0);
}

/*
 * A connection is work for hours, and whoever wakes first would take them all: a
 * worker that has clearly more than another leaves new ones to that one for a
 * moment; one that is full, or has just been started and has no lists yet, as
 * long as another can take them.
 */
static bool
leave_to_others(Bridge *bridge, bool again)
{
	Listener   *listener = bridge->listener;
	int			least = bridge->workers->count > 1 ? workers_least(bridge) : INT_MAX;
	bool		unable = listener->connections >= bridge->options.max_connections || !workers_own(bridge)->ready;

	if (unable ? least >= bridge->options.max_connections : listener->connections < LEAD || listener->connections - LEAD <= least)
		return false;
	if (again && !unable)
		return false;
	listener->left = true;
	pause_accepting(listener, LEFT_PAUSE_MS);
	return true;
}

/* One more; false where there is none, or it is to wait. */
static bool
accept_one(Bridge *bridge, int fd, bool scraper)
{
	struct sockaddr_storage address;
	socklen_t	size = sizeof(address);
	int			client = accept4(fd, (struct sockaddr *) &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (client >= 0 && scraper)
		admit_scraper(bridge, client, &address);
	else if (client >= 0)
		admit(bridge, client, &address);
	if (client >= 0 || errno == ECONNABORTED || errno == EINTR)
		return true;
	if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
		return false;
	/* Out of descriptors: the queue waits in the kernel instead of spinning here. */
	log_warn("accept paused", LOG_TEXT("reason", strerror(errno)),
			 LOG_TEXT("advice", "new clients wait until descriptors are free; raise the limit of open files, or lower --max-connections"));
	pause_accepting(bridge->listener, FULL_PAUSE_MS);
	return false;
}

static void
accept_ready(uv_poll_t *poll, int status, int events)
{
	Bridge	   *bridge = poll->data;
	Listener   *listener = bridge->listener;
	bool		scraper = poll - listener->polls < listener->for_scrapers;
	bool		again = listener->left;
	uv_os_fd_t	fd;

	(void) events;
	if (status < 0 || uv_fileno((uv_handle_t *) poll, &fd) != 0)
		return;
	listener->left = false;
	for (int turn = 0; turn < ACCEPTS_A_TURN; turn++)
		if ((!scraper && leave_to_others(bridge, again)) || !accept_one(bridge, fd, scraper))
			break;
}

/* ---- starting ---- */

static void
log_listening(const Bridge *bridge, const char *msg, const ListenSocket *socket)
{
	union
	{
		struct sockaddr any;
		struct sockaddr_un file;
		struct sockaddr_storage storage;
	}			address = {0};
	socklen_t	size = sizeof(address.storage) - 1;
	char		host[NI_MAXHOST] = "";
	char		port[NI_MAXSERV] = "0";

	getsockname(socket->fd, &address.any, &size);
	if (address.any.sa_family == AF_UNIX)
	{
		log_always(msg, LOG_TEXT("path", address.file.sun_path),
				   LOG_NUMBER("connections_max", bridge->options.max_connections));
		return;
	}
	getnameinfo(&address.any, size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	log_always(msg, LOG_TEXT("address", host), LOG_NUMBER("port", atoi(port)),
			   LOG_NUMBER("connections_max", bridge->options.max_connections));
}

typedef struct Door
{
	const char *flag;
	const char *list;
	bool		share_port;
	bool		metrics;
} Door;

/* What the service manager has given us, else what the settings say; how many, -1 after a sentence. */
static int
open_door(Bridge *bridge, const Door *door)
{
	Listener   *listener = bridge->listener;
	ListenSocket *sockets = listener->sockets + listener->count;
	int			count = service_sockets(door->metrics, sockets);

	if (count == 0 && door->list[0])
		count = sockets_open(&bridge->options, door->flag, door->list, door->share_port, sockets);
	listener->count += count > 0 ? count : 0;
	return count;
}

/* Before there are workers. */
bool
listener_open(Bridge *bridge)
{
	const Options *options = &bridge->options;
	/* Metrics are never shared: each bridge has numbers of its own. */
	const Door	metrics = {"metrics-listen", options->metrics_listen, false, true};
	const Door	main = {"listen", options->listen, options->share_port, false};
	Listener   *listener = calloc(1, sizeof(*listener));

	if (listener == NULL)
		abort();
	bridge->listener = listener;
	listener->addresses = tally_new((int) options->workers, (size_t) options->max_connections, random_seed());
	listener->for_scrapers = open_door(bridge, &metrics);
	return listener->for_scrapers >= 0 && open_door(bridge, &main) > 0;
}

void
listener_announce(const Bridge *bridge)
{
	const Listener *listener = bridge->listener;

	for (int i = 0; i < listener->count; i++)
		log_listening(bridge, i < listener->for_scrapers ? "listening for scrapers" : "listening", &listener->sockets[i]);
}

void
listener_start(Bridge *bridge)
{
	Listener   *listener = bridge->listener;

	uv_timer_init(&bridge->loop, &listener->pause);
	listener->pause.data = bridge;
	for (int i = 0; i < listener->count; i++)
	{
		uv_poll_init(&bridge->loop, &listener->polls[i], listener->sockets[i].fd);
		listener->polls[i].data = bridge;
		/* A file that others still listen at stays. */
		if (bridge->workers->count > 1)
			listener->sockets[i].file.path[0] = '\0';
	}
	listen_again(&listener->pause);
}

/* One worker answers scrapers for all, so that what they read fits together: the first one. */
void
listener_tick(Bridge *bridge)
{
	Listener   *listener = bridge->listener;
	bool		for_all = workers_first(bridge) == bridge->worker;

	if (for_all == listener->for_all || listener->for_scrapers == 0)
		return;
	listener->for_all = for_all;
	metrics_database_want(bridge, for_all);
	for (int i = 0; i < listener->for_scrapers && i < listener->count; i++)
		if (for_all)
			uv_poll_start(&listener->polls[i], UV_READABLE, accept_ready);
		else
			uv_poll_stop(&listener->polls[i]);
}

bool
listener_scraped(const Bridge *bridge)
{
	return bridge->listener->for_scrapers > 0;
}

void
listener_close(Bridge *bridge)
{
	Listener   *listener = bridge->listener;

	for (int i = 0; listener && i < listener->count; i++)
		sockets_close(&listener->sockets[i]);
	if (listener)
		listener->count = 0;
}

void
listener_stop(Bridge *bridge)
{
	Listener   *listener = bridge->listener;

	for (int i = 0; i < listener->count; i++)
	{
		uv_poll_stop(&listener->polls[i]);
		uv_close((uv_handle_t *) &listener->polls[i], NULL);
	}
	listener_close(bridge);
	if (!uv_is_closing((uv_handle_t *) &listener->pause))
		uv_close((uv_handle_t *) &listener->pause, NULL);
}

void
listener_free(Bridge *bridge)
{
	tally_free(bridge->listener->addresses);
	free(bridge->listener);
	bridge->listener = NULL;
}

int
listener_count(const Bridge *bridge)
{
	return bridge->listener ? bridge->listener->connections : 0;
}
