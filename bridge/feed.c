/*
 * feed.c - the link that listens, and the reading of documents
 *
 * Each time the link comes up: LISTEN first, read second, deliver third, so
 * that nothing published in between is missed. One statement reads all that
 * differs from what we know; it serves the start, a notification and the look
 * every few seconds, and runs on the listening link itself.
 *
 * A notification is only a hint, for anybody may NOTIFY. It must name a version
 * that we don't have, and reads are spaced: after one that brought something
 * the next may follow after the shortest publish interval there is; after one
 * that brought nothing, although a hint had promised it, the pause doubles up
 * to a second. Honest notifications come at most once per board and interval, so
 * they never wait; somebody who only lies causes a read a second.
 *
 * On any error the link is dropped and made anew; streams stay open and
 * memory's documents stay valid meanwhile.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "log.h"
#include "loop.h"

#define HINTS_MAX 32
#define SPACE_MS 10				/* SPEC: the shortest publish interval */
#define SPACE_MOST_MS 1000

typedef struct Hint
{
	char		board[BOARD_NAME_MAX + 1];
	int64_t		version;
} Hint;

typedef enum FeedState
{
	FEED_DOWN,
	FEED_LISTENING,				/* LISTEN was sent */
	FEED_READING,
	FEED_WAITING
} FeedState;

typedef struct Feed
{
	Bridge	   *bridge;
	Link	   *link;
	uv_timer_t	look;			/* every look_interval */
	uv_timer_t	space;			/* until hints may cause a read again */
	FeedState	state;
	bool		loaded;			/* read at least once in this process's life */
	bool		live;			/* read since it has been listening this time */
	Hint		hints[HINTS_MAX];
	int			hint_count;
	int			hints_asked;	/* how many of them the running read is for */
	uint64_t	read_after;		/* ms: hints may cause a read from then on */
	int64_t		space_ms;
} Feed;

static void
read_documents(Feed *feed)
{
	char	   *known = boards_known(feed->bridge);

	if (known == NULL)
		return;
	feed->hints_asked = feed->hint_count;
	feed->state = FEED_READING;
	link_ask(feed->link, "SELECT board, season, version, document FROM scoreboard.documents($1::json)", known,
			  feed->bridge->options.database_timeout_ms);
	free(known);
}

static void
space_over(uv_timer_t *timer)
{
	Feed	   *feed = timer->data;

	if (feed->state == FEED_WAITING && feed->hint_count > 0)
		read_documents(feed);
}

/* Reads for the hints that stand, now or when it may. */
static void
follow_hints(Feed *feed)
{
	uint64_t	now = uv_now(&feed->bridge->loop);

	if (feed->state != FEED_WAITING || feed->hint_count == 0)
		return;
	if (now >= feed->read_after)
		read_documents(feed);
	else if (!uv_is_active((uv_handle_t *) &feed->space))
		uv_timer_start(&feed->space, space_over, feed->read_after - now, 0);
}

/* Those that are still ahead of what we know, and came while the read was under way. */
static void
forget_hints(Feed *feed, bool news)
{
	int			left = 0;

	if (feed->hints_asked > 0)
	{
		feed->space_ms = news ? SPACE_MS : feed->space_ms * 2;
		if (feed->space_ms > SPACE_MOST_MS)
			feed->space_ms = SPACE_MOST_MS;
		feed->read_after = uv_now(&feed->bridge->loop) + (uint64_t) feed->space_ms;
	}
	for (int i = feed->hints_asked; i < feed->hint_count; i++)
		if (boards_newer(feed->bridge, feed->hints[i].board, feed->hints[i].version))
			feed->hints[left++] = feed->hints[i];
	feed->hint_count = left;
	feed->hints_asked = 0;
}

static void
take_rows(Feed *feed, const PGresult *result)
{
	bool		news = false;

	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *column[4];

		for (int i = 0; i < 4; i++)
			column[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
		if (column[0])
			news |= boards_apply(feed->bridge, column[0], column[1], column[2], column[3]);
	}
	feed->state = FEED_WAITING;
	if (!feed->live)
		log_info("listening to the database");
	feed->loaded = feed->live = true;
	forget_hints(feed, news);
	follow_hints(feed);
}

static void
feed_up(Link *link)
{
	Feed	   *feed = link_owner(link);

	feed->state = FEED_LISTENING;
	link_ask(link, "LISTEN scoreboard", NULL, feed->bridge->options.database_timeout_ms);
}

static void
feed_answer(Link *link, const PGresult *result)
{
	Feed	   *feed = link_owner(link);
	ExecStatusType status = PQresultStatus(result);

	if (feed->state == FEED_LISTENING && status == PGRES_COMMAND_OK)
		read_documents(feed);
	else if (feed->state == FEED_READING && status == PGRES_TUPLES_OK && PQnfields(result) >= 4)
		take_rows(feed, result);
	else
	{
		const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		link_drop(link, message ? message : "unexpected answer");
	}
}

static void
feed_down(Link *link, bool was_up)
{
	Feed	   *feed = link_owner(link);

	(void) was_up;
	feed->state = FEED_DOWN;
	feed->live = false;
	feed->hint_count = feed->hints_asked = 0;
}

static void
feed_notify(Link *link, const PGnotify *notify)
{
	Feed	   *feed = link_owner(link);
	json_t	   *json = json_loads(notify->extra, 0, NULL);
	const char *name = json_string_value(json_object_get(json, "board"));
	json_t	   *version = json_object_get(json, "version");

	if (name && strlen(name) <= BOARD_NAME_MAX && json_is_integer(version) && feed->hint_count < HINTS_MAX &&
		boards_newer(feed->bridge, name, json_integer_value(version)))
	{
		Hint	   *hint = &feed->hints[feed->hint_count++];

		strcpy(hint->board, name);
		hint->version = json_integer_value(version);
		follow_hints(feed);
	}
	json_decref(json);
}

static void
feed_look(uv_timer_t *timer)
{
	Feed	   *feed = timer->data;

	if (feed->state == FEED_WAITING)
		read_documents(feed);
}

static const LinkEvents feed_events = {feed_up, feed_answer, feed_down, feed_notify};

void
feed_start(Bridge *bridge)
{
	Feed	   *feed = calloc(1, sizeof(*feed));
	uint64_t	interval = (uint64_t) bridge->options.look_interval_ms;

	if (feed == NULL)
		abort();
	bridge->feed = feed;
	feed->bridge = bridge;
	feed->space_ms = SPACE_MS;
	uv_timer_init(&bridge->loop, &feed->look);
	uv_timer_init(&bridge->loop, &feed->space);
	feed->look.data = feed->space.data = feed;
	uv_timer_start(&feed->look, feed_look, interval, interval);
	feed->link = link_new(bridge, &feed_events, feed);
}

static void
feed_closed(uv_handle_t *handle)
{
	Feed	   *feed = handle->data;

	free(feed);
}

void
feed_stop(Bridge *bridge)
{
	Feed	   *feed = bridge->feed;

	bridge->feed = NULL;
	link_free(feed->link);
	uv_close((uv_handle_t *) &feed->look, NULL);
	uv_close((uv_handle_t *) &feed->space, feed_closed);
}

bool
feed_loaded(const Bridge *bridge)
{
	return bridge->feed && bridge->feed->loaded;
}

bool
feed_live(const Bridge *bridge)
{
	return bridge->feed && bridge->feed->live;
}
