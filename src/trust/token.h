/*
 * trust/token.h - who acts, until when: JSON Web Tokens (RFC 7515, 7519; guide: RFC 8725)
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_TRUST_TOKEN_H
#define SCOREBOARD_TRUST_TOKEN_H

#include "postgres.h"
#include "nodes/pg_list.h"

#include "base/config_cache.h"
#include "base/refusal.h"

typedef struct TokenIdentity
{
	char	   *user_id;		/* with the issuer's prefix, 1-255 characters */
	int64		expires_at;		/* seconds since 1970, without leeway */
	char	   *display_name;	/* where the issuer maps the claim and it was a string, else NULL; not validated here */
	char	   *avatar_url;		/* likewise */
	List	   *permissions;	/* of char *; NIL where none */
	List	   *labels;			/* of char *, name and value in turn; NIL where the issuer maps no claim to a label, or the token has none of them */
} TokenIdentity;

/*
 * Verifies an explicit token, or where it is NULL the claims that a trusted
 * request role (scoreboard.trusted_request_roles) left in request.jwt.claims. False with UNAUTHORIZED in *refusal.
 * The identity is allocated in the current memory context.
 */
extern bool token_identify(const char *token, TokenIdentity *identity, Refusal *refusal);

/*
 * Checks an issuer's key set before it is stored. *keys: of IssuerKey *, in the
 * current memory context. False with INVALID_REQUEST in *refusal.
 */
extern bool token_check_jwks(const char *jwks_text, List **keys, Refusal *refusal);

#endif
