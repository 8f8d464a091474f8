/*
 * plain/claims.h - what a token claims, checked against what its issuer may claim (RFC 7519)
 *
 * Plain C, no server: see test/unit/token_claims.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_CLAIMS_H
#define SCOREBOARD_PLAIN_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plain/text_arena.h"

struct json_t;					/* jansson's, whose header the server's files can't include */

#define CLAIMS_ISSUER_MAX 4000	/* bytes; the table takes 1000 characters */
#define CLAIMS_USER_ID_MAX 255	/* characters */
#define CLAIMS_NAME_MAX 255		/* bytes of a part of a claim's name */
#define CLAIMS_LABELS_MAX 16	/* of a player */
#define CLAIMS_LABEL_MAX 32		/* bytes of a label's name, and of its value */
#define CLAIMS_LEEWAY 30		/* seconds between two clocks */

/* A claim that must have this value, a string; why says so, for whoever has a token without it. */
typedef struct RequiredClaim
{
	const char *name;
	const char *value;
	const char *why;
} RequiredClaim;

/* A claim that gives a label of the player's. */
typedef struct LabelClaim
{
	const char *label;
	const char *claim;
} LabelClaim;

/*
 * The issuer's row, as far as claims are concerned. A claim's name is that of a member, or else leads to one in an object: realm_access.roles.
 */
typedef struct ClaimsPolicy
{
	const char *user_id_prefix;
	const char *user_claim;
	const char *audience;		/* or NULL: tokens with aud are refused */
	const char *audience_claim; /* where it stands, mostly in aud; with another claim, tokens with aud are refused */
	int64_t		max_lifetime;	/* seconds */
	const char *name_claim;		/* or NULL */
	const char *avatar_claim;	/* or NULL */
	const char *permissions_claim;	/* or NULL */
	const RequiredClaim *required;
	int			required_count;
	const LabelClaim *labels;
	int			label_count;	/* at most CLAIMS_LABELS_MAX */
} ClaimsPolicy;

/* Texts stand in the arena that claims_read was given. */
typedef struct Claims
{
	const char *user_id;
	int64_t		expires_at;		/* seconds since 1970, without leeway */
	const char *display_name;	/* or NULL */
	const char *avatar_url;		/* or NULL */
	int			permission_count;
	const char *permissions;	/* one behind the other, each with its NUL */
	int			label_count;	/* of those that the claims give, with values of their form */
	const char *labels;			/* name and value in turn, one behind the other, each with its NUL */
} Claims;

/* Arena that is never too small for claims of that many bytes: three single texts, the permissions and the labels. */
#define CLAIMS_ARENA_SIZE(length) (4 * (length) + 2048 + CLAIMS_LABELS_MAX * 2 * (CLAIMS_LABEL_MAX + 1))

/*
 * Who issued it. NULL, or what is wrong, in words that hold nothing of the claims.
 * *object: NULL where the text is no strict JSON object; to be given to claims_close whatever is returned.
 */
extern const char *claims_open(const char *text, size_t length, struct json_t **object,
							   char issuer[CLAIMS_ISSUER_MAX + 1]);

/* Checks all the rest at the moment now (seconds since 1970). NULL, or what is wrong. */
extern const char *claims_read(const struct json_t *object,
							   const ClaimsPolicy *policy, int64_t now,
							   TextArena *arena, Claims *claims);

/* Has it the form of a label's name or value? */
extern bool claims_is_label(const char *text, size_t length);

/* Is there a sub at all? Without one, and without a row for their iss, claims are those of a layer's anonymous role. */
extern bool claims_name_somebody(const struct json_t *object);

/* NULL is fine. */
extern void claims_close(struct json_t *object);

#endif
