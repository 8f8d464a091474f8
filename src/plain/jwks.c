/*
 * plain/jwks.c - an issuer's keys, checked before they are stored (RFC 7517)
 *
 * A key that could never verify, or that is weak, is refused here with its place
 * in the set, not later with everybody's tokens. What goes on from here is a new JWK that holds
 * nothing but the members that verifying needs, alg always among them: each
 * key verifies one algorithm only.
 *
 * Allocates with malloc, frees before it returns, raises nothing.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/jwks.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "plain/guard.h"
#include "plain/strict_json.h"

#define RSA_MIN_EXPONENT 65537
#define JWK_MAX_BYTES 4096

#define TOO_MUCH "is too long"

static bool
member_is(const json_t *jwk, const char *name, const char *wanted)
{
	const char *text = json_string_value(json_object_get(jwk, name));

	return text != NULL && strcmp(text, wanted) == 0;
}

static bool
has_any(const json_t *jwk, const char *const names[])
{
	for (int i = 0; names[i] != NULL; i++)
		if (json_object_get(jwk, names[i]) != NULL)
			return true;
	return false;
}

static const char *
check_secret(const json_t *jwk)
{
	unsigned char key[JWS_HS_MAX_BYTES];
	size_t		length;
	bool		good = jws_key_member(jwk, "k", key, sizeof(key), &length);

	OPENSSL_cleanse(key, sizeof(key));
	if (!good)
		return "needs k: at most 512 bytes as strict base64url";
	return length >= JWS_HS_MIN_BYTES ? NULL : "is shorter than the 32 bytes that HS256 demands";
}

static size_t
significant_bits(const unsigned char *number, size_t length)
{
	size_t		skip = 0;
	size_t		bits;

	while (skip < length && number[skip] == 0)
		skip++;
	if (skip == length)
		return 0;
	bits = (length - skip) * 8;
	for (unsigned char top = number[skip]; (top & 0x80) == 0; top = (unsigned char) (top << 1))
		bits--;
	return bits;
}

static const char *
check_rsa(const json_t *jwk)
{
	static const char *const secrets[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", NULL};
	unsigned char modulus[JWS_RSA_MAX_BITS / 8 + 1];
	unsigned char exponent[8];
	size_t		length;
	size_t		bits;
	uint64_t	e = 0;

	if (has_any(jwk, secrets))
		return "holds a private key; give only its public part";
	if (!jws_key_member(jwk, "n", modulus, sizeof(modulus), &length))
		return "needs n: at most 8192 bits as strict base64url";
	bits = significant_bits(modulus, length);
	if (bits < JWS_RSA_MIN_BITS)
		return "is shorter than the 2048 bits that RSA demands";
	if (bits > JWS_RSA_MAX_BITS)
		return "is longer than 8192 bits";
	if (!jws_key_member(jwk, "e", exponent, sizeof(exponent), &length))
		return "needs e: at most 64 bits as strict base64url";
	for (size_t i = 0; i < length; i++)
		e = e << 8 | exponent[i];
	if (e < RSA_MIN_EXPONENT || e % 2 == 0)
		return "needs an odd public exponent of at least 65537";
	return NULL;
}

static const char *
check_ec(const json_t *jwk)
{
	static const char *const secrets[] = {"d", "k", NULL};
	unsigned char coordinate[JWS_P256_BYTES];
	size_t		x = 0,
				y = 0;

	if (has_any(jwk, secrets))
		return "holds a private key; give only its public part";
	if (!member_is(jwk, "crv", "P-256"))
		return "is on another curve than P-256";
	if (!jws_key_member(jwk, "x", coordinate, sizeof(coordinate), &x) ||
		!jws_key_member(jwk, "y", coordinate, sizeof(coordinate), &y) ||
		x != JWS_P256_BYTES || y != JWS_P256_BYTES)
		return "needs x and y of 32 bytes each as strict base64url";
	return NULL;
}

static const char *
check_use(const json_t *jwk)
{
	const json_t *operations = json_object_get(jwk, "key_ops");
	bool		verifies = false;

	if (json_object_get(jwk, "use") != NULL && !member_is(jwk, "use", "sig"))
		return "has a use other than sig; leave such keys out";
	if (operations == NULL)
		return NULL;
	for (size_t i = 0; i < json_array_size(operations); i++)
	{
		const char *operation = json_string_value(json_array_get(operations, i));

		if (operation == NULL)
			return "needs key_ops that is an array of strings";
		if (strcmp(operation, "verify") == 0)
			verifies = true;
	}
	return verifies ? NULL : "has key_ops that don't allow verifying; leave such keys out";
}

/* From the JWK, or the only one for that kind of key. */
static const char *
read_algorithm(const json_t *jwk, JwsAlgorithm only, JwsAlgorithm *algorithm)
{
	const json_t *value = json_object_get(jwk, "alg");

	*algorithm = only;
	if (value == NULL)
		return only != JWS_ALGORITHMS ? NULL : "needs alg: RS256 or PS256";
	if (json_is_string(value))
		*algorithm = jws_algorithm_of(json_string_value(value));
	else
		*algorithm = JWS_ALGORITHMS;
	if (*algorithm == JWS_ALGORITHMS)
		return "has an alg that is none of HS256, RS256, PS256, ES256";
	return NULL;
}

static const char *
check_key(const json_t *jwk, JwsAlgorithm *algorithm)
{
	static const char no_match[] = "has an alg that its kty can't have";
	const char *why;

	if (member_is(jwk, "kty", "oct"))
	{
		why = read_algorithm(jwk, JWS_HS256, algorithm);
		if (why == NULL && *algorithm != JWS_HS256)
			why = no_match;
		return why != NULL ? why : check_secret(jwk);
	}
	if (member_is(jwk, "kty", "RSA"))
	{
		why = read_algorithm(jwk, JWS_ALGORITHMS, algorithm);
		if (why == NULL && *algorithm != JWS_RS256 && *algorithm != JWS_PS256)
			why = no_match;
		return why != NULL ? why : check_rsa(jwk);
	}
	if (member_is(jwk, "kty", "EC"))
	{
		why = read_algorithm(jwk, JWS_ES256, algorithm);
		if (why == NULL && *algorithm != JWS_ES256)
			why = no_match;
		return why != NULL ? why : check_ec(jwk);
	}
	return "has a kty other than oct, RSA and EC; leave such keys out";
}

/* A kid of 1 to 255 bytes without control characters, or none. */
static const char *
read_kid(const json_t *jwk, TextArena *arena, JwksKey *key)
{
	const json_t *value = json_object_get(jwk, "kid");
	const char *text;
	size_t		length;

	key->kid = NULL;
	if (value == NULL)
		return NULL;
	text = strict_json_string(value, &length);
	if (text == NULL || length == 0 || length > JWS_KID_MAX)
		return "needs a kid that is a string of 1 to 255 bytes, or none";
	for (size_t i = 0; i < length; i++)
		if ((unsigned char) text[i] < 0x20 || text[i] == 0x7F)
			return "has a control character in its kid";
	key->kid = text_arena_copy(arena, text, length);
	return key->kid != NULL ? NULL : TOO_MUCH;
}

static const char *
member(const json_t *jwk, const char *name)
{
	return json_string_value(json_object_get(jwk, name));
}

/* What verifying needs, in a fixed order. The members were checked: base64url needs no escapes. */
static int
write_bare(const json_t *jwk, JwsAlgorithm algorithm, char *text, size_t size)
{
	const char *alg = jws_algorithm_name(algorithm);

	switch (algorithm)
	{
		case JWS_HS256:
			return snprintf(text, size, "{\"kty\":\"oct\",\"k\":\"%s\",\"alg\":\"%s\"}", member(jwk, "k"), alg);
		case JWS_RS256:
		case JWS_PS256:
			return snprintf(text, size, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\",\"alg\":\"%s\"}",
							member(jwk, "n"), member(jwk, "e"), alg);
		case JWS_ES256:
			return snprintf(text, size, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\",\"alg\":\"%s\"}",
							member(jwk, "x"), member(jwk, "y"), alg);
		case JWS_ALGORITHMS:
			break;
	}
	return -1;
}

/* Will it be read when a token comes? A point off the curve shows here, for one. */
static const char *
check_reading(const char *jwk)
{
	JwsKey	   *key;
	const char *why = jws_key_read(jwk, &key);

	jws_key_free(key);
	return why == NULL || why == guard_no_memory ? why : "is no valid key of its kind";
}

static const char *
store_key(const json_t *jwk, TextArena *arena, JwksKey *key)
{
	char		text[JWK_MAX_BYTES];
	int			length = write_bare(jwk, key->algorithm, text, sizeof(text));

	key->jwk = length > 0 && (size_t) length < sizeof(text) ? text_arena_copy(arena, text, (size_t) length) : NULL;
	OPENSSL_cleanse(text, sizeof(text));
	return key->jwk != NULL ? check_reading(key->jwk) : TOO_MUCH;
}

static bool
kid_taken(const JwksSet *set, const char *kid)
{
	for (int i = 0; i < set->count; i++)
		if (set->keys[i].kid != NULL && strcmp(set->keys[i].kid, kid) == 0)
			return true;
	return false;
}

/*
 * Public keys get published: a secret in the same set would be one careless
 * copy away from everybody.
 */
static bool
secret_beside_public(const JwksSet *set, JwsAlgorithm algorithm)
{
	return set->count > 0 &&
		(set->keys[0].algorithm == JWS_HS256) != (algorithm == JWS_HS256);
}

static const char *
read_key(const json_t *jwk, TextArena *arena, JwksSet *set)
{
	JwksKey    *key = &set->keys[set->count];
	const char *why;

	if (!json_is_object(jwk))
		return "is no JSON object";
	why = check_use(jwk);
	if (why == NULL)
		why = check_key(jwk, &key->algorithm);
	if (why == NULL)
		why = read_kid(jwk, arena, key);
	if (why == NULL && key->kid != NULL && kid_taken(set, key->kid))
		why = "has the kid of an earlier one";
	if (why == NULL && secret_beside_public(set, key->algorithm))
		why = "stands in one set with keys of the other sort: secret (oct) and public keys don't mix";
	if (why == NULL)
		why = store_key(jwk, arena, key);
	return why;
}

static bool
read_keys(const json_t *keys, TextArena *arena, JwksSet *set)
{
	size_t		count = json_array_size(keys);

	if (!json_is_array(keys) || count > JWKS_MAX_KEYS)
	{
		snprintf(set->why, sizeof(set->why),
				 "the key set needs a member keys: an array of at most %d keys", JWKS_MAX_KEYS);
		return false;
	}
	for (size_t i = 0; i < count; i++)
	{
		const char *why = read_key(json_array_get(keys, i), arena, set);

		if (why != NULL)
		{
			set->no_memory = why == guard_no_memory;
			snprintf(set->why, sizeof(set->why), "key %d of the set %s", (int) i + 1, why);
			return false;
		}
		set->count++;
	}
	return true;
}

bool
jwks_read(const char *text, size_t length, TextArena *arena, JwksSet *set)
{
	json_t	   *object = NULL;
	const char *why = NULL;
	bool		good;

	set->count = 0;
	set->why[0] = '\0';
	if (length <= JWKS_MAX_BYTES)
		why = strict_json_object(text, length, JWS_MAX_DEPTH, &object);
	set->no_memory = why == guard_no_memory;
	if (object == NULL)
	{
		snprintf(set->why, sizeof(set->why),
				 "the key set must be a strict JSON object of at most 64 KiB");
		return false;
	}
	good = read_keys(json_object_get(object, "keys"), arena, set);
	json_decref(object);
	return good;
}
