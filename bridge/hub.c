/*
 * hub.c - boards in memory, subscriptions, and the broadcast that gives way
 *
 * For each board it keeps the newest document that the database has shown. A
 * document is replaced by a greater version only, so within this process a list
 * never goes back, whatever connection a row was read on. A board that is gone
 * keeps its place and its version, so that the same holds when it comes again.
 * Nor does it over all workers (newest.c): while another has a newer one, ours is given to nobody.
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
 * Invariant: Subscriber.sent <= Board.version, and neither falls.
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
#include "text_hash.h"

#define BUCKETS 256
#define WHEEL_SLOTS 64
#define SLICE_US 2000
#define LOOK_AT_CLOCK 32		/* sends between two looks at the time */
#define CLOSE_AWAY 1001
#define STAMP_MAX 48
#define CLOSE_SLOW 4003

typedef struct Subscriber
{
	Stream	   *stream;
	int64_t		sent;			/* the newest version it was given */
} Subscriber;

struct Board
{
	Board	   *next;			/* in its bucket */
	char		name[BOARD_NAME_MAX + 1];
	int			season;
	int64_t		version;		/* never falls, not even while the board is gone */
	Frame	   *frame;			/* NULL while the board is gone */
	char		stamp[STAMP_MAX + 1];	/* of what we have; the database made it */
	int			top_size;
	Visibility	visibility;
	char	   *permission;		/* that visibility may demand */
	Subscriber *subscribers;
	uint32_t	count;
	uint32_t	room;
	uint32_t	at;				/* where the walk stands */
	uint32_t	left;			/* subscribers that it has still to look at; 0: no broadcast */
	Board	   *walk_next;		/* in the list of boards that are walked */
	bool		walked;
	uint64_t	walk_since;		/* uv_hrtime */
	NewestBoard *newest;		/* NULL: of the status */
	int64_t		awaited_after;	/* see board_await() */
	uint64_t	awaited_since;	/* 0: none is awaited */
};

typedef struct Place
{
	Board	   *board;
	uint32_t	index;			/* of this stream in the board's subscribers */
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
	Board	   *buckets[BUCKETS];
	Board		status;
	bool		live;
	uv_timer_t	timer;			/* the wheel's */
	uv_idle_t	slices;			/* runs while a board is walked */
	Board	   *walks;
	Stream	   *wheel[WHEEL_SLOTS];
	Stream	   *stalled;
	Stream	   *visiting;		/* the wheel's next, which may end under it */
	unsigned	next_slot;		/* for the next stream */
	unsigned	tick;
	int			streams;
} Hub;

/* ---- boards ---- */

static Board **
bucket(Bridge *bridge, const char *name)
{
	return &bridge->hub->buckets[text_hash(name) % BUCKETS];
}

static Board *
find_any(Bridge *bridge, const char *name)
{
	Board	   *board = *bucket(bridge, name);

	while (board && strcmp(board->name, name) != 0)
		board = board->next;
	return board;
}

Board *
hub_board(Bridge *bridge, const char *name)
{
	Board	   *board = find_any(bridge, name);

	return board && board->frame ? board : NULL;
}

bool
hub_knows(Bridge *bridge, const char *name)
{
	return hub_board(bridge, name) != NULL;
}

bool
hub_newer(Bridge *bridge, const char *name, int64_t version)
{
	Board	   *board = find_any(bridge, name);

	return board == NULL || board->frame == NULL || version > board->version;
}

char *
hub_stamps(Bridge *bridge)
{
	char	   *text = NULL;
	size_t		size = 0;
	FILE	   *out = open_memstream(&text, &size);
	const char *comma = "";

	if (out == NULL)
		return NULL;
	fputc('{', out);
	for (int i = 0; i < BUCKETS; i++)
		for (Board *board = bridge->hub->buckets[i]; board; board = board->next)
			if (board->frame)
			{
				fprintf(out, "%s\"%s\":\"%s\"", comma, board->name, board->stamp);
				comma = ",";
			}
	fputc('}', out);
	fclose(out);
	return text;
}

const Frame *
board_frame(const Board *board)
{
	return board->frame;
}

const char *
board_name(const Board *board)
{
	return board->name;
}

int64_t
board_version(const Board *board)
{
	return board->version;
}

int
board_season(const Board *board)
{
	return board->season;
}

int
board_top_size(const Board *board)
{
	return board->top_size;
}

bool
board_public(const Board *board)
{
	return board->visibility == VISIBLE_TO_ALL;
}

Visibility
board_visibility(const Board *board)
{
	return board->visibility;
}

const char *
board_permission(const Board *board)
{
	return board->permission;
}

void
hub_each_board(Bridge *bridge, void (*visit) (void *data, const Board *board), void *data)
{
	for (int i = 0; i < BUCKETS; i++)
		for (const Board *board = bridge->hub->buckets[i]; board; board = board->next)
			if (board->frame)
				visit(data, board);
}

const NewestBoard *
board_newest(const Board *board)
{
	return board->newest;
}

bool
board_behind(const Board *board)
{
	return board->newest && newest_version(board->newest) > board->version;
}

void
board_await(Bridge *bridge, Board *board, int64_t version)
{
	if (board->version > version)
		histogram_add(&bridge->metrics->commit_to_frame, 0);	/* the list came before the answer */
	else
	{
		board->awaited_after = version;
		board->awaited_since = uv_hrtime();
	}
}

uint64_t
board_awaited(const Board *board)
{
	return board->awaited_since;
}

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

/* Sends one subscriber the board's newest; false where the stream is gone by that. */
static bool
give(Board *board, uint32_t index)
{
	Stream	   *stream = board->subscribers[index].stream;

	/* First, since sending may end the stream and move another one here. */
	board->subscribers[index].sent = board->version;
	stream->bridge->metrics->stream_messages[stream->kind->form]++;
	switch (stream->kind->send(stream, board))
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

/* Walks on until the time is over; false where all have been looked at. */
static bool
walk(Board *board, uint64_t until)
{
	int			sends = 0;

	while (board->left > 0 && board->count > 0 && !board_behind(board))
	{
		const Subscriber *subscriber;

		if (board->at >= board->count)
			board->at = 0;
		subscriber = &board->subscribers[board->at];
		if (board->frame && subscriber->sent < board->version && !subscriber->stream->stalled)
		{
			uint32_t	at = board->at;

			/* Where it is lost, unsubscribe() has seen to the walk. */
			if (!give(board, at))
				continue;
			if (++sends % LOOK_AT_CLOCK == 0 && uv_hrtime() >= until)
			{
				board->at++;
				board->left--;
				return board->left > 0;
			}
		}
		board->at++;
		board->left--;
	}
	board->left = 0;
	return false;
}

static void
walk_over(Hub *hub, const Board *board)
{
	if (board->walk_since)
		histogram_add(&hub->bridge->metrics->fan_out, (uv_hrtime() - board->walk_since) / 1000);
}

/* One turn: each board that is walked gets a slice, and the first becomes the last. */
static void
slice(uv_idle_t *idle)
{
	Hub		   *hub = idle->data;
	Board	   *board = hub->walks;
	Board	  **end;

	hub->walks = board->walk_next;
	board->walk_next = NULL;
	board->walked = false;
	if (walk(board, uv_hrtime() + SLICE_US * 1000))
	{
		board->walked = true;
		for (end = &hub->walks; *end;)
			end = &(*end)->walk_next;
		*end = board;
	}
	else
		walk_over(hub, board);
	if (hub->walks == NULL)
		uv_idle_stop(idle);
}

static void
broadcast(Bridge *bridge, Board *board)
{
	Hub		   *hub = bridge->hub;

	board->left = board->count;
	if (board->walked || board->count == 0)
		return;
	board->walked = true;
	board->walk_since = uv_hrtime();
	board->walk_next = hub->walks;
	hub->walks = board;
	uv_idle_start(&hub->slices, slice);
}

/* ---- what feed.c brings ---- */

static bool
valid_name(const char *name)
{
	size_t		length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

	return length >= 1 && length <= BOARD_NAME_MAX && name[length] == '\0';
}

static Board *
make(Bridge *bridge, const char *name)
{
	Board	   *board = find_any(bridge, name);

	if (board == NULL && valid_name(name) && (board = calloc(1, sizeof(*board))) != NULL)
	{
		Board	  **place = bucket(bridge, name);

		strcpy(board->name, name);
		board->newest = newest_board(bridge, name);
		board->next = *place;
		*place = board;
	}
	return board;
}

static bool
gone(Bridge *bridge, const char *name)
{
	Board	   *board = hub_board(bridge, name);

	if (board == NULL)
		return false;
	frame_free(board->frame);
	board->frame = NULL;
	board->awaited_since = 0;
	log_info("board gone", LOG_TEXT("board", name));
	return true;
}

/* Who was let in may have to stay outside now: each comes again, and is asked. */
static void
end_streams(Board *board)
{
	for (uint32_t left = board->count; left > 0 && board->count > 0; left--)
		stream_close(board->subscribers[board->count - 1].stream, CLOSE_AWAY, "who may see the board has changed");
}

/* What isn't known is shown to nobody. */
static Visibility
visibility_of(const DocumentRow *row)
{
	if (row->visibility && strcmp(row->visibility, "public") == 0)
		return VISIBLE_TO_ALL;
	return row->visibility && strcmp(row->visibility, "token") == 0 ? VISIBLE_TO_PLAYERS : VISIBLE_BY_PERMISSION;
}

/* What an administrator has set, of this version or a newer one. */
static void
take_settings(Board *board, const DocumentRow *row)
{
	Visibility	visibility = visibility_of(row);
	const char *permission = row->permission ? row->permission : "";
	bool		changed = visibility != board->visibility || strcmp(permission, board->permission ? board->permission : "") != 0;

	snprintf(board->stamp, sizeof(board->stamp), "%s", row->stamp ? row->stamp : "");
	board->top_size = row->top_size ? atoi(row->top_size) : 0;
	board->visibility = visibility;
	free(board->permission);
	board->permission = row->permission ? strdup(row->permission) : NULL;
	if (changed && visibility != VISIBLE_TO_ALL)
		end_streams(board);
}

static void
count_publication(Bridge *bridge, Board *board, int64_t version, const char *document)
{
	newest_raise(board->newest, version);
	if (board->frame)
		metrics_published(bridge, document);
	if (board->awaited_since == 0 || version <= board->awaited_after)
		return;
	histogram_add(&bridge->metrics->commit_to_frame, (uv_hrtime() - board->awaited_since) / 1000);
	board->awaited_since = 0;
}

bool
hub_apply(Bridge *bridge, const DocumentRow *row)
{
	Board	   *board;
	Frame	   *frame;
	int64_t		number;

	if (row->document == NULL || row->version == NULL)
		return gone(bridge, row->board);
	board = make(bridge, row->board);
	number = strtoll(row->version, NULL, 10);
	if (board == NULL || number < board->version)
		return false;
	take_settings(board, row);
	/* A board that came back may still show the version it went with. */
	if (number == board->version && board->frame)
		return false;
	frame = frame_of_document(board->name, row->document, number);
	if (frame == NULL)
	{
		log_error("document not understood", LOG_TEXT("board", board->name), LOG_NUMBER("version", number));
		return false;
	}
	count_publication(bridge, board, number, row->document);
	frame_free(board->frame);
	board->frame = frame;
	board->version = number;
	board->season = row->season ? atoi(row->season) : 0;
	log_debug("published", LOG_TEXT("board", board->name), LOG_NUMBER("version", number),
			  LOG_NUMBER("subscribers", board->count));
	broadcast(bridge, board);
	return true;
}

static void
set_status(Bridge *bridge, bool live)
{
	Board	   *status = &bridge->hub->status;
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
	frame_free(status->frame);
	status->frame = frame;
	status->version++;
	broadcast(bridge, status);
}

void
hub_live(Bridge *bridge, bool live)
{
	if (bridge->hub->live != live)
		set_status(bridge, live);
}

/* ---- subscriptions ---- */

static bool
subscribe(Stream *stream, Board *board)
{
	Subscriber *subscriber;

	if (board->count == board->room)
	{
		uint32_t	room = board->room ? board->room * 2 : 16;
		Subscriber *bigger = realloc(board->subscribers, room * sizeof(*bigger));

		if (bigger == NULL)
			return false;
		board->subscribers = bigger;
		board->room = room;
	}
	stream->places[stream->count].board = board;
	stream->places[stream->count].index = board->count;
	stream->count++;
	subscriber = &board->subscribers[board->count++];
	newest_set_subscribers(board->newest, stream->bridge->worker, board->count);
	subscriber->stream = stream;
	subscriber->sent = -1;
	/* A walk that is under way passes this one too, before it begins at the front of the array. */
	if (board->left > 0)
		board->left++;
	return true;
}

/* The last subscriber takes the place of the one that goes. */
static void
unsubscribe(Stream *stream, const Place *place)
{
	Board	   *board = place->board;
	Subscriber *last = &board->subscribers[--board->count];

	newest_set_subscribers(board->newest, stream->bridge->worker, board->count);
	/* A walk that is under way looks once more round, since the last one may have jumped behind it. */
	if (board->left > 0)
		board->left = board->count;
	if (last->stream == stream)
		return;
	board->subscribers[place->index] = *last;
	for (int i = 0; i < last->stream->count; i++)
		if (last->stream->places[i].board == board)
			last->stream->places[i].index = place->index;
}

/* "board:version,board:version": what the client has already. */
static void
skip_known(Stream *stream, const char *last_event_id)
{
	for (int i = 1; i < stream->count; i++)
	{
		const Place *place = &stream->places[i];
		size_t		length = strlen(place->board->name);

		for (const char *p = last_event_id; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		{
			if (strncmp(p, place->board->name, length) != 0 || p[length] != ':')
				continue;
			if (strtoll(p + length + 1, NULL, 10) == place->board->version)
				place->board->subscribers[place->index].sent = place->board->version;
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
	fine = subscribe(stream, &bridge->hub->status);
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
		Board	   *board = stream->places[i].board;

		if (board->frame && !board_behind(board) && board->subscribers[stream->places[i].index].sent < board->version &&
			!give(board, stream->places[i].index))
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
		int64_t		sent = place->board->subscribers[place->index].sent;

		if (sent >= 0)
			at += sprintf(at, "%s%s:%" PRId64, at[-1] == ' ' ? "" : ",", place->board->name, sent);
	}
	return (size_t) (stpcpy(at, "\n\n") - out);
}

const unsigned char *
stream_event(const Stream *stream, const Board *board, size_t *length)
{
	static Room room;
	const Frame *frame = board->frame;
	char	   *event;
	size_t		size = frame->event_shared + (size_t) stream->count * (BOARD_NAME_MAX + 24) + 16;

	*length = frame->event_length;
	if (stream->count <= 2 || board == &stream->bridge->hub->status)
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

static void
free_board(Board *board)
{
	frame_free(board->frame);
	free(board->permission);
	free(board->subscribers);
}

void
hub_free(Bridge *bridge)
{
	Hub		   *hub = bridge->hub;
	Board	   *next;

	for (int i = 0; i < BUCKETS; i++)
		for (Board *board = hub->buckets[i]; board; board = next)
		{
			next = board->next;
			free_board(board);
			free(board);
		}
	free_board(&hub->status);
	free(hub);
	bridge->hub = NULL;
}
