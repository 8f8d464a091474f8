/*
 * listener.c - accepting, counting and ending connections
 *
 * The library could listen by itself, but then connections could not be capped
 * per address, and at the limit of open files its accept spins. So the
 * listening sockets are ours: a uv_poll each, accept4 until there is none, and
 * the socket is handed to the library.
 *
 * It owns every Connection from accept to the library's WSI_DESTROY, the table
 * of addresses, and the lists by which a phase's time is limited. All
 * connections of a phase have the same limit, so each list is in the order of
 * expiry and a tick looks at its head only. The library's own timers are one
 * sorted list that is walked on every change; they are left to the few states
 * that we can't see (the head of a request, a closing handshake).
 *
 * A cap that is reached, or any failure here, costs the new connection, never
 * an old one.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"
#include "sockets.h"

#define ADDRESS_BUCKETS 8192
#define LINGERS_MAX 256
#define LINGER_MS 2000
#define LINGER_BYTES (1024 * 1024)
#define FULL_PAUSE_MS 100

typedef struct AddressCount
{
	struct AddressCount *next;
	struct in6_addr address;	/* of IPv6 only the first 64 bits */
	int			connections;
} AddressCount;

typedef struct PhaseList
{
	Connection *head;			/* the oldest */
	Connection *tail;
} PhaseList;

/* A socket whose answer is on its way while the client may still be sending. */
typedef struct Linger
{
	uv_poll_t	poll;
	struct Linger *next;
	struct Listener *listener;
	uint64_t	until;
	size_t		bytes;
	int			fd;				/* -1 once closed */
} Linger;

typedef struct Listener
{
	uv_poll_t	polls[SOCKETS_MAX];
	int			fds[SOCKETS_MAX];
	int			count;
	uv_timer_t	pause;			/* runs while the process is out of descriptors */
	int			connections;
	uint64_t	seed;
	AddressCount *addresses[ADDRESS_BUCKETS];
	PhaseList	phases[PHASES];
	Linger	   *lingers;
	int			linger_count;
} Listener;

/* ---- addresses ---- */

static AddressCount **
address_bucket(Listener *listener, const struct in6_addr *address)
{
	uint64_t	half[2];
	uint64_t	h;

	memcpy(half, address, sizeof(half));
	h = (half[0] ^ listener->seed) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ (h >> 29) ^ half[1]) * UINT64_C(0xbf58476d1ce4e5b9);
	return &listener->addresses[(h ^ (h >> 32)) % ADDRESS_BUCKETS];
}

/* NULL where the address has all it may have, or memory is out. */
static AddressCount *
address_take(Listener *listener, const struct in6_addr *peer, int64_t limit)
{
	struct in6_addr address = *peer;
	AddressCount **bucket;
	AddressCount *entry;

	if (!IN6_IS_ADDR_V4MAPPED(&address))
		memset(address.s6_addr + 8, 0, 8);
	bucket = address_bucket(listener, &address);
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
	if (entry->connections >= limit)
		return NULL;
	entry->connections++;
	return entry;
}

static void
address_give(Listener *listener, AddressCount *entry)
{
	AddressCount **link;

	if (--entry->connections > 0)
		return;
	for (link = address_bucket(listener, &entry->address); *link != entry;)
		link = &(*link)->next;
	*link = entry->next;
	free(entry);
}

/* ---- connections ---- */

static void
phase_unlink(Connection *connection)
{
	PhaseList  *list = &connection->bridge->listener->phases[connection->phase];

	if (connection->previous)
		connection->previous->next = connection->next;
	else if (list->head == connection)
		list->head = connection->next;
	if (connection->next)
		connection->next->previous = connection->previous;
	else if (list->tail == connection)
		list->tail = connection->previous;
	connection->previous = connection->next = NULL;
}

void
connection_phase(Connection *connection, Phase phase)
{
	PhaseList  *list = &connection->bridge->listener->phases[phase];

	phase_unlink(connection);
	connection->phase = phase;
	connection->since = uv_now(&connection->bridge->loop);
	connection->previous = list->tail;
	if (list->tail)
		list->tail->next = connection;
	else
		list->head = connection;
	list->tail = connection;
}

void
connection_free(Connection *connection)
{
	Listener   *listener = connection->bridge->listener;

	streams_remove(connection);
	if (connection->post)
		post_free(connection->post);
	phase_unlink(connection);
	address_give(listener, connection->address);
	listener->connections--;
	free(connection);
}

void
connection_end(Connection *connection)
{
	/*
	 * With this reason the library ends it in order (rest of the output, close
	 * frame); with any other it would just cut it off. Its callbacks run
	 * before this returns, the structure itself goes at the end of the turn.
	 */
	if (connection->wsi)
		lws_set_timeout(connection->wsi, PENDING_TIMEOUT_HTTP_KEEPALIVE_IDLE, LWS_TO_KILL_SYNC);
}

uint64_t
connection_received(Connection *connection)
{
	/* The kernel's structure goes on where the C library's ends. */
	struct
	{
		struct tcp_info known;
		uint64_t	pacing[2];
		uint64_t	acknowledged;
		uint64_t	received;
	}			info;
	socklen_t	size = sizeof(info);
	int			fd = lws_get_socket_fd(connection->wsi);
	int			unread = 0;
	uint64_t	received;

	memset(&info, 0, sizeof(info));
	/* In this order, so that what arrives in between makes it less, not more. */
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || ioctl(fd, SIOCINQ, &unread) != 0)
		return 0;
	received = info.received - (uint64_t) unread;
	if (received < connection->received)
		return 0;
	received -= connection->received;
	connection->received += received;
	return received;
}

bool
connection_spoken(const Connection *connection)
{
	struct tcp_info info;
	socklen_t	size = sizeof(info);
	int			fd = lws_get_socket_fd(connection->wsi);
	int			unread = 0;

	return ioctl(fd, SIOCINQ, &unread) != 0 || unread > 0 ||
		getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || info.tcpi_state != TCP_ESTABLISHED;
}

/* ---- lingering ---- */

static void
linger_freed(uv_handle_t *handle)
{
	free(handle);
}

static void
linger_close(Linger *linger)
{
	Linger	  **link = &linger->listener->lingers;

	while (*link != linger)
		link = &(*link)->next;
	*link = linger->next;
	linger->listener->linger_count--;
	uv_poll_stop(&linger->poll);
	close(linger->fd);
	uv_close((uv_handle_t *) &linger->poll, linger_freed);
}

static void
linger_readable(uv_poll_t *poll, int status, int events)
{
	Linger	   *linger = (Linger *) poll;
	char		bytes[16 * 1024];
	ssize_t		n;

	(void) events;
	if (status < 0)
	{
		linger_close(linger);
		return;
	}
	n = recv(linger->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	linger->bytes += n > 0 ? (size_t) n : 0;
	if (n <= 0 || linger->bytes > LINGER_BYTES)
		linger_close(linger);
}

void
connection_linger(Connection *connection)
{
	Listener   *listener = connection->bridge->listener;
	Linger	   *linger;

	if (listener->linger_count >= LINGERS_MAX || lws_is_ssl(connection->wsi))
		return;
	linger = calloc(1, sizeof(*linger));
	if (linger == NULL)
		return;
	linger->listener = listener;
	linger->until = uv_now(&connection->bridge->loop) + LINGER_MS;
	linger->fd = fcntl(lws_get_socket_fd(connection->wsi), F_DUPFD_CLOEXEC, 0);
	if (linger->fd < 0 || uv_poll_init(&connection->bridge->loop, &linger->poll, linger->fd) != 0)
	{
		if (linger->fd >= 0)
			close(linger->fd);
		free(linger);
		return;
	}
	linger->next = listener->lingers;
	listener->lingers = linger;
	listener->linger_count++;
	uv_poll_start(&linger->poll, UV_READABLE, linger_readable);
}

void
listener_tick(Bridge *bridge)
{
	Listener   *listener = bridge->listener;
	uint64_t	now = uv_now(&bridge->loop);
	Connection *connection;

	while ((connection = listener->phases[PHASE_IDLE].head) != NULL &&
		   now - connection->since > (uint64_t) bridge->options.idle_timeout_ms)
	{
		connection_phase(connection, PHASE_OPEN);
		connection_end(connection);
	}
	while ((connection = listener->phases[PHASE_BODY].head) != NULL &&
		   now - connection->since > (uint64_t) bridge->options.body_timeout_ms)
	{
		connection_phase(connection, PHASE_OPEN);
		http_body_late(connection);
	}
	for (Linger *linger = listener->lingers, *next; linger; linger = next)
	{
		next = linger->next;
		if (now > linger->until)
			linger_close(linger);
	}
}

/* ---- accepting ---- */

static void
set_peer(Connection *connection, const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET6)
	{
		connection->peer = ((const struct sockaddr_in6 *) address)->sin6_addr;
		return;
	}
	memset(connection->peer.s6_addr + 10, 0xff, 2);
	memcpy(connection->peer.s6_addr + 12, &((const struct sockaddr_in *) address)->sin_addr, 4);
}

/* Takes over the socket in any case. */
static void
adopt(Bridge *bridge, int fd, const struct sockaddr_storage *address)
{
	Listener   *listener = bridge->listener;
	Connection *connection = NULL;
	lws_adopt_desc_t how;
	int			on = 1;

	if (listener->connections < bridge->options.max_connections)
		connection = calloc(1, sizeof(*connection));
	if (connection)
	{
		set_peer(connection, address);
		connection->address = address_take(listener, &connection->peer,
										   bridge->options.max_connections_per_address);
	}
	if (connection == NULL || connection->address == NULL)
	{
		log_debug("connection refused", LOG_NUMBER("connections", listener->connections));
		free(connection);
		close(fd);
		return;
	}
	connection->bridge = bridge;
	listener->connections++;
	connection->phase = PHASE_IDLE;
	connection_phase(connection, PHASE_IDLE);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

	memset(&how, 0, sizeof(how));
	how.vh = bridge->vhost;
	how.type = LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP | LWS_ADOPT_ALLOW_SSL;
	how.fd.sockfd = fd;
	how.opaque = connection;
	/* Where this fails the library closes the socket, and WSI_DESTROY frees the connection. */
	lws_adopt_descriptor_vhost_via_info(&how);
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
	for (int turn = 0; turn < 256; turn++)
	{
		struct sockaddr_storage address;
		socklen_t	size = sizeof(address);
		int			client = accept4(fd, (struct sockaddr *) &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client >= 0)
		{
			adopt(bridge, client, &address);
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
log_listening(const Bridge *bridge, int fd)
{
	struct sockaddr_storage address;
	socklen_t	size = sizeof(address);
	char		host[NI_MAXHOST] = "";
	char		port[NI_MAXSERV] = "0";

	if (getsockname(fd, (struct sockaddr *) &address, &size) == 0)
		getnameinfo((struct sockaddr *) &address, size, host, sizeof(host), port, sizeof(port),
					NI_NUMERICHOST | NI_NUMERICSERV);
	log_always("listening", LOG_TEXT("address", host), LOG_NUMBER("port", atoi(port)),
			   LOG_NUMBER("connections_max", bridge->options.max_connections));
}

bool
listener_start(Bridge *bridge)
{
	Listener   *listener = calloc(1, sizeof(*listener));
	int			count;

	if (listener == NULL)
		abort();
	bridge->listener = listener;
	listener->seed = (uint64_t) random_number() << 32 | random_number();
	uv_timer_init(&bridge->loop, &listener->pause);
	listener->pause.data = bridge;
	count = sockets_open(bridge->options.listen, bridge->options.share_port, listener->fds);
	for (int i = 0; i < count; i++)
	{
		uv_poll_init(&bridge->loop, &listener->polls[i], listener->fds[i]);
		listener->polls[i].data = bridge;
		uv_poll_start(&listener->polls[i], UV_READABLE, accept_ready);
		log_listening(bridge, listener->fds[i]);
		listener->count++;
	}
	return count > 0;
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
		close(listener->fds[i]);
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
