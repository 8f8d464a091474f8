/*
 * api_stream.c - who may have a stream, of what, and in which form
 *
 * A request for a WebSocket is checked here to its end, as RFC 6455 section
 * 4.2.1 wants it; the library only gets what has passed.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "api_stream.h"

#include <string.h>

#include "api_read.h"
#include "sse.h"
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

/* What of the handshake is ours to speak; *subprotocol is what to echo. */
static bool
check_handshake(const H1Head *head, const char **subprotocol, Problem *problem)
{
	bool		several;
	const H1Field *version = h1_field(head, "sec-websocket-version", &several);
	const H1Field *key;

	if (version == NULL || several || version->value.length != 2 || memcmp(version->value.at, "13", 2) != 0)
	{
		problem->headers = "Sec-WebSocket-Version: 13\r\n";
		return problem_set(problem, ERROR_UPGRADE_REQUIRED, "WebSocket version 13 is spoken here.");
	}
	key = h1_field(head, "sec-websocket-key", &several);
	if (key == NULL || several || !is_websocket_key(key->value))
		return problem_set(problem, ERROR_INVALID_REQUEST, "Sec-WebSocket-Key is missing or broken.");
	*subprotocol = NULL;
	if (h1_field(head, "sec-websocket-protocol", &several) == NULL)
		return true;
	if (!h1_list_has(head, "sec-websocket-protocol", SUBPROTOCOL))
		return problem_set(problem, ERROR_INVALID_REQUEST, "The subprotocol is " SUBPROTOCOL ", or none.");
	*subprotocol = SUBPROTOCOL;
	return true;
}

static void
open_socket(Exchange *exchange, Board *const *boards, int count, Problem *problem)
{
	const char *subprotocol = NULL;

	if (exchange->method != METHOD_GET)
		problem_set(problem, ERROR_INVALID_REQUEST, "A WebSocket begins with GET.");
	else if (check_handshake(exchange->head, &subprotocol, problem))
	{
		ws_open(exchange, subprotocol, boards, count);
		return;
	}
	exchange_problem(exchange, problem);
}

static void
open_events(Exchange *exchange, Board *const *boards, int count)
{
	bool		several;
	const H1Field *field = h1_field(exchange->head, "last-event-id", &several);
	char		last[BOARDS_PER_STREAM * (BOARD_NAME_MAX + 24)] = "";

	if (field && !several)
		h1_copy(field->value, last, sizeof(last));
	sse_open(exchange, boards, count, last);
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

void
api_stream(Exchange *exchange)
{
	Bridge	   *bridge = client_bridge(exchange->client);
	const H1Head *head = exchange->head;
	const char *list = exchange_parameter(exchange, "board");
	Problem		problem = {ERROR_NONE, NULL, NULL, false};
	Board	   *boards[BOARDS_PER_STREAM];
	bool		socket = head->upgrade && h1_list_has(head, "upgrade", "websocket");
	int			count = 0;

	if (!socket && !accepts_events(head))
		problem_set(&problem, ERROR_UPGRADE_REQUIRED, "Connect with WebSocket, or accept text/event-stream.");
	else if (bridge->draining)
		problem_set(&problem, ERROR_UNAVAILABLE, "This server is ending.");
	else
		count = api_find_boards(bridge, list ? list : "global", boards, &problem);
	if (count == 0 || !api_all_public(boards, count, &problem))
		exchange_problem(exchange, &problem);
	else if (socket)
		open_socket(exchange, boards, count, &problem);
	else
		open_events(exchange, boards, count);
}
