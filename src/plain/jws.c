/*
 * plain/jws.c - the form of a compact JWS (RFC 7515) and its signature
 *
 * The form is checked here, by ourselves and before any library sees the token;
 * the signature by cjose (Debian's 0.6.2.1), never by ourselves. Why cjose:
 *  - it knows HS256, RS256, PS256 and ES256; libjwt 1.10.2 has no PS256;
 *  - PS256 is as RFC 7518 has it: SHA-256 in MGF1, a salt of exactly 32 bytes
 *    (jws.c: RSA_verify_PKCS1_PSS with -1, OpenSSL's RSA_PSS_SALTLEN_DIGEST);
 *  - HMACs are compared in constant time;
 *  - it makes a key into OpenSSL's once, libjose 11 anew (and checks it) with each token:
 *    verifying takes half the time or less.
 *
 * What one has to know about cjose 0.6.2.1, and what follows from it here:
 *  - its base64url is lenient, and "A===" aborts the process (an assert): it is given
 *    nothing but what base64url_decode accepted, keys as bytes (not cjose_jwk_import);
 *  - an HMAC is computed before it looks what kind of key it has, so it would read an RSA
 *    key's structure as a secret, and compared before it looks at the signature's length:
 *    algorithms are compared, and lengths known, before it is called;
 *  - it takes keys of any strength: make_key doesn't; and a PS256 signature without its leading zeros: fits_key;
 *  - it writes to address 0 where malloc gives no room for a copy, and says of what OpenSSL had no
 *    memory for that the signature is wrong: it runs under plain/guard.c, and errno is looked at;
 *  - cjose_jwk_to_json, cjose_header_new and the JWE functions call jansson's json_object(),
 *    which inside a server process is PostgreSQL's function of that name: never call these.
 *    Import, verify and release don't;
 *  - errors go to a cjose_err, where one is given; nothing is printed.
 *
 * Allocates with malloc and frees before it returns, but for keys (jws_key_read);
 * raises nothing. Headers are the same from token to token: what the last one
 * that was accepted says is remembered with its text.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/jws.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjose/jwk.h>
#include <cjose/jws.h>
#include <openssl/err.h>

#include "plain/base64url.h"
#include "plain/guard.h"
#include "plain/strict_json.h"

#define WRONG_SIGNATURE "the token's signature is wrong"

#define SIGNATURE_ROOM 4096
#define HEADER_KEPT 512			/* characters; longer headers are read each time */

struct JwsKey
{
	JwsAlgorithm algorithm;		/* the only one that it verifies */
	cjose_jwk_t *jwk;
};

static const char *const algorithm_names[JWS_ALGORITHMS] = {
	[JWS_HS256] = "HS256",
	[JWS_RS256] = "RS256",
	[JWS_PS256] = "PS256",
	[JWS_ES256] = "ES256",
};

const char *
jws_algorithm_name(JwsAlgorithm algorithm)
{
	return algorithm < JWS_ALGORITHMS ? algorithm_names[algorithm] : "none";
}

JwsAlgorithm
jws_algorithm_of(const char *name)
{
	for (int i = 0; i < JWS_ALGORITHMS; i++)
		if (strcmp(name, algorithm_names[i]) == 0)
			return (JwsAlgorithm) i;
	return JWS_ALGORITHMS;
}

/* Three parts, none empty, two dots. */
static const char *
split(const char *token, size_t length, JwsForm *form)
{
	const char *end = token + length;
	const char *first = memchr(token, '.', length);
	const char *second = NULL;

	if (first != NULL)
		second = memchr(first + 1, '.', (size_t) (end - first - 1));
	if (second == NULL || memchr(second + 1, '.', (size_t) (end - second - 1)) != NULL)
		return "a token is three parts joined by dots";

	form->header = token;
	form->header_length = (size_t) (first - token);
	form->payload = first + 1;
	form->payload_length = (size_t) (second - first - 1);
	form->signature = second + 1;
	form->signature_length = (size_t) (end - second - 1);
	if (form->header_length == 0 || form->payload_length == 0 || form->signature_length == 0)
		return "a part of the token is empty";
	return NULL;
}

static const char *
read_algorithm(const json_t *header, JwsForm *form)
{
	size_t		length;
	const char *name = strict_json_string(json_object_get(header, "alg"), &length);

	form->algorithm = name != NULL ? jws_algorithm_of(name) : JWS_ALGORITHMS;
	if (form->algorithm == JWS_ALGORITHMS)
		return "the token's algorithm must be HS256, RS256, PS256 or ES256";
	return NULL;
}

static const char *
read_kid(const json_t *header, JwsForm *form)
{
	const json_t *kid = json_object_get(header, "kid");
	const char *text;
	size_t		length;

	form->has_kid = kid != NULL;
	if (kid == NULL)
		return NULL;
	text = strict_json_string(kid, &length);
	if (text == NULL || length > JWS_KID_MAX)
		return "the token's kid must be a string of at most 255 bytes";
	memcpy(form->kid, text, length + 1);
	return NULL;
}

/*
 * jwk, jku, x5u, x5c and their like are not even looked at: which key verifies
 * is the issuer's row's business, never the token's.
 */
static const char *
check_header(const json_t *header, JwsForm *form)
{
	const json_t *type = json_object_get(header, "typ");
	const char *why;

	if (json_object_get(header, "crit") != NULL || json_object_get(header, "b64") != NULL)
		return "the token's header has crit or b64, which are not supported";
	if (type != NULL &&
		(!json_is_string(type) ||
		 (strcmp(json_string_value(type), "JWT") != 0 &&
		  strcmp(json_string_value(type), "at+jwt") != 0)))
		return "the token's typ must be JWT or at+jwt, or be left out";
	why = read_algorithm(header, form);
	return why != NULL ? why : read_kid(header, form);
}

static const char *
parse_header(JwsForm *form)
{
	char		text[JWS_MAX_BYTES];
	size_t		length;
	json_t	   *header;
	const char *why;

	if (!base64url_decode(form->header, form->header_length,
						  (unsigned char *) text, sizeof(text), &length))
		return "the token's header is not strict base64url";
	why = strict_json_object(text, length, JWS_MAX_DEPTH, &header);
	if (why != NULL)
		return why == guard_no_memory ? why : "the token's header is not a strict JSON object";
	why = check_header(header, form);
	json_decref(header);
	return why;
}

static const char *
read_header(JwsForm *form)
{
	static struct
	{
		size_t		length;		/* 0: none was accepted yet */
		char		text[HEADER_KEPT];
		JwsAlgorithm algorithm;
		bool		has_kid;
		char		kid[JWS_KID_MAX + 1];
	}			last;
	const char *why;

	if (form->header_length == last.length && memcmp(form->header, last.text, last.length) == 0)
	{
		form->algorithm = last.algorithm;
		form->has_kid = last.has_kid;
		memcpy(form->kid, last.kid, sizeof(last.kid));
		return NULL;
	}
	form->kid[0] = '\0';
	why = parse_header(form);
	if (why == NULL && form->header_length <= HEADER_KEPT)
	{
		last.length = form->header_length;
		memcpy(last.text, form->header, last.length);
		last.algorithm = form->algorithm;
		last.has_kid = form->has_kid;
		memcpy(last.kid, form->kid, sizeof(last.kid));
	}
	return why;
}

/* An HMAC and an ECDSA signature have one length; RSA's is its key's (fits_key). */
static const char *
check_signature(JwsForm *form)
{
	unsigned char signature[JWS_MAX_BYTES];

	if (!base64url_decode(form->signature, form->signature_length,
						  signature, sizeof(signature), &form->signature_bytes))
		return "the token's signature is not strict base64url";
	if ((form->algorithm == JWS_HS256 && form->signature_bytes != 32) ||
		(form->algorithm == JWS_ES256 && form->signature_bytes != 64))
		return "the token's signature has a wrong length";
	return NULL;
}

const char *
jws_form_read(const char *token, size_t length, JwsForm *form)
{
	const char *why;

	if (length > JWS_MAX_BYTES)
		return "the token is longer than 8 KiB";
	why = split(token, length, form);
	if (why == NULL)
		why = read_header(form);
	if (why == NULL)
		why = check_signature(form);
	if (why != NULL)
		return why;
	if (!base64url_decode(form->payload, form->payload_length,
						  (unsigned char *) form->claims, sizeof(form->claims),
						  &form->claims_length))
		return "the token's payload is not strict base64url";
	return NULL;
}

bool
jws_key_member(const json_t *jwk, const char *name, unsigned char *out, size_t size, size_t *length)
{
	size_t		text_length;
	const char *text = strict_json_string(json_object_get(jwk, name), &text_length);

	return text != NULL && base64url_decode(text, text_length, out, size, length);
}

/* What becomes a key under guard_run. */
typedef struct KeyMaking
{
	const json_t *jwk;
	JwsAlgorithm algorithm;
	unsigned char secret[JWS_HS_MAX_BYTES]; /* here, since a run may end in the middle */
	cjose_jwk_t *made;
} KeyMaking;

static cjose_jwk_t *
make_secret(KeyMaking *making)
{
	size_t		length;

	if (!jws_key_member(making->jwk, "k", making->secret, sizeof(making->secret), &length) ||
		length < JWS_HS_MIN_BYTES)
		return NULL;
	return cjose_jwk_create_oct_spec(making->secret, length, NULL);
}

static cjose_jwk_t *
make_rsa(const json_t *jwk)
{
	unsigned char n[JWS_RSA_MAX_BITS / 8 + 1];
	unsigned char e[8];
	cjose_jwk_rsa_keyspec spec = {.n = n, .e = e};
	cjose_jwk_t *key;

	if (!jws_key_member(jwk, "n", n, sizeof(n), &spec.nlen) ||
		!jws_key_member(jwk, "e", e, sizeof(e), &spec.elen))
		return NULL;
	key = cjose_jwk_create_RSA_spec(&spec, NULL);
	if (key == NULL || cjose_jwk_get_keysize(key, NULL) >= JWS_RSA_MIN_BITS)
		return key;
	cjose_jwk_release(key);
	return NULL;
}

/* NULL for a point off the curve, too. */
static cjose_jwk_t *
make_p256(const json_t *jwk)
{
	unsigned char x[JWS_P256_BYTES];
	unsigned char y[JWS_P256_BYTES];
	cjose_jwk_ec_keyspec spec = {.crv = CJOSE_JWK_EC_P_256, .x = x, .y = y};

	if (!jws_key_member(jwk, "x", x, sizeof(x), &spec.xlen) ||
		!jws_key_member(jwk, "y", y, sizeof(y), &spec.ylen))
		return NULL;
	return cjose_jwk_create_EC_spec(&spec, NULL);
}

/* The algorithm alone says which members are looked at: a key of another kind has none of them. */
static void
make_key(void *argument)
{
	KeyMaking  *making = argument;

	switch (making->algorithm)
	{
		case JWS_HS256:
			making->made = make_secret(making);
			break;
		case JWS_RS256:
		case JWS_PS256:
			making->made = make_rsa(making->jwk);
			break;
		case JWS_ES256:
			making->made = make_p256(making->jwk);
			break;
		case JWS_ALGORITHMS:
			break;
	}
}

/* A key for which OpenSSL had too little memory may lack something. */
static const char *
make_key_of(const json_t *jwk, JwsKey *key)
{
	KeyMaking	making = {.jwk = jwk, .algorithm = key->algorithm};
	bool		enough = guard_run(make_key, &making) && errno != ENOMEM;

	OPENSSL_cleanse(making.secret, sizeof(making.secret));
	ERR_clear_error();
	if (!enough)
	{
		cjose_jwk_release(making.made);
		return guard_no_memory;
	}
	key->jwk = making.made;
	return key->jwk != NULL ? NULL : "no key of its algorithm, or a weak one";
}

const char *
jws_key_read(const char *jwk, JwsKey **key)
{
	json_t	   *object;
	const char *why = strict_json_object(jwk, strlen(jwk), JWS_MAX_DEPTH, &object);
	const char *name = json_string_value(json_object_get(object, "alg"));
	JwsKey	   *made;

	*key = NULL;
	if (why != NULL)
		return why;
	made = calloc(1, sizeof(JwsKey));
	if (made != NULL)
	{
		made->algorithm = name != NULL ? jws_algorithm_of(name) : JWS_ALGORITHMS;
		why = make_key_of(object, made);
	}
	else
		why = guard_no_memory;
	json_decref(object);
	if (why == NULL)
		*key = made;
	else
		free(made);
	return why;
}

void
jws_key_free(JwsKey *key)
{
	if (key == NULL)
		return;
	cjose_jwk_release(key->jwk);
	free(key);
}

/* RFC 8017, 8.1.2 and 8.2.2, step 1. The library takes a PS256 signature that lacks its leading zeros. */
static bool
fits_key(const JwsForm *form, const JwsKey *key)
{
	if (key->algorithm == JWS_RS256 || key->algorithm == JWS_PS256)
		return form->signature_bytes * 8 == cjose_jwk_get_keysize(key->jwk, NULL);
	return true;
}

/*
 * cjose takes for granted that OpenSSL has room for a signature of ES256, some hundred bytes, and reads from
 * address 0 otherwise. What is freed here serves these small allocations; volatile, since compilers do away with such pairs.
 */
static bool
signature_has_room(void)
{
	void	   *volatile room = malloc(SIGNATURE_ROOM);

	free(room);
	return room != NULL;
}

typedef struct Verifying
{
	const JwsForm *form;
	const JwsKey *key;
	bool		verified;
} Verifying;

static void
verify(void *argument)
{
	Verifying  *verifying = argument;
	const JwsForm *form = verifying->form;

	/* The three parts and their dots are one text. */
	size_t		length = (size_t) (form->signature + form->signature_length - form->header);
	cjose_jws_t *jws = cjose_jws_import(form->header, length, NULL);

	verifying->verified = jws != NULL && signature_has_room() && cjose_jws_verify(jws, verifying->key->jwk, NULL);
	cjose_jws_release(jws);
}

/* cjose says no to a wrong signature and to what OpenSSL had no memory for alike: errno knows better. */
const char *
jws_form_verify(const JwsForm *form, const JwsKey *key)
{
	Verifying	verifying = {form, key, false};
	bool		enough;

	if (key == NULL || key->algorithm != form->algorithm || !fits_key(form, key))
		return WRONG_SIGNATURE;
	enough = guard_run(verify, &verifying) && (verifying.verified || errno != ENOMEM);
	ERR_clear_error();
	if (!enough)
		return guard_no_memory;
	return verifying.verified ? NULL : WRONG_SIGNATURE;
}
