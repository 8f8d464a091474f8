/*
 * listener.c - accepting and counting connections
 *
 * Owns the listening sockets, one uv_poll each, and the table of addresses. A
 * connection's Seat is its address's entry in that table, so giving it back is
 * one call, whoever has the socket then (a client, or libwebsockets).
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
#include "metrics_text.h"
#include "random.h"
#include "service.h"
#include "sockets.h"
#include "tls.h"
#include "visitors.h"

#define ADDRESS_BUCKETS 8192
#define ACCEPTS_A_TURN 64
#define FULL_PAUSE_MS 100
#define SCRAPERS_MAX 8

struct Seat
{
	Seat	   *next;
	struct in6_addr address;	/* of IPv6 only the first 64 bits */
	int			connections;
};

typedef struct Listener
{
	uv_poll_t	polls[2 * SOCKETS_MAX];
	ListenSocket sockets[2 * SOCKETS_MAX];
	int			count;
	int			for_scrapers;	/* so many are, the first ones */
	Seat		scrapers;		/* counted apart, so that a bridge that is full can still be looked at */
	Seat		proxies;		/* of no address: everybody's connections come from them */
	uv_timer_t	pause;			/* runs while the process is out of descriptors */
	int			connections;
	uint64_t	seed;
	Seat	   *addresses[ADDRESS_BUCKETS];
} Listener;

/* ---- addresses ---- */

static Seat **
address_bucket(Listener *listener, const struct in6_addr *address)
{
	return &listener->addresses[address_hash(address, listener->seed) % ADDRESS_BUCKETS];
}

/* NULL where the address has all it may have, or memory is out. */
static Seat *
address_take(Bridge *bridge, const struct in6_addr *peer)
{
	Listener   *listener = bridge->listener;
	struct in6_addr address = address_group(peer);
	Seat	  **bucket = address_bucket(listener, &address);
	Seat	   *entry;

	for (entry = *bucket; entry; entry = entry->next)
		if (memcmp(&entry->address, &address, sizeof(address)) == 0)
			break;
	if (entry == NULL)
	{
		entry = calloc(1, sizeof(*entry));
		if (entry == NULL)
			return NULL;
		entry->address = address;
		entry->next = *bucket;
		*bucket = entry;
	}
	if (entry->connections >= bridge->options.max_connections_per_address)
		return NULL;
	entry->connections++;
	return entry;
}

static void
address_give(Listener *listener, Seat *entry)
{
	Seat **link;

	if (--entry->connections > 0 || entry == &listener->proxies)
		return;
	for (link = address_bucket(listener, &entry->address); *link != entry;)
		link = &(*link)->next;
	*link = entry->next;
	free(entry);
}

void
listener_leave(Bridge *bridge, Seat *seat)
{
	if (seat == &bridge->listener->scrapers)
	{
		seat->connections--;
		return;
	}
	bridge->listener->connections--;
	address_give(bridge->listener, seat);
}

bool
listener_move(Bridge *bridge, Seat **seat, const struct in6_addr *address)
{
	Seat	   *other = address_take(bridge, address);

	if (other == NULL)
		return false;
	address_give(bridge->listener, *seat);
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

	if (seat->connections == SCRAPERS_MAX)
	{
		close(fd);
		return;
	}
	seat->connections++;
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
	bridge->listener->proxies.connections++;
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
	listener->connections++;
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

	for (int i = 0; i < bridge->listener->count; i++)
		uv_poll_start(&bridge->listener->polls[i], UV_READABLE, accept_ready);
}

static void
accept_ready(uv_poll_t *poll, int status, int events)
{
	Bridge	   *bridge = poll->data;
	Listener   *listener = bridge->listener;
	uv_os_fd_t	fd;

	(void) events;
	if (status < 0 || uv_fileno((uv_handle_t *) poll, &fd) != 0)
		return;
	for (int turn = 0; turn < ACCEPTS_A_TURN; turn++)
	{
		struct sockaddr_storage address;
		socklen_t	size = sizeof(address);
		int			client = accept4(fd, (struct sockaddr *) &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client >= 0)
		{
			if (poll - listener->polls < listener->for_scrapers)
				admit_scraper(bridge, client, &address);
			else
				admit(bridge, client, &address);
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
			return;
		/* Out of descriptors: the queue waits in the kernel instead of spinning here. */
		log_warn("accept paused", LOG_TEXT("reason", strerror(errno)));
		for (int i = 0; i < listener->count; i++)
			uv_poll_stop(&listener->polls[i]);
		uv_timer_start(&listener->pause, listen_again, FULL_PAUSE_MS, 0);
		return;
	}
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
	const char *msg;			/* for the log */
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
	for (int i = 0; i < count; i++, listener->count++)
	{
		uv_poll_t  *poll = &listener->polls[listener->count];

		uv_poll_init(&bridge->loop, poll, sockets[i].fd);
		poll->data = bridge;
		uv_poll_start(poll, UV_READABLE, accept_ready);
		log_listening(bridge, door->msg, &sockets[i]);
	}
	return count;
}

bool
listener_start(Bridge *bridge)
{
	const Options *options = &bridge->options;
	/* Metrics are never shared: each bridge has numbers of its own. */
	const Door	metrics = {"metrics-listen", options->metrics_listen, false, true, "listening for scrapers"};
	const Door	main = {"listen", options->listen, options->share_port, false, "listening"};
	Listener   *listener = calloc(1, sizeof(*listener));

	if (listener == NULL)
		abort();
	bridge->listener = listener;
	listener->seed = (uint64_t) random_number() << 32 | random_number();
	uv_timer_init(&bridge->loop, &listener->pause);
	listener->pause.data = bridge;
	listener->for_scrapers = open_door(bridge, &metrics);
	return listener->for_scrapers >= 0 && open_door(bridge, &main) > 0;
}

bool
listener_scraped(const Bridge *bridge)
{
	return bridge->listener->for_scrapers > 0;
}

void
listener_stop(Bridge *bridge)
{
	Listener   *listener = bridge->listener;

	if (listener == NULL)
		return;
	for (int i = 0; i < listener->count; i++)
	{
		uv_poll_stop(&listener->polls[i]);
		sockets_close(&listener->sockets[i]);
		uv_close((uv_handle_t *) &listener->polls[i], NULL);
	}
	listener->count = 0;
	if (!uv_is_closing((uv_handle_t *) &listener->pause))
		uv_close((uv_handle_t *) &listener->pause, NULL);
}

void
listener_free(Bridge *bridge)
{
	free(bridge->listener);
	bridge->listener = NULL;
}

int
listener_count(const Bridge *bridge)
{
	return bridge->listener ? bridge->listener->connections : 0;
}
