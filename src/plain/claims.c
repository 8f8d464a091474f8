/*
 * plain/claims.c - what a token claims, checked against what its issuer may claim (RFC 7519)
 *
 * Claims are parsed once and read twice: for iss, which says whose rules hold,
 * and under these rules. Between the two the server may look the issuer up, so
 * the caller owns the parsed object and sees that an error doesn't leak it. Allocates with malloc,
 * raises nothing; results go into the caller's arena.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/claims.h"

#include <stdbool.h>
#include <string.h>

#include "plain/guard.h"
#include "plain/jws.h"
#include "plain/strict_json.h"

#define TIME_MAX INT64_C(9007199254740991)	/* 2^53 - 1 */

#define NOT_JSON "the token's claims are not a strict JSON object"
#define TOO_MUCH "the token's claims are too long"

const char *
claims_open(const char *text, size_t length, struct json_t **object,
			char issuer[CLAIMS_ISSUER_MAX + 1])
{
	const char *name;
	const char *why;
	size_t		name_length;

	*object = NULL;
	if (length > JWS_MAX_BYTES)
		return TOO_MUCH;
	why = strict_json_object(text, length, JWS_MAX_DEPTH, object);
	if (why != NULL)
		return why == guard_no_memory ? why : NOT_JSON;
	name = strict_json_string(json_object_get(*object, "iss"), &name_length);
	if (name == NULL || name_length == 0 || name_length > CLAIMS_ISSUER_MAX)
		return "the token has no iss that names an issuer";
	memcpy(issuer, name, name_length + 1);
	return NULL;
}

bool
claims_name_somebody(const struct json_t *object)
{
	return json_object_get(object, "sub") != NULL;
}

void
claims_close(struct json_t *object)
{
	json_decref(object);
}

/* False where the claim is there but is no integer from 0 to 2^53-1. */
static bool
read_time(const json_t *object, const char *name, bool *present, int64_t *seconds)
{
	const json_t *value = json_object_get(object, name);

	*present = value != NULL;
	if (value == NULL)
		return true;
	if (!json_is_integer(value))
		return false;
	*seconds = json_integer_value(value);
	return *seconds >= 0 && *seconds <= TIME_MAX;
}

/* Leeway forgives clocks that differ; it never makes a lifetime longer. */
static const char *
check_times(const json_t *object, const ClaimsPolicy *policy, int64_t now, Claims *claims)
{
	int64_t		expires = 0,
				not_before = 0,
				issued = 0;
	bool		has_expires,
				has_not_before,
				has_issued;

	if (!read_time(object, "exp", &has_expires, &expires) ||
		!read_time(object, "nbf", &has_not_before, &not_before) ||
		!read_time(object, "iat", &has_issued, &issued))
		return "the token's exp, nbf and iat must be integers from 0 to 2^53-1";
	if (!has_expires)
		return "the token has no exp";
	if (now >= expires + CLAIMS_LEEWAY)
		return "the token has expired";
	if (has_not_before && not_before > now + CLAIMS_LEEWAY)
		return "the token is not valid yet (nbf)";
	if (has_issued && issued > now + CLAIMS_LEEWAY)
		return "the token was issued in the future (iat)";
	if (expires - (has_issued ? issued : now) > policy->max_lifetime)
		return "the token lives longer than its issuer's longest lifetime";
	claims->expires_at = expires;
	return NULL;
}

static bool
is_string(const json_t *value, const char *text)
{
	return json_is_string(value) &&
		strlen(text) == json_string_length(value) &&
		strcmp(json_string_value(value), text) == 0;
}

/* The member of that name; where there is none, the dots in it lead into objects. */
static const json_t *
find_claim(const json_t *object, const char *name)
{
	const json_t *value = name != NULL ? json_object_get(object, name) : NULL;
	const char *dot = name != NULL ? strchr(name, '.') : NULL;

	while (value == NULL && dot != NULL)
	{
		char		outer[CLAIMS_NAME_MAX + 1];
		size_t		length = (size_t) (dot - name);

		if (length >= sizeof(outer))
			return NULL;
		memcpy(outer, name, length);
		outer[length] = '\0';
		object = json_object_get(object, outer);
		name = dot + 1;
		dot = strchr(name, '.');
		if (dot == NULL)
			return json_object_get(object, name);
	}
	return value;
}

static const char *
check_required(const json_t *object, const ClaimsPolicy *policy)
{
	for (int i = 0; i < policy->required_count; i++)
		if (!is_string(find_claim(object, policy->required[i].name), policy->required[i].value))
			return policy->required[i].why;
	return NULL;
}

/* A string, or an array of strings, that has the one we are. */
static const char *
check_audience(const json_t *object, const ClaimsPolicy *policy)
{
	const char *audience = policy->audience;
	const json_t *value = find_claim(object, policy->audience_claim);
	bool		is_aud = strcmp(policy->audience_claim, "aud") == 0;
	bool		found = false;
	size_t		count;

	if ((audience == NULL || !is_aud) && json_object_get(object, "aud") != NULL)
		return "the token has an aud, but its issuer is not set up for one";
	if (audience == NULL)
		return NULL;
	if (value == NULL)
		return is_aud ? "the token has no aud, and its issuer demands one" :
			"the token lacks the claim that names its audience instead of aud";
	if (json_is_string(value))
		return is_string(value, audience) ? NULL : "the token is meant for another audience";

	count = json_array_size(value);
	for (size_t i = 0; i < count; i++)
	{
		const json_t *element = json_array_get(value, i);

		if (!json_is_string(element))
			return "the token's aud must be a string or an array of strings";
		if (is_string(element, audience))
			found = true;
	}
	return found ? NULL : "the token is meant for another audience";
}

/* 1 to 255 characters, none of U+0000-001F, U+007F-009F; the text is valid UTF-8 already. */
static bool
good_user_id(const char *text, size_t length)
{
	size_t		characters = 0;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char byte = (unsigned char) text[i];
		unsigned char before = i > 0 ? (unsigned char) text[i - 1] : 0;

		if (byte < 0x20 || byte == 0x7F)
			return false;
		if (before == 0xC2 && byte < 0xA0)
			return false;		/* U+0080-009F */
		if ((byte & 0xC0) != 0x80)
			characters++;
	}
	return characters >= 1 && characters <= CLAIMS_USER_ID_MAX;
}

static const char *
read_user_id(const json_t *object, const ClaimsPolicy *policy, TextArena *arena, Claims *claims)
{
	char		user_id[4 * CLAIMS_USER_ID_MAX + 1];
	size_t		prefix_length = strlen(policy->user_id_prefix);
	size_t		length;
	const char *claim = strict_json_string(find_claim(object, policy->user_claim), &length);

	if (claim == NULL || length == 0)
		return "the token's claim that names the player is missing or no string";
	if (prefix_length >= sizeof(user_id) || length >= sizeof(user_id) - prefix_length)
		return "the token's player has a user_id of more than 255 characters";
	memcpy(user_id, policy->user_id_prefix, prefix_length);
	memcpy(user_id + prefix_length, claim, length);
	if (!good_user_id(user_id, prefix_length + length))
		return "the token's player needs a user_id of 1 to 255 characters without control characters";
	claims->user_id = text_arena_copy(arena, user_id, prefix_length + length);
	return claims->user_id != NULL ? NULL : TOO_MUCH;
}

/* A text that the issuer maps: what is missing or no string is as if it weren't there. */
static const char *
read_text(const json_t *object, const char *name, TextArena *arena, const char **text)
{
	const char *value;
	size_t		length;

	*text = NULL;
	value = strict_json_string(find_claim(object, name), &length);
	if (value == NULL)
		return NULL;
	*text = text_arena_copy(arena, value, length);
	return *text != NULL ? NULL : TOO_MUCH;
}

static const char *
add_permission(const char *text, size_t length, TextArena *arena, Claims *claims)
{
	const char *copy;

	if (length == 0)
		return NULL;
	copy = text_arena_copy(arena, text, length);
	if (copy == NULL)
		return TOO_MUCH;
	if (claims->permission_count++ == 0)
		claims->permissions = copy;
	return NULL;
}

/* One string with blanks between (OAuth's scope). */
static const char *
read_scope(const char *scope, size_t length, TextArena *arena, Claims *claims)
{
	const char *end = scope + length;
	const char *why = NULL;

	while (scope < end && why == NULL)
	{
		const char *blank = memchr(scope, ' ', (size_t) (end - scope));
		const char *stop = blank != NULL ? blank : end;

		why = add_permission(scope, (size_t) (stop - scope), arena, claims);
		scope = stop + 1;
	}
	return why;
}

/* An array of strings, or a scope; anything else grants nothing. */
static const char *
read_permissions(const json_t *object, const char *name, TextArena *arena, Claims *claims)
{
	const json_t *value = find_claim(object, name);
	const char *why = NULL;
	const char *text;
	size_t		length;

	claims->permission_count = 0;
	claims->permissions = NULL;
	text = strict_json_string(value, &length);
	if (text != NULL)
		return read_scope(text, length, arena, claims);
	for (size_t i = 0; i < json_array_size(value) && why == NULL; i++)
	{
		text = strict_json_string(json_array_get(value, i), &length);
		if (text != NULL)
			why = add_permission(text, length, arena, claims);
	}
	return why;
}

bool
claims_is_label(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (!(text[i] >= 'a' && text[i] <= 'z') && !(text[i] >= '0' && text[i] <= '9') && text[i] != '_' && text[i] != '-')
			return false;
	}
	return length >= 1 && length <= CLAIMS_LABEL_MAX;
}

/* Capitals count as small letters; what has not the form of a label's value is as if it weren't there. */
static bool
read_label(const json_t *object, const char *claim, char value[CLAIMS_LABEL_MAX], size_t *length)
{
	const char *text = strict_json_string(find_claim(object, claim), length);

	if (text == NULL || *length > CLAIMS_LABEL_MAX)
		return false;
	for (size_t i = 0; i < *length; i++)
		value[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char) (text[i] - 'A' + 'a') : text[i];
	return claims_is_label(value, *length);
}

static const char *
read_labels(const json_t *object, const ClaimsPolicy *policy, TextArena *arena, Claims *claims)
{
	char		value[CLAIMS_LABEL_MAX];
	size_t		length;

	claims->label_count = 0;
	claims->labels = NULL;
	for (int i = 0; i < policy->label_count; i++)
	{
		const LabelClaim *label = &policy->labels[i];
		const char *name;

		if (!read_label(object, label->claim, value, &length))
			continue;
		name = text_arena_copy(arena, label->label, strlen(label->label));
		if (name == NULL || text_arena_copy(arena, value, length) == NULL)
			return TOO_MUCH;
		if (claims->label_count++ == 0)
			claims->labels = name;
	}
	return NULL;
}

const char *
claims_read(const struct json_t *object, const ClaimsPolicy *policy, int64_t now,
			TextArena *arena, Claims *claims)
{
	const char *why = check_times(object, policy, now, claims);

	if (why == NULL)
		why = check_audience(object, policy);
	if (why == NULL)
		why = check_required(object, policy);
	if (why == NULL)
		why = read_user_id(object, policy, arena, claims);
	if (why == NULL)
		why = read_text(object, policy->name_claim, arena, &claims->display_name);
	if (why == NULL)
		why = read_text(object, policy->avatar_claim, arena, &claims->avatar_url);
	if (why == NULL)
		why = read_permissions(object, policy->permissions_claim, arena, claims);
	if (why == NULL)
		why = read_labels(object, policy, arena, claims);
	return why;
}
