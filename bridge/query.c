/*
 * query.c - splits a query first and decodes its parts afterwards
 *
 * In that order, so that an encoded & or = belongs to its value.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "query.h"

#include <stdlib.h>
#include <string.h>

static int
digit(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

bool
query_decode(char *text, bool plus)
{
	char	   *out = text;

	for (; *text; text++)
	{
		char		c = *text;

		if (c == '%')
		{
			c = (char) (digit(text[1]) << 4 | digit(text[2]));
			text += 2;
		}
		else if (c == '+' && plus)
			c = ' ';
		if ((unsigned char) c < ' ' || c == 0x7f)
			return false;
		*out++ = c;
	}
	*out = '\0';
	return true;
}

static bool
take(Exchange *exchange, char *piece, Problem *problem)
{
	char	   *equals = strchr(piece, '=');

	if (equals == NULL || equals == piece || equals[1] == '\0')
		return problem_set(problem, ERROR_INVALID_REQUEST, "A parameter is empty.");
	if (exchange->parameter_count == PARAMETERS_MAX)
		return problem_set(problem, ERROR_INVALID_REQUEST, "There are too many parameters.");
	*equals = '\0';
	if (!query_decode(piece, true) || !query_decode(equals + 1, true))
		return problem_set(problem, ERROR_INVALID_REQUEST, "A parameter has a control character.");
	exchange->parameters[exchange->parameter_count++] = (Parameter) {piece, equals + 1};
	return true;
}

bool
query_read(Slice query, Exchange *exchange, Problem *problem)
{
	char	   *rest;
	char	   *piece;

	if (query.length == 0)
		return true;
	rest = exchange->query = strndup(query.at, query.length);
	if (rest == NULL)
		return problem_set(problem, ERROR_UNAVAILABLE, "Out of memory.");
	while ((piece = strsep(&rest, "&")) != NULL)
		if (!take(exchange, piece, problem))
			return false;
	return true;
}

/* The parameter's value, not decoded yet; NULL: there is none. */
static char *
find_raw(char *query, const char *name)
{
	char	   *piece;

	while ((piece = strsep(&query, "&")) != NULL)
	{
		char	   *value = strchr(piece, '=');

		if (value == NULL)
			continue;
		*value = '\0';
		if (query_decode(piece, true) && strcmp(piece, name) == 0)
			return value + 1;
	}
	return NULL;
}

int
query_list(Slice query, const char *name, const char **items, int most, char **text)
{
	char	   *rest;
	char	   *item;
	int			count = 0;

	*text = query.length > 0 ? strndup(query.at, query.length) : NULL;
	rest = *text ? find_raw(*text, name) : NULL;
	while ((item = strsep(&rest, ",")) != NULL)
	{
		if (count == most || item[0] == '\0' || !query_decode(item, true))
			return -1;
		items[count++] = item;
	}
	return count;
}
