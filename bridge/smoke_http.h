/*
 * smoke_http.h - a client of HTTP for --smoke: one request a connection, blocking
 *
 * Not for the loop. Every call ends within the time that the connection was
 * given, and says in a sentence what went wrong.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SMOKE_HTTP_H
#define BRIDGE_SMOKE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SMOKE_HEAD_MAX (16 * 1024)

typedef struct SmokeTarget
{
	bool		secure;
	char		host[256];		/* without brackets */
	char		port[6];
	char		authority[264]; /* for Host: as it stood in the URL */
	char		base[256];		/* of the path, without a slash at its end */
} SmokeTarget;

typedef struct SmokeConnection SmokeConnection;

/* Is it http://host[:port][/base] or https://…? If not, why not. */
extern bool smoke_check_url(const char *url, char *reason, size_t size);
extern void smoke_target(const char *url, SmokeTarget *target);

/*
 * Connects, sends head (its lines behind the request line and Host, each with
 * its end) and body, and reads the answer's head. NULL: it came to nothing, and
 * reason says why.
 */
extern SmokeConnection *smoke_request(const SmokeTarget *target, const char *method, const char *path, const char *lines,
									  const char *body, int64_t timeout_ms, char *reason, size_t size);
extern void smoke_close(SmokeConnection *connection);	/* NULL is fine */

extern int	smoke_status(const SmokeConnection *connection);
extern bool smoke_header(const SmokeConnection *connection, const char *name, char *value, size_t size);

/* More of the body, as it comes; 0 at its end, -1 with a reason where it doesn't come. */
extern long smoke_read(SmokeConnection *connection, char *out, size_t size, char *reason, size_t reason_size);

#endif
