/*
 * unix_socket.h - a listening socket that has a file's name
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_UNIX_SOCKET_H
#define BRIDGE_UNIX_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The file that we have made: only that one is removed again. */
typedef struct UnixSocket
{
	char		path[108];		/* empty: none */
	dev_t		device;
	ino_t		inode;
} UnixSocket;

/* Of letters like 0660; -1: none. */
extern int	unix_socket_mode(const char *text);

/*
 * Listens there. A file that a dead process has left is replaced. -1: *reason
 * says why not.
 */
extern int	unix_socket_listen(UnixSocket *made, const char *path, int mode, int backlog, const char **reason);

/* Removes the file, if it is still the one that we made. */
extern void unix_socket_remove(const UnixSocket *made);

#endif
