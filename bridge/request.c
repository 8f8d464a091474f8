/*
 * request.c - what stands in a request's head
 *
 * The library parses HTTP/1.1; this file asks it for the parts and is strict
 * where it is not: headers and parameters that come twice, lengths that aren't
 * plain numbers, heads that are too large, tokens in a URL, foreign origins.
 * Each check fills a Problem and returns false; nothing is written here.
 *
 * What the library does before we see anything, and we can't undo: it decodes
 * %xx in paths and reduces // and /../ in them, and it answers a method that
 * it doesn't know, or a broken %xx, with a 403 of its own.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* memmem */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "log.h"
#include "loop.h"

bool
problem_set(Problem *problem, ErrorCode code, const char *message)
{
	problem->code = code;
	problem->message = message;
	return false;
}

uint32_t
random_number(void)
{
	static uint32_t pool[256];
	static size_t left;

	if (left == 0)
	{
		if (getrandom(pool, sizeof(pool), 0) != sizeof(pool))
			abort();
		left = sizeof(pool) / sizeof(pool[0]);
	}
	return pool[--left];
}

void
random_id(char *text)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char bytes[16];

	for (int i = 0; i < 4; i++)
	{
		uint32_t	number = random_number();

		memcpy(bytes + 4 * i, &number, 4);
	}
	for (int i = 0; i < 16; i++)
	{
		*text++ = hex[bytes[i] >> 4];
		*text++ = hex[bytes[i] & 15];
	}
	*text = '\0';
}

static bool
is_visible(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

/* ---- headers ---- */

static void
trim(char *value)
{
	size_t		length = strlen(value);

	while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t'))
		value[--length] = '\0';
	length = strspn(value, " \t");
	memmove(value, value + length, strlen(value + length) + 1);
}

/* A header that the library knows; false where it is missing or longer than `size`. */
bool
request_header(struct lws *wsi, enum lws_token_indexes token, char *value, int size)
{
	value[0] = '\0';
	if (lws_hdr_copy(wsi, value, size, token) <= 0)
	{
		value[0] = '\0';
		return false;
	}
	trim(value);
	return true;
}

static bool
known_twice(struct lws *wsi, enum lws_token_indexes token)
{
	return lws_hdr_total_length(wsi, token) != lws_hdr_fragment_length(wsi, token, 0);
}

/*
 * A header that the library doesn't know; `name` is in lower case with its
 * colon. Its length, -1 where it is missing, `size` or more where it is longer.
 */
int
request_custom(struct lws *wsi, const char *name, char *value, int size)
{
	int			length = lws_hdr_custom_length(wsi, name, (int) strlen(name));

	value[0] = '\0';
	if (length < 0 || length >= size)
		return length;
	lws_hdr_custom_copy(wsi, value, size, name, (int) strlen(name));
	trim(value);
	return (int) strlen(value);
}

/*
 * Does such a header come twice? The library finds the first of a name only,
 * and before 4.3 it can't list them. But the whole head stands in one buffer,
 * names included, and the path that it hands out is the first thing in it. So
 * among the places where the name is written we look for the one that the
 * library has found (a mark in its value shows), spoil the name there for a
 * moment, and ask again. Text that merely looks like the name changes nothing.
 * The value is one that request_custom() has just read, and not empty.
 */
static bool
custom_twice(struct lws *wsi, const char *name)
{
	int			length = (int) strlen(name);
	char	   *at = NULL;
	int			uri_length = 0;
	char	   *end;

	if (lws_http_get_uri_and_method(wsi, &at, &uri_length) < 0 || at == NULL)
		return false;
	for (end = at + LIBRARY_HEAD_ROOM - 256; (at = memmem(at, (size_t) (end - at), name, (size_t) length)) != NULL; at++)
	{
		char		copy[KEY_MAX + 64] = "";
		char		kept = at[length];
		bool		another;

		at[length] = '\1';
		lws_hdr_custom_copy(wsi, copy, sizeof(copy), name, length);
		at[length] = kept;
		if (copy[0] != '\1')
			continue;
		kept = *at;
		*at = '\1';
		another = lws_hdr_custom_length(wsi, name, length) >= 0;
		*at = kept;
		return another;
	}
	return false;
}

void
request_id(struct lws *wsi, Request *request)
{
	char		id[REQUEST_ID_MAX + 2];
	int			length = request_custom(wsi, "x-request-id:", id, sizeof(id));

	if (length >= 1 && length <= REQUEST_ID_MAX && is_visible(id) && !log_has_token(id, strlen(id)))
		strcpy(request->id, id);
	else
		random_id(request->id);
}

/* -1: no such header; -2: not a plain number, or twice. */
static int64_t
read_length(struct lws *wsi)
{
	char		text[16];
	int			total = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH);

	if (total == 0)
		return -1;
	if (known_twice(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH))
		return -2;
	/* More digits than fit are a number beyond any limit, not a broken one. */
	if (!request_header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, text, sizeof(text)))
		return total >= (int) sizeof(text) ? INT64_MAX : -2;
	if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
		return -2;
	return strtoll(text, NULL, 10);
}

/* ---- origins ---- */

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

static bool
in_list(const char *list, const char *origin)
{
	size_t		length = strlen(origin);

	for (const char *p = list; *p;)
	{
		size_t		n = strcspn(p, ",");

		if ((n == length && strncasecmp(p, origin, n) == 0) || (n == 1 && *p == '*'))
			return true;
		p += n + (p[n] == ',');
	}
	return false;
}

static bool
check_origin(Connection *connection, Request *request, Problem *problem)
{
	struct lws *wsi = connection->wsi;
	char		origin[256];
	char		host[256];
	char		ours[256];
	char		theirs[256];

	if (lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) == 0)
		return true;
	if (!request_header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof(origin)) || !is_visible(origin))
		return problem_set(problem, ERROR_ORIGIN_NOT_ALLOWED, "The Origin header is not understood.");
	if (request_header(wsi, WSI_TOKEN_HOST, host, sizeof(host)) && strstr(origin, "://"))
	{
		plain_host(host, ours, sizeof(ours));
		plain_host(origin, theirs, sizeof(theirs));
		if (strcasecmp(ours, theirs) == 0)
			return true;
	}
	if (!in_list(connection->bridge->options.allowed_origins, origin))
		return problem_set(problem, ERROR_ORIGIN_NOT_ALLOWED, "Pages of this origin may not use this server.");
	strcpy(request->origin, origin);
	return true;
}

/* ---- the head as a whole ---- */

static bool
check_url(struct lws *wsi, const Request *request, Problem *problem)
{
	char		piece[1200];
	int			length;

	if (log_has_token(request->path, strlen(request->path)))
		return problem_set(problem, ERROR_INVALID_REQUEST, "A token must not stand in a URL.");
	for (int i = 0; (length = lws_hdr_copy_fragment(wsi, piece, sizeof(piece), WSI_TOKEN_HTTP_URI_ARGS, i)) >= 0 ||
		 lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i) > 0; i++)
	{
		/* What is longer than any parameter of ours could only hide one. */
		if (length < 0)
			return problem_set(problem, ERROR_INVALID_REQUEST, "A parameter is too long.");
		if (log_has_token(piece, (size_t) length))
			return problem_set(problem, ERROR_INVALID_REQUEST, "A token must not stand in a URL.");
	}
	return true;
}

static bool
check_framing(struct lws *wsi, const Request *request, Problem *problem)
{
	char		version[16];

	problem->close = true;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0)
		return problem_set(problem, ERROR_LENGTH_REQUIRED, "Send a Content-Length; Transfer-Encoding is not taken.");
	if (request->length == -2)
		return problem_set(problem, ERROR_INVALID_REQUEST, "Content-Length is no plain number, or given twice.");
	if (request->length > BODY_MAX)
		return problem_set(problem, ERROR_PAYLOAD_TOO_LARGE, "A body is at most 16 KiB.");
	if (request->length > 0 && request->method != METHOD_POST && request->method != METHOD_OTHER)
		return problem_set(problem, ERROR_INVALID_REQUEST, "This method takes no body.");
	if (request->length < 0 && request->method == METHOD_POST)
		return problem_set(problem, ERROR_LENGTH_REQUIRED, "Send a Content-Length.");
	problem->close = false;
	if (known_twice(wsi, WSI_TOKEN_HOST))
		return problem_set(problem, ERROR_INVALID_REQUEST, "Host is given twice.");
	if (known_twice(wsi, WSI_TOKEN_HTTP_AUTHORIZATION))
		return problem_set(problem, ERROR_INVALID_REQUEST, "Authorization is given twice.");
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HOST) == 0 &&
		request_header(wsi, WSI_TOKEN_HTTP, version, sizeof(version)) && strcmp(version, "HTTP/1.1") == 0)
		return problem_set(problem, ERROR_INVALID_REQUEST, "Host is missing.");
	return true;
}

static Method
method_of(int meth)
{
	switch (meth)
	{
		case LWSHUMETH_GET:
			return METHOD_GET;
		case LWSHUMETH_HEAD:
			return METHOD_HEAD;
		case LWSHUMETH_POST:
			return METHOD_POST;
		case LWSHUMETH_OPTIONS:
			return METHOD_OPTIONS;
		default:
			return METHOD_OTHER;
	}
}

/*
 * Did this head come out of what the library had left over from an earlier
 * request? Then nothing new has been received for it but, perhaps, the end of
 * the stream; and somebody has something left over.
 */
static bool
is_left_over(const Connection *connection, uint64_t received)
{
	return received < 16 && lws_service_adjust_timeout(connection->bridge->lws, 1, 0) == 0;
}

/* The request's own bytes: the head, and as much of the body as came with it. */
static bool
check_size(Connection *connection, const Request *request, Problem *problem)
{
	uint64_t	received = connection_received(connection);

	connection->left_over = is_left_over(connection, received);
	/*
	 * The library would take that same head for the beginning of the body,
	 * again and again without an end (4.1.6, lws_http_action).
	 */
	if (connection->left_over && request->length != 0 &&
		(request->length != -1 || request->method == METHOD_POST || request->method == METHOD_OTHER))
	{
		problem->close = true;
		return problem_set(problem, ERROR_INVALID_REQUEST, "A request with a body must wait for the answer before it.");
	}
	if (request->length > 0 && request->length <= BODY_MAX)
		received -= received < (uint64_t) request->length ? received : (uint64_t) request->length;
	if (received <= HEAD_MAX)
		return true;
	problem->close = true;
	return problem_set(problem, ERROR_HEADERS_TOO_LARGE, "URL and headers are at most 16 KiB.");
}

void
request_read(Connection *connection, Request *request, Problem *problem)
{
	struct lws *wsi = connection->wsi;
	char	   *uri = NULL;
	int			length = 0;

	memset(request, 0, sizeof(*request));
	memset(problem, 0, sizeof(*problem));
	request->began = uv_hrtime();
	request->close = connection->bridge->draining;
	request->method = method_of(lws_http_get_uri_and_method(wsi, &uri, &length));
	request_id(wsi, request);
	request->length = read_length(wsi);
	/* A longer path is none of ours; cut, it is none either. */
	if (uri)
		snprintf(request->path, sizeof(request->path), "%.*s", length, uri);

	if (check_size(connection, request, problem) && check_framing(wsi, request, problem) &&
		check_url(wsi, request, problem))
		check_origin(connection, request, problem);
	if (request->path[0] == '\0' || length >= (int) sizeof(request->path))
		strcpy(request->path, "/?");
}

/* ---- parts that some routes want ---- */

/* Idempotency-Key: taken as it is, or made; it is in every answer from here on. */
void
request_key(struct lws *wsi, Request *request, Problem *problem)
{
	char		key[KEY_MAX + 32];
	int			length = request_custom(wsi, "idempotency-key:", key, sizeof(key));

	random_id(request->key);
	if (length < 0)
		return;
	if (length == 0 || length > KEY_MAX || !is_visible(key))
		problem_set(problem, ERROR_INVALID_REQUEST, "Idempotency-Key is 1 to 255 visible ASCII characters.");
	else if (custom_twice(wsi, "idempotency-key:"))
		problem_set(problem, ERROR_INVALID_REQUEST, "Idempotency-Key is given twice.");
	else
		strcpy(request->key, key);
}

/* The bearer token, malloc'd; NULL with UNAUTHORIZED. Its form is the database's to judge. */
char *
request_token(struct lws *wsi, Problem *problem)
{
	int			length = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_AUTHORIZATION);
	char	   *value = malloc((size_t) length + 1);
	size_t		skip;

	if (value && request_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, value, length + 1) &&
		strncasecmp(value, "Bearer ", 7) == 0)
	{
		skip = 7 + strspn(value + 7, " ");
		memmove(value, value + skip, strlen(value + skip) + 1);
		/* Only such characters: it is put between quotes as it is. */
		if (value[0] && strlen(value) <= TOKEN_MAX &&
			value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")] == '\0')
			return value;
	}
	free(value);
	problem_set(problem, ERROR_UNAUTHORIZED, "A bearer token is needed.");
	return NULL;
}

bool
request_media_type(struct lws *wsi, Problem *problem)
{
	char		type[128];

	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_ENCODING) > 0)
		return problem_set(problem, ERROR_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not taken.");
	request_header(wsi, WSI_TOKEN_HTTP_CONTENT_TYPE, type, sizeof(type));
	if (known_twice(wsi, WSI_TOKEN_HTTP_CONTENT_TYPE) || strncasecmp(type, "application/json", 16) != 0 ||
		(type[16] != '\0' && type[16] != ';' && type[16] != ' '))
		return problem_set(problem, ERROR_UNSUPPORTED_MEDIA_TYPE, "The body is application/json.");
	return true;
}

bool
request_parameters(struct lws *wsi, Parameters *parameters, Problem *problem)
{
	char		piece[1200];
	int			length;

	parameters->count = 0;
	for (int i = 0; (length = lws_hdr_copy_fragment(wsi, piece, sizeof(piece), WSI_TOKEN_HTTP_URI_ARGS, i)) >= 0; i++)
	{
		char	   *equals = strchr(piece, '=');
		int			n = parameters->count;

		if (length == 0)
			continue;
		if (equals == NULL || equals == piece || equals[1] == '\0')
			return problem_set(problem, ERROR_INVALID_REQUEST, "A parameter is empty.");
		*equals = '\0';
		if (n == PARAMETERS_MAX || strlen(piece) >= sizeof(parameters->item[0].name) ||
			strlen(equals + 1) >= sizeof(parameters->item[0].value))
			return problem_set(problem, ERROR_INVALID_REQUEST, "Too many parameters, or too long ones.");
		if (parameter(parameters, piece))
			return problem_set(problem, ERROR_INVALID_REQUEST, "A parameter is given twice.");
		strcpy(parameters->item[n].name, piece);
		strcpy(parameters->item[n].value, equals + 1);
		parameters->count++;
	}
	return true;
}

const char *
parameter(const Parameters *parameters, const char *name)
{
	for (int i = 0; i < parameters->count; i++)
		if (strcmp(parameters->item[i].name, name) == 0)
			return parameters->item[i].value;
	return NULL;
}
