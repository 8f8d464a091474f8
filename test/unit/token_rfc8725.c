/*
 * token_rfc8725.c - JSON Web Token Best Current Practices, point by point
 *
 * Each test names the section of RFC 8725 that it is about. Tokens are made as an attacker would, whose own keys are good
 * ones, against an issuer with an RSA key for RS256, or with a secret. What needs rows of
 * several issuers (3.8, kid of another issuer) is in test/sql/token.sql and issuer.sql.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>

#include "plain/base64url.h"
#include "plain/claims.h"
#include "plain/guard.h"
#include "plain/jwks.h"
#include "plain/jws.h"
#include "plain/strict_json.h"
#include "tap.h"
#include "token_signing.h"

#define NOW 1795228800
#define TIMES "\"iat\":1795228740,\"exp\":1795229400"
#define CLAIMS "{\"iss\":\"https://issuer.example\",\"sub\":\"p\"," TIMES "}"
#define SECRET "a secret for tests, of 32 bytes."
#define SECRET_SET "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"YSBzZWNyZXQgZm9yIHRlc3RzLCBvZiAzMiBieXRlcy4\"}]}"
#define HS256 "{\"alg\":\"HS256\",\"kid\":\"k\"}"

static const Signing hmac = {.secret = SECRET, .secret_length = 32};
static EVP_PKEY *rsa;
static EVP_PKEY *attacker;
static char public_set[4096];
static const char *set = SECRET_SET;
static ClaimsPolicy policy = {.user_id_prefix = "", .user_claim = "sub", .audience_claim = "aud", .max_lifetime = 3600};

static char keys_text[JWKS_ARENA_SIZE(JWKS_MAX_BYTES)];
static char claims_text[CLAIMS_ARENA_SIZE(JWS_MAX_BYTES)];
static JwksSet keys;
static JwsForm form;

static const char *
verify(void)
{
	const JwksKey *chosen = NULL;
	int			found = 0;
	JwsKey	   *parsed;
	const char *why;

	for (int i = 0; i < keys.count; i++)
		if (keys.keys[i].algorithm == form.algorithm &&
			(!form.has_kid || (keys.keys[i].kid != NULL && strcmp(keys.keys[i].kid, form.kid) == 0)))
		{
			chosen = &keys.keys[i];
			found++;
		}
	if (found != 1)
		return "key";
	jws_key_read(chosen->jwk, &parsed);
	why = jws_form_verify(&form, parsed);
	jws_key_free(parsed);
	return why != NULL ? "signature" : "";
}

static const char *
read_claims(void)
{
	TextArena	arena = {claims_text, sizeof(claims_text), 0};
	char		issuer[CLAIMS_ISSUER_MAX + 1];
	struct json_t *object;
	Claims		claims;
	const char *why = claims_open(form.claims, form.claims_length, &object, issuer);

	if (why == NULL && strcmp(issuer, "https://issuer.example") != 0)
		why = "another issuer";
	if (why == NULL)
		why = claims_read(object, &policy, NOW, &arena, &claims);
	claims_close(object);
	return why != NULL ? "claims" : "";
}

/* The step that refuses it: form, key, signature, claims; "" where it is accepted. */
static const char *
judge(const char *token)
{
	TextArena	arena = {keys_text, sizeof(keys_text), 0};
	const char *why;

	if (!jwks_read(set, strlen(set), &arena, &keys))
		return "keys";
	if (jws_form_read(token, strlen(token), &form) != NULL)
		return "form";
	why = verify();
	return why[0] != '\0' ? why : read_claims();
}

static bool
stops(const char *where, const Signing *signing, const char *header, const char *claims)
{
	static char token[2 * TOKEN_MAX];
	const char *got;

	write_token(signing, header, claims, token);
	got = judge(token);
	if (strcmp(got, where) != 0)
		printf("# %s: %s, not %s\n", header, got, where);
	return strcmp(got, where) == 0;
}

static bool
stops_text(const char *where, const char *token)
{
	return strcmp(judge(token), where) == 0;
}

/* ---------- 3.1 Perform Algorithm Verification ---------- */

static void
test_none(void)
{
	static const char *const names[] = {"none", "None", "NONE", "nOnE", "nonE", "", " none", "none\\u0000", "HS256\\u0000", "none HS256"};
	char		token[TOKEN_MAX];
	char		header[128];
	bool		all = true;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"k\"}", names[i]);
		all = all && stops("form", &hmac, header, CLAIMS);
		write_parts(header, CLAIMS, token);
		all = all && stops_text("form", token);
		strcat(token, ".");
		all = all && stops_text("form", token);
	}
	tap_ok(all, "2.1, 3.1: none, however it is written, signed or not");
}

/* A public key is no secret: neither its PEM nor its DER, its modulus or its JWK makes a secret of it. */
static void
test_public_as_secret(void)
{
	BIO		   *memory = BIO_new(BIO_s_mem());
	unsigned char *der = NULL;
	unsigned char modulus[256];
	char		jwk[2048];
	char	   *pem;
	long		pem_length;
	int			der_length = i2d_PUBKEY(rsa, &der);
	Signing		with[5];
	bool		all = true;

	PEM_write_bio_PUBKEY(memory, rsa);
	pem_length = BIO_get_mem_data(memory, &pem);
	key_number(rsa, "n", modulus, sizeof(modulus));
	write_jwk(rsa, "", jwk, sizeof(jwk));
	with[0] = (Signing) {.secret = pem, .secret_length = (size_t) pem_length};
	with[1] = (Signing) {.secret = pem, .secret_length = (size_t) pem_length - 1};
	with[2] = (Signing) {.secret = (char *) der, .secret_length = (size_t) der_length};
	with[3] = (Signing) {.secret = (char *) modulus, .secret_length = sizeof(modulus)};
	with[4] = (Signing) {.secret = jwk, .secret_length = strlen(jwk)};
	set = public_set;
	for (int i = 0; i < 5; i++)
		all = all && stops("key", &with[i], HS256, CLAIMS) && stops("key", &with[i], "{\"alg\":\"HS256\"}", CLAIMS) &&
			stops("signature", &with[i], "{\"alg\":\"RS256\",\"kid\":\"k\"}", CLAIMS);
	set = SECRET_SET;
	tap_ok(all, "2.1, 3.1: a public key used as the secret of HS256");
	OPENSSL_free(der);
	BIO_free(memory);
}

static void
test_one_algorithm(void)
{
	Signing		pss = {.key = rsa, .pss = true};
	Signing		plain = {.key = rsa};

	set = public_set;
	tap_ok(stops("", &plain, "{\"alg\":\"RS256\",\"kid\":\"k\"}", CLAIMS) &&
		   stops("key", &pss, "{\"alg\":\"PS256\",\"kid\":\"k\"}", CLAIMS) &&
		   stops("signature", &pss, "{\"alg\":\"RS256\",\"kid\":\"k\"}", CLAIMS), "3.1: a key is for one algorithm");
	set = SECRET_SET;
}

/* ---------- 3.2 Use Appropriate Algorithms ---------- */

static void
test_algorithms(void)
{
	static const char *const names[] = {"HS1", "HS384", "HS512", "RS1", "RS384", "RS512", "PS384", "PS512", "ES256K", "ES384", "ES512",
		"EdDSA", "RSA1_5", "RSA-OAEP", "A128KW", "dir", "ECDH-ES", "PBES2-HS256+A128KW", "hs256", "HS256 ", "SHA256"};
	char		header[128];
	bool		all = true;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"k\"}", names[i]);
		all = all && stops("form", &hmac, header, CLAIMS);
	}
	tap_ok(all, "3.2: algorithms that nobody configured");
	tap_ok(stops("form", &hmac, "{\"kid\":\"k\"}", CLAIMS) && stops("form", &hmac, "{\"alg\":null}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":256}", CLAIMS) && stops("form", &hmac, "{\"alg\":[\"HS256\"]}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":{\"HS256\":1}}", CLAIMS) && stops("form", &hmac, "{\"Alg\":\"HS256\"}", CLAIMS),
		   "3.2: alg that is no name, or is missing");
}

/* ---------- 3.3 Validate All Cryptographic Operations ---------- */

static void
test_nesting(void)
{
	char		inner[TOKEN_MAX];

	write_token(&hmac, HS256, CLAIMS, inner);
	tap_ok(stops("claims", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"cty\":\"JWT\"}", inner), "3.3: a token inside a token is not looked into");
	strcat(inner, ".AAAA.AAAA");
	tap_ok(stops_text("form", inner), "3.3: five parts, as of an encrypted token");
	tap_ok(stops_text("form", "{\"payload\":\"e30\",\"signatures\":[]}"), "3.3: JSON serialisation");
}

/* ---------- 3.5 Ensure Cryptographic Keys Have Sufficient Entropy ---------- */

static bool
takes_secret(size_t bytes)
{
	unsigned char secret[64] = {0};
	char		k[96];
	char		text[256];
	TextArena	arena = {keys_text, sizeof(keys_text), 0};

	base64url_encode(secret, bytes, k);
	snprintf(text, sizeof(text), "{\"keys\":[{\"kty\":\"oct\",\"k\":\"%s\"}]}", k);
	return jwks_read(text, strlen(text), &arena, &keys);
}

static void
test_short_secrets(void)
{
	bool		all = true;

	for (size_t i = 0; i < 32; i++)
		all = all && !takes_secret(i);
	tap_ok(all && takes_secret(32) && takes_secret(64), "3.5: no secret under 32 bytes");
}

/* ---------- 3.6 Avoid Compression of Encryption Inputs, 3.7 Use UTF-8 ---------- */

static void
test_encodings(void)
{
	static const char deflated[] = "\x78\x9c\xab\x56\xca\x2c\x2e\x56\xb2\x52\xca\x28\x29\x29\x28\xb6\xd2\xd7";
	static const char utf16[] = "{\x01\"\x01i\x01s\x01s\x01";

	tap_ok(stops("claims", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"zip\":\"DEF\"}", deflated), "3.6: what is compressed is no JSON");
	tap_ok(stops("claims", &hmac, HS256, utf16) && stops("claims", &hmac, HS256, "\xff\xfe{}") &&
		   stops("claims", &hmac, HS256, "\xef\xbb\xbf" CLAIMS) &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"\xc3\x28\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"\xed\xa0\x80\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"\xc0\x80\"," TIMES "}") &&
		   stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"\xff\"}", CLAIMS), "3.7: UTF-8, strictly, and without a mark");
}

/* ---------- 3.8 Validate Issuer and Subject, 3.9 Use and Validate Audience ---------- */

static void
test_parties(void)
{
	tap_ok(stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example/\",\"sub\":\"p\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://Issuer.example\",\"sub\":\"p\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":[\"https://issuer.example\"],\"sub\":\"p\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"sub\":\"p\"," TIMES "}"), "3.8: iss is compared exactly");
	tap_ok(stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":{\"sub\":\"p\"}," TIMES "}"), "3.8: sub must be there");
	tap_ok(stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"aud\":\"game\"," TIMES "}"),
		   "3.9: an aud where none is configured");
	policy.audience = "game";
	tap_ok(stops("", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"aud\":[\"game\",\"x\"]," TIMES "}") &&
		   stops("claims", &hmac, HS256, CLAIMS) &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"aud\":\"other\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"aud\":[\"games\",\"Game\"]," TIMES "}"),
		   "3.9: another audience, or none");
	policy.audience = NULL;
}

/* ---------- 3.10 Do Not Trust Received Claims ---------- */

static void
test_own_keys(void)
{
	Signing		evil = {.key = attacker};
	char		jwk[2048];
	char		header[4096];
	bool		all = true;
	static const char *const pointers[] = {
		"\"jku\":\"https://evil.example/jwks.json\"", "\"jku\":\"http://127.0.0.1:80/\"", "\"jku\":\"file:///etc/passwd\"",
		"\"x5u\":\"https://evil.example/cert.pem\"", "\"x5c\":[\"MIIB\"]", "\"x5t\":\"AAAA\"", "\"x5t#S256\":\"AAAA\"",
	};

	set = public_set;
	write_jwk(attacker, ",\"alg\":\"RS256\"", jwk, sizeof(jwk));
	snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"kid\":\"k\",\"jwk\":%s}", jwk);
	all = stops("signature", &evil, header, CLAIMS);
	snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"jwk\":%s}", jwk);
	all = all && stops("signature", &evil, header, CLAIMS);
	for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++)
	{
		snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"kid\":\"k\",%s}", pointers[i]);
		all = all && stops("signature", &evil, header, CLAIMS);
	}
	tap_ok(all, "3.10: jwk, jku, x5u and x5c are not followed");
	set = SECRET_SET;
}

static void
test_kid(void)
{
	static const char *const kids[] = {
		"../../../../dev/null", "/dev/null", "k' OR '1'='1", "k'; DELETE FROM scoreboard.jwt_key; --", "K", "k ", " k", "", "k\\n", "*", "%", "kk",
		"https://evil.example/k", "$(id)", "`id`", "|id", "\\u006b\\u200b",
	};
	char		header[1024];
	char		wide[600] = "";
	bool		all = true;

	for (size_t i = 0; i < sizeof(kids) / sizeof(kids[0]); i++)
	{
		snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%s\"}", kids[i]);
		all = all && stops("key", &hmac, header, CLAIMS);
	}
	tap_ok(all, "3.10: a kid is a name, and nothing is looked up by it but a key of the issuer");
	tap_ok(stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\\u0000\"}", CLAIMS) && stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":{\"k\":1}}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":[\"k\"]}", CLAIMS), "3.10: it is a string without NUL");
	memset(wide, 'k', 256);
	snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%s\"}", wide);
	tap_ok(stops("form", &hmac, header, CLAIMS), "3.10: of at most 255 bytes");
	tap_ok(stops("", &hmac, "{\"alg\":\"HS256\",\"kid\":\"\\u006b\"}", CLAIMS), "an escaped one is the same");
}

/* ---------- 3.11 Use Explicit Typing, 3.12 Use Mutually Exclusive Validation Rules ---------- */

static void
test_types(void)
{
	static const char *const types[] = {"\"JWE\"", "\"jose\"", "\"jwt\"", "\"application/jwt\"", "\"secevent+jwt\"", "\"dpop+jwt\"", "\"logout+jwt\"", "\"\"", "7", "null", "[\"JWT\"]"};
	static const RequiredClaim use = {"token_use", "access", "it must be an access token"};
	char		header[128];
	bool		all = true;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"k\",\"typ\":%s}", types[i]);
		all = all && stops("form", &hmac, header, CLAIMS);
	}
	tap_ok(all, "3.11: another kind of token");
	tap_ok(stops("", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"typ\":\"at+jwt\"}", CLAIMS), "3.11: an access token by its type");
	policy.required = &use;
	policy.required_count = 1;
	tap_ok(stops("", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"token_use\":\"access\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"token_use\":\"id\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, CLAIMS), "3.12: a claim that tells kinds of tokens apart");
	policy.required_count = 0;
}

/* ---------- what RFC 7515 and 8725 leave to the reader: one text, one meaning ---------- */

static void
test_duplicates(void)
{
	tap_ok(stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"alg\":\"HS256\"}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":\"none\",\"\\u0061lg\":\"HS256\",\"kid\":\"k\"}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"x\":{\"y\":[{\"z\":1,\"z\":2}]}}", CLAIMS) &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"sub\":\"q\"," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"a\":[[{\"b\":{\"c\":1,\"c\":1}}]]," TIMES "}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://evil.example\",\"iss\":\"https://issuer.example\",\"sub\":\"p\"," TIMES "}"),
		   "2.4, RFC 7515 4: a member twice, at any depth, in header or claims");
	tap_ok(stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"crit\":[\"exp\"],\"exp\":1}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"crit\":[]}", CLAIMS) && stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"crit\":false}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"b64\":false,\"crit\":[\"b64\"]}", CLAIMS) &&
		   stops("form", &hmac, "{\"alg\":\"HS256\",\"kid\":\"k\",\"b64\":true}", CLAIMS), "RFC 7515 4.1.11, RFC 7797: crit and b64");
}

static void
test_sizes(void)
{
	static char claims[TOKEN_MAX];
	static char token[2 * TOKEN_MAX];
	int			used = sprintf(claims, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\"," TIMES ",\"x\":\"");

	memset(claims + used, 'x', sizeof(claims) - (size_t) used);
	strcpy(claims + 6033, "\"}");
	write_token(&hmac, HS256, claims, token);
	tap_ok(strlen(token) <= 8192 && strlen(token) > 8100 && stops_text("", token), "8 KiB are read");
	memset(claims + 6033, 'x', 100);
	strcpy(claims + 6133, "\"}");
	tap_ok(stops("form", &hmac, HS256, claims), "a little more isn't");

	used = sprintf(claims, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\"," TIMES ",\"x\":");
	memset(claims + used, '[', 31);
	memset(claims + used + 31, ']', 31);
	strcpy(claims + used + 62, "}");
	tap_ok(stops("", &hmac, HS256, claims), "32 levels are read");
	memset(claims + used, '[', 2000);
	memset(claims + used + 2000, ']', 2000);
	strcpy(claims + used + 4000, "}");
	tap_ok(stops("claims", &hmac, HS256, claims), "2001 aren't");
}

/* Texts around and inside a good token. */
static void
test_spellings(void)
{
	static const char *const pieces[] = {" ", "\n", "\r\n", ".", "=", "==", "A", "%20", "\t", ",", ";"};
	char		good[TOKEN_MAX];
	char		bad[TOKEN_MAX + 16];
	bool		all = true;

	write_token(&hmac, HS256, CLAIMS, good);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
	{
		snprintf(bad, sizeof(bad), "%s%s", good, pieces[i]);
		all = all && !stops_text("", bad);
		snprintf(bad, sizeof(bad), "%s%s", pieces[i], good);
		all = all && !stops_text("", bad);
		for (const char *dot = strchr(good, '.'); dot != NULL; dot = strchr(dot + 1, '.'))
		{
			snprintf(bad, sizeof(bad), "%.*s%s%s", (int) (dot - good), good, pieces[i], dot);
			all = all && !stops_text("", bad);
			snprintf(bad, sizeof(bad), "%.*s%s%s", (int) (dot + 1 - good), good, pieces[i], dot + 1);
			all = all && !stops_text("", bad);
		}
	}
	tap_ok(all && stops_text("", good), "trailing bytes, blanks, padding, more dots");
}

/* The last digit of 32 bytes has four spellings in a lenient reader, and + and / are those of - and _ in another. */
static void
test_base64url(void)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char		token[TOKEN_MAX];
	char	   *last;
	char		right;
	int			good = 0;
	int			without = 0;

	write_token(&hmac, HS256, CLAIMS, token);
	last = token + strlen(token) - 1;
	right = *last;
	for (const char *digit = digits; *digit != '\0'; digit++)
	{
		*last = *digit;
		good += stops_text("", token);
		without += stops_text("form", token);
	}
	*last = right;
	tap_ok(good == 1 && without == 48, "one spelling of the last digit");
	last[1] = '=';
	last[2] = '\0';
	tap_ok(stops_text("form", token), "no padding");
}

/* Leeway forgives a clock, and nothing else. */
static void
test_times(void)
{
	tap_ok(stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\"}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"exp\":\"1795229400\"}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"exp\":1795229400.5}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"exp\":1.7952294e9}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"exp\":18446744075504781016}") &&
		   stops("claims", &hmac, HS256, "{\"iss\":\"https://issuer.example\",\"sub\":\"p\",\"exp\":-1}"),
		   "RFC 7519 4.1.4: exp is there, and an integer in range");
}

int
main(void)
{
	Signing		genuine;
	char		jwk[2048];

	rsa = make_rsa_key(2048, 65537);
	attacker = make_rsa_key(2048, 65537);
	genuine = (Signing) {.key = rsa};
	write_jwk(rsa, ",\"alg\":\"RS256\",\"kid\":\"k\"", jwk, sizeof(jwk));
	snprintf(public_set, sizeof(public_set), "{\"keys\":[%s]}", jwk);

	tap_ok(stops("", &hmac, HS256, CLAIMS), "what the others are made from is good: HS256");
	set = public_set;
	tap_ok(stops("", &genuine, "{\"alg\":\"RS256\",\"kid\":\"k\"}", CLAIMS), "and RS256");
	set = SECRET_SET;

	test_none();
	test_public_as_secret();
	test_one_algorithm();
	test_algorithms();
	test_nesting();
	test_short_secrets();
	test_encodings();
	test_parties();
	test_own_keys();
	test_kid();
	test_types();
	test_duplicates();
	test_sizes();
	test_spellings();
	test_base64url();
	test_times();
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(attacker);
	return tap_done();
}
