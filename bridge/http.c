/*
 * http.c - the library's callback, answers, and the error table over HTTP
 *
 * An answer is written as a whole, head and body with one call, and then the
 * transaction is completed; where the socket doesn't take it all, the library
 * keeps the rest and completes the transaction after it. A request is answered
 * within its callback, or (an increment) from the database's side later: then
 * the Post is found through its connection, never through a wsi, and a client
 * that is gone takes its Post with it.
 *
 * A refusal of a request with a body of a sane length waits for that body, so
 * that the connection can be used on. Where what follows can't be understood
 * the connection ends with the answer, and its socket lingers a moment.
 *
 * While an increment waits for the database, its connection is not read: what a
 * client sends ahead would make the library report the body's completion again
 * and again. It is turned off before anything is left over, since with leftovers
 * the library asks for POLLOUT and never handles it (the loop would spin).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "loop.h"

static const struct
{
	const char *name;
	int			status;
	const char *headers;
}			errors[] = {
	[ERROR_NONE] = {"INTERNAL", 500, NULL},
	[ERROR_INVALID_REQUEST] = {"INVALID_REQUEST", 400, NULL},
	[ERROR_UNAUTHORIZED] = {"UNAUTHORIZED", 401, "WWW-Authenticate: Bearer\r\n"},
	[ERROR_ORIGIN_NOT_ALLOWED] = {"ORIGIN_NOT_ALLOWED", 403, NULL},
	[ERROR_NOT_FOUND] = {"NOT_FOUND", 404, NULL},
	[ERROR_METHOD_NOT_ALLOWED] = {"METHOD_NOT_ALLOWED", 405, NULL},
	[ERROR_REQUEST_TIMEOUT] = {"REQUEST_TIMEOUT", 408, NULL},
	[ERROR_LENGTH_REQUIRED] = {"LENGTH_REQUIRED", 411, NULL},
	[ERROR_PAYLOAD_TOO_LARGE] = {"PAYLOAD_TOO_LARGE", 413, NULL},
	[ERROR_UNSUPPORTED_MEDIA_TYPE] = {"UNSUPPORTED_MEDIA_TYPE", 415, NULL},
	[ERROR_UPGRADE_REQUIRED] = {"UPGRADE_REQUIRED", 426, "Upgrade: websocket\r\n"},
	[ERROR_HEADERS_TOO_LARGE] = {"HEADERS_TOO_LARGE", 431, NULL},
	[ERROR_INTERNAL] = {"INTERNAL", 500, NULL},
	[ERROR_UNAVAILABLE] = {"UNAVAILABLE", 503, "Retry-After: 1\r\n"},
};

static const struct
{
	int			status;
	const char *phrase;
}			phrases[] = {
	{200, "OK"}, {204, "No Content"}, {304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"},
	{403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"},
	{409, "Conflict"}, {411, "Length Required"}, {413, "Content Too Large"}, {415, "Unsupported Media Type"},
	{422, "Unprocessable Content"}, {426, "Upgrade Required"}, {429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {503, "Service Unavailable"},
};

static const char *
phrase_of(int status)
{
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Unknown";
}

/* ---- answers ---- */

/* One buffer for all, with LWS_PRE before it; nothing in it outlives a write. */
static unsigned char *
answer_room(size_t size)
{
	static unsigned char *room;
	static size_t has;

	if (size > has)
	{
		free(room);
		has = size + 16 * 1024;
		room = malloc(LWS_PRE + has);
		if (room == NULL)
			abort();
	}
	return room + LWS_PRE;
}

static size_t
put_head(const Connection *connection, const Request *request, const Answer *answer, char *out, size_t size)
{
	const Options *options = &connection->bridge->options;
	size_t		n = (size_t) snprintf(out, size, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Request-Id: %s\r\n"
									  "X-Content-Type-Options: nosniff\r\n",
									  answer->status, phrase_of(answer->status), connection->bridge->date, request->id);

	if (answer->type)
		n += (size_t) snprintf(out + n, size - n, "Content-Type: %s\r\nContent-Length: %zu\r\n",
							   answer->type, answer->length);
	if (request->key[0])
		n += (size_t) snprintf(out + n, size - n, "Idempotency-Key: %s\r\n", request->key);
	if (request->origin[0])
		n += (size_t) snprintf(out + n, size - n, "Access-Control-Allow-Origin: %s\r\n"
							   "Access-Control-Expose-Headers: ETag, Idempotency-Key, Retry-After, X-Request-Id\r\n",
							   request->origin);
	if (options->allowed_origins[0])
		n += (size_t) snprintf(out + n, size - n, "Vary: Origin\r\n");
	if (request->close)
		n += (size_t) snprintf(out + n, size - n, "Connection: close\r\n");
	return n + (size_t) snprintf(out + n, size - n, "%s\r\n", answer->headers ? answer->headers : "");
}

static void
log_request(const Request *request, int status)
{
	LogLevel	level = request->key[0] ? LOG_INFO : LOG_DEBUG;

	if (status >= 500 && status != 503)
		level = LOG_ERROR;
	log_line(level, "request", LOG_TEXT("request_id", request->id), LOG_TEXT("path", request->path),
			 LOG_NUMBER("status", status), LOG_NUMBER("us", (uv_hrtime() - request->began) / 1000));
}

bool
http_answer(Connection *connection, Request *request, const Answer *answer)
{
	size_t		extra = answer->headers ? strlen(answer->headers) : 0;
	size_t		size = 2048 + extra + answer->length;
	char	   *out = (char *) answer_room(size);
	size_t		n = put_head(connection, request, answer, out, size);

	if (answer->type && request->method != METHOD_HEAD)
	{
		memcpy(out + n, answer->body, answer->length);
		n += answer->length;
	}
	log_request(request, answer->status);
	if (lws_write(connection->wsi, (unsigned char *) out, n, LWS_WRITE_HTTP_FINAL) < 0)
		return false;
	if (request->close)
		connection_linger(connection);
	return !request->close;
}

/* The head of an answer that goes on for as long as the connection lives. */
bool
http_stream_head(Connection *connection, Request *request, const Answer *answer)
{
	char	   *out = (char *) answer_room(4096);
	size_t		n;

	request->close = false;		/* the answer's own lines say so */
	n = put_head(connection, request, answer, out, 4096);
	log_request(request, answer->status);
	return lws_write(connection->wsi, (unsigned char *) out, n, LWS_WRITE_HTTP) >= 0;
}

static size_t
error_body(ErrorCode code, const char *message, const char *id, char *out, size_t size)
{
	size_t		n = (size_t) snprintf(out, size, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"requestId\":\"",
									  errors[code].name, message);

	for (; *id; id++)
	{
		if (*id == '"' || *id == '\\')
			out[n++] = '\\';
		out[n++] = *id;
	}
	return n + (size_t) snprintf(out + n, size - n, "\"}}");
}

bool
http_problem(Connection *connection, Request *request, const Problem *problem)
{
	char		body[1024];
	char		headers[512];
	const char *own = errors[problem->code].headers;
	Answer		answer = {errors[problem->code].status, "application/json", body, 0, headers};

	answer.length = error_body(problem->code, problem->message, request->id, body, sizeof(body));
	snprintf(headers, sizeof(headers), "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n%s%s",
			 own ? own : "", problem->headers ? problem->headers : "");
	request->close |= problem->close;
	return http_answer(connection, request, &answer);
}

/* ---- requests with a body ---- */

void
post_free(Post *post)
{
	if (post->submission)
		submit_forget(post->submission);
	if (post->connection)
		post->connection->post = NULL;
	free(post->token);
	free(post);
}

/* The transaction is over; -1 where the connection has to end. */
static int
complete(Connection *connection)
{
	connection_phase(connection, PHASE_IDLE);
	if (lws_http_transaction_completed(connection->wsi))
		return -1;
	/* Idle connections are listener.c's; the library's list of timers stays short. */
	lws_set_timeout(connection->wsi, NO_PENDING_TIMEOUT, 0);
	return 0;
}

void
http_submitted(Post *post, const Outcome *outcome)
{
	static const Problem failed = {ERROR_INTERNAL, "Something is wrong here; the log knows it by the request's id.", NULL, false};
	static const Problem away = {ERROR_UNAVAILABLE, "The database did not answer in time; try again with the same Idempotency-Key.", NULL, false};
	Connection *connection = post->connection;
	char		headers[160];
	Answer		answer = {outcome->status, "application/json", outcome->body, 0, headers};
	bool		keep;
	int			n;

	n = snprintf(headers, sizeof(headers), "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n%s",
				 outcome->status == 401 ? errors[ERROR_UNAUTHORIZED].headers : "");
	if (outcome->retry_after > 0)
		snprintf(headers + n, sizeof(headers) - (size_t) n, "Retry-After: %d\r\n", outcome->retry_after);
	if (outcome->body == NULL)
		keep = http_problem(connection, &post->request, outcome->status == 503 ? &away : &failed);
	else
	{
		answer.length = strlen(outcome->body);
		keep = http_answer(connection, &post->request, &answer);
	}
	post_free(post);
	if (!keep || complete(connection) != 0)
		connection_end(connection);
	else
		lws_rx_flow_control(connection->wsi, 1);
}

void
http_body_late(Connection *connection)
{
	static const Problem late = {ERROR_REQUEST_TIMEOUT, "The body took too long.", NULL, true};
	Post	   *post = connection->post;

	if (post)
	{
		http_problem(connection, &post->request, &late);
		post_free(post);
	}
	connection_end(connection);
}

static int
body_piece(Connection *connection, const char *data, size_t length)
{
	Post	   *post = connection->post;
	size_t		room;

	if (post == NULL || post->complete)
		return 0;
	room = (size_t) post->request.length - post->got;
	if (length > room)
		length = room;
	if (length > 0)
		memcpy(post->body + post->got, data, length);
	post->got += length;
	return 0;
}

static int
body_complete(Connection *connection)
{
	Post	   *post = connection->post;

	if (post == NULL || post->complete)
		return 0;
	post->complete = true;
	post->body[post->got] = '\0';
	connection_received(connection);
	connection_phase(connection, PHASE_OPEN);
	if (!route_body(connection))
		return -1;
	if (connection->post == NULL)
		return complete(connection);
	lws_rx_flow_control(connection->wsi, 0);
	return 0;
}

static int
head_complete(Connection *connection)
{
	Request		request;

	if (!route_request(connection, &request))
		return -1;
	if (connection->post)
		connection_phase(connection, PHASE_BODY);
	return connection->post || connection->stream ? 0 : complete(connection);
}

/* The library's own answers, a WebSocket's 101 among them, get a request id too. */
static int
add_headers(Connection *connection, struct lws_process_html_args *args)
{
	Request		request;

	request_id(connection->wsi, &request);
	if (args->max_len > REQUEST_ID_MAX + 20)
		args->p += sprintf(args->p, "X-Request-Id: %s\r\n", request.id);
	return 0;
}

static void
closed(Connection *connection)
{
	streams_remove(connection);
	if (connection->post)
		post_free(connection->post);
	connection->wsi = NULL;
}

int
http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	Connection *connection = wsi ? lws_get_opaque_user_data(wsi) : NULL;

	(void) user;
	if (connection == NULL)
		return 0;
	switch (reason)
	{
		case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
			connection->wsi = wsi;
			return 0;
		case LWS_CALLBACK_WSI_DESTROY:
			connection_free(connection);
			return 0;

			/* requests */
		case LWS_CALLBACK_HTTP:
			return head_complete(connection);
		case LWS_CALLBACK_HTTP_BODY:
			return body_piece(connection, in, length);
		case LWS_CALLBACK_HTTP_BODY_COMPLETION:
			return body_complete(connection);
		case LWS_CALLBACK_ADD_HEADERS:
			return add_headers(connection, in);

			/* streams */
		case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
			return route_upgrade(connection, in);
		case LWS_CALLBACK_ESTABLISHED:
			return route_established(connection) ? 0 : -1;
		case LWS_CALLBACK_RECEIVE:
			return streams_received(connection, in, length);
		case LWS_CALLBACK_RECEIVE_PONG:
			streams_heard(connection);
			return 0;
		case LWS_CALLBACK_SERVER_WRITEABLE:
		case LWS_CALLBACK_HTTP_WRITEABLE:
			return streams_writeable(connection);

		case LWS_CALLBACK_CLOSED:
		case LWS_CALLBACK_CLOSED_HTTP:
			closed(connection);
			return 0;

			/* CONNECT makes the library change to a role that we don't have. */
		case LWS_CALLBACK_RAW_ADOPT:
		case LWS_CALLBACK_RAW_RX:
			return -1;
		default:
			return 0;
	}
}
