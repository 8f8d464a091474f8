/*
 * request_json.c - an increment in JSON is read in one way only, or not at all
 *
 * Build: src/request_json.c src/strict_json.c
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request_json.h"
#include "tap.h"

/* Reads from a copy without a byte to spare, so that the sanitizers see every step too far. */
static const char *
read_bytes(const char *text, size_t length, RequestJson *request, char **room)
{
	char	   *copy = malloc(length ? length : 1);
	TextArena	arena = {.size = REQUEST_JSON_ARENA_SIZE(length)};
	const char *wrong;

	memcpy(copy, text, length);
	arena.data = *room = malloc(arena.size);
	wrong = request_json_read(copy, length, &arena, request);
	free(copy);
	return wrong;
}

static void
accepted(const char *text, const char *name)
{
	RequestJson request;
	char	   *room;

	tap_ok(read_bytes(text, strlen(text), &request, &room) == NULL, name);
	free(room);
}

/* Refused, with a sentence that says what is wrong and repeats nothing of the text. */
static void
refused_bytes(const char *text, size_t length, const char *about, const char *name)
{
	RequestJson request;
	char	   *room;
	const char *wrong = read_bytes(text, length, &request, &room);

	tap_ok(wrong != NULL && strstr(wrong, about) != NULL && strstr(wrong, "canary") == NULL, name);
	free(room);
}

static void
refused(const char *text, const char *about, const char *name)
{
	refused_bytes(text, strlen(text), about, name);
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void
test_members(void)
{
	static const char all[] =
		"{\"actionType\":\"T\",\"actionId\":\"a\\u00e9\\ud83d\\ude00\",\"board\":\"b\",\"points\":-5,\"issuedAt\":1700000000,"
		"\"receipt\":\"r\",\"metadata\":{\"x\":[1]},\"token\":\"t\",\"idempotencyKey\":\"k\",\"requestId\":\"q\","
		"\"clientAddress\":\"::1\",\"unknown\":{\"actionId\":\"other\"}}";
	RequestJson request;
	char	   *room;

	tap_ok(read_bytes(all, strlen(all), &request, &room) == NULL, "every member");
	tap_ok(same(request.action_type, "T") && same(request.action_id, "a\xc3\xa9\xf0\x9f\x98\x80") && same(request.board, "b") &&
		   same(request.receipt, "r") && same(request.token, "t") && same(request.idempotency_key, "k") &&
		   same(request.request_id, "q") && same(request.client_address, "::1"), "texts, with escapes resolved");
	tap_ok(request.has_points && request.points == -5 && request.has_issued_at && request.issued_at == 1700000000 &&
		   request.has_metadata, "numbers, and that there is metadata");
	free(room);

	tap_ok(read_bytes("{\"points\":null,\"board\":null,\"metadata\":null}", 44, &request, &room) == NULL &&
		   !request.has_points && request.board == NULL && !request.has_metadata, "null counts as not given");
	free(room);
	tap_ok(read_bytes("{}", 2, &request, &room) == NULL && request.action_id == NULL && request.token == NULL, "nothing given");
	free(room);
	tap_ok(read_bytes("{\"actionId\":\"\"}", 15, &request, &room) == NULL && same(request.action_id, ""), "an empty text is given");
	free(room);
	tap_ok(read_bytes("{\"points\":-9223372036854775808}", 31, &request, &room) == NULL && request.points == INT64_MIN,
		   "the least integer");
	free(room);
	accepted(" \t\r\n{ } \n", "white space around");
	accepted("{\"actionI\\u0064\":\"a\"}", "a name with an escape");
}

static void
test_numbers(void)
{
	refused("{\"points\":1e1}", "points", "an exponent");
	refused("{\"points\":1.0}", "points", "a fraction");
	refused("{\"points\":\"1\"}", "points", "a text for a number");
	refused("{\"points\":true}", "points", "a truth value");
	refused("{\"issuedAt\":[1]}", "issuedAt", "a list");
	refused("{\"points\":9223372036854775808}", "well-formed", "beyond 64 bits");
	refused("{\"points\":01}", "well-formed", "a leading zero");
	refused("{\"points\":+1}", "well-formed", "a plus sign");
	refused("{\"points\":-}", "well-formed", "a sign alone");
	refused("{\"points\":NaN}", "well-formed", "NaN");
	refused("{\"points\":0x10}", "well-formed", "hexadecimal");
	refused("{\"unknown\":1e400000}", "well-formed", "a number that overflows, in a member that is ignored");
}

static void
test_types(void)
{
	static const char *const texts[] = {
		"actionType", "actionId", "board", "receipt", "token", "idempotencyKey", "requestId", "clientAddress"
	};
	char		text[100];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		snprintf(text, sizeof(text), "{\"%s\":[\"canary\"]}", texts[i]);
		refused(text, texts[i], texts[i]);
	}
	refused("{\"metadata\":[]}", "metadata", "metadata that is a list");
	refused("{\"metadata\":\"{}\"}", "metadata", "metadata that is a text");
}

static void
test_form(void)
{
	static const char *const bad[] = {
		"", " ", "null", "true", "1", "\"canary\"", "[]", "[{}]", "{", "}", "{}{}", "{},", "{}x", "{\"a\":1,}", "{,}", "{\"a\"}",
		"{'a':1}", "{a:1}", "{\"a\":1 \"b\":2}", "{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}", "\xef\xbb\xbf{}",
		"// x\n{}", "{\"a\":\"\\u0000\"}", "{\"\\u0000\":1}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\\ude00\\ud83d\"}",
		"{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}", "{\"a\":\"\xe2\x82\"}",
		"{\"a\":1,\"a\":1}", "{\"actionId\":\"a\",\"action\\u0049d\":\"b\"}", "{\"m\":[{\"x\":{\"b\":1,\"b\":2}}]}"
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char		name[40];

		snprintf(name, sizeof(name), "form %zu", i + 1);
		refused(bad[i], "well-formed", name);
	}
	refused_bytes("{}\0", 3, "well-formed", "a NUL behind the object");
	refused_bytes("{\"a\":\"b\0c\"}", 11, "well-formed", "a NUL within");
}

static void
test_depth(void)
{
	char		text[5000];

	for (int depth = 31; depth <= 32; depth++)
	{
		char	   *end = stpcpy(text, "{\"a\":");

		memset(end, '[', depth);
		memset(end + depth, ']', depth);
		strcpy(end + 2 * depth, "}");
		if (depth == 31)
			accepted(text, "32 levels");
		else
			refused(text, "well-formed", "33 levels");
	}
	memset(text, '[', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "{\"a\":", 5);
	refused(text, "well-formed", "thousands of levels, unclosed");
	accepted("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ \\\" [[[[\"}", "brackets in a text are no levels");
}

static void
test_exponents(void)
{
	tap_ok(request_json_numbers_fit("{\"a\":[1e300,-1E-300,0.5,1e+300]}"), "exponents that fit");
	tap_ok(!request_json_numbers_fit("{\"a\":1e301}"), "too large");
	tap_ok(!request_json_numbers_fit("{\"a\":1E-301}"), "too small");
	tap_ok(!request_json_numbers_fit("{\"a\":1e99999999999999999999999999}"), "larger than any integer");
	tap_ok(!request_json_numbers_fit("[0,{\"b\":[1,2e+400000]}]"), "deep within");
	tap_ok(request_json_numbers_fit("{\"1e400000\":\"1e400000 \\\" 1e400000 \\\\\"}"), "texts are no numbers");
	tap_ok(!request_json_numbers_fit("{\"a\":\"\\\\\",\"b\":1e400000}"), "an escaped backslash ends no text too late");
	tap_ok(request_json_numbers_fit("{\"a\":true,\"b\":false,\"e\":null}"), "words are no numbers");
}

int
main(void)
{
	test_members();
	test_numbers();
	test_types();
	test_form();
	test_depth();
	test_exponents();
	return tap_done();
}
