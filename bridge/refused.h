/*
 * refused.h - what the database says no to, in HTTP
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_REFUSED_H
#define BRIDGE_REFUSED_H

#include "exchange.h"
#include "pg_hosts.h"
#include "pg_pool.h"

/*
 * Answers with the refusal that a function of the extension has raised (SQLSTATE PTxyz, SPEC section 4), its hint included;
 * with UNAVAILABLE where there was no answer or the trouble passes, else with INTERNAL and a line in the log. Not for
 * PG_ANSWERED. Ends the exchange.
 */
extern void exchange_refused(Exchange *exchange, PgEnd end, const PGresult *result);

#endif
