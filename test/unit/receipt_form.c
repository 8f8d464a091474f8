/*
 * receipt_form.c - the published test vectors of receipts, and what is no receipt
 *
 * Build: src/plain/receipt_form.c
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "plain/receipt_form.h"
#include "tap.h"

static const char *
member(const json_t *vector, const char *name)
{
	return json_string_value(json_object_get(vector, name));
}

static bool
is_hex_of(const char *hex, const char *bytes, size_t length)
{
	if (strlen(hex) != 2 * length)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char		digits[3];

		snprintf(digits, sizeof(digits), "%02x", (unsigned char) bytes[i]);
		if (memcmp(hex + 2 * i, digits, 2) != 0)
			return false;
	}
	return true;
}

/* The receipt is read, the bytes are the published ones, and the MAC is theirs. */
static void
test_vector(const char *key, const json_t *vector)
{
	const json_t *points = json_object_get(vector, "points");
	const json_t *subscore = json_object_get(vector, "subscore");
	ReceiptFields fields = {
		.audience = member(vector, "audience"),
		.board = member(vector, "board"),
		.user_id = member(vector, "user_id"),
		.action_type = member(vector, "action_type"),
		.action_id = member(vector, "action_id"),
		.has_points = points != NULL,
		.points = json_integer_value(points),
		.has_subscore = subscore != NULL,
		.subscore = json_integer_value(subscore),
		.detail = member(vector, "detail"),
		.issued_at = json_integer_value(json_object_get(vector, "issued_at")),
	};
	ReceiptPart parts[RECEIPT_MAX_PARTS];
	char		bytes[RECEIPT_SIGNED_MAX];
	unsigned char mac[EVP_MAX_MD_SIZE];
	size_t		length = receipt_form_write(&fields, bytes);

	HMAC(EVP_sha256(), key, (int) strlen(key), (unsigned char *) bytes, length, mac, NULL);
	tap_ok(is_hex_of(member(vector, "signed_hex"), bytes, length) &&
		   receipt_form_read(member(vector, "receipt"), parts) == 1 &&
		   strcmp(parts[0].key_id, member(vector, "key_id")) == 0 &&
		   memcmp(parts[0].mac, mac, RECEIPT_MAC_BYTES) == 0, member(vector, "name"));
}

static void
test_several(const char *receipt)
{
	ReceiptPart parts[RECEIPT_MAX_PARTS];
	char		four[RECEIPT_MAX_BYTES];

	snprintf(four, sizeof(four), "%s %s %s v1:a.B_9-:%s", receipt, receipt, receipt,
			 receipt + strlen(receipt) - 64);
	tap_ok(receipt_form_read(four, parts) == 4 && strcmp(parts[3].key_id, "a.B_9-") == 0 &&
		   memcmp(parts[0].mac, parts[3].mac, RECEIPT_MAC_BYTES) == 0, "four parts");
}

static void
test_longest(void)
{
	char		id[4 * 255 + 1];
	char		name[63 + 1];
	char		bytes[RECEIPT_SIGNED_MAX];
	ReceiptFields fields = {name, name, id, name, id, true, INT64_MIN, true, INT64_MIN, id, INT64_MIN};

	memset(name, 'n', 63);
	name[63] = '\0';
	for (int i = 0; i < 255; i++)
		memcpy(id + 4 * i, "\xf0\x9f\x8f\x86", 4);
	id[4 * 255] = '\0';
	tap_ok(receipt_form_write(&fields, bytes) > 2000, "the longest ids fit");
}

static void
test_audience(void)
{
	tap_ok(receipt_form_audience("production") && receipt_form_audience("!~") &&
		   receipt_form_audience("123456789012345678901234567890123456789012345678901234567890123"),
		   "audiences");
	tap_ok(!receipt_form_audience("") && !receipt_form_audience("my game") &&
		   !receipt_form_audience("caf\xc3\xa9") && !receipt_form_audience("a\x7f") &&
		   !receipt_form_audience("a\n") &&
		   !receipt_form_audience("1234567890123456789012345678901234567890123456789012345678901234"),
		   "no audiences");
}

int
main(int argc, char **argv)
{
	json_t	   *file = json_load_file(argc > 1 ? argv[1] : "test/vectors/receipts.json", 0, NULL);
	const json_t *good = json_object_get(file, "receipts");
	const json_t *bad = json_object_get(file, "ill_formed");
	ReceiptPart parts[RECEIPT_MAX_PARTS];

	tap_ok(json_array_size(good) > 5 && json_array_size(bad) > 15, "test/vectors/receipts.json can be read");
	for (size_t i = 0; i < json_array_size(good); i++)
		test_vector(member(file, "key"), json_array_get(good, i));
	for (size_t i = 0; i < json_array_size(bad); i++)
		tap_ok(receipt_form_read(member(json_array_get(bad, i), "receipt"), parts) == 0,
			   member(json_array_get(bad, i), "name"));
	if (json_array_size(good) > 0)
		test_several(member(json_array_get(good, 0), "receipt"));
	test_longest();
	test_audience();
	json_decref(file);
	return tap_done();
}
