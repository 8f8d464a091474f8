/*
 * trust/token.c - who acts, until when: the server's side of tokens
 *
 * Form, claims, signature and key sets are checked in plain C (plain/jws.c, which
 * says why cjose; plain/claims.c; plain/jwks.c). Here stands what needs the server: the issuer's row, the
 * claims of a trusted request, and the tokens that this backend verified already.
 *
 * Memory: the plain C allocates with malloc and would leak if anything of
 * PostgreSQL's raised meanwhile. So each of its functions is called with all
 * memory it fills allocated beforehand and calls nothing of PostgreSQL's. Two
 * things live on after such a call, each freed when a memory context ends: parsed claims with
 * that of the token's checks, a parsed key with that of the issuer's row.
 *
 * Cache: SHA-256 of the token -> identity, at most TOKEN_CACHE_SIZE, the oldest
 * goes first; all go when the configuration's generation moves. The token itself is not kept. No locks.
 *
 * Refusals never quote the token or a claim: they end up in logs.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "scoreboard.h"
#include "base/config_cache.h"
#include "plain/claims.h"
#include "plain/guard.h"
#include "plain/jwks.h"
#include "plain/jws.h"
#include "trust/token.h"
#include "trust/trusted_request.h"

#define TOKEN_CACHE_SIZE 1024	/* entries in a backend */
#define TOKEN_CACHE_TEXT 2048	/* bytes; identities with more text are verified each time */

#define TOKEN_HINT "Pass a JWT of a configured issuer as token."

typedef struct CachedToken
{
	unsigned char digest[SHA256_DIGEST_LENGTH]; /* hash key */
	int			slot;			/* in cache_ring */
	char	   *text;			/* one allocation; claims point into it */
	Claims		claims;
} CachedToken;

static HTAB *cache = NULL;		/* in cache_context; NULL: nothing cached */
static MemoryContext cache_context = NULL;
static uint64 cache_generation; /* configuration that the entries were verified under */
static CachedToken *cache_ring[TOKEN_CACHE_SIZE];	/* in order of arrival */
static int	cache_hand;			/* next to be overwritten */

PG_FUNCTION_INFO_V1(scoreboard_parse_jwks);

static int64
now_seconds(void)
{
	return GetCurrentTimestamp() / USECS_PER_SEC +
		((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * SECS_PER_DAY;
}

static bool
refuse_token(Refusal *refusal, const char *why)
{
	if (why == guard_no_memory)
		raise_no_memory();
	return refuse(refusal, REFUSAL_UNAUTHORIZED, TOKEN_HINT, "%s", why);
}

/* ---------- cache of verified tokens ---------- */

/* The context is kept: to set a new one up takes longer than to hash a token. */
static void
hash_token(const char *token, size_t length, unsigned char *digest)
{
	static EVP_MD_CTX *context = NULL;

	if (context == NULL)
	{
		EVP_MD_CTX *fresh = EVP_MD_CTX_new();

		if (fresh != NULL && EVP_DigestInit_ex(fresh, EVP_sha256(), NULL))
			context = fresh;
		else
			EVP_MD_CTX_free(fresh);
	}
	if (context == NULL ||
		!EVP_DigestInit_ex(context, NULL, NULL) ||
		!EVP_DigestUpdate(context, token, length) ||
		!EVP_DigestFinal_ex(context, digest, NULL))
	{
		ERR_clear_error();
		elog(ERROR, "could not hash a token");
	}
}

/* Drops everything if the configuration changed, and makes an empty cache. */
static void
cache_prepare(void)
{
	HASHCTL		control = {
		.keysize = SHA256_DIGEST_LENGTH,
		.entrysize = sizeof(CachedToken),
	};

	if (cache != NULL && cache_generation == config_generation())
		return;
	cache = NULL;
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "scoreboard tokens",
											  ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache_context);
	memset(cache_ring, 0, sizeof(cache_ring));
	cache_hand = 0;
	cache_generation = config_generation();
	control.hcxt = cache_context;
	cache = hash_create("scoreboard tokens", TOKEN_CACHE_SIZE / 8, &control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
cache_remove(CachedToken *entry)
{
	cache_ring[entry->slot] = NULL;
	pfree(entry->text);
	hash_search(cache, entry->digest, HASH_REMOVE, NULL);
}

/* NULL where it was not verified before, or has expired since. */
static const Claims *
cache_find(const unsigned char *digest, int64 now)
{
	CachedToken *entry;

	cache_prepare();
	entry = hash_search(cache, digest, HASH_FIND, NULL);
	if (entry == NULL)
		return NULL;
	if (now < entry->claims.expires_at + CLAIMS_LEEWAY)
		return &entry->claims;
	cache_remove(entry);
	return NULL;
}

static const char *
moved(const char *text, const char *from, const char *to)
{
	return text != NULL ? to + (text - from) : NULL;
}

/* generation: that of the configuration which the claims were checked against. */
static void
cache_store(const unsigned char *digest, const Claims *claims,
			const TextArena *arena, uint64 generation)
{
	char	   *text;
	CachedToken *entry;
	bool		found;

	cache_prepare();
	if (generation != cache_generation || arena->used > TOKEN_CACHE_TEXT)
		return;
	if (cache_ring[cache_hand] != NULL)
		cache_remove(cache_ring[cache_hand]);
	text = MemoryContextAlloc(cache_context, arena->used);
	memcpy(text, arena->data, arena->used);
	entry = hash_search(cache, digest, HASH_ENTER, &found);
	Assert(!found);

	entry->slot = cache_hand;
	entry->text = text;
	entry->claims = *claims;
	entry->claims.user_id = moved(claims->user_id, arena->data, text);
	entry->claims.display_name = moved(claims->display_name, arena->data, text);
	entry->claims.avatar_url = moved(claims->avatar_url, arena->data, text);
	entry->claims.permissions = moved(claims->permissions, arena->data, text);
	entry->claims.labels = moved(claims->labels, arena->data, text);
	cache_ring[cache_hand] = entry;
	cache_hand = (cache_hand + 1) % TOKEN_CACHE_SIZE;
}

/* ---------- checks ---------- */

/* Texts that stand one behind the other. */
static List *
list_texts(const char *text, int count)
{
	List	   *list = NIL;

	for (int i = 0; i < count; i++)
	{
		list = lappend(list, pstrdup(text));
		text += strlen(text) + 1;
	}
	return list;
}

static void
fill_identity(TokenIdentity *identity, const Claims *claims)
{
	identity->user_id = pstrdup(claims->user_id);
	identity->expires_at = claims->expires_at;
	identity->display_name = claims->display_name ? pstrdup(claims->display_name) : NULL;
	identity->avatar_url = claims->avatar_url ? pstrdup(claims->avatar_url) : NULL;
	identity->permissions = list_texts(claims->permissions, claims->permission_count);
	identity->labels = list_texts(claims->labels, 2 * claims->label_count);
}

static void
free_claims(void *object)
{
	claims_close(object);
}

/* The row that the claims' iss names, and the claims parsed, for as long as the current memory context. */
static const Issuer *
open_claims(const char *text, size_t length, struct json_t **object, Refusal *refusal)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));
	char		name[CLAIMS_ISSUER_MAX + 1];
	const char *why = claims_open(text, length, object, name);
	const Issuer *issuer;

	callback->func = free_claims;
	callback->arg = *object;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	if (why != NULL)
	{
		refuse_token(refusal, why);
		return NULL;
	}
	issuer = config_issuer(name);
	if (issuer == NULL)
		refuse(refusal, REFUSAL_UNAUTHORIZED,
			   "An administrator adds an issuer with scoreboard_set_issuer; iss must be the same, character by character.",
			   "the token's issuer is not known here");
	return issuer;
}

/* Exactly one key may come into question: by kid and algorithm, or as the only one for the algorithm. */
static IssuerKey *
choose_key(const Issuer *issuer, const JwsForm *form)
{
	const char *algorithm = jws_algorithm_name(form->algorithm);
	IssuerKey  *chosen = NULL;
	ListCell   *cell;

	foreach(cell, issuer->keys)
	{
		IssuerKey  *key = lfirst(cell);

		if (strcmp(key->algorithm, algorithm) != 0)
			continue;
		if (form->has_kid && (key->kid == NULL || strcmp(key->kid, form->kid) != 0))
			continue;
		if (chosen != NULL)
			return NULL;
		chosen = key;
	}
	return chosen;
}

static void
free_key(void *key)
{
	jws_key_free(key);
}

/* The key as the library takes it, parsed once; it ends with the row, when the configuration moves. NULL verifies nothing. */
static const JwsKey *
parsed_key(IssuerKey *key)
{
	MemoryContext home = GetMemoryChunkContext(key);
	MemoryContextCallback *callback;
	const char *why;

	if (key->parsed != NULL)
		return key->parsed;
	callback = MemoryContextAlloc(home, sizeof(MemoryContextCallback));
	why = jws_key_read(key->jwk, &key->parsed);
	if (why != NULL)
	{
		pfree(callback);
		if (why == guard_no_memory)
			raise_no_memory();
		return NULL;
	}
	callback->func = free_key;
	callback->arg = key->parsed;
	MemoryContextRegisterResetCallback(home, callback);
	return key->parsed;
}

static bool
check_signature(const Issuer *issuer, const JwsForm *form, Refusal *refusal)
{
	IssuerKey  *key = choose_key(issuer, form);
	const char *why;

	if (strstr(issuer->algorithms, jws_algorithm_name(form->algorithm)) == NULL)
		return refuse_token(refusal, "the token's issuer may not use its algorithm");
	if (key == NULL)
		return refuse_token(refusal, form->has_kid ?
							"the token's issuer has no key of that kid for its algorithm" :
							"the token has no kid, and its issuer doesn't have exactly one key for its algorithm");
	why = jws_form_verify(form, parsed_key(key));
	return why == NULL || refuse_token(refusal, why);
}

static bool
check_claims(const Issuer *issuer, const struct json_t *object, size_t length, int64 now,
			 TextArena *arena, Claims *claims, Refusal *refusal)
{
	ClaimsPolicy policy = {
		.user_id_prefix = issuer->user_id_prefix,
		.user_claim = issuer->user_claim,
		.audience = issuer->audience,
		.audience_claim = issuer->audience_claim,
		.max_lifetime = issuer->max_lifetime,
		.name_claim = issuer->name_claim,
		.avatar_claim = issuer->avatar_claim,
		.permissions_claim = issuer->permissions_claim,
		.required = issuer->required,
		.required_count = issuer->required_count,
		.labels = issuer->labels,
		.label_count = issuer->label_count,
	};
	const char *why;

	arena->size = CLAIMS_ARENA_SIZE(length);
	arena->data = palloc(arena->size);
	arena->used = 0;
	why = claims_read(object, &policy, now, arena, claims);
	return why == NULL || refuse_token(refusal, why);
}

/* The signature first: nobody learns from a forged token which claims would pass. */
static bool
verify_token(const char *token, size_t length, int64 now,
			 TextArena *arena, Claims *claims, Refusal *refusal)
{
	JwsForm		form;
	struct json_t *object;
	const char *why = jws_form_read(token, length, &form);
	const Issuer *issuer;

	if (why != NULL)
		return refuse_token(refusal, why);
	issuer = open_claims(form.claims, form.claims_length, &object, refusal);
	return issuer != NULL &&
		check_signature(issuer, &form, refusal) &&
		check_claims(issuer, object, form.claims_length, now, arena, claims, refusal);
}

static const Claims *
identify_token(const char *token, Refusal *refusal)
{
	size_t		length = strlen(token);
	int64		now = now_seconds();
	uint64		generation = config_generation();
	unsigned char digest[SHA256_DIGEST_LENGTH];
	const Claims *known;
	Claims	   *claims;
	TextArena	arena;

	if (length > JWS_MAX_BYTES)
	{
		refuse_token(refusal, "the token is longer than 8 KiB");
		return NULL;
	}
	hash_token(token, length, digest);
	known = cache_find(digest, now);
	if (known != NULL)
		return known;
	claims = palloc(sizeof(Claims));
	if (!verify_token(token, length, now, &arena, claims, refusal))
		return NULL;
	cache_store(digest, claims, &arena, generation);
	return claims;
}

/* ---------- claims of a trusted request ---------- */

static const Claims *
identify_request(Refusal *refusal)
{
	const char *setting = trusted_request_variable("request.jwt.claims");
	const Issuer *issuer;
	struct json_t *object;
	size_t		length;
	Claims	   *claims = palloc(sizeof(Claims));
	TextArena	arena;

	if (setting == NULL)
	{
		refuse_token(refusal, "a token is required");
		return NULL;
	}
	length = strlen(setting);	/* now: looking the issuer up may run SQL */
	issuer = open_claims(setting, length, &object, refusal);
	if (issuer == NULL)
	{
		if (object != NULL && !claims_name_somebody(object))
			refuse_token(refusal, "a token is required: the request's claims name no player");
		return NULL;
	}
	if (!check_claims(issuer, object, length, now_seconds(), &arena, claims, refusal))
		return NULL;
	return claims;
}

bool
token_identify(const char *token, TokenIdentity *identity, Refusal *refusal)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "scoreboard token",
											   ALLOCSET_DEFAULT_SIZES);
	const Claims *claims;

	MemoryContextSwitchTo(work);
	claims = token != NULL ? identify_token(token, refusal) : identify_request(refusal);
	MemoryContextSwitchTo(caller);
	if (claims != NULL)
		fill_identity(identity, claims);
	MemoryContextDelete(work);
	return claims != NULL;
}

/* ---------- an issuer's keys ---------- */

static IssuerKey *
make_issuer_key(const JwksKey *from)
{
	IssuerKey  *key = palloc0(sizeof(IssuerKey));

	key->kid = from->kid != NULL ? pstrdup(from->kid) : NULL;
	key->algorithm = pstrdup(jws_algorithm_name(from->algorithm));
	key->jwk = pstrdup(from->jwk);
	return key;
}

bool
token_check_jwks(const char *jwks_text, List **keys, Refusal *refusal)
{
	size_t		length = strlen(jwks_text);
	JwksSet    *set = palloc(sizeof(JwksSet));
	TextArena	arena = {.size = JWKS_ARENA_SIZE(Min(length, JWKS_MAX_BYTES))};

	arena.data = palloc(arena.size);
	if (!jwks_read(jwks_text, length, &arena, set))
	{
		if (set->no_memory)
			raise_no_memory();
		return refuse(refusal, REFUSAL_INVALID_REQUEST,
					  "Give a JWK set (RFC 7517): {\"keys\": [{\"kty\": \"oct\", \"k\": \"...\", \"alg\": \"HS256\", \"kid\": \"...\"}]}.",
					  "%s", set->why);
	}
	*keys = NIL;
	for (int i = 0; i < set->count; i++)
		*keys = lappend(*keys, make_issuer_key(&set->keys[i]));
	return true;
}

/* scoreboard.parse_jwks(jwks text) -> (kid, algorithm, jwk): what set_issuer stores, one row a key. */
Datum
scoreboard_parse_jwks(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Refusal		refusal = {0};
	List	   *keys;
	ListCell   *cell;

	if (PG_ARGISNULL(0))
	{
		refuse(&refusal, REFUSAL_INVALID_REQUEST, NULL, "the key set must not be null");
		refusal_raise(&refusal);
	}
	if (!token_check_jwks(text_to_cstring(PG_GETARG_TEXT_PP(0)), &keys, &refusal))
		refusal_raise(&refusal);

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, keys)
	{
		const IssuerKey *key = lfirst(cell);
		Datum		values[3] = {0};
		bool		nulls[3] = {key->kid == NULL, false, false};

		if (key->kid != NULL)
			values[0] = CStringGetTextDatum(key->kid);
		values[1] = CStringGetTextDatum(key->algorithm);
		values[2] = CStringGetTextDatum(key->jwk);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
