/*
 * token_memory.c - want of memory is not a wrong signature, and makes no wrong one right
 *
 * Build: src/plain/guard.c src/plain/strict_json.c src/plain/base64url.c src/plain/jws.c src/plain/claims.c src/plain/jwks.c -fno-sanitize=address -lcjose
 *
 * Each published vector is judged once with memory. Then again and again while one
 * allocation fails, of ours or of any library, the first, the second, and so on; and while all fail from one on. Each time
 * the verdict must be the same, or that there was no memory: never another. What was allocated must be freed, but for
 * what cjose loses of a key that OpenSSL had no memory for.
 *
 * malloc is replaced under the libraries' feet, which AddressSanitizer does, too: this program is built without it.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>

#include "plain/claims.h"
#include "plain/guard.h"
#include "plain/jwks.h"
#include "plain/jws.h"
#include "plain/strict_json.h"
#include "tap.h"

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);

#define NEVER -1
#define ROOM 4096
#define SMALL 512
#define KEY_BLOCKS 64			/* more than a key has */

static long countdown = NEVER;	/* allocations until one fails */
static bool all_after = false;	/* fail, too */
static bool failed = false;
static long blocks = 0;			/* held now */
static size_t spare = 0;		/* bytes of the block of ROOM bytes that was freed last */

/* A small block comes out of what was just freed, as it does from glibc: where jws.c makes room, the next ones don't fail. */
static bool
fails(size_t size)
{
	if (countdown == NEVER)
		return false;
	if (size <= SMALL && size <= spare)
	{
		spare -= size;
		return false;
	}
	spare = 0;
	if (countdown > 0)
	{
		countdown--;
		return false;
	}
	if (!all_after)
		countdown = NEVER;
	failed = true;
	errno = ENOMEM;
	return true;
}

static void *
counted(void *block)
{
	if (block != NULL)
		blocks++;
	return block;
}

void *
malloc(size_t size)
{
	return fails(size) ? NULL : counted(__libc_malloc(size));
}

void *
calloc(size_t count, size_t size)
{
	return fails(count * size) ? NULL : counted(__libc_calloc(count, size));
}

void *
realloc(void *block, size_t size)
{
	if (block == NULL)
		return malloc(size);
	return fails(size) ? NULL : __libc_realloc(block, size);
}

void
free(void *block)
{
	if (block != NULL)
	{
		blocks--;
		if (malloc_usable_size(block) / ROOM == 1)
			spare = ROOM;
	}
	__libc_free(block);
}

/* ---------- a verdict ---------- */

#define NO_MEMORY "no memory"

typedef struct Vector
{
	const char *name;
	const char *token;
	char	   *set;
	int64_t		now;
} Vector;

static char keys_text[JWKS_ARENA_SIZE(JWKS_MAX_BYTES)];
static char claims_text[CLAIMS_ARENA_SIZE(JWS_MAX_BYTES)];
static JwksSet keys;
static JwsForm form;
static char user_id[1100];

static const char *
step(const char *why, const char *name)
{
	return why == guard_no_memory ? NO_MEMORY : name;
}

/* As token.c chooses. */
static const JwksKey *
choose_key(void)
{
	const JwksKey *chosen = NULL;

	for (int i = 0; i < keys.count; i++)
	{
		const JwksKey *key = &keys.keys[i];

		if (key->algorithm != form.algorithm ||
			(form.has_kid && (key->kid == NULL || strcmp(key->kid, form.kid) != 0)))
			continue;
		if (chosen != NULL)
			return NULL;
		chosen = key;
	}
	return chosen;
}

static const char *
verify(void)
{
	const JwksKey *key = choose_key();
	JwsKey	   *parsed;
	const char *why;

	if (key == NULL)
		return "key";
	why = jws_key_read(key->jwk, &parsed);
	if (why == NULL)
		why = jws_form_verify(&form, parsed);
	jws_key_free(parsed);
	return why != NULL ? step(why, "signature") : NULL;
}

static const char *
read_claims(int64_t now)
{
	ClaimsPolicy policy = {.user_id_prefix = "app:", .user_claim = "sub", .audience_claim = "aud", .max_lifetime = 3600};
	TextArena	arena = {claims_text, sizeof(claims_text), 0};
	char		issuer[CLAIMS_ISSUER_MAX + 1];
	struct json_t *object;
	Claims		claims;
	const char *why = claims_open(form.claims, form.claims_length, &object, issuer);

	if (why == NULL)
		why = claims_read(object, &policy, now, &arena, &claims);
	if (why == NULL)
		snprintf(user_id, sizeof(user_id), "%s", claims.user_id);
	claims_close(object);
	return why != NULL ? step(why, "claims") : user_id;
}

/* The step that refuses the token, NO_MEMORY, or the user_id. */
static const char *
judge(const Vector *vector)
{
	TextArena	arena = {keys_text, sizeof(keys_text), 0};
	const char *why;

	if (!jwks_read(vector->set, strlen(vector->set), &arena, &keys))
		return keys.no_memory ? NO_MEMORY : "keys";
	why = jws_form_read(vector->token, strlen(vector->token), &form);
	if (why != NULL)
		return step(why, "form");
	why = verify();
	return why != NULL ? why : read_claims(vector->now);
}

/* ---------- allocations that fail ---------- */

/* What jws.c remembers of the last header must not spare it an allocation. */
static void
forget_header(void)
{
	static const char other[] = "eyJhbGciOiJFUzI1NiJ9.e30."
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

	jws_form_read(other, strlen(other), &form);
}

/* Did the verdict with the n-th allocation failing come out as with all of them? *reached: there are so many. */
static bool
holds(const Vector *vector, const char *wanted, long n, bool *reached)
{
	const char *got;
	long		before;

	forget_header();
	before = blocks;
	spare = 0;					/* whatever was freed before */
	failed = false;
	countdown = n;
	got = judge(vector);
	countdown = NEVER;
	*reached = failed;
	if (ERR_peek_error() == 0 && strcmp(got, wanted) == 0 && blocks == before)
		return true;
	if (ERR_peek_error() == 0 && failed && strcmp(got, NO_MEMORY) == 0 && blocks <= before + KEY_BLOCKS)
		return true;
	printf("# allocation %ld: %s, and not %s; %ld blocks more\n", n, got, wanted, blocks - before);
	return false;
}

/* The number of allocations, or -1 where a verdict was another. */
static long
fail_each(const Vector *vector, const char *wanted)
{
	bool		reached = true;
	bool		good = true;
	long		n = 0;

	for (; reached; n++)
		if (!holds(vector, wanted, n, &reached))
			good = false;
	return good ? n : -1;
}

static void
test_vector(const Vector *vector)
{
	char		wanted[1100];
	long		one,
				all;

	judge(vector);				/* OpenSSL keeps some things from its first time on */
	snprintf(wanted, sizeof(wanted), "%s", judge(vector));
	all_after = false;
	one = fail_each(vector, wanted);
	all_after = true;
	all = fail_each(vector, wanted);
	tap_ok(one > 4 && all > 4, vector->name);
}

/* In a process whose OpenSSL has not done anything yet. True where the verdict held. */
static bool
holds_cold(const Vector *vector, const char *wanted, long n, bool *reached)
{
	int			status;
	pid_t		child;

	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		const char *got;

		countdown = n;
		got = judge(vector);
		countdown = NEVER;
		_exit(strcmp(got, wanted) != 0 && strcmp(got, NO_MEMORY) != 0 ? 1 : failed ? 0 : 2);
	}
	*reached = false;
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) == 1)
		return false;
	*reached = WEXITSTATUS(status) == 0;
	return true;
}

/* Thousands of allocations, each of which needs a process: some of them. */
static void
test_cold(const Vector *vector, const char *wanted)
{
	bool		reached = true;
	bool		good = true;
	long		tried = 0;

	for (long n = 0; reached; n += 1 + n / 40, tried++)
		if (!holds_cold(vector, wanted, n, &reached))
		{
			printf("# cold, allocation %ld\n", n);
			good = false;
			reached = tried < 1000;
		}
	printf("# %ld beginnings\n", tried);
	tap_ok(good, vector->name);
}

static bool
make_vector(const json_t *file, size_t i, Vector *vector)
{
	const json_t *row = json_array_get(json_object_get(file, "vectors"), i);
	const char *set = json_string_value(json_object_get(row, "set"));

	if (row == NULL)
		return false;
	vector->name = json_string_value(json_object_get(row, "name"));
	vector->token = json_string_value(json_object_get(row, "token"));
	vector->set = json_dumps(json_object_get(json_object_get(file, "sets"), set), JSON_COMPACT);
	vector->now = json_integer_value(json_object_get(file, "now"));
	return true;
}

/* Before OpenSSL is used here: the vectors that a key verifies. */
static void
test_beginnings(const json_t *file)
{
	Vector		vector;

	for (size_t i = 0; make_vector(file, i, &vector); i++)
	{
		const json_t *row = json_array_get(json_object_get(file, "vectors"), i);
		const char *user = json_string_value(json_object_get(row, "user_id"));

		if (strlen(vector.name) == 5 && user != NULL)	/* RS256, PS256, ES256 */
			test_cold(&vector, user);
		free(vector.set);
	}
}

int
main(int argc, char **argv)
{
	json_t	   *file = json_load_file(argc > 1 ? argv[1] : "test/vectors/tokens.json", 0, NULL);
	Vector		vector;

	test_beginnings(file);
	for (size_t i = 0; make_vector(file, i, &vector); i++)
	{
		test_vector(&vector);
		free(vector.set);
	}
	json_decref(file);
	return tap_done();
}
