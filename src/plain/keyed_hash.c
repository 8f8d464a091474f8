/*
 * plain/keyed_hash.c - SipHash-2-4 (Aumasson and Bernstein, 2012), 64 and 128 bits wide
 *
 * Owns nothing, allocates nothing, can't fail. The server's own hash functions
 * take a seed too, but were not made to withstand somebody who chooses the
 * input; players choose their ids, and a collision would have two of them share
 * one rate window.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/keyed_hash.h"

static inline uint64_t
rotate_left(uint64_t word, int bits)
{
	return (word << bits) | (word >> (64 - bits));
}

static void
mix(uint64_t v[4], int rounds)
{
	while (rounds-- > 0)
	{
		v[0] += v[1];
		v[1] = rotate_left(v[1], 13) ^ v[0];
		v[0] = rotate_left(v[0], 32);
		v[2] += v[3];
		v[3] = rotate_left(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate_left(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate_left(v[1], 17) ^ v[2];
		v[2] = rotate_left(v[2], 32);
	}
}

/* Up to eight bytes, little-endian whatever the machine. */
static uint64_t
word_at(const unsigned char *bytes, size_t size)
{
	uint64_t	word = 0;

	for (size_t i = 0; i < size; i++)
		word |= (uint64_t) bytes[i] << (8 * i);
	return word;
}

/* Absorbs the whole input into the state, its length in the last word. */
static void
absorb(uint64_t v[4], const unsigned char *bytes, size_t size)
{
	size_t		left = size;
	uint64_t	word;

	for (; left >= 8; left -= 8, bytes += 8)
	{
		word = word_at(bytes, 8);
		v[3] ^= word;
		mix(v, 2);
		v[0] ^= word;
	}
	word = word_at(bytes, left) | (uint64_t) size << 56;
	v[3] ^= word;
	mix(v, 2);
	v[0] ^= word;
}

static void
begin(uint64_t v[4], uint64_t key0, uint64_t key1)
{
	v[0] = key0 ^ UINT64_C(0x736f6d6570736575);
	v[1] = key1 ^ UINT64_C(0x646f72616e646f6d);
	v[2] = key0 ^ UINT64_C(0x6c7967656e657261);
	v[3] = key1 ^ UINT64_C(0x7465646279746573);
}

uint64_t
keyed_hash64(uint64_t key0, uint64_t key1, const void *data, size_t size)
{
	uint64_t	v[4];

	begin(v, key0, key1);
	absorb(v, data, size);
	v[2] ^= 0xff;
	mix(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void
keyed_hash128(uint64_t key0, uint64_t key1, const void *data, size_t size, uint64_t hash[2])
{
	uint64_t	v[4];

	begin(v, key0, key1);
	v[1] ^= 0xee;
	absorb(v, data, size);
	v[2] ^= 0xee;
	mix(v, 4);
	hash[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	mix(v, 4);
	hash[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}
