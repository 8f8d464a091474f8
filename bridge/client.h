/*
 * client.h - one connected socket
 *
 * A client owns its socket, what has been read and not yet understood, what
 * has been written and not yet taken, and its deadline. It is read by one
 * reader at a time: exchange.c for requests, sse.c once it is a stream; a
 * WebSocket's socket leaves for libwebsockets (client_release).
 *
 * A slow client costs only itself: it is read only while its reader wants
 * bytes (never while its answer is under way), at most one turn's share of
 * requests is answered before others have theirs, and every phase has a
 * deadline, found by a janitor's list a phase, in order of expiry.
 *
 * Nobody frees a client but client.c: client_close() takes it out of use at
 * once (readers get `gone`) and its memory goes when libuv has let go of it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_CLIENT_H
#define BRIDGE_CLIENT_H

#include <netinet/in.h>

#include "bridge.h"
#include "tally.h"

typedef struct Client Client;
typedef TallyEntry Seat;		/* a connection counted under its address, see listener.h */

typedef enum Phase
{
	PHASE_HANDSHAKE,			/* of TLS; head-timeout */
	PHASE_IDLE,					/* between requests; idle-timeout */
	PHASE_HEAD,					/* a head has begun; head-timeout from its first byte, 408 */
	PHASE_BODY,					/* body-timeout, 408 */
	PHASE_ANSWER,				/* being answered; the database's deadlines hold */
	PHASE_SEND,					/* an answer waits for the socket; slow-timeout without progress */
	PHASE_STREAM,				/* its stream looks after it */
	PHASE_LINGER,				/* the last answer is out; reads and drops for a moment, so that it isn't torn away */
	PHASES
} Phase;

typedef struct ClientReader
{
	/*
	 * Bytes have come. Whatever of them it is done with it says by client_used(),
	 * before it acts on them; the rest is kept and comes again, with more.
	 */
	void		(*read) (Client *client, const char *bytes, size_t length);
	void		(*ended) (Client *client);	/* the peer ended its side, and what it sent has been read */
	void		(*drained) (Client *client);	/* what was unsent has left */
	void		(*late) (Client *client);	/* the phase's time is over */
	void		(*gone) (Client *client);	/* it is closing: forget it; last call */
} ClientReader;

/* Takes over a connected, non-blocking socket and its seat; NULL: out of memory, both are closed. */
extern Client *client_new(Bridge *bridge, int fd, Seat *seat, const struct in6_addr *peer, bool secure);
extern Bridge *client_bridge(const Client *client);
extern const struct in6_addr *client_peer(const Client *client);	/* of a unix socket: :: */

/* Its connection counts as one of this address from now on; false where that has all it may have. */
extern bool client_count_under(Client *client, const struct in6_addr *address);

extern bool client_is_secure(const Client *client);	/* speaks TLS */
extern bool client_is_misplaced(const Client *client);	/* ought to, and doesn't: it can be answered in plain text */

extern void client_set_reader(Client *client, const ClientReader *reader, void *data);
extern void *client_data(const Client *client);

extern void client_used(Client *client, size_t length);
extern const char *client_rest(const Client *client, size_t *length);	/* what has come and is not used up; until the next call */

/* Off while its answer is under way; on again, what is already here is read in a later turn of the loop. */
extern void client_want(Client *client, bool reading);
extern void client_phase(Client *client, Phase phase);

/*
 * Sends now what the socket takes; copies and keeps the rest. False: the
 * connection is lost and closing (gone() has been or will be called).
 */
extern bool client_send(Client *client, const void *bytes, size_t length);
extern bool client_unsent(const Client *client);	/* is there a rest? */

/* After the last byte has left: stop writing, linger, close. */
extern void client_finish(Client *client);
extern void client_close(Client *client);	/* at once; idempotent */

/*
 * Gives a plain socket away: the client is gone without its reader being told, and
 * the seat belongs to the caller (listener_leave). Only with nothing unsent and
 * nothing pending.
 */
extern int	client_release(Client *client, Seat **seat);

extern void clients_start(Bridge *bridge);
extern void clients_tick(Bridge *bridge);	/* the janitor; main.c's tick */
extern void clients_stop(Bridge *bridge);	/* closes all of them */
extern void clients_free(Bridge *bridge);

#endif
