/*
 * mistakes.h - what must hold for whatever was meant as a receipt, or signed in the place of one
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_FUZZ_MISTAKES_H
#define SCOREBOARD_FUZZ_MISTAKES_H

#include <stddef.h>

/* What is wrong, or NULL. The text: a receipt. */
extern const char *check_mending(const char *text, size_t length);

/* The text: audience, board, user_id, action type, action id, detail, a line each, then what else was signed. */
extern const char *check_difference(const char *text, size_t length);
extern const char *check_mistakes(const char *text, size_t length);

#endif
