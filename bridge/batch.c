/*
 * batch.c - increments on their way to the database and back
 *
 *	batch_add -> fresh -> a Batch -> scoreboard_submit -> callback
 *	               ^___ later (jitter) <--|  40001, 40P01, lost connection
 *	             apart <------------------|  its player is locked
 *	             alone <------------------|  the call failed as a whole
 *
 * Batches form by themselves: what comes while others are at work waits, and
 * the next call takes all of it. BATCHES at a time, so that they grow before
 * more connections are used; one that takes long doesn't count, so that it
 * holds up nobody.
 *
 * An entry keeps its element, and with it the idempotency key, until it is
 * answered; so each new try is the same request to the database, and trying
 * again after a lost connection can't count twice. It is answered 503 when its
 * own deadline passes, wherever it is; if the database has then committed it
 * after all, the client's own retry under that key gets the stored answer.
 *
 * Whoever makes trouble travels without the others: one whose player is locked
 * goes apart, with its like; one that a function of an administrator's has to look at (503 with
 * 0 seconds to wait) goes alone; after a call that failed, or took more than a part
 * of anybody's time, each entry goes alone, since one of them is the reason.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "log.h"
#include "metrics.h"
#include "pg_hosts.h"
#include "pg_pool.h"
#include "random.h"

#define BATCH_MAX 128
#define BATCHES 2
#define LONG_MS 20				/* a batch that takes longer doesn't count as one of them */
#define SWEEP_MS 20
#define LATER_MOST_MS 200
#define TOGETHER_TRIES 3		/* after so many an entry goes alone */
#define SUBMIT "SELECT ordinal, status, body, retry_after FROM scoreboard.submit($1::json)"

typedef struct Batches Batches;
typedef struct Batch Batch;

typedef enum Company
{
	FRESH,
	APART,
	ALONE,
	COMPANIES
} Company;

typedef struct BatchEntry BatchEntry;

struct BatchEntry
{
	BatchEntry *next;			/* in a queue */
	Batches    *batches;
	BatchCallback callback;
	void	   *data;
	char	   *element;		/* JSON */
	uint64_t	deadline;		/* ms */
	uint64_t	due;			/* ms, of a later one */
	uint64_t	added;			/* uv_hrtime */
	unsigned	tries;
	Company		company;
	char		id[REQUEST_ID_MAX + 1];	/* the request's, for the log */
};

typedef struct Queue
{
	BatchEntry *head;
	BatchEntry *tail;
} Queue;

struct Batch
{
	Batch	   *next;
	Batches    *batches;
	PgCall	   *call;
	uint64_t	since;
	uint64_t	deadline;
	int			count;
	BatchEntry *entries[BATCH_MAX];	/* NULL: answered already */
};

struct Batches
{
	Bridge	   *bridge;
	uv_timer_t	sweep;			/* runs while anything is pending */
	Queue		queues[COMPANIES];
	Queue		later;			/* in no order */
	int64_t		queued;			/* in all of them */
	int			pending;		/* those, and the ones in batches */
	Batch	   *under_way;
	Company		turn;			/* whose batch is the next */
	bool		ending;
};

static void pump(Batches *batches);

/* ---- queues ---- */

static void
push(Batches *batches, Queue *queue, BatchEntry *entry)
{
	entry->next = NULL;
	if (queue->tail)
		queue->tail->next = entry;
	else
		queue->head = entry;
	queue->tail = entry;
	batches->queued++;
}

static BatchEntry *
pop(Batches *batches, Queue *queue)
{
	BatchEntry *entry = queue->head;

	if (entry == NULL)
		return NULL;
	queue->head = entry->next;
	if (queue->head == NULL)
		queue->tail = NULL;
	batches->queued--;
	return entry;
}

/* ---- ends of an entry ---- */

/* Hands over the answer and frees the entry, which is in no queue and no batch any more. */
static void
finish(BatchEntry *entry, const BatchAnswer *answer)
{
	entry->batches->pending--;
	entry->callback(entry->data, answer);
	free(entry->element);
	free(entry);
}

static void
give_up(BatchEntry *entry)
{
	const BatchAnswer answer = {503, NULL, 1};

	log_warn("increment given up", LOG_TEXT("request_id", entry->id), LOG_NUMBER("tries", entry->tries),
			 LOG_TEXT("advice", "answered with UNAVAILABLE, and may have been counted: the client tries again under its key; a line about the database says why"));
	finish(entry, &answer);
}

static void
try_later(BatchEntry *entry, Company company)
{
	uint64_t	now = uv_now(&entry->batches->bridge->loop);
	uint32_t	most = 5u << (entry->tries < 5 ? entry->tries : 5);

	entry->company = entry->company == ALONE ? ALONE : company;
	entry->due = now + 1 + random_number() % (most < LATER_MOST_MS ? most : LATER_MOST_MS);
	if (entry->due >= entry->deadline)
		give_up(entry);
	else
		push(entry->batches, &entry->batches->later, entry);
}

/* ---- batches ---- */

static void
batch_unlink(Batch *batch)
{
	Batch	  **link = &batch->batches->under_way;

	while (*link != batch)
		link = &(*link)->next;
	*link = batch->next;
}

static char *
batch_text(const Batch *batch)
{
	size_t		size = 3;
	char	   *text;
	char	   *at;

	for (int i = 0; i < batch->count; i++)
		size += strlen(batch->entries[i]->element) + 1;
	text = at = malloc(size);
	if (text == NULL)
		abort();
	*at++ = '[';
	for (int i = 0; i < batch->count; i++)
	{
		if (i > 0)
			*at++ = ',';
		at = stpcpy(at, batch->entries[i]->element);
	}
	strcpy(at, "]");
	return text;
}

static void
row_answered(BatchEntry *entry, const PGresult *result, int row)
{
	BatchAnswer answer = {atoi(PQgetvalue(result, row, 1)), PQgetvalue(result, row, 2), 0};

	if (!PQgetisnull(result, row, 3))
		answer.retry_after = atoi(PQgetvalue(result, row, 3));
	if (answer.status == 503)
		try_later(entry, !PQgetisnull(result, row, 3) && answer.retry_after == 0 ? ALONE : APART);
	else
		finish(entry, &answer);
}

static void
answered(Batch *batch, const PGresult *result)
{
	const BatchAnswer none = {500, NULL, 0};

	for (int row = 0; row < PQntuples(result) && PQnfields(result) >= 4; row++)
	{
		int			i = atoi(PQgetvalue(result, row, 0)) - 1;
		BatchEntry *entry;

		if (i < 0 || i >= batch->count || batch->entries[i] == NULL)
			continue;
		entry = batch->entries[i];
		batch->entries[i] = NULL;
		row_answered(entry, result, row);
	}
	for (int i = 0; i < batch->count; i++)
		if (batch->entries[i])
		{
			log_error("increment without an answer", LOG_TEXT("request_id", batch->entries[i]->id),
					  LOG_TEXT("advice", "answered with INTERNAL: scoreboard_submit() left it out; the extension does not fit this bridge"));
			finish(batch->entries[i], &none);
		}
}

/* Nothing was counted, or it is not known: the same again, under the same keys. */
static void
again(Batch *batch, unsigned most_together)
{
	for (int i = 0; i < batch->count; i++)
	{
		BatchEntry *entry = batch->entries[i];

		if (entry)
			try_later(entry, entry->tries < most_together ? entry->company : ALONE);
	}
}

static void
refused(Batch *batch, const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const BatchAnswer failed = {500, NULL, 0};

	if (pg_error_lasts(sqlstate))
		again(batch, UINT_MAX);
	else if (pg_error_passes(sqlstate) || batch->count > 1)
		again(batch, pg_error_passes(sqlstate) ? TOGETHER_TRIES : 0);
	else if (batch->entries[0])
	{
		log_error("increment failed", LOG_TEXT("request_id", batch->entries[0]->id), LOG_TEXT("sqlstate", sqlstate),
				  LOG_TEXT("advice", "answered with INTERNAL: a defect, or a table that was changed; the server's log has more"),
				  LOG_TEXT("reason", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)));
		finish(batch->entries[0], &failed);
	}
}

static void
batch_over(void *data, PgEnd end, const PGresult *result)
{
	Batch	   *batch = data;
	Batches    *batches = batch->batches;

	batch_unlink(batch);
	if (end == PG_ANSWERED)
		answered(batch, result);
	else if (end == PG_REFUSED)
		refused(batch, result);
	else if (end == PG_UNSENT)
		again(batch, UINT_MAX);
	else
		/* Late, perhaps because of one of them; or lost. */
		again(batch, uv_now(&batches->bridge->loop) < batch->deadline ? TOGETHER_TRIES : 0);
	free(batch);
	pump(batches);
}

/*
 * Alone an entry has all its time. Together they have a third of what anybody
 * has at first, so that after a call that hangs there is time to go alone; who
 * has less left is answered by the sweep.
 */
static uint64_t
batch_deadline(const Batch *batch, uint64_t now)
{
	uint64_t	share = (uint64_t) batch->batches->bridge->options.submit_timeout_ms / 3;

	return batch->count == 1 ? batch->entries[0]->deadline : now + share;
}

/* Takes what goes together; false where the pool doesn't take it now. */
static bool
send_batch(Batches *batches, Company company)
{
	Batch	   *batch = calloc(1, sizeof(*batch));
	uint64_t	now = uv_now(&batches->bridge->loop);
	uint64_t	clock = uv_hrtime();
	Metrics    *metrics = batches->bridge->metrics;
	Queue	   *queue = &batches->queues[company];
	char	   *text;
	const char *parameters[1];

	if (batch == NULL)
		abort();
	batch->batches = batches;
	batch->since = now;
	while (batch->count < (company == ALONE ? 1 : BATCH_MAX) && queue->head)
	{
		BatchEntry *entry = pop(batches, queue);

		if (entry->tries++ == 0)
			histogram_add(&metrics->queue, (clock - entry->added) / 1000);
		else
			metrics->batched_again++;
		batch->entries[batch->count++] = entry;
	}
	metrics->batches++;
	metrics->batched += (uint64_t) batch->count;
	parameters[0] = text = batch_text(batch);
	batch->next = batches->under_way;
	batches->under_way = batch;
	batch->deadline = batch_deadline(batch, now);
	batch->call = pg_pool_submit(batches->bridge, SUBMIT, 1, parameters, batch->deadline, batch_over, batch);
	free(text);
	if (batch->call)
		return true;
	batch_unlink(batch);
	again(batch, UINT_MAX);
	free(batch);
	return false;
}

/* How many batches may begin now. */
static int
room(const Batches *batches)
{
	uint64_t	now = uv_now(&batches->bridge->loop);
	int			quick = BATCHES;
	int			all = pg_pool_most_increments(batches->bridge);

	for (const Batch *batch = batches->under_way; batch; batch = batch->next)
	{
		all--;
		quick -= now - batch->since < LONG_MS;
	}
	return all < quick ? all : quick;
}

/* Each company in its turn, so that none waits for ever because another has enough to do. */
static void
pump(Batches *batches)
{
	for (int without = 0; without < COMPANIES && !batches->ending && room(batches) > 0; without++)
	{
		Company		company = batches->turn;

		batches->turn = (batches->turn + 1) % COMPANIES;
		if (batches->queues[company].head == NULL)
			continue;
		without = -1;
		if (!send_batch(batches, company))
			return;
	}
}

/* ---- deadlines ---- */

static void
sweep_queue(Batches *batches, Queue *queue, bool later)
{
	uint64_t	now = uv_now(&batches->bridge->loop);
	Queue		old = *queue;
	BatchEntry *next;

	queue->head = queue->tail = NULL;
	for (BatchEntry *entry = old.head; entry; entry = next)
	{
		next = entry->next;
		batches->queued--;
		if (now >= entry->deadline)
			give_up(entry);
		else
			push(batches, later && now >= entry->due ? &batches->queues[entry->company] : queue, entry);
	}
}

static void
sweep_batch(Batch *batch, uint64_t now)
{
	for (int i = 0; i < batch->count; i++)
	{
		BatchEntry *entry = batch->entries[i];

		if (entry == NULL || now < entry->deadline)
			continue;
		batch->entries[i] = NULL;
		give_up(entry);
	}
}

static void
batch_sweep(uv_timer_t *timer)
{
	Batches    *batches = timer->data;
	uint64_t	now = uv_now(&batches->bridge->loop);

	for (int company = 0; company < COMPANIES; company++)
		sweep_queue(batches, &batches->queues[company], false);
	sweep_queue(batches, &batches->later, true);
	for (Batch *batch = batches->under_way; batch; batch = batch->next)
		sweep_batch(batch, now);
	pump(batches);
	if (batches->pending == 0 && batches->under_way == NULL)
		uv_timer_stop(timer);
}

/* ---- for the others ---- */

bool
batch_add(Bridge *bridge, char *element, const char *request_id, BatchCallback callback, void *data)
{
	Batches    *batches = bridge->batch;
	BatchEntry *entry = NULL;

	if (pg_pool_live(bridge) && batches->queued < bridge->options.queue_size)
		entry = calloc(1, sizeof(*entry));
	if (entry == NULL)
	{
		free(element);
		return false;
	}
	entry->batches = batches;
	entry->callback = callback;
	entry->data = data;
	entry->element = element;
	entry->added = uv_hrtime();
	entry->deadline = uv_now(&bridge->loop) + (uint64_t) bridge->options.submit_timeout_ms;
	snprintf(entry->id, sizeof(entry->id), "%s", request_id);
	batches->pending++;
	if (!uv_is_active((uv_handle_t *) &batches->sweep))
		uv_timer_start(&batches->sweep, batch_sweep, SWEEP_MS, SWEEP_MS);
	push(batches, &batches->queues[FRESH], entry);
	pump(batches);
	return true;
}

bool
batch_live(const Bridge *bridge)
{
	return bridge->batch && pg_pool_live(bridge);
}

int
batch_pending(const Bridge *bridge)
{
	return bridge->batch ? bridge->batch->pending : 0;
}

int64_t
batch_queued(const Bridge *bridge)
{
	return bridge->batch ? bridge->batch->queued : 0;
}

void
batch_start(Bridge *bridge)
{
	Batches    *batches = calloc(1, sizeof(*batches));

	if (batches == NULL)
		abort();
	bridge->batch = batches;
	batches->bridge = bridge;
	uv_timer_init(&bridge->loop, &batches->sweep);
	batches->sweep.data = batches;
}

void
batch_stop(Bridge *bridge)
{
	Batches    *batches = bridge->batch;
	BatchEntry *entry;

	batches->ending = true;
	while (batches->under_way)
	{
		Batch	   *batch = batches->under_way;

		pg_pool_forget(batch->call);
		batches->under_way = batch->next;
		for (int i = 0; i < batch->count; i++)
			if (batch->entries[i])
				give_up(batch->entries[i]);
		free(batch);
	}
	for (int company = 0; company < COMPANIES; company++)
		while ((entry = pop(batches, &batches->queues[company])) != NULL)
			give_up(entry);
	while ((entry = pop(batches, &batches->later)) != NULL)
		give_up(entry);
	bridge->batch = NULL;
	uv_close((uv_handle_t *) &batches->sweep, free_handle_data);
}
