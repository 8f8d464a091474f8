/*
 * exchange.c - requests: their heads judged, their bodies read, their answers written
 *
 * Owns the Exchange of each request and, for each client that speaks HTTP, a
 * Talk: where its reading stands. A client has one exchange at a time, and is
 * not read while it is being answered, so answers come in the order of the
 * requests.
 *
 * What the head shows is judged first; a refusal of a request with a body of a
 * sane length waits for that body, so that the connection can be used on.
 * Where what follows can't be told from what was sent, the connection ends
 * with the answer. An answer is written as a whole, head and body at once.
 *
 *	client -> talk_read -> h1 -> begin -> (body) -> dispatch -> route's handler -> exchange_answer
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "account.h"
#include "log.h"
#include "pages.h"
#include "query.h"
#include "random.h"
#include "room.h"
#include "routes.h"
#include "visitors.h"

typedef struct Pending
{
	Exchange	exchange;		/* must be first */
	Problem		problem;		/* told when the body has been read */
	size_t		missing;		/* bytes of the body that are still to come */
	bool		dispatched;
	bool		token_in_path;
	char		sentence[160];	/* a problem's own message */
	char		headers[32];	/* and headers */
} Pending;

typedef struct Talk
{
	Pending    *pending;		/* NULL between requests */
	size_t		seen;			/* of a head that is still coming, see h1.h */
	bool		heading;		/* one has begun */
} Talk;

static int	awaited;			/* exchanges that were dispatched and not answered */

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
	[ERROR_ACTION_NOT_ALLOWED] = {"ACTION_NOT_ALLOWED", 403, NULL},
	[ERROR_NOT_FOUND] = {"NOT_FOUND", 404, NULL},
	[ERROR_METHOD_NOT_ALLOWED] = {"METHOD_NOT_ALLOWED", 405, NULL},
	[ERROR_REQUEST_TIMEOUT] = {"REQUEST_TIMEOUT", 408, NULL},
	[ERROR_LENGTH_REQUIRED] = {"LENGTH_REQUIRED", 411, NULL},
	[ERROR_PAYLOAD_TOO_LARGE] = {"PAYLOAD_TOO_LARGE", 413, NULL},
	[ERROR_UNSUPPORTED_MEDIA_TYPE] = {"UNSUPPORTED_MEDIA_TYPE", 415, NULL},
	[ERROR_UPGRADE_REQUIRED] = {"UPGRADE_REQUIRED", 426, "Upgrade: websocket\r\nConnection: Upgrade\r\n"},
	[ERROR_RATE_LIMITED] = {"RATE_LIMITED", 429, NULL},
	[ERROR_HEADERS_TOO_LARGE] = {"HEADERS_TOO_LARGE", 431, NULL},
	[ERROR_INTERNAL] = {"INTERNAL", 500, NULL},
	[ERROR_UNAVAILABLE] = {"UNAVAILABLE", 503, NULL},
	[ERROR_VERSION_NOT_SUPPORTED] = {"INVALID_REQUEST", 505, NULL},
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
	{505, "HTTP Version Not Supported"},
};

static const char *
phrase_of(int status)
{
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Unknown";
}

bool
problem_set(Problem *problem, ErrorCode code, const char *message)
{
	problem->code = code;
	problem->message = message;
	return false;
}

int
exchange_count(void)
{
	return awaited;
}

/* ---- the end of an exchange ---- */

static void
free_pending(Pending *pending)
{
	awaited -= pending->dispatched;
	free(pending->exchange.token);
	free(pending->exchange.player);
	free(pending->exchange.body);
	free(pending->exchange.query);
	free(pending->exchange.segments);
	free(pending);
}

/* Takes the exchange out of its client; the client, or NULL where it is gone. */
static Client *
leave(Exchange *exchange)
{
	Client	   *client = exchange->client;

	if (client)
	{
		Talk	   *talk = client_data(client);

		talk->pending = NULL;
	}
	return client;
}

/* The answer has been handed over; on to the next request. */
static void
next_request(Client *client)
{
	if (client_unsent(client))
		client_phase(client, PHASE_SEND);
	else
	{
		client_phase(client, PHASE_IDLE);
		client_want(client, true);
	}
}

/* ---- answers ---- */

static char *
put(char *at, const char *name, const char *value)
{
	at = stpcpy(stpcpy(at, name), value);
	return stpcpy(at, "\r\n");
}

static char *
put_head(const Exchange *exchange, const Answer *answer, char *at)
{
	const Bridge *bridge = client_bridge(exchange->client);
	bool		close = exchange->close || answer->endless;

	at += sprintf(at, "HTTP/1.1 %d %s\r\n", answer->status, phrase_of(answer->status));
	at = put(at, "Date: ", bridge->date);
	at = put(at, "X-Request-Id: ", exchange->id);
	at = put(at, "X-Content-Type-Options: ", "nosniff");
	if (answer->type)
		at = put(at, "Content-Type: ", answer->type);
	if (answer->type && !answer->endless)
		at += sprintf(at, "Content-Length: %zu\r\n", answer->length);
	if (exchange->key[0])
		at = put(at, "Idempotency-Key: ", exchange->key);
	if (exchange->origin[0])
	{
		at = put(at, "Access-Control-Allow-Origin: ", exchange->origin);
		if (exchange->origin_named && bridge->options.cookie[0])
			at = put(at, "Access-Control-Allow-Credentials: ", "true");
		at = put(at, "Access-Control-Expose-Headers: ", "ETag, Idempotency-Key, Retry-After, X-Request-Id");
	}
	if (bridge->options.allowed_origins[0])
		at = put(at, "Vary: ", "Origin");
	if (close)
		at = put(at, "Connection: ", "close");
	else if (exchange->minor == 0)
		at = put(at, "Connection: ", "keep-alive");
	if (answer->headers)
		at = stpcpy(at, answer->headers);
	return stpcpy(at, "\r\n");
}

/* Sends head and body; false where the client is lost by it. */
static bool
send_answer(Exchange *exchange, const Answer *answer)
{
	static Room room;
	size_t		extra = answer->headers ? strlen(answer->headers) : 0;
	char	   *text = room_for(&room, 2048 + extra + answer->length);
	char	   *at = put_head(exchange, answer, text);

	if (answer->type && answer->length > 0 && exchange->method != METHOD_HEAD)
	{
		memcpy(at, answer->body, answer->length);
		at += answer->length;
	}
	return client_send(exchange->client, text, (size_t) (at - text));
}

void
exchange_answer(Exchange *exchange, const Answer *answer)
{
	Client	   *client = leave(exchange);
	bool		sent = client && send_answer(exchange, answer);

	account(exchange, answer);
	if (sent)
	{
		if (exchange->close)
			client_finish(client);
		else
			next_request(client);
	}
	free_pending((Pending *) exchange);
}

/* A text of ours between quotes: at most `most` bytes of it, control characters as blanks. */
static char *
put_quoted(char *at, const char *text, size_t most)
{
	for (; *text && most > 0; text++, most--)
	{
		if (*text == '"' || *text == '\\')
			*at++ = '\\';
		*at++ = (unsigned char) *text < ' ' ? ' ' : *text;
	}
	return at;
}

static size_t
error_body(const char *code, const char *message, const char *id, char out[1024])
{
	char	   *at = out + sprintf(out, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);

	at = put_quoted(at, message, 300);
	at = stpcpy(at, "\",\"requestId\":\"");
	at = put_quoted(at, id, REQUEST_ID_MAX);
	return (size_t) (stpcpy(at, "\"}}") - out);
}

void
exchange_problem(Exchange *exchange, const Problem *problem)
{
	char		body[1024];
	char		headers[512];
	const char *own = errors[problem->code].headers;
	const char *more = problem->headers;
	Answer		answer = {errors[problem->code].status, "application/json", body, 0, headers, false};

	if (problem->code == ERROR_UNAVAILABLE && more == NULL)
		more = "Retry-After: 1\r\n";
	answer.length = error_body(errors[problem->code].name, problem->message, exchange->id, body);
	snprintf(headers, sizeof(headers), "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n%s%s",
			 own ? own : "", more ? more : "");
	exchange->close |= problem->close;
	exchange_answer(exchange, &answer);
}

static Client *
detach(Exchange *exchange)
{
	Client	   *client = exchange->client;

	if (client)
	{
		free(client_data(client));
		client_set_reader(client, NULL, NULL);
	}
	free_pending((Pending *) exchange);
	return client;
}

Client *
exchange_detach(Exchange *exchange)
{
	account(exchange, &(Answer) {.status = 101});
	return detach(exchange);
}

Client *
exchange_open_stream(Exchange *exchange, const Answer *answer)
{
	Client	   *client = exchange->client;

	if (client && exchange->method != METHOD_HEAD && send_answer(exchange, answer))
	{
		account(exchange, answer);
		return detach(exchange);
	}
	/* A HEAD asks for what it would be; if the client was lost it knows of no exchange any more. */
	exchange->close = true;
	exchange_answer(exchange, answer);
	return NULL;
}

/* ---- headers ---- */

static bool
is_visible(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static void
read_id(Exchange *exchange, const H1Head *head)
{
	bool		several;
	const H1Field *field = h1_field(head, "x-request-id", &several);

	if (field == NULL || several || field->value.length == 0 ||
		!h1_copy(field->value, exchange->id, sizeof(exchange->id)) || !is_visible(exchange->id) ||
		log_has_token(exchange->id, field->value.length))
		random_id(exchange->id);
}

const char *
method_name(Method method)
{
	static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "OPTIONS"};

	return names[method];
}

static Method
method_of(Slice name)
{
	for (Method method = 0; method < METHOD_OTHER; method++)
		if (name.length == strlen(method_name(method)) && memcmp(name.at, method_name(method), name.length) == 0)
			return method;
	return METHOD_OTHER;
}

/* Can the end of this request be told, and is it one that is read? */
static bool
check_framing(const Exchange *exchange, const H1Head *head, Problem *problem)
{
	problem->close = true;
	if (head->length > BODY_MAX)
		return problem_set(problem, ERROR_PAYLOAD_TOO_LARGE, "A body is at most 16 KiB.");
	if (head->length > 0 && (exchange->method == METHOD_GET || exchange->method == METHOD_HEAD || exchange->method == METHOD_OPTIONS))
		return problem_set(problem, ERROR_INVALID_REQUEST, "This method takes no body.");
	if (!head->has_length && (exchange->method == METHOD_POST || exchange->method == METHOD_PUT))
		return problem_set(problem, ERROR_LENGTH_REQUIRED, "Send a Content-Length, 0 where there is no body.");
	problem->close = false;
	return true;
}

/* host[:port] of an origin or a Host header, a scheme's own port left out. */
static void
plain_host(const char *text, char *host, size_t size)
{
	const char *scheme = strstr(text, "://");
	bool		secure = strncasecmp(text, "https:", 6) == 0;
	size_t		length;

	snprintf(host, size, "%s", scheme ? scheme + 3 : text);
	length = strlen(host);
	if (length > 3 && strcmp(host + length - 3, ":80") == 0 && !secure)
		host[length - 3] = '\0';
	else if (length > 4 && strcmp(host + length - 4, ":443") == 0 && (secure || scheme == NULL))
		host[length - 4] = '\0';
}

/* *named: as itself, and not by the star. */
static bool
in_list(const char *list, const char *origin, bool *named)
{
	bool		any = false;

	size_t		length = strlen(origin);

	for (const char *p = list; *p;)
	{
		size_t		n = strcspn(p, ",");

		if (n == length && strncasecmp(p, origin, n) == 0)
			return *named = true;
		any |= n == 1 && *p == '*';
		p += n + (p[n] == ',');
	}
	return any;
}

static bool
check_origin(Exchange *exchange, const H1Head *head, Problem *problem)
{
	bool		several;
	const H1Field *field = h1_field(head, "origin", &several);
	char		origin[256];
	char		host[256];
	char		ours[256];
	char		theirs[256];

	if (field == NULL)
		return true;
	if (several || field->value.length == 0 || !h1_copy(field->value, origin, sizeof(origin)) || !is_visible(origin))
		return problem_set(problem, ERROR_ORIGIN_NOT_ALLOWED, "The Origin header is not understood.");
	if (head->host.at && h1_copy(head->host, host, sizeof(host)) && strstr(origin, "://"))
	{
		plain_host(host, ours, sizeof(ours));
		plain_host(origin, theirs, sizeof(theirs));
		if (strcasecmp(ours, theirs) == 0)
			return exchange->origin_named = true;
	}
	if (!in_list(client_bridge(exchange->client)->options.allowed_origins, origin, &exchange->origin_named))
		return problem_set(problem, ERROR_ORIGIN_NOT_ALLOWED, "Pages of this origin may not use this server.");
	strcpy(exchange->origin, origin);
	return true;
}

/* Idempotency-Key: taken as it is, or made; it is in every answer from here on. */
static bool
read_key(Exchange *exchange, const H1Head *head, Problem *problem)
{
	bool		several;
	const H1Field *field = h1_field(head, "idempotency-key", &several);
	char		key[KEY_MAX + 1];

	random_id(exchange->key);
	if (field == NULL)
		return true;
	if (several)
		return problem_set(problem, ERROR_INVALID_REQUEST, "Idempotency-Key is given twice.");
	if (field->value.length == 0 || !h1_copy(field->value, key, sizeof(key)) || !is_visible(key))
		return problem_set(problem, ERROR_INVALID_REQUEST, "Idempotency-Key is 1 to 255 visible ASCII characters.");
	strcpy(exchange->key, key);
	return true;
}

static bool
check_media_type(const H1Head *head, Problem *problem)
{
	bool		several;
	const H1Field *field = h1_field(head, "content-encoding", &several);
	char		type[128] = "";

	if (field)
		return problem_set(problem, ERROR_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not taken.");
	field = h1_field(head, "content-type", &several);
	if (field == NULL || several || !h1_copy(field->value, type, sizeof(type)) ||
		strncasecmp(type, "application/json", 16) != 0 || (type[16] != '\0' && type[16] != ';' && type[16] != ' '))
		return problem_set(problem, ERROR_UNSUPPORTED_MEDIA_TYPE, "The body is application/json.");
	return true;
}

/*
 * The bearer token, into exchange->token, if there is one of a form that can be
 * put between quotes; whether it is a good one the database judges. False only
 * where the header can be understood in two ways.
 */
static bool
read_token(Exchange *exchange, const H1Head *head, Problem *problem)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
	bool		several;
	const H1Field *field = h1_field(head, "authorization", &several);
	size_t		skip = 7;

	if (several)
		return problem_set(problem, ERROR_INVALID_REQUEST, "Authorization is given twice.");
	if (field == NULL || field->value.length <= skip || strncasecmp(field->value.at, "Bearer ", skip) != 0)
		return true;
	while (skip < field->value.length && field->value.at[skip] == ' ')
		skip++;
	if (field->value.length - skip > TOKEN_MAX || field->value.length == skip)
		return true;
	exchange->token = strndup(field->value.at + skip, field->value.length - skip);
	if (exchange->token && exchange->token[strspn(exchange->token, allowed)] != '\0')
	{
		free(exchange->token);
		exchange->token = NULL;
	}
	return true;
}

bool
exchange_tag_matches(const Exchange *exchange, const char *tag)
{
	const H1Head *head = exchange->head;
	size_t		length = strlen(tag);

	for (int i = 0; i < head->field_count; i++)
	{
		char		list[1024];

		if (!h1_name_is(head->fields[i].name, "if-none-match") || !h1_copy(head->fields[i].value, list, sizeof(list)))
			continue;
		if (strcmp(list, "*") == 0)
			return true;
		for (const char *at = list; (at = strstr(at, tag)) != NULL; at += length)
			if (at[length] == '\0' || at[length] == ',' || at[length] == ' ')
				return true;
	}
	return false;
}

/* ---- the query ---- */

const char *
exchange_parameter(const Exchange *exchange, const char *name)
{
	for (int i = 0; i < exchange->parameter_count; i++)
		if (strcmp(exchange->parameters[i].name, name) == 0)
			return exchange->parameters[i].value;
	return NULL;
}

static bool
is_known(const char *const *known, const char *name)
{
	for (; *known; known++)
		if (strcmp(*known, name) == 0)
			return true;
	return false;
}

/* Each parameter once, and one that the route has. */
static bool
check_parameters(Pending *pending, Problem *problem)
{
	Exchange   *exchange = &pending->exchange;

	for (int i = 0; i < exchange->parameter_count; i++)
	{
		const char *name = exchange->parameters[i].name;

		if (exchange->route->parameters && !is_known(exchange->route->parameters, name))
		{
			snprintf(pending->sentence, sizeof(pending->sentence), "There is no parameter %.64s here.", name);
			for (char *c = pending->sentence; *c; c++)
				if (*c < ' ' || *c > '~')
					*c = '?';
			return problem_set(problem, ERROR_INVALID_REQUEST, pending->sentence);
		}
		for (int k = 0; k < i; k++)
			if (strcmp(exchange->parameters[k].name, name) == 0)
				return problem_set(problem, ERROR_INVALID_REQUEST, "A parameter is given twice.");
	}
	return true;
}

/* The path as it was sent, for the log; one that is longer than any of ours, or has a token in it, isn't logged. */
static void
read_path(Pending *pending, const H1Head *head)
{
	char	   *path = pending->exchange.path;
	char		decoded[sizeof(pending->exchange.path)];
	bool		fits = h1_copy(head->path, path, sizeof(pending->exchange.path));

	pending->token_in_path = log_has_token(head->path.at, head->path.length);
	/* Its dots may be written as %2E. */
	if (fits && strchr(path, '%') && query_decode(strcpy(decoded, path), false))
		pending->token_in_path |= log_has_token(decoded, strlen(decoded));
	if (!fits || pending->token_in_path)
		strcpy(path, "/?");
}

/* A token in a URL ends up in logs and histories, whatever its name is. */
static bool
check_url(Pending *pending, const H1Head *head, Problem *problem)
{
	Exchange   *exchange = &pending->exchange;
	bool		token = pending->token_in_path;

	if (!query_read(head->query, exchange, problem))
		return false;
	for (int i = 0; i < exchange->parameter_count; i++)
		token |= log_has_token(exchange->parameters[i].name, strlen(exchange->parameters[i].name)) ||
			log_has_token(exchange->parameters[i].value, strlen(exchange->parameters[i].value));
	if (token || (head->query.at && log_has_token(head->query.at, head->query.length)))
		return problem_set(problem, ERROR_INVALID_REQUEST, "A token must not stand in a URL.");
	return true;
}

/* ---- a head has come ---- */

/* All that the head alone decides; false with the problem set. */
static bool
judge(Pending *pending, const H1Head *head, Problem *problem)
{
	Exchange   *exchange = &pending->exchange;

	if (client_is_misplaced(exchange->client))
	{
		problem->close = true;
		return problem_set(problem, ERROR_INVALID_REQUEST, "TLS is spoken here: use https.");
	}
	if (!check_framing(exchange, head, problem) || !read_token(exchange, head, problem) ||
		!check_url(pending, head, problem) || !check_origin(exchange, head, problem) ||
		!route_find(exchange, head, problem))
		return false;
	if (exchange->method == METHOD_OPTIONS)
		return true;			/* preflight() tells what the request itself may have */
	if (exchange->route->keyed && !read_key(exchange, head, problem))
		return false;
	if (exchange->route->body && !check_media_type(head, problem))
		return false;
	if (exchange->route->body && client_bridge(exchange->client)->draining)
	{
		problem->close = true;
		return problem_set(problem, ERROR_UNAVAILABLE, "This server is ending.");
	}
	return check_parameters(pending, problem);
}

/* What a browser asks before a foreign page may send; the origin has been checked. */
static void
preflight(Exchange *exchange)
{
	char		headers[256];
	Answer		answer = {204, NULL, NULL, 0, headers, false};

	snprintf(headers, sizeof(headers), "Access-Control-Allow-Methods: %s\r\n"
			 "Access-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, X-Request-Id\r\n"
			 "Access-Control-Max-Age: 600\r\n", route_methods(exchange));
	exchange_answer(exchange, &answer);
}

static void
dispatch(Pending *pending)
{
	Exchange   *exchange = &pending->exchange;

	pending->dispatched = true;
	awaited++;
	client_want(exchange->client, false);
	client_phase(exchange->client, PHASE_ANSWER);
	if (pending->problem.code != ERROR_NONE)
		exchange_problem(exchange, &pending->problem);
	else if (exchange->method == METHOD_OPTIONS)
		preflight(exchange);
	else
		exchange->route->handler(exchange);
}

/* Waits for the body, unless it would have to be thrown away unread. */
static void
expect_body(Pending *pending, const H1Head *head)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	Client	   *client = pending->exchange.client;

	pending->missing = (size_t) head->length;
	if (pending->problem.code == ERROR_NONE)
	{
		pending->exchange.body = malloc((size_t) head->length + 1);
		if (pending->exchange.body == NULL)
			problem_set(&pending->problem, ERROR_UNAVAILABLE, "Out of memory.");
	}
	client_phase(client, PHASE_BODY);
	if (head->expect && pending->problem.code == ERROR_NONE)
		client_send(client, go_on, sizeof(go_on) - 1);
	else if (head->expect)
	{
		/* It waits for our word before it sends the body, and won't get it. */
		pending->exchange.close = true;
		dispatch(pending);
	}
}

static Pending *
new_pending(Client *client, Talk *talk)
{
	Pending    *pending = calloc(1, sizeof(*pending));

	if (pending == NULL)
	{
		client_close(client);
		return NULL;
	}
	pending->exchange.bridge = client_bridge(client);
	pending->exchange.client = client;
	pending->exchange.address = *client_peer(client);
	pending->exchange.began = pending->exchange.ready = uv_hrtime();
	pending->exchange.minor = 1;
	strcpy(pending->exchange.path, "/?");
	talk->pending = pending;
	talk->heading = false;
	talk->seen = 0;
	return pending;
}

static void
begin(Client *client, Talk *talk, const H1Head *head)
{
	Pending    *pending = new_pending(client, talk);
	Exchange   *exchange;
	Problem		problem = {ERROR_NONE, NULL, NULL, false};

	if (pending == NULL)
		return;
	exchange = &pending->exchange;
	exchange->head = head;
	exchange->minor = head->minor;
	exchange->method = method_of(head->method);
	exchange->close = client_bridge(client)->draining || !head->keep_alive;
	read_id(exchange, head);
	read_path(pending, head);
	account_trace(exchange, head);
	visitor_recognise(exchange, head);
	judge(pending, head, &problem);
	visitor_count(exchange, &problem, pending->headers);
	pending->problem = problem;
	if (head->length > 0 && !problem.close)
	{
		exchange->head = NULL;
		expect_body(pending, head);
	}
	else
	{
		if (exchange->route && exchange->route->body)
			exchange->body = strdup("");
		dispatch(pending);
	}
}

/* What can't be read as a request: answered as well as can be, then the end. */
static void
refuse(Client *client, Talk *talk, ErrorCode code, const char *reason)
{
	Pending    *pending = new_pending(client, talk);
	Problem		problem = {code, reason, NULL, true};

	if (pending == NULL)
		return;
	random_id(pending->exchange.id);
	pending->problem = problem;
	dispatch(pending);
}

static void
read_head(Client *client, Talk *talk, const char *bytes, size_t length)
{
	H1Head		head;
	const char *reason = "";

	switch (h1_read_head(bytes, length, &talk->seen, &head, &reason))
	{
		case H1_MORE:
			if (!talk->heading)
				client_phase(client, PHASE_HEAD);
			talk->heading = true;
			break;
		case H1_READ:
			client_used(client, head.size);
			begin(client, talk, &head);
			break;
		case H1_MALFORMED:
			refuse(client, talk, ERROR_INVALID_REQUEST, reason);
			break;
		case H1_TOO_LARGE:
			refuse(client, talk, ERROR_HEADERS_TOO_LARGE, reason);
			break;
		case H1_TRANSFER_ENCODING:
			refuse(client, talk, ERROR_LENGTH_REQUIRED, reason);
			break;
		case H1_VERSION:
			refuse(client, talk, ERROR_VERSION_NOT_SUPPORTED, reason);
			break;
	}
}

static void
read_body(Client *client, Pending *pending, const char *bytes, size_t length)
{
	Exchange   *exchange = &pending->exchange;
	size_t		n = length < pending->missing ? length : pending->missing;

	if (exchange->body)
	{
		memcpy(exchange->body + exchange->body_length, bytes, n);
		exchange->body_length += n;
		exchange->body[exchange->body_length] = '\0';
	}
	pending->missing -= n;
	client_used(client, n);
	if (pending->missing > 0)
		return;
	exchange->ready = uv_hrtime();
	dispatch(pending);
}

/* ---- the client's reader ---- */

static void
talk_read(Client *client, const char *bytes, size_t length)
{
	Talk	   *talk = client_data(client);

	if (talk->pending)
		read_body(client, talk->pending, bytes, length);
	else
		read_head(client, talk, bytes, length);
}

/* Nothing more comes. Called between requests only, or where one is incomplete. */
static void
talk_ended(Client *client)
{
	client_close(client);
}

static void
talk_drained(Client *client)
{
	const Talk *talk = client_data(client);

	if (talk->pending == NULL)
		next_request(client);
}

static void
talk_late(Client *client)
{
	Talk	   *talk = client_data(client);

	if (talk->pending && !talk->pending->dispatched)
	{
		talk->pending->problem = (Problem) {ERROR_REQUEST_TIMEOUT, "The body took too long.", NULL, true};
		dispatch(talk->pending);
	}
	else if (talk->heading)
		refuse(client, talk, ERROR_REQUEST_TIMEOUT, "The head took too long.");
	else
		client_close(client);
}

static void
talk_gone(Client *client)
{
	Talk	   *talk = client_data(client);

	if (talk->pending)
	{
		talk->pending->exchange.client = NULL;
		/* One that is being answered is freed by its answer. */
		if (!talk->pending->dispatched)
			free_pending(talk->pending);
	}
	free(talk);
}

static const ClientReader talk_reader = {talk_read, talk_ended, talk_drained, talk_late, talk_gone};

void
exchange_begin(Client *client)
{
	Talk	   *talk = calloc(1, sizeof(*talk));

	if (talk == NULL)
	{
		client_close(client);
		return;
	}
	client_set_reader(client, &talk_reader, talk);
	client_want(client, true);
}
