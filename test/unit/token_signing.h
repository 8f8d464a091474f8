/*
 * token_signing.h - keys and signatures for the tests of tokens, as an issuer (or an attacker) makes them
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TOKEN_SIGNING_H
#define SCOREBOARD_TOKEN_SIGNING_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>

#define TOKEN_MAX 16384
#define SIGNATURE_MAX 1024

/* How to sign: what the algorithm of a token leaves to choice when somebody does it wrong. */
typedef struct Signing
{
	EVP_PKEY   *key;			/* RSA or EC; NULL: secret */
	const char *secret;			/* with its length in secret_length */
	size_t		secret_length;
	const EVP_MD *digest;		/* NULL: SHA-256 */
	bool		pss;
	const EVP_MD *mgf1;			/* NULL: as digest */
	int			salt;			/* 0: as long as the digest; -1: none */
} Signing;

extern EVP_PKEY *make_rsa_key(unsigned bits, unsigned long exponent);
extern EVP_PKEY *make_ec_key(const char *curve);

/* A JWK with these further members (`,"kid":"a"`), of the public part. */
extern void write_jwk(EVP_PKEY *key, const char *more, char *out, size_t size);

/* A number of the key ("n", "qx", ...), big-endian in exactly so many bytes. */
extern void key_number(EVP_PKEY *key, const char *name, unsigned char *out, size_t length);

/* The raw signature (r and s for EC, 32 bytes each); its length. */
extern size_t sign_bytes(const Signing *signing, const char *text, size_t length, unsigned char *out);

/* header.payload, both base64url; its length. */
extern size_t write_parts(const char *header, const char *payload, char *token);

/* Adds the dot and the signature to a token of two parts. */
extern void add_signature(char *token, const unsigned char *signature, size_t length);

/* All of it. */
extern void write_token(const Signing *signing, const char *header, const char *payload, char *token);

#endif
