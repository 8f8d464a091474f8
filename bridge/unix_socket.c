/*
 * unix_socket.c - a listening socket that has a file's name
 *
 * The file of a process that has died stays behind, and bind() refuses to take
 * its place. Whether somebody still listens there shows when one connects; a
 * dead one's file is removed. Between that look and the bind another bridge
 * could do the same and lose its file to us, so both are done under a lock
 * (flock) on the directory, which leaves nothing behind.
 *
 * Nobody can connect between bind() and listen(): in between the file gets its
 * mode, so that it is never wider open than that.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_TRIES 100			/* with 10 ms between them */

_Static_assert(sizeof(((UnixSocket *) NULL)->path) == sizeof(((struct sockaddr_un *) NULL)->sun_path),
			   "a path that fits the one fits the other");

int
unix_socket_mode(const char *text)
{
	size_t		length = strspn(text, "01234567");

	if (length < 3 || length > 4 || text[length] != '\0' || strtol(text, NULL, 8) > 0777)
		return -1;
	return (int) strtol(text, NULL, 8);
}

/* The directory, locked if it can be; -1: it can't even be opened, which bind() has more to say about. */
static int
lock_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char		name[sizeof(((UnixSocket *) NULL)->path)] = ".";
	int			fd;

	if (slash)
	{
		memcpy(name, path, (size_t) (slash - path) + 1);
		name[slash - path + 1] = '\0';
	}
	fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++)
		usleep(10000);
	return fd;
}

/* May the name be bound? A dead one's file is gone then. */
static bool
make_way(const struct sockaddr_un *address, const char **reason)
{
	struct stat found;
	int			fd;
	int			error = 0;

	if (lstat(address->sun_path, &found) != 0)
		return true;			/* nothing there, or bind() will say what */
	if (!S_ISSOCK(found.st_mode))
	{
		*reason = "there is a file of that name, and it is no socket";
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *) address, sizeof(*address)) != 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	if (error == ECONNREFUSED && unlink(address->sun_path) == 0)
		return true;
	/* EAGAIN: its queue is full, so it lives. */
	*reason = error == 0 || error == EAGAIN ? "another process listens there" : strerror(error == ECONNREFUSED ? errno : error);
	return false;
}

static int
bind_and_listen(UnixSocket *made, const struct sockaddr_un *address, int mode, int backlog, const char **reason)
{
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat status;

	if (fd >= 0 && bind(fd, (const struct sockaddr *) address, sizeof(*address)) == 0)
	{
		if (chmod(address->sun_path, (mode_t) mode) == 0 && listen(fd, backlog) == 0 && stat(address->sun_path, &status) == 0)
		{
			strcpy(made->path, address->sun_path);
			made->device = status.st_dev;
			made->inode = status.st_ino;
			return fd;
		}
		*reason = strerror(errno);
		unlink(address->sun_path);
	}
	else
		*reason = strerror(errno);
	if (fd >= 0)
		close(fd);
	return -1;
}

int
unix_socket_listen(UnixSocket *made, const char *path, int mode, int backlog, const char **reason)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int			lock;
	int			fd = -1;

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	lock = lock_directory(path);
	if (make_way(&address, reason))
		fd = bind_and_listen(made, &address, mode, backlog, reason);
	if (lock >= 0)
		close(lock);
	return fd;
}

void
unix_socket_remove(const UnixSocket *made)
{
	struct stat found;

	if (made->path[0] && lstat(made->path, &found) == 0 && found.st_dev == made->device && found.st_ino == made->inode)
		unlink(made->path);
}
