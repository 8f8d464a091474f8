/*
 * token_claims.c - claims against the rules of their issuer
 *
 * Build: src/plain/guard.c src/plain/strict_json.c src/plain/claims.c -lcjose
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include "plain/claims.h"
#include "tap.h"

#define NOW 1000000
#define SUB "\"sub\":\"p\""

static const ClaimsPolicy plain = {.user_id_prefix = "", .user_claim = "sub", .audience_claim = "aud", .max_lifetime = 3600};
static char texts[CLAIMS_ARENA_SIZE(8192)];
static Claims claims;

static bool
accepts_as(const char *text, const ClaimsPolicy *policy)
{
	TextArena	arena = {texts, CLAIMS_ARENA_SIZE(strlen(text)), 0};
	char		issuer[CLAIMS_ISSUER_MAX + 1];
	struct json_t *object;
	bool		accepted;

	claims_open(text, strlen(text), &object, issuer);	/* iss is test_issuer's matter */
	accepted = object != NULL && claims_read(object, policy, NOW, &arena, &claims) == NULL;
	claims_close(object);
	return accepted;
}

static bool
accepts(const char *text)
{
	return accepts_as(text, &plain);
}

static void
test_times(void)
{
	tap_ok(accepts("{" SUB ",\"exp\":1000001}") && claims.expires_at == 1000001, "exp is all that is needed");
	tap_ok(!accepts("{" SUB "}") && !accepts("{" SUB ",\"exp\":null}"), "exp is required");
	tap_ok(accepts("{" SUB ",\"exp\":999971}") && !accepts("{" SUB ",\"exp\":999970}"),
		   "30 seconds of leeway after exp");
	tap_ok(accepts("{" SUB ",\"exp\":1000100,\"nbf\":1000030}") &&
		   !accepts("{" SUB ",\"exp\":1000100,\"nbf\":1000031}"), "and before nbf");
	tap_ok(accepts("{" SUB ",\"exp\":1000100,\"iat\":1000030}") &&
		   !accepts("{" SUB ",\"exp\":1000100,\"iat\":1000031}"), "and before iat");
	tap_ok(accepts("{" SUB ",\"exp\":1003600}") && !accepts("{" SUB ",\"exp\":1003601}"),
		   "without iat the lifetime counts from now, without leeway");
	tap_ok(accepts("{" SUB ",\"exp\":1003500,\"iat\":999900}") &&
		   !accepts("{" SUB ",\"exp\":1003501,\"iat\":999900}"), "with iat from there");
	tap_ok(!accepts("{" SUB ",\"exp\":9007199254740991,\"iat\":999999}") &&
		   !accepts("{" SUB ",\"exp\":9007199254740992}") &&
		   !accepts("{" SUB ",\"exp\":9223372036854775807}") &&
		   !accepts("{" SUB ",\"exp\":99999999999999999999}"), "a huge exp is refused");
	tap_ok(!accepts("{" SUB ",\"exp\":1000001.0}") && !accepts("{" SUB ",\"exp\":1e6}") &&
		   !accepts("{" SUB ",\"exp\":\"1000001\"}") && !accepts("{" SUB ",\"exp\":true}"),
		   "exp must be an integer");
	tap_ok(!accepts("{" SUB ",\"exp\":1000001,\"nbf\":-1}") &&
		   !accepts("{" SUB ",\"exp\":1000001,\"iat\":\"0\"}"), "so must nbf and iat, and not negative");
}

static void
test_audience(void)
{
	ClaimsPolicy game = plain;

	game.audience = "game";
	tap_ok(!accepts("{" SUB ",\"exp\":1000001,\"aud\":\"game\"}") &&
		   !accepts("{" SUB ",\"exp\":1000001,\"aud\":[]}") &&
		   !accepts("{" SUB ",\"exp\":1000001,\"aud\":null}"), "aud is refused where none is named");
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"aud\":\"game\"}", &game) &&
		   accepts_as("{" SUB ",\"exp\":1000001,\"aud\":[\"x\",\"game\"]}", &game), "ours, or ours among others");
	tap_ok(!accepts_as("{" SUB ",\"exp\":1000001}", &game), "missing where one is named");
	tap_ok(!accepts_as("{" SUB ",\"exp\":1000001,\"aud\":\"Game\"}", &game) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"aud\":\"games\"}", &game) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"aud\":[]}", &game) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"aud\":{\"game\":1}}", &game) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"aud\":[\"game\",7]}", &game), "another, or ill-formed");
}

/* A sub of so many times this text. */
static bool
accepts_sub(const char *text, int times, const ClaimsPolicy *policy)
{
	char		json[8192] = "{\"exp\":1000001,\"sub\":\"";

	for (int i = 0; i < times; i++)
		strcat(json, text);
	strcat(json, "\"}");
	return accepts_as(json, policy);
}

static void
test_user_id(void)
{
	ClaimsPolicy prefixed = plain;
	ClaimsPolicy other = plain;

	prefixed.user_id_prefix = "app:";
	other.user_claim = "uid";
	tap_ok(accepts_sub("p", 1, &prefixed) && strcmp(claims.user_id, "app:p") == 0, "the prefix stands before it");
	tap_ok(accepts_sub("p", 255, &plain) && !accepts_sub("p", 256, &plain), "255 characters at most");
	tap_ok(accepts_sub("p", 251, &prefixed) && !accepts_sub("p", 252, &prefixed), "with the prefix");
	tap_ok(accepts_sub("\xf0\x9f\x8f\x86", 255, &plain) && strlen(claims.user_id) == 1020 &&
		   !accepts_sub("\xf0\x9f\x8f\x86", 256, &plain), "characters, not bytes");
	tap_ok(!accepts_sub("", 1, &plain) && !accepts_sub("", 1, &prefixed), "empty is refused");
	tap_ok(!accepts_sub("\\u001f", 1, &plain) && !accepts_sub("\\u007f", 1, &plain) &&
		   !accepts_sub("\\u0080", 1, &plain) && !accepts_sub("\xc2\x9f", 1, &plain) &&
		   !accepts_sub("\\n", 1, &plain), "control characters are refused");
	tap_ok(accepts_sub("\xc2\xa0", 1, &plain) && accepts_sub("\xc3\x80", 1, &plain), "their neighbours are not");
	tap_ok(!accepts("{\"exp\":1000001}") && !accepts("{\"exp\":1000001,\"sub\":7}") &&
		   !accepts("{\"exp\":1000001,\"sub\":[\"p\"]}"), "it must be a string");
	tap_ok(accepts_as("{\"exp\":1000001,\"sub\":\"a\",\"uid\":\"b\"}", &other) &&
		   strcmp(claims.user_id, "b") == 0 && !accepts_as("{\"exp\":1000001,\"sub\":\"a\"}", &other),
		   "the issuer says which claim");
}

static void
test_mapped(void)
{
	ClaimsPolicy policy = plain;

	policy.name_claim = "name";
	policy.avatar_claim = "picture";
	policy.permissions_claim = "scope";
	tap_ok(accepts("{" SUB ",\"exp\":1000001,\"name\":\"Ada\",\"scope\":\"a\"}") &&
		   claims.display_name == NULL && claims.permission_count == 0, "what isn't mapped isn't read");
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"name\":\"Ada\",\"picture\":\"https://x/\"}", &policy) &&
		   strcmp(claims.display_name, "Ada") == 0 && strcmp(claims.avatar_url, "https://x/") == 0,
		   "name and picture");
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"name\":7,\"picture\":null,\"scope\":{}}", &policy) &&
		   claims.display_name == NULL && claims.avatar_url == NULL && claims.permission_count == 0,
		   "no strings: as if they weren't there");
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"scope\":\" bonus  admin \"}", &policy) &&
		   claims.permission_count == 2 && memcmp(claims.permissions, "bonus\0admin", 12) == 0,
		   "permissions as a scope");
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"scope\":[\"bonus\",7,\"\",\"a b\"]}", &policy) &&
		   claims.permission_count == 2 && memcmp(claims.permissions, "bonus\0a b", 10) == 0,
		   "permissions as an array");
}

/* What a provider puts elsewhere: its audience, a kind of token, permissions inside an object. */
static void
test_elsewhere(void)
{
	static const RequiredClaim use[] = {{"token_use", "access", "access tokens only"}, {"a.b", "c", "a.b must be c"}};
	ClaimsPolicy policy = plain;

	policy.audience = "game";
	policy.audience_claim = "client_id";
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"client_id\":\"game\"}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"client_id\":\"other\"}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"client_id\":null}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001}", &policy), "the audience in another claim than aud");
	tap_ok(!accepts_as("{" SUB ",\"exp\":1000001,\"client_id\":\"game\",\"aud\":\"game\"}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"aud\":\"game\"}", &policy), "not beside an aud");

	policy = plain;
	policy.required = use;
	policy.required_count = 1;
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"access\"}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"id\"}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":[\"access\"]}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"access\\u0020\"}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001}", &policy), "a claim that must have a value");
	policy.required_count = 2;
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"access\",\"a\":{\"b\":\"c\"}}", &policy) &&
		   accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"access\",\"a.b\":\"c\",\"a\":{\"b\":\"d\"}}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"access\",\"a\":{\"b\":\"d\"}}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"access\",\"a\":[\"b\"]}", &policy) &&
		   !accepts_as("{" SUB ",\"exp\":1000001,\"token_use\":\"access\",\"a\":\"b\"}", &policy),
		   "a name with dots is a member's, or else the way to one");

	policy = plain;
	policy.permissions_claim = "realm_access.roles";
	tap_ok(accepts_as("{" SUB ",\"exp\":1000001,\"realm_access\":{\"roles\":[\"bonus\",\"x\"]}}", &policy) &&
		   claims.permission_count == 2, "permissions inside an object");
}

/* All mapped claims are one and the same that fills the text: the arena's size must do. */
static void
test_arena(void)
{
	ClaimsPolicy policy = plain;
	char		json[8193];
	size_t		used = (size_t) sprintf(json, "{" SUB ",\"exp\":1000001,\"x\":\"");
	size_t		end = sizeof(json) - 3;

	policy.name_claim = policy.avatar_claim = policy.permissions_claim = "x";
	for (size_t i = used; i < end; i++)
		json[i] = i % 2 == 0 ? 'a' : ' ';
	strcpy(json + end, "\"}");
	tap_ok(strlen(json) == 8192 && accepts_as(json, &policy) && claims.permission_count > 4000,
		   "8 KiB of claims fit the arena three times over");
}

static char issuer_read[CLAIMS_ISSUER_MAX + 1];

static bool
reads_issuer(const char *text)
{
	struct json_t *object;
	bool		reads = claims_open(text, strlen(text), &object, issuer_read) == NULL;

	claims_close(object);
	return reads;
}

static void
test_issuer(void)
{
	tap_ok(reads_issuer("{\"iss\":\"https://issuer.example\"}") &&
		   strcmp(issuer_read, "https://issuer.example") == 0, "iss is read");
	tap_ok(!reads_issuer("{}") && !reads_issuer("{\"iss\":\"\"}") &&
		   !reads_issuer("{\"iss\":7}") && !reads_issuer("[]"),
		   "it must be a string that is not empty");
}

int
main(void)
{
	test_times();
	test_audience();
	test_user_id();
	test_mapped();
	test_elsewhere();
	test_arena();
	test_issuer();
	return tap_done();
}
