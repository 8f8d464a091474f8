/*
 * sockets.h - the sockets that the bridge listens on
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_SOCKETS_H
#define BRIDGE_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>

#define SOCKETS_MAX 16

/*
 * Is this a list of address:port? If not, why not. Names are not looked up.
 */
extern bool sockets_check(const char *list, char *reason, size_t size);

/*
 * Listens on every address of every entry; how many sockets these are. -1: one
 * can't be had, a sentence on standard error says which, and none is open.
 */
extern int	sockets_open(const char *list, bool share_port, int fds[SOCKETS_MAX]);

#endif
