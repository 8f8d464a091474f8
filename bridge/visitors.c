/*
 * visitors.c - whose requests these are, by address, and how many they may have
 *
 * Owns the list of trusted proxies and the limiter. A request is its peer's, or
 * behind a trusted proxy whose X-Forwarded-For says (addresses.c); that address
 * is counted (limiter.c), logged and stored with actions.
 *
 * A proxy's connections carry everybody's requests, so they count as nobody's;
 * but one that becomes a stream is its client's from then on.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "visitors.h"

#include <stdio.h>
#include <string.h>

#include "addresses.h"
#include "limiter.h"
#include "log.h"
#include "random.h"
#include "routes.h"

#define PLACES 65536			/* addresses that are remembered: 3 MB */

void
visitors_start(Bridge *bridge)
{
	bridge->proxies = proxies_new(bridge->options.trusted_proxy);
	if (bridge->options.requests_per_minute > 0)
		bridge->limiter = limiter_new((uint32_t) bridge->options.requests_per_minute, PLACES, random_seed());
}

void
visitors_free(Bridge *bridge)
{
	if (bridge->limiter)
		limiter_free(bridge->limiter);
	free(bridge->proxies);
}

bool
visitors_trust(const Bridge *bridge, const struct in6_addr *peer)
{
	return proxies_have(bridge->proxies, peer);
}

void
visitor_recognise(Exchange *exchange, const H1Head *head)
{
	const Proxies *proxies = exchange->bridge->proxies;

	if (proxies_have(proxies, &exchange->address))
		exchange->address = proxies_client(proxies, &exchange->address, head);
}

static void
log_blocked(const struct in6_addr *address)
{
	char		text[INET6_ADDRSTRLEN];

	address_write(address, text);
	log_info("address blocked", LOG_TEXT("address", text), LOG_NUMBER("seconds", LIMITER_WINDOW_MS / 1000));
}

void
visitor_count(const Exchange *exchange, Problem *problem, char headers[32])
{
	Bridge	   *bridge = exchange->bridge;
	bool		unlimited = exchange->route && exchange->route->unlimited;
	bool		begins = false;
	uint64_t	wait;

	/* Where nothing is known of a peer it is a proxy, with everybody's requests. */
	if (bridge->limiter == NULL || unlimited || IN6_IS_ADDR_UNSPECIFIED(&exchange->address))
		return;
	wait = limiter_take(bridge->limiter, &exchange->address, uv_now(&bridge->loop), &begins);
	if (begins)
		log_blocked(&exchange->address);
	/* What ends the connection is told as what it is. */
	if (wait == 0 || problem->close)
		return;
	snprintf(headers, 32, "Retry-After: %u\r\n", (unsigned) ((wait + 999) / 1000));
	*problem = (Problem) {ERROR_RATE_LIMITED, "Too many requests have come from this address.", headers, false};
}

bool
visitor_keep(const Exchange *exchange, Problem *problem)
{
	bool		peer = memcmp(client_peer(exchange->client), &exchange->address, sizeof(exchange->address)) == 0;

	if (peer || client_count_under(exchange->client, &exchange->address))
		return true;
	problem->headers = "Retry-After: 10\r\n";
	return problem_set(problem, ERROR_RATE_LIMITED, "This address has as many streams as it may have.");
}
