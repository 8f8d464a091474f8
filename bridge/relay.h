/*
 * relay.h - a WebSocket over TLS: between its client and libwebsockets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_RELAY_H
#define BRIDGE_RELAY_H

#include "client.h"
#include "hub.h"

typedef struct Relay Relay;

/*
 * Takes over a client without a reader, and makes the other end of the pair,
 * which is the caller's and libwebsockets'. *place is the caller's only hold on
 * it, and becomes NULL when the relay ends. False: no descriptors or memory;
 * the client is as it was.
 */
extern bool relay_open(Client *client, Relay **place, int *other_end, void (*drained) (void *owner), void *owner);

/* The owner goes; the relay ends when the other end of the pair is closed. */
extern void relay_forget(Relay *relay);

/*
 * Past libwebsockets and the pair: a whole frame, behind what is in the pair.
 * False: something is under way, so it has to go through the pair.
 */
extern bool relay_send(Relay *relay, const void *frame, size_t length, SendResult *result);

/* Ends when what has been said, in the pair too, is with the client. */
extern void relay_finish(Relay *relay);

#endif
