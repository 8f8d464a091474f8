/*
 * token_algorithms.c - each algorithm attacked in the same ways, and in its own
 *
 * RFC 7518 section 3 says what a good signature is; here stands what is not one. Keys and signatures are made in
 * each run. A token is taken through the server's steps up to its signature, under a set of one key for each algorithm.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/err.h>

#include "plain/base64url.h"
#include "plain/guard.h"
#include "plain/jwks.h"
#include "plain/jws.h"
#include "plain/strict_json.h"
#include "tap.h"
#include "token_signing.h"

#define CLAIMS "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"exp\":1795229400}"
#define SECRET "a secret for tests, of 32 bytes."
#define SECRET_K "YSBzZWNyZXQgZm9yIHRlc3RzLCBvZiAzMiBieXRlcy4"

static EVP_PKEY *rsa;
static EVP_PKEY *rsa_other;
static EVP_PKEY *p256;
static EVP_PKEY *p256_other;

static char public_set[8192];	/* RS256, PS256, ES256 */
static const char secret_set[] = "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"HS256\",\"k\":\"" SECRET_K "\"}]}";
static char keys_text[JWKS_ARENA_SIZE(JWKS_MAX_BYTES)];
static JwksSet keys;
static JwsKey *parsed[JWKS_MAX_KEYS];
static JwsForm form;

/* An algorithm as its issuer signs, and with another key of the same kind. */
typedef struct Case
{
	const char *algorithm;
	Signing		good;
	Signing		other;
} Case;

static void
load_keys(const char *set)
{
	TextArena	arena = {keys_text, sizeof(keys_text), 0};

	for (int i = 0; i < JWKS_MAX_KEYS; i++)
	{
		jws_key_free(parsed[i]);
		parsed[i] = NULL;
	}
	if (!jwks_read(set, strlen(set), &arena, &keys))
	{
		printf("Bail out! %s\n", keys.why);
		exit(2);
	}
	for (int i = 0; i < keys.count; i++)
		jws_key_read(keys.keys[i].jwk, &parsed[i]);
}

/* "form", "key", "signature", or "": as token.c goes. */
static const char *
step(const char *token)
{
	const JwsKey *chosen = NULL;
	int			found = 0;

	if (jws_form_read(token, strlen(token), &form) != NULL)
		return "form";
	for (int i = 0; i < keys.count; i++)
		if (keys.keys[i].algorithm == form.algorithm && (!form.has_kid || strcmp(keys.keys[i].kid, form.kid) == 0))
		{
			chosen = parsed[i];
			found++;
		}
	if (found != 1)
		return "key";
	return jws_form_verify(&form, chosen) == NULL ? "" : "signature";
}

static void
write_header(const char *algorithm, const char *kid, char *header)
{
	sprintf(header, "{\"alg\":\"%s\",\"kid\":\"%s\"}", algorithm, kid);
}

static const char *
step_with(const Case *c, const unsigned char *signature, size_t length)
{
	static char token[TOKEN_MAX];
	char		header[128];

	write_header(c->algorithm, c->algorithm, header);
	write_parts(header, CLAIMS, token);
	add_signature(token, signature, length);
	return step(token);
}

static const char *
step_signed(const Case *c, const Signing *signing)
{
	static char token[TOKEN_MAX];
	char		header[128];

	write_header(c->algorithm, c->algorithm, header);
	write_token(signing, header, CLAIMS, token);
	return step(token);
}

/* The signature of the token that all of these are about. */
static size_t
good_signature(const Case *c, unsigned char *out)
{
	char		token[TOKEN_MAX];
	char		header[128];

	write_header(c->algorithm, c->algorithm, header);
	return sign_bytes(&c->good, token, write_parts(header, CLAIMS, token), out);
}

static void
result(const Case *c, bool good, const char *what)
{
	char		name[160];

	snprintf(name, sizeof(name), "%s: %s", c->algorithm, what);
	tap_ok(good, name);
}

static bool
refused(const char *got)
{
	return strcmp(got, "form") == 0 || strcmp(got, "signature") == 0;
}

static void
test_bits(const Case *c)
{
	unsigned char signature[SIGNATURE_MAX];
	size_t		length = good_signature(c, signature);
	bool		all = true;

	result(c, strcmp(step_with(c, signature, length), "") == 0, "its own signature is good");
	for (size_t bit = 0; bit < 8 * length; bit++)
	{
		signature[bit / 8] ^= (unsigned char) (1 << bit % 8);
		all = all && strcmp(step_with(c, signature, length), "signature") == 0;
		signature[bit / 8] ^= (unsigned char) (1 << bit % 8);
	}
	result(c, all, "every bit of the signature counts");
}

/* Each bit of what is signed; most make another text of it that is no token at all. */
static void
test_signed_bits(const Case *c)
{
	unsigned char signature[SIGNATURE_MAX];
	size_t		length = good_signature(c, signature);
	char		token[TOKEN_MAX];
	char		header[128];
	size_t		used;
	bool		all = true;

	write_header(c->algorithm, c->algorithm, header);
	used = write_parts(header, CLAIMS, token);
	add_signature(token, signature, length);
	for (size_t bit = 0; bit < 8 * used; bit++)
	{
		token[bit / 8] ^= (char) (1 << bit % 8);
		all = all && strcmp(step(token), "") != 0;
		token[bit / 8] ^= (char) (1 << bit % 8);
	}
	result(c, all && strcmp(step(token), "") == 0, "so does every bit of header and claims");
}

static void
test_lengths(const Case *c)
{
	unsigned char signature[SIGNATURE_MAX + 1] = {0};
	unsigned char shifted[SIGNATURE_MAX + 1] = {0};
	size_t		length = good_signature(c, signature);

	memcpy(shifted + 1, signature, length);
	result(c, refused(step_with(c, signature, length - 1)), "a byte less");
	result(c, refused(step_with(c, signature + 1, length - 1)), "a byte less at the beginning");
	result(c, refused(step_with(c, signature, length + 1)), "a byte more");
	result(c, refused(step_with(c, shifted, length + 1)), "a zero byte before it");
	result(c, refused(step_with(c, signature, 1)) && refused(step_with(c, signature, 32 + 1)), "far too short");
	result(c, strcmp(step_with(c, signature, 0), "form") == 0, "no signature");
	memset(signature, 0, length);
	result(c, refused(step_with(c, signature, length)), "nothing but zeros");
	memset(signature, 0xFF, length);
	result(c, refused(step_with(c, signature, length)), "nothing but ones");
}

static void
test_others(const Case *c)
{
	char		token[TOKEN_MAX];
	char		header[128];
	unsigned char signature[SIGNATURE_MAX];
	size_t		length;

	result(c, strcmp(step_signed(c, &c->other), "signature") == 0, "another key of the kind");
	length = sign_bytes(&c->good, CLAIMS, strlen(CLAIMS), signature);
	result(c, refused(step_with(c, signature, length)), "the claims signed without the header");
	length = sign_bytes(&c->good, "", 0, signature);
	result(c, refused(step_with(c, signature, length)), "nothing signed");

	write_header(c->algorithm, "unknown", header);
	write_token(&c->good, header, CLAIMS, token);
	result(c, strcmp(step(token), "key") == 0, "an unknown kid");
	sprintf(header, "{\"alg\":\"%s\"}", c->algorithm);
	write_token(&c->good, header, CLAIMS, token);
	result(c, strcmp(step(token), "") == 0, "no kid, and the only key for the algorithm");
}

/* Whatever key signs, under whatever alg and kid: good where all three belong together only. */
static void
test_confusion(const Case *cases, int count)
{
	char		token[TOKEN_MAX];
	char		header[128];
	bool		all = true;
	int			tried = 0;

	for (int signer = 0; signer < count; signer++)
		for (int named = 0; named < count; named++)
			for (int kid = 0; kid < count; kid++)
				for (int set = 0; set < 2; set++)
				{
					bool		good = signer == named && named == kid && set == (named > 0);

					load_keys(set ? public_set : secret_set);
					write_header(cases[named].algorithm, cases[kid].algorithm, header);
					write_token(&cases[signer].good, header, CLAIMS, token);
					all = all && (strcmp(step(token), "") == 0) == good;
					tried++;
				}
	tap_ok(all && tried == 128, "alg, kid and key belong together, or nothing is good");
}

static void
test_digests(const Case *c)
{
	Signing		signing = c->good;
	const EVP_MD *wrong[] = {EVP_sha1(), EVP_sha224(), EVP_sha384(), EVP_sha512(), EVP_sha3_256()};
	bool		all = true;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		signing.digest = wrong[i];
		all = all && refused(step_signed(c, &signing));
	}
	result(c, all, "any digest but SHA-256");
}

/* ---------- RSA ---------- */

static void
test_pss(const Case *c)
{
	static const int salts[] = {-1, 1, 20, 31, 33, 64, 222};
	const EVP_MD *masks[] = {EVP_sha1(), EVP_sha224(), EVP_sha384(), EVP_sha512()};
	Signing		signing = c->good;
	bool		all = true;

	for (size_t i = 0; i < sizeof(salts) / sizeof(salts[0]); i++)
	{
		signing.salt = salts[i];
		all = all && strcmp(step_signed(c, &signing), "signature") == 0;
	}
	result(c, all, "a salt of any length but 32");
	signing.salt = 0;
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++)
	{
		signing.mgf1 = masks[i];
		all = all && strcmp(step_signed(c, &signing), "signature") == 0;
	}
	result(c, all, "another hash in MGF1");
	signing.mgf1 = NULL;
	signing.pss = false;
	result(c, strcmp(step_signed(c, &signing), "signature") == 0, "PKCS #1 v1.5 instead of PSS");
}

/* s + n, which is s modulo n, in as many bytes where there is room. */
static void
test_beyond_modulus(const Case *c)
{
	unsigned char signature[SIGNATURE_MAX];
	unsigned char modulus[256];
	BIGNUM	   *n = BN_new();
	BIGNUM	   *s = BN_new();
	bool		all = true;
	int			made = 0;

	key_number(rsa, "n", modulus, sizeof(modulus));
	BN_bin2bn(modulus, sizeof(modulus), n);
	result(c, strcmp(step_with(c, modulus, sizeof(modulus)), "signature") == 0, "the modulus for a signature");
	for (int i = 0; i < 400 && made < 3; i++)
	{
		char		token[TOKEN_MAX];
		char		header[128];
		char		claims[64];
		size_t		length;

		/* RS256 is deterministic: other claims each time. */
		sprintf(claims, "{\"sub\":\"%d\"}", i);
		write_header(c->algorithm, c->algorithm, header);
		length = sign_bytes(&c->good, token, write_parts(header, claims, token), signature);
		BN_bin2bn(signature, (int) length, s);
		BN_add(s, s, n);
		if (BN_bn2binpad(s, signature, 256) != 256)
			continue;
		add_signature(token, signature, 256);
		all = all && strcmp(step(token), "signature") == 0;
		made++;
	}
	result(c, all && made == 3, "a signature with the modulus added");
	BN_free(n);
	BN_free(s);
}

/* ---------- ECDSA ---------- */

static const unsigned char order[32] = {
	0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
	0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
};

static bool
refuses_rs(const Case *c, const unsigned char *r, const unsigned char *s)
{
	unsigned char signature[64];

	memcpy(signature, r, 32);
	memcpy(signature + 32, s, 32);
	return strcmp(step_with(c, signature, 64), "signature") == 0;
}

static void
test_ecdsa_numbers(const Case *c)
{
	unsigned char good[SIGNATURE_MAX];
	unsigned char zero[32] = {0};
	unsigned char one[32] = {[31] = 1};
	unsigned char ones[32];
	unsigned char above[32];
	const unsigned char *bad[] = {zero, order, above, ones};
	bool		all = true;

	memset(ones, 0xFF, sizeof(ones));
	memcpy(above, order, sizeof(order));
	above[31]++;
	good_signature(c, good);
	for (size_t i = 0; i < 4; i++)
	{
		all = all && refuses_rs(c, bad[i], good + 32) && refuses_rs(c, good, bad[i]);
		for (size_t k = 0; k < 4; k++)
			all = all && refuses_rs(c, bad[i], bad[k]);
	}
	result(c, all, "r or s of zero, the order, or above it");
	result(c, refuses_rs(c, one, one) && refuses_rs(c, good + 32, good) && refuses_rs(c, good, good), "r and s of one, exchanged, twice r");
}

/* Of the 71 bytes or so of DER also the first 64, and DER padded to them. */
static void
test_ecdsa_der(const Case *c)
{
	unsigned char raw[SIGNATURE_MAX];
	unsigned char der[72] = {0x30, 0x44, 0x02, 0x20};

	good_signature(c, raw);
	memcpy(der + 4, raw, 32);
	der[36] = 0x02;
	der[37] = 0x20;
	memcpy(der + 38, raw + 32, 32);
	result(c, strcmp(step_with(c, der, 70), "form") == 0 && strcmp(step_with(c, der, 64), "signature") == 0, "DER instead of r and s");
}

/* ---------- keys that are none ---------- */

static bool
takes_jwk(const char *jwk)
{
	char		set[4200];
	TextArena	arena = {keys_text, sizeof(keys_text), 0};

	snprintf(set, sizeof(set), "{\"keys\":[%s]}", jwk);
	return jwks_read(set, strlen(set), &arena, &keys);
}

static bool
takes(EVP_PKEY *key, const char *more)
{
	char		jwk[4096];

	write_jwk(key, more, jwk, sizeof(jwk));
	return takes_jwk(jwk);
}

static bool
takes_point(const unsigned char *x, const unsigned char *y)
{
	char		first[64];
	char		second[64];
	char		set[256];
	TextArena	arena = {keys_text, sizeof(keys_text), 0};

	base64url_encode(x, 32, first);
	base64url_encode(y, 32, second);
	snprintf(set, sizeof(set), "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}]}", first, second);
	return jwks_read(set, strlen(set), &arena, &keys);
}

static void
test_points(void)
{
	unsigned char x[32];
	unsigned char y[32];
	unsigned char zero[32] = {0};
	unsigned char ones[32];
	bool		all = true;

	memset(ones, 0xFF, sizeof(ones));
	key_number(p256, "qx", x, 32);
	key_number(p256, "qy", y, 32);
	tap_ok(takes_point(x, y), "a point of the curve");
	for (int bit = 0; bit < 256; bit++)
	{
		y[bit / 8] ^= (unsigned char) (1 << bit % 8);
		all = all && !takes_point(x, y);
		y[bit / 8] ^= (unsigned char) (1 << bit % 8);
	}
	tap_ok(all, "with any bit of y changed it is none");
	tap_ok(!takes_point(zero, zero) && !takes_point(ones, y) && !takes_point(x, ones) && !takes_point(y, x) && !takes_point(order, order),
		   "nor is infinity, what lies beyond the field, or what is exchanged");
}

static void
test_weak_keys(void)
{
	EVP_PKEY   *short_rsa = make_rsa_key(1024, 65537);
	EVP_PKEY   *three = make_rsa_key(2048, 3);
	EVP_PKEY   *p384 = make_ec_key("P-384");
	char		members[4096];

	tap_ok(takes(rsa, ",\"alg\":\"RS256\"") && takes(rsa, ",\"alg\":\"PS256\""), "2048 bits do");
	tap_ok(!takes(short_rsa, ",\"alg\":\"RS256\"") && !takes(short_rsa, ",\"alg\":\"PS256\""), "1024 don't");
	tap_ok(!takes(three, ",\"alg\":\"RS256\"") && !takes(three, ",\"alg\":\"PS256\""), "nor does an exponent of 3");
	tap_ok(!takes(p384, "") && !takes(p384, ",\"alg\":\"ES256\"") && !takes(p384, ",\"alg\":\"ES384\""), "P-384 is no key for ES256");
	write_jwk(p384, "", members, sizeof(members));
	memcpy(strstr(members, "P-384"), "P-256", 5);
	tap_ok(!takes_jwk(members), "nor under the other's name");
	EVP_PKEY_free(short_rsa);
	EVP_PKEY_free(three);
	EVP_PKEY_free(p384);
}

static void
make_sets(void)
{
	char		rs[2048],
				ps[2048],
				es[512];

	write_jwk(rsa, ",\"alg\":\"RS256\",\"kid\":\"RS256\"", rs, sizeof(rs));
	write_jwk(rsa, ",\"alg\":\"PS256\",\"kid\":\"PS256\"", ps, sizeof(ps));
	write_jwk(p256, ",\"kid\":\"ES256\"", es, sizeof(es));
	snprintf(public_set, sizeof(public_set), "{\"keys\":[%s,%s,%s]}", rs, ps, es);
}

static void
test_case(const Case *c)
{
	load_keys(strcmp(c->algorithm, "HS256") == 0 ? secret_set : public_set);
	test_bits(c);
	test_signed_bits(c);
	test_lengths(c);
	test_others(c);
	test_digests(c);
	if (c->good.pss)
		test_pss(c);
	if (c->good.key == rsa)
		test_beyond_modulus(c);
	if (c->good.key == p256)
	{
		test_ecdsa_numbers(c);
		test_ecdsa_der(c);
	}
}

int
main(void)
{
	rsa = make_rsa_key(2048, 65537);
	rsa_other = make_rsa_key(2048, 65537);
	p256 = make_ec_key("P-256");
	p256_other = make_ec_key("P-256");
	make_sets();

	Case		cases[] = {
		{"HS256", {.secret = SECRET, .secret_length = 32}, {.secret = "another", .secret_length = 7}},
		{"RS256", {.key = rsa}, {.key = rsa_other}},
		{"PS256", {.key = rsa, .pss = true}, {.key = rsa_other, .pss = true}},
		{"ES256", {.key = p256}, {.key = p256_other}},
	};

	for (int i = 0; i < 4; i++)
		test_case(&cases[i]);
	test_confusion(cases, 4);
	test_points();
	test_weak_keys();
	tap_ok(ERR_peek_error() == 0, "OpenSSL's error queue is left empty");

	load_keys("{\"keys\":[]}");
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(rsa_other);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p256_other);
	return tap_done();
}
