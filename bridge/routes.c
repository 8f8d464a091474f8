/*
 * routes.c - which handler answers what, and the search in that table
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_increment.h"
#include "api_read.h"
#include "api_stream.h"
#include "api_ticket.h"
#include "api_users.h"
#include "pages.h"
#include "query.h"

static const char *const no_parameters[] = {NULL};
static const char *const top_parameters[] = {"board", "limit", "skip", "season", NULL};
static const char *const around_parameters[] = {"board", "user", "radius", "season", NULL};
static const char *const ranks_parameters[] = {"board", "users", "season", NULL};
static const char *const view_parameters[] = {"board", "limit", "radius", "users", "season", NULL};
static const char *const score_parameters[] = {"board", "season", NULL};
static const char *const actions_parameters[] = {"board", "cursor", "limit", NULL};
static const char *const stream_parameters[] = {"board", "ticket", NULL};

static const Route routes[] = {
	{"/v1/leaderboard/top", api_top, top_parameters, METHOD_GET, false, false, false},
	{"/v1/leaderboard/around", api_around, around_parameters, METHOD_GET, false, false, false},
	{"/v1/leaderboard/ranks", api_ranks, ranks_parameters, METHOD_GET, false, false, false},
	{"/v1/leaderboard/view", api_view, view_parameters, METHOD_GET, false, false, false},
	{"/v1/leaderboard/stream", api_stream, stream_parameters, METHOD_GET, false, false, false},
	{"/v1/boards", api_boards, no_parameters, METHOD_GET, false, false, false},
	{"/v1/users/me/score", api_own_score, score_parameters, METHOD_GET, false, false, false},
	{"/v1/users/me/actions", api_own_actions, actions_parameters, METHOD_GET, false, false, false},
	{"/v1/users/me/visibility", api_visibility, no_parameters, METHOD_PUT, true, false, false},
	/* Behind the rows of "me", which is nobody's id over HTTP. */
	{"/v1/users/{id}/score", api_score, score_parameters, METHOD_GET, false, false, false},
	{"/v1/scores/increment", api_increment, no_parameters, METHOD_POST, true, true, false},
	{"/v1/stream-tickets", api_ticket, no_parameters, METHOD_POST, false, false, false},
	{"/health", api_health, no_parameters, METHOD_GET, false, false, true},
	{"/ready", api_ready, no_parameters, METHOD_GET, false, false, true},
	{"/openapi.json", pages_answer, no_parameters, METHOD_GET, false, false, false},
	{"/asyncapi.json", pages_answer, no_parameters, METHOD_GET, false, false, false},
};

#define ROUTES (sizeof(routes) / sizeof(routes[0]))

/* Files of the live page; whatever their URL's query is, the page itself reads it. */
static const Route page_route = {"", pages_answer, NULL, METHOD_GET, false, false, false};

/* ---- numbers ---- */

int
route_numbers(void)
{
	return (int) ROUTES + 2;
}

int
route_number(const Route *route)
{
	return route == NULL ? (int) ROUTES + 1 : route == &page_route ? (int) ROUTES : (int) (route - routes);
}

const Route *
route_by_number(int number)
{
	return number < (int) ROUTES ? &routes[number] : number == (int) ROUTES ? &page_route : NULL;
}

/* ---- patterns ---- */

/* The segment that begins at `at`, up to the next slash. */
static Slice
segment(const char *at, const char *end)
{
	const char *slash = memchr(at, '/', (size_t) (end - at));

	return (Slice) {at, (size_t) ((slash ? slash : end) - at)};
}

static bool
matches(const char *pattern, Slice path)
{
	const char *p = pattern;
	const char *p_end = pattern + strlen(pattern);
	const char *at = path.at;
	const char *end = path.at + path.length;

	while (p < p_end && at < end && *p == '/' && *at == '/')
	{
		Slice		want = segment(p + 1, p_end);
		Slice		have = segment(at + 1, end);
		bool		any = want.length > 0 && want.at[0] == '{';

		if (any ? have.length == 0 : have.length != want.length || memcmp(have.at, want.at, want.length) != 0)
			return false;
		p = want.at + want.length;
		at = have.at + have.length;
	}
	return p == p_end && at == end;
}

/* Decodes what stands in the braces; false where that isn't text. */
static bool
take_items(Exchange *exchange, const char *pattern, Slice path, Problem *problem)
{
	char	   *rest;
	char	   *item;
	int			count = 0;

	if (strchr(pattern, '{') == NULL)
		return true;
	rest = exchange->segments = strndup(path.at + 1, path.length - 1);
	if (rest == NULL)
		return problem_set(problem, ERROR_UNAVAILABLE, "Out of memory.");
	for (const char *p = pattern; p && (item = strsep(&rest, "/")) != NULL; p = strchr(p + 1, '/'))
	{
		if (p[1] != '{' || count == PATH_ITEMS_MAX)
			continue;
		if (!query_decode(item, false))
			return problem_set(problem, ERROR_INVALID_REQUEST, "The path has a control character.");
		exchange->items[count++] = item;
	}
	return true;
}

/* ---- finding ---- */

/* "GET, HEAD" of a pattern: rows of one pattern stand together. */
static const char *
methods_of(const char *pattern)
{
	static char text[64];
	size_t		n = 0;

	if (strcmp(pattern, page_route.pattern) == 0)
		return "GET, HEAD";
	for (size_t i = 0; i < ROUTES; i++)
		if (strcmp(routes[i].pattern, pattern) == 0)
			n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%s%s", n ? ", " : "", method_name(routes[i].method),
								   routes[i].method == METHOD_GET ? ", HEAD" : "");
	return text;
}

const char *
route_methods(const Exchange *exchange)
{
	return methods_of(exchange->route->pattern);
}

static bool
takes(const Route *route, Method method)
{
	return method == route->method || (method == METHOD_HEAD && route->method == METHOD_GET);
}

static bool
not_allowed(const char *pattern, Problem *problem)
{
	static char allow[80];

	snprintf(allow, sizeof(allow), "Allow: %s\r\n", methods_of(pattern));
	problem->headers = allow;
	return problem_set(problem, ERROR_METHOD_NOT_ALLOWED, "This path doesn't have that method.");
}

bool
route_find(Exchange *exchange, const H1Head *head, Problem *problem)
{
	const Route *found = NULL;

	for (size_t i = 0; i < ROUTES; i++)
	{
		if (!matches(routes[i].pattern, head->path))
			continue;
		found = &routes[i];
		if (takes(found, exchange->method) || (exchange->method == METHOD_OPTIONS && exchange->origin[0]))
		{
			exchange->route = found;
			return take_items(exchange, found->pattern, head->path, problem);
		}
	}
	if (found == NULL && pages_have(exchange))
		found = &page_route;
	if (found == &page_route && takes(found, exchange->method))
	{
		exchange->route = found;
		return true;
	}
	if (found)
		return not_allowed(found->pattern, problem);
	return problem_set(problem, ERROR_NOT_FOUND, "There is nothing here.");
}
