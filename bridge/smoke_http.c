/*
 * smoke_http.c - a client of HTTP/1.1 for --smoke
 *
 * Plain sockets with timeouts, TLS by OpenSSL with the certificate and its name
 * verified against the system's authorities (SSL_CERT_FILE names others). Bodies
 * come with a length, in chunks (proxies do that), or until the end.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE				/* strcasestr, memmem */
#include "smoke_http.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "checks.h"

struct SmokeConnection
{
	int			fd;
	SSL_CTX    *context;		/* NULL: plain */
	SSL		   *ssl;
	int64_t		until;			/* ms */
	int			status;
	char		head[SMOKE_HEAD_MAX + 1];
	char	   *at;				/* in head: what has been read behind it */
	size_t		rest;
	bool		chunked;
	bool		over;			/* the last chunk has been read */
	int64_t		left;			/* of the body, or of this chunk; -1: until the end */
};

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- URLs ---- */

static bool
read_url(const char *url, SmokeTarget *target, const char **wanted)
{
	size_t		scheme = strncasecmp(url, "https://", 8) == 0 ? 8 : strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
	const char *authority = url + scheme;
	size_t		length = strcspn(authority, "/");
	size_t		host = authority[0] == '[' ? strcspn(authority, "]") + 1 : strcspn(authority, ":/");
	const char *path = authority + length;
	size_t		port = length > host ? length - host - 1 : 0;

	*wanted = "http://host:port or https://host:port, perhaps with a path";
	if (scheme == 0 || host == 0 || host > length || length >= sizeof(target->authority) || host >= sizeof(target->host))
		return false;
	*wanted = "neither a user nor a query nor blanks";
	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || strchr("@?#\\\"", *p))
			return false;
	*wanted = "a port from 1 to 65535";
	if (length > host && (authority[host] != ':' || port < 1 || port > 5 || strspn(authority + host + 1, "0123456789") < port ||
						  atoi(authority + host + 1) < 1 || atoi(authority + host + 1) > UINT16_MAX))
		return false;
	*wanted = "a path of at most 255 characters";
	if (strlen(path) >= sizeof(target->base))
		return false;
	target->secure = scheme == 8;
	snprintf(target->authority, sizeof(target->authority), "%.*s", (int) length, authority);
	if (authority[0] == '[')
		snprintf(target->host, sizeof(target->host), "%.*s", (int) host - 2, authority + 1);
	else
		snprintf(target->host, sizeof(target->host), "%.*s", (int) host, authority);
	snprintf(target->port, sizeof(target->port), "%.*s", port ? (int) port : 3, port ? authority + host + 1 : target->secure ? "443" : "80");
	strcpy(target->base, path);
	for (size_t n = strlen(target->base); n > 0 && target->base[n - 1] == '/'; n--)
		target->base[n - 1] = '\0';
	return true;
}

bool
smoke_check_url(const char *url, char *reason, size_t size)
{
	SmokeTarget target;
	const char *wanted = "";

	if (url[0] == '\0' || read_url(url, &target, &wanted))
		return true;
	snprintf(reason, size, "%s is wanted", wanted);
	return false;
}

void
smoke_target(const char *url, SmokeTarget *target)
{
	const char *wanted;

	if (!read_url(url, target, &wanted))
		abort();
}

/* ---- bytes ---- */

/* What is left of its time holds for the next call that waits. */
static bool
set_timeouts(int fd, int64_t until)
{
	int64_t		left = until - now_ms();
	struct timeval time = {left / 1000, left % 1000 * 1000};

	return left > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)) == 0;
}

static bool
fail(char *reason, size_t size, const char *what)
{
	bool		late = errno == EAGAIN || errno == EINPROGRESS || errno == ETIMEDOUT;

	snprintf(reason, size, "%s: %s", what, late ? "not in time" : errno ? strerror(errno) : "the connection has ended");
	return false;
}

static long
receive(SmokeConnection *connection, char *out, size_t size, char *reason, size_t reason_size)
{
	long		n = -1;

	errno = EAGAIN;
	if (set_timeouts(connection->fd, connection->until))
	{
		errno = 0;
		n = connection->ssl ? SSL_read(connection->ssl, out, (int) size) : recv(connection->fd, out, size, 0);
	}
	/* An end without TLS's own farewell: what came has a length, or is a stream. */
	if (n < 0 && connection->ssl && SSL_get_error(connection->ssl, (int) n) == SSL_ERROR_SSL)
		n = 0;
	if (n < 0)
		fail(reason, reason_size, "reading");
	return n;
}

static bool
transmit(SmokeConnection *connection, const char *bytes, size_t length, char *reason, size_t size)
{
	while (length > 0)
	{
		long		n = -1;

		errno = EAGAIN;
		if (set_timeouts(connection->fd, connection->until))
		{
			errno = 0;
			n = connection->ssl ? SSL_write(connection->ssl, bytes, (int) length) : send(connection->fd, bytes, length, MSG_NOSIGNAL);
		}
		if (n <= 0)
			return fail(reason, size, "sending");
		bytes += n;
		length -= (size_t) n;
	}
	return true;
}

/* ---- connecting ---- */

static bool
start_tls(SmokeConnection *connection, const SmokeTarget *target, char *reason, size_t size)
{
	X509_VERIFY_PARAM *parameters;
	long		verified;

	connection->context = SSL_CTX_new(TLS_client_method());
	if (connection->context)
		connection->ssl = SSL_new(connection->context);
	if (connection->ssl == NULL)
		abort();
	SSL_CTX_set_min_proto_version(connection->context, TLS1_2_VERSION);
	SSL_CTX_set_default_verify_paths(connection->context);
	SSL_set_verify(connection->ssl, SSL_VERIFY_PEER, NULL);
	parameters = SSL_get0_param(connection->ssl);
	/* A certificate may be for an address; that is no name to send. */
	if (!X509_VERIFY_PARAM_set1_ip_asc(parameters, target->host))
	{
		X509_VERIFY_PARAM_set1_host(parameters, target->host, 0);
		SSL_set_tlsext_host_name(connection->ssl, target->host);
	}
	SSL_set_fd(connection->ssl, connection->fd);
	errno = 0;
	if (SSL_connect(connection->ssl) == 1)
		return true;
	verified = SSL_get_verify_result(connection->ssl);
	if (verified == X509_V_OK && errno)
		return fail(reason, size, "TLS");
	snprintf(reason, size, "TLS: %s", verified != X509_V_OK ? X509_verify_cert_error_string(verified) :
			 ERR_peek_last_error() ? ERR_reason_error_string(ERR_peek_last_error()) : "the connection has ended");
	return false;
}

/* Every address has what is left of the time. */
static bool
connect_to(SmokeConnection *connection, const SmokeTarget *target, char *reason, size_t size)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int			code = getaddrinfo(target->host, target->port, &hints, &found);

	if (code != 0)
		snprintf(reason, size, "%s: %s", target->host, gai_strerror(code));
	for (const struct addrinfo *one = found; one && connection->fd < 0; one = one->ai_next)
	{
		int			fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		errno = EAGAIN;
		if (fd >= 0 && set_timeouts(fd, connection->until) && connect(fd, one->ai_addr, one->ai_addrlen) == 0)
			connection->fd = fd;
		else
		{
			fail(reason, size, "connecting");
			if (fd >= 0)
				close(fd);
		}
	}
	freeaddrinfo(found);
	return connection->fd >= 0 && (!target->secure || start_tls(connection, target, reason, size));
}

/* ---- the answer's head ---- */

bool
smoke_header(const SmokeConnection *connection, const char *name, char *value, size_t size)
{
	size_t		length = strlen(name);

	for (const char *line = strstr(connection->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':')
		{
			const char *from = line + 3 + length + strspn(line + 3 + length, " \t");

			snprintf(value, size, "%.*s", (int) strcspn(from, "\r\n"), from);
			return true;
		}
	return false;
}

static void
understand_head(SmokeConnection *connection)
{
	char		value[64];

	connection->status = atoi(connection->head + 9);
	connection->left = -1;
	if (smoke_header(connection, "Transfer-Encoding", value, sizeof(value)) && strcasecmp(value, "chunked") == 0)
	{
		connection->chunked = true;
		connection->left = 0;
	}
	else if (smoke_header(connection, "Content-Length", value, sizeof(value)))
		connection->left = atoll(value);
}

static bool
read_head(SmokeConnection *connection, char *reason, size_t size)
{
	size_t		length = 0;
	char	   *end = NULL;

	while (end == NULL)
	{
		long		n = length < SMOKE_HEAD_MAX ? receive(connection, connection->head + length, SMOKE_HEAD_MAX - length, reason, size) : 0;

		if (n == 0)
			snprintf(reason, size, "no answer of HTTP");
		if (n <= 0)
			return false;
		length += (size_t) n;
		connection->head[length] = '\0';
		end = memmem(connection->head, length, "\r\n\r\n", 4);
	}
	if (strncmp(connection->head, "HTTP/1.", 7) != 0)
	{
		snprintf(reason, size, "no answer of HTTP/1");
		return false;
	}
	connection->at = end + 4;
	connection->rest = length - (size_t) (connection->at - connection->head);
	/* Behind its last line's end the head ends for those who search it. */
	end[2] = '\0';
	understand_head(connection);
	return true;
}

/* ---- its body ---- */

/* What was read with the head comes first. */
static long
take(SmokeConnection *connection, char *out, size_t size, char *reason, size_t reason_size)
{
	if (connection->rest == 0)
		return receive(connection, out, size, reason, reason_size);
	if (size > connection->rest)
		size = connection->rest;
	memcpy(out, connection->at, size);
	connection->at += size;
	connection->rest -= size;
	return (long) size;
}

/* The line before a chunk, and the end of the chunk before that; false where the body is over or broken. */
static bool
next_chunk(SmokeConnection *connection, char *reason, size_t size)
{
	char		line[64];
	size_t		n = 0;
	char		c = '\0';

	while (c != '\n' || n == 0)
	{
		long		taken = take(connection, &c, 1, reason, size);

		if (taken == 0)
			snprintf(reason, size, "the answer is cut off");
		if (taken <= 0)
			return false;
		if (c != '\r' && c != '\n' && n < sizeof(line) - 1)
			line[n++] = c;
	}
	line[n] = '\0';
	connection->left = strtoll(line, NULL, 16);
	connection->over = connection->left <= 0;
	return !connection->over;
}

long
smoke_read(SmokeConnection *connection, char *out, size_t size, char *reason, size_t reason_size)
{
	long		n;

	reason[0] = '\0';
	if (connection->over || (connection->left == 0 && !connection->chunked))
		return 0;
	if (connection->chunked && connection->left == 0 && !next_chunk(connection, reason, reason_size))
		return reason[0] ? -1 : 0;
	if (connection->left > 0 && (int64_t) size > connection->left)
		size = (size_t) connection->left;
	n = take(connection, out, size, reason, reason_size);
	if (n > 0 && connection->left > 0)
		connection->left -= n;
	if (n == 0 && connection->left > 0)
	{
		snprintf(reason, reason_size, "the answer is cut off");
		return -1;
	}
	return n;
}

/* ---- all of it ---- */

int
smoke_status(const SmokeConnection *connection)
{
	return connection->status;
}

void
smoke_close(SmokeConnection *connection)
{
	if (connection == NULL)
		return;
	SSL_free(connection->ssl);
	SSL_CTX_free(connection->context);
	if (connection->fd >= 0)
		close(connection->fd);
	free(connection);
}

SmokeConnection *
smoke_request(const SmokeTarget *target, const char *method, const char *path, const char *lines, const char *body,
			  int64_t timeout_ms, char *reason, size_t size)
{
	SmokeConnection *connection = calloc(1, sizeof(*connection));
	size_t		length = body ? strlen(body) : 0;
	size_t		room = strlen(path) + strlen(lines) + length + sizeof(SmokeTarget) + 128;
	char	   *text = malloc(room);

	if (connection == NULL || text == NULL)
		abort();
	connection->fd = -1;
	connection->until = now_ms() + timeout_ms;
	snprintf(text, room, "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: scoreboard-bridge-smoke\r\n%s\r\n%s", method, target->base, path,
			 target->authority, lines, body ? body : "");
	if (!connect_to(connection, target, reason, size) || !transmit(connection, text, strlen(text), reason, size) ||
		!read_head(connection, reason, size))
	{
		smoke_close(connection);
		connection = NULL;
	}
	free(text);
	return connection;
}
