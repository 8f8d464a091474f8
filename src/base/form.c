/*
 * base/form.c - the form of names, ids and numbers
 *
 * Leaf: looks at bytes, knows no table.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "scoreboard.h"
#include "base/form.h"

#define DETAIL_MAX 256			/* bytes */

PG_FUNCTION_INFO_V1(scoreboard_valid_display_name);
PG_FUNCTION_INFO_V1(scoreboard_valid_avatar_url);

static bool
is_name(const char *text, bool upper)
{
	size_t		length = strlen(text);

	if (length < 1 || length > SCOREBOARD_NAME_MAX)
		return false;
	for (const char *c = text; *c; c++)
	{
		if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '.' || *c == '-' ||
			  (upper && *c >= 'A' && *c <= 'Z')))
			return false;
	}
	return true;
}

bool
form_is_board_name(const char *text)
{
	return is_name(text, false);
}

bool
form_is_name(const char *text)
{
	return is_name(text, true);
}

static bool
is_control(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* Characters that turn the direction of text around them: a name could rewrite its neighbours. */
static bool
is_bidi_override(pg_wchar c)
{
	return c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Unicode's spaces and line ends, and marks that take no room. Never the locale's idea of it: a dump goes to other locales. */
static bool
is_blank(pg_wchar c)
{
	return c == ' ' || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200d) || c == 0x2028 || c == 0x2029 ||
		c == 0x202f || c == 0x205f || c == 0x2060 || c == 0x3000 || c == 0xfeff;
}

/* How many characters it has; 0 where there are more than max, or one that is refused. *blanks: how many are blank. */
static int
count_characters(const char *text, int max, bool refuse_bidi, int *blanks)
{
	int			characters = 0;

	*blanks = 0;
	for (const unsigned char *p = (const unsigned char *) text; *p; p += pg_utf_mblen(p))
	{
		pg_wchar	c = utf8_to_unicode(p);

		if (is_control(c) || (refuse_bidi && is_bidi_override(c)) || ++characters > max)
			return 0;
		if (is_blank(c))
			(*blanks)++;
	}
	return characters;
}

bool
form_is_id(const char *text)
{
	int			blanks;

	return count_characters(text, SCOREBOARD_ID_MAX, false, &blanks) > 0;
}

bool
form_is_score(int64 value)
{
	return value >= -SCOREBOARD_SCORE_MAX && value <= SCOREBOARD_SCORE_MAX;
}

bool
form_is_visible_ascii(const char *text, int max)
{
	int			length = 0;

	for (const char *c = text; *c; c++)
	{
		if (*c < 0x21 || *c > 0x7e || ++length > max)
			return false;
	}
	return length > 0;
}

bool
form_is_display_name(const char *text)
{
	int			blanks;

	return count_characters(text, 50, true, &blanks) > blanks;
}

bool
form_is_detail(const char *text)
{
	int			blanks;

	return strlen(text) <= DETAIL_MAX && count_characters(text, DETAIL_MAX, true, &blanks) > blanks;
}

bool
form_is_avatar_url(const char *text)
{
	int			blanks;

	return strncmp(text, "https://", 8) == 0 && text[8] != '\0' &&
		strpbrk(text, "\"<>\\") == NULL && count_characters(text, 1000, true, &blanks) > 0 && blanks == 0;
}

/* The table's own checks, so that no other way of writing brings such a name or address in. */
Datum
scoreboard_valid_display_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(form_is_display_name(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

Datum
scoreboard_valid_avatar_url(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(form_is_avatar_url(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
