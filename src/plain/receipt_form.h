/*
 * plain/receipt_form.h - how a receipt is written, and the bytes that it signs
 *
 * Plain C, no server: see test/unit/receipt_form.c.
 *
 * Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
#ifndef SCOREBOARD_PLAIN_RECEIPT_FORM_H
#define SCOREBOARD_PLAIN_RECEIPT_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECEIPT_MAX_BYTES 1024
#define RECEIPT_MAX_PARTS 4
#define RECEIPT_KEY_ID_MAX 63
#define RECEIPT_MAC_BYTES 32

/* Longest text that is signed: two ids of 255 characters, four names, three numbers, a digest, the rest. */
#define RECEIPT_SIGNED_MAX 2560

typedef struct ReceiptPart
{
	char		key_id[RECEIPT_KEY_ID_MAX + 1];
	unsigned char mac[RECEIPT_MAC_BYTES];
} ReceiptPart;

typedef struct ReceiptFields
{
	const char *audience;
	const char *board;
	const char *user_id;
	const char *action_type;
	const char *action_id;
	bool		has_points;
	int64_t		points;
	bool		has_subscore;
	int64_t		subscore;
	const char *detail;			/* or NULL; signed by its digest, since it may hold what fields must not */
	int64_t		issued_at;
} ReceiptFields;

/* The number of parts, or 0 where any of them is ill-formed, there are too many, or the whole is too long. */
extern int	receipt_form_read(const char *receipt, ReceiptPart parts[RECEIPT_MAX_PARTS]);

/* Writes the signed bytes; their number, or 0 where they don't fit or the library has no SHA-256. */
extern size_t receipt_form_write(const ReceiptFields *fields, char out[RECEIPT_SIGNED_MAX]);

/* 1-63 visible ASCII characters. */
extern bool receipt_form_audience(const char *audience);

#endif
