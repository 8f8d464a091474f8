/*
 * sockets.h - the sockets that the bridge listens on
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SOCKETS_H
#define BRIDGE_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"
#include "unix_socket.h"

#define SOCKETS_MAX 16

typedef struct ListenSocket
{
	int			fd;
	UnixSocket	file;			/* of a unix socket; of others its path is empty */
} ListenSocket;

/*
 * Is this a list of address:port and unix:/path? If not, why not. Names are not
 * looked up.
 */
extern bool sockets_check(const char *list, char *reason, size_t size);
extern bool sockets_check_mode(const char *mode, char *reason, size_t size);

/*
 * Listens on every address of every entry; how many sockets these are. -1: one
 * can't be had, a sentence on standard error says which of `flag`, and none is
 * open.
 */
extern int	sockets_open(const Options *options, const char *flag, const char *list, bool share_port,
						 ListenSocket sockets[SOCKETS_MAX]);

/* Closed, and its file, if it has one, is gone. */
extern void sockets_close(const ListenSocket *socket);

#endif
