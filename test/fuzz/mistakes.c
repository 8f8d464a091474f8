/*
 * mistakes.c - what must hold for whatever was meant as a receipt, or signed in the place of one: see plain/receipt_mistakes.h
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "mistakes.h"

#include <stdlib.h>
#include <string.h>

#include "plain/receipt_form.h"
#include "plain/receipt_mistakes.h"

#define MOST_TESTS 2000
#define LARGEST_NUMBER INT64_C(9007199254740991)

/* In memory of exactly its size. */
static char *
own_copy(const char *bytes, size_t length)
{
	char	   *copy = malloc(length > 0 ? length : 1);

	memcpy(copy, bytes, length);
	return copy;
}

static bool
is_sentence(const char *text, size_t size)
{
	size_t		length = strnlen(text, size);

	return length > 1 && length < size && text[length - 1] == '.';
}

/* ---------- mending ---------- */

typedef struct Notes
{
	int			count;
	bool		bad;
} Notes;

static void
take_note(void *argument, const char *sentence)
{
	Notes	   *notes = argument;

	notes->count++;
	notes->bad |= !is_sentence(sentence, RECEIPT_MISTAKE_MAX);
}

/* What is a receipt stays as it is and nothing is said of it; what becomes one is one. */
const char *
check_mending(const char *text, size_t length)
{
	char	   *receipt = malloc(length + 1);
	char	   *out = malloc(RECEIPT_MAX_BYTES + 1);
	char	   *again = malloc(RECEIPT_MAX_BYTES + 1);
	ReceiptPart parts[RECEIPT_MAX_PARTS];
	Notes		notes = {0};
	Notes		second = {0};
	const char *wrong = NULL;
	bool		was_one;

	memcpy(receipt, text, length);
	receipt[length] = '\0';
	was_one = receipt_form_read(receipt, parts) > 0;
	receipt_form_mend(receipt, out, take_note, &notes);
	if (notes.bad)
		wrong = "a note is no sentence";
	else if (strnlen(out, RECEIPT_MAX_BYTES + 1) > RECEIPT_MAX_BYTES)
		wrong = "what was mended is too long";
	else if (was_one && (notes.count > 0 || strcmp(receipt, out) != 0))
		wrong = "a receipt was mended";
	else if (notes.count == 0 && strcmp(receipt, out) != 0)
		wrong = "something was changed without a word";
	else if (receipt_form_read(out, parts) > 0)
	{
		receipt_form_mend(out, again, take_note, &second);
		if (second.count > 0 || strcmp(out, again) != 0)
			wrong = "what was mended is mended again";
	}
	free(receipt);
	free(out);
	free(again);
	return wrong;
}

/* ---------- what should have been signed ---------- */

typedef struct Signed
{
	char	   *copy;			/* of the text; the fields point into it */
	ReceiptFields fields;
	char		right[RECEIPT_SIGNED_MAX];
	size_t		length;			/* 0: too long */
	const char *rest;			/* of the text */
	size_t		rest_length;
} Signed;

static void
read_text(const char *text, size_t length, Signed *out)
{
	const char **fields[] = {&out->fields.audience, &out->fields.board, &out->fields.user_id, &out->fields.action_type, &out->fields.action_id, &out->fields.detail};
	char	   *end;
	char	   *at;

	out->copy = at = malloc(length + 1);
	memcpy(at, text, length);
	end = at + length;
	*end = '\0';
	out->fields = (ReceiptFields) {.has_points = length & 1, .points = LARGEST_NUMBER, .has_subscore = length & 2, .subscore = -LARGEST_NUMBER,
		.issued_at = (int64_t[]) {0, 1795228800, LARGEST_NUMBER} [length % 3]};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		char	   *feed = memchr(at, '\n', (size_t) (end - at));

		*fields[i] = at;
		at = feed != NULL ? feed : end;
		if (feed != NULL)
			*at++ = '\0';
	}
	if (out->fields.detail[0] == '\0')
		out->fields.detail = NULL;
	out->rest = at;
	out->rest_length = (size_t) (end - at);
	out->length = receipt_form_write(&out->fields, out->right);
}

static bool
lies_within(const char *at, size_t length, const char *bytes, size_t size)
{
	return at >= bytes && at <= bytes + size && length <= (size_t) (bytes + size - at);
}

static const char *
compare(const Signed *is, const char *given, size_t length)
{
	char	   *right = own_copy(is->right, is->length);
	char	   *copy = own_copy(given, length);
	ReceiptDifference difference = {.line = -2};
	bool		found = receipt_difference_find(right, is->length, copy, length, &difference);
	const char *wrong = NULL;

	if (found == (length == is->length && memcmp(right, copy, length) == 0))
		wrong = "a difference is overlooked or made up";
	else if (found && (difference.line < -1 || difference.line >= RECEIPT_LINES || !is_sentence(difference.what, sizeof(difference.what))))
		wrong = "a difference is not described";
	else if (found && difference.line >= 0 && (!lies_within(difference.expected, difference.expected_length, right, is->length) ||
											   !lies_within(difference.given, difference.given_length, copy, length)))
		wrong = "a line lies elsewhere";
	free(right);
	free(copy);
	return wrong;
}

/* The rest, and its beginning, by itself; the right bytes, and their beginning; and both in each other. */
const char *
check_difference(const char *text, size_t length)
{
	Signed		is;
	char	   *mixed;
	const char *wrong;
	size_t		cut;

	read_text(text, length, &is);
	mixed = malloc(is.length + is.rest_length + 1);
	cut = is.length > 0 ? is.rest_length * 7 % is.length : 0;
	memcpy(mixed, is.right, cut);
	memcpy(mixed + cut, is.rest, is.rest_length);
	memcpy(mixed + cut + is.rest_length, is.right + cut, is.length - cut);
	wrong = is.length == 0 ? NULL : compare(&is, is.rest, is.rest_length);
	if (is.length > 0 && wrong == NULL)
		wrong = compare(&is, is.rest, is.rest_length % 3);
	if (is.length > 0 && wrong == NULL)
		wrong = compare(&is, is.right, is.length);
	if (is.length > 0 && wrong == NULL)
		wrong = compare(&is, is.right, cut);
	if (is.length > 0 && wrong == NULL)
		wrong = compare(&is, mixed, is.length + is.rest_length);
	free(mixed);
	free(is.copy);
	return wrong;
}

/* ---------- mistakes ---------- */

typedef struct Asked
{
	const Signed *is;
	int			tests;
	int			yes;			/* to this one; -1: to none */
	unsigned long long sum;		/* of the bytes of that one */
	bool		right_bytes;	/* was asked for what would have been no mistake */
} Asked;

static bool
answer(void *argument, const char *bytes, size_t length)
{
	Asked	   *asked = argument;

	asked->right_bytes |= length == asked->is->length && memcmp(bytes, asked->is->right, length) == 0;
	asked->sum = 0;
	for (size_t i = 0; i < length; i++)
		asked->sum = asked->sum * 31 + (unsigned char) bytes[i];
	return asked->tests++ == asked->yes;
}

/* Whatever of it is the mistake, it is found at once and named, and never anything that is none. */
const char *
check_mistakes(const char *text, size_t length)
{
	static const char unspoiled[] = "untouched";
	char		found[RECEIPT_MISTAKE_MAX];
	Signed		is;
	Asked		none = {.is = &is, .yes = -1};
	Asked		one = {.is = &is};
	const char *wrong = NULL;
	ReceiptAlternative alternatives[2];
	int			line;

	read_text(text, length, &is);
	line = (int) (is.rest_length % RECEIPT_LINES);
	alternatives[0] = (ReceiptAlternative) {line, is.rest, "something else"};
	alternatives[1] = (ReceiptAlternative) {line, "", is.rest};
	strcpy(found, unspoiled);
	if (receipt_mistake_find(&is.fields, alternatives, 2, length % 64 == 0, answer, &none, found) || strcmp(found, unspoiled) != 0)
		wrong = "a mistake is made up";
	else if (none.right_bytes)
		wrong = "the right bytes are tried as a mistake";
	else if (none.tests > MOST_TESTS)
		wrong = "it takes too many attempts";
	if (wrong == NULL && none.tests > 0)
	{
		one.yes = (int) (length * 31 % (size_t) none.tests);
		if (!receipt_mistake_find(&is.fields, alternatives, 2, length % 64 == 0, answer, &one, found) || one.tests != one.yes + 1)
			wrong = "a mistake is not found";
		else if (strnlen(found, sizeof(found)) == sizeof(found) || strcmp(found, unspoiled) == 0)
			wrong = "a mistake is not named";
	}
	free(is.copy);
	return wrong;
}
