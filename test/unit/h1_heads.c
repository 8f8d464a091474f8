/*
 * h1_heads.c - what the reader of heads says to each form of a head
 *
 * The fuzzers show that nothing is read in two ways; this shows where exactly
 * the line runs between what is read and what is refused, and as what.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "h1.h"
#include "tap.h"

typedef struct Case
{
	const char *text;
	size_t		length;
	H1Outcome	outcome;
} Case;

#define CASE(text, outcome) {text, sizeof(text) - 1, outcome}
/* One line between a good first line with Host, and the end. */
#define FIELD(line, outcome) CASE("GET / HTTP/1.1\r\nHost: x\r\n" line "\r\n\r\n", outcome)
#define TARGET(target, outcome) CASE("GET " target " HTTP/1.1\r\nHost: x\r\n\r\n", outcome)
#define FIRST(line, outcome) CASE(line "\r\nHost: x\r\n\r\n", outcome)
#define HOST(host, outcome) CASE("GET / HTTP/1.1\r\nHost: " host "\r\n\r\n", outcome)

static const Case cases[] = {
	CASE("", H1_MORE), CASE("G", H1_MORE), CASE("GET / HTTP/1.1\r\n", H1_MORE),
	CASE("GET / HTTP/1.1\r\nHost: x\r\n\r", H1_MORE),
	/* Refused before anybody waits for an end. */
	CASE("\r\n", H1_MALFORMED), CASE("\n", H1_MALFORMED), CASE("GET / HTTP/1.1\n", H1_MALFORMED),
	CASE("GET / HTTP/1.1\rH", H1_MALFORMED), CASE("\x16\x03", H1_MALFORMED),
	CASE("GET / HTTP/1.1\r\nA: \0", H1_MALFORMED), CASE("\x7f", H1_MALFORMED),
	CASE("GET / HTTP/1.1\r\r", H1_MALFORMED),

	FIRST("GET / HTTP/1.1", H1_READ), FIRST("get / HTTP/1.1", H1_READ), FIRST("M-SEARCH / HTTP/1.0", H1_READ),
	FIRST("GET  / HTTP/1.1", H1_MALFORMED), FIRST(" GET / HTTP/1.1", H1_MALFORMED),
	FIRST("GET /  HTTP/1.1", H1_MALFORMED), FIRST("GET / HTTP/1.1 ", H1_MALFORMED),
	FIRST("GET\t/ HTTP/1.1", H1_MALFORMED), FIRST("GET / a HTTP/1.1", H1_MALFORMED), FIRST("GET /", H1_MALFORMED),
	FIRST("GET", H1_MALFORMED), FIRST("GET / ", H1_MALFORMED), FIRST("G(T / HTTP/1.1", H1_MALFORMED),
	FIRST("G\xc3\x84T / HTTP/1.1", H1_MALFORMED), FIRST("GET / HTTP/2.0", H1_VERSION),
	FIRST("GET / HTTP/1.2", H1_VERSION), FIRST("GET / HTTP/0.9", H1_VERSION), FIRST("GET / http/1.1", H1_MALFORMED),
	FIRST("GET / http/1.0", H1_MALFORMED),
	FIRST("GET / HTP/1.1", H1_MALFORMED), FIRST("GET / HTTP/1.10", H1_MALFORMED),
	FIRST("GET / HTTP/1", H1_MALFORMED), FIRST("GET / HTTP/1,1", H1_MALFORMED),
	FIRST("GET / HXXX/1.1", H1_MALFORMED), FIRST("GET / HTTP/+1.1", H1_MALFORMED),

	TARGET("/a/b?c=d&e", H1_READ), TARGET("/?", H1_READ), TARGET("/?a?/b", H1_READ), TARGET("/%2f%2F", H1_READ),
	TARGET("//", H1_READ), TARGET("/..", H1_READ), TARGET("/-._~!$&'()*+,;=:@", H1_READ), TARGET("*", H1_MALFORMED),
	TARGET("x", H1_MALFORMED), TARGET("", H1_MALFORMED), TARGET("http://x/", H1_MALFORMED),
	TARGET("x:443", H1_MALFORMED), TARGET("?a", H1_MALFORMED), TARGET("/#", H1_MALFORMED),
	TARGET("/?#", H1_MALFORMED), TARGET("/%", H1_MALFORMED), TARGET("/%4", H1_MALFORMED),
	TARGET("/%4?", H1_MALFORMED), TARGET("/%z4", H1_MALFORMED), TARGET("/%4z", H1_MALFORMED),
	TARGET("/?%", H1_MALFORMED), TARGET("/?a%f", H1_MALFORMED), TARGET("/\xe4", H1_MALFORMED),
	TARGET("/\\", H1_MALFORMED), TARGET("/\"", H1_MALFORMED), TARGET("/<>", H1_MALFORMED),
	TARGET("/{}", H1_MALFORMED), TARGET("/|^`", H1_MALFORMED),

	FIELD("A: b", H1_READ), FIELD("A:", H1_READ), FIELD("A:b", H1_READ), FIELD("A:\t b \t", H1_READ),
	FIELD("A: a\tb", H1_READ), FIELD("A: \xff", H1_READ), FIELD("A: b: c", H1_READ),
	FIELD("!#$%&'*+-.^_`|~9: b", H1_READ), FIELD("A : b", H1_MALFORMED), FIELD("A\t: b", H1_MALFORMED),
	FIELD(" A: b", H1_MALFORMED), FIELD("\tA: b", H1_MALFORMED), FIELD("A: b\r\n c", H1_MALFORMED),
	FIELD("A: b\r\n\tc", H1_MALFORMED), FIELD("A", H1_MALFORMED), FIELD(": b", H1_MALFORMED),
	FIELD("A(: b", H1_MALFORMED), FIELD("A b: c", H1_MALFORMED), FIELD("\xc3\x84: b", H1_MALFORMED),
	FIELD("A\0: b", H1_MALFORMED), FIELD("A: b\0c", H1_MALFORMED), FIELD("A: b\x0b", H1_MALFORMED),
	FIELD("A: \x1f", H1_MALFORMED), FIELD("A: \x7f", H1_MALFORMED), FIELD("A: b\rc", H1_MALFORMED),
	FIELD("A: b\nC: d", H1_MALFORMED), FIELD("A: b\r", H1_MALFORMED),

	FIELD("Content-Length: 0", H1_READ), FIELD("content-length:5", H1_READ),
	FIELD("Content-Length: 99999999999999999999999", H1_READ), FIELD("Content-Length:", H1_MALFORMED),
	FIELD("Content-Length: +5", H1_MALFORMED), FIELD("Content-Length: -5", H1_MALFORMED),
	FIELD("Content-Length: 0x5", H1_MALFORMED), FIELD("Content-Length: 5, 5", H1_MALFORMED),
	FIELD("Content-Length: 5 5", H1_MALFORMED), FIELD("Content-Length: 5.0", H1_MALFORMED),
	FIELD("Content-Length: 5\r\nContent-Length: 5", H1_MALFORMED),
	FIELD("Content-Length: 5\r\nA: b\r\nCONTENT-LENGTH: 6", H1_MALFORMED),
	FIELD("Transfer-Encoding: chunked", H1_TRANSFER_ENCODING), FIELD("transfer-encoding:", H1_TRANSFER_ENCODING),
	FIELD("Transfer-Encoding: identity", H1_TRANSFER_ENCODING),
	FIELD("Content-Length: 5\r\nTransfer-Encoding: x", H1_TRANSFER_ENCODING),
	CASE("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", H1_TRANSFER_ENCODING),

	HOST("board.test:80", H1_READ), HOST("[::1]:80", H1_READ), HOST("a b", H1_MALFORMED), HOST("a/b", H1_MALFORMED),
	HOST("a@b", H1_MALFORMED), HOST("a,b", H1_MALFORMED), HOST("a#", H1_MALFORMED), HOST("a\\b", H1_MALFORMED),
	HOST("\xe4", H1_MALFORMED), HOST("a\r\nhost: a", H1_MALFORMED), CASE("GET / HTTP/1.1\r\n\r\n", H1_MALFORMED),
	CASE("GET / HTTP/1.0\r\n\r\n", H1_READ), CASE("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", H1_MALFORMED),
};

/* In memory that ends where the bytes end, so that the sanitizer sees whoever reads on. */
static H1Outcome
outcome_of(const char *bytes, size_t length, H1Head *head)
{
	char	   *copy = malloc(length ? length : 1);
	const char *reason = NULL;
	size_t		seen = 0;
	H1Outcome	outcome;

	memcpy(copy, bytes, length);
	outcome = h1_read_head(copy, length, &seen, head, &reason);
	free(copy);
	return outcome;
}

static void
test_cases(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
	{
		char		name[200];
		size_t		at = 0;
		H1Head		head;

		for (size_t j = 0; j < cases[i].length && at + 5 < sizeof(name); j++)
		{
			unsigned char c = (unsigned char) cases[i].text[j];

			at += (size_t) snprintf(name + at, sizeof(name) - at, c < ' ' || c >= 0x7f || c == '#' ? "\\x%02x" : "%c", c);
		}
		name[at] = '\0';
		tap_ok(outcome_of(cases[i].text, cases[i].length, &head) == cases[i].outcome, name);
	}
}

/* A head of exactly so many bytes, with so many fields besides Host. */
static H1Outcome
sized(size_t size, int fields)
{
	static char text[2 * H1_HEAD_MAX];
	size_t		at = (size_t) sprintf(text, "GET / HTTP/1.1\r\nHost: x\r\n");
	H1Head		head;

	for (int i = 0; i < fields; i++)
		at += (size_t) sprintf(text + at, "A: b\r\n");
	if (size > 0)
	{
		at -= 2;
		memset(text + at, 'b', size - at);
		at = size - 2;
		text[at - 2] = '\r';
		text[at - 1] = '\n';
	}
	at += (size_t) sprintf(text + at, "\r\n");
	return outcome_of(text, at, &head);
}

static void
test_sizes(void)
{
	static char endless[H1_HEAD_MAX + 1];
	H1Head		head;

	tap_ok(sized(H1_HEAD_MAX, 1) == H1_READ, "a head of exactly the limit");
	tap_ok(sized(H1_HEAD_MAX + 1, 1) == H1_TOO_LARGE, "one byte more");
	tap_ok(sized(0, H1_FIELDS_MAX - 1) == H1_READ, "as many fields as there may be");
	tap_ok(sized(0, H1_FIELDS_MAX) == H1_TOO_LARGE, "one field more");
	memset(endless, 'a', sizeof(endless));
	tap_ok(outcome_of(endless, H1_HEAD_MAX, &head) == H1_MORE, "a beginning of exactly the limit");
	tap_ok(outcome_of(endless, sizeof(endless), &head) == H1_TOO_LARGE, "no end within the limit");
}

static bool
is(Slice slice, const char *text)
{
	return text == NULL ? slice.at == NULL
						: slice.at != NULL && slice.length == strlen(text) && memcmp(slice.at, text, slice.length) == 0;
}

/* Reads in place, so that the slices stay; the text is a literal. */
static bool
read_text(const char *text, H1Head *head)
{
	const char *reason;
	size_t		seen = 0;

	memset(head, 0xa5, sizeof(*head));
	return h1_read_head(text, strlen(text), &seen, head, &reason) == H1_READ;
}

static void
test_parts(void)
{
	H1Head		head;
	bool		several;

	tap_ok(read_text("PUT /a%20b/?x=y?z HTTP/1.1\r\nHOST: board.test \r\nX-A:\t 1 \t\r\nContent-Length: 0012\r\nx-a: "
					 "2\r\n\r\nrest",
					 &head) &&
			   is(head.method, "PUT") && is(head.path, "/a%20b/") && is(head.query, "x=y?z") &&
			   is(head.host, "board.test") && head.minor == 1,
		   "its parts");
	tap_ok(head.has_length && head.length == 12 && head.field_count == 4 && is(head.fields[1].name, "X-A") &&
			   is(head.fields[1].value, "1"),
		   "its fields");
	tap_ok(is(h1_field(&head, "x-a", &several)->value, "1") && several, "a field given twice is said to be");
	tap_ok(h1_field(&head, "content-length", &several) && !several && h1_field(&head, "x-", &several) == NULL &&
			   !several && h1_field(&head, "x-ab", &several) == NULL,
		   "a field is found by its whole name");
	tap_ok(read_text("GET /? HTTP/1.1\r\nHost: x\r\n\r\n", &head) && is(head.path, "/") && is(head.query, "") &&
			   !head.has_length && head.length == 0,
		   "an empty query");
	tap_ok(read_text("GET / HTTP/1.0\r\n\r\n", &head) && is(head.query, NULL) && is(head.host, NULL) &&
			   head.minor == 0 && head.size == 18,
		   "no query, no host");
	tap_ok(read_text("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551621\r\n\r\n", &head) &&
			   head.length > INT64_C(1) << 50,
		   "a length beyond all numbers is no small one");
}

typedef struct Connection
{
	const char *text;
	bool		keep_alive;
	bool		upgrade;
	bool		expect;
} Connection;

static const Connection connections[] = {
	{"1.1\r\nHost: x\r\n\r\n", true, false, false},
	{"1.0\r\n\r\n", false, false, false},
	{"1.1\r\nHost: x\r\nConnection: CLOSE\r\n\r\n", false, false, false},
	{"1.1\r\nHost: x\r\nConnection: keep-alive , Close\r\n\r\n", false, false, false},
	{"1.1\r\nHost: x\r\nConnection: keep-alive\r\nA: b\r\nconnection:\tx,close\r\n\r\n", false, false, false},
	{"1.1\r\nHost: x\r\nConnection: closed, xclose, clos\r\n\r\n", true, false, false},
	{"1.1\r\nHost: x\r\nConnection: ,,\r\n\r\n", true, false, false},
	{"1.0\r\nConnection: Keep-Alive\r\n\r\n", true, false, false},
	{"1.0\r\nConnection: keep-alive, close\r\n\r\n", false, false, false},
	{"1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", true, true, false},
	{"1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", true, false, false},
	{"1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n", true, false, false},
	{"1.1\r\nHost: x\r\nExpect: 100-Continue\r\n\r\n", true, false, true},
	{"1.0\r\nExpect: 100-continue\r\n\r\n", false, false, false},
	{"1.1\r\nHost: x\r\nExpect: 200\r\n\r\n", true, false, false},
};

static void
test_connections(void)
{
	for (size_t i = 0; i < sizeof(connections) / sizeof(*connections); i++)
	{
		const Connection *wanted = &connections[i];
		char		text[300];
		char		name[40];
		H1Head		head;

		snprintf(text, sizeof(text), "GET / HTTP/%s", wanted->text);
		snprintf(name, sizeof(name), "connection %zu", i + 1);
		tap_ok(read_text(text, &head) && head.keep_alive == wanted->keep_alive && head.upgrade == wanted->upgrade &&
				   head.expect == wanted->expect,
			   name);
	}
}

/* Pieces are looked at once: what was seen isn't looked at again. */
static void
test_seen(void)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
	size_t		seen = 0;
	bool		good = true;
	H1Head		head;
	const char *reason;

	for (size_t given = 0; given < sizeof(text) - 1; given++)
		good &= h1_read_head(text, given, &seen, &head, &reason) == H1_MORE && seen == given;
	tap_ok(good && h1_read_head(text, sizeof(text) - 1, &seen, &head, &reason) == H1_READ, "byte by byte");
}

int
main(void)
{
	test_cases();
	test_sizes();
	test_parts();
	test_connections();
	test_seen();
	return tap_done();
}
