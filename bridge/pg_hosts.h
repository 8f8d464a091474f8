/*
 * pg_hosts.h - which servers there are, and what is known to be wrong with them
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_PG_HOSTS_H
#define BRIDGE_PG_HOSTS_H

#include <libpq-fe.h>

#include "bridge.h"

typedef struct PgHosts PgHosts;
typedef struct PgSearch PgSearch;

/* One server to be tried, by one address. */
typedef struct PgTarget
{
	const char *host;			/* for certificates and passwords; NULL: libpq's default */
	const char *address;		/* NULL: a socket's directory is the host, or libpq knows */
	const char *port;			/* NULL: as the connection string has it */
	const char *attributes;		/* target_session_attrs; NULL: likewise */
	int64_t		timeout_ms;
} PgTarget;

extern PgHosts *pg_hosts_new(Bridge *bridge);
extern void pg_hosts_free(PgHosts *hosts);
extern Bridge *pg_hosts_bridge(const PgHosts *hosts);

/* A server can't be written to: from now on one is wanted that can. False where the string demands otherwise. */
extern bool pg_hosts_want_writable(PgHosts *hosts);

/* Once a call of pg_search_next, perhaps within it. target NULL: all have been tried; reason may say what was wrong with a name. */
typedef void (*PgFound) (void *owner, const PgTarget *target, const char *reason);

extern PgSearch *pg_search_new(PgHosts *hosts, PgFound found, void *owner);
extern void pg_search_free(PgSearch *search);
extern void pg_search_begin(PgSearch *search);	/* at the first again */
extern void pg_search_next(PgSearch *search);

/* ---- errors ---- */

/* Does an error of this SQLSTATE last until somebody does something? */
extern bool pg_error_lasts(const char *sqlstate);
extern bool pg_error_passes(const char *sqlstate);	/* by itself: what was asked may be asked again at once */

/*
 * Logs a lasting error, with what to do about it, unless that has been said
 * since the last answer. From a server that can't be written to on, one is
 * wanted that can.
 */
extern void pg_error_said(PgHosts *hosts, const PGresult *result);
extern void pg_error_over(PgHosts *hosts);

#endif
