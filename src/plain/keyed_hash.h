/*
 * plain/keyed_hash.h - SipHash-2-4: hashes of ids that nobody without the key can make collide
 *
 * Plain C without the server, so that a test program checks it against the
 * published vectors. Inside the server the key is scoreboard_hash_key(0) and (1).
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_KEYED_HASH_H
#define SCOREBOARD_PLAIN_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 64 bits of size bytes at data, under the key (key0, key1). */
extern uint64_t keyed_hash64(uint64_t key0, uint64_t key1, const void *data, size_t size);

/* The same algorithm's 128 bits. */
extern void keyed_hash128(uint64_t key0, uint64_t key1, const void *data, size_t size,
						  uint64_t hash[2]);

#endif
