/*
 * addresses.h - where requests come from: addresses as text, trusted proxies, and what these forward
 *
 * An address is an in6_addr: IPv4 as ::ffff:a.b.c.d, and :: where nothing is
 * known of it (a unix socket's peer).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_ADDRESSES_H
#define BRIDGE_ADDRESSES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "h1.h"

/* An address as X-Forwarded-For has it: of IPv4 or IPv6, in brackets or not, with a port or without. Never ::. */
extern bool address_read(Slice text, struct in6_addr *address);
extern void address_write(const struct in6_addr *address, char out[INET6_ADDRSTRLEN]);

/* Those that are counted as one: of IPv6 only the first 64 bits are left. */
extern struct in6_addr address_group(const struct in6_addr *address);

/* The peers whose X-Forwarded-For is believed. */
typedef struct Proxies Proxies;

extern bool proxies_check(const char *list, char *reason, size_t size);	/* is this a list of them? If not, why not */
extern Proxies *proxies_new(const char *list);	/* which is a good one */
extern bool proxies_have(const Proxies *proxies, const struct in6_addr *peer);

/*
 * Whose request it is, where its peer is one of them: the rightmost hop that is
 * not, or the first one where all are. The peer itself where there is no hop, or
 * none of them but one that can't be read tells.
 */
extern struct in6_addr proxies_client(const Proxies *proxies, const struct in6_addr *peer, const H1Head *head);

#endif
