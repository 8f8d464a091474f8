/*
 * limiter.h - so many requests a minute for each address, then a block
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_LIMITER_H
#define BRIDGE_LIMITER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define LIMITER_WINDOW_MS 60000	/* requests are counted for so long, and a block lasts as long */

typedef struct Limiter Limiter;

/* Remembers so many addresses (a power of two). */
extern Limiter *limiter_new(uint32_t limit, uint32_t places, uint64_t seed);
extern void limiter_free(Limiter *limiter);

/* A request has come. 0: it may pass; else it may not, for so many ms. *begins: it is the first that may not. */
extern uint64_t limiter_take(Limiter *limiter, const struct in6_addr *address, uint64_t now_ms, bool *begins);

#endif
