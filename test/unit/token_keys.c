/*
 * token_keys.c - which keys an issuer may bring
 *
 * Build: src/plain/guard.c src/plain/strict_json.c src/plain/base64url.c src/plain/jws.c src/plain/jwks.c -lcjose
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "plain/jwks.h"
#include "tap.h"

#define K32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define K31 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define OCT "\"kty\":\"oct\",\"k\":\"" K32 "\""
#define EC "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""

static char texts[JWKS_ARENA_SIZE(JWKS_MAX_BYTES)];
static JwksSet set;

static bool
reads(const char *text)
{
	TextArena	arena = {texts, JWKS_ARENA_SIZE(strlen(text)), 0};

	return jwks_read(text, strlen(text), &arena, &set);
}

/* A set of one key. */
static bool
takes(const char *members)
{
	char		text[4096];

	snprintf(text, sizeof(text), "{\"keys\":[{%s}]}", members);
	return reads(text);
}

/* An RSA key with a modulus of so many bytes, all bits set but perhaps the first, and that exponent. */
static bool
takes_modulus(char first, size_t bytes, const char *e, const char *more)
{
	char		n[2048];
	char		members[4000];
	size_t		digits = (bytes * 8 + 5) / 6;

	memset(n, '_', digits);
	n[0] = first;
	if (bytes % 3 == 1)
		n[digits - 1] = 'w';
	else if (bytes % 3 == 2)
		n[digits - 1] = '8';
	n[digits] = '\0';
	snprintf(members, sizeof(members), "\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s", n, e, more);
	return takes(members);
}

static bool
takes_rsa(size_t bytes, const char *e, const char *more)
{
	return takes_modulus('_', bytes, e, more);
}

static void
test_secrets(void)
{
	tap_ok(takes(OCT) && set.keys[0].algorithm == JWS_HS256 && set.keys[0].kid == NULL,
		   "a secret is for HS256");
	tap_ok(takes(OCT ",\"alg\":\"HS256\",\"kid\":\"a\",\"x\":[1]") &&
		   strcmp(set.keys[0].kid, "a") == 0 &&
		   strcmp(set.keys[0].jwk, "{\"kty\":\"oct\",\"k\":\"" K32 "\",\"alg\":\"HS256\"}") == 0,
		   "what is stored holds nothing but what verifying needs");
	tap_ok(!takes("\"kty\":\"oct\",\"k\":\"" K31 "\""), "31 bytes are too few");
	tap_ok(!takes("\"kty\":\"oct\"") && !takes("\"kty\":\"oct\",\"k\":7") &&
		   !takes("\"kty\":\"oct\",\"k\":\"" K32 "=\""), "k must be strict base64url");
	tap_ok(!takes(OCT ",\"alg\":\"HS512\"") && !takes(OCT ",\"alg\":\"RS256\"") &&
		   !takes(OCT ",\"alg\":\"none\"") && !takes(OCT ",\"alg\":null"), "another alg is refused");
	tap_ok(strstr(set.why, K32) == NULL && strstr(set.why, "key 1") != NULL,
		   "what is wrong is said by the key's place, without the key");
}

static void
test_rsa(void)
{
	tap_ok(takes_rsa(256, "AQAB", ",\"alg\":\"RS256\"") && set.keys[0].algorithm == JWS_RS256 &&
		   takes_rsa(256, "AQAB", ",\"alg\":\"PS256\"") && set.keys[0].algorithm == JWS_PS256,
		   "RSA for RS256 or PS256");
	tap_ok(!takes_rsa(256, "AQAB", ""), "RSA needs alg");
	tap_ok(!takes_rsa(255, "AQAB", ",\"alg\":\"RS256\""), "2040 bits are too few");
	tap_ok(!takes_modulus('f', 256, "AQAB", ",\"alg\":\"RS256\""), "so are 2047 in 256 bytes");
	tap_ok(!takes_rsa(1025, "AQAB", ",\"alg\":\"RS256\""), "8200 bits are too many");
	tap_ok(!takes_rsa(256, "Aw", ",\"alg\":\"RS256\"") && !takes_rsa(256, "AP__", ",\"alg\":\"RS256\"") &&
		   !takes_rsa(256, "AQAC", ",\"alg\":\"RS256\"") && !takes_rsa(256, "", ",\"alg\":\"RS256\""),
		   "e is odd and at least 65537");
	tap_ok(!takes_rsa(256, "AQAB", ",\"alg\":\"RS256\",\"d\":\"AQAB\"") &&
		   !takes_rsa(256, "AQAB", ",\"alg\":\"RS256\",\"p\":\"AQAB\"") &&
		   !takes_rsa(256, "AQAB", ",\"alg\":\"RS256\",\"k\":\"" K32 "\""), "a private part is refused");
	tap_ok(!takes_rsa(256, "AQAB", ",\"alg\":\"HS256\"") && !takes_rsa(256, "AQAB", ",\"alg\":\"ES256\""),
		   "another kind's alg is refused");
}

static void
test_ec(void)
{
	tap_ok(takes(EC) && set.keys[0].algorithm == JWS_ES256, "P-256 is for ES256");
	tap_ok(!takes(EC ",\"d\":\"" K32 "\""), "a private part is refused");
	tap_ok(!takes("\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" K32 "\",\"y\":\"" K32 "\"") &&
		   !takes("\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"" K32 "\",\"y\":\"" K32 "\""),
		   "other curves are refused");
	tap_ok(!takes("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" K32 "\",\"y\":\"" K32 "\""),
		   "a point off the curve is refused");
	tap_ok(!takes("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" K31 "\",\"y\":\"" K32 "\"") &&
		   !takes("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" K32 "\""), "coordinates have 32 bytes");
	tap_ok(!takes(EC ",\"alg\":\"ES384\"") && !takes(EC ",\"alg\":\"RS256\""), "another alg is refused");
}

static void
test_use(void)
{
	tap_ok(takes(OCT ",\"use\":\"sig\"") && !takes(OCT ",\"use\":\"enc\"") && !takes(OCT ",\"use\":7"),
		   "use must be sig");
	tap_ok(takes(OCT ",\"key_ops\":[\"sign\",\"verify\"]") && !takes(OCT ",\"key_ops\":[\"sign\"]") &&
		   !takes(OCT ",\"key_ops\":[]") && !takes(OCT ",\"key_ops\":\"verify\"") &&
		   !takes(OCT ",\"key_ops\":[7,\"verify\"]"), "key_ops must have verify");
	tap_ok(!takes("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" K32 "\"") && !takes(""),
		   "other kinds of keys are refused");
	tap_ok(!takes(OCT ",\"kid\":\"\"") && !takes(OCT ",\"kid\":7") && !takes(OCT ",\"kid\":\"a\\nb\""),
		   "kid is a text, or isn't there");
}

static void
test_set(void)
{
	char		many[JWKS_MAX_BYTES] = "{\"keys\":[";

	tap_ok(reads("{\"keys\":[]}") && set.count == 0, "an issuer may have no keys at all");
	tap_ok(!reads("{}") && !reads("[]") && !reads("{\"keys\":{}}") && !reads("{\"keys\":[7]}") &&
		   !reads("{\"keys\":[],\"keys\":[]}") && !reads("{\"keys\":[]} x"), "a set it must be");
	tap_ok(reads("{\"keys\":[{" OCT ",\"kid\":\"a\"},{" OCT ",\"kid\":\"b\"}]}") && set.count == 2,
		   "two keys");
	tap_ok(!reads("{\"keys\":[{" OCT ",\"kid\":\"a\"},{" OCT ",\"kid\":\"a\"}]}") &&
		   strstr(set.why, "key 2") != NULL, "no kid twice");
	tap_ok(!reads("{\"keys\":[{" OCT ",\"kid\":\"a\"},{" EC ",\"kid\":\"b\"}]}") &&
		   !reads("{\"keys\":[{" EC ",\"kid\":\"a\"},{" OCT ",\"kid\":\"b\"}]}"), "no secret beside public keys");
	for (int i = 0; i < JWKS_MAX_KEYS + 1; i++)
		strcat(many, i == 0 ? "{" OCT "}" : ",{" OCT "}");
	strcat(many, "]}");
	tap_ok(!reads(many), "65 keys are too many");
}

static bool
stored_reads(const char *jwk)
{
	JwsKey	   *key;
	const char *why = jws_key_read(jwk, &key);

	jws_key_free(key);
	return why == NULL && key != NULL;
}

/* A row that something else than jwks_read wrote must verify nothing, and crash nothing. */
static void
test_stored(void)
{
	char		rsa[700] = "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"n\":\"";
	size_t		used = strlen(rsa);

	tap_ok(stored_reads("{" OCT ",\"alg\":\"HS256\"}") && stored_reads("{" EC ",\"alg\":\"ES256\"}"),
		   "a stored key is read");
	tap_ok(!stored_reads("") && !stored_reads("[]") && !stored_reads("{" OCT "}") &&
		   !stored_reads("{" OCT ",\"alg\":\"none\"}") && !stored_reads("{" OCT ",\"alg\":7}"),
		   "not without its algorithm");
	tap_ok(!stored_reads("{" OCT ",\"alg\":\"RS256\"}") && !stored_reads("{" OCT ",\"alg\":\"ES256\"}") &&
		   !stored_reads("{" EC ",\"alg\":\"HS256\"}") && !stored_reads("{" EC ",\"alg\":\"PS256\"}"),
		   "nor as one of another kind");
	tap_ok(!stored_reads("{\"kty\":\"oct\",\"k\":\"" K31 "\",\"alg\":\"HS256\"}") &&
		   !stored_reads("{\"kty\":\"oct\",\"k\":\"A===\",\"alg\":\"HS256\"}"),
		   "nor a weak or ill-formed secret");
	memset(rsa + used, '_', 340);	/* 255 bytes */
	strcpy(rsa + used + 340, "\"}");
	tap_ok(!stored_reads(rsa), "nor a weak RSA key");
	strcpy(rsa + used + 340, "AAAB\"}");	/* 258 */
	tap_ok(stored_reads(rsa), "but a stronger one");
}

int
main(void)
{
	test_secrets();
	test_rsa();
	test_ec();
	test_use();
	test_set();
	test_stored();
	return tap_done();
}
