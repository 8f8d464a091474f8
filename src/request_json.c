/*
 * request_json.c - an increment read from JSON text, in exactly one way
 *
 * An element of a batch is judged on its own text, before anything of
 * PostgreSQL's JSON sees it: a cast to jsonb would fail for the whole batch on
 * \u0000 or 1e400000, would merge duplicate members and turn 1e1 into 10.
 *
 * Allocates through jansson only and frees it before it returns.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>

#include "request_json.h"
#include "strict_json.h"

#define DEPTH_MAX 32
#define EXPONENT_MAX 300		/* decimal exponents beyond are nobody's data */

/* A member that is a string; null counts as not given. False where it is something else. */
static bool
take_text(json_t *object, const char *member, TextArena *arena, const char **text)
{
	json_t	   *value = json_object_get(object, member);
	const char *string;
	size_t		length;

	if (value == NULL || json_is_null(value))
		return true;
	string = strict_json_string(value, &length);
	if (string == NULL)
		return false;
	*text = text_arena_copy(arena, string, length);
	return *text != NULL;
}

static bool
take_integer(json_t *object, const char *member, bool *given, int64_t *number)
{
	json_t	   *value = json_object_get(object, member);

	if (value == NULL || json_is_null(value))
		return true;
	if (!json_is_integer(value))
		return false;
	*given = true;
	*number = json_integer_value(value);
	return true;
}

static const char *
take_members(json_t *object, TextArena *arena, RequestJson *request)
{
	json_t	   *metadata = json_object_get(object, "metadata");

	/* First, so that a refusal of anything else can name the request. */
	if (!take_text(object, "requestId", arena, &request->request_id))
		return "requestId must be a string";
	request->has_metadata = metadata != NULL && !json_is_null(metadata);
	if (request->has_metadata && !json_is_object(metadata))
		return "metadata must be a JSON object";
	if (!take_text(object, "actionType", arena, &request->action_type))
		return "actionType must be a string";
	if (!take_text(object, "actionId", arena, &request->action_id))
		return "actionId must be a string";
	if (!take_text(object, "board", arena, &request->board))
		return "board must be a string";
	if (!take_text(object, "receipt", arena, &request->receipt))
		return "receipt must be a string";
	if (!take_text(object, "idempotencyKey", arena, &request->idempotency_key))
		return "idempotencyKey must be a string";
	if (!take_text(object, "token", arena, &request->token))
		return "token must be a string";
	if (!take_text(object, "clientAddress", arena, &request->client_address))
		return "clientAddress must be a string";
	if (!take_integer(object, "points", &request->has_points, &request->points))
		return "points must be an integer, without fraction or exponent";
	if (!take_integer(object, "issuedAt", &request->has_issued_at, &request->issued_at))
		return "issuedAt must be an integer, without fraction or exponent";
	return NULL;
}

const char *
request_json_read(const char *text, size_t length, TextArena *arena, RequestJson *request)
{
	json_t	   *object = strict_json_object(text, length, DEPTH_MAX);
	const char *wrong;

	memset(request, 0, sizeof(*request));
	if (object == NULL)
		return "the request is not a well-formed JSON object without duplicate members, at most 32 levels deep";
	wrong = take_members(object, arena, request);
	json_decref(object);
	return wrong;
}

/* Callers have read the text with request_json_read, so it is well-formed. */
bool
request_json_numbers_fit(const char *json)
{
	bool		in_string = false;

	for (const char *c = json; *c; c++)
	{
		if (in_string && *c == '\\' && c[1] != '\0')
			c++;
		else if (*c == '"')
			in_string = !in_string;
		else if (!in_string && (*c == 'e' || *c == 'E') && (c[1] == '+' || c[1] == '-' || (c[1] >= '0' && c[1] <= '9')))
		{
			long		exponent = strtol(c + 1, NULL, 10);

			if (exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX)
				return false;
		}
	}
	return true;
}
