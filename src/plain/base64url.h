/*
 * plain/base64url.h - base64url as RFC 7515 section 2 has it, and nothing else
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_BASE64URL_H
#define SCOREBOARD_PLAIN_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Decodes into out (size bytes). False: another character than A-Z a-z 0-9 - _,
 * padding, an impossible length, unused bits that are not zero (else one value had several spellings), or out too small.
 */
extern bool base64url_decode(const char *text, size_t length,
							 unsigned char *out, size_t size, size_t *decoded);

/* How long the text of so many bytes is. */
#define BASE64URL_LENGTH(bytes) (((bytes) * 4 + 2) / 3)

/* Into out, which has room for BASE64URL_LENGTH(length) characters and a zero. */
extern void base64url_encode(const unsigned char *bytes, size_t length, char *out);

#endif
