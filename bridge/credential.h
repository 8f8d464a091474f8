/*
 * credential.h - what a stream's request shows of who asks, and whom that stands for
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef BRIDGE_CREDENTIAL_H
#define BRIDGE_CREDENTIAL_H

#include "question.h"

typedef enum CredentialKind
{
	CREDENTIAL_NONE,
	CREDENTIAL_TOKEN,
	CREDENTIAL_TICKET
} CredentialKind;

typedef struct Credential
{
	CredentialKind kind;
	char		text[TOKEN_MAX + 1];
} Credential;

/* Whom it stands for. */
typedef struct Identity
{
	char	   *user_id;
	int64_t		expires_at;		/* seconds since 1970: the token's end */
	char	   *permissions;	/* one behind the other, each with its end, and an empty one behind the last */
	char	   *pass;			/* by which the database tells where the player stands, though it stood in no list; "": none */
} Identity;

/*
 * By Authorization header, `ticket` in the query, subprotocol ticket.<ticket>, or the cookie that a setting names, which
 * counts only beside an Origin that may have it. Only while there is a head. False with the problem set.
 */
extern bool credential_read(const Exchange *exchange, Credential *credential, Problem *problem);

/* Asks the database whom it stands for, as exchange_ask() does; the answer's row is for identity_of(). */
extern bool credential_ask(Exchange *exchange, const Credential *credential, PgCallback callback, void *data);

/* malloc'd; NULL: out of memory. */
extern Identity *identity_of(const PGresult *result);
extern void identity_free(Identity *identity);	/* NULL is fine */
extern bool identity_may(const Identity *identity, const char *permission);

#endif
