/*
 * Put before the C library (LD_PRELOAD): while the file that SLOWLY names
 * exists, every send of more than 200 bytes takes 2 ms, as if the kernel had a
 * lot to do. So a broadcast lasts, and what happens within it can be seen.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

typedef ssize_t (*Send) (int, const void *, size_t, int);

ssize_t
send(int fd, const void *bytes, size_t length, int flags)
{
	Send		next = (Send) dlsym(RTLD_NEXT, "send");

	if (length > 200 && access(getenv("SLOWLY"), F_OK) == 0)
		usleep(2000);
	return next(fd, bytes, length, flags);
}
