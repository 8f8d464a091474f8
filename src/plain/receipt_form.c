/*
 * plain/receipt_form.c - how a receipt is written, and the bytes that it signs
 *
 * One spelling only: a receipt that two readers could take for two things signs
 * nothing. Fields are joined by line feeds, which no field can hold, so no two
 * actions sign the same bytes.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#include "plain/receipt_form.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#define PART_PREFIX "v1:"
#define MAC_DIGITS (2 * RECEIPT_MAC_BYTES)
#define DIGEST_DIGITS 64		/* of SHA-256 */

static bool
key_id_character(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		c == '_' || c == '.' || c == '-';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* 64 lower-case digits, no more. */
static bool
read_mac(const char *text, const char *end, unsigned char mac[RECEIPT_MAC_BYTES])
{
	if (end - text != MAC_DIGITS)
		return false;
	for (int i = 0; i < RECEIPT_MAC_BYTES; i++)
	{
		int			high = hex_value(text[2 * i]);
		int			low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		mac[i] = (unsigned char) (high << 4 | low);
	}
	return true;
}

static bool
read_part(const char *text, const char *end, ReceiptPart *part)
{
	size_t		length = 0;

	if (end - text < (ptrdiff_t) strlen(PART_PREFIX) ||
		memcmp(text, PART_PREFIX, strlen(PART_PREFIX)) != 0)
		return false;
	text += strlen(PART_PREFIX);
	while (text < end && key_id_character(*text) && length < RECEIPT_KEY_ID_MAX)
		part->key_id[length++] = *text++;
	part->key_id[length] = '\0';
	if (length == 0 || text == end || *text != ':')
		return false;
	return read_mac(text + 1, end, part->mac);
}

int
receipt_form_read(const char *receipt, ReceiptPart parts[RECEIPT_MAX_PARTS])
{
	size_t		length = strlen(receipt);
	const char *end = receipt + length;
	int			count = 0;

	if (length > RECEIPT_MAX_BYTES)
		return 0;
	for (;;)
	{
		const char *blank = memchr(receipt, ' ', (size_t) (end - receipt));

		if (count == RECEIPT_MAX_PARTS ||
			!read_part(receipt, blank != NULL ? blank : end, &parts[count]))
			return 0;
		count++;
		if (blank == NULL)
			return count;
		receipt = blank + 1;
	}
}

#define NUMBER_SIZE 24

/* Empty where it isn't given. */
static void
write_number(bool given, int64_t number, char out[NUMBER_SIZE])
{
	out[0] = '\0';
	if (given)
		snprintf(out, NUMBER_SIZE, "%" PRId64, number);
}

/* Lower-case hex of the SHA-256; empty where there is no text. */
static bool
write_digest(const char *text, char out[DIGEST_DIGITS + 1])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length;

	out[0] = '\0';
	if (text == NULL)
		return true;
	if (EVP_Digest(text, strlen(text), digest, &length, EVP_sha256(), NULL) != 1 || 2 * length != DIGEST_DIGITS)
		return false;
	for (unsigned int i = 0; i < length; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return true;
}

size_t
receipt_form_write(const ReceiptFields *fields, char out[RECEIPT_SIGNED_MAX])
{
	char		points[NUMBER_SIZE];
	char		subscore[NUMBER_SIZE];
	char		detail[DIGEST_DIGITS + 1];
	int			length;

	write_number(fields->has_points, fields->points, points);
	write_number(fields->has_subscore, fields->subscore, subscore);
	if (!write_digest(fields->detail, detail))
		return 0;
	length = snprintf(out, RECEIPT_SIGNED_MAX,
					  "scoreboard-receipt-v1\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n%" PRId64,
					  fields->audience, fields->board, fields->user_id,
					  fields->action_type, fields->action_id, points, subscore, detail, fields->issued_at);
	return length > 0 && length < RECEIPT_SIGNED_MAX ? (size_t) length : 0;
}

bool
receipt_form_audience(const char *audience)
{
	size_t		length = strlen(audience);

	for (size_t i = 0; i < length; i++)
		if (audience[i] <= ' ' || audience[i] > '~')
			return false;
	return length >= 1 && length <= 63;
}
