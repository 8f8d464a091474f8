/*
 * metrics_database.c - the database's own counters, as the pool reads them
 *
 * One question every EVERY_MS, by the worker that answers scrapers, while somebody
 * wants to know: a scrape is
 * answered with what was read last and never waits. What was read is kept as
 * libpq gave it, of METRICS_BOARDS boards at most: of a hundred thousand the server would count for seconds, and a scrape would hold
 * up everybody's requests. Where the database is away the numbers stay, and their age
 * tells.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "metrics_database.h"

#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "boards.h"
#include "metrics_text.h"
#include "pg_pool.h"

#define EVERY_MS 5000
#define FIRST_MS 500
#define DEADLINE_MS 2000
#define STATS "SELECT s.library_version, s.rate_entries, s.rate_capacity, s.rate_refusals_full, s.refusals_lost," \
	" s.rank_memory_used, s.rank_memory, s.rate_memory_used, s.rate_memory, s.rate_nearly_full::int, scoreboard.outbox_behind(), b.board, b.players, b.rank_memory, (b.rank_state = 'ready')::int, b.flags," \
	" extract(epoch from b.published_at), b.publishes, b.commits, b.refusals, extract(epoch from b.verified_at), b.findings" \
	" FROM scoreboard.server_stats() s LEFT JOIN scoreboard.stats(" TEXT_OF(METRICS_BOARDS) ") b ON true ORDER BY b.board COLLATE \"C\""
#define TEXT_OF(number) TEXT_OF_IT(number)
#define TEXT_OF_IT(number) #number

#define COLUMN_VERSION 0
#define COLUMN_BOARD 11
#define COLUMN_REFUSALS 19
#define COLUMNS 22

typedef struct DatabaseMetrics
{
	uv_timer_t	timer;
	Bridge	   *bridge;
	PgCall	   *call;			/* NULL: none is under way */
	PGresult   *stats;			/* NULL: never read */
	uint64_t	read_at;		/* ms */
	bool		wanted;			/* since the last question */
} DatabaseMetrics;

static const struct
{
	const char *name;			/* NULL: no number of its own */
	const char *type;
	const char *help;
}			columns[COLUMNS] = {
	{NULL, NULL, NULL},
	{"scoreboard_rate_entries", "gauge", "Rate windows of active players in the server's memory."},
	{"scoreboard_rate_capacity", "gauge", "About how many fit."},
	{"scoreboard_rate_refusals_full_total", "counter", "Attempts refused since no window was free."},
	{"scoreboard_refusals_lost_total", "counter", "Refusals that came faster than they were stored."},
	{"scoreboard_rank_memory_used_bytes", "gauge", "Shared memory of the rank trees."},
	{"scoreboard_rank_memory_bytes", "gauge", "How much there may be."},
	{"scoreboard_rate_memory_used_bytes", "gauge", "Shared memory of the players' rate windows."},
	{"scoreboard_rate_memory_bytes", "gauge", "How much there may be."},
	{"scoreboard_rate_nearly_full", "gauge", "1 since 80 % of it were reached, until less than 70 % are used."},
	{"scoreboard_outbox_behind_seconds", "gauge", "How long the consumer that is furthest behind has not acknowledged an event."},
	{NULL, NULL, NULL},
	{"scoreboard_board_players", "gauge", "Players in a board's rank tree."},
	{"scoreboard_board_rank_memory_bytes", "gauge", "Shared memory of a board's rank tree."},
	{"scoreboard_board_rank_ready", "gauge", "1 while the board's rank tree answers."},
	{"scoreboard_board_flags", "gauge", "Flags of the board's players that nobody has cleared."},
	{"scoreboard_board_published_timestamp_seconds", "gauge", "When the board's list was published last."},
	{"scoreboard_board_publishes_total", "counter", "Versions of the board's list in this season, since the server started."},
	{"scoreboard_board_commits_total", "counter", "Commits that the board's list had to follow: more than versions, where they are coalesced."},
	{"scoreboard_board_refusals_total", "counter", "Increments refused on the board, by reason, since the board is there."},
	{"scoreboard_board_verified_timestamp_seconds", "gauge", "When the board was held against the log of actions last."},
	{"scoreboard_board_findings", "gauge", "Differences that were found then."},
};

/* ---- asking ---- */

static void
answered(void *data, PgEnd end, const PGresult *result)
{
	DatabaseMetrics *database = data;

	database->call = NULL;
	if (end != PG_ANSWERED || PQnfields(result) != COLUMNS)
		return;
	PQclear(database->stats);
	database->stats = PQcopyResult(result, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
	database->read_at = uv_now(&database->bridge->loop);
}

static void
look(uv_timer_t *timer)
{
	DatabaseMetrics *database = timer->data;
	Bridge	   *bridge = database->bridge;

	if (database->call || (database->stats && !database->wanted))
		return;
	database->wanted = false;
	database->call = pg_pool_ask(bridge, STATS, 0, NULL, uv_now(&bridge->loop) + DEADLINE_MS, answered, database);
}

/* ---- printing ---- */

static void
print_refusals(FILE *out, const char *board, const char *text)
{
	json_t	   *refusals = json_loads(text, 0, NULL);
	const char *code;
	json_t	   *count;

	json_object_foreach(refusals, code, count)
		fprintf(out, "scoreboard_board_refusals_total{board=\"%s\",code=\"%s\"} %" JSON_INTEGER_FORMAT "\n", board, code, json_integer_value(count));
	json_decref(refusals);
}

static void
print_of_board(FILE *out, const PGresult *stats, int row, int column)
{
	const char *board = PQgetvalue(stats, row, COLUMN_BOARD);

	if (column == COLUMN_REFUSALS)
		print_refusals(out, board, PQgetvalue(stats, row, column));
	else
		fprintf(out, "%s{board=\"%s\"} %s\n", columns[column].name, board, PQgetvalue(stats, row, column));
}

static void
print_column(Bridge *bridge, FILE *out, const PGresult *stats, int column)
{
	metrics_head(out, columns[column].name, columns[column].type, columns[column].help);
	if (column < COLUMN_BOARD)
	{
		fprintf(out, "%s %s\n", columns[column].name, PQgetvalue(stats, 0, column));
		return;
	}
	for (int row = 0; row < PQntuples(stats); row++)
		if (boards_know(bridge, PQgetvalue(stats, row, COLUMN_BOARD)) && !PQgetisnull(stats, row, column))
			print_of_board(out, stats, row, column);
}

void
metrics_database_print(Bridge *bridge, FILE *out)
{
	DatabaseMetrics *database = bridge->database_metrics;
	const PGresult *stats = database->stats;

	database->wanted = true;
	if (stats == NULL || PQntuples(stats) == 0)
		return;
	metrics_head(out, "scoreboard_stats_age_seconds", "gauge", "How long ago the database's own counters were read.");
	fprintf(out, "scoreboard_stats_age_seconds %.3f\n", (double) (uv_now(&bridge->loop) - database->read_at) / 1000);
	metrics_head(out, "scoreboard_info", "gauge", "1; the label tells the version of the library in the server.");
	fprintf(out, "scoreboard_info{version=\"%s\"} 1\n", PQgetvalue(stats, 0, COLUMN_VERSION));
	for (int column = 0; column < COLUMNS; column++)
		if (columns[column].name)
			print_column(bridge, out, stats, column);
}

/* The rows stand in the order of the boards' names, whose collation is "C". */
bool
metrics_database_told_of(Bridge *bridge, const char *board)
{
	const PGresult *stats = bridge->database_metrics->stats;
	int			low = 0;
	int			high = stats ? PQntuples(stats) : 0;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = strcmp(board, PQgetvalue(stats, middle, COLUMN_BOARD));

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* ---- coming and going ---- */

void
metrics_database_start(Bridge *bridge)
{
	DatabaseMetrics *database = calloc(1, sizeof(*database));

	if (database == NULL)
		abort();
	bridge->database_metrics = database;
	database->bridge = bridge;
	uv_timer_init(&bridge->loop, &database->timer);
	database->timer.data = database;
}

void
metrics_database_want(Bridge *bridge, bool wanted)
{
	DatabaseMetrics *database = bridge->database_metrics;

	/* Another worker may have told newer numbers meanwhile. */
	PQclear(database->stats);
	database->stats = NULL;
	if (wanted)
		uv_timer_start(&database->timer, look, FIRST_MS, EVERY_MS);
	else
		uv_timer_stop(&database->timer);
}

void
metrics_database_stop(Bridge *bridge)
{
	DatabaseMetrics *database = bridge->database_metrics;

	bridge->database_metrics = NULL;
	if (database->call)
		pg_pool_forget(database->call);
	PQclear(database->stats);
	uv_close((uv_handle_t *) &database->timer, free_handle_data);
}
