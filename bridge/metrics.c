/*
 * metrics.c - counting answers and publications
 *
 * Owns the numbers, a block for each worker. Most are added to where things happen; here is what takes a
 * look at an answer or a document first: which outcome it was, whether an
 * increment must show in a list, how old a list is.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* timegm, strptime, memmem */
#include "metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "boards.h"
#include "log.h"
#include "pg_pool.h"
#include "routes.h"
#include "workers.h"

#define STATUS_SWITCHING 101
#define STATUS_NOT_MODIFIED 304

const uint32_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
	100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000
};

/* The codes of SPEC 4, and what isn't an error. Suspicious: nobody gets these by playing. */
static const struct
{
	const char *name;
	bool		suspicious;
}			outcomes[] = {
	{"OK", false}, {"NOT_MODIFIED", false}, {"OTHER", false},
	{"INVALID_REQUEST", false}, {"UNAUTHORIZED", false}, {"INVALID_SIGNATURE", true}, {"RECEIPT_EXPIRED", false},
	{"ACTION_NOT_ALLOWED", false}, {"PLAYER_SUSPENDED", false}, {"NOT_FOUND", false}, {"ORIGIN_NOT_ALLOWED", false},
	{"METHOD_NOT_ALLOWED", false}, {"REQUEST_TIMEOUT", false}, {"LENGTH_REQUIRED", false}, {"PAYLOAD_TOO_LARGE", false},
	{"UNSUPPORTED_MEDIA_TYPE", false}, {"UPGRADE_REQUIRED", false}, {"HEADERS_TOO_LARGE", false},
	{"DUPLICATE_ACTION", true}, {"IDEMPOTENCY_MISMATCH", true}, {"RATE_LIMITED", false}, {"QUOTA_EXCEEDED", false},
	{"INTERNAL", false}, {"UNAVAILABLE", false},
};

enum
{
	OUTCOME_OK,
	OUTCOME_NOT_MODIFIED,
	OUTCOME_OTHER
};

#define NAMED_OUTCOMES ((int) (sizeof(outcomes) / sizeof(outcomes[0])))

_Static_assert(sizeof(outcomes) / sizeof(outcomes[0]) <= OUTCOMES, "more names than places to count");

const char *
metrics_outcome(int outcome)
{
	return outcome < NAMED_OUTCOMES ? outcomes[outcome].name : NULL;
}

bool
metrics_is_suspicious(int outcome)
{
	return outcomes[outcome].suspicious;
}

/* ---- answers ---- */

/* The code of an error, which stands at the beginning of its body, be it ours or the database's. */
static int
outcome_of_error(const Answer *answer)
{
	static const char head[] = "{\"error\":{\"code\":\"";
	const char *code = answer->body + sizeof(head) - 1;

	if (answer->length < sizeof(head) + 1 || memcmp(answer->body, head, sizeof(head) - 1) != 0)
		return OUTCOME_OTHER;
	for (int i = 0; i < NAMED_OUTCOMES; i++)
	{
		size_t		length = strlen(outcomes[i].name);

		if (answer->length > sizeof(head) + length && memcmp(code, outcomes[i].name, length) == 0 && code[length] == '"')
			return i;
	}
	return OUTCOME_OTHER;
}

static int
outcome_of(const Answer *answer)
{
	if (answer->status < 300)
		return OUTCOME_OK;
	if (answer->status == STATUS_NOT_MODIFIED)
		return OUTCOME_NOT_MODIFIED;
	return outcome_of_error(answer);
}

const char *
metrics_answered(const Exchange *exchange, const Answer *answer, uint64_t us)
{
	const Bridge *bridge = exchange->bridge;
	RouteMetrics *route = &bridge->metrics->routes[route_number(exchange->route)];
	int			outcome = outcome_of(answer);

	route->outcomes[outcome]++;
	histogram_add(&route->time, us);
	if (outcome == OUTCOME_NOT_MODIFIED)
		route->sources[SOURCE_NOT_MODIFIED]++;
	else if (outcome == OUTCOME_OK && !answer->endless && answer->status != STATUS_SWITCHING)
		route->sources[pg_pool_running(bridge) ? SOURCE_DATABASE : SOURCE_MEMORY]++;
	return outcomes[outcome].name;
}

/* ---- from an increment to the list that shows it ---- */

/* What stands behind a member's name in a text of ours, which has no blanks; NULL: it isn't there. */
static const char *
member(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? at + strlen(name) : NULL;
}

/* A list's last score. */
static bool
last_score(const Frame *frame, int64_t *score)
{
	const unsigned char *entry = frame->message + frame->starts[frame->entries - 1];
	const char *at = memmem(entry, frame->starts[frame->entries] - frame->starts[frame->entries - 1], "\"score\":", 8);

	/* A comma or a brace stands behind the number. */
	*score = at ? strtoll(at + 8, NULL, 10) : 0;
	return at != NULL;
}

/*
 * It must show where its rank is within the list and its score isn't that of
 * the list's last, at which ties are cut.
 */
static bool
must_show(const Frame *frame, const char *body)
{
	const char *rank = member(body, "\"rank\":");
	const char *score = member(body, "\"score\":");
	const char *applied = member(body, "\"appliedPoints\":");
	int64_t		last;

	if (rank == NULL || score == NULL || applied == NULL || *applied == '0' || strstr(body, "\"replayed\":true"))
		return false;
	return strtoull(rank, NULL, 10) - 1 < frame->entries && last_score(frame, &last) && strtoll(score, NULL, 10) != last;
}

void
metrics_counted(Bridge *bridge, const char *body)
{
	const char *name = member(body, "\"board\":\"");
	const char *version = member(body, "\"version\":");
	char		board_named[BOARD_NAME_MAX + 1];
	Board	   *board;

	if (name == NULL || version == NULL)
		return;
	snprintf(board_named, sizeof(board_named), "%.*s", (int) strcspn(name, "\""), name);
	board = boards_find(bridge, board_named);
	if (board && !board_awaited(board) && must_show(board_frame(board), body))
		board_await(bridge, board, strtoll(version, NULL, 10));
}

void
metrics_published(Bridge *bridge, const char *document)
{
	const char *at = member(document, "\"updatedAt\":\"");
	struct tm	tm = {0};
	struct timespec now;
	int64_t		us;

	at = at ? strptime(at, "%Y-%m-%dT%H:%M:%S.", &tm) : NULL;
	if (at == NULL)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	/* Two machines' clocks may be a little apart. */
	us = (int64_t) (now.tv_sec - timegm(&tm)) * 1000000 + now.tv_nsec / 1000 - atoi(at) * 1000;
	histogram_add(&bridge->metrics->publish_to_frame, us < 0 ? 0 : (uint64_t) us);
}

/* ---- all workers' ---- */

static size_t
block_size(void)
{
	return (sizeof(Metrics) + (size_t) route_numbers() * sizeof(RouteMetrics) + 63) & ~(size_t) 63;
}

static Metrics *
block_of(const Bridge *bridge, int worker)
{
	return (Metrics *) (void *) ((char *) bridge->all_metrics + (size_t) worker * block_size());
}

Metrics *
metrics_sum(const Bridge *bridge)
{
	size_t		words = block_size() / sizeof(uint64_t);
	uint64_t   *sum = calloc(words, sizeof(uint64_t));

	if (sum == NULL)
		abort();
	for (int i = 0; i < bridge->workers->count; i++)
	{
		const uint64_t *block = (const uint64_t *) block_of(bridge, i);

		for (size_t word = 0; word < words; word++)
			sum[word] += block[word];
	}
	return (Metrics *) sum;
}

void
metrics_forget(Bridge *bridge, int worker)
{
	memset(&block_of(bridge, worker)->now, 0, sizeof(struct MetricsNow));
}

/* What the kernel and the log count, on top of what this worker's predecessors had. */
void
metrics_tick(Bridge *bridge)
{
	static uint64_t told_us;
	static uint64_t told_lines;
	struct rusage usage;
	uint64_t	us;
	uint64_t	lines = log_dropped();

	getrusage(RUSAGE_SELF, &usage);
	us = (uint64_t) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + (uint64_t) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	bridge->metrics->cpu_us += us - told_us;
	bridge->metrics->lines_dropped += lines - told_lines;
	told_us = us;
	told_lines = lines;
}

/* ---- coming and going ---- */

void
metrics_start(Bridge *bridge)
{
	bridge->all_metrics = shared_alloc((size_t) bridge->options.workers * block_size());
	metrics_take(bridge);
}

void
metrics_take(Bridge *bridge)
{
	bridge->metrics = block_of(bridge, bridge->worker);
}

void
metrics_free(Bridge *bridge)
{
	shared_free(bridge->all_metrics, (size_t) bridge->options.workers * block_size());
	bridge->metrics = NULL;
}
