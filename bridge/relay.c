/*
 * relay.c - a WebSocket over TLS: between its client and libwebsockets
 *
 * libwebsockets reads and writes one end of a pair of sockets as if it were the
 * client's; a Relay has the other end and is the reader of the Client, which
 * does TLS, keeps what isn't taken, and has the deadlines. Neither side is read
 * while the other one doesn't take what was read before.
 *
 *	client <- TLS -> client.c <- relay.c <- pair of sockets -> libwebsockets <- ws.c
 *	                              ^------------ whole frames ------------- hub, by ws.c
 *
 * It looks at the heads of all frames. What comes from the client is mended
 * where libwebsockets would let something pass:
 *
 *	an unmasked frame			is the end, with 1002
 *	a ping						is answered here; of several at once the last
 *	a close with 1012 to 1014	is answered here, with that code
 *	whatever follows a close	is dropped
 *
 * What goes to the client is looked at to know where a frame ends: only there,
 * and not behind a close, may a frame of our own stand, or one of the hub's,
 * which costs no way through the pair and leaves no old lists in it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"

#define PAIR_BYTES (16 * 1024)	/* what libwebsockets may have in it for a client that takes nothing */
#define READ_BYTES (64 * 1024)
#define HEAD_MAX 14
#define CONTROL_MAX 125			/* payload of a control frame */

#define OPCODE_CLOSE 8
#define OPCODE_PING 9
#define OPCODE_PONG 10
#define FINAL 0x80
#define MASKED 0x80
#define CLOSE_PROTOCOL 1002

typedef struct FrameHead
{
	unsigned char first;		/* FIN, reserved bits, opcode */
	bool		masked;
	size_t		size;			/* of the head */
	uint64_t	length;			/* of the payload */
} FrameHead;

/* Where in a sequence of frames we are. */
typedef struct Place
{
	uint64_t	left;			/* of this frame's payload */
	unsigned char head[HEAD_MAX];	/* of the next one, as far as it has come */
	uint8_t		have;
} Place;

struct Relay
{
	uv_poll_t	poll;			/* must be first: libuv hands it back */
	Client	   *client;			/* NULL: it is ending */
	Relay	  **place;			/* the owner's; NULL: it has gone */
	void		(*drained) (void *owner);
	void	   *owner;
	int			fd;
	uint8_t		events;			/* that epoll looks for */
	bool		answered;		/* the 101 has passed; frames follow */
	uint8_t		answer_match;	/* of the empty line behind it, how much has come */
	bool		client_closed;	/* its close frame has passed */
	bool		closed;			/* a close frame has gone to it */
	bool		ending;			/* ends when `own` has been sent */
	bool		deserted;		/* libwebsockets has gone: what it said is taken to the end, there isn't much */
	uint64_t	up_left;		/* of the payload of a client's frame */
	Place		down;
	char	   *up;				/* for libwebsockets, which didn't take it; NULL: nothing */
	size_t		up_length;
	size_t		up_sent;
	unsigned char *own;			/* a control frame of our own that waits for the end of another; NULL: none */
};

static unsigned char shared[READ_BYTES];

static void pair_event(uv_poll_t *poll, int status, int events);

/* ---- frames ---- */

/* False: there is more to come of it. */
static bool
read_frame_head(const unsigned char *bytes, size_t length, FrameHead *head)
{
	size_t		extra;

	if (length < 2)
		return false;
	head->first = bytes[0];
	head->masked = (bytes[1] & MASKED) != 0;
	head->length = bytes[1] & 0x7f;
	extra = head->length == 126 ? 2 : head->length == 127 ? 8 : 0;
	head->size = 2 + extra + (head->masked ? 4 : 0);
	if (length < head->size)
		return false;
	if (extra)
		head->length = 0;
	for (size_t i = 0; i < extra; i++)
		head->length = head->length << 8 | bytes[2 + i];
	return true;
}

/* Goes on over bytes that are on their way to the client. */
static void
follow(Relay *relay, const unsigned char *bytes, size_t length)
{
	Place	   *down = &relay->down;
	FrameHead	head;

	for (; length > 0 && !relay->answered; bytes++, length--)
	{
		relay->answer_match = *bytes == "\r\n\r\n"[relay->answer_match] ? relay->answer_match + 1 : *bytes == '\r';
		relay->answered = relay->answer_match == 4;
	}
	while (length > 0)
	{
		size_t		n = down->left < length ? (size_t) down->left : length;

		down->left -= n;
		bytes += n;
		length -= n;
		while (length > 0 && down->left == 0)
		{
			down->head[down->have++] = *bytes++;
			length--;
			if (!read_frame_head(down->head, down->have, &head))
				continue;
			down->have = 0;
			down->left = head.length;
			relay->closed |= (head.first & 0x0f) == OPCODE_CLOSE;
		}
	}
}

/* May a frame begin here? */
static bool
between_frames(const Relay *relay)
{
	return relay->answered && relay->down.left == 0 && relay->down.have == 0 && !relay->closed;
}

/* ---- the pair ---- */

static void
watch(Relay *relay)
{
	/* That libwebsockets has gone must be seen while the client takes nothing, too. */
	uint8_t		events = UV_DISCONNECT;

	if (relay->client == NULL)
		return;
	if (!client_unsent(relay->client))
		events |= UV_READABLE;
	if (relay->up)
		events |= UV_WRITABLE;
	if (events == relay->events)
		return;
	relay->events = events;
	uv_poll_start(&relay->poll, events, pair_event);
}

/* False: libwebsockets has closed its end. */
static bool
send_up(Relay *relay, const char *bytes, size_t length, size_t *sent)
{
	ssize_t		n = send(relay->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);

	*sent = n > 0 ? (size_t) n : 0;
	return n >= 0 || errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
}

/* For libwebsockets, all of it: what it doesn't take is kept, and the client isn't read meanwhile. */
static void
pass_up(Relay *relay, const char *bytes, size_t length)
{
	size_t		sent;

	/* What can't be sent any more is of no use: its end comes by itself. */
	if (length == 0 || !send_up(relay, bytes, length, &sent) || sent == length)
		return;
	relay->up_length = length - sent;
	relay->up_sent = 0;
	relay->up = malloc(relay->up_length);
	if (relay->up == NULL)
	{
		client_close(relay->client);
		return;
	}
	memcpy(relay->up, bytes + sent, relay->up_length);
	client_want(relay->client, false);
	watch(relay);
}

static void
pass_rest_up(Relay *relay)
{
	size_t		sent;

	if (send_up(relay, relay->up + relay->up_sent, relay->up_length - relay->up_sent, &sent))
	{
		relay->up_sent += sent;
		if (relay->up_sent < relay->up_length)
			return;
	}
	free(relay->up);
	relay->up = NULL;
	client_want(relay->client, true);
}

/* ---- frames of our own ---- */

static void
send_own(Relay *relay)
{
	unsigned char *own = relay->own;

	if (own == NULL || client_unsent(relay->client) || !(between_frames(relay) || relay->closed))
		return;
	relay->own = NULL;
	/* Behind a close there is nothing more to be said. */
	if (!relay->closed)
	{
		relay->closed = relay->ending;
		client_send(relay->client, own, 2 + (size_t) own[1]);
	}
	free(own);
	if (relay->client && relay->ending)
		client_finish(relay->client);
}

/* One that has waited gives way. */
static void
set_own(Relay *relay, unsigned char opcode, const unsigned char *payload, size_t length)
{
	if (relay->own == NULL && (relay->own = malloc(2 + CONTROL_MAX)) == NULL)
		return;
	relay->own[0] = FINAL | opcode;
	relay->own[1] = (unsigned char) length;
	memcpy(relay->own + 2, payload, length);
}

static void
end_with(Relay *relay, unsigned code)
{
	unsigned char payload[2] = {(unsigned char) (code >> 8), (unsigned char) code};

	relay->ending = true;
	set_own(relay, OPCODE_CLOSE, payload, 2);
	if (relay->own == NULL)
		client_close(relay->client);
}

/* Both have said their close: nothing keeps the connection any more. */
static void
end_if_over(Relay *relay)
{
	if (relay->client && relay->closed && relay->client_closed && relay->down.left == 0)
		client_finish(relay->client);
}

/* ---- from the client ---- */

/* A control frame that is whole: true where it is answered here. */
static bool
answer_here(Relay *relay, const FrameHead *head, const unsigned char *bytes)
{
	unsigned char payload[CONTROL_MAX];
	const unsigned char *mask = bytes + head->size - 4;
	unsigned	code;

	for (size_t i = 0; i < head->length; i++)
		payload[i] = bytes[head->size + i] ^ mask[i % 4];
	if (head->first == (FINAL | OPCODE_PING))
	{
		set_own(relay, OPCODE_PONG, payload, (size_t) head->length);
		return true;
	}
	relay->client_closed = true;
	code = head->length >= 2 ? (unsigned) payload[0] << 8 | payload[1] : 0;
	if (code < 1012 || code > 1014 || !frame_is_utf8((const char *) payload + 2, (size_t) head->length - 2))
		return false;
	end_with(relay, code);
	return true;
}

/* Those of which we look at the payload: well-formed pings and closes. */
static bool
is_ours(const FrameHead *head)
{
	return (head->first == (FINAL | OPCODE_PING) || head->first == (FINAL | OPCODE_CLOSE)) && head->length <= CONTROL_MAX;
}

/*
 * How many of these bytes libwebsockets gets as they are. Behind them stands
 * what is dealt with here, so many bytes: *ours (0: nothing, or not all of it yet).
 */
static size_t
sift(Relay *relay, const unsigned char *bytes, size_t length, size_t *ours)
{
	size_t		at = 0;
	FrameHead	head;

	*ours = 0;
	while (at < length)
	{
		size_t		n = relay->up_left < length - at ? (size_t) relay->up_left : length - at;

		at += n;
		relay->up_left -= n;
		if (relay->client_closed && relay->up_left == 0)
			break;
		if (at == length || !read_frame_head(bytes + at, length - at, &head))
			break;
		if (!head.masked)
		{
			end_with(relay, CLOSE_PROTOCOL);
			break;
		}
		if (is_ours(&head))
		{
			if (length - at < head.size + head.length)
				break;
			if (answer_here(relay, &head, bytes + at))
			{
				*ours = head.size + (size_t) head.length;
				break;
			}
		}
		at += head.size;
		relay->up_left = head.length;
	}
	return at;
}

static void
relay_read(Client *client, const char *bytes, size_t length)
{
	Relay	   *relay = client_data(client);

	while (length > 0 && relay->client && relay->up == NULL)
	{
		bool		over = relay->ending || (relay->client_closed && relay->up_left == 0);
		size_t		ours;
		size_t		n;

		if (over)
		{
			client_used(client, length);
			break;
		}
		n = sift(relay, (const unsigned char *) bytes, length, &ours);
		client_used(client, n + ours);
		pass_up(relay, bytes, n);
		bytes += n + ours;
		length -= n + ours;
		if (n + ours == 0 && !relay->ending)
			break;
	}
	if (relay->client)
		send_own(relay);
	end_if_over(relay);
}

/* It has ended its side: so libwebsockets is told. */
static void
relay_ended(Client *client)
{
	Relay	   *relay = client_data(client);

	shutdown(relay->fd, SHUT_WR);
}

static void
relay_gone(Client *client)
{
	Relay	   *relay = client_data(client);

	if (relay->place)
		*relay->place = NULL;
	relay->client = NULL;
	free(relay->up);
	free(relay->own);
	relay->up = NULL;
	relay->own = NULL;
	uv_poll_stop(&relay->poll);
	close(relay->fd);
	uv_close((uv_handle_t *) &relay->poll, free_handle);
}

/* ---- to the client ---- */

/* What libwebsockets has written, as long as the client takes it. */
static void
pump(Relay *relay)
{
	Client	   *client;

	while ((client = relay->client) != NULL && (relay->deserted || !client_unsent(client)))
	{
		ssize_t		n = recv(relay->fd, shared, sizeof(shared), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0)
		{
			client_finish(client);
			return;
		}
		follow(relay, shared, (size_t) n);
		if (client_send(client, shared, (size_t) n))
			send_own(relay);
		end_if_over(relay);
	}
	watch(relay);
}

static void
pair_event(uv_poll_t *poll, int status, int events)
{
	Relay	   *relay = (Relay *) poll;

	if (relay->client == NULL)
		return;
	/* An error is an end with bytes unread there; what was said before is still to be read. libuv has stopped looking then. */
	if (status < 0)
		relay->events = 0;
	relay->deserted |= status < 0 || (events & UV_DISCONNECT);
	if ((status < 0 || (events & UV_WRITABLE)) && relay->up)
		pass_rest_up(relay);
	pump(relay);
}

static void
relay_drained(Client *client)
{
	Relay	   *relay = client_data(client);

	send_own(relay);
	pump(relay);
	if (relay->client && relay->place && !client_unsent(client))
		relay->drained(relay->owner);
}

bool
relay_send(Relay *relay, const void *frame, size_t length, SendResult *result)
{
	Client	   *client = relay->client;

	/* What libwebsockets has said before comes first. */
	pump(relay);
	*result = SEND_LOST;
	if (relay->client == NULL)
		return true;
	if (client_unsent(client) || !between_frames(relay))
		return false;
	if (!client_send(client, frame, length))
		return true;
	watch(relay);
	*result = client_unsent(client) ? SEND_REST : SEND_DONE;
	return true;
}

void
relay_finish(Relay *relay)
{
	relay->deserted = true;
	pump(relay);
	if (relay->client)
		client_finish(relay->client);
}

/* ---- opening ---- */

static const ClientReader relay_reader = {relay_read, relay_ended, relay_drained, client_close, relay_gone};

void
relay_forget(Relay *relay)
{
	relay->place = NULL;
}

bool
relay_open(Client *client, Relay **place, int *other_end, void (*drained) (void *owner), void *owner)
{
	Relay	   *relay = calloc(1, sizeof(*relay));
	int			bytes = PAIR_BYTES;
	int			pair[2];

	if (relay == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
	{
		free(relay);
		return false;
	}
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (uv_poll_init(&client_bridge(client)->loop, &relay->poll, pair[0]) != 0)
	{
		close(pair[0]);
		close(pair[1]);
		free(relay);
		return false;
	}
	relay->fd = pair[0];
	relay->client = client;
	relay->place = place;
	relay->drained = drained;
	relay->owner = owner;
	*place = relay;
	*other_end = pair[1];
	client_set_reader(client, &relay_reader, relay);
	client_phase(client, PHASE_STREAM);
	client_want(client, true);
	watch(relay);
	return true;
}
