/*
 * smoke.c - looks whether a bridge that has been deployed works (--smoke URL)
 *
 * From outside, as a browser would, through whatever proxies stand before it:
 *
 *	ready      /ready says so, within READY_MS
 *	contracts  /openapi.json and /asyncapi.json are what they should be
 *	top        the list is there
 *	events     an event stream brings a list that is no older
 *	websocket  a WebSocket does, too
 *	increment  with a token and an action: it is counted, or was under this key
 *	replay     and a second time it gets the same answer
 *
 * The action is the body of an increment, with its receipt: whoever deploys has
 * his game sign one. Its key is made of its id, so that the same file may be
 * used again. The token and the receipt are never printed.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "smoke.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "log.h"
#include "random.h"
#include "smoke_http.h"

#define CHECK_MS 10000
#define READY_MS 10000
#define READY_PAUSE_MS 200
#define BODY_MAX (1024 * 1024)
#define TOP "/v1/leaderboard/top?board=global"
#define STREAM "/v1/leaderboard/stream?board=global"
#define TOKEN_BYTES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
#define WEBSOCKET_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

typedef struct Smoke
{
	SmokeTarget target;
	char	   *token;			/* NULL: none */
	char	   *action;			/* NULL: none */
	char		authorization[9 * 1024];	/* the header's line, or empty */
	json_int_t	version;		/* of the list, once it has been read */
	json_t	   *counted;		/* the increment's answer */
	char		said[600];		/* of the check under way */
} Smoke;

/* ---- what a check says ---- */

__attribute__((format(printf, 3, 4)))
static bool
say(Smoke *smoke, bool fine, const char *format, ...)
{
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(smoke->said, sizeof(smoke->said), format, arguments);
	va_end(arguments);
	return fine;
}

/* One line, whatever a server has put into its answer. */
static bool
print_check(const Smoke *smoke, const char *name, bool fine, struct timespec began)
{
	char		text[sizeof(smoke->said)];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	strcpy(text, log_has_token(smoke->said, strlen(smoke->said)) ? "[token]" : smoke->said);
	for (char *c = text; *c; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			*c = '?';
	printf("%-6s %-9s %s (%lld ms)\n", fine ? "ok" : "FAILED", name, text,
		   (long long) (now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000);
	fflush(stdout);
	return fine;
}

/* ---- answers ---- */

/* The whole body, at most BODY_MAX; to be freed. NULL: a reason was said. */
static char *
read_body(Smoke *smoke, SmokeConnection *connection)
{
	char	   *body = malloc(BODY_MAX + 1);
	size_t		length = 0;
	long		n;
	char		reason[200];

	if (body == NULL)
		abort();
	while ((n = smoke_read(connection, body + length, BODY_MAX - length, reason, sizeof(reason))) > 0 && length + (size_t) n < BODY_MAX)
		length += (size_t) n;
	if (n == 0)
	{
		body[length] = '\0';
		return body;
	}
	say(smoke, false, "%s", n < 0 ? reason : "the answer is too long");
	free(body);
	return NULL;
}

/* What the body of another status says of itself. */
static bool
say_status(Smoke *smoke, int wanted, int status, const char *body)
{
	json_t	   *json = json_loads(body, 0, NULL);
	const json_t *error = json_object_get(json, "error");
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));

	say(smoke, false, "%d in place of %d%s%s%s%.200s", status, wanted, code ? " " : "", code ? code : "", message ? ": " : "", message ? message : "");
	json_decref(json);
	return false;
}

/* Asks for JSON of status 200; NULL: a reason was said. */
static json_t *
ask(Smoke *smoke, const char *method, const char *path, const char *lines, const char *body)
{
	char		reason[200];
	SmokeConnection *connection = smoke_request(&smoke->target, method, path, lines, body, CHECK_MS, reason, sizeof(reason));
	char	   *text;
	json_t	   *json = NULL;

	if (connection == NULL)
	{
		say(smoke, false, "%s", reason);
		return NULL;
	}
	text = read_body(smoke, connection);
	if (text && smoke_status(connection) != 200)
		say_status(smoke, 200, smoke_status(connection), text);
	else if (text && (json = json_loads(text, JSON_REJECT_DUPLICATES, NULL)) == NULL)
		say(smoke, false, "the answer is no JSON");
	free(text);
	smoke_close(connection);
	return json;
}

/* ---- readiness, and the list ---- */

static bool
check_ready(Smoke *smoke)
{
	struct timespec began;
	struct timespec now;
	json_t	   *json;

	clock_gettime(CLOCK_MONOTONIC, &began);
	do
	{
		json = ask(smoke, "GET", "/ready", "Connection: close\r\n", NULL);
		if (json)
		{
			json_decref(json);
			return say(smoke, true, "ready");
		}
		nanosleep(&(struct timespec) {0, READY_PAUSE_MS * 1000000L}, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - began.tv_sec) * 1000 < READY_MS);
	return false;
}

/* One of the two; its version is the bridge's. */
static bool
has_contract(Smoke *smoke, const char *path, const char *member)
{
	json_t	   *contract = ask(smoke, "GET", path, "Connection: close\r\n", NULL);
	const char *form = json_string_value(json_object_get(contract, member));
	const char *version = json_string_value(json_object_get(json_object_get(contract, "info"), "version"));
	bool		fine = form && strncmp(form, "3.", 2) == 0 && version;

	if (fine)
		say(smoke, true, "of version %.40s", version);
	else if (contract)
		say(smoke, false, "%s is no contract", path);
	json_decref(contract);
	return fine;
}

static bool
check_contracts(Smoke *smoke)
{
	return has_contract(smoke, "/openapi.json", "openapi") && has_contract(smoke, "/asyncapi.json", "asyncapi");
}

/* Is it a list, no older than the one that we know? */
static bool
is_list(Smoke *smoke, const json_t *list)
{
	const json_t *version = json_object_get(list, "version");
	const json_t *entries = json_object_get(list, "entries");

	if (!json_is_integer(version) || !json_is_array(entries) || !json_is_string(json_object_get(list, "board")))
		return say(smoke, false, "that is no list");
	if (json_integer_value(version) < smoke->version)
		return say(smoke, false, "version %" JSON_INTEGER_FORMAT " is older than %" JSON_INTEGER_FORMAT, json_integer_value(version), smoke->version);
	smoke->version = json_integer_value(version);
	return say(smoke, true, "version %" JSON_INTEGER_FORMAT ", %zu entries", smoke->version, json_array_size(entries));
}

static bool
check_top(Smoke *smoke)
{
	char		lines[sizeof(smoke->authorization) + 32];
	json_t	   *list;
	bool		fine;

	snprintf(lines, sizeof(lines), "Connection: close\r\n%s", smoke->authorization);
	list = ask(smoke, "GET", TOP, lines, NULL);
	fine = list && is_list(smoke, list);
	json_decref(list);
	return fine;
}

/* ---- streams ---- */

/* A message of a stream: true once it is a list, *fine says whether a good one. */
static bool
take_message(Smoke *smoke, const char *text, size_t length, bool *fine)
{
	json_t	   *message = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	const char *type = json_string_value(json_object_get(message, "type"));
	bool		list = type && strcmp(type, "leaderboard.update") == 0;

	*fine = list && is_list(smoke, message);
	json_decref(message);
	return list;
}

/* Opens a stream; NULL: a reason was said. */
static SmokeConnection *
open_stream(Smoke *smoke, const char *lines, int wanted)
{
	char		all[sizeof(smoke->authorization) + 256];
	char		reason[200];
	SmokeConnection *connection;
	char	   *body;

	snprintf(all, sizeof(all), "%s%s", lines, smoke->authorization);
	connection = smoke_request(&smoke->target, "GET", STREAM, all, NULL, CHECK_MS, reason, sizeof(reason));
	if (connection == NULL)
		say(smoke, false, "%s", reason);
	if (connection == NULL || smoke_status(connection) == wanted)
		return connection;
	/* A stream of another status may have no end. */
	body = smoke_status(connection) >= 300 ? read_body(smoke, connection) : strdup("");
	if (body)
		say_status(smoke, wanted, smoke_status(connection), body);
	free(body);
	smoke_close(connection);
	return NULL;
}

/* Looks at what has come of a stream, and takes away what it is done with; true once there is a list, *fine says whether a good one. */
typedef bool (*Take) (Smoke *smoke, char *bytes, size_t *length, bool *fine);

/* Reads until there is a list; closes the stream. */
static bool
await_list(Smoke *smoke, SmokeConnection *connection, Take take)
{
	char	   *bytes = malloc(BODY_MAX + 1);
	size_t		length = 0;
	long		n = 1;
	char		reason[200];
	bool		fine = false;
	bool		found = false;

	if (bytes == NULL)
		abort();
	while (!found && length < BODY_MAX &&
		   (n = smoke_read(connection, bytes + length, BODY_MAX - length, reason, sizeof(reason))) > 0)
	{
		length += (size_t) n;
		bytes[length] = '\0';
		found = take(smoke, bytes, &length, &fine);
	}
	if (!found)
		say(smoke, false, "no list: %s", n < 0 ? reason : n == 0 ? "the stream has ended" : "too much of something else");
	smoke_close(connection);
	free(bytes);
	return fine;
}

/* Each event's data is a line. */
static bool
take_events(Smoke *smoke, char *text, size_t *length, bool *fine)
{
	(void) length;
	for (const char *at = strstr(text, "data: "); at; at = strstr(at, "\ndata: "))
	{
		const char *data = strchr(at, ' ') + 1;
		const char *end = strchr(data, '\n');

		if (end && take_message(smoke, data, (size_t) (end - data), fine))
			return true;
		at = data;
	}
	return false;
}

static bool
check_events(Smoke *smoke)
{
	SmokeConnection *connection = open_stream(smoke, "Accept: text/event-stream\r\n", 200);

	return connection && await_list(smoke, connection, take_events);
}

/* The frame at the beginning: how long it is, 0: not yet there whole. Servers don't mask. */
static size_t
frame_at(const unsigned char *bytes, size_t length, size_t *payload)
{
	size_t		head = length < 2 || bytes[1] < 126 ? 2 : bytes[1] == 126 ? 4 : 10;
	size_t		size = 0;

	if (length < head)
		return 0;
	if (head == 2)
		size = bytes[1];
	for (size_t i = 2; i < head; i++)
		size = size << 8 | bytes[i];
	*payload = head;
	return size <= BODY_MAX && length >= head + size ? head + size : 0;
}

static bool
take_frames(Smoke *smoke, char *bytes, size_t *length, bool *fine)
{
	size_t		payload;
	size_t		size;
	bool		found = false;

	while (!found && (size = frame_at((const unsigned char *) bytes, *length, &payload)) > 0)
	{
		/* A text that is not continued. */
		found = (unsigned char) bytes[0] == 0x81 && take_message(smoke, bytes + payload, size - payload, fine);
		*length -= size;
		memmove(bytes, bytes + size, *length);
	}
	return found;
}

/* Does the server know what a WebSocket is, or does somebody before it say 101 by rote? */
static bool
is_accepted(const SmokeConnection *connection, const char *key)
{
	char		text[128];
	char		given[64];
	unsigned char digest[SHA_DIGEST_LENGTH];
	unsigned char accept[2 * SHA_DIGEST_LENGTH];

	snprintf(text, sizeof(text), "%s" WEBSOCKET_GUID, key);
	EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock(accept, digest, sizeof(digest));
	return smoke_header(connection, "Sec-WebSocket-Accept", given, sizeof(given)) && strcmp(given, (const char *) accept) == 0;
}

static bool
check_websocket(Smoke *smoke)
{
	unsigned char key[32];
	char		lines[256];
	char		id[RANDOM_ID_SIZE];
	SmokeConnection *connection;

	random_id(id);
	EVP_EncodeBlock(key, (const unsigned char *) id, 16);
	snprintf(lines, sizeof(lines), "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", key);
	connection = open_stream(smoke, lines, 101);
	if (connection && !is_accepted(connection, (const char *) key))
	{
		smoke_close(connection);
		return say(smoke, false, "101 without the right Sec-WebSocket-Accept");
	}
	return connection && await_list(smoke, connection, take_frames);
}

/* ---- an increment ---- */

/* The same for the same action, so that it is counted once whatever is repeated. */
static void
make_key(const char *action, char *key, size_t size)
{
	json_t	   *json = json_loads(action, 0, NULL);
	const char *id = json_string_value(json_object_get(json, "actionId"));
	unsigned char digest[SHA256_DIGEST_LENGTH];
	size_t		n = (size_t) snprintf(key, size, "smoke-");

	EVP_Digest(id ? id : "", id ? strlen(id) : 0, digest, NULL, EVP_sha256(), NULL);
	for (size_t i = 0; i < sizeof(digest); i++)
		n += (size_t) snprintf(key + n, size - n, "%02x", digest[i]);
	json_decref(json);
}

static json_t *
count(Smoke *smoke)
{
	char		lines[sizeof(smoke->authorization) + 256];
	char		key[80];

	make_key(smoke->action, key, sizeof(key));
	snprintf(lines, sizeof(lines), "Connection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nIdempotency-Key: %s\r\n%s",
			 strlen(smoke->action), key, smoke->authorization);
	return ask(smoke, "POST", "/v1/scores/increment", lines, smoke->action);
}

static bool
check_increment(Smoke *smoke)
{
	const json_t *points;

	smoke->counted = count(smoke);
	if (smoke->counted == NULL)
		return false;
	points = json_object_get(smoke->counted, "appliedPoints");
	if (!json_is_integer(points))
		return say(smoke, false, "that is no answer to an increment");
	return say(smoke, true, "%" JSON_INTEGER_FORMAT " points%s", json_integer_value(points),
			   json_is_true(json_object_get(smoke->counted, "replayed")) ? ", counted earlier" : "");
}

/* The same again is answered with the same, and says so. */
static bool
check_replay(Smoke *smoke)
{
	json_t	   *again = smoke->counted ? count(smoke) : NULL;
	bool		replayed = json_is_true(json_object_get(again, "replayed"));
	bool		same;

	if (smoke->counted == NULL)
		return say(smoke, false, "there is nothing to replay");
	if (again == NULL)
		return false;
	json_object_set(smoke->counted, "replayed", json_true());
	same = json_equal(smoke->counted, again);
	json_decref(again);
	if (!replayed)
		return say(smoke, false, "counted a second time");
	return say(smoke, same, same ? "the same answer" : "another answer than before");
}

/* ---- all of it ---- */

/* A file's text without what is blank at its end; NULL after a sentence. */
static char *
read_file(const char *flag, const char *name)
{
	FILE	   *in = fopen(name, "r");
	char	   *text = calloc(1, BODY_MAX + 1);
	size_t		length = in && text ? fread(text, 1, BODY_MAX, in) : 0;

	if (in)
		fclose(in);
	while (length > 0 && strchr(" \t\r\n", text[length - 1]))
		text[--length] = '\0';
	if (length > 0 && strlen(text) == length)
		return text;
	fprintf(stderr, "scoreboard-bridge: --%s: \"%s\" can't be read, or there is nothing in it\n", flag, name);
	free(text);
	return NULL;
}

/* The token, from the environment or a file: never from the command line, which everybody can see. False after a sentence. */
static bool
read_secrets(Smoke *smoke, const Options *options)
{
	const char *token = getenv(SMOKE_TOKEN_VARIABLE);

	if (token && token[0])
		smoke->token = strdup(token);
	else if (options->smoke_token_file[0] && (smoke->token = read_file("smoke-token-file", options->smoke_token_file)) == NULL)
		return false;
	if (options->smoke_action_file[0] && (smoke->action = read_file("smoke-action-file", options->smoke_action_file)) == NULL)
		return false;
	if (smoke->action && smoke->token == NULL)
	{
		fprintf(stderr, "scoreboard-bridge: --smoke-action-file wants a token: --smoke-token-file or variable " SMOKE_TOKEN_VARIABLE "\n");
		return false;
	}
	if (smoke->token == NULL)
		return true;
	if (strlen(smoke->token) > sizeof(smoke->authorization) - 32 || strspn(smoke->token, TOKEN_BYTES) < strlen(smoke->token))
	{
		fprintf(stderr, "scoreboard-bridge: the token for --smoke is none\n");
		return false;
	}
	snprintf(smoke->authorization, sizeof(smoke->authorization), "Authorization: Bearer %s\r\n", smoke->token);
	return true;
}

static bool
run_checks(Smoke *smoke)
{
	static const struct
	{
		const char *name;
		bool		(*check) (Smoke *smoke);
		bool		counts;		/* wants an action */
	}			checks[] = {
		{"ready", check_ready, false}, {"contracts", check_contracts, false}, {"top", check_top, false}, {"events", check_events, false},
		{"websocket", check_websocket, false}, {"increment", check_increment, true}, {"replay", check_replay, true},
	};
	bool		fine = true;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
	{
		struct timespec began;

		if (checks[i].counts && smoke->action == NULL)
			continue;
		clock_gettime(CLOCK_MONOTONIC, &began);
		smoke->said[0] = '\0';
		fine &= print_check(smoke, checks[i].name, checks[i].check(smoke), began);
		/* Where nobody is there the rest would only say so again. */
		if (i == 0 && !fine)
			break;
	}
	return fine;
}

int
smoke(const Options *options)
{
	static Smoke smoke;
	bool		fine;

	signal(SIGPIPE, SIG_IGN);
	smoke_target(options->smoke, &smoke.target);
	if (!read_secrets(&smoke, options))
		return 2;
	fine = run_checks(&smoke);
	json_decref(smoke.counted);
	free(smoke.token);
	free(smoke.action);
	return fine ? 0 : 1;
}
