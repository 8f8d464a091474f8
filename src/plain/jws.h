/*
 * plain/jws.h - the form of a compact JWS (RFC 7515) and its signature
 *
 * Plain C, no server: see test/unit/token_form.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_JWS_H
#define SCOREBOARD_PLAIN_JWS_H

#include <stdbool.h>
#include <stddef.h>

#define JWS_MAX_BYTES 8192
#define JWS_MAX_DEPTH 32
#define JWS_KID_MAX 255			/* bytes */

#define JWS_HS_MIN_BYTES 32		/* RFC 7518 section 3.2 */
#define JWS_HS_MAX_BYTES 512
#define JWS_RSA_MIN_BITS 2048	/* RFC 7518 section 3.3 */
#define JWS_RSA_MAX_BITS 8192	/* verifying with more costs a backend too long */
#define JWS_P256_BYTES 32

struct json_t;					/* jansson's, whose header the server's files can't include */
typedef struct JwsKey JwsKey;	/* a key as the library takes it; its header includes jansson's */

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
	size_t		signature_bytes;	/* decoded */
	char		claims[JWS_MAX_BYTES];	/* the payload, decoded */
	size_t		claims_length;
} JwsForm;

extern const char *jws_algorithm_name(JwsAlgorithm algorithm);
extern JwsAlgorithm jws_algorithm_of(const char *name);

/* NULL where the token is well-formed, else what is wrong, in words that hold nothing of the token (or guard_no_memory). */
extern const char *jws_form_read(const char *token, size_t length, JwsForm *form);

/* A member's bytes; false where it is no strict base64url, or too long. */
extern bool jws_key_member(const struct json_t *jwk, const char *name,
						   unsigned char *out, size_t size, size_t *length);

/*
 * A key (JWK, JSON text, with alg) as jws_form_verify takes it, to be given to jws_key_free. NULL, or what is wrong and no
 * key: none of that algorithm, a weak one, guard_no_memory. Leaves OpenSSL's error queue empty.
 */
extern const char *jws_key_read(const char *jwk, JwsKey **key);
extern void jws_key_free(JwsKey *key);

/*
 * Does this key verify (NULL does not, nor does one of another algorithm) the signature of a form that jws_form_read
 * accepted? NULL, or what is wrong; guard_no_memory where that is not known. The form's text must still be there; the kid is the
 * caller's matter. Frees all that it allocates, leaves OpenSSL's error queue empty.
 */
extern const char *jws_form_verify(const JwsForm *form, const JwsKey *key);

#endif
