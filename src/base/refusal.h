/*
 * base/refusal.h - the error table of the whole product, and how a check says no
 *
 * A check never raises. It fills a Refusal and returns false, so that a batch
 * can answer each of its requests and only a single call turns the refusal
 * into an ereport.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_REFUSAL_H
#define SCOREBOARD_BASE_REFUSAL_H

#include "postgres.h"

#include "compat.h"

#define REFUSAL_MESSAGE_MAX 256

typedef enum RefusalCode
{
	REFUSAL_NONE = 0,
	REFUSAL_INVALID_REQUEST,
	REFUSAL_UNAUTHORIZED,
	REFUSAL_INVALID_SIGNATURE,
	REFUSAL_RECEIPT_EXPIRED,
	REFUSAL_ACTION_NOT_ALLOWED,
	REFUSAL_PLAYER_SUSPENDED,
	REFUSAL_NOT_FOUND,
	REFUSAL_METHOD_NOT_ALLOWED,
	REFUSAL_DUPLICATE_ACTION,
	REFUSAL_IDEMPOTENCY_MISMATCH,
	REFUSAL_RATE_LIMITED,
	REFUSAL_QUOTA_EXCEEDED,
	REFUSAL_INTERNAL,
	REFUSAL_UNAVAILABLE,
	REFUSAL_CODES				/* how many there are */
} RefusalCode;

typedef struct Refusal
{
	RefusalCode code;
	int			retry_after;	/* seconds, at least 1; 0 where there is none */
	const char *hint;			/* static text, or NULL */
	bool		nameless;		/* to be kept without saying whose it was */
	char		message[REFUSAL_MESSAGE_MAX];	/* a sentence for people, never a secret */
} Refusal;

/* Fills the refusal and returns false, for "return refuse(...)". */
extern bool refuse(Refusal *refusal, RefusalCode code, const char *hint,
				   const char *format,...) pg_attribute_printf(4, 5);

/* The same with Retry-After, in seconds (raised to 1). */
extern bool refuse_for(Refusal *refusal, RefusalCode code, int retry_after,
					   const char *hint, const char *format,...) pg_attribute_printf(5, 6);

/* The code's name as SPEC section 4 has it, and its HTTP status. */
extern const char *refusal_name(RefusalCode code);
extern int	refusal_http_status(RefusalCode code);

/* Raises it: SQLSTATE PTxyz, DETAIL as JSON. */
compat_noreturn extern void refusal_raise(const Refusal *refusal);

/* Says no on a standby, which answers reads: a gateway that was pointed at it shall try again until the primary is back. */
extern bool refuse_on_standby(Refusal *refusal, const char *what);
extern void require_primary(const char *what);	/* likewise, and raises it */

/* Where plain C had no memory to check something (guard_no_memory): 53200, since it says nothing about the request. */
compat_noreturn extern void raise_no_memory(void);

#endif
