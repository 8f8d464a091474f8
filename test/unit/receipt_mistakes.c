/*
 * receipt_mistakes.c - what was signed instead is found, and nothing else is; whatever was meant as a receipt is read within its bounds
 *
 * Build: src/plain/receipt_mistakes.c src/plain/receipt_form.c
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "plain/receipt_mistakes.h"
#include "tap.h"

static const ReceiptFields fields = {
	.audience = "shop", .board = "global", .user_id = "x:ada", .action_type = "WIN", .action_id = "a-1",
	.has_points = true, .points = 250, .issued_at = 1700000000,
};

typedef struct Signed
{
	const char *bytes;
	int			tests;
} Signed;

static bool
is_signed(void *argument, const char *bytes, size_t length)
{
	Signed	   *what = argument;

	what->tests++;
	return strlen(what->bytes) == length && memcmp(what->bytes, bytes, length) == 0;
}

static void
test_mistake(const char *bytes, const char *expected)
{
	static const ReceiptAlternative alternatives[] = {{3, "ada", "the claim alone"}, {2, "daily", "another board"}};
	char		found[RECEIPT_MISTAKE_MAX] = "";
	Signed		what = {.bytes = bytes};

	tap_ok(receipt_mistake_find(&fields, alternatives, 2, true, is_signed, &what, found) == (expected != NULL) &&
		   strcmp(found, expected ? expected : "") == 0, expected ? expected : "no mistake is made up");
	tap_ok(what.tests < 2000, "it takes so many attempts at most");
}

static void
test_difference(const char *given, int line, const char *what)
{
	static const char right[] = "scoreboard-receipt-v1\nshop\nglobal\nx:ada\nWIN\na-1\n250\n\n\n1700000000";
	ReceiptDifference difference = {.line = -2};
	bool		found = receipt_difference_find(right, strlen(right), given, strlen(given), &difference);

	tap_ok(found == (what != NULL) && (!found || (difference.line == line && strcmp(difference.what, what) == 0)), what ? what : "no difference");
}

static void
count_note(void *argument, const char *sentence)
{
	*(int *) argument += sentence[0] != '\0';
}

/* Under the sanitizers: pieces of receipts and other bytes, of all lengths, one behind the other. */
static void
test_garbage(void)
{
	static const char *const pieces[] = {"v1:", "V1:", "k", ":", " ", "\n", ",", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "\xff", "=",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "/+", "\r", "ABCDEF"};
	bool		bounded = true;

	srand(1);
	for (int round = 0; round < 20000; round++)
	{
		char		text[4000] = "";
		char		out[RECEIPT_MAX_BYTES + 1];
		ReceiptDifference difference;
		int			notes = 0;

		for (int n = rand() % 40; n > 0; n--)
			strcat(text, pieces[(size_t) rand() % (sizeof(pieces) / sizeof(pieces[0]))]);
		receipt_form_mend(text, out, count_note, &notes);
		bounded &= strlen(out) <= RECEIPT_MAX_BYTES && notes < 20;
		(void) receipt_difference_find(out, strlen(out), text, strlen(text), &difference);
	}
	tap_ok(bounded, "garbage stays within its bounds");
}

int
main(void)
{
	test_mistake("scoreboard-receipt-v1\nshop\nglobal\nada\nWIN\na-1\n250\n\n\n1700000000", "Line 4 (user_id) was signed with the claim alone.");
	test_mistake("scoreboard-receipt-v1\nshop\ndaily\nx:ada\nWIN\na-1\n250\n\n\n1700000000", "Line 3 (board) was signed with another board.");
	test_mistake("scoreboard-receipt-v1\r\nshop\r\nglobal\r\nx:ada\r\nWIN\r\na-1\r\n250\r\n\r\n\r\n1700000000", "The lines were joined by CR LF instead of a line feed.");
	test_mistake("scoreboard-receipt-v1\nshop\nglobal\nx:ada\nWIN\na-1\n250\n\n1700000000",
				 "An empty line is missing: points, subscore and detail sign as an empty line each where they are not given.");
	test_mistake("scoreboard-receipt-v1\nshop\nglobal\nx:ada\nWIN\na-1\n250\n\n\n1700000000123", "Line 10 (issued_at) was signed in milliseconds; whole seconds since 1970 sign.");
	test_mistake("scoreboard-receipt-v1\nshop\nglobal\nx:ada\nWIN\na-1\n250.0\n\n\n1700000000",
				 "Line 7 (points) was signed as 250.0; a whole number signs as its digits, with a minus sign if it has one.");
	test_mistake("something else", NULL);

	test_difference("scoreboard-receipt-v1\nshop\nglobal\nx:ada\nWIN\na-1\n250\n\n\n1700000000", 0, NULL);
	test_difference("scoreboard-receipt-v1\nshop\nglobal\nx:ada\nWIN\na-1\n251\n\n\n1700000000", 6, "Line 7 (points) is another one.");
	test_difference("scoreboard-receipt-v1\nshop", 2, "Line 3 (board) is another one, and there are 2 lines instead of 10.");
	test_difference("scoreboard-receipt-v1\nshop\nglobal\nx:ada\nWIN\na-1\n250\n\n\n1700000000\n", -1, "There is a line feed behind the last line.");
	test_difference("\xef\xbb\xbfscoreboard-receipt-v1", -1, "A byte order mark stands before the first line.");
	test_difference("", -1, "Nothing was signed.");
	test_garbage();
	return tap_done();
}
