/*
 * plain/receipt_mistakes.h - what usually goes wrong when a receipt is signed
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_RECEIPT_MISTAKES_H
#define SCOREBOARD_PLAIN_RECEIPT_MISTAKES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plain/receipt_form.h"

#define RECEIPT_LINES 10

/* What the lines are called, from 0 on. */
extern const char *const receipt_line_names[RECEIPT_LINES];

/* A text that may have stood in a line instead, and what it would mean. */
typedef struct ReceiptAlternative
{
	int			line;
	const char *text;
	const char *meaning;		/* completes "signed with " */
} ReceiptAlternative;

/* Does the signature stand for these bytes? */
typedef bool (*ReceiptTest) (void *argument, const char *bytes, size_t length);

/*
 * Tries one mistake after another, until the test says yes: what then was wrong is written to found, as a sentence.
 * The usual ones are known here, those of this server are given. times: also whether another second was signed than was sent, or a
 * millisecond; some 1,600 more tests.
 */
#define RECEIPT_MISTAKE_MAX 512
extern bool receipt_mistake_find(const ReceiptFields *fields, const ReceiptAlternative *alternatives, int count, bool times,
								 ReceiptTest test, void *argument, char found[RECEIPT_MISTAKE_MAX]);

/* Where bytes part that should be the same. */
typedef struct ReceiptDifference
{
	int			line;			/* from 0 on; -1: it concerns no single line */
	const char *expected;		/* of that line, and not terminated */
	size_t		expected_length;
	const char *given;
	size_t		given_length;
	char		what[RECEIPT_MISTAKE_MAX];	/* a sentence */
} ReceiptDifference;

/* False where there is none. */
extern bool receipt_difference_find(const char *expected, size_t expected_length, const char *given, size_t given_length, ReceiptDifference *difference);

/*
 * Rewrites what was meant as a receipt in the only spelling that is one, as far as that can be guessed: digits in lower case or from base64,
 * "v1:" before, one blank between. Each change is said to note as a sentence. out has room for RECEIPT_MAX_BYTES and a zero.
 */
extern void receipt_form_mend(const char *receipt, char out[RECEIPT_MAX_BYTES + 1], void (*note) (void *argument, const char *sentence), void *argument);

#endif
