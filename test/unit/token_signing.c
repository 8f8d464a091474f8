/*
 * token_signing.c - keys and signatures for the tests of tokens, as an issuer (or an attacker) makes them
 *
 * Keys are made anew in each run: nothing here depends on them. Whatever OpenSSL refuses to do for us ends the program.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "token_signing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "plain/base64url.h"

static void
must(bool done, const char *what)
{
	if (!done)
	{
		printf("Bail out! OpenSSL: %s\n", what);
		exit(2);
	}
}

EVP_PKEY *
make_rsa_key(unsigned bits, unsigned long exponent)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
	BIGNUM	   *e = BN_new();
	EVP_PKEY   *key = NULL;

	must(BN_set_word(e, exponent) && EVP_PKEY_keygen_init(context) > 0 &&
		 EVP_PKEY_CTX_set_rsa_keygen_bits(context, (int) bits) > 0 &&
		 EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, e) > 0 &&
		 EVP_PKEY_generate(context, &key) > 0, "an RSA key");
	BN_free(e);
	EVP_PKEY_CTX_free(context);
	return key;
}

EVP_PKEY *
make_ec_key(const char *curve)
{
	EVP_PKEY   *key = EVP_EC_gen(curve);

	must(key != NULL, "a key on a curve");
	return key;
}

void
key_number(EVP_PKEY *key, const char *name, unsigned char *out, size_t length)
{
	BIGNUM	   *number = NULL;

	must(EVP_PKEY_get_bn_param(key, name, &number) > 0 && BN_bn2binpad(number, out, (int) length) >= 0, name);
	BN_free(number);
}

void
write_jwk(EVP_PKEY *key, const char *more, char *out, size_t size)
{
	unsigned char number[SIGNATURE_MAX];
	char		first[2 * SIGNATURE_MAX];
	char		second[2 * SIGNATURE_MAX];
	size_t		length = (size_t) EVP_PKEY_get_size(key);
	bool		rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;

	if (!rsa)
		length = (size_t) (EVP_PKEY_get_bits(key) + 7) / 8;
	key_number(key, rsa ? "n" : "qx", number, length);
	base64url_encode(number, length, first);
	if (rsa)
		length = 3;
	key_number(key, rsa ? "e" : "qy", number, length);
	base64url_encode(number, length, second);
	if (rsa)
		snprintf(out, size, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", first, second, more);
	else
		snprintf(out, size, "{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s}",
				 EVP_PKEY_get_bits(key) == 256 ? "P-256" : "P-384", first, second, more);
}

static void
choose_padding(EVP_PKEY_CTX *context, const Signing *signing, const EVP_MD *digest)
{
	must(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) > 0 &&
		 EVP_PKEY_CTX_set_rsa_mgf1_md(context, signing->mgf1 != NULL ? signing->mgf1 : digest) > 0 &&
		 EVP_PKEY_CTX_set_rsa_pss_saltlen(context, signing->salt == 0 ? RSA_PSS_SALTLEN_DIGEST :
										  signing->salt == -1 ? 0 : signing->salt) > 0, "PSS");
}

static size_t
raw_ecdsa(const unsigned char *der, size_t length, unsigned char *out)
{
	ECDSA_SIG  *signature = d2i_ECDSA_SIG(NULL, &der, (long) length);

	must(signature != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(signature), out, 32) == 32 &&
		 BN_bn2binpad(ECDSA_SIG_get0_s(signature), out + 32, 32) == 32, "r and s");
	ECDSA_SIG_free(signature);
	return 64;
}

size_t
sign_bytes(const Signing *signing, const char *text, size_t length, unsigned char *out)
{
	const EVP_MD *digest = signing->digest != NULL ? signing->digest : EVP_sha256();
	EVP_MD_CTX *context;
	EVP_PKEY_CTX *key_context;
	unsigned char der[SIGNATURE_MAX];
	size_t		size = sizeof(der);
	unsigned	hmac_size;

	if (signing->key == NULL)
	{
		must(HMAC(digest, signing->secret, (int) signing->secret_length, (const unsigned char *) text, length, out, &hmac_size) != NULL, "HMAC");
		return hmac_size;
	}
	context = EVP_MD_CTX_new();
	must(EVP_DigestSignInit(context, &key_context, digest, NULL, signing->key) > 0, "signing");
	if (signing->pss)
		choose_padding(key_context, signing, digest);
	must(EVP_DigestSign(context, der, &size, (const unsigned char *) text, length) > 0, "a signature");
	EVP_MD_CTX_free(context);
	if (EVP_PKEY_get_base_id(signing->key) == EVP_PKEY_EC && EVP_PKEY_get_bits(signing->key) == 256)
		return raw_ecdsa(der, size, out);
	memcpy(out, der, size);
	return size;
}

size_t
write_parts(const char *header, const char *payload, char *token)
{
	size_t		used;

	base64url_encode((const unsigned char *) header, strlen(header), token);
	used = strlen(token);
	token[used++] = '.';
	base64url_encode((const unsigned char *) payload, strlen(payload), token + used);
	return strlen(token);
}

void
add_signature(char *token, const unsigned char *signature, size_t length)
{
	size_t		used = strlen(token);

	token[used++] = '.';
	base64url_encode(signature, length, token + used);
}

void
write_token(const Signing *signing, const char *header, const char *payload, char *token)
{
	unsigned char signature[SIGNATURE_MAX];
	size_t		length = write_parts(header, payload, token);

	add_signature(token, signature, sign_bytes(signing, token, length, signature));
}
