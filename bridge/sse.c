/*
 * sse.c - server-sent events: plain writes on our own sockets
 *
 * A stream is a Client whose reader is this file: whatever such a client sends
 * (there is nothing that it could want) or the end of its side ends it. A dead
 * peer is found by the comment that the wheel sends.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "sse.h"

#include <stdio.h>
#include <string.h>

#include "random.h"

/* ---- the hub's side ---- */

static SendResult
send_event(Client *client, const unsigned char *event, size_t length)
{
	if (!client_send(client, event, length))
		return SEND_LOST;
	return client_unsent(client) ? SEND_REST : SEND_DONE;
}

static SendResult
sse_send(Stream *stream, const Board *board)
{
	size_t		length;
	const unsigned char *event = stream_event(stream, board, &length);

	return send_event(stream_owner(stream), event, length);
}

static SendResult
sse_say(Stream *stream, const Frame *frame)
{
	return send_event(stream_owner(stream), frame->event, frame->event_length);
}

static void
sse_visit(Stream *stream, bool ping)
{
	(void) ping;
	client_send(stream_owner(stream), ":\n\n", 3);
}

/*
 * Events have no codes: a comment tells it to who reads comments, as scoreboard.js does. The connection ends behind it, or in the middle
 * of an event that isn't taken.
 */
static void
sse_close(Stream *stream, int code, const char *reason)
{
	Client	   *client = stream_owner(stream);
	char		comment[32];

	(void) reason;
	snprintf(comment, sizeof(comment), ":close %d\n\n", code);
	if (client_unsent(client))
		client_close(client);
	else if (client_send(client, comment, strlen(comment)))
		client_finish(client);
}

static const StreamKind sse_kind = {FORM_EVENTS, sse_send, sse_say, sse_visit, sse_close};

/* ---- the client's side ---- */

static void
sse_read(Client *client, const char *bytes, size_t length)
{
	(void) bytes;
	(void) length;
	client_close(client);
}

static void
sse_drained(Client *client)
{
	stream_drained(client_data(client));
}

static void
sse_gone(Client *client)
{
	stream_end(client_data(client));
}

static const ClientReader sse_reader = {sse_read, client_close, sse_drained, client_close, sse_gone};

void
sse_open(Exchange *exchange, Board *const *boards, int count, const struct Identity *identity, const char *last_event_id)
{
	Bridge	   *bridge = client_bridge(exchange->client);
	/* Without a length it lasts until the connection ends. */
	Answer		answer = {200, "text/event-stream", NULL, 0,
	"Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n", true};
	char		retry[48];
	Stream	   *stream;
	Client	   *client = exchange_open_stream(exchange, &answer);

	if (client == NULL)
		return;
	client_phase(client, PHASE_STREAM);
	stream = stream_new(bridge, &sse_kind, client, boards, count, identity, last_event_id);
	if (stream == NULL)
	{
		client_close(client);
		return;
	}
	client_set_reader(client, &sse_reader, stream);
	client_want(client, true);
	snprintf(retry, sizeof(retry), "retry: %u\n\n", 1000 + random_number() % 4000);
	if (client_send(client, retry, strlen(retry)))
		stream_begin(stream);
}
