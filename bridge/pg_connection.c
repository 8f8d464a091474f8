/*
 * pg_connection.c - connect, ask, notice, come back
 *
 * A libpq connection on our loop, never blocking: PQconnectPoll through a
 * uv_poll, one address at a time as the search (pg_hosts.c) gives them, each
 * with a time of its own. Questions are asked in pipeline mode, one with a
 * synchronisation of its own each, and what came is handed over only at
 * PGRES_PIPELINE_SYNC: PGRES_TUPLES_OK alone comes before COMMIT.
 *
 *	DOWN --timer--> SEARCHING --> CONNECTING --> SETTING_UP --> IDLE <--> ASKED
 *	  ^                 ^_____________|               |          |         |
 *	  |_________________|_____________________________|__________|_________|
 *
 * change() is the only place that sets the state. While addresses are left a
 * failure leads to the next; then it is told to the owner once, through
 * down(), and after a pause the search begins anew, for ever. Pauses grow up to
 * reconnect_max, each cut by a random part so that many bridges don't come back
 * at the same moment, and start small again only when the owner says that an
 * answer was of use: a server can accept and have nothing to offer, or die, in
 * a loop. Whoever gets through cuts the pauses of the bridge's others short.
 *
 * A commit that waited in vain for a synchronous standby is told by a warning
 * and nothing else; the question's end is then PG_UNKNOWN. The warning is known
 * by the file of the server's source that it comes from, since its text depends
 * on the language.
 *
 * The uv_poll lives as long as one socket: libpq may change the socket while it
 * connects (TLS refused, tried without), and a descriptor number can be reused,
 * so the watcher is stopped around every PQconnectPoll and made anew when the
 * number is another.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* memrchr */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "metrics.h"
#include "pg_connection.h"
#include "random.h"

#define PAUSE_FIRST_MS 100

/* Whoever waits behind a lock finds out that we are gone. Where the platform can't, it says so, and that is that. */
#define SET_UP "SELECT pg_catalog.set_config(name, '2s', false) FROM pg_catalog.pg_settings " \
	"WHERE name = 'client_connection_check_interval' AND setting = '0'"

typedef enum State
{
	DOWN,
	SEARCHING,
	CONNECTING,
	SETTING_UP,
	IDLE,
	ASKED
} State;

struct PgConnection
{
	uv_timer_t	timer;			/* DOWN: try again; CONNECTING and later: too late */
	PgHosts    *hosts;
	Bridge	   *bridge;
	PgSearch   *search;
	const PgConnectionEvents *events;
	void	   *owner;
	PGconn	   *pg;				/* NULL in DOWN and SEARCHING */
	uv_poll_t  *poll;			/* likewise */
	int			fd;				/* that poll watches */
	State		state;
	PGresult   *result;			/* the first error, else the last rows, of this question */
	bool		synced;			/* the question's end has come */
	bool		unsure;			/* its commit was not waited for */
	int64_t		pause_ms;
	uint64_t	tried_at;		/* ms: CONNECTING began */
	bool		held;
	bool		was_up;			/* ever */
	bool		complained;		/* a failure was logged; no more until an answer was of use */
	char		reason[300];	/* the last failure to connect */
	char		host[80];		/* where */
};

static void try_next(PgConnection *connection);
static void ready(uv_poll_t *poll, int status, int events);
static void fail(PgConnection *connection, const char *reason);

/* ---- timers and watchers ---- */

static void
late(uv_timer_t *timer)
{
	PgConnection *connection = timer->data;

	if (connection->state == DOWN)
	{
		pg_search_begin(connection->search);
		try_next(connection);
	}
	else
	{
		pg_hosts_silent(connection->hosts, pg_connection_host(connection));
		fail(connection, connection->state == CONNECTING ? "connecting took too long" : "no answer in time");
	}
}

static void
change(PgConnection *connection, State state, int64_t timeout_ms)
{
	connection->state = state;
	uv_timer_stop(&connection->timer);
	if (timeout_ms >= 0)
		uv_timer_start(&connection->timer, late, (uint64_t) timeout_ms, 0);
}

static void
unwatch(PgConnection *connection)
{
	if (connection->poll == NULL)
		return;
	uv_poll_stop(connection->poll);
	uv_close((uv_handle_t *) connection->poll, free_handle);
	connection->poll = NULL;
}

static bool
watch(PgConnection *connection, int events)
{
	int			fd = PQsocket(connection->pg);

	if (connection->poll && connection->fd != fd)
		unwatch(connection);
	if (connection->poll == NULL)
	{
		uv_poll_t  *poll = malloc(sizeof(*poll));

		if (poll == NULL || fd < 0 || uv_poll_init(&connection->bridge->loop, poll, fd) != 0)
		{
			free(poll);
			return false;
		}
		poll->data = connection;
		connection->poll = poll;
		connection->fd = fd;
	}
	return uv_poll_start(connection->poll, events, ready) == 0;
}

/* ---- failing and trying again ---- */

static void
close_pg(PgConnection *connection)
{
	unwatch(connection);
	PQclear(connection->result);
	connection->result = NULL;
	connection->synced = false;
	PQfinish(connection->pg);
	connection->pg = NULL;
}

static void
go_down(PgConnection *connection, bool was_up)
{
	if (!connection->complained)
		log_warn(was_up ? "database connection lost" : "database not reached", LOG_TEXT("reason", connection->reason),
				 LOG_TEXT("host", connection->host), LOG_TEXT("advice", "it is tried again for ever, and a line says when it is reached"));
	connection->complained = true;
	if (was_up)
	{
		connection->bridge->metrics->now.connections_up--;
		connection->bridge->metrics->connections_lost++;
	}
	change(connection, DOWN, connection->held ? -1 :
		   random_pause(&connection->pause_ms, PAUSE_FIRST_MS, connection->bridge->options.reconnect_max_ms));
	connection->events->down(connection, was_up);
}

static void
fail(PgConnection *connection, const char *reason)
{
	State		state = connection->state;

	if (state == DOWN)
		return;
	snprintf(connection->reason, sizeof(connection->reason), "%s", reason);
	connection->reason[strcspn(connection->reason, "\n")] = '\0';
	close_pg(connection);
	if (state == CONNECTING || state == SETTING_UP)
		try_next(connection);
	else
		go_down(connection, state != SEARCHING);
}

void
pg_connection_drop(PgConnection *connection, const char *reason)
{
	fail(connection, reason);
}

void
pg_connection_hurry(PgConnection *connection)
{
	if (connection->state == DOWN && !connection->held)
		change(connection, DOWN, 0);
}

void
pg_connection_hold(PgConnection *connection, bool hold)
{
	bool		was = connection->held;

	connection->held = hold;
	if (connection->state == DOWN && was != hold)
		change(connection, DOWN, hold ? -1 : 0);
}

void
pg_connection_proved(PgConnection *connection)
{
	connection->pause_ms = 0;
	if (connection->complained)
		log_info("database reached again", LOG_TEXT("host", connection->host));
	connection->complained = false;
}

/* ---- connecting ---- */

/* Whose connection it is, for pg_stat_activity: version, this machine, the port that clients come to. */
static void
application_name(const Options *options, char *name, size_t size)
{
	char		machine[40] = "localhost";
	const char *colon;

	gethostname(machine, sizeof(machine));
	machine[sizeof(machine) - 1] = '\0';
	colon = strchr(options->listen, ',');
	colon = colon ? memrchr(options->listen, ':', (size_t) (colon - options->listen)) : strrchr(options->listen, ':');
	snprintf(name, size, "scoreboard-bridge " SCOREBOARD_VERSION " %.36s:%d", machine, colon ? atoi(colon + 1) : 0);
}

static PGconn *
start_connecting(const PgTarget *target, const Options *options)
{
	char		timeout[24];
	char		name[100];
	const char *keywords[16] = {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
	"fallback_application_name", "dbname", "client_encoding"};
	/* What stands before dbname is a default that the user's string overrides; what stands after it overrides the string. */
	const char *values[16] = {"10", "5", "3", timeout, name, options->database, "UTF8"};
	int			count = 7;
	const struct
	{
		const char *keyword;
		const char *value;
	}			own[] = {{"host", target->host}, {"hostaddr", target->address}, {"port", target->port},
	{"target_session_attrs", target->attributes}};

	snprintf(timeout, sizeof(timeout), "%lld", (long long) options->database_timeout_ms);
	application_name(options, name, sizeof(name));
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (own[i].value)
		{
			keywords[count] = own[i].keyword;
			values[count++] = own[i].value;
		}
	return PQconnectStartParams(keywords, values, 1);
}

/* Notices, and the farewell of a server that ends: our log is JSON lines only. */
static void
noticed(void *data, const PGresult *result)
{
	PgConnection *connection = data;
	const char *file = PQresultErrorField(result, PG_DIAG_SOURCE_FILE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (file && strcmp(file, "syncrep.c") == 0)
		connection->unsure = true;
	log_debug("database notice", LOG_TEXT("text", message ? message : PQresultErrorMessage(result)));
}

static void
connect_to(void *owner, const PgTarget *target, const char *reason)
{
	PgConnection *connection = owner;

	if (target == NULL)
	{
		if (reason)
			snprintf(connection->reason, sizeof(connection->reason), "%s", reason);
		go_down(connection, false);
		return;
	}
	snprintf(connection->host, sizeof(connection->host), "%s%s%s", target->host ? target->host : "",
			 target->host && target->address ? " " : "", target->address ? target->address : "");
	connection->pg = start_connecting(target, &connection->bridge->options);
	if (connection->pg == NULL)
		abort();
	PQsetNoticeReceiver(connection->pg, noticed, connection);
	connection->tried_at = uv_now(&connection->bridge->loop);
	change(connection, CONNECTING, target->timeout_ms);
	if (PQstatus(connection->pg) == CONNECTION_BAD)
		fail(connection, PQerrorMessage(connection->pg));
	else if (!watch(connection, UV_WRITABLE))
		fail(connection, "cannot watch the socket");
}

static void
try_next(PgConnection *connection)
{
	change(connection, SEARCHING, -1);
	pg_search_next(connection->search);
}

/* ---- asking ---- */

/* What can't be sent fails in the loop's next turn, so that nobody is called back while asking. */
static void
send_question(PgConnection *connection, State state, const char *sql, int count, const char *const *parameters, int64_t timeout_ms)
{
	int			rest;

	connection->synced = connection->unsure = false;
	if (!PQsendQueryParams(connection->pg, sql, count, NULL, parameters, NULL, NULL, 0) || !PQpipelineSync(connection->pg))
		timeout_ms = 0;
	change(connection, state, timeout_ms);
	rest = PQflush(connection->pg);
	/* A failed flush shows as an error when the socket is read. */
	if (!watch(connection, UV_READABLE | (rest > 0 ? UV_WRITABLE : 0)))
		change(connection, state, 0);
}

bool
pg_connection_ask(PgConnection *connection, const char *sql, int count, const char *const *parameters, int64_t timeout_ms)
{
	if (connection->state != IDLE)
		return false;
	send_question(connection, ASKED, sql, count, parameters, timeout_ms);
	return true;
}

static void
connecting(PgConnection *connection)
{
	int			events = 0;

	uv_poll_stop(connection->poll);
	switch (PQconnectPoll(connection->pg))
	{
		case PGRES_POLLING_READING:
			events = UV_READABLE;
			break;
		case PGRES_POLLING_WRITING:
			events = UV_WRITABLE;
			break;
		case PGRES_POLLING_OK:
			PQsetnonblocking(connection->pg, 1);
			PQenterPipelineMode(connection->pg);
			send_question(connection, SETTING_UP, SET_UP, 0, NULL, connection->bridge->options.database_timeout_ms);
			return;
		default:
			fail(connection, PQerrorMessage(connection->pg));
			return;
	}
	if (!watch(connection, events))
		fail(connection, "cannot watch the socket");
}

static void
keep(PgConnection *connection, PGresult *result)
{
	ExecStatusType status = PQresultStatus(connection->result);

	if (connection->result && status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
	{
		PQclear(result);
		return;
	}
	PQclear(connection->result);
	connection->result = result;
}

/*
 * Takes what has arrived. In pipeline mode NULL stands between what belongs to
 * the statement and the synchronisation, and nothing more comes after that.
 */
static void
collect(PgConnection *connection)
{
	int			nothing = 0;

	while (!connection->synced && nothing < 2 && !PQisBusy(connection->pg))
	{
		PGresult   *result = PQgetResult(connection->pg);

		if (result == NULL)
		{
			nothing++;
			continue;
		}
		nothing = 0;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		{
			connection->synced = true;
			PQclear(result);
		}
		else
			keep(connection, result);
	}
}

static void
tell_notifies(PgConnection *connection)
{
	PGnotify   *notify;

	while (connection->pg && (notify = PQnotifies(connection->pg)) != NULL)
	{
		if (connection->events->notify)
			connection->events->notify(connection, notify);
		PQfreemem(notify);
	}
}

static void
set_up(PgConnection *connection)
{
	connection->bridge->metrics->now.connections_up++;
	connection->bridge->metrics->reconnects += connection->was_up;
	connection->was_up = true;
	connection->events->up(connection);
}

static void
tell_answer(PgConnection *connection)
{
	PGresult   *result = connection->result;
	ExecStatusType status = PQresultStatus(result);
	State		state = connection->state;

	connection->result = NULL;
	connection->synced = false;
	pg_hosts_heard(connection->hosts, pg_connection_host(connection));
	change(connection, IDLE, -1);
	if (state == ASKED)
		connection->events->answer(connection, status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK ? PG_REFUSED :
								   connection->unsure ? PG_UNKNOWN : PG_ANSWERED, result);
	else
		set_up(connection);
	PQclear(result);
}

static void
ready(uv_poll_t *poll, int status, int events)
{
	PgConnection *connection = poll->data;
	int			rest;

	if (connection->state == CONNECTING)
	{
		connecting(connection);
		return;
	}
	if (status < 0 || ((events & UV_READABLE) && !PQconsumeInput(connection->pg)))
	{
		fail(connection, PQerrorMessage(connection->pg));
		return;
	}
	if (connection->state == ASKED || connection->state == SETTING_UP)
		collect(connection);
	if (PQstatus(connection->pg) == CONNECTION_BAD)
	{
		fail(connection, PQerrorMessage(connection->pg));
		return;
	}
	rest = PQflush(connection->pg);
	watch(connection, UV_READABLE | (rest > 0 ? UV_WRITABLE : 0));
	tell_notifies(connection);
	if (connection->synced)
		tell_answer(connection);
}

/* ---- coming and going ---- */

PgConnection *
pg_connection_new(PgHosts *hosts, const PgConnectionEvents *events, void *owner, bool hold)
{
	PgConnection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL)
		abort();
	connection->hosts = hosts;
	connection->bridge = pg_hosts_bridge(hosts);
	connection->search = pg_search_new(hosts, connect_to, connection);
	connection->events = events;
	connection->owner = owner;
	connection->held = hold;
	uv_timer_init(&connection->bridge->loop, &connection->timer);
	connection->timer.data = connection;
	change(connection, DOWN, hold ? -1 : 0);
	return connection;
}

void
pg_connection_free(PgConnection *connection)
{
	if (connection->state == IDLE || connection->state == ASKED)
		connection->bridge->metrics->now.connections_up--;
	close_pg(connection);
	pg_search_free(connection->search);
	change(connection, DOWN, -1);
	uv_close((uv_handle_t *) &connection->timer, free_handle_data);
}

void *
pg_connection_owner(const PgConnection *connection)
{
	return connection->owner;
}

int
pg_connection_backend(const PgConnection *connection)
{
	return PQbackendPID(connection->pg);
}

int
pg_connection_host(const PgConnection *connection)
{
	return pg_search_host(connection->search);
}

void
pg_connection_avoid(PgConnection *connection, int host)
{
	pg_search_avoid(connection->search, host);
}

uint64_t
pg_connection_connecting_since(const PgConnection *connection)
{
	return connection->state == CONNECTING || connection->state == SETTING_UP ? connection->tried_at : 0;
}

bool
pg_connection_on_standby(const PgConnection *connection)
{
	const char *standby = PQparameterStatus(connection->pg, "in_hot_standby");

	return standby && strcmp(standby, "on") == 0;
}

bool
pg_connection_idle(const PgConnection *connection)
{
	return connection->state == IDLE;
}
