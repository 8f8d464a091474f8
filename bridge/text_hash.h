/*
 * text_hash.h - a number for a text, to find it by in a table of buckets
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_TEXT_HASH_H
#define BRIDGE_TEXT_HASH_H

#include <stdint.h>

/* FNV-1a, 32 bits. */
static inline uint32_t
text_hash(const char *text)
{
	uint32_t	hash = 2166136261u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char) *text) * 16777619u;
	return hash;
}

#endif
