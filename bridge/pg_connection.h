/*
 * pg_connection.h - one connection to the database, one question at a time
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_PG_CONNECTION_H
#define BRIDGE_PG_CONNECTION_H

#include "pg_hosts.h"
#include "pg_pool.h"

typedef struct PgConnection PgConnection;

/*
 * What the owner is told. A connection that went down, or could not be made,
 * comes up again by itself. What was asked when it went down stays unanswered.
 */
typedef struct PgConnectionEvents
{
	void		(*up) (PgConnection *connection);
	void		(*answer) (PgConnection *connection, PgEnd end, const PGresult *result);
	void		(*down) (PgConnection *connection, bool was_up);
	void		(*notify) (PgConnection *connection, const PGnotify *notify);	/* may be NULL */
} PgConnectionEvents;

/* `hold`: doesn't try to connect until it is told to. */
extern PgConnection *pg_connection_new(PgHosts *hosts, const PgConnectionEvents *events, void *owner, bool hold);
extern void pg_connection_free(PgConnection *connection);
extern void *pg_connection_owner(const PgConnection *connection);
extern int	pg_connection_backend(const PgConnection *connection);
extern bool pg_connection_idle(const PgConnection *connection);	/* up, and nothing is asked */

/* False where it isn't idle. What isn't answered in time costs the connection. No callback before it returns. */
extern bool pg_connection_ask(PgConnection *connection, const char *sql, int count, const char *const *parameters, int64_t timeout_ms);

extern void pg_connection_drop(PgConnection *connection, const char *reason);
extern void pg_connection_hurry(PgConnection *connection);	/* the database is back: no pause before the next try */
extern void pg_connection_hold(PgConnection *connection, bool hold);

/* Where it is, or was last tried to be: the host's number. And: never there, but on another host that can be written to. */
extern int	pg_connection_host(const PgConnection *connection);
extern void pg_connection_avoid(PgConnection *connection, int host);

/* Since when it has been connecting to that host (ms); 0: it isn't. */
extern uint64_t pg_connection_connecting_since(const PgConnection *connection);

/* Is the server a standby, as far as it has told? */
extern bool pg_connection_on_standby(const PgConnection *connection);

/* An answer was of use: the next loss is followed by a short pause again. */
extern void pg_connection_proved(PgConnection *connection);

#endif
