/*
 * pg_pool.c - questions to the database that anybody may ask
 *
 *	pg_pool_ask -> queue -> a Worker's call -> callback
 *
 * There are two queues, for increments and for whatever else is asked, which
 * take turns: calls of one kind, many or stuck behind a lock, never hold up the
 * other for long. Nor do they get all the connections (most_of).
 *
 * A worker is a connection of the pool with the call that it carries. A call
 * has a deadline, wherever it is; what is given up while it runs is cancelled
 * at the server with pg_cancel_backend on one more connection, which is made
 * when it is first needed. (libpq 15's PQcancel blocks, and speaks in the
 * clear.) A worker takes nothing new until both its own answer and the
 * cancelling's were read, so that no later call is hit; if they don't come, the
 * connection is given up too.
 *
 * Where no connection is to be had several times for each worker, the circuit is
 * open: calls are refused at once, and one connection alone goes on trying; when
 * it is up the others follow.
 *
 * An error that lasts (a full disk, an extension that isn't there) stops the kind
 * that it came to, until an answer of use was read: nothing is sent for a pause
 * that grows, then one call alone. After several such in a row calls are refused
 * at once during the pause. Who can't write can still read, and whoever asks for
 * what can't be had stops no increments.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "log.h"
#include "metrics.h"
#include "pg_connection.h"
#include "pg_hosts.h"
#include "pg_pool.h"
#include "random.h"

#define SWEEP_MS 20
#define FAILURES_EACH 3
#define LASTING_MOST 3			/* in a row, before calls are refused at once */
#define PAUSE_FIRST_MS 50

typedef struct Pool Pool;
typedef struct Worker Worker;

typedef enum Kind
{
	INCREMENTS,
	OTHERS,
	KINDS
} Kind;

struct PgCall
{
	PgCall	   *next;			/* in its queue */
	Kind		kind;
	Worker	   *worker;			/* NULL in the queue */
	Bridge	   *bridge;
	uint64_t	deadline;
	PgCallback	callback;		/* NULL once nobody waits */
	void	   *data;
	int			count;
	const char **parameters;	/* texts of our own, in `text` */
	char	   *sql;
	char	   *text;
};

struct Worker
{
	Pool	   *pool;
	PgConnection *connection;
	PgCall	   *call;
	uint64_t	sent;			/* uv_hrtime: the call */
	uint64_t	patience;		/* ms; 0: the call is not given up. Then the connection is */
	bool		cancel;			/* the call was given up and that has not been told to the server */
	bool		cancelling;		/* it is being told */
	bool		up;
};

typedef struct Queue
{
	PgCall	   *head;
	PgCall	   *tail;
	int			length;
	int			lasting;		/* errors that last, in a row */
	int64_t		pause_ms;
	uint64_t	paused_until;
} Queue;

struct Pool
{
	Bridge	   *bridge;
	PgHosts    *hosts;
	uv_timer_t	sweep;			/* runs while there are calls */
	Queue		queues[KINDS];
	Kind		turn;			/* whose call is the next, where both wait */
	int			calls;			/* queued and carried */
	PgConnection *canceller;
	Worker	   *victim;			/* whose call the canceller is cancelling */
	int			failures;		/* to connect, in a row */
	bool		open;			/* the circuit */
	bool		ending;
	bool		running;		/* a callback that has an answer; then `times` are its call's */
	PgTimes		times;
	int			worker_count;
	Worker		workers[];
};

static void pump(Pool *pool);

/* ---- calls ---- */

static void
call_free(PgCall *call)
{
	call->bridge->pool->calls--;
	free(call->parameters);
	free(call->text);
	free(call->sql);
	free(call);
}

static void
call_end(PgCall *call, PgEnd end, const PGresult *result)
{
	PgCallback	callback = call->callback;

	call->callback = NULL;
	if (callback)
		callback(call->data, end, result);
}

static PgCall *
call_new(Bridge *bridge, const char *sql, int count, const char *const *parameters)
{
	PgCall	   *call = calloc(1, sizeof(*call));
	size_t		size = 1;
	char	   *at;

	for (int i = 0; i < count; i++)
		size += parameters[i] ? strlen(parameters[i]) + 1 : 0;
	if (call)
	{
		call->sql = strdup(sql);
		call->text = malloc(size);
		call->parameters = calloc((size_t) count + 1, sizeof(char *));
	}
	if (call == NULL || call->sql == NULL || call->text == NULL || call->parameters == NULL)
		abort();
	at = call->text;
	for (int i = 0; i < count; i++)
		if (parameters[i])
		{
			call->parameters[i] = at;
			at = stpcpy(at, parameters[i]) + 1;
		}
	call->count = count;
	call->bridge = bridge;
	return call;
}

static void
push(Queue *queue, PgCall *call)
{
	if (queue->tail)
		queue->tail->next = call;
	else
		queue->head = call;
	queue->tail = call;
	queue->length++;
}

static void
unqueue(Queue *queue, PgCall *call)
{
	PgCall	   *before = NULL;

	for (PgCall *each = queue->head; each != call; each = each->next)
		before = each;
	if (before)
		before->next = call->next;
	else
		queue->head = call->next;
	if (queue->tail == call)
		queue->tail = before;
	queue->length--;
}

/* ---- what is given up ---- */

/* Tells the server about one call after the other. */
static void
cancel_next(Pool *pool)
{
	for (int i = 0; i < pool->worker_count && pool->victim == NULL; i++)
	{
		Worker	   *worker = &pool->workers[i];
		char		pid[16];
		const char *const parameters[] = {pid};

		if (!worker->cancel)
			continue;
		if (!pg_connection_idle(pool->canceller))
		{
			pg_connection_hold(pool->canceller, false);
			return;
		}
		snprintf(pid, sizeof(pid), "%d", pg_connection_backend(worker->connection));
		worker->cancel = false;
		worker->cancelling = true;
		pool->victim = worker;
		pg_connection_ask(pool->canceller, "SELECT pg_catalog.pg_cancel_backend($1::int)", 1, parameters,
						  pool->bridge->options.database_timeout_ms);
	}
}

static void
worker_give_up(Worker *worker)
{
	if (worker->patience)
		return;
	worker->patience = uv_now(&worker->pool->bridge->loop) + (uint64_t) worker->pool->bridge->options.database_timeout_ms;
	worker->cancel = true;
	cancel_next(worker->pool);
}

static void
victim_over(Pool *pool)
{
	if (pool->victim)
		pool->victim->cancelling = false;
	pool->victim = NULL;
}

static void
canceller_up(PgConnection *connection)
{
	cancel_next(pg_connection_owner(connection));
}

static void
canceller_answer(PgConnection *connection, PgEnd end, const PGresult *result)
{
	Pool	   *pool = pg_connection_owner(connection);

	(void) end;
	(void) result;
	pg_connection_proved(connection);
	victim_over(pool);
	cancel_next(pool);
	pump(pool);
}

static void
canceller_down(PgConnection *connection, bool was_up)
{
	Pool	   *pool = pg_connection_owner(connection);
	bool		wanted = false;

	(void) was_up;
	victim_over(pool);
	for (int i = 0; i < pool->worker_count; i++)
		wanted |= pool->workers[i].cancel;
	if (!wanted)
		pg_connection_hold(connection, true);
}

/* ---- sending ---- */

static bool
worker_free(const Worker *worker)
{
	return worker->up && worker->call == NULL && !worker->cancelling && pg_connection_idle(worker->connection);
}

static int
carried(const Pool *pool, Kind kind)
{
	int			count = 0;

	for (int i = 0; i < pool->worker_count; i++)
		count += pool->workers[i].call && pool->workers[i].call->kind == kind;
	return count;
}

/* So many connections one kind may have. Of two, increments may have both: they come in few calls, and end soon. */
static int
most_of(const Pool *pool, Kind kind)
{
	if (pool->worker_count == 1 || (pool->worker_count == 2 && kind == INCREMENTS))
		return pool->worker_count;
	return pool->worker_count - 1;
}

/* After an error that lasts, one at a time. */
static bool
may_send(const Pool *pool, Kind kind, uint64_t now)
{
	const Queue *queue = &pool->queues[kind];

	if (queue->lasting)
		return now >= queue->paused_until && carried(pool, kind) == 0;
	return carried(pool, kind) < most_of(pool, kind);
}

/* The one whose turn it is; NULL: none may be sent. */
static PgCall *
next_call(Pool *pool, uint64_t now)
{
	for (int i = 0; i < KINDS; i++)
	{
		Kind		kind = (pool->turn + i) % KINDS;

		if (pool->queues[kind].head && may_send(pool, kind, now))
		{
			pool->turn = (kind + 1) % KINDS;
			return pool->queues[kind].head;
		}
	}
	return NULL;
}

static void
carry(Worker *worker, PgCall *call)
{
	/* The deadline is the sweep's business; the connection gets time to hear of a cancelling. */
	int64_t		left = (int64_t) (call->deadline - uv_now(&worker->pool->bridge->loop));

	unqueue(&worker->pool->queues[call->kind], call);
	worker->call = call;
	worker->sent = uv_hrtime();
	call->worker = worker;
	pg_connection_ask(worker->connection, call->sql, call->count, call->parameters,
					  left + 2 * worker->pool->bridge->options.database_timeout_ms);
}

/* Sends what waits. */
static void
pump(Pool *pool)
{
	uint64_t	now = uv_now(&pool->bridge->loop);

	for (int i = 0; i < pool->worker_count && !pool->ending; i++)
	{
		PgCall	   *call;

		if (!worker_free(&pool->workers[i]))
			continue;
		call = next_call(pool, now);
		if (call == NULL)
			return;
		carry(&pool->workers[i], call);
	}
}

/* ---- what the server says ---- */

static void
take_error(Pool *pool, Kind kind, const PGresult *result)
{
	Queue	   *queue = &pool->queues[kind];
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (!pg_error_lasts(sqlstate))
		return;
	pg_error_said(pool->hosts, result);
	queue->lasting++;
	queue->paused_until = uv_now(&pool->bridge->loop) +
		(uint64_t) random_pause(&queue->pause_ms, PAUSE_FIRST_MS, pool->bridge->options.reconnect_max_ms);
}

static void
take_answer(Pool *pool, Kind kind, PgConnection *connection)
{
	Queue	   *queue = &pool->queues[kind];
	bool		lasted = queue->lasting;

	pg_connection_proved(connection);
	queue->lasting = 0;
	queue->pause_ms = 0;
	if (lasted && pool->queues[INCREMENTS].lasting == 0 && pool->queues[OTHERS].lasting == 0)
		pg_error_over(pool->hosts);
}

static void
worker_up(PgConnection *connection)
{
	Worker	   *worker = pg_connection_owner(connection);
	Pool	   *pool = worker->pool;

	worker->up = true;
	pool->failures = 0;
	feed_hurry(pool->bridge);
	if (pool->open)
	{
		pool->open = false;
		log_info("increments are taken again");
		for (int i = 0; i < pool->worker_count; i++)
			pg_connection_hold(pool->workers[i].connection, false);
	}
	pump(pool);
}

/* Whatever it carried is over. */
static PgCall *
worker_release(Worker *worker)
{
	PgCall	   *call = worker->call;

	worker->call = NULL;
	worker->patience = 0;
	worker->cancel = false;
	return call;
}

static void
worker_answer(PgConnection *connection, PgEnd end, const PGresult *result)
{
	Worker	   *worker = pg_connection_owner(connection);
	Pool	   *pool = worker->pool;
	bool		given_up = worker->patience != 0;
	PgCall	   *call = worker_release(worker);
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (end == PG_REFUSED)
		take_error(pool, call->kind, result);
	else if (!given_up)
		take_answer(pool, call->kind, connection);
	pool->times = (PgTimes) {worker->sent, uv_hrtime()};
	histogram_add(&pool->bridge->metrics->database, (pool->times.answered - pool->times.sent) / 1000);
	pool->running = true;
	call_end(call, end, end == PG_UNKNOWN ? NULL : result);
	pool->running = false;
	call_free(call);
	if (sqlstate && strcmp(sqlstate, "25006") == 0)
		pg_connection_drop(connection, "the server can't be written to");
	pump(pool);
}

static void
worker_down(PgConnection *connection, bool was_up)
{
	Worker	   *worker = pg_connection_owner(connection);
	Pool	   *pool = worker->pool;
	PgCall	   *call = worker_release(worker);
	bool		any = false;

	worker->up = false;
	if (call)
	{
		call_end(call, PG_UNKNOWN, NULL);
		call_free(call);
	}
	for (int i = 0; i < pool->worker_count; i++)
		any |= pool->workers[i].up;
	if (was_up || any || pool->open || ++pool->failures < FAILURES_EACH * pool->worker_count)
		return;
	pool->open = true;
	log_warn("increments are refused until the database is back",
			 LOG_TEXT("advice", "clients get UNAVAILABLE at once; one connection goes on trying, and the lines before say why it fails"));
	for (int i = 0; i < pool->worker_count; i++)
		pg_connection_hold(pool->workers[i].connection, &pool->workers[i] != worker);
}

static const PgConnectionEvents worker_events = {worker_up, worker_answer, worker_down, NULL};
static const PgConnectionEvents canceller_events = {canceller_up, canceller_answer, canceller_down, NULL};

/* ---- deadlines ---- */

static void
sweep_queue(Queue *queue, uint64_t now)
{
	PgCall	   *next;

	for (PgCall *call = queue->head; call; call = next)
	{
		next = call->next;
		if (now < call->deadline)
			continue;
		unqueue(queue, call);
		call_end(call, PG_UNSENT, NULL);
		call_free(call);
		next = queue->head;		/* the callback may have changed the queue */
	}
}

static void
sweep_workers(Pool *pool, uint64_t now)
{
	for (int i = 0; i < pool->worker_count; i++)
	{
		Worker	   *worker = &pool->workers[i];

		if (worker->call == NULL)
			continue;
		if (worker->patience && now >= worker->patience)
			pg_connection_drop(worker->connection, "no answer to what was given up");
		else if (!worker->patience && now >= worker->call->deadline)
		{
			call_end(worker->call, PG_UNKNOWN, NULL);
			worker_give_up(worker);
		}
	}
}

static void
pool_sweep(uv_timer_t *timer)
{
	Pool	   *pool = timer->data;
	uint64_t	now = uv_now(&pool->bridge->loop);

	sweep_queue(&pool->queues[INCREMENTS], now);
	sweep_queue(&pool->queues[OTHERS], now);
	sweep_workers(pool, now);
	pump(pool);
	if (pool->calls == 0)
		uv_timer_stop(timer);
}

/* ---- for the others ---- */

/* Is it worth while to ask? */
static bool
live(const Pool *pool, Kind kind)
{
	const Queue *queue = &pool->queues[kind];

	return !pool->open && (queue->lasting < LASTING_MOST ||
						   (queue->length + carried(pool, kind) == 0 && uv_now(&pool->bridge->loop) >= queue->paused_until));
}

static PgCall *
ask(Bridge *bridge, Kind kind, const char *sql, int count, const char *const *parameters, uint64_t deadline,
	PgCallback callback, void *data)
{
	Pool	   *pool = bridge->pool;
	PgCall	   *call;

	if (pool->ending || !live(pool, kind) || pool->queues[kind].length >= bridge->options.queue_size)
		return NULL;
	call = call_new(bridge, sql, count, parameters);
	call->kind = kind;
	call->deadline = deadline;
	call->callback = callback;
	call->data = data;
	pool->calls++;
	push(&pool->queues[kind], call);
	if (!uv_is_active((uv_handle_t *) &pool->sweep))
		uv_timer_start(&pool->sweep, pool_sweep, SWEEP_MS, SWEEP_MS);
	pump(pool);
	return call;
}

PgCall *
pg_pool_ask(Bridge *bridge, const char *sql, int count, const char *const *parameters, uint64_t deadline,
			PgCallback callback, void *data)
{
	return ask(bridge, OTHERS, sql, count, parameters, deadline, callback, data);
}

PgCall *
pg_pool_submit(Bridge *bridge, const char *sql, int count, const char *const *parameters, uint64_t deadline,
			   PgCallback callback, void *data)
{
	return ask(bridge, INCREMENTS, sql, count, parameters, deadline, callback, data);
}

int
pg_pool_most_increments(const Bridge *bridge)
{
	return most_of(bridge->pool, INCREMENTS);
}

void
pg_pool_forget(PgCall *call)
{
	call->callback = NULL;
	if (call->worker)
		worker_give_up(call->worker);
	else
	{
		unqueue(&call->bridge->pool->queues[call->kind], call);
		call_free(call);
	}
}

const PgTimes *
pg_pool_running(const Bridge *bridge)
{
	return bridge->pool && bridge->pool->running ? &bridge->pool->times : NULL;
}

bool
pg_pool_live(const Bridge *bridge)
{
	return bridge->pool && live(bridge->pool, INCREMENTS);
}

static void
leave(Pool *pool, PgConnection *connection, int host)
{
	int			now = pg_connection_host(connection);

	if (host < 0 ? pg_host_is_silent(pool->hosts, now) : now == host)
		pg_connection_drop(connection, "the database has moved to another host");
}

void
pg_pool_hurry(Bridge *bridge)
{
	for (int i = 0; i < bridge->pool->worker_count; i++)
		pg_connection_hurry(bridge->pool->workers[i].connection);
}

void
pg_pool_leave(Bridge *bridge, int host)
{
	Pool	   *pool = bridge->pool;

	leave(pool, pool->canceller, host);
	for (int i = 0; i < pool->worker_count; i++)
		leave(pool, pool->workers[i].connection, host);
}

void
pg_pool_start(Bridge *bridge)
{
	int			count = (int) bridge->options.pool_size;
	Pool	   *pool = calloc(1, sizeof(*pool) + (size_t) count * sizeof(Worker));

	if (pool == NULL)
		abort();
	bridge->pool = pool;
	pool->bridge = bridge;
	pool->hosts = bridge->hosts = pg_hosts_new(bridge);
	uv_timer_init(&bridge->loop, &pool->sweep);
	pool->sweep.data = pool;
	pool->worker_count = count;
	pool->canceller = pg_connection_new(pool->hosts, &canceller_events, pool, true);
	for (int i = 0; i < count; i++)
	{
		pool->workers[i].pool = pool;
		pool->workers[i].connection = pg_connection_new(pool->hosts, &worker_events, &pool->workers[i], false);
	}
}

void
pg_pool_stop(Bridge *bridge)
{
	Pool	   *pool = bridge->pool;

	pool->ending = true;
	pg_connection_free(pool->canceller);
	for (int i = 0; i < pool->worker_count; i++)
	{
		PgCall	   *call = worker_release(&pool->workers[i]);

		pg_connection_free(pool->workers[i].connection);
		if (call)
		{
			call_end(call, PG_UNKNOWN, NULL);
			call_free(call);
		}
	}
	sweep_queue(&pool->queues[INCREMENTS], UINT64_MAX);
	sweep_queue(&pool->queues[OTHERS], UINT64_MAX);
	pg_hosts_free(bridge->hosts);
	bridge->hosts = NULL;
	bridge->pool = NULL;
	uv_close((uv_handle_t *) &pool->sweep, free_handle_data);
}
