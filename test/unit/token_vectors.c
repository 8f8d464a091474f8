/*
 * token_vectors.c - the published test vectors of tokens, and those of the RFCs
 *
 * Build: src/plain/guard.c src/plain/strict_json.c src/plain/base64url.c src/plain/jws.c src/plain/claims.c src/plain/jwks.c -lcjose
 *
 * Each vector is taken through the steps in the server's order; it must fail
 * at the very step that it names. Signatures of all four algorithms are real.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "plain/claims.h"
#include "plain/jwks.h"
#include "plain/jws.h"
#include "plain/strict_json.h"
#include "tap.h"

static char keys_text[JWKS_ARENA_SIZE(JWKS_MAX_BYTES)];
static JwksSet keys;
static JwsForm form;

static bool
load_keys(const char *text)
{
	TextArena	arena = {keys_text, sizeof(keys_text), 0};

	return jwks_read(text, strlen(text), &arena, &keys);
}

/* As token.c chooses. */
static const JwksKey *
choose_key(void)
{
	const JwksKey *chosen = NULL;

	for (int i = 0; i < keys.count; i++)
	{
		const JwksKey *key = &keys.keys[i];

		if (key->algorithm != form.algorithm)
			continue;
		if (form.has_kid && (key->kid == NULL || strcmp(key->kid, form.kid) != 0))
			continue;
		if (chosen != NULL)
			return NULL;
		chosen = key;
	}
	return chosen;
}

static bool
verifies(const JwksKey *key)
{
	JwsKey	   *parsed;
	const char *why = jws_key_read(key->jwk, &parsed);
	bool		first = jws_form_verify(&form, parsed) == NULL;
	bool		again = jws_form_verify(&form, parsed) == NULL;

	jws_key_free(parsed);
	return why == NULL && first && again;
}

/* NULL, or what is wrong with the claims; claims->user_id stands in the arena. */
static const char *
read_claims(int64_t now, TextArena *arena, Claims *claims)
{
	ClaimsPolicy policy = {.user_id_prefix = "app:", .user_claim = "sub", .audience_claim = "aud", .max_lifetime = 3600};
	char		issuer[CLAIMS_ISSUER_MAX + 1];
	struct json_t *object;
	const char *why = claims_open(form.claims, form.claims_length, &object, issuer);

	if (why == NULL && strcmp(issuer, "https://issuer.example") != 0)
		why = "another issuer";
	if (why == NULL)
		why = claims_read(object, &policy, now, arena, claims);
	claims_close(object);
	return why;
}

/* The step that refuses the token, or "" and its user_id. */
static const char *
judge(const char *token, int64_t now, char *user_id, size_t size)
{
	char		texts[CLAIMS_ARENA_SIZE(JWS_MAX_BYTES)];
	TextArena	arena = {texts, sizeof(texts), 0};
	const JwksKey *key;
	Claims		claims;

	if (jws_form_read(token, strlen(token), &form) != NULL)
		return "form";
	key = choose_key();
	if (key == NULL)
		return "key";
	if (!verifies(key))
		return "signature";
	if (read_claims(now, &arena, &claims) != NULL)
		return "claims";
	snprintf(user_id, size, "%s", claims.user_id);
	return "";
}

static void
test_vector(const json_t *file, const json_t *vector)
{
	const char *set = json_string_value(json_object_get(vector, "set"));
	const char *wanted_user = json_string_value(json_object_get(vector, "user_id"));
	const char *refused = json_string_value(json_object_get(vector, "refused"));
	char	   *text = json_dumps(json_object_get(json_object_get(file, "sets"), set), JSON_COMPACT);
	char		user_id[1100] = "";
	const char *step = "keys";

	if (load_keys(text))
		step = judge(json_string_value(json_object_get(vector, "token")),
					 json_integer_value(json_object_get(file, "now")), user_id, sizeof(user_id));
	free(text);
	if (refused != NULL)
		tap_ok(strcmp(step, refused) == 0, json_string_value(json_object_get(vector, "name")));
	else
		tap_ok(strcmp(step, "") == 0 && strcmp(user_id, wanted_user) == 0,
			   json_string_value(json_object_get(vector, "name")));
}

/* Every bit of a good token's signature counts, and so does every character before it. */
static void
test_forgeries(const json_t *file)
{
	const json_t *first = json_array_get(json_object_get(file, "vectors"), 0);
	char	   *token = strdup(json_string_value(json_object_get(first, "token")));
	char	   *text = json_dumps(json_object_get(json_object_get(file, "sets"), "secret"), 0);
	int64_t		now = json_integer_value(json_object_get(file, "now"));
	char		user_id[1100];
	bool		all_refused = load_keys(text);

	for (char *c = token; *c != '\0'; c++)
	{
		char		before = *c;

		*c = before == 'A' ? 'B' : 'A';
		if (strcmp(judge(token, now, user_id, sizeof(user_id)), "") == 0)
			all_refused = false;
		*c = before;
	}
	tap_ok(all_refused, "no character of a token can be another");
	free(text);
	free(token);
}

/* None of these keys verifies the form at hand where it is for another algorithm. */
static bool
others_refuse(const json_t *set)
{
	char	   *text = json_dumps(set, 0);
	bool		refuse = load_keys(text);

	for (int i = 0; i < keys.count; i++)
		if (keys.keys[i].algorithm != form.algorithm && verifies(&keys.keys[i]))
			refuse = false;
	free(text);
	return refuse;
}

static void
test_algorithms(const json_t *file)
{
	const json_t *vectors = json_object_get(file, "vectors");
	const json_t *sets = json_object_get(file, "sets");
	bool		all_refuse = true;

	for (size_t i = 0; i < json_array_size(vectors); i++)
	{
		const char *token = json_string_value(json_object_get(json_array_get(vectors, i), "token"));

		if (jws_form_read(token, strlen(token), &form) == NULL &&
			(!others_refuse(json_object_get(sets, "secret")) || !others_refuse(json_object_get(sets, "public"))))
			all_refuse = false;
	}
	tap_ok(all_refuse, "a key of another algorithm verifies nothing, even where it is asked");
	tap_ok(jws_form_verify(&form, NULL) != NULL, "nor does none");
}

/* Up to the signature: the claims are another matter, or none. */
static const char *
judge_signature(const char *set, const char *token)
{
	const JwksKey *key;

	if (!load_keys(set))
		return "keys";
	if (jws_form_read(token, strlen(token), &form) != NULL)
		return "form";
	key = choose_key();
	if (key == NULL)
		return "key";
	return verifies(key) ? "" : "signature";
}

/* Those of others, as they were published. */
static void
test_published(void)
{
	json_t	   *file = json_load_file("test/vectors/rfc.json", 0, NULL);
	const json_t *vectors = json_object_get(file, "vectors");

	tap_ok(json_array_size(vectors) == 12, "test/vectors/rfc.json can be read");
	for (size_t i = 0; i < json_array_size(vectors); i++)
	{
		const json_t *vector = json_array_get(vectors, i);
		const char *refused = json_string_value(json_object_get(vector, "refused"));
		char	   *set = json_dumps(vector, JSON_COMPACT);	/* its keys are a set's, and the rest of it is ignored */
		const char *step = judge_signature(set, json_string_value(json_object_get(vector, "token")));

		tap_ok(strcmp(step, refused != NULL ? refused : "") == 0, json_string_value(json_object_get(vector, "name")));
		free(set);
	}
	json_decref(file);
}

int
main(int argc, char **argv)
{
	json_t	   *file = json_load_file(argc > 1 ? argv[1] : "test/vectors/tokens.json", 0, NULL);
	json_t	   *vectors = json_object_get(file, "vectors");

	tap_ok(json_array_size(vectors) > 30, "test/vectors/tokens.json can be read");
	for (size_t i = 0; i < json_array_size(vectors); i++)
		test_vector(file, json_array_get(vectors, i));
	if (file != NULL)
	{
		test_forgeries(file);
		test_algorithms(file);
	}
	json_decref(file);

	test_published();
	tap_ok(ERR_peek_error() == 0, "OpenSSL's error queue is left empty");
	return tap_done();
}
