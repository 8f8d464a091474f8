/*
 * metrics.h - what the bridge counts of itself
 *
 * Plain numbers in the loop's one thread: whoever sees something happen adds to
 * bridge->metrics, which is there before all other parts and goes after them.
 * Each worker's stand in shared memory, and outlive it: the one that is started
 * in its place counts on, so that no counter falls. They become text, and are
 * summed, only when somebody asks (metrics_text.c).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_METRICS_H
#define BRIDGE_METRICS_H

#include "exchange.h"

#define HISTOGRAM_BOUNDS 16

typedef struct Histogram
{
	uint64_t	buckets[HISTOGRAM_BOUNDS + 1];	/* each for itself; the last is for what is over all bounds */
	uint64_t	sum_us;
} Histogram;

extern const uint32_t histogram_bounds_us[HISTOGRAM_BOUNDS];

static inline void
histogram_add(Histogram *histogram, uint64_t us)
{
	int			i = 0;

	while (i < HISTOGRAM_BOUNDS && us > histogram_bounds_us[i])
		i++;
	histogram->buckets[i]++;
	histogram->sum_us += us;
}

/* Where the answer to a read came from. */
typedef enum Source
{
	SOURCE_MEMORY,
	SOURCE_NOT_MODIFIED,
	SOURCE_DATABASE,
	SOURCES
} Source;

/* The two forms of a stream. */
typedef enum StreamForm
{
	FORM_EVENTS,
	FORM_SOCKET,
	STREAM_FORMS
} StreamForm;

typedef enum HandshakeKind
{
	HANDSHAKE_FULL,
	HANDSHAKE_RESUMED,
	HANDSHAKE_BROKEN,
	HANDSHAKE_KINDS
} HandshakeKind;

#define OUTCOMES 32				/* at least as many as metrics.c has names */

/* Of one route; the last two are for the page's files and for what no route takes. */
typedef struct RouteMetrics
{
	uint64_t	outcomes[OUTCOMES];
	uint64_t	sources[SOURCES];
	Histogram	time;
} RouteMetrics;

/* Words of 64 bits, each of which can be summed over workers. */
typedef struct Metrics
{
	struct MetricsNow			/* how it is: gone with the worker */
	{
		int64_t		streams[STREAM_FORMS];
		int64_t		connections_up; /* to the database */
	}			now;
	Histogram	queue;			/* an increment, until it was sent to the database */
	Histogram	database;		/* a call of the pool, from its sending to the end of its transaction */
	Histogram	commit_to_frame;
	Histogram	publish_to_frame;
	Histogram	fan_out;
	uint64_t	sent_bytes;
	uint64_t	connections_refused;
	uint64_t	handshakes[HANDSHAKE_KINDS];	/* of TLS */
	uint64_t	streams_opened[STREAM_FORMS];
	uint64_t	stream_messages[STREAM_FORMS];
	uint64_t	streams_dropped;
	uint64_t	batches;
	uint64_t	batched;		/* increments in them */
	uint64_t	batched_again;	/* of these, not for the first time */
	uint64_t	connections_lost;
	uint64_t	reconnects;
	uint64_t	cpu_us;			/* brought up to date by metrics_tick() */
	uint64_t	lines_dropped;	/* of the log; likewise */
	RouteMetrics routes[];
} Metrics;

extern void metrics_start(Bridge *bridge);	/* before there are workers */
extern void metrics_take(Bridge *bridge);	/* this worker's; before everything that counts */
extern void metrics_forget(Bridge *bridge, int worker);	/* it has died: how it was is no more */
extern void metrics_tick(Bridge *bridge);
extern Metrics *metrics_sum(const Bridge *bridge);	/* over all workers; to be freed */
extern void metrics_free(Bridge *bridge);	/* after everything that counts */

/* An answer has been given, to the client or, where that is gone, to nobody. Returns the name of the outcome: OK, NOT_FOUND, ... */
extern const char *metrics_answered(const Exchange *exchange, const Answer *answer, uint64_t us);

/*
 * A counted increment's answer (SPEC 6). Where its effect must show in the
 * board's list, the time until it does is measured, one increment a board at a
 * time.
 */
extern void metrics_counted(Bridge *bridge, const char *body);

/* A list that replaces an older one, as the database published it: how long ago was that? */
extern void metrics_published(Bridge *bridge, const char *document);

extern const char *metrics_outcome(int outcome);	/* NULL: no more */
extern bool metrics_is_suspicious(int outcome);

#endif
