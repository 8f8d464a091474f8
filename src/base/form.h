/*
 * base/form.h - the form of names, ids and numbers (SPEC section 1); all texts are valid UTF-8
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_BASE_FORM_H
#define SCOREBOARD_BASE_FORM_H

#include "postgres.h"

/* [a-z0-9_.-]{1,63} */
extern bool form_is_board_name(const char *text);

/* [A-Za-z0-9_.-]{1,63}: action types and key ids */
extern bool form_is_name(const char *text);

/* 1-255 characters without U+0000-001F, U+007F-009F: user_id and action_id */
extern bool form_is_id(const char *text);

/* Within what every JSON reader holds exactly, ±(2^53-1): scores, points, subscores */
extern bool form_is_score(int64 value);

/* 1 to max visible ASCII characters */
extern bool form_is_visible_ascii(const char *text, int max);

/* 1-50 characters, no control and no bidirectional-override ones, not only spaces */
extern bool form_is_display_name(const char *text);

/* 1-256 bytes, of the characters of a display name */
extern bool form_is_detail(const char *text);

/* https, at most 1000 characters, none of them blank, invisible, a control character, a bidirectional override or one of "<>\ */
extern bool form_is_avatar_url(const char *text);

#endif
