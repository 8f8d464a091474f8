/*
 * api_stream.c - who may have a stream, of what, and in which form
 *
 * A request for a WebSocket is checked here to its end, as RFC 6455 section
 * 4.2.1 wants it; the library only gets what has passed. Where it shows a
 * token or a ticket, the database is asked whose it is, public boards or not:
 * a bad one is refused, never ignored.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "api_stream.h"

#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "api_read.h"
#include "credential.h"
#include "sse.h"
#include "visitors.h"
#include "ws.h"

#define SUBPROTOCOL "scoreboard.v1"
#define KEY_LENGTH 24			/* 16 bytes in base64 */

/* Is this the base64 text of 16 bytes? Its last two characters are the padding, and the one before has four bits to spare. */
static bool
is_websocket_key(Slice key)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char		text[KEY_LENGTH + 1];

	return key.length == KEY_LENGTH && h1_copy(key, text, sizeof(text)) && strspn(text, digits) == KEY_LENGTH - 2 && strcmp(text + KEY_LENGTH - 2, "==") == 0 &&
		strchr("AQgw", text[KEY_LENGTH - 3]) != NULL;
}

/* What was asked for, as long as its answer may need it. */
typedef struct Opening
{
	Exchange   *exchange;
	bool		socket;			/* else event stream */
	char		key[KEY_LENGTH + 1];
	const char *subprotocol;	/* to echo, or NULL */
	Board	   *boards[BOARDS_PER_STREAM];
	int			count;
	char		last[BOARDS_PER_STREAM * (BOARD_NAME_MAX + 24)];	/* Last-Event-ID, or empty */
} Opening;

/* ---- reading the request ---- */

/* What of the handshake is ours to speak. */
static bool
read_handshake(Opening *opening, Problem *problem)
{
	const H1Head *head = opening->exchange->head;
	bool		several;
	const H1Field *version = h1_field(head, "sec-websocket-version", &several);
	const H1Field *key;

	if (opening->exchange->method != METHOD_GET)
		return problem_set(problem, ERROR_INVALID_REQUEST, "A WebSocket begins with GET.");
	if (version == NULL || several || version->value.length != 2 || memcmp(version->value.at, "13", 2) != 0)
	{
		problem->headers = "Sec-WebSocket-Version: 13\r\n";
		return problem_set(problem, ERROR_UPGRADE_REQUIRED, "WebSocket version 13 is spoken here.");
	}
	key = h1_field(head, "sec-websocket-key", &several);
	if (key == NULL || several || !is_websocket_key(key->value))
		return problem_set(problem, ERROR_INVALID_REQUEST, "Sec-WebSocket-Key is missing or broken.");
	h1_copy(key->value, opening->key, sizeof(opening->key));
	if (h1_field(head, "sec-websocket-protocol", &several) == NULL)
		return true;
	if (!h1_list_has(head, "sec-websocket-protocol", SUBPROTOCOL))
		return problem_set(problem, ERROR_INVALID_REQUEST, "The subprotocol is " SUBPROTOCOL ", or none.");
	opening->subprotocol = SUBPROTOCOL;
	return true;
}

/* Accept names it, whatever its parameters and the other types are. */
static bool
accepts_events(const H1Head *head)
{
	static const char type[] = "text/event-stream";

	for (int i = 0; i < head->field_count; i++)
		if (h1_name_is(head->fields[i].name, "accept"))
			for (size_t at = 0; at + sizeof(type) - 1 <= head->fields[i].value.length; at++)
				if (h1_name_is((Slice) {head->fields[i].value.at + at, sizeof(type) - 1}, type))
					return true;
	return false;
}

static bool
read_form(Opening *opening, Problem *problem)
{
	const H1Head *head = opening->exchange->head;
	bool		several;
	const H1Field *last = h1_field(head, "last-event-id", &several);

	opening->socket = head->upgrade && h1_list_has(head, "upgrade", "websocket");
	if (opening->socket)
		return read_handshake(opening, problem);
	if (!accepts_events(head))
		return problem_set(problem, ERROR_UPGRADE_REQUIRED, "Connect with WebSocket, or accept text/event-stream.");
	if (last && !several && !h1_copy(last->value, opening->last, sizeof(opening->last)))
		opening->last[0] = '\0';
	return true;
}

static bool
read_boards(Opening *opening, Problem *problem)
{
	const char *list = exchange_parameter(opening->exchange, "board");

	opening->count = api_find_boards(client_bridge(opening->exchange->client), list ? list : "global", opening->boards, problem);
	return opening->count > 0;
}

/* ---- opening ---- */

/* May whoever it is see the board? */
static bool
may_see(const Board *board, const Identity *identity, Problem *problem)
{
	const char *permission = board_permission(board);

	if (board_visibility(board) == VISIBLE_TO_ALL)
		return true;
	if (identity == NULL)
		return problem_set(problem, ERROR_UNAUTHORIZED, "This board is shown to players only.");
	if (board_visibility(board) == VISIBLE_BY_PERMISSION && (permission == NULL || !identity_may(identity, permission)))
		return problem_set(problem, ERROR_ACTION_NOT_ALLOWED, "The token lacks the permission that this board demands.");
	return true;
}

/* Looked at when it is opened: a board may have gone meanwhile, or be shown to others now. */
static bool
check_opening(const Opening *opening, const Identity *identity, Problem *problem)
{
	if (client_bridge(opening->exchange->client)->draining)
		return problem_set(problem, ERROR_UNAVAILABLE, "This server is ending.");
	for (int i = 0; i < opening->count; i++)
	{
		if (board_frame(opening->boards[i]) == NULL)
			return problem_set(problem, ERROR_NOT_FOUND, "There is no such board.");
		if (!may_see(opening->boards[i], identity, problem))
			return false;
	}
	return visitor_keep(opening->exchange, problem);
}

static const Problem out_of_memory = {ERROR_UNAVAILABLE, "Out of memory.", NULL, true};

/* Takes the identity. */
static void
open_stream(const Opening *opening, Identity *identity)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};

	if (identity)
		account_player(opening->exchange, identity->user_id);
	if (!check_opening(opening, identity, &problem))
		exchange_problem(opening->exchange, &problem);
	else if (opening->socket)
	{
		ws_open(opening->exchange, opening->key, opening->subprotocol, opening->boards, opening->count, identity);
		return;
	}
	else
		sse_open(opening->exchange, opening->boards, opening->count, identity, opening->last);
	identity_free(identity);
}

/* The database has said who it is, or that it is nobody. */
static void
identified(void *data, PgEnd end, const PGresult *result)
{
	Opening    *opening = data;
	Identity   *identity = end == PG_ANSWERED ? identity_of(result) : NULL;

	if (end != PG_ANSWERED || opening->exchange->client == NULL)
	{
		/* Where the client has gone, this only frees the exchange. */
		exchange_refused(opening->exchange, end == PG_ANSWERED ? PG_UNKNOWN : end, result);
		identity_free(identity);
	}
	else if (identity == NULL)
		exchange_problem(opening->exchange, &out_of_memory);
	else
		open_stream(opening, identity);
	free(opening);
}

static void
ask_who(const Opening *opening, const Credential *credential)
{
	Opening    *kept = malloc(sizeof(*kept));

	if (kept == NULL)
	{
		exchange_problem(opening->exchange, &out_of_memory);
		return;
	}
	*kept = *opening;
	if (!credential_ask(kept->exchange, credential, identified, kept))
		free(kept);
}

void
api_stream(Exchange *exchange)
{
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Opening		opening = {.exchange = exchange};
	Credential	credential;

	if (!read_form(&opening, &problem) || !credential_read(exchange, &credential, &problem) || !read_boards(&opening, &problem))
		exchange_problem(exchange, &problem);
	else if (credential.kind == CREDENTIAL_NONE)
		open_stream(&opening, NULL);
	else
		ask_who(&opening, &credential);
}
