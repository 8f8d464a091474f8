/*
 * routes.h - the table of paths
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_ROUTES_H
#define BRIDGE_ROUTES_H

#include "exchange.h"

typedef struct Route
{
	const char *pattern;		/* "/v1/users/{id}/score": a segment in braces takes any one segment */
	void		(*handler) (Exchange *exchange);	/* answers, now or later; called when the body is complete */
	const char *const *parameters;	/* names that the query may have, NULL at the end; NULL: any */
	Method		method;			/* GET answers HEAD too */
	bool		body;			/* wants one, of type application/json */
	bool		keyed;			/* has an Idempotency-Key */
	bool		unlimited;		/* however often an address asks */
} Route;

/*
 * Finds exchange->route for method and path; false with 404 or 405 (and Allow)
 * in the problem. Segments are compared as they were sent, and what stands in
 * braces is decoded afterwards (into exchange->items), so that %2F is no slash.
 */
extern bool route_find(Exchange *exchange, const H1Head *head, Problem *problem);

/* Routes have numbers, from 0: the table's, then the page's files, then "none" (NULL). */
extern int	route_numbers(void);	/* how many */
extern int	route_number(const Route *route);
extern const Route *route_by_number(int number);

/* The methods of the exchange's route, with commas; for Allow and preflights. */
extern const char *route_methods(const Exchange *exchange);

#endif
