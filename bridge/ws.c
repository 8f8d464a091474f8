/*
 * ws.c - WebSocket streams by libwebsockets, which is seen by no other file
 *
 * The library gets a socket only after the request on it has been read and
 * checked to the end. It is given a canonical handshake of our own making in
 * its place, answers 101, and then does what it does well: reading frames,
 * UTF-8, control frames, closing.
 *
 * Lists are sent past it: the hub's frame stands behind a ready WebSocket header,
 * and goes to the socket at once, from the loop that has the news. That is
 * sound because nothing is written while the library has a rest to send
 * (lws_partial_buffered), and because what the socket doesn't take is given to
 * the library in one piece: so its own frames, pongs, come before a list or
 * behind it, never within. When the rest has drained it calls back by itself. (Its own advice, to ask for a WRITEABLE callback, costs two epoll_ctl
 * calls a message; its lws_write, half as much again as the send alone.)
 *
 * Closes are sent past it, too. It keeps the close that it is to send where it
 * keeps the next pong, so that a ping in between becomes the code; what comes
 * behind the error makes it forget the close; and it ends the socket with bytes
 * unread in it, which resets the connection and tears the close away. So part()
 * sends the last word itself and gives a second descriptor of the socket to
 * client.c, which lets the peer finish speaking (client_finish).
 *
 * The library's own keep-alive is off: its timers are one sorted list that is
 * walked on every change. The hub's wheel pings instead.
 *
 * Owns a Socket for each connection, from ws_open() to the library's
 * WSI_DESTROY.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "ws.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>
#include <libwebsockets.h>

#include "listener.h"
#include "log.h"
#include "relay.h"

#define MESSAGE_MAX 4096
#define HANDSHAKE_MAX 512
#define CONTROL_MAX 125			/* bytes in a control frame */
#define CLOSE_PROTOCOL 1002
#define CLOSE_NOT_UNDERSTOOD 1008
#define CLOSE_BAD_TEXT 1007
#define CLOSE_TOO_BIG 1009

_Static_assert(FRAME_ROOM >= LWS_PRE, "frames leave less room before them than the library writes into");

typedef struct Socket
{
	Bridge	   *bridge;
	struct lws *wsi;			/* NULL before the library has made one */
	int			fd;				/* the library's; it closes it */
	Stream	   *stream;			/* NULL before 101 and once it is closing */
	Seat	   *seat;			/* NULL: its second descriptor has it, or over TLS the client, which stays */
	Relay	   *relay;			/* over TLS, as long as the client is there */
	char	   *partial;		/* a message that comes in pieces */
	uint16_t	partial_length;
	uint8_t		count;			/* of boards, until the stream begins */
	Board	  **boards;			/* likewise */
	Identity   *identity;		/* likewise; NULL: nobody knows whose it is */
	char		request_id[REQUEST_ID_MAX + 1];
	char		origin[];		/* an allowed foreign origin, for 101's headers */
} Socket;

typedef struct Ws
{
	struct lws_context *context;
	struct lws_vhost *vhost;
	Socket	   *adopting;		/* whose socket the library is being given */
	bool		ending;
} Ws;

/* ---- sending and ending ---- */

/* No more lists for it; the socket lives until the library lets go of it. */
static void
end_stream(Socket *socket)
{
	if (socket->stream)
		stream_end(socket->stream);
	socket->stream = NULL;
}

/* Ends a connection from outside its own callbacks, in order: the rest of the output, the close frame. */
static void
kill_socket(Socket *socket)
{
	end_stream(socket);
	lws_set_timeout(socket->wsi, PENDING_TIMEOUT_HTTP_KEEPALIVE_IDLE, LWS_TO_KILL_ASYNC);
	/* The library looks at its own timers only after an event of its own. */
	lws_cancel_service(socket->bridge->ws->context);
}

static void
free_socket(Socket *socket)
{
	end_stream(socket);
	if (socket->seat)
		listener_leave(socket->bridge, socket->seat);
	if (socket->relay)
		relay_forget(socket->relay);
	free(socket->partial);
	free(socket->boards);
	identity_free(socket->identity);
	free(socket);
}

/* Bytes with LWS_PRE of room before them, behind what is unsent: SEND_LOST where the connection is no good any more. */
static SendResult
put_out(Socket *socket, unsigned char *bytes, size_t length)
{
	SendResult	result;
	ssize_t		n = 0;

	if (socket->relay)
	{
		if (!lws_partial_buffered(socket->wsi) && relay_send(socket->relay, bytes, length, &result))
			return result;
	}
	else if (!lws_partial_buffered(socket->wsi))
		n = send(socket->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == (ssize_t) length)
		return SEND_DONE;
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		return SEND_LOST;
	if (n < 0)
		n = 0;
	/* With LWS_WRITE_HTTP the library adds no header of its own; it copies what it can't send. */
	if (lws_write(socket->wsi, bytes + n, length - (size_t) n, LWS_WRITE_HTTP) < 0)
		return SEND_LOST;
	return lws_partial_buffered(socket->wsi) ? SEND_REST : SEND_DONE;
}

/* The socket lives on without the library, until the peer has said all or enough. */
static void
linger(Socket *socket)
{
	static const struct in6_addr nobody;	/* nothing is read from it any more */
	int			fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 0);
	Client	   *client;

	if (fd < 0)
	{
		shutdown(socket->fd, SHUT_WR);
		return;
	}
	client = client_new(socket->bridge, fd, socket->seat, &nobody, false);
	socket->seat = NULL;
	if (client)
		client_finish(client);
}

/*
 * The last word: a close frame with this payload. The library has then nothing
 * to do but to let go; behind an unsent rest the frame is queued as the last
 * thing, and the library gives that five seconds, then cuts it off.
 */
static void
part(Socket *socket, const void *payload, size_t length)
{
	unsigned char frame[LWS_PRE + 2 + CONTROL_MAX];
	SendResult	result;

	end_stream(socket);
	frame[LWS_PRE] = 0x88;
	frame[LWS_PRE + 1] = (unsigned char) length;
	memcpy(frame + LWS_PRE + 2, payload, length);
	result = put_out(socket, frame + LWS_PRE, length + 2);
	if (socket->relay == NULL && result == SEND_DONE)
		linger(socket);
	else if (socket->relay && !lws_partial_buffered(socket->wsi))
		relay_finish(socket->relay);
}

static void
part_because(Socket *socket, int code, const char *reason)
{
	unsigned char payload[CONTROL_MAX] = {(unsigned char) (code >> 8), (unsigned char) code};

	memcpy(payload + 2, reason, strlen(reason));
	part(socket, payload, strlen(reason) + 2);
}

/* From within a callback: what is returned to the library. */
static int
refuse(Socket *socket, int code, const char *reason)
{
	part_because(socket, code, reason);
	return -1;
}

/* ---- the hub's side ---- */

static SendResult
ws_say(Stream *stream, const Frame *frame)
{
	Socket	   *socket = stream_owner(stream);
	SendResult	result;

	/* Over TLS the client counts what it is given. */
	if (socket->relay == NULL)
		socket->bridge->metrics->sent_bytes += frame->wire_length;
	result = put_out(socket, frame->wire, frame->wire_length);
	if (result == SEND_LOST)
		kill_socket(socket);
	return result;
}

static SendResult
ws_send(Stream *stream, const Board *board)
{
	return ws_say(stream, board_frame(board));
}

/* The relay's client takes frames again. */
static void
relay_drained(void *owner)
{
	Socket	   *socket = owner;

	if (socket->stream && !lws_partial_buffered(socket->wsi))
		stream_drained(socket->stream);
}

static void
ws_visit(Stream *stream, bool ping)
{
	Socket	   *socket = stream_owner(stream);
	unsigned char bytes[LWS_PRE + 8];

	if (!ping)
		return;
	if (stream_silent(stream))
	{
		kill_socket(socket);
		return;
	}
	/* What takes nothing shall not be given more and more of them. */
	if (lws_partial_buffered(socket->wsi))
		return;
	/* Not empty: the library doesn't report the pong to an empty ping. */
	bytes[LWS_PRE] = 'p';
	if (lws_write(socket->wsi, bytes + LWS_PRE, 1, LWS_WRITE_PING) < 0)
		kill_socket(socket);
}

static void
ws_close(Stream *stream, int code, const char *reason)
{
	Socket	   *socket = stream_owner(stream);

	part_because(socket, code, reason);
	kill_socket(socket);
}

static const StreamKind ws_kind = {FORM_SOCKET, ws_send, ws_say, ws_visit, ws_close};

/* ---- what clients say ---- */

static bool
is_ping(const char *text, size_t length)
{
	json_t	   *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	const char *type = json_string_value(json_object_get(json, "type"));
	bool		ping = type && strcmp(type, "ping") == 0 && json_object_size(json) == 1;

	json_decref(json);
	return ping;
}

static int
understand(Socket *socket, const char *text, size_t length)
{
	unsigned char pong[LWS_PRE + 16];

	/* Ours to check: where the library does it, a close whose reason isn't gets no code. */
	if (!lws_frame_is_binary(socket->wsi) && !frame_is_utf8(text, length))
		return refuse(socket, CLOSE_BAD_TEXT, "not UTF-8");
	if (lws_frame_is_binary(socket->wsi) || !is_ping(text, length))
		return refuse(socket, CLOSE_NOT_UNDERSTOOD, "not understood");
	/* An answer only where it costs no memory: a ping is no reason to queue anything. */
	if (lws_partial_buffered(socket->wsi))
		return 0;
	memcpy(pong + LWS_PRE, "{\"type\":\"pong\"}", 15);
	return lws_write(socket->wsi, pong + LWS_PRE, 15, LWS_WRITE_TEXT) < 0 ? -1 : 0;
}

static int
received(Socket *socket, const char *data, size_t length)
{
	bool		final = lws_is_final_fragment(socket->wsi) && lws_remaining_packet_payload(socket->wsi) == 0;
	int			outcome;

	/* Behind a close frame, its own or ours, nothing is said any more. */
	if (socket->stream == NULL)
		return 0;
	stream_heard(socket->stream);
	if (socket->partial_length + length > MESSAGE_MAX || lws_remaining_packet_payload(socket->wsi) > MESSAGE_MAX)
		return refuse(socket, CLOSE_TOO_BIG, "message over 4096 bytes");
	if (final && socket->partial_length == 0)
		return understand(socket, data, length);
	if (socket->partial == NULL && (socket->partial = malloc(MESSAGE_MAX)) == NULL)
		return -1;
	memcpy(socket->partial + socket->partial_length, data, length);
	socket->partial_length = (uint16_t) (socket->partial_length + length);
	if (!final)
		return 0;
	outcome = understand(socket, socket->partial, socket->partial_length);
	free(socket->partial);
	socket->partial = NULL;
	socket->partial_length = 0;
	return outcome;
}

/* May this code stand in a close frame (RFC 6455, section 7.4)? */
static bool
is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999);
}

/* The peer's close frame; where it is fine it is what we say, too. */
static int
peer_closes(Socket *socket, const unsigned char *payload, size_t length)
{
	if (length == 1 || (length >= 2 && !is_close_code((unsigned) payload[0] << 8 | payload[1])))
		return refuse(socket, CLOSE_PROTOCOL, "");
	if (length > 2 && !frame_is_utf8((const char *) payload + 2, length - 2))
		return refuse(socket, CLOSE_BAD_TEXT, "");
	part(socket, payload, length);
	return -1;
}

/* Does the peer still speak, or may it? A byte of it must wait, or nothing at all. */
static bool
is_there(const Socket *socket)
{
	char		byte;
	ssize_t		ahead = recv(socket->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return ahead > 0 || (ahead < 0 && errno == EAGAIN);
}

/*
 * The library is about to end a connection that we have not: it has seen an
 * error, for which it mostly has a close in store, or the peer has gone. It has
 * none where a control frame was too long or a length had its first bit set.
 */
static void
library_ends(Socket *socket)
{
	size_t		length = (size_t) lws_get_close_length(socket->wsi);

	if (socket->stream == NULL)
		return;
	end_stream(socket);
	if (socket->bridge->ws->ending || lws_partial_buffered(socket->wsi))
		return;
	if (length > 0)
		part(socket, lws_get_close_payload(socket->wsi), length);
	else if (is_there(socket))
		part_because(socket, CLOSE_PROTOCOL, "");
}

/* ---- the library's side ---- */

static int
add_header(struct lws *wsi, const char *name, const char *value, struct lws_process_html_args *args)
{
	unsigned char *at = (unsigned char *) args->p;

	if (lws_add_http_header_by_name(wsi, (const unsigned char *) name, (const unsigned char *) value, (int) strlen(value),
									&at, at + args->max_len))
		return 1;
	args->max_len -= (int) ((char *) at - args->p);
	args->p = (char *) at;
	return 0;
}

/* To the 101. */
static int
add_headers(struct lws *wsi, const Socket *socket, struct lws_process_html_args *args)
{
	if (add_header(wsi, "X-Request-Id:", socket->request_id, args))
		return 1;
	return socket->origin[0] && add_header(wsi, "Access-Control-Allow-Origin:", socket->origin, args);
}

static int
established(Socket *socket)
{
	socket->stream = stream_new(socket->bridge, &ws_kind, socket, socket->boards, socket->count, socket->identity, NULL);
	free(socket->boards);
	socket->boards = NULL;
	identity_free(socket->identity);
	socket->identity = NULL;
	if (socket->stream == NULL)
		return -1;
	stream_begin(socket->stream);
	return 0;
}

static int
writeable(Socket *socket)
{
	if (socket->stream && !lws_partial_buffered(socket->wsi))
		stream_drained(socket->stream);
	return 0;
}

static int
callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	Socket	   *socket = wsi ? lws_get_opaque_user_data(wsi) : NULL;

	(void) user;
	if (socket == NULL && wsi && reason == LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED)
	{
		Ws		   *ws = lws_context_user(lws_get_context(wsi));

		socket = ws->adopting;
		ws->adopting = NULL;
		if (socket)
		{
			socket->wsi = wsi;
			lws_set_opaque_user_data(wsi, socket);
			/* Without one it doesn't call DROP_PROTOCOL. */
			lws_set_wsi_user(wsi, socket);
		}
	}
	if (socket == NULL)
		return 0;
	switch (reason)
	{
		case LWS_CALLBACK_ADD_HEADERS:
			return add_headers(wsi, socket, in);
		case LWS_CALLBACK_ESTABLISHED:
			return established(socket);
		case LWS_CALLBACK_RECEIVE:
			return received(socket, in, length);
		case LWS_CALLBACK_RECEIVE_PONG:
			if (socket->stream)
				stream_heard(socket->stream);
			return 0;
		case LWS_CALLBACK_SERVER_WRITEABLE:
			return writeable(socket);
		case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
			return peer_closes(socket, in, length);
		case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
			library_ends(socket);
			return 0;
		case LWS_CALLBACK_CLOSED:
			end_stream(socket);
			return 0;
		case LWS_CALLBACK_WSI_DESTROY:
			lws_set_opaque_user_data(wsi, NULL);
			free_socket(socket);
			return 0;
		default:
			return 0;
	}
}

/* ---- opening ---- */

static Socket *
new_socket(const Exchange *exchange, Board *const *boards, int count)
{
	Socket	   *socket = calloc(1, sizeof(*socket) + strlen(exchange->origin) + 1);

	if (socket == NULL || (socket->boards = malloc((size_t) count * sizeof(Board *))) == NULL)
	{
		free(socket);
		return NULL;
	}
	memcpy(socket->boards, boards, (size_t) count * sizeof(Board *));
	socket->count = (uint8_t) count;
	socket->bridge = client_bridge(exchange->client);
	strcpy(socket->request_id, exchange->id);
	strcpy(socket->origin, exchange->origin);
	return socket;
}

/*
 * The request as we have understood it, in the one form in which the library
 * reads what we do; behind it what came with it (over TLS the relay has that).
 */
static char *
handshake(const Exchange *exchange, const char *key, const char *subprotocol, size_t *length, bool *early)
{
	size_t		rest_length;
	const char *rest = client_rest(exchange->client, &rest_length);
	char	   *out = malloc(HANDSHAKE_MAX + rest_length);

	if (out == NULL)
		return NULL;
	if (client_is_secure(exchange->client))
		rest_length = 0;
	*length = (size_t) snprintf(out, HANDSHAKE_MAX, "GET / HTTP/1.1\r\nHost: bridge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
							 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s%s\r\n",
							 key, subprotocol ? "Sec-WebSocket-Protocol: " : "", subprotocol ? subprotocol : "", subprotocol ? "\r\n" : "");
	*early = rest_length > 0;
	if (*early)
		memcpy(out + *length, rest, rest_length);
	*length += rest_length;
	return out;
}

/* The descriptor that the library gets: the client's own, or over TLS one end of a pair. */
static bool
take_over(Socket *socket, Client *client)
{
	if (!client_is_secure(client))
		socket->fd = client_release(client, &socket->seat);
	else if (!relay_open(client, &socket->relay, &socket->fd, relay_drained, socket))
	{
		log_warn("no WebSocket over TLS", LOG_TEXT("reason", strerror(errno)),
				 LOG_TEXT("advice", "that client was closed; each takes three descriptors: raise the limit of open files, or lower --max-connections"));
		client_close(client);
		return false;
	}
	return true;
}

void
ws_open(Exchange *exchange, const char *key, const char *subprotocol, Board *const *boards, int count, Identity *identity)
{
	static const Problem memory = {ERROR_UNAVAILABLE, "Out of memory.", NULL, true};
	Ws		   *ws = client_bridge(exchange->client)->ws;
	size_t		length;
	bool		early;
	char	   *request = handshake(exchange, key, subprotocol, &length, &early);
	Socket	   *socket = new_socket(exchange, boards, count);

	if (socket == NULL || request == NULL)
	{
		free(request);
		if (socket)
			free(socket->boards);
		free(socket);
		identity_free(identity);
		exchange_problem(exchange, &memory);
		return;
	}
	socket->identity = identity;
	if (!take_over(socket, exchange_detach(exchange)))
	{
		free(request);
		free_socket(socket);
		return;
	}
	ws->adopting = socket;
	/* Where this fails the library closes the socket; whether WSI_DESTROY came for it shows in `adopting`. */
	lws_adopt_socket_vhost_readbuf(ws->vhost, socket->fd, request, length);
	free(request);
	if (ws->adopting)
	{
		ws->adopting = NULL;
		free_socket(socket);
	}
	/* Frames that came with the handshake: no event of the socket tells of them any more. */
	if (early)
		lws_cancel_service(ws->context);
}

/* ---- coming and going ---- */

static const struct lws_protocols protocols[] = {
	{
		.name = "scoreboard.v1",
		.callback = callback,
		/* Longer messages come in pieces; each WebSocket has a buffer of this size. */
		.rx_buffer_size = 512,
		.tx_packet_size = 1 << 20,
	},
	{.name = NULL}
};

/* Each adoption with a buffer makes the library say this at its level of errors. */
static void
library_log(int level, const char *line)
{
	if (strstr(line, "adopt_socket_readbuf") == NULL)
		log_library(level, line);
}

bool
ws_start(Bridge *bridge)
{
	static const lws_retry_bo_t no_keepalive;	/* the hub's wheel does it */
	struct lws_context_creation_info info;
	void	   *loops[] = {&bridge->loop};
	Ws		   *ws = calloc(1, sizeof(*ws));

	if (ws == NULL)
		abort();
	bridge->ws = ws;
	lws_set_log_level(LLL_ERR | LLL_WARN, library_log);
	memset(&info, 0, sizeof(info));
	info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_LIBUV;
	info.foreign_loops = loops;
	info.user = ws;
	info.pt_serv_buf_size = 4096;
	/* A head is read at once, within the call that hands it over. */
	info.max_http_header_pool = 16;
	ws->context = lws_create_context(&info);
	if (ws->context == NULL)
	{
		log_error("libwebsockets did not start", LOG_TEXT("advice", "its own lines before say why; mostly memory or the limit of open files"));
		return false;
	}
	info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	info.vhost_name = "scoreboard";
	info.protocols = protocols;
	info.retry_and_idle_policy = &no_keepalive;
	info.alpn = "http/1.1";
	ws->vhost = lws_create_vhost(ws->context, &info);
	return ws->vhost != NULL;
}

/* Between the two the loop runs until all handles are closed, as the library wants it. */
void
ws_stop(Bridge *bridge)
{
	bridge->ws->ending = true;
	lws_context_destroy(bridge->ws->context);
}

void
ws_free(Bridge *bridge)
{
	lws_context_destroy(bridge->ws->context);
	free(bridge->ws);
	bridge->ws = NULL;
}
