/*
 * Put before the C library (LD_PRELOAD): how sends go, by the first letter in
 * the file that SLOWLY names; without the file as ever.
 *
 *	s	slowly: each that carries a list takes 2 ms, as if the kernel had a lot
 *		to do, so that a broadcast lasts, and what happens within it can be seen
 *	f	full: none that begins with a list takes anything
 *	t	torn: of the first pong one byte goes, and then nothing to a client but lists
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef ssize_t (*Send) (int, const void *, size_t, int);

static int
mode(void)
{
	FILE	   *file = fopen(getenv("SLOWLY"), "r");
	int			letter = file ? fgetc(file) : EOF;

	if (file)
		fclose(file);
	return letter;
}

static int
is_client(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t	length = sizeof(address);

	return getsockname(fd, (struct sockaddr *) &address, &length) == 0 && address.ss_family == AF_INET;
}

ssize_t
send(int fd, const void *bytes, size_t length, int flags)
{
	static int	torn;
	Send		next = (Send) dlsym(RTLD_NEXT, "send");
	int			letter = mode();
	int			list = memmem(bytes, length < 80 ? length : 80, "leaderboard.update", 18) != NULL;

	if (letter == 's' && list)
		usleep(2000);
	if ((letter == 'f' && list) || (letter == 't' && torn && !list && is_client(fd)))
	{
		errno = EAGAIN;
		return -1;
	}
	if (letter == 't' && !list && length > 0 && *(const unsigned char *) bytes == 0x8a)
	{
		torn = 1;
		return next(fd, bytes, 1, flags);
	}
	return next(fd, bytes, length, flags);
}
