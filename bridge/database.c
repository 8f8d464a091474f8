/*
 * database.c - links to PostgreSQL: connect, ask, notice, come back
 *
 * A Link is one libpq connection on our loop, never blocking: PQconnectPoll
 * through a uv_poll, one question at a time with PQsendQueryParams, and the
 * answer handed over only when PQgetResult has returned NULL, that is after
 * ReadyForQuery: PGRES_TUPLES_OK alone comes before COMMIT. (The look-up of a
 * host's name is libpq's and does block; a bridge beside a slow resolver names
 * addresses.)
 *
 *	DOWN --timer--> CONNECTING --> IDLE <--> ASKED
 *	  ^_________________|___________|_________|      any failure, link_drop()
 *
 * link_change() is the only place that sets the state. A failure is told to
 * the owner once, through down(); then the link tries again for ever, with
 * growing pauses up to reconnect_max, each cut by a random part so that many
 * bridges don't come back at the same moment. The pause starts small again
 * only after an answer, since a server can accept and die in a loop.
 *
 * The uv_poll lives as long as one socket: libpq may change the socket while it
 * connects (several hosts), and a descriptor number can be reused, so the
 * watcher is stopped around every PQconnectPoll and made anew when the number
 * is another.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "loop.h"

#define PAUSE_FIRST_MS 100

typedef enum LinkState
{
	LINK_DOWN,
	LINK_CONNECTING,
	LINK_IDLE,
	LINK_ASKED
} LinkState;

struct Link
{
	uv_timer_t	timer;			/* DOWN: try again; CONNECTING, ASKED: too late */
	Bridge	   *bridge;
	const LinkEvents *events;
	void	   *owner;
	PGconn	   *pg;				/* NULL in DOWN */
	uv_poll_t  *poll;			/* NULL in DOWN */
	int			fd;				/* that poll watches */
	LinkState	state;
	PGresult   *result;			/* the first error, else the last rows, of this question */
	int64_t		pause_ms;
	bool		held;
	bool		complained;		/* a failure to connect is logged once, then quietly */
};

static void link_connect(Link *link);
static void link_fail(Link *link, const char *reason);
static void link_ready(uv_poll_t *poll, int status, int events);

/* ---- timers and watchers ---- */

static void
link_late(uv_timer_t *timer)
{
	Link	   *link = timer->data;

	if (link->state == LINK_DOWN)
		link_connect(link);
	else
		link_fail(link, link->state == LINK_CONNECTING ? "connecting took too long" : "no answer in time");
}

static void
link_change(Link *link, LinkState state, int64_t timeout_ms)
{
	link->state = state;
	uv_timer_stop(&link->timer);
	if (timeout_ms >= 0)
		uv_timer_start(&link->timer, link_late, (uint64_t) timeout_ms, 0);
}

static void
poll_closed(uv_handle_t *handle)
{
	free(handle);
}

static void
link_unwatch(Link *link)
{
	if (link->poll == NULL)
		return;
	uv_poll_stop(link->poll);
	uv_close((uv_handle_t *) link->poll, poll_closed);
	link->poll = NULL;
}

static bool
link_watch(Link *link, int events)
{
	int			fd = PQsocket(link->pg);

	if (link->poll && link->fd != fd)
		link_unwatch(link);
	if (link->poll == NULL)
	{
		uv_poll_t  *poll = malloc(sizeof(*poll));

		if (poll == NULL || fd < 0 || uv_poll_init(&link->bridge->loop, poll, fd) != 0)
		{
			free(poll);
			return false;
		}
		poll->data = link;
		link->poll = poll;
		link->fd = fd;
	}
	return uv_poll_start(link->poll, events, link_ready) == 0;
}

/* ---- failing and trying again ---- */

static void
link_close(Link *link)
{
	link_unwatch(link);
	PQclear(link->result);
	link->result = NULL;
	PQfinish(link->pg);
	link->pg = NULL;
}

static int64_t
next_pause(Link *link)
{
	int64_t		most = link->bridge->options.reconnect_max_ms;

	link->pause_ms = link->pause_ms ? link->pause_ms * 2 : PAUSE_FIRST_MS;
	if (link->pause_ms > most)
		link->pause_ms = most;
	return link->pause_ms / 2 + (int64_t) (random_number() % (uint32_t) (link->pause_ms / 2 + 1));
}

static void
link_fail(Link *link, const char *reason)
{
	bool		was_up = link->state == LINK_IDLE || link->state == LINK_ASKED;
	char		text[400];

	if (link->state == LINK_DOWN)
		return;
	snprintf(text, sizeof(text), "%s", reason);
	text[strcspn(text, "\n")] = '\0';
	if (was_up || !link->complained)
		log_warn(was_up ? "database connection lost" : "database not reached", LOG_TEXT("reason", text));
	link->complained = true;
	link_close(link);
	link_change(link, LINK_DOWN, link->held ? -1 : next_pause(link));
	link->events->down(link, was_up);
}

void
link_drop(Link *link, const char *reason)
{
	link_fail(link, reason);
}

void
link_hold(Link *link, bool hold)
{
	bool		was = link->held;

	link->held = hold;
	if (link->state != LINK_DOWN || was == hold)
		return;
	link_change(link, LINK_DOWN, hold ? -1 : 0);
}

/* ---- connecting ---- */

static PGconn *
start_connecting(const Options *options)
{
	char		timeout[24];
	const char *const names[] = {"keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout", "dbname", "client_encoding", "fallback_application_name", NULL};
	/* What stands before dbname is a default that the user's string overrides. */
	const char *const values[] = {"10", "5", "3", timeout, options->database, "UTF8", "scoreboard-bridge", NULL};

	snprintf(timeout, sizeof(timeout), "%lld", (long long) options->database_timeout_ms);
	return PQconnectStartParams(names, values, 1);
}

/* Notices, and the farewell of a server that ends: our log is JSON lines only. */
static void
log_notice(void *unused, const char *message)
{
	char		text[400];

	(void) unused;
	snprintf(text, sizeof(text), "%s", message);
	text[strcspn(text, "\n")] = '\0';
	log_debug("database notice", LOG_TEXT("text", text));
}

static void
link_connect(Link *link)
{
	link->pg = start_connecting(&link->bridge->options);
	PQsetNoticeProcessor(link->pg, log_notice, NULL);
	link_change(link, LINK_CONNECTING, link->bridge->options.database_timeout_ms);
	if (link->pg == NULL || PQstatus(link->pg) == CONNECTION_BAD)
		link_fail(link, link->pg ? PQerrorMessage(link->pg) : "out of memory");
	else if (!link_watch(link, UV_WRITABLE))
		link_fail(link, "cannot watch the socket");
}

static void
link_connecting(Link *link)
{
	int			events = 0;

	uv_poll_stop(link->poll);
	switch (PQconnectPoll(link->pg))
	{
		case PGRES_POLLING_READING:
			events = UV_READABLE;
			break;
		case PGRES_POLLING_WRITING:
			events = UV_WRITABLE;
			break;
		case PGRES_POLLING_OK:
			PQsetnonblocking(link->pg, 1);
			link_change(link, LINK_IDLE, -1);
			if (!link_watch(link, UV_READABLE))
				break;
			if (link->complained)
				log_info("database reached again");
			link->complained = false;
			link->events->up(link);
			return;
		default:
			link_fail(link, PQerrorMessage(link->pg));
			return;
	}
	if (events == 0 || !link_watch(link, events))
		link_fail(link, "cannot watch the socket");
}

/* ---- asking ---- */

bool
link_ask(Link *link, const char *sql, const char *parameter, int64_t timeout_ms)
{
	const char *const values[] = {parameter};
	int			rest;

	if (link->state != LINK_IDLE)
		return false;
	if (!PQsendQueryParams(link->pg, sql, parameter ? 1 : 0, NULL, values, NULL, NULL, 0))
	{
		link_fail(link, PQerrorMessage(link->pg));
		return false;
	}
	link_change(link, LINK_ASKED, timeout_ms);
	rest = PQflush(link->pg);
	/* A failed flush shows as an error when the socket is read. */
	return link_watch(link, UV_READABLE | (rest > 0 ? UV_WRITABLE : 0));
}

static void
keep(Link *link, PGresult *result)
{
	ExecStatusType status = PQresultStatus(link->result);

	if (link->result && status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
	{
		PQclear(result);
		return;
	}
	PQclear(link->result);
	link->result = result;
}

/* Takes what has arrived; true where the question is answered to its end. */
static bool
collect(Link *link)
{
	while (!PQisBusy(link->pg))
	{
		PGresult   *result = PQgetResult(link->pg);

		if (result == NULL)
			return link->state == LINK_ASKED;
		keep(link, result);
	}
	return false;
}

static void
tell_notifies(Link *link)
{
	PGnotify   *notify;

	while (link->pg && (notify = PQnotifies(link->pg)) != NULL)
	{
		if (link->events->notify)
			link->events->notify(link, notify);
		PQfreemem(notify);
	}
}

static void
tell_answer(Link *link)
{
	PGresult   *result = link->result;

	link->result = NULL;
	link->pause_ms = 0;
	link_change(link, LINK_IDLE, -1);
	if (PQstatus(link->pg) == CONNECTION_BAD)
		link_fail(link, PQerrorMessage(link->pg));
	else
		link->events->answer(link, result);
	PQclear(result);
}

static void
link_ready(uv_poll_t *poll, int status, int events)
{
	Link	   *link = poll->data;
	bool		answered;
	int			rest;

	if (link->state == LINK_CONNECTING)
	{
		link_connecting(link);
		return;
	}
	if (status < 0 || ((events & UV_READABLE) && !PQconsumeInput(link->pg)))
	{
		link_fail(link, PQerrorMessage(link->pg));
		return;
	}
	answered = collect(link);
	rest = PQflush(link->pg);
	link_watch(link, UV_READABLE | (rest > 0 ? UV_WRITABLE : 0));
	tell_notifies(link);
	if (answered && link->state == LINK_ASKED)
		tell_answer(link);
}

/* ---- coming and going ---- */

Link *
link_new(Bridge *bridge, const LinkEvents *events, void *owner)
{
	Link	   *link = calloc(1, sizeof(*link));

	if (link == NULL)
		abort();
	link->bridge = bridge;
	link->events = events;
	link->owner = owner;
	uv_timer_init(&bridge->loop, &link->timer);
	link->timer.data = link;
	link_change(link, LINK_DOWN, 0);
	return link;
}

static void
link_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
link_free(Link *link)
{
	if (link->state != LINK_DOWN)
		link_close(link);
	link->state = LINK_DOWN;
	uv_close((uv_handle_t *) &link->timer, link_closed);
}

void *
link_owner(const Link *link)
{
	return link->owner;
}
