/*
 * trust/pass.c - what a bridge shows to be told the own place of a player whose stream it has
 *
 * A stream outlives the call that carried its token, and who stands in no list is nobody's business but its own. So whoever
 * authenticates a token for a bridge, or redeems a ticket, hands out a pass: "<end of the token>:<32 hex digits>", the first half of an
 * HMAC-SHA256 over the player's id and that end. It needs no row, so that a standby can make one; the key comes with CREATE EXTENSION,
 * goes to standbys with everything else, and not into dumps: a copy of the database takes no pass of the original.
 *
 * Owns no state, writes nothing, takes no lock but ACCESS SHARE on scoreboard.pass_key.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "postgres.h"

#include <openssl/crypto.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/plan.h"
#include "plain/receipt_form.h"
#include "trust/pass.h"
#include "trust/receipt.h"

PG_FUNCTION_INFO_V1(scoreboard_make_pass);

#define MAC_BYTES_SHOWN 16		/* as many bits as a ticket has */
#define END_DIGITS_MAX 16
#define PASS_SIZE (END_DIGITS_MAX + 1 + 2 * MAC_BYTES_SHOWN + 1)

static SavedPlan key_plan = {
	.text = "SELECT secret::text FROM scoreboard.pass_key"
};

static void
read_key(PassKey *key)
{
	int			pin;

	if (key->read)
		return;
	pin = plan_connect();
	plan_read(&key_plan, NULL, NULL, 1);
	if (SPI_processed > 0)
		strlcpy(key->secret, plan_known_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), sizeof(key->secret));
	plan_finish(pin);
	key->read = true;
}

/* An id holds no line feed, so no two pairs sign the same bytes. */
static void
write_pass(const PassKey *key, const char *user_id, int64 expires_at, char pass[PASS_SIZE])
{
	char	   *bytes = psprintf("scoreboard-pass-v1\n%s\n" INT64_FORMAT, user_id, expires_at);
	unsigned char mac[RECEIPT_MAC_BYTES];
	int			length = snprintf(pass, PASS_SIZE, INT64_FORMAT ":", expires_at);

	receipt_mac(bytes, strlen(bytes), key->secret, strlen(key->secret), mac);
	for (int i = 0; i < MAC_BYTES_SHOWN; i++)
		snprintf(pass + length + 2 * i, PASS_SIZE - length - 2 * i, "%02x", mac[i]);
	pfree(bytes);
}

char *
pass_make(const char *user_id, int64 expires_at)
{
	PassKey		key = {0};
	char		pass[PASS_SIZE];

	read_key(&key);
	if (key.secret[0] == '\0')
		return NULL;
	write_pass(&key, user_id, expires_at, pass);
	return pstrdup(pass);
}

/* The end that a pass names; 0, which is over, where it has no such form. */
static int64
end_of(const char *pass)
{
	size_t		digits = strspn(pass, "0123456789");

	return digits > 0 && digits <= END_DIGITS_MAX && pass[digits] == ':' ? strtoi64(pass, NULL, 10) : 0;
}

bool
pass_is_good(PassKey *key, const char *user_id, const char *pass)
{
	int64		expires_at = end_of(pass);
	char		right[PASS_SIZE];

	if (expires_at <= timestamptz_to_time_t(GetCurrentTimestamp()))
		return false;
	read_key(key);
	if (key->secret[0] == '\0')
		return false;
	write_pass(key, user_id, expires_at, right);
	return strlen(pass) == strlen(right) && CRYPTO_memcmp(pass, right, strlen(right)) == 0;
}

/* scoreboard.make_pass(user_id text, expires_at timestamptz) */
Datum
scoreboard_make_pass(PG_FUNCTION_ARGS)
{
	char	   *pass = pass_make(text_to_cstring(PG_GETARG_TEXT_PP(0)), timestamptz_to_time_t(PG_GETARG_TIMESTAMPTZ(1)));

	if (pass == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(pass));
}
