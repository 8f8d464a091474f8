/*
 * metrics_text.c - the numbers as Prometheus reads them, and who gets them
 *
 * Made anew for each scrape. Labels are of a closed set each: patterns of
 * routes, names of outcomes, boards that the database has published. Counters
 * that are labelled with an outcome begin to be shown with their first event;
 * those of suspicious ones stand there from the start, so that increase() sees
 * the first.
 *
 * Scrapers are clients on listening sockets of their own (--metrics-listen),
 * which have nothing but /metrics; one request a connection.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boards.h"
#include "metrics.h"
#include "metrics_database.h"
#include "metrics_text.h"
#include "newest.h"
#include "routes.h"
#include "tls.h"
#include "workers.h"

#define PREFIX "scoreboard_bridge_"

static const char *const handshake_names[] = {[HANDSHAKE_FULL] = "full", [HANDSHAKE_RESUMED] = "resumed", [HANDSHAKE_BROKEN] = "broken"};
static const char *const form_names[] = {[FORM_EVENTS] = "sse", [FORM_SOCKET] = "websocket"};
static const char *const source_names[] = {
	[SOURCE_MEMORY] = "memory", [SOURCE_NOT_MODIFIED] = "not_modified", [SOURCE_DATABASE] = "database"
};

/* ---- forms ---- */

void
metrics_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
gauge(FILE *out, const char *name, const char *help, int64_t value)
{
	metrics_head(out, name, "gauge", help);
	fprintf(out, "%s %" PRId64 "\n", name, value);
}

static void
counter(FILE *out, const char *name, const char *help, uint64_t value)
{
	metrics_head(out, name, "counter", help);
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}

/* `labels`: a="b",c="d", or empty. */
static void
histogram_lines(FILE *out, const char *name, const char *labels, const Histogram *histogram)
{
	const char *comma = labels[0] ? "," : "";
	const char *open = labels[0] ? "{" : "";
	const char *close = labels[0] ? "}" : "";
	uint64_t	count = 0;

	for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
	{
		count += histogram->buckets[i];
		fprintf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, labels, comma, histogram_bounds_us[i] / 1e6, count);
	}
	count += histogram->buckets[HISTOGRAM_BOUNDS];
	fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, count);
	fprintf(out, "%s_sum%s%s%s %.6f\n", name, open, labels, close, (double) histogram->sum_us / 1e6);
	fprintf(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, count);
}

static void
histogram(FILE *out, const char *name, const char *help, const Histogram *values)
{
	metrics_head(out, name, "histogram", help);
	histogram_lines(out, name, "", values);
}

/* ---- requests ---- */

static void
route_label(int number, char *label, size_t size)
{
	const Route *route = route_by_number(number);

	if (route && route->pattern[0])
		snprintf(label, size, "method=\"%s\",route=\"%s\"", method_name(route->method), route->pattern);
	else
		snprintf(label, size, "method=\"%s\",route=\"%s\"", route ? "GET" : "", route ? "page" : "none");
}

static void
requests(const Metrics *metrics, FILE *out)
{
	char		label[160];

	metrics_head(out, PREFIX "requests_total", "counter", "Answered requests, by route and the code of the outcome.");
	for (int i = 0; i < route_numbers(); i++)
		for (int outcome = 0; metrics_outcome(outcome); outcome++)
		{
			route_label(i, label, sizeof(label));
			if (metrics->routes[i].outcomes[outcome])
				fprintf(out, PREFIX "requests_total{%s,code=\"%s\"} %" PRIu64 "\n", label, metrics_outcome(outcome),
						metrics->routes[i].outcomes[outcome]);
		}
	metrics_head(out, PREFIX "request_seconds", "histogram", "From a request's head to its answer handed to the socket.");
	for (int i = 0; i < route_numbers(); i++)
	{
		route_label(i, label, sizeof(label));
		histogram_lines(out, PREFIX "request_seconds", label, &metrics->routes[i].time);
	}
	metrics_head(out, PREFIX "reads_total", "counter", "Reads, by where their answer came from.");
	for (int i = 0; i < route_numbers(); i++)
		for (int source = 0; source < SOURCES; source++)
		{
			const Route *route = route_by_number(i);

			route_label(i, label, sizeof(label));
			if (route && route->method == METHOD_GET)
				fprintf(out, PREFIX "reads_total{%s,source=\"%s\"} %" PRIu64 "\n", label, source_names[source], metrics->routes[i].sources[source]);
		}
}

static void
suspicions(const Metrics *metrics, FILE *out)
{
	metrics_head(out, PREFIX "suspicious_requests_total", "counter", "Refusals that nobody gets by playing, by code.");
	for (int outcome = 0; metrics_outcome(outcome); outcome++)
	{
		uint64_t	count = 0;

		if (!metrics_is_suspicious(outcome))
			continue;
		for (int i = 0; i < route_numbers(); i++)
			count += metrics->routes[i].outcomes[outcome];
		fprintf(out, PREFIX "suspicious_requests_total{code=\"%s\"} %" PRIu64 "\n", metrics_outcome(outcome), count);
	}
}

/* ---- clients ---- */

static void
clients(const Bridge *bridge, const Metrics *metrics, const WorkersAll *all, FILE *out)
{
	gauge(out, PREFIX "connections", "Clients that are connected, streams included.", all->connections);
	gauge(out, PREFIX "connections_limit", "How many there may be.", bridge->options.max_connections * bridge->workers->count);
	counter(out, PREFIX "connections_refused_total", "Connections over the limit in all or of one address.", metrics->connections_refused);
	counter(out, PREFIX "sent_bytes_total", "Bytes handed to sockets of clients.", metrics->sent_bytes);
	metrics_head(out, PREFIX "tls_handshakes_total", "counter", "Handshakes of TLS, by how they ended.");
	for (int kind = 0; kind < HANDSHAKE_KINDS; kind++)
		fprintf(out, PREFIX "tls_handshakes_total{kind=\"%s\"} %" PRIu64 "\n", handshake_names[kind], metrics->handshakes[kind]);
	metrics_head(out, PREFIX "tls_certificate_expires_seconds", "gauge", "When the certificate expires, in seconds since 1970.");
	if (tls_is_spoken(bridge))
		fprintf(out, PREFIX "tls_certificate_expires_seconds %" PRId64 "\n", tls_expires(bridge));
	metrics_head(out, PREFIX "streams", "gauge", "Open streams, by kind.");
	for (int form = 0; form < STREAM_FORMS; form++)
		fprintf(out, PREFIX "streams{kind=\"%s\"} %" PRId64 "\n", form_names[form], metrics->now.streams[form]);
	metrics_head(out, PREFIX "streams_opened_total", "counter", "Streams ever opened, by kind.");
	for (int form = 0; form < STREAM_FORMS; form++)
		fprintf(out, PREFIX "streams_opened_total{kind=\"%s\"} %" PRIu64 "\n", form_names[form], metrics->streams_opened[form]);
	metrics_head(out, PREFIX "stream_messages_total", "counter", "Lists and statuses sent on streams, by kind.");
	for (int form = 0; form < STREAM_FORMS; form++)
		fprintf(out, PREFIX "stream_messages_total{kind=\"%s\"} %" PRIu64 "\n", form_names[form], metrics->stream_messages[form]);
	counter(out, PREFIX "streams_dropped_total", "Streams that were ended since they took nothing.", metrics->streams_dropped);
}

/* ---- increments and the database ---- */

static void
increments(const Bridge *bridge, const Metrics *metrics, const WorkersAll *all, FILE *out)
{
	gauge(out, PREFIX "queued_increments", "Increments that wait to be sent to the database.", all->queued);
	gauge(out, PREFIX "queue_limit", "How many may wait.", bridge->options.queue_size * bridge->workers->count);
	gauge(out, PREFIX "pending_increments", "Increments without an answer yet, those that wait included.", all->pending);
	counter(out, PREFIX "batches_total", "Calls of scoreboard_submit.", metrics->batches);
	counter(out, PREFIX "batched_increments_total", "Increments in these.", metrics->batched);
	counter(out, PREFIX "retried_increments_total", "Increments in these that had been in one before.", metrics->batched_again);
	histogram(out, PREFIX "queue_seconds", "How long an increment waited before it was sent to the database.", &metrics->queue);
	histogram(out, PREFIX "database_seconds", "Calls to the database, until the end of their transaction was read.", &metrics->database);
	gauge(out, PREFIX "database_connections", "Connections to the database that are up.", metrics->now.connections_up);
	counter(out, PREFIX "database_connections_lost_total", "Connections to the database that were lost.", metrics->connections_lost);
	counter(out, PREFIX "database_reconnects_total", "Connections to the database that came up again.", metrics->reconnects);
	gauge(out, PREFIX "taking_increments", "1 while increments are taken.", all->taking);
	gauge(out, PREFIX "live", "1 while the lists are known to be those of now.", all->live);
}

/* ---- lists ---- */

typedef struct BoardSeries
{
	FILE	   *out;
	const char *name;
	int64_t		(*value) (const NewestBoard *board);
	Bridge	   *only_told_of;	/* NULL: all boards */
} BoardSeries;

static void
board_line(void *data, const Board *board)
{
	const BoardSeries *series = data;

	if (series->only_told_of && !metrics_database_told_of(series->only_told_of, board_name(board)))
		return;
	fprintf(series->out, "%s{board=\"%s\"} %" PRId64 "\n", series->name, board_name(board), series->value(board_newest(board)));
}

static void
count_board(void *data, const Board *board)
{
	(void) board;
	++*(int *) data;
}

static int
count_boards(Bridge *bridge)
{
	int			count = 0;

	boards_each(bridge, count_board, &count);
	return count;
}

static void
each_board(Bridge *bridge, FILE *out, const char *name, const char *type, const char *help,
		   int64_t (*value) (const NewestBoard *board))
{
	BoardSeries series = {out, name, value, count_boards(bridge) > METRICS_BOARDS ? bridge : NULL};

	metrics_head(out, name, type, help);
	boards_each(bridge, board_line, &series);
}

static void
lists(Bridge *bridge, const Metrics *metrics, const WorkersAll *all, FILE *out)
{
	uint64_t	now = uv_hrtime();

	metrics_head(out, PREFIX "unpublished_seconds", "gauge", "For how long an increment that must show in a list has been waiting for it; 0: none is.");
	fprintf(out, PREFIX "unpublished_seconds %.3f\n", all->awaited && now > all->awaited ? (double) (now - all->awaited) / 1e9 : 0.0);
	histogram(out, PREFIX "commit_to_frame_seconds", "From an increment's answer to the first newer list, ready to be sent.", &metrics->commit_to_frame);
	histogram(out, PREFIX "publish_to_frame_seconds", "From a list's updatedAt, by the database's clock, to its frame, by ours.", &metrics->publish_to_frame);
	histogram(out, PREFIX "fan_out_seconds", "From a list's frame until its last subscriber was sent it.", &metrics->fan_out);
	gauge(out, PREFIX "boards", "Boards in memory; of more than a thousand, those with the lowest numbers have series of their own.", count_boards(bridge));
	each_board(bridge, out, PREFIX "publications_total", "counter", "Lists that came from the database, by board.", newest_publications);
	each_board(bridge, out, PREFIX "board_version", "gauge", "Version of the newest list in memory.", newest_version);
	each_board(bridge, out, PREFIX "board_subscribers", "gauge", "Streams of this board.", newest_subscribers);
}

/* ---- the process ---- */

static double
resident_bytes(pid_t pid)
{
	char		name[40];
	FILE	   *in;
	long		pages = 0;

	snprintf(name, sizeof(name), "/proc/%ld/statm", (long) pid);
	in = fopen(name, "r");
	if (in && fscanf(in, "%*d %ld", &pages) != 1)
		pages = 0;
	if (in)
		fclose(in);
	return (double) pages * (double) sysconf(_SC_PAGESIZE);
}

static void
process(const Bridge *bridge, const Metrics *metrics, const WorkersAll *all, FILE *out)
{
	double		resident = 0;

	for (int i = 0; i < bridge->workers->count; i++)
		if (bridge->workers->states[i].pid)
			resident += resident_bytes(bridge->workers->states[i].pid);
	metrics_head(out, PREFIX "info", "gauge", "1; the label tells the version.");
	fprintf(out, PREFIX "info{version=\"%s\"} 1\n", SCOREBOARD_VERSION);
	gauge(out, PREFIX "draining", "1 while the bridge is ending.", all->draining);
	gauge(out, PREFIX "workers", "Processes that serve clients and answer.", all->answering);
	gauge(out, PREFIX "workers_wanted", "How many there ought to be.", bridge->workers->count);
	counter(out, PREFIX "worker_restarts_total", "Workers that were started in place of one that had died.", bridge->workers->restarts);
	counter(out, PREFIX "log_lines_dropped_total", "Lines of the log for which there was no room, since nobody read it.", metrics->lines_dropped);
	metrics_head(out, "process_cpu_seconds_total", "counter", "Time of the processor, user and system, of all workers.");
	fprintf(out, "process_cpu_seconds_total %.3f\n", (double) metrics->cpu_us / 1e6);
	metrics_head(out, "process_resident_memory_bytes", "gauge", "Resident memory of all workers, what they share counted for each.");
	fprintf(out, "process_resident_memory_bytes %.0f\n", resident);
	metrics_head(out, "process_start_time_seconds", "gauge", "When the bridge started, in seconds since 1970.");
	fprintf(out, "process_start_time_seconds %.3f\n", bridge->workers->started);
}

static char *
make_text(Bridge *bridge, size_t *length)
{
	char	   *text = NULL;
	FILE	   *out = open_memstream(&text, length);
	WorkersAll	all;
	Metrics    *metrics;

	if (out == NULL)
		abort();
	/* The others did so within the last tick. */
	workers_tick(bridge);
	metrics_tick(bridge);
	all = workers_all(bridge);
	metrics = metrics_sum(bridge);
	requests(metrics, out);
	suspicions(metrics, out);
	clients(bridge, metrics, &all, out);
	increments(bridge, metrics, &all, out);
	lists(bridge, metrics, &all, out);
	process(bridge, metrics, &all, out);
	metrics_database_print(bridge, out);
	free(metrics);
	fclose(out);
	return text;
}

/* ---- scrapers ---- */

static void
answer(Client *client, const char *status, const char *body, size_t length, bool head_only)
{
	static const char form[] = "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
		"Content-Length: %zu\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";
	char		head[512];
	int			n = snprintf(head, sizeof(head), form, status, client_bridge(client)->date, length);

	if (client_send(client, head, (size_t) n) && (head_only || client_send(client, body, length)))
		client_finish(client);
}

static bool
is(Slice slice, const char *text)
{
	return slice.length == strlen(text) && memcmp(slice.at, text, slice.length) == 0;
}

static void
answer_head(Client *client, const H1Head *head)
{
	bool		head_only = is(head->method, "HEAD");
	size_t		length;
	char	   *text;

	if (!is(head->path, "/metrics"))
		answer(client, "404 Not Found", "/metrics is all there is here.\n", 31, head_only);
	else if (!head_only && !is(head->method, "GET"))
		answer(client, "405 Method Not Allowed\r\nAllow: GET, HEAD", "", 0, false);
	else
	{
		text = make_text(client_bridge(client), &length);
		answer(client, "200 OK", text, length, head_only);
		free(text);
	}
}

static void
scraper_read(Client *client, const char *bytes, size_t length)
{
	H1Head		head;
	const char *reason = "";

	switch (h1_read_head(bytes, length, client_data(client), &head, &reason))
	{
		case H1_MORE:
			break;
		case H1_READ:
			client_used(client, length);
			answer_head(client, &head);
			break;
		default:
			client_used(client, length);
			answer(client, "400 Bad Request", reason, strlen(reason), false);
			break;
	}
}

static void
scraper_drained(Client *client)
{
	(void) client;
}

static void
scraper_gone(Client *client)
{
	free(client_data(client));
}

static const ClientReader scraper = {scraper_read, client_close, scraper_drained, client_close, scraper_gone};

void
metrics_begin(Client *client)
{
	size_t	   *seen = calloc(1, sizeof(*seen));

	if (seen == NULL)
	{
		client_close(client);
		return;
	}
	client_set_reader(client, &scraper, seen);
	client_phase(client, PHASE_HEAD);
	client_want(client, true);
}
