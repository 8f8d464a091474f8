/*
 * plain/strict_json.c - JSON from strangers, read in exactly one way
 *
 * Two readers that see two things in one text are how tokens get forged, so
 * what jansson leaves to choice is refused here. Depth is looked at on the text, before
 * the parser recurses. Never call json_object() of jansson inside a server process:
 * PostgreSQL exports a function of the same name and the dynamic linker takes
 * the server's (json_pack("{}") is safe, it is bound inside the library).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/strict_json.h"

#include "plain/guard.h"

#define NOT_STRICT "no strict JSON object"

/* Counts brackets outside strings; what is not JSON at all is left to the parser. */
static bool
depth_within(const char *text, size_t length, int max_depth)
{
	int			depth = 0;
	bool		in_string = false;

	for (size_t i = 0; i < length; i++)
	{
		char		c = text[i];

		if (in_string)
		{
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		}
		else if (c == '"')
			in_string = true;
		else if (c == '{' || c == '[')
		{
			if (++depth > max_depth)
				return false;
		}
		else if (c == '}' || c == ']')
			depth--;
	}
	return true;
}

typedef struct Parsing
{
	const char *text;
	size_t		length;
	json_t	   *value;
} Parsing;

static void
parse(void *argument)
{
	Parsing    *parsing = argument;

	parsing->value = json_loadb(parsing->text, parsing->length, JSON_REJECT_DUPLICATES, NULL);
}

const char *
strict_json_object(const char *text, size_t length, int max_depth, json_t **object)
{
	Parsing		parsing = {text, length, NULL};

	*object = NULL;
	if (!depth_within(text, length, max_depth))
		return NOT_STRICT;
	if (!guard_run(parse, &parsing))
		return guard_no_memory;
	if (!json_is_object(parsing.value))
	{
		json_decref(parsing.value);
		return NOT_STRICT;
	}
	*object = parsing.value;
	return NULL;
}

const char *
strict_json_string(const json_t *value, size_t *length)
{
	if (!json_is_string(value))
		return NULL;
	*length = json_string_length(value);
	return json_string_value(value);
}
