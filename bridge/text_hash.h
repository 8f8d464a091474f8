/*
 * text_hash.h - a number for a text or a key, to find it by in a table of buckets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_TEXT_HASH_H
#define BRIDGE_TEXT_HASH_H

#include <stdint.h>
#include <string.h>

/* FNV-1a, 32 bits. */
static inline uint32_t
text_hash(const char *text)
{
	uint32_t	hash = 2166136261u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char) *text) * 16777619u;
	return hash;
}

/* Of 16 bytes; the seed is a secret where strangers choose them. */
static inline uint64_t
key_hash(const void *key, uint64_t seed)
{
	uint64_t	half[2];
	uint64_t	h;

	memcpy(half, key, sizeof(half));
	h = (half[0] ^ seed) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ (h >> 29) ^ half[1]) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ (h >> 32);
}

#endif
