/*
 * token_form.c - what is refused before any library sees a token
 *
 * Build: src/plain/guard.c src/plain/strict_json.c src/plain/base64url.c src/plain/jws.c -lcjose
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "plain/base64url.h"
#include "plain/jws.h"
#include "plain/strict_json.h"
#include "tap.h"

/* 43 digits are 32 bytes, as HS256 has them. */
#define SIGNATURE "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static JwsForm form;

static bool
decodes_to(const char *text, const char *wanted)
{
	unsigned char out[16];
	size_t		length;

	return base64url_decode(text, strlen(text), out, sizeof(out), &length) &&
		length == strlen(wanted) && memcmp(out, wanted, length) == 0;
}

static bool
decodes(const char *text)
{
	unsigned char out[16];
	size_t		length;

	return base64url_decode(text, strlen(text), out, sizeof(out), &length);
}

/* All bytes, in texts of every length up to their number: what is encoded is decoded to the same. */
static bool
encodes_all(void)
{
	unsigned char bytes[256];
	unsigned char back[256];
	char		text[BASE64URL_LENGTH(256) + 1];
	size_t		length;

	for (int i = 0; i < 256; i++)
		bytes[i] = (unsigned char) (255 - i);
	for (size_t i = 0; i <= 256; i++)
	{
		base64url_encode(bytes, i, text);
		if (strlen(text) != BASE64URL_LENGTH(i) || !base64url_decode(text, strlen(text), back, sizeof(back), &length) ||
			length != i || memcmp(back, bytes, i) != 0)
			return false;
	}
	return true;
}

static void
test_base64url(void)
{
	tap_ok(encodes_all(), "what is encoded is decoded to the same");
	tap_ok(decodes_to("", "") && decodes_to("Zg", "f") && decodes_to("Zm8", "fo") &&
		   decodes_to("Zm9v", "foo") && decodes_to("Zm9vYmE", "fooba"), "base64url of RFC 4648");
	tap_ok(decodes_to("-_-_", "\xfb\xff\xbf"), "- and _ are digits");
	tap_ok(!decodes("Zg=="), "padding is refused");
	tap_ok(!decodes("Zh") && !decodes("Zm9"), "unused bits must be zero");
	tap_ok(!decodes("Z") && !decodes("Zm9vY"), "a lone digit is refused");
	tap_ok(!decodes("Zm+v") && !decodes("Zm/v") && !decodes("Zm v") && !decodes("Zm\nv") &&
		   !decodes("Zm9\xc3"), "other characters are refused");
	tap_ok(!decodes("AAAAAAAAAAAAAAAAAAAAAAAA"), "more than there is room for is refused");
}

static bool
reads_json(const char *text)
{
	json_t	   *value;
	bool		reads = strict_json_object(text, strlen(text), JWS_MAX_DEPTH, &value) == NULL;

	json_decref(value);
	return reads;
}

/* {"a":{"a":...{}}} of that depth. */
static bool
reads_depth(int depth)
{
	char		text[1024];
	size_t		used = 0;

	for (int i = 1; i < depth; i++)
		used += (size_t) sprintf(text + used, "{\"a\":");
	used += (size_t) sprintf(text + used, "{}");
	for (int i = 1; i < depth; i++)
		used += (size_t) sprintf(text + used, "}");
	return reads_json(text);
}

static void
test_json(void)
{
	tap_ok(reads_json("{}") && reads_json(" {\"a\":1}\n"), "an object is read, blanks around it too");
	tap_ok(!reads_json("[]") && !reads_json("1") && !reads_json("") && !reads_json("null"),
		   "anything but an object is refused");
	tap_ok(!reads_json("{\"a\":1,\"a\":1}") && !reads_json("{\"b\":[{\"a\":1,\"\\u0061\":2}]}"),
		   "duplicates are refused at any depth, escaped ones too");
	tap_ok(!reads_json("\xef\xbb\xbf{}"), "a byte order mark is refused");
	tap_ok(!reads_json("{}{}") && !reads_json("{} x"), "nothing may follow");
	tap_ok(!reads_json("{\"a\":\"\\u0000\"}") && !reads_json("{\"a\":\"\\ud800\"}") &&
		   !reads_json("{\"a\":\"\xff\"}"), "NUL, lone surrogates and bad UTF-8 are refused");
	tap_ok(!reads_json("{\"a\":01}") && !reads_json("{a:1}") && !reads_json("{\"a\":1,}") &&
		   !reads_json("{\"a\":NaN}"), "JSON it must be");
	tap_ok(reads_depth(32), "32 levels are read");
	tap_ok(!reads_depth(33), "33 levels are refused");
	tap_ok(reads_json("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}"),
		   "brackets in strings are no levels");
}

static size_t
encode(const char *text, size_t length, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t		used = 0;

	for (size_t i = 0; i < length; i += 3)
	{
		unsigned	bits = (unsigned) (unsigned char) text[i] << 16;
		size_t		left = length - i < 3 ? length - i : 3;

		if (left > 1)
			bits |= (unsigned) (unsigned char) text[i + 1] << 8;
		if (left > 2)
			bits |= (unsigned char) text[i + 2];
		for (size_t k = 0; k <= left; k++)
			out[used++] = digits[bits >> (18 - 6 * k) & 63];
	}
	out[used] = '\0';
	return used;
}

/* A token of that header, with {} for claims, accepted in its form? */
static bool
accepts(const char *header, const char *signature)
{
	char		token[2048];
	size_t		used = encode(header, strlen(header), token);

	snprintf(token + used, sizeof(token) - used, ".e30.%s", signature);
	return jws_form_read(token, strlen(token), &form) == NULL;
}

static void
test_header(void)
{
	tap_ok(accepts("{\"alg\":\"HS256\"}", SIGNATURE) && !form.has_kid &&
		   form.algorithm == JWS_HS256 && form.claims_length == 2, "alg is all that a header needs");
	tap_ok(accepts("{\"alg\":\"HS256\",\"kid\":\"k\"}", SIGNATURE) && form.has_kid &&
		   strcmp(form.kid, "k") == 0, "kid is read");
	tap_ok(!accepts("{\"alg\":\"HS256\",\"kid\":7}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"kid\":null}", SIGNATURE), "kid must be a string");
	tap_ok(!accepts("{}", SIGNATURE) && !accepts("{\"alg\":\"none\"}", SIGNATURE) &&
		   !accepts("{\"alg\":\"hs256\"}", SIGNATURE) && !accepts("{\"alg\":\"HS384\"}", SIGNATURE) &&
		   !accepts("{\"alg\":[\"HS256\"]}", SIGNATURE), "other algorithms are refused");
	tap_ok(!accepts("{\"alg\":\"HS256\",\"crit\":[]}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"crit\":null}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"b64\":true}", SIGNATURE), "crit and b64 are refused");
	tap_ok(accepts("{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"},\"jku\":\"https://evil.example\",\"x5u\":7,\"x5c\":[]}", SIGNATURE),
		   "jwk, jku, x5u and x5c are not looked at");
	tap_ok(accepts("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", SIGNATURE) &&
		   accepts("{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", SIGNATURE), "typ JWT and at+jwt");
	tap_ok(!accepts("{\"alg\":\"HS256\",\"typ\":\"jose\"}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"typ\":\"jwt\"}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"typ\":null}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"typ\":\"\"}", SIGNATURE), "any other typ is refused");
	tap_ok(!accepts("{\"alg\":\"HS256\"}", "AAAA") && !accepts("{\"alg\":\"ES256\"}", SIGNATURE),
		   "a signature of a wrong length is refused");
}

/* What the last accepted header said is remembered: it must hold for no other. */
static void
test_headers_in_turn(void)
{
	char		wide[700];

	tap_ok(accepts("{\"alg\":\"HS256\",\"kid\":\"k\"}", SIGNATURE) &&
		   accepts("{\"alg\":\"HS256\",\"kid\":\"k\"}", SIGNATURE) && form.has_kid &&
		   strcmp(form.kid, "k") == 0 && form.algorithm == JWS_HS256, "the same header twice says the same");
	tap_ok(accepts("{\"alg\":\"HS256\",\"kid\":\"l\"}", SIGNATURE) && strcmp(form.kid, "l") == 0 &&
		   accepts("{\"alg\":\"HS256\"}", SIGNATURE) && !form.has_kid &&
		   accepts("{\"alg\":\"RS256\"}", SIGNATURE) && form.algorithm == JWS_RS256 &&
		   accepts("{\"alg\":\"HS256\"}", SIGNATURE) && form.algorithm == JWS_HS256, "another says its own");
	tap_ok(!accepts("{\"alg\":\"none\"}", SIGNATURE) && !accepts("{\"alg\":\"none\"}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"kid\":7}", SIGNATURE) &&
		   !accepts("{\"alg\":\"HS256\",\"crit\":[]}", SIGNATURE), "a refused one is refused again");
	tap_ok(accepts("{\"alg\":\"HS256\"}", SIGNATURE) && !accepts("{\"alg\":\"HS256\"}", "AAAA"),
		   "a signature is looked at under a header that is known");
	snprintf(wide, sizeof(wide), "{\"alg\":\"RS256\",\"x5u\":\"%0600d\"}", 0);
	tap_ok(accepts(wide, SIGNATURE) && accepts(wide, SIGNATURE) && form.algorithm == JWS_RS256 &&
		   accepts("{\"alg\":\"HS256\"}", SIGNATURE) && form.algorithm == JWS_HS256, "a long header is read each time");
}

static bool
reads_token(const char *token)
{
	return jws_form_read(token, strlen(token), &form) == NULL;
}

/* {"alg":"HS256"} and as many bytes of payload digits as make the whole that long. */
static bool
reads_length(size_t length)
{
	static const char head[] = "eyJhbGciOiJIUzI1NiJ9.";
	char	   *token = malloc(length + 1);
	bool		reads;

	memset(token, 'A', length);
	memcpy(token, head, sizeof(head) - 1);
	memcpy(token + length - sizeof(SIGNATURE), "." SIGNATURE, sizeof(SIGNATURE));
	token[length] = '\0';
	reads = reads_token(token);
	free(token);
	return reads;
}

static void
test_parts(void)
{
	tap_ok(reads_token("eyJhbGciOiJIUzI1NiJ9.e30." SIGNATURE), "three parts");
	tap_ok(!reads_token("") && !reads_token(".") && !reads_token("..") && !reads_token("...") &&
		   !reads_token("eyJhbGciOiJIUzI1NiJ9.e30") &&
		   !reads_token("eyJhbGciOiJIUzI1NiJ9.e30." SIGNATURE ".") &&
		   !reads_token("eyJhbGciOiJIUzI1NiJ9.." SIGNATURE) &&
		   !reads_token("eyJhbGciOiJIUzI1NiJ9.e30."), "two, four or empty parts are refused");
	tap_ok(!reads_token(" eyJhbGciOiJIUzI1NiJ9.e30." SIGNATURE) &&
		   !reads_token("eyJhbGciOiJIUzI1NiJ9.e30." SIGNATURE "\n") &&
		   !reads_token("Bearer eyJhbGciOiJIUzI1NiJ9.e30." SIGNATURE), "blanks and Bearer are refused");
	tap_ok(reads_length(8192), "8 KiB are read");
	tap_ok(!reads_length(8193), "8 KiB and a byte are refused");
}

int
main(void)
{
	test_base64url();
	test_json();
	test_header();
	test_headers_in_turn();
	test_parts();
	return tap_done();
}
