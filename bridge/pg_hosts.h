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

extern bool pg_hosts_are_several(const PgHosts *hosts);

/* Does the connection string take a server that can't be written to, where no other is found? */
extern bool pg_hosts_may_be_readonly(const PgHosts *hosts);

/* A host, known by its number in the connection string, let the time for an answer pass, or has answered; when it last did (ms). */
extern void pg_hosts_silent(PgHosts *hosts, int host);
extern void pg_hosts_heard(PgHosts *hosts, int host);
extern bool pg_host_is_silent(const PgHosts *hosts, int host);
extern uint64_t pg_hosts_heard_at(const PgHosts *hosts, int host);

/* Once a call of pg_search_next, perhaps within it. target NULL: all have been tried; reason may say what was wrong with a name. */
typedef void (*PgFound) (void *owner, const PgTarget *target, const char *reason);

extern PgSearch *pg_search_new(PgHosts *hosts, PgFound found, void *owner);
extern void pg_search_free(PgSearch *search);
extern void pg_search_begin(PgSearch *search);	/* at the first again */
extern void pg_search_next(PgSearch *search);
extern void pg_search_avoid(PgSearch *search, int host);	/* all but this one, and only those that can be written to where any server will do */
extern int	pg_search_host(const PgSearch *search);	/* the one that was found last */

/* ---- errors ---- */

/* Does an error of this SQLSTATE last until somebody does something? */
extern bool pg_error_lasts(const char *sqlstate);
extern bool pg_error_passes(const char *sqlstate);	/* by itself: what was asked may be asked again at once */

/* Logs a lasting error, with what to do about it, unless that has been said since the last answer. */
extern void pg_error_said(PgHosts *hosts, const PGresult *result);
extern void pg_error_over(PgHosts *hosts);

#endif
