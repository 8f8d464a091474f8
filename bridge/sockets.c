/*
 * sockets.c - the sockets that the bridge listens on
 *
 * An entry is a path behind "unix:" (unix_socket.c), or a name or address and a
 * port; a name stands for all its addresses (localhost is 127.0.0.1 and ::1),
 * and all of them are listened on or the bridge doesn't start: a client that
 * tries the one that was left out would find somebody else there, or nobody.
 *
 * SO_REUSEADDR only lets a bridge start again while old connections linger; of
 * two listening sockets Linux lets both have a port only where both say
 * SO_REUSEPORT. So a second bridge is refused unless each was told to share.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <errno.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockets.h"

#define BACKLOG 4096
#define UNIX_PREFIX "unix:"

typedef struct Entry
{
	const char *flag;			/* where it stands */
	char		host[256];		/* empty: every address of this machine; of a unix socket its path */
	char		port[6];		/* empty: a unix socket */
} Entry;

/* getaddrinfo takes names of services for ports, and 99999 for another number. */
static bool
read_port(Entry *entry, const char *text, size_t length)
{
	if (length < 1 || length > 5 || strspn(text, "0123456789") < length)
		return false;
	memcpy(entry->port, text, length);
	entry->port[length] = '\0';
	return atoi(entry->port) <= UINT16_MAX;
}

static bool
read_path(Entry *entry, const char *text, size_t length, const char **wanted)
{
	*wanted = "an absolute path of at most 107 characters after unix:";
	if (length == 0 || length >= sizeof(((UnixSocket *) NULL)->path) || text[0] != '/' || text[length - 1] == '/')
		return false;
	memcpy(entry->host, text, length);
	entry->host[length] = '\0';
	entry->port[0] = '\0';
	return true;
}

/* One unix:/path, address:port or [address]:port, up to the comma or the end. */
static bool
read_entry(Entry *entry, const char *text, size_t length, const char **wanted)
{
	size_t		host = length;

	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return read_path(entry, text + strlen(UNIX_PREFIX), length - strlen(UNIX_PREFIX), wanted);
	while (host > 0 && text[host - 1] != ':')
		host--;
	*wanted = "address:port or unix:/path";
	if (host-- == 0)
		return false;
	*wanted = "a port from 0 to 65535 after the last colon";
	if (!read_port(entry, text + host + 1, length - host - 1))
		return false;
	*wanted = "an IPv6 address in brackets, [::1]:8080,";
	if (host > 0 && (text[0] == '[') != (text[host - 1] == ']'))
		return false;
	if (host > 0 && text[0] == '[')
	{
		text++;
		host -= 2;
	}
	else if (memchr(text, ':', host))
		return false;
	*wanted = "a name or address of at most 255 characters without blanks";
	if (host >= sizeof(entry->host) || strcspn(text, " \t[]") < host)
		return false;
	memcpy(entry->host, text, host);
	entry->host[host] = '\0';
	return true;
}

bool
sockets_check(const char *list, char *reason, size_t size)
{
	Entry		entry;
	const char *wanted;

	for (const char *p = list;; p++)
	{
		size_t		length = strcspn(p, ",");

		if (!read_entry(&entry, p, length, &wanted))
		{
			snprintf(reason, size, "%s is wanted", wanted);
			return false;
		}
		p += length;
		if (*p == '\0')
			return true;
	}
}

bool
sockets_check_mode(const char *mode, char *reason, size_t size)
{
	snprintf(reason, size, "an octal number from 000 to 0777 is wanted");
	return unix_socket_mode(mode) >= 0;
}

static int
listen_on(const struct addrinfo *wanted, bool share_port)
{
	int			on = 1;
	int			error;
	int			fd = socket(wanted->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Of its own, so that [::]:8080 and 0.0.0.0:8080 go together. */
	if (wanted->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if ((!share_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
		bind(fd, wanted->ai_addr, wanted->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static void
complain(const Entry *entry, const struct addrinfo *wanted, bool share_port, const char *reason)
{
	char		address[NI_MAXHOST] = "";

	if (wanted)
		getnameinfo(wanted->ai_addr, wanted->ai_addrlen, address, sizeof(address), NULL, 0, NI_NUMERICHOST);
	fprintf(stderr, "scoreboard-bridge: --%s: cannot listen at \"%s\", port %s%s%s: %s%s\n",
			entry->flag, entry->host, entry->port, address[0] ? ", address " : "", address, reason,
			strcmp(reason, strerror(EADDRINUSE)) != 0 ? "" :
			share_port ? " by one without --share-port, or another user's" : "; bridges share one with --share-port only");
}

/* /etc/hosts may give a name the same address twice. */
static bool
is_repeated(const struct addrinfo *found, const struct addrinfo *one)
{
	for (; found != one; found = found->ai_next)
		if (found->ai_addrlen == one->ai_addrlen && memcmp(found->ai_addr, one->ai_addr, one->ai_addrlen) == 0)
			return true;
	return false;
}

static bool
open_unix(const Entry *entry, const Options *options, ListenSocket sockets[SOCKETS_MAX], int *count)
{
	const char *reason = "too many addresses";
	ListenSocket *place = &sockets[*count];

	if (*count < SOCKETS_MAX)
	{
		place->fd = unix_socket_listen(&place->file, entry->host, unix_socket_mode(options->socket_mode), BACKLOG, &reason);
		if (place->fd >= 0)
		{
			++*count;
			return true;
		}
	}
	fprintf(stderr, "scoreboard-bridge: --%s: cannot listen at \"" UNIX_PREFIX "%s\": %s\n", entry->flag, entry->host, reason);
	return false;
}

/* All addresses of an entry; false after a sentence. */
static bool
open_addresses(const Entry *entry, bool share_port, ListenSocket sockets[SOCKETS_MAX], int *count)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found = NULL;
	bool		fine = true;
	int			code = getaddrinfo(entry->host[0] ? entry->host : NULL, entry->port, &hints, &found);

	if (code != 0)
	{
		complain(entry, NULL, share_port, code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
		return false;
	}
	for (const struct addrinfo *one = found; one && fine; one = one->ai_next)
	{
		if (is_repeated(found, one))
			continue;
		fine = *count < SOCKETS_MAX;
		if (!fine)
		{
			complain(entry, one, share_port, "too many addresses");
			break;
		}
		sockets[*count].fd = listen_on(one, share_port);
		sockets[*count].file.path[0] = '\0';
		if (sockets[*count].fd >= 0)
			++*count;
		/* "Every address" of a machine without IPv6 are those of IPv4. */
		else if (errno != EAFNOSUPPORT || entry->host[0])
		{
			fine = false;
			complain(entry, one, share_port, strerror(errno));
		}
	}
	freeaddrinfo(found);
	return fine;
}

void
sockets_close(const ListenSocket *socket)
{
	unix_socket_remove(&socket->file);
	close(socket->fd);
}

int
sockets_open(const Options *options, const char *flag, const char *list, bool share_port, ListenSocket sockets[SOCKETS_MAX])
{
	int			count = 0;

	for (const char *p = list;; p++)
	{
		Entry		entry;
		const char *wanted;
		size_t		length = strcspn(p, ",");

		entry.flag = flag;
		if (!read_entry(&entry, p, length, &wanted) ||
			!(entry.port[0] ? open_addresses(&entry, share_port, sockets, &count) : open_unix(&entry, options, sockets, &count)))
		{
			while (count > 0)
				sockets_close(&sockets[--count]);
			return -1;
		}
		p += length;
		if (*p == '\0')
			return count;
	}
}
