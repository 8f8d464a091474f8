/*
 * h1_fuzz.c - the reader of heads against what must hold for every input
 *
 * Each case is a head put together from parts that have tricked HTTP servers,
 * then spoiled. Whatever the reader makes of it has to be the same however the
 * bytes arrive, stay within them, and, where it accepts, be a head that its
 * canonical text describes completely. What another implementation makes of
 * the same heads is h1_beside_h11's business. Built with AddressSanitizer and
 * UBSan; each input is in memory of exactly its size.
 *
 *     h1_fuzz [--seed N] [--seconds N] [--case N]
 *
 * FUZZ_SECONDS says how long, too. A failure names its case, and --case runs
 * that one alone. With clang's libFuzzer, which looks for paths by itself: `make fuzz FUZZ=h1`.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "h1.h"

#define INPUT_MAX (2 * H1_HEAD_MAX)

typedef struct Reading
{
	H1Outcome	outcome;
	size_t		used;			/* how many bytes had been given when it was decided */
	const char *reason;
	H1Head		head;
} Reading;

/* ---------------------------------------------------------------------------
 * What must hold
 * ------------------------------------------------------------------------- */

/* Gives the bytes in pieces of `step`, each time in memory of their own that ends where they end. */
static void
read_in_steps(const char *bytes, size_t length, size_t step, Reading *reading, char **copy)
{
	size_t		seen = 0;

	*copy = NULL;
	for (size_t given = step < length ? step : length;; given = given + step < length ? given + step : length)
	{
		free(*copy);
		*copy = malloc(given ? given : 1);
		memcpy(*copy, bytes, given);
		reading->used = given;
		reading->reason = NULL;
		memset(&reading->head, 0xa5, sizeof(reading->head));
		reading->outcome = h1_read_head(*copy, given, &seen, &reading->head, &reading->reason);
		if (reading->outcome != H1_MORE || given == length)
			return;
	}
}

static bool
same_slice(Slice a, Slice b)
{
	return a.length == b.length && (a.at == NULL) == (b.at == NULL) &&
		   (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

static const char *
compare_heads(const H1Head *a, const H1Head *b)
{
	if (!same_slice(a->method, b->method) || !same_slice(a->path, b->path) || !same_slice(a->query, b->query))
		return "another method, path or query";
	if (!same_slice(a->host, b->host))
		return "another host";
	if (a->minor != b->minor || a->length != b->length || a->has_length != b->has_length)
		return "another version or length";
	if (a->keep_alive != b->keep_alive || a->upgrade != b->upgrade || a->expect != b->expect)
		return "another connection";
	if (a->field_count != b->field_count)
		return "another number of fields";
	for (int i = 0; i < a->field_count; i++)
	{
		if (!same_slice(a->fields[i].name, b->fields[i].name) || !same_slice(a->fields[i].value, b->fields[i].value))
			return "another field";
	}
	return NULL;
}

static const char *
compare_readings(const Reading *a, const Reading *b)
{
	if (a->outcome != b->outcome)
		return "another outcome when read in pieces";
	if (a->outcome == H1_READ)
		return a->head.size == b->head.size ? compare_heads(&a->head, &b->head) : "another size when read in pieces";
	return a->outcome == H1_MORE || strcmp(a->reason, b->reason) == 0 ? NULL : "another reason when read in pieces";
}

/* Line ends are CRLF, the only empty line is the last, and there are no other control characters. */
static const char *
check_bytes(const char *bytes, size_t size)
{
	if (size < 4 || size > H1_HEAD_MAX || memcmp(bytes + size - 4, "\r\n\r\n", 4) != 0)
		return "a head that doesn't end with an empty line";
	for (size_t i = 0; i < size; i++)
	{
		unsigned char c = (unsigned char) bytes[i];

		if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f)
			return "a control character was accepted";
		if ((c == '\r' && bytes[i + 1] != '\n') || (c == '\n' && (i == 0 || bytes[i - 1] != '\r')))
			return "a CR or LF alone was accepted";
		if (c == '\n' && i + 1 < size && (bytes[i + 1] == ' ' || bytes[i + 1] == '\t'))
			return "a folded line was accepted";
		if (c == '\n' && i + 3 < size && bytes[i + 1] == '\r')
			return "an empty line within the head";
	}
	return NULL;
}

static bool
within(Slice slice, const char *bytes, size_t size)
{
	return slice.at == NULL ? slice.length == 0 : slice.at >= bytes && slice.at + slice.length <= bytes + size;
}

static int
count_fields(const H1Head *head, const char *name)
{
	int			count = 0;

	for (int i = 0; i < head->field_count; i++)
		count += head->fields[i].name.length == strlen(name) && h1_name_is(head->fields[i].name, name);
	return count;
}

static const char *
check_fields(const H1Head *head, const char *bytes)
{
	const int	lengths = count_fields(head, "content-length");

	if (head->field_count < 0 || head->field_count > H1_FIELDS_MAX)
		return "too many fields";
	for (int i = 0; i < head->field_count; i++)
	{
		const H1Field *field = &head->fields[i];

		if (!within(field->name, bytes, head->size) || !within(field->value, bytes, head->size))
			return "a field outside of the head";
		if (field->name.length == 0 || memchr(field->name.at, ' ', field->name.length) ||
			memchr(field->name.at, ':', field->name.length))
			return "a field's name is no word";
		if (field->value.length > 0 && (strchr(" \t", field->value.at[0]) ||
										strchr(" \t", field->value.at[field->value.length - 1])))
			return "blanks around a value";
	}
	if (count_fields(head, "transfer-encoding") > 0 || lengths > 1 || count_fields(head, "host") > 1)
		return "Transfer-Encoding, or a second Host or Content-Length";
	if (head->minor == 1 && count_fields(head, "host") != 1)
		return "no host";
	return head->has_length == (lengths == 1) && head->length >= 0 && (lengths == 1 || head->length == 0) ? NULL :
		"a length from nowhere";
}

static const char *
check_head(const H1Head *head, const char *bytes, size_t length)
{
	const char *wrong;

	if (head->size > length)
		return "a head larger than what was read";
	wrong = check_bytes(bytes, head->size);
	if (wrong == NULL)
		wrong = check_fields(head, bytes);
	if (wrong)
		return wrong;
	if (!within(head->method, bytes, head->size) || !within(head->path, bytes, head->size) ||
		!within(head->query, bytes, head->size) || !within(head->host, bytes, head->size))
		return "a slice outside of the head";
	if (head->path.length == 0 || head->path.at[0] != '/' || memchr(head->path.at, '#', head->path.length))
		return "a target that is no path";
	return head->minor == 0 || head->minor == 1 ? NULL : "another version";
}

static size_t
put(char *to, Slice slice)
{
	if (slice.length > 0)
		memcpy(to, slice.at, slice.length);
	return slice.length;
}

/* The head in its plainest form: all that the reader knows of it. */
static size_t
canonical(const H1Head *head, char *to)
{
	size_t		at = put(to, head->method);

	to[at++] = ' ';
	at += put(to + at, head->path);
	if (head->query.at)
	{
		to[at++] = '?';
		at += put(to + at, head->query);
	}
	at += (size_t) sprintf(to + at, " HTTP/1.%d\r\n", head->minor);
	for (int i = 0; i < head->field_count; i++)
	{
		at += put(to + at, head->fields[i].name);
		to[at++] = ':';
		at += put(to + at, head->fields[i].value);
		to[at++] = '\r';
		to[at++] = '\n';
	}
	to[at++] = '\r';
	to[at++] = '\n';
	return at;
}

static const char *
check_canonical(const H1Head *head)
{
	static char text[H1_HEAD_MAX + 4 * H1_FIELDS_MAX];
	const size_t length = canonical(head, text);
	Reading		again;
	char	   *copy;
	const char *wrong;

	read_in_steps(text, length, length, &again, &copy);
	if (again.outcome != H1_READ || again.head.size != length)
		wrong = "its canonical form is refused";
	else
		wrong = compare_heads(head, &again.head);
	free(copy);
	return wrong;
}

/* What stands behind a head says nothing about it. */
static const char *
check_rest(const Reading *whole, const char *bytes)
{
	Reading		alone;
	char	   *copy;
	const char *wrong;

	read_in_steps(bytes, whole->head.size, whole->head.size, &alone, &copy);
	wrong = compare_readings(whole, &alone);
	free(copy);
	return wrong;
}

/* NULL, or what is wrong with what the reader makes of these bytes. */
static const char *
check(const char *bytes, size_t length, H1Outcome *outcome)
{
	static const size_t steps[] = {1, 2, 7, 61};
	Reading		whole;
	char	   *copy;
	const char *wrong = NULL;

	read_in_steps(bytes, length, length, &whole, &copy);
	*outcome = whole.outcome;
	if ((int) whole.outcome < H1_MORE || whole.outcome > H1_VERSION)
		wrong = "no such outcome";
	else if (whole.outcome == H1_MORE && length > H1_HEAD_MAX)
		wrong = "more is wanted of a head that is too large";
	else if (whole.outcome == H1_READ)
		wrong = check_head(&whole.head, copy, length);
	else if (whole.outcome != H1_MORE && (whole.reason == NULL || strlen(whole.reason) < 6))
		wrong = "refused without a reason";
	if (wrong == NULL && whole.outcome == H1_READ)
		wrong = check_canonical(&whole.head);
	if (wrong == NULL && whole.outcome == H1_READ)
		wrong = check_rest(&whole, bytes);
	/* Long ones cost the square of their length here. */
	for (size_t i = length > 2000 ? 2 : 0; i < sizeof(steps) / sizeof(*steps) && wrong == NULL; i++)
	{
		Reading		pieces;
		char	   *last;

		read_in_steps(bytes, length, steps[i], &pieces, &last);
		wrong = compare_readings(&whole, &pieces);
		if (wrong == NULL && whole.outcome == H1_READ && pieces.used >= pieces.head.size + steps[i])
			wrong = "the end of a head was noticed late";
		free(last);
	}
	free(copy);
	return wrong;
}

#ifdef LIBFUZZER

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	H1Outcome	outcome;
	const char *wrong = size <= INPUT_MAX ? check((const char *) data, size, &outcome) : NULL;

	if (wrong == NULL)
		return 0;
	fprintf(stderr, "%s\n", wrong);
	abort();
}

#else

/* ---------------------------------------------------------------------------
 * Inputs
 * ------------------------------------------------------------------------- */

static const char *const methods[] = {"GET", "POST", "HEAD", "PUT", "OPTIONS",
									  "get", "G\tT", "",	 "PRI", "X!#$%&'*+-.^_`|~9"};
static const char *const targets[] = {"/",		"/health",	  "/v1/leaderboard/top?board=global&limit=3",
									  "/a%2Fb", "/a/../b",	  "//x",
									  "*",		"http://h/x", "h:443",
									  "/?",		"/?a?b/c",	  "/%",
									  "/%4",	"/%zz",		  "/#x",
									  "/a b",	"/\xc3\xa4",  "/\\",
									  "/\"",	"",			  "/a;b=c,d:@!$&'()*+~"};
static const char *const versions[] = {"HTTP/1.1",	"HTTP/1.0", "HTTP/2.0",	 "HTTP/1.2", "HTTP/9.9", "http/1.1",
									   "HTTP/1.1 ", "HTP/1.1",	"HTTP/1.10", "HTTP/11",	 "HTTP/1,1", ""};
static const char *const names[] = {"Host",
									"Content-Length",
									"Transfer-Encoding",
									"Connection",
									"Expect",
									"Upgrade",
									"Origin",
									"Authorization",
									"Idempotency-Key",
									"X-Forwarded-For",
									"X-Request-Id",
									"Accept",
									"Content-Type",
									"A",
									"X",
									"Sec-WebSocket-Key"};
static const char *const values[] = {"x",
									 "0",
									 "5",
									 "+5",
									 "-5",
									 "0x5",
									 "5, 5",
									 "5,5",
									 "00000000000000000000005",
									 "99999999999999999999999",
									 "",
									 "close",
									 "keep-alive",
									 "Keep-Alive, close",
									 "upgrade",
									 "close,",
									 ",close",
									 "chunked",
									 "identity",
									 "100-continue",
									 "[::1]:80",
									 "a b",
									 "a\tb",
									 "\xff\x80",
									 "x/y",
									 "\"q\""};
static const char *const colons[] = {": ", ":", ":\t", ":  ", " :", "\t: ", "", "::"};
static const char *const ends[] = {"\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t", "\r\n\r\n"};
static const char *const tokens[] = {"\r\n",
									 "\n",
									 "\r",
									 "\0",
									 ":",
									 " ",
									 "\t",
									 "\r\n\r\n",
									 "Content-Length: 5\r\n",
									 "Host: y\r\n",
									 "Transfer-Encoding: chunked\r\n",
									 "HTTP/1.1",
									 "%2F",
									 "?",
									 "#",
									 "\x7f",
									 "\x80"};

#define ONE_OF(list) (list)[below(sizeof(list) / sizeof(*(list)))]

static uint64_t random_state;

static uint64_t
below(uint64_t limit)
{
	uint64_t	z = (random_state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return (z ^ (z >> 31)) % limit;
}

static bool
one_in(uint64_t number)
{
	return below(number) == 0;
}

typedef struct Input
{
	char		bytes[INPUT_MAX];
	size_t		length;
} Input;

static void
add_bytes(Input *input, const char *bytes, size_t length)
{
	if (length > INPUT_MAX - input->length)
		length = INPUT_MAX - input->length;
	memcpy(input->bytes + input->length, bytes, length);
	input->length += length;
}

static void
add(Input *input, const char *text)
{
	add_bytes(input, text, strlen(text));
}

static void
add_end(Input *input)
{
	add(input, one_in(60) ? ONE_OF(ends) : "\r\n");
}

static void
add_name(Input *input)
{
	const char *name = ONE_OF(names);
	size_t		length = strlen(name);

	/* A part of a known name, another case, or the whole. */
	add_bytes(input, name, one_in(5) ? below(length + 1) : length);
	for (size_t i = 0; i < length && one_in(3); i++)
		input->bytes[input->length - 1 - below(input->length < length ? input->length : length)] ^= one_in(4) ? 0x20 : 0;
}

static void
add_field(Input *input)
{
	add_name(input);
	add(input, one_in(8) ? ONE_OF(colons) : ": ");
	add(input, ONE_OF(values));
	if (one_in(10))
		add(input, one_in(2) ? " " : "\t ");
	add_end(input);
}

/* About as many fields, or as many bytes, as a head may have. */
static void
add_much(Input *input)
{
	if (one_in(2))
	{
		for (uint64_t i = H1_FIELDS_MAX - 6 + below(10); i > 0; i--)
			add(input, one_in(2) ? "N: v\r\n" : "A:\r\n");
		return;
	}
	add(input, "X-Long: ");
	for (uint64_t i = H1_HEAD_MAX - 200 + below(250); i > 0; i--)
		add(input, "l");
	add(input, "\r\n");
}

static void
spoil(Input *input)
{
	size_t		at = below(input->length + 1);
	size_t		length = below(30);
	const char *token = ONE_OF(tokens);
	static char rest[INPUT_MAX];
	size_t		rest_length = input->length - at;

	if (input->length == 0)
		return;
	switch (below(5))
	{
		case 0:
			input->bytes[below(input->length)] = (char) below(256);
			break;
		case 1:
			input->bytes[below(input->length)] ^= (char) (1 << below(8));
			break;
		case 2:					/* cut out */
			length = length < rest_length ? length : rest_length;
			memmove(input->bytes + at, input->bytes + at + length, rest_length - length);
			input->length -= length;
			break;
		case 3:					/* cut off */
			input->length = at;
			break;
		default:				/* put in; "\0" is one byte */
			memcpy(rest, input->bytes + at, rest_length);
			input->length = at;
			add_bytes(input, token, token[0] ? strlen(token) : 1);
			add_bytes(input, rest, rest_length);
			break;
	}
}

static void
make_input(Input *input)
{
	input->length = 0;
	add(input, one_in(6) ? ONE_OF(methods) : "GET");
	add(input, one_in(30) ? "  " : " ");
	add(input, one_in(3) ? ONE_OF(targets) : "/health");
	add(input, one_in(30) ? "\t" : " ");
	add(input, one_in(8) ? ONE_OF(versions) : "HTTP/1.1");
	add_end(input);
	if (!one_in(10))
		add(input, "Host: board.test\r\n");
	if (one_in(60))
		add_much(input);
	for (uint64_t i = below(5); i > 0; i--)
		add_field(input);
	if (!one_in(20))
		add(input, "\r\n");
	if (one_in(2))
		add(input, "12345GET / HTTP/1.1\r\nHost: second\r\n\r\n");
	for (uint64_t i = one_in(2) ? 0 : below(4); i > 0; i--)
		spoil(input);
}

/* ---------------------------------------------------------------------------
 * Running
 * ------------------------------------------------------------------------- */

static void
print_input(const Input *input)
{
	printf("# \"");
	for (size_t i = 0; i < input->length; i++)
	{
		unsigned char c = (unsigned char) input->bytes[i];

		if (c < ' ' || c >= 0x7f || c == '"' || c == '\\')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	printf("\"\n");
}

static const char *
run_case(uint64_t seed, uint64_t number, H1Outcome *outcome)
{
	static Input input;
	const char *wrong;

	random_state = seed + number * UINT64_C(0xD1342543DE82EF95);
	make_input(&input);
	wrong = check(input.bytes, input.length, outcome);
	if (wrong)
	{
		printf("not ok 1 - case %llu: %s\n", (unsigned long long) number, wrong);
		print_input(&input);
	}
	return wrong;
}

/* A generator whose heads are all refused, or all taken, shows nothing. */
static int
report(const uint64_t *outcomes, uint64_t cases)
{
	static const char *const called[] = {
		"unfinished", "read", "malformed", "too large", "with Transfer-Encoding", "of another version"};
	int			failed = 0;

	printf("ok 1 - %llu heads\n", (unsigned long long) cases);
	for (int i = 0; i <= H1_VERSION; i++)
	{
		printf("%sok %d - heads %s: %llu\n", outcomes[i] ? "" : "not ", i + 2, called[i], (unsigned long long) outcomes[i]);
		failed += outcomes[i] == 0;
	}
	return failed > 0;
}

int
main(int argc, char **argv)
{
	const char *limit = getenv("FUZZ_SECONDS");
	time_t		seconds = limit ? strtol(limit, NULL, 10) : 2;
	uint64_t	seed = 20260101;
	uint64_t	outcomes[H1_VERSION + 1] = {0};
	uint64_t	number = 0;
	H1Outcome	outcome;

	for (int i = 1; i + 1 < argc; i += 2)
	{
		if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtol(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--case") == 0)
			return run_case(seed, strtoull(argv[i + 1], NULL, 10), &outcome) != NULL;
	}
	printf("# %ld s, seed %llu\n", (long) seconds, (unsigned long long) seed);
	for (time_t end = time(NULL) + seconds; number < 20000 || time(NULL) < end; number++)
	{
		if (run_case(seed, number, &outcome))
			return 1;
		outcomes[outcome]++;
	}
	return report(outcomes, number);
}

#endif
