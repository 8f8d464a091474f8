/*
 * write/request.c - one increment as it was submitted: its form, whichever way it came, and what it names
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/form.h"
#include "write/request.h"

static bool
check_names(const Request *request, Refusal *refusal)
{
	if (request->action_type == NULL || !form_is_name(request->action_type))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Use letters, digits, \"_\", \".\" and \"-\".",
					  "action type must have 1 to 63 characters of A-Z a-z 0-9 _ . -");
	if (request->action_id == NULL || !form_is_id(request->action_id))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Give every action an id of its own, for example a UUID.",
					  "action id must have 1 to 255 characters, none of them a control character");
	if (request->board == NULL || !form_is_board_name(request->board))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "board must have 1 to 63 characters of a-z 0-9 _ . -");
	return true;
}

static bool
check_numbers(const Request *request, Refusal *refusal)
{
	if (request->has_points && !form_is_score(request->points))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "points must lie between -9007199254740991 and 9007199254740991");
	if (request->has_subscore && !form_is_score(request->subscore))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "subscore must lie between -9007199254740991 and 9007199254740991");
	if (request->has_issued_at && (request->issued_at < 0 || !form_is_score(request->issued_at)))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Give whole seconds since 1970-01-01 00:00 UTC.",
					  "issued_at must lie between 0 and 9007199254740991");
	if (request->receipt && !request->has_issued_at)
		return refuse(refusal, REFUSAL_INVALID_REQUEST, "Send the issued_at that the receipt signs.",
					  "a receipt needs issued_at");
	return true;
}

bool
request_is_address(const char *text)
{
	struct in6_addr address;

	return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

static bool
check_extras(const Request *request, Refusal *refusal)
{
	if (request->detail && !form_is_detail(request->detail))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "detail must have 1 to 256 bytes, something visible among them, no control and no bidirectional-override characters");
	if (request->idempotency_key && !form_is_visible_ascii(request->idempotency_key, 255))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "idempotency key must have 1 to 255 visible ASCII characters");
	if (request->request_id && !form_is_visible_ascii(request->request_id, 128))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL,
					  "request id must have 1 to 128 visible ASCII characters");
	if (request->client_address && !request_is_address(request->client_address))
		return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "client address must be an IPv4 or IPv6 address");
	if (request->metadata)
	{
		if (!JB_ROOT_IS_OBJECT(request->metadata))
			return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "metadata must be a JSON object");
		if (VARSIZE(request->metadata) > 4 * REQUEST_METADATA_MAX ||
			strlen(JsonbToCString(NULL, &request->metadata->root, VARSIZE(request->metadata))) > REQUEST_METADATA_MAX)
			return refuse(refusal, REFUSAL_INVALID_REQUEST, NULL, "metadata must not be longer than 4096 bytes");
	}
	return true;
}

bool
request_check(const Request *request, Refusal *refusal)
{
	return check_names(request, refusal) &&
		check_numbers(request, refusal) &&
		check_extras(request, refusal);
}

bool
request_find_rule(const Request *request, const Board **board, const ActionRule **rule, Refusal *refusal)
{
	*board = config_board(request->board);
	if (*board == NULL)
		return refuse(refusal, REFUSAL_NOT_FOUND, "scoreboard.board lists the boards.",
					  "there is no board \"%s\"", request->board);
	if ((*board)->is_label)
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "Name its template: the player's labels decide which of its label boards an action counts towards.",
					  "an action can't name label board \"%s\"", request->board);
	if ((*board)->kind != BOARD_COUNTED)
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "Actions are counted on the servers that its list comes from.",
					  "nothing is counted on board \"%s\", whose list comes from elsewhere", request->board);
	*rule = config_action_rule(*board, request->action_type);
	if (*rule == NULL)
		return refuse(refusal, REFUSAL_ACTION_NOT_ALLOWED, "scoreboard.action_type lists the action types.",
					  "there is no action type \"%s\"", request->action_type);
	return true;
}
