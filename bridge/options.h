/*
 * options.h - the bridge's settings
 *
 * Each is a flag (--pool-size), an environment variable
 * (SCOREBOARD_POOL_SIZE) and a field here, all from the one table in options.c.
 * Set once at the start, before anything else reads them.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_OPTIONS_H
#define BRIDGE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* The Makefile says it. */
#ifndef SCOREBOARD_VERSION
#define SCOREBOARD_VERSION "unreleased"
#endif

/* The one variable that is no setting: what it holds must not stand on a command line. */
#define SMOKE_TOKEN_VARIABLE "SCOREBOARD_SMOKE_TOKEN"

typedef struct Options
{
	const char *listen;			/* address:port or unix:/path, several with commas */
	const char *socket_mode;	/* of a unix socket's file, octal */
	const char *tls_certificate;	/* file; empty: no TLS */
	const char *tls_key;		/* file */
	bool		share_port;		/* with other bridges that do so too */
	const char *trusted_proxy;	/* addresses and ranges with commas; empty: none */
	const char *database;		/* conninfo or URI; empty: libpq's environment */
	const char *allowed_origins;	/* with commas; * is any */
	const char *cookie;			/* whose value is a stream's token; empty: none */
	const char *www;			/* directory of the live page; empty: none */
	const char *log_level;
	const char *metrics_listen; /* as listen; empty: no metrics */
	const char *smoke;			/* URL of a bridge to look at instead of being one; empty: none */
	const char *smoke_token_file;
	const char *smoke_action_file;

	int64_t		workers;
	int64_t		pool_size;
	int64_t		queue_size;
	int64_t		max_connections;
	int64_t		max_connections_per_address;
	int64_t		max_streams_per_player;
	int64_t		requests_per_minute;	/* of an address; 0: any */

	int64_t		submit_timeout_ms;
	int64_t		look_interval_ms;
	int64_t		database_timeout_ms;
	int64_t		reconnect_max_ms;
	int64_t		slow_timeout_ms;
	int64_t		ping_interval_ms;
	int64_t		head_timeout_ms;
	int64_t		body_timeout_ms;
	int64_t		idle_timeout_ms;
	int64_t		drain_timeout_ms;
} Options;

typedef enum OptionsOutcome
{
	OPTIONS_RUN,
	OPTIONS_DONE,				/* --help or --version was printed */
	OPTIONS_BAD					/* a message was printed on standard error */
} OptionsOutcome;

extern OptionsOutcome options_read(Options *options, int argc, char **argv);

#endif
