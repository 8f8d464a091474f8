/*
 * token_fuzz.c - tokens, claims, key sets, receipts and request headers against what must hold for every text
 *
 * An input's first character says what the rest is: t a token; c a header, a line feed and claims, which are
 * encoded and signed here, so that what stands behind a signature is reached; k a key set; r a receipt; w the
 * fields of a receipt, a line each; m what was meant as a receipt; d and e fields, and what else was signed; h a request's
 * headers. Inputs are those of test/fuzz/corpus/token_fuzz, spoiled in every way. Each is in memory of exactly its size; built with AddressSanitizer and UBSan.
 *
 *     token_fuzz [--seed N] [--seconds N] [--case N] [--file NAME]
 *
 * FUZZ_SECONDS says how long, too. A failure names its case, and --case runs that one alone. With clang's libFuzzer,
 * which looks for paths by itself: `make fuzz FUZZ=token`.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "mistakes.h"
#include "plain/base64url.h"
#include "plain/claims.h"
#include "plain/guard.h"
#include "plain/jwks.h"
#include "plain/jws.h"
#include "plain/receipt_form.h"
#include "plain/request_headers.h"
#include "plain/strict_json.h"

#define CORPUS "test/fuzz/corpus/token_fuzz"
#define CORPUS_MAX 1000
#define INPUT_MAX 12000
#define NOW 1795228800
#define SECRET "scoreboard test secret, 32 bytes"
#define SECRET_SET "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"h1\",\"k\":\"c2NvcmVib2FyZCB0ZXN0IHNlY3JldCwgMzIgYnl0ZXM\"}]}"

typedef struct Input
{
	char		bytes[INPUT_MAX];
	size_t		length;
} Input;

static Input *corpus[CORPUS_MAX];
static int	corpus_count = 0;

/* Keys that tokens of the corpus are signed with: those of its key sets that are alone in their line's file. */
static JwsKey *keys[CORPUS_MAX];
static int	key_count = 0;

/* ---------------------------------------------------------------------------
 * What must hold
 * ------------------------------------------------------------------------- */

/* What was decoded is written in one way only. */
static bool
is_canonical(const char *text, size_t length)
{
	unsigned char bytes[JWS_MAX_BYTES];
	char		again[BASE64URL_LENGTH(JWS_MAX_BYTES) + 1];
	size_t		decoded;

	if (!base64url_decode(text, length, bytes, sizeof(bytes), &decoded))
		return false;
	base64url_encode(bytes, decoded, again);
	return strlen(again) == length && memcmp(again, text, length) == 0;
}

static const char *
check_form(const JwsForm *form, const char *token, size_t length)
{
	if (form->header != token || form->payload != token + form->header_length + 1 ||
		form->signature != form->payload + form->payload_length + 1 ||
		form->signature + form->signature_length != token + length)
		return "the parts of a token are not all of it";
	if (!is_canonical(form->header, form->header_length) || !is_canonical(form->payload, form->payload_length) ||
		!is_canonical(form->signature, form->signature_length))
		return "a part of a token has another spelling";
	if (form->algorithm >= JWS_ALGORITHMS || strlen(form->kid) > JWS_KID_MAX || (!form->has_kid && form->kid[0] != '\0'))
		return "a header that is none";
	return NULL;
}

/* What is signed in the corpus: nobody here has the private keys to anything else. */
static bool
is_signed(const JwsForm *form)
{
	size_t		length = form->header_length + 1 + form->payload_length;

	for (int i = 0; i < corpus_count; i++)
		if (corpus[i]->bytes[0] == 't' && corpus[i]->length > length + 1 &&
			memcmp(corpus[i]->bytes + 1, form->header, length) == 0 && corpus[i]->bytes[1 + length] == '.')
			return true;
	return false;
}

static const char *
check_token(const char *token, size_t length)
{
	static JwsForm form;
	const char *why = jws_form_read(token, length, &form);

	if (why == guard_no_memory)
		return "there was memory";
	if (why != NULL)
		return NULL;
	why = check_form(&form, token, length);
	for (int i = 0; i < key_count && why == NULL; i++)
		if (jws_form_verify(&form, keys[i]) == NULL && !is_signed(&form))
			why = "a signature for what was never signed";
	return why;
}

/* 1 to 255 characters of UTF-8 without control characters, as the database takes it. */
static bool
good_user_id(const char *text)
{
	size_t		characters = 0;

	for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c++)
	{
		if (*c < 0x20 || *c == 0x7F || (*c == 0xC2 && c[1] < 0xA0))
			return false;
		characters += (*c & 0xC0) != 0x80;
	}
	return characters >= 1 && characters <= CLAIMS_USER_ID_MAX;
}

static bool
inside(const TextArena *arena, const char *text)
{
	return text == NULL || (text >= arena->data && text + strlen(text) < arena->data + arena->used);
}

static const char *
check_identity(const Claims *claims, const TextArena *arena, const ClaimsPolicy *policy)
{
	const char *permission = claims->permissions;

	if (strncmp(claims->user_id, policy->user_id_prefix, strlen(policy->user_id_prefix)) != 0 || !good_user_id(claims->user_id))
		return "a user_id that is none";
	if (claims->expires_at + CLAIMS_LEEWAY <= NOW || claims->expires_at > NOW + CLAIMS_LEEWAY + policy->max_lifetime)
		return "a token that lives too long, or no more";
	if (!inside(arena, claims->user_id) || !inside(arena, claims->display_name) || !inside(arena, claims->avatar_url))
		return "a text outside of the arena";
	for (int i = 0; i < claims->permission_count; i++)
	{
		if (!inside(arena, permission) || permission[0] == '\0')
			return "a permission that is none";
		permission += strlen(permission) + 1;
	}
	return NULL;
}

static const char *
check_claims(const char *text, size_t length)
{
	static const RequiredClaim use = {"token_use", "access", "it must be access"};
	static const ClaimsPolicy policies[] = {
		{.user_id_prefix = "", .user_claim = "sub", .audience_claim = "aud", .max_lifetime = 3600},
		{.user_id_prefix = "app:", .user_claim = "sub", .audience = "game", .audience_claim = "aud", .max_lifetime = 60,
		.name_claim = "user_metadata.name", .avatar_claim = "picture", .permissions_claim = "realm_access.roles"},
		{.user_id_prefix = "c", .user_claim = "a.b.c", .audience = "game", .audience_claim = "client_id", .max_lifetime = 86400,
		.name_claim = "sub", .permissions_claim = "scope", .required = &use, .required_count = 1},
	};
	char		issuer[CLAIMS_ISSUER_MAX + 1];
	struct json_t *object;
	const char *why = claims_open(text, length, &object, issuer);
	const char *wrong = why == guard_no_memory ? "there was memory" : NULL;

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]) && why == NULL && wrong == NULL; i++)
	{
		TextArena	arena = {malloc(CLAIMS_ARENA_SIZE(length)), CLAIMS_ARENA_SIZE(length), 0};
		Claims		claims;
		const char *refused = claims_read(object, &policies[i], NOW, &arena, &claims);

		if (refused == NULL)
			wrong = check_identity(&claims, &arena, &policies[i]);
		else if (strstr(refused, "too long") != NULL)
			wrong = "the arena was too small";
		free(arena.data);
	}
	claims_close(object);
	return wrong;
}

/* Encodes and signs the two parts; where the form is a token's, its signature must be right and its claims are read. */
static const char *
check_signed(const char *text, size_t length)
{
	static JwsForm form;
	const char *line = memchr(text, '\n', length);
	char		token[2 * BASE64URL_LENGTH(INPUT_MAX) + 64];
	unsigned char mac[32];
	size_t		used;

	if (line == NULL)
		return NULL;
	base64url_encode((const unsigned char *) text, (size_t) (line - text), token);
	used = strlen(token);
	token[used++] = '.';
	base64url_encode((const unsigned char *) line + 1, length - (size_t) (line + 1 - text), token + used);
	used = strlen(token);
	HMAC(EVP_sha256(), SECRET, 32, (const unsigned char *) token, used, mac, NULL);
	token[used++] = '.';
	base64url_encode(mac, sizeof(mac), token + used);
	if (jws_form_read(token, strlen(token), &form) != NULL || form.algorithm != JWS_HS256)
		return NULL;
	if (form.claims_length != length - (size_t) (line + 1 - text) || memcmp(form.claims, line + 1, form.claims_length) != 0)
		return "the claims are not what was signed";
	if (jws_form_verify(&form, keys[0]) != NULL)
		return "a right signature is refused";
	return check_claims(form.claims, form.claims_length);
}

/* What is stored of a key is read again, to the same. */
static const char *
check_stored(const JwksKey *key)
{
	static JwksSet again;
	char		text[8192];
	char		room[JWKS_ARENA_SIZE(sizeof(text))];
	TextArena	arena = {room, sizeof(room), 0};

	snprintf(text, sizeof(text), "{\"keys\":[%s]}", key->jwk);
	if (!jwks_read(text, strlen(text), &arena, &again) || again.count != 1)
		return "a stored key is not read again";
	if (strcmp(again.keys[0].jwk, key->jwk) != 0 || again.keys[0].algorithm != key->algorithm)
		return "a stored key is another when it is read again";
	if (strstr(key->jwk, "\"d\"") != NULL || (key->algorithm != JWS_HS256 && strstr(key->jwk, "\"k\"") != NULL))
		return "a secret is stored with a public key";
	return NULL;
}

static const char *
check_keys(const char *text, size_t length)
{
	static JwksSet set;
	TextArena	arena = {.size = JWKS_ARENA_SIZE(length)};
	const char *wrong = NULL;

	arena.data = malloc(arena.size);
	if (jwks_read(text, length, &arena, &set))
	{
		for (int i = 0; i < set.count && wrong == NULL; i++)
			wrong = check_stored(&set.keys[i]);
	}
	else if (set.why[0] == '\0' || set.no_memory || strstr(set.why, "too long") != NULL)
		wrong = "a key set refused without a reason";
	free(arena.data);
	return wrong;
}

/* A receipt that is read is what its parts are written as. */
static const char *
check_receipt(const char *text, size_t length)
{
	char	   *receipt = malloc(length + 1);
	char		again[RECEIPT_MAX_BYTES + 200] = "";
	ReceiptPart parts[RECEIPT_MAX_PARTS];
	size_t		used = 0;
	int			count;
	bool		same;

	memcpy(receipt, text, length);
	receipt[length] = '\0';
	count = receipt_form_read(receipt, parts);
	for (int i = 0; i < count; i++)
	{
		used += (size_t) sprintf(again + used, "%sv1:%s:", i > 0 ? " " : "", parts[i].key_id);
		for (int k = 0; k < RECEIPT_MAC_BYTES; k++)
			used += (size_t) sprintf(again + used, "%02x", parts[i].mac[k]);
	}
	same = count == 0 || strcmp(again, receipt) == 0;
	free(receipt);
	return same ? NULL : "a receipt has another spelling";
}

static const char *
next_line(char **rest)
{
	return *rest != NULL ? strsep(rest, "\n") : "";
}

/* No field can pass for a part of its neighbours: lines are the fields. */
static const char *
check_fields(const char *text, size_t length)
{
	char	   *copy = strndup(text, length);
	char	   *rest = copy;
	ReceiptFields fields = {.has_points = true, .has_subscore = length % 2 == 0, .points = INT64_MIN, .subscore = -1, .issued_at = INT64_MAX};
	char	   *out = malloc(RECEIPT_SIGNED_MAX);
	const char *wanted[6];
	const char *wrong = NULL;
	size_t		used;
	char	   *lines;

	fields.audience = next_line(&rest);
	fields.board = next_line(&rest);
	fields.user_id = next_line(&rest);
	fields.action_type = next_line(&rest);
	fields.action_id = next_line(&rest);
	fields.detail = rest;
	memcpy(wanted, (const char *[6]) {"scoreboard-receipt-v1", fields.audience, fields.board, fields.user_id, fields.action_type, fields.action_id}, sizeof(wanted));
	used = receipt_form_write(&fields, out);
	lines = strndup(out, used);
	rest = lines;
	for (int i = 0; i < 6 && used > 0 && wrong == NULL; i++)
		if (strcmp(next_line(&rest), wanted[i]) != 0)
			wrong = "a field is signed as something else";
	if (used > 0 && wrong == NULL && strcmp(next_line(&rest), "-9223372036854775808") != 0)
		wrong = "points are signed as something else";
	free(lines);
	free(out);
	free(copy);
	return wrong;
}

static const char *
check_headers(const char *text, size_t length)
{
	RequestHeaders headers;

	for (int hops = 0; hops < 3; hops++)
		if (request_headers_read(text, length, hops, &headers) == NULL &&
			(memchr(headers.idempotency_key, '\0', sizeof(headers.idempotency_key)) == NULL ||
			 memchr(headers.request_id, '\0', sizeof(headers.request_id)) == NULL ||
			 memchr(headers.client_address, '\0', sizeof(headers.client_address)) == NULL))
			return "a header without its end";
	return NULL;
}

static const char *
check(const char *bytes, size_t length)
{
	char	   *copy;
	const char *wrong = NULL;

	if (length == 0)
		return NULL;
	copy = malloc(length);
	memcpy(copy, bytes + 1, length - 1);
	switch (bytes[0])
	{
		case 't':
			wrong = check_token(copy, length - 1);
			break;
		case 'c':
			wrong = check_signed(copy, length - 1);
			break;
		case 'k':
			wrong = check_keys(copy, length - 1);
			break;
		case 'r':
			wrong = check_receipt(copy, length - 1);
			break;
		case 'w':
			wrong = check_fields(copy, length - 1);
			break;
		case 'm':
			wrong = check_mending(copy, length - 1);
			break;
		case 'd':
			wrong = check_difference(copy, length - 1);
			break;
		case 'e':
			wrong = check_mistakes(copy, length - 1);
			break;
		case 'h':
			wrong = check_headers(copy, length - 1);
			break;
	}
	free(copy);
	if (wrong == NULL && ERR_peek_error() != 0)
		wrong = "OpenSSL's error queue is not empty";
	return wrong;
}

/* ---------------------------------------------------------------------------
 * The corpus
 * ------------------------------------------------------------------------- */

static void
add_keys(const char *text, size_t length)
{
	static JwksSet set;
	static char room[JWKS_ARENA_SIZE(INPUT_MAX)];
	TextArena	arena = {room, sizeof(room), 0};

	if (!jwks_read(text, length, &arena, &set))
		return;
	for (int i = 0; i < set.count && key_count < CORPUS_MAX; i++)
		if (jws_key_read(set.keys[i].jwk, &keys[key_count]) == NULL)
			key_count++;
}

static Input *
read_input(const char *path)
{
	FILE	   *file = fopen(path, "rb");
	Input	   *input;

	if (file == NULL)
		return NULL;
	input = calloc(1, sizeof(Input));
	input->length = fread(input->bytes, 1, INPUT_MAX, file);
	fclose(file);
	return input;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
load_corpus(void)
{
	struct dirent **entries;
	int			count = scandir(CORPUS, &entries, NULL, by_name);

	add_keys(SECRET_SET, strlen(SECRET_SET));
	for (int i = 0; i < count; i++)
	{
		char		path[512];
		Input	   *input = NULL;

		snprintf(path, sizeof(path), "%s/%s", CORPUS, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && corpus_count < CORPUS_MAX)
			input = read_input(path);
		if (input != NULL)
		{
			corpus[corpus_count++] = input;
			if (strncmp(entries[i]->d_name, "keys", 4) == 0)
				add_keys(input->bytes + 1, input->length - 1);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return corpus_count;
}

#ifdef LIBFUZZER

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern int	LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void) argc;
	(void) argv;
	if (load_corpus() == 0)
		fprintf(stderr, "no corpus at " CORPUS ": tokens can't be known as forged\n");
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *wrong = size <= INPUT_MAX ? check((const char *) data, size) : NULL;

	if (wrong == NULL)
		return 0;
	fprintf(stderr, "%s\n", wrong);
	abort();
}

#else

/* ---------------------------------------------------------------------------
 * Inputs
 * ------------------------------------------------------------------------- */

static const char *const pieces[] = {
	"\"alg\":", "\"HS256\"", "\"RS256\"", "\"none\"", "\"kid\":", "\"typ\":", "\"JWT\"", "\"crit\":[]", "\"b64\":false", "\"iss\":\"i\"", "\"sub\":", "\"exp\":1795229400",
	"\"nbf\":", "\"iat\":", "\"aud\":", "\"game\"", "[", "]", "{", "}", ",", ":", "\"", "\\u0000", "\\u0061", "\\ud800", "\\", "null", "true", "1e9", "-1", "0", "9007199254740991",
	"9007199254740992", "9223372036854775808", "1795228800", "\xef\xbb\xbf", "\xc2\x80", "\xf0\x9f\x8f\x86", "\xff", "\n", " ", ".", "=", "-", "_", "A", "eyJhbGciOiJIUzI1NiJ9.", "e30",
	"\"kty\":\"oct\"", "\"kty\":\"RSA\"", "\"kty\":\"EC\"", "\"crv\":\"P-256\"", "\"d\":\"AQAB\"", "\"k\":", "\"n\":", "\"e\":\"AQAB\"", "\"use\":\"sig\"", "\"key_ops\":[\"verify\"]",
	"v1:", "v1:k:", "V1:k:", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "ABCDEF", ",", "\r\n", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "\"x-forwarded-for\":", "\"idempotency-key\":", "\"realm_access\":{\"roles\":[", "\"scope\":\"a b\"",
};

static uint64_t random_state;

static uint64_t
below(uint64_t limit)
{
	uint64_t	z = (random_state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return (z ^ (z >> 31)) % limit;
}

/* Puts bytes in the place of so many that are there. */
static void
replace(Input *input, size_t at, size_t gone, const char *bytes, size_t length)
{
	if (input->length - gone + length > INPUT_MAX)
		return;
	memmove(input->bytes + at + length, input->bytes + at + gone, input->length - at - gone);
	memcpy(input->bytes + at, bytes, length);
	input->length += length - gone;
}

static void
splice(Input *input, size_t at, size_t gone)
{
	const Input *other = corpus[below((uint64_t) corpus_count)];
	size_t		from = (size_t) below(other->length);
	size_t		length = (size_t) below(other->length - from) + 1;

	replace(input, at, gone, other->bytes + from, length);
}

/* The first character stays. */
static void
spoil(Input *input)
{
	size_t		at = 1 + (size_t) below(input->length);
	size_t		most = input->length - at;
	size_t		gone = most > 0 && below(2) ? (size_t) below(most < 40 ? most : 40) : 0;
	const char *piece = pieces[below(sizeof(pieces) / sizeof(pieces[0]))];
	char		byte = (char) below(256);
	char		copy[64];

	switch (below(7))
	{
		case 0:
			if (most > 0)
				input->bytes[at] ^= (char) (1 << below(8));
			break;
		case 1:
			replace(input, at, gone, "", 0);
			break;
		case 2:
			splice(input, at, gone);
			break;
		case 3:
			replace(input, at, gone < 2 ? gone : 1, &byte, 1);
			break;
		case 4:
			memcpy(copy, input->bytes + at, gone);
			replace(input, at, 0, copy, gone);
			break;
		default:
			replace(input, at, gone, piece, strlen(piece));
	}
}

static const char *
run_case(uint64_t seed, uint64_t number)
{
	static Input input;
	const char *wrong;

	random_state = seed * UINT64_C(0xD1342543DE82EF95) + number;
	input = *corpus[number % (uint64_t) corpus_count];
	for (uint64_t times = number < (uint64_t) corpus_count ? 0 : 1 + below(5); times > 0 && input.length > 0; times--)
		spoil(&input);
	wrong = check(input.bytes, input.length);
	if (wrong != NULL)
	{
		printf("not ok - %s: --seed %llu --case %llu\n# ", wrong, (unsigned long long) seed, (unsigned long long) number);
		fwrite(input.bytes, 1, input.length, stdout);
		printf("\n");
	}
	return wrong;
}

static int
run_file(const char *path)
{
	Input	   *input = read_input(path);
	const char *wrong = input != NULL ? check(input->bytes, input->length) : "there is no such file";

	printf("%s\n", wrong != NULL ? wrong : "fine");
	free(input);
	return wrong != NULL;
}

static void
forget_all(void)
{
	while (corpus_count > 0)
		free(corpus[--corpus_count]);
	while (key_count > 0)
		jws_key_free(keys[--key_count]);
}

int
main(int argc, char **argv)
{
	const char *limit = getenv("FUZZ_SECONDS");
	time_t		seconds = limit ? strtol(limit, NULL, 10) : 2;
	uint64_t	seed = 20260101;
	uint64_t	number = 0;
	int			files = load_corpus();

	for (int i = 1; i + 1 < argc; i += 2)
	{
		if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtol(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--case") == 0)
			return run_case(seed, strtoull(argv[i + 1], NULL, 10)) != NULL;
		else if (strcmp(argv[i], "--file") == 0)
			return run_file(argv[i + 1]);
	}
	printf("%sok 1 - the corpus is there: %d inputs, %d keys\n", files > 20 && key_count > 3 ? "" : "not ", files, key_count);
	printf("# %ld s, seed %llu\n", (long) seconds, (unsigned long long) seed);
	for (time_t end = time(NULL) + seconds; files > 0 && (number < 20000 || time(NULL) < end); number++)
		if (run_case(seed, number) != NULL)
			return 1;
	printf("ok 2 - %llu inputs\n", (unsigned long long) number);
	forget_all();
	return files <= 20;
}

#endif
