/*
 * jws_form.h - the form of a compact JWS (RFC 7515) and its signature
 *
 * Plain C, no server: see test/unit/token_form.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_JWS_FORM_H
#define SCOREBOARD_JWS_FORM_H

#include <stdbool.h>
#include <stddef.h>

#define JWS_MAX_BYTES 8192
#define JWS_MAX_DEPTH 32
#define JWS_KID_MAX 255			/* bytes */

struct json_t;					/* jansson's, whose header the server's files can't include */

typedef enum JwsAlgorithm
{
	JWS_HS256,
	JWS_RS256,
	JWS_PS256,
	JWS_ES256,
	JWS_ALGORITHMS				/* how many there are; also: none of them */
} JwsAlgorithm;

/* Parts point into the token that was read; header, payload and signature stay base64url. */
typedef struct JwsForm
{
	JwsAlgorithm algorithm;
	bool		has_kid;
	char		kid[JWS_KID_MAX + 1];
	const char *header;
	size_t		header_length;
	const char *payload;
	size_t		payload_length;
	const char *signature;
	size_t		signature_length;
	char		claims[JWS_MAX_BYTES];	/* the payload, decoded */
	size_t		claims_length;
} JwsForm;

extern const char *jws_algorithm_name(JwsAlgorithm algorithm);
extern JwsAlgorithm jws_algorithm_of(const char *name);

/* NULL where the token is well-formed, else what is wrong, in words that hold nothing of the token. */
extern const char *jws_form_read(const char *token, size_t length, JwsForm *form);

/* A key (JWK, JSON text) as jws_form_verify takes it, to be given to jws_key_free, or NULL. */
extern struct json_t *jws_key_read(const char *jwk);
extern void jws_key_free(struct json_t *key);

/*
 * Does this key verify (NULL does not) the signature of a form that jws_form_read accepted? The caller has compared
 * the key's algorithm and kid with the token's. Frees all that it allocates, leaves OpenSSL's error queue empty.
 */
extern bool jws_form_verify(const JwsForm *form, const struct json_t *key);

#endif
