/*
 * account.h - what is counted and logged of a request
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_ACCOUNT_H
#define BRIDGE_ACCOUNT_H

#include "exchange.h"

/* An answer has been given, to the client or, where that is gone, to nobody. */
extern void account(const Exchange *exchange, const Answer *answer);

#endif
