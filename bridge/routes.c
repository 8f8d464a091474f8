/*
 * routes.c - what is answered on which path
 *
 * A row of the table is a path, compared literally, with the methods it has and
 * the function that answers it. Reads are answered from memory at once. An
 * increment is taken in two steps: what its head shows is judged first and kept,
 * the body's form when it is complete; then it goes to submit.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* strcasestr */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "log.h"
#include "loop.h"

#define LIMIT_MOST 100			/* SPEC: the largest top size */
#define SKIP_MOST 1000
#define SUBPROTOCOL "scoreboard.v1"

typedef bool (*Handler) (Connection *connection, Request *request);

typedef struct Route
{
	const char *path;
	Handler		get;			/* NULL: has no GET and HEAD */
	bool		post;			/* has POST */
	const char *allow;			/* the Allow header's line */
} Route;

static bool answer_health(Connection *connection, Request *request);
static bool answer_ready(Connection *connection, Request *request);
static bool answer_top(Connection *connection, Request *request);
static bool answer_stream(Connection *connection, Request *request);

static const Route routes[] = {
	{"/v1/leaderboard/top", answer_top, false, "Allow: GET, HEAD\r\n"},
	{"/v1/leaderboard/stream", answer_stream, false, "Allow: GET, HEAD\r\n"},
	{"/v1/scores/increment", NULL, true, "Allow: POST\r\n"},
	{"/health", answer_health, false, "Allow: GET, HEAD\r\n"},
	{"/ready", answer_ready, false, "Allow: GET, HEAD\r\n"},
};

static const Route *
find_route(const char *path)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (strcmp(routes[i].path, path) == 0)
			return &routes[i];
	return NULL;
}

static bool
answer_json(Connection *connection, Request *request, const char *body, const char *headers)
{
	Answer		answer = {200, "application/json", body, strlen(body), headers};

	return http_answer(connection, request, &answer);
}

/* ---- health ---- */

static bool
answer_health(Connection *connection, Request *request)
{
	return answer_json(connection, request, "{\"status\":\"ok\"}", "Cache-Control: no-store\r\n");
}

static bool
answer_ready(Connection *connection, Request *request)
{
	const Bridge *bridge = connection->bridge;
	Problem		problem = {ERROR_UNAVAILABLE, NULL, NULL, false};

	if (bridge->draining)
		problem.message = "This server is ending.";
	else if (!feed_live(bridge))
		problem.message = "The database is not reached, or not listened to yet.";
	else if (!submit_live(bridge))
		problem.message = "Increments are not taken.";
	else
		return answer_json(connection, request, "{\"status\":\"ready\"}", "Cache-Control: no-store\r\n");
	return http_problem(connection, request, &problem);
}

/* ---- boards by name ---- */

static bool
is_board_name(const char *name, size_t length)
{
	return length >= 1 && length <= BOARD_NAME_MAX &&
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") >= length;
}

/* A comma-separated list; how many, or 0 with the problem set. */
static int
find_boards(Bridge *bridge, const char *list, Board **boards, Problem *problem)
{
	int			count = 0;

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
	{
		size_t		length = strcspn(p, ",");
		char		name[BOARD_NAME_MAX + 1];

		if (!is_board_name(p, length) || count == BOARDS_PER_STREAM)
			return problem_set(problem, ERROR_INVALID_REQUEST, "board is one to 16 names of boards, with commas between.");
		snprintf(name, sizeof(name), "%.*s", (int) length, p);
		boards[count] = boards_find(bridge, name);
		if (boards[count] == NULL && !feed_loaded(bridge))
			return problem_set(problem, ERROR_UNAVAILABLE, "The boards have not been read yet.");
		if (boards[count] == NULL)
			return problem_set(problem, ERROR_NOT_FOUND, "There is no such board.");
		for (int i = 0; i < count; i++)
			if (boards[i] == boards[count])
				return problem_set(problem, ERROR_INVALID_REQUEST, "A board is named twice.");
		count++;
	}
	return count;
}

/* ---- the top list ---- */

typedef struct TopQuery
{
	Board	   *board;
	size_t		limit;
	size_t		skip;
} TopQuery;

/* A whole number in plain digits; the preset where the parameter is missing. */
static bool
read_number(const Parameters *parameters, const char *name, size_t low, size_t high, size_t *number)
{
	const char *text = parameter(parameters, name);

	if (text == NULL)
		return true;
	if (strlen(text) > 9 || text[strspn(text, "0123456789")] != '\0')
		return false;
	*number = strtoul(text, NULL, 10);
	return *number >= low && *number <= high;
}

static bool
read_top_query(Connection *connection, TopQuery *query, Problem *problem)
{
	Parameters	parameters;
	const char *name;
	Board	   *boards[BOARDS_PER_STREAM];
	size_t		season = 0;

	if (!request_parameters(connection->wsi, &parameters, problem))
		return false;
	query->limit = LIMIT_MOST;
	query->skip = 0;
	if (!read_number(&parameters, "limit", 1, LIMIT_MOST, &query->limit))
		return problem_set(problem, ERROR_INVALID_REQUEST, "limit is a whole number from 1 to 100.");
	if (!read_number(&parameters, "skip", 0, SKIP_MOST, &query->skip))
		return problem_set(problem, ERROR_INVALID_REQUEST, "skip is a whole number from 0 to 1000.");
	if (!read_number(&parameters, "season", 0, INT32_MAX, &season))
		return problem_set(problem, ERROR_INVALID_REQUEST, "season is a whole number.");
	name = parameter(&parameters, "board");
	if (name && strchr(name, ','))
		return problem_set(problem, ERROR_INVALID_REQUEST, "board is the name of one board.");
	if (find_boards(connection->bridge, name ? name : "global", boards, problem) == 0)
		return false;
	query->board = boards[0];
	if (parameter(&parameters, "season") && (int) season != query->board->season)
		return problem_set(problem, ERROR_NOT_FOUND, "There is no list of that season.");
	return true;
}

/* If-None-Match: a list of tags, weak ones too, or a star. */
bool
route_tag_matches(Connection *connection, const char *tag)
{
	char		list[1024];
	const char *at = list;
	size_t		length = strlen(tag);

	if (!request_header(connection->wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH, list, sizeof(list)))
		return false;
	if (strcmp(list, "*") == 0)
		return true;
	while ((at = strstr(at, tag)) != NULL)
	{
		if (at[length] == '\0' || at[length] == ',' || at[length] == ' ')
			return true;
		at += length;
	}
	return false;
}

static bool
answer_top(Connection *connection, Request *request)
{
	static char *room;
	static size_t has;
	TopQuery	query;
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	char		tag[BOARD_NAME_MAX + 80];
	char		headers[sizeof(tag) + 80];
	char		skip[24] = "";
	Answer		answer = {304, NULL, NULL, 0, headers};

	if (!read_top_query(connection, &query, &problem))
		return http_problem(connection, request, &problem);
	if (query.skip > 0)
		snprintf(skip, sizeof(skip), ".%zu", query.skip);
	snprintf(tag, sizeof(tag), "\"%s.%d.%" PRId64 ".%zu%s\"", query.board->name, query.board->season,
			 query.board->version, query.limit, skip);
	snprintf(headers, sizeof(headers), "ETag: %s\r\nCache-Control: public, no-cache\r\n", tag);
	if (route_tag_matches(connection, tag))
		return http_answer(connection, request, &answer);

	if (query.board->frame->message_length > has)
	{
		free(room);
		has = query.board->frame->message_length * 2;
		room = malloc(has);
		if (room == NULL)
			abort();
	}
	answer.status = 200;
	answer.type = "application/json";
	answer.body = room;
	answer.length = frame_cut(query.board->frame, query.skip, query.limit, room);
	return http_answer(connection, request, &answer);
}

/* ---- streams ---- */

static int
stream_boards(Connection *connection, Board **boards, Problem *problem)
{
	Parameters	parameters;
	const char *list;

	if (connection->bridge->draining)
		return problem_set(problem, ERROR_UNAVAILABLE, "This server is ending.");
	if (!request_parameters(connection->wsi, &parameters, problem))
		return 0;
	list = parameter(&parameters, "board");
	return find_boards(connection->bridge, list ? list : "global", boards, problem);
}

static bool
begin_events(Connection *connection, Request *request, Board **boards, int count)
{
	struct lws *wsi = connection->wsi;
	char		last[BOARDS_PER_STREAM * (BOARD_NAME_MAX + 24)];
	char		retry[48];
	/* Without a length it lasts until the connection ends. */
	Answer		answer = {200, NULL, NULL, 0,
		"Content-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n"
	"Connection: close\r\n"};
	unsigned char out[LWS_PRE + 64];
	int			length;

	if (request_custom(wsi, "last-event-id:", last, sizeof(last)) >= (int) sizeof(last))
		last[0] = '\0';
	if (!http_stream_head(connection, request, &answer))
		return false;
	if (request->method == METHOD_HEAD)
		return false;
	length = snprintf(retry, sizeof(retry), "retry: %u\n\n", 1000 + random_number() % 4000);
	memcpy(out + LWS_PRE, retry, (size_t) length);
	if (lws_write(wsi, out + LWS_PRE, (size_t) length, LWS_WRITE_HTTP) < 0)
		return false;
	/* See streams.c for why its reading is turned off. */
	lws_http_headers_detach(wsi);
	lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	lws_rx_flow_control(wsi, 0);
	connection_phase(connection, PHASE_OPEN);
	return streams_add(connection, true, boards, count, last);
}

static bool
answer_stream(Connection *connection, Request *request)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Board	   *boards[BOARDS_PER_STREAM];
	char		accept[512];
	int			count;

	request_header(connection->wsi, WSI_TOKEN_HTTP_ACCEPT, accept, sizeof(accept));
	if (strcasestr(accept, "text/event-stream") == NULL)
		problem_set(&problem, ERROR_UPGRADE_REQUIRED, "Connect with WebSocket, or accept text/event-stream.");
	else if (connection->left_over)
	{
		/* See streams.c: leftovers and a stream don't go together. */
		problem_set(&problem, ERROR_INVALID_REQUEST, "A stream must wait for the answer before it.");
		problem.close = true;
	}
	else if ((count = stream_boards(connection, boards, &problem)) > 0)
		return begin_events(connection, request, boards, count);
	return http_problem(connection, request, &problem);
}

/* Sec-WebSocket-Protocol: absent, or a list with ours. */
static bool
check_handshake(struct lws *wsi, Problem *problem)
{
	char		list[256];
	char		text[16];
	char	   *rest = list;
	char	   *item;

	if (!request_header(wsi, WSI_TOKEN_VERSION, text, sizeof(text)) || strcmp(text, "13") != 0)
	{
		problem->headers = "Sec-WebSocket-Version: 13\r\n";
		return problem_set(problem, ERROR_UPGRADE_REQUIRED, "WebSocket version 13 is spoken here.");
	}
	if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) != 24)
		return problem_set(problem, ERROR_INVALID_REQUEST, "Sec-WebSocket-Key is missing or broken.");
	if (lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) == 0)
		return true;
	if (request_header(wsi, WSI_TOKEN_PROTOCOL, list, sizeof(list)))
		while ((item = strsep(&rest, ",")) != NULL)
		{
			item += strspn(item, " \t");
			item[strcspn(item, " \t")] = '\0';
			if (strcmp(item, SUBPROTOCOL) == 0)
				return true;
		}
	return problem_set(problem, ERROR_INVALID_REQUEST, "The subprotocol is " SUBPROTOCOL ", or none.");
}

bool
route_established(Connection *connection)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Board	   *boards[BOARDS_PER_STREAM];
	int			count = stream_boards(connection, boards, &problem);

	connection_phase(connection, PHASE_OPEN);
	return count > 0 && streams_add(connection, false, boards, count, NULL);
}

/* ---- increments ---- */

/* Keeps a request until its body is here. */
static Post *
post_begin(Connection *connection, const Request *request, const Problem *problem)
{
	Post	   *post = calloc(1, sizeof(*post) + (size_t) request->length + 1);

	if (post == NULL)
		return NULL;
	post->connection = connection;
	post->request = *request;
	post->problem = *problem;
	connection->post = post;
	return post;
}

static bool
begin_increment(Connection *connection, Request *request)
{
	struct lws *wsi = connection->wsi;
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Problem		none = {ERROR_NONE, NULL, NULL, false};
	Post	   *post;

	request_key(wsi, request, &problem);
	if (problem.code == ERROR_NONE)
		request_media_type(wsi, &problem);
	if (problem.code == ERROR_NONE && connection->bridge->draining)
	{
		problem_set(&problem, ERROR_UNAVAILABLE, "This server is ending.");
		problem.close = true;
	}
	post = post_begin(connection, request, &problem);
	if (post == NULL)
		return false;
	/* Who it is comes after the body's form: a missing token is told then. */
	post->token = request_token(wsi, &none);
	return true;
}

/* The body is complete: refuse it, or send it on its way. */
bool
route_body(Connection *connection)
{
	Post	   *post = connection->post;
	Problem		problem = post->problem;
	char	   *element = NULL;
	bool		keep;

	if (problem.code == ERROR_NONE && post->token == NULL)
	{
		char		nothing[1] = "";

		post->token = nothing;
		element = body_element(post, &problem);
		post->token = NULL;
		if (element)
			problem_set(&problem, ERROR_UNAUTHORIZED, "A bearer token is needed.");
		free(element);
	}
	else if (problem.code == ERROR_NONE && (element = body_element(post, &problem)) != NULL)
	{
		if (submit_add(connection->bridge, post, element, post->request.id))
			return true;
		problem_set(&problem, ERROR_UNAVAILABLE, "Increments are not taken now; try again with the same Idempotency-Key.");
	}
	keep = http_problem(connection, &post->request, &problem);
	post_free(post);
	return keep;
}

/* ---- all ---- */

static bool
preflight(Connection *connection, Request *request, const Route *route)
{
	char		headers[256];
	Answer		answer = {204, NULL, NULL, 0, headers};

	snprintf(headers, sizeof(headers), "Access-Control-Allow-Methods: %s\r\n"
			 "Access-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, X-Request-Id\r\n"
			 "Access-Control-Max-Age: 600\r\n", route->post ? "POST" : "GET, HEAD");
	return http_answer(connection, request, &answer);
}

/* Answers what needs no body, or says why not. */
static bool
dispatch(Connection *connection, Request *request, Problem *problem, bool *done)
{
	const Route *route = find_route(request->path);
	bool		get = request->method == METHOD_GET || request->method == METHOD_HEAD;

	*done = true;
	if (route == NULL)
	{
		bool		found = false;
		bool		keep = get && connection->bridge->pages && pages_answer(connection, request, &found);

		if (found)
			return keep;
		problem_set(problem, ERROR_NOT_FOUND, "There is nothing here.");
	}
	else if (get && route->get)
		return route->get(connection, request);
	else if (request->method == METHOD_POST && route->post)
		return begin_increment(connection, request);
	else if (request->method == METHOD_OPTIONS && request->origin[0])
		return preflight(connection, request, route);
	else
	{
		problem_set(problem, ERROR_METHOD_NOT_ALLOWED, "This path doesn't have that method.");
		problem->headers = route->allow;
	}
	*done = false;
	return true;
}

bool
route_request(Connection *connection, Request *request)
{
	Problem		problem;
	bool		done = false;
	bool		keep = true;
	bool		body;

	request_read(connection, request, &problem);
	if (problem.code == ERROR_NONE)
		keep = dispatch(connection, request, &problem, &done);
	if (done)
		return keep;
	/*
	 * The library goes on to read a body where there is a length, and with
	 * methods that have one also where there is none.
	 */
	body = request->length > 0 || (request->length == 0 && request->method == METHOD_POST);
	if (body && !problem.close)
		return post_begin(connection, request, &problem) != NULL;
	if (request->length < 0 && request->method == METHOD_OTHER)
		problem.close = true;
	return http_problem(connection, request, &problem);
}

int
route_upgrade(Connection *connection, const char *upgrade)
{
	Request		request;
	Problem		problem;
	Board	   *boards[BOARDS_PER_STREAM];
	bool		done = false;
	const Route *route;

	/* To any other protocol the library has said 403 already. */
	if (strcasecmp(upgrade, "websocket") != 0 && strcasecmp(upgrade, "h2c") != 0)
		return -1;
	request_read(connection, &request, &problem);
	/* The library takes such a connection for HTTP/1.0 until it is one of its own. */
	request.close = true;
	route = find_route(request.path);
	if (problem.code == ERROR_NONE && route && route->get == answer_stream &&
		request.method == METHOD_GET && strcasecmp(upgrade, "websocket") == 0)
	{
		if (check_handshake(connection->wsi, &problem) && stream_boards(connection, boards, &problem) > 0)
			return 0;
	}
	else if (problem.code == ERROR_NONE && request.length <= 0 && request.method != METHOD_POST)
		dispatch(connection, &request, &problem, &done);
	else if (problem.code == ERROR_NONE)
		problem_set(&problem, ERROR_INVALID_REQUEST, "A request with a body can't ask for another protocol.");
	if (!done)
		http_problem(connection, &request, &problem);
	return -1;
}
