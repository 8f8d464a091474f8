/*
 * client.c - sockets of clients: reading, writing, deadlines, ends
 *
 * Owns every Client from the accepted socket to its close, and the janitor's
 * lists: all clients of a phase have the same time, so each list is in the
 * order of expiry and a tick looks at its head only.
 *
 * Reading: bytes come into one buffer that all share and are given to the
 * reader where they lie; only what it leaves over is copied into the client's
 * own buffer, which is freed when it is empty. So a client between requests
 * holds no buffer at all. A reader gets at most TURN_READS calls a turn of the
 * loop; what is left then waits in the list `ready` until everybody else has
 * had a turn. While the reader doesn't want bytes, none are taken from the
 * socket, so a client can't fill our memory; its socket is taken out of epoll
 * only once it really reports something, so that an answer that is quick
 * costs no epoll_ctl.
 *
 * Writing: at once, and what the socket doesn't take is kept and sent when it
 * can. Callers look at client_unsent() and produce nothing more meanwhile.
 *
 * TLS: taken and given by take() and give() alone, after a handshake that the
 * reader sees nothing of; a turn has only some milliseconds for handshakes, so
 * that a flood of them leaves time for those that are in. A read may wait until
 * the socket takes bytes; then only that is looked for.
 *
 * Ending: client_close() closes the descriptor at once; the structure is freed
 * by libuv's callback, so whoever is further up the stack may still look at
 * `closing`. client_finish() ends politely: a close with unread bytes in the
 * kernel would reset the connection and tear the answer away, so our side is
 * shut down and what still comes is dropped for a moment (LINGER_MS).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listener.h"
#include "metrics.h"
#include "tls.h"

#define SHARED_BYTES (64 * 1024)
#define TURN_READS 16			/* requests of one client before others have a turn */
#define LINGER_MS 2000
#define LINGER_BYTES (1024 * 1024)
#define HANDSHAKES_NS (5 * 1000 * 1000)	/* a turn of the loop; each costs up to half a millisecond */

struct Client
{
	uv_poll_t	poll;			/* must be first: libuv hands it back */
	Bridge	   *bridge;
	const ClientReader *reader;
	void	   *data;			/* the reader's */
	Seat	   *seat;
	Tls		   *tls;			/* NULL: plain */
	Client	   *previous;		/* in its phase's list */
	Client	   *next;
	Client	   *ready_next;
	char	   *in;				/* read and not used up; NULL: nothing */
	char	   *out;			/* not yet taken by the socket; NULL: nothing */
	uint32_t	in_length;
	uint32_t	out_length;
	uint32_t	out_sent;
	uint32_t	dropped;		/* while lingering */
	uint64_t	since;			/* ms of uv_now at which the phase began */
	struct in6_addr peer;
	int			fd;				/* -1 once closed */
	uint8_t		phase;
	uint8_t		events;			/* that epoll looks for */
	bool		wanted:1;		/* the reader wants bytes */
	bool		ended:1;		/* the peer has ended its side */
	bool		finishing:1;	/* nothing is read or begun any more; closes when all is sent */
	bool		ready:1;		/* stands in the list `ready` */
	bool		closing:1;
	bool		shaking:1;		/* its TLS handshake is under way */
	bool		misplaced:1;
};

typedef struct PhaseList
{
	Client	   *head;			/* the oldest */
	Client	   *tail;
} PhaseList;

typedef struct Clients
{
	PhaseList	phases[PHASES];
	Client	   *ready;			/* have bytes left over, and a reader that wants them */
	Client	   *ready_last;
	uv_idle_t	turn;			/* runs while there are such */
	uint64_t	handshakes_at;	/* ms of uv_now: the turn in which ... */
	uint64_t	handshakes_ns;	/* ... they have taken so long */
	Client	   *reading;		/* whose reader is running now, NULL: nobody's */
	const char *window;			/* what it has not used up */
	size_t		window_length;
	char		shared[SHARED_BYTES];
} Clients;

static void client_event(uv_poll_t *poll, int status, int events);

Bridge *
client_bridge(const Client *client)
{
	return client->bridge;
}

const struct in6_addr *
client_peer(const Client *client)
{
	return &client->peer;
}

bool
client_count_under(Client *client, const struct in6_addr *address)
{
	return listener_move(client->bridge, &client->seat, address);
}

void *
client_data(const Client *client)
{
	return client->data;
}

bool
client_is_secure(const Client *client)
{
	return client->tls != NULL;
}

bool
client_is_misplaced(const Client *client)
{
	return client->misplaced;
}

static ssize_t
take(Client *client, void *bytes, size_t size)
{
	return client->tls ? tls_read(client->tls, bytes, size) : recv(client->fd, bytes, size, MSG_DONTWAIT);
}

static ssize_t
give(Client *client, const void *bytes, size_t length)
{
	return client->tls ? tls_write(client->tls, bytes, length) : send(client->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool
read_waits_to_write(const Client *client)
{
	return client->tls && tls_wants_to_write(client->tls);
}

/* ---- phases ---- */

static void
phase_leave(Client *client)
{
	PhaseList  *list = &client->bridge->clients->phases[client->phase];

	if (client->previous)
		client->previous->next = client->next;
	else
		list->head = client->next;
	if (client->next)
		client->next->previous = client->previous;
	else
		list->tail = client->previous;
}

static void
phase_enter(Client *client, Phase phase)
{
	PhaseList  *list = &client->bridge->clients->phases[phase];

	client->phase = (uint8_t) phase;
	client->since = uv_now(&client->bridge->loop);
	client->next = NULL;
	client->previous = list->tail;
	if (list->tail)
		list->tail->next = client;
	else
		list->head = client;
	list->tail = client;
}

void
client_phase(Client *client, Phase phase)
{
	if (client->closing)
		return;
	phase_leave(client);
	phase_enter(client, phase);
}

/* ---- what epoll looks for ---- */

/* Asks for what is missing; what is there without need is left until it disturbs (see client_event). */
static void
watch(Client *client)
{
	uint8_t		needed = 0;

	if (client->wanted && !client->ended)
		needed = read_waits_to_write(client) ? UV_WRITABLE : UV_READABLE;
	if (client->out)
		needed |= UV_WRITABLE;
	if (client->closing || (needed & ~client->events) == 0)
		return;
	client->events = needed;
	uv_poll_start(&client->poll, needed, client_event);
}

/* Looks no longer for what nobody wants; epoll would report it without end. */
static void
watch_less(Client *client, uint8_t unwanted)
{
	client->events &= (uint8_t) ~unwanted;
	if (client->events)
		uv_poll_start(&client->poll, client->events, client_event);
	else
		uv_poll_stop(&client->poll);
}

/* ---- ends ---- */

static void
unready(Clients *clients, Client *client)
{
	Client	   *before = NULL;

	if (!client->ready)
		return;
	for (Client *at = clients->ready; at != client; at = at->ready_next)
		before = at;
	if (before)
		before->ready_next = client->ready_next;
	else
		clients->ready = client->ready_next;
	if (clients->ready_last == client)
		clients->ready_last = before;
	client->ready = false;
}

/* Out of all lists; the descriptor is the caller's. */
static void
detach(Client *client)
{
	Clients    *clients = client->bridge->clients;

	phase_leave(client);
	unready(clients, client);
	client->closing = true;
	client->wanted = false;
	uv_poll_stop(&client->poll);
	if (client->tls && client->out == NULL)
		tls_end(client->tls);
	tls_drop(client->tls);
	client->tls = NULL;
	free(client->in);
	free(client->out);
	client->in = client->out = NULL;
	client->in_length = 0;
}

void
client_close(Client *client)
{
	const ClientReader *reader = client->reader;

	if (client->closing)
		return;
	detach(client);
	close(client->fd);
	client->fd = -1;
	listener_leave(client->bridge, client->seat);
	client->reader = NULL;
	if (reader)
		reader->gone(client);
	uv_close((uv_handle_t *) &client->poll, free_handle);
}

int
client_release(Client *client, Seat **seat)
{
	int			fd = client->fd;


	*seat = client->seat;
	detach(client);
	client->fd = -1;
	client->reader = NULL;
	uv_close((uv_handle_t *) &client->poll, free_handle);
	return fd;
}

/* All is sent: say so to the peer, and let it finish speaking. */
static void
linger(Client *client)
{
	if (client->tls)
		tls_end(client->tls);
	/* What still comes isn't looked into. */
	tls_drop(client->tls);
	client->tls = NULL;
	if (client->ended || shutdown(client->fd, SHUT_WR) != 0)
	{
		client_close(client);
		return;
	}
	client_phase(client, PHASE_LINGER);
	client->wanted = true;
	watch(client);
}

void
client_finish(Client *client)
{
	const ClientReader *reader = client->reader;

	if (client->closing || client->finishing)
		return;
	client->finishing = true;
	client->wanted = false;
	client->reader = NULL;
	free(client->in);
	client->in = NULL;
	client->in_length = 0;
	if (reader)
		reader->gone(client);
	if (client->out)
		client_phase(client, PHASE_SEND);
	else
		linger(client);
}

/* ---- writing ---- */

bool
client_unsent(const Client *client)
{
	return client->out != NULL;
}

/* Behind what is waiting already, or the first of it. */
static bool
keep_unsent(Client *client, const char *bytes, size_t length)
{
	size_t		waiting = client->out ? client->out_length - client->out_sent : 0;
	char	   *out = malloc(waiting + length);

	if (out == NULL)
	{
		client_close(client);
		return false;
	}
	if (waiting > 0)
		memcpy(out, client->out + client->out_sent, waiting);
	memcpy(out + waiting, bytes, length);
	free(client->out);
	client->out = out;
	client->out_sent = 0;
	client->out_length = (uint32_t) (waiting + length);
	watch(client);
	return true;
}

bool
client_send(Client *client, const void *bytes, size_t length)
{
	ssize_t		n = 0;

	if (client->closing || client->finishing)
		return false;
	client->bridge->metrics->sent_bytes += length;
	if (client->out == NULL)
	{
		n = give(client, bytes, length);
		if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		{
			client_close(client);
			return false;
		}
		if (n < 0)
			n = 0;
		if ((size_t) n == length)
			return true;
	}
	return keep_unsent(client, (const char *) bytes + n, length - (size_t) n);
}

/* The socket takes bytes again. */
static void
send_rest(Client *client)
{
	size_t		waiting = client->out_length - client->out_sent;
	ssize_t		n = give(client, client->out + client->out_sent, waiting);

	if (n < 0)
	{
		if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			client_close(client);
		return;
	}
	client->out_sent += (uint32_t) n;
	if (client->phase == PHASE_SEND && n > 0)
		client_phase(client, PHASE_SEND);	/* progress */
	if ((size_t) n < waiting)
		return;
	free(client->out);
	client->out = NULL;
	watch_less(client, UV_WRITABLE);
	if (client->finishing)
		linger(client);
	else if (client->reader)
		client->reader->drained(client);
}

/* ---- reading ---- */

static void give_turns(uv_idle_t *idle);

static void
set_ready(Client *client)
{
	Clients    *clients = client->bridge->clients;

	if (client->ready)
		return;
	client->ready = true;
	client->ready_next = NULL;
	if (clients->ready == NULL)
		clients->ready = client;
	else
		clients->ready_last->ready_next = client;
	clients->ready_last = client;
	uv_idle_start(&clients->turn, give_turns);
}

/* Keeps bytes that were not used up; they may lie in client->in already. */
static bool
keep_rest(Client *client, const char *bytes, size_t length)
{
	if (length == 0)
	{
		free(client->in);
		client->in = NULL;
	}
	else if (client->in)
		memmove(client->in, bytes, length);
	else
	{
		client->in = malloc(length);
		if (client->in == NULL)
		{
			client_close(client);
			return false;
		}
		memcpy(client->in, bytes, length);
	}
	client->in_length = (uint32_t) length;
	return true;
}

void
client_used(Client *client, size_t length)
{
	Clients    *clients = client->bridge->clients;

	clients->window += length;
	clients->window_length -= length;
}

const char *
client_rest(const Client *client, size_t *length)
{
	const Clients *clients = client->bridge->clients;
	bool		reading = clients->reading == client;

	*length = reading ? clients->window_length : client->in_length;
	return reading ? clients->window : client->in;
}

/* Gives the reader what there is, as long as it wants it and this turn lasts. */
static void
feed_reader(Client *client, const char *bytes, size_t length)
{
	Clients    *clients = client->bridge->clients;
	bool		stuck = false;

	clients->reading = client;
	clients->window = bytes;
	clients->window_length = length;
	for (int turn = 0; clients->window_length > 0 && client->wanted && turn < TURN_READS && !stuck; turn++)
	{
		size_t		before = clients->window_length;

		client->reader->read(client, clients->window, clients->window_length);
		/* It has closed or released the client, or is done with it. */
		if (client->closing || client->finishing)
			break;
		stuck = clients->window_length == before;
	}
	clients->reading = NULL;
	if (client->closing || client->finishing)
		return;
	if (!keep_rest(client, clients->window, clients->window_length) || !client->wanted)
		return;
	if (client->ended && (stuck || client->in == NULL))
		client->reader->ended(client);
	else if (client->in && !stuck)
		set_ready(client);
	else
		watch(client);			/* client_event may have stopped it while there was enough */
}

static void
give_turns(uv_idle_t *idle)
{
	Clients    *clients = idle->data;
	Client	   *last = clients->ready_last;
	Client	   *client;

	/* Those that are in the list now; whoever comes in again waits for the next turn. */
	while ((client = clients->ready) != NULL)
	{
		bool		end = client == last;

		unready(clients, client);
		if (client->wanted && (client->in || client->ended))
			feed_reader(client, client->in, client->in_length);
		if (end)
			break;
	}
	if (clients->ready == NULL)
		uv_idle_stop(idle);
}

static void
peer_ended(Client *client)
{
	client->ended = true;
	watch_less(client, UV_READABLE);
	if (client->finishing || client->reader == NULL)
		client_close(client);
	else if (client->wanted)
		client->reader->ended(client);
}

static void
drop_bytes(Client *client, size_t n)
{
	client->dropped += (uint32_t) n;
	if (client->dropped > LINGER_BYTES)
		client_close(client);
}

/* Behind what was left over: a reader gets all of it in one piece. */
static bool
append(Client *client, const char *bytes, size_t length)
{
	char	   *in = realloc(client->in, client->in_length + length);

	if (in == NULL)
	{
		client_close(client);
		return false;
	}
	memcpy(in + client->in_length, bytes, length);
	client->in = in;
	client->in_length += (uint32_t) length;
	return true;
}

static void
receive(Client *client)
{
	Clients    *clients = client->bridge->clients;
	ssize_t		n = take(client, clients->shared, SHARED_BYTES);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
	{
		watch(client);
		return;
	}
	if (n < 0)
		client_close(client);
	else if (n == 0)
		peer_ended(client);
	else if (client->finishing)
		drop_bytes(client, (size_t) n);
	else if (client->in == NULL)
		feed_reader(client, clients->shared, (size_t) n);
	else if (append(client, clients->shared, (size_t) n) && !client->ready)
		feed_reader(client, client->in, client->in_length);
}

/* One step of it, if this turn has time for one; else epoll reports the same again. */
static void
shake_hands(Client *client)
{
	Clients    *clients = client->bridge->clients;
	uint64_t	turn = uv_now(&client->bridge->loop);
	uint64_t	began = uv_hrtime();
	Handshake	result;

	if (clients->handshakes_at != turn)
		clients->handshakes_ns = 0;
	clients->handshakes_at = turn;
	if (clients->handshakes_ns > HANDSHAKES_NS)
		return;
	result = tls_shake_hands(client->tls);
	clients->handshakes_ns += uv_hrtime() - began;
	client->shaking = result == HANDSHAKE_WAITS;
	if (result == HANDSHAKE_PLAIN)
	{
		tls_drop(client->tls);
		client->tls = NULL;
		client->misplaced = true;
	}
	if (result == HANDSHAKE_DONE)
		client->bridge->metrics->handshakes[tls_is_resumed(client->tls) ? HANDSHAKE_RESUMED : HANDSHAKE_FULL]++;
	else if (!client->shaking)
		client->bridge->metrics->handshakes[HANDSHAKE_BROKEN]++;
	if (result == HANDSHAKE_FAILED)
		client_finish(client);	/* what tells why has been sent, and mustn't be torn away */
	else if (!client->shaking)
		client_phase(client, PHASE_IDLE);
	watch(client);
}

/* A handshake or a read waits until the socket takes bytes: nothing else of it matters meanwhile. */
static void
event_while_waiting(Client *client, int events)
{
	if (events & UV_READABLE)
		watch_less(client, UV_READABLE);
	if (!(events & UV_WRITABLE))
		return;
	if (client->shaking)
		shake_hands(client);
	else if (client->wanted && !client->ready)
		receive(client);
	if (!client->closing && client->out == NULL && !(client->wanted && read_waits_to_write(client)))
		watch_less(client, UV_WRITABLE);
}

static void
client_event(uv_poll_t *poll, int status, int events)
{
	Client	   *client = (Client *) poll;

	if (status < 0)
	{
		client_close(client);
		return;
	}
	if ((events & UV_WRITABLE) && client->out)
		send_rest(client);
	if (client->closing)
		return;
	if (read_waits_to_write(client))
		event_while_waiting(client, events);
	else if (client->shaking)
		shake_hands(client);
	else if (!(events & UV_READABLE))
		return;
	/* What is left over comes first, and a client with a full turn's worth of it sends no more. */
	else if (!client->wanted || client->ended || client->ready)
		watch_less(client, UV_READABLE);
	else
		receive(client);
}

void
client_want(Client *client, bool reading)
{
	if (client->closing || client->finishing)
		return;
	client->wanted = reading;
	if (!reading)
		return;
	/* In its reader's own turn the loop there goes on by itself. */
	if ((client->in || client->ended) && client->bridge->clients->reading != client)
		set_ready(client);
	watch(client);
}

/* ---- coming ---- */

void
client_set_reader(Client *client, const ClientReader *reader, void *data)
{
	client->reader = reader;
	client->data = data;
}

Client *
client_new(Bridge *bridge, int fd, Seat *seat, const struct in6_addr *peer, bool secure)
{
	Client	   *client = calloc(1, sizeof(*client));

	if (client && secure)
		client->tls = tls_new(bridge, fd);
	if (client == NULL || (secure && client->tls == NULL) || uv_poll_init_socket(&bridge->loop, &client->poll, fd) != 0)
	{
		if (client)
			tls_drop(client->tls);
		free(client);
		close(fd);
		listener_leave(bridge, seat);
		return NULL;
	}
	client->bridge = bridge;
	client->fd = fd;
	client->seat = seat;
	client->peer = *peer;
	client->shaking = secure;
	phase_enter(client, secure ? PHASE_HANDSHAKE : PHASE_IDLE);
	return client;
}

/* ---- all of them ---- */

static uint64_t
phase_time(const Options *options, Phase phase)
{
	switch (phase)
	{
		case PHASE_IDLE:
			return (uint64_t) options->idle_timeout_ms;
		case PHASE_HANDSHAKE:
		case PHASE_HEAD:
			return (uint64_t) options->head_timeout_ms;
		case PHASE_BODY:
			return (uint64_t) options->body_timeout_ms;
		case PHASE_SEND:
			return (uint64_t) options->slow_timeout_ms;
		case PHASE_LINGER:
			return LINGER_MS;
		case PHASE_ANSWER:
		case PHASE_STREAM:
		case PHASES:
			break;
	}
	return UINT64_MAX;
}

void
clients_tick(Bridge *bridge)
{
	uint64_t	now = uv_now(&bridge->loop);

	for (Phase phase = 0; phase < PHASES; phase++)
	{
		uint64_t	time = phase_time(&bridge->options, phase);
		Client	   *client;

		while ((client = bridge->clients->phases[phase].head) != NULL && now - client->since > time)
		{
			if (phase == PHASE_HANDSHAKE)
				bridge->metrics->handshakes[HANDSHAKE_BROKEN]++;
			/* A reader that does nothing about it has had its chance. */
			if (client->reader && phase != PHASE_SEND && phase != PHASE_HANDSHAKE)
				client->reader->late(client);
			if (!client->closing && client->phase == phase && now - client->since > time)
				client_close(client);
		}
	}
}

void
clients_start(Bridge *bridge)
{
	bridge->clients = calloc(1, sizeof(Clients));
	if (bridge->clients == NULL)
		abort();
	uv_idle_init(&bridge->loop, &bridge->clients->turn);
	bridge->clients->turn.data = bridge->clients;
}

void
clients_stop(Bridge *bridge)
{
	for (int phase = 0; phase < PHASES; phase++)
		while (bridge->clients->phases[phase].head)
			client_close(bridge->clients->phases[phase].head);
	uv_close((uv_handle_t *) &bridge->clients->turn, NULL);
}

void
clients_free(Bridge *bridge)
{
	free(bridge->clients);
	bridge->clients = NULL;
}
