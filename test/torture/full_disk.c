/*
 * full_disk.c - a server whose disk fills up when the torture says so
 *
 * Preloaded into the server. While the file exists that FULL_DISK names, no
 * regular file grows: what would, fails with ENOSPC, and what lies within a
 * file's size is written, as on a disk without a free block. Standard output
 * and error, the server's log, are spared: it is what we read afterwards.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

static bool
is_full(void)
{
	const char *file = getenv("FULL_DISK");

	return file && access(file, F_OK) == 0;
}

/* Is there no room for so many bytes there? offset < 0: where the descriptor stands. */
static bool
no_room(int fd, off_t offset, off_t length)
{
	int			kept = errno;
	struct stat status;
	bool		grows = false;

	if (fd > STDERR_FILENO && is_full() && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
	{
		if (offset < 0)
			offset = fcntl(fd, F_GETFL) & O_APPEND ? status.st_size : lseek(fd, 0, SEEK_CUR);
		grows = offset + length > status.st_size;
	}
	errno = grows ? ENOSPC : kept;
	return grows;
}

static off_t
length_of(const struct iovec *pieces, int count)
{
	off_t		length = 0;

	for (int i = 0; i < count; i++)
		length += (off_t) pieces[i].iov_len;
	return length;
}

ssize_t
write(int fd, const void *bytes, size_t size)
{
	return no_room(fd, -1, (off_t) size) ? -1 : REAL(write)(fd, bytes, size);
}

ssize_t
pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return no_room(fd, offset, (off_t) size) ? -1 : REAL(pwrite)(fd, bytes, size, offset);
}

ssize_t
pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
	return pwrite(fd, bytes, size, offset);
}

ssize_t
pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
	return no_room(fd, offset, length_of(pieces, count)) ? -1 : REAL(pwritev)(fd, pieces, count, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *pieces, int count, off_t offset)
{
	return pwritev(fd, pieces, count, offset);
}

int
posix_fallocate(int fd, off_t offset, off_t length)
{
	return no_room(fd, offset, length) ? ENOSPC : REAL(posix_fallocate)(fd, offset, length);
}

int
posix_fallocate64(int fd, off_t offset, off_t length)
{
	return posix_fallocate(fd, offset, length);
}
