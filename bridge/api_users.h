/*
 * api_users.h - /v1/users: scores of players, and what a token's own player may see and set
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_API_USERS_H
#define BRIDGE_API_USERS_H

#include "exchange.h"

/* Handlers of routes. */
extern void api_score(Exchange *exchange);
extern void api_own_score(Exchange *exchange);
extern void api_own_actions(Exchange *exchange);
extern void api_visibility(Exchange *exchange);

#endif
