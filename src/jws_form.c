/*
 * jws_form.c - the form of a compact JWS (RFC 7515) and its signature
 *
 * The form is checked here, by ourselves and before any library sees the token;
 * the signature by libjose (Debian's libjose 11), never by ourselves. Why libjose:
 *  - it takes keys as JWKs and knows HS256, RS256, PS256 and ES256; libjwt
 *    1.10.2 has neither PS256 nor JWKs;
 *  - PS256 is as RFC 7518 has it: SHA-256 in MGF1, a salt of exactly 32 bytes
 *    (rsassa.c: RSA_PSS_SALTLEN_DIGEST);
 *  - HMACs are compared in constant time, HMAC keys under 32 bytes and RSA keys
 *    under 2048 bits are refused by itself;
 *  - errors go to a callback and every object has an owner; cjose (0.6.2.1)
 *    would do too, but decodes base64url leniently and copies the token several times.
 *
 * What one has to know about libjose 11, and what follows from it here:
 *  - its test that the header's alg is the key's alg uses strcmp() < 0 and lets
 *    half of all mismatches pass: algorithms are compared before it is given a key;
 *  - its default error handler prints to stderr, the server's log: replaced;
 *  - without a "protected" string it would call jansson's json_object(), which
 *    inside a server process is PostgreSQL's function of that name: there always is one.
 *
 * Allocates with malloc and frees before it returns, but for keys (jws_key_read);
 * raises nothing. Headers are the same from token to token: what the last one
 * that was accepted says is remembered with its text.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "jws_form.h"

#include <string.h>

#include <jose/jws.h>
#include <openssl/err.h>

#include "base64url.h"
#include "strict_json.h"

#define HEADER_KEPT 512			/* characters; longer headers are read each time */

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
	header = strict_json_object(text, length, JWS_MAX_DEPTH);
	if (header == NULL)
		return "the token's header is not a strict JSON object";
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

/* An HMAC and an ECDSA signature have one length; RSA's is its key's. */
static const char *
check_signature(const JwsForm *form)
{
	unsigned char signature[JWS_MAX_BYTES];
	size_t		length;

	if (!base64url_decode(form->signature, form->signature_length,
						  signature, sizeof(signature), &length))
		return "the token's signature is not strict base64url";
	if ((form->algorithm == JWS_HS256 && length != 32) ||
		(form->algorithm == JWS_ES256 && length != 64))
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

/* The library's words may quote the token, and nobody acts on them. */
static void
ignore_error(void *misc, const char *file, int line, uint64_t err,
			 const char *format, va_list arguments)
{
	(void) misc;
	(void) file;
	(void) line;
	(void) err;
	(void) format;
	(void) arguments;
}

struct json_t *
jws_key_read(const char *jwk)
{
	return strict_json_object(jwk, strlen(jwk), JWS_MAX_DEPTH);
}

void
jws_key_free(struct json_t *key)
{
	json_decref(key);
}

bool
jws_form_verify(const JwsForm *form, const struct json_t *key)
{
	jose_cfg_t *cfg = jose_cfg();
	/* The parts are base64url, as jws_form_read saw: nobody needs to check them for UTF-8. */
	json_t	   *jws = json_pack("{s:o, s:o, s:o}",
								"protected", json_stringn_nocheck(form->header, form->header_length),
								"payload", json_stringn_nocheck(form->payload, form->payload_length),
								"signature", json_stringn_nocheck(form->signature, form->signature_length));
	bool		verified = false;

	if (cfg != NULL && jws != NULL && key != NULL)
	{
		jose_cfg_set_err_func(cfg, ignore_error, NULL);
		verified = jose_jws_ver(cfg, jws, NULL, key, true);
	}
	json_decref(jws);
	if (cfg != NULL)
		jose_cfg_decref(cfg);
	ERR_clear_error();
	return verified;
}
