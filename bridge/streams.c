/*
 * streams.c - subscribers: WebSocket and server-sent events
 *
 * A broadcast writes directly to each subscriber from the loop that got the
 * news. That is deliberate, although the library's own advice is to ask for a
 * WRITEABLE callback: under libuv each such request costs two epoll_ctl calls,
 * and sending directly was measured to be two to three times as fast. It is
 * sound because of these rules:
 *
 *  - Whoever has an unsent rest (lws_partial_buffered) is not written to. Its
 *    Subscriber.sent stays behind; when the rest has drained, the library's
 *    WRITEABLE callback comes by itself and the newest version goes out, once.
 *    So a slow client holds one message and a number, never a queue.
 *  - A stream with a rest stands in the list `stalled`; after slow_timeout it
 *    is told 4003 and dropped.
 *  - Nobody is removed while an array is walked: a failed write puts the
 *    stream into the list `dead`, which is worked off after the walk.
 *
 * Invariant: Subscriber.sent <= Board.version, and it never falls.
 *
 * Server-sent events on HTTP/1.1: while a response is in progress this version
 * of the library doesn't read its socket, and a client that closes makes the
 * loop spin. So reading is turned off (a dead peer is found by the comment that
 * the wheel sends), and on again only while there is a rest to drain, since the
 * library handles no output of a connection whose reading is off. For the same
 * reason such a client must not have sent anything behind its request: what the
 * library has left over of it would ask for output for ever. The tick after the
 * beginning looks whether there is something (probe_leftovers), and each visit
 * of the wheel whether the client has spoken or ended its side.
 *
 * The wheel: streams are spread over its slots; each tick visits one slot, so
 * that a full turn takes half a ping interval. A visit sends a comment (SSE), or
 * in every second turn a ping (WebSocket) and looks whether the last was heard.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "loop.h"

#define WHEEL_SLOTS 64
#define MESSAGE_MAX 4096
#define CLOSE_AWAY 1001
#define CLOSE_TOO_BIG 1009
#define CLOSE_NOT_UNDERSTOOD 1008
#define CLOSE_SLOW 4003

typedef struct Place
{
	Board	   *board;
	uint32_t	index;			/* of this stream in the board's subscribers */
} Place;

struct Stream
{
	Connection *connection;
	Stream	   *wheel_previous;
	Stream	   *wheel_next;
	Stream	   *stalled_previous;
	Stream	   *stalled_next;
	Stream	   *dead_next;
	uint64_t	stalled_since;	/* ms */
	uint64_t	heard;			/* ms: when the client last said something */
	char	   *partial;		/* a message that comes in pieces */
	uint16_t	partial_length;
	uint8_t		slot;
	uint8_t		count;			/* of places */
	bool		events:1;		/* SSE, else WebSocket */
	bool		stalled:1;
	bool		dead:1;			/* stands in the list of the dead */
	bool		closing:1;		/* nothing is sent any more */
	bool		fresh:1;		/* SSE: leftovers have not been looked for yet */
	Place		places[];
};

typedef struct Streams
{
	uv_timer_t	timer;
	Stream	   *wheel[WHEEL_SLOTS];
	Stream	   *stalled;
	Stream	   *dead;
	int			fresh;			/* how many are */
	unsigned	next_slot;		/* for the next stream */
	unsigned	tick;
	int			count;
	unsigned char *scratch;		/* for an event with an id of its own */
	size_t		scratch_room;
} Streams;

static void streams_tick(uv_timer_t *timer);

void
streams_start(Bridge *bridge)
{
	Streams    *streams = calloc(1, sizeof(*streams));
	uint64_t	period = (uint64_t) bridge->options.ping_interval_ms / 2 / WHEEL_SLOTS;

	if (streams == NULL)
		abort();
	bridge->streams = streams;
	uv_timer_init(&bridge->loop, &streams->timer);
	streams->timer.data = bridge;
	uv_timer_start(&streams->timer, streams_tick, period + 1, period + 1);
	log_debug("streams", LOG_NUMBER("bytes_each", sizeof(Stream) + sizeof(Place) + sizeof(Subscriber)),
			  LOG_NUMBER("connection_bytes", sizeof(Connection)));
}

void
streams_stop(Bridge *bridge)
{
	uv_close((uv_handle_t *) &bridge->streams->timer, NULL);
}

void
streams_free(Bridge *bridge)
{
	if (bridge->streams->scratch)
		free(bridge->streams->scratch - LWS_PRE);
	free(bridge->streams);
	bridge->streams = NULL;
}

int
streams_count(const Bridge *bridge)
{
	return bridge->streams->count;
}

static Streams *
streams_of(const Stream *stream)
{
	return stream->connection->bridge->streams;
}

/* ---- lists ---- */

static void
wheel_link(Streams *streams, Stream *stream)
{
	Stream	  **slot;

	stream->slot = (uint8_t) (streams->next_slot++ % WHEEL_SLOTS);
	slot = &streams->wheel[stream->slot];
	stream->wheel_next = *slot;
	if (*slot)
		(*slot)->wheel_previous = stream;
	*slot = stream;
}

static void
wheel_unlink(Streams *streams, Stream *stream)
{
	if (stream->wheel_previous)
		stream->wheel_previous->wheel_next = stream->wheel_next;
	else
		streams->wheel[stream->slot] = stream->wheel_next;
	if (stream->wheel_next)
		stream->wheel_next->wheel_previous = stream->wheel_previous;
}

static void
set_stalled(Stream *stream, bool stalled)
{
	Streams    *streams = streams_of(stream);

	if (stream->stalled == stalled)
		return;
	stream->stalled = stalled;
	if (stalled)
	{
		stream->stalled_since = uv_now(&stream->connection->bridge->loop);
		stream->stalled_previous = NULL;
		stream->stalled_next = streams->stalled;
		if (streams->stalled)
			streams->stalled->stalled_previous = stream;
		streams->stalled = stream;
		return;
	}
	if (stream->stalled_previous)
		stream->stalled_previous->stalled_next = stream->stalled_next;
	else
		streams->stalled = stream->stalled_next;
	if (stream->stalled_next)
		stream->stalled_next->stalled_previous = stream->stalled_previous;
}

static void
set_dead(Stream *stream)
{
	if (stream->dead)
		return;
	stream->dead = stream->closing = true;
	stream->dead_next = streams_of(stream)->dead;
	streams_of(stream)->dead = stream;
}

/* Ends what failed. Its callbacks run within, so nobody may be walking an array. */
static void
bury(Streams *streams)
{
	while (streams->dead)
	{
		Stream	   *stream = streams->dead;
		Connection *connection = stream->connection;

		streams->dead = stream->dead_next;
		stream->dead = false;
		streams_remove(connection);
		connection_end(connection);
	}
}

/* ---- sending ---- */

/* After a write: has the socket taken it whole? */
static void
after_write(Stream *stream, struct lws *wsi, int written)
{
	if (written < 0)
	{
		set_dead(stream);
		return;
	}
	if (!lws_partial_buffered(wsi))
		return;
	if (stream->events && !stream->stalled)
		lws_rx_flow_control(wsi, 1 | LWS_RXFLOW_REASON_FLAG_PROCESS_NOW);
	set_stalled(stream, true);
}

/* "id:" of a stream with several boards names the version of each. */
static size_t
event_with_ids(Stream *stream, const Board *sent, unsigned char **out)
{
	Streams    *streams = streams_of(stream);
	const Frame *frame = sent->frame;
	size_t		room = frame->event_shared + (size_t) stream->count * (BOARD_NAME_MAX + 24) + 16;
	size_t		n = frame->event_shared;

	if (room > streams->scratch_room)
	{
		unsigned char *block = malloc(LWS_PRE + room);

		if (block == NULL)
			return 0;
		if (streams->scratch)
			free(streams->scratch - LWS_PRE);
		streams->scratch = block + LWS_PRE;
		streams->scratch_room = room;
	}
	*out = streams->scratch;
	memcpy(*out, frame->event, n);
	n += (size_t) sprintf((char *) *out + n, "id: ");
	for (int i = 0; i < stream->count; i++)
	{
		const Board *board = stream->places[i].board;
		int64_t		version = board->subscribers[stream->places[i].index].sent;

		if (board == sent)
			version = board->version;
		if (version >= 0)
			n += (size_t) sprintf((char *) *out + n, "%s%s:%" PRId64,
								  (*out)[n - 1] == ' ' ? "" : ",", board->name, version);
	}
	memcpy(*out + n, "\n\n", 2);
	return n + 2;
}

static void
send_frame(Board *board, Subscriber *subscriber)
{
	Stream	   *stream = subscriber->stream;
	Frame	   *frame = board->frame;
	unsigned char *event = frame->event;
	size_t		length = frame->event_length;
	int			written;

	if (!stream->events)
		written = lws_write(subscriber->wsi, frame->message, frame->message_length, LWS_WRITE_TEXT);
	else
	{
		if (stream->count > 1)
			length = event_with_ids(stream, board, &event);
		if (length == 0)
			return;
		written = lws_write(subscriber->wsi, event, length, LWS_WRITE_HTTP);
	}
	subscriber->sent = board->version;
	after_write(stream, subscriber->wsi, written);
}

void
streams_broadcast(Bridge *bridge, Board *board)
{
	Subscriber *subscriber = board->subscribers;
	Subscriber *end = subscriber + board->subscriber_count;

	for (; subscriber < end; subscriber++)
		if (subscriber->sent < board->version && !lws_partial_buffered(subscriber->wsi) &&
			!subscriber->stream->closing)
			send_frame(board, subscriber);
	bury(bridge->streams);
}

/* What this client hasn't got yet, as long as the socket takes it. */
static void
catch_up(Stream *stream)
{
	struct lws *wsi = stream->connection->wsi;

	for (int i = 0; i < stream->count && !stream->closing; i++)
	{
		Board	   *board = stream->places[i].board;
		Subscriber *subscriber = &board->subscribers[stream->places[i].index];

		if (lws_partial_buffered(wsi))
			return;
		if (board->frame && subscriber->sent < board->version)
			send_frame(board, subscriber);
	}
}

int
streams_writeable(Connection *connection)
{
	Stream	   *stream = connection->stream;

	if (stream == NULL)
		return 0;
	if (lws_partial_buffered(connection->wsi))
		return 0;
	if (stream->stalled)
	{
		set_stalled(stream, false);
		if (stream->events)
			lws_rx_flow_control(connection->wsi, 0);
	}
	catch_up(stream);
	if (!stream->dead)
		return 0;
	/* We are in its own callback: the library ends it when told so. */
	streams_remove(connection);
	return -1;
}

/* ---- coming and going ---- */

static bool
subscribe(Stream *stream, int i, Board *board)
{
	Subscriber *subscriber;

	if (board->subscriber_count == board->subscriber_room)
	{
		uint32_t	room = board->subscriber_room ? board->subscriber_room * 2 : 16;
		Subscriber *bigger = realloc(board->subscribers, room * sizeof(*bigger));

		if (bigger == NULL)
			return false;
		board->subscribers = bigger;
		board->subscriber_room = room;
	}
	stream->places[i].board = board;
	stream->places[i].index = board->subscriber_count;
	stream->count = (uint8_t) (i + 1);
	subscriber = &board->subscribers[board->subscriber_count++];
	subscriber->wsi = stream->connection->wsi;
	subscriber->stream = stream;
	subscriber->sent = -1;
	return true;
}

/* The last subscriber takes the place of the one that goes. */
static void
unsubscribe(Stream *stream, int i)
{
	Board	   *board = stream->places[i].board;
	uint32_t	index = stream->places[i].index;
	Subscriber *last = &board->subscribers[--board->subscriber_count];

	if (last->stream == stream)
		return;
	board->subscribers[index] = *last;
	for (int k = 0; k < last->stream->count; k++)
		if (last->stream->places[k].board == board)
			last->stream->places[k].index = index;
}

/* "board:version,board:version": what the client has already. */
static void
skip_known(Stream *stream, const char *last_event_id)
{
	for (int i = 0; i < stream->count; i++)
	{
		const Board *board = stream->places[i].board;
		size_t		length = strlen(board->name);

		for (const char *p = last_event_id; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		{
			if (strncmp(p, board->name, length) != 0 || p[length] != ':')
				continue;
			if (strtoll(p + length + 1, NULL, 10) == board->version)
				board->subscribers[stream->places[i].index].sent = board->version;
		}
	}
}

bool
streams_add(Connection *connection, bool events, Board *const *boards, int count, const char *last_event_id)
{
	Streams    *streams = connection->bridge->streams;
	Stream	   *stream = calloc(1, sizeof(*stream) + (size_t) count * sizeof(Place));

	if (stream == NULL)
		return false;
	stream->connection = connection;
	stream->events = events;
	stream->fresh = events;
	streams->fresh += events;
	stream->heard = uv_now(&connection->bridge->loop);
	connection->stream = stream;
	wheel_link(streams, stream);
	streams->count++;
	for (int i = 0; i < count; i++)
		if (!subscribe(stream, i, boards[i]))
		{
			streams_remove(connection);
			return false;
		}
	skip_known(stream, last_event_id);
	catch_up(stream);
	if (!stream->dead)
		return true;
	streams_remove(connection);
	return false;
}

void
streams_remove(Connection *connection)
{
	Streams    *streams = connection->bridge->streams;
	Stream	   *stream = connection->stream;

	if (stream == NULL)
		return;
	for (int i = 0; i < stream->count; i++)
		unsubscribe(stream, i);
	set_stalled(stream, false);
	if (stream->dead)
	{
		Stream	  **link = &streams->dead;

		while (*link != stream)
			link = &(*link)->dead_next;
		*link = stream->dead_next;
	}
	wheel_unlink(streams, stream);
	streams->fresh -= stream->fresh;
	streams->count--;
	free(stream->partial);
	free(stream);
	connection->stream = NULL;
}

/* ---- what clients say ---- */

static int
refuse(Connection *connection, int code, const char *reason)
{
	lws_close_reason(connection->wsi, (enum lws_close_status) code, (unsigned char *) reason, strlen(reason));
	streams_remove(connection);
	return -1;
}

static int
understand(Connection *connection, const char *text, size_t length)
{
	unsigned char pong[LWS_PRE + 16];
	Stream	   *stream = connection->stream;

	if (lws_frame_is_binary(connection->wsi) || !body_is_ping(text, length))
		return refuse(connection, CLOSE_NOT_UNDERSTOOD, "not understood");
	/* An answer only where it costs no memory: a ping is no reason to queue anything. */
	if (stream->closing || lws_partial_buffered(connection->wsi))
		return 0;
	memcpy(pong + LWS_PRE, "{\"type\":\"pong\"}", 15);
	after_write(stream, connection->wsi, lws_write(connection->wsi, pong + LWS_PRE, 15, LWS_WRITE_TEXT));
	return 0;
}

int
streams_received(Connection *connection, const char *data, size_t length)
{
	Stream	   *stream = connection->stream;
	bool		final = lws_is_final_fragment(connection->wsi) && lws_remaining_packet_payload(connection->wsi) == 0;
	int			outcome;

	if (stream == NULL)
		return 0;
	streams_heard(connection);
	if (stream->partial_length + length > MESSAGE_MAX ||
		lws_remaining_packet_payload(connection->wsi) > MESSAGE_MAX)
		return refuse(connection, CLOSE_TOO_BIG, "message over 4096 bytes");
	if (final && stream->partial_length == 0)
		return understand(connection, data, length);
	if (stream->partial == NULL && (stream->partial = malloc(MESSAGE_MAX)) == NULL)
		return -1;
	memcpy(stream->partial + stream->partial_length, data, length);
	stream->partial_length = (uint16_t) (stream->partial_length + length);
	if (!final)
		return 0;
	outcome = understand(connection, stream->partial, stream->partial_length);
	if (outcome == 0)
	{
		free(stream->partial);
		stream->partial = NULL;
		stream->partial_length = 0;
	}
	return outcome;
}

void
streams_heard(Connection *connection)
{
	if (connection->stream)
		connection->stream->heard = uv_now(&connection->bridge->loop);
}

/* ---- the wheel, and the end ---- */

/*
 * Tells it why and ends it. Behind an unsent rest the close frame is queued as
 * the last thing; the library gives that five seconds, then cuts it off.
 */
static void
finish(Stream *stream, int code, const char *reason)
{
	Connection *connection = stream->connection;
	bool		queue = !stream->events && lws_partial_buffered(connection->wsi);
	unsigned char frame[LWS_PRE + 64];
	size_t		length = strlen(reason);

	if (queue)
	{
		/* The library has no call for this; with LWS_WRITE_HTTP it adds no head of its own. */
		frame[LWS_PRE] = 0x88;
		frame[LWS_PRE + 1] = (unsigned char) (length + 2);
		frame[LWS_PRE + 2] = (unsigned char) (code >> 8);
		frame[LWS_PRE + 3] = (unsigned char) code;
		memcpy(frame + LWS_PRE + 4, reason, length);
		lws_write(connection->wsi, frame + LWS_PRE, length + 4, LWS_WRITE_HTTP);
	}
	else if (!stream->events)
		lws_close_reason(connection->wsi, (enum lws_close_status) code, (unsigned char *) reason, length);
	streams_remove(connection);
	connection_end(connection);
}

static void
visit(Stream *stream, bool ping_turn)
{
	Bridge	   *bridge = stream->connection->bridge;
	struct lws *wsi = stream->connection->wsi;
	unsigned char bytes[LWS_PRE + 8];

	if (stream->stalled || stream->closing)
		return;
	if (stream->events && connection_spoken(stream->connection))
	{
		set_dead(stream);
		return;
	}
	if (stream->events)
	{
		memcpy(bytes + LWS_PRE, ":\n\n", 3);
		after_write(stream, wsi, lws_write(wsi, bytes + LWS_PRE, 3, LWS_WRITE_HTTP));
		return;
	}
	if (!ping_turn)
		return;
	if (uv_now(&bridge->loop) - stream->heard > 2 * (uint64_t) bridge->options.ping_interval_ms)
	{
		set_dead(stream);
		return;
	}
	/* Not empty: the library doesn't report the pong to an empty ping. */
	bytes[LWS_PRE] = 'p';
	after_write(stream, wsi, lws_write(wsi, bytes + LWS_PRE, 1, LWS_WRITE_PING));
}

static void
streams_tick(uv_timer_t *timer)
{
	Bridge	   *bridge = timer->data;
	Streams    *streams = bridge->streams;
	unsigned	turn = streams->tick / WHEEL_SLOTS;

	for (Stream *stream = streams->wheel[streams->tick++ % WHEEL_SLOTS]; stream; stream = stream->wheel_next)
		visit(stream, turn % 2 == 0);
	bury(streams);
}

/*
 * Is something left over of what this client has sent? The library tells only
 * whether there is any connection with leftovers whose reading is on. So: ask
 * with its reading on, and with its reading off. Where others have some just
 * now it can't be told, and the next tick asks again.
 */
static void
probe_leftovers(Stream *stream)
{
	struct lws_context *lws = stream->connection->bridge->lws;
	struct lws *wsi = stream->connection->wsi;
	bool		on;
	bool		off;

	if (stream->stalled)
		return;
	lws_rx_flow_control(wsi, 1);
	on = lws_service_adjust_timeout(lws, 1, 0) == 0;
	lws_rx_flow_control(wsi, 0);
	off = lws_service_adjust_timeout(lws, 1, 0) == 0;
	if (on && off)
		return;
	stream->fresh = false;
	streams_of(stream)->fresh--;
	if (on)
		set_dead(stream);
}

static void
probe_fresh(Streams *streams)
{
	for (int slot = 0; slot < WHEEL_SLOTS && streams->fresh > 0; slot++)
		for (Stream *stream = streams->wheel[slot]; stream && streams->fresh > 0; stream = stream->wheel_next)
			if (stream->fresh)
				probe_leftovers(stream);
}

void
streams_sweep(Bridge *bridge)
{
	uint64_t	now = uv_now(&bridge->loop);
	bool		any = false;

	probe_fresh(bridge->streams);
	bury(bridge->streams);
	for (Stream *stream = bridge->streams->stalled, *next; stream; stream = next)
	{
		next = stream->stalled_next;
		if (now - stream->stalled_since <= (uint64_t) bridge->options.slow_timeout_ms)
			continue;
		log_info("stream dropped", LOG_TEXT("reason", "too slow"));
		finish(stream, CLOSE_SLOW, "too slow");
		any = true;
	}
	/* The library looks at its own timers only after an event of its own. */
	if (any)
		lws_cancel_service(bridge->lws);
}

int
streams_drain(Bridge *bridge, int count)
{
	Streams    *streams = bridge->streams;

	for (int slot = 0; slot < WHEEL_SLOTS && count > 0; slot++)
		while (streams->wheel[slot] && count-- > 0)
			finish(streams->wheel[slot], CLOSE_AWAY, "going away");
	return streams->count;
}
