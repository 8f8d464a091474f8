/*
 * account.h - what is counted and logged of a request
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_ACCOUNT_H
#define BRIDGE_ACCOUNT_H

#include "exchange.h"

/* Takes the caller's traceparent, if there is one that can be understood, so that the request's line bears it. */
extern void account_trace(Exchange *exchange, const H1Head *head);

/* Whose request it is, as the database has said; the second: out of an answer's member userId. */
extern void account_player(Exchange *exchange, const char *user_id);
extern void account_player_of(Exchange *exchange, const char *body);

/* An answer has been given, to the client or, where that is gone, to nobody. */
extern void account(const Exchange *exchange, const Answer *answer);

#endif
