/*
 * submit.c - increments on their way to the database and back
 *
 *	submit_add -> queue -> a Worker's batch -> scoreboard_submit -> http_submitted
 *	                ^______ later (jitter) <-__|  40001, 40P01, lost connection, UNAVAILABLE
 *
 * A worker is a link of the pool with the batch that it carries. A batch is
 * what one call of scoreboard_submit takes; BATCH_MAX is all that fixes its
 * size, everything here works for any. An answer is given only when the link
 * says that the transaction's end is known.
 *
 * A submission keeps its element, and with it the idempotency key, until it is
 * answered; so each new try is the same request to the database, and trying
 * again after a lost connection can't count twice. It is answered 503 when its
 * deadline passes, wherever it is; if the database has then committed it after
 * all, the client's own retry under that key gets the stored answer.
 *
 * When connecting has failed several times for each worker, the circuit is
 * open: new requests are refused at once, and one link alone goes on trying;
 * when it is up the others follow.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "loop.h"

/* One: what a request does in the database is over before the next begins. */
#define BATCH_MAX 1
#define SWEEP_MS 20
#define LATER_MOST_MS 200
#define FAILURES_EACH 3

struct Submission
{
	Submission *next;			/* in the queue, or among the later ones */
	Post	   *post;			/* NULL once the client is gone */
	char	   *element;		/* JSON */
	uint64_t	deadline;		/* ms */
	uint64_t	due;			/* ms, of a later one */
	unsigned	tries;
	char		id[REQUEST_ID_MAX + 1];	/* the request's, for the log */
};

typedef struct Queue
{
	Submission *head;
	Submission *tail;
} Queue;

typedef struct Worker
{
	struct Submit *submit;
	Link	   *link;
	bool		up;
	int			count;
	Submission *batch[BATCH_MAX];	/* what it carries; count of them */
} Worker;

typedef struct Submit
{
	Bridge	   *bridge;
	uv_timer_t	sweep;			/* runs while anything is pending */
	Queue		queue;
	Queue		later;			/* in no order */
	int64_t		queued;			/* in both */
	int			pending;		/* those, and the ones in batches */
	int			failures;		/* to connect, in a row */
	bool		open;			/* the circuit */
	int			worker_count;
	Worker		workers[];
} Submit;

static void pump(Submit *submit);

/* ---- queues ---- */

static void
push(Submit *submit, Queue *queue, Submission *submission)
{
	submission->next = NULL;
	if (queue->tail)
		queue->tail->next = submission;
	else
		queue->head = submission;
	queue->tail = submission;
	submit->queued++;
}

static Submission *
pop(Submit *submit, Queue *queue)
{
	Submission *submission = queue->head;

	if (submission == NULL)
		return NULL;
	queue->head = submission->next;
	if (queue->head == NULL)
		queue->tail = NULL;
	submit->queued--;
	return submission;
}

/* ---- ends of a submission ---- */

/* Tells the client, if it is still there, and frees the submission. */
static void
finish(Submit *submit, Submission *submission, const Outcome *outcome)
{
	Post	   *post = submission->post;

	submit->pending--;
	free(submission->element);
	free(submission);
	if (post)
	{
		post->submission = NULL;
		http_submitted(post, outcome);
	}
}

static void
give_up(Submit *submit, Submission *submission)
{
	Outcome		outcome = {503, NULL, 1};

	log_warn("increment given up", LOG_TEXT("request_id", submission->id), LOG_NUMBER("tries", submission->tries));
	finish(submit, submission, &outcome);
}

static void
try_later(Submit *submit, Submission *submission)
{
	uint64_t	now = uv_now(&submit->bridge->loop);
	uint32_t	most = 5u << (submission->tries < 5 ? submission->tries : 5);

	submission->due = now + 1 + random_number() % (most < LATER_MOST_MS ? most : LATER_MOST_MS);
	if (submission->due >= submission->deadline)
		give_up(submit, submission);
	else
		push(submit, &submit->later, submission);
}

/* ---- batches ---- */

static char *
batch_text(const Worker *worker)
{
	size_t		size = 3;
	char	   *text;
	char	   *at;

	for (int i = 0; i < worker->count; i++)
		size += strlen(worker->batch[i]->element) + 1;
	text = at = malloc(size);
	if (text == NULL)
		return NULL;
	*at++ = '[';
	for (int i = 0; i < worker->count; i++)
	{
		if (i > 0)
			*at++ = ',';
		at = stpcpy(at, worker->batch[i]->element);
	}
	strcpy(at, "]");
	return text;
}

/* The longest time that any of the batch has left. */
static int64_t
batch_time(const Submit *submit, const Worker *worker)
{
	uint64_t	now = uv_now(&submit->bridge->loop);
	uint64_t	last = now;

	for (int i = 0; i < worker->count; i++)
		if (worker->batch[i]->deadline > last)
			last = worker->batch[i]->deadline;
	return (int64_t) (last - now);
}

static void
carry(Submit *submit, Worker *worker)
{
	char	   *text;

	while (worker->count < BATCH_MAX && submit->queue.head)
	{
		worker->batch[worker->count] = pop(submit, &submit->queue);
		worker->batch[worker->count++]->tries++;
	}
	text = batch_text(worker);
	if (text == NULL)
		link_drop(worker->link, "out of memory");
	else
		link_ask(worker->link, "SELECT ordinal, status, body, retry_after FROM scoreboard.submit($1::json)", text,
				  batch_time(submit, worker));
	free(text);
}

static void
pump(Submit *submit)
{
	for (int i = 0; i < submit->worker_count && submit->queue.head; i++)
		if (submit->workers[i].up && submit->workers[i].count == 0)
			carry(submit, &submit->workers[i]);
}

static void
retry_batch(Worker *worker)
{
	int			count = worker->count;

	worker->count = 0;
	for (int i = 0; i < count; i++)
		try_later(worker->submit, worker->batch[i]);
}

/* Is it worth another try, since nothing is wrong with the request? */
static bool
is_passing(const char *state)
{
	static const char *const codes[] = {"40001", "40P01", "55P03", "57014", "25006"};
	static const char *const classes[] = {"08", "53", "57"};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(state, codes[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(state, classes[i], 2) == 0)
			return true;
	return false;
}

/* The whole call failed: nothing of it was committed. */
static void
batch_failed(Worker *worker, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	Outcome		outcome = {500, NULL, 0};
	int			count = worker->count;

	if (state && is_passing(state))
	{
		retry_batch(worker);
		/* A server that became a standby stays one: look for the new primary. */
		if (strcmp(state, "25006") == 0)
			link_drop(worker->link, "the server is read-only");
		return;
	}
	worker->count = 0;
	for (int i = 0; i < count; i++)
	{
		log_error("increment failed", LOG_TEXT("request_id", worker->batch[i]->id),
				  LOG_TEXT("sqlstate", state), LOG_TEXT("reason", message));
		finish(worker->submit, worker->batch[i], &outcome);
	}
}

static void
row_answered(Worker *worker, Submission *submission, const PGresult *result, int row)
{
	Outcome		outcome = {atoi(PQgetvalue(result, row, 1)), PQgetvalue(result, row, 2), 0};

	if (!PQgetisnull(result, row, 3))
		outcome.retry_after = atoi(PQgetvalue(result, row, 3));
	if (outcome.status == 503)
		try_later(worker->submit, submission);
	else
		finish(worker->submit, submission, &outcome);
}

static void
batch_answered(Worker *worker, const PGresult *result)
{
	Submission *batch[BATCH_MAX];
	int			count = worker->count;

	memcpy(batch, worker->batch, sizeof(batch));
	worker->count = 0;
	for (int row = 0; row < PQntuples(result); row++)
	{
		int			i = atoi(PQgetvalue(result, row, 0)) - 1;

		if (i < 0 || i >= count || batch[i] == NULL)
			continue;
		row_answered(worker, batch[i], result, row);
		batch[i] = NULL;
	}
	for (int i = 0; i < count; i++)
		if (batch[i])
		{
			Outcome		outcome = {500, NULL, 0};

			log_error("increment without an answer", LOG_TEXT("request_id", batch[i]->id));
			finish(worker->submit, batch[i], &outcome);
		}
}

/* ---- what links tell ---- */

static void
worker_up(Link *link)
{
	Worker	   *worker = link_owner(link);
	Submit	   *submit = worker->submit;

	worker->up = true;
	submit->failures = 0;
	if (submit->open)
	{
		submit->open = false;
		log_info("increments are taken again");
		for (int i = 0; i < submit->worker_count; i++)
			link_hold(submit->workers[i].link, false);
	}
	pump(submit);
}

static void
worker_answer(Link *link, const PGresult *result)
{
	Worker	   *worker = link_owner(link);

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) >= 4)
		batch_answered(worker, result);
	else
		batch_failed(worker, result);
	pump(worker->submit);
}

static void
worker_down(Link *link, bool was_up)
{
	Worker	   *worker = link_owner(link);
	Submit	   *submit = worker->submit;
	bool		any = false;

	worker->up = false;
	retry_batch(worker);
	for (int i = 0; i < submit->worker_count; i++)
		any |= submit->workers[i].up;
	if (was_up || any || submit->open || ++submit->failures < FAILURES_EACH * submit->worker_count)
		return;
	submit->open = true;
	log_warn("increments are refused until the database is back");
	for (int i = 0; i < submit->worker_count; i++)
		link_hold(submit->workers[i].link, &submit->workers[i] != worker);
}

static void
sweep_queue(Submit *submit, Queue *queue, bool later)
{
	uint64_t	now = uv_now(&submit->bridge->loop);
	Queue		old = *queue;
	Submission *next;

	queue->head = queue->tail = NULL;
	for (Submission *submission = old.head; submission; submission = next)
	{
		next = submission->next;
		submit->queued--;
		if (now >= submission->deadline)
			give_up(submit, submission);
		else
			push(submit, later && now >= submission->due ? &submit->queue : queue, submission);
	}
}

static void
submit_sweep(uv_timer_t *timer)
{
	Submit	   *submit = timer->data;

	sweep_queue(submit, &submit->queue, false);
	sweep_queue(submit, &submit->later, true);
	pump(submit);
	if (submit->pending == 0)
		uv_timer_stop(timer);
}

/* ---- for the others ---- */

Submission *
submit_add(Bridge *bridge, Post *post, char *element, const char *id)
{
	Submit	   *submit = bridge->submit;
	Submission *submission = NULL;

	if (!submit->open && submit->queued < bridge->options.queue_size)
		submission = calloc(1, sizeof(*submission));
	if (submission == NULL)
	{
		free(element);
		return NULL;
	}
	submission->post = post;
	submission->element = element;
	submission->deadline = uv_now(&bridge->loop) + (uint64_t) bridge->options.submit_timeout_ms;
	snprintf(submission->id, sizeof(submission->id), "%s", id);
	submit->pending++;
	if (!uv_is_active((uv_handle_t *) &submit->sweep))
		uv_timer_start(&submit->sweep, submit_sweep, SWEEP_MS, SWEEP_MS);
	post->submission = submission;
	push(submit, &submit->queue, submission);
	pump(submit);
	return submission;
}

void
submit_forget(Submission *submission)
{
	submission->post = NULL;
}

bool
submit_live(const Bridge *bridge)
{
	return bridge->submit && !bridge->submit->open;
}

int
submit_pending(const Bridge *bridge)
{
	return bridge->submit->pending;
}

static const LinkEvents worker_events = {worker_up, worker_answer, worker_down, NULL};

void
submit_start(Bridge *bridge)
{
	int			count = (int) bridge->options.pool_size;
	Submit	   *submit = calloc(1, sizeof(*submit) + (size_t) count * sizeof(Worker));

	if (submit == NULL)
		abort();
	bridge->submit = submit;
	submit->bridge = bridge;
	uv_timer_init(&bridge->loop, &submit->sweep);
	submit->sweep.data = submit;
	submit->worker_count = count;
	for (int i = 0; i < count; i++)
	{
		submit->workers[i].submit = submit;
		submit->workers[i].link = link_new(bridge, &worker_events, &submit->workers[i]);
	}
}

static void
submit_closed(uv_handle_t *handle)
{
	Submit	   *submit = handle->data;

	free(submit);
}

void
submit_stop(Bridge *bridge)
{
	Submit	   *submit = bridge->submit;
	Submission *submission;

	for (int i = 0; i < submit->worker_count; i++)
	{
		link_free(submit->workers[i].link);
		for (int k = 0; k < submit->workers[i].count; k++)
			give_up(submit, submit->workers[i].batch[k]);
	}
	while ((submission = pop(submit, &submit->queue)) != NULL)
		give_up(submit, submission);
	while ((submission = pop(submit, &submit->later)) != NULL)
		give_up(submit, submission);
	bridge->submit = NULL;
	uv_close((uv_handle_t *) &submit->sweep, submit_closed);
}
