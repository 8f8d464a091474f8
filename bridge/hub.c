/*
 * hub.c - subscriptions, and the broadcast that gives way
 *
 * The status ("are the lists those of now?") is a board without a name that
 * every stream subscribes to first; so it is sent, caught up with and left out
 * by slow clients just like a list.
 *
 * A broadcast walks the board's array of subscribers in slices, one a turn of
 * the loop (SLICE_US), and the requests that came meanwhile have theirs in
 * between. Each subscriber knows which version it was sent last: whoever has
 * not been reached when the next version comes gets only that one, and the walk
 * goes on where it stands instead of beginning anew, so that nobody is always
 * the last. Whoever has an unsent rest is left out (`stalled`) and gets the
 * newest when it has drained; so a slow client holds one message and a number,
 * never a queue, and is dropped after slow-timeout (4003).
 *
 * Anything that is sent may end its own stream, and then the last subscriber of
 * the array takes its place. The walk looks at that place again, and once round
 * the array from there, so nobody is missed.
 *
 * The wheel: streams are spread over its slots; a tick visits one slot, a full
 * turn takes half a ping interval.
 *
 * Invariant: Subscriber.sent never falls, and never passes its board's version.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "hub.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "newest.h"
#include "players.h"
#include "room.h"

#define WHEEL_SLOTS 64
#define SLICE_US 2000
#define LOOK_AT_CLOCK 32		/* sends between two looks at the time */
#define CLOSE_AWAY 1001
#define CLOSE_SLOW 4003

typedef struct Subscriber
{
	Stream	   *stream;
	int64_t		sent;			/* the newest version it was given */
	int64_t		season_began;	/* of the season whose begin it knows (boards.h) */
} Subscriber;

struct Audience
{
	Board	   *board;
	Subscriber *subscribers;
	uint32_t	count;
	uint32_t	room;
	uint32_t	at;				/* where the walk stands */
	uint32_t	left;			/* subscribers that it has still to look at; 0: no broadcast */
	Audience   *walk_next;		/* in the list of those that are walked */
	bool		walked;
	uint64_t	walk_since;		/* uv_hrtime */
};

typedef struct Place
{
	Audience   *audience;
	uint32_t	index;			/* of this stream in its subscribers */
} Place;

struct Stream
{
	const StreamKind *kind;
	Bridge	   *bridge;
	void	   *owner;
	Membership *membership;		/* NULL: nobody knows whose it is */
	Stream	   *wheel_previous;
	Stream	   *wheel_next;
	Stream	   *stalled_previous;
	Stream	   *stalled_next;
	uint64_t	stalled_since;	/* ms */
	uint64_t	heard;			/* ms: when the client last said something */
	uint8_t		slot;
	uint8_t		count;			/* of places */
	bool		stalled;
	Place		places[];		/* the status first */
};

typedef struct Hub
{
	Bridge	   *bridge;
	Board	   *status;
	bool		live;
	uv_timer_t	timer;			/* the wheel's */
	uv_idle_t	slices;			/* runs while a board is walked */
	Audience   *walks;
	Stream	   *wheel[WHEEL_SLOTS];
	Stream	   *stalled;
	Stream	   *visiting;		/* the wheel's next, which may end under it */
	unsigned	next_slot;		/* for the next stream */
	unsigned	tick;
	int			streams;
} Hub;

/* ---- broadcasting ---- */

static void
set_stalled(Stream *stream, bool stalled)
{
	Hub		   *hub = stream->bridge->hub;

	if (stream->stalled == stalled)
		return;
	stream->stalled = stalled;
	if (stalled)
	{
		stream->stalled_since = uv_now(&stream->bridge->loop);
		stream->stalled_previous = NULL;
		stream->stalled_next = hub->stalled;
		if (hub->stalled)
			hub->stalled->stalled_previous = stream;
		hub->stalled = stream;
		return;
	}
	if (stream->stalled_previous)
		stream->stalled_previous->stalled_next = stream->stalled_next;
	else
		hub->stalled = stream->stalled_next;
	if (stream->stalled_next)
		stream->stalled_next->stalled_previous = stream->stalled_previous;
}

/* Has the season ended whose list this subscriber was given last, and was it not told yet? */
static bool
season_is_news(const Audience *audience, uint32_t index)
{
	const Subscriber *subscriber = &audience->subscribers[index];

	return subscriber->sent >= 0 && subscriber->season_began < board_season_began(audience->board);
}

/*
 * Sends one subscriber the board's newest, and before it that a season has ended; false where the stream is gone by that. Where
 * that message is held up, the list comes when it has drained.
 */
static bool
give(Audience *audience, uint32_t index)
{
	Stream	   *stream = audience->subscribers[index].stream;

	if (season_is_news(audience, index))
	{
		audience->subscribers[index].season_began = board_season_began(audience->board);
		if (stream_say(stream, board_season_end(audience->board)) == SAY_LOST)
			return false;
		if (stream->stalled)
			return true;
	}

	/* First, since sending may end the stream and move another one here. */
	audience->subscribers[index].sent = board_version(audience->board);
	stream->bridge->metrics->stream_messages[stream->kind->form]++;
	switch (stream->kind->send(stream, audience->board))
	{
		case SEND_DONE:
			return true;
		case SEND_REST:
			set_stalled(stream, true);
			return true;
		case SEND_LOST:
			break;
	}
	return false;
}

SayResult
stream_say(Stream *stream, const Frame *frame)
{
	if (stream->stalled)
		return SAY_LATER;
	stream->bridge->metrics->stream_messages[stream->kind->form]++;
	switch (stream->kind->say(stream, frame))
	{
		case SEND_REST:
			set_stalled(stream, true);
			return SAID;
		case SEND_LOST:
			return SAY_LOST;
		case SEND_DONE:
			break;
	}
	return SAID;
}

/* Has it a list that this subscriber lacks? */
static bool
has_news(const Audience *audience, uint32_t index)
{
	return board_frame(audience->board) && audience->subscribers[index].sent < board_version(audience->board);
}

/* Walks on until the time is over; false where all have been looked at. */
static bool
walk(Audience *audience, uint64_t until)
{
	int			sends = 0;

	while (audience->left > 0 && audience->count > 0 && !board_behind(audience->board))
	{
		if (audience->at >= audience->count)
			audience->at = 0;
		if (has_news(audience, audience->at) && !audience->subscribers[audience->at].stream->stalled)
		{
			/* Where it is lost, unsubscribe() has seen to the walk. */
			if (!give(audience, audience->at))
				continue;
			if (++sends % LOOK_AT_CLOCK == 0 && uv_hrtime() >= until)
			{
				audience->at++;
				audience->left--;
				return audience->left > 0;
			}
		}
		audience->at++;
		audience->left--;
	}
	audience->left = 0;
	return false;
}

static void
walk_over(Hub *hub, const Audience *audience)
{
	if (audience->walk_since)
		histogram_add(&hub->bridge->metrics->fan_out, (uv_hrtime() - audience->walk_since) / 1000);
}

/* One turn: each audience that is walked gets a slice, and the first becomes the last. */
static void
slice(uv_idle_t *idle)
{
	Hub		   *hub = idle->data;
	Audience   *audience = hub->walks;
	Audience  **end;

	hub->walks = audience->walk_next;
	audience->walk_next = NULL;
	audience->walked = false;
	if (walk(audience, uv_hrtime() + SLICE_US * 1000))
	{
		audience->walked = true;
		for (end = &hub->walks; *end;)
			end = &(*end)->walk_next;
		*end = audience;
	}
	else
		walk_over(hub, audience);
	if (hub->walks == NULL)
		uv_idle_stop(idle);
}

void
hub_broadcast(Bridge *bridge, Board *board)
{
	Hub		   *hub = bridge->hub;
	Audience   *audience = board_audience(board);

	if (audience == NULL)
		return;
	audience->left = audience->count;
	if (audience->walked || audience->count == 0)
		return;
	audience->walked = true;
	audience->walk_since = uv_hrtime();
	audience->walk_next = hub->walks;
	hub->walks = audience;
	uv_idle_start(&hub->slices, slice);
}

void
hub_end_streams(Board *board, const char *reason)
{
	Audience   *audience = board_audience(board);

	for (uint32_t left = audience_count(audience); left > 0 && audience->count > 0; left--)
		stream_close(audience->subscribers[audience->count - 1].stream, CLOSE_AWAY, reason);
}

/* ---- the status ---- */

static void
set_status(Bridge *bridge, bool live)
{
	Board	   *status = bridge->hub->status;
	time_t		now = time(NULL);
	struct tm	tm;
	char		since[32];
	char		text[96];
	Frame	   *frame;

	bridge->hub->live = live;
	gmtime_r(&now, &tm);
	strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &tm);
	snprintf(text, sizeof(text), "{\"type\":\"status\",\"live\":%s,\"since\":\"%s\"}", live ? "true" : "false", since);
	frame = frame_of_message("status", text);
	if (frame == NULL)
		return;
	board_show(status, frame, board_version(status) + 1);
	hub_broadcast(bridge, status);
}

void
hub_live(Bridge *bridge, bool live)
{
	if (bridge->hub->live != live)
		set_status(bridge, live);
}

/* ---- subscriptions ---- */

uint32_t
audience_count(const Audience *audience)
{
	return audience ? audience->count : 0;
}

void
audience_free(Audience *audience)
{
	if (audience)
		free(audience->subscribers);
	free(audience);
}

/* The board's; NULL: out of memory. */
static Audience *
audience_of(Board *board)
{
	Audience   *audience = board_audience(board);

	if (audience == NULL && (audience = calloc(1, sizeof(*audience))) != NULL)
	{
		audience->board = board;
		board_set_audience(board, audience);
	}
	return audience;
}

static bool
has_room(Audience *audience)
{
	uint32_t	room = audience->room ? audience->room * 2 : 16;
	Subscriber *bigger;

	if (audience->count < audience->room)
		return true;
	bigger = realloc(audience->subscribers, room * sizeof(*bigger));
	if (bigger == NULL)
		return false;
	audience->subscribers = bigger;
	audience->room = room;
	return true;
}

static bool
subscribe(Stream *stream, Board *board)
{
	Audience   *audience = audience_of(board);

	if (audience == NULL || !has_room(audience))
		return false;
	stream->places[stream->count++] = (Place) {audience, audience->count};
	audience->subscribers[audience->count++] = (Subscriber) {stream, -1, board_season_began(board)};
	newest_set_subscribers(board_newest(board), stream->bridge->worker, audience->count);
	/* A walk that is under way passes this one too, before it begins at the front of the array. */
	if (audience->left > 0)
		audience->left++;
	return true;
}

/* The last subscriber takes the place of the one that goes. */
static void
unsubscribe(Stream *stream, const Place *place)
{
	Audience   *audience = place->audience;
	Subscriber *last = &audience->subscribers[--audience->count];

	newest_set_subscribers(board_newest(audience->board), stream->bridge->worker, audience->count);
	/* A walk that is under way looks once more round, since the last one may have jumped behind it. */
	if (audience->left > 0)
		audience->left = audience->count;
	if (last->stream == stream)
		return;
	audience->subscribers[place->index] = *last;
	for (int i = 0; i < last->stream->count; i++)
		if (last->stream->places[i].audience == audience)
			last->stream->places[i].index = place->index;
}

/* "board:version,board:version": what the client has already. */
static void
skip_known(Stream *stream, const char *last_event_id)
{
	for (int i = 1; i < stream->count; i++)
	{
		const Place *place = &stream->places[i];
		const Board *board = place->audience->board;
		size_t		length = strlen(board_name(board));

		for (const char *p = last_event_id; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		{
			if (strncmp(p, board_name(board), length) != 0 || p[length] != ':')
				continue;
			if (strtoll(p + length + 1, NULL, 10) == board_version(board))
				place->audience->subscribers[place->index].sent = board_version(board);
		}
	}
}

static void
wheel_enter(Hub *hub, Stream *stream)
{
	Stream	  **slot;

	stream->slot = (uint8_t) (hub->next_slot++ % WHEEL_SLOTS);
	slot = &hub->wheel[stream->slot];
	stream->wheel_next = *slot;
	if (*slot)
		(*slot)->wheel_previous = stream;
	*slot = stream;
}

static void
wheel_leave(Hub *hub, Stream *stream)
{
	if (hub->visiting == stream)
		hub->visiting = stream->wheel_next;
	if (stream->wheel_previous)
		stream->wheel_previous->wheel_next = stream->wheel_next;
	else
		hub->wheel[stream->slot] = stream->wheel_next;
	if (stream->wheel_next)
		stream->wheel_next->wheel_previous = stream->wheel_previous;
}

Stream *
stream_new(Bridge *bridge, const StreamKind *kind, void *owner, Board *const *boards, int count,
		   const Identity *identity, const char *last_event_id)
{
	Stream	   *stream = calloc(1, sizeof(*stream) + (size_t) (count + 1) * sizeof(Place));
	bool		fine;

	if (stream == NULL)
		return NULL;
	stream->kind = kind;
	stream->bridge = bridge;
	stream->owner = owner;
	stream->heard = uv_now(&bridge->loop);
	wheel_enter(bridge->hub, stream);
	bridge->hub->streams++;
	bridge->metrics->now.streams[kind->form]++;
	bridge->metrics->streams_opened[kind->form]++;
	fine = subscribe(stream, bridge->hub->status);
	for (int i = 0; i < count && fine; i++)
		fine = subscribe(stream, boards[i]);
	if (fine && identity)
		fine = (stream->membership = players_join(bridge, identity, stream, boards, count)) != NULL;
	if (!fine)
	{
		stream_end(stream);
		return NULL;
	}
	skip_known(stream, last_event_id);
	return stream;
}

void
stream_end(Stream *stream)
{
	Hub		   *hub = stream->bridge->hub;

	if (stream->membership)
		players_leave(stream->membership);
	while (stream->count > 0)
	{
		unsubscribe(stream, &stream->places[stream->count - 1]);
		stream->count--;
	}
	set_stalled(stream, false);
	wheel_leave(hub, stream);
	hub->streams--;
	hub->bridge->metrics->now.streams[stream->kind->form]--;
	free(stream);
}

void
stream_close(Stream *stream, int code, const char *reason)
{
	stream->kind->close(stream, code, reason);
}

/* What this client hasn't got yet, as long as the socket takes it. */
void
stream_begin(Stream *stream)
{
	for (int i = 0; i < stream->count && !stream->stalled; i++)
	{
		Place		place = stream->places[i];

		if (has_news(place.audience, place.index) && !board_behind(place.audience->board) && !give(place.audience, place.index))
			return;
	}
}

void
stream_drained(Stream *stream)
{
	set_stalled(stream, false);
	stream_begin(stream);
}

void *
stream_owner(const Stream *stream)
{
	return stream->owner;
}

void
stream_heard(Stream *stream)
{
	stream->heard = uv_now(&stream->bridge->loop);
}

bool
stream_silent(const Stream *stream)
{
	return uv_now(&stream->bridge->loop) - stream->heard > 2 * (uint64_t) stream->bridge->options.ping_interval_ms;
}

/* "id:" of a stream with several boards names the version of each. */
static size_t
put_ids(const Stream *stream, char *out)
{
	char	   *at = out + sprintf(out, "id: ");

	for (int i = 1; i < stream->count; i++)
	{
		const Place *place = &stream->places[i];
		int64_t		sent = place->audience->subscribers[place->index].sent;

		if (sent >= 0)
			at += sprintf(at, "%s%s:%" PRId64, at[-1] == ' ' ? "" : ",", board_name(place->audience->board), sent);
	}
	return (size_t) (stpcpy(at, "\n\n") - out);
}

const unsigned char *
stream_event(const Stream *stream, const Board *board, size_t *length)
{
	static Room room;
	const Frame *frame = board_frame(board);
	char	   *event;
	size_t		size = frame->event_shared + (size_t) stream->count * (BOARD_NAME_MAX + 24) + 16;

	*length = frame->event_length;
	if (stream->count <= 2 || board == stream->bridge->hub->status)
		return frame->event;
	event = room_for(&room, size);
	memcpy(event, frame->event, frame->event_shared);
	*length = frame->event_shared + put_ids(stream, event + frame->event_shared);
	return (unsigned char *) event;
}

/* ---- the wheel, and the end ---- */

static void
wheel_tick(uv_timer_t *timer)
{
	Hub		   *hub = timer->data;
	bool		ping = hub->tick / WHEEL_SLOTS % 2 == 0;
	Stream	   *stream = hub->wheel[hub->tick++ % WHEEL_SLOTS];

	for (; stream; stream = hub->visiting)
	{
		hub->visiting = stream->wheel_next;
		if (!stream->stalled)
			stream->kind->visit(stream, ping);
	}
}

void
hub_tick(Bridge *bridge)
{
	uint64_t	now = uv_now(&bridge->loop);

	for (Stream *stream = bridge->hub->stalled, *next; stream; stream = next)
	{
		next = stream->stalled_next;
		if (now - stream->stalled_since <= (uint64_t) bridge->options.slow_timeout_ms)
			continue;
		bridge->metrics->streams_dropped++;
		log_info("stream dropped", LOG_TEXT("reason", "too slow"));
		stream_close(stream, CLOSE_SLOW, "too slow");
	}
}

int
hub_streams(const Bridge *bridge)
{
	return bridge->hub->streams;
}

int
hub_drain(Bridge *bridge, int count)
{
	Hub		   *hub = bridge->hub;

	for (int slot = 0; slot < WHEEL_SLOTS && count > 0; slot++)
		while (hub->wheel[slot] && count-- > 0)
			stream_close(hub->wheel[slot], CLOSE_AWAY, "going away");
	return hub->streams;
}

/* ---- coming and going ---- */

void
hub_start(Bridge *bridge)
{
	Hub		   *hub = calloc(1, sizeof(*hub));
	uint64_t	period = (uint64_t) bridge->options.ping_interval_ms / 2 / WHEEL_SLOTS;

	if (hub == NULL)
		abort();
	bridge->hub = hub;
	hub->bridge = bridge;
	hub->status = board_new_nameless();
	if (hub->status == NULL)
		abort();
	uv_timer_init(&bridge->loop, &hub->timer);
	uv_idle_init(&bridge->loop, &hub->slices);
	hub->timer.data = hub->slices.data = hub;
	uv_timer_start(&hub->timer, wheel_tick, period + 1, period + 1);
	set_status(bridge, false);
}

void
hub_stop(Bridge *bridge)
{
	uv_close((uv_handle_t *) &bridge->hub->timer, NULL);
	uv_close((uv_handle_t *) &bridge->hub->slices, NULL);
}

void
hub_free(Bridge *bridge)
{
	board_free(bridge->hub->status);
	free(bridge->hub);
	bridge->hub = NULL;
}
