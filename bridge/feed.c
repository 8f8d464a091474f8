/*
 * feed.c - the connection that listens, and the reading of documents
 *
 * Each time the connection comes up: LISTEN first, read second, deliver third,
 * so that nothing published in between is missed. One statement reads all that
 * differs from what we know; it serves the start, a notification and the look
 * every few seconds, and runs on the listening connection itself.
 *
 * A notification is only a hint, for anybody may NOTIFY. It must name a version
 * that we don't have, and each board has its own budget of reads: after a hint
 * that came true the next is followed after the shortest publish interval there
 * is, so honest ones never wait; after one that proved false the pause doubles,
 * for that board alone. Versions grow by one, or by a leap when a publisher
 * starts; so hints near ahead and far ahead have a budget each, and whoever
 * shouts large numbers delays nobody's news. Boards that we don't know share
 * one. Hints don't queue: a board has its newest, and all reads are at least
 * SPACE_MS apart, whoever asked for them.
 *
 * The lists are live while we listen and every read is answered within LATE_MS.
 * On any error the connection is dropped and made anew; streams stay open and
 * memory's documents stay valid meanwhile.
 *
 * A host whose packets are lost says nothing, and so does one that is merely
 * slow. So where there are several hosts, and a connection is late, or an answer
 * that the pool hasn't had from that host either, a scout looks for a server
 * that can be written to on the others, while we wait. If the scout finds one
 * first it becomes the connection, and what the pool has asked of the silent
 * host is given up. A scout goes out, too, while we read from a standby for want
 * of anything better.
 *
 * A standby can't be listened to: its documents are read every PULSE_MS, until
 * it is found to be one no longer.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "feed.h"
#include "hub.h"
#include "log.h"
#include "pg_connection.h"
#include "text_hash.h"

#define SPACE_MS 10				/* SPEC: the shortest publish interval */
#define NEAR 64					/* versions ahead */
#define NEAR_MOST_MS 100
#define FAR_MOST_MS 1000
#define FORGIVEN_MS 10000		/* after so long without a hint */
#define LATE_MS 3000
#define SCOUT_MS 1500			/* an answer so late is worth looking elsewhere */
#define PULSE_MS 250
#define PAYLOAD_MAX 200			/* the publisher's are shorter */
#define BUCKETS 256
#define DOCUMENTS "SELECT board, season, version, document, stamp, top_size, visibility, permission FROM scoreboard.documents($1::json)"
#define DOCUMENTS_COLUMNS 8

typedef struct Budget
{
	int64_t		version;		/* the newest that was hinted at; 0: none stands */
	int64_t		asked;			/* the one that the read under way will tell of; 0: none */
	uint64_t	due;			/* ms: not followed before */
	int64_t		space_ms;
} Budget;

/* What is said of a board; kept once something was. */
typedef struct Rumour Rumour;
struct Rumour
{
	Rumour	   *next;			/* in its bucket */
	Rumour	   *link;			/* in the list of all */
	Budget		near;
	Budget		far;
	char		board[BOARD_NAME_MAX + 1];	/* empty: all that we don't know */
};

typedef enum FeedState
{
	FEED_DOWN,
	FEED_LISTENING,				/* LISTEN was sent */
	FEED_READING,
	FEED_WAITING
} FeedState;

typedef struct Feed Feed;
struct Feed
{
	Bridge	   *bridge;
	PgConnection *connection;
	PgConnection *scout;		/* or NULL */
	uv_timer_t	look;			/* every look_interval */
	uv_timer_t	space;			/* until a hint may be followed */
	uv_timer_t	pulse;			/* is the answer late? */
	FeedState	state;
	uint64_t	asked_at;		/* ms */
	uint64_t	read_after;		/* ms: for hints */
	bool		loaded;			/* read at least once in this process's life */
	bool		live;
	bool		listening;		/* since the connection came up */
	int			handles;		/* still to be closed */
	Rumour	   *all;
	Rumour	   *buckets[BUCKETS];
};

static const PgConnectionEvents events;

static void follow_hints(Feed *feed);

static void
set_live(Feed *feed, bool live)
{
	if (feed->live == live)
		return;
	feed->live = live;
	if (live)
		log_info("listening to the database");
	else
		log_info("the lists may be old", LOG_TEXT("advice", "streams are told, and reads of lists go on from memory; a line about the database says why"));
	hub_live(feed->bridge, live);
}

/* ---- hints ---- */

static Rumour *
rumour_of(Feed *feed, const char *board)
{
	Rumour	  **bucket = &feed->buckets[text_hash(board) % BUCKETS];
	Rumour	   *rumour;

	for (rumour = *bucket; rumour; rumour = rumour->next)
		if (strcmp(rumour->board, board) == 0)
			return rumour;
	rumour = calloc(1, sizeof(*rumour));
	if (rumour == NULL)
		abort();
	strcpy(rumour->board, board);
	rumour->next = *bucket;
	*bucket = rumour;
	rumour->link = feed->all;
	feed->all = rumour;
	return rumour;
}

static void
take_hint(Feed *feed, const char *board, int64_t version)
{
	bool		known = boards_know(feed->bridge, board);
	Rumour	   *rumour;
	Budget	   *budget;

	if (strlen(board) > BOARD_NAME_MAX || board[0] == '\0' || !boards_newer(feed->bridge, board, version))
		return;
	rumour = rumour_of(feed, known ? board : "");
	budget = known && !boards_newer(feed->bridge, board, version - NEAR) ? &rumour->near : &rumour->far;
	if (version <= budget->version)
		return;
	if (budget->version == 0 && uv_now(&feed->bridge->loop) > budget->due + FORGIVEN_MS)
		budget->space_ms = 0;
	budget->version = version;
	follow_hints(feed);
}

static void
ask_budget(Budget *budget)
{
	budget->asked = budget->version;
}

static void
forget_hints(Feed *feed)
{
	for (Rumour *rumour = feed->all; rumour; rumour = rumour->link)
	{
		rumour->near.version = rumour->near.asked = 0;
		rumour->far.version = rumour->far.asked = 0;
	}
}

/* The read that this budget's hint was waiting for is done. */
static void
settle_budget(Feed *feed, const Rumour *rumour, Budget *budget, int64_t most_ms)
{
	uint64_t	now = uv_now(&feed->bridge->loop);
	bool		true_one;

	if (!budget->asked)
		return;
	true_one = rumour->board[0] && !boards_newer(feed->bridge, rumour->board, budget->asked);
	budget->space_ms = true_one || budget->space_ms == 0 ? SPACE_MS : budget->space_ms * 2;
	if (budget->space_ms > most_ms)
		budget->space_ms = most_ms;
	budget->due = now + (uint64_t) budget->space_ms;
	/* A newer one may have come meanwhile. */
	if (budget->version == budget->asked)
		budget->version = 0;
	budget->asked = 0;
}

/* ---- reading ---- */

static void
ask(Feed *feed, FeedState state, const char *sql, int count, const char *const *parameters)
{
	feed->state = state;
	feed->asked_at = uv_now(&feed->bridge->loop);
	pg_connection_ask(feed->connection, sql, count, parameters, feed->bridge->options.database_timeout_ms);
}

static void
listen_to(Feed *feed)
{
	ask(feed, FEED_LISTENING, "LISTEN scoreboard", 0, NULL);
}

static void
read_documents(Feed *feed)
{
	char	   *known = boards_stamps(feed->bridge);
	const char *const parameters[] = {known};

	if (known == NULL)
		abort();
	for (Rumour *rumour = feed->all; rumour; rumour = rumour->link)
	{
		ask_budget(&rumour->near);
		ask_budget(&rumour->far);
	}
	ask(feed, FEED_READING, DOCUMENTS, 1, parameters);
	free(known);
}

static void
space_over(uv_timer_t *timer)
{
	follow_hints(timer->data);
}

static void
earliest(const Budget *budget, uint64_t *due)
{
	if (budget->version && budget->due < *due)
		*due = budget->due;
}

/* Reads for the hints that stand, now or when one of them may be followed. */
static void
follow_hints(Feed *feed)
{
	uint64_t	now = uv_now(&feed->bridge->loop);
	uint64_t	due = UINT64_MAX;

	if (feed->state != FEED_WAITING)
		return;
	for (Rumour *rumour = feed->all; rumour; rumour = rumour->link)
	{
		earliest(&rumour->near, &due);
		earliest(&rumour->far, &due);
	}
	if (due == UINT64_MAX)
		return;
	if (due < feed->read_after)
		due = feed->read_after;
	if (now >= due)
		read_documents(feed);
	else
		uv_timer_start(&feed->space, space_over, due - now, 0);
}

static void
take_rows(Feed *feed, const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *column[DOCUMENTS_COLUMNS];

		for (int i = 0; i < DOCUMENTS_COLUMNS; i++)
			column[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
		if (column[0])
			boards_apply(feed->bridge, &(DocumentRow) {column[0], column[1], column[2], column[3], column[4], column[5], column[6], column[7]});
	}
	for (Rumour *rumour = feed->all; rumour; rumour = rumour->link)
	{
		settle_budget(feed, rumour, &rumour->near, NEAR_MOST_MS);
		settle_budget(feed, rumour, &rumour->far, FAR_MOST_MS);
	}
	feed->read_after = uv_now(&feed->bridge->loop) + SPACE_MS;
	feed->state = FEED_WAITING;
	feed->loaded = true;
	pg_connection_proved(feed->connection);
	pg_error_over(feed->bridge->hosts);
	set_live(feed, true);
	if (!feed->listening && !pg_connection_on_standby(feed->connection))
		listen_to(feed);
	else
		follow_hints(feed);
}

/* ---- on which host ---- */

static void
call_scout_back(Feed *feed)
{
	if (feed->scout)
		pg_connection_free(feed->scout);
	feed->scout = NULL;
}

/* The one that is there, or was last tried, is waited for meanwhile. */
static void
send_scout(Feed *feed)
{
	PgHosts    *hosts = feed->bridge->hosts;

	if (feed->scout || !pg_hosts_are_several(hosts))
		return;
	feed->scout = pg_connection_new(hosts, &events, feed, false);
	pg_connection_avoid(feed->scout, pg_connection_host(feed->connection));
}

static void
follow_scout(Feed *feed)
{
	int			left = pg_connection_host(feed->connection);

	log_warn("the database is on another host now",
			 LOG_TEXT("advice", "a failover: its lists are read anew and clients stay connected; make sure that the old one takes no writes"));
	if (feed->state != FEED_WAITING)
		pg_hosts_silent(feed->bridge->hosts, left);
	pg_connection_free(feed->connection);
	feed->connection = feed->scout;
	feed->scout = NULL;
	pg_connection_avoid(feed->connection, -1);
	forget_hints(feed);
	pg_pool_leave(feed->bridge, left);
}

/* ---- what the connection tells ---- */

static void
feed_up(PgConnection *connection)
{
	Feed	   *feed = pg_connection_owner(connection);

	if (connection == feed->scout)
		follow_scout(feed);
	else
		pg_pool_leave(feed->bridge, -1);
	pg_pool_hurry(feed->bridge);
	feed->listening = false;
	if (!pg_connection_on_standby(connection))
		listen_to(feed);
	else
	{
		log_info("reading from a standby");
		read_documents(feed);
	}
}

static void
feed_answer(PgConnection *connection, PgEnd end, const PGresult *result)
{
	Feed	   *feed = pg_connection_owner(connection);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (end == PG_ANSWERED && feed->state == FEED_LISTENING)
	{
		feed->listening = true;
		read_documents(feed);
	}
	else if (end == PG_ANSWERED && feed->state == FEED_READING && PQnfields(result) >= DOCUMENTS_COLUMNS)
		take_rows(feed, result);
	else
	{
		pg_error_said(feed->bridge->hosts, result);
		pg_connection_drop(connection, message ? message : "unexpected answer");
	}
}

static void
feed_down(PgConnection *connection, bool was_up)
{
	Feed	   *feed = pg_connection_owner(connection);

	(void) was_up;
	if (connection == feed->scout)
		return;
	feed->state = FEED_DOWN;
	forget_hints(feed);
	set_live(feed, false);
}

static void
feed_notify(PgConnection *connection, const PGnotify *notify)
{
	Feed	   *feed = pg_connection_owner(connection);
	json_t	   *json;
	const char *name;
	json_t	   *version;

	if (strlen(notify->extra) > PAYLOAD_MAX)
		return;
	json = json_loads(notify->extra, 0, NULL);
	name = json_string_value(json_object_get(json, "board"));
	version = json_object_get(json, "version");
	if (name && json_is_integer(version) && json_integer_value(version) > 0)
		take_hint(feed, name, json_integer_value(version));
	json_decref(json);
}

static void
feed_look(uv_timer_t *timer)
{
	Feed	   *feed = timer->data;

	if (feed->state == FEED_WAITING)
		read_documents(feed);
}

/* Is the host silent that we have asked, or try to reach? Or is it a standby that we read from for want of anything better? */
static bool
wants_scout(const Feed *feed, bool asked, bool makeshift)
{
	PgHosts    *hosts = feed->bridge->hosts;
	uint64_t	now = uv_now(&feed->bridge->loop);
	uint64_t	heard = pg_hosts_heard_at(hosts, pg_connection_host(feed->connection));
	uint64_t	tried = pg_connection_connecting_since(feed->connection);

	if (asked && now >= feed->asked_at + SCOUT_MS && now >= heard + SCOUT_MS)
		return true;
	if (tried && now >= tried + SCOUT_MS)
		return true;
	return makeshift && pg_hosts_may_be_readonly(hosts);
}

static void
feed_pulse(uv_timer_t *timer)
{
	Feed	   *feed = timer->data;
	bool		asked = feed->state == FEED_READING || feed->state == FEED_LISTENING;
	bool		makeshift = feed->state == FEED_WAITING && !feed->listening;

	if (asked && uv_now(&feed->bridge->loop) >= feed->asked_at + LATE_MS)
		set_live(feed, false);
	if (wants_scout(feed, asked, makeshift))
		send_scout(feed);
	else if (feed->state == FEED_WAITING)
		call_scout_back(feed);
	if (makeshift)
		read_documents(feed);
}

/* ---- coming and going ---- */

static const PgConnectionEvents events = {feed_up, feed_answer, feed_down, feed_notify};

static void
start_timer(Feed *feed, uv_timer_t *timer, uv_timer_cb callback, uint64_t interval)
{
	uv_timer_init(&feed->bridge->loop, timer);
	timer->data = feed;
	feed->handles++;
	if (interval)
		uv_timer_start(timer, callback, interval, interval);
}

void
feed_start(Bridge *bridge)
{
	Feed	   *feed = calloc(1, sizeof(*feed));

	if (feed == NULL)
		abort();
	bridge->feed = feed;
	feed->bridge = bridge;
	start_timer(feed, &feed->look, feed_look, (uint64_t) bridge->options.look_interval_ms);
	start_timer(feed, &feed->pulse, feed_pulse, PULSE_MS);
	start_timer(feed, &feed->space, NULL, 0);
	feed->connection = pg_connection_new(bridge->hosts, &events, feed, false);
}

static void
feed_closed(uv_handle_t *handle)
{
	Feed	   *feed = handle->data;

	if (--feed->handles > 0)
		return;
	while (feed->all)
	{
		Rumour	   *rumour = feed->all;

		feed->all = rumour->link;
		free(rumour);
	}
	free(feed);
}

void
feed_stop(Bridge *bridge)
{
	Feed	   *feed = bridge->feed;

	bridge->feed = NULL;
	call_scout_back(feed);
	pg_connection_free(feed->connection);
	uv_close((uv_handle_t *) &feed->look, feed_closed);
	uv_close((uv_handle_t *) &feed->space, feed_closed);
	uv_close((uv_handle_t *) &feed->pulse, feed_closed);
}

void
feed_hurry(Bridge *bridge)
{
	if (bridge->feed)
		pg_connection_hurry(bridge->feed->connection);
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
