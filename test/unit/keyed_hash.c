/*
 * keyed_hash.c - SipHash-2-4 against the vectors of its authors
 *
 * Build: src/plain/keyed_hash.c
 *
 * The key is 00 01 … 0f, the input of n bytes 00 01 … n-1. A slip in this
 * algorithm would hash just as evenly and only lose what it is used for, so
 * nothing else would show it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <string.h>

#include "plain/keyed_hash.h"
#include "tap.h"

#define KEY0 UINT64_C(0x0706050403020100)
#define KEY1 UINT64_C(0x0f0e0d0c0b0a0908)

static const struct
{
	size_t		size;
	unsigned char hash[8];
}			vectors64[] = {
	{0, {0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72}},
	{1, {0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74}},
	{2, {0x5a, 0x4f, 0xa9, 0xd9, 0x09, 0x80, 0x6c, 0x0d}},
	{3, {0x2d, 0x7e, 0xfb, 0xd7, 0x96, 0x66, 0x67, 0x85}},
	{7, {0x37, 0xd1, 0x01, 0x8b, 0xf5, 0x00, 0x02, 0xab}},
	{8, {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93}},
	{15, {0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1}}
};

static const struct
{
	size_t		size;
	unsigned char hash[16];
}			vectors128[] = {
	{0, {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93}},
	{15, {0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11, 0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf, 0xc3, 0xd9}}
};

/* The algorithm's output is little-endian. */
static bool
is_word(uint64_t word, const unsigned char *bytes)
{
	for (int i = 0; i < 8; i++)
		if ((unsigned char) (word >> (8 * i)) != bytes[i])
			return false;
	return true;
}

int
main(void)
{
	unsigned char input[16];
	char		name[64];
	uint64_t	hash[2];

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (unsigned char) i;

	for (size_t i = 0; i < sizeof(vectors64) / sizeof(vectors64[0]); i++)
	{
		snprintf(name, sizeof(name), "64 bits of %zu bytes", vectors64[i].size);
		tap_ok(is_word(keyed_hash64(KEY0, KEY1, input, vectors64[i].size), vectors64[i].hash), name);
	}
	for (size_t i = 0; i < sizeof(vectors128) / sizeof(vectors128[0]); i++)
	{
		snprintf(name, sizeof(name), "128 bits of %zu bytes", vectors128[i].size);
		keyed_hash128(KEY0, KEY1, input, vectors128[i].size, hash);
		tap_ok(is_word(hash[0], vectors128[i].hash) && is_word(hash[1], vectors128[i].hash + 8), name);
	}
	tap_ok(keyed_hash64(KEY1, KEY0, input, 15) != keyed_hash64(KEY0, KEY1, input, 15), "the key matters");
	return tap_done();
}
