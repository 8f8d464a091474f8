/*
 * plain/receipt_mistakes.c - what usually goes wrong when a receipt is signed
 *
 * A signature says yes or no. Whoever is told no can only be helped by trying what others have done wrong before: a mistake
 * is a small change of the ten lines or of what stands between them, made here and tested by the caller, who has the keys.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/receipt_mistakes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#define TEXT_MAX (4 * RECEIPT_SIGNED_MAX)
#define SECONDS_TRIED 300		/* to each side */

enum
{
	LINE_HEADER, LINE_AUDIENCE, LINE_BOARD, LINE_USER_ID, LINE_ACTION_TYPE, LINE_ACTION_ID, LINE_POINTS, LINE_SUBSCORE, LINE_DETAIL, LINE_ISSUED_AT
};

const char *const receipt_line_names[RECEIPT_LINES] = {
	"scoreboard-receipt-v1", "audience", "board", "user_id", "action_type", "action_id", "points", "subscore", "detail", "issued_at"
};

/* The lines as they should be, and one attempt at something else. */
typedef struct Attempt
{
	char		text[RECEIPT_SIGNED_MAX];	/* all lines, each ended by a zero */
	char		bytes[TEXT_MAX];	/* what is tried */
	const char *right[RECEIPT_LINES];
	const char *line[RECEIPT_LINES];	/* NULL: left out */
	const char *between;
	const char *behind;
	ReceiptTest test;
	void	   *argument;
	char	   *found;
} Attempt;

static void
reset(Attempt *attempt)
{
	memcpy(attempt->line, attempt->right, sizeof(attempt->line));
	attempt->between = "\n";
	attempt->behind = "";
}

static bool
cut_lines(Attempt *attempt, const ReceiptFields *fields)
{
	size_t		length = receipt_form_write(fields, attempt->text);
	char	   *at = attempt->text;

	if (length == 0)
		return false;
	attempt->text[length] = '\0';
	for (int i = 0; i < RECEIPT_LINES; i++)
	{
		char	   *end = strchr(at, '\n');

		attempt->right[i] = at;
		if (end != NULL)
			*end = '\0';
		at = end != NULL ? end + 1 : at + strlen(at);
	}
	return true;
}

/* The lines as they stand now; then they are right again. */
static bool
try(Attempt *attempt, const char *sentence)
{
	char	   *bytes = attempt->bytes;
	size_t		size = sizeof(attempt->bytes);
	size_t		length = 0;
	bool		first = true;
	bool		fits = true;

	for (int i = 0; i < RECEIPT_LINES && fits; i++)
	{
		int			written;

		if (attempt->line[i] == NULL)
			continue;
		written = snprintf(bytes + length, size - length, "%s%s", first ? "" : attempt->between, attempt->line[i]);
		first = false;
		fits = written >= 0 && (size_t) written < size - length;
		length += fits ? (size_t) written : 0;
	}
	if (fits && length + strlen(attempt->behind) < size)
	{
		memcpy(bytes + length, attempt->behind, strlen(attempt->behind));
		length += strlen(attempt->behind);
	}
	reset(attempt);
	if (!fits || !attempt->test(attempt->argument, bytes, length))
		return false;
	snprintf(attempt->found, RECEIPT_MISTAKE_MAX, "%s", sentence);
	return true;
}

static bool
try_line(Attempt *attempt, int line, const char *text, const char *what)
{
	char		sentence[RECEIPT_MISTAKE_MAX];

	if (text != NULL && strcmp(text, attempt->right[line]) == 0)
		return false;
	snprintf(sentence, sizeof(sentence), "Line %d (%s) %s.", line + 1, receipt_line_names[line], what);
	attempt->line[line] = text;
	return try(attempt, sentence);
}

static bool
try_joints(Attempt *attempt)
{
	static const struct
	{
		const char *between;
		const char *behind;
		const char *sentence;
	}			joints[] = {
		{"\n", "\n", "A line feed was signed behind the last line; there is none (printf instead of echo)."},
		{"\r\n", "", "The lines were joined by CR LF instead of a line feed."},
		{"\r\n", "\r\n", "The lines were ended by CR LF; they are joined by a line feed each, none at the end."},
		{"\\n", "", "The lines were joined by a backslash and an n instead of a line feed."},
		{"", "", "Nothing was signed between the lines; they are joined by a line feed each."},
		{" ", "", "The lines were joined by blanks instead of line feeds."},
		{":", "", "The lines were joined by colons instead of line feeds."},
		{"|", "", "The lines were joined by bars instead of line feeds."},
		{",", "", "The lines were joined by commas instead of line feeds."},
		{".", "", "The lines were joined by full stops instead of line feeds."},
	};

	for (size_t i = 0; i < sizeof(joints) / sizeof(joints[0]); i++)
	{
		attempt->between = joints[i].between;
		attempt->behind = joints[i].behind;
		if (try(attempt, joints[i].sentence))
			return true;
	}
	return false;
}

static bool
try_missing(Attempt *attempt)
{
	for (int i = 0; i < RECEIPT_LINES; i++)
	{
		if (attempt->right[i][0] != '\0' && try_line(attempt, i, NULL, "is missing"))
			return true;
		/* Which of several, the bytes don't say. */
		if (attempt->right[i][0] == '\0')
		{
			attempt->line[i] = NULL;
			if (try(attempt, "An empty line is missing: points, subscore and detail sign as an empty line each where they are not given."))
				return true;
		}
	}
	attempt->line[LINE_SUBSCORE] = attempt->line[LINE_DETAIL] = NULL;
	if (try(attempt, "Lines 8 and 9 (subscore, detail) are missing: what is not given signs as an empty line."))
		return true;
	attempt->line[LINE_POINTS] = attempt->line[LINE_SUBSCORE] = attempt->line[LINE_DETAIL] = NULL;
	return try(attempt, "Lines 7 to 9 (points, subscore, detail) are missing: what is not given signs as an empty line.");
}

static bool
try_numbers(Attempt *attempt)
{
	static const char *const nothings[] = {"null", "NULL", "None", "nil", "undefined", "0", "-", "\"\"", "NaN"};
	char		text[128];

	for (int i = LINE_POINTS; i <= LINE_DETAIL; i++)
	{
		for (size_t n = 0; attempt->right[i][0] == '\0' && n < sizeof(nothings) / sizeof(nothings[0]); n++)
		{
			snprintf(text, sizeof(text), "was signed as %s; what is not given signs as an empty line", nothings[n]);
			if (try_line(attempt, i, nothings[n], text))
				return true;
		}
		if (attempt->right[i][0] != '\0' && try_line(attempt, i, "", "was signed empty, though it is given"))
			return true;
	}
	for (size_t n = 0; n < sizeof(nothings) / sizeof(nothings[0]); n++)
	{
		char		sentence[128];

		if (attempt->right[LINE_POINTS][0] && attempt->right[LINE_SUBSCORE][0] && attempt->right[LINE_DETAIL][0])
			break;
		for (int i = LINE_POINTS; i <= LINE_DETAIL; i++)
			attempt->line[i] = attempt->right[i][0] ? attempt->right[i] : nothings[n];
		snprintf(sentence, sizeof(sentence), "What is not given was signed as %s; it signs as an empty line.", nothings[n]);
		if (try(attempt, sentence))
			return true;
	}
	for (int i = LINE_POINTS; i <= LINE_SUBSCORE; i++)
	{
		static const char *const forms[] = {"%s.0", "%s.00", "+%s", "\"%s\"", "0%s"};

		for (size_t n = 0; attempt->right[i][0] && n < sizeof(forms) / sizeof(forms[0]); n++)
		{
			const char *form = forms[n];
			const char *mark = strchr(form, '%');
			char		what[256];

			snprintf(text, sizeof(text), "%.*s%s%s", (int) (mark - form), form, attempt->right[i], mark + 2);
			snprintf(what, sizeof(what), "was signed as %s; a whole number signs as its digits, with a minus sign if it has one", text);
			if (try_line(attempt, i, text, what))
				return true;
		}
	}
	return false;
}

/* All in upper or lower case. */
static void
turn_case(const char *text, bool upper, char *out, size_t size)
{
	size_t		i = 0;

	for (; text[i] && i + 1 < size; i++)
		out[i] = (char) (upper ? (text[i] >= 'a' && text[i] <= 'z' ? text[i] - 32 : text[i])
						 : (text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]));
	out[i] = '\0';
}

static bool
try_texts(Attempt *attempt, const ReceiptFields *fields)
{
	char		text[RECEIPT_SIGNED_MAX];

	for (int i = LINE_AUDIENCE; i <= LINE_ACTION_ID; i++)
	{
		turn_case(attempt->right[i], true, text, sizeof(text));
		if (try_line(attempt, i, text, "was signed in upper case"))
			return true;
		turn_case(attempt->right[i], false, text, sizeof(text));
		if (try_line(attempt, i, text, "was signed in lower case"))
			return true;
		snprintf(text, sizeof(text), "\"%s\"", attempt->right[i]);
		if (try_line(attempt, i, text, "was signed in quotes"))
			return true;
	}
	if (fields->detail != NULL && try_line(attempt, LINE_DETAIL, fields->detail, "was signed as the text itself; its SHA-256 signs, as 64 lower-case hex digits"))
		return true;
	turn_case(attempt->right[LINE_DETAIL], true, text, sizeof(text));
	if (try_line(attempt, LINE_DETAIL, text, "was signed in upper-case hex; the digits are lower-case"))
		return true;
	return try_line(attempt, LINE_HEADER, "v1", "was signed as v1");
}

static bool
try_moment(Attempt *attempt, const char *text, const char *form, long long number)
{
	char		what[160];

	snprintf(what, sizeof(what), form, number);
	return try_line(attempt, LINE_ISSUED_AT, text, what);
}

/* A clock that was read twice, milliseconds, fractions. */
static bool
try_times(Attempt *attempt, int64_t issued_at, bool many)
{
	char		text[64];

	snprintf(text, sizeof(text), "%" PRId64 ".0", issued_at);
	if (try_line(attempt, LINE_ISSUED_AT, text, "was signed as a fraction; whole seconds sign"))
		return true;
	snprintf(text, sizeof(text), "%" PRId64, issued_at / 1000);
	if (try_line(attempt, LINE_ISSUED_AT, text, "was signed in seconds, and sent in milliseconds: send the seconds"))
		return true;
	for (int i = 0; i < (many ? 1000 : 1); i++)
	{
		snprintf(text, sizeof(text), "%" PRId64 "%03d", issued_at, i);
		if (try_line(attempt, LINE_ISSUED_AT, text, "was signed in milliseconds; whole seconds since 1970 sign"))
			return true;
	}
	for (int i = 1; many && i <= SECONDS_TRIED; i++)
	{
		snprintf(text, sizeof(text), "%" PRId64, issued_at + i);
		if (try_moment(attempt, text, "was signed %lld s later than what is sent: read the clock once, and send what was signed", i))
			return true;
		snprintf(text, sizeof(text), "%" PRId64, issued_at - i);
		if (try_moment(attempt, text, "was signed %lld s earlier than what is sent: read the clock once, and send what was signed", i))
			return true;
	}
	return false;
}

static bool
try_alternatives(Attempt *attempt, const ReceiptAlternative *alternatives, int count)
{
	for (int i = 0; i < count; i++)
	{
		char		what[RECEIPT_MISTAKE_MAX - 64];

		snprintf(what, sizeof(what), "was signed with %s", alternatives[i].meaning);
		if (try_line(attempt, alternatives[i].line, alternatives[i].text, what))
			return true;
	}
	return false;
}

bool
receipt_mistake_find(const ReceiptFields *fields, const ReceiptAlternative *alternatives, int count, bool times,
					 ReceiptTest test, void *argument, char found[RECEIPT_MISTAKE_MAX])
{
	Attempt		attempt = {.test = test, .argument = argument, .found = found};

	if (!cut_lines(&attempt, fields))
		return false;
	reset(&attempt);
	return try_alternatives(&attempt, alternatives, count) ||
		try_joints(&attempt) ||
		try_missing(&attempt) ||
		try_numbers(&attempt) ||
		try_texts(&attempt, fields) ||
		try_times(&attempt, fields->issued_at, times);
}

/* ---------- bytes beside bytes ---------- */

static bool
concern_all(ReceiptDifference *difference, const char *what)
{
	difference->line = -1;
	difference->expected = difference->given = NULL;
	difference->expected_length = difference->given_length = 0;
	snprintf(difference->what, sizeof(difference->what), "%s", what);
	return true;
}

static size_t
line_length(const char *at, const char *end)
{
	const char *feed = at < end ? memchr(at, '\n', (size_t) (end - at)) : NULL;

	return (size_t) ((feed != NULL ? feed : end) - at);
}

static int
count_lines(const char *bytes, size_t length)
{
	int			lines = 1;

	for (size_t i = 0; i < length; i++)
		lines += bytes[i] == '\n';
	return lines;
}

static bool
first_line(const char *expected, size_t expected_length, const char *given, size_t given_length, ReceiptDifference *difference)
{
	const char *expected_end = expected + expected_length;
	const char *given_end = given + given_length;
	int			lines = count_lines(given, given_length);

	for (int i = 0; i < RECEIPT_LINES; i++)
	{
		size_t		wanted = line_length(expected, expected_end);
		size_t		there = given <= given_end ? line_length(given, given_end) : 0;

		if (given > given_end || wanted != there || memcmp(expected, given, wanted) != 0)
		{
			difference->line = i;
			difference->expected = expected;
			difference->expected_length = wanted;
			difference->given = given > given_end ? given_end : given;
			difference->given_length = there;
			snprintf(difference->what, sizeof(difference->what), lines == RECEIPT_LINES
					 ? "Line %d (%s) is another one." : "Line %d (%s) is another one, and there are %d lines instead of 10.", i + 1, receipt_line_names[i], lines);
			return true;
		}
		expected += wanted + 1;
		given += there + 1;
	}
	return concern_all(difference, "There is something behind the tenth line.");
}

bool
receipt_difference_find(const char *expected, size_t expected_length, const char *given, size_t given_length, ReceiptDifference *difference)
{
	if (expected_length == given_length && memcmp(expected, given, given_length) == 0)
		return false;
	if (given_length == 0)
		return concern_all(difference, "Nothing was signed.");
	if (given_length >= 3 && memcmp(given, "\xef\xbb\xbf", 3) == 0)
		return concern_all(difference, "A byte order mark stands before the first line.");
	if (memchr(given, '\0', given_length) != NULL)
		return concern_all(difference, "There are zero bytes: sign UTF-8, not UTF-16.");
	if (memchr(given, '\r', given_length) != NULL)
		return concern_all(difference, "There are carriage returns: lines are joined by a line feed alone.");
	if (given_length == expected_length + 1 && memcmp(expected, given, expected_length) == 0 && given[expected_length] == '\n')
		return concern_all(difference, "There is a line feed behind the last line.");
	return first_line(expected, expected_length, given, given_length, difference);
}

/* ---------- the receipt's own spelling ---------- */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' || c == ';';
}

static bool
is_base64(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '-' || c == '_' || c == '=';
}

/* 32 bytes in base64, of either alphabet, as hex. */
static bool
hex_from_base64(const char *text, size_t length, char hex[2 * RECEIPT_MAC_BYTES + 1])
{
	unsigned char padded[44];
	unsigned char bytes[48];

	if (length == 44 && text[43] == '=')
		length = 43;
	if (length != 43)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (!is_base64(text[i]))
			return false;
		padded[i] = (unsigned char) (text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
	}
	padded[43] = '=';
	if (EVP_DecodeBlock(bytes, padded, 44) < RECEIPT_MAC_BYTES)
		return false;
	for (int i = 0; i < RECEIPT_MAC_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	return true;
}

typedef struct Mending
{
	char	   *out;
	size_t		length;
	void		(*note) (void *argument, const char *sentence);
	void	   *argument;
} Mending;

static void
append(Mending *mending, const char *text, size_t length)
{
	if (mending->length + length > RECEIPT_MAX_BYTES)
		length = RECEIPT_MAX_BYTES - mending->length;
	memcpy(mending->out + mending->length, text, length);
	mending->length += length;
}

static void
mend_mac(Mending *mending, const char *text, size_t length)
{
	char		hex[2 * RECEIPT_MAC_BYTES + 1];
	char		sentence[128];

	if (hex_from_base64(text, length, hex))
	{
		mending->note(mending->argument, "The signature is base64; it must be 64 lower-case hex digits.");
		append(mending, hex, 2 * RECEIPT_MAC_BYTES);
		return;
	}
	if (length != 2 * RECEIPT_MAC_BYTES)
	{
		snprintf(sentence, sizeof(sentence), "The signature has %zu characters instead of 64%s.", length,
				 length == 40 ? ": that would be SHA-1" : length == 128 ? ": that would be SHA-512" : length == 96 ? ": that would be SHA-384" : "");
		mending->note(mending->argument, sentence);
		append(mending, text, length);
		return;
	}
	memcpy(hex, text, length);
	hex[length] = '\0';
	for (size_t i = 0; i < length; i++)
	{
		if (hex[i] >= 'A' && hex[i] <= 'F')
			hex[i] = (char) (hex[i] + 32);
	}
	if (memcmp(hex, text, length) != 0)
		mending->note(mending->argument, "The signature's hex digits are upper-case; they must be lower-case.");
	append(mending, hex, length);
}

/* One part, from its first character to its end. */
static void
mend_part(Mending *mending, const char *text, size_t length)
{
	const char *colon = NULL;

	if (mending->length > 0)
		append(mending, " ", 1);
	for (size_t i = 0; i < length; i++)
		colon = text[i] == ':' ? text + i : colon;
	if (length < 3 || strncasecmp(text, "v1:", 3) != 0)
	{
		mending->note(mending->argument, "A part doesn't begin with \"v1:\".");
		append(mending, "v1:", 3);
	}
	else if (text[0] == 'V')
	{
		mending->note(mending->argument, "\"v1:\" must be lower-case.");
		append(mending, "v1:", 3);
		text += 3;
		length -= 3;
	}
	if (colon == NULL || colon < text)
	{
		mending->note(mending->argument, "A part has no key id: it is v1:<key id>:<64 lower-case hex digits>.");
		append(mending, text, length);
		return;
	}
	append(mending, text, (size_t) (colon + 1 - text));
	mend_mac(mending, colon + 1, (size_t) (text + length - colon - 1));
}

void
receipt_form_mend(const char *receipt, char out[RECEIPT_MAX_BYTES + 1], void (*note) (void *argument, const char *sentence), void *argument)
{
	Mending		mending = {.out = out, .note = note, .argument = argument};
	int			parts = 0;
	size_t		given = strlen(receipt);
	size_t		blanks = 0;

	if (given > RECEIPT_MAX_BYTES)
		note(argument, "It is longer than 1 KiB.");
	for (const char *at = receipt; *at;)
	{
		const char *end = at;

		while (*end && !is_blank(*end))
			end++;
		if (end > at && parts++ < RECEIPT_MAX_PARTS)
			mend_part(&mending, at, (size_t) (end - at));
		blanks += *end == ' ';
		for (at = end; is_blank(*at); at++)
			blanks += *at == ' ' && at > end ? 1000 : *at != ' ' ? 1000 : 0;
	}
	if (parts == 0)
		note(argument, "It is empty.");
	else if (blanks + 1 != (size_t) parts)
		note(argument, "Blanks or line feeds stand before, behind or between its parts; one blank between two is all.");
	if (parts > RECEIPT_MAX_PARTS)
		note(argument, "It has more than 4 parts.");
	out[mending.length] = '\0';
}
