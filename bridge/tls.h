/*
 * tls.h - TLS on the sockets of clients
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_TLS_H
#define BRIDGE_TLS_H

#include <sys/types.h>

#include "bridge.h"

typedef struct Tls Tls;			/* of one connection */

typedef enum Handshake
{
	HANDSHAKE_DONE,
	HANDSHAKE_WAITS,			/* for the socket; see tls_wants_to_write() */
	HANDSHAKE_PLAIN,			/* the peer speaks HTTP; nothing has been read */
	HANDSHAKE_FAILED
} Handshake;

/* Reads the certificate, where there is one. False: a sentence on standard error says what is wrong with it. */
extern bool tls_start(Bridge *bridge);
extern void tls_reload(Bridge *bridge);	/* for connections to come; a bad one changes nothing and is logged */
extern void tls_free(Bridge *bridge);
extern bool tls_is_spoken(const Bridge *bridge);
extern int64_t tls_expires(const Bridge *bridge);	/* the certificate, in seconds since 1970 */

extern Tls *tls_new(Bridge *bridge, int fd);	/* NULL: out of memory */
extern Handshake tls_shake_hands(Tls *tls);
extern bool tls_is_resumed(const Tls *tls);

/* As recv() and send() are: 0 is the peer's proper end, EAGAIN says that the socket is to be waited for. */
extern ssize_t tls_read(Tls *tls, void *bytes, size_t size);
extern ssize_t tls_write(Tls *tls, const void *bytes, size_t length);

/* What was asked for last waits until the socket takes bytes, be it a read. */
extern bool tls_wants_to_write(const Tls *tls);

/* Tells the peer that nothing more comes, if it can be told at once. */
extern void tls_end(Tls *tls);
extern void tls_drop(Tls *tls);	/* NULL is fine */

#endif
